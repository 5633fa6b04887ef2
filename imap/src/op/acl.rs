//! ACL (RFC 4314): SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS.
//!
//! Identifiers are addresses of accounts and `anyone`, with `-` before them what is taken away. The owner of a mailbox has all rights,
//! always: no entry about them is kept.

use std::sync::Arc;

use waypost_auth::sasl::prepare;
use waypost_storage::{AclKey, Identifier, Rights, RightsChange, Sign, StoreError};

use super::{Failure, NO_SUCH_MAILBOX, Operation, place::Found};
use crate::{
    machine::Ran,
    wire::{AclCommand, acl::rights_data},
};

const BAD_IDENTIFIER: &str = "an identifier is an address or anyone";
const NO_SUCH_RIGHT: &str = "there is no such right";
const NO_SUCH_USER: &str = "there is no such user";
const OWNER: &str = "the owner has all rights, always";

/// Any of these is enough to be told one's rights (RFC 4314 section 4).
const TELLING: Rights = Rights::LOOKUP
    .with(Rights::READ)
    .with(Rights::INSERT)
    .with(Rights::CREATE)
    .with(Rights::DELETE)
    .with(Rights::ADMINISTER);

impl Operation<'_, '_> {
    pub(super) async fn acl(&mut self, command: &AclCommand) -> Result<Ran, Failure> {
        match command {
            AclCommand::Set(name, identifier, rights) => self.set_acl(name, identifier, rights).await,
            AclCommand::Delete(name, identifier) => self.delete_acl(name, identifier).await,
            AclCommand::Get(name) => self.tell_acl(name).await,
            AclCommand::List(name, identifier) => self.list_rights(name, identifier).await,
            AclCommand::Mine(name) => self.my_rights(name).await,
        }
    }

    async fn set_acl(&mut self, name: &str, identifier: &str, rights: &str) -> Result<Ran, Failure> {
        let identifier = prepared(identifier)?;
        let change = RightsChange::parse(rights).ok_or(Failure::bad(NO_SUCH_RIGHT))?;
        let found = self.administered(name).await?;
        let key = self.key(&identifier, &found)?;
        self.change_acl(&found, key, change).await?;
        Ok(Ran::ok("the rights are changed"))
    }

    /// Where there is no such entry, there is none then, either.
    async fn delete_acl(&mut self, name: &str, identifier: &str) -> Result<Ran, Failure> {
        let identifier = prepared(identifier)?;
        let found = self.administered(name).await?;
        let key = self.key(&identifier, &found)?;
        self.change_acl(&found, key, RightsChange::Replace(Rights::NONE)).await?;
        Ok(Ran::ok("the entry is deleted"))
    }

    async fn change_acl(&mut self, found: &Found, key: AclKey, change: RightsChange) -> Result<(), Failure> {
        match found.space.account.set_acl(found.mailbox.id, key, change).await {
            // The one whom the entry is about was removed in this moment.
            Err(StoreError::NoSuchAccount) => Err(Failure::no("NONEXISTENT", NO_SUCH_USER)),
            other => Ok(other?),
        }
    }

    async fn tell_acl(&mut self, name: &str) -> Result<Ran, Failure> {
        let found = self.administered(name).await?;
        let mut words = Vec::new();
        if let Some(owner) = self.address_of(found.space.account.id()) {
            words.extend([owner.to_string(), Rights::ALL.to_string()]);
        }
        let directory = Arc::clone(&self.context.store.directory().borrow());
        for (key, rights) in found.mailbox.acl.entries() {
            if let Some(identifier) = directory.acl_identifier(key) {
                words.extend([identifier, rights.to_string()]);
            }
        }
        self.tell_rights("ACL", &found, &words).await?;
        Ok(Ran::ok("done"))
    }

    async fn list_rights(&mut self, name: &str, identifier: &str) -> Result<Ran, Failure> {
        let prepared = prepared(identifier)?;
        let found = self.administered(name).await?;
        let mut words = vec![identifier.to_owned()];
        match self.key_of(&prepared)? {
            (Identifier::Account(account), Sign::Given) if account == found.space.account.id() => {
                words.push(Rights::ALL.to_string());
            }
            _ => {
                let each = Rights::ALL.to_string().chars().map(String::from).collect::<Vec<_>>();
                words.push(String::new());
                words.extend(each);
            }
        }
        self.tell_rights("LISTRIGHTS", &found, &words).await?;
        Ok(Ran::ok("done"))
    }

    async fn my_rights(&mut self, name: &str) -> Result<Ran, Failure> {
        let gone = || Failure::no("NONEXISTENT", NO_SUCH_MAILBOX);
        let found = self.find_with(name, |rights| rights.intersects(TELLING), gone).await?;
        self.tell_rights("MYRIGHTS", &found, &[found.rights.to_string()]).await?;
        Ok(Ran::ok("done"))
    }

    async fn tell_rights(&mut self, response: &str, found: &Found, words: &[String]) -> Result<(), Failure> {
        let mut out = Vec::new();
        let name = found.space.name(&found.mailbox);
        rights_data(&mut out, response, &name, self.user.enabled.spelling(), words);
        Ok(self.output.write(&out).await?)
    }

    async fn administered(&mut self, name: &str) -> Result<Found, Failure> {
        self.mailbox(name, Rights::ADMINISTER).await
    }

    /// Whose entry an identifier names, where it can have one.
    fn key(&self, identifier: &str, found: &Found) -> Result<AclKey, Failure> {
        let key = self.key_of(identifier)?;
        match key {
            (Identifier::Account(account), _) if account == found.space.account.id() => {
                Err(Failure::no("CANNOT", OWNER))
            }
            key => Ok(key),
        }
    }

    fn key_of(&self, identifier: &str) -> Result<AclKey, Failure> {
        let directory = self.context.store.directory();
        let key = directory.borrow().acl_key(identifier);
        key.ok_or(Failure::no("CANNOT", NO_SUCH_USER))
    }
}

/// The identifier as SASLprep has it (RFC 4314 section 3); BAD where it has nothing.
fn prepared(identifier: &str) -> Result<String, Failure> {
    prepare(identifier).filter(|prepared| !prepared.is_empty()).ok_or(Failure::bad(BAD_IDENTIFIER))
}
