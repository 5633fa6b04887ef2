//! Macro strings (RFC 7208 section 7): parsed once, expanded for each check.

use std::{borrow::Cow, fmt::Write, net::IpAddr};

/// Longest domain name in characters that is asked for (RFC 7208 section 7.3).
const NAME_CHARACTERS_MAX: usize = 253;

/// Where a macro string stands: some letters are for explanations alone (RFC 7208 section 7.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// In a record.
    Record,
    /// In the text that `exp=` leads to, which may hold spaces, too.
    Explanation,
}

/// `macro-string = *( macro-expand / macro-literal )`
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct MacroString(Vec<Piece>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Literal(String),
    Expand(Expand),
}

/// `"%{" macro-letter transformers *delimiter "}"`
#[derive(Clone, Debug, Eq, PartialEq)]
struct Expand {
    /// In lower case.
    letter: char,
    /// Whether it was written in upper case.
    is_escaped: bool,
    /// How many parts at the right are kept.
    parts: Option<usize>,
    is_reversed: bool,
    delimiters: String,
}

/// What macros stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    pub(super) local: &'a str,
    pub(super) sender_domain: &'a str,
    /// The domain whose record is evaluated.
    pub(super) domain: &'a str,
    pub(super) ip: IpAddr,
    pub(super) helo: &'a str,
    /// The validated name of the client; `None`: it has none.
    pub(super) name: Option<&'a str>,
    pub(super) receiver: &'a str,
    /// Seconds since 1970.
    pub(super) now: u64,
}

impl MacroString {
    /// Parses it; `None`: it is none.
    pub(super) fn parse(text: &str, place: Place) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            literal(&mut pieces, &rest[..at], place)?;
            let behind = &rest[at + 1..];
            rest = match behind.chars().next()? {
                '{' => {
                    let (inner, behind) = behind[1..].split_once('}')?;
                    pieces.push(Piece::Expand(Expand::parse(inner, place)?));
                    behind
                }
                short => {
                    let text = match short {
                        '%' => "%",
                        '_' => " ",
                        '-' => "%20",
                        _ => return None,
                    };
                    pieces.push(Piece::Literal(text.to_owned()));
                    &behind[1..]
                }
            };
        }
        literal(&mut pieces, rest, place)?;
        Some(Self(pieces))
    }

    /// Whether `%{p}` is in it, whose value is to be looked up.
    pub(super) fn asks_for_name(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Expand(expand) if expand.letter == 'p'))
    }

    /// Whether it ends with a macro.
    fn ends_with_macro(&self) -> bool {
        matches!(self.0.last(), Some(Piece::Expand(_)))
    }

    /// Expands it.
    pub(super) fn expand(&self, values: &Values<'_>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Expand(expand) => expand.write(values, &mut text),
            }
        }
        text
    }
}

fn literal(pieces: &mut Vec<Piece>, text: &str, place: Place) -> Option<()> {
    let allowed = |c: char| c.is_ascii_graphic() || c == ' ' && place == Place::Explanation;
    if !text.chars().all(allowed) {
        return None;
    }
    if !text.is_empty() {
        pieces.push(Piece::Literal(text.to_owned()));
    }
    Some(())
}

impl Expand {
    /// What stands between the braces.
    fn parse(inner: &str, place: Place) -> Option<Self> {
        let first = inner.chars().next()?;
        let letter = first.to_ascii_lowercase();
        let known = "slodiphv".contains(letter) || place == Place::Explanation && "crt".contains(letter);
        let rest = inner.get(1..).filter(|_| known)?;
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let parts = match &rest[..digits] {
            "" => None,
            // a number beyond usize keeps all
            number => Some(number.parse().unwrap_or(usize::MAX)),
        };
        let rest = &rest[digits..];
        let unreversed = rest.strip_prefix(['r', 'R']);
        let delimiters = unreversed.unwrap_or(rest);
        if parts == Some(0) || !delimiters.chars().all(|c| ".-+,/_=".contains(c)) {
            return None;
        }
        Some(Self {
            letter,
            is_escaped: first.is_ascii_uppercase(),
            parts,
            is_reversed: unreversed.is_some(),
            delimiters: delimiters.to_owned(),
        })
    }

    fn write(&self, values: &Values<'_>, text: &mut String) {
        let value = self.value(values);
        let is_delimiter = |c: char| {
            if self.delimiters.is_empty() { c == '.' } else { self.delimiters.contains(c) }
        };
        let mut parts: Vec<&str> = value.split(is_delimiter).collect();
        if self.is_reversed {
            parts.reverse();
        }
        let kept = parts.len().min(self.parts.unwrap_or(usize::MAX));
        let value = parts[parts.len() - kept..].join(".");
        if self.is_escaped { escape(&value, text) } else { text.push_str(&value) }
    }

