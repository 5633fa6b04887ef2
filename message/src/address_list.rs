//! Address lists of header fields (RFC 5322 section 3.4) as ENVELOPE shows them (RFC 9051 section 7.5.2).
//!
//! Obsolete syntax (section 4.4: routes, white space and comments around dots, empty members) is read, and so is what
//! people write: unquoted display names that hold dots, brackets or an address; names in a comment behind the address;
//! addresses without domain. Nothing is refused: what cannot be understood is passed over up to the next comma.

use crate::{lexer::Lexer, structure::EnvelopeAddress};

/// Most addresses and group marks of one field; those behind are left out.
pub(crate) const ADDRESSES_MAX: usize = 4_000;

pub(crate) fn parse(value: &[u8]) -> Vec<EnvelopeAddress> {
    let mut parser = Parser { lexer: Lexer::new(value), found: Vec::new(), in_group: false };
    while parser.found.len() < ADDRESSES_MAX && parser.member() {}
    parser.end_group();
    parser.found
}

/// Words in front of `<`, `@`, `:`, `;` or `,`: a display name, a local part, or a name with a local part behind it.
#[derive(Default)]
struct Words {
    /// All words with single spaces where there was white space.
    phrase: Vec<u8>,
    /// The last words that hang together: no white space between, or a dot beside it.
    local: Vec<u8>,
    /// How much of the phrase stands before these.
    before_local: usize,
    after_dot: bool,
}

impl Words {
    fn push(&mut self, word: &[u8], spaced: bool) {
        let dot = word == b".";
        if spaced && !dot && !self.after_dot {
            self.local.clear();
            self.before_local = self.phrase.len();
        }
        if spaced && !self.phrase.is_empty() {
            self.phrase.push(b' ');
        }
        self.phrase.extend_from_slice(word);
        self.local.extend_from_slice(word);
        self.after_dot = dot;
    }

    /// The words as one local part.
    fn into_local(self) -> Vec<u8> {
        if self.before_local == 0 { self.local } else { self.phrase }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    found: Vec<EnvelopeAddress>,
    in_group: bool,
}

impl Parser<'_> {
    /// One member of the list with the comma behind it; whether there is more.
    fn member(&mut self) -> bool {
        self.lexer.comment = None;
        let words = self.words();
        match self.lexer.next() {
            None => self.push(Vec::new(), None, words.into_local(), Vec::new()),
            Some(b'<') => self.angle(words.phrase),
            Some(b'@') => self.addr_spec(words),
            Some(b':') => {
                self.end_group();
                self.found.push(EnvelopeAddress::GroupStart(words.phrase));
                self.in_group = true;
            }
            Some(end) => {
                self.push(Vec::new(), None, words.into_local(), Vec::new());
                if end == b';' {
                    self.end_group();
                }
            }
        }
        self.lexer.peek().is_some()
    }

    fn words(&mut self) -> Words {
        let mut words = Words::default();
        loop {
            let spaced = self.lexer.skip_gap();
            match self.lexer.peek() {
                None | Some(b'<' | b'>' | b'@' | b':' | b';' | b',') => return words,
                Some(b'"') => words.push(&self.lexer.quoted(), spaced),
                Some(b'.') => {
                    self.lexer.next();
                    words.push(b".", spaced);
                }
                Some(_) => words.push(self.lexer.run(ends_atom), spaced),
            }
        }
    }

    /// `local-part "@" domain`, behind the `@`; what looks like one in front of `<` is a display name.
    fn addr_spec(&mut self, words: Words) {
        let domain = self.domain();
        self.lexer.skip_gap();
        if self.lexer.accept(b'<') {
            return self.angle([&words.phrase, b"@".as_slice(), &domain].concat());
        }
        self.skip_rest();
        let name = words.phrase[..words.before_local].to_vec();
        self.push(name, None, words.local, domain);
    }

