//! Where a command ends: lines and the literals that they announce.

use bytes::{Buf, BytesMut};

use crate::wire::literal::{ANNOUNCEMENT_BYTES_MAX, Announced, Sync, announced};

/// Longest command in octets, literals included but not the message of an APPEND. RFC 2683 section 3.2.1.5 wants at least 8000;
/// clients that name many messages by UID send more.
pub const COMMAND_BYTES_MAX: usize = 128 * 1024;
/// Longest command before login.
pub const COMMAND_BYTES_MAX_BEFORE_LOGIN: usize = 8 * 1024;
/// Longest literal in a command, but for the message of an APPEND.
pub const LITERAL_BYTES_MAX: u64 = 64 * 1024;
/// Longest literal that is read only to be thrown away (RFC 7888 section 4): beyond it the session ends.
pub const SKIPPED_LITERAL_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How far the command at the beginning of the input has been looked at.
#[derive(Debug, Default)]
pub(super) struct Framing {
    /// Where its last line begins: 0, or behind a literal, which may be still to come.
    line: usize,
    /// Nothing before this ends the line.
    scanned: usize,
}

/// What the input holds.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Frame {
    /// No complete line yet.
    Part,
    /// More than a command may have.
    TooLong,
    /// The command up to this octet ends in a line that announces a literal, or is complete.
    Line(usize, Option<Announced>),
}

impl Framing {
    /// Looks for the end of the line.
    pub(super) fn line(&mut self, input: &[u8], bytes_max: usize) -> Frame {
        let from = self.scanned.max(self.line);
        let end = input.get(from..).and_then(|octets| octets.iter().position(|octet| *octet == b'\n'));
        match end.map(|end| from + end + 1) {
            Some(end) if end <= bytes_max => Frame::Line(end, announced(&input[self.line..end])),
            None if input.len() <= bytes_max => {
                self.scanned = input.len();
                Frame::Part
            }
            _ => Frame::TooLong,
        }
    }

    /// The line that ended at `end` goes on behind a literal.
    pub(super) fn literal(&mut self, end: usize, bytes: usize) {
        self.line = end + bytes;
        self.scanned = self.line;
    }

    /// Where the last line begins.
    pub(super) fn line_start(&self) -> usize {
        self.line
    }
}

/// Throws away the rest of a command that is refused already: octets of a literal, then lines and further literals.
#[derive(Debug)]
pub(super) struct Skipping {
    literal: u64,
    /// The last octets of the line, in which a literal may be announced.
    tail: Vec<u8>,
}

/// How far throwing away has come.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Skipped {
    /// More is to come.
    Part,
    /// The command is over.
    All,
    /// A literal is too long even for that.
    TooLong,
}

impl Skipping {
    /// Begins with a literal of so many octets, none: in the middle of a line.
    pub(super) fn new(literal: u64) -> Self {
        Self { literal, tail: Vec::new() }
    }

    /// Throws away what is there.
    pub(super) fn skip(&mut self, input: &mut BytesMut) -> Skipped {
        loop {
            if self.literal > SKIPPED_LITERAL_BYTES_MAX {
                return Skipped::TooLong;
            }
            let octets =
                usize::try_from(self.literal).map_or(input.len(), |literal| literal.min(input.len()));
            input.advance(octets);
            self.literal -= octets as u64;
            if self.literal > 0 || !self.skip_line(input) {
                return Skipped::Part;
            }
            match announced(&self.tail) {
                Some(Announced { bytes, sync: Sync::FollowsAtOnce }) => *self = Self::new(bytes),
                // A client that waits for our `+` gets the refusal instead.
                Some(Announced { sync: Sync::Waits, .. }) | None => return Skipped::All,
            }
        }
    }

    /// Whether the line ended.
    fn skip_line(&mut self, input: &mut BytesMut) -> bool {
        let newline = input.iter().position(|octet| *octet == b'\n');
        let line = input.split_to(newline.map_or(input.len(), |at| at + 1));
        self.tail.extend(&line[line.len().saturating_sub(ANNOUNCEMENT_BYTES_MAX)..]);
        self.tail.drain(..self.tail.len().saturating_sub(ANNOUNCEMENT_BYTES_MAX));
        newline.is_some()
    }
}
