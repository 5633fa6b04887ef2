//! The message as it goes by BDAT (RFC 3030 section 2): pieces are gathered without copying them, cut into chunks, and the last chunk
//! says that it is the last.

use bytes::{BufMut, Bytes, BytesMut};
use waypost_mail::Reply;

use crate::smtp::lines::{Stops, plain};

/// A chunk is sent once it holds so many octets: large enough to cost no more than DATA, small enough to be answered soon
/// (RFC 3030 section 2, second note).
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Most octets of a message that goes out with its envelope, in one chunk: so few that sending them for nothing costs little, and not
/// more than a chunk when each is a line end that becomes CRLF.
pub(super) const ALONG_BYTES_MAX: u64 = CHUNK_BYTES as u64 / 2;
/// Most chunks without an answer where the server offers PIPELINING.
pub const CHUNKS_UNANSWERED_MAX: usize = 4;

/// What lines ends are sent as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lines {
    /// Text: a CR or LF that stands alone goes out as CRLF, and so does the end, as with DATA.
    Canonical,
    /// Whatever is there (BINARYMIME).
    AsTheyAre,
}

/// A message that goes out.
#[derive(Debug)]
pub(super) struct Chunks {
    lines: Lines,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    unanswered: usize,
    unanswered_max: usize,
    /// The last octet so far.
    last: Option<u8>,
    failed: Option<Reply>,
}

impl Chunks {
    pub(super) fn new(lines: Lines, pipelining: bool) -> Self {
        let unanswered_max = if pipelining { CHUNKS_UNANSWERED_MAX } else { 1 };
        Self {
            lines,
            waiting: Vec::new(),
            waiting_bytes: 0,
            unanswered: 0,
            unanswered_max,
            last: None,
            failed: None,
        }
    }

    /// Takes octets, at least one; gives how many a chunk that was sent now has.
    pub(super) fn push(&mut self, octets: &Bytes, output: &mut BytesMut) -> Option<usize> {
        let octets = self.canonical(octets);
        self.last = octets.last().copied().or(self.last);
        // What waits is sent only now: it was not the last.
        let sent = (self.waiting_bytes >= CHUNK_BYTES).then(|| self.send("", output));
        self.waiting_bytes += octets.len();
        self.waiting.push(octets);
        sent
    }

    /// Sends the last chunk; gives its octets.
    pub(super) fn finish(&mut self, output: &mut BytesMut) -> usize {
        let end: &[u8] = match (self.lines, self.last) {
            (Lines::AsTheyAre, _) | (_, None | Some(b'\n')) => b"",
            (Lines::Canonical, Some(b'\r')) => b"\n",
            (Lines::Canonical, Some(_)) => b"\r\n",
        };
        self.waiting_bytes += end.len();
        self.waiting.push(Bytes::from_static(end));
        self.send(" LAST", output)
    }

    fn send(&mut self, last: &str, output: &mut BytesMut) -> usize {
        let bytes = std::mem::take(&mut self.waiting_bytes);
        output.put_slice(format!("BDAT {bytes}{last}\r\n").as_bytes());
        self.waiting.drain(..).for_each(|octets| output.put_slice(&octets));
        self.unanswered += 1;
        bytes
    }

    /// Takes the answer to the oldest chunk without one.
    pub(super) fn answered(&mut self, reply: Reply) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if !(200..300).contains(&reply.code) {
            self.failed.get_or_insert(reply);
        }
    }

    /// Whether an answer must be read before more is sent.
    pub(super) fn must_wait(&self) -> bool {
        self.unanswered >= self.unanswered_max
    }

    /// Chunks without an answer.
    pub(super) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// The answer by which the transaction failed (RFC 3030 section 2: no chunk is sent behind it).
    pub(super) fn failed(&self) -> Option<&Reply> {
        self.failed.as_ref()
    }

    /// The octets, without a copy where all line ends are CRLF.
    fn canonical(&self, octets: &Bytes) -> Bytes {
        if self.lines == Lines::AsTheyAre {
            return octets.clone();
        }
        if is_canonical(octets, self.last == Some(b'\r')) {
            return octets.clone();
        }
        let (mut clean, mut before) = (BytesMut::with_capacity(octets.len() + octets.len() / 8), self.last);
        for octet in octets {
            match (before, *octet) {
                (Some(b'\r'), b'\n') => {}
                (Some(b'\r'), _) => clean.put_u8(b'\n'),
                (_, b'\n') => clean.put_u8(b'\r'),
                _ => {}
            }
            clean.put_u8(*octet);
            before = Some(*octet);
        }
        clean.freeze()
    }
}

