//! The surrogate of a message for a client that reads only US-ASCII in header fields (RFC 6855 section 7), by RFC 6858. Where US-ASCII can
//! hold what that RFC would leave out, it stays: display names and addresses in encoded words, domains as A-labels, parameters as in RFC 2231.
//!
//! Fields that are not UTF-8 are no internationalized ones (RFC 6532): old mail in any charset, which goes out as it is.

use std::collections::VecDeque;

use waypost_mail::Domain;

use crate::{
    address_list,
    decode::header_text,
    fields,
    header::{Field, HEADER_BYTES_MAX, HeaderBlock, first_line},
    structure::{EnvelopeAddress, Part, Span, Structure},
};

/// What an address becomes that US-ASCII cannot hold (RFC 6858 section 2.1): nobody's, in a domain that there will never be.
const INVALID: &str = "<invalid@internationalized-address.invalid>";
/// Longest encoded word in octets (RFC 2047 section 2).
const ENCODED_WORD_BYTES_MAX: usize = 75;
/// Octets of a parameter's value in one section (RFC 2231 section 3).
const SECTION_BYTES: usize = 60;

/// Whether a header block is one that only UTF-8 can hold (RFC 6532).
pub fn needs_utf8(header: &[u8]) -> bool {
    !header.is_ascii() && std::str::from_utf8(header).is_ok()
}

/// Makes the surrogate of a message while its octets pass.
#[derive(Debug)]
pub struct Surrogate {
    /// Header blocks that are not passed yet, of the message, its parts, and messages in it.
    headers: VecDeque<Span>,
    /// Where the next octet stands.
    at: u64,
    /// The octets of a header block so far.
    gathered: Vec<u8>,
    /// The next header block lacks its begin, which was sent before.
    is_cut: bool,
}

impl Surrogate {
    /// For a message of that structure, from its octet `at` on. Its header block begins `prefix` octets behind its first one.
    pub fn new<O>(structure: &Structure<O>, prefix: u64, at: u64) -> Self {
        let mut headers = VecDeque::from([Span { start: 0, end: prefix }]);
        gather(&structure.root, prefix, &mut headers);
        headers.retain(|span| span.end > at && span.end - span.start <= HEADER_BYTES_MAX as u64);
        let is_cut = headers.front().is_some_and(|span| span.start < at);
        Self { headers, at, gathered: Vec::new(), is_cut }
    }

    /// Takes the next octets, and gives what is ready: nothing within a header block.
    pub fn feed(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut ready = Vec::with_capacity(octets.len());
        let mut rest = octets;
        while !rest.is_empty() {
            let (is_header, end) = match self.headers.front() {
                Some(span) if span.start <= self.at => (true, span.end),
                Some(span) => (false, span.start),
                None => (false, u64::MAX),
            };
            let length = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(rest.len());
            let (piece, later) = rest.split_at(length);
            (self.at, rest) = (self.at + length as u64, later);
            if is_header { &mut self.gathered } else { &mut ready }.extend_from_slice(piece);
            if is_header && self.at >= end {
                self.headers.pop_front();
                let is_cut = std::mem::take(&mut self.is_cut);
                header(&std::mem::take(&mut self.gathered), is_cut, &mut ready);
            }
        }
        ready
    }
}

/// The header blocks of a part and of what is in it, in their order.
fn gather<O>(part: &Part<O>, prefix: u64, headers: &mut VecDeque<Span>) {
    headers.push_back(Span { start: part.header.start + prefix, end: part.header.end + prefix });
    part.children.iter().for_each(|child| gather(child, prefix, headers));
    if let Some(message) = &part.message {
        gather(&message.root, prefix, headers);
    }
}

fn header(octets: &[u8], mut is_cut: bool, ready: &mut Vec<u8>) {
    let mut rest = octets;
    // Once; or twice, where it is cut and begins with the end of a line.
    while !rest.is_ascii() {
        let block = HeaderBlock::new(rest.to_vec());
        for unit in block.units() {
            match std::str::from_utf8(unit) {
                Ok(text) if is_cut => ready.extend_from_slice(unreadable(text).as_bytes()),
                Ok(text) if !text.is_ascii() => ready.extend_from_slice(surrogate(text).as_bytes()),
                _ => ready.extend_from_slice(unit),
            }
            is_cut = false;
        }
        rest = &rest[block.fields_end()..];
        let end = first_line(rest);
        ready.extend_from_slice(end);
        (is_cut, rest) = (false, &rest[end.len()..]);
    }
    ready.extend_from_slice(rest);
}

