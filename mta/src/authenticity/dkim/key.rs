//! Public keys in DNS (RFC 6376 section 3.6), each of a message asked for once, all together.

use std::collections::HashMap;

use mail_auth::common::{crypto::Algorithm, parse::TxtRecordParser, verify::DomainKey};

use super::{
    signature::{Seal, Signature},
    tags::Tags,
};
use crate::dns::{DnsError, Resolver};

/// Longest key record in octets: an RSA key of 16,384 bits has 3,000.
const RECORD_BYTES_MAX: usize = 4096;
/// Most records of one name that are tried.
const RECORDS_MAX: usize = 4;
/// Most keys that are asked for because of one message.
pub(crate) const KEYS_MAX: usize = 20;
/// Shortest RSA key in bits that says anything (RFC 8301 section 3.2).
pub(crate) const RSA_BITS_MIN: usize = 1024;
/// Shorter ones are told of (RFC 8301 section 3.2: signers should use no shorter one).
pub(crate) const RSA_BITS_ADVISED: usize = 2048;

/// Why there is no key, or a signature does not stand by it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum KeyError {
    /// DNS did not answer.
    Temporary,
    /// Nothing there is a key for it.
    Permanent(&'static str),
    /// The signature is not made by the key.
    Mismatch,
}

/// A key that says it signs mail.
pub(crate) struct Key {
    key: DomainKey,
    is_rsa: bool,
    hashes_sha256: bool,
    /// `t=s`: it does not sign for domains below its own.
    is_strict: bool,
}

/// How long the key is that a signature stands by, in bits; `None`: it is not RSA.
pub(crate) type RsaBits = Option<usize>;

impl Key {
    /// Reads a record. Errors: why it is no key for mail.
    fn parse(record: &[u8]) -> Result<Self, &'static str> {
        let tags = Tags::parse(record).filter(|_| record.len() <= RECORD_BYTES_MAX);
        let tags = tags.ok_or("the key record is wrong")?;
        let is_version = |version| version == "DKIM1" && tags.first() == Some("v");
        if !tags.find("v").is_none_or(is_version) {
            return Err("the key record is of another version");
        }
        let kind = tags.find("k").unwrap_or("rsa");
        if !["rsa", "ed25519"].contains(&kind) {
            return Err("the key is of an unknown kind");
        }
        if tags.find("s").is_some() && !tags.parts("s").any(|service| service == "*" || service == "email") {
            return Err("the key is not for mail");
        }
        let public: String =
            tags.find("p").ok_or("the key record is wrong")?.split_ascii_whitespace().collect();
        if public.is_empty() {
            return Err("the key is revoked");
        }
        let key = DomainKey::parse(format!("v=DKIM1; k={kind}; p={public}").as_bytes());
        Ok(Self {
            key: key.map_err(|_| "the key record is wrong")?,
            is_rsa: kind == "rsa",
            hashes_sha256: tags.find("h").is_none() || tags.parts("h").any(|hash| hash == "sha256"),
            is_strict: tags.parts("t").any(|flag| flag == "s"),
        })
    }

    /// Whether it made a signature of these octets.
    fn verify(&self, octets: &[u8], seal: &Seal) -> Result<RsaBits, KeyError> {
        if !self.hashes_sha256 {
            return Err(KeyError::Permanent("the key is for another hash"));
        }
        if self.is_rsa != (seal.algorithm == Algorithm::RsaSha256) {
            return Err(KeyError::Permanent("the key is of another kind"));
        }
        let bits = self.is_rsa.then(|| self.key.p.public_key_bits());
        if bits.is_some_and(|bits| bits < RSA_BITS_MIN) {
            return Err(KeyError::Permanent("the key is too short"));
        }
        let verified = self.key.p.verify_bytes(octets, &seal.signature, seal.algorithm);
        verified.map(|()| bits).map_err(|_| KeyError::Mismatch)
    }

    /// Whether it may sign for the identity.
    fn allows(&self, signature: &Signature) -> bool {
        let domain = signature.identity.as_deref().and_then(|identity| identity.rsplit_once('@'));
        let is_own = domain.is_none_or(|(_, of)| of.eq_ignore_ascii_case(signature.seal.domain.as_str()));
        is_own || !self.is_strict
    }
}

type Found = Result<Vec<Result<Key, &'static str>>, KeyError>;

/// The keys that the signatures of one message name.
#[derive(Default)]
pub(crate) struct Keys(HashMap<String, Found>);

impl Keys {
    /// Asks for the keys of these names, all at once; beyond [`KEYS_MAX`] they count as not answered.
    pub(crate) async fn fetch(resolver: &Resolver, names: impl Iterator<Item = String>) -> Self {
        let mut asked: Vec<String> = names.collect();
        asked.sort();
        asked.dedup();
        asked.truncate(KEYS_MAX);
        let found = resolver.texts_of(&asked).await.into_iter().map(keys);
        Self(asked.into_iter().zip(found).collect())
    }

    /// Reads a record.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn read(record: &[u8]) {
        drop(Key::parse(record));
    }

    /// Whether a signature of these octets stands by a key of its name.
    pub(crate) fn verify(&self, octets: &[u8], seal: &Seal) -> Result<RsaBits, KeyError> {
        self.verify_by(octets, seal, |_| true)
    }

    /// Whether a signature of a message stands, as [`verify`](Self::verify), for the identity that it names, too.
    pub(crate) fn verify_signature(&self, octets: &[u8], signature: &Signature) -> Result<RsaBits, KeyError> {
        self.verify_by(octets, &signature.seal, |key| key.allows(signature))
    }

    fn verify_by(
        &self,
        octets: &[u8],
        seal: &Seal,
        allows: impl Fn(&Key) -> bool,
    ) -> Result<RsaBits, KeyError> {
        let found = self.0.get(&seal.key_name()).ok_or(KeyError::Temporary)?;
        let mut problem = KeyError::Permanent("there is no key");
        for key in found.as_ref().map_err(KeyError::clone)? {
            let outcome = match key {
                Ok(key) if allows(key) => key.verify(octets, seal),
                Ok(_) => Err(KeyError::Permanent("the key is not for domains below its own")),
                Err(why) => Err(KeyError::Permanent(why)),
            };
            match outcome {
                Ok(bits) => return Ok(bits),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }
}

fn keys(found: Result<Vec<Vec<u8>>, DnsError>) -> Found {
    match found {
        Ok(texts) => Ok(texts.iter().take(RECORDS_MAX).map(|text| Key::parse(text)).collect()),
        Err(DnsError::Temporary(..)) => Err(KeyError::Temporary),
        Err(DnsError::NoSuchDomain(_) | DnsError::NoRecords(_)) => Ok(Vec::new()),
    }
}
