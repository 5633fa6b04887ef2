//! Verifiers: what the server keeps instead of a password (RFC 5802 section 3), written as RFC 5803 has it.

use std::{fmt, num::NonZeroU32};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, hmac, pbkdf2};
use base64::{Engine, prelude::BASE64_STANDARD};

use crate::sasl::prepare::prepare;

/// How often new verifiers iterate (RFC 7677 section 4: at least 4,096).
pub const ITERATIONS: NonZeroU32 = NonZeroU32::new(10_000).unwrap();

/// The hash function of a mechanism.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ScramHash {
    /// RFC 7677.
    Sha256,
    /// RFC 5802.
    Sha1,
}

impl ScramHash {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha1];

    /// The name of the mechanism without channel binding, which also stands before its verifiers.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha1 => "SCRAM-SHA-1",
        }
    }

    /// Octets of its output.
    pub fn bytes(self) -> usize {
        self.digest().output_len()
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        }
    }

    /// `HMAC(key, text)`
    pub(super) fn hmac(self, key: &[u8], text: &str) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), text.as_bytes()).as_ref().to_vec()
    }

    /// `H(octets)`
    pub(super) fn hash(self, octets: &[u8]) -> Vec<u8> {
        digest::digest(self.digest(), octets).as_ref().to_vec()
    }

    /// `Hi(password, salt, i)`
    pub(super) fn salted(self, password: &str, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
        };
        let mut salted = vec![0; self.bytes()];
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut salted);
        salted
    }
}

/// The verifier of one password for one hash.
#[derive(Clone, Eq, PartialEq)]
pub struct Verifier {
    /// Its hash.
    pub hash: ScramHash,
    /// How often it was iterated.
    pub iterations: NonZeroU32,
    /// What it was salted with.
    pub salt: Vec<u8>,
    /// `H(ClientKey)`
    pub stored_key: Vec<u8>,
    /// What we sign with.
    pub server_key: Vec<u8>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl Verifier {
    /// That of a password. `None` where SASLprep refuses the password: nobody can log in with it by SCRAM. Takes milliseconds.
    pub fn derive(hash: ScramHash, password: &str, salt: Vec<u8>, iterations: NonZeroU32) -> Option<Self> {
        let salted = hash.salted(&prepare(password)?, &salt, iterations);
        let stored_key = hash.hash(&hash.hmac(&salted, "Client Key"));
        let server_key = hash.hmac(&salted, "Server Key");
        Some(Self { hash, iterations, salt, stored_key, server_key })
    }

    /// Reads its text form, `scheme "$" iterations ":" salt "$" StoredKey ":" ServerKey` (RFC 5803).
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('$');
        let (scheme, information, value) = (parts.next()?, parts.next()?, parts.next()?);
        let hash = ScramHash::ALL.into_iter().find(|hash| hash.scheme() == scheme)?;
        let (iterations, salt) = information.split_once(':')?;
        let (stored_key, server_key) = value.split_once(':')?;
        let key = |text| BASE64_STANDARD.decode(text).ok().filter(|key| key.len() == hash.bytes());
        let verifier = Self {
            hash,
            iterations: iterations.parse().ok()?,
            salt: BASE64_STANDARD.decode(salt).ok()?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        };
        parts.next().is_none().then_some(verifier)
    }

    /// Whether a proof shows that the client knows the password.
    pub(super) fn accepts(&self, auth_message: &str, proof: &[u8]) -> bool {
        let signature = self.hash.hmac(&self.stored_key, auth_message);
        if proof.len() != signature.len() {
            return false;
        }
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(proof, sign)| proof ^ sign).collect();
        verify_slices_are_equal(&self.hash.hash(&client_key), &self.stored_key).is_ok()
    }

    /// `ClientProof`, as a client makes it.
    #[cfg(test)]
    pub(super) fn proof(
        hash: ScramHash,
        password: &str,
        salt: &[u8],
        iterations: NonZeroU32,
        auth_message: &str,
    ) -> Vec<u8> {
        let client_key = hash.hmac(&hash.salted(password, salt, iterations), "Client Key");
        let signature = hash.hmac(&hash.hash(&client_key), auth_message);
        client_key.iter().zip(&signature).map(|(key, sign)| key ^ sign).collect()
    }

    /// `ServerSignature`
    pub(super) fn sign(&self, auth_message: &str) -> Vec<u8> {
        self.hash.hmac(&self.server_key, auth_message)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = |octets: &[u8]| BASE64_STANDARD.encode(octets);
        let (scheme, iterations, salt) = (self.hash.scheme(), self.iterations, encoded(&self.salt));
        let (stored_key, server_key) = (encoded(&self.stored_key), encoded(&self.server_key));
        write!(f, "{scheme}${iterations}:{salt}${stored_key}:{server_key}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifiers_have_a_text_form() {
        for hash in ScramHash::ALL {
            let verifier =
                Verifier::derive(hash, "pencil", b"salt of 16 octet".to_vec(), ITERATIONS).unwrap();
            let text = verifier.to_string();
            assert!(
                text.starts_with(&format!("{}$10000:c2FsdCBvZiAxNiBvY3RldA==$", hash.scheme())),
                "{text}"
            );
            assert_eq!(Verifier::parse(&text), Some(verifier));
            for wrong in [
                &text[..text.len() - 4],
                &text.replace("10000", "0"),
                &text.replace("SCRAM-", "scram-"),
                &format!("{text}$"),
                &text.replace("10000:", "10000"),
            ] {
                assert_eq!(Verifier::parse(wrong), None, "{wrong}");
            }
        }
        assert_eq!(Verifier::derive(ScramHash::Sha256, "a\u{7}", vec![1], ITERATIONS), None);
        let prepared = |text| Verifier::derive(ScramHash::Sha1, text, vec![1], ITERATIONS);
        assert_eq!(prepared("I\u{ad}X"), prepared("IX"));
        assert_ne!(prepared("ix"), prepared("IX"));
    }
}
