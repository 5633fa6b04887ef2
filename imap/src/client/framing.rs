//! Where a server's responses end, and where in them the octets of a message stand, which pass by in pieces.
//!
//! ```text
//! Line ──CRLF──► a response
//!   ├─ {n} of BODY[] ──► Body ── n octets, piece by piece ──► Line      (in the response NIL stands for them)
//!   └─ any other {n} ──► Literal ── n octets, kept ──► Line
//! ```

use bytes::{Bytes, BytesMut};

use super::response;
use crate::wire::literal;

/// Longest response in octets, with its literals and without the message.
pub const RESPONSE_BYTES_MAX: usize = 256 * 1024;
/// Largest message in octets: what IMAP4rev1 can say of a size (RFC 3501 section 9).
pub const MESSAGE_BYTES_MAX: u64 = u32::MAX as u64;

/// Why no response can be found any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Misframed {
    #[error("a response of more than {RESPONSE_BYTES_MAX} octets")]
    TooLong,
    #[error("a message of more than 4 GiB")]
    TooLarge,
    #[error("two messages in one response")]
    TwoBodies,
}

/// Something that arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Piece {
    /// A whole response.
    Response(Received),
    /// Octets of a message; its response follows.
    Body(Bytes),
}

/// A response without its last CRLF.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Received {
    pub(super) octets: Vec<u8>,
    /// Whether octets of a message passed by, for which NIL stands.
    pub(super) had_body: bool,
}

#[derive(Debug, Default)]
pub(super) struct Framing {
    unread: BytesMut,
    /// Octets of `unread` that hold no CRLF.
    scanned: usize,
    response: Vec<u8>,
    had_body: bool,
    within: Within,
}

#[derive(Debug, Default)]
enum Within {
    #[default]
    Line,
    Literal(u64),
    Body(u64),
}

impl Framing {
    /// Takes octets that arrived.
    pub(super) fn feed(&mut self, octets: &[u8]) {
        self.unread.extend_from_slice(octets);
    }

    /// What can be given out; `None`: more octets are needed.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, Misframed> {
        loop {
            match self.within {
                Within::Line => match self.line()? {
                    Found::Nothing => return Ok(None),
                    Found::Response(received) => return Ok(Some(Piece::Response(received))),
                    Found::Literal => {}
                },
                Within::Literal(0) | Within::Body(0) => self.within = Within::Line,
                _ if self.unread.is_empty() => return Ok(None),
                Within::Literal(left) => {
                    let octets = self.take(left);
                    self.within = Within::Literal(left - octets.len() as u64);
                    self.response.extend_from_slice(&octets);
                }
                Within::Body(left) => {
                    let octets = self.take(left);
                    self.within = Within::Body(left - octets.len() as u64);
                    return Ok(Some(Piece::Body(octets)));
                }
            }
        }
    }

    fn take(&mut self, most: u64) -> Bytes {
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(self.unread.len());
        self.unread.split_to(most).freeze()
    }

    fn line(&mut self) -> Result<Found, Misframed> {
        let found = self.unread[self.scanned..].windows(2).position(|pair| pair == b"\r\n");
        let arrived = found.map_or(self.unread.len(), |at| self.scanned + at + 2);
        if self.response.len() + arrived > RESPONSE_BYTES_MAX {
            return Err(Misframed::TooLong);
        }
        if found.is_none() {
            self.scanned = self.unread.len().saturating_sub(1);
            return Ok(Found::Nothing);
        }
        self.scanned = 0;
        let begin = self.response.len();
        let line = self.unread.split_to(arrived);
        self.response.extend_from_slice(&line);
        if let Some(literal) = literal::announced(&self.response[begin..])
            && response::may_hold_literals(&self.response)
        {
            self.begin_literal(literal.bytes)?;
            return Ok(Found::Literal);
        }
        let mut octets = std::mem::take(&mut self.response);
        octets.truncate(octets.len() - 2);
        let had_body = std::mem::take(&mut self.had_body);
        Ok(Found::Response(Received { octets, had_body }))
    }

    fn begin_literal(&mut self, bytes: u64) -> Result<(), Misframed> {
        if let Some(before) = response::before_body(&self.response) {
            if bytes > MESSAGE_BYTES_MAX {
                return Err(Misframed::TooLarge);
            }
            if std::mem::replace(&mut self.had_body, true) {
                return Err(Misframed::TwoBodies);
            }
            self.response.truncate(before);
            self.response.extend_from_slice(b"NIL");
            self.within = Within::Body(bytes);
            return Ok(());
        }
        let room = (RESPONSE_BYTES_MAX - self.response.len()) as u64;
        if bytes > room {
            return Err(Misframed::TooLong);
        }
        self.within = Within::Literal(bytes);
        Ok(())
    }
}

