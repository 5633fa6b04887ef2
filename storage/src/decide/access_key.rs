//! Commands on the keys that URLs of mailboxes are authorized with (RFC 4467 section 2.2). The keys come from outside: nothing here
//! is random.

use waypost_mail::{AccessKey, AccountId, MailboxId};

use super::{Command, Draft, Undecided};
use crate::record::AccessKeyChanged;

/// Gives a mailbox a key.
pub(crate) struct GiveAccessKey {
    pub(crate) account: AccountId,
    pub(crate) mailbox: MailboxId,
    pub(crate) key: AccessKey,
    pub(crate) present: Present,
}

/// What becomes of the key that a mailbox has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Present {
    /// It stays.
    Stays,
    /// It is replaced: what was authorized with it is no longer.
    Goes,
}

impl Command for GiveAccessKey {
    /// The key that it has then.
    type Outcome = AccessKey;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<AccessKey, Undecided> {
        let Self { account, mailbox, key, present } = self;
        if let (Some(there), Present::Stays) = (&draft.mailbox(*account, *mailbox)?.access_key, present) {
            return Ok(there.clone());
        }
        draft.push(*account, AccessKeyChanged { mailbox: *mailbox, key: Some(key.clone()) })?;
        Ok(key.clone())
    }
}

/// Takes all mailboxes of an account their keys.
pub(crate) struct RemoveAccessKeys {
    pub(crate) account: AccountId,
}

impl Command for RemoveAccessKeys {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let base = draft.base(self.account)?;
        for mailbox in base.mailboxes.values().filter(|mailbox| mailbox.access_key.is_some()) {
            draft.push(self.account, AccessKeyChanged { mailbox: mailbox.id, key: None })?;
        }
        Ok(())
    }
}
