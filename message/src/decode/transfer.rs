//! Transfer encodings (RFC 2045 section 6), decoded as they stream.

/// Most white space at the end of a quoted-printable line that is held back until it is known whether text follows.
const TRAILING_BYTES_MAX: usize = 1_000;

#[derive(Debug)]
pub(super) enum TransferDecoder {
    /// 7bit, 8bit, binary, and encodings that are not known.
    Identity,
    /// Bits that do not fill an octet yet, and how many; nothing behind the padding counts.
    Base64 {
        bits: u32,
        count: u32,
    },
    QuotedPrintable {
        state: Quoted,
        trailing: Vec<u8>,
    },
}

/// ```text
///            '='          hex digit         hex digit
///   Text ─────────► Equals ─────────► Digit ─────────► Text
///                     │ white space
///                     ▼          LF
///                  LineEnd ─────────► Text
/// ```
/// Anything else was no escape, and goes through as it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Quoted {
    Text,
    Equals,
    Digit(u8),
    LineEnd,
}

impl TransferDecoder {
    pub(super) fn new(encoding: Option<&[u8]>) -> Self {
        match encoding.unwrap_or_default().to_ascii_lowercase().as_slice() {
            b"base64" => Self::Base64 { bits: 0, count: 0 },
            b"quoted-printable" => Self::QuotedPrintable { state: Quoted::Text, trailing: Vec::new() },
            _ => Self::Identity,
        }
    }

    pub(super) fn feed(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Identity => out.extend_from_slice(octets),
            Self::Base64 { bits, count } => octets.iter().for_each(|&octet| base64(octet, bits, count, out)),
            Self::QuotedPrintable { state, trailing } => {
                let mut rest = octets;
                while let Some((&octet, behind)) = rest.split_first() {
                    let run = if matches!(state, Quoted::Text) { plain_run(rest) } else { 0 };
                    if run > 0 {
                        out.append(trailing);
                        out.extend_from_slice(&rest[..run]);
                        rest = &rest[run..];
                    } else {
                        *state = state.take(octet, trailing, out);
                        rest = behind;
                    }
                }
            }
        }
    }

    /// Gives what was held back.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if let Self::QuotedPrintable { state, .. } = self {
            match state {
                Quoted::Digit(digit) => out.extend([b'=', *digit]),
                Quoted::Text | Quoted::Equals | Quoted::LineEnd => {}
            }
        }
    }
}

/// Octets of quoted-printable text that mean themselves: up to an escape or the end of a line, without white space at their end.
fn plain_run(octets: &[u8]) -> usize {
    let end = octets.iter().position(|octet| matches!(octet, b'=' | b'\r' | b'\n')).unwrap_or(octets.len());
    octets[..end].iter().rposition(|octet| !matches!(octet, b' ' | b'\t')).map_or(0, |last| last + 1)
}

/// Octets outside of the alphabet are ignored (RFC 2045 section 6.8); padding ends a group, and another may follow.
fn base64(octet: u8, bits: &mut u32, count: &mut u32, out: &mut Vec<u8>) {
    let value = match octet {
        b'A'..=b'Z' => octet - b'A',
        b'a'..=b'z' => octet - b'a' + 26,
        b'0'..=b'9' => octet - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        b'=' => {
            (*bits, *count) = (0, 0);
            return;
        }
        _ => return,
    };
    *bits = (*bits << 6 | u32::from(value)) & 0xffff;
    *count += 6;
    if *count >= 8 {
        *count -= 8;
        out.push((*bits >> *count) as u8);
    }
}

impl Quoted {
    fn take(self, octet: u8, trailing: &mut Vec<u8>, out: &mut Vec<u8>) -> Self {
        match (self, octet) {
            (Self::Equals, digit) if digit.is_ascii_hexdigit() => Self::Digit(digit),
            (Self::Equals | Self::LineEnd, b' ' | b'\t' | b'\r') => Self::LineEnd,
            (Self::Equals | Self::LineEnd, b'\n') => Self::Text,
            (Self::Equals | Self::LineEnd, _) => {
                out.push(b'=');
                Self::Text.take(octet, trailing, out)
            }
            (Self::Digit(first), second) => match (nibble(first), nibble(second)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    Self::Text
                }
                _ => {
                    out.extend([b'=', first]);
                    Self::Text.take(octet, trailing, out)
                }
            },
            (Self::Text, b' ' | b'\t') if trailing.len() < TRAILING_BYTES_MAX => {
                trailing.push(octet);
                Self::Text
            }
            (Self::Text, b'\r' | b'\n') => {
                trailing.clear();
                out.push(octet);
                Self::Text
            }
            (Self::Text, _) => {
                out.append(trailing);
                match octet {
                    b'=' => Self::Equals,
                    _ => {
                        out.push(octet);
                        Self::Text
                    }
                }
            }
        }
    }
}

/// The value of a hexadecimal digit.
pub(super) fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(encoding: &str, octets: &str) -> String {
        let mut decoder = TransferDecoder::new(Some(encoding.as_bytes()));
        let mut out = Vec::new();
        decoder.feed(octets.as_bytes(), &mut out);
        decoder.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn quoted_printable_decodes() {
        for (octets, text) in [
            ("", ""),
            ("a=3Db=3d", "a=b="),
            ("soft=\r\n break=\n.", "soft break."),
            ("soft= \t\r\nbreak", "softbreak"),
            ("a \t\r\n b\t\nc ", "a\r\n b\nc"),
            ("= x", "=x"),
            ("=XY=4=4X", "=XY=4=4X"),
            ("==41", "=A"),
            ("end=", "end"),
            ("end=4", "end=4"),
        ] {
            assert_eq!(decode("quoted-printable", octets), text, "{octets:?}");
        }
    }

    #[test]
    fn base64_decodes() {
        for (octets, text) in [
            ("", ""),
            ("YQ==", "a"),
            ("YQ", "a"),
            ("Y W\r\nI=", "ab"),
            ("YQ==YWI=", "aab"),
            ("YWJj!YWJj", "abcabc"),
            ("Y", ""),
            ("=", ""),
        ] {
            assert_eq!(decode("base64", octets), text, "{octets:?}");
        }
    }

    #[test]
    fn held_back_white_space_is_bounded() {
        let line = |length: usize| decode("quoted-printable", &format!("{}\r\n", " ".repeat(length))).len();
        assert_eq!(line(TRAILING_BYTES_MAX), 2);
        assert_eq!(line(TRAILING_BYTES_MAX + 1), TRAILING_BYTES_MAX + 3);
    }
}
