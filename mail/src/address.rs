//! Mail addresses as they stand in an SMTP envelope (RFC 5321 section 4.1.2, RFC 6531 section 3.3).
//!
//! Domains are kept as A-labels in lower case, so that two spellings of one domain are one value. Local parts keep their
//! case; [`Address::same_mailbox`] compares as Waypost delivers, without regard to case.

mod borrowed;

use std::{fmt, net::IpAddr, str::FromStr};

pub use borrowed::{AddressRef, DomainRef, LocalPartRef};

/// Longest local part in octets (RFC 5321 section 4.5.3.1.1).
pub const LOCAL_PART_BYTES_MAX: usize = 64;
/// Longest domain in octets (RFC 5321 section 4.5.3.1.2).
pub const DOMAIN_BYTES_MAX: usize = 255;

/// Why a text is no address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@`, or nothing before or behind it.
    #[error("an address has the form local-part@domain")]
    Form,
    /// The local part is empty, too long or holds characters that it may not hold.
    #[error("the part before the @ is not a valid local part")]
    LocalPart,
    /// The domain is empty, too long or not a host name or address literal.
    #[error("the part behind the @ is not a valid domain")]
    Domain,
}

/// A domain: a host name as lower-case A-labels, or an address literal (`[192.0.2.1]`, `[IPv6:2001:db8::1]`).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Domain(String);

impl Domain {
    /// Parses a host name (U-labels are converted) or an address literal.
    pub fn new(text: &str) -> Result<Self, AddressError> {
        DomainRef::new(text).map(DomainRef::into_owned)
    }

    /// The domain as A-labels in lower case, or the literal with its brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address of an address literal; `None` for a host name.
    pub fn as_ip(&self) -> Option<IpAddr> {
        let inner = self.0.strip_prefix('[')?.strip_suffix(']')?;
        inner.strip_prefix("IPv6:").unwrap_or(inner).parse().ok()
    }

    /// The domain with U-labels, for people and for SMTPUTF8; as it is where its A-labels stand for none.
    pub fn to_unicode(&self) -> String {
        let (text, result) = idna::domain_to_unicode(&self.0);
        let is_same = result.is_ok() && Self::new(&text).as_ref() == Ok(self);
        if is_same { text } else { self.0.clone() }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Domain {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::new(text)
    }
}

/// What stands before the `@`, unquoted: 1 to 64 octets of UTF-8 without control characters.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LocalPart(String);

impl LocalPart {
    /// Takes the content of a local part, with quotes and backslashes already removed.
    pub fn new(text: &str) -> Result<Self, AddressError> {
        LocalPartRef::new(text).map(LocalPartRef::into_owned)
    }

    /// The content, without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The content in lower case: what two spellings of one mailbox have in common.
    pub fn folded(&self) -> String {
        let mut folded = String::with_capacity(self.0.len());
        self.fold_into(&mut folded);
        folded
    }

    fn fold_into(&self, folded: &mut String) {
        let start = folded.len();
        folded.push_str(&self.0);
        match self.0.is_ascii() {
            true => folded[start..].make_ascii_lowercase(),
            false => folded.replace_range(start.., &self.0.to_lowercase()),
        }
    }

    /// The part before and the detail behind the first `separator` (RFC 5233): `user+lists` → `("user", Some("lists"))`.
    pub fn split_detail(&self, separator: char) -> (&str, Option<&str>) {
        match self.0.split_once(separator) {
            Some((user, detail)) if !user.is_empty() => (user, Some(detail)),
            _ => (&self.0, None),
        }
    }
}

impl fmt::Display for LocalPart {
    /// As it stands in a path: a dot-string, or a quoted string where it must be one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_local(f, &self.0)
    }
}

fn is_dot_string(local: &str) -> bool {
    let atext = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atext))
}

fn write_local(f: &mut fmt::Formatter<'_>, local: &str) -> fmt::Result {
    if is_dot_string(local) {
        return f.write_str(local);
    }
    f.write_str("\"")?;
    for c in local.chars() {
        if c == '"' || c == '\\' {
            f.write_str("\\")?;
        }
        write!(f, "{c}")?;
    }
    f.write_str("\"")
}

