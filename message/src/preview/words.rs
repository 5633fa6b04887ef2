//! The words of a text, up to the length of a preview.

use memchr::memchr;

use super::{Markup, PREVIEW_CHARS_MAX};
use crate::decode::HtmlText;

/// Gathers words up to the length of a preview.
#[derive(Debug)]
pub(super) struct Words {
    html: Option<HtmlText>,
    /// What the author wrote.
    own: Run,
    /// The same with what was quoted, as long as there is nothing else: for messages that hold no more.
    all: Run,
    /// Whether the line that is open was quoted; `None`: nothing of it was seen.
    quoted: Option<bool>,
}

impl Words {
    pub(super) fn new(markup: Markup) -> Self {
        let html = (markup == Markup::Html).then(HtmlText::default);
        Self { html, own: Run::default(), all: Run::default(), quoted: None }
    }

    pub(super) fn feed(&mut self, text: &str) {
        match &mut self.html {
            Some(html) => {
                let mut shown = String::with_capacity(text.len());
                html.feed(text, &mut shown);
                self.own.take_all(&shown);
            }
            None => self.plain(text),
        }
    }

    fn plain(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() && !self.is_full() {
            let end = memchr(b'\n', rest.as_bytes()).map_or(rest.len(), |at| at + 1);
            let (line, later) = rest.split_at(end);
            self.line(line);
            rest = later;
        }
    }

    /// Takes a line or a piece of one.
    fn line(&mut self, line: &str) {
        let is_begin = self.quoted.is_none();
        let quoted = *self.quoted.get_or_insert(line.starts_with('>'));
        let ends = line.ends_with('\n');
        self.own.take_all(match quoted {
            false => line,
            true if ends => "\n",
            true => "",
        });
        if self.own.text.is_empty() {
            self.all.take_all(if is_begin && quoted { &line[1..] } else { line });
        }
        if ends {
            self.quoted = None;
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.own.is_full()
    }

    pub(super) fn finish(mut self) -> String {
        if let Some(html) = self.html.take() {
            let mut shown = String::new();
            html.finish(&mut shown);
            self.own.take_all(&shown);
        }
        if self.own.text.is_empty() { self.all.text } else { self.own.text }
    }
}

/// Characters with single spaces between words.
#[derive(Debug, Default)]
struct Run {
    text: String,
    chars: usize,
    /// A space is due before the next character.
    space: bool,
}

impl Run {
    fn take_all(&mut self, text: &str) {
        let mut rest = text;
        while let Some(char) = rest.chars().next() {
            if self.is_full() {
                return;
            }
            self.take(char);
            rest = self.take_alike(char, &rest[char.len_utf8()..]);
        }
    }

    /// Takes what follows a character and is as it was: the rest of a word in US-ASCII, or of white space.
    fn take_alike<'a>(&mut self, char: char, text: &'a str) -> &'a str {
        if char.is_ascii_graphic() {
            let room = PREVIEW_CHARS_MAX.saturating_sub(self.chars);
            let word = text.bytes().take(room).take_while(u8::is_ascii_graphic).count();
            self.text.push_str(&text[..word]);
            self.chars += word;
            return &text[word..];
        }
        if char == ' ' { text.trim_start_matches(' ') } else { text }
    }

    fn take(&mut self, char: char) {
        if char.is_whitespace() || char.is_control() {
            self.space = self.chars > 0;
        } else if !is_invisible(char) && !self.is_full() {
            if self.text.capacity() == 0 {
                self.text.reserve(PREVIEW_CHARS_MAX);
            }
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
        let long = format!("> {}\r\n> y\r\n\r\nOwn.\r\n> z", "x".repeat(2 * PREVIEW_CHARS_MAX));
        for (markup, text, expected) in [
            (Markup::Plain, "  Hello,\r\n\r\n\tyou \u{200c}\u{feff}there.\r\n", "Hello, you there."),
            (Markup::Plain, "> what?\r\n>> no\r\nYes.\r\n> x", "Yes."),
            (Markup::Plain, "Yes.\r\n> x\r\n> y\r\nAnd no.", "Yes. And no."),
            (Markup::Plain, "> only\r\n> this\r\n", "only this"),
            (Markup::Plain, &long, "Own."),
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
}
