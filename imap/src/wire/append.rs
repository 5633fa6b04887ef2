//! APPEND and REPLACE, piece by piece (RFC 3502, RFC 8508, with RFC 4466 section 2.6, RFC 3516 section 7, RFC 4469 section 5 and
//! RFC 6855 section 4).
//!
//! The octets of messages are never part of a command that is parsed: they stream. A command is cut behind the first line of each
//! literal that holds some; what stands between two cuts, or between the last one and the command's end, is an [`AppendPiece`].
//! Literals that are strings, as the name of the mailbox or a URL may be, lie within a piece.

use nom::{
    Parser,
    branch::alt,
    bytes::complete::{tag, tag_no_case},
    combinator::{map, opt, value},
    sequence::preceded,
};

use super::{
    Append, AppendPart, AppendPiece, AppendPlace, Bad, Behind, CommandBody, LiteralKind, MessageLiteral,
    Messages, Numbers, Spelling,
    date::date_time,
    flag::flag_list,
    mailbox::mailbox,
    parse::complete,
    sequence::seq_number,
    token::{
        LIST_ITEMS_MAX, Parsed, astring_text, beyond, command_tag, literal_head, opt_if, or_refuse, refuse,
        sp, then,
    },
};

/// Whether these octets begin APPEND or REPLACE: which literals it has is for its parser to say.
pub fn begins_append(octets: &[u8]) -> bool {
    let name = alt((tag_no_case("APPEND"), preceded(opt(tag_no_case("UID ")), tag_no_case("REPLACE"))));
    (command_tag, sp, name, sp).parse(octets).is_ok()
}

/// `append = "APPEND" SP mailbox 1*append-message`, up to the first literal that holds octets of a message
pub(crate) fn append(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    let message = |input| piece(input, Messages::Several, Place::Begin);
    let (rest, (mailbox, piece)) = (then(mailbox(spelling)), message).parse(input)?;
    Ok((rest, CommandBody::Append(Append { replaced: None, mailbox, piece })))
}

/// `replace = "REPLACE" SP seq-number SP mailbox append-message` (RFC 8508 section 5), up to the first literal that holds octets of
/// the message
pub(crate) fn replace(input: &[u8], numbers: Numbers, spelling: Spelling) -> Parsed<'_, CommandBody> {
    let message = |input| piece(input, Messages::One, Place::Begin);
    let (rest, (number, mailbox, piece)) =
        (then(seq_number), then(mailbox(spelling)), message).parse(input)?;
    Ok((rest, CommandBody::Append(Append { replaced: Some((numbers, number)), mailbox, piece })))
}

/// What follows a literal with octets of a message, up to the next one or to the command's end; without the line's end.
pub fn append_piece(octets: &[u8], behind: Behind) -> Result<AppendPiece, Bad> {
    let piece = |input| piece(input, behind.messages, Place::Behind(behind.place));
    complete(octets, piece).map_err(|problem| Bad::new(None, octets, problem))
}

/// Where a piece goes on.
enum Place {
    /// Where a message must begin.
    Begin,
    /// Where CATENATE must have a part.
    FirstPart,
    /// Behind what is there.
    Behind(AppendPlace),
}

/// What brings octets.
#[derive(Clone)]
enum Data {
    /// Those that follow.
    Literal(LiteralKind, u64),
    /// Those of a URL.
    Url(String),
    /// Those of parts.
    Catenate,
}

