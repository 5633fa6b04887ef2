//! The text of HTML as it streams: tags and what no reader sees are left out, characters that are written by name are put in.
//!
//! Not a parser of HTML: enough for a preview and for words. Nothing is held but a short name. It is looked at while mail is received, so
//! what is passed over is searched for its end, not looked at by character.

use memchr::{memchr, memchr2, memchr3};

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
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Place {
    #[default]
    Text,
    /// Behind `&`: what was written so far is the name.
    Character,
    /// Behind `<`: the name so far, in lower case.
    Name,
    /// In a tag behind its name; in quotes.
    Tag(Option<u8>),
    /// In a comment: how many `-` stand before this place.
    Comment(u8),
}

/// Takes the text out of HTML.
#[derive(Debug, Default)]
pub struct HtmlText {
    place: Place,
    /// Of the character or the tag that is open.
    name: String,
    /// The element whose content is left out.
    hidden: Option<&'static str>,
    /// What the tag that is open does to `hidden` when it ends.
    then: Option<Option<&'static str>>,
}

impl HtmlText {
    /// Takes the next characters, cut anywhere; appends their text. Each tag is a space, for it may end a word.
    pub fn feed(&mut self, html: &str, out: &mut String) {
        let mut rest = html;
        while !rest.is_empty() {
            let taken = match self.place {
                Place::Text => self.text(rest, out),
                Place::Character => self.character(rest, out),
                Place::Name => self.name(rest, out),
                Place::Tag(quote) => self.tag(rest, quote, out),
                Place::Comment(dashes) => self.comment(rest, dashes),
            };
            rest = &rest[taken..];
        }
    }

    /// Ends the text; appends what was held back.
    pub fn finish(self, out: &mut String) {
        if self.place == Place::Character {
            self.show_character(out);
        }
    }

    /// Text up to a tag or a character by name, and its first octet; as all of these, the octets that were taken.
    fn text(&mut self, html: &str, out: &mut String) -> usize {
        let octets = html.as_bytes();
        let shown = self.hidden.is_none();
        let end = if shown { memchr2(b'<', b'&', octets) } else { memchr(b'<', octets) };
        if shown {
            out.push_str(&html[..end.unwrap_or(html.len())]);
        }
        let Some(end) = end else { return html.len() };
        self.name.clear();
        self.place = if octets[end] == b'<' { Place::Name } else { Place::Character };
        end + 1
    }

    fn show(&self, char: char, out: &mut String) {
        if self.hidden.is_none() {
            out.push(char);
        }
    }

    /// A character by its name or number; what is none stays as it was written.
    fn character(&mut self, html: &str, out: &mut String) -> usize {
        let goes_on = |octet: &u8| octet.is_ascii_alphanumeric();
        let octets = html.as_bytes();
        let begun = usize::from(self.name.is_empty() && octets[0] == b'#');
        let taken = begun + octets[begun..].iter().take_while(|octet| goes_on(octet)).count();
        let taken = self.take_name(html, taken);
        if taken == octets.len() {
            return taken;
        }
        self.place = Place::Text;
        let is_known = self.show_character(out);
        let ends = octets[taken] == b';';
        if ends && !is_known {
            out.push(';');
        }
        taken + usize::from(ends)
    }

    /// Whether the name is one.
    fn show_character(&self, out: &mut String) -> bool {
        match meaning(&self.name) {
            Some(Meaning::Text(text)) => out.push_str(text),
            Some(Meaning::Number(char)) => out.push(char),
            None => {
                out.push('&');
                out.push_str(&self.name);
                return false;
            }
        }
        true
    }

    /// Adds so many octets to the name, as far as there is room; how many.
    fn take_name(&mut self, html: &str, octets: usize) -> usize {
        let taken = octets.min(NAME_CHARS_MAX - self.name.len());
        self.name.push_str(&html[..taken]);
        taken
    }

    /// The name of a tag up to its end, or as far as it is there.
    fn name(&mut self, html: &str, out: &mut String) -> usize {
        let octets = html.as_bytes();
        if self.name == "!-" && octets[0] == b'-' && self.hidden.is_none() {
            self.place = Place::Comment(0);
            return 1;
        }
        let is_first = self.name.is_empty();
        let begins = is_first && (octets[0].is_ascii_alphabetic() || matches!(octets[0], b'/' | b'!' | b'?'));
        if is_first && !begins {
            // `a < b`
            self.show('<', out);
            self.place = Place::Text;
            return 0;
        }
        let goes_on = |octet: &&u8| octet.is_ascii_alphanumeric() || **octet == b'-';
        let begun = usize::from(begins);
        let more = octets[begun..].iter().take_while(goes_on).count();
        // A comment may begin with each of its octets.
        let is_mark = self.name.starts_with('!') || octets[0] == b'!';
        let taken = if is_mark { (begun + more).min(1) } else { begun + more };
        let taken = self.take_name(html, taken);
        if taken == 0 {
            self.name.make_ascii_lowercase();
            self.then = self.effect();
            self.place = Place::Tag(None);
        }
        taken
    }

    /// What a tag does: content is hidden from here on, or shown again; `None`: nothing.
    fn effect(&self) -> Option<Option<&'static str>> {
        let name = self.name.as_str();
        match self.hidden {
            // A head without an end ends with the body.
            Some("head") if name == "body" => Some(None),
            Some(hidden) => (name.strip_prefix('/') == Some(hidden)).then_some(None),
            None => HIDDEN.iter().find(|hidden| **hidden == name).map(|hidden| Some(*hidden)),
        }
    }

    /// A tag up to its end, or to the next quote that counts.
    fn tag(&mut self, html: &str, quote: Option<u8>, out: &mut String) -> usize {
        let octets = html.as_bytes();
        let end = match quote {
            Some(quote) => memchr(quote, octets),
            None => memchr3(b'>', b'"', b'\'', octets),
        };
        let Some(end) = end else { return octets.len() };
        self.place = match (quote, octets[end]) {
            (Some(_), _) => Place::Tag(None),
            (None, b'>') => self.end_tag(out),
            (None, quote) => Place::Tag(Some(quote)),
        };
        end + 1
    }

    fn end_tag(&mut self, out: &mut String) -> Place {
        if let Some(hidden) = self.then.take() {
            self.hidden = hidden;
        }
        self.show(' ', out);
        Place::Text
    }

    /// A comment up to the next `-`, or a character behind one.
    fn comment(&mut self, html: &str, dashes: u8) -> usize {
        let octets = html.as_bytes();
        let (place, taken) = match (octets[0], dashes) {
            (b'>', 2..) => (Place::Text, 1),
            (b'-', dashes) => (Place::Comment(dashes.saturating_add(1)), 1),
            _ => (Place::Comment(0), memchr(b'-', octets).unwrap_or(octets.len())),
        };
        self.place = place;
        taken
    }
}

/// What a name or a number means.
enum Meaning {
    Text(&'static str),
    Number(char),
}

/// What a character's name or number means.
fn meaning(name: &str) -> Option<Meaning> {
    let number = match name.strip_prefix('#') {
        None => {
            let known = CHARACTERS.iter().find(|(known, _)| *known == name);
            return known.map(|(_, text)| Meaning::Text(text));
        }
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => number.parse(),
        },
    };
    char::from_u32(number.ok()?).map(Meaning::Number)
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