/// Whether no CR or LF stands alone, a CR at the end apart, which the next octets may complete.
fn is_canonical(octets: &[u8], behind_cr: bool) -> bool {
    let rest = match (behind_cr, octets.strip_prefix(b"\n")) {
        (true, Some(rest)) => rest,
        (true, None) => return false,
        (false, _) => octets,
    };
    let run = plain(rest, false, Stops { octet: b'\n', dot: false, line_end: false });
    matches!(&rest[run.octets..], b"" | b"\r")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(lines: Lines, message: &[u8], piece: usize) -> Vec<u8> {
        let (mut chunks, mut output) = (Chunks::new(lines, true), BytesMut::new());
        for octets in message.chunks(piece) {
            assert_eq!(chunks.push(&Bytes::copy_from_slice(octets), &mut output), None);
        }
        chunks.finish(&mut output);
        assert_eq!(chunks.unanswered(), 1);
        output.to_vec()
    }

    #[test]
    fn line_ends_are_canonical_but_in_binary() {
        for (message, expected) in [
            ("", ""),
            ("a\r\n", "a\r\n"),
            (".\r\n", ".\r\n"),
            ("a", "a\r\n"),
            ("a\r", "a\r\n"),
            ("a\nb\r\n", "a\r\nb\r\n"),
            ("a\rb\r\n", "a\r\nb\r\n"),
            ("\r\r\n\n", "\r\n\r\n\r\n"),
            ("\n", "\r\n"),
        ] {
            for piece in [1, 2, 3, 4096] {
                let canonical = format!("BDAT {} LAST\r\n{expected}", expected.len());
                let is = sent(Lines::Canonical, message.as_bytes(), piece);
                assert_eq!(String::from_utf8_lossy(&is), canonical, "{message:?} by {piece}");
                let binary = format!("BDAT {} LAST\r\n{message}", message.len());
                let is = sent(Lines::AsTheyAre, message.as_bytes(), piece);
                assert_eq!(String::from_utf8_lossy(&is), binary, "{message:?} by {piece}");
            }
        }
    }

    #[test]
    fn large_messages_are_cut_and_the_window_holds() {
        let piece = Bytes::from(vec![b'x'; CHUNK_BYTES]);
        let (mut chunks, mut output) = (Chunks::new(Lines::AsTheyAre, true), BytesMut::new());
        assert_eq!(chunks.push(&piece, &mut output), None);
        for _ in 0..CHUNKS_UNANSWERED_MAX {
            assert!(!chunks.must_wait());
            assert_eq!(chunks.push(&piece, &mut output), Some(CHUNK_BYTES));
        }
        assert!(chunks.must_wait() && output.len() > CHUNKS_UNANSWERED_MAX * CHUNK_BYTES);
        chunks.answered(Reply::plain(250, "ok"));
        assert!(!chunks.must_wait() && chunks.failed().is_none());
        chunks.answered(Reply::plain(452, "full"));
        chunks.answered(Reply::plain(503, "what?"));
        assert_eq!(chunks.failed().map(|reply| reply.code), Some(452));
        output.clear();
        assert_eq!(chunks.finish(&mut output), CHUNK_BYTES);
        assert!(output.starts_with(b"BDAT 65536 LAST\r\nx"));
        let mut one = Chunks::new(Lines::AsTheyAre, false);
        one.push(&piece, &mut output);
        one.push(&piece, &mut output);
        assert!(one.must_wait());
    }
}
