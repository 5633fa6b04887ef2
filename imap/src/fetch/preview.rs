//! PREVIEW (RFC 8970): the first words of a message, made when they are asked for.
//!
//! Of the first part that a reader would see [`READ_BYTES_MAX`] octets are looked at, at most; so a preview costs no more than
//! a short FETCH of the body, and nothing is stored beside the message. With LAZY only the first [`LAZY_MESSAGES_MAX`]
//! messages of a command have one.

use waypost_message::decode::{BodyDecoder, HtmlText};
use waypost_storage::{Content, Store, StoreError};

use super::structure::{Part, Structure};

/// Most characters of a preview (RFC 8970 section 3.3 wants 200, and never more than 256).
pub(crate) const PREVIEW_CHARS_MAX: usize = 200;
/// Most octets of a part that are read for it.
pub(crate) const READ_BYTES_MAX: u64 = 64 * 1024;
/// Messages of a command that LAZY is given a preview for.
pub(crate) const LAZY_MESSAGES_MAX: usize = 500;
/// Deepest part that is looked for text.
const DEPTH_MAX: usize = 20;

/// What the text of a part is written in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Markup {
    Plain,
    Html,
}

/// The preview of a message; empty where it has no text.
pub(super) async fn preview(
    store: &Store,
    content: &Content,
    structure: &Structure<'_>,
) -> Result<String, StoreError> {
    let Some((part, markup)) = text_part(&structure.root, DEPTH_MAX) else { return Ok(String::new()) };
    let length = part.body.end.saturating_sub(part.body.start).min(READ_BYTES_MAX);
    let mut reader = store.reader(content, content.prefix_size() + part.body.start, length);
    let mut decoder = BodyDecoder::new(part.encoding, part.charset());
    let mut words = Words::new(markup);
    loop {
        let octets = reader.next().await?;
        if octets.is_empty() {
            words.feed(&decoder.finish());
            return Ok(words.finish());
        }
        words.feed(&decoder.feed(&octets));
        if words.is_full() {
            return Ok(words.finish());
        }
    }
}

/// The first part that is text to be read; of alternatives the plain one.
fn text_part<'a>(part: &'a Part<'a>, depth: usize) -> Option<(&'a Part<'a>, Markup)> {
    let is = |written: &[u8], name: &str| written.eq_ignore_ascii_case(name.as_bytes());
    let below = depth.checked_sub(1)?;
    if part.is_multipart() {
        let mut found = part.children.iter().filter_map(|child| text_part(child, below));
        let first = found.next()?;
        let alternative = is(part.content_type.subtype, "alternative") && first.1 == Markup::Html;
        return if alternative {
            found.find(|(_, markup)| *markup == Markup::Plain).or(Some(first))
        } else {
            Some(first)
        };
    }
    let attached = part.disposition.as_ref().is_some_and(|disposition| is(disposition.kind, "attachment"));
    match &part.content_type {
        kind if !is(kind.kind, "text") || attached => None,
        kind if is(kind.subtype, "html") => Some((part, Markup::Html)),
        kind if is(kind.subtype, "plain") => Some((part, Markup::Plain)),
        _ => None,
    }
}

/// Gathers words up to the length of a preview.
struct Words {
    html: Option<HtmlText>,
    /// What the author wrote.
    own: Run,
    /// The same with what was quoted: for messages that hold nothing else.
    all: Run,
    /// Whether the line that is open was quoted; `None`: nothing of it was seen.
    quoted: Option<bool>,
}

impl Words {
    fn new(markup: Markup) -> Self {
        let html = (markup == Markup::Html).then(HtmlText::default);
        Self { html, own: Run::default(), all: Run::default(), quoted: None }
    }

    fn feed(&mut self, text: &str) {
        match &mut self.html {
            Some(html) => {
                let mut shown = String::with_capacity(text.len());
                html.feed(text, &mut shown);
                shown.chars().for_each(|char| self.own.take(char));
            }
            None => text.chars().for_each(|char| self.plain(char)),
        }
    }

    fn plain(&mut self, char: char) {
        self.all.take(if char == '>' && self.quoted.is_none() { ' ' } else { char });
        let quoted = *self.quoted.get_or_insert(char == '>');
        if char == '\n' {
            self.quoted = None;
        }
        if !quoted || char == '\n' {
            self.own.take(char);
        }
    }

    fn is_full(&self) -> bool {
        self.own.is_full()
    }

    fn finish(mut self) -> String {
        if let Some(html) = self.html.take() {
            let mut shown = String::new();
            html.finish(&mut shown);
            shown.chars().for_each(|char| self.own.take(char));
        }
        if self.own.text.is_empty() { self.all.text } else { self.own.text }
    }
}

/// Characters with single spaces between words.
#[derive(Default)]
struct Run {
    text: String,
    chars: usize,
    /// A space is due before the next character.
    space: bool,
}

