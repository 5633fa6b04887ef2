//! A DMARC policy record (RFC 9989 section 4.7), and which of several counts: the tree walk (section 4.10). Pure.

use crate::authenticity::dkim::tags::Tags;

/// Octets of `rua` that are kept: room for a dozen addresses.
const REPORT_URIS_BYTES_MAX: usize = 2048;

/// Most names of one walk (RFC 9989 section 4.10).
pub(crate) const WALK_NAMES_MAX: usize = 8;

/// What a domain asks for where a message fails.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Policy {
    /// Nothing.
    None,
    /// Take it for suspicious.
    Quarantine,
    /// Refuse it.
    Reject,
}

impl Policy {
    /// As it stands in a record.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    fn by_name(name: &str) -> Option<Self> {
        [Self::None, Self::Quarantine, Self::Reject]
            .into_iter()
            .find(|policy| policy.name().eq_ignore_ascii_case(name))
    }

    /// One level below, as `t=y` asks.
    fn relaxed(self) -> Self {
        match self {
            Self::Reject => Self::Quarantine,
            Self::Quarantine | Self::None => Self::None,
        }
    }
}

/// How alike names must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Alignment {
    /// They are of one organization.
    Relaxed,
    /// They are the same.
    Strict,
}

/// `psd=`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Psd {
    /// It is a public suffix.
    Yes,
    /// It is an organizational domain.
    No,
    /// It does not say.
    Unknown,
}

/// A policy record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Record {
    policy: Policy,
    subdomains: Option<Policy>,
    nonexistent: Option<Policy>,
    pub(crate) dkim: Alignment,
    pub(crate) spf: Alignment,
    psd: Psd,
    is_test: bool,
    /// `rua`: where it wants reports, as it stands there; empty: nowhere.
    pub(crate) report_uris: String,
    /// `fo`
    pub(crate) failure_options: Option<String>,
}

/// What a record says for all mail, as reports tell it: defaults are filled in, and `t` is apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Published {
    pub(crate) policy: Policy,
    pub(crate) subdomains: Policy,
    pub(crate) nonexistent: Policy,
    pub(crate) is_test: bool,
}

impl Record {
    /// Reads the TXT records of a name; of several that are policy records none counts (RFC 9989 section 4.10).
    pub(crate) fn select(texts: &[Vec<u8>]) -> Option<Self> {
        let mut records = texts.iter().filter(|text| is_record(text));
        let only = records.next().filter(|_| records.next().is_none())?;
        Self::parse(only)
    }

    /// Reads one. A tag that is wrong is as none; without `p=` only who asks for reports has a policy, which is none.
    fn parse(text: &[u8]) -> Option<Self> {
        let tags = Tags::parse(text)?;
        let policy = |tag| tags.find(tag).and_then(Policy::by_name);
        let is =
            |tag, value: &str| tags.find(tag).is_some_and(|found: &str| found.eq_ignore_ascii_case(value));
        let alignment = |tag| if is(tag, "s") { Alignment::Strict } else { Alignment::Relaxed };
        let asks_for_reports = tags.find("rua").is_some_and(|addresses| addresses.contains(':'));
        Some(Self {
            policy: policy("p").or(asks_for_reports.then_some(Policy::None))?,
            subdomains: policy("sp"),
            nonexistent: policy("np"),
            dkim: alignment("adkim"),
            spf: alignment("aspf"),
            psd: match () {
                () if is("psd", "y") => Psd::Yes,
                () if is("psd", "n") => Psd::No,
                () => Psd::Unknown,
            },
            is_test: is("t", "y"),
            report_uris: tags.find("rua").map(bounded).unwrap_or_default(),
            failure_options: tags.find("fo").filter(|options| is_options(options)).map(str::to_owned),
        })
    }

    /// What it says for all mail.
    pub(crate) fn published(&self) -> Published {
        let asked = |whose| self.asked_for(whose);
        Published {
            policy: self.policy,
            subdomains: asked(Whose::Below),
            nonexistent: asked(Whose::Nonexistent),
            is_test: self.is_test,
        }
    }

    /// What it asks for mail of a domain.
    pub(crate) fn policy_for(&self, whose: Whose) -> Policy {
        let asked = self.asked_for(whose);
        if self.is_test { asked.relaxed() } else { asked }
    }

