//! The keys that mail of our domains is signed with (DKIM): kept in the directory's stream, so that whatever keeps the accounts keeps
//! them, a backup and its restore too.
//!
//! ```text
//! Waiting ──its record was seen in DNS, or the operator says so──► Active ──another one became active──► Retired ──► gone
//! ```

use std::fmt;

use minicbor::{Decode, Encode, bytes::ByteVec};
use waypost_mail::{Domain, Timestamp};

use crate::{
    decide::dkim::{ActivateDkimKey, AddDkimKeys, RemoveDkimKey},
    error::StoreError,
    record::codec,
    store::Store,
};

/// Most keys of one domain, so that nobody's script fills the journal with them.
pub const DKIM_KEYS_MAX: usize = 16;

/// What a key signs with.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum DkimAlgorithm {
    /// `rsa-sha256` (RFC 6376 section 3.3).
    #[n(0)]
    Rsa,
    /// `ed25519-sha256` (RFC 8463).
    #[n(1)]
    Ed25519,
}

impl DkimAlgorithm {
    /// Its name as tag `k=` of a key record has it (RFC 6376 section 3.6.1, RFC 8463 section 3).
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// A private key in PKCS#8.
#[derive(Clone, Decode, Encode, Eq, PartialEq)]
#[cbor(transparent)]
pub struct DkimSecret(#[n(0)] ByteVec);

impl DkimSecret {
    /// Of the octets of a PKCS#8 structure (RFC 5958).
    pub fn new(pkcs8: Vec<u8>) -> Self {
        Self(pkcs8.into())
    }

    /// The octets of the PKCS#8 structure.
    pub fn pkcs8(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for DkimSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DkimSecret")
    }
}

/// What is done with a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DkimState {
    /// Its record has to be published; nothing is signed with it.
    Waiting,
    /// Mail is signed with it.
    Active,
    /// Mail that it signed is still on its way: its record stays published.
    Retired,
}

impl DkimState {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// A key of a domain.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct DkimKey {
    /// The domain (tag `d=`).
    #[cbor(n(0), with = "codec::domain")]
    pub domain: Domain,
    /// Its name under `_domainkey` (tag `s=`).
    #[n(1)]
    pub selector: String,
    /// What it signs with.
    #[n(2)]
    pub algorithm: DkimAlgorithm,
    /// The key.
    #[n(3)]
    pub secret: DkimSecret,
    /// When it was made.
    #[cbor(n(4), with = "codec::timestamp")]
    pub created: Timestamp,
    /// Since when mail is signed with it.
    #[cbor(n(5), with = "codec::optional_timestamp", default)]
    pub activated: Option<Timestamp>,
    /// Since when mail is signed with it no more.
    #[cbor(n(6), with = "codec::optional_timestamp", default)]
    pub retired: Option<Timestamp>,
}

impl DkimKey {
    /// What is done with it.
    pub fn state(&self) -> DkimState {
        match (self.activated, self.retired) {
            (_, Some(_)) => DkimState::Retired,
            (Some(_), None) => DkimState::Active,
            (None, None) => DkimState::Waiting,
        }
    }

    /// By what it is known.
    pub(crate) fn name(&self) -> (Domain, String) {
        (self.domain.clone(), self.selector.clone())
    }
}

impl Store {
    /// The keys of a domain, by selector.
    pub fn dkim_keys(&self, domain: &Domain) -> Vec<DkimKey> {
        self.directory().borrow().dkim_keys(domain).cloned().collect()
    }

    /// Keeps new keys, all or none. Errors: `DkimKeyExists`, `Limit` and those of writing.
    pub async fn add_dkim_keys(&self, keys: Vec<DkimKey>) -> Result<(), StoreError> {
        self.submit(AddDkimKeys(keys)).await
    }

    /// Signs with a key from now on, and no more with the one of the same algorithm that the domain had. Errors: `NoSuchDkimKey` and
    /// those of writing.
    pub async fn activate_dkim_key(&self, domain: Domain, selector: String) -> Result<(), StoreError> {
        self.submit(ActivateDkimKey { domain, selector }).await
    }

    /// Forgets a key. Errors: `NoSuchDkimKey` and those of writing.
    pub async fn remove_dkim_key(&self, domain: Domain, selector: String) -> Result<(), StoreError> {
        self.submit(RemoveDkimKey { domain, selector }).await
    }
}
