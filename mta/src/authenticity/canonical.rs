//! The canonicalisation `relaxed` of header fields and bodies (RFC 6376 section 3.4). Pure.

use aws_lc_rs::digest::{Context, Digest, SHA256};

/// Octets that are hashed at once.
const PIECE_BYTES: usize = 4096;

/// Hashes a body while it passes, as `relaxed` has it (RFC 6376 section 3.4.4): white space at the end of lines and empty lines at the
/// end do not count, other white space counts as one space, and a last line without CRLF gets one.
#[derive(Clone)]
pub struct BodyHash {
    hash: Context,
    /// Octets that are not hashed yet.
    piece: Vec<u8>,
    /// CRLFs that count once something stands behind them.
    line_ends: u64,
    /// White space that counts once something else stands behind it in its line.
    space: bool,
    /// A CR that ends a line if LF stands behind it.
    behind_cr: bool,
    /// Whether there was anything but white space.
    has_text: bool,
}

impl std::fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyHash").finish_non_exhaustive()
    }
}

impl Default for BodyHash {
    fn default() -> Self {
        Self {
            hash: Context::new(&SHA256),
            piece: Vec::with_capacity(PIECE_BYTES),
            line_ends: 0,
            space: false,
            behind_cr: false,
            has_text: false,
        }
    }
}

impl BodyHash {
    /// Takes octets.
    pub fn feed(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while let [first, behind @ ..] = rest {
            match first {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    self.special(*first);
                    rest = behind;
                }
                _ => {
                    let is_special = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
                    let end = rest.iter().position(is_special).unwrap_or(rest.len());
                    let (text, behind) = rest.split_at(end);
                    self.text(text);
                    rest = behind;
                }
            }
        }
    }

    fn special(&mut self, octet: u8) {
        match octet {
            b'\n' if self.behind_cr => {
                (self.behind_cr, self.space) = (false, false);
                self.line_ends += 1;
            }
            b' ' | b'\t' => {
                self.bare_cr();
                self.space = true;
            }
            b'\r' => {
                self.bare_cr();
                self.behind_cr = true;
            }
            other => self.text(&[other]),
        }
    }

    /// A CR that ends no line is an octet like others.
    fn bare_cr(&mut self) {
        if std::mem::take(&mut self.behind_cr) {
            self.put(b"\r");
        }
    }

    fn text(&mut self, text: &[u8]) {
        self.bare_cr();
        self.put(text);
    }

    /// Hashes what counts, and what counts now that this stands behind it.
    fn put(&mut self, text: &[u8]) {
        for _ in 0..std::mem::take(&mut self.line_ends) {
            self.hashed(b"\r\n");
        }
        if std::mem::take(&mut self.space) {
            self.hashed(b" ");
        }
        self.has_text = true;
        self.hashed(text);
    }

    fn hashed(&mut self, octets: &[u8]) {
        if self.piece.len() + octets.len() > PIECE_BYTES {
            self.hash.update(&self.piece);
            self.piece.clear();
        }
        match octets.len() {
            length if length > PIECE_BYTES => self.hash.update(octets),
            _ => self.piece.extend_from_slice(octets),
        }
    }

    /// The hash of all that was fed.
    pub fn finish(mut self) -> Digest {
        self.bare_cr();
        // The last line that is not empty ends with one CRLF, whether it came with one or not.
        if self.has_text {
            self.hashed(b"\r\n");
        }
        self.hash.update(&self.piece);
        self.hash.finish()
    }
}

/// A header field as `relaxed` has it (RFC 6376 section 3.4.2), without CRLF at its end: name in lower case, value unfolded, white space
/// as one space, none around the value. `raw` is all behind the colon.
pub fn field(name: &[u8], raw: &[u8], into: &mut Vec<u8>) {
    into.extend(name.iter().map(u8::to_ascii_lowercase));
    into.push(b':');
    let start = into.len();
    let mut space = false;
    for octet in raw {
        match octet {
            b'\r' | b'\n' => {}
            b' ' | b'\t' => space = into.len() > start,
            octet => {
                if std::mem::take(&mut space) {
                    into.push(b' ');
                }
                into.push(*octet);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::digest;

    use super::*;

    /// What the RFC's words say, of a whole body.
    fn plain(body: &str) -> String {
        let mut lines: Vec<String> = body
            .split("\r\n")
            .map(|line| {
                let mut text = String::new();
                for c in line.chars() {
                    match c {
                        ' ' | '\t' if text.ends_with(' ') => {}
                        ' ' | '\t' => text.push(' '),
                        c => text.push(c),
                    }
                }
                text.trim_end_matches(' ').to_owned()
            })
            .collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines.iter().map(|line| format!("{line}\r\n")).collect()
    }

    #[test]
    fn a_body_counts_as_the_rfc_says() {
        let long = "x".repeat(5000);
        for (body, canonical) in [
            ("", ""),
            ("\r\n", ""),
            ("\r\n\r\n\r\n", ""),
            (" \r\n\t\r\n", ""),
            (" ", ""),
            // the example of RFC 6376 section 3.4.5
            (" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"),
            ("a", "a\r\n"),
            ("a ", "a\r\n"),
            ("a\r\n", "a\r\n"),
            ("a\r\n\r\n \r\nb \t c \r\n\r\n", "a\r\n\r\n\r\nb c\r\n"),
            ("\r\n\r\na", "\r\n\r\na\r\n"),
            ("\ta", " a\r\n"),
            ("a\r\n \t", "a\r\n"),
            ("größe\u{a0} \r\n", "größe\u{a0}\r\n"),
            ("a\rb\nc\r\n", "a\rb\nc\r\n"),
            ("a\r", "a\r\r\n"),
            ("a \r \r\n", "a \r\r\n"),
            (&long, &format!("{long}\r\n")),
        ] {
            let expected = digest(&SHA256, canonical.as_bytes());
            if !body.replace("\r\n", "").contains(['\r', '\n']) {
                assert_eq!(plain(body), canonical, "{body:?}");
            }
            for piece in [1, 3, 4096] {
                let mut hash = BodyHash::default();
                body.as_bytes().chunks(piece).for_each(|octets| hash.feed(octets));
                assert_eq!(hash.finish().as_ref(), expected.as_ref(), "{body:?} by {piece}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn pieces_do_not_matter(body in "([ \tab]|\r\n){0,60}", piece in 1..9_usize) {
            let mut hash = BodyHash::default();
            body.as_bytes().chunks(piece).for_each(|octets| hash.feed(octets));
            let expected = digest(&SHA256, plain(&body).as_bytes());
            let found = hash.finish();
            proptest::prop_assert_eq!(found.as_ref(), expected.as_ref());
        }
    }

    #[test]
    fn fields_are_relaxed() {
        for (name, raw, expected) in [
            // the example of RFC 6376 section 3.4.5
            ("A", " X\r\n", "a:X"),
            ("B", " Y\t\r\n\tZ  \r\n", "b:Y Z"),
            ("Subject", "", "subject:"),
            ("Subject", " \r\n \r\n", "subject:"),
            ("X", "a  b\r\n   c", "x:a b c"),
            ("X", " größe \t x\r\n", "x:größe x"),
        ] {
            let mut octets = Vec::new();
            field(name.as_bytes(), raw.as_bytes(), &mut octets);
            assert_eq!(String::from_utf8(octets).unwrap(), expected, "{raw:?}");
        }
    }
}