/// What stands in the place of a field, or of a line that is none.
fn surrogate(unit: &str) -> String {
    let Some(field) = Field::parse(unit.as_bytes()) else {
        return unreadable(unit);
    };
    let (name, value) = (String::from_utf8_lossy(field.name), field.value());
    let value = match name.to_ascii_lowercase().as_str() {
        "bcc" | "cc" | "from" | "reply-to" | "resent-bcc" | "resent-cc" | "resent-from" | "resent-sender"
        | "resent-to" | "return-path" | "sender" | "to" => addresses(&value),
        "content-type" => match fields::content_type(&value) {
            Some(found) => {
                [text(&found.kind), "/".into(), text(&found.subtype), parameters(&found.parameters)].concat()
            }
            None => return String::new(),
        },
        "content-disposition" => match fields::disposition(&value) {
            Some(found) => text(&found.kind) + &parameters(&found.parameters),
            None => return String::new(),
        },
        // where encoded words may stand for any text (RFC 2047 section 5)
        "subject" | "comments" | "content-description" => encoded_words(&header_text(&value)),
        name if name.starts_with("x-") => encoded_words(&header_text(&value)),
        // RFC 6858 section 2.4
        _ => return String::new(),
    };
    format!("{name}: {value}\r\n")
}

/// What is no field, or not all of one.
fn unreadable(line: &str) -> String {
    line.replace(|c: char| !c.is_ascii(), "?")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn addresses(value: &[u8]) -> String {
    let (mut list, mut separator) = (String::new(), "");
    for address in address_list::parse(value) {
        let (piece, behind) = match &address {
            EnvelopeAddress::GroupStart(name) => (phrase(name) + ":", " "),
            EnvelopeAddress::GroupEnd => (";".to_owned(), ",\r\n "),
            EnvelopeAddress::Mailbox { name, local, domain, .. } => {
                (mailbox(name.as_deref().unwrap_or_default(), local, domain), ",\r\n ")
            }
        };
        if !matches!(address, EnvelopeAddress::GroupEnd) {
            list += separator;
        }
        list += &piece;
        separator = behind;
    }
    list
}

/// `mailbox = name-addr / addr-spec` (RFC 5322 section 3.4)
fn mailbox(name: &[u8], local: &[u8], domain: &[u8]) -> String {
    let ascii_domain = match domain.is_ascii() {
        true => Some(text(domain)),
        false => Domain::new(&text(domain)).ok().map(|domain| domain.as_str().to_owned()),
    };
    let at = if domain.is_empty() { "" } else { "@" };
    match ascii_domain.filter(|_| local.is_ascii()) {
        Some(domain) => {
            let name = if name.is_empty() { String::new() } else { phrase(name) + " " };
            format!("{name}<{}{at}{domain}>", quoted(&text(local), |c| is_atext(c) || c == '.'))
        }
        None => {
            let whole = format!("{} <{}{at}{}>", header_text(name), text(local), text(domain));
            format!("{} {INVALID}", encoded_words(whole.trim_start()))
        }
    }
}

/// `phrase` (RFC 5322 section 3.2.5)
fn phrase(name: &[u8]) -> String {
    match name.is_ascii() {
        true => quoted(&text(name), |c| is_atext(c) || c == ' '),
        false => encoded_words(&header_text(name)),
    }
}

/// `atext` (RFC 5322 section 3.2.3), which encoded words are made of, too.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c)
}

/// As it is where all characters are plain, else a quoted string.
fn quoted(text: &str, is_plain: impl Fn(char) -> bool) -> String {
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// `*(";" parameter)` (RFC 2045 section 5.1). A value beyond US-ASCII is written as in RFC 2231; RFC 6858 section 2.2 would leave it out, as is
/// done with what RFC 2231 has no form for.
fn parameters(parameters: &[(Vec<u8>, Vec<u8>)]) -> String {
    let mut list = String::new();
    for (name, value) in parameters.iter().filter(|(name, _)| name.is_ascii()) {
        let name = text(name);
        let is_given =
            |(other, _): &(Vec<u8>, Vec<u8>)| other.eq_ignore_ascii_case(format!("{name}*").as_bytes());
        if value.is_ascii() {
            let is_token = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c);
            list += &format!(";\r\n {name}={}", quoted(&text(value), is_token));
        } else if !name.contains('*') && !parameters.iter().any(is_given) {
            list += &extended(&name, value);
        }
    }
    list
}