    /// `angle-addr = "<" [obs-route] addr-spec ">"`, behind the `<`.
    fn angle(&mut self, name: Vec<u8>) {
        self.lexer.skip_gap();
        let mut route = None;
        if self.lexer.peek() == Some(b'@') {
            let domains = self.lexer.run(|octet| matches!(octet, b':' | b'>'));
            route = Some(domains.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect());
            self.lexer.accept(b':');
        }
        let local = self.words().into_local();
        let domain = if self.lexer.accept(b'@') { self.domain() } else { Vec::new() };
        self.lexer.skip_to(b">,;");
        self.lexer.accept(b'>');
        self.skip_rest();
        self.push_always(name, route, local, domain);
    }

    /// `domain = dot-atom / domain-literal / obs-domain`
    fn domain(&mut self) -> Vec<u8> {
        let mut domain = Vec::new();
        loop {
            let spaced = self.lexer.skip_gap();
            let piece = match self.lexer.peek() {
                Some(b'.') => {
                    self.lexer.next();
                    b"."
                }
                Some(b'[') => self.lexer.run(|octet| matches!(octet, b']' | b'>' | b',')),
                None | Some(b'<' | b'>' | b'@' | b':' | b';' | b',' | b'"') => return domain,
                Some(_) if spaced && !domain.is_empty() && !domain.ends_with(b".") => return domain,
                Some(_) => self.lexer.run(ends_atom),
            };
            domain.extend_from_slice(piece);
            if piece.starts_with(b"[") && self.lexer.accept(b']') {
                domain.push(b']');
            }
        }
    }

    /// Passes over what stands behind an address, and the comma.
    fn skip_rest(&mut self) {
        self.lexer.skip_to(b",;");
        self.lexer.accept(b',');
    }

    fn push(&mut self, name: Vec<u8>, route: Option<Vec<u8>>, local: Vec<u8>, domain: Vec<u8>) {
        if !local.is_empty() || !domain.is_empty() {
            self.push_always(name, route, local, domain);
        }
    }

    fn push_always(&mut self, name: Vec<u8>, route: Option<Vec<u8>>, local: Vec<u8>, domain: Vec<u8>) {
        let name = Some(name).filter(|name| !name.is_empty()).or_else(|| self.lexer.comment.take());
        self.found.push(EnvelopeAddress::Mailbox { name, route, local, domain });
    }

    fn end_group(&mut self) {
        if std::mem::take(&mut self.in_group) {
            self.found.push(EnvelopeAddress::GroupEnd);
        }
    }
}

