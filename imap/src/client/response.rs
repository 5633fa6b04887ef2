//! The grammar of what a server says (RFC 3501 section 9, RFC 9051 section 9), as far as we have a use for it.
//!
//! It is tolerant: what we did not ask for is passed over, whatever it holds, and so are items of FETCH that we do not know. Where
//! the octets of a message passed by, NIL stands for them ([`super::framing`]).

use std::borrow::Cow;

use nom::{
    Parser,
    branch::alt,
    bytes::complete::{tag, tag_no_case, take, take_while, take_while1},
    combinator::{map, opt, recognize, value},
    sequence::{delimited, preceded, terminated},
};
use waypost_mail::{DateTime, Flag, Flags};
use waypost_storage::SpecialUse;

use super::capability::Capabilities;
use crate::wire::{
    Status,
    token::{Parsed, ascii, astring, literal_head, number64, nz_number, or_refuse, refuse, sp, string},
};

/// Deepest parentheses that are passed over.
const DEPTH_MAX: usize = 20;
/// Most flags of a message or attributes of a folder, and most namespaces, that are looked at.
const ITEMS_MAX: usize = 1000;
/// Octets of a server's own words that are told.
const TEXT_BYTES_MAX: usize = 300;

/// A response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Response {
    /// `continue-req`, with what stands behind `+`.
    Continue(String),
    /// `response-tagged`
    Tagged(String, Status, Words),
    /// Untagged OK, NO and BAD.
    Status(Status, Words),
    PreAuth(Words),
    Bye(Words),
    Capability(Capabilities),
    /// LIST and LSUB; `Err`: the name cannot be read.
    List(Result<Listed, String>),
    Lsub(Result<Listed, String>),
    Namespace(Namespaces),
    Exists(u32),
    /// STATUS, with MESSAGES.
    Count(u32),
    Fetch(Fetched),
    /// What we have no use for.
    Other,
}

/// `resp-text`
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Words {
    pub(super) code: Option<Code>,
    /// Printable, and cut off.
    pub(super) text: String,
}

/// `resp-text-code`
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Code {
    Capability(Capabilities),
    UidValidity(u32),
    /// Its first word, in capitals.
    Other(String),
}

/// `mailbox-list`
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Listed {
    pub(super) name: Vec<u8>,
    pub(super) delimiter: Option<char>,
    pub(super) is_selectable: bool,
    pub(super) is_subscribed: bool,
    pub(super) special_use: Option<SpecialUse>,
}

/// `namespace-response` (RFC 2342): prefixes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Namespaces {
    /// Of the user's own folders.
    pub personal: Vec<Vec<u8>>,
    /// Of folders of other users, and of those that are everybody's.
    pub others: Vec<Vec<u8>>,
}

/// `message-data` of FETCH.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Fetched {
    pub(super) uid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) flags: Flags,
    /// Whether there are keywords that we cannot keep.
    pub(super) lost_keywords: bool,
    pub(super) date: Option<DateTime>,
    /// `BODY[]`, where it stands in the response itself.
    pub(super) body: Option<Vec<u8>>,
}

/// Reads a response without its last CRLF. `Err`: it is none, and which.
pub(super) fn response(octets: &[u8]) -> Result<Response, String> {
    if let Some(rest) = octets.strip_prefix(b"+") {
        return Ok(Response::Continue(shown(rest.strip_prefix(b" ").unwrap_or(rest), usize::MAX)));
    }
    match octets.strip_prefix(b"* ") {
        Some(data) => untagged(data).map_err(|()| shown(octets, TEXT_BYTES_MAX)),
        None => match tagged(octets) {
            Ok((_, response)) => Ok(response),
            Err(_) => Err(shown(octets, TEXT_BYTES_MAX)),
        },
    }
}

/// Whether a literal may stand in a response that begins so: text of a status is not looked into.
pub(super) fn may_hold_literals(octets: &[u8]) -> bool {
    octets.strip_prefix(b"* ").is_some_and(|data| condition(data).is_err() && bye_or_preauth(data).is_err())
}