/// `extended-parameter` (RFC 2231 section 7), in as many sections as it needs.
fn extended(name: &str, value: &[u8]) -> String {
    let mut sections = vec!["utf-8''".to_owned()];
    for octet in value {
        if sections.last().is_some_and(|last| last.len() >= SECTION_BYTES) {
            sections.push(String::new());
        }
        let plain = octet.is_ascii_alphanumeric() || b"-._".contains(octet);
        let piece = if plain { char::from(*octet).to_string() } else { format!("%{octet:02X}") };
        sections.last_mut().into_iter().for_each(|last| *last += &piece);
    }
    match sections.as_slice() {
        [only] => format!(";\r\n {name}*={only}"),
        several => several.iter().enumerate().map(|(n, one)| format!(";\r\n {name}*{n}*={one}")).collect(),
    }
}

/// Text as words that hold US-ASCII (RFC 2047 section 4.2), with what may stand in a phrase.
fn encoded_words(text: &str) -> String {
    let mut words = String::new();
    let mut room = 0;
    for c in text.chars() {
        let piece = match c {
            ' ' => "_".to_owned(),
            c if c.is_ascii_alphanumeric() || "!*+-/".contains(c) => c.to_string(),
            c => c.encode_utf8(&mut [0; 4]).bytes().map(|octet| format!("={octet:02X}")).collect(),
        };
        if piece.len() > room {
            words += if words.is_empty() { "=?utf-8?q?" } else { "?=\r\n =?utf-8?q?" };
            room = ENCODED_WORD_BYTES_MAX - "=?utf-8?q??=".len();
        }
        room -= piece.len();
        words += &piece;
    }
    if words.is_empty() { words } else { words + "?=" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Splitter;

    /// The surrogate, by chunks of several sizes.
    fn of(message: &[u8]) -> String {
        let structure = Splitter::split(message);
        let by = |chunk: usize| {
            let mut surrogate = Surrogate::new(&structure, 0, 0);
            message.chunks(chunk).flat_map(|octets| surrogate.feed(octets)).collect::<Vec<u8>>()
        };
        let whole = by(message.len());
        for chunk in [1, 2, 3, 64] {
            assert_eq!(by(chunk), whole, "in chunks of {chunk}");
        }
        String::from_utf8_lossy(&whole).into_owned()
    }

    #[test]
    fn fields_become_ascii() {
        for (field, expected) in [
            ("Subject: Gr\u{fc}\u{df}e\r\n", "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"),
            ("subject : =?utf-8?q?a_b?= \u{e9}\r\n", "subject: =?utf-8?q?a_b_=C3=A9?=\r\n"),
            ("X-Note:\r\n \u{e9}\r\n", "X-Note: =?utf-8?q?=C3=A9?=\r\n"),
            ("From: J\u{f6}rg <j@a.test>\r\n", "From: =?utf-8?q?J=C3=B6rg?= <j@a.test>\r\n"),
            (
                "From: J\u{f6}rg <j\u{f6}rg@a.test>\r\n",
                "From: =?utf-8?q?J=C3=B6rg_=3Cj=C3=B6rg=40a=2Etest=3E?= <invalid@internationalized-address.invalid>\r\n",
            ),
            ("To: <a@b\u{fc}cher.example>\r\n", "To: <a@xn--bcher-kva.example>\r\n"),
            (
                "Cc: \"B, A\" <a@b>, \u{fc}: c@d, \"x y\"@z;, =?utf-8?q?q?= <e@f>, root\r\n",
                "Cc: \"B, A\" <a@b>,\r\n =?utf-8?q?=C3=BC?=: <c@d>,\r\n <\"x y\"@z>;,\r\n =?utf-8?q?q?= <e@f>,\r\n <root>\r\n",
            ),
            ("Message-ID: <\u{fc}@a.test>\r\n", ""),
            ("Received: for <\u{fc}@a.test>\r\n", ""),
            ("\u{fc}: a\r\n", "?: a\r\n"),
            ("no field \u{fc}\r\n", "no field ?\r\n"),
            (
                "Content-Type: Text/plain; name=\"a\\\"\u{fc}.txt\"; charset=utf-8; x=\"a b\"\r\n",
                "Content-Type: Text/plain;\r\n name*=utf-8''a%22%C3%BC.txt;\r\n charset=utf-8;\r\n x=\"a b\"\r\n",
            ),
            (
                "Content-Disposition: attachment; filename=\u{fc}; filename*=utf-8''%C3%BC\r\n",
                "Content-Disposition: attachment;\r\n filename*=utf-8''%C3%BC\r\n",
            ),
            ("Content-Disposition: \u{fc}\r\n", ""),
        ] {
            let message = format!("A: b\r\n{field}B: c\r\n\r\nbody \u{fc}\r\n");
            assert_eq!(
                of(message.as_bytes()),
                format!("A: b\r\n{expected}B: c\r\n\r\nbody \u{fc}\r\n"),
                "{field}"
            );
        }
    }

    #[test]
    fn what_is_not_utf8_or_is_ascii_stays() {
        let ascii = "From: \"a\"   <a@b> (c)\r\nContent-Type: text/plain ; a=b\r\n";
        for message in [
            b"Subject: Gr\xfc\xdfe\r\n\r\nGr\xfc\xdfe".to_vec(),
            [ascii.as_bytes(), "\r\n\u{fc}\n".as_bytes()].concat(),
            [ascii.as_bytes(), b"X: \xff".as_slice()].concat(),
        ] {
            let structure = Splitter::split(&message);
            assert_eq!(Surrogate::new(&structure, 0, 0).feed(&message), message);
            assert!(!needs_utf8(&message[..structure.root.header.end as usize]));
        }
        assert!(needs_utf8("A: \u{fc}\r\n\r\n".as_bytes()));
    }

    #[test]
    fn parts_and_messages_in_them_have_headers_too() {
        let message = "Subject: \u{fc}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\u{fc}\r\n--b\r\n\
            Content-Description: \u{fc}\r\n\r\n\u{fc}\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n\
            Subject: \u{e9}\r\n\r\n\u{e9}\r\n--b\r\n\r\nSubject: \u{e9}\r\n--b--\r\n";
        let encoded = |text: &str| message.replacen("Subject: \u{fc}", text, 1);
        let expected = encoded("Subject: =?utf-8?q?=C3=BC?=")
            .replace("Content-Description: \u{fc}", "Content-Description: =?utf-8?q?=C3=BC?=")
            .replacen("Subject: \u{e9}", "Subject: =?utf-8?q?=C3=A9?=", 1);
        assert_eq!(of(message.as_bytes()), expected);
    }

    /// What was sent before the first octet above 127 came is not there any more.
    #[test]
    fn it_may_begin_anywhere_behind_a_prefix() {
        let (prefix, message) = ("Return-Path: <a@b>\r\n", "A: b\r\nSubject: \u{fc}\r\n\r\n\u{fc}\r\n");
        let whole = [prefix, message].concat();
        let structure = Splitter::split(message.as_bytes());
        let expected = "A: b\r\nSubject: =?utf-8?q?=C3=BC?=\r\n\r\n\u{fc}\r\n";
        for at in 0..prefix.len() + 6 {
            let mut surrogate = Surrogate::new(&structure, prefix.len() as u64, at as u64);
            let ready = surrogate.feed(&whole.as_bytes()[at..]);
            assert_eq!(String::from_utf8(ready).unwrap(), [prefix, expected].concat()[at..], "{at}");
        }
        let mut cut = Surrogate::new(&structure, 0, 8);
        assert_eq!(cut.feed(&message.as_bytes()[8..]), "bject: ?\r\n\r\n\u{fc}\r\n".as_bytes());
    }

    #[test]
    fn words_and_sections_are_bounded() {
        let long = "\u{20ac}".repeat(100);
        let words = encoded_words(&long);
        assert!(words.split("\r\n ").all(|word| word.len() <= ENCODED_WORD_BYTES_MAX));
        assert_eq!(header_text(words.as_bytes()), long);
        assert_eq!(encoded_words(""), "");
        let sections = extended("name", long.as_bytes());
        assert!(sections.split("\r\n").all(|line| line.len() <= 78), "{sections}");
        assert!(sections.starts_with(";\r\n name*0*=utf-8''%E2") && sections.contains("\r\n name*1*=%"));
    }
}
