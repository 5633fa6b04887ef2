//! Finds the MIME structure of a message as its octets pass (RFC 2045, RFC 2046 section 5.1).
//!
//! Memory is bounded by the header block of one part and by the structure itself: nesting and the number of parts have
//! bounds, beyond which what follows counts as the body of the part that is open.
//!
//! ```text
//!            empty line: leaf, multipart
//!  ┌──────┐ ─────────────────────────────► ┌────┐
//!  │Header│                                │Body│ body of a leaf, preamble, epilogue
//!  └──────┘ ◄───────────────────────────── └────┘
//!    ▲  │      boundary line: next part
//!    └──┘ empty line: message/rfc822; boundary line
//! ```
//!
//! The open parts form a stack; a boundary line of one of them closes all above it. A boundary line is `--boundary`
//! with nothing but white space behind it; the line end before it is part of it, unless that also ends a header or
//! another boundary line: then the part is empty and lies between both. A boundary inside is looked for first; after
//! its close delimiter a multipart knows its boundary no more. MIME-Version is not asked for. The preview is gathered on the way.

use memchr::{memchr, memchr_iter, memrchr};

use crate::{
    fields::{self, Budget},
    header::{HEADER_BYTES_EXPECTED, HEADER_BYTES_MAX, HeaderBlock},
    preview::Gathering,
    structure::{ContentType, MessageEnvelope, Part, Span, Structure},
};

/// Deepest nesting of multiparts and messages.
pub const NESTING_MAX: usize = 50;
/// Most parts in one message.
pub const PARTS_MAX: usize = 1_000;
/// Longest boundary in octets that is honoured; RFC 2046 section 5.1.1 allows 70.
const BOUNDARY_BYTES_MAX: usize = 256;
/// Longest boundary line in octets, its white space included (RFC 5322 section 2.1.1, and the CRLF).
const BOUNDARY_LINE_BYTES_MAX: usize = 1_000;

/// The streaming splitter.
#[derive(Debug)]
pub struct Splitter {
    open: Vec<Open>,
    reading: Reading,
    /// The header block that is being read, as far as it is kept.
    header: Vec<u8>,
    line: Line,
    /// Octets that passed.
    position: u64,
    /// Line ends that passed.
    line_ends: u64,
    parts: usize,
    budget: Budget,
    preview: Gathering,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reading {
    Header,
    Body,
}

/// A part whose end was not seen.
#[derive(Debug)]
struct Open {
    /// Before its header ended, of the type that it has where that does not say.
    part: Part,
    /// What its header says of it as of a message.
    message: Option<(MessageEnvelope, Option<Vec<u8>>)>,
    /// Boundary of a multipart that was not closed.
    boundary: Option<Vec<u8>>,
    /// Line ends before its body.
    line_ends: u64,
}

/// The line that is being read, and how the one before it ended.
#[derive(Debug, Default)]
struct Line {
    start: u64,
    /// Its octets as long as it may be a boundary line.
    candidate: Vec<u8>,
    is_candidate: bool,
    ends_with_cr: bool,
    /// Where the line before it ended, without its line end.
    before: Mark,
}

/// A place where a body may end.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    offset: u64,
    /// Line ends before it.
    line_ends: u64,
    /// Whether it stands in a line that has octets.
    partial: bool,
}

impl Mark {
    /// Lines from a place at the begin of a line up to here.
    fn lines_since(self, offset: u64, line_ends: u64) -> u64 {
        if self.offset == offset { 0 } else { self.line_ends - line_ends + u64::from(self.partial) }
    }
}

impl Default for Splitter {
    fn default() -> Self {
        let mut splitter = Self {
            open: Vec::with_capacity(1),
            reading: Reading::Header,
            header: Vec::new(),
            line: Line::default(),
            position: 0,
            line_ends: 0,
            parts: 0,
            budget: Budget::default(),
            preview: Gathering::default(),
        };
        splitter.open_message(0);
        splitter
    }
}

impl Splitter {
    /// Before the first octet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The structure of a message that is in memory.
    pub fn split(message: &[u8]) -> Structure {
        let mut splitter = Self::new();
        splitter.feed(message);
        splitter.finish()
    }

    /// Takes the next octets of the message: header block first, then body, cut anywhere.
    pub fn feed(&mut self, octets: &[u8]) {
        if self.reading == Reading::Header && self.header.capacity() == 0 {
            self.header.reserve(octets.len().min(HEADER_BYTES_EXPECTED));
        }
        let mut rest = octets;
        while !rest.is_empty() {
            if self.reading == Reading::Body && !self.has_boundary() {
                rest = self.pass_lines(rest);
            }
            let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (piece, later) = rest.split_at(end);
            self.take(piece);
            rest = later;
        }
    }

