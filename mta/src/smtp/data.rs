//! The octets behind DATA: where they end, and what they are without transparency (RFC 5321 section 4.5.2); and those of BDAT, which
//! are counted and have no transparency (RFC 3030 section 2).
//!
//! Only `CRLF "." CRLF` ends a message. A CR or LF that stands alone, and NUL, make the message refused (RFC 5321
//! section 2.3.8), but only at its end: what follows is never taken for commands. Behind the header block of a binary message
//! (RFC 3030 section 3) any octet may stand: nothing in it ends anything.
//!
//! ```text
//!               "."        CR          LF
//! LineStart ─────► Dot ─────► DotCr ─────► the end
//!   │  ▲            │           │ else: a bare CR
//!   │  │ LF         │ else      ▼
//!   │  └────────────│───────── Cr
//!   │ else          ▼  CR      ▲
//!   └────────────► Text ───────┘
//!
//! Counted and binary: LineStart ── CR ──► EmptyCr ── LF ──► Binary
//! ```

use std::mem;

use bytes::{Bytes, BytesMut};

use super::lines::{Stops, plain};

/// So much of a message is gathered before it is handed on.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Room of a chunk: a CRLF is not cut.
const CHUNK_ROOM_BYTES: usize = CHUNK_BYTES + 1;
/// A message that is longer gets the room of a chunk at once: growing with it would copy it again and again.
const SHORT_BYTES_MAX: usize = 16 * 1024;

/// So many octets more than twice the largest message may come before DATA is over, whatever they are: dots for
/// transparency at most double a message, and what is refused is read to its end within the same bound.
pub const OVERRUN_BYTES: u64 = 1024 * 1024;

/// Why a message cannot be taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DataFault {
    /// A carriage return that no line feed follows.
    #[error("a CR without LF")]
    BareCarriageReturn,
    /// A line feed that no carriage return precedes.
    #[error("a LF without CR")]
    BareLineFeed,
    /// An octet with value 0.
    #[error("a NUL")]
    Nul,
    /// More octets than the bound.
    #[error("more than {0} octets")]
    TooLarge(u64),
}

/// Where in a line the next octet stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// Behind CRLF, or at the first octet.
    LineStart,
    /// Behind the first octet of a line, a dot.
    Dot,
    /// Behind a dot at the start of a line, and CR.
    DotCr,
    /// Somewhere in a line.
    Text,
    /// Behind CR.
    Cr,
    /// Behind CR at the start of a line of a binary message's header block.
    EmptyCr,
    /// Behind the header block of a binary message.
    Binary,
}

/// Recognises the end of one message and undoes its transparency.
#[derive(Debug)]
pub struct DataReceiver {
    place: Place,
    /// Whether any octet may stand behind the header block.
    binary: bool,
    /// All octets that came, dots and refused ones included.
    received: u64,
    size: u64,
    size_max: u64,
    chunk: BytesMut,
    fault: Option<DataFault>,
    discards: bool,
    ended: bool,
}

impl DataReceiver {
    /// Before the first octet of a message of at most `size_max` octets (dots for transparency and the end not counted,
    /// RFC 1870 section 3).
    pub fn new(size_max: u64) -> Self {
        let (chunk, fault) = (BytesMut::new(), None);
        let (place, binary, discards, ended) = (Place::LineStart, false, false, false);
        Self { place, binary, received: 0, size: 0, size_max, chunk, fault, discards, ended }
    }

    /// Before the first octet of a binary message, all of whose octets are counted.
    pub fn binary(size_max: u64) -> Self {
        Self { binary: true, ..Self::new(size_max) }
    }

    /// Takes octets from the start of `input`, and says how many: until the end of the message, until a chunk is full, or all.
    pub fn receive(&mut self, input: &[u8]) -> usize {
        let mut at = 0;
        while at < input.len() && !self.ended && self.chunk.len() < CHUNK_BYTES {
            at += match self.place {
                Place::LineStart | Place::Text => self.text(&input[at..], true),
                _ => self.octet(input[at]),
            };
        }
        self.received = self.received.saturating_add(at as u64);
        at
    }

    /// Takes octets of a BDAT chunk from the start of `input`, of which `left` are still to come, and says how many: until all came, until
    /// what is gathered is to be handed on, or all that is there.
    pub fn receive_counted(&mut self, input: &[u8], left: &mut u64) -> usize {
        let here = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
        let mut at = 0;
        while at < here && self.chunk.len() < CHUNK_BYTES {
            at += match self.place {
                Place::LineStart | Place::Text => self.text(&input[at..here], false),
                Place::Binary => self.binary_octets(&input[at..here]),
                Place::Cr | Place::EmptyCr if input[at] != b'\n' => self.bare_carriage_return(),
                Place::Cr => self.octet(b'\n'),
                Place::EmptyCr => self.end_header(),
                Place::Dot | Place::DotCr => self.octet(input[at]),
            };
        }
        *left -= at as u64;
        self.received = self.received.saturating_add(at as u64);
        at
    }

