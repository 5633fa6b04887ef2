//! The maildrop: INBOX of one account, held by one session of this process at a time (RFC 1939 section 4). IMAP is not kept away:
//! what it expunges meanwhile is refused when it is asked for, and new mail is seen by the next session.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use waypost_mail::{AccountId, MailboxId, Uid};
use waypost_storage::{Account, Row, Selection, Store, StoreError};

use crate::{
    listing::{Message, UniqueId},
    wire::{Code, Refusal},
};

const IN_USE: Refusal = Refusal::with(Code::InUse, "another session has the maildrop open");
const REMOVED: Refusal = Refusal::new("the message was removed meanwhile");
const TEMPORARY: Refusal = Refusal::with(Code::SysTemp, "the maildrop is not available now");
const PERMANENT: Refusal = Refusal::with(Code::SysPerm, "the maildrop is not available");
const NOT_REMOVED: Refusal = Refusal::with(Code::SysTemp, "the deleted messages were not removed");

/// The maildrops that are open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    open: Arc<Mutex<HashSet<AccountId>>>,
}

impl Registry {
    /// Takes an account's maildrop until the lock is dropped; `None` where it is taken.
    fn lock(&self, account: AccountId) -> Option<Lock> {
        let taken = self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(account);
        taken.then(|| Lock { registry: self.clone(), account })
    }
}

/// The exclusive-access lock on one maildrop.
#[derive(Debug)]
struct Lock {
    registry: Registry,
    account: AccountId,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.registry.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.account);
    }
}

/// An open maildrop.
#[derive(Debug)]
pub(crate) struct Maildrop {
    account: Account,
    inbox: MailboxId,
    selection: Selection,
    /// The messages there were when it was opened.
    uids: Vec<Uid>,
    /// Last, so that it is given up when all else is.
    _lock: Lock,
}

impl Maildrop {
    /// Locks and opens an account's maildrop; gives its messages, too.
    pub(crate) async fn open(
        store: &Store,
        registry: &Registry,
        account: AccountId,
    ) -> Result<(Self, Vec<Message>), Refusal> {
        let lock = registry.lock(account).ok_or(IN_USE)?;
        let account = store.account(account).await.map_err(|error| refusal(&error))?;
        let inbox = account.state().inbox().map(|inbox| inbox.id).ok_or(PERMANENT)?;
        let selection = account.select(inbox).await.map_err(|error| refusal(&error))?;
        let state = selection.state().ok_or(TEMPORARY)?;
        let message = |row: &Row| {
            let unique = UniqueId { account: account.id(), uidl: row.uidl };
            (row.uid, Message { size: row.content.size(), unique })
        };
        let (uids, messages) = state.rows().map(message).unzip();
        Ok((Self { account, inbox, selection, uids, _lock: lock }, messages))
    }

    /// A message as it is now.
    pub(crate) fn row(&self, message: usize) -> Result<Row, Refusal> {
        let state = self.selection.state().ok_or(REMOVED)?;
        let row = self.uids.get(message).and_then(|uid| state.row(*uid));
        row.cloned().ok_or(REMOVED)
    }

    /// Removes messages in one step, and gives the maildrop up. What is gone already is no error.
    pub(crate) async fn update(self, deleted: &[usize]) -> Result<(), Refusal> {
        let uids: Vec<Uid> = deleted.iter().filter_map(|message| self.uids.get(*message).copied()).collect();
        if uids.is_empty() {
            return Ok(());
        }
        match self.account.expunge(self.inbox, uids).await {
            Ok(_) | Err(StoreError::NoSuchMailbox | StoreError::NoSuchAccount) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "messages could not be removed");
                Err(NOT_REMOVED)
            }
        }
    }
}

/// How an error of the store is told; the peer learns who must act, the log the rest.
pub(crate) fn refusal(error: &StoreError) -> Refusal {
    tracing::warn!(%error, "the maildrop cannot be read");
    if error.is_temporary() { TEMPORARY } else { PERMANENT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maildrop_is_held_by_one_session() {
        let registry = Registry::default();
        let first = registry.lock(AccountId(1));
        assert!(first.is_some());
        assert!(registry.clone().lock(AccountId(1)).is_none());
        assert!(registry.lock(AccountId(2)).is_some());
        drop(first);
        assert!(registry.lock(AccountId(1)).is_some());
    }

    #[test]
    fn errors_say_who_must_act() {
        for (error, code) in [
            (StoreError::Full, Code::SysTemp),
            (StoreError::Closed, Code::SysTemp),
            (StoreError::Damaged("a".into()), Code::SysPerm),
            (StoreError::NoSuchAccount, Code::SysPerm),
        ] {
            assert_eq!(refusal(&error).code, Some(code), "{error}");
        }
    }
}