/// Where `{n}` begins, if octets that end with it and CRLF are a FETCH response up to its message.
pub(super) fn before_body(octets: &[u8]) -> Option<usize> {
    let (rest, _) = fetch_head(octets.strip_prefix(b"* ")?).ok()?;
    let mut rest = rest;
    loop {
        let (value, name) = item_name(rest).ok()?;
        if is_body(name) && literal8_head(value).is_ok_and(|(end, _)| end == b"\r\n") {
            return Some(octets.len() - value.len());
        }
        rest = terminated(|input| any(input, 0), take_while(|octet| octet == b' ')).parse(value).ok()?.0;
    }
}

/// `response-tagged = tag SP resp-cond-state CRLF`
fn tagged(input: &[u8]) -> Parsed<'_, Response> {
    let (rest, name) = take_while1(|octet: u8| octet.is_ascii_alphanumeric()).parse(input)?;
    let (rest, (status, words)) = preceded(sp, condition).parse(rest)?;
    Ok((rest, Response::Tagged(ascii(name), status, words)))
}

fn untagged(data: &[u8]) -> Result<Response, ()> {
    if let Ok((_, (status, words))) = condition(data) {
        return Ok(Response::Status(status, words));
    }
    if let Ok((_, response)) = bye_or_preauth(data) {
        return Ok(response);
    }
    let (rest, first) = word(data).unwrap_or((data, ""));
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    match first.to_ascii_uppercase().as_str() {
        "CAPABILITY" => Ok(Response::Capability(Capabilities::of(&String::from_utf8_lossy(rest)))),
        "LIST" => Ok(Response::List(listing(rest))),
        "LSUB" => Ok(Response::Lsub(listing(rest))),
        "NAMESPACE" => Ok(namespace(rest).map_or(Response::Other, |(_, found)| Response::Namespace(found))),
        "STATUS" => Ok(status(rest).map_or(Response::Other, |(_, messages)| Response::Count(messages))),
        _ => numbered(data),
    }
}

/// `mailbox SP "(" "MESSAGES" SP number … ")"`
fn status(input: &[u8]) -> Parsed<'_, u32> {
    let (rest, _) = (astring, sp, tag("("), tag_no_case("MESSAGES"), sp).parse(input)?;
    let (rest, messages) = number64(rest)?;
    Ok((rest, u32::try_from(messages).unwrap_or(u32::MAX)))
}

/// `message-data = nz-number SP ("EXPUNGE" / ("FETCH" SP msg-att))`, `mailbox-data = … / number SP "EXISTS"`
fn numbered(data: &[u8]) -> Result<Response, ()> {
    let Ok((rest, number)) = terminated(number64, sp).parse(data) else { return Ok(Response::Other) };
    match word(rest) {
        Ok((_, name)) if name.eq_ignore_ascii_case("EXISTS") => {
            Ok(Response::Exists(u32::try_from(number).map_err(drop)?))
        }
        Ok((_, name)) if name.eq_ignore_ascii_case("FETCH") => {
            fetch(data).map(|(_, fetched)| Response::Fetch(fetched)).map_err(drop)
        }
        _ => Ok(Response::Other),
    }
}

/// `resp-cond-state = ("OK" / "NO" / "BAD") SP resp-text`; the text may be missing.
fn condition(input: &[u8]) -> Parsed<'_, (Status, Words)> {
    let mut status = alt((
        value(Status::Ok, tag_no_case("OK")),
        value(Status::No, tag_no_case("NO")),
        value(Status::Bad, tag_no_case("BAD")),
    ));
    let (rest, status) = status.parse(input)?;
    map(text_behind, |words| (status, words)).parse(rest)
}

/// `("PREAUTH" / "BYE") SP resp-text`
fn bye_or_preauth(input: &[u8]) -> Parsed<'_, Response> {
    alt((
        map(preceded(tag_no_case("BYE"), text_behind), Response::Bye),
        map(preceded(tag_no_case("PREAUTH"), text_behind), Response::PreAuth),
    ))
    .parse(input)
}

