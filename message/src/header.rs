//! The header block of a message (RFC 5322 section 2.2): bounded, held in memory, rewritten once.
//!
//! Lines end with CRLF. A bare LF ends a line, too, when a block is read: APPEND and imports bring such messages, and
//! their octets are kept as they are. A bare CR is an octet like others. Lines that are no field, with their folded
//! lines, are kept and passed over.

use memchr::memchr;

/// Largest header block in octets.
pub const HEADER_BYTES_MAX: usize = 256 * 1024;

/// Room for so many octets is made at once where a header begins.
pub(crate) const HEADER_BYTES_EXPECTED: usize = 1024;

/// Why octets are no header block.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeaderError {
    /// More than the bound.
    #[error("the header is larger than {HEADER_BYTES_MAX} octets")]
    TooLarge,
}

/// A header block: fields, then an empty line. Lines that are no field are kept as they are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeaderBlock {
    octets: Vec<u8>,
}

/// One field in a block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Field<'a> {
    /// Its name as written, without the colon and white space before it.
    pub name: &'a [u8],
    /// All behind the colon, folded lines and the last CRLF included.
    pub raw: &'a [u8],
    /// The whole field.
    pub octets: &'a [u8],
}

impl<'a> Field<'a> {
    /// `field-name [WSP] ":" …` (RFC 5322 sections 2.2 and 4.5.8); `None` for a line that is none.
    pub(crate) fn parse(octets: &'a [u8]) -> Option<Self> {
        let colon = memchr(b':', octets)?;
        let name = octets[..colon].trim_ascii_end();
        let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
        is_name.then(|| Self { name, raw: &octets[colon + 1..], octets })
    }

    /// Whether this is the field of that name, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value unfolded: CRLFs removed, white space at both ends removed.
    pub fn value(&self) -> Vec<u8> {
        unfold(self.raw.trim_ascii())
    }
}

/// Removes the line ends (RFC 5322 section 2.2.3).
pub(crate) fn unfold(raw: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(raw.len());
    for line in raw.split_inclusive(|&octet| octet == b'\n') {
        value.extend_from_slice(content(line));
    }
    value
}

/// A line without its line end.
fn content(line: &[u8]) -> &[u8] {
    match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => line,
    }
}

/// The first line, its line end included.
pub(crate) fn first_line(octets: &[u8]) -> &[u8] {
    let end = memchr(b'\n', octets).map_or(octets.len(), |lf| lf + 1);
    &octets[..end]
}

/// Fields and lines that are none, each with its folded lines, up to the empty line.
pub(crate) struct Units<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Units<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if matches!(self.rest, [] | [b'\n', ..] | [b'\r', b'\n', ..]) {
            return None;
        }
        let mut length = first_line(self.rest).len();
        while matches!(self.rest.get(length), Some(b' ' | b'\t')) {
            length += first_line(&self.rest[length..]).len();
        }
        let (unit, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(unit)
    }
}

impl HeaderBlock {
    /// Takes octets up to and including the empty line (which may be missing at the end of a message without body).
    pub fn new(octets: Vec<u8>) -> Self {
        Self { octets }
    }

    /// Removes all fields of a name; how many.
    pub fn remove(&mut self, name: &str) -> usize {
        if self.has(name) { self.remove_if(|field| field.is(name)) } else { 0 }
    }

    /// Removes the fields that are chosen; how many.
    pub fn remove_if(&mut self, chosen: impl Fn(&Field<'_>) -> bool) -> usize {
        let mut removed = 0;
        if !self.fields().any(|field| chosen(&field)) {
            return removed;
        }
        let mut kept = Vec::with_capacity(self.octets.len());
        for unit in self.units() {
            match Field::parse(unit).filter(&chosen) {
                Some(_) => removed += 1,
                None => kept.extend_from_slice(unit),
            }
        }
        kept.extend_from_slice(&self.octets[self.fields_end()..]);
        self.octets = kept;
        removed
    }

    /// Puts a complete field (`Name: value CRLF`, folded as wanted) before all others.
    pub fn prepend(&mut self, field: &str) {
        self.octets = [field.as_bytes(), &self.octets].concat();
    }

    /// Puts a complete field behind all others, before the empty line.
    pub fn append(&mut self, field: &str) {
        let end = self.fields_end();
        let open = end > 0 && self.octets[end - 1] != b'\n';
        let line_end = if open { "\r\n" } else { "" };
        self.octets.splice(end..end, line_end.bytes().chain(field.bytes()));
    }

    /// All octets, the empty line included.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Gives the octets away.
    pub fn into_octets(self) -> Vec<u8> {
        self.octets
    }

    /// The fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.units().filter_map(Field::parse)
    }

