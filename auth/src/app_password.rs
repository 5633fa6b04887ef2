//! App passwords: further passwords of an account, each for one program. They are made here, not chosen, and have 120 random
//! bits: so a plain hash of them is as good as a slow one, and checking many costs nothing.

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, rand};
use base64::{Engine, prelude::BASE64_STANDARD};
use waypost_mail::{AppPassword, LoginService};

use crate::HashError;

/// 32 characters that are not taken for each other: without i, l, o and u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of a password, 5 bits each.
const CHARACTERS: usize = 24;
/// Characters between two hyphens.
const GROUP: usize = 6;
/// What stands before a hash.
const SCHEME: &str = "sha256:";

/// A new one, in groups: `0a1b2c-…`. Errors: no randomness.
pub fn generate() -> Result<String, HashError> {
    let mut random = [0; CHARACTERS];
    rand::fill(&mut random).map_err(|_| HashError::no_randomness())?;
    let mut password = String::with_capacity(CHARACTERS + CHARACTERS / GROUP);
    for (at, octet) in random.into_iter().enumerate() {
        if at > 0 && at % GROUP == 0 {
            password.push('-');
        }
        password.push(char::from(ALPHABET[usize::from(octet) % ALPHABET.len()]));
    }
    Ok(password)
}

/// The hash that is stored of it.
pub fn hash(password: &str) -> String {
    format!("{SCHEME}{}", BASE64_STANDARD.encode(digest_of(password)))
}

/// The one of an account's that a password is, and that is for the service.
pub(crate) fn find<'a>(
    all: &'a [AppPassword],
    password: &str,
    service: LoginService,
) -> Option<&'a AppPassword> {
    if password.len() > 2 * CHARACTERS {
        return None;
    }
    let digest = digest_of(password);
    all.iter().find(|one| {
        let stored = one.hash.strip_prefix(SCHEME).and_then(|hash| BASE64_STANDARD.decode(hash).ok());
        let same = stored.is_some_and(|stored| verify_slices_are_equal(&stored, digest.as_ref()).is_ok());
        same && one.services.contains(&service)
    })
}

/// However it was typed: with hyphens, spaces, or neither.
fn digest_of(password: &str) -> digest::Digest {
    let typed = password.chars().filter(|c| !matches!(c, '-' | ' '));
    let plain: String = typed.map(|c| c.to_ascii_lowercase()).collect();
    digest::digest(&digest::SHA256, plain.as_bytes())
}

#[cfg(test)]
mod tests {
    use waypost_mail::Timestamp;

    use super::*;

    #[test]
    fn each_is_another_one_and_for_its_services() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one, other);
        assert_eq!((one.len(), one.split('-').count()), (CHARACTERS + 3, 4));
        let stored = |password: &str, services: &[LoginService]| AppPassword {
            name: "phone".into(),
            hash: hash(password),
            services: services.to_vec(),
            created: Timestamp(0),
        };
        let all = [
            stored(&one, &[LoginService::Imap, LoginService::Submission]),
            stored(&other, &[LoginService::Pop3]),
        ];
        let found = |password: &str, service| find(&all, password, service).is_some();
        assert!(found(&one, LoginService::Imap) && found(&one, LoginService::Submission));
        assert!(!found(&one, LoginService::Pop3) && found(&other, LoginService::Pop3));
        assert!(found(&one.replace('-', " ").to_uppercase(), LoginService::Imap));
        assert!(!found(&one[..one.len() - 1], LoginService::Imap) && !found("", LoginService::Imap));
        assert!(!found(&format!("{one}{}", "-".repeat(100)), LoginService::Imap));
    }
}
