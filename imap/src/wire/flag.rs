//! Flags, and STORE, which changes them.

use nom::{
    Parser,
    branch::alt,
    bytes::complete::{tag, tag_no_case},
    combinator::{map, opt, recognize},
    sequence::{delimited, preceded},
};
use waypost_mail::{Flag, Flags};

use super::{
    CommandBody, Numbers, Store, StoreMode,
    sequence::sequence_set,
    token::{Parsed, ascii, atom, beyond, list0, number64, opt_if, or_refuse, refuse, spaced, then},
};

/// `flag = "\Answered" / "\Flagged" / "\Deleted" / "\Seen" / "\Draft" / flag-keyword / flag-extension`; `\Recent` is refused.
/// `None`: a flag-extension. There is none that we could keep, so it is ignored (RFC 9051 section 7.1, PERMANENTFLAGS).
fn flag(input: &[u8]) -> Parsed<'_, Option<Flag>> {
    let (rest, octets) = recognize((opt(tag("\\")), atom)).parse(input)?;
    let name = ascii(octets);
    match Flag::parse(&name) {
        Some(flag) => Ok((rest, Some(flag))),
        None if !name.starts_with('\\') => beyond(input, "the keyword is too long"),
        None if name.eq_ignore_ascii_case("\\Recent") => refuse(input, "no flag that can be stored"),
        None => Ok((rest, None)),
    }
}

/// `flag-list = "(" [flag *(SP flag)] ")"`
pub(crate) fn flag_list(input: &[u8]) -> Parsed<'_, Flags> {
    map(list0(flag), known).parse(input)
}

/// The flags that can be stored.
fn known(flags: Vec<Option<Flag>>) -> Flags {
    flags.into_iter().flatten().collect()
}

/// `store = "STORE" SP sequence-set [SP "(" store-modifier ")"] SP store-att-flags` (RFC 4466 section 2.5)
pub(crate) fn store(input: &[u8], numbers: Numbers) -> Parsed<'_, CommandBody> {
    let (rest, set) = then(sequence_set).parse(input)?;
    let (rest, since) = opt_if(rest, b" (", then(delimited(tag("("), unchanged_since, tag(")"))))?;
    let (rest, store) = then(store_att_flags).parse(rest)?;
    Ok((rest, CommandBody::Store(numbers, set, Store { unchanged_since: since, ..store })))
}

/// `store-modifier = "UNCHANGEDSINCE" SP mod-sequence-valzer` (RFC 7162 section 7)
fn unchanged_since(input: &[u8]) -> Parsed<'_, u64> {
    preceded(or_refuse(tag_no_case("UNCHANGEDSINCE"), "unknown STORE modifier"), then(number64)).parse(input)
}

/// `store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag)))`
fn store_att_flags(input: &[u8]) -> Parsed<'_, Store> {
    let (rest, sign) = opt(alt((tag("+"), tag("-")))).parse(input)?;
    let mode = match sign {
        Some(b"+") => StoreMode::Add,
        Some(_) => StoreMode::Remove,
        None => StoreMode::Replace,
    };
    let (rest, (_, silent)) = (tag_no_case("FLAGS"), opt(tag_no_case(".SILENT"))).parse(rest)?;
    let bare = map(spaced(flag), known);
    let (rest, flags) = then(alt((flag_list, bare))).parse(rest)?;
    Ok((rest, Store { mode, silent: silent.is_some(), flags, unchanged_since: None }))
}
