//! Message flags (RFC 9051 section 2.3.2): five system flags that are stored, and keywords.
//!
//! `\Recent` is not here: it belongs to a session, not to a message.

use std::{collections::BTreeSet, fmt};

/// Longest keyword in octets that Waypost stores.
pub const KEYWORD_BYTES_MAX: usize = 128;

/// A set of the stored system flags, one bit each.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct SystemFlags(u8);

impl SystemFlags {
    /// No flag.
    pub const EMPTY: Self = Self(0);
    /// `\Seen`: the message has been read.
    pub const SEEN: Self = Self(1);
    /// `\Answered`: the message has been answered.
    pub const ANSWERED: Self = Self(2);
    /// `\Flagged`: the message is marked for attention.
    pub const FLAGGED: Self = Self(4);
    /// `\Deleted`: the message goes with the next EXPUNGE.
    pub const DELETED: Self = Self(8);
    /// `\Draft`: the message is not finished.
    pub const DRAFT: Self = Self(16);
    /// All of them.
    pub const ALL: Self = Self(31);
    /// Each flag with its name, in the order in which they are printed.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::ANSWERED, "\\Answered"),
        (Self::FLAGGED, "\\Flagged"),
        (Self::DELETED, "\\Deleted"),
        (Self::SEEN, "\\Seen"),
        (Self::DRAFT, "\\Draft"),
    ];

    /// The set with these bits; unknown bits are dropped.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// One bit a flag.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether all flags of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The flags that both sets have.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// This set without the flags of `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// A keyword: an atom that does not begin with a backslash. Compared without regard to case, kept as first written.
#[derive(Clone, Debug)]
pub struct Keyword(String);

impl Keyword {
    /// `None` unless the text is an atom of 1 to [`KEYWORD_BYTES_MAX`] octets.
    pub fn new(text: &str) -> Option<Self> {
        let atom = |b: u8| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b);
        let valid = !text.is_empty() && text.len() <= KEYWORD_BYTES_MAX && text.bytes().all(atom);
        valid.then(|| Self(text.to_owned()))
    }

    /// The keyword as it was first written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn folded(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.bytes().map(|b| b.to_ascii_lowercase())
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl PartialOrd for Keyword {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Keyword {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folded().cmp(other.folded())
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One flag as a client names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Flag {
    /// One of the five stored system flags.
    System(SystemFlags),
    /// A keyword.
    Keyword(Keyword),
}

impl Flag {
    /// Reads `\Seen`, `$Forwarded`, …; `None` for an unknown system flag (also `\Recent`) and for what is no atom.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with('\\') {
            let found = SystemFlags::NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
            return found.map(|(flag, _)| Self::System(*flag));
        }
        Keyword::new(text).map(Self::Keyword)
    }
}

/// A set of flags.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Flags {
    /// The system flags.
    pub system: SystemFlags,
    /// The keywords.
    pub keywords: BTreeSet<Keyword>,
}

impl Flags {
    /// Adds one flag.
    pub fn insert(&mut self, flag: Flag) {
        match flag {
            Flag::System(flag) => self.system = self.system.with(flag),
            Flag::Keyword(keyword) => {
                self.keywords.insert(keyword);
            }
        }
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.system == SystemFlags::EMPTY && self.keywords.is_empty()
    }
}

impl FromIterator<Flag> for Flags {
    fn from_iter<T: IntoIterator<Item = Flag>>(flags: T) -> Self {
        let mut set = Self::default();
        flags.into_iter().for_each(|flag| set.insert(flag));
        set
    }
}

impl From<SystemFlags> for Flags {
    fn from(system: SystemFlags) -> Self {
        Self { system, keywords: BTreeSet::new() }
    }
}

impl fmt::Display for Flags {
    /// `\Seen $Forwarded`: names with single spaces between, without parentheses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let system =
            SystemFlags::NAMES.iter().filter(|(flag, _)| self.system.contains(*flag)).map(|(_, name)| *name);
        for (index, name) in system.chain(self.keywords.iter().map(Keyword::as_str)).enumerate() {
            write!(f, "{}{name}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_and_printed() {
        let flags: Flags =
            ["\\seen", "$Forwarded", "\\DRAFT", "$forwarded"].iter().filter_map(|t| Flag::parse(t)).collect();
        assert_eq!(flags.to_string(), "\\Seen \\Draft $Forwarded");
        for text in ["", "\\Recent", "\\Other", "a b", "a(", "ä"] {
            assert_eq!(Flag::parse(text), None, "{text}");
        }
    }
}
