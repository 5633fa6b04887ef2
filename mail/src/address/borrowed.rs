//! Addresses as they are read: checked like those that are kept, and copied only where a text does not have the form in which they are.

use std::{borrow::Cow, fmt};

use super::{Address, AddressError, DOMAIN_BYTES_MAX, Domain, LOCAL_PART_BYTES_MAX, LocalPart, write_local};

/// A [`Domain`] that borrows what is lower-case ASCII.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DomainRef<'a>(Cow<'a, str>);

impl<'a> DomainRef<'a> {
    /// Parses a host name (U-labels are converted) or an address literal.
    pub fn new(text: &'a str) -> Result<Self, AddressError> {
        if text.starts_with('[') {
            return literal(text);
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        let ascii = if !text.is_ascii() {
            Cow::Owned(idna::domain_to_ascii(text).map_err(|_| AddressError::Domain)?)
        } else if text.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        };
        let label = |label: &[u8]| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with(b"-")
                && !label.ends_with(b"-")
                && label.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        if ascii.len() > DOMAIN_BYTES_MAX || !ascii.as_bytes().split(|b| *b == b'.').all(label) {
            return Err(AddressError::Domain);
        }
        Ok(Self(ascii))
    }

    /// The domain as A-labels in lower case, or the literal with its brackets.
    pub fn into_text(self) -> Cow<'a, str> {
        self.0
    }

    /// To be kept.
    pub fn into_owned(self) -> Domain {
        Domain(self.0.into_owned())
    }
}

fn literal(text: &str) -> Result<DomainRef<'static>, AddressError> {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or(AddressError::Domain)?;
    let v6 = inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:")).map(|_| &inner[5..]);
    match v6 {
        Some(v6) => v6.parse().map(|ip: std::net::Ipv6Addr| format!("[IPv6:{ip}]")),
        None => inner.parse().map(|ip: std::net::Ipv4Addr| format!("[{ip}]")),
    }
    .map(|literal| DomainRef(Cow::Owned(literal)))
    .map_err(|_| AddressError::Domain)
}

/// A [`LocalPart`] that borrows what has no backslashes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalPartRef<'a>(Cow<'a, str>);

impl<'a> LocalPartRef<'a> {
    /// Takes the content of a local part, with quotes and backslashes already removed.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, AddressError> {
        let text = text.into();
        if text.is_empty() || text.len() > LOCAL_PART_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(AddressError::LocalPart);
        }
        Ok(Self(text))
    }

    /// Takes what stands between the quotes of a quoted string.
    pub fn quoted(content: &'a str) -> Result<Self, AddressError> {
        if !content.contains(['"', '\\']) {
            return Self::new(content);
        }
        let mut text = String::with_capacity(content.len());
        let mut chars = content.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => text.push(chars.next().ok_or(AddressError::LocalPart)?),
                '"' => return Err(AddressError::LocalPart),
                c => text.push(c),
            }
        }
        Self::new(text)
    }

    /// The content, without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// To be kept.
    pub fn into_owned(self) -> LocalPart {
        LocalPart(self.0.into_owned())
    }
}

/// An [`Address`] that borrows what can be borrowed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddressRef<'a> {
    /// What stands before the `@`.
    pub local: LocalPartRef<'a>,
    /// What stands behind it.
    pub domain: DomainRef<'a>,
}

impl<'a> AddressRef<'a> {
    /// Parses `local@domain`; the local part may be a quoted string.
    pub fn parse(text: &'a str) -> Result<Self, AddressError> {
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::Form)?;
        let local = match local.strip_prefix('"') {
            Some(rest) => LocalPartRef::quoted(rest.strip_suffix('"').ok_or(AddressError::LocalPart)?)?,
            None => {
                let local = LocalPartRef::new(local)?;
                if !super::is_dot_string(local.as_str()) {
                    return Err(AddressError::LocalPart);
                }
                local
            }
        };
        Ok(Self { local, domain: DomainRef::new(domain)? })
    }

    /// Whether the address can only travel by SMTPUTF8 (RFC 6531).
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.as_str().is_ascii()
    }

    /// To be kept.
    pub fn into_owned(self) -> Address {
        Address { local: self.local.into_owned(), domain: self.domain.into_owned() }
    }
}

impl fmt::Display for AddressRef<'_> {
    /// As [`Address`] does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_local(f, self.local.as_str())?;
        write!(f, "@{}", self.domain.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_its_form_already_is_not_copied() {
        let is_borrowed = |text| matches!(text, Cow::Borrowed(_));
        for (text, local, domain) in [
            ("user@example.org", true, true),
            ("User@sub_1.example.org.", true, true),
            ("\"a b\"@example.org", true, true),
            ("\"a\\\"b\"@example.org", false, true),
            ("user@Example.org", true, false),
            ("jörg@bücher.example", true, false),
            ("user@[192.0.2.1]", true, false),
        ] {
            let address = AddressRef::parse(text).unwrap();
            assert_eq!(
                (is_borrowed(address.local.0), is_borrowed(address.domain.0)),
                (local, domain),
                "{text}"
            );
        }
    }
}