    /// What it would ask for if it were no test.
    pub(crate) fn asked_for(&self, whose: Whose) -> Policy {
        let below = self.subdomains.unwrap_or(self.policy);
        match whose {
            Whose::Own => self.policy,
            Whose::Below => below,
            Whose::Nonexistent => self.nonexistent.unwrap_or(below),
        }
    }
}

/// The addresses that fit, each whole.
fn bounded(uris: &str) -> String {
    if uris.len() <= REPORT_URIS_BYTES_MAX {
        return uris.to_owned();
    }
    let some = &uris[..uris.floor_char_boundary(REPORT_URIS_BYTES_MAX)];
    some.rsplit_once(',').map_or("", |(whole, _)| whole).to_owned()
}

/// `0`, `1`, `d` and `s`, between colons (RFC 9989 section 4.7).
fn is_options(text: &str) -> bool {
    text.len() <= 7 && text.split(':').all(|option| ["0", "1", "d", "s"].contains(&option.trim_ascii()))
}

/// For which mail a policy is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Whose {
    /// That of the domain of the record.
    Own,
    /// That of a domain below it.
    Below,
    /// That of a domain below it which does not exist.
    Nonexistent,
}

/// Whether a text is a record of DMARC: `v=DMARC1`, first of all.
pub(crate) fn is_record(text: &[u8]) -> bool {
    let first = text.split(|octet| *octet == b';').next().unwrap_or_default();
    let compact: Vec<u8> = first.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
    compact == b"v=DMARC1"
}

/// The domains whose records a walk looks at, from the longest to the shortest.
pub(crate) fn walk_names(domain: &str) -> Vec<&str> {
    let mut names = vec![domain];
    let mut rest = domain;
    while let Some((_, parent)) = rest.split_once('.') {
        rest = parent;
        // from eight labels or more to seven
        if labels(rest) < WALK_NAMES_MAX {
            names.push(rest);
        }
    }
    names
}

fn labels(domain: &str) -> usize {
    domain.split('.').count()
}

/// The records on the way from a domain to the root, from the longest name to the shortest.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    start: &'a str,
    found: Vec<(&'a str, &'a Record)>,
    /// How many names it came to.
    names: usize,
}

impl<'a> Walk<'a> {
    /// Walks over records that were looked up. It ends where a record says what its domain is.
    pub(crate) fn new(start: &'a str, find: impl Fn(&str) -> Option<&'a Record>) -> Self {
        let (mut found, mut names) = (Vec::new(), 0);
        for name in walk_names(start) {
            names += 1;
            let Some(record) = find(name) else { continue };
            found.push((name, record));
            if record.psd != Psd::Unknown {
                break;
            }
        }
        Self { start, found, names }
    }

    /// How many of the names of [`walk_names`] it came to before it ended.
    pub(crate) fn names(&self) -> usize {
        self.names
    }

    /// The organizational domain (RFC 9989 section 4.10.2).
    pub(crate) fn organization(&self) -> &'a str {
        match self.found.last() {
            None => self.start,
            Some((name, record)) if record.psd == Psd::Yes && *name != self.start => {
                one_below(name, self.start)
            }
            Some((name, _)) => name,
        }
    }

    /// The record that counts for mail of the domain, and whose it is: its own, that of its organization, or that of the public suffix
    /// (RFC 9989 section 4.10.1).
    pub(crate) fn record(&self) -> Option<(&'a str, &'a Record)> {
        let of = |domain: &str| self.found.iter().find(|(name, _)| *name == domain).copied();
        let suffix = || self.found.last().filter(|(_, record)| record.psd == Psd::Yes).copied();
        of(self.start).or_else(|| of(self.organization())).or_else(suffix)
    }
}

