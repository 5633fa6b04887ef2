//! DKIM: whether signatures of a message stand (RFC 6376, RFC 8301, RFC 8463). The body is hashed while it passes.
//!
//! ```text
//! DkimCheck::begin(header) ── feed(body)… ── finish(keys) ──► one outcome for each signature
//! ```
//!
//! `tags`, `canonical` and `signature` are pure; `key` asks DNS. Not here: what a signature is worth (DMARC).

pub(crate) mod body;
pub(crate) mod canonical;
pub(crate) mod key;
pub(crate) mod signature;
pub(crate) mod tags;
#[cfg(test)]
mod tests;

use waypost_message::{Field, HeaderBlock};

use self::{
    body::{Bodies, BodyId},
    key::{KeyError, Keys, RSA_BITS_ADVISED},
    signature::{Kind, Signature},
};

/// Most signatures of one message that are looked at: the first ones, as the newest stand first.
pub const SIGNATURES_MAX: usize = 10;

/// What came of a signature (RFC 8601 section 2.7.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DkimResult {
    /// It stands.
    Pass,
    /// It does not.
    Fail,
    /// It stands, and is not good enough for us.
    Policy,
    /// It is no signature that could be checked.
    Neutral,
    /// DNS did not answer.
    TempError,
    /// It can never be checked, as there is no key for it.
    PermError,
}

impl DkimResult {
    /// As it stands in Authentication-Results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Policy => "policy",
            Self::Neutral => "neutral",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// A signature, and what came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DkimOutcome {
    /// What came of it.
    pub result: DkimResult,
    /// Why, for people.
    pub reason: Option<String>,
    /// Who signed, where that could be read.
    pub signer: Option<Signer>,
}

/// Who signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signer {
    /// `d=`, in lower case and A-labels.
    pub domain: String,
    /// `s=`
    pub selector: String,
    /// `i=`
    pub identity: Option<String>,
    /// `a=`
    pub algorithm: &'static str,
    /// The first characters of `b=`, which tell signatures of one signer apart (RFC 6008).
    pub mark: String,
}

/// The signatures of a message whose body passes.
#[derive(Debug)]
pub(crate) struct DkimCheck(Vec<Pending>);

#[derive(Debug)]
enum Pending {
    /// What can be told without body and key.
    Told(DkimOutcome),
    Signature {
        signature: Box<Signature>,
        octets: Vec<u8>,
        body: BodyId,
    },
}

impl DkimCheck {
    /// Takes the signatures of a header; `now` in seconds since 1970.
    pub(crate) fn begin(header: &HeaderBlock, bodies: &mut Bodies, now: u64) -> Self {
        let fields = header.named("DKIM-Signature").take(SIGNATURES_MAX);
        Self(fields.map(|field| Pending::new(header, &field, bodies, now)).collect())
    }

    /// Where the keys are.
    pub(crate) fn key_names(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|pending| match pending {
            Pending::Signature { signature, .. } => Some(signature.seal.key_name()),
            Pending::Told(_) => None,
        })
    }

    /// What came of each, in the order of the header. What DMARC may use has passed.
    pub(crate) fn finish(self, bodies: &body::Hashes, keys: &Keys) -> Vec<DkimOutcome> {
        self.0.into_iter().map(|pending| pending.finish(bodies, keys)).collect()
    }
}

impl Pending {
    fn new(header: &HeaderBlock, field: &Field<'_>, bodies: &mut Bodies, now: u64) -> Self {
        let signature = match Signature::parse(field.raw, Kind::Dkim) {
            Ok(signature) => signature,
            Err(fault) => return Self::Told(DkimOutcome::of(DkimResult::Neutral, Some(fault), None)),
        };
        if signature.expires.is_some_and(|expires| expires < now) {
            return Self::Told(DkimOutcome::of(DkimResult::Fail, Some("it has expired"), Some(&signature)));
        }
        let octets = signature.signed_octets(header, field);
        let body = bodies.add(signature.body_form, signature.length);
        Self::Signature { signature: Box::new(signature), octets, body }
    }

    fn finish(self, bodies: &body::Hashes, keys: &Keys) -> DkimOutcome {
        let (signature, octets, body) = match self {
            Self::Told(outcome) => return outcome,
            Self::Signature { signature, octets, body } => (signature, octets, body),
        };
        let (result, reason) = match keys.verify_signature(&octets, &signature) {
            _ if bodies.digest(body) != signature.body_hash => {
                (DkimResult::Fail, Some("the body was changed"))
            }
            Err(KeyError::Temporary) => (DkimResult::TempError, Some("the key could not be looked up")),
            Err(KeyError::Permanent(why)) => (DkimResult::PermError, Some(why)),
            Err(KeyError::Mismatch) => (DkimResult::Fail, Some("the signature does not match")),
            Ok(_) if !bodies.is_whole(body) => (DkimResult::Policy, Some("l= is not the length of the body")),
            Ok(Some(bits)) if bits < RSA_BITS_ADVISED => {
                (DkimResult::Pass, Some("the key is shorter than 2048 bits"))
            }
            Ok(_) => (DkimResult::Pass, None),
        };
        DkimOutcome::of(result, reason, Some(&signature))
    }
}

impl DkimOutcome {
    fn of(result: DkimResult, reason: Option<&str>, signature: Option<&Signature>) -> Self {
        Self { result, reason: reason.map(str::to_owned), signer: signature.map(Signer::of) }
    }
}

impl Signer {
    fn of(signature: &Signature) -> Self {
        use base64::Engine;
        let seal = &signature.seal;
        let mut mark = base64::engine::general_purpose::STANDARD.encode(&seal.signature);
        mark.truncate(8);
        Self {
            domain: seal.domain.to_string(),
            selector: seal.selector.to_string(),
            identity: signature.identity.clone(),
            algorithm: seal.algorithm.name(),
            mark,
        }
    }
}
