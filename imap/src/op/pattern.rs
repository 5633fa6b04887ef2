//! Patterns of mailbox names (RFC 3501 section 6.3.8): `*` stands for anything, `%` for anything within one level.
//!
//! What a command may cost is bounded: in octets of a pattern, in all its comparisons together, and in how long other tasks wait.

use super::{Failure, list::DELIMITER};

const DELIMITER_OCTET: u8 = DELIMITER as u8;
const INBOX: &[u8] = b"INBOX";

/// Longest pattern with its reference in octets, runs of wildcards taken together; a name has at most 1000.
pub(super) const PATTERN_BYTES_MAX: usize = 4096;
/// Most comparisons of an octet of a pattern with an octet of a name in one command.
const WORK_MAX: u64 = 200_000_000;
/// Comparisons, and names, after which other tasks get a turn.
const TURN_WORK: u64 = 1_000_000;
const TURN_NAMES: usize = 64;
const TOO_LONG: &str = "the pattern is too long";
const TOO_MUCH: &str = "the patterns are too many, or have too many wildcards";

/// The patterns of a command.
#[derive(Debug)]
pub(super) struct Patterns {
    patterns: Vec<Pattern>,
    names: usize,
    work: Work,
}

/// What was compared.
#[derive(Debug, Default)]
struct Work {
    all: u64,
    this_turn: u64,
}

/// Whether a name matches.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Matched {
    /// It does.
    pub(super) name: bool,
    /// It does so as a level of hierarchy, too, which need not be a mailbox.
    pub(super) level: bool,
}

/// A reference and a pattern together.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Pattern {
    octets: Vec<u8>,
    /// Its octets that are no wildcards.
    letters: usize,
    /// Whether it asks for levels of hierarchy that are no mailboxes, too: it ends in `%`.
    for_levels: bool,
}

impl Patterns {
    /// The reference only stands before each pattern. Errors: a pattern is too long.
    pub(super) fn new<'a>(
        reference: &str,
        patterns: impl Iterator<Item = &'a String>,
    ) -> Result<Self, Failure> {
        let patterns = patterns.map(|pattern| Pattern::new(reference, pattern)).collect::<Result<_, _>>()?;
        Ok(Self { patterns, names: 0, work: Work::default() })
    }

    /// Whether a name matches one of them. Errors: together they were too much work.
    pub(super) async fn matches(&mut self, name: &str) -> Result<Matched, Failure> {
        self.names += 1;
        if self.names.is_multiple_of(TURN_NAMES) || self.work.this_turn >= TURN_WORK {
            self.work.this_turn = 0;
            tokio::task::yield_now().await;
        }
        let mut matched = Matched::default();
        for pattern in &self.patterns {
            let is_news = !matched.name || pattern.for_levels && !matched.level;
            if is_news && pattern.matches(name, &mut self.work) {
                matched = Matched { name: true, level: matched.level || pattern.for_levels };
            }
            if self.work.all > WORK_MAX {
                return Err(Failure::no("LIMIT", TOO_MUCH));
            }
        }
        Ok(matched)
    }
}

impl Work {
    fn add(&mut self, work: usize) {
        self.all += work as u64;
        self.this_turn += work as u64;
    }
}

impl Pattern {
    /// `INBOX` as the first level is written in capitals; a run of wildcards is the strongest of them.
    fn new(reference: &str, pattern: &str) -> Result<Self, Failure> {
        let whole = format!("{reference}{pattern}");
        let mut octets: Vec<u8> = Vec::new();
        for octet in whole.bytes() {
            match octets.last_mut() {
                Some(last) if is_wildcard(*last) && is_wildcard(octet) => *last = (*last).max(octet),
                _ => octets.push(octet),
            }
            if octets.len() > PATTERN_BYTES_MAX {
                return Err(Failure::no("LIMIT", TOO_LONG));
            }
        }
        let level = octets.iter().position(|octet| *octet == DELIMITER_OCTET).unwrap_or(octets.len());
        if octets[..level].eq_ignore_ascii_case(INBOX) {
            octets[..level].copy_from_slice(INBOX);
        }
        let letters = octets.iter().filter(|octet| !is_wildcard(**octet)).count();
        Ok(Self { octets, letters, for_levels: whole.ends_with('%') })
    }

    /// Whether a name matches; `INBOX` as its first level in any case. A pattern with more letters than the name is not tried,
    /// and none further than its first part matches.
    fn matches(&self, name: &str, work: &mut Work) -> bool {
        work.add(1);
        self.letters <= name.len() && matches(&self.octets, name.as_bytes(), work)
    }
}

fn is_wildcard(octet: u8) -> bool {
    matches!(octet, b'*' | b'%')
}

