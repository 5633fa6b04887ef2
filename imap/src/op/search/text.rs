//! Looking for texts in bodies, decoded part by part (RFC 5255 section 4.6), in bounded memory; and the day of a Date field.

use waypost_message::{
    HeaderBlock, Span, decode::BodyDecoder, decode::header_text, header::HEADER_BYTES_MAX,
};
use waypost_storage::{Content, Reader, StoreError};

use crate::{
    fetch::structure::{Part, Structure},
    op::Comparator,
    wire::Day,
};

/// A header as all keys of a search look at it: unfolded, decoded and prepared for comparing, once for each message.
pub(super) struct HeaderText {
    fields: Vec<FieldText>,
    /// The day of its Date field.
    pub(super) sent: Option<Day>,
}

struct FieldText {
    /// In lower case.
    name: Vec<u8>,
    /// Name, colon and value.
    line: String,
    /// Where the value begins.
    value: usize,
}

impl HeaderText {
    pub(super) fn new(header: &HeaderBlock, comparator: Comparator) -> Self {
        let field = |(name, value): (&[u8], Vec<u8>)| {
            let mut line = String::new();
            comparator.prepare_into(&mut line, &String::from_utf8_lossy(name));
            line.push_str(": ");
            let value_at = line.len();
            comparator.prepare_into(&mut line, &header_text(&value));
            FieldText { name: name.to_ascii_lowercase(), line, value: value_at }
        };
        let fields = header.fields().map(|one| field((one.name, one.value()))).collect();
        Self { fields, sent: header.first("Date").and_then(|date| sent_day(&date)) }
    }

    /// Whether a field of that name, given in lower case, holds the text.
    pub(super) fn has(&self, name: &[u8], text: &str) -> bool {
        self.fields.iter().any(|field| field.name == name && field.line[field.value..].contains(text))
    }

    /// Whether some field's name, colon and value hold the text.
    pub(super) fn holds(&self, text: &str) -> bool {
        self.fields.iter().any(|field| field.line.contains(text))
    }
}

/// A text that is looked for, prepared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Needle {
    pub(super) text: String,
    pub(super) scope: Scope,
}

/// Where a text is looked for beyond the header of the message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    /// BODY: what people read. Headers of parts are left out, though they stand in the body: every multipart would hold `plain`.
    Body,
    /// TEXT: headers of parts, too, where the names of files stand.
    All,
}

/// Which of the needles are in the body of a message: in its text parts, decoded, in other parts that are text (delivery
/// reports), in the headers and text parts of messages inside it, and in the headers of parts.
pub(super) async fn find(
    reader: &mut Reader,
    content: &Content,
    structure: &Structure<'_>,
    needles: &[Needle],
    comparator: Comparator,
) -> Result<Vec<bool>, StoreError> {
    let mut finder = Finder::new(needles, comparator);
    let mut pieces = Vec::new();
    gather(&structure.root, &mut pieces);
    for piece in pieces {
        if finder.is_done() {
            break;
        }
        match piece {
            Piece::Header(span, scope) => {
                let length = (span.end - span.start).min(HEADER_BYTES_MAX as u64);
                reader.aim(content, content.prefix_size() + span.start, length);
                finder.feed(&header_text(&reader.rest().await?), scope);
            }
            Piece::Text(part) => {
                let span = part.body;
                let start = content.prefix_size() + span.start;
                reader.aim(content, start, span.end.saturating_sub(span.start));
                let mut decoder = BodyDecoder::new(part.encoding, part.charset());
                loop {
                    let octets = reader.next().await?;
                    if octets.is_empty() || finder.is_done() {
                        break;
                    }
                    finder.feed(&decoder.feed(&octets), Scope::Body);
                }
                finder.feed(&decoder.finish(), Scope::Body);
            }
        }
        finder.end_piece();
    }
    Ok(finder.found)
}

/// What is searched.
enum Piece<'a> {
    /// A header, and the needles that it is searched for: all, or those of one scope.
    Header(Span, Scope),
    Text(&'a Part<'a>),
}

fn gather<'a>(part: &'a Part<'a>, pieces: &mut Vec<Piece<'a>>) {
    let is = |kind: &[u8]| part.content_type.kind.eq_ignore_ascii_case(kind);
    if let Some(message) = &part.message {
        pieces.push(Piece::Header(message.root.header, Scope::Body));
        gather(&message.root, pieces);
    } else if part.is_multipart() {
        for child in &part.children {
            pieces.push(Piece::Header(child.header, Scope::All));
            gather(child, pieces);
        }
    } else if is(b"text") || is(b"message") {
        pieces.push(Piece::Text(part));
    }
}

/// Looks for several texts in a stream of others; remembers as much of its end as a text could begin in.
struct Finder<'a> {
    needles: &'a [Needle],
    found: Vec<bool>,
    tail: String,
    tail_bytes: usize,
    comparator: Comparator,
}

