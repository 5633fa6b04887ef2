//! Accounts as the directory keeps them.

use crate::{AccountId, Address};

/// Where an account is declared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccountSource {
    /// By `waypost account add`: the store holds all of it.
    Store,
    /// In the configuration file: the store only keeps its id.
    File,
}

/// One account as the store keeps it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountRecord {
    /// Its id for ever.
    pub id: AccountId,
    /// Its address, as it was first written.
    pub address: Address,
    /// Where it is declared.
    pub source: AccountSource,
    /// PHC string of the password; `None` where the configuration file holds it.
    pub password_hash: Option<String>,
    /// Bytes it may hold; `None`: no bound of its own.
    pub quota_bytes: Option<u64>,
}
