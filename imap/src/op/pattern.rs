//! Patterns of mailbox names (RFC 3501 section 6.3.8): `*` stands for anything, `%` for anything within one level.

use super::list::DELIMITER;

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

    /// Whether a name matches; `INBOX` in any case. Time is the product of both lengths: no pattern takes longer.
    pub(super) fn matches(&self, name: &str) -> bool {
        matches(self.0.as_bytes(), name.as_bytes())
            || name == "INBOX" && matches(self.0.to_ascii_uppercase().as_bytes(), name.as_bytes())
    }
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // reached[i]: the part of the pattern so far matches the first i octets of the name.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for &octet in pattern {
        match octet {
            b'*' | b'%' => {
                for at in 0..name.len() {
                    reached[at + 1] |= reached[at] && (octet == b'*' || name[at] != DELIMITER as u8);
                }
            }
            octet => {
                for at in (0..name.len()).rev() {
                    reached[at + 1] = reached[at] && name[at] == octet;
                }
                reached[0] = false;
            }
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