    /// The fields of a name, in any case, in their order.
    pub fn named(&self, name: &str) -> impl Iterator<Item = Field<'_>> {
        let may_be = move |unit: &&[u8]| {
            unit.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name.as_bytes()))
        };
        self.units().filter(may_be).filter_map(Field::parse).filter(move |field| field.is(name))
    }

    /// The unfolded value of the first field of a name.
    pub fn first(&self, name: &str) -> Option<Vec<u8>> {
        self.named(name).next().map(|field| field.value())
    }

    /// Whether a field has this name.
    pub fn has(&self, name: &str) -> bool {
        self.named(name).next().is_some()
    }

    /// How many fields have this name.
    pub fn count(&self, name: &str) -> usize {
        self.named(name).count()
    }

    /// Fields and lines that are none, each with its folded lines.
    pub(crate) fn units(&self) -> Units<'_> {
        Units { rest: &self.octets }
    }

    /// Where the empty line begins.
    pub(crate) fn fields_end(&self) -> usize {
        self.units().map(<[u8]>::len).sum()
    }
}

/// Gathers a header block from a stream.
#[derive(Debug, Default)]
pub struct HeaderCollector {
    gathered: Vec<u8>,
    /// Where the line that is being gathered begins.
    line_start: usize,
}

impl HeaderCollector {
    /// Takes octets; once the empty line is there, gives the block and how many of `octets` belong to it (the rest is body).
    pub fn feed(&mut self, octets: &[u8]) -> Result<Option<(HeaderBlock, usize)>, HeaderError> {
        let mut taken = 0;
        while taken < octets.len() {
            let piece = first_line(&octets[taken..]);
            if self.gathered.len() + piece.len() > HEADER_BYTES_MAX {
                return Err(HeaderError::TooLarge);
            }
            if self.gathered.capacity() == 0 {
                self.gathered.reserve(octets.len().min(HEADER_BYTES_EXPECTED));
            }
            self.gathered.extend_from_slice(piece);
            taken += piece.len();
            if !piece.ends_with(b"\n") {
                break;
            }
            if content(&self.gathered[self.line_start..]).is_empty() {
                self.line_start = 0;
                return Ok(Some((HeaderBlock::new(std::mem::take(&mut self.gathered)), taken)));
            }
            self.line_start = self.gathered.len();
        }
        Ok(None)
    }

    /// Ends a message that had no empty line: all of it is header.
    pub fn finish(self) -> HeaderBlock {
        HeaderBlock::new(self.gathered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(block: &str) -> Vec<(String, String)> {
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        let block = HeaderBlock::new(block.into());
        block.fields().map(|field| (text(field.name), text(&field.value()))).collect()
    }

    #[test]
    fn fields_are_found_and_unfolded() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("\r\n", &[]),
            ("A: b\r\n\r\n", &[("A", "b")]),
            ("A:b", &[("A", "b")]),
            ("A:\r\nB: \r\n\r\n", &[("A", ""), ("B", "")]),
            ("A : b\r\n c\r\n\td\r\nB: e\r\n\r\nC: body\r\n", &[("A", "b c\td"), ("B", "e")]),
            ("A: b\n c\nB: d\n\nC: body\n", &[("A", "b c"), ("B", "d")]),
            ("A: b\r\n \r\n c\r\nB: d\r\n\r\n", &[("A", "b  c"), ("B", "d")]),
            ("no field\r\n with: more\r\nA: b:c\r\n\r\n", &[("A", "b:c")]),
            ("From a@b Mon Jan  1 00:00:00 2024\r\nA: b\r\n\r\n", &[("A", "b")]),
            (" folded: first\r\nA: b\r\n\r\n", &[("A", "b")]),
            (": empty name\r\nA\u{e9}: b\r\nA: \u{e9}\r\n\r\n", &[("A", "\u{e9}")]),
            ("A: b\rc\r\n\r\n", &[("A", "b\rc")]),
        ];
        for (block, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
            assert_eq!(fields(block), expected, "{block:?}");
        }
    }

