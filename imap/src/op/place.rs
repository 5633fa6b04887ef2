//! Where names of mailboxes lead (RFC 2342): to one's own, and to those of others on which one has a right (RFC 4314).
//!
//! A mailbox `NAME` of alice@example.org is `Other Users/alice@example.org/NAME` for all others, whose own names have nothing before them.
//! The mailboxes of the account that `[imap] shared` names are `Shared Folders/NAME`. A mailbox of one's own that has such a name all
//! the same goes before.
//!
//! Whoever has no right on a mailbox that a command needs is told so only where they may see that it exists; else it is answered as
//! if it did not (RFC 4314 section 6).

use std::sync::Arc;

use waypost_mail::{AccountId, Address, Flags, SystemFlags, Uid};
use waypost_storage::{
    Accepted, Account, AccountState, FlagChange, FlagMode, MailboxState, Rights, StoreError,
};

use super::{Failure, NO_SUCH_MAILBOX, Operation, list::DELIMITER};

/// What mailboxes of other users stand below.
pub(super) const OTHER_USERS: &str = "Other Users";
/// What mailboxes of the shared account stand below.
pub(super) const SHARED_FOLDERS: &str = "Shared Folders";
pub(super) const NO_RIGHT: &str = "you have no right to do that here";

/// The mailboxes of an account as somebody names them.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    /// Whose they are, for who looks at them.
    pub(crate) account: Account,
    /// What stands before the names that they have there; empty or ends with a delimiter.
    pub(crate) prefix: String,
}

/// Where a name leads.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) space: Space,
    /// The name in that account.
    pub(super) name: String,
}

/// A mailbox that is there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) space: Space,
    pub(super) mailbox: Arc<MailboxState>,
    pub(super) rights: Rights,
}

impl Space {
    /// The name of one of its mailboxes.
    pub(crate) fn name(&self, mailbox: &MailboxState) -> String {
        format!("{}{}", self.prefix, mailbox.name)
    }
}

impl Found {
    /// Flags of a message that comes there: whoever does not own the mailbox does not say what its owner has seen.
    pub(super) fn owners(&self, flags: Flags) -> Flags {
        match self.space.account.reader() {
            None => flags,
            Some(_) => Flags { system: flags.system.without(SystemFlags::SEEN), ..flags },
        }
    }

    /// Messages that one put there are seen by that one, where the flags of each say so.
    pub(super) async fn mark_seen(&self, flags: &[Flags], accepted: &[Accepted]) -> Result<(), Failure> {
        let account = &self.space.account;
        let seen = accepted.iter().zip(flags).filter(|(_, flags)| flags.system.contains(SystemFlags::SEEN));
        let placed = seen.flat_map(|(accepted, _)| &accepted.local);
        let uids: Vec<Uid> = placed.map(|placed| placed.uid).collect();
        if account.reader().is_some() && !uids.is_empty() {
            let change =
                FlagChange { mode: FlagMode::Add, flags: SystemFlags::SEEN.into(), unchanged_since: None };
            account.change_flags_within(self.mailbox.id, uids, change, Rights::SEEN.into()).await?;
        }
        Ok(())
    }
}

impl Operation<'_, '_> {
    pub(super) fn own(&self) -> Space {
        Space { account: self.user.account.clone(), prefix: String::new() }
    }

    /// Where a name leads, whether there is a mailbox or not; `None`: to nobody.
    pub(super) async fn place(&mut self, name: &str) -> Result<Option<Place>, Failure> {
        let own = || Place { space: self.own(), name: name.to_owned() };
        if self.user.account.state().by_name(name).is_some() {
            return Ok(Some(own()));
        }
        let Some((owner, rest)) = self.owner(name) else { return Ok(Some(own())) };
        if rest.is_empty() {
            return Ok(None);
        }
        let space = match owner {
            Some(owner) => self.space(owner, self.shared_account()).await?,
            None => None,
        };
        Ok(space.map(|space| Place { space, name: rest.to_owned() }))
    }