    /// Ends the message.
    pub fn finish(mut self) -> Structure {
        let partial = self.line.start < self.position;
        if partial {
            self.end_line(self.position);
        }
        self.end_headers(self.position);
        let end = Mark { offset: self.position, line_ends: self.line_ends, partial };
        let structure = self.close_above(0, end, end).unwrap_or_default();
        let preview = self.preview.finish(&structure.root).map(String::into_bytes);
        Structure { preview, ..structure }
    }

    /// Passes over lines of which only the number matters, up to the last one that ends here; the octets behind them.
    fn pass_lines<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        let last_end = memrchr(b'\n', octets).unwrap_or(0);
        let Some(before) = memrchr(b'\n', &octets[..last_end]) else { return octets };
        let (passed, rest) = octets.split_at(before + 1);
        self.line_ends += memchr_iter(b'\n', passed).count() as u64;
        self.position += passed.len() as u64;
        self.preview.feed(passed);
        self.line.begin(self.position, Mark::default(), false);
        rest
    }

    /// Whether a multipart is open whose boundary may come.
    fn has_boundary(&self) -> bool {
        self.open.iter().any(|open| open.boundary.is_some())
    }

    /// Takes a line or a piece of one.
    fn take(&mut self, piece: &[u8]) {
        self.line.take(piece);
        match self.reading {
            Reading::Header => {
                let room = HEADER_BYTES_MAX - self.header.len();
                self.header.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            Reading::Body => self.preview.feed(piece),
        }
        self.position += piece.len() as u64;
        if piece.ends_with(b"\n") {
            let cr = piece.ends_with(b"\r\n") || piece.len() == 1 && self.line.ends_with_cr;
            self.end_line(self.position - if cr { 2 } else { 1 });
        }
        self.line.ends_with_cr = piece.ends_with(b"\r");
    }

    /// Ends a line whose octets without line end reach up to `end`.
    fn end_line(&mut self, end: u64) {
        let Line { start, before, .. } = self.line;
        let line_ends = self.line_ends;
        let boundary = self.boundary();
        if let Some((level, _)) = boundary {
            self.end_headers(start);
            self.close_above(level + 1, before, Mark { offset: start, line_ends, partial: false });
        }
        self.line_ends += u64::from(end < self.position);
        match boundary {
            Some((level, Delimiter::Close)) => self.open[level].boundary = None,
            Some((level, Delimiter::Next)) => self.open_child(level),
            None if self.reading == Reading::Header && start == end => self.end_header(self.position),
            None => {}
        }
        let is_candidate = self.has_boundary();
        let before = Mark { offset: end, line_ends, partial: start < end };
        self.line.begin(self.position, before, is_candidate);
    }

    /// The open multipart whose boundary line this is.
    fn boundary(&self) -> Option<(usize, Delimiter)> {
        let line = self.line.candidate.strip_prefix(b"--")?.trim_ascii_end();
        let found = self.open.iter().enumerate().rev().find_map(|(level, open)| {
            match line.strip_prefix(open.boundary.as_deref()?)? {
                b"" => Some((level, Delimiter::Next)),
                b"--" => Some((level, Delimiter::Close)),
                _ => None,
            }
        });
        found.filter(|&(_, delimiter)| delimiter == Delimiter::Close || self.parts < PARTS_MAX)
    }

    fn open_message(&mut self, offset: u64) {
        let message = Some((MessageEnvelope::default(), None));
        self.open_part(Open { message, ..Open::new(offset, ContentType::default()) });
    }

    fn open_child(&mut self, level: usize) {
        let default = match self.open[level].part.content_type.is("multipart", "digest") {
            true => {
                ContentType { kind: b"message".to_vec(), subtype: b"rfc822".to_vec(), parameters: Vec::new() }
            }
            false => ContentType::default(),
        };
        self.open_part(Open::new(self.position, default));
    }

    fn open_part(&mut self, open: Open) {
        self.parts += 1;
        self.open.push(open);
        self.header.clear();
        self.reading = Reading::Header;
    }

    /// Ends a header that has no empty line, and the empty one of a message that begins there.
    fn end_headers(&mut self, offset: u64) {
        while self.reading == Reading::Header {
            self.end_header(offset);
        }
    }

    /// Ends the header of the innermost part; its body begins at `offset`.
    fn end_header(&mut self, offset: u64) {
        self.reading = Reading::Body;
        let may_nest = self.open.len() <= NESTING_MAX;
        let outermost = self.open.len() == 1;
        let Some(open) = self.open.last_mut() else { return };
        let start = open.part.header.start;
        // A boundary line that ends the header was gathered with it.
        self.header.truncate(usize::try_from(offset - start).unwrap_or(usize::MAX));
        let block = HeaderBlock::new(std::mem::take(&mut self.header));
        if let Some((envelope, references_root)) = &mut open.message {
            (*envelope, *references_root) = fields::envelope(&block, &mut self.budget);
            references_root.take_if(|_| !outermost);
        }
        let untyped = ContentType { kind: Vec::new(), subtype: Vec::new(), parameters: Vec::new() };
        let default = std::mem::replace(&mut open.part.content_type, untyped);
        open.part = fields::part(&block, default, &mut self.budget);
        open.part.header = Span { start, end: offset };
        open.part.body = Span { start: offset, end: offset };
        open.line_ends = self.line_ends;
        if may_nest {
            open.boundary = open.part_boundary();
            if open.holds_message() && self.parts < PARTS_MAX {
                self.open_message(offset);
            }
        }
        self.begin_preview();
    }

    /// Begins to gather the preview, where the innermost part may be the one that it is made of.
    fn begin_preview(&mut self) {
        let Some((open, around)) = self.open.split_last() else { return };
        let is_of_the_message = self.open.iter().skip(1).all(|open| open.message.is_none());
        if self.reading == Reading::Body && is_of_the_message {
            let line = if self.has_boundary() { "\r\n".len() + BOUNDARY_LINE_BYTES_MAX } else { 0 };
            self.preview.begin(&open.part, around.iter().map(|open| &open.part), line);
        }
    }

    /// Closes the parts from a level on: at `before`, the end of the last line, or at `here`, the begin of this one,
    /// where the last line does not belong to the body. The message, if it was closed.
    fn close_above(&mut self, level: usize, before: Mark, here: Mark) -> Option<Structure> {
        let mut inner_end = 0;
        while self.open.len() > level {
            let open = self.open.pop()?;
            let end = if before.offset < inner_end.max(open.part.body.start) { here } else { before };
            inner_end = end.offset;
            self.preview.end(end.offset);
            match (open.close(end), self.open.last_mut()) {
                (Closed::Part(part), Some(parent)) => parent.part.children.push(*part),
                (Closed::Message(message), Some(parent)) => parent.part.message = Some(message),
                (Closed::Message(message), None) => return Some(*message),
                (Closed::Part(root), None) => return Some(Structure { root: *root, ..Structure::default() }),
            }
        }
        None
    }
}

