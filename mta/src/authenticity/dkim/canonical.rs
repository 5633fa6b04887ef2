//! Canonical forms of header fields and bodies (RFC 6376 section 3.4); bodies as their octets pass.
//!
//! A line ends with CRLF and with nothing else: a bare CR or LF is an octet like others, for those who verify and for those who sign. RFC
//! 6376 section 5.3 has signers bring a message into the form in which it goes first: SMTP takes no bare CR or LF but in the bodies of
//! binary messages (`smtp::data`), so ours are in that form.

use waypost_message::Field;

/// A canonicalization algorithm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Canonicalization {
    /// Almost no change is tolerated.
    Simple,
    /// White space may change.
    Relaxed,
}

impl Canonicalization {
    /// By the word that stands in `c=`.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        match name {
            "simple" => Some(Self::Simple),
            "relaxed" => Some(Self::Relaxed),
            _ => None,
        }
    }

    /// Adds a field in its canonical form, with CRLF (RFC 6376 sections 3.4.1 and 3.4.2).
    pub(crate) fn field(self, field: &Field<'_>, into: &mut Vec<u8>) {
        match self {
            Self::Simple => {
                into.extend_from_slice(field.octets.strip_suffix(b"\r\n").unwrap_or(field.octets));
            }
            Self::Relaxed => {
                into.extend(field.name.to_ascii_lowercase());
                into.push(b':');
                relaxed_value(field.raw, into);
            }
        }
        into.extend_from_slice(b"\r\n");
    }
}

fn is_wsp(octet: u8) -> bool {
    octet == b' ' || octet == b'\t'
}

/// Unfolded, white space as one space, none at the ends.
fn relaxed_value(raw: &[u8], into: &mut Vec<u8>) {
    let start = into.len();
    let mut is_behind_wsp = false;
    let mut rest = raw;
    while let [octet, behind @ ..] = rest {
        rest = behind;
        if *octet == b'\r' && behind.first() == Some(&b'\n') {
            rest = &behind[1..];
        } else if is_wsp(*octet) {
            is_behind_wsp = true;
        } else {
            if is_behind_wsp && into.len() > start {
                into.push(b' ');
            }
            is_behind_wsp = false;
            into.push(*octet);
        }
    }
}

/// Makes the canonical form of a body, whose octets come in pieces.
#[derive(Debug)]
pub(crate) struct CanonicalBody {
    form: Canonicalization,
    /// Line ends that are only there if something follows.
    line_ends: usize,
    /// Whether white space is to come as a space, if something follows in the line.
    behind_wsp: bool,
    /// A CR that may be half a line end.
    behind_cr: bool,
    is_empty: bool,
}

impl CanonicalBody {
    /// Before the first octet.
    pub(crate) fn new(form: Canonicalization) -> Self {
        Self { form, line_ends: 0, behind_wsp: false, behind_cr: false, is_empty: true }
    }

    /// Takes octets, and gives pieces of the canonical form.
    pub(crate) fn feed(&mut self, octets: &[u8], sink: &mut impl FnMut(&[u8])) {
        let mut rest = octets;
        if self.behind_cr && !rest.is_empty() {
            self.behind_cr = false;
            match rest.strip_prefix(b"\n") {
                Some(behind) => {
                    self.end_line();
                    rest = behind;
                }
                None => self.content(b"\r", sink),
            }
        }
        while let [first, behind @ ..] = rest {
            match (*first, behind.first()) {
                (b'\r', Some(b'\n')) => {
                    self.end_line();
                    rest = &behind[1..];
                }
                (b'\r', None) => {
                    self.behind_cr = true;
                    return;
                }
                (octet, _) if self.form == Canonicalization::Relaxed && is_wsp(octet) => {
                    self.behind_wsp = true;
                    rest = behind;
                }
                _ => {
                    let (run, behind) = rest.split_at(1 + self.run(behind));
                    self.content(run, sink);
                    rest = behind;
                }
            }
        }
    }

    /// Ends the body.
    pub(crate) fn finish(mut self, sink: &mut impl FnMut(&[u8])) {
        if self.behind_cr {
            self.content(b"\r", sink);
        }
        if self.form == Canonicalization::Simple || !self.is_empty {
            sink(b"\r\n");
        }
    }