    fn value<'a>(&self, values: &Values<'a>) -> Cow<'a, str> {
        match self.letter {
            's' => format!("{}@{}", values.local, values.sender_domain).into(),
            'l' => values.local.into(),
            'o' => values.sender_domain.into(),
            'd' => values.domain.into(),
            'i' => dotted(values.ip).into(),
            'p' => values.name.unwrap_or("unknown").into(),
            'v' => if values.ip.is_ipv4() { "in-addr" } else { "ip6" }.into(),
            'h' => values.helo.into(),
            'c' => values.ip.to_string().into(),
            'r' => values.receiver.into(),
            _ => values.now.to_string().into(),
        }
    }
}

/// Dotted-quad, or nibbles with dots between them.
fn dotted(ip: IpAddr) -> String {
    let IpAddr::V6(ip) = ip else { return ip.to_string() };
    let nibbles = ip.octets().into_iter().flat_map(|octet| [octet >> 4, octet & 15]);
    nibbles.map(|nibble| format!("{nibble:X}")).collect::<Vec<_>>().join(".")
}

/// All but `unreserved` characters are percent-encoded (RFC 7208 section 7.3).
fn escape(value: &str, text: &mut String) {
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            text.push(char::from(octet));
        } else {
            // writing to a String does not fail
            write!(text, "%{octet:02X}").unwrap_or_default();
        }
    }
}

/// `domain-spec = macro-string domain-end`
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct DomainSpec(MacroString);

impl DomainSpec {
    /// Parses it; `None`: it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parsed = MacroString::parse(text, Place::Record)?;
        let ends_well = parsed.ends_with_macro() || {
            let text = text.strip_suffix('.').unwrap_or(text);
            text.rsplit_once('.').is_some_and(|(_, last)| is_top_label(last))
        };
        ends_well.then_some(Self(parsed))
    }

    /// Whether `%{p}` is in it, whose value is to be looked up.
    pub(super) fn asks_for_name(&self) -> bool {
        self.0.asks_for_name()
    }

    /// The name that it stands for, without a last dot; labels at the left are dropped where it is too long.
    pub(super) fn expand(&self, values: &Values<'_>) -> String {
        let text = self.0.expand(values);
        let mut name = text.strip_suffix('.').unwrap_or(&text);
        while name.len() > NAME_CHARACTERS_MAX {
            name = name.split_once('.').map_or("", |(_, rest)| rest);
        }
        name.to_owned()
    }
}

/// `toplabel`: letters, digits and hyphens, not all digits, no hyphen at an end.
fn is_top_label(label: &str) -> bool {
    label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        && label.bytes().any(|octet| !octet.is_ascii_digit())
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values<'static> {
        Values {
            local: "strong-bad",
            sender_domain: "email.example.com",
            domain: "email.example.com",
            ip: "192.0.2.3".parse().unwrap(),
            helo: "mx.example.org",
            name: None,
            receiver: "mx.example.net",
            now: 1,
        }
    }

    /// RFC 7208 section 7.4.
    #[test]
    fn the_examples_of_the_rfc_are_expanded() {
        let v6 = Values { ip: "2001:db8::cb01".parse().unwrap(), ..values() };
        for (text, expected) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
            ("%%%_%-%{p}", "% %20unknown"),
        ] {
            assert_eq!(
                MacroString::parse(text, Place::Record).unwrap().expand(&values()),
                expected,
                "{text}"
            );
        }
        let expected = "1.0.B.C.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6._spf.example.com";
        let text = "%{ir}.%{v}._spf.%{d2}";
        assert_eq!(MacroString::parse(text, Place::Record).unwrap().expand(&v6), expected);
    }

    #[test]
    fn what_is_no_macro_is_none() {
        for text in
            ["%", "%{", "%{}", "%{x}", "%{d0}", "%{d2r2}", "%{d*}", "%x", "ü", "a b", "%{c}", "%{d2", "%{ü}"]
        {
            assert_eq!(MacroString::parse(text, Place::Record), None, "{text}");
        }
        assert!(MacroString::parse("from %{c} at %{t} to %{R}", Place::Explanation).is_some());
        for text in ["", "com", "a.b-", "a.-b", "a.1", "a..", "a.b/", "%%"] {
            assert_eq!(DomainSpec::parse(text), None, "{text}");
        }
        for text in ["a.b", "a.b.", "%{d}", "a.1b", "%{i}.x"] {
            assert!(DomainSpec::parse(text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_name_that_is_too_long_loses_labels_at_the_left() {
        let long = format!("{}.{}", "a.".repeat(200), "b.c");
        let name = DomainSpec::parse(&long).unwrap().expand(&values());
        assert!(name.len() <= 253 && name.len() > 250 && name.ends_with(".a..b.c"), "{name}");
        let one = DomainSpec::parse("%{l}.%{o}").unwrap();
        let local = "x".repeat(300);
        assert_eq!(one.expand(&Values { local: &local, ..values() }), "email.example.com");
    }
}
