//! Takes an mbox apart into messages as it is read; holds a piece of a line at most.
//!
//! A message ends before a `From ` line with a date, wherever it stands, and at the end of the file; the empty line before
//! that belongs to neither. Content-Length is not believed.

use std::io::{self, BufRead, Read};

use waypost_mail::DateTime;

use super::mbox;

/// Most octets of a line that are given out at once.
const PIECE_BYTES_MAX: u64 = 64 * 1024;

/// An mbox that is being read.
#[derive(Debug)]
pub(super) struct Splitter<R> {
    input: R,
    /// Where the piece begins in the file.
    offset: u64,
    piece: Vec<u8>,
    begins_line: bool,
    /// Whether the piece was given out.
    is_spent: bool,
    /// An empty line that was read and belongs to the message only if something follows.
    held: &'static [u8],
}

/// Where a message begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Begin {
    /// Offset of its `From ` line.
    pub(super) offset: u64,
    /// Date of that line.
    pub(super) date: Option<DateTime>,
}

impl<R: BufRead> Splitter<R> {
    /// `input` stands at `offset`, where a message begins.
    pub(super) fn new(input: R, offset: u64) -> io::Result<Self> {
        let mut splitter =
            Self { input, offset, piece: Vec::new(), begins_line: true, is_spent: false, held: b"" };
        splitter.read()?;
        while splitter.blank().is_some() {
            splitter.advance()?;
        }
        Ok(splitter)
    }

    /// Where the piece begins that comes next.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next message. `InvalidData`: there is none, but octets.
    pub(super) fn begin(&mut self) -> io::Result<Option<Begin>> {
        if self.piece.is_empty() {
            return Ok(None);
        }
        if !self.piece.starts_with(b"From ") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it does not begin with a \"From \" line",
            ));
        }
        let begin = Begin { offset: self.offset, date: mbox::from_line_date(&self.piece) };
        while !self.piece.is_empty() && !self.piece.ends_with(b"\n") {
            self.advance()?;
        }
        self.advance()?;
        Ok(Some(begin))
    }

    /// The next octets of the message, as they stand; `None` at its end.
    pub(super) fn octets(&mut self) -> io::Result<Option<&[u8]>> {
        if std::mem::take(&mut self.is_spent) {
            self.advance()?;
        }
        loop {
            if self.piece.is_empty() || self.begins_line && mbox::from_line_date(&self.piece).is_some() {
                self.held = b"";
                return Ok(None);
            }
            if !self.held.is_empty() {
                return Ok(Some(std::mem::take(&mut self.held)));
            }
            match self.blank() {
                Some(line) => self.held = line,
                None => break,
            }
            self.advance()?;
        }
        self.is_spent = true;
        Ok(Some(&self.piece))
    }

    fn blank(&self) -> Option<&'static [u8]> {
        match self.piece.as_slice() {
            b"\n" if self.begins_line => Some(b"\n"),
            b"\r\n" if self.begins_line => Some(b"\r\n"),
            _ => None,
        }
    }

    fn advance(&mut self) -> io::Result<()> {
        self.offset += self.piece.len() as u64;
        self.begins_line = self.piece.ends_with(b"\n");
        self.read()
    }

    fn read(&mut self) -> io::Result<()> {
        self.piece.clear();
        self.input.by_ref().take(PIECE_BYTES_MAX).read_until(b'\n', &mut self.piece)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &[u8]) -> io::Result<Vec<(u64, bool, Vec<u8>)>> {
        let mut splitter = Splitter::new(text, 0)?;
        let mut messages = Vec::new();
        while let Some(begin) = splitter.begin()? {
            let mut octets = Vec::new();
            while let Some(piece) = splitter.octets()? {
                octets.extend_from_slice(piece);
            }
            messages.push((begin.offset, begin.date.is_some(), octets));
        }
        assert_eq!(splitter.offset(), text.len() as u64);
        Ok(messages)
    }

    const FROM: &str = "From a@b Sat Nov 21 04:05:06 2026\n";

    #[test]
    fn messages_are_found() {
        for (text, expected) in [
            (String::new(), vec![]),
            ("\n\n\r\n".to_owned(), vec![]),
            (FROM.to_owned(), vec![(0, true, "")]),
            (
                format!("{FROM}A: b\n\nx\n\n{FROM}C: d\n\n"),
                vec![(0, true, "A: b\n\nx\n"), (43, true, "C: d\n")],
            ),
            (format!("\n{FROM}x\n\n\n{FROM}y"), vec![(1, true, "x\n\n"), (39, true, "y")]),
            (format!("{FROM}x\r\n\r\n{FROM}y\r\n\r\n"), vec![(0, true, "x\r\n"), (39, true, "y\r\n")]),
            (format!("{FROM}x\n{FROM}y\n"), vec![(0, true, "x\n"), (36, true, "y\n")]),
            (
                format!("From nobody knows when\nx\n\nFrom here\n\n{FROM}"),
                vec![(0, false, "x\n\nFrom here\n"), (37, true, "")],
            ),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(at, date, x)| (at, date, x.as_bytes().to_vec())).collect();
            assert_eq!(split(text.as_bytes()).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_mbox_is_refused() {
        for text in ["Subject: x\n\n", "\0\0", ">From x\n"] {
            assert_eq!(split(text.as_bytes()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn huge_lines_come_in_pieces() {
        let long = "x".repeat(PIECE_BYTES_MAX as usize * 3);
        let exact = "y".repeat(PIECE_BYTES_MAX as usize);
        // A piece that looks like a separator, but stands within a line.
        let text = format!("{FROM}{long}\n{exact}\n{exact}{FROM}\nz\n");
        assert_eq!(split(text.as_bytes()).unwrap(), [(0, true, text.as_bytes()[FROM.len()..].to_vec())]);
        let text = format!("From {long}\nx\n");
        assert_eq!(split(text.as_bytes()).unwrap(), [(0, false, b"x\n".to_vec())]);
    }
}
