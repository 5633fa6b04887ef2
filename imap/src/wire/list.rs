//! LIST with its extensions, LSUB, STATUS.

use std::collections::HashSet;

use nom::{
    Parser,
    branch::alt,
    bytes::complete::{tag_no_case, take_while1},
    combinator::map,
};

use super::{
    CommandBody, List, ListReturn, ListSelection, ListSyntax, Spelling, StatusItem,
    mailbox::{decoded, mailbox},
    metadata::entry,
    token::{Parsed, is_astring_char, list0, list1, once, opt_if, or_refuse, refuse, string, then, word},
};

/// `list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]` (RFC 5258 section 6)
pub(crate) fn list(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    let (rest, selection) = opt_if(input, b" (", then(list_select_opts))?;
    let (rest, reference) = then(mailbox(spelling)).parse(rest)?;
    let parenthesized = rest.starts_with(b" (");
    let (rest, patterns) = then(mbox_or_pat(spelling)).parse(rest)?;
    let (rest, returned) =
        if rest.is_empty() { (rest, None) } else { then(list_return_opts).map(Some).parse(rest)? };
    let extended = selection.is_some() || parenthesized || returned.is_some();
    let syntax = if extended { ListSyntax::Extended } else { ListSyntax::Basic };
    let (selection, returned) = (selection.unwrap_or_default(), returned.unwrap_or_default());
    Ok((rest, CommandBody::List(List { syntax, selection, reference, patterns, returned })))
}

/// `lsub = "LSUB" SP mailbox SP list-mailbox`
pub(crate) fn lsub(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    let arguments = (then(mailbox(spelling)), then(list_mailbox(spelling)));
    map(arguments, |(reference, pattern)| CommandBody::Lsub(reference, pattern)).parse(input)
}

/// `list-select-opts = "(" [list-select-opt *(SP list-select-opt)] ")"`; RECURSIVEMATCH needs a list-select-base-opt
/// beside it: SUBSCRIBED or SPECIAL-USE (RFC 6154 section 6).
fn list_select_opts(input: &[u8]) -> Parsed<'_, Vec<ListSelection>> {
    let (rest, options) = list0(list_select_opt).parse(input)?;
    let is_base =
        |option: &ListSelection| matches!(option, ListSelection::Subscribed | ListSelection::SpecialUse);
    if options.contains(&ListSelection::RecursiveMatch) && !options.iter().any(is_base) {
        return refuse(input, "RECURSIVEMATCH needs SUBSCRIBED or SPECIAL-USE");
    }
    Ok((rest, options))
}

/// `list-select-opt = "SUBSCRIBED" / "REMOTE" / "RECURSIVEMATCH" / "SPECIAL-USE"` (RFC 6154 section 6)
fn list_select_opt(input: &[u8]) -> Parsed<'_, ListSelection> {
    let (rest, name) = word(input)?;
    let option = match name.as_str() {
        "SUBSCRIBED" => ListSelection::Subscribed,
        "REMOTE" => ListSelection::Remote,
        "RECURSIVEMATCH" => ListSelection::RecursiveMatch,
        "SPECIAL-USE" => ListSelection::SpecialUse,
        _ => return refuse(input, "unknown selection option"),
    };
    Ok((rest, option))
}

/// `mbox-or-pat = list-mailbox / patterns`, `patterns = "(" list-mailbox *(SP list-mailbox) ")"`
fn mbox_or_pat<'a>(spelling: Spelling) -> impl FnMut(&'a [u8]) -> Parsed<'a, Vec<String>> {
    let pattern = list_mailbox(spelling);
    move |input| alt((list1(pattern), map(pattern, |pattern| vec![pattern]))).parse(input)
}

