//! Flags, and STORE, which changes them.

use nom::{
    Parser,
    branch::alt,
    bytes::complete::{tag, tag_no_case},
    combinator::{map, opt, recognize},
};
use waypost_mail::{Flag, Flags};

use super::{
    CommandBody, Numbers, Store, StoreMode,
    sequence::sequence_set,
    token::{Parsed, ascii, atom, list0, refuse, spaced, then},
};

/// `flag = "\Answered" / "\Flagged" / "\Deleted" / "\Seen" / "\Draft" / flag-keyword`; `\Recent` and flag-extensions are
/// refused: there are none that we could keep.
pub(crate) fn flag(input: &[u8]) -> Parsed<'_, Flag> {
    let (rest, octets) = recognize((opt(tag("\\")), atom)).parse(input)?;
    match Flag::parse(&ascii(octets)) {
        Some(flag) => Ok((rest, flag)),
        None => refuse(input, "no flag that can be stored"),
    }
}

/// `flag-list = "(" [flag *(SP flag)] ")"`
pub(crate) fn flag_list(input: &[u8]) -> Parsed<'_, Flags> {
    map(list0(flag), Flags::from_iter).parse(input)
}

/// `store = "STORE" SP sequence-set SP store-att-flags`
pub(crate) fn store(input: &[u8], numbers: Numbers) -> Parsed<'_, CommandBody> {
    map((then(sequence_set), then(store_att_flags)), |(set, store)| CommandBody::Store(numbers, set, store))
        .parse(input)
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
    let bare = map(spaced(flag), Flags::from_iter);
    let (rest, flags) = then(alt((flag_list, bare))).parse(rest)?;
    Ok((rest, Store { mode, silent: silent.is_some(), flags }))
}
