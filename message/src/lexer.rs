//! What structured field values have in common (RFC 5322 section 3.2): white space, comments, quoted strings.
//!
//! Reads unfolded values and never fails: what is not closed ends with the value.

pub(crate) struct Lexer<'a> {
    rest: &'a [u8],
    /// The last comment that was skipped, without its parentheses and backslashes.
    pub(crate) comment: Option<Vec<u8>>,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(value: &'a [u8]) -> Self {
        Self { rest: value, comment: None }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(crate) fn next(&mut self) -> Option<u8> {
        let (&octet, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(octet)
    }

    /// Takes the octet if it is the next one.
    pub(crate) fn accept(&mut self, octet: u8) -> bool {
        let found = self.peek() == Some(octet);
        if found {
            self.next();
        }
        found
    }

    /// Skips white space and comments (`CFWS`); whether there were any.
    pub(crate) fn skip_gap(&mut self) -> bool {
        let before = self.rest.len();
        loop {
            self.rest = self.rest.trim_ascii_start();
            if self.peek() != Some(b'(') {
                return self.rest.len() < before;
            }
            self.skip_comment();
        }
    }

    /// `comment = "(" *([FWS] ccontent) [FWS] ")"`
    fn skip_comment(&mut self) {
        let mut text = Vec::new();
        let mut depth = 0;
        while let Some(octet) = self.next() {
            match octet {
                b'\\' => text.extend(self.next()),
                b'(' if depth == 0 => depth = 1,
                b'(' => {
                    depth += 1;
                    text.push(octet);
                }
                b')' if depth == 1 => break,
                b')' => {
                    depth -= 1;
                    text.push(octet);
                }
                _ => text.push(octet),
            }
        }
        self.comment = Some(text.trim_ascii().to_vec()).filter(|text| !text.is_empty());
    }

    /// The content of the quoted string that begins here, without backslashes.
    pub(crate) fn quoted(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        self.accept(b'"');
        while let Some(octet) = self.next() {
            match octet {
                b'"' => break,
                b'\\' => text.extend(self.next()),
                _ => text.push(octet),
            }
        }
        text
    }

    /// The octets before the first one that ends the run.
    pub(crate) fn run(&mut self, ends: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.rest.iter().position(|&octet| ends(octet)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(length);
        self.rest = rest;
        run
    }

    /// Skips what stands before one of `ends` outside of comments and quoted strings.
    pub(crate) fn skip_to(&mut self, ends: &[u8]) {
        loop {
            self.skip_gap();
            match self.peek() {
                None => return,
                Some(octet) if ends.contains(&octet) => return,
                Some(b'"') => {
                    self.quoted();
                }
                Some(_) => {
                    self.next();
                }
            }
        }
    }
}
