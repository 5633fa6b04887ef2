//! Who may do what with the mailboxes of an account (RFC 4314), without IMAP.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use waypost_storage::{Account, AclKey, Identifier, MailboxState, Rights, RightsChange, Store};

use super::request::named;

/// What is asked of access control lists.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "job", rename_all = "kebab-case")]
pub enum AclJob {
    /// Lists entries.
    List {
        /// The account's address.
        address: String,
        /// One mailbox; `None`: all that have entries.
        mailbox: Option<String>,
    },
    /// Changes an entry, and lists those of the mailbox.
    Set {
        /// The account's address.
        address: String,
        /// The mailbox.
        mailbox: String,
        /// An address or `anyone`, with `-` before it what is taken away.
        identifier: String,
        /// Letters; `+` or `-` before them adds or removes.
        rights: String,
    },
}

/// One entry in a listing.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AclLine {
    /// The mailbox.
    pub mailbox: String,
    /// About whom it is.
    pub identifier: String,
    /// The letters of the rights.
    pub rights: String,
}

/// Does what is asked.
pub(super) async fn run(store: &Store, job: AclJob) -> Result<Vec<AclLine>, String> {
    match job {
        AclJob::List { address, mailbox } => {
            let account = account(store, &address).await?;
            match mailbox {
                Some(name) => Ok(lines(store, &*found(&account, &name)?)),
                None => {
                    let state = account.state();
                    Ok(state.mailboxes.values().flat_map(|mailbox| lines(store, mailbox)).collect())
                }
            }
        }
        AclJob::Set { address, mailbox, identifier, rights } => {
            let account = account(store, &address).await?;
            let id = found(&account, &mailbox)?.id;
            let change = RightsChange::parse(&rights)
                .ok_or_else(|| format!("{rights:?} are no rights: letters of lrswipkxtea, after + or -"))?;
            let key = store.directory().borrow().acl_key(&identifier);
            let key = key.ok_or_else(|| format!("{identifier} is no account, and not anyone"))?;
            if key.0 == Identifier::Account(account.id()) {
                return Err("the owner of a mailbox has all rights, always".to_owned());
            }
            account.set_acl(id, key, change).await.map_err(|error| error.to_string())?;
            Ok(lines(store, &*found(&account, &mailbox)?))
        }
    }
}

async fn account(store: &Store, address: &str) -> Result<Account, String> {
    let record = named(store, address)?;
    store.account(record.id).await.map_err(|error| error.to_string())
}

fn found(account: &Account, name: &str) -> Result<Arc<MailboxState>, String> {
    account.state().by_name(name).cloned().ok_or_else(|| format!("there is no mailbox {name:?}"))
}

fn lines(store: &Store, mailbox: &MailboxState) -> Vec<AclLine> {
    let directory = Arc::clone(&store.directory().borrow());
    let line = |(key, rights): (AclKey, Rights)| {
        let identifier = directory.acl_identifier(key)?;
        Some(AclLine { mailbox: mailbox.name.clone(), identifier, rights: rights.letters() })
    };
    mailbox.acl.entries().filter_map(line).collect()
}