enum Found {
    Nothing,
    Literal,
    Response(Received),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in octets that arrive in pieces; octets of messages together.
    fn pieces(octets: &[u8], size: usize) -> Result<Vec<String>, Misframed> {
        let mut framing = Framing::default();
        let (mut found, mut body) = (Vec::new(), Vec::new());
        for piece in octets.chunks(size) {
            framing.feed(piece);
            while let Some(piece) = framing.next()? {
                match piece {
                    Piece::Body(octets) => body.extend_from_slice(&octets),
                    Piece::Response(Received { octets, had_body }) => {
                        if had_body {
                            found.push(format!("body {}", std::mem::take(&mut body).escape_ascii()));
                        }
                        found.push(octets.escape_ascii().to_string());
                    }
                }
            }
        }
        Ok(found)
    }

    #[test]
    fn responses_and_messages_are_found_wherever_they_are_cut() {
        for (octets, expected) in [
            ("* OK hello {5}\r\n", vec!["* OK hello {5}"]),
            ("* 1 EXISTS\r\nw1 OK x {3}\r\n+ go {1}\r\n", vec!["* 1 EXISTS", "w1 OK x {3}", "+ go {1}"]),
            ("* LIST () \"/\" {3}\r\na b\r\n", vec!["* LIST () \\\"/\\\" {3}\\r\\na b"]),
            // Octets of a literal that look like an announcement are none.
            ("* LIST () \"/\" {3}\r\n{5}\r\n", vec!["* LIST () \\\"/\\\" {3}\\r\\n{5}"]),
            (
                "* 2 FETCH (UID 7 BODY[] {4}\r\na\r\n) FLAGS ())\r\n",
                vec!["body a\\r\\n)", "* 2 FETCH (UID 7 BODY[] NIL FLAGS ())"],
            ),
            (
                "* 2 FETCH (X {2}\r\n)( body[] {0}\r\n UID 7)\r\n",
                vec!["body ", "* 2 FETCH (X {2}\\r\\n)( body[] NIL UID 7)"],
            ),
            (
                "* 2 FETCH (BODY[] ~{2}\r\n\0\0 UID 7)\r\n",
                vec!["body \\x00\\x00", "* 2 FETCH (BODY[] NIL UID 7)"],
            ),
            (
                "* 2 FETCH (BODY[HEADER] {2}\r\nab UID 7)\r\n",
                vec!["* 2 FETCH (BODY[HEADER] {2}\\r\\nab UID 7)"],
            ),
        ] {
            for size in [1, 3, 4096] {
                assert_eq!(pieces(octets.as_bytes(), size).unwrap(), expected, "{octets:?} {size}");
            }
        }
    }

    #[test]
    fn what_has_no_bound_is_refused() {
        let long = |octets: usize| format!("* OK {}\r\n", "x".repeat(octets - 7));
        for size in [3, 4096] {
            assert!(pieces(long(RESPONSE_BYTES_MAX).as_bytes(), size).is_ok());
            assert_eq!(pieces(long(RESPONSE_BYTES_MAX + 1).as_bytes(), size), Err(Misframed::TooLong));
            assert_eq!(pieces("x".repeat(RESPONSE_BYTES_MAX + 1).as_bytes(), size), Err(Misframed::TooLong));
        }
        for (octets, wrong) in [
            ("* LIST () \"/\" {300000}\r\n", Misframed::TooLong),
            ("* 1 FETCH (BODY[HEADER] {99999999999999999999}\r\n", Misframed::TooLong),
            ("* 1 FETCH (BODY[] {4294967296}\r\n", Misframed::TooLarge),
            ("* 1 FETCH (BODY[] {9223372036854775807}\r\n", Misframed::TooLarge),
            ("* 1 FETCH (BODY[] {1}\r\nx BODY[] {1}\r\n", Misframed::TwoBodies),
        ] {
            assert_eq!(pieces(octets.as_bytes(), 3), Err(wrong), "{octets}");
        }
        assert!(pieces(b"* 1 FETCH (BODY[] {4294967295}\r\nx", 3).is_ok());
    }
}
