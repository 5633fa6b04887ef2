//! Commands on what belongs to mailboxes beside messages: access control lists, annotations, special uses.

use std::sync::Arc;

use waypost_mail::{AccountId, MailboxId};

use super::{Command, Draft, Undecided, name};
use crate::{
    acl::{ACL_ENTRIES_MAX, Acl, AclKey, Grants, Identifier, KeptAclEntry, Rights},
    annotation::{AnnotationKey, AnnotationLimits, KeptAnnotation},
    error::StoreError,
    record::{AclChanged, AnnotationsChanged, GrantsChanged, SpecialUseChanged},
    state::{AccountState, MailboxState, SpecialUse},
};

/// How the rights in an entry change (RFC 4314 section 3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RightsChange {
    /// These and no others; none: the entry goes.
    Replace(Rights),
    /// These, too.
    Add(Rights),
    /// Without these.
    Remove(Rights),
}

impl RightsChange {
    /// `mod-rights` (RFC 4314 section 7): `+`: these letters, too; `-`: without these; else these. `None`: one of them is no right.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_at_checked(1) {
            Some(("+", letters)) => Rights::parse(letters).map(Self::Add),
            Some(("-", letters)) => Rights::parse(letters).map(Self::Remove),
            _ => Rights::parse(text).map(Self::Replace),
        }
    }

    fn of(self, rights: Rights) -> Rights {
        match self {
            Self::Replace(new) => new,
            Self::Add(more) => rights.with(more),
            Self::Remove(less) => rights.without(less),
        }
    }
}

/// Changes one entry of a mailbox's list. Entries of accounts that are gone go, too.
pub(crate) struct SetAcl {
    pub(crate) account: AccountId,
    pub(crate) mailbox: MailboxId,
    pub(crate) key: AclKey,
    pub(crate) change: RightsChange,
}

impl Command for SetAcl {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let mailbox = draft.mailbox(self.account, self.mailbox)?;
        let accounts = &draft.state().directory.accounts;
        if let (Identifier::Account(account), _) = self.key
            && !accounts.contains_key(&account)
        {
            return Err(StoreError::NoSuchAccount.into());
        }
        let mut acl = Acl::clone(&mailbox.acl);
        let rights = self.change.of(acl.entry(self.key).unwrap_or_default());
        acl.set(self.key, rights);
        acl.keep_accounts(|account| accounts.contains_key(&account));
        if acl.len() > ACL_ENTRIES_MAX {
            return Err(StoreError::Limit("an access control list has at most 1000 entries").into());
        }
        if acl == *mailbox.acl {
            return Ok(());
        }
        draft.push(self.account, AclChanged { mailbox: self.mailbox, entries: KeptAclEntry::all(&acl) })?;
        let base = draft.base(self.account)?;
        let others = base.mailboxes.values().filter(|other| other.id != self.mailbox);
        let grants = Grants::of(others.map(|other| &*other.acl).chain([&acl]));
        grant(draft, self.account, grants);
        Ok(())
    }
}

/// Records to whom an account gives rights, where that is not known.
fn grant(draft: &mut Draft<'_>, owner: AccountId, grants: Grants) {
    let known = draft.state().directory.grants.get(&owner).cloned().unwrap_or_default();
    if known != grants {
        draft.directory(GrantsChanged { owner, grants });
    }
}

/// What a new mailbox has of the one above it: its list (RFC 4314 section 4).
pub(super) struct Inherited(Option<Arc<Acl>>);

impl Inherited {
    /// By the nearest mailbox above a name.
    pub(super) fn of(base: &AccountState, name: &str) -> Self {
        let above = base.mailboxes.values().filter(|above| name::below(name, &above.name).is_some());
        let nearest = above.max_by_key(|above| above.name.len());
        Self(nearest.map(|nearest| Arc::clone(&nearest.acl)).filter(|acl| !acl.is_empty()))
    }

    /// Gives it to a mailbox that was just created.
    pub(super) fn give(
        &self,
        draft: &mut Draft<'_>,
        account: AccountId,
        mailbox: MailboxId,
    ) -> Result<(), Undecided> {
        if let Some(acl) = &self.0 {
            draft.push(account, AclChanged { mailbox, entries: KeptAclEntry::all(acl) })?;
        }
        Ok(())
    }
}

