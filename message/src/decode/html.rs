//! The text of HTML as it streams: tags and what no reader sees are left out, characters that are written by name are put in.
//!
//! Not a parser of HTML: enough for a preview and for words. Nothing is held but a short name.

/// Longest name of a tag or of a character that is known.
const NAME_CHARS_MAX: usize = 12;
/// Elements whose content is not shown.
const HIDDEN: [&str; 6] = ["style", "script", "title", "head", "template", "noscript"];
/// Characters by name, those of Latin letters and marks that mails have.
const CHARACTERS: [(&str, &str); 36] = [
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", " "),
    ("auml", "ä"),
    ("ouml", "ö"),
    ("uuml", "ü"),
    ("Auml", "Ä"),
    ("Ouml", "Ö"),
    ("Uuml", "Ü"),
    ("szlig", "ß"),
    ("eacute", "é"),
    ("egrave", "è"),
    ("ecirc", "ê"),
    ("agrave", "à"),
    ("aacute", "á"),
    ("acirc", "â"),
    ("ccedil", "ç"),
    ("ntilde", "ñ"),
    ("oacute", "ó"),
    ("iacute", "í"),
    ("uacute", "ú"),
    ("euro", "€"),
    ("pound", "£"),
    ("copy", "©"),
    ("ndash", "–"),
    ("mdash", "—"),
    ("hellip", "…"),
    ("lsquo", "‘"),
    ("rsquo", "’"),
    ("ldquo", "“"),
    ("rdquo", "”"),
    ("zwnj", ""),
    ("shy", ""),
];

/// Where the text stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
enum Place {
    #[default]
    Text,
    /// Behind `&`: what was written so far.
    Character(String),
    /// Behind `<`: the name so far, in lower case.
    Name(String),
    /// In a tag behind its name; in quotes.
    Tag(Option<char>),
    /// In a comment: how many `-` stand before this place.
    Comment(u8),
}

/// Takes the text out of HTML.
#[derive(Debug, Default)]
pub struct HtmlText {
    place: Place,
    /// The element whose content is left out.
    hidden: Option<&'static str>,
    /// What the tag that is open does to `hidden` when it ends.
    then: Option<Option<&'static str>>,
}

impl HtmlText {
    /// Takes the next characters, cut anywhere; appends their text. Each tag is a space, for it may end a word.
    pub fn feed(&mut self, html: &str, out: &mut String) {
        html.chars().for_each(|char| self.take(char, out));
    }

    /// Ends the text; appends what was held back.
    pub fn finish(self, out: &mut String) {
        if let Place::Character(name) = self.place {
            match meaning(&name) {
                Some(text) => out.push_str(&text),
                None => {
                    out.push('&');
                    out.push_str(&name);
                }
            }
        }
    }

    fn take(&mut self, char: char, out: &mut String) {
        self.place = match std::mem::take(&mut self.place) {
            Place::Text if char == '<' => Place::Name(String::new()),
            Place::Text if char == '&' && self.hidden.is_none() => Place::Character(String::new()),
            Place::Text => {
                self.show(char, out);
                Place::Text
            }
            Place::Character(name) => self.character(name, char, out),
            Place::Name(name) => self.name(name, char, out),
            Place::Tag(None) if char == '>' => self.end_tag(out),
            Place::Tag(None) if matches!(char, '"' | '\'') => Place::Tag(Some(char)),
            Place::Tag(Some(quote)) if char == quote => Place::Tag(None),
            Place::Tag(quote) => Place::Tag(quote),
            Place::Comment(2..) if char == '>' => Place::Text,
            Place::Comment(dashes) if char == '-' => Place::Comment(dashes.saturating_add(1)),
            Place::Comment(_) => Place::Comment(0),
        };
    }

    fn show(&self, char: char, out: &mut String) {
        if self.hidden.is_none() {
            out.push(char);
        }
    }