    /// Whose mailboxes a name is among, and what follows; `None`: it is a name of one's own.
    fn owner<'n>(&self, name: &'n str) -> Option<(Option<AccountId>, &'n str)> {
        let below = |above: &str| {
            let rest = name.strip_prefix(above)?;
            if rest.is_empty() { Some(rest) } else { rest.strip_prefix(DELIMITER) }
        };
        if let Some(rest) = below(SHARED_FOLDERS) {
            return Some((self.shared_account(), rest));
        }
        let Some((user, rest)) = below(OTHER_USERS)?.split_once(DELIMITER) else { return Some((None, "")) };
        let known = Address::parse(user).ok().and_then(|address| self.account_of(&address));
        Some((known.filter(|known| Some(*known) != self.shared_account()), rest))
    }

    /// The account of an address, whether it can log in or not.
    pub(super) fn account_of(&self, address: &Address) -> Option<AccountId> {
        self.context.store.directory().borrow().account_of(address)
    }

    /// The address of an account.
    pub(super) fn address_of(&self, account: AccountId) -> Option<Address> {
        let directory = Arc::clone(&self.context.store.directory().borrow());
        directory.accounts.get(&account).map(|record| record.address.clone())
    }

    /// The account that `[imap] shared` names.
    pub(super) fn shared_account(&self) -> Option<AccountId> {
        let live = self.context.live();
        live.config.imap.shared.as_ref().and_then(|address| self.account_of(address))
    }

    /// The mailboxes of another account; `None`: there is none of the kind.
    async fn space(&mut self, owner: AccountId, shared: Option<AccountId>) -> Result<Option<Space>, Failure> {
        let reader = self.user.identity.account;
        if owner == reader {
            return Ok(None);
        }
        let prefix = if Some(owner) == shared {
            format!("{SHARED_FOLDERS}{DELIMITER}")
        } else {
            let Some(address) = self.address_of(owner) else { return Ok(None) };
            format!("{OTHER_USERS}{DELIMITER}{address}{DELIMITER}")
        };
        match self.context.store.account_for(owner, reader).await {
            Ok(account) => Ok(Some(Space { account, prefix })),
            // It was removed in this moment.
            Err(StoreError::NoSuchAccount) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// One's own mailboxes, and those of all who share some.
    pub(super) async fn spaces(&mut self) -> Result<Vec<Space>, Failure> {
        let mut spaces = vec![self.own()];
        let directory = Arc::clone(&self.context.store.directory().borrow());
        let shared = self.shared_account();
        for owner in directory.shared_with(self.user.identity.account) {
            spaces.extend(self.space(owner, shared).await?);
        }
        Ok(spaces)
    }

    /// The mailbox of a name, on which all of these rights are needed. Else: `gone` where it is not to be seen, `NO [NOPERM]`.
    pub(super) async fn find_or(
        &mut self,
        name: &str,
        needed: Rights,
        gone: impl Fn() -> Failure,
    ) -> Result<Found, Failure> {
        self.find_with(name, |rights| rights.contains(needed), gone).await
    }

    /// The same with a condition.
    pub(super) async fn find_with(
        &mut self,
        name: &str,
        suffice: impl Fn(Rights) -> bool,
        gone: impl Fn() -> Failure,
    ) -> Result<Found, Failure> {
        let place = self.place(name).await?.ok_or_else(&gone)?;
        let mailbox = place.space.account.state().by_name(&place.name).cloned().ok_or_else(&gone)?;
        let rights = place.space.account.rights(&mailbox);
        match () {
            () if suffice(rights) => Ok(Found { space: place.space, mailbox, rights }),
            () if rights.contains(Rights::LOOKUP) => Err(Failure::no("NOPERM", NO_RIGHT)),
            () => Err(gone()),
        }
    }

    /// The same where nothing is to be made of it that is not there.
    pub(super) async fn mailbox(&mut self, name: &str, needed: Rights) -> Result<Found, Failure> {
        self.find_or(name, needed, || Failure::no("NONEXISTENT", NO_SUCH_MAILBOX)).await
    }

    /// Where messages go: `i` is needed (RFC 4314 section 4).
    pub(super) async fn destination(&mut self, name: &str) -> Result<Found, Failure> {
        self.find_or(name, Rights::INSERT, || Failure::no("TRYCREATE", NO_SUCH_MAILBOX)).await
    }

    /// Where a mailbox of that name can be made: `k` is needed on the nearest one above it; with none above it, it is the owner's.
    pub(super) async fn place_for_new(&mut self, name: &str) -> Result<Place, Failure> {
        let refused = || Failure::no("NOPERM", NO_RIGHT);
        let place = self.place(name).await?.ok_or_else(refused)?;
        let account = &place.space.account;
        let may = match (account.reader(), nearest_above(&account.state(), &place.name)) {
            (None, _) => true,
            (Some(_), Some(above)) => account.rights(&above).contains(Rights::CREATE),
            (Some(_), None) => false,
        };
        if may { Ok(place) } else { Err(refused()) }
    }
}

/// The nearest mailbox above a name.
fn nearest_above(state: &AccountState, name: &str) -> Option<Arc<MailboxState>> {
    let is_above = |above: &&Arc<MailboxState>| {
        name.strip_prefix(above.name.as_str()).is_some_and(|rest| rest.starts_with(DELIMITER))
    };
    state.mailboxes.values().filter(is_above).max_by_key(|above| above.name.len()).cloned()
}
