//! Line ends and `From ` quoting of octets that pass, cut anywhere. Pure.

/// Gives each LF that stands alone its CR.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ToCrlf {
    after_cr: bool,
}

impl ToCrlf {
    pub(super) fn feed(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for piece in octets.split_inclusive(|&octet| octet == b'\n') {
            if let Some(line) = piece.strip_suffix(b"\n") {
                let has_cr = if line.is_empty() { self.after_cr } else { line.ends_with(b"\r") };
                out.extend_from_slice(line);
                out.extend_from_slice(if has_cr { b"\n" } else { b"\r\n" });
            } else {
                out.extend_from_slice(piece);
            }
            self.after_cr = piece.ends_with(b"\r");
        }
    }
}

/// Takes the CR from each CRLF.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ToLf {
    holds_cr: bool,
}

impl ToLf {
    pub(super) fn feed(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for &octet in octets {
            if std::mem::take(&mut self.holds_cr) && octet != b'\n' {
                out.push(b'\r');
            }
            match octet {
                b'\r' => self.holds_cr = true,
                octet => out.push(octet),
            }
        }
    }

    pub(super) fn finish(self, out: &mut Vec<u8>) {
        if self.holds_cr {
            out.push(b'\r');
        }
    }
}

const FROM: &[u8] = b"From ";

/// What is done to lines that consist of `>`s and `From ` at their begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Direction {
    /// They get one more `>`.
    Quote,
    /// Those that have a `>` lose one.
    Unquote,
}

/// The quoting of mboxrd. As all `>`s are alike, one is added or left out at their end, and no line is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoting {
    direction: Direction,
    at: At,
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// Behind `>`s or none, and so many octets of `From `, which are held; [`Direction::Unquote`] holds one `>`, too.
    Start { quoted: bool, matched: usize },
    /// Behind what decides.
    Line,
}

impl At {
    const BEGIN: Self = Self::Start { quoted: false, matched: 0 };
}

impl Quoting {
    pub(super) fn new(direction: Direction) -> Self {
        Self { direction, at: At::BEGIN }
    }

    pub(super) fn feed(&mut self, mut octets: &[u8], out: &mut Vec<u8>) {
        while let Some(&octet) = octets.first() {
            match self.at {
                At::Start { quoted, matched } => {
                    octets = &octets[1..];
                    self.at = self.start(quoted, matched, octet, out);
                }
                At::Line => {
                    let end = octets.iter().position(|&octet| octet == b'\n').map(|lf| lf + 1);
                    let (line, rest) = octets.split_at(end.unwrap_or(octets.len()));
                    out.extend_from_slice(line);
                    octets = rest;
                    self.at = if end.is_some() { At::BEGIN } else { At::Line };
                }
            }
        }
    }

    pub(super) fn finish(self, out: &mut Vec<u8>) {
        if let At::Start { quoted, matched } = self.at {
            self.release(quoted, matched, out);
        }
    }

    fn start(self, quoted: bool, matched: usize, octet: u8, out: &mut Vec<u8>) -> At {
        if octet == b'>' && matched == 0 {
            if quoted || self.direction == Direction::Quote {
                out.push(b'>');
            }
            return At::Start { quoted: true, matched };
        }
        if octet != FROM[matched] {
            self.release(quoted, matched, out);
            out.push(octet);
            return if octet == b'\n' { At::BEGIN } else { At::Line };
        }
        if matched + 1 < FROM.len() {
            return At::Start { quoted, matched: matched + 1 };
        }
        if self.direction == Direction::Quote {
            out.push(b'>');
        }
        out.extend_from_slice(FROM);
        At::Line
    }

    /// Gives out what was held: it was no `From `.
    fn release(self, quoted: bool, matched: usize, out: &mut Vec<u8>) {
        if quoted && self.direction == Direction::Unquote {
            out.push(b'>');
        }
        out.extend_from_slice(&FROM[..matched]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_octets_come_back(octets in "(>|From |Fro|\n|\r|x){0,20}", size in 1_usize..6) {
            let quoted = quoting(octets.as_bytes(), size, Direction::Quote);
            prop_assert!(!quoted.split(|octet| *octet == b'\n').any(|line| line.starts_with(b"From ")));
            prop_assert_eq!(quoting(&quoted, size, Direction::Unquote), octets.as_bytes());
        }
    }

    fn in_pieces(octets: &[u8], size: usize, mut feed: impl FnMut(&[u8], &mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        octets.chunks(size).for_each(|piece| feed(piece, &mut out));
        out
    }

    #[test]
    fn line_ends_are_converted() {
        for (before, crlf, lf) in [
            ("", "", ""),
            ("a", "a", "a"),
            ("a\nb\n", "a\r\nb\r\n", "a\nb\n"),
            ("a\r\nb\r\n", "a\r\nb\r\n", "a\nb\n"),
            ("\n\n\r\n", "\r\n\r\n\r\n", "\n\n\n"),
            ("a\rb\r\r\nc\r", "a\rb\r\r\nc\r", "a\rb\r\nc\r"),
        ] {
            for size in [1, 2, 3, 4096] {
                let mut to_crlf = ToCrlf::default();
                let found = in_pieces(before.as_bytes(), size, |piece, out| to_crlf.feed(piece, out));
                assert_eq!(found, crlf.as_bytes(), "{before:?} {size}");
                let mut to_lf = ToLf::default();
                let mut found = in_pieces(before.as_bytes(), size, |piece, out| to_lf.feed(piece, out));
                to_lf.finish(&mut found);
                assert_eq!(found, lf.as_bytes(), "{before:?} {size}");
            }
        }
    }

    fn quoting(octets: &[u8], size: usize, direction: Direction) -> Vec<u8> {
        let mut quoting = Quoting::new(direction);
        let mut found = in_pieces(octets, size, |piece, out| quoting.feed(piece, out));
        quoting.finish(&mut found);
        found
    }

    #[test]
    fn from_is_quoted_and_comes_back() {
        for (plain, quoted) in [
            ("", ""),
            ("From ", ">From "),
            ("From x\nFrom y\n", ">From x\n>From y\n"),
            (">From x\r\n>>From y\r\n", ">>From x\r\n>>>From y\r\n"),
            ("from x\n From x\nFrom\n>Fro\n>\n>>\n", "from x\n From x\nFrom\n>Fro\n>\n>>\n"),
            ("a From b\nFrom", "a From b\nFrom"),
            ("> From x\n>F>From x\nFFrom x\n", "> From x\n>F>From x\nFFrom x\n"),
            ("\n\n>", "\n\n>"),
            ("Fr\nFrom x", "Fr\n>From x"),
        ] {
            for size in [1, 2, 3, 4096] {
                let found = quoting(plain.as_bytes(), size, Direction::Quote);
                assert_eq!(found, quoted.as_bytes(), "{plain:?} {size}");
                let found = quoting(quoted.as_bytes(), size, Direction::Unquote);
                assert_eq!(found, plain.as_bytes(), "{quoted:?} {size}");
            }
        }
        assert_eq!(quoting(b"From x\n", 9, Direction::Unquote), b"From x\n");
    }
}
