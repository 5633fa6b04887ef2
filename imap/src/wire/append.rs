//! APPEND, piece by piece (RFC 3502, with RFC 4466 section 2.6 and RFC 3516 section 7).
//!
//! The octets of messages are never part of a command that is parsed: they stream. A command is cut behind the first line of each
//! literal that holds some; what stands between two cuts, or between the last one and the command's end, is an [`AppendPiece`].
//! Literals that are strings, as the name of the mailbox may be, lie within a piece.

use nom::{Parser, bytes::complete::tag_no_case};

use super::{
    Append, AppendPart, AppendPiece, Bad, Behind, CommandBody, LiteralKind, MessageLiteral, Spelling,
    date::date_time,
    flag::flag_list,
    mailbox::mailbox,
    parse::complete,
    token::{Parsed, command_tag, literal_head, opt_if, or_refuse, sp, then},
};

/// Whether these octets begin an APPEND: which literals it has is for its parser to say.
pub fn begins_append(octets: &[u8]) -> bool {
    (command_tag, sp, tag_no_case("APPEND"), sp).parse(octets).is_ok()
}

/// `append = "APPEND" SP mailbox 1*append-message`, up to the first literal that holds octets of a message
pub(crate) fn append(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    let (rest, mailbox) = then(mailbox(spelling)).parse(input)?;
    let (rest, piece) = append_message(rest)?;
    Ok((rest, CommandBody::Append(Append { mailbox, piece })))
}

/// What follows a literal with octets of a message, up to the next one or to the command's end; without the line's end.
pub fn append_piece(octets: &[u8], behind: Behind) -> Result<AppendPiece, Bad> {
    complete(octets, |input| piece(input, behind)).map_err(|problem| Bad::new(None, octets, problem))
}

fn piece(input: &[u8], behind: Behind) -> Parsed<'_, AppendPiece> {
    match behind {
        Behind::Message if input.is_empty() => Ok((input, AppendPiece::default())),
        Behind::Message => append_message(input),
    }
}

/// `append-message = [SP flag-list] [SP date-time] SP append-data`
fn append_message(input: &[u8]) -> Parsed<'_, AppendPiece> {
    let (rest, flags) = opt_if(input, b" (", then(flag_list))?;
    let (rest, date) = opt_if(rest, b" \"", then(date_time))?;
    let (rest, literal) = then(append_data).parse(rest)?;
    let message = AppendPart::Message { flags: flags.unwrap_or_default(), date };
    Ok((rest, AppendPiece { parts: vec![message], literal: Some(literal) }))
}

/// `append-data = literal / literal8`: its first line
fn append_data(input: &[u8]) -> Parsed<'_, MessageLiteral> {
    let (head, kind) = match input.strip_prefix(b"~") {
        Some(after) if after.starts_with(b"{") => (after, LiteralKind::Binary),
        _ => (input, LiteralKind::Text),
    };
    let (rest, bytes) = or_refuse(literal_head, "expected the message as a literal")(head)?;
    Ok((rest, MessageLiteral { bytes, kind, behind: Behind::Message }))
}
