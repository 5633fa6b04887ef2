//! `apply`: what a record does to the state. Pure: live work, recovery, rebuild and check all call it, so that they agree.
//!
//! States are copied on write: what a snapshot shares is copied when it changes, and only that.

mod account;
mod directory;
mod queue;
pub(crate) mod rows;

use std::{collections::HashMap, sync::Arc, time::Duration};

use waypost_mail::{AccountId, EntryId, MailboxId};

pub(crate) use self::{
    account::apply as apply_account, directory::apply as apply_directory, queue::apply as apply_queue,
};
use crate::{
    journal::{Placement, Stream},
    queue::entries::Entries,
    record::{Change, Record},
    state::{AccountState, DirectoryState},
};

/// All that the store holds: the directory, the queue, and the accounts that are loaded.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) directory: Arc<DirectoryState>,
    pub(crate) accounts: HashMap<AccountId, Arc<AccountState>>,
    pub(crate) queue: QueueState,
    pub(crate) retention: Retention,
}

/// What of deleted messages is retained: how long, and how much of each account.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Retention {
    /// How long after its deletion a message can be brought back; zero: it goes at once.
    pub(crate) window: Duration,
    /// Most octets in one account; an account's quota, where it is lower, bounds them, too.
    pub(crate) bytes_max: u64,
}

/// The queue of one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct QueueState {
    /// Sequence number of the last record of its stream.
    pub(crate) seq: u64,
    /// The entries that are not settled.
    pub(crate) entries: Entries,
}

impl QueueState {
    /// A queue before its first record, for the records of the journal.
    pub(crate) fn replayed() -> Self {
        Self { seq: 0, entries: Entries::replayed() }
    }
}

/// Why a record could not be applied. Records that were decided here always can be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Inapplicable {
    /// It changes rows that are not in memory.
    #[error("it changes rows of mailbox {0} that are not loaded")]
    Rows(MailboxId),
    /// It changes a mailbox that does not exist.
    #[error("it changes mailbox {0}, which does not exist")]
    Mailbox(MailboxId),
    /// It changes an account that does not exist.
    #[error("it changes account {0}, which does not exist")]
    Account(AccountId),
    /// It changes a queue entry that does not exist.
    #[error("it changes queue entry {0}, which does not exist")]
    Entry(EntryId),
    /// It contradicts the state in another way.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// Applies one record that was just staged to everything.
pub(crate) fn apply(state: &mut State, record: &Record, placement: &Placement) -> Result<(), Inapplicable> {
    match (&record.change, record.stream) {
        (Change::Directory(change), _) => {
            let effect = apply_directory(Arc::make_mut(&mut state.directory), record.seq, change)?;
            match effect {
                directory::Effect::None => {}
                directory::Effect::Created(account) => {
                    state.accounts.insert(account, Arc::new(AccountState::empty(account)));
                }
                directory::Effect::Removed(account) => {
                    state.accounts.remove(&account);
                }
            }
            Ok(())
        }
        (Change::Account(change), Stream::Account(id)) => {
            let account = state.accounts.get_mut(&id).ok_or(Inapplicable::Account(id))?;
            apply_account(Arc::make_mut(account), record.seq, change, placement)
        }
        (Change::Account(_), _) => Err(Inapplicable::Contradiction("an account's record in another stream")),
        (Change::Queue(change), _) => apply_queue(&mut state.queue, record.seq, change, placement),
    }
}
