//! The Sender Rewriting Scheme: mail that an alias forwards goes on with a reverse path of ours, so that SPF holds, and what comes
//! back to it finds the sender.
//!
//! ```text
//! local@domain          ──► SRS0=hash=day=domain=local@ours        the first that forwards
//! SRS0=rest@first       ──► SRS1=hash=first==rest@ours             who forwards what was forwarded
//! SRS1=hash=first==rest@second ──► SRS1=hash'=first==rest@ours     so paths do not grow with every step
//! ```
//! Nothing is kept: the hash, an HMAC over the rest, shows that a path is ours, and the day that it is young enough.

use std::sync::Arc;

use aws_lc_rs::{constant_time, hmac};
use waypost_mail::{Address, Domain, LocalPart, Timestamp};

/// Octets of the key.
pub const KEY_BYTES: usize = 32;
/// So many days later something may still come back: servers try for five, and their notifications do so again.
pub const DAYS_MAX: u32 = 21;
/// Days come round after so many: two characters of the alphabet.
const DAYS_ROUND: u32 = 1 << 10;
/// Characters of a hash, 40 bits: it cannot be guessed through replies to RCPT.
const HASH_CHARACTERS: usize = 8;
/// Characters that say the same in either case, as some servers fold the case of local parts.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Makes and reads such paths. Cheap to clone.
#[derive(Clone)]
pub struct Srs {
    key: Arc<hmac::Key>,
}

/// What an address is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Return {
    /// None of this scheme.
    Other,
    /// It leads back to this address.
    To(Address),
    /// Of this scheme, but not made here, or too old.
    Refused,
}

impl std::fmt::Debug for Srs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Srs")
    }
}

impl Srs {
    /// With the key of this server.
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self { key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key)) }
    }

    /// The path of ours for a sender elsewhere; `None` where it would be longer than a local part may be (RFC 5321 section
    /// 4.5.3.1.1). `day` counts from 1970.
    pub fn forward(&self, sender: &Address, ours: &Domain, day: u32) -> Option<Address> {
        let local = sender.local.as_str();
        let rest = match (tagged(local, "SRS0"), tagged(local, "SRS1")) {
            (Some(rest), _) => format!("{}={rest}", sender.domain),
            (_, Some(rest)) => split(rest)?.1.to_owned(),
            _ => format!("{}={}={local}", day_characters(day), sender.domain),
        };
        let tag = if is_tagged(local) { "SRS1" } else { "SRS0" };
        let local = LocalPart::new(&format!("{tag}={}={rest}", self.hash(tag, &rest))).ok()?;
        Some(Address { local, domain: ours.clone() })
    }

    /// Where an address of this scheme leads back to.
    pub fn reverse(&self, address: &Address, day: u32) -> Return {
        let local = address.local.as_str();
        if !is_tagged(local) {
            return Return::Other;
        }
        self.sender(local, day).map_or(Return::Refused, Return::To)
    }

    fn sender(&self, local: &str, day: u32) -> Option<Address> {
        let (tag, rest) = local.split_at_checked(4)?;
        let tag = tag.to_ascii_uppercase();
        let (hash, rest) = split(rest.strip_prefix('=')?)?;
        let expected = self.hash(&tag, rest);
        constant_time::verify_slices_are_equal(hash.to_ascii_uppercase().as_bytes(), expected.as_bytes())
            .ok()?;
        let (first, rest) = split(rest)?;
        let (local, domain) = if tag == "SRS1" {
            // What stands behind the tag begins with the separator of the server that made it.
            (format!("SRS0{rest}"), first)
        } else {
            let age = age(day_of(first)?, day);
            let (domain, local) = split(rest).filter(|_| age <= DAYS_MAX)?;
            (local.to_owned(), domain)
        };
        Some(Address { local: LocalPart::new(&local).ok()?, domain: Domain::new(domain).ok()? })
    }

    pub(crate) fn hash(&self, tag: &str, rest: &str) -> String {
        let said = format!("{tag}={}", rest.to_lowercase());
        let signature = hmac::sign(&self.key, said.as_bytes());
        let bits = signature.as_ref().iter().take(8).fold(0, |bits, octet| bits << 8 | u64::from(*octet));
        (0..HASH_CHARACTERS).map(|place| character((bits >> (59 - 5 * place)) as u32)).collect()
    }
}

/// The day of a time, from 1970.
pub fn day(time: Timestamp) -> u32 {
    u32::try_from(time.seconds() / 86_400).unwrap_or(0)
}

fn is_tagged(local: &str) -> bool {
    tagged(local, "SRS0").or_else(|| tagged(local, "SRS1")).is_some()
}

/// What stands behind a tag, for SRS0 with its separator: servers have `=`, `+` or `-`.
fn tagged<'a>(local: &'a str, tag: &str) -> Option<&'a str> {
    let (begin, rest) = local.split_at_checked(4).filter(|(begin, _)| begin.eq_ignore_ascii_case(tag))?;
    let separated = rest.starts_with(['=', '+', '-']);
    if begin.ends_with('0') { Some(rest) } else { Some(&rest[1.min(rest.len())..]) }.filter(|_| separated)
}

