//! An SPF record (RFC 7208 sections 4.6.1, 5, 6 and 12): parsed as a whole before any of it is evaluated.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::macros::{DomainSpec, MacroString, Place};

/// What a directive says of a client that it matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// `record = version terms *SP`
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Record {
    pub(super) directives: Vec<Directive>,
    pub(super) redirect: Option<DomainSpec>,
    pub(super) explanation: Option<DomainSpec>,
}

/// `directive = [ qualifier ] mechanism`
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Directive {
    pub(super) qualifier: Qualifier,
    pub(super) mechanism: Mechanism,
}

/// A mechanism. Without a `domain-spec` it is about the domain of the record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Mechanism {
    All,
    Include(DomainSpec),
    A(Option<DomainSpec>, Prefixes),
    Mx(Option<DomainSpec>, Prefixes),
    Ptr(Option<DomainSpec>),
    Ip(IpAddr, u8),
    Exists(DomainSpec),
}

/// `dual-cidr-length`: lengths of the prefixes that are compared, in bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Prefixes {
    pub(super) v4: u8,
    pub(super) v6: u8,
}

/// Whether a TXT record is an SPF record: `v=spf1`, then a space or the end (RFC 7208 section 4.5).
pub(super) fn is_record(text: &[u8]) -> bool {
    let version = text.split(|octet| *octet == b' ').next().unwrap_or_default();
    version.eq_ignore_ascii_case(b"v=spf1")
}

impl Record {
    /// Parses a text that [`is_record`]. Errors: the term that is none.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii());
        let text = text.ok_or_else(|| "a record that is not ASCII".to_owned())?;
        let mut record = Self::default();
        for term in text.split(' ').skip(1).filter(|term| !term.is_empty()) {
            record.add(term).ok_or_else(|| format!("{term:?} is no term"))?;
        }
        Ok(record)
    }

    fn add(&mut self, term: &str) -> Option<()> {
        // A modifier's name ends with the first character that cannot be in it.
        let in_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name_end = term.find(|c| !in_name(c)).unwrap_or(term.len());
        let Some(value) = term[name_end..].strip_prefix('=') else {
            self.directives.push(Directive::parse(term)?);
            return Some(());
        };
        let name = &term[..name_end];
        let once = |slot: &mut Option<DomainSpec>| {
            let spec = DomainSpec::parse(value)?;
            slot.replace(spec).is_none().then_some(())
        };
        if name.eq_ignore_ascii_case("redirect") {
            once(&mut self.redirect)
        } else if name.eq_ignore_ascii_case("exp") {
            once(&mut self.explanation)
        } else {
            let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic());
            MacroString::parse(value, Place::Record).filter(|_| is_name).map(|_| ())
        }
    }
}

impl Directive {
    fn parse(term: &str) -> Option<Self> {
        let (qualifier, rest) = match term.chars().next()? {
            '+' => (Qualifier::Pass, &term[1..]),
            '-' => (Qualifier::Fail, &term[1..]),
            '~' => (Qualifier::SoftFail, &term[1..]),
            '?' => (Qualifier::Neutral, &term[1..]),
            _ => (Qualifier::Pass, term),
        };
        Some(Self { qualifier, mechanism: Mechanism::parse(rest)? })
    }
}

impl Mechanism {
    fn parse(text: &str) -> Option<Self> {
        let name_end = text.find([':', '/']).unwrap_or(text.len());
        let (name, rest) = text.split_at(name_end);
        let argument = rest.strip_prefix(':');
        match name.to_ascii_lowercase().as_str() {
            "all" => rest.is_empty().then_some(Self::All),
            "include" => DomainSpec::parse(argument?).map(Self::Include),
            "exists" => DomainSpec::parse(argument?).map(Self::Exists),
            "a" => hosts(rest).map(|(spec, prefixes)| Self::A(spec, prefixes)),
            "mx" => hosts(rest).map(|(spec, prefixes)| Self::Mx(spec, prefixes)),
            "ptr" if rest.is_empty() => Some(Self::Ptr(None)),
            "ptr" => DomainSpec::parse(argument?).map(|spec| Self::Ptr(Some(spec))),
            "ip4" => network(argument?, 32)
                .and_then(|(ip, bits)| ip.parse::<Ipv4Addr>().ok().map(|ip| Self::Ip(ip.into(), bits))),
            "ip6" => network(argument?, 128)
                .and_then(|(ip, bits)| ip.parse::<Ipv6Addr>().ok().map(|ip| Self::Ip(ip.into(), bits))),
            _ => None,
        }
    }
}