/// `resp-text = ["[" resp-text-code "]" SP] text`, all that is left.
fn text_behind(input: &[u8]) -> Parsed<'_, Words> {
    let Some(rest) = input.strip_prefix(b" ") else {
        return if input.is_empty() {
            Ok((input, Words::default()))
        } else {
            refuse(input, "expected a space")
        };
    };
    let code = delimited(tag("["), take_while1(|octet| octet != b']'), tag("]"));
    let (rest, octets) = opt(code).parse(rest)?;
    let code = octets.map(|octets: &[u8]| code_of(&String::from_utf8_lossy(octets)));
    let text = shown(rest.strip_prefix(b" ").unwrap_or(rest), TEXT_BYTES_MAX);
    Ok((&[], Words { code, text }))
}

fn code_of(text: &str) -> Code {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    let name = name.to_ascii_uppercase();
    match (name.as_str(), rest.trim().parse()) {
        ("CAPABILITY", _) => Code::Capability(Capabilities::of(rest)),
        ("UIDVALIDITY", Ok(number)) => Code::UidValidity(number),
        _ => Code::Other(name),
    }
}

/// `mailbox-list = "(" [mbx-list-flags] ")" SP (DQUOTE QUOTED-CHAR DQUOTE / nil) SP mailbox [SP mbox-list-extended]`
fn listing(input: &[u8]) -> Result<Listed, String> {
    let delimiter = alt((value(None, tag_no_case("NIL")), map(string, Some)));
    match (flags, sp, delimiter, sp, astring).parse(input) {
        Ok((_, (attributes, (), delimiter, (), name))) => {
            let delimiter =
                delimiter.and_then(|octets: Cow<'_, [u8]>| octets.first().map(|first| char::from(*first)));
            Ok(listed(&attributes, delimiter, name.into_owned()))
        }
        Err(_) => Err(shown(input, TEXT_BYTES_MAX)),
    }
}

fn listed(attributes: &[String], delimiter: Option<char>, name: Vec<u8>) -> Listed {
    let is = |wanted: &str| attributes.iter().any(|name| name.eq_ignore_ascii_case(wanted));
    // RFC 9051 section 7.3.1: what does not exist cannot be selected
    let is_selectable = !is("\\Noselect") && !is("\\NonExistent");
    let special_use =
        SpecialUse::NAMES.iter().find(|(_, name)| is(name)).map(|(special_use, _)| *special_use);
    Listed { name, delimiter, is_selectable, is_subscribed: is("\\Subscribed"), special_use }
}

/// `"(" [flag *(SP flag)] ")"`, whatever a server takes for a flag
fn flags(input: &[u8]) -> Parsed<'_, Vec<String>> {
    let is_flag_char = |octet: u8| octet.is_ascii_graphic() && !b"(){\"".contains(&octet);
    let (mut rest, _) = or_refuse(tag("("), "expected flags")(input)?;
    let mut found = Vec::new();
    loop {
        rest = take_while(|octet| octet == b' ').parse(rest)?.0;
        if let Some(rest) = rest.strip_prefix(b")") {
            return Ok((rest, found));
        }
        let (after, flag) = take_while1(is_flag_char).parse(rest)?;
        if found.len() == ITEMS_MAX {
            return refuse(rest, "too many flags");
        }
        found.push(ascii(flag));
        rest = after;
    }
}

/// `namespace-response = "NAMESPACE" SP namespace SP namespace SP namespace`: the user's own, other users', shared
fn namespace(input: &[u8]) -> Parsed<'_, Namespaces> {
    let (rest, personal) = prefixes(input)?;
    let (rest, (mut others, shared)) = (preceded(sp, prefixes), preceded(sp, prefixes)).parse(rest)?;
    others.extend(shared);
    Ok((rest, Namespaces { personal, others }))
}

/// `namespace = nil / "(" 1*( "(" string SP … ")" ) ")"`
fn prefixes(input: &[u8]) -> Parsed<'_, Vec<Vec<u8>>> {
    if let Ok((rest, ())) = nil(input) {
        return Ok((rest, Vec::new()));
    }
    let (mut rest, _) = tag("(").parse(input)?;
    let mut found = Vec::new();
    while !rest.starts_with(b")") {
        let (after, prefix) = preceded(tag("("), string).parse(rest)?;
        // The delimiter, and what extensions there are.
        let (after, _) = nested_rest(after, 0)?;
        if found.len() == ITEMS_MAX {
            return refuse(rest, "too many namespaces");
        }
        found.push(prefix.into_owned());
        rest = take_while(|octet| octet == b' ').parse(after)?.0;
    }
    Ok((&rest[1..], found))
}

