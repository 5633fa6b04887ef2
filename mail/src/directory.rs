//! Accounts as the directory keeps them.

use std::fmt;

use crate::{AccountId, Address, Timestamp};

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
    /// SCRAM verifiers of the same password in their text form (RFC 5803); empty where there is no password here, or none were made.
    pub scram_verifiers: Vec<String>,
    /// Further passwords, each for one program or device.
    pub app_passwords: Vec<AppPassword>,
    /// What its codes are made of; where there is one, its password logs in with a code alone.
    pub totp: Option<TotpSecret>,
    /// What it shares with its clients for APOP.
    pub apop: Option<ApopSecret>,
    /// Certificates of clients that log in to it; empty: those that have its address in them.
    pub certificates: Vec<AccountCertificate>,
    /// Bytes it may hold; `None`: no bound of its own.
    pub quota_bytes: Option<u64>,
}

/// What the codes of an account are made of (RFC 6238).
#[derive(Clone, Eq, PartialEq)]
pub struct TotpSecret(pub Vec<u8>);

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret")
    }
}

/// What an account shares with its clients for APOP (RFC 1939 section 7): text, for nothing else, and kept as it is.
#[derive(Clone, Eq, PartialEq)]
pub struct ApopSecret(pub String);

impl fmt::Debug for ApopSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApopSecret")
    }
}

/// What URLs of a mailbox are authorized with (RFC 4467 section 2.2): random, and told to nobody.
#[derive(Clone, Eq, PartialEq)]
pub struct AccessKey(pub [u8; 32]);

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey")
    }
}

/// A password of an account beside its own: random, for one program, revocable by its name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AppPassword {
    /// What its owner calls it.
    pub name: String,
    /// Hash of the password.
    pub hash: String,
    /// What it may be used for.
    pub services: Vec<LoginService>,
    /// Since when it is there.
    pub created: Timestamp,
}

/// A certificate that logs in to an account, revocable by its name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountCertificate {
    /// What its owner calls it.
    pub name: String,
    /// SHA-256 of all of it.
    pub sha256: [u8; 32],
    /// Since when it is there.
    pub added: Timestamp,
}

/// Where one can log in.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum LoginService {
    /// SMTP: to send.
    Submission,
    /// IMAP.
    Imap,
    /// POP3.
    Pop3,
}

impl LoginService {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Submission, Self::Imap, Self::Pop3];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submission => "submission",
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
        }
    }

    /// The service of a name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }
}

impl fmt::Display for LoginService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
