//! The maildrop: INBOX of one account, held by one session of this process at a time (RFC 1939 section 4). IMAP is not kept away:
//! what it expunges meanwhile is refused when it is asked for, and new mail is seen by the next session.
//!
//! A session that has been silent for long may be dead, and loses the maildrop to the next login: then it can do nothing in it any more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use waypost_mail::{AccountId, MailboxId, Uid, UidValidity};
use waypost_storage::{
    Account, Content, KeptStructure, MaildropUpdate, Previews, Reader, Row, RowsAhead, Store, StoreError,
    UidSet,
};

use crate::{
    listing::{Listing, Message},
    wire::{Code, Refusal},
};

const IN_USE: Refusal = Refusal::with(Code::IN_USE, "another session has the maildrop open");
const REMOVED: Refusal = Refusal::new("the message was removed meanwhile");
const TEMPORARY: Refusal = Refusal::with(Code::SYS_TEMP, "the maildrop is not available now");
const PERMANENT: Refusal = Refusal::with(Code::SYS_PERM, "the maildrop is not available");
const NOT_REMOVED: Refusal = Refusal::with(Code::SYS_TEMP, "the deleted messages were not removed");

/// How long a session that waits keeps what it read last.
const READER_KEPT: Duration = Duration::from_secs(1);

/// The maildrops that are open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    open: Arc<Mutex<HashMap<AccountId, Arc<Holder>>>>,
}

/// The session that has a maildrop open.
#[derive(Debug)]
struct Holder {
    /// When it was last heard of; `None`: it is in the UPDATE state, and ends by itself.
    alive: Mutex<Option<Instant>>,
    /// Wakes it when it has lost the maildrop.
    lost: Notify,
}

impl Registry {
    /// Takes an account's maildrop until the lock is dropped; `None` where a session has it that was not silent for so long (zero: however
    /// long it was).
    fn lock(&self, account: AccountId, silence: Duration) -> Option<Lock> {
        let mut open = locked(&self.open);
        if let Some(holder) = open.get(&account) {
            match *locked(&holder.alive) {
                Some(last) if !silence.is_zero() && last.elapsed() >= silence => {
                    let silent = last.elapsed().as_secs();
                    tracing::info!(%account, silent, "a maildrop is taken over from a silent session");
                }
                _ => return None,
            }
            holder.lost.notify_one();
        }
        let alive = Mutex::new(Some(Instant::now()));
        let holder = Arc::new(Holder { alive, lost: Notify::new() });
        open.insert(account, Arc::clone(&holder));
        Some(Lock { registry: self.clone(), account, holder })
    }
}

/// The exclusive-access lock on one maildrop.
#[derive(Debug)]
struct Lock {
    registry: Registry,
    account: AccountId,
    holder: Arc<Holder>,
}

impl Lock {
    fn is_held(&self, open: &HashMap<AccountId, Arc<Holder>>) -> bool {
        open.get(&self.account).is_some_and(|holder| Arc::ptr_eq(holder, &self.holder))
    }

    /// Lets nobody take it any more; `false`: somebody has.
    fn keep(&self) -> bool {
        let open = locked(&self.registry.open);
        *locked(&self.holder.alive) = None;
        self.is_held(&open)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut open = locked(&self.registry.open);
        if self.is_held(&open) {
            open.remove(&self.account);
        }
    }
}

/// Each change of what is locked here is one assignment: a panic leaves nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An open maildrop.
#[derive(Debug)]
pub(crate) struct Maildrop {
    account: Account,
    inbox: MailboxId,
    uid_validity: UidValidity,
    /// After how many days messages go that were retrieved.
    expire_days: Option<u32>,
    /// Messages that were retrieved, where that is asked for.
    retrieved: UidSet,
    /// Some of those that are mostly asked for next.
    ahead: RowsAhead,
    /// What the last message was read with: the next one often lies beside it.
    reader: Option<Box<Reader>>,
    /// Last, so that it is given up when all else is.
    lock: Lock,
}

impl Maildrop {
    /// Locks and opens an account's maildrop, also where a session has it that was silent for so long; gives its messages, too.
    pub(crate) async fn open(
        store: &Store,
        registry: &Registry,
        account: AccountId,
        expire_days: Option<u32>,
        silence: Duration,
    ) -> Result<(Self, Listing), Refusal> {
        let lock = registry.lock(account, silence).ok_or(IN_USE)?;
        let account = store.account(account).await?;
        let inbox = account.state().inbox().map(|inbox| inbox.id).ok_or(PERMANENT)?;
        let push = |listing: &mut Listing, row: &Row| listing.push(row.uid, row.uidl, row.content.size());
        let (mailbox, listing) = account.gather(inbox, push).await?;
        let (listing, uid_validity) = (listing.finish(account.id()), mailbox.uid_validity);
        let (retrieved, ahead) = (UidSet::default(), RowsAhead::default());
        Ok((
            Self { account, inbox, uid_validity, expire_days, retrieved, ahead, reader: None, lock },
            listing,
        ))
    }

    /// The session lives.
    pub(crate) fn alive(&self) {
        *locked(&self.lock.holder.alive) = Some(Instant::now());
    }

    /// Waits until another session has taken the maildrop over. Cancel-safe.
    pub(crate) async fn lost(&self) {
        self.lock.holder.lost.notified().await;
    }

