//! QUOTA (RFC 9208): one quota root an account, by its address; its one resource is STORAGE, in units of 1024 octets.
//!
//! A mailbox of another account counts to that account's quota. Its usage is told to who may read a mailbox of it, and to
//! administrators (`[imap] administrators`), who may also set it, where it stands in no configuration file.

use std::sync::Arc;

use waypost_mail::{AccountId, AccountRecord, AccountSource, Address};
use waypost_storage::Rights;

use super::{Failure, Operation, place::NO_RIGHT};
use crate::{
    machine::Ran,
    wire::{
        QuotaCommand,
        quota::{quota, quotaroot},
    },
};

/// The resource.
const STORAGE: &str = "STORAGE";
/// Octets of its unit.
const STORAGE_UNIT: u64 = 1024;
const NO_SUCH_ROOT: &str = "no such quota root";
const NO_SUCH_RESOURCE: &str = "of resources only STORAGE has a limit here";
const TOO_LARGE: &str = "the limit is too large";
const TWICE: &str = "a resource stands there twice";
const IN_THE_FILE: &str = "the quota of this account stands in the configuration file";

impl Operation<'_, '_> {
    pub(super) async fn quota(&mut self, command: &QuotaCommand) -> Result<Ran, Failure> {
        match command {
            QuotaCommand::Get(root) => self.quota_of(root).await,
            QuotaCommand::Root(name) => self.quota_root(name).await,
            QuotaCommand::Set(root, limits) => self.set_quota(root, limits).await,
        }
    }

    async fn quota_of(&mut self, root: &str) -> Result<Ran, Failure> {
        let record = self.root(root).ok_or(Failure::no("NONEXISTENT", NO_SUCH_ROOT))?;
        let own = self.user.identity.account == record.id;
        if !own && !self.administers() && !self.reads_some(record.id).await? {
            return Err(Failure::no("NONEXISTENT", NO_SUCH_ROOT));
        }
        self.tell_quota(&record).await?;
        Ok(Ran::ok("done"))
    }

    /// The mailbox need not exist (RFC 9208 section 4.1.2), unless it is another's: then it must be one that may be read.
    async fn quota_root(&mut self, name: &str) -> Result<Ran, Failure> {
        let place = self.place(name).await?;
        let owner = match place.filter(|place| place.space.account.reader().is_none()) {
            Some(own) => own.space.account.id(),
            None => self.mailbox(name, Rights::READ).await?.space.account.id(),
        };
        let record = self.record(owner).ok_or(Failure::no("NONEXISTENT", NO_SUCH_ROOT))?;
        let mut out = Vec::new();
        quotaroot(&mut out, name, self.user.enabled.spelling(), &record.address.to_string());
        self.output.write(&out).await?;
        self.tell_quota(&record).await?;
        Ok(Ran::ok("done"))
    }

    /// Limits that are not named go (RFC 9208 section 4.1.3).
    async fn set_quota(&mut self, root: &str, limits: &[(String, u64)]) -> Result<Ran, Failure> {
        if !self.administers() {
            return Err(Failure::no("NOPERM", NO_RIGHT));
        }
        let record = self.root(root).ok_or(Failure::no("NONEXISTENT", NO_SUCH_ROOT))?;
        let limit = match limits {
            [] => None,
            [(name, units)] if name == STORAGE => {
                Some(units.checked_mul(STORAGE_UNIT).ok_or(Failure::no("LIMIT", TOO_LARGE))?)
            }
            [(name, _), ..] if name == STORAGE && limits.iter().all(|(name, _)| name == STORAGE) => {
                return Err(Failure::bad(TWICE));
            }
            _ => return Err(Failure::no("CANNOT", NO_SUCH_RESOURCE)),
        };
        if record.source == AccountSource::File {
            return Err(Failure::no("CANNOT", IN_THE_FILE));
        }
        self.context.store.set_quota(record.id, limit).await?;
        let record = self.record(record.id).ok_or(Failure::no("NONEXISTENT", NO_SUCH_ROOT))?;
        self.tell_quota(&record).await?;
        Ok(Ran::ok("the quota is set"))
    }

    /// No limit: no resource (RFC 9208 section 4.2.1). Usage is rounded up, the limit down.
    async fn tell_quota(&mut self, record: &AccountRecord) -> Result<(), Failure> {
        let used = self.context.store.account(record.id).await?.state().bytes;
        let storage =
            record.quota_bytes.map(|limit| (STORAGE, used.div_ceil(STORAGE_UNIT), limit / STORAGE_UNIT));
        let mut out = Vec::new();
        quota(&mut out, &record.address.to_string(), storage.as_slice());
        Ok(self.output.write(&out).await?)
    }

    /// Whether some mailbox of another account may be read.
    async fn reads_some(&mut self, owner: AccountId) -> Result<bool, Failure> {
        let spaces = self.spaces().await?;
        let space = spaces.into_iter().find(|space| space.account.id() == owner);
        Ok(space.is_some_and(|space| {
            let state = space.account.state();
            state.mailboxes.values().any(|mailbox| space.account.rights(mailbox).contains(Rights::READ))
        }))
    }

    fn administers(&self) -> bool {
        let live = self.context.live();
        let own = &self.user.identity.address;
        live.config.imap.administrators.iter().any(|address| address.same_mailbox(own))
    }

    /// The account of a quota root.
    fn root(&self, root: &str) -> Option<AccountRecord> {
        self.record(self.account_of(&Address::parse(root).ok()?)?)
    }

    fn record(&self, account: AccountId) -> Option<AccountRecord> {
        let directory = Arc::clone(&self.context.store.directory().borrow());
        directory.accounts.get(&account).cloned()
    }
}
