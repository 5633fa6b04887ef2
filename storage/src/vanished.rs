//! Which UIDs vanished from a mailbox, and at which MODSEQ (RFC 7162 section 5.3).
//!
//! Only the newest [`VANISHED_RANGES_MAX`] ranges are kept. What is older is forgotten, a whole MODSEQ at a time, and `floor`
//! says up to where: who asks for what vanished after an earlier MODSEQ is told of every UID that has no message.

use std::{collections::VecDeque, ops::RangeInclusive};

use minicbor::{Decode, Encode};
use waypost_mail::{ModSeq, Uid};

/// Most ranges of UIDs that are kept of one mailbox.
pub const VANISHED_RANGES_MAX: usize = 1024;

/// UIDs that vanished from a mailbox.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Vanished {
    /// All that vanished after this MODSEQ is in `ranges`.
    floor: u64,
    /// In ascending order of MODSEQ, each above the floor.
    ranges: VecDeque<VanishedRange>,
}

/// UIDs without a gap that vanished at one MODSEQ.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct VanishedRange {
    first: u32,
    last: u32,
    modseq: u64,
}

impl Vanished {
    /// Of a mailbox of which nothing is known up to a MODSEQ.
    pub(crate) fn unknown_up_to(modseq: ModSeq) -> Self {
        Self { floor: modseq.value(), ranges: VecDeque::new() }
    }

    /// UIDs, ascending, vanish at a MODSEQ that is higher than all before it.
    pub(crate) fn add(&mut self, uids: impl IntoIterator<Item = Uid>, modseq: ModSeq) {
        let modseq = modseq.value();
        for uid in uids {
            let uid = uid.value();
            match self.ranges.back_mut() {
                Some(range) if range.modseq == modseq && range.last.checked_add(1) == Some(uid) => {
                    range.last = uid;
                }
                _ => self.ranges.push_back(VanishedRange { first: uid, last: uid, modseq }),
            }
        }
        if let Some(over) = self.ranges.len().checked_sub(VANISHED_RANGES_MAX + 1) {
            self.floor = self.ranges[over].modseq;
            let forgotten = self.ranges.partition_point(|range| range.modseq <= self.floor);
            self.ranges.drain(..forgotten);
            self.ranges.shrink_to(VANISHED_RANGES_MAX);
        }
    }

    /// The UIDs that vanished after a MODSEQ, as ascending ranges with gaps between them; `None`: not all of them are known.
    pub fn after(&self, modseq: u64) -> Option<Vec<RangeInclusive<u32>>> {
        if modseq < self.floor {
            return None;
        }
        let known = self.ranges.partition_point(|range| range.modseq <= modseq);
        let mut ranges: Vec<(u32, u32)> =
            self.ranges.range(known..).map(|range| (range.first, range.last)).collect();
        ranges.sort_unstable();
        let mut merged: Vec<RangeInclusive<u32>> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if before.end().checked_add(1) == Some(first) => {
                    *before = *before.start()..=last;
                }
                _ => merged.push(first..=last),
            }
        }
        Some(merged)
    }

    /// Whether two that may have forgotten differently say the same where both know.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let floor = self.floor.max(other.floor);
        let known = |one: &Self| one.ranges.iter().filter(|range| range.modseq > floor).copied().collect();
        let (one, other): (Vec<_>, Vec<_>) = (known(self), known(other));
        one == other
    }
}

/// The same in snapshots and in the index.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub(crate) struct VanishedPart {
    #[n(0)]
    floor: u64,
    /// First UID, how many follow it, and how far the MODSEQ is above that of the range before, at first above the floor.
    #[n(1)]
    ranges: Vec<(u32, u32, u64)>,
}

impl VanishedPart {
    pub(crate) fn new(vanished: &Vanished) -> Self {
        let mut before = vanished.floor;
        let part = |range: &VanishedRange| {
            let above = range.modseq - std::mem::replace(&mut before, range.modseq);
            (range.first, range.last - range.first, above)
        };
        Self { floor: vanished.floor, ranges: vanished.ranges.iter().map(part).collect() }
    }

