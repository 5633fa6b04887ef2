//! Sets of UIDs as ranges. Pure.

use std::ops::RangeInclusive;

/// Ranges that neither touch nor overlap, in ascending order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Uids(Vec<(u32, u32)>);

impl Uids {
    /// Adds a range.
    pub(super) fn add(&mut self, from: u32, to: u32) {
        let begin = self.0.partition_point(|range| range.1 < from.saturating_sub(1));
        let end = self.0.partition_point(|range| range.0 <= to.saturating_add(1));
        let touched = &self.0[begin..end.max(begin)];
        let from = touched.first().map_or(from, |first| first.0.min(from));
        let to = touched.last().map_or(to, |last| last.1.max(to));
        self.0.splice(begin..end.max(begin), [(from, to)]);
    }

    pub(super) fn holds(&self, uid: u32) -> bool {
        let at = self.0.partition_point(|range| range.1 < uid);
        self.0.get(at).is_some_and(|range| range.0 <= uid)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// All others, from 1 up to the largest possible.
    pub(super) fn others(&self) -> Vec<RangeInclusive<u32>> {
        let mut others = Vec::new();
        let mut next = Some(1);
        for &(from, to) in &self.0 {
            if let Some(begin) = next.filter(|begin| *begin < from) {
                others.push(begin..=from - 1);
            }
            next = to.checked_add(1);
        }
        others.extend(next.map(|begin| begin..=u32::MAX));
        others
    }
}

impl Extend<(u32, u32)> for Uids {
    fn extend<T: IntoIterator<Item = (u32, u32)>>(&mut self, ranges: T) {
        ranges.into_iter().for_each(|(from, to)| self.add(from, to));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_joined() {
        let mut uids = Uids::default();
        assert_eq!(uids.others(), [1..=u32::MAX]);
        uids.extend([(5, 5), (7, 9), (6, 6), (20, 30), (1, 2)]);
        assert_eq!(uids.ranges(), [(1, 2), (5, 9), (20, 30)]);
        assert_eq!(uids.others(), [3..=4, 10..=19, 31..=u32::MAX]);
        uids.add(2, 25);
        assert_eq!(uids.ranges(), [(1, 30)]);
        uids.add(31, u32::MAX);
        assert_eq!((uids.others(), uids.holds(u32::MAX)), (vec![], true));
    }

    proptest! {
        #[test]
        fn it_is_a_set(ranges in prop::collection::vec((1_u32..40, 0_u32..6), 0..12)) {
            let (mut uids, mut model) = (Uids::default(), BTreeSet::new());
            for (from, more) in ranges {
                uids.add(from, from + more);
                model.extend(from..=from + more);
            }
            for uid in 1..60 {
                prop_assert_eq!(uids.holds(uid), model.contains(&uid));
                prop_assert_eq!(uids.others().iter().any(|range| range.contains(&uid)), !model.contains(&uid));
            }
            prop_assert!(uids.ranges().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        }
    }
}