    /// A character by its name or number; what is none stays as it was written.
    fn character(&mut self, mut name: String, char: char, out: &mut String) -> Place {
        if (char.is_ascii_alphanumeric() || char == '#' && name.is_empty()) && name.len() < NAME_CHARS_MAX {
            name.push(char);
            return Place::Character(name);
        }
        match meaning(&name) {
            Some(text) => out.push_str(&text),
            None => {
                out.push('&');
                out.push_str(&name);
                if char == ';' {
                    out.push(char);
                }
            }
        }
        if char != ';' {
            self.take(char, out);
            return std::mem::take(&mut self.place);
        }
        Place::Text
    }

    fn name(&mut self, mut name: String, char: char, out: &mut String) -> Place {
        if name == "!-" && char == '-' && self.hidden.is_none() {
            return Place::Comment(0);
        }
        let begins = name.is_empty() && (char.is_ascii_alphabetic() || matches!(char, '/' | '!' | '?'));
        if name.is_empty() && !begins {
            // `a < b`
            self.show('<', out);
            self.take(char, out);
            return std::mem::take(&mut self.place);
        }
        if (begins || char.is_ascii_alphanumeric() || char == '-') && name.len() < NAME_CHARS_MAX {
            name.push(char.to_ascii_lowercase());
            return Place::Name(name);
        }
        self.then = self.effect(&name);
        self.place = Place::Tag(None);
        self.take(char, out);
        std::mem::take(&mut self.place)
    }

    /// What a tag does: content is hidden from here on, or shown again; `None`: nothing.
    fn effect(&self, name: &str) -> Option<Option<&'static str>> {
        match self.hidden {
            // A head without an end ends with the body.
            Some("head") if name == "body" => Some(None),
            Some(hidden) => (name.strip_prefix('/') == Some(hidden)).then_some(None),
            None => HIDDEN.iter().find(|hidden| **hidden == name).map(|hidden| Some(*hidden)),
        }
    }

    fn end_tag(&mut self, out: &mut String) -> Place {
        if let Some(hidden) = self.then.take() {
            self.hidden = hidden;
        }
        self.show(' ', out);
        Place::Text
    }
}

/// The text of a character's name or number.
fn meaning(name: &str) -> Option<String> {
    let number = match name.strip_prefix('#') {
        None => {
            let known = CHARACTERS.iter().find(|(known, _)| *known == name);
            return known.map(|(_, text)| (*text).to_owned());
        }
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => number.parse(),
        },
    };
    char::from_u32(number.ok()?).map(String::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(html: &str, piece: usize) -> String {
        let (mut taker, mut out) = (HtmlText::default(), String::new());
        let chars: Vec<char> = html.chars().collect();
        for piece in chars.chunks(piece) {
            taker.feed(&piece.iter().collect::<String>(), &mut out);
        }
        taker.finish(&mut out);
        out.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn text_is_what_a_reader_sees() {
        for (html, expected) in [
            ("plain", "plain"),
            ("<p>Hello <b>you</b>!</p><br/>next", "Hello you ! next"),
            ("a &amp; b &lt;c&gt; &#228;&#xdf; &nbsp; &uuml;ber", "a & b <c> äß über"),
            ("a & b &unknown; &#; &; &#99999999;", "a & b &unknown; &#; &; &#99999999;"),
            ("R&amp", "R&"),
            ("R&ampD &auml", "R&ampD ä"),
            ("1 < 2 <3", "1 < 2 <3"),
            ("<style>p { color: red }</style>x", "x"),
            ("<STYLE type='a>b'>p<p></StYle >x", "x"),
            ("<head><title>T</title><style>s</style></head><body>b", "b"),
            ("<head><title>T</title><body>b", "b"),
            ("<!-- <p>no --> - -- yes<!---->!", "- -- yes!"),
            ("<!DOCTYPE html><a href=\"x>y\" title='>'>link</a>", "link"),
            ("<script>if (a < b) { '</p>' }</script>shown", "shown"),
            ("<averyveryverylongname x>y", "y"),
            ("cut <b", "cut"),
        ] {
            for piece in [1, 3, 999] {
                assert_eq!(text(html, piece), expected, "{html} in {piece}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_html_is_taken_alike_wherever_it_is_cut(html in "[<>&;!/a-z'\"# -]{0,60}", piece in 1usize..5) {
            prop_assert_eq!(text(&html, piece), text(&html, 999));
        }
    }
}
