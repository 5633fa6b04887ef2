//! Whose turn it is to get a connection, and which destinations took mail lately. Pure.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, Hash, RandomState},
};

use super::sites::SiteId;

/// One choice in so many among those that may be dead is for one that was tried in vain.
const FAILED_EVERY: u32 = 4;
/// Destinations that took mail lately and are remembered at least, of twice as many at most: 16 octets each.
const KNOWN: usize = 8192;

/// What is known of a destination that wants a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// A server took a session there lately.
    Proven,
    /// Nothing is known.
    Fresh,
    /// It was tried in vain.
    Failed,
}

/// Destinations that want a connection, each kind in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Turns {
    proven: VecDeque<SiteId>,
    fresh: VecDeque<SiteId>,
    failed: VecDeque<SiteId>,
    choices: u32,
}

impl Turns {
    pub(super) fn push(&mut self, site: SiteId, standing: Standing) {
        match standing {
            Standing::Proven => self.proven.push_back(site),
            Standing::Fresh => self.fresh.push_back(site),
            Standing::Failed => self.failed.push_back(site),
        }
    }

    /// Before all others: its turn had come, and there was no room.
    pub(super) fn push_front(&mut self, site: SiteId, standing: Standing) {
        match standing {
            Standing::Proven => self.proven.push_front(site),
            Standing::Fresh => self.fresh.push_front(site),
            Standing::Failed => self.failed.push_front(site),
        }
    }

    /// The next that is known to take mail.
    pub(super) fn pop_proven(&mut self) -> Option<SiteId> {
        self.proven.pop_front()
    }

    /// The next of those that may be dead. One in four is one that was tried in vain; of the others a third is the youngest, so that
    /// who comes new does not wait for thousands that came at once.
    pub(super) fn pop_unproven(&mut self) -> Option<SiteId> {
        self.choices = self.choices.wrapping_add(1);
        if self.choices.is_multiple_of(FAILED_EVERY)
            && let Some(site) = self.failed.pop_front()
        {
            return Some(site);
        }
        let fresh = match self.choices % 2 {
            0 => self.fresh.pop_back(),
            _ => self.fresh.pop_front(),
        };
        fresh.or_else(|| self.failed.pop_front())
    }

    pub(super) fn has_unproven(&self) -> bool {
        !self.fresh.is_empty() || !self.failed.is_empty()
    }

    /// Whether one still wants a connection; those that do not lose their turn.
    pub(super) fn is_wanted(&mut self, unproven_too: bool, mut wants: impl FnMut(SiteId) -> bool) -> bool {
        let Self { proven, fresh, failed, .. } = self;
        let all = [Some(proven), Some(fresh).filter(|_| unproven_too), Some(failed).filter(|_| unproven_too)];
        all.into_iter().flatten().any(|turn| {
            while let Some(first) = turn.front() {
                if wants(*first) {
                    return true;
                }
                turn.pop_front();
            }
            false
        })
    }
}

/// Destinations that took mail lately, by a hash: a long time after the last message went there, they need not stand behind those
/// that may be dead. In two halves, of which the older one goes when the younger one is full.
#[derive(Debug, Default)]
pub(super) struct Known {
    hasher: RandomState,
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Known {
    pub(super) fn remember<P: Hash>(&mut self, place: &P) {
        if self.young.len() >= KNOWN {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(self.hasher.hash_one(place));
    }

    pub(super) fn forget<P: Hash>(&mut self, place: &P) {
        let hash = self.hasher.hash_one(place);
        self.young.remove(&hash);
        self.old.remove(&hash);
    }

    pub(super) fn holds<P: Hash>(&self, place: &P) -> bool {
        let hash = self.hasher.hash_one(place);
        self.young.contains(&hash) || self.old.contains(&hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_young_are_not_behind_thousands_and_the_failed_get_a_fourth() {
        let mut turns = Turns::default();
        (0..6).for_each(|site| turns.push(SiteId(site), Standing::Fresh));
        (10..13).for_each(|site| turns.push(SiteId(site), Standing::Failed));
        turns.push(SiteId(20), Standing::Proven);
        let order: Vec<u32> = std::iter::from_fn(|| turns.pop_unproven()).map(|site| site.0).collect();
        assert_eq!(order, [0, 5, 1, 10, 2, 4, 3, 11, 12]);
        assert!(!turns.has_unproven());
        assert_eq!((turns.pop_proven(), turns.pop_proven()), (Some(SiteId(20)), None));
    }

    #[test]
    fn who_wants_nothing_more_loses_the_turn() {
        let mut turns = Turns::default();
        turns.push(SiteId(1), Standing::Proven);
        turns.push(SiteId(2), Standing::Fresh);
        turns.push(SiteId(3), Standing::Failed);
        assert!(!turns.is_wanted(false, |site| site.0 > 1));
        assert!(turns.is_wanted(true, |site| site.0 > 2));
        assert!(!turns.is_wanted(true, |_| false) && !turns.has_unproven());
    }

    #[test]
    fn a_bounded_number_of_destinations_is_remembered() {
        let mut known = Known::default();
        (0..3 * KNOWN).for_each(|place| known.remember(&place));
        assert!(known.young.len() + known.old.len() <= 2 * KNOWN);
        assert!((2 * KNOWN..3 * KNOWN).all(|place| known.holds(&place)) && !known.holds(&0));
        known.forget(&(3 * KNOWN - 1));
        assert!(!known.holds(&(3 * KNOWN - 1)));
    }
}
