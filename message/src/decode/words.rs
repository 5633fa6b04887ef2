//! Encoded words of header fields (RFC 2047).

use encoding_rs::{Encoding, WINDOWS_1252};

use super::{charset_of, transfer::TransferDecoder};
use crate::header::unfold;

/// The value of a field as text: unfolded, its encoded words decoded wherever they stand. Octets above 127 are taken for UTF-8 where
/// they are that, else for Windows-1252.
pub fn header_text(value: &[u8]) -> String {
    let value = unfold(value);
    let mut text = String::with_capacity(value.len());
    let mut words = Words::default();
    let mut rest = value.as_slice();
    while let Some(start) = find(rest, b"=?") {
        let Some((word, length)) = Word::parse(&rest[start..]) else {
            words.flush(&mut text);
            text += &raw(&rest[..start + 2]);
            rest = &rest[start + 2..];
            continue;
        };
        let between = &rest[..start];
        if words.is_empty() || !between.trim_ascii().is_empty() {
            words.flush(&mut text);
            text += &raw(between);
        }
        words.push(word, &mut text);
        rest = &rest[start + length..];
    }
    words.flush(&mut text);
    text += &raw(rest);
    text.trim().to_owned()
}

/// Octets of words that stand side by side in one charset, which may split a character.
#[derive(Default)]
struct Words {
    open: Option<(&'static Encoding, Vec<u8>)>,
}

impl Words {
    fn is_empty(&self) -> bool {
        self.open.is_none()
    }

    fn push(&mut self, word: Word, text: &mut String) {
        match &mut self.open {
            Some((charset, octets)) if *charset == word.charset => octets.extend(word.octets),
            _ => {
                self.flush(text);
                self.open = Some((word.charset, word.octets));
            }
        }
    }

    fn flush(&mut self, text: &mut String) {
        if let Some((charset, octets)) = self.open.take() {
            *text += &charset.decode_without_bom_handling(&octets).0;
        }
    }
}

struct Word {
    charset: &'static Encoding,
    octets: Vec<u8>,
}

impl Word {
    /// `encoded-word = "=?" charset ["*" language] "?" encoding "?" encoded-text "?="` (RFC 2231 section 5), and how long it is.
    /// Spaces in the encoded text are forbidden, but seen.
    fn parse(octets: &[u8]) -> Option<(Self, usize)> {
        let mut pieces = octets.strip_prefix(b"=?")?.splitn(4, |&octet| octet == b'?');
        let (charset, encoding, text, rest) =
            (pieces.next()?, pieces.next()?, pieces.next()?, pieces.next()?);
        let charset = charset.split(|&octet| octet == b'*').next().filter(|name| !name.is_empty())?;
        let rest = rest.strip_prefix(b"=")?;
        if charset.iter().any(u8::is_ascii_whitespace) {
            return None;
        }
        let mut decoded = Vec::new();
        let (encoding, text) = match encoding {
            b"b" | b"B" => (b"base64".as_slice(), text.to_vec()),
            b"q" | b"Q" => (b"quoted-printable".as_slice(), text.iter().map(underscore).collect()),
            _ => return None,
        };
        let mut transfer = TransferDecoder::new(Some(encoding));
        transfer.feed(&text, &mut decoded);
        transfer.finish(&mut decoded);
        let spaces = text.len() - text.trim_ascii_end().len();
        if encoding == b"quoted-printable" {
            decoded.extend(vec![b' '; spaces]);
        }
        Some((Self { charset: charset_of(Some(charset)), octets: decoded }, octets.len() - rest.len()))
    }
}

/// `_` stands for a space (RFC 2047 section 4.2).
fn underscore(octet: &u8) -> u8 {
    if *octet == b'_' { b' ' } else { *octet }
}

fn raw(octets: &[u8]) -> String {
    match std::str::from_utf8(octets) {
        Ok(text) => text.to_owned(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(octets).0.into_owned(),
    }
}

fn find(octets: &[u8], pattern: &[u8]) -> Option<usize> {
    octets.windows(pattern.len()).position(|window| window == pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_text_is_decoded() {
        let cases: &[(&[u8], &str)] = &[
            (b"", ""),
            (b" plain \r\n", "plain"),
            (b"folded\r\n text\n\tmore\r\n", "folded text\tmore"),
            (b"=?utf-8?q?J=C3=B6rg_x?=", "J\u{f6}rg x"),
            (b"=?UTF-8?B?SsO2cmc=?= <a@b>", "J\u{f6}rg <a@b>"),
            (b"=?iso-8859-1*de?Q?=FC?=", "\u{fc}"),
            (b"a =?utf-8?q?b?= c", "a b c"),
            (b"=?utf-8?q?a_?= \r\n =?utf-8?q?b?=", "a b"),
            (b"=?utf-8?q?=E2=82?= =?utf-8?q?=AC?=", "\u{20ac}"),
            (b"=?utf-8?b?4oI=?= =?utf-8?b?rA==?=", "\u{20ac}"),
            (b"=?utf-8?q?a?= =?iso-8859-1?q?=FC?=", "a\u{fc}"),
            (b"=?utf-8?q?a?= x =?utf-8?q?b?=", "a x b"),
            (b"=?utf-8?q?a b?=", "a b"),
            (b"=?utf-8?q??=x", "x"),
            (b"=?x-odd?q?=C3=BC?=", "\u{fc}"),
            (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
            (b"=?utf-8?q?a", "=?utf-8?q?a"),
            (b"=?=?utf-8?q?a?=", "=?a"),
            (b"=? a ?q?b?=", "=? a ?q?b?="),
            (b"(=?utf-8?q?a?=)", "(a)"),
            (b"J\xc3\xb6rg", "J\u{f6}rg"),
            (b"J\xf6rg", "J\u{f6}rg"),
        ];
        for (value, text) in cases {
            assert_eq!(header_text(value), *text, "{}", value.escape_ascii());
        }
    }
}
