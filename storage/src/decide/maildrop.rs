//! Commands on maildrops: what a POP3 session leaves behind, and the expiry of what was retrieved (RFC 2449 section 6.7).

use waypost_mail::{AccountId, MailboxId, Uid, UidValidity};

use super::{
    Command, Draft, Undecided,
    messages::{expunge, ranges},
};
use crate::{error::StoreError, record, retrieved::day, seen::UidSet};

/// Ends a session on a maildrop: removes messages, and notes others as retrieved today, in one entry. Those that are gone are passed
/// over. Errors: `NoSuchMessage` where the UIDs are those of another UIDVALIDITY.
pub(crate) struct UpdateMaildrop {
    pub(crate) account: AccountId,
    pub(crate) mailbox: MailboxId,
    pub(crate) uid_validity: UidValidity,
    /// Ascending.
    pub(crate) deleted: Vec<Uid>,
    pub(crate) retrieved: UidSet,
}

impl Command for UpdateMaildrop {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        if draft.mailbox(self.account, self.mailbox)?.uid_validity != self.uid_validity {
            return Err(StoreError::NoSuchMessage.into());
        }
        let mailbox = draft.complete(self.account, self.mailbox)?;
        let is_there = |uid: &Uid| mailbox.row(*uid).is_some();
        let deleted: Vec<Uid> = self.deleted.iter().copied().filter(is_there).collect();
        expunge(draft, self.account, &mailbox, &deleted)?;
        let is_new = |uid: &Uid| {
            is_there(uid) && deleted.binary_search(uid).is_err() && mailbox.retrieved.day(*uid).is_none()
        };
        let retrieved: Vec<Uid> = self.retrieved.iter().filter(is_new).collect();
        if !retrieved.is_empty() {
            let (mailbox, day, uids) = (self.mailbox, day(draft.now()), ranges(&retrieved));
            draft.push(self.account, record::Retrieved { mailbox, day, uids })?;
        }
        Ok(())
    }
}

/// Removes the messages of an account that were retrieved before a day.
pub(crate) struct ExpireRetrieved {
    pub(crate) account: AccountId,
    /// Days since 1970-01-01 (UTC).
    pub(crate) before: u32,
}

impl Command for ExpireRetrieved {
    /// How many messages.
    type Outcome = u64;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<u64, Undecided> {
        let mut expired = 0;
        for found in draft.base(self.account)?.mailboxes.values() {
            if found.retrieved.oldest().is_none_or(|oldest| oldest >= self.before) {
                continue;
            }
            let mailbox = draft.complete(self.account, found.id)?;
            let old = mailbox.retrieved.before(self.before);
            let uids: Vec<Uid> = old.iter().filter(|uid| mailbox.row(*uid).is_some()).collect();
            expunge(draft, self.account, &mailbox, &uids)?;
            expired += uids.len() as u64;
        }
        Ok(expired)
    }
}