/// `list-mailbox = 1*list-char / string`, `list-char = ATOM-CHAR / list-wildcards / resp-specials`
fn list_mailbox<'a>(spelling: Spelling) -> impl Fn(&'a [u8]) -> Parsed<'a, String> + Copy {
    let is_list_char = |octet| is_astring_char(octet) || matches!(octet, b'%' | b'*');
    move |input| {
        let pattern = alt((map(take_while1(is_list_char), Into::into), string));
        let (rest, octets) = or_refuse(pattern, "expected a pattern")(input)?;
        decoded(spelling, input, rest, &octets)
    }
}

/// `list-return-opts = "RETURN" SP "(" [return-option *(SP return-option)] ")"`
fn list_return_opts(input: &[u8]) -> Parsed<'_, Vec<ListReturn>> {
    let options = (tag_no_case("RETURN"), then(list0(return_option))).map(|(_, options)| options);
    map(or_refuse(options, "expected RETURN"), once_of_a_kind).parse(input)
}

/// Each option once, STATUS too: it is answered once, however often it is asked for (RFC 5819 section 2).
fn once_of_a_kind(mut options: Vec<ListReturn>) -> Vec<ListReturn> {
    let mut kinds = HashSet::new();
    options.retain(|option| kinds.insert(std::mem::discriminant(option)));
    options
}

/// `return-option = "SUBSCRIBED" / "CHILDREN" / "SPECIAL-USE" / "MYRIGHTS" / status-option` (RFC 6154 section 6, RFC 8440
/// section 5, RFC 5819 section 4), `"METADATA" SP "(" entry *(SP entry) ")"` (RFC 9590 section 5)
fn return_option(input: &[u8]) -> Parsed<'_, ListReturn> {
    let (rest, name) = word(input)?;
    match name.as_str() {
        "SUBSCRIBED" => Ok((rest, ListReturn::Subscribed)),
        "CHILDREN" => Ok((rest, ListReturn::Children)),
        "SPECIAL-USE" => Ok((rest, ListReturn::SpecialUse)),
        "MYRIGHTS" => Ok((rest, ListReturn::MyRights)),
        "METADATA" => map(then(list1(entry)), ListReturn::Metadata).parse(rest),
        "STATUS" => map(then(status_atts), ListReturn::Status).parse(rest),
        _ => refuse(input, "unknown return option"),
    }
}

/// `status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"`
pub(crate) fn status(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    let arguments = (then(mailbox(spelling)), then(status_atts));
    map(arguments, |(name, items)| CommandBody::Status(name, items)).parse(input)
}

/// `"(" status-att *(SP status-att) ")"`; an item that stands twice is told once.
fn status_atts(input: &[u8]) -> Parsed<'_, Vec<StatusItem>> {
    map(list1(status_att), once).parse(input)
}

/// `status-att = "MESSAGES" / "RECENT" / "UIDNEXT" / "UIDVALIDITY" / "UNSEEN"` (with RFC 8438 section 5, DELETED of
/// RFC 9051 section 9, DELETED-STORAGE of RFC 9208 section 7, HIGHESTMODSEQ of RFC 7162 section 7, MAILBOXID of RFC 8474 section 7,
/// APPENDLIMIT of RFC 7889 section 5)
fn status_att(input: &[u8]) -> Parsed<'_, StatusItem> {
    let (rest, name) = word(input)?;
    let item = match name.as_str() {
        "MESSAGES" => StatusItem::Messages,
        "RECENT" => StatusItem::Recent,
        "UIDNEXT" => StatusItem::UidNext,
        "UIDVALIDITY" => StatusItem::UidValidity,
        "UNSEEN" => StatusItem::Unseen,
        "DELETED" => StatusItem::Deleted,
        "DELETED-STORAGE" => StatusItem::DeletedStorage,
        "SIZE" => StatusItem::Size,
        "HIGHESTMODSEQ" => StatusItem::HighestModSeq,
        "MAILBOXID" => StatusItem::MailboxId,
        "APPENDLIMIT" => StatusItem::AppendLimit,
        _ => return refuse(input, "unknown STATUS item"),
    };
    Ok((rest, item))
}