/// `[ ":" domain-spec ] [ dual-cidr-length ]`
fn hosts(rest: &str) -> Option<(Option<DomainSpec>, Prefixes)> {
    let (rest, v6) = cut_prefix(rest, "//");
    let (rest, v4) = cut_prefix(rest, "/");
    let length = |digits: Option<&str>, most: u8| digits.map_or(Some(most), |digits| prefix(digits, most));
    let prefixes = Prefixes { v4: length(v4, 32)?, v6: length(v6, 128)? };
    match rest.strip_prefix(':') {
        Some(spec) => Some((Some(DomainSpec::parse(spec)?), prefixes)),
        None => rest.is_empty().then_some((None, prefixes)),
    }
}

/// Cuts off a mark with digits behind it, at the end.
fn cut_prefix<'a>(text: &'a str, mark: &str) -> (&'a str, Option<&'a str>) {
    let digits = text.len() - text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (front, number) = text.split_at(text.len() - digits);
    match front.strip_suffix(mark) {
        Some(front) if !number.is_empty() => (front, Some(number)),
        _ => (text, None),
    }
}

/// A length in bits, without zeros before it.
fn prefix(digits: &str, most: u8) -> Option<u8> {
    let is_plain =
        digits.bytes().all(|digit| digit.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|bits| is_plain && *bits <= most)
}

/// An address with the length of its network.
fn network(text: &str, most: u8) -> Option<(&str, u8)> {
    match text.split_once('/') {
        Some((ip, digits)) => Some((ip, prefix(digits, most)?)),
        None => Some((text, most)),
    }
}

/// Whether two addresses of one family have so many bits at the left in common.
pub(super) fn shares_prefix(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    let (one, other, width) = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u128::from(one.to_bits()), u128::from(other.to_bits()), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        _ => return false,
    };
    let unlike = u32::from(width - bits.min(width));
    (one ^ other).checked_shr(unlike).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_from_other_texts() {
        for (text, expected) in [
            ("v=spf1", true),
            ("V=SPF1 -all", true),
            ("v=spf10", false),
            ("v=spf1-all", false),
            (" v=spf1", false),
            ("v=spf1\t-all", false),
            ("", false),
        ] {
            assert_eq!(is_record(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_record_is_parsed_as_a_whole() {
        let spec = |text| DomainSpec::parse(text).unwrap();
        let text = "v=spf1 +A/24//64  mx:b.test -ip4:192.0.2.0/25 ~ip6:2001:db8::/32 ?ptr x=%{d} redirect=c.test exp=%{d} ";
        let mechanism = |qualifier, mechanism| Directive { qualifier, mechanism };
        use Qualifier::{Fail, Neutral, Pass, SoftFail};
        assert_eq!(
            Record::parse(text.as_bytes()),
            Ok(Record {
                directives: vec![
                    mechanism(Pass, Mechanism::A(None, Prefixes { v4: 24, v6: 64 })),
                    mechanism(Pass, Mechanism::Mx(Some(spec("b.test")), Prefixes { v4: 32, v6: 128 })),
                    mechanism(Fail, Mechanism::Ip("192.0.2.0".parse().unwrap(), 25)),
                    mechanism(SoftFail, Mechanism::Ip("2001:db8::".parse().unwrap(), 32)),
                    mechanism(Neutral, Mechanism::Ptr(None)),
                ],
                redirect: Some(spec("c.test")),
                explanation: Some(spec("%{d}")),
            })
        );
    }

    #[test]
    fn one_wrong_term_spoils_the_record() {
        for term in [
            "b",
            "all:x.y",
            "all/1",
            "-",
            "include",
            "include:",
            "ip4:1.2.3",
            "ip4:1.2.3.4/33",
            "ip4:1.2.3.4/032",
            "ip6:1.2.3.4",
            "ip6:::1/129",
            "a/33",
            "a//129",
            "a/",
            "a//",
            "a:x.y/24/64",
            "exists",
            "ptr/0",
            "ptr:",
            "redirect=",
            "exp=-all",
            "redirect=a.b redirect=a.b",
            "exp=a.b exp=a.b",
            "1x=y",
            "=all",
            "x=%a",
            "a\u{7f}",
        ] {
            assert!(Record::parse(format!("v=spf1 {term}").as_bytes()).is_err(), "{term}");
        }
        assert!(Record::parse(b"v=spf1 \x96all").is_err());
    }

    #[test]
    fn prefixes_are_compared_to_the_bit() {
        for (one, other, bits, expected) in [
            ("192.0.2.1", "192.0.2.1", 32, true),
            ("192.0.2.1", "192.0.2.0", 32, false),
            ("192.0.2.1", "192.0.2.0", 31, true),
            ("192.0.2.1", "10.0.0.0", 0, true),
            ("::1", "::", 128, false),
            ("::1", "::", 127, true),
            ("::1", "8000::", 0, true),
            ("::1", "0.0.0.1", 0, false),
        ] {
            assert_eq!(
                shares_prefix(one.parse().unwrap(), other.parse().unwrap(), bits),
                expected,
                "{one}/{bits}"
            );
        }
    }
}