    /// How many octets are content as they are.
    fn run(&self, octets: &[u8]) -> usize {
        let ends = |(at, octet): (usize, &u8)| match octet {
            b'\r' | b'\t' => true,
            // One space between words is what it becomes.
            b' ' => !matches!(octets.get(at + 1), Some(next) if *next > b' '),
            _ => false,
        };
        match self.form {
            Canonicalization::Simple => octets.iter().position(|octet| *octet == b'\r'),
            Canonicalization::Relaxed => octets.iter().enumerate().position(ends),
        }
        .unwrap_or(octets.len())
    }

    fn end_line(&mut self) {
        self.line_ends += 1;
        self.behind_wsp = false;
    }

    fn content(&mut self, octets: &[u8], sink: &mut impl FnMut(&[u8])) {
        const LINE_ENDS: [u8; 64] = {
            let mut ends = [b'\r'; 64];
            let mut at = 1;
            while at < ends.len() {
                ends[at] = b'\n';
                at += 2;
            }
            ends
        };
        while self.line_ends > 0 {
            let some = self.line_ends.min(LINE_ENDS.len() / 2);
            sink(&LINE_ENDS[..2 * some]);
            self.line_ends -= some;
        }
        if std::mem::take(&mut self.behind_wsp) {
            sink(b" ");
        }
        self.is_empty = false;
        sink(octets);
    }
}

#[cfg(test)]
mod tests {
    use waypost_message::HeaderBlock;

    use super::{
        Canonicalization::{Relaxed, Simple},
        *,
    };

    fn body(form: Canonicalization, octets: &[u8], piece: usize) -> Vec<u8> {
        let (mut body, mut made) = (CanonicalBody::new(form), Vec::new());
        let mut sink = |octets: &[u8]| made.extend_from_slice(octets);
        octets.chunks(piece).for_each(|octets| body.feed(octets, &mut sink));
        body.finish(&mut sink);
        made
    }

    #[test]
    fn bodies_have_one_form_however_they_come() {
        for (octets, simple, relaxed) in [
            // RFC 6376 section 3.4.5
            (" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"),
            ("", "\r\n", ""),
            ("\r\n", "\r\n", ""),
            ("\r\n\r\n\r\n", "\r\n", ""),
            (" \t\r\n\r\n", " \t\r\n", ""),
            ("a", "a\r\n", "a\r\n"),
            ("a\r\n", "a\r\n", "a\r\n"),
            ("a ", "a \r\n", "a\r\n"),
            ("\r\n\r\na\r\n \r\n\r\nb\r\n\r\n", "\r\n\r\na\r\n \r\n\r\nb\r\n", "\r\n\r\na\r\n\r\n\r\nb\r\n"),
            ("a  b\tc d \t e", "a  b\tc d \t e\r\n", "a b c d e\r\n"),
            // bare CR and LF
            ("a\rb\nc\r\r\n", "a\rb\nc\r\r\n", "a\rb\nc\r\r\n"),
            ("a \n b \r c\r", "a \n b \r c\r\r\n", "a \n b \r c\r\r\n"),
            ("\r", "\r\r\n", "\r\r\n"),
            ("\n", "\n\r\n", "\n\r\n"),
        ] {
            for piece in [1, 2, 3, 4096] {
                let shown = |form| String::from_utf8(body(form, octets.as_bytes(), piece)).unwrap();
                assert_eq!(shown(Simple), simple, "{octets:?} by {piece}");
                assert_eq!(shown(Relaxed), relaxed, "{octets:?} by {piece}");
            }
        }
        let many = [b"a".as_slice(), &b"\r\n".repeat(100), b"b"].concat();
        assert_eq!(body(Relaxed, &many, 7), [&many, b"\r\n".as_slice()].concat());
    }

    #[test]
    fn fields_have_one_form_however_they_are_written() {
        for (field, simple, relaxed) in [
            // RFC 6376 section 3.4.5
            ("A: X\r\n", "A: X\r\n", "a:X\r\n"),
            ("B : Y\t\r\n\tZ  \r\n", "B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n"),
            ("Empty:\r\n", "Empty:\r\n", "empty:\r\n"),
            ("Last: x", "Last: x\r\n", "last:x\r\n"),
            ("Cr: a\rb \r\n", "Cr: a\rb \r\n", "cr:a\rb\r\n"),
        ] {
            let block = HeaderBlock::new(field.into());
            let field = block.fields().next().unwrap();
            for (form, expected) in [(Simple, simple), (Relaxed, relaxed)] {
                let mut made = Vec::new();
                form.field(&field, &mut made);
                assert_eq!(String::from_utf8(made).unwrap(), expected);
            }
        }
    }
}
