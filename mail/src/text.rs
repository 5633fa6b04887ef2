//! Texts that others chose, where they are shown. Pure.

use std::borrow::Cow;

/// A text of at most so many octets; of a longer one as much of its beginning, and `…`.
pub fn shortened(text: &str, octets_max: usize) -> Cow<'_, str> {
    let beginning = &text[..text.floor_char_boundary(octets_max)];
    if beginning.len() < text.len() { format!("{beginning}…").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        for (text, octets_max, expected) in [
            ("", 0, ""),
            ("", 3, ""),
            ("abc", 3, "abc"),
            ("abcd", 3, "abc…"),
            ("abc", 0, "…"),
            ("ab\u{fc}", 4, "ab\u{fc}"),
            ("ab\u{fc}", 3, "ab…"),
        ] {
            assert_eq!(shortened(text, octets_max), expected, "{text} {octets_max}");
        }
    }
}
