//! The writer, through which every change goes. It is one; its thread does its work, or a caller that comes alone ([`desk`]).
//!
//! ```text
//! receive ──► decide, stage, apply to the private state ──► group
//!                                                             │ nothing else waits, and nothing is in flight
//!                                                             ▼
//! answer all ◄── show ◄── durable ◄── write and sync ◄────── flight
//!                                          └─ failed ──► poisoned: all are refused from now on
//! ```
//!
//! One group is in flight at most; while it is, the next gathers. So the private state runs ahead of the published one by two
//! groups at most. After a failed write it is never published.

mod desk;
mod group;
mod memory;
mod submission;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, atomic::Ordering, mpsc as std_mpsc},
};

use tokio::sync::{mpsc, oneshot};
use waypost_mail::{AccountId, EmailId, MailboxId};

pub(crate) use self::{
    desk::{Custom, Desk},
    group::{Flight, Group},
    submission::{Package, Rejected, Submission, Waiting},
};
use crate::{
    apply::State,
    checkpoint::Request,
    error::StoreError,
    index::structures::Structures,
    journal::{Batch, Journal, Syncer},
    recovery::Loaded,
    shared::{Shared, locked},
    state::Chunk,
};

/// Octets of journal after which a checkpoint is made.
const CHECKPOINT_BYTES: u64 = 384 * 1024 * 1024;
/// Rows in memory above which those of mailboxes that nobody holds open are given up after a checkpoint (some 80 MB).
const ROWS_KEPT_MAX: usize = if cfg!(test) { 20 } else { 500_000 };

/// Structures in memory above which all are given up after a checkpoint that failed (some 70 MB): they are found in their
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

/// The writer, with all that is its own.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) journal: Journal,
    pub(crate) state: State,
    /// To the checkpoint thread.
    pub(crate) checkpoints: std_mpsc::SyncSender<Request>,
    pub(crate) checkpoint_records: u64,
    pub(crate) syncer: Syncer,
    pub(crate) progress: Progress,
    /// Decided, and not sent yet.
    pub(crate) group: Group,
    /// Sent, and not durable yet.
    pub(crate) flight: Option<Flight>,
    /// How the groups before went.
    pub(crate) custom: Custom,
}

/// What happened since the last checkpoint.
#[derive(Default)]
pub(crate) struct Progress {
    poisoned: bool,
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
}

impl Progress {
    /// `behind`: records that the heads do not cover yet.
    pub(crate) fn after_start(behind: u64) -> Self {
        Self { behind, ..Self::default() }
    }
}

/// The writer's thread.
pub(crate) struct Run {
    /// Where the writer lies while nothing is to be done.
    pub(crate) desk: Arc<Desk>,
    pub(crate) messages: mpsc::Receiver<Message>,
}

/// What a writer waits for that has something to do.
enum Event {
    Written(Result<Batch, StoreError>),
    Told(Option<Message>),
}

impl Run {
    /// Runs until it is told to close or nobody is left who could tell it anything.
    /// Gives the journal back, unless it takes no more writes.
    pub(crate) async fn run(mut self) -> Option<Journal> {
        let mut writer = self.desk.take()?;
        let mut closing = false;
        loop {
            if writer.flight.is_none()
                && !writer.group.is_empty()
                && (writer.group.is_full() || self.messages.is_empty())
            {
                writer.send();
            }
            if writer.checkpoint_is_due() {
                writer.settle().await;
                writer.checkpoint();
            }
            let event = if !writer.is_idle() {
                tokio::select! {
                    biased;
                    written = writer.syncer.written(), if writer.flight.is_some() => Event::Written(written),
                    message = self.messages.recv(), if !closing && !writer.group.is_full() => Event::Told(message),
                }
            } else if closing {
                break;
            } else {
                self.desk.put(writer);
                let message = self.messages.recv().await;
                writer = self.desk.take()?;
                Event::Told(message)
            };
            match event {
                Event::Written(written) => writer.land(written),
                Event::Told(Some(Message::Submit(submission))) => writer.add(submission),
                Event::Told(Some(Message::Close) | None) => closing = true,
                Event::Told(Some(other)) => {
                    writer.settle().await;
                    writer.take(other);
                }
            }
        }
        self.messages.close();
        writer.close()
    }
}

impl Writer {
    /// Nothing is decided or sent that is not shown: private and published state are the same.
    fn is_idle(&self) -> bool {
        self.flight.is_none() && self.group.is_empty()
    }

    /// Has all that was decided made durable and shown: private and published state are the same afterwards.
    async fn settle(&mut self) {
        while self.flight.is_some() || !self.group.is_empty() {
            if self.flight.is_none() {
                self.send();
            } else {
                let written = self.syncer.written().await;
                self.land(written);
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Submit(_) | Message::Close => {}
            Message::Checkpoint(caller) => {
                self.progress.wanted.push(caller);
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

    fn checkpoint_is_due(&mut self) -> bool {
        if self.progress.behind > 0 && locked(&self.shared.pending).is_empty() {
            self.progress.records += std::mem::take(&mut self.progress.behind);
        }
        let wanted = !self.progress.wanted.is_empty();
        let grown =
            self.progress.records >= self.checkpoint_records || self.progress.bytes >= CHECKPOINT_BYTES;
        match self.progress.poisoned {
            true => wanted,
            false => !self.progress.checkpointing && (wanted || grown),
        }
    }

    /// Begins a checkpoint; none runs. Private and published state are the same here.
    fn checkpoint(&mut self) {
        if self.progress.poisoned {
            return self.progress.wanted.clear();
        }
        let request = self.checkpoint_request();
        self.progress.checkpointing = self.checkpoints.try_send(request).is_ok();
        self.progress.promised = std::mem::take(&mut self.progress.wanted);
        if !self.progress.checkpointing {
            // Nobody is there to make it: who waits is told so.
            self.progress.promised.clear();
        }
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
    fn close(mut self: Box<Self>) -> Option<Journal> {
        if !self.progress.poisoned {
            let request = self.checkpoint_request();
            // Fails only where the checkpoint thread is gone: then the next start reads more of the journal.
            let _gone = self.checkpoints.send(request);
        }
        (!self.progress.poisoned).then_some(self.journal)
    }
}
