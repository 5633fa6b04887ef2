//! What we say, as octets: one function per rule of RFC 3501 section 9, each appending to what was said before.

use std::{borrow::Cow, ops::RangeInclusive};

use waypost_mail::{DateTime, Flags};

use super::{Spelling, mutf7};

/// Longest string that is sent quoted; longer ones go as literals.
pub const QUOTED_BYTES_MAX: usize = 1024;
/// Most ranges in one VANISHED response: a line of some 6 KiB.
const VANISHED_RANGES_MAX: usize = 300;

/// `resp-cond-state`: how a command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// It is done.
    Ok,
    /// It could not be done.
    No,
    /// It was not understood.
    Bad,
}

impl Status {
    /// `OK`, `NO`, `BAD`
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
        }
    }
}

/// Whether a message has `\Recent` in this session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Recent {
    /// It has.
    Yes,
    /// It has not.
    No,
}

/// `response-tagged = tag SP resp-cond-state CRLF`; the code without its brackets.
pub fn tagged(out: &mut Vec<u8>, tag: &str, status: Status, code: Option<&str>, text: &str) {
    condition(out, tag, status.name(), code, text);
}

/// `* OK [code] text`: untagged `resp-cond-state`.
pub fn untagged(out: &mut Vec<u8>, status: Status, code: Option<&str>, text: &str) {
    condition(out, "*", status.name(), code, text);
}

/// `resp-cond-bye = "BYE" SP resp-text`, untagged.
pub fn bye(out: &mut Vec<u8>, code: Option<&str>, text: &str) {
    condition(out, "*", "BYE", code, text);
}

/// `continue-req = "+" SP (resp-text / base64) CRLF`
pub fn continue_req(out: &mut Vec<u8>, text: &str) {
    out.extend(b"+ ");
    self::text(out, text);
    out.extend(b"\r\n");
}

/// `* data`: any other untagged response; `data` holds no CR or LF.
pub fn data(out: &mut Vec<u8>, data: &str) {
    out.extend(b"* ");
    out.extend(data.as_bytes());
    out.extend(b"\r\n");
}

fn condition(out: &mut Vec<u8>, tag: &str, name: &str, code: Option<&str>, text: &str) {
    out.extend(tag.as_bytes());
    out.push(b' ');
    out.extend(name.as_bytes());
    out.push(b' ');
    if let Some(code) = code {
        out.push(b'[');
        self::text(out, code);
        out.extend(b"] ");
    }
    self::text(out, if text.is_empty() { "done" } else { text });
    out.extend(b"\r\n");
}

/// `text = 1*TEXT-CHAR`, with `UTF8-TEXT-CHAR` (RFC 5255 section 3.5) in a language that has such: controls become `?`.
fn text(out: &mut Vec<u8>, text: &str) {
    let shown = |char: char| if char.is_control() { '?' } else { char };
    out.extend(text.chars().map(shown).collect::<String>().as_bytes());
}

/// `string = quoted / literal`: a literal where it must be.
pub fn string(out: &mut Vec<u8>, octets: &[u8]) {
    let quotable = |octet: &u8| matches!(octet, 0x01..=0x09 | 0x0b | 0x0c | 0x0e..=0x7f);
    if octets.len() <= QUOTED_BYTES_MAX && octets.iter().all(quotable) {
        quoted(out, octets);
    } else {
        literal(out, octets);
    }
}