fn split(text: &str) -> Option<(&str, &str)> {
    text.split_once('=').filter(|(first, rest)| !first.is_empty() && !rest.is_empty())
}

fn character(bits: u32) -> char {
    char::from(ALPHABET[(bits & 31) as usize])
}

/// The days from one, as two characters say it, to another.
pub(crate) fn age(made: u32, day: u32) -> u32 {
    (day % DAYS_ROUND + DAYS_ROUND - made) % DAYS_ROUND
}

pub(crate) fn day_characters(day: u32) -> String {
    [character(day >> 5), character(day)].iter().collect()
}

pub(crate) fn day_of(text: &str) -> Option<u32> {
    let [high, low] = text.as_bytes() else { return None };
    let value = |octet: &u8| ALPHABET.iter().position(|known| known.eq_ignore_ascii_case(octet));
    u32::try_from(value(high)? << 5 | value(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn srs() -> Srs {
        Srs::new(&[7; KEY_BYTES])
    }

    fn forward(sender: &str, ours: &str, day: u32) -> Address {
        srs().forward(&address(sender), &Domain::new(ours).unwrap(), day).unwrap()
    }

    #[test]
    fn senders_come_back() {
        for sender in [
            "x@far.test",
            "X.y+z@far.test",
            "a=b@far.test",
            "jörg@bücher.example",
            "\"a b\"@far.test",
            "srs@far.test",
        ] {
            let path = forward(sender, "a.test", 20_000);
            assert!(path.local.as_str().starts_with("SRS0=") && path.domain.as_str() == "a.test", "{path}");
            assert!(path.local.as_str().ends_with(&format!("={}", address(sender).local.as_str())), "{path}");
            assert_eq!(srs().reverse(&path, 20_000), Return::To(address(sender)));
            // Folded on the way, as some servers do.
            let folded = address(&path.to_string().to_lowercase());
            let Return::To(back) = srs().reverse(&folded, 20_001) else { panic!("{folded}") };
            assert!(back.same_mailbox(&address(sender)), "{back}");
        }
    }

    #[test]
    fn what_was_forwarded_before_goes_back_the_way_it_came() {
        let first = forward("x@far.test", "a.test", 9);
        let second = forward(&first.to_string(), "b.test", 9);
        let third = forward(&second.to_string(), "c.test", 9);
        for path in [&second, &third] {
            assert!(path.local.as_str().starts_with("SRS1="), "{path}");
            assert_eq!(srs().reverse(path, 400), Return::To(first.clone()), "{path}");
        }
        assert_eq!(srs().reverse(&first, 9), Return::To(address("x@far.test")));
        // Of a server with another separator.
        let path = forward("SRS0+abcd=AB=far.test=x@first.test", "b.test", 9);
        assert_eq!(srs().reverse(&path, 9), Return::To(address("SRS0+abcd=AB=far.test=x@first.test")));
    }

    #[test]
    fn what_is_forged_or_old_is_refused() {
        for made in [0, 5, DAYS_ROUND - 3, 20_000] {
            let path = forward("x@far.test", "a.test", made);
            let back = |day| srs().reverse(&path, day) != Return::Refused;
            assert!(back(made) && back(made + DAYS_MAX), "{made}");
            assert!(!back(made + DAYS_MAX + 1) && !back(made + DAYS_ROUND - 1), "{made}");
        }
        let path = forward("x@far.test", "a.test", 9).to_string();
        let longer = forward(&path, "b.test", 9).to_string();
        for (forged, from, to) in [
            (&path, "far.test", "evil.test"),
            (&path, "=x@", "=y@"),
            (&path, "SRS0", "SRS1"),
            (&longer, "a.test", "evil.test"),
            (&longer, "SRS1", "SRS0"),
            (&path, "SRS0=", "SRS0=A"),
            (&path, "SRS0=", "SRS0+"),
        ] {
            let forged = forged.replacen(from, to, 1);
            assert_eq!(srs().reverse(&address(&forged), 9), Return::Refused, "{forged}");
        }
        assert_eq!(Srs::new(&[8; KEY_BYTES]).reverse(&address(&path), 9), Return::Refused);
        for text in ["SRS0=@a.test", "SRS0==@a.test", "SRS0=a=b=c@a.test", "SRS1-x@a.test", "srs1=x@a.test"] {
            assert_eq!(srs().reverse(&address(text), 9), Return::Refused, "{text}");
        }
        for text in ["x@a.test", "SRS@a.test", "SRS0@a.test", "SRS2=x@a.test", "sürs0=x@a.test"] {
            assert_eq!(srs().reverse(&address(text), 9), Return::Other, "{text}");
        }
    }

    #[test]
    fn what_is_too_long_is_not_rewritten() {
        let ours = Domain::new("a.test").unwrap();
        let longest = "x".repeat(64 - "SRS0=hhhhhhhh=dd=far.test=".len());
        assert!(srs().forward(&address(&format!("{longest}@far.test")), &ours, 9).is_some());
        assert!(srs().forward(&address(&format!("{longest}x@far.test")), &ours, 9).is_none());
    }
}
