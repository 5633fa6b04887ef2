//! Keys that sign, and their records in DNS (RFC 6376 section 3.6.1, RFC 8463 section 4).

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use waypost_mail::{Domain, Timestamp};
use waypost_storage::{DkimAlgorithm, DkimKey, DkimSecret};

/// Most octets of the text of a key file.
const KEY_TEXT_BYTES_MAX: usize = 64 * 1024;

/// Why there is no key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// It is none.
    #[error("it is no private key in PEM that can sign: RSA of 2048 bits or more, or Ed25519")]
    NoKey,
    /// None could be made.
    #[error("no key could be made: the system gives no randomness")]
    NotMade,
    /// It does not sign.
    #[error("the key for {0} does not sign")]
    NotSigned(String),
}

/// A key that signs for a domain.
pub struct SigningKey {
    domain: Domain,
    selector: String,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.record_name())
    }
}

impl SigningKey {
    /// Of a PKCS#8 structure; for RSA also of the older RSAPrivateKey (RFC 8017 appendix A.1.2).
    pub fn new(domain: Domain, selector: String, der: &[u8]) -> Result<Self, KeyError> {
        let rsa = || RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der));
        let pair = match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            Ok(pair) => Pair::Ed25519(pair),
            Err(_) => Pair::Rsa(Box::new(rsa().map_err(|_| KeyError::NoKey)?)),
        };
        Ok(Self { domain, selector, pair })
    }

    /// Of the text of a PEM file (RFC 7468): its first private key.
    pub fn of_pem(domain: Domain, selector: String, text: &str) -> Result<Self, KeyError> {
        Self::new(domain, selector, &private_key(text).ok_or(KeyError::NoKey)?)
    }

    /// The domain (tag `d=`).
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The selector (tag `s=`).
    pub fn selector(&self) -> &str {
        &self.selector
    }

    /// What it signs with.
    pub fn algorithm(&self) -> DkimAlgorithm {
        match self.pair {
            Pair::Rsa(_) => DkimAlgorithm::Rsa,
            Pair::Ed25519(_) => DkimAlgorithm::Ed25519,
        }
    }

    /// `sig-a-tag-alg` (RFC 6376 section 3.5, RFC 8463 section 3).
    pub(super) fn tag(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "rsa-sha256",
            Pair::Ed25519(_) => "ed25519-sha256",
        }
    }

    /// Octets of a signature.
    pub(super) fn signature_bytes(&self) -> usize {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_modulus_len(),
            Pair::Ed25519(_) => 64,
        }
    }

    /// Signs the canonical header.
    pub(super) fn sign(&self, header: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |_| KeyError::NotSigned(self.record_name());
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), header, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            // RFC 8463 section 3: PureEdDSA over the hash.
            Pair::Ed25519(pair) => {
                let signature = pair.try_sign(digest(&SHA256, header).as_ref()).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }

    /// The name of its record in DNS, without the last dot.
    pub fn record_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// The text of its record in DNS.
    pub fn record(&self) -> String {
        format!("v=DKIM1; k={}; p={}", self.algorithm().name(), self.public())
    }

    /// Tag `p=` of the record: SubjectPublicKeyInfo for RSA, as all write it (RFC 6376 erratum 3017), the bare key for Ed25519.
    pub(super) fn public(&self) -> String {
        match &self.pair {
            Pair::Rsa(pair) => {
                let der = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key());
                der.map_or_else(|_| String::new(), |der| STANDARD.encode(der.as_ref()))
            }
            Pair::Ed25519(pair) => STANDARD.encode(pair.public_key().as_ref()),
        }
    }
}

/// Makes a key that waits for its record. It takes some 100 ms for RSA, which has 2048 bits (RFC 8301 section 3.2).
pub fn generate(
    domain: Domain,
    selector: String,
    algorithm: DkimAlgorithm,
    now: Timestamp,
) -> Result<DkimKey, KeyError> {
    let not_made = |_| KeyError::NotMade;
    let pkcs8 = match algorithm {
        DkimAlgorithm::Rsa => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(not_made)?;
            AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(not_made)?.as_ref().to_vec()
        }
        DkimAlgorithm::Ed25519 => {
            let pair = Ed25519KeyPair::generate().map_err(not_made)?;
            pair.to_pkcs8().map_err(not_made)?.as_ref().to_vec()
        }
    };
    let secret = DkimSecret::new(pkcs8);
    Ok(DkimKey { domain, selector, algorithm, secret, created: now, activated: None, retired: None })
}

/// The octets between the first two lines that say so (RFC 7468 sections 10 and, for the older form, 2).
fn private_key(text: &str) -> Option<Vec<u8>> {
    let labels = ["PRIVATE KEY", "RSA PRIVATE KEY"];
    let is = |line: &str, word: &str| {
        labels.iter().any(|label| line.trim() == format!("-----{word} {label}-----"))
    };
    let mut lines = text.get(..text.len().min(KEY_TEXT_BYTES_MAX))?.lines();
    lines.find(|line| is(line, "BEGIN"))?;
    let lines: Vec<&str> = lines.take_while(|line| !line.starts_with("-----")).map(str::trim).collect();
    STANDARD.decode(lines.concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> Domain {
        Domain::new("example.org").unwrap()
    }

    fn pem(label: &str, der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        let lines: Vec<_> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("some words\n-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    #[test]
    fn what_was_made_can_be_read_and_published() {
        for algorithm in [DkimAlgorithm::Rsa, DkimAlgorithm::Ed25519] {
            let kept = generate(domain(), "s".to_owned(), algorithm, Timestamp(7)).unwrap();
            let key = SigningKey::new(domain(), "s".to_owned(), kept.secret.pkcs8()).unwrap();
            assert_eq!((key.algorithm(), kept.algorithm, kept.created), (algorithm, algorithm, Timestamp(7)));
            assert_eq!(key.record_name(), "s._domainkey.example.org");
            assert!(key.record().starts_with(&format!("v=DKIM1; k={}; p=", algorithm.name())));
            let public = STANDARD.decode(key.public()).unwrap();
            assert_eq!(public.len(), if algorithm == DkimAlgorithm::Rsa { 294 } else { 32 });
            let again =
                SigningKey::of_pem(domain(), "s".to_owned(), &pem("PRIVATE KEY", kept.secret.pkcs8()));
            assert_eq!(again.unwrap().public(), key.public());
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let not_der = pem("PRIVATE KEY", b"no key");
        for text in ["", "x", "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n", not_der.as_str()]
        {
            let key = SigningKey::of_pem(domain(), "s".to_owned(), text);
            assert_eq!(key.err(), Some(KeyError::NoKey), "{text:?}");
        }
    }
}
