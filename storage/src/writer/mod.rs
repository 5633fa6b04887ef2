//! The writer: one thread through which every change goes.
//!
//! ```text
//! receive ──► gather what is there ──► for each: decide, stage, apply to the private state
//!    ▲                                                     │
//!    │                                                  commit ── failed ──► poisoned: all are refused from now on
//!    └──── answer all ◄──── publish ◄──────────────────────┘
//! ```
//!
//! The private state runs ahead of the published one by one batch at most. After a failed commit it is never published.

mod memory;
mod submission;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, PoisonError, atomic::Ordering, mpsc as std_mpsc},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};
use waypost_mail::{AccountId, EmailId, EntryId, MailboxId};

use self::submission::Submission;
pub(crate) use self::submission::{Package, Rejected, Waiting};
use crate::{
    apply::{State, apply},
    checkpoint::Request,
    decide::Undecided,
    error::StoreError,
    index::structures::Structures,
    journal::{Journal, NewEntry, Placement, RawRecord, Room, Stream},
    record::{AccountChange, Change, DirectoryChange, ENTRY_RECORD_BYTES_MAX, QueueChange, Record},
    recovery::Loaded,
    shared::{Shared, locked},
    state::{AccountState, Chunk},
};

/// Most commands in one batch.
const BATCH_COMMANDS_MAX: usize = 1024;
/// Octets after which a batch takes no more commands.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Octets of journal after which a checkpoint is made.
const CHECKPOINT_BYTES: u64 = 256 * 1024 * 1024;
/// Rows in memory above which those of mailboxes that nobody holds open are given up after a checkpoint (some 80 MB).
const ROWS_KEPT_MAX: usize = if cfg!(test) { 20 } else { 500_000 };

/// Structures in memory above which all are given up after a checkpoint that failed (some 50 MB): they are found in their
/// messages again when they are asked for.
const STRUCTURES_KEPT_MAX: usize = if cfg!(test) { 60 } else { 100_000 };

/// What the writer is told.
pub(crate) enum Message {
    /// To change something.
    Submit(Box<dyn Submission>),
    /// An account that was loaded.
    Provide(Box<Loaded>, oneshot::Sender<Result<(), StoreError>>),
    /// An account that was rebuilt while it was loaded, because rows in the index were wrong.
    Replace(Box<Loaded>, oneshot::Sender<Result<Merged, StoreError>>),
    /// Rows of a mailbox that were loaded.
    Rows(AccountId, MailboxId, Vec<Arc<Chunk>>, oneshot::Sender<Merged>),
    /// A checkpoint ended.
    Checkpointed { done: bool, accounts: Vec<(AccountId, u64)>, structures: HashMap<AccountId, Vec<EmailId>> },
    /// To make a checkpoint now, and tell whether it succeeded.
    Checkpoint(oneshot::Sender<bool>),
    /// To end.
    Close,
}

/// What became of rows that were loaded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Merged {
    /// The state holds them, or does not need them any more.
    Yes,
    /// The account changed meanwhile: load again.
    Stale,
}

/// The writer's thread.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) journal: Journal,
    pub(crate) state: State,
    pub(crate) messages: mpsc::Receiver<Message>,
    /// To the checkpoint thread.
    pub(crate) checkpoints: std_mpsc::SyncSender<Request>,
    pub(crate) checkpoint_records: u64,
    pub(crate) progress: Progress,
}

/// What happened since the last checkpoint and in this batch.
#[derive(Default)]
pub(crate) struct Progress {
    poisoned: bool,
    /// Room on the disk when the batch began.
    room: Room,
    /// Whether a checkpoint runs.
    checkpointing: bool,
    /// Who waits for the next checkpoint, and who for the one that runs.
    wanted: Vec<oneshot::Sender<bool>>,
    promised: Vec<oneshot::Sender<bool>>,
    records: u64,
    /// Records behind the heads at the start: they count as soon as all of them are in memory, so that a server that is
    /// killed again and again still makes checkpoints.
    behind: u64,
    bytes: u64,
    dirty: HashSet<AccountId>,
    removed: Vec<AccountId>,
    /// Up to which seq the index holds accounts.
    indexed: HashMap<AccountId, u64>,
    /// Published when the batch is durable.
    batch: Touched,
}

impl Progress {
    /// `behind`: records that the heads do not cover yet.
    pub(crate) fn after_start(behind: u64) -> Self {
        Self { behind, ..Self::default() }
    }
}

#[derive(Default)]
struct Touched {
    accounts: BTreeSet<AccountId>,
    removed: BTreeSet<AccountId>,
    queue: BTreeSet<EntryId>,
    directory: bool,
}