fn matches(pattern: &[u8], name: &[u8], work: &mut Work) -> bool {
    let below = name.strip_prefix(INBOX);
    let inbox = if below.is_some_and(|rest| matches!(rest.first(), None | Some(&DELIMITER_OCTET))) {
        INBOX.len()
    } else {
        0
    };
    let same =
        |at: usize, octet: u8| name[at] == octet || at < inbox && name[at].eq_ignore_ascii_case(&octet);
    // What stands before the first wildcard needs no list.
    let plain = pattern.iter().position(|octet| is_wildcard(*octet)).unwrap_or(pattern.len());
    if plain > name.len() || !(0..plain).all(|at| same(at, pattern[at])) {
        return false;
    }
    // reached[i]: the part of the pattern so far matches the first i octets of the name.
    let mut reached = vec![false; name.len() + 1];
    reached[plain] = true;
    for &octet in &pattern[plain..] {
        work.add(name.len());
        if is_wildcard(octet) {
            for at in 0..name.len() {
                reached[at + 1] |= reached[at] && (octet == b'*' || name[at] != DELIMITER_OCTET);
            }
            continue;
        }
        let mut any = false;
        for at in (0..name.len()).rev() {
            reached[at + 1] = reached[at] && same(at, octet);
            any |= reached[at + 1];
        }
        reached[0] = false;
        if !any {
            return false;
        }
    }
    reached[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_patterns() {
        for (reference, pattern, matching, others) in [
            ("", "*", &["INBOX", "a", "a/b", "a/b/c"][..], &[][..]),
            ("", "%", &["INBOX", "a"], &["a/b"]),
            ("", "%/%", &["a/b"], &["a", "a/b/c"]),
            ("a/", "%", &["a/b"], &["a", "b", "a/b/c"]),
            ("", "a*c", &["ac", "a/b/c", "abcc"], &["a/b", "xac"]),
            ("", "a%c", &["ac", "abc"], &["a/c"]),
            ("", "inbox", &["INBOX"], &["INBOX/a"]),
            ("", "iNb%", &["INBOX"], &["Inbetween"]),
            ("", "inbox/*", &["INBOX/a"], &["INBOX"]),
            ("", "inbox*", &["INBOX", "INBOX/a"], &["INBOXES", "Inboxes"]),
            ("", "*box/a", &["INBOX/a"], &["INBOX/A", "INBOXES/a"]),
            ("", "Sent", &["Sent"], &["sent", "Sent/a", ""]),
            ("", "%%*", &["a/b", ""], &[]),
            ("", "Größe%", &["Größen"], &["Größe/n"]),
        ] {
            let pattern = Pattern::new(reference, pattern).unwrap();
            let mut work = Work::default();
            for name in matching {
                assert!(pattern.matches(name, &mut work), "{pattern:?} {name}");
            }
            for name in others {
                assert!(!pattern.matches(name, &mut work), "{pattern:?} {name}");
            }
        }
    }

    #[test]
    fn runs_of_wildcards_are_one() {
        for (pattern, one, for_levels) in [
            ("a%%b", "a%b", false),
            ("%*%", "*", true),
            ("a***%*b", "a*b", false),
            ("%%", "%", true),
            ("inbox/%%", "INBOX/%", true),
        ] {
            let pattern = Pattern::new("", pattern).unwrap();
            assert_eq!((pattern.octets.as_slice(), pattern.for_levels), (one.as_bytes(), for_levels));
        }
        assert!(Pattern::new("", &"%".repeat(100_000)).is_ok());
        assert!(Pattern::new("a", &"a".repeat(PATTERN_BYTES_MAX - 1)).is_ok());
        assert!(Pattern::new("a", &"a".repeat(PATTERN_BYTES_MAX)).is_err());
    }

    #[tokio::test]
    async fn patterns_are_bounded_in_their_work() {
        let many = vec!["a%".repeat(500); 64];
        let mut patterns = Patterns::new("", many.iter()).unwrap();
        let name = "a".repeat(999) + "b";
        let mut names = 0;
        while let Ok(matched) = patterns.matches(&name).await {
            assert!(matched.name);
            names += 1;
        }
        assert!((100..1000).contains(&names), "{names}");
        // What clients send costs little, however many mailboxes there are.
        let plain: Vec<String> = (0..1000).map(|at| format!("folder {at}")).collect();
        let mut patterns = Patterns::new("", plain.iter()).unwrap();
        for at in 0..10_000 {
            assert!(!patterns.matches(&format!("other {at}")).await.unwrap().name);
        }
        let mut patterns = Patterns::new("", ["*a%b%c*d*".to_owned()].iter()).unwrap();
        for _ in 0..10_000 {
            patterns.matches(&name).await.unwrap();
        }
    }
}