/// The list of a mailbox goes with it.
pub(super) fn withdraw(draft: &mut Draft<'_>, base: &AccountState, mailbox: MailboxId) {
    if base.mailboxes.get(&mailbox).is_some_and(|gone| !gone.acl.is_empty()) {
        let others = base.mailboxes.values().filter(|other| other.id != mailbox);
        grant(draft, base.id, Grants::of(others.map(|other| &*other.acl)));
    }
}

/// Changes annotations, all or none.
pub(crate) struct Annotate {
    pub(crate) account: AccountId,
    pub(crate) changes: Vec<(AnnotationKey, Option<Arc<[u8]>>)>,
    pub(crate) limits: AnnotationLimits,
}

impl Command for Annotate {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let base = draft.base(self.account)?;
        let mut after = Arc::clone(&base.annotations);
        let mut kept = Vec::new();
        for (key, value) in &self.changes {
            if let Some(mailbox) = key.0
                && !base.mailboxes.contains_key(&mailbox)
            {
                return Err(StoreError::NoSuchMailbox.into());
            }
            if value.as_ref().is_some_and(|value| value.len() as u64 > self.limits.value_bytes_max) {
                return Err(StoreError::AnnotationTooLarge(self.limits.value_bytes_max).into());
            }
            if after.value(key) == value.as_ref() {
                continue;
            }
            kept.push(KeptAnnotation::new(key, value.as_deref()));
            Arc::make_mut(&mut after).set(key.clone(), value.clone());
        }
        for ((mailbox, audience, _), value) in &self.changes {
            let count = after.of(*mailbox, *audience).count() as u64;
            let (all, some) = after.bytes(*audience);
            let beyond = count > self.limits.entries_max
                || some > self.limits.audience_bytes_max
                || all > self.limits.account_bytes_max;
            if value.is_some() && beyond {
                return Err(StoreError::TooManyAnnotations.into());
            }
        }
        if !kept.is_empty() {
            draft.push(self.account, AnnotationsChanged { annotations: kept })?;
        }
        Ok(())
    }
}

/// The annotations of INBOX stay, and go along with its messages (RFC 5464 section 4.1).
pub(super) fn copy_annotations(
    draft: &mut Draft<'_>,
    base: &AccountState,
    from: MailboxId,
    to: MailboxId,
) -> Result<(), Undecided> {
    let of_mailbox = base.annotations.iter().filter(|((at, _, _), _)| *at == Some(from));
    let copies = of_mailbox.map(|((_, audience, name), value)| {
        KeptAnnotation::new(&(Some(to), *audience, name.clone()), Some(value))
    });
    let annotations: Vec<_> = copies.collect();
    if !annotations.is_empty() {
        draft.push(base.id, AnnotationsChanged { annotations })?;
    }
    Ok(())
}

/// Gives a mailbox a special use, and takes it from the one that has it (RFC 6154 section 5.4).
pub(crate) struct SetSpecialUse {
    pub(crate) account: AccountId,
    pub(crate) mailbox: MailboxId,
    pub(crate) special_use: Option<SpecialUse>,
}

impl Command for SetSpecialUse {
    /// The mailboxes that have it no more.
    type Outcome = Vec<MailboxId>;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Vec<MailboxId>, Undecided> {
        let mailbox = draft.mailbox(self.account, self.mailbox)?;
        if mailbox.special_use == self.special_use {
            return Ok(Vec::new());
        }
        let base = draft.base(self.account)?;
        let has =
            |other: &&Arc<MailboxState>| self.special_use.is_some() && other.special_use == self.special_use;
        let others: Vec<MailboxId> = base.mailboxes.values().filter(has).map(|other| other.id).collect();
        for mailbox in &others {
            draft.push(self.account, SpecialUseChanged { mailbox: *mailbox, special_use: None })?;
        }
        let Self { mailbox, special_use, .. } = *self;
        draft.push(self.account, SpecialUseChanged { mailbox, special_use })?;
        Ok(others)
    }
}