    /// The same of a session that waits for its client; what it read last is given back after a while.
    pub(crate) async fn lost_at_rest(&mut self) {
        if self.reader.is_some() {
            tokio::select! {
                () = self.lost() => return,
                () = Box::pin(sleep(READER_KEPT)) => {}
            }
            self.reader = None;
        }
        self.lost().await;
    }

    /// What reads a range of a message. The next message is read with it, too.
    pub(crate) fn reader(&mut self, content: &Content, length: u64) -> &mut Reader {
        let new = || Box::new(self.account.store().reader(content, 0, 0));
        let reader = self.reader.get_or_insert_with(new);
        reader.aim(content, 0, length);
        reader
    }

    /// The next octets of what is read; none at the end.
    pub(crate) async fn octets(&mut self) -> Result<Bytes, StoreError> {
        match &mut self.reader {
            Some(reader) => reader.next().await,
            None => Ok(Bytes::new()),
        }
    }

    /// A message as it is now.
    pub(crate) async fn row(&mut self, message: &Message) -> Result<Row, Refusal> {
        let row = self.account.row(self.inbox, message.uid, &mut self.ahead).await?;
        // Under another UIDVALIDITY the UID is another message's.
        row.filter(|row| row.uidl == message.unique.uidl).ok_or(REMOVED)
    }

    /// The MIME structure of a message.
    pub(crate) async fn structure(&self, row: &Row) -> Result<KeptStructure, StoreError> {
        self.account.store().kept_structure(self.account.id(), row, Previews::Unwanted).await
    }

    /// A message was retrieved.
    pub(crate) fn note_retrieved(&mut self, uid: Uid) {
        if self.expire_days.is_some() {
            self.retrieved.insert(uid);
        }
    }

    /// Removes messages in one step, and gives the maildrop up; how many. What is gone already is no error.
    pub(crate) async fn update(mut self, mut deleted: Vec<Uid>) -> Result<usize, Refusal> {
        if !self.lock.keep() {
            return Err(NOT_REMOVED);
        }
        if self.expire_days == Some(0) {
            deleted.extend(std::mem::take(&mut self.retrieved).iter());
            deleted.sort_unstable();
            deleted.dedup();
        }
        let count = deleted.len();
        self.leave(deleted).await.map(|()| count)
    }

    /// The session ended without QUIT: nothing is removed.
    pub(crate) async fn abandon(mut self) {
        if self.expire_days == Some(0) {
            self.retrieved = UidSet::default();
        }
        // A failure was logged: what was retrieved is not known as such.
        let _logged = self.leave(Vec::new()).await;
    }

    async fn leave(self, deleted: Vec<Uid>) -> Result<(), Refusal> {
        if deleted.is_empty() && self.retrieved.is_empty() {
            return Ok(());
        }
        let update = MaildropUpdate { uid_validity: self.uid_validity, deleted, retrieved: self.retrieved };
        match self.account.update_maildrop(self.inbox, update).await {
            Ok(()) | Err(StoreError::NoSuchMailbox | StoreError::NoSuchAccount) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "messages could not be removed");
                Err(NOT_REMOVED)
            }
        }
    }
}

/// How an error of the store is told; the peer learns who must act, the log the rest.
impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the maildrop cannot be read");
        if error.is_temporary() { TEMPORARY } else { PERMANENT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_maildrop_is_held_by_one_session() {
        let registry = Registry::default();
        let first = registry.lock(AccountId(1), SILENCE);
        assert!(first.is_some());
        assert!(registry.clone().lock(AccountId(1), SILENCE).is_none());
        assert!(registry.lock(AccountId(2), SILENCE).is_some());
        drop(first);
        assert!(registry.lock(AccountId(1), SILENCE).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_session_loses_its_maildrop() {
        let registry = Registry::default();
        let first = registry.lock(AccountId(1), SILENCE).unwrap();
        tokio::time::advance(SILENCE - Duration::from_secs(1)).await;
        assert!(registry.lock(AccountId(1), SILENCE).is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(registry.lock(AccountId(1), Duration::ZERO).is_none(), "nobody may");
        let second = registry.lock(AccountId(1), SILENCE).unwrap();
        first.holder.lost.notified().await;
        assert!(!first.keep() && second.keep());
        // The lock of the first one is not the second one's.
        drop(first);
        assert!(registry.lock(AccountId(1), SILENCE).is_none());
        drop(second);
        assert!(registry.lock(AccountId(1), SILENCE).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_updates_keeps_its_maildrop() {
        let registry = Registry::default();
        let first = registry.lock(AccountId(1), SILENCE).unwrap();
        assert!(first.keep());
        tokio::time::advance(SILENCE * 10).await;
        assert!(registry.lock(AccountId(1), SILENCE).is_none());
        drop(first);
        assert!(locked(&registry.open).is_empty());
    }

    #[test]
    fn errors_say_who_must_act() {
        for (error, code) in [
            (StoreError::Full, Code::SYS_TEMP),
            (StoreError::Closed, Code::SYS_TEMP),
            (StoreError::Damaged("a".into()), Code::SYS_PERM),
            (StoreError::NoSuchAccount, Code::SYS_PERM),
        ] {
            let text = error.to_string();
            assert_eq!(Refusal::from(error).code, Some(code), "{text}");
        }
    }
}