impl<'a> Finder<'a> {
    fn new(needles: &'a [Needle], comparator: Comparator) -> Self {
        let found = needles.iter().map(|needle| needle.text.is_empty()).collect();
        let tail_bytes = needles.iter().map(|needle| needle.text.len()).max().unwrap_or(0).saturating_sub(1);
        Self { needles, found, tail: String::new(), tail_bytes, comparator }
    }

    /// Takes a piece of a text for the needles of its scope; `Scope::Body` is for all.
    fn feed(&mut self, text: &str, scope: Scope) {
        self.comparator.prepare_into(&mut self.tail, text);
        for (needle, found) in self.needles.iter().zip(&mut self.found) {
            let wanted = scope == Scope::Body || needle.scope == scope;
            *found = *found || wanted && self.tail.contains(needle.text.as_str());
        }
        let mut cut = self.tail.len().saturating_sub(self.tail_bytes);
        while !self.tail.is_char_boundary(cut) {
            cut -= 1;
        }
        self.tail.drain(..cut);
    }

    fn end_piece(&mut self) {
        self.tail.clear();
    }

    fn is_done(&self) -> bool {
        self.found.iter().all(|found| *found)
    }
}

/// The day of a Date field as it is written, time and zone left out (RFC 3501 section 6.4.4: SENTBEFORE); also in the obsolete
/// forms of RFC 5322 section 4.3.
pub(super) fn sent_day(date: &[u8]) -> Option<Day> {
    let text = String::from_utf8_lossy(date);
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()).collect();
    words.windows(3).find_map(|words| day(words[0], words[1], words[2]))
}

fn day(day: &str, month: &str, year: &str) -> Option<Day> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i16>().ok())?;
    let month = month.get(..3)?.to_ascii_lowercase();
    let month = MONTHS.iter().position(|name| *name == month)? as i8 + 1;
    let day = number(day).filter(|day| (1..=31).contains(day))? as i8;
    let year = match (year.len(), number(year)?) {
        (2, year @ 0..50) => 2000 + year,
        (2 | 3, year) => 1900 + year,
        (_, year) => year,
    };
    Some(Day(year, month, day))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(text: &str) -> String {
        Comparator::default().prepare(text)
    }

    #[test]
    fn texts_are_found_across_chunks() {
        let needle = |text: &str| Needle { text: fold(text), scope: Scope::Body };
        let needles = ["hello", "größe", "absent", ""].map(needle);
        for size in 1..12 {
            let mut finder = Finder::new(&needles, Comparator::default());
            let text: Vec<char> = "say HELLO to the GRÖSSE and the GRÖßE abse".chars().collect();
            for chunk in text.chunks(size) {
                finder.feed(&chunk.iter().collect::<String>(), Scope::Body);
            }
            finder.end_piece();
            finder.feed("nt", Scope::Body);
            assert_eq!(finder.found, [true, true, false, true], "{size}");
            assert!(!finder.is_done());
        }
    }

    #[test]
    fn a_header_is_folded_once() {
        let octets = b"Subject: =?utf-8?q?Gr=C3=9Csse?=\r\n from\r\nDATE: 1 Jan 2026\r\n\r\n";
        let header = HeaderText::new(&HeaderBlock::new(octets.to_vec()), Comparator::default());
        assert_eq!(header.sent, Some(Day(2026, 1, 1)));
        assert!(header.has(b"subject", &fold("grüsse FROM")) && header.has(b"subject", ""));
        assert!(!header.has(b"subject", &fold("subject")) && !header.has(b"sub", &fold("grüsse")));
        assert!(header.holds(&fold("subject: gr")) && header.holds("DATE: 1") && !header.holds("ABSENT"));
    }

    #[test]
    fn headers_of_parts_are_for_text_only() {
        let needles = [Scope::Body, Scope::All].map(|scope| Needle { text: fold("invoice"), scope });
        let mut finder = Finder::new(&needles, Comparator::default());
        finder.feed("filename=Invoice.pdf", Scope::All);
        assert_eq!(finder.found, [false, true]);
        finder.end_piece();
        finder.feed("your invoice", Scope::Body);
        assert_eq!(finder.found, [true, true]);
    }

    #[test]
    fn the_day_of_a_date_is_found() {
        for (date, expected) in [
            ("Sat, 21 Nov 2026 23:59:59 -1200", Some(Day(2026, 11, 21))),
            ("1 jan 70 00:00 GMT", Some(Day(1970, 1, 1))),
            ("Fri,  2 February 05 1:2:3 +0000", Some(Day(2005, 2, 2))),
            ("3 Mar 101", Some(Day(2001, 3, 3))),
            ("32 Jan 2026", None),
            ("Nov 21 2026", None),
            ("", None),
        ] {
            assert_eq!(sent_day(date.as_bytes()), expected, "{date}");
        }
    }
}
