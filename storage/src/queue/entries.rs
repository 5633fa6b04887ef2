//! The entries of the queue in memory: packed, so that a million of them fit, and once for those who decide and those who look.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use waypost_mail::EntryId;

use super::{QueueEntry, pages::Pages};
use crate::record::{EntryPart, cbor};

/// An entry by itself, packed. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    id: EntryId,
    octets: Arc<[u8]>,
}

impl Packed {
    pub(crate) fn new(entry: &QueueEntry) -> Self {
        Self { id: entry.id, octets: cbor(&EntryPart::new(entry).shortened()).into() }
    }

    /// Of octets that stand in a page.
    pub(super) fn copied(id: EntryId, octets: &[u8]) -> Self {
        Self { id, octets: octets.into() }
    }

    pub(crate) fn id(&self) -> EntryId {
        self.id
    }

    /// The entry.
    pub(crate) fn entry(&self) -> QueueEntry {
        unpacked(self.id, &self.octets).into_entry()
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.octets, &other.octets)
    }
}

/// The entry of packed octets, as records hold it.
pub(super) fn unpacked(id: EntryId, octets: &[u8]) -> EntryPart {
    match minicbor::decode::<EntryPart>(octets) {
        Ok(part) => part.lengthened(id),
        // What was encoded here is decoded here.
        Err(error) => unreachable!("{error}"),
    }
}

/// The entries that are durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durable(Arc<RwLock<Pages>>);

impl Durable {
    pub(crate) fn new(pages: Pages) -> Self {
        Self(Arc::new(RwLock::new(pages)))
    }

    /// To look. Each change of the pages is complete, so that a poisoned lock is no reason to stop.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Pages> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change them.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Pages> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entries as they were decided: those that are durable, and what runs ahead of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    durable: Durable,
    /// What differs; `None`: gone.
    ahead: BTreeMap<EntryId, Option<Packed>>,
    course: Course,
}

/// Where changes go.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Course {
    /// They run ahead until they are durable.
    #[default]
    Ahead,
    /// They are made at once, as they are durable.
    Through,
}

impl Entries {
    /// Over entries that are durable.
    pub(crate) fn over(durable: Durable) -> Self {
        Self { durable, ..Self::default() }
    }

    /// None so far; what is put here was read from the journal.
    pub(crate) fn replayed() -> Self {
        Self { course: Course::Through, ..Self::default() }
    }

    pub(crate) fn get(&self, id: EntryId) -> Option<Packed> {
        match self.ahead.get(&id) {
            Some(changed) => changed.clone(),
            None => self.durable.read().get(id),
        }
    }

    pub(crate) fn entry(&self, id: EntryId) -> Option<QueueEntry> {
        self.get(id).map(|packed| packed.entry())
    }

    pub(crate) fn contains(&self, id: EntryId) -> bool {
        match self.ahead.get(&id) {
            Some(changed) => changed.is_some(),
            None => self.is_durable(id),
        }
    }

    pub(crate) fn insert(&mut self, entry: &QueueEntry) {
        let packed = Packed::new(entry);
        match self.course {
            Course::Ahead => drop(self.ahead.insert(entry.id, Some(packed))),
            Course::Through => self.durable.write().insert(&packed),
        }
    }

    /// Takes an entry out; whether it was there.
    pub(crate) fn remove(&mut self, id: EntryId) -> bool {
        if self.course == Course::Through {
            return self.durable.write().remove(id);
        }
        let was_there = self.contains(id);
        if self.is_durable(id) {
            self.ahead.insert(id, None);
        } else {
            self.ahead.remove(&id);
        }
        was_there
    }

    fn is_durable(&self, id: EntryId) -> bool {
        self.durable.read().contains(id)
    }

    /// What was decided is durable now, and stands there.
    pub(crate) fn became_durable(&mut self, id: EntryId, as_it_was: Option<&Packed>) {
        let is_newest = match (self.ahead.get(&id), as_it_was) {
            (Some(Some(ahead)), Some(durable)) => ahead.is_same(durable),
            (Some(None), None) => true,
            _ => false,
        };
        if is_newest {
            self.ahead.remove(&id);
        }
    }

    /// All entries.
    pub(crate) fn into_all(self) -> Pages {
        let mut all = self.durable.read().clone();
        for (id, changed) in self.ahead {
            match changed {
                Some(packed) => all.insert(&packed),
                None => drop(all.remove(id)),
            }
        }
        all
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        self.clone().into_all() == other.clone().into_all()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use waypost_mail::{BodyType, ReversePath, Timestamp};

    use super::*;
    use crate::{Content, Wishes, content::BodyPlace};

    pub(in crate::queue) fn entry(id: u64, attempts: u32) -> QueueEntry {
        let content = Content {
            segment: 1,
            area_at: 2,
            area_bytes: 3,
            prefix: (0, 0),
            header: (0, 1),
            body: BodyPlace::Area(1),
            body_bytes: 2,
        };
        QueueEntry {
            id: EntryId(id),
            accepted: Timestamp(0),
            reverse_path: ReversePath::Null,
            recipients: Vec::new(),
            body: BodyType::SevenBit,
            smtputf8: false,
            content,
            attempts,
            wishes: Wishes::default(),
            not_before: None,
            held: None,
        }
    }

    #[test]
    fn what_is_decided_runs_ahead_of_what_is_durable_and_joins_it() {
        let durable = Durable::default();
        let mut entries = Entries::over(durable.clone());
        entries.insert(&entry(1, 0));
        assert!(entries.contains(EntryId(1)) && durable.read().len() == 0);
        let first = entries.get(EntryId(1)).unwrap();
        entries.insert(&entry(1, 1));
        durable.write().insert(&first);
        entries.became_durable(EntryId(1), Some(&first));
        assert_eq!(entries.entry(EntryId(1)).unwrap().attempts, 1, "a newer one stays ahead");
        let second = entries.get(EntryId(1)).unwrap();
        durable.write().insert(&second);
        entries.became_durable(EntryId(1), Some(&second));
        assert!(entries.ahead.is_empty());
        assert!(entries.remove(EntryId(1)) && !entries.contains(EntryId(1)) && !entries.remove(EntryId(1)));
        assert!(durable.write().remove(EntryId(1)));
        entries.became_durable(EntryId(1), None);
        assert!(entries.ahead.is_empty() && entries.into_all().len() == 0);
    }

    #[test]
    fn an_entry_that_was_never_durable_leaves_nothing() {
        let mut entries = Entries::default();
        entries.insert(&entry(1, 0));
        entries.insert(&entry(2, 3));
        assert!(entries.remove(EntryId(1)));
        assert_eq!(entries.ahead.len(), 1);
        assert_eq!(entries.into_all().behind(None).next().unwrap().entry(), entry(2, 3));
    }
}
