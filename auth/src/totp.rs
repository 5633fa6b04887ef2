//! Codes that a telephone shows: TOTP (RFC 6238) over HOTP (RFC 4226), by HMAC-SHA-1, of six digits, another one every 30 seconds:
//! what every program for them knows.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac, rand};
use waypost_mail::{AccountId, TotpSecret};

use crate::{HashError, LoginError, locked};

/// Octets of a secret (RFC 4226 section 4, R6: 160 bits).
const SECRET_BYTES: usize = 20;
/// Digits of a code.
const DIGITS: usize = 6;
/// Seconds for which a code is shown (RFC 6238 section 5.2).
pub const STEP_SECONDS: u64 = 30;
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

/// The code of a time step: of the seconds since 1970 by [`STEP_SECONDS`] (RFC 6238 section 4.2).
pub fn code(secret: &TotpSecret, step: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &secret.0);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    // RFC 4226 section 5.3: the last four bits say where the 31 bits stand.
    let tag = tag.as_ref();
    let at = usize::from(tag.last().copied().unwrap_or_default() & 15);
    let bits = tag.iter().skip(at).take(4).fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet));
    format!("{:0DIGITS$}", (bits & 0x7fff_ffff) % 1_000_000)
}

/// What comes of [`UseCode`]: whether the code was good; or why that cannot be kept.
pub type Using = Pin<Box<dyn Future<Output = Result<bool, String>> + Send>>;

/// Uses an account's code of a time step for ever: good where neither it nor a later one was used (RFC 6238 section 5.2).
pub type UseCode = Arc<dyn Fn(AccountId, u64) -> Using + Send + Sync>;

/// Which codes were used: each is good for one login (RFC 6238 section 5.2).
pub(crate) enum UsedCodes {
    /// They are known outside, also after a restart.
    Kept(UseCode),
    /// Only this process knows them; the codes of the time before its start are used up.
    Here { started: u64, last: Mutex<HashMap<AccountId, u64>> },
}

impl fmt::Debug for UsedCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsedCodes")
    }
}

impl UsedCodes {
    /// Kept outside; else of a process that starts now, in seconds since 1970.
    pub(crate) fn new(kept: Option<UseCode>, now: u64) -> Self {
        match kept {
            Some(use_code) => Self::Kept(use_code),
            None => Self::Here { started: now / STEP_SECONDS, last: Mutex::default() },
        }
    }

    /// Whether a code is the account's now, and was not used; it is used by that. Errors: `Busy`, where that cannot be kept.
    pub(crate) async fn take(
        &self,
        account: AccountId,
        secret: &TotpSecret,
        typed: &str,
        now: u64,
    ) -> Result<bool, LoginError> {
        for step in steps(secret, typed, now) {
            if self.take_step(account, step).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn take_step(&self, account: AccountId, step: u64) -> Result<bool, LoginError> {
        match self {
            Self::Kept(use_code) => use_code(account, step).await.map_err(|error| {
                tracing::error!(%account, error, "a code cannot be kept as used: nobody logs in with it");
                LoginError::Busy
            }),
            Self::Here { started, last } => {
                let mut last = locked(last);
                let used = last.entry(account).or_insert(*started);
                let is_good = step > *used;
                *used = step.max(*used);
                Ok(is_good)
            }
        }
    }
}

/// The time steps of now whose code this is: one, unless two happen to have the same code.
fn steps(secret: &TotpSecret, typed: &str, now: u64) -> Vec<u64> {
    let step = now / STEP_SECONDS;
    let is_it =
        |step: &u64| verify_slices_are_equal(code(secret, *step).as_bytes(), typed.as_bytes()).is_ok();
    (step.saturating_sub(STEPS_OFF)..=step + STEPS_OFF).filter(is_it).collect()
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

    #[tokio::test]
    async fn a_code_is_good_once_and_for_its_time() {
        let (used, seven) = (UsedCodes::new(None, STEP_SECONDS * 100), AccountId(7));
        let (own, other) = (secret(), TotpSecret(b"another one".to_vec()));
        let of = |step| code(&own, step);
        for (account, secret, typed, at, is_good, why) in [
            (seven, &own, of(100), 100, false, "it may have been used before the start"),
            (seven, &own, of(99), 100, false, "before the start"),
            (seven, &own, of(101), 100, true, "the client's clock is fast"),
            (seven, &own, of(101), 100, false, "once"),
            (seven, &own, of(101), 101, false, "once, also later"),
            (seven, &own, of(100), 101, false, "an older one after a newer one"),
            (seven, &own, of(104), 102, false, "too early"),
            (seven, &own, of(101), 103, false, "too late"),
            (seven, &own, of(102), 103, true, "the client's clock is slow"),
            (AccountId(8), &own, of(102), 103, true, "another account's"),
            (seven, &own, String::new(), 103, false, "no code"),
            (seven, &own, "0".to_owned(), 103, false, "no code"),
            (seven, &other, of(104), 104, false, "of another secret"),
            (seven, &own, of(104), 104, true, "the next one"),
        ] {
            let now = STEP_SECONDS * at + STEP_SECONDS - 1;
            assert_eq!(used.take(account, secret, &typed, now).await, Ok(is_good), "{why}");
        }
    }

    #[tokio::test]
    async fn codes_that_are_kept_outside_are_good_after_a_start() {
        let asked: Arc<Mutex<Vec<(AccountId, u64)>>> = Arc::default();
        let log = Arc::clone(&asked);
        let keep: UseCode = Arc::new(move |account, step| {
            let mut asked = locked(&log);
            asked.push((account, step));
            let answer = match asked.len() {
                1 => Ok(true),
                2 => Ok(false),
                _ => Err("the disk is full".to_owned()),
            };
            Box::pin(async { answer })
        });
        let used = UsedCodes::new(Some(keep), STEP_SECONDS * 100);
        let take =
            async |step| used.take(AccountId(7), &secret(), &code(&secret(), step), STEP_SECONDS * 100).await;
        assert_eq!(take(98).await, Ok(false), "not of this time: it is not asked for");
        assert_eq!(take(99).await, Ok(true));
        assert_eq!(take(99).await, Ok(false));
        assert_eq!(take(101).await, Err(LoginError::Busy));
        assert_eq!(*locked(&asked), [99, 99, 101].map(|step| (AccountId(7), step)));
    }
}
