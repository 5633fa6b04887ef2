//! Patterns of mailbox names (RFC 3501 section 6.3.8): `*` stands for anything, `%` for anything within one level.

use super::list::DELIMITER;

const DELIMITER_OCTET: u8 = DELIMITER as u8;
const INBOX: &[u8] = b"INBOX";

/// A reference and a pattern together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Pattern(String);

impl Pattern {
    /// The reference only stands before the pattern. `INBOX` as the first level is written in capitals.
    pub(super) fn new(reference: &str, pattern: &str) -> Self {
        let whole = format!("{reference}{pattern}");
        let level = whole.find(DELIMITER).unwrap_or(whole.len());
        if whole[..level].eq_ignore_ascii_case("INBOX") {
            return Self(format!("INBOX{}", &whole[level..]));
        }
        Self(whole)
    }

    /// Whether it asks for levels of hierarchy that are no mailboxes, too: it ends in `%`.
    pub(super) fn is_for_levels(&self) -> bool {
        self.0.ends_with('%')
    }

    /// Whether a name matches; `INBOX` as its first level in any case. Time is the product of both lengths, and a pattern with
    /// more letters than the name is not tried: no pattern takes longer.
    pub(super) fn matches(&self, name: &str) -> bool {
        let letters = self.0.bytes().filter(|octet| !is_wildcard(*octet)).count();
        letters <= name.len() && matches(self.0.as_bytes(), name.as_bytes())
    }
}

fn is_wildcard(octet: u8) -> bool {
    matches!(octet, b'*' | b'%')
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let below = name.strip_prefix(INBOX);
    let inbox = if below.is_some_and(|rest| matches!(rest.first(), None | Some(&DELIMITER_OCTET))) {
        INBOX.len()
    } else {
        0
    };
    // reached[i]: the part of the pattern so far matches the first i octets of the name.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for &octet in pattern {
        if is_wildcard(octet) {
            for at in 0..name.len() {
                reached[at + 1] |= reached[at] && (octet == b'*' || name[at] != DELIMITER_OCTET);
            }
            continue;
        }
        for at in (0..name.len()).rev() {
            let same = name[at] == octet || at < inbox && name[at].eq_ignore_ascii_case(&octet);
            reached[at + 1] = reached[at] && same;
        }
        reached[0] = false;
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
            let pattern = Pattern::new(reference, pattern);
            for name in matching {
                assert!(pattern.matches(name), "{pattern:?} {name}");
            }
            for name in others {
                assert!(!pattern.matches(name), "{pattern:?} {name}");
            }
        }
    }
}