    /// What it says; `None` where it contradicts itself.
    pub(crate) fn into_vanished(self) -> Option<Vanished> {
        let mut modseq = self.floor;
        let range = |(first, more, above): (u32, u32, u64)| {
            modseq = modseq.checked_add(above)?;
            Some(VanishedRange { first, last: first.checked_add(more)?, modseq })
        };
        let ranges: VecDeque<VanishedRange> = self.ranges.into_iter().map(range).collect::<Option<_>>()?;
        let above = ranges.front().is_none_or(|range| range.modseq > self.floor);
        above.then_some(Vanished { floor: self.floor, ranges })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn modseq(value: u64) -> ModSeq {
        ModSeq::new(value).unwrap()
    }

    fn add(vanished: &mut Vanished, uids: impl IntoIterator<Item = u32>, at: u64) {
        vanished.add(uids.into_iter().filter_map(Uid::new), modseq(at));
    }

    #[test]
    fn runs_are_merged_and_only_what_is_newer_is_told() {
        let mut vanished = Vanished::default();
        add(&mut vanished, [4, 5, 9], 3);
        add(&mut vanished, [6, 7], 5);
        add(&mut vanished, [u32::MAX], 6);
        assert_eq!(vanished.after(0), Some(vec![4..=7, 9..=9, u32::MAX..=u32::MAX]));
        assert_eq!(vanished.after(3), Some(vec![6..=7, u32::MAX..=u32::MAX]));
        assert_eq!(vanished.after(5), Some(vec![u32::MAX..=u32::MAX]));
        assert_eq!(vanished.after(6), Some(Vec::new()));
        assert_eq!(Vanished::unknown_up_to(modseq(4)).after(3), None);
        assert_eq!(Vanished::unknown_up_to(modseq(4)).after(4), Some(Vec::new()));
    }

    #[test]
    fn a_modseq_is_forgotten_as_a_whole() {
        let mut vanished = Vanished::default();
        add(&mut vanished, [1, 3, 5], 10);
        add(&mut vanished, (4..).step_by(2).take(VANISHED_RANGES_MAX - 3), 11);
        assert_eq!(vanished.ranges.len(), VANISHED_RANGES_MAX);
        assert!(vanished.after(0).is_some());
        add(&mut vanished, [100_001], 12);
        assert_eq!((vanished.floor, vanished.ranges.len()), (10, VANISHED_RANGES_MAX - 2));
        assert_eq!((vanished.after(9), vanished.after(11)), (None, Some(vec![100_001..=100_001])));
        // One change with more ranges than are kept is forgotten itself.
        add(&mut vanished, (200_000..).step_by(2).take(VANISHED_RANGES_MAX + 1), 13);
        assert_eq!((vanished.floor, vanished.ranges.len()), (13, 0));
    }

    #[test]
    fn what_contradicts_itself_is_nothing() {
        for ranges in [vec![(1, u32::MAX, 1)], vec![(1, 0, u64::MAX)], vec![(1, 0, 0)]] {
            assert_eq!(VanishedPart { floor: 7, ranges }.into_vanished(), None);
        }
    }

    proptest! {
        /// Whatever vanishes and whenever it is kept and read again: of what vanished nothing is missing, and what is known is exact.
        #[test]
        fn nothing_that_vanished_is_missing(
            steps in vec((1..200_u32, 1..4_u32, any::<bool>()), 1..60),
            asked in vec(0..70_u64, 1..20),
        ) {
            let (mut vanished, mut model, mut next) = (Vanished::default(), BTreeMap::new(), 1);
            for (step, (count, by, kept)) in (1..).zip(steps) {
                let uids: Vec<u32> = (next..).step_by(by as usize).take(count as usize).collect();
                next += count * by + 1;
                add(&mut vanished, uids.iter().copied(), step);
                model.extend(uids.into_iter().map(|uid| (uid, step)));
                prop_assert!(vanished.ranges.len() <= VANISHED_RANGES_MAX);
                if kept {
                    let octets = minicbor::to_vec(VanishedPart::new(&vanished)).unwrap();
                    let read: VanishedPart = minicbor::decode(&octets).unwrap();
                    prop_assert_eq!(&read.into_vanished().unwrap(), &vanished);
                }
            }
            for asked in asked {
                let expected: Vec<u32> =
                    model.iter().filter(|(_, at)| **at > asked).map(|(uid, _)| *uid).collect();
                match vanished.after(asked) {
                    None => prop_assert!(asked < vanished.floor),
                    Some(told) => {
                        prop_assert!(told.is_sorted_by(|one, other| *one.end() + 1 < *other.start()));
                        prop_assert_eq!(told.into_iter().flatten().collect::<Vec<_>>(), expected);
                    }
                }
            }
        }
    }
}
