//! `\Seen` of those who read a mailbox that is not theirs: each has their own; the owner's stands in the rows.

use std::{collections::BTreeMap, ops::RangeInclusive};

use minicbor::{Decode, Encode};
use waypost_mail::{AccountId, Uid};

use crate::record::{UidRange, codec};

/// A set of UIDs, as ascending ranges with gaps between them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UidSet(Vec<RangeInclusive<u32>>);

impl UidSet {
    /// Whether a UID is in it.
    pub fn contains(&self, uid: Uid) -> bool {
        let at = self.0.partition_point(|range| *range.end() < uid.value());
        self.0.get(at).is_some_and(|range| *range.start() <= uid.value())
    }

    /// How many UIDs are in it.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|range| range.end() - range.start() + 1).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one. Cheap where they come in their order.
    pub fn insert(&mut self, uid: Uid) {
        match self.0.last_mut() {
            Some(last) if last.end().checked_add(1) == Some(uid.value()) => {
                *last = *last.start()..=uid.value();
            }
            _ => self.add(&[UidRange { first: uid, last: uid }]),
        }
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Uid> {
        self.0.iter().cloned().flatten().filter_map(Uid::new)
    }

    /// Its ranges, ascending.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = UidRange> {
        let range = |range: &RangeInclusive<u32>| {
            Some(UidRange { first: Uid::new(*range.start())?, last: Uid::new(*range.end())? })
        };
        self.0.iter().filter_map(range)
    }

    pub(crate) fn add(&mut self, uids: &[UidRange]) {
        let valid = uids.iter().filter(|range| range.first <= range.last);
        self.0.extend(valid.map(|range| range.first.value()..=range.last.value()));
        self.0.sort_unstable_by_key(|range| *range.start());
        let mut merged: Vec<RangeInclusive<u32>> = Vec::with_capacity(self.0.len());
        for range in self.0.drain(..) {
            match merged.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => merged.push(range),
            }
        }
        self.0 = merged;
    }

    pub(crate) fn remove(&mut self, uids: &[UidRange]) {
        for gone in uids {
            let (first, last) = (gone.first.value(), gone.last.value());
            let at = self.0.partition_point(|range| *range.end() < first);
            let end = at + self.0[at..].partition_point(|range| *range.start() <= last);
            let touched: Vec<_> = self.0[at..end].to_vec();
            let before = touched.first().filter(|range| *range.start() < first);
            let after = touched.last().filter(|range| *range.end() > last);
            let rest =
                [before.map(|range| *range.start()..=first - 1), after.map(|range| last + 1..=*range.end())];
            self.0.splice(at..end, rest.into_iter().flatten());
        }
    }
}

/// What each of those who do not own a mailbox has seen in it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Seen(BTreeMap<AccountId, UidSet>);

impl Seen {
    /// What one of them has seen.
    pub fn by(&self, reader: AccountId) -> Option<&UidSet> {
        self.0.get(&reader)
    }

    /// Those who have seen a message.
    pub(crate) fn readers(&self, uid: Uid) -> impl Iterator<Item = AccountId> {
        self.0.iter().filter(move |(_, seen)| seen.contains(uid)).map(|(reader, _)| *reader)
    }

    /// Whether nobody has seen anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&mut self, reader: AccountId, uids: &[UidRange]) {
        if !uids.is_empty() {
            self.0.entry(reader).or_default().add(uids);
        }
    }

    pub(crate) fn remove(&mut self, reader: AccountId, uids: &[UidRange]) {
        if let Some(seen) = self.0.get_mut(&reader) {
            seen.remove(uids);
        }
        self.0.retain(|_, seen| !seen.is_empty());
    }

    /// Messages are gone.
    pub(crate) fn forget(&mut self, uids: &[UidRange]) {
        self.0.values_mut().for_each(|seen| seen.remove(uids));
        self.0.retain(|_, seen| !seen.is_empty());
    }
}

/// What one reader has seen, on disk.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct KeptSeen {
    #[cbor(n(0), with = "codec::account")]
    reader: AccountId,
    #[n(1)]
    uids: Vec<UidRange>,
}

impl KeptSeen {
    /// All readers of a mailbox.
    pub(crate) fn all(seen: &Seen) -> Vec<Self> {
        let kept =
            |(reader, set): (&AccountId, &UidSet)| Self { reader: *reader, uids: set.ranges().collect() };
        seen.0.iter().map(kept).collect()
    }

    /// What they have seen.
    pub(crate) fn into_seen(kept: Vec<Self>) -> Seen {
        let mut seen = Seen::default();
        for KeptSeen { reader, uids } in kept.into_iter().filter(|kept| !kept.uids.is_empty()) {
            seen.add(reader, &uids);
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(first: u32, length: u32) -> UidRange {
        UidRange { first: Uid::new(first).unwrap(), last: Uid::new(first + length).unwrap() }
    }

    proptest! {
        #[test]
        fn a_set_is_what_was_added_and_not_removed(
            steps in proptest::collection::vec((any::<bool>(), proptest::collection::vec((1..60u32, 0..9u32), 0..4)), 0..20)
        ) {
            let (mut set, mut model) = (Seen::default(), BTreeSet::new());
            let reader = AccountId(7);
            for (adds, ranges) in steps {
                let ranges: Vec<_> = ranges.into_iter().map(|(first, length)| range(first, length)).collect();
                let uids = ranges.iter().flat_map(|range| range.first.value()..=range.last.value());
                if adds {
                    model.extend(uids);
                    set.add(reader, &ranges);
                } else {
                    uids.for_each(|uid| {
                        model.remove(&uid);
                    });
                    set.remove(reader, &ranges);
                }
                let found = set.by(reader).cloned().unwrap_or_default();
                prop_assert_eq!(found.len() as usize, model.len());
                for uid in 1..80 {
                    prop_assert_eq!(found.contains(Uid::new(uid).unwrap()), model.contains(&uid));
                }
                prop_assert!(found.0.is_sorted_by(|one, other| *one.end() + 1 < *other.start()));
                prop_assert_eq!(&KeptSeen::into_seen(KeptSeen::all(&set)), &set);
                prop_assert_eq!(set.is_empty(), model.is_empty());
            }
        }
    }
}
