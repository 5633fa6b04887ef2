//! Looking for texts in bodies, decoded part by part, in bounded memory; and the day of a Date field.

use waypost_message::{
    Part, Span, Structure, decode::BodyDecoder, decode::header_text, header::HEADER_BYTES_MAX,
};
use waypost_storage::{Content, Store, StoreError};

use crate::wire::Day;

/// A text as it is compared: in lower case.
pub(super) fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Which of the needles are in the body of a message: in its text parts, decoded, and in the headers and text parts of messages
/// inside it.
pub(super) async fn find(
    store: &Store,
    content: &Content,
    structure: &Structure,
    needles: &[String],
) -> Result<Vec<bool>, StoreError> {
    let mut finder = Finder::new(needles);
    let mut pieces = Vec::new();
    gather(&structure.root, &mut pieces);
    for piece in pieces {
        if finder.is_done() {
            break;
        }
        match piece {
            Piece::Header(span) => {
                let length = (span.end - span.start).min(HEADER_BYTES_MAX as u64);
                let octets = store.read(content, content.prefix_size() + span.start, length).await?;
                finder.feed(&header_text(&octets));
            }
            Piece::Text(part) => {
                let span = part.body;
                let start = content.prefix_size() + span.start;
                let mut reader = store.reader(content, start, span.end.saturating_sub(span.start));
                let mut decoder = BodyDecoder::new(part.encoding.as_deref(), charset(part));
                loop {
                    let octets = reader.next().await?;
                    if octets.is_empty() || finder.is_done() {
                        break;
                    }
                    finder.feed(&decoder.feed(&octets));
                }
                finder.feed(&decoder.finish());
            }
        }
        finder.end_piece();
    }
    Ok(finder.found)
}

/// What is searched.
enum Piece<'a> {
    Header(Span),
    Text(&'a Part),
}

fn gather<'a>(part: &'a Part, pieces: &mut Vec<Piece<'a>>) {
    if let Some(message) = &part.message {
        pieces.push(Piece::Header(message.root.header));
        gather(&message.root, pieces);
    } else if part.is_multipart() {
        part.children.iter().for_each(|child| gather(child, pieces));
    } else if part.content_type.kind.eq_ignore_ascii_case(b"text") {
        pieces.push(Piece::Text(part));
    }
}

fn charset(part: &Part) -> Option<&[u8]> {
    let found = part.content_type.parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"charset"));
    found.map(|(_, value)| value.as_slice())
}

/// Looks for several texts in a stream of others; remembers as much of its end as a text could begin in.
struct Finder<'a> {
    needles: &'a [String],
    found: Vec<bool>,
    tail: String,
    tail_bytes: usize,
}

impl<'a> Finder<'a> {
    fn new(needles: &'a [String]) -> Self {
        let found = needles.iter().map(String::is_empty).collect();
        let tail_bytes = needles.iter().map(String::len).max().unwrap_or(0).saturating_sub(1);
        Self { needles, found, tail: String::new(), tail_bytes }
    }

    fn feed(&mut self, text: &str) {
        self.tail.push_str(&fold(text));
        for (needle, found) in self.needles.iter().zip(&mut self.found) {
            *found = *found || self.tail.contains(needle.as_str());
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

    #[test]
    fn texts_are_found_across_chunks() {
        let needles = ["hello".to_owned(), "größe".to_owned(), "absent".to_owned(), String::new()];
        for size in 1..12 {
            let mut finder = Finder::new(&needles);
            let text: Vec<char> = "say HELLO to the GRÖSSE and the GRÖßE abse".chars().collect();
            for chunk in text.chunks(size) {
                finder.feed(&chunk.iter().collect::<String>());
            }
            finder.end_piece();
            finder.feed("nt");
            assert_eq!(finder.found, [true, true, false, true], "{size}");
            assert!(!finder.is_done());
        }
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
