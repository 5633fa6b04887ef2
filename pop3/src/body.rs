//! The octets of a message as they travel: byte-stuffed (RFC 1939 section 3), and cut for TOP (RFC 1939 section 7). Pure and streaming.

use bytes::BytesMut;
use memchr::memmem;

/// Byte-stuffing of a message (RFC 1939 section 3), chunk by chunk. A line ends with LF here: stored mail has no bare LF but what
/// its owner put there, and clients that take LF for a line end must not take such a message's text for the end of the reply.
#[derive(Debug, Default)]
pub(crate) struct DotStuffer {
    last: Last,
}

/// Where the last octet left us.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Last {
    /// After CRLF, or at the very beginning.
    #[default]
    Crlf,
    /// After a bare LF.
    Lf,
    /// After CR.
    Cr,
    /// Within a line.
    Text,
}

impl Last {
    fn after(self, octet: u8) -> Self {
        match (self, octet) {
            (Self::Cr, b'\n') => Self::Crlf,
            (_, b'\n') => Self::Lf,
            (_, b'\r') => Self::Cr,
            _ => Self::Text,
        }
    }
}

impl DotStuffer {
    /// Adds octets of the message to `output`, stuffed.
    pub(crate) fn stuff(&mut self, octets: &[u8], output: &mut BytesMut) {
        if matches!(self.last, Last::Crlf | Last::Lf) && octets.first() == Some(&b'.') {
            output.extend_from_slice(b".");
        }
        let mut copied = 0;
        for line_end in memmem::find_iter(octets, b"\n.") {
            output.extend_from_slice(&octets[copied..=line_end]);
            output.extend_from_slice(b".");
            copied = line_end + 1;
        }
        output.extend_from_slice(&octets[copied..]);
        // What stands before the last two does not matter.
        let end = &octets[octets.len().saturating_sub(2)..];
        self.last = end.iter().fold(self.last, |last, octet| last.after(*octet));
    }

    /// Ends the message: its last line with CRLF where it has none, and the reply.
    pub(crate) fn finish(self, output: &mut BytesMut) {
        output.extend_from_slice(if self.last == Last::Crlf { b".\r\n" } else { b"\r\n.\r\n" });
    }
}

/// What TOP shows of a message: header block, empty line, and so many lines of the body (RFC 1939 section 7).
#[derive(Debug)]
pub(crate) struct Top {
    is_header: bool,
    /// Lines of the body that are still shown.
    lines: u32,
    /// Octets of the line so far, and whether the first one is CR: a line that is empty, CRLF or LF, ends the header block.
    line: (usize, bool),
}

impl Top {
    pub(crate) fn new(lines: u32) -> Self {
        Self { is_header: true, lines, line: (0, false) }
    }

    /// Whether all is shown.
    pub(crate) fn is_done(&self) -> bool {
        !self.is_header && self.lines == 0
    }

    /// The part of a chunk that is shown.
    pub(crate) fn show<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        let mut shown = 0;
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            if self.is_done() {
                break;
            }
            shown += line.len();
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            if self.line.0 == 0 {
                self.line.1 = text.starts_with(b"\r");
            }
            self.line.0 += text.len();
            if text.len() < line.len() {
                match self.is_header {
                    true => self.is_header = !matches!(self.line, (0, _) | (1, true)),
                    false => self.lines -= 1,
                }
                self.line = (0, false);
            }
        }
        &octets[..shown]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuffed(message: &[u8], chunk: usize) -> BytesMut {
        let (mut stuffer, mut output) = (DotStuffer::default(), BytesMut::new());
        message.chunks(chunk).for_each(|octets| stuffer.stuff(octets, &mut output));
        stuffer.finish(&mut output);
        output
    }

    #[test]
    fn messages_are_stuffed() {
        for (message, expected) in [
            ("", ".\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r", "a\r\r\n.\r\n"),
            ("a\n", "a\n\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("..a\r\n", "...a\r\n.\r\n"),
            ("a.\r\n.b\r\n\r\n.\r\n", "a.\r\n..b\r\n\r\n..\r\n.\r\n"),
            ("\r\n", "\r\n.\r\n"),
            ("a\n.\r\nb\r\n", "a\n..\r\nb\r\n.\r\n"),
            ("a\r.\r\n", "a\r.\r\n.\r\n"),
        ] {
            for chunk in [1, 2, 3, 4096] {
                assert_eq!(stuffed(message.as_bytes(), chunk), expected, "{message:?} in chunks of {chunk}");
            }
        }
    }

    /// What a client makes of a reply: lines end with LF, one leading dot goes, a lone dot ends.
    fn unstuffed(reply: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        let mut lines = reply.split_inclusive(|octet| *octet == b'\n');
        for line in lines.by_ref().take_while(|line| *line != b".\r\n") {
            message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
        assert_eq!(lines.next(), None, "octets after the end");
        message
    }

    #[test]
    fn any_short_message_survives() {
        // All messages of up to six octets over the alphabet that matters.
        for length in 0..=6u32 {
            for number in 0..4usize.pow(length) {
                let octet = |place| b".\r\na"[number / 4usize.pow(place) % 4];
                let message: Vec<u8> = (0..length).map(octet).collect();
                let whole = stuffed(&message, 4096);
                assert_eq!(whole, stuffed(&message, 1), "{message:?}");
                let mut expected = message;
                if !expected.is_empty() && !expected.ends_with(b"\r\n") {
                    expected.extend_from_slice(b"\r\n");
                }
                assert_eq!(unstuffed(&whole), expected);
            }
        }
    }

    #[test]
    fn top_shows_the_header_block_and_some_lines() {
        let message = "A: b\r\nC: d\r\n\r\none\r\n\r\nthree\r\nfour";
        for (message, lines, expected) in [
            (message, 0, "A: b\r\nC: d\r\n\r\n"),
            (message, 1, "A: b\r\nC: d\r\n\r\none\r\n"),
            (message, 2, "A: b\r\nC: d\r\n\r\none\r\n\r\n"),
            (message, 3, "A: b\r\nC: d\r\n\r\none\r\n\r\nthree\r\n"),
            (message, 4, message),
            (message, u32::MAX, message),
            ("\r\nbody\r\n", 0, "\r\n"),
            ("A: b\n\nbody\n", 0, "A: b\n\n"),
            // Not empty: as IMAP shows the header block.
            ("A: b\r\n\r\r\nC: d\r\n\r\nbody", 0, "A: b\r\n\r\r\nC: d\r\n\r\n"),
            ("A: b\r\n", 0, "A: b\r\n"),
            ("", 0, ""),
        ] {
            for chunk in [1, 2, 3, 4096] {
                let mut top = Top::new(lines);
                let shown: Vec<u8> =
                    message.as_bytes().chunks(chunk).flat_map(|octets| top.show(octets)).copied().collect();
                assert_eq!(String::from_utf8(shown).unwrap(), expected, "{lines} lines in chunks of {chunk}");
            }
        }
    }
}