fn nil(input: &[u8]) -> Parsed<'_, ()> {
    value((), tag_no_case("NIL")).parse(input)
}

/// `nz-number SP "FETCH" SP "("`
fn fetch_head(input: &[u8]) -> Parsed<'_, ()> {
    value((), (nz_number, sp, tag_no_case("FETCH"), sp, tag("("))).parse(input)
}

/// `msg-att = "(" (msg-att-dynamic / msg-att-static) *(SP …) ")"`
fn fetch(input: &[u8]) -> Parsed<'_, Fetched> {
    let (mut rest, ()) = fetch_head(input)?;
    let mut fetched = Fetched::default();
    loop {
        rest = take_while(|octet| octet == b' ').parse(rest)?.0;
        if rest.starts_with(b")") {
            return Ok((&rest[1..], fetched));
        }
        let (after, name) = item_name(rest)?;
        rest = fetched.item(name, after)?;
    }
}

impl Fetched {
    /// Takes the value of an item; what is left.
    fn item<'a>(
        &mut self,
        name: &[u8],
        input: &'a [u8],
    ) -> Result<&'a [u8], nom::Err<crate::wire::token::Problem>> {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if is("UID") {
            let (rest, uid) = nz_number(input)?;
            self.uid = Some(uid);
            return Ok(rest);
        }
        if is("RFC822.SIZE") {
            let (rest, size) = number64(input)?;
            self.size = Some(size);
            return Ok(rest);
        }
        if is("FLAGS") {
            let (rest, names) = flags(input)?;
            self.take_flags(&names);
            return Ok(rest);
        }
        if is("INTERNALDATE")
            && let Ok((rest, text)) = string(input)
        {
            self.date = DateTime::parse_imap(&String::from_utf8_lossy(&text));
            return Ok(rest);
        }
        if is_body(name)
            && let Ok((rest, octets)) = string(input)
        {
            self.body = Some(octets.into_owned());
            return Ok(rest);
        }
        Ok(any(input, 0)?.0)
    }

    fn take_flags(&mut self, names: &[String]) {
        for name in names {
            match Flag::parse(name) {
                Some(flag) => self.flags.insert(flag),
                // \Recent is a session's; what else begins with \ cannot be stored
                None => self.lost_keywords |= !name.starts_with('\\'),
            }
        }
    }
}

fn is_body(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"BODY[]") || name.eq_ignore_ascii_case(b"BODY[]<0>")
}

/// The name of an item, with its section, and the space behind it.
fn item_name(input: &[u8]) -> Parsed<'_, &[u8]> {
    let plain = take_while1(|octet: u8| octet.is_ascii_graphic() && !b"()[]{\"".contains(&octet));
    let section = (tag("["), take_while(|octet| !matches!(octet, b']' | b'{')), tag("]"));
    let origin = take_while(|octet: u8| octet.is_ascii_graphic() && !b"()[]{\"".contains(&octet));
    terminated(recognize((plain, opt((section, origin)))), sp).parse(input)
}

/// `["~"] "{" number64 "}"`
fn literal8_head(input: &[u8]) -> Parsed<'_, u64> {
    preceded(opt(tag("~")), literal_head).parse(input)
}

/// Any value.
fn any(input: &[u8], depth: usize) -> Parsed<'_, ()> {
    match input.first() {
        Some(b'(') if depth < DEPTH_MAX => nested_rest(&input[1..], depth + 1),
        Some(b'"') => map(string, drop).parse(input),
        Some(b'{' | b'~') if literal8_head(input).is_ok() => {
            let (rest, bytes) = terminated(literal8_head, tag("\r\n")).parse(input)?;
            map(take(bytes), drop).parse(rest)
        }
        _ => map(take_while1(|octet: u8| octet.is_ascii_graphic() && !b"(){\"".contains(&octet)), drop)
            .parse(input),
    }
}

