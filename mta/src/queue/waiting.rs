//! Entries that wait, in the order in which they are due. Pure.

use std::collections::{BTreeSet, HashMap};

use waypost_mail::{EntryId, Timestamp};

/// The entries that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_time: BTreeSet<(Timestamp, EntryId)>,
    times: HashMap<EntryId, Timestamp>,
}

impl Waiting {
    /// Puts an entry in its place; the place that it had is forgotten.
    pub(super) fn insert(&mut self, id: EntryId, due: Timestamp) {
        self.remove(id);
        self.times.insert(id, due);
        self.by_time.insert((due, id));
    }

    /// Forgets an entry.
    pub(super) fn remove(&mut self, id: EntryId) {
        if let Some(due) = self.times.remove(&id) {
            self.by_time.remove(&(due, id));
        }
    }

    /// Takes the first entry that is due.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<EntryId> {
        let (due, id) = self.by_time.first().copied()?;
        if due > now {
            return None;
        }
        self.remove(id);
        Some(id)
    }

    /// When the first one is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_when_they_are_due() {
        let mut waiting = Waiting::default();
        assert_eq!((waiting.next(), waiting.pop_due(Timestamp(i64::MAX))), (None, None));
        for (id, due) in [(1, 30), (2, 10), (3, 20), (1, 5), (3, 40)] {
            waiting.insert(EntryId(id), Timestamp(due));
        }
        assert_eq!(waiting.next(), Some(Timestamp(5)));
        assert_eq!(waiting.pop_due(Timestamp(4)), None);
        assert_eq!(waiting.pop_due(Timestamp(5)), Some(EntryId(1)));
        waiting.remove(EntryId(2));
        waiting.remove(EntryId(2));
        assert_eq!(waiting.pop_due(Timestamp(39)), None);
        assert_eq!(waiting.pop_due(Timestamp(40)), Some(EntryId(3)));
        assert_eq!(waiting.next(), None);
    }
}