fn ends_atom(octet: u8) -> bool {
    octet.is_ascii_whitespace()
        || matches!(octet, b'<' | b'>' | b'@' | b':' | b';' | b',' | b'.' | b'(' | b'"')
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    /// `name|route|local|domain`, `{name`, `}`.
    fn shown(value: &[u8]) -> Vec<String> {
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        let optional = |octets: &Option<Vec<u8>>| octets.as_deref().map_or("-".to_owned(), text);
        let show = |address: &EnvelopeAddress| match address {
            EnvelopeAddress::GroupStart(name) => format!("{{{}", text(name)),
            EnvelopeAddress::GroupEnd => "}".into(),
            EnvelopeAddress::Mailbox { name, route, local, domain } => {
                format!("{}|{}|{}|{}", optional(name), optional(route), text(local), text(domain))
            }
        };
        parse(value).iter().map(show).collect()
    }

    #[test]
    fn address_lists_parse() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" , ,(c), ", &[]),
            ("a@b.c", &["-|-|a|b.c"]),
            ("a@b, <c@d>", &["-|-|a|b", "-|-|c|d"]),
            ("A B <a@b>", &["A B|-|a|b"]),
            ("\"B, \\\"A\\\"\" <a@b>", &["B, \"A\"|-|a|b"]),
            ("\"\" <a@b>", &["-|-|a|b"]),
            ("John Q. Public <a@b>", &["John Q. Public|-|a|b"]),
            ("[Bug] X <a@b>", &["[Bug] X|-|a|b"]),
            ("=?utf-8?q?J=C3=B6?= <a@b>", &["=?utf-8?q?J=C3=B6?=|-|a|b"]),
            ("Jörg <jörg@bücher.example>", &["Jörg|-|jörg|bücher.example"]),
            ("a@b (A (the) B)", &["A (the) B|-|a|b"]),
            ("A <a@b> (c)", &["A|-|a|b"]),
            ("<a@b> (c)", &["c|-|a|b"]),
            ("a@b (c), d@e", &["c|-|a|b", "-|-|d|e"]),
            ("<@x,@y.z:a@b>", &["-|@x,@y.z|a|b"]),
            ("A < @x , @y : a@b >", &["A|@x,@y|a|b"]),
            ("a . b @ c . d", &["-|-|a.b|c.d"]),
            ("a(x).(y)b@(z)c(w).d", &["w|-|a.b|c.d"]),
            ("\"a b\".c@d", &["-|-|a b.c|d"]),
            ("\"a b\"@d", &["-|-|a b|d"]),
            ("<\"a b\"@d>", &["-|-|a b|d"]),
            ("a@[192.0.2.1]", &["-|-|a|[192.0.2.1]"]),
            ("<a@[IPv6:2001:db8::1]>, b@c", &["-|-|a|[IPv6:2001:db8::1]", "-|-|b|c"]),
            ("g: a@b, C <c@d>; e@f", &["{g", "-|-|a|b", "C|-|c|d", "}", "-|-|e|f"]),
            ("undisclosed-recipients:;", &["{undisclosed-recipients", "}"]),
            ("\"a: b\":;", &["{a: b", "}"]),
            ("g: a@b", &["{g", "-|-|a|b", "}"]),
            ("g: h: a@b;;", &["{g", "}", "{h", "-|-|a|b", "}"]),
            ("root", &["-|-|root|"]),
            ("root, a@b", &["-|-|root|", "-|-|a|b"]),
            ("A B", &["-|-|A B|"]),
            ("root (Charlie)", &["Charlie|-|root|"]),
            ("<>", &["-|-||"]),
            ("A <>", &["A|-||"]),
            ("<root>", &["-|-|root|"]),
            ("@b", &["-|-||b"]),
            ("a@", &["-|-|a|"]),
            ("a@b@c, d@e", &["-|-|a|b", "-|-|d|e"]),
            ("A B a@b", &["A B|-|a|b"]),
            ("a@b <c@d>", &["a@b|-|c|d"]),
            ("a@b c@d, e@f", &["-|-|a|b", "-|-|e|f"]),
            ("A <a@b, c@d", &["A|-|a|b", "-|-|c|d"]),
            ("\"A <a@b", &["-|-|A <a@b|"]),
            ("(A <a@b", &[]),
            ("a;b@c", &["-|-|a|", "-|-|b|c"]),
        ];
        for (value, expected) in cases {
            assert_eq!(shown(value.as_bytes()), *expected, "{value:?}");
        }
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        assert_eq!(parse("a,".repeat(ADDRESSES_MAX).as_bytes()).len(), ADDRESSES_MAX);
        assert_eq!(parse("a,".repeat(ADDRESSES_MAX + 1).as_bytes()).len(), ADDRESSES_MAX);
        let group = parse(["g:", &"a,".repeat(ADDRESSES_MAX)].concat().as_bytes());
        assert_eq!((group.len(), group.last()), (ADDRESSES_MAX + 1, Some(&EnvelopeAddress::GroupEnd)));
    }

    proptest! {
        #[test]
        fn any_value_gives_balanced_groups(value in vec(select(b"a.@<>:;,\"\\()[] \xff".to_vec()), 0..40)) {
            let mut open = false;
            for address in parse(&value) {
                match address {
                    EnvelopeAddress::GroupStart(_) => prop_assert!(!std::mem::replace(&mut open, true)),
                    EnvelopeAddress::GroupEnd => prop_assert!(std::mem::replace(&mut open, false)),
                    EnvelopeAddress::Mailbox { .. } => {}
                }
            }
            prop_assert!(!open);
        }
    }
}
