//! Groups of submissions: decided one after the other, made durable by one sync, shown and answered together.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use waypost_mail::{AccountId, EntryId};

use super::{Submission, Writer};
use crate::{
    apply::{State, apply},
    decide::Undecided,
    error::StoreError,
    journal::{Batch, NewEntry, Placement, RawRecord, Room, Stream},
    queue::entries::Packed,
    record::{AccountChange, Change, DirectoryChange, ENTRY_RECORD_BYTES_MAX, QueueChange, Record},
    shared::locked,
    state::{AccountState, DirectoryState},
};

/// Most submissions in one group.
const SUBMISSIONS_MAX: usize = 1024;
/// Octets after which a group takes no more submissions.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Submissions that were decided and are not durable yet.
#[derive(Default)]
pub(crate) struct Group {
    decided: Vec<(Box<dyn Submission>, Result<(), Undecided>)>,
    weight: usize,
    /// Whether any of them has records.
    has_records: bool,
    /// Room on the disk when the group began.
    room: Room,
    touched: Touched,
}

/// What records changed.
#[derive(Default)]
struct Touched {
    accounts: BTreeSet<AccountId>,
    removed: BTreeSet<AccountId>,
    /// With whether the runner is told.
    queue: BTreeMap<EntryId, bool>,
    directory: bool,
}

/// A group whose batch is being written, with what is shown once it is durable: the private state runs ahead of it.
pub(crate) struct Flight {
    group: Group,
    accounts: Vec<Arc<AccountState>>,
    directory: Option<Arc<DirectoryState>>,
    queue: Vec<QueueEffect>,
}

/// An entry of the queue as a group leaves it.
struct QueueEffect {
    id: EntryId,
    /// `None`: gone.
    packed: Option<Packed>,
    /// Whether the runner is told.
    is_told: bool,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.decided.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.decided.len() >= SUBMISSIONS_MAX || self.weight >= GROUP_BYTES_MAX
    }

    fn answer(self, refusal: Option<&StoreError>) {
        for (submission, result) in self.decided {
            submission.answer(refusal.map_or(result, |error| Err(error.clone().into())));
        }
    }
}

impl Flight {
    fn new(group: Group, state: &State) -> Self {
        let touched = &group.touched;
        let accounts = touched.accounts.iter().filter_map(|id| state.accounts.get(id).cloned()).collect();
        let directory = touched.directory.then(|| Arc::clone(&state.directory));
        let effect = |(id, is_told): (&EntryId, &bool)| QueueEffect {
            id: *id,
            packed: state.queue.entries.get(*id),
            is_told: *is_told,
        };
        let queue = touched.queue.iter().map(effect).collect();
        Self { accounts, directory, queue, group }
    }
}

impl Writer {
    /// Decides a submission over all that was decided before it.
    pub(super) fn add(&mut self, mut submission: Box<dyn Submission>) {
        if self.group.is_empty() {
            let retention = self.shared.retention_ms.load(Ordering::Relaxed);
            self.state.retention.window = Duration::from_millis(retention);
            self.group.room = self.shared.room();
        }
        self.group.weight += submission.weight();
        let result = self.decide(submission.as_mut());
        self.group.decided.push((submission, result));
    }

    /// Has the group made durable, or answers it where nothing is to be written; one submission alone is durable and answered when
    /// this returns. Nothing is in flight.
    pub(super) fn send(&mut self) {
        // One alone gains nothing from another thread, and a hand-over and back is a fifth of its time.
        let alone = self.group.decided.len() == 1;
        match self.depart() {
            None => {}
            Some(mut batch) if alone => {
                let begun = Instant::now();
                let written = batch.write().map(|()| batch);
                self.custom.written(begun.elapsed());
                self.land(written);
            }
            Some(batch) => self.syncer.begin(batch),
        }
    }

