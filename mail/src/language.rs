//! The languages in which people are spoken to (RFC 5255 section 3, RFC 6856 section 3). Texts are written in English and looked up by that in a table of their protocol; one that
//! has no translation there stays English.

/// A language of texts for people.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Language {
    /// `i-default` (RFC 2277 section 4.5): English in US-ASCII, before a client asks for another one.
    #[default]
    Default,
    /// `EN`
    English,
    /// `DE`
    German,
}

impl Language {
    /// All that there are, with their tags.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::English, "EN"), (Self::German, "DE"), (Self::Default, "i-default")];

    /// Its tag.
    pub fn tag(self) -> &'static str {
        Self::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, tag)| tag)
    }

    /// The language that a range asks for: by its tag, or the more general one that its first subtag is (RFC 4647 section 3.4).
    pub fn by_range(range: &str) -> Option<Self> {
        let is = |range: &str| Self::ALL.iter().find(|(_, tag)| tag.eq_ignore_ascii_case(range));
        let general = range.split_once('-').map_or(range, |(first, _)| first);
        is(range).or_else(|| is(general)).map(|(language, _)| *language)
    }

    /// A text in this language; `german` has English texts with what they are in German, sorted. `None`: it stays English.
    pub fn translated<'a>(self, english: &str, german: &[(&str, &'a str)]) -> Option<&'a str> {
        if self != Self::German {
            return None;
        }
        let found = german.binary_search_by_key(&english, |(known, _)| known).ok()?;
        german.get(found).map(|(_, german)| *german)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_found_by_their_ranges() {
        for (range, expected) in [
            ("de", Some(Language::German)),
            ("DE-AT", Some(Language::German)),
            ("en-ca", Some(Language::English)),
            ("I-DEFAULT", Some(Language::Default)),
            ("fr", None),
            ("den", None),
            ("", None),
            ("i", None),
            ("*", None),
        ] {
            assert_eq!(Language::by_range(range), expected, "{range}");
        }
    }

    #[test]
    fn texts_are_translated() {
        let table = [("no", "nein"), ("yes", "ja")];
        assert_eq!(Language::German.translated("yes", &table), Some("ja"));
        assert_eq!(Language::German.translated("perhaps", &table), None);
        assert_eq!(Language::English.translated("yes", &table), None);
        assert_eq!(Language::Default.translated("yes", &table), None);
    }
}