/// A mail address: local part and domain.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Address {
    /// What stands before the `@`.
    pub local: LocalPart,
    /// What stands behind it.
    pub domain: Domain,
}

impl Address {
    /// Parses `local@domain`; the local part may be a quoted string.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        AddressRef::parse(text).map(AddressRef::into_owned)
    }

    /// Whether both name one mailbox: domains are equal, local parts too but for their case.
    pub fn same_mailbox(&self, other: &Self) -> bool {
        self.domain == other.domain && self.local.folded() == other.local.folded()
    }

    /// The key under which directories keep the address: `local@domain`, in lower case.
    pub fn folded(&self) -> String {
        let domain = self.domain.as_str();
        let mut folded = String::with_capacity(self.local.0.len() + 1 + domain.len());
        self.local.fold_into(&mut folded);
        folded.push('@');
        folded.push_str(domain);
        folded
    }

    /// Whether the address can only travel by SMTPUTF8 (RFC 6531).
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.as_str().is_ascii()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// Where notifications about a message go (RFC 5321 section 3.3): an address, or nowhere.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ReversePath<A = Address> {
    /// `<>`: a notification, never to be answered by another one.
    Null,
    /// The sender.
    Address(A),
}

impl<A> ReversePath<A> {
    /// The sender's address; `None` for the null path.
    pub fn address(&self) -> Option<&A> {
        match self {
            Self::Null => None,
            Self::Address(address) => Some(address),
        }
    }
}

impl ReversePath<AddressRef<'_>> {
    /// To be kept.
    pub fn into_owned(self) -> ReversePath {
        match self {
            Self::Null => ReversePath::Null,
            Self::Address(address) => ReversePath::Address(address.into_owned()),
        }
    }
}

impl<A: fmt::Display> fmt::Display for ReversePath<A> {
    /// The path without its angle brackets: empty for the null path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Address(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_print() {
        for (text, printed) in [
            ("user@example.org", "user@example.org"),
            ("User@EXAMPLE.org.", "User@example.org"),
            ("\"a b\"@example.org", "\"a b\"@example.org"),
            ("\"a\"@example.org", "a@example.org"),
            ("\"a\\\"b\"@example.org", "\"a\\\"b\"@example.org"),
            ("user@[192.0.2.1]", "user@[192.0.2.1]"),
            ("user@[ipv6:2001:DB8::1]", "user@[IPv6:2001:db8::1]"),
            ("jörg@bücher.example", "jörg@xn--bcher-kva.example"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to_string(), printed);
            assert_eq!(AddressRef::parse(text).unwrap().to_string(), printed);
            assert_eq!(Address::parse(printed).unwrap(), address);
        }
    }

    #[test]
    fn a_domain_in_unicode_is_the_same_domain() {
        for (text, unicode) in [
            ("xn--bcher-kva.example", "bücher.example"),
            ("plain.example", "plain.example"),
            ("xn--al29cabch", "xn--al29cabch"),
            ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
        ] {
            let domain = Domain::new(text).unwrap();
            assert_eq!(Domain::new(&domain.to_unicode()).as_ref(), Ok(&domain));
            assert!(domain.to_unicode().eq_ignore_ascii_case(unicode), "{}", domain.to_unicode());
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "user",
            "@example.org",
            "user@",
            "a b@example.org",
            "a..b@example.org",
            ".a@example.org",
            "a@-x.org",
            "a@x..org",
            "\"a@x.org",
            "a\"b@x.org",
            "a@[300.1.1.1]",
            "a\r\n@x.org",
            "a@x y",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        let local = "x".repeat(LOCAL_PART_BYTES_MAX);
        assert!(Address::parse(&format!("{local}@example.org")).is_ok());
        assert!(Address::parse(&format!("{local}x@example.org")).is_err());
    }

    #[test]
    fn the_detail_of_a_local_part_is_split_off() {
        let split = |text: &str| {
            let local = LocalPart::new(text).unwrap();
            let (user, detail) = local.split_detail('+');
            (user.to_owned(), detail.map(str::to_owned))
        };
        assert_eq!(split("user+lists"), ("user".into(), Some("lists".into())));
        assert_eq!(split("user"), ("user".into(), None));
        assert_eq!(split("+user"), ("+user".into(), None));
    }
}