    /// The group is in flight, with this batch, or answered.
    fn depart(&mut self) -> Option<Batch> {
        let group = mem::take(&mut self.group);
        self.custom.sent(group.decided.len());
        if self.progress.poisoned {
            self.give_up(group);
            return None;
        }
        let flight = Flight::new(group, &self.state);
        let mut batch = self.journal.take_batch();
        if let Some(batch) = &mut batch {
            self.journal.write_ahead(batch, self.custom.comes_alone());
        }
        match batch.is_some() {
            true => self.flight = Some(flight),
            false => self.show(flight),
        }
        batch
    }

    /// What was sent is durable or will never be.
    pub(super) fn land(&mut self, written: Result<Batch, StoreError>) {
        let Some(flight) = self.flight.take() else { return };
        match written {
            Ok(batch) => {
                self.journal.committed(batch);
                // The disk goes on while this one is shown. Nothing newer may be shown or answered before it, so what needs no
                // writing waits.
                if !self.progress.poisoned
                    && self.group.has_records
                    && let Some(batch) = self.depart()
                {
                    self.syncer.begin(batch);
                }
                self.show(flight);
            }
            Err(error) => {
                tracing::error!(%error, "the journal could not be written; no more writes until the next start");
                self.progress.poisoned = true;
                self.give_up(flight.group);
            }
        }
    }

    fn decide(&mut self, submission: &mut dyn Submission) -> Result<(), Undecided> {
        if self.progress.poisoned {
            return Err(StoreError::Poisoned.into());
        }
        if !self.group.room.is_enough_for(submission.need()) {
            return Err(StoreError::Full.into());
        }
        let records = submission.decide(&self.state, (self.shared.clock)())?;
        if records.is_empty() {
            return Ok(());
        }
        let (id, area, body_files) = submission.octets();
        let raw: Vec<RawRecord> = records.iter().map(Record::encode).collect();
        let bytes = raw.iter().map(|record| record.payload.len()).sum::<usize>();
        if bytes > ENTRY_RECORD_BYTES_MAX {
            return Err(StoreError::Limit("the change is too large to be made at once").into());
        }
        self.progress.bytes += bytes as u64 + area.iter().map(|octets| octets.len() as u64).sum::<u64>();
        let placement = match self.journal.stage(NewEntry { id, records: raw, area, body_files }) {
            Err(StoreError::Poisoned) => {
                self.progress.poisoned = true;
                return Err(StoreError::Poisoned.into());
            }
            other => other?,
        };
        self.group.has_records = true;
        submission.staged();
        let held = held_bytes(&self.state, &records);
        for record in &records {
            self.apply(record, &placement)?;
        }
        // where they held nothing, they can hold no less now, and what has just been packed need not be unpacked for it
        if held > 0 {
            let dead = held.saturating_sub(held_bytes(&self.state, &records));
            self.shared.dead_bytes.fetch_add(dead, Ordering::Relaxed);
        }
        Ok(())
    }

    fn apply(&mut self, record: &Record, placement: &Placement) -> Result<(), StoreError> {
        if let Err(error) = apply(&mut self.state, record, placement) {
            tracing::error!(%error, ?record, "a record that was decided cannot be applied: a bug");
            self.progress.poisoned = true;
            return Err(StoreError::Poisoned);
        }
        self.progress.records += 1;
        let touched = &mut self.group.touched;
        match (&record.change, record.stream) {
            (Change::Account(change), Stream::Account(account)) => {
                touched.accounts.insert(account);
                if let AccountChange::MessageAdded(added) = change
                    && let Some(structure) = &added.structure
                {
                    let mut all = self.shared.structures.write().unwrap_or_else(PoisonError::into_inner);
                    all.entry(account).or_default().insert(added.email, Arc::from(structure.as_slice()));
                }
            }
            (Change::Directory(change), _) => {
                touched.directory = true;
                if let DirectoryChange::AccountRemoved(removed) = change {
                    touched.removed.insert(removed.account);
                }
            }
            (Change::Queue(change), _) => {
                if let Some(id) = queue_entry(change) {
                    *touched.queue.entry(id).or_default() |= is_told(change);
                }
            }
            (Change::Account(_), _) => {}
        }
        Ok(())
    }

