//! Tag lists: `tag=value; tag=value` (RFC 6376 section 3.2), as signatures, seals and keys are written.

/// A tag list in which each tag stands once.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Tags<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Tags<'a> {
    /// `tag-list = tag-spec *( ";" tag-spec ) [ ";" ]`; `None`: it is none, or a tag stands twice.
    pub(crate) fn parse(octets: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(octets).ok()?.trim_ascii();
        let mut tags: Vec<(&str, &str)> = Vec::new();
        for spec in text.strip_suffix(';').unwrap_or(text).split(';') {
            let (name, value) = spec.split_once('=')?;
            let (name, value) = (name.trim_ascii(), value.trim_ascii());
            let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
            let is_value = !value.chars().any(|c| c.is_control() && !"\t\r\n".contains(c));
            if !is_name || !is_value || tags.iter().any(|(known, _)| *known == name) {
                return None;
            }
            tags.push((name, value));
        }
        Some(Self(tags))
    }

    /// The value of a tag, folded as it may be, without white space at its ends.
    pub(crate) fn find(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// All tags with their values.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().copied()
    }

    /// The name of the first tag.
    pub(crate) fn first(&self) -> Option<&'a str> {
        self.0.first().map(|(name, _)| *name)
    }

    /// The parts of a value between colons, without white space; none where the tag is missing.
    pub(crate) fn parts(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.find(name).into_iter().flat_map(|value| value.split(':')).map(str::trim_ascii)
    }

    /// A value in base 64, which may be folded anywhere; `None`: it is missing, empty, or no base 64.
    pub(crate) fn base64(&self, name: &str) -> Option<Vec<u8>> {
        use base64::Engine;
        let compact: String = self.find(name)?.split_ascii_whitespace().collect();
        let decoded = base64::engine::general_purpose::STANDARD.decode(compact).ok()?;
        (!decoded.is_empty()).then_some(decoded)
    }

    /// A number in decimal digits; `Some(None)`: the tag is missing; `None`: it is no number.
    pub(crate) fn number(&self, name: &str) -> Option<Option<u64>> {
        let Some(value) = self.find(name) else { return Some(None) };
        let is_number = !value.is_empty() && value.bytes().all(|digit| digit.is_ascii_digit());
        // A number beyond u64 is as good as the largest (RFC 6376 section 3.5 allows 76 digits in l=).
        is_number.then(|| Some(value.parse().unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_taken_apart() {
        let list: &[(&str, &[(&str, &str)])] = &[
            ("a=b", &[("a", "b")]),
            (" a = b c ;\r\n\td=;e_1=x=y; ", &[("a", "b c"), ("d", ""), ("e_1", "x=y")]),
            ("A=1;a=2", &[("A", "1"), ("a", "2")]),
            ("b=x\r\n y", &[("b", "x\r\n y")]),
            ("a=ü", &[("a", "ü")]),
        ];
        for (text, expected) in list {
            assert_eq!(Tags::parse(text.as_bytes()), Some(Tags(expected.to_vec())), "{text:?}");
        }
        for text in ["", ";", "a", "a=b;;c=d", "a=b;a=c", "=b", "1=b", "a b=c", "a=b;c", "a=\0", "a=b;;"] {
            assert_eq!(Tags::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Tags::parse(b"a=\xff"), None);
    }

    #[test]
    fn values_are_read() {
        let tags =
            Tags::parse(b"h= From : to:; b=aGk\r\n =; l=007; x=; y=-1; z=99999999999999999999; e=").unwrap();
        assert_eq!(tags.parts("h").collect::<Vec<_>>(), ["From", "to", ""]);
        assert_eq!(tags.parts("q").count(), 0);
        assert_eq!(tags.base64("b"), Some(b"hi".to_vec()));
        assert_eq!(tags.base64("h"), None);
        assert_eq!((tags.base64("e"), tags.base64("q")), (None, None));
        assert_eq!((tags.number("l"), tags.number("q")), (Some(Some(7)), Some(None)));
        assert_eq!((tags.number("x"), tags.number("y")), (None, None));
        assert_eq!(tags.number("z"), Some(Some(u64::MAX)));
        assert_eq!(tags.first(), Some("h"));
    }
}