/// The domain one label below a suffix, on the way to another.
fn one_below<'a>(suffix: &str, start: &'a str) -> &'a str {
    let mut rest = start;
    while labels(rest) > labels(suffix) + 1 {
        rest = rest.split_once('.').map_or(rest, |(_, parent)| parent);
    }
    rest
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn record(text: &str) -> Option<Record> {
        Record::select(&[text.as_bytes().to_vec()])
    }

    #[test]
    fn records_are_read() {
        let policies = |text: &str| {
            let record = record(text)?;
            Some([Whose::Own, Whose::Below, Whose::Nonexistent].map(|whose| record.policy_for(whose).name()))
        };
        for (text, expected) in [
            ("v=DMARC1; p=reject", Some(["reject", "reject", "reject"])),
            ("v = DMARC1 ;p=Reject;sp=quarantine;", Some(["reject", "quarantine", "quarantine"])),
            ("v=DMARC1;p=none;np=reject", Some(["none", "none", "reject"])),
            ("v=DMARC1;p=reject;sp=quarantine;np=none;t=y", Some(["quarantine", "none", "none"])),
            ("v=DMARC1;p=none;t=n", Some(["none", "none", "none"])),
            ("v=DMARC1;p=reject;sp=x;adkim=?;pct=0;fo=zz", Some(["reject", "reject", "reject"])),
            ("v=DMARC1;rua=mailto:a@b.test", Some(["none", "none", "none"])),
            ("v=DMARC1;p=x;rua=mailto:a@b.test", Some(["none", "none", "none"])),
            ("v=DMARC1", None),
            ("v=DMARC1;p=x", None),
            ("v=DMARC2;p=reject", None),
            ("v=DMARC1.0;p=reject", None),
            ("p=reject;v=DMARC1", None),
            ("v=dmarc1;p=reject", None),
            ("", None),
        ] {
            assert_eq!(policies(text), expected, "{text}");
        }
        let two = [b"v=DMARC1;p=none".to_vec(), b"other".to_vec(), b"v=DMARC1;p=reject".to_vec()];
        assert_eq!(Record::select(&two), None);
        assert!(Record::select(&two[..2]).is_some());
        let strict = record("v=DMARC1;p=none;adkim=S;aspf=r").unwrap();
        assert_eq!((strict.dkim, strict.spf), (Alignment::Strict, Alignment::Relaxed));
    }

    #[test]
    fn a_walk_has_eight_names_at_most() {
        assert_eq!(walk_names("a.b.test"), ["a.b.test", "b.test", "test"]);
        assert_eq!(walk_names("test"), ["test"]);
        let eight = "1.2.3.4.5.6.7.8";
        assert_eq!(walk_names(eight).len(), 8);
        let many = format!("x.y.z.{eight}");
        let names = walk_names(&many);
        assert_eq!((names.len(), names[0], names[1], names[7]), (8, many.as_str(), "2.3.4.5.6.7.8", "8"));
    }

    #[test]
    fn organizations_and_policies_are_found() {
        let walk = |start: &'static str, zone: &[(&str, &str)]| {
            let zone: HashMap<_, _> =
                zone.iter().map(|(name, text)| (*name, record(text).unwrap())).collect();
            let walk = Walk::new(start, |name| zone.get(name));
            (walk.organization().to_owned(), walk.record().map(|(name, _)| name.to_owned()))
        };
        let (none, no, yes) = ("v=DMARC1;p=none", "v=DMARC1;p=none;psd=n", "v=DMARC1;p=none;psd=y");
        for (start, zone, organization, policy) in [
            ("a.b.test", &[][..], "a.b.test", None),
            ("a.b.test", &[("b.test", none)][..], "b.test", Some("b.test")),
            ("a.b.test", &[("a.b.test", none), ("b.test", none)], "b.test", Some("a.b.test")),
            ("a.b.c.test", &[("b.c.test", none), ("c.test", none)], "c.test", Some("c.test")),
            ("a.b.test", &[("a.b.test", no), ("b.test", none)], "a.b.test", Some("a.b.test")),
            ("a.b.test", &[("b.test", no), ("test", none)], "b.test", Some("b.test")),
            ("a.b.test", &[("test", yes)], "b.test", Some("test")),
            ("a.b.test", &[("b.test", none), ("test", yes)], "b.test", Some("b.test")),
            ("a.b.c.test", &[("b.c.test", none), ("test", yes)], "c.test", Some("test")),
            ("test", &[("test", yes)], "test", Some("test")),
            ("c.test", &[("test", yes), ("c.test", none)], "c.test", Some("c.test")),
        ] {
            let expected = (organization.to_owned(), policy.map(str::to_owned));
            assert_eq!(walk(start, zone), expected, "{start} {zone:?}");
        }
    }
}
