//! COMPARATOR (RFC 5255 section 4): how texts are compared in SEARCH. Comparators of the registry of RFC 4790: `i;octet`,
//! `i;ascii-casemap`, and `i;unicode-casemap` (RFC 5051), the default.

use std::borrow::Cow;

use icu_normalizer::DecomposingNormalizer;

use super::{Failure, Operation};
use crate::{machine::Ran, wire::encode};

const NONE_MATCHES: &str = "there is no such comparator";

/// How texts are compared: one holds the other where, prepared, its octets hold the other's.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Comparator {
    /// Letters of all scripts without their case.
    #[default]
    UnicodeCasemap,
    /// US-ASCII letters without their case.
    AsciiCasemap,
    /// As they are.
    Octet,
}

impl Comparator {
    /// All that there are, the default first.
    const ALL: [(Self, &'static str); 3] = [
        (Self::UnicodeCasemap, "i;unicode-casemap"),
        (Self::AsciiCasemap, "i;ascii-casemap"),
        (Self::Octet, "i;octet"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }

    /// Those that a name or a pattern with `*` matches (RFC 4790 section 3.2), the default for `default`.
    fn matching(order: &str) -> impl Iterator<Item = Self> {
        let matches = move |comparator: Self, name: &str| match order {
            "default" => comparator == Self::default(),
            order => is_like(name, order),
        };
        Self::ALL.iter().filter(move |(known, name)| matches(*known, name)).map(|(known, _)| *known)
    }

    /// A text prepared for comparing.
    pub(crate) fn prepare(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Octet => text.into(),
            Self::AsciiCasemap => text.to_ascii_uppercase().into(),
            Self::UnicodeCasemap if text.is_ascii() => text.to_ascii_uppercase().into(),
            Self::UnicodeCasemap => {
                let titled: String = text.chars().map(title).collect();
                DecomposingNormalizer::new_nfkd().normalize(&titled).into_owned().into()
            }
        }
    }
}

/// The simple titlecase of a character (RFC 5051 section 2). Where it is not the one uppercase character: digraphs have a form of
/// their own, Greek letters with iota below one beside them, and Georgian has none.
fn title(char: char) -> char {
    let mut upper = char.to_uppercase();
    match (char, upper.next(), upper.next()) {
        ('\u{1c4}'..='\u{1c6}', ..) => '\u{1c5}',
        ('\u{1c7}'..='\u{1c9}', ..) => '\u{1c8}',
        ('\u{1ca}'..='\u{1cc}', ..) => '\u{1cb}',
        ('\u{1f1}'..='\u{1f3}', ..) => '\u{1f2}',
        ('\u{10d0}'..='\u{10ff}', ..) => char,
        ('\u{1f80}'..='\u{1fff}', Some(_), Some(_)) => {
            let beside = [8, 9].into_iter().filter_map(|distance| char::from_u32(u32::from(char) + distance));
            let is_title = |other: &char| other.to_lowercase().eq([char]);
            beside.into_iter().find(is_title).unwrap_or(char)
        }
        (_, Some(upper), None) => upper,
        _ => char,
    }
}

/// Whether a name is like a pattern in which `*` stands for anything.
fn is_like(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((begin, rest)) => name.strip_prefix(begin).is_some_and(|tail| {
            (0..=tail.len()).filter_map(|at| tail.get(at..)).any(|tail| is_like(tail, rest))
        }),
    }
}

impl Operation<'_, '_> {
    /// `comparator-data = "COMPARATOR" SP comp-sel-quoted [SP "(" comp-id-quoted *(SP comp-id-quoted) ")"]`
    pub(super) async fn comparator(&mut self, orders: &[String]) -> Result<Ran, Failure> {
        let mut matching: Vec<Comparator> = Vec::new();
        for comparator in orders.iter().flat_map(|order| Comparator::matching(order)) {
            if !matching.contains(&comparator) {
                matching.push(comparator);
            }
        }
        match matching.first() {
            Some(first) => self.user.comparator = *first,
            None if !orders.is_empty() => return Err(Failure::no("BADCOMPARATOR", NONE_MATCHES)),
            None => {}
        }
        let names: Vec<&str> = matching.iter().map(|comparator| comparator.name()).collect();
        let list = if names.len() > 1 { format!(" ({})", names.join(" ")) } else { String::new() };
        let mut out = Vec::new();
        encode::data(&mut out, &format!("COMPARATOR {}{list}", self.user.comparator.name()));
        self.output.write(&out).await?;
        Ok(Ran::ok("done"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_alike_where_their_letters_are() {
        use Comparator::{AsciiCasemap, Octet, UnicodeCasemap};
        for (comparator, one, other, alike) in [
            (UnicodeCasemap, "Straße ÄÖÜ", "STRAßE äöü", true),
            (UnicodeCasemap, "Straße", "Strasse", false),
            (UnicodeCasemap, "é", "e\u{301}", true),
            (UnicodeCasemap, "ﬁn", "FIN", false),
            (UnicodeCasemap, "Σίσυφος", "ΣΊΣΥΦΟς", true),
            (UnicodeCasemap, "\u{1c4}", "D\u{17e}", true),
            (UnicodeCasemap, "\u{1c6}", "\u{1c4}", true),
            (UnicodeCasemap, "\u{1f80}", "\u{1f88}", true),
            (UnicodeCasemap, "\u{1fb3}", "\u{1fbc}", true),
            (UnicodeCasemap, "\u{10d0}", "\u{1c90}", false),
            (UnicodeCasemap, "ж", "Ж", true),
            (UnicodeCasemap, "２", "2", true),
            (AsciiCasemap, "abcÄ", "ABCÄ", true),
            (AsciiCasemap, "ä", "Ä", false),
            (Octet, "a", "A", false),
            (Octet, "aä", "aä", true),
        ] {
            assert_eq!(comparator.prepare(one) == comparator.prepare(other), alike, "{one} {other}");
        }
    }

    #[test]
    fn comparators_are_found_by_name_and_pattern() {
        let names = |order| Comparator::matching(order).map(Comparator::name).collect::<Vec<_>>();
        for (order, expected) in [
            ("i;octet", &["i;octet"][..]),
            ("i;*casemap", &["i;unicode-casemap", "i;ascii-casemap"]),
            ("*", &["i;unicode-casemap", "i;ascii-casemap", "i;octet"]),
            ("default", &["i;unicode-casemap"]),
            ("i;octe", &[]),
            ("cz;*", &[]),
            ("", &[]),
        ] {
            assert_eq!(names(order), expected, "{order}");
        }
    }
}