/// What a boundary line says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Delimiter {
    Next,
    Close,
}

enum Closed {
    Part(Box<Part>),
    Message(Box<Structure>),
}

impl Open {
    fn new(offset: u64, default: ContentType) -> Self {
        let here = Span { start: offset, end: offset };
        let part = Part { header: here, body: here, ..Part::of(default) };
        Self { part, message: None, boundary: None, line_ends: 0 }
    }

    /// The boundary of a multipart, without the white space behind it.
    fn part_boundary(&self) -> Option<Vec<u8>> {
        let content_type = Some(&self.part.content_type).filter(|_| self.part.is_multipart())?;
        let boundary = content_type.parameter("boundary")?.trim_ascii_end();
        (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len()).then(|| boundary.to_vec())
    }

    /// Whether the body is a message whose octets stand there as they are.
    fn holds_message(&self) -> bool {
        let encoding = self.part.encoding.as_deref().unwrap_or_default();
        let encoded =
            [b"base64".as_slice(), b"quoted-printable"].iter().any(|e| encoding.eq_ignore_ascii_case(e));
        let content_type = &self.part.content_type;
        !encoded && (content_type.is("message", "rfc822") || content_type.is("message", "global"))
    }

    fn close(self, end: Mark) -> Closed {
        let mut part = self.part;
        part.body.end = end.offset;
        part.lines = end.lines_since(part.body.start, self.line_ends);
        if part.is_multipart() && part.children.is_empty() {
            part.children.push(Self::new(end.offset, ContentType::default()).part);
        }
        match self.message {
            Some((envelope, references_root)) => {
                Closed::Message(Box::new(Structure { envelope, root: part, references_root, preview: None }))
            }
            None => Closed::Part(Box::new(part)),
        }
    }
}

impl Line {
    fn begin(&mut self, start: u64, before: Mark, is_candidate: bool) {
        self.candidate.clear();
        *self = Self {
            start,
            before,
            is_candidate,
            ends_with_cr: false,
            candidate: std::mem::take(&mut self.candidate),
        };
    }

    fn take(&mut self, piece: &[u8]) {
        self.is_candidate &=
            self.start_of_boundary(piece) && self.candidate.len() + piece.len() <= BOUNDARY_LINE_BYTES_MAX;
        match self.is_candidate {
            true => self.candidate.extend_from_slice(piece),
            false => self.candidate.clear(),
        }
    }

    fn start_of_boundary(&self, piece: &[u8]) -> bool {
        !self.candidate.is_empty() || piece.starts_with(b"-")
    }
}

#[cfg(test)]
mod tests;
