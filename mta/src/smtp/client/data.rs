//! The message as it stands behind DATA: dots doubled at line starts, ended by a line with one dot (RFC 5321 section 4.5.2).

use bytes::{BufMut, BytesMut};

use crate::smtp::lines::{Stops, plain};

/// The end of the data where the last line has its CRLF.
pub(super) const END_OF_DATA: &[u8] = b".\r\n";

/// Doubles dots in octets that come in pieces, cut anywhere. A CR or LF that stands alone goes out as CRLF: a client must not
/// send it as it is (RFC 5321 section 2.3.8), and a receiver that takes it for a line end could be made to see the end of the
/// data behind it. What came by SMTP holds none; this holds whatever else comes to be sent.
#[derive(Debug, Default)]
pub(super) struct DotStuffer {
    place: Place,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Place {
    #[default]
    LineStart,
    /// Behind a CR that is not written yet.
    BehindCr,
    Inside,
}

impl DotStuffer {
    /// Writes the next octets.
    pub(super) fn push(&mut self, octets: &[u8], output: &mut BytesMut) {
        let mut rest = octets;
        while let Some(first) = rest.first() {
            if self.place == Place::BehindCr {
                self.end_line(output);
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
                continue;
            }
            if self.place == Place::LineStart && *first == b'.' {
                output.put_u8(b'.');
                self.place = Place::Inside;
            }
            // NUL is not looked for: an octet that is looked for anyway stands in its place.
            let stops = Stops { octet: b'\n', dot: true, line_end: false };
            let run = plain(rest, self.place == Place::LineStart, stops);
            output.put_slice(&rest[..run.octets]);
            rest = &rest[run.octets..];
            self.place = if run.ends_line { Place::LineStart } else { Place::Inside };
            // What is left begins a line with a dot, or is a line end whose other half is missing, here at least.
            match rest.first() {
                Some(b'\r') => self.place = Place::BehindCr,
                Some(b'\n') => self.end_line(output),
                _ => continue,
            }
            rest = &rest[1..];
        }
    }

    /// Ends the data; a last CRLF that is missing is added.
    pub(super) fn finish(mut self, output: &mut BytesMut) {
        if self.place != Place::LineStart {
            self.end_line(output);
        }
        output.put_slice(END_OF_DATA);
    }

    fn end_line(&mut self, output: &mut BytesMut) {
        output.put_slice(b"\r\n");
        self.place = Place::LineStart;
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
            // bare ones become line ends, so that nothing behind them can be taken for the end of the data
            ("a\n.b\r\n", "a\r\n..b\r\n.\r\n"),
            ("a\r.b\r\n", "a\r\n..b\r\n.\r\n"),
            ("a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r.\rb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\n.\r\n", "a\r\n..\r\n.\r\n"),
            ("\r\r\n\n", "\r\n\r\n\r\n.\r\n"),
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