/// Values up to the parenthesis that closes them.
fn nested_rest(input: &[u8], depth: usize) -> Parsed<'_, ()> {
    let mut rest = input;
    loop {
        rest = take_while(|octet| octet == b' ').parse(rest)?.0;
        if let Some(rest) = rest.strip_prefix(b")") {
            return Ok((rest, ()));
        }
        rest = any(rest, depth)?.0;
    }
}

fn word(input: &[u8]) -> Parsed<'_, &str> {
    let (rest, octets) = take_while1(|octet: u8| octet.is_ascii_alphanumeric()).parse(input)?;
    Ok((rest, str::from_utf8(octets).unwrap_or_default()))
}

/// A server's words: printable, not too many.
fn shown(octets: &[u8], bytes_max: usize) -> String {
    let text = String::from_utf8_lossy(&octets[..octets.len().min(bytes_max)]);
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(name: &str, text: &str) -> Words {
        Words { code: Some(Code::Other(name.into())), text: text.into() }
    }

    fn words(text: &str) -> Words {
        Words { code: None, text: text.into() }
    }

    #[test]
    fn statuses_are_read() {
        for (octets, expected) in [
            ("* OK", Response::Status(Status::Ok, words(""))),
            ("* ok hello", Response::Status(Status::Ok, words("hello"))),
            ("* NO [ALERT] full\x1b[0m", Response::Status(Status::No, other("ALERT", "full?[0m"))),
            ("* BAD [unfinished", Response::Status(Status::Bad, words("[unfinished"))),
            ("* BYE [UNAVAILABLE] later", Response::Bye(other("UNAVAILABLE", "later"))),
            ("* PREAUTH you", Response::PreAuth(words("you"))),
            ("w1 OK [READ-ONLY] done", Response::Tagged("w1".into(), Status::Ok, other("READ-ONLY", "done"))),
            ("w2 NO", Response::Tagged("w2".into(), Status::No, words(""))),
            ("+ abc=", Response::Continue("abc=".into())),
            ("+", Response::Continue(String::new())),
            ("* OKAY", Response::Other),
            ("* 12 EXISTS", Response::Exists(12)),
            ("* 12 RECENT", Response::Other),
            ("* STATUS \"a b\" (messages 7)", Response::Count(7)),
            ("* STATUS a (UNSEEN 7)", Response::Other),
            ("* 3 EXPUNGE", Response::Other),
            ("* FLAGS (\\Seen $x)", Response::Other),
            ("* ", Response::Other),
            ("* SOMETHING (((", Response::Other),
        ] {
            assert_eq!(response(octets.as_bytes()), Ok(expected), "{octets}");
        }
        let uid_validity = Words { code: Some(Code::UidValidity(7)), text: "ids".into() };
        assert_eq!(response(b"* OK [UIDVALIDITY 7] ids"), Ok(Response::Status(Status::Ok, uid_validity)));
        for octets in [
            "",
            "w1",
            "w1 OKAY",
            "x-1 OK",
            "*",
            "* 99999999999 EXISTS",
            "* 1 FETCH",
            "* 1 FETCH (UID 0)",
            "* 0 FETCH ()",
        ] {
            assert!(response(octets.as_bytes()).is_err(), "{octets}");
        }
    }

    #[test]
    fn capabilities_are_read() {
        let Ok(Response::Capability(found)) =
            response(b"* CAPABILITY imap4rev1 AUTH=Plain LOGINDISABLED X-Y")
        else {
            panic!("no capabilities")
        };
        let expected = Capabilities {
            imap4rev1: true,
            auth_plain: true,
            login_disabled: true,
            ..Capabilities::default()
        };
        assert_eq!(found, expected);
        let text = b"* OK [CAPABILITY IMAP4rev2] hello";
        let Ok(Response::Status(_, Words { code: Some(Code::Capability(found)), .. })) = response(text)
        else {
            panic!("no capabilities")
        };
        assert!(found.list_extended && found.special_use && !found.imap4rev1);
    }

    #[test]
    fn folders_are_read() {
        let folder = |name: &[u8], delimiter| Listed {
            name: name.to_vec(),
            delimiter,
            is_selectable: true,
            ..Listed::default()
        };
        for (octets, expected) in [
            (&b"* LIST () \"/\" INBOX"[..], folder(b"INBOX", Some('/'))),
            (b"* list (\\HasNoChildren) NIL \"a b\"", folder(b"a b", None)),
            (
                b"* LIST (\\Noselect ) \".\" {3}\r\na\"b",
                Listed { is_selectable: false, ..folder(b"a\"b", Some('.')) },
            ),
            (
                b"* LIST (\\Subscribed \\sent) \"\\\\\" Entw&APw-rfe (\"CHILDINFO\" (\"SUBSCRIBED\"))",
                Listed {
                    is_subscribed: true,
                    special_use: Some(SpecialUse::Sent),
                    ..folder(b"Entw&APw-rfe", Some('\\'))
                },
            ),
        ] {
            assert_eq!(response(octets), Ok(Response::List(Ok(expected))), "{}", octets.escape_ascii());
        }
        for octets in [&b"* LIST () \"/\" \"\xff\""[..], b"* LIST", b"* LIST () / a", b"* LIST ( \"/\" a"] {
            assert!(matches!(response(octets), Ok(Response::List(Err(_)))), "{}", octets.escape_ascii());
        }
        let found =
            response(b"* NAMESPACE ((\"INBOX.\" \".\" \"X\" (\"Y\"))) ((\"~\" \"/\")(\"o/\" NIL)) NIL");
        let expected =
            Namespaces { personal: vec![b"INBOX.".to_vec()], others: vec![b"~".to_vec(), b"o/".to_vec()] };
        assert_eq!(found, Ok(Response::Namespace(expected)));
    }

    #[test]
    fn messages_are_read_whatever_the_order_of_their_items() {
        let flags = |names: &[&str]| names.iter().filter_map(|name| Flag::parse(name)).collect::<Flags>();
        let date = DateTime::parse_imap("21-Nov-2026 04:05:06 +0130");
        for (octets, expected) in [
            ("* 1 FETCH ()", Fetched::default()),
            (
                "* 1 FETCH (UID 7 RFC822.SIZE 4294967296)",
                Fetched { uid: Some(7), size: Some(1 << 32), ..Fetched::default() },
            ),
            (
                "* 1 fetch (flags (\\Seen \\Recent \\X $Forwarded a]b) INTERNALDATE \"21-Nov-2026 04:05:06 +0130\" uid 7 BODY[] NIL)",
                Fetched {
                    uid: Some(7),
                    flags: flags(&["\\Seen", "$Forwarded"]),
                    lost_keywords: true,
                    date,
                    ..Fetched::default()
                },
            ),
            (
                "* 1 FETCH (MODSEQ (12) BODY[] \"a\\\"b\" INTERNALDATE NIL X (a (\"(\" {2}\r\n)) ()) b) EMAILID (M1) UID 8)",
                Fetched { uid: Some(8), body: Some(b"a\"b".to_vec()), ..Fetched::default() },
            ),
            (
                "* 1 FETCH (INTERNALDATE \"no date\" BODY[HEADER.FIELDS (A B)] {1}\r\nx UID 9)",
                Fetched { uid: Some(9), ..Fetched::default() },
            ),
        ] {
            assert_eq!(response(octets.as_bytes()), Ok(Response::Fetch(expected)), "{octets}");
        }
        for octets in [
            "* 1 FETCH (UID 7",
            "* 1 FETCH (UID)",
            "* 1 FETCH (UID 7 FLAGS)",
            "* 1 FETCH (FLAGS (\\Seen)",
            "* 1 FETCH (X {9}\r\nx)",
            "* 1 FETCH (RFC822.SIZE -1)",
            &format!("* 1 FETCH (X {}{})", "(".repeat(DEPTH_MAX + 1), ")".repeat(DEPTH_MAX + 1)),
        ] {
            assert!(response(octets.as_bytes()).is_err(), "{octets}");
        }
    }
}