impl Writer {
    /// Runs until it is told to close or nobody is left who could tell it anything.
    /// Gives the journal back, unless it takes no more writes.
    pub(crate) fn run(mut self) -> Option<Journal> {
        while let Some(first) = self.messages.blocking_recv() {
            let mut batch = Vec::new();
            let mut weight = 0;
            let mut next = Some(first);
            let mut closing = false;
            while let Some(message) = next.take() {
                match message {
                    Message::Submit(submission) => {
                        weight += submission.weight();
                        batch.push(submission);
                    }
                    Message::Close => closing = true,
                    other => {
                        self.commit(std::mem::take(&mut batch));
                        self.take(other);
                    }
                }
                if !closing && batch.len() < BATCH_COMMANDS_MAX && weight < BATCH_BYTES_MAX {
                    next = self.messages.try_recv().ok();
                }
            }
            self.commit(batch);
            self.checkpoint_when_due();
            if closing {
                break;
            }
        }
        self.close()
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Submit(_) | Message::Close => {}
            Message::Checkpoint(caller) => {
                self.progress.wanted.push(caller);
                self.checkpoint_when_due();
            }
            Message::Provide(loaded, caller) => {
                // The caller may be gone; the account is loaded all the same.
                let _gone = caller.send(self.provide(*loaded));
            }
            Message::Replace(loaded, caller) => {
                let _gone = caller.send(self.replace(*loaded));
            }
            Message::Rows(account, mailbox, chunks, caller) => {
                let _gone = caller.send(self.merge(account, mailbox, chunks));
            }
            Message::Checkpointed { done, accounts, structures } => {
                self.checkpointed(done, accounts, structures);
            }
        }
    }

    /// Decides, stages and applies all, commits once, publishes, answers.
    fn commit(&mut self, batch: Vec<Box<dyn Submission>>) {
        if batch.is_empty() {
            return;
        }
        let retention = self.shared.retention_ms.load(Ordering::Relaxed);
        self.state.retention.window = Duration::from_millis(retention);
        self.progress.room = self.shared.room();
        let mut answers = Vec::with_capacity(batch.len());
        let mut staged = false;
        for mut submission in batch {
            let result = self.stage(submission.as_mut());
            staged |= matches!(result, Ok(Staged::Records));
            answers.push((submission, result.map(|_| ())));
        }
        if staged && !self.progress.poisoned {
            match self.journal.commit() {
                Ok(()) => self.publish(),
                Err(error) => {
                    tracing::error!(%error, "the journal could not be written; no more writes until the next start");
                    self.progress.poisoned = true;
                }
            }
        }
        if self.progress.poisoned {
            self.return_to_published();
        }
        for (submission, result) in answers {
            let poisoned = staged && self.progress.poisoned;
            submission.answer(if poisoned { Err(StoreError::Poisoned.into()) } else { result });
        }
    }

    fn stage(&mut self, submission: &mut dyn Submission) -> Result<Staged, Undecided> {
        if self.progress.poisoned {
            return Err(StoreError::Poisoned.into());
        }
        if !self.progress.room.is_enough_for(submission.need()) {
            return Err(StoreError::Full.into());
        }
        let records = submission.decide(&self.state, (self.shared.clock)())?;
        if records.is_empty() {
            return Ok(Staged::Nothing);
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
        submission.staged();
        let held = held_bytes(&self.state, &records);
        for record in &records {
            self.apply(record, &placement)?;
        }
        let dead = held.saturating_sub(held_bytes(&self.state, &records));
        self.shared.dead_bytes.fetch_add(dead, Ordering::Relaxed);
        Ok(Staged::Records)
    }

    fn apply(&mut self, record: &Record, placement: &Placement) -> Result<(), StoreError> {
        if let Err(error) = apply(&mut self.state, record, placement) {
            tracing::error!(%error, ?record, "a record that was decided cannot be applied: a bug");
            self.progress.poisoned = true;
            return Err(StoreError::Poisoned);
        }
        self.progress.records += 1;
        match (&record.change, record.stream) {
            (Change::Account(change), Stream::Account(account)) => {
                self.progress.batch.accounts.insert(account);
                if let AccountChange::MessageAdded(added) = change
                    && let Some(structure) = &added.structure
                {
                    let mut all = self.shared.structures.write().unwrap_or_else(PoisonError::into_inner);
                    all.entry(account).or_default().insert(added.email, Arc::from(structure.as_slice()));
                }
            }
            (Change::Directory(change), _) => {
                self.progress.batch.directory = true;
                if let DirectoryChange::AccountRemoved(removed) = change {
                    self.progress.batch.removed.insert(removed.account);
                }
            }
            (Change::Queue(change), _) => self.progress.batch.queue.extend(queue_entry(change)),
            (Change::Account(_), _) => {}
        }
        Ok(())
    }

    /// Forgets what was decided and did not become durable.
    fn return_to_published(&mut self) {
        let touched = std::mem::take(&mut self.progress.batch);
        self.state.directory = Arc::clone(&self.shared.directory.borrow());
        for id in touched.accounts.union(&touched.removed) {
            match self.shared.account(*id) {
                Some(account) => self.state.accounts.insert(*id, account),
                None => self.state.accounts.remove(id),
            };
        }
    }

    /// Shows what is durable now.
    fn publish(&mut self) {
        let touched = std::mem::take(&mut self.progress.batch);
        for account in touched.accounts.iter().filter_map(|id| self.state.accounts.get(id)) {
            self.progress.dirty.insert(account.id);
            self.shared.publish(Arc::clone(account));
        }
        if touched.directory {
            self.shared.directory.send_replace(Arc::clone(&self.state.directory));
        }
        for id in touched.removed {
            self.forget(id);
        }
        if !touched.queue.is_empty() {
            self.publish_queue(touched.queue);
        }
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

    fn publish_queue(&self, touched: BTreeSet<EntryId>) {
        let mut queue = self.shared.queue.write().unwrap_or_else(PoisonError::into_inner);
        for id in &touched {
            match self.state.queue.entries.get(id) {
                Some(entry) => queue.insert(*id, Arc::clone(entry)),
                None => queue.remove(id),
            };
        }
        drop(queue);
        locked(&self.shared.queue_changed).extend(touched);
        self.shared.queue_notify.notify_one();
    }

    fn checkpoint_when_due(&mut self) {
        if self.progress.behind > 0 && locked(&self.shared.pending).is_empty() {
            self.progress.records += std::mem::take(&mut self.progress.behind);
        }
        if self.progress.records >= self.checkpoint_records
            || self.progress.bytes >= CHECKPOINT_BYTES
            || !self.progress.wanted.is_empty()
        {
            self.checkpoint();
        }
    }

    /// Begins a checkpoint, unless one runs. Private and published state are the same here.
    fn checkpoint(&mut self) {
        if self.progress.poisoned {
            self.progress.wanted.clear();
        }
        if self.progress.checkpointing || self.progress.poisoned {
            return;
        }
        let request = self.checkpoint_request();
        self.progress.checkpointing = self.checkpoints.try_send(request).is_ok();
        self.progress.promised = std::mem::take(&mut self.progress.wanted);
    }

    fn checkpoint_request(&mut self) -> Request {
        let end = self.journal.end();
        let pending = !locked(&self.shared.pending).is_empty();
        let dirty = std::mem::take(&mut self.progress.dirty);
        let structures = self.shared.structures.read().unwrap_or_else(PoisonError::into_inner);
        (self.progress.records, self.progress.bytes) = (0, 0);
        Request {
            position: (!pending).then_some(end),
            last_entry: self.shared.last_entry.load(Ordering::Relaxed),
            structures: dirty.iter().filter_map(|id| Some((*id, structures.get(id)?.clone()))).collect(),
            accounts: dirty.iter().filter_map(|id| self.state.accounts.get(id).cloned()).collect(),
            removed: std::mem::take(&mut self.progress.removed),
        }
    }

    fn checkpointed(
        &mut self,
        done: bool,
        accounts: Vec<(AccountId, u64)>,
        written: HashMap<AccountId, Vec<EmailId>>,
    ) {
        self.progress.checkpointing = false;
        for caller in self.progress.promised.drain(..) {
            // Who waited may be gone.
            let _gone = caller.send(done);
        }
        if !done {
            self.give_up_structures();
            return self.progress.dirty.extend(accounts.iter().map(|(id, _)| *id));
        }
        self.progress.indexed.extend(accounts);
        let mut structures = self.shared.structures.write().unwrap_or_else(PoisonError::into_inner);
        for (account, emails) in written {
            let left: Option<&mut Structures> = structures.get_mut(&account);
            if let Some(left) = left {
                emails.iter().for_each(|email| drop(left.remove(email)));
                if left.is_empty() {
                    structures.remove(&account);
                }
            }
        }
        drop(structures);
        self.evict(ROWS_KEPT_MAX);
    }

    /// Without an index nobody takes the structures of new messages: they must not gather for ever.
    fn give_up_structures(&self) {
        let mut structures = self.shared.structures.write().unwrap_or_else(PoisonError::into_inner);
        if structures.values().map(Structures::len).sum::<usize>() > STRUCTURES_KEPT_MAX {
            structures.clear();
        }
    }

    /// Begins the last checkpoint and gives the journal back. What was not received yet is refused.
    fn close(mut self) -> Option<Journal> {
        self.messages.close();
        if !self.progress.poisoned {
            let request = self.checkpoint_request();
            // Fails only where the checkpoint thread is gone: then the next start reads more of the journal.
            let _gone = self.checkpoints.send(request);
        }
        (!self.progress.poisoned).then_some(self.journal)
    }
}

/// What a submission came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Staged {
    Records,
    Nothing,
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
    let entries = entries.iter().filter_map(|id| state.queue.entries.get(id));
    accounts.map(|account| account.bytes + account.retained.bytes).sum::<u64>()
        + entries.map(|entry| entry.content.size()).sum::<u64>()
}

/// The entry that a record changes.
fn queue_entry(change: &QueueChange) -> Option<EntryId> {
    match change {
        QueueChange::Queued(change) => Some(change.id),
        QueueChange::Attempted(change) => Some(change.id),
        QueueChange::Settled(change) => Some(change.id),
        QueueChange::Rescheduled(change) => Some(change.id),
        QueueChange::QueueSnapshotPart(_) | QueueChange::QueueSnapshotClosed(_) => None,
    }
}