/// `1*append-message`, from one cut to the next.
fn piece(input: &[u8], messages: Messages, mut place: Place) -> Parsed<'_, AppendPiece> {
    let (mut rest, mut parts) = (input, Vec::new());
    loop {
        if parts.len() > LIST_ITEMS_MAX {
            return beyond(rest, "too many items");
        }
        let (after, data) = match place {
            Place::Behind(AppendPlace::Message) if rest.is_empty() || messages == Messages::One => {
                return Ok((rest, AppendPiece { parts, literal: None }));
            }
            Place::Begin | Place::Behind(AppendPlace::Message) => {
                let (after, message) = append_message(rest)?;
                parts.push(message);
                then(append_data).parse(after)?
            }
            Place::FirstPart => cat_part(rest)?,
            Place::Behind(AppendPlace::Part) if rest.starts_with(b" ") => then(cat_part).parse(rest)?,
            Place::Behind(inside @ (AppendPlace::Utf8 | AppendPlace::Part | AppendPlace::Utf8Part)) => {
                (rest, _) = or_refuse(tag(")"), "expected a closing parenthesis")(rest)?;
                let outside =
                    if inside == AppendPlace::Utf8Part { AppendPlace::Part } else { AppendPlace::Message };
                place = Place::Behind(outside);
                continue;
            }
        };
        rest = after;
        place = match data {
            Data::Catenate => Place::FirstPart,
            Data::Url(url) => {
                parts.push(AppendPart::Url(url));
                Place::Behind(AppendPlace::Part)
            }
            Data::Literal(kind, bytes) => {
                let behind = Behind { messages, place: behind(&place, kind) };
                let literal = Some(MessageLiteral { bytes, kind, behind });
                return Ok((rest, AppendPiece { parts, literal }));
            }
        };
    }
}

/// Where a command goes on behind a literal that stands at a place.
fn behind(place: &Place, kind: LiteralKind) -> AppendPlace {
    let is_part = matches!(place, Place::FirstPart | Place::Behind(AppendPlace::Part));
    match (is_part, kind) {
        (true, LiteralKind::Utf8) => AppendPlace::Utf8Part,
        (true, _) => AppendPlace::Part,
        (false, LiteralKind::Utf8) => AppendPlace::Utf8,
        (false, _) => AppendPlace::Message,
    }
}

/// `[SP flag-list] [SP date-time]` of `append-message`
fn append_message(input: &[u8]) -> Parsed<'_, AppendPart> {
    let (rest, flags) = opt_if(input, b" (", then(flag_list))?;
    let (rest, date) = opt_if(rest, b" \"", then(date_time))?;
    Ok((rest, AppendPart::Message { flags: flags.unwrap_or_default(), date }))
}

/// `append-data = literal / literal8 / utf8-literal / "CATENATE" SP "(" cat-part *(SP cat-part) ")"`: its beginning
fn append_data(input: &[u8]) -> Parsed<'_, Data> {
    let catenate = value(Data::Catenate, (tag_no_case("CATENATE"), sp, tag("(")));
    let binary = map(literal8, |bytes| Data::Literal(LiteralKind::Binary, bytes));
    or_refuse(alt((text, binary, utf8_literal, catenate)), "expected the message as a literal")(input)
}

/// `cat-part = "TEXT" SP literal / "URL" SP astring / utf8-literal`: all of it but the octets of a literal
fn cat_part(input: &[u8]) -> Parsed<'_, Data> {
    let text = preceded(tag_no_case("TEXT"), then(or_refuse(text, "expected a literal")));
    let url = map(preceded(tag_no_case("URL"), then(astring_text)), Data::Url);
    or_refuse(alt((text, url, utf8_literal)), "expected TEXT, URL or UTF8")(input)
}

/// `literal`: its first line
fn text(input: &[u8]) -> Parsed<'_, Data> {
    map(literal_head, |bytes| Data::Literal(LiteralKind::Text, bytes)).parse(input)
}

/// `utf8-literal = "UTF8" SP "(" literal8 ")"`, up to the octets
fn utf8_literal(input: &[u8]) -> Parsed<'_, Data> {
    let literal = preceded((tag_no_case("UTF8"), sp, tag("(")), literal8);
    map(literal, |bytes| Data::Literal(LiteralKind::Utf8, bytes)).parse(input)
}

/// `literal8 = "~{" number "}" CRLF *OCTET`: its first line
fn literal8(input: &[u8]) -> Parsed<'_, u64> {
    match input.strip_prefix(b"~") {
        Some(head) if head.starts_with(b"{") => literal_head(head),
        _ => refuse(input, "expected a binary literal"),
    }
}
