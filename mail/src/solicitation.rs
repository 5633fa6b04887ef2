//! Solicitation class keywords (RFC 3865 section 2.2): what kind of solicitation a message is, and which kinds a server does not want.

use std::fmt;

/// Most characters of all keywords together (RFC 3865 section 2.1).
pub const SOLICITATION_CHARACTERS_MAX: usize = 1000;

/// Keywords, at least one, like `org.example:ADV`. Letters in either case are the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Solicitation(Vec<String>);

impl Solicitation {
    /// `Solicitation-keywords = word *("," word)`, `word = ALPHA *("." / "-" / "_" / ":" / ALPHA / DIGIT)`. `None`: it is not that.
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid = text.len() <= SOLICITATION_CHARACTERS_MAX && text.split(',').all(is_keyword);
        is_valid.then(|| Self(text.split(',').map(str::to_owned).collect()))
    }

    /// Those of a header field `Solicitation` (RFC 3865 section 2.5), with white space around them; what is no keyword says nothing.
    pub fn of_field(value: &str) -> Option<Self> {
        let keywords = value.split(',').map(str::trim).filter(|word| is_keyword(word));
        let keywords: Vec<String> = keywords.map(str::to_owned).collect();
        (!keywords.is_empty()).then_some(Self(keywords))
    }

    /// The first keyword that is one of others.
    pub fn first_of(&self, others: &Self) -> Option<&str> {
        let is_one = |word: &&String| others.0.iter().any(|other| other.eq_ignore_ascii_case(word));
        self.0.iter().find(is_one).map(String::as_str)
    }
}

impl fmt::Display for Solicitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

fn is_keyword(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_read_and_compared() {
        let longest = "a".repeat(SOLICITATION_CHARACTERS_MAX);
        for text in ["org.example:ADV", "a", "net.example:ADV,org.example:ADV:ADLT", "a-b_c.9:X", &longest] {
            assert_eq!(Solicitation::parse(text).map(|words| words.to_string()).as_deref(), Some(text));
        }
        for text in ["", ",", "a,", ",a", "a, b", "9a", ":a", "a;b", "ä", &format!("{longest}a")] {
            assert_eq!(Solicitation::parse(text), None, "{text}");
        }
        let words = |text| Solicitation::parse(text).unwrap();
        let refused = words("org.example:ADV,net.example:X");
        assert_eq!(words("a,NET.example:x").first_of(&refused), Some("NET.example:x"));
        assert_eq!(words("org.example:ADV:ADLT").first_of(&refused), None);
    }

    #[test]
    fn a_field_is_read_as_far_as_it_can_be() {
        let read = |value| Solicitation::of_field(value).map(|words| words.to_string());
        assert_eq!(
            read(" org.example:ADV , (x), net.example:X").as_deref(),
            Some("org.example:ADV,net.example:X")
        );
        assert_eq!((read(""), read("9, ;")), (None, None));
    }
}