impl Run {
    fn take(&mut self, char: char) {
        if char.is_whitespace() || char.is_control() {
            self.space = self.chars > 0;
        } else if !is_invisible(char) && !self.is_full() {
            if std::mem::take(&mut self.space) && self.chars + 1 < PREVIEW_CHARS_MAX {
                self.text.push(' ');
                self.chars += 1;
            }
            self.text.push(char);
            self.chars += 1;
        }
    }

    fn is_full(&self) -> bool {
        self.chars >= PREVIEW_CHARS_MAX || self.space && self.chars + 1 >= PREVIEW_CHARS_MAX
    }
}

/// Whether a character takes no place: mailings fill their first line with such so that nothing else is previewed.
fn is_invisible(char: char) -> bool {
    matches!(char, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use waypost_message::Splitter;

    use super::*;

    fn words(markup: Markup, text: &str, piece: usize) -> String {
        let mut words = Words::new(markup);
        let chars: Vec<char> = text.chars().collect();
        for piece in chars.chunks(piece) {
            words.feed(&piece.iter().collect::<String>());
        }
        words.finish()
    }

    #[test]
    fn words_are_put_together() {
        for (markup, text, expected) in [
            (Markup::Plain, "  Hello,\r\n\r\n\tyou \u{200c}\u{feff}there.\r\n", "Hello, you there."),
            (Markup::Plain, "> what?\r\n>> no\r\nYes.\r\n> x", "Yes."),
            (Markup::Plain, "> only\r\n> this\r\n", "only this"),
            (Markup::Plain, "a > b", "a > b"),
            (Markup::Plain, "", ""),
            (Markup::Plain, " \r\n\0", ""),
            (Markup::Html, "<p>Hello&nbsp;<b>you</b></p>> x", "Hello you > x"),
            (Markup::Html, "<style>no</style><div>\u{34f} \u{200c} \u{34f} yes</div>", "yes"),
        ] {
            for piece in [1, 2, 999] {
                assert_eq!(words(markup, text, piece), expected, "{text:?} in {piece}");
            }
        }
    }

    #[test]
    fn a_preview_ends() {
        for (text, expected) in [
            ("ü".repeat(PREVIEW_CHARS_MAX - 1), PREVIEW_CHARS_MAX - 1),
            ("ü".repeat(PREVIEW_CHARS_MAX), PREVIEW_CHARS_MAX),
            ("ü".repeat(PREVIEW_CHARS_MAX + 1), PREVIEW_CHARS_MAX),
            ("ü ".repeat(PREVIEW_CHARS_MAX), PREVIEW_CHARS_MAX - 1),
            (format!("{} ü", "ü".repeat(PREVIEW_CHARS_MAX - 1)), PREVIEW_CHARS_MAX - 1),
        ] {
            for markup in [Markup::Plain, Markup::Html] {
                let found = words(markup, &text, 7);
                assert_eq!(found.chars().count(), expected, "{found}");
                assert!(!found.ends_with(' '));
            }
        }
    }

    #[test]
    fn the_part_that_is_read_is_found() {
        let found = |message: &str| {
            let encoded = Splitter::split(message.as_bytes()).encode();
            let structure = Structure::decode(&encoded).unwrap();
            text_part(&structure.root, DEPTH_MAX).map(|(part, markup)| {
                (message[part.body.start as usize..part.body.end as usize].to_owned(), markup)
            })
        };
        let multipart = |kind: &str, parts: &[&str]| {
            let parts: String = parts.iter().map(|part| format!("--x\r\n{part}\r\n")).collect();
            format!("Content-Type: multipart/{kind}; boundary=x\r\n\r\n{parts}--x--\r\n")
        };
        let html = "Content-Type: text/html\r\n\r\n<p>h";
        let image = "Content-Type: image/png\r\n\r\ni";
        let attached = "Content-Disposition: attachment\r\n\r\na";
        for (message, expected) in [
            ("Subject: a\r\n\r\nplain".to_owned(), Some(("plain", Markup::Plain))),
            (html.to_owned(), Some(("<p>h", Markup::Html))),
            (image.to_owned(), None),
            ("Content-Type: text/calendar\r\n\r\nc".to_owned(), None),
            (multipart("alternative", &[html, "\r\np"]), Some(("p", Markup::Plain))),
            (multipart("alternative", &["\r\np", html]), Some(("p", Markup::Plain))),
            (multipart("alternative", &[image, html]), Some(("<p>h", Markup::Html))),
            (multipart("mixed", &[html, "\r\np"]), Some(("<p>h", Markup::Html))),
            (multipart("mixed", &[attached, image, "\r\np"]), Some(("p", Markup::Plain))),
            (multipart("mixed", &[attached]), None),
            (multipart("encrypted", &["Content-Type: application/pgp-encrypted\r\n\r\nv"]), None),
        ] {
            assert_eq!(
                found(&message).as_ref().map(|(text, markup)| (text.as_str(), *markup)),
                expected,
                "{message}"
            );
        }
    }
}