    /// The last counted octet has come.
    pub fn end_counted(&mut self) {
        if matches!(self.place, Place::Cr | Place::EmptyCr) {
            self.fail(DataFault::BareCarriageReturn);
        }
        self.ended = true;
    }

    /// Gives what is gathered, once it is a whole chunk or the message has ended. Nothing after a fault.
    pub fn take_chunk(&mut self) -> Option<Bytes> {
        let ready = self.chunk.len() >= CHUNK_BYTES || self.ended && !self.chunk.is_empty();
        ready.then(|| mem::take(&mut self.chunk).freeze())
    }

    /// From now on nothing is gathered, only the end looked for.
    pub fn discard(&mut self) {
        self.discards = true;
        self.chunk = BytesMut::new();
    }

    /// Whether the end was seen.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// How many octets came, those included that are no part of the message.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether more came than any message can be that is taken: its end is not worth waiting for.
    pub fn overruns(&self) -> bool {
        self.received > self.size_max.saturating_mul(2).saturating_add(OVERRUN_BYTES)
    }

    /// The first thing that was wrong.
    pub fn fault(&self) -> Option<DataFault> {
        self.fault
    }

    /// Takes whole lines and text, as much as the chunk has room for, or the octet that is to be looked at; how many. Where dots are
    /// `transparent` a line that begins with one is looked at.
    fn text(&mut self, input: &[u8], transparent: bool) -> usize {
        let room = CHUNK_BYTES - self.chunk.len();
        // An empty line ends the header block of a binary message.
        let stops = Stops { octet: 0, dot: transparent, line_end: self.binary };
        let run = plain(&input[..input.len().min(room)], self.place == Place::LineStart, stops);
        match run.octets {
            0 if self.place == Place::LineStart && !transparent => self.begin_line(input[0]),
            0 => self.octet(input[0]),
            taken => {
                self.emit(&input[..taken]);
                self.place = if run.ends_line { Place::LineStart } else { Place::Text };
                taken
            }
        }
    }

    /// Takes one octet; always 1.
    fn octet(&mut self, octet: u8) -> usize {
        self.place = match (self.place, octet) {
            (Place::LineStart, b'.') => Place::Dot,
            (Place::Dot, b'\r') => Place::DotCr,
            (Place::DotCr, b'\n') => {
                self.ended = true;
                Place::LineStart
            }
            (Place::Cr, b'\n') => {
                self.emit(b"\r\n");
                Place::LineStart
            }
            (Place::Cr | Place::DotCr, _) => {
                self.fail(DataFault::BareCarriageReturn);
                self.inside_line(octet)
            }
            (Place::LineStart | Place::Dot | Place::Text, _) => self.inside_line(octet),
            // Only counted octets come to these, and not this way.
            (Place::EmptyCr | Place::Binary, _) => self.inside_line(octet),
        };
        1
    }

    /// The first octet of a line, which may be a dot like any other.
    fn begin_line(&mut self, octet: u8) -> usize {
        self.place = match (self.binary, octet) {
            (true, b'\r') => Place::EmptyCr,
            _ => self.inside_line(octet),
        };
        1
    }

    /// The LF of the empty line behind a binary message's header block.
    fn end_header(&mut self) -> usize {
        self.emit(b"\r\n");
        self.place = Place::Binary;
        1
    }

    /// Takes all of what is there.
    fn binary_octets(&mut self, input: &[u8]) -> usize {
        self.emit(input);
        input.len()
    }

    /// A CR before an octet that is not taken yet.
    fn bare_carriage_return(&mut self) -> usize {
        self.fail(DataFault::BareCarriageReturn);
        self.place = Place::Text;
        0
    }

    fn inside_line(&mut self, octet: u8) -> Place {
        match octet {
            b'\r' => return Place::Cr,
            b'\n' => self.fail(DataFault::BareLineFeed),
            0 => self.fail(DataFault::Nul),
            octet => self.emit(&[octet]),
        }
        Place::Text
    }

