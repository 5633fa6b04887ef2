//! The message as it stands behind DATA: dots doubled at line starts, ended by a line with one dot (RFC 5321 section 4.5.2).

use bytes::{BufMut, BytesMut};

/// The end of the data where the last line has its CRLF.
pub(super) const END_OF_DATA: &[u8] = b".\r\n";

/// Doubles dots in octets that come in pieces, cut anywhere. Lines end with CRLF only: a dot behind a bare LF stays alone,
/// because a receiver that follows RFC 5321 section 2.3.8 sees no line start there.
#[derive(Debug, Default)]
pub(super) struct DotStuffer {
    place: Place,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Place {
    #[default]
    LineStart,
    BehindCr,
    Inside,
}

impl DotStuffer {
    /// Writes the next octets.
    pub(super) fn push(&mut self, octets: &[u8], output: &mut BytesMut) {
        for piece in octets.split_inclusive(|octet| *octet == b'\n') {
            if self.place == Place::LineStart && piece.first() == Some(&b'.') {
                output.put_u8(b'.');
            }
            output.put_slice(piece);
            self.place = match piece {
                [.., b'\r', b'\n'] => Place::LineStart,
                [b'\n'] if self.place == Place::BehindCr => Place::LineStart,
                [.., b'\r'] => Place::BehindCr,
                _ => Place::Inside,
            };
        }
    }

    /// Ends the data; a last CRLF that is missing is added.
    pub(super) fn finish(self, output: &mut BytesMut) {
        match self.place {
            Place::LineStart => {}
            Place::BehindCr => output.put_u8(b'\n'),
            Place::Inside => output.put_slice(b"\r\n"),
        }
        output.put_slice(END_OF_DATA);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_doubled_and_the_end_is_marked() {
        for (message, sent) in [
            ("", ".\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r", "a\r\n.\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            (".a\r\n..\r\n.", "..a\r\n...\r\n..\r\n.\r\n"),
            ("a.b\r\nc.\r\n", "a.b\r\nc.\r\n.\r\n"),
            ("a\n.b\r\n", "a\n.b\r\n.\r\n"),
            ("a\r.b\r\n", "a\r.b\r\n.\r\n"),
        ] {
            for chunk in [1, 2, 3, 4096] {
                let (mut stuffer, mut output) = (DotStuffer::default(), BytesMut::new());
                message.as_bytes().chunks(chunk).for_each(|octets| stuffer.push(octets, &mut output));
                stuffer.finish(&mut output);
                assert_eq!(output, sent.as_bytes(), "{message:?} by {chunk}");
            }
        }
    }
}