/// `quoted = DQUOTE *QUOTED-CHAR DQUOTE`
fn quoted(out: &mut Vec<u8>, octets: &[u8]) {
    let is_special = |octet: &u8| matches!(octet, b'"' | b'\\');
    out.push(b'"');
    let mut rest = octets;
    while let Some(at) = rest.iter().position(is_special) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// A number, in decimal digits.
pub fn number(out: &mut Vec<u8>, mut number: u64) {
    let (mut digits, mut at) = ([0; 20], 20);
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

/// `literal = "{" number "}" CRLF *CHAR8`
pub fn literal(out: &mut Vec<u8>, octets: &[u8]) {
    literal_head(out, octets.len() as u64);
    out.extend(&*char8(octets));
}

/// `CHAR8 = %x01-ff`: NUL, for which only a literal8 has room, becomes 0x80, so that sizes and places stay.
pub fn char8(octets: &[u8]) -> Cow<'_, [u8]> {
    match octets.contains(&0) {
        true => octets.iter().map(|octet| if *octet == 0 { 0x80 } else { *octet }).collect(),
        false => octets.into(),
    }
}

/// The first line of a literal whose octets are sent by themselves.
pub fn literal_head(out: &mut Vec<u8>, bytes: u64) {
    out.push(b'{');
    number(out, bytes);
    out.extend_from_slice(b"}\r\n");
}

/// `literal8 = "~{" number "}" CRLF *OCTET` (RFC 3516 section 7): its first line.
pub fn literal8_head(out: &mut Vec<u8>, bytes: u64) {
    out.push(b'~');
    literal_head(out, bytes);
}

/// `nstring = string / nil`
pub fn nstring(out: &mut Vec<u8>, octets: Option<&[u8]>) {
    match octets {
        Some(octets) => string(out, octets),
        None => out.extend(b"NIL"),
    }
}

/// `astring = 1*ASTRING-CHAR / string`; what reads as NIL is quoted.
pub fn astring(out: &mut Vec<u8>, octets: &[u8]) {
    let plain = !octets.is_empty() && octets.iter().copied().all(super::token::is_astring_char);
    if plain && !octets.eq_ignore_ascii_case(b"NIL") {
        out.extend(octets);
    } else {
        string(out, octets);
    }
}

/// `mailbox = "INBOX" / astring`, from UTF-8. What is not US-ASCII is quoted (RFC 9051 section 4.3).
pub fn mailbox(out: &mut Vec<u8>, name: &str, spelling: Spelling) {
    match spelling {
        Spelling::Utf7 => astring(out, mutf7::encode(name).as_bytes()),
        Spelling::Utf8 if name.is_ascii() => astring(out, name.as_bytes()),
        Spelling::Utf8 => quoted(out, name.as_bytes()),
    }
}

/// `"(" [flag-fetch *(SP flag-fetch)] ")"`
pub fn flag_list(out: &mut Vec<u8>, flags: &Flags, recent: Recent) {
    let separator = if flags.is_empty() { "" } else { " " };
    match recent {
        Recent::Yes => out.extend(format!("({flags}{separator}\\Recent)").as_bytes()),
        Recent::No => out.extend(format!("({flags})").as_bytes()),
    }
}

/// `date-time`
pub fn date_time(out: &mut Vec<u8>, date: &DateTime) {
    out.extend(format!("\"{}\"", date.imap()).as_bytes());
}

/// `sequence-set` of numbers in the order given, runs as ranges: `1:3,7`. Of no numbers: nothing, which is no valid set.
pub fn sequence_set(numbers: impl IntoIterator<Item = u32>) -> String {
    ranges(&runs(numbers))
}

/// Numbers in the order given as ranges.
fn runs(numbers: impl IntoIterator<Item = u32>) -> Vec<RangeInclusive<u32>> {
    let mut runs: Vec<RangeInclusive<u32>> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if run.end().checked_add(1) == Some(number) => *run = *run.start()..=number,
            _ => runs.push(number..=number),
        }
    }
    runs
}

fn ranges(ranges: &[RangeInclusive<u32>]) -> String {
    let range = |range: &RangeInclusive<u32>| match (range.start(), range.end()) {
        (start, end) if start == end => start.to_string(),
        (start, end) => format!("{start}:{end}"),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

/// `expunged-resp = "VANISHED" SP known-uids` (RFC 7162 section 7) of messages that lose their numbers.
pub fn vanished(out: &mut Vec<u8>, uids: impl IntoIterator<Item = u32>) {
    for some in runs(uids).chunks(VANISHED_RANGES_MAX) {
        data(out, &format!("VANISHED {}", ranges(some)));
    }
}

/// `expunged-resp = "VANISHED" SP "(EARLIER)" SP known-uids` of messages that have none, each response by itself.
pub fn vanished_earlier(uids: &[RangeInclusive<u32>]) -> impl Iterator<Item = Vec<u8>> {
    uids.chunks(VANISHED_RANGES_MAX).map(|some| {
        let mut out = Vec::new();
        data(&mut out, &format!("VANISHED (EARLIER) {}", ranges(some)));
        out
    })
}
