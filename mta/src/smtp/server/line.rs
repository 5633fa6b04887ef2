//! Lines of a client: complete ones, and what is wrong with the others.

use bytes::{Buf, BytesMut};

/// Longest command line in octets, CRLF included. RFC 5321 section 4.5.3.1.4 asks for 512; SIZE adds 26 (RFC 1870
/// section 3), 8BITMIME 17 (RFC 6152 section 2), SMTPUTF8 10 (RFC 6531 section 3.1), AUTH= 500 (RFC 4954 section 3). The rest is
/// room for what peers think of.
pub const COMMAND_LINE_BYTES_MAX: usize = 2048;
/// Longest line of an authentication exchange in octets, CRLF included (RFC 4954 section 4).
pub const AUTH_LINE_BYTES_MAX: usize = 12_288;

/// What is expected of the next line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LineKind {
    /// A command.
    Command,
    /// A response in an authentication exchange.
    Response,
}

/// What the octets that arrived begin with.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Line {
    /// A line, without its CRLF.
    Complete(BytesMut),
    /// A line that ended with a bare LF; it is skipped.
    BareLineFeed,
    /// A line that was longer than the bound; it is skipped. What it was: AUTH belongs to the exchange.
    TooLong(LineKind),
    /// The beginning of a line at most.
    Incomplete,
}

/// Cuts octets into lines.
#[derive(Debug, Default)]
pub(super) struct LineReader {
    pub(super) input: BytesMut,
    /// What is being skipped, up to its end.
    skips: Option<LineKind>,
}

impl LineReader {
    /// Takes the next line away.
    pub(super) fn next(&mut self, kind: LineKind) -> Line {
        let is_auth = || self.input.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
        let kind = if is_auth() { LineKind::Response } else { kind };
        let bytes_max = match kind {
            LineKind::Command => COMMAND_LINE_BYTES_MAX,
            LineKind::Response => AUTH_LINE_BYTES_MAX,
        };
        let Some(end) = self.input.iter().position(|octet| *octet == b'\n') else {
            if self.skips.is_some() || self.input.len() >= bytes_max {
                self.skips.get_or_insert(kind);
                self.input.clear();
            }
            if self.input.is_empty() {
                // A session that waits holds no buffer.
                self.input = BytesMut::new();
            }
            return Line::Incomplete;
        };
        if let Some(kind) = self.skips.take().or((end >= bytes_max).then_some(kind)) {
            self.input.advance(end + 1);
            return Line::TooLong(kind);
        }
        let mut line = self.input.split_to(end + 1);
        if !line.ends_with(b"\r\n") {
            return Line::BareLineFeed;
        }
        line.truncate(end - 1);
        Line::Complete(line)
    }

    /// Forgets all that arrived.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], piece: usize, kind: LineKind) -> Vec<Line> {
        let (mut reader, mut lines) = (LineReader::default(), Vec::new());
        for piece in input.chunks(piece) {
            reader.input.extend_from_slice(piece);
            loop {
                match reader.next(kind) {
                    Line::Incomplete => break,
                    line => lines.push(line),
                }
            }
        }
        lines
    }

    #[test]
    fn lines_are_cut_and_bounded() {
        let complete = |text: &str| Line::Complete(BytesMut::from(text));
        for piece in [1, 3, 4096, 1 << 20] {
            assert_eq!(
                lines(b"A\r\n\r\nB\rC\r\nD\nE\r\nF", piece, LineKind::Command),
                [complete("A"), complete(""), complete("B\rC"), Line::BareLineFeed, complete("E")]
            );
            for (start, kind, bytes_max, too_long) in [
                ("x", LineKind::Command, COMMAND_LINE_BYTES_MAX, LineKind::Command),
                ("auth ", LineKind::Command, AUTH_LINE_BYTES_MAX, LineKind::Response),
                ("x", LineKind::Response, AUTH_LINE_BYTES_MAX, LineKind::Response),
            ] {
                let longest = format!("{start}{}", "x".repeat(bytes_max - start.len() - 2));
                let input = format!("{longest}\r\n{longest}x\r\nEND\r\n");
                assert_eq!(
                    lines(input.as_bytes(), piece, kind),
                    [complete(&longest), Line::TooLong(too_long), complete("END")]
                );
            }
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut reader = LineReader::default();
        for _ in 0..100 {
            reader.input.extend_from_slice(&[b'x'; 4096]);
            assert_eq!(reader.next(LineKind::Command), Line::Incomplete);
            assert!(reader.input.len() < AUTH_LINE_BYTES_MAX);
        }
    }
}
