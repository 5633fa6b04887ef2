//! SASLprep (RFC 4013): how names and passwords are compared. Not here: its check of bidirectional text and of code points that
//! Unicode 3.2 did not know, which only refuse what somebody has typed and would make no two texts equal.

use icu_normalizer::ComposingNormalizerBorrowed;

/// The prepared text; `None` where it holds what must not be there, or nothing is left.
pub fn prepare(text: &str) -> Option<String> {
    let mapped: String = text.chars().filter(|c| !is_mapped_to_nothing(*c)).map(spaced).collect();
    let prepared = ComposingNormalizerBorrowed::new_nfkc().normalize(&mapped).into_owned();
    (!prepared.is_empty() && !prepared.chars().any(is_prohibited)).then_some(prepared)
}

/// RFC 3454 table C.1.2, mapped to a space.
fn spaced(c: char) -> char {
    match c {
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200b}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        c => c,
    }
}

/// RFC 3454 table B.1, without the space U+200B.
fn is_mapped_to_nothing(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{1806}' | '\u{180b}'..='\u{180d}' | '\u{200c}' | '\u{200d}' | '\u{2060}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// RFC 3454 tables C.2.1, C.2.2, C.3, C.4, C.6, C.7, C.8 and C.9.
fn is_prohibited(c: char) -> bool {
    let noncharacter = u32::from(c) & 0xfffe == 0xfffe;
    c.is_control()
        || noncharacter
        || matches!(c, '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2061}'..='\u{2063}' | '\u{206a}'..='\u{206f}' | '\u{2ff0}'..='\u{2ffb}'
            | '\u{340}' | '\u{341}' | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fff9}'..='\u{fffd}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}' | '\u{f0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 4013 section 3, and what else must be refused.
    #[test]
    fn texts_are_prepared() {
        for (text, prepared) in [
            ("I\u{ad}X", Some("IX")),
            ("user", Some("user")),
            ("USER", Some("USER")),
            ("\u{aa}", Some("a")),
            ("\u{2168}", Some("IX")),
            ("\u{7}", None),
            ("a\u{a0}b", Some("a b")),
            ("p\u{61}\u{308}ss", Some("päss")),
            ("", None),
            ("\u{ad}", None),
            ("\u{e000}", None),
            ("\u{85}", None),
            ("a\0", None),
        ] {
            assert_eq!(prepare(text).as_deref(), prepared, "{text:?}");
        }
    }
}
