//! APOP (RFC 1939 section 7): a client shows that it knows a secret by the MD5 of it and of a timestamp that the server has just made. The
//! secret is made here, not chosen, is for nothing else, and has 120 random bits: what an eavesdropper can try out against a digest is
//! hopeless, though MD5 is weak. Who can change what is sent between client and server may still take the session over, so it needs TLS
//! like all logins.

use std::fmt::Write;

use aws_lc_rs::{constant_time::verify_slices_are_equal, rand};
use md5::{Digest, Md5};
use waypost_mail::{ApopSecret, Domain};

use crate::{HashError, app_password};

/// Random octets of a timestamp.
const TIMESTAMP_BYTES: usize = 16;

/// What a client shows.
#[derive(Clone, Eq, PartialEq)]
pub struct Apop {
    /// Who it says it is.
    pub login: String,
    /// The timestamp that it was sent, with its angle brackets.
    pub timestamp: String,
    /// The MD5 of that and the secret, in hexadecimal digits.
    pub digest: String,
}

impl std::fmt::Debug for Apop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Apop").field("login", &self.login).finish_non_exhaustive()
    }
}

impl Apop {
    /// Whether it was made with a secret. Without one the work is the same, and the answer is no.
    pub(crate) fn is_of(&self, secret: Option<&ApopSecret>) -> bool {
        let text = secret.map_or("", |secret| secret.0.as_str());
        let right = digest(&self.timestamp, text);
        let same = verify_slices_are_equal(right.as_bytes(), self.digest.to_ascii_lowercase().as_bytes());
        secret.is_some() && same.is_ok()
    }
}

/// A new secret. Errors: no randomness.
pub fn generate() -> Result<ApopSecret, HashError> {
    app_password::generate().map(ApopSecret)
}

/// A timestamp that was never sent before, for one greeting: a `msg-id` with its angle brackets. Errors: no randomness.
pub fn timestamp(hostname: &Domain) -> Result<String, HashError> {
    let mut random = [0; TIMESTAMP_BYTES];
    rand::fill(&mut random).map_err(|_| HashError::no_randomness())?;
    Ok(format!("<{}@{hostname}>", hexadecimal(&random)))
}

/// What a client sends.
pub fn digest(timestamp: &str, secret: &str) -> String {
    let mut md5 = Md5::new();
    md5.update(timestamp);
    md5.update(secret);
    hexadecimal(&md5.finalize())
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // A String takes every write.
        write!(text, "{octet:02x}").unwrap_or_default();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        let shown = |digest: &str| Apop {
            login: "mrose".into(),
            timestamp: "<1896.697170952@dbc.mtview.ca.us>".into(),
            digest: digest.into(),
        };
        let secret = ApopSecret("tanstaaf".into());
        let right = shown("c4c9334bac560ecc979e58001b3e22fb");
        assert!(right.is_of(Some(&secret)) && !right.is_of(None));
        assert!(shown("C4C9334BAC560ECC979E58001B3E22FB").is_of(Some(&secret)));
        assert!(!right.is_of(Some(&ApopSecret("tanstaaF".into()))));
        for wrong in ["c4c9334bac560ecc979e58001b3e22fa", "c4c9", "", "c4c9334bac560ecc979e58001b3e22fb0"] {
            assert!(!shown(wrong).is_of(Some(&secret)), "{wrong}");
        }
        // Nobody logs in with the digest of nothing.
        let timestamp = right.timestamp.clone();
        assert!(!shown(&digest(&timestamp, "")).is_of(None));
    }

    #[test]
    fn each_timestamp_is_another_one() {
        let hostname = Domain::new("mx.example").unwrap();
        let (one, other) = (timestamp(&hostname).unwrap(), timestamp(&hostname).unwrap());
        assert_ne!(one, other);
        assert!(one.starts_with('<') && one.ends_with("@mx.example>") && one.len() == 45, "{one}");
        assert_ne!(generate().unwrap(), generate().unwrap());
    }
}
