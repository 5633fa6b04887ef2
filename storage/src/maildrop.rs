//! A mailbox as POP3 has it (RFC 1939): all its messages at one moment, then one after the other, and one change at the end. Nothing of it
//! stays in memory meanwhile but what its caller keeps.

use std::sync::{Arc, Weak};

use waypost_mail::{AccountId, MailboxId, Uid, UidValidity};

use crate::{
    account::Account,
    decide::maildrop::{ExpireRetrieved, UpdateMaildrop},
    error::StoreError,
    recovery,
    seen::UidSet,
    shared::Shared,
    state::{AccountState, MailboxState, Row},
    store::Store,
};

/// What a session leaves behind in a maildrop.
#[derive(Clone, Debug)]
pub struct MaildropUpdate {
    /// The UIDVALIDITY under which its UIDs were given.
    pub uid_validity: UidValidity,
    /// Messages that go, ascending.
    pub deleted: Vec<Uid>,
    /// Messages that were retrieved, and are to be known as such.
    pub retrieved: UidSet,
}

/// Rows that are read at once where one is asked for: those that come next are mostly asked for next.
const ROWS_AHEAD: usize = 16;

/// Rows that were read from the index with another one. They are good as long as their mailbox has not changed.
#[derive(Debug, Default)]
pub struct RowsAhead {
    /// The mailbox as it was.
    state: Weak<MailboxState>,
    rows: Vec<Row>,
}

impl RowsAhead {
    fn row(&self, now: &Arc<MailboxState>, uid: Uid) -> Option<&Row> {
        // While it is held, even weakly, no other one has its place.
        if !std::ptr::eq(self.state.as_ptr(), Arc::as_ptr(now)) {
            return None;
        }
        let at = self.rows.binary_search_by_key(&uid, |row| row.uid).ok()?;
        self.rows.get(at)
    }
}

impl Account {
    /// What `look` makes of all messages of a mailbox as they are at one moment, ascending by UID, and the mailbox then; its rows may be
    /// left out of that. Rows that only the index holds are read and not kept. Errors: `NoSuchMailbox`, `Damaged`, `Io`.
    pub async fn gather<T: Default + Send + 'static>(
        &self,
        mailbox: MailboxId,
        look: fn(&mut T, &Row),
    ) -> Result<(Arc<MailboxState>, T), StoreError> {
        let found = self.state().place(mailbox).cloned().ok_or(StoreError::NoSuchMailbox)?;
        if found.partial {
            let (account, partial) = (self.id(), Arc::clone(&found));
            let read = move |shared: &_| Ok(recovery::gather_rows(shared, account, &partial, look));
            if let Some(gathered) = self.store().blocking(read).await? {
                return Ok((found, gathered));
            }
        }
        // All of it is in memory; or the index has moved on, or is wrong, and opening the mailbox mends it.
        let found = self.select(mailbox).await?.state().ok_or(StoreError::NoSuchMailbox)?;
        let mut gathered = T::default();
        found.rows().for_each(|row| look(&mut gathered, row));
        Ok((found, gathered))
    }

    /// A message as it is now; `None`: it is gone. What `ahead` holds need not be read. Errors: `NoSuchMailbox`, `Damaged`, `Io`.
    pub async fn row(
        &self,
        mailbox: MailboxId,
        uid: Uid,
        ahead: &mut RowsAhead,
    ) -> Result<Option<Row>, StoreError> {
        let found = self.state().place(mailbox).cloned().ok_or(StoreError::NoSuchMailbox)?;
        if let Some(row) = found.row(uid).or_else(|| ahead.row(&found, uid)) {
            return Ok(Some(row.clone()));
        }
        let in_memory = found.chunks.first().and_then(|chunk| chunk.rows.first());
        if !found.partial || in_memory.is_some_and(|first| first.uid <= uid) {
            return Ok(None);
        }
        let account = self.id();
        let read = move |shared: &Shared| Ok(shared.index.rows_from(account, mailbox, uid, ROWS_AHEAD));
        let rows = self.store().blocking(read).await?.unwrap_or_default();
        if let Some(row) = rows.first().filter(|row| row.uid == uid).cloned() {
            *ahead = RowsAhead { state: Arc::downgrade(&found), rows };
            return Ok(Some(row));
        }
        // It came to memory and went meanwhile; or the index is wrong, and opening the mailbox mends it.
        Ok(self.select(mailbox).await?.state().and_then(|state| state.row(uid).cloned()))
    }

    /// Removes messages and notes others as retrieved, all in one entry; those that are gone are passed over. Errors: `NoSuchMessage` where
    /// the UIDs are of another UIDVALIDITY, `NoSuchMailbox` and those of writing.
    pub async fn update_maildrop(
        &self,
        mailbox: MailboxId,
        update: MaildropUpdate,
    ) -> Result<(), StoreError> {
        let MaildropUpdate { uid_validity, deleted, retrieved } = update;
        self.store()
            .submit(UpdateMaildrop { account: self.id(), mailbox, uid_validity, deleted, retrieved })
            .await
    }
}

impl Store {
    /// Removes the messages of an account that were first retrieved before a day ([`crate::retrieved::day`]); how many. An account that
    /// is not in memory stays so where it has none. Errors: `NoSuchAccount` and those of writing.
    pub async fn expire_retrieved(&self, account: AccountId, before: u32) -> Result<u64, StoreError> {
        let old = |mailbox: &Arc<MailboxState>| mailbox.retrieved.oldest().is_some_and(|day| day < before);
        if !self.may_be(account, |state: &AccountState| state.mailboxes.values().any(old)).await {
            return Ok(0);
        }
        self.submit(ExpireRetrieved { account, before }).await
    }
}
