//! Tokens that authorize URLs: the mechanism INTERNAL (RFC 4467 section 2.4.1) by HMAC-SHA-256.
//!
//! A token begins with a digit that names how it was made, so that another way can come beside this one.

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac, rand};
use waypost_mail::AccessKey;

use crate::HashError;

/// What a token begins with that was made by HMAC-SHA-256.
const HMAC_SHA_256: &str = "01";

/// A new key. Errors: no randomness.
pub fn generate() -> Result<AccessKey, HashError> {
    let mut key = [0; 32];
    rand::fill(&mut key).map_err(|_| HashError::no_randomness())?;
    Ok(AccessKey(key))
}

/// The token of a URL, in hexadecimal: over all of it up to the access identifier, as it is written (RFC 4467 section 5).
pub fn token(key: &AccessKey, rump: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key.0), rump.as_bytes());
    tag.as_ref().iter().fold(HMAC_SHA_256.to_owned(), |text, octet| text + &format!("{octet:02x}"))
}

/// Whether a token is that of a URL, in a time that does not depend on where they differ. Without a key it is none, and that takes
/// as long (RFC 4467 section 6).
pub fn is_token(key: Option<&AccessKey>, rump: &str, token: &str) -> bool {
    let expected = self::token(key.unwrap_or(&AccessKey([0; 32])), rump);
    let given = token.to_ascii_lowercase();
    verify_slices_are_equal(expected.as_bytes(), given.as_bytes()).is_ok() && key.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUMP: &str = "imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred";

    #[test]
    fn a_token_is_that_of_one_key_and_one_url() {
        let key = AccessKey([7; 32]);
        let made = token(&key, RUMP);
        assert_eq!(made.len(), 2 + 64);
        assert!(made.starts_with("01") && made.bytes().all(|octet| octet.is_ascii_hexdigit()));
        assert!(is_token(Some(&key), RUMP, &made));
        assert!(is_token(Some(&key), RUMP, &made.to_ascii_uppercase()));
        for (key, rump, token) in [
            (Some(&AccessKey([8; 32])), RUMP, made.as_str()),
            (None, RUMP, &made),
            (None, RUMP, &token(&AccessKey([0; 32]), RUMP)),
            (Some(&key), &RUMP.replace("uid=20", "uid=21"), &made),
            (Some(&key), &RUMP.replace("example.com", "EXAMPLE.com"), &made),
            (Some(&key), RUMP, &made[..made.len() - 1]),
            (Some(&key), RUMP, &made[2..]),
            (Some(&key), RUMP, &made.replacen("01", "02", 1)),
            (Some(&key), RUMP, ""),
        ] {
            assert!(!is_token(key, rump, token), "{rump} {token}");
        }
        assert_ne!(generate().unwrap(), generate().unwrap());
    }

    /// What was authorized stays authorized: the way tokens are made does not change under their number.
    #[test]
    fn tokens_are_made_as_ever() {
        let made = token(&AccessKey(*b"0123456789abcdef0123456789abcdef"), RUMP);
        assert_eq!(made, "010d3df26c479c4b0cb210ef9318672f98f7c33768731e57626fb50ef753850975");
    }
}