    /// Forgets what was decided and did not become durable, and says so to all who wait for it.
    fn give_up(&mut self, group: Group) {
        self.state.directory = Arc::clone(&self.shared.directory.borrow());
        for id in group.touched.accounts.union(&group.touched.removed) {
            match self.shared.account(*id) {
                Some(account) => self.state.accounts.insert(*id, account),
                None => self.state.accounts.remove(id),
            };
        }
        let refusal = group.has_records.then_some(&StoreError::Poisoned);
        group.answer(refusal);
    }

    /// Shows what is durable now, and answers.
    fn show(&mut self, flight: Flight) {
        for account in flight.accounts {
            self.progress.dirty.insert(account.id);
            self.shared.publish(account);
        }
        if let Some(directory) = flight.directory {
            self.shared.directory.send_replace(directory);
        }
        flight.group.touched.removed.iter().for_each(|id| self.forget(*id));
        if !flight.queue.is_empty() {
            self.show_queue(flight.queue);
        }
        flight.group.answer(None);
    }

    fn forget(&mut self, id: AccountId) {
        self.progress.dirty.remove(&id);
        self.progress.indexed.remove(&id);
        self.progress.removed.push(id);
        locked(&self.shared.pending).remove(&id);
        self.shared.structures.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let mut accounts = self.shared.accounts.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(published) = accounts.remove(&id) {
            let seq = published.borrow().seq + 1;
            published.send_replace(Arc::new(AccountState { seq, ..AccountState::empty(id) }));
        }
    }

    fn show_queue(&mut self, changed: Vec<QueueEffect>) {
        let mut queue = self.shared.queue.write();
        for QueueEffect { id, packed, .. } in &changed {
            match packed {
                Some(packed) => queue.insert(packed),
                None => drop(queue.remove(*id)),
            }
        }
        drop(queue);
        let told: Vec<EntryId> =
            changed.iter().filter(|effect| effect.is_told).map(|effect| effect.id).collect();
        for QueueEffect { id, packed, .. } in changed {
            self.state.queue.entries.became_durable(id, packed.as_ref());
        }
        if !told.is_empty() {
            locked(&self.shared.queue_changed).add(told);
            self.shared.queue_notify.notify_one();
        }
    }
}

/// Octets that the accounts and queue entries hold which some records change; what was deleted and is retained counts.
fn held_bytes(state: &State, records: &[Record]) -> u64 {
    let (mut accounts, mut entries) = (BTreeSet::new(), BTreeSet::new());
    for record in records {
        match (&record.change, record.stream) {
            (Change::Directory(DirectoryChange::AccountRemoved(removed)), _) => {
                accounts.insert(removed.account);
            }
            (Change::Queue(change), _) => entries.extend(queue_entry(change)),
            (_, Stream::Account(account)) => {
                accounts.insert(account);
            }
            _ => {}
        }
    }
    let accounts = accounts.iter().filter_map(|id| state.accounts.get(id));
    let entries = entries.iter().filter_map(|id| state.queue.entries.entry(*id));
    accounts.map(|account| account.bytes + account.retained.bytes).sum::<u64>()
        + entries.map(|entry| entry.content.size()).sum::<u64>()
}

/// Whether the runner does not know of a change by itself: what came of its own tries it does.
fn is_told(change: &QueueChange) -> bool {
    match change {
        QueueChange::Queued(_) | QueueChange::Rescheduled(_) | QueueChange::HoldChanged(_) => true,
        QueueChange::Attempted(_)
        | QueueChange::Settled(_)
        | QueueChange::Reported(_)
        | QueueChange::QueueSnapshotPart(_)
        | QueueChange::QueueSnapshotClosed(_) => false,
    }
}

/// The entry that a record changes.
fn queue_entry(change: &QueueChange) -> Option<EntryId> {
    match change {
        QueueChange::Queued(change) => Some(change.id),
        QueueChange::Attempted(change) => Some(change.id),
        QueueChange::Settled(change) => Some(change.id),
        QueueChange::Rescheduled(change) => Some(change.id),
        QueueChange::HoldChanged(change) => Some(change.id),
        QueueChange::Reported(_)
        | QueueChange::QueueSnapshotPart(_)
        | QueueChange::QueueSnapshotClosed(_) => None,
    }
}
