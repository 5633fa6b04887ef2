//! The entries of the queue in memory: packed, so that a million of them fit, and once for those who decide and those who look.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use waypost_mail::EntryId;

use super::QueueEntry;
use crate::record::{EntryPart, cbor};

/// An entry as it stands in a snapshot's record: some 150 octets. Cheap to clone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Packed(Arc<[u8]>);

impl Packed {
    pub(crate) fn new(entry: &QueueEntry) -> Self {
        Self(cbor(&EntryPart::new(entry)).into())
    }

    /// The entry.
    pub(crate) fn entry(&self) -> QueueEntry {
        self.part().into_entry()
    }

    /// The entry as records hold it.
    pub(crate) fn part(&self) -> EntryPart {
        match minicbor::decode(&self.0) {
            Ok(part) => part,
            // What was encoded here is decoded here.
            Err(error) => unreachable!("{error}"),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The entries that are durable.
pub(crate) type Durable = Arc<RwLock<BTreeMap<EntryId, Packed>>>;

/// The entries as they were decided: those that are durable, and what runs ahead of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    durable: Durable,
    /// What differs; `None`: gone.
    ahead: BTreeMap<EntryId, Option<Packed>>,
}

impl Entries {
    /// Over entries that are durable.
    pub(crate) fn over(durable: Durable) -> Self {
        Self { durable, ahead: BTreeMap::new() }
    }

    pub(crate) fn get(&self, id: EntryId) -> Option<Packed> {
        match self.ahead.get(&id) {
            Some(changed) => changed.clone(),
            None => self.durable.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned(),
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
        self.insert_packed(entry.id, Packed::new(entry));
    }

    pub(crate) fn insert_packed(&mut self, id: EntryId, packed: Packed) {
        self.ahead.insert(id, Some(packed));
    }

    /// Takes an entry out; whether it was there.
    pub(crate) fn remove(&mut self, id: EntryId) -> bool {
        let was_there = self.contains(id);
        if self.is_durable(id) {
            self.ahead.insert(id, None);
        } else {
            self.ahead.remove(&id);
        }
        was_there
    }

    fn is_durable(&self, id: EntryId) -> bool {
        self.durable.read().unwrap_or_else(PoisonError::into_inner).contains_key(&id)
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

    /// All entries, where none is durable elsewhere: those of a replay.
    pub(crate) fn into_all(self) -> BTreeMap<EntryId, Packed> {
        let mut all = self.durable.read().unwrap_or_else(PoisonError::into_inner).clone();
        if all.is_empty() {
            // made at once, it fills its nodes
            return self.ahead.into_iter().filter_map(|(id, changed)| Some((id, changed?))).collect();
        }
        for (id, changed) in self.ahead {
            match changed {
                Some(packed) => all.insert(id, packed),
                None => all.remove(&id),
            };
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
mod tests {
    use waypost_mail::{BodyType, ReversePath, Timestamp};

    use super::*;
    use crate::{Content, Wishes, content::BodyPlace};

    fn entry(id: u64, attempts: u32) -> QueueEntry {
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
        let mut entries = Entries::over(Arc::clone(&durable));
        entries.insert(&entry(1, 0));
        assert!(entries.contains(EntryId(1)) && durable.read().unwrap().is_empty());
        let first = entries.get(EntryId(1)).unwrap();
        entries.insert(&entry(1, 1));
        durable.write().unwrap().insert(EntryId(1), first.clone());
        entries.became_durable(EntryId(1), Some(&first));
        assert_eq!(entries.entry(EntryId(1)).unwrap().attempts, 1, "a newer one stays ahead");
        let second = entries.get(EntryId(1)).unwrap();
        durable.write().unwrap().insert(EntryId(1), second.clone());
        entries.became_durable(EntryId(1), Some(&second));
        assert!(entries.ahead.is_empty());
        assert!(entries.remove(EntryId(1)) && !entries.contains(EntryId(1)) && !entries.remove(EntryId(1)));
        durable.write().unwrap().clear();
        entries.became_durable(EntryId(1), None);
        assert!(entries.ahead.is_empty() && entries.into_all().is_empty());
    }

    #[test]
    fn an_entry_that_was_never_durable_leaves_nothing() {
        let mut entries = Entries::default();
        entries.insert(&entry(1, 0));
        entries.insert(&entry(2, 3));
        assert!(entries.remove(EntryId(1)));
        assert_eq!(entries.ahead.len(), 1);
        assert_eq!(entries.into_all().values().next().unwrap().entry(), entry(2, 3));
    }
}
