//! A mailbox as POP3 has it (RFC 1939): all its messages at one moment, then one after the other, and one change at the end. Nothing of it
//! stays in memory meanwhile but what its caller keeps.

use std::sync::Arc;

use waypost_mail::{AccountId, MailboxId, Uid, UidValidity};

use crate::{
    account::Account,
    decide::maildrop::{ExpireRetrieved, UpdateMaildrop},
    error::StoreError,
    recovery,
    seen::UidSet,
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

    /// A message as it is now; `None`: it is gone. Errors: `NoSuchMailbox`, `Damaged`, `Io`.
    pub async fn row(&self, mailbox: MailboxId, uid: Uid) -> Result<Option<Row>, StoreError> {
        let found = self.state().place(mailbox).cloned().ok_or(StoreError::NoSuchMailbox)?;
        if let Some(row) = found.row(uid) {
            return Ok(Some(row.clone()));
        }
        let in_memory = found.chunks.first().and_then(|chunk| chunk.rows.first());
        if !found.partial || in_memory.is_some_and(|first| first.uid <= uid) {
            return Ok(None);
        }
        let account = self.id();
        if let Some(row) =
            self.store().blocking(move |shared| Ok(shared.index.row(account, mailbox, uid))).await?
        {
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