    #[test]
    fn fields_are_removed_and_added() {
        let mut block = HeaderBlock::new(b"Bcc: a\r\n b\r\nodd line\r\nTo: c\r\nbcc : d\r\n\r\n".to_vec());
        assert_eq!(block.count("BCC"), 2);
        assert_eq!(block.remove("Bcc"), 2);
        assert_eq!(block.remove("Bcc"), 0);
        block.prepend("Received: x\r\n");
        block.append("Date: y\r\n");
        assert_eq!(block.octets(), b"Received: x\r\nodd line\r\nTo: c\r\nDate: y\r\n\r\n");
        assert_eq!(block.first("to"), Some(b"c".to_vec()));
        assert_eq!(block.first("bcc"), None);
    }

    #[test]
    fn fields_are_added_where_no_empty_line_is() {
        for (before, after) in [
            ("", "A: b\r\n"),
            ("\r\n", "A: b\r\n\r\n"),
            ("\n", "A: b\r\n\n"),
            ("C: d\r\n", "C: d\r\nA: b\r\n"),
            ("C: d", "C: d\r\nA: b\r\n"),
        ] {
            let mut block = HeaderBlock::new(before.into());
            block.append("A: b\r\n");
            assert_eq!(block.into_octets(), after.as_bytes(), "{before:?}");
        }
    }

    /// Feeds in pieces; the block and the rest.
    fn collect(message: &[u8], size: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut collector = HeaderCollector::default();
        let mut fed = 0;
        for piece in message.chunks(size) {
            if let Some((block, taken)) = collector.feed(piece).unwrap() {
                return Some((block.into_octets(), message[fed + taken..].to_vec()));
            }
            fed += piece.len();
        }
        assert_eq!(collector.finish().octets(), message);
        None
    }

    #[test]
    fn a_block_is_gathered_from_pieces() {
        let cases: &[(&str, Option<(&str, &str)>)] = &[
            ("", None),
            ("A: b\r\n", None),
            ("A: b\r\n\r", None),
            ("A: b\r\n\r\n", Some(("A: b\r\n\r\n", ""))),
            ("A: b\r\n\r\nbody\r\n\r\n", Some(("A: b\r\n\r\n", "body\r\n\r\n"))),
            ("\r\nbody", Some(("\r\n", "body"))),
            ("\nbody", Some(("\n", "body"))),
            ("A: b\n\nbody", Some(("A: b\n\n", "body"))),
            ("A: b\r\n\nbody", Some(("A: b\r\n\n", "body"))),
            ("A: b\r\n\r\r\n\r\nbody", Some(("A: b\r\n\r\r\n\r\n", "body"))),
        ];
        for (message, expected) in cases {
            for size in [1, 2, 3, 4096] {
                let expected = expected.map(|(block, rest)| (block.into(), rest.into()));
                assert_eq!(collect(message.as_bytes(), size), expected, "{message:?} {size}");
            }
        }
    }

    #[test]
    fn a_block_is_bounded() {
        let block = |length: usize| [vec![b'a'; length - 4], b"\r\n\r\n".to_vec()].concat();
        let mut collector = HeaderCollector::default();
        let (found, taken) = collector.feed(&block(HEADER_BYTES_MAX)).unwrap().unwrap();
        assert_eq!((found.octets().len(), taken), (HEADER_BYTES_MAX, HEADER_BYTES_MAX));
        let mut collector = HeaderCollector::default();
        assert_eq!(collector.feed(&block(HEADER_BYTES_MAX + 1)), Err(HeaderError::TooLarge));
        let mut collector = HeaderCollector::default();
        for _ in 0..HEADER_BYTES_MAX {
            assert_eq!(collector.feed(b"a"), Ok(None));
        }
        assert_eq!(collector.feed(b"a"), Err(HeaderError::TooLarge));
    }
}
