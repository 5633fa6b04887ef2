//! Codes that a telephone shows: TOTP (RFC 6238) over HOTP (RFC 4226), by HMAC-SHA-1, of six digits, another one every 30 seconds:
//! what every program for them knows.

use std::{collections::HashMap, sync::Mutex};

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac, rand};
use waypost_mail::{AccountId, TotpSecret};

use crate::{HashError, locked};

/// Octets of a secret (RFC 4226 section 4, R6: 160 bits).
const SECRET_BYTES: usize = 20;
/// Digits of a code.
const DIGITS: usize = 6;
/// Seconds for which a code is shown (RFC 6238 section 5.2).
const STEP_SECONDS: u64 = 30;
/// By how many steps a client's clock may differ from ours (RFC 6238 section 6).
const STEPS_OFF: u64 = 1;
/// RFC 4648 section 6.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A new secret. Errors: no randomness.
pub fn generate() -> Result<TotpSecret, HashError> {
    let mut secret = vec![0; SECRET_BYTES];
    rand::fill(&mut secret).map_err(|_| HashError::no_randomness())?;
    Ok(TotpSecret(secret))
}

/// A secret as it is typed into a program for codes: base 32, without padding.
pub fn base32(secret: &TotpSecret) -> String {
    let mut text = String::new();
    for chunk in secret.0.chunks(5) {
        let mut block = [0; 8];
        block[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(block);
        let characters = (chunk.len() * 8).div_ceil(5);
        let digit = |at: usize| BASE32[(bits >> (35 - 5 * at) & 31) as usize];
        text.extend((0..characters).map(|at| char::from(digit(at))));
    }
    text
}

/// What a program for codes reads from a QR code: `otpauth://totp/ISSUER:ACCOUNT?secret=…&issuer=…`.
pub fn uri(issuer: &str, account: &str, secret: &TotpSecret) -> String {
    let (issuer, account, secret) = (escaped(issuer), escaped(account), base32(secret));
    format!("otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}")
}

/// All but letters, digits and `-._~@` by their octets.
fn escaped(text: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~@".contains(&octet);
    let escape = |octet| if plain(octet) { char::from(octet).to_string() } else { format!("%{octet:02X}") };
    text.bytes().map(escape).collect()
}

/// A password with a code behind it. `None`: there is no code behind it.
pub(crate) fn split(typed: &str) -> Option<(&str, &str)> {
    let (password, code) = typed.split_at_checked(typed.len().checked_sub(DIGITS)?)?;
    code.bytes().all(|octet| octet.is_ascii_digit()).then_some((password, code))
}

/// The code of a step.
fn code(secret: &TotpSecret, step: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &secret.0);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    // RFC 4226 section 5.3: the last four bits say where the 31 bits stand.
    let tag = tag.as_ref();
    let at = usize::from(tag.last().copied().unwrap_or_default() & 15);
    let bits = tag.iter().skip(at).take(4).fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet));
    format!("{:0DIGITS$}", (bits & 0x7fff_ffff) % 1_000_000)
}

/// Which codes were used: each is good for one login (RFC 6238 section 5.2). What was used before a restart is not known after it,
/// so the codes of the time before it are used up.
#[derive(Debug)]
pub(crate) struct UsedCodes {
    started: u64,
    last: Mutex<HashMap<AccountId, u64>>,
}

impl UsedCodes {
    /// Of a server that starts now, in seconds since 1970.
    pub(crate) fn new(now: u64) -> Self {
        Self { started: now / STEP_SECONDS, last: Mutex::default() }
    }

    /// Whether a code is the account's now, and was not used; it is used by that.
    pub(crate) fn take(&self, account: AccountId, secret: &TotpSecret, typed: &str, now: u64) -> bool {
        let step = now / STEP_SECONDS;
        let mut last = locked(&self.last);
        let used = last.get(&account).copied().unwrap_or(self.started);
        let is_it =
            |step: &u64| verify_slices_are_equal(code(secret, *step).as_bytes(), typed.as_bytes()).is_ok();
        let found =
            (step.saturating_sub(STEPS_OFF)..=step + STEPS_OFF).filter(is_it).find(|step| *step > used);
        if let Some(step) = found {
            last.insert(account, step);
        }
        found.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> TotpSecret {
        TotpSecret(b"12345678901234567890".to_vec())
    }

    #[test]
    fn codes() {
        // RFC 4226 appendix D.
        let expected = [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871",
            "520489",
        ];
        for (step, expected) in (0..).zip(expected) {
            assert_eq!(code(&secret(), step), expected);
        }
        // RFC 6238 appendix B, the last six digits.
        for (time, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code(&secret(), time / STEP_SECONDS), expected, "{time}");
        }
    }

    #[test]
    fn what_a_program_for_codes_is_told() {
        assert_eq!(base32(&secret()), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        // RFC 4648 section 10.
        for (octets, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(&TotpSecret(octets.as_bytes().to_vec())), text);
        }
        let uri = uri("mx.a.test", "jörg:x@a.test", &secret());
        let expected = "otpauth://totp/mx.a.test:j%C3%B6rg%3Ax@a.test?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=mx.a.test";
        assert_eq!(uri, expected);
        assert_ne!(generate().unwrap(), generate().unwrap());
        assert_eq!(generate().unwrap().0.len(), SECRET_BYTES);
    }

    #[test]
    fn a_code_stands_behind_the_password() {
        for (typed, parts) in [
            ("secret123456", Some(("secret", "123456"))),
            ("123456", Some(("", "123456"))),
            ("1234567", Some(("1", "234567"))),
            ("secret12345", None),
            ("secret12345x", None),
            ("secret١٢٣٤٥٦", None),
            ("é12345", None),
            ("12345", None),
            ("", None),
        ] {
            assert_eq!(split(typed), parts, "{typed}");
        }
    }

    #[test]
    fn a_code_is_good_once_and_for_its_time() {
        let (used, account) = (UsedCodes::new(STEP_SECONDS * 100), AccountId(7));
        let at = |step: u64| STEP_SECONDS * step;
        let take = |step, now| used.take(account, &secret(), &code(&secret(), step), now);
        assert!(!take(100, at(100)), "it may have been used before the start");
        assert!(!take(99, at(100)));
        assert!(take(101, at(100)), "the client's clock is fast");
        assert!(!take(101, at(100)) && !take(101, at(101)), "once");
        assert!(!take(100, at(101)), "an older one after a newer one");
        assert!(!take(104, at(102)) && !take(101, at(103)), "too early, too late");
        assert!(take(102, at(103) + STEP_SECONDS - 1), "the client's clock is slow");
        assert!(used.take(AccountId(8), &secret(), &code(&secret(), 102), at(103)), "another account's");
        assert!(!used.take(account, &secret(), "", at(103)) && !used.take(account, &secret(), "0", at(103)));
        let other = TotpSecret(b"another one".to_vec());
        assert!(!used.take(account, &other, &code(&secret(), 104), at(104)));
        assert!(take(104, at(104)));
    }
}
