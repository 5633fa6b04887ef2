//! What of the queue its runner was not told of yet.

use std::collections::BTreeSet;

use waypost_mail::EntryId;

use super::pages::Pages;

/// Names of entries to be told of: all that were there from the start, page by page, and those that changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Those of the start that are left: behind the first name, up to the last.
    start: Option<(Option<EntryId>, EntryId)>,
    changed: BTreeSet<EntryId>,
}

impl Changes {
    /// Of a queue at the start.
    pub(crate) fn all(queue: &Pages) -> Self {
        Self { start: queue.last().map(|last| (None, last)), changed: BTreeSet::new() }
    }

    /// Entries have changed.
    pub(crate) fn add(&mut self, ids: impl IntoIterator<Item = EntryId>) {
        self.changed.extend(ids);
    }

    /// The next to be told of, at most `most`, and at most as many from the start.
    pub(crate) fn take(&mut self, queue: &Pages, most: usize) -> Vec<EntryId> {
        let mut taken = self.take_of_start(queue, most);
        match self.changed.len() > most {
            true => taken.extend((0..most).map_while(|_| self.changed.pop_first())),
            false => taken.extend(std::mem::take(&mut self.changed)),
        }
        taken
    }

    fn take_of_start(&mut self, queue: &Pages, most: usize) -> Vec<EntryId> {
        let Some((after, last)) = self.start else { return Vec::new() };
        let ids = queue.behind(after).map(|slot| slot.id).take_while(|id| *id <= last);
        let ids: Vec<EntryId> = ids.take(most).collect();
        self.start = ids.last().filter(|_| ids.len() == most).map(|reached| (Some(*reached), last));
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::entries::{Packed, tests::entry},
        *,
    };

    fn ids(ids: impl IntoIterator<Item = u64>) -> Vec<EntryId> {
        ids.into_iter().map(EntryId).collect()
    }

    #[test]
    fn what_was_there_is_told_of_once_and_what_changed_beside_it() {
        let mut queue = Pages::default();
        (0..7).for_each(|id| queue.insert(&Packed::new(&entry(id, 0))));
        let mut changes = Changes::all(&queue);
        assert_eq!(changes.take(&queue, 3), ids(0..3));
        // one that left before it was told of, and one that came
        assert!(queue.remove(EntryId(3)));
        queue.insert(&Packed::new(&entry(9, 0)));
        changes.add(ids([9, 1]));
        assert_eq!(changes.take(&queue, 3), ids([4, 5, 6, 1, 9]));
        assert_eq!(changes.take(&queue, 3), ids([]));
        changes.add(ids(10..15));
        assert_eq!((changes.take(&queue, 3), changes.take(&queue, 3)), (ids(10..13), ids(13..15)));
        assert_eq!(Changes::all(&Pages::default()).take(&queue, 3), ids([]));
    }
}
