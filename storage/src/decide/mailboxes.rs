//! Commands on mailboxes and subscriptions.

use std::{collections::HashSet, sync::Arc};

use waypost_mail::{AccountId, MailboxId};

use super::{
    Command, Draft, Undecided,
    messages::{Originals, Route, move_rows},
    name::{self, INBOX},
    retained::retain,
    sharing::{Inherited, copy_annotations, withdraw},
};
use crate::{
    error::StoreError,
    record::{MailboxCreated, MailboxDeleted, MailboxRenamed, Subscribed},
    state::{AccountState, MailboxState, SpecialUse},
};

/// Most mailboxes in one account.
pub(crate) const MAILBOXES_MAX: usize = 10_000;
/// Most subscribed names in one account.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 20_000;

/// Creates a mailbox and those above it that are missing.
pub(crate) struct CreateMailbox {
    pub(crate) account: AccountId,
    pub(crate) name: String,
    pub(crate) special_use: Option<SpecialUse>,
}

impl Command for CreateMailbox {
    type Outcome = MailboxId;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<MailboxId, Undecided> {
        let name = name::canonical(&self.name)?;
        let base = draft.base(self.account)?;
        if base.by_name(&name).is_some() {
            return Err(StoreError::MailboxExists.into());
        }
        let inherited = create_parents(draft, &base, &name)?;
        let mailbox = create(draft, self.account, &name, self.special_use)?;
        inherited.give(draft, self.account, mailbox)?;
        Ok(mailbox)
    }
}

/// Deletes a mailbox with its messages; those below it stay.
pub(crate) struct DeleteMailbox {
    pub(crate) account: AccountId,
    pub(crate) mailbox: MailboxId,
}

impl Command for DeleteMailbox {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let mailbox = draft.mailbox(self.account, self.mailbox)?;
        if mailbox.name == INBOX {
            return Err(StoreError::MailboxName("INBOX cannot be deleted").into());
        }
        let retained = retain(draft, self.account, mailbox.bytes)?;
        if retained.is_some() {
            draft.complete(self.account, self.mailbox)?;
        }
        draft.push(self.account, MailboxDeleted { mailbox: self.mailbox, retained })?;
        let base = draft.base(self.account)?;
        withdraw(draft, &base, self.mailbox);
        Ok(())
    }
}

/// Renames a mailbox with all below it, or moves the messages of INBOX to a new mailbox (RFC 9051 section 6.3.6).
pub(crate) struct RenameMailbox {
    pub(crate) account: AccountId,
    pub(crate) mailbox: MailboxId,
    pub(crate) name: String,
}

impl Command for RenameMailbox {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let name = name::canonical(&self.name)?;
        let base = draft.base(self.account)?;
        let mailbox = draft.mailbox(self.account, self.mailbox)?;
        if base.by_name(&name).is_some() {
            return Err(StoreError::MailboxExists.into());
        }
        if mailbox.name == INBOX {
            return rename_inbox(draft, &base, &mailbox, &name);
        }
        if name::below(&name, &mailbox.name).is_some() {
            return Err(StoreError::MailboxName("a mailbox cannot be moved below itself").into());
        }
        create_parents(draft, &base, &name)?;
        let (moved, others): (Vec<_>, Vec<_>) = base
            .mailboxes
            .values()
            .partition(|other| other.id == mailbox.id || name::below(&other.name, &mailbox.name).is_some());
        // What moves makes room for itself.
        let names: HashSet<&str> = others.iter().map(|other| other.name.as_str()).collect();
        for moved in moved {
            let new = match name::below(&moved.name, &mailbox.name) {
                Some(rest) => name::canonical(&format!("{name}/{rest}"))?,
                None => name.clone(),
            };
            if names.contains(new.as_str()) {
                return Err(StoreError::MailboxExists.into());
            }
            draft.push(self.account, MailboxRenamed { mailbox: moved.id, name: new })?;
        }
        Ok(())
    }
}

/// Subscribes a name or ends its subscription.
pub(crate) struct Subscribe {
    pub(crate) account: AccountId,
    pub(crate) name: String,
    pub(crate) subscribed: bool,
}

impl Command for Subscribe {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let name = name::canonical(&self.name)?;
        let base = draft.base(self.account)?;
        if base.subscriptions.contains(&name) == self.subscribed {
            return Ok(());
        }
        if self.subscribed && base.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err(StoreError::Limit("an account has at most 20000 subscriptions").into());
        }
        draft.push(self.account, Subscribed { name, subscribed: self.subscribed })?;
        Ok(())
    }
}

/// Adds the record of one new mailbox.
pub(super) fn create(
    draft: &mut Draft<'_>,
    account: AccountId,
    name: &str,
    special_use: Option<SpecialUse>,
) -> Result<MailboxId, Undecided> {
    let uid_validity = draft.take_uid_validity(account)?;
    let taken = draft.account(account)?;
    if taken.base.mailboxes.len() + taken.created.len() >= MAILBOXES_MAX {
        return Err(StoreError::Limit("an account has at most 10000 mailboxes").into());
    }
    let mailbox = taken.next_mailbox;
    taken.next_mailbox = MailboxId(mailbox.0 + 1);
    taken.created.insert(name.to_owned());
    draft.push(account, MailboxCreated { mailbox, name: name.to_owned(), uid_validity, special_use })?;
    Ok(mailbox)
}

/// Creates the mailboxes above a name that are missing; what all that is new there inherits.
pub(super) fn create_parents(
    draft: &mut Draft<'_>,
    base: &AccountState,
    name: &str,
) -> Result<Inherited, Undecided> {
    let inherited = Inherited::of(base, name);
    for parent in name::parents(name) {
        if base.by_name(parent).is_none() && !draft.account(base.id)?.created.contains(parent) {
            let mailbox = create(draft, base.id, parent, None)?;
            inherited.give(draft, base.id, mailbox)?;
        }
    }
    Ok(inherited)
}

fn rename_inbox(
    draft: &mut Draft<'_>,
    base: &AccountState,
    inbox: &Arc<MailboxState>,
    name: &str,
) -> Result<(), Undecided> {
    let inbox = draft.complete(base.id, inbox.id)?;
    let inherited = create_parents(draft, base, name)?;
    let id = create(draft, base.id, name, None)?;
    inherited.give(draft, base.id, id)?;
    copy_annotations(draft, base, inbox.id, id)?;
    let to = MailboxState::new(id, name.to_owned(), inbox.uid_validity);
    let rows: Vec<_> = inbox.rows().collect();
    let within = Route::within(base.id, Originals::Go);
    move_rows(draft, &within, &inbox, &rows, &to)?;
    Ok(())
}