    fn emit(&mut self, octets: &[u8]) {
        self.size = self.size.saturating_add(octets.len() as u64);
        if self.size > self.size_max {
            self.fail(DataFault::TooLarge(self.size_max));
        }
        if self.discards {
            return;
        }
        let needed = self.chunk.len() + octets.len();
        if needed > self.chunk.capacity() && needed > SHORT_BYTES_MAX {
            self.chunk.reserve(CHUNK_ROOM_BYTES.max(needed) - self.chunk.len());
        }
        self.chunk.extend_from_slice(octets);
    }

    fn fail(&mut self, fault: DataFault) {
        self.fault.get_or_insert(fault);
        self.discard();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use proptest::prelude::*;

    use super::*;

    /// What comes out for octets that arrive in pieces, and what is left behind the end.
    fn receive(wire: &[u8], piece: usize, size_max: u64) -> (DataReceiver, Vec<u8>, Vec<u8>) {
        let (mut data, mut body, mut input) = (DataReceiver::new(size_max), Vec::new(), BytesMut::new());
        for piece in wire.chunks(piece) {
            input.extend_from_slice(piece);
            loop {
                input.advance(data.receive(&input));
                match data.take_chunk() {
                    Some(chunk) => body.extend_from_slice(&chunk),
                    None => break,
                }
            }
        }
        (data, body, input.to_vec())
    }

    fn dot_stuffed(body: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        for line in body.split_inclusive(|octet| *octet == b'\n') {
            if line[0] == b'.' {
                wire.push(b'.');
            }
            wire.extend_from_slice(line);
        }
        wire.extend_from_slice(b".\r\n");
        wire
    }

    proptest! {
        #[test]
        fn what_was_stuffed_comes_back(lines in prop::collection::vec("[.a\u{e9}]{0,5}", 0..20), piece in 1usize..40) {
            let body: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let wire = [dot_stuffed(body.as_bytes()), b"QUIT\r\n".to_vec()].concat();
            let (data, received, rest) = receive(&wire, piece, u64::MAX);
            prop_assert!(data.ended());
            prop_assert_eq!(data.fault(), None);
            prop_assert_eq!(received, body.as_bytes());
            prop_assert_eq!(rest, b"QUIT\r\n");
        }

        #[test]
        fn pieces_make_no_difference(octets in prop::collection::vec(prop::sample::select(b".\r\n\r\n\r\n\0abc".to_vec()), 0..40), piece in 1usize..20) {
            let (whole, by_one) = (receive(&octets, 64, 20), receive(&octets, 1, 20));
            let some = receive(&octets, piece, 20);
            prop_assert_eq!((whole.0.fault(), whole.0.place, &whole.2), (by_one.0.fault(), by_one.0.place, &by_one.2));
            prop_assert_eq!((some.0.fault(), some.0.place, &some.1), (whole.0.fault(), whole.0.place, &whole.1));
            for receiver in [DataReceiver::new, DataReceiver::binary] {
                let whole = receive_counted(receiver(30), &octets, 64);
                prop_assert_eq!(&receive_counted(receiver(30), &octets, 1), &whole);
                prop_assert_eq!(&receive_counted(receiver(30), &octets, piece), &whole);
            }
        }

        #[test]
        fn any_octets_end_only_at_the_one_end(octets in prop::collection::vec(prop::sample::select(b".\r\n\0a".to_vec()), 0..12), piece in 1usize..5) {
            let wire = [b"a\r\n".to_vec(), octets].concat();
            let end = wire.windows(5).position(|window| window == b"\r\n.\r\n");
            let (data, _, rest) = receive(&wire, piece, u64::MAX);
            prop_assert_eq!(data.ended(), end.is_some());
            if let Some(end) = end {
                prop_assert_eq!(&rest, &wire[end + 5..]);
            }
        }
    }

    #[test]
    fn nothing_but_crlf_dot_crlf_ends_a_message() {
        for (smuggled, fault) in [
            ("\n.\n", DataFault::BareLineFeed),
            ("\r.\r", DataFault::BareCarriageReturn),
            ("\r\n.\n", DataFault::BareLineFeed),
            ("\n.\r\n", DataFault::BareLineFeed),
            ("\r.\r\n", DataFault::BareCarriageReturn),
            ("\r\n.\r", DataFault::BareCarriageReturn),
            ("\r\n.\r\r\n", DataFault::BareCarriageReturn),
            ("\r\r\n.\n", DataFault::BareCarriageReturn),
            ("\r\n\0.\r\n", DataFault::Nul),
            ("\r\n.\0\r\n", DataFault::Nul),
            ("\0\r\n.\0\r\n", DataFault::Nul),
            ("\n\n.\n\n", DataFault::BareLineFeed),
            ("\r\n.\n\r\n", DataFault::BareLineFeed),
            ("\n.\r", DataFault::BareLineFeed),
            ("\n\r.\n\r", DataFault::BareLineFeed),
            ("\r.\n", DataFault::BareCarriageReturn),
            ("\r\r\n.\r\r\n", DataFault::BareCarriageReturn),
            ("\r\n\r.\r\n", DataFault::BareCarriageReturn),
            ("\r\0\n.\r\0\n", DataFault::BareCarriageReturn),
        ] {
            for piece in [1, 3, 4096] {
                let wire = format!("text{smuggled}MAIL FROM:<a@b.test>\r\n.\r\n");
                let (data, body, rest) = receive(wire.as_bytes(), piece, u64::MAX);
                assert!(data.ended(), "{smuggled:?}");
                assert_eq!((data.fault(), body, rest), (Some(fault), vec![], vec![]), "{smuggled:?}");
            }
        }
    }

    #[test]
    fn the_size_is_bounded_and_the_stream_stays_in_step() {
        let wire = b"12345678\r\n..\r\n.\r\nQUIT\r\n";
        for (size_max, fault) in
            [(13, None), (12, Some(DataFault::TooLarge(12))), (0, Some(DataFault::TooLarge(0)))]
        {
            let (data, body, rest) = receive(wire, 3, size_max);
            assert_eq!((data.fault(), rest), (fault, b"QUIT\r\n".to_vec()));
            assert_eq!(body, if fault.is_none() { b"12345678\r\n.\r\n".to_vec() } else { vec![] });
        }
    }

    /// What comes out for counted octets that arrive in pieces.
    fn receive_counted(mut data: DataReceiver, wire: &[u8], piece: usize) -> (Option<DataFault>, Vec<u8>) {
        let (mut body, mut input, mut left) = (Vec::new(), BytesMut::new(), wire.len() as u64);
        for piece in wire.chunks(piece) {
            input.extend_from_slice(piece);
            while !input.is_empty() {
                input.advance(data.receive_counted(&input, &mut left));
                body.extend(data.take_chunk().into_iter().flatten());
            }
        }
        data.end_counted();
        body.extend(data.take_chunk().into_iter().flatten());
        (data.fault(), body)
    }

    #[test]
    fn behind_the_header_block_of_a_binary_message_any_octet_stands() {
        let all: Vec<u8> = (0..=255).cycle().take(200_000).collect();
        for (wire, fault) in [
            ([b"A: b\r\n\r\n", &all[..]].concat(), None),
            ([b"\r\n", &all[..]].concat(), None),
            (b"A: b\r\n\r\n\r\n.\r\n\n\r\0\r".to_vec(), None),
            (b"A: b".to_vec(), None),
            (b"".to_vec(), None),
            (b"A: b\nC: d\r\n\r\n".to_vec(), Some(DataFault::BareLineFeed)),
            (b"A: b\r\n\n\0".to_vec(), Some(DataFault::BareLineFeed)),
            (b"A: b\r\n\r\r\n".to_vec(), Some(DataFault::BareCarriageReturn)),
            (b"A: b\r\n\r".to_vec(), Some(DataFault::BareCarriageReturn)),
            (b"A: b\r".to_vec(), Some(DataFault::BareCarriageReturn)),
            (b"A: \0\r\n\r\n".to_vec(), Some(DataFault::Nul)),
        ] {
            for piece in [1, 3, 4096] {
                let (found, body) = receive_counted(DataReceiver::binary(u64::MAX), &wire, piece);
                assert_eq!(found, fault, "{}", wire[..wire.len().min(20)].escape_ascii());
                assert!(fault.is_some() || body == wire);
            }
        }
        let (fault, _) = receive_counted(DataReceiver::binary(9), b"A: b\r\n\r\n\0\0", 1);
        assert_eq!(fault, Some(DataFault::TooLarge(9)));
    }

    #[test]
    fn a_message_may_be_empty() {
        let (data, body, rest) = receive(b".\r\nNOOP\r\n", 1, 0);
        assert_eq!((data.ended(), data.fault(), body, rest), (true, None, vec![], b"NOOP\r\n".to_vec()));
    }

    #[test]
    fn long_messages_come_in_chunks() {
        let line = [vec![b'x'; 998], b"\r\n".to_vec()].concat();
        let wire = [line.repeat(200), b".\r\n".to_vec()].concat();
        let (data, body, _) = receive(&wire, 4096, u64::MAX);
        assert!(data.ended());
        assert_eq!(body, line.repeat(200));
    }
}
