//! Mailbox names, and the commands that have little else: CREATE and RENAME.

use nom::{
    Parser,
    bytes::complete::{tag, tag_no_case},
    combinator::{map, recognize},
    sequence::preceded,
};

use super::{
    CommandBody, SequenceSet, mutf7,
    sequence::sequence_set,
    token::{Parsed, Problem, Wrong, ascii, astring, atom, list0, list1, opt_if, or_refuse, refuse, then},
};

/// How names of mailboxes are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Spelling {
    /// In modified UTF-7 (RFC 3501 section 5.1.3); what is in UTF-8 is understood, too.
    #[default]
    Utf7,
    /// In UTF-8, once IMAP4rev2 (RFC 9051 section 5.1) or UTF8=ACCEPT (RFC 6855 section 3) is enabled.
    Utf8,
}

/// `mailbox = "INBOX" / astring`, decoded.
pub(crate) fn mailbox<'a>(spelling: Spelling) -> impl Fn(&'a [u8]) -> Parsed<'a, String> + Copy {
    move |input| {
        let (rest, octets) = or_refuse(astring, "expected a mailbox name")(input)?;
        decoded(spelling, input, rest, &octets)
    }
}

/// `mailbox` as CREATE and RENAME name it: what is no name in its spelling is told so (RFC 5530: CANNOT).
fn made<'a>(spelling: Spelling) -> impl Fn(&'a [u8]) -> Parsed<'a, String> + Copy {
    move |input| {
        let (rest, octets) = or_refuse(astring, "expected a mailbox name")(input)?;
        let cannot = |problem| Problem { wrong: Wrong::Name, ..problem };
        decoded(spelling, input, rest, &octets).map_err(|error| error.map(cannot))
    }
}

/// A name or pattern in UTF-8, `INBOX` in capitals.
pub(crate) fn decoded<'a>(
    spelling: Spelling,
    at: &'a [u8],
    rest: &'a [u8],
    octets: &[u8],
) -> Parsed<'a, String> {
    if octets.eq_ignore_ascii_case(b"INBOX") {
        return Ok((rest, "INBOX".to_owned()));
    }
    match spelling {
        // RFC 6855 section 3: UTF-8 where no octet of modified UTF-7 could stand.
        Spelling::Utf7 if octets.is_ascii() => match mutf7::decode(octets) {
            Ok(name) => Ok((rest, name)),
            Err(mutf7::Mutf7Error) => refuse(at, "the mailbox name is not valid modified UTF-7"),
        },
        Spelling::Utf7 | Spelling::Utf8 => match str::from_utf8(octets) {
            Ok(name) => Ok((rest, name.to_owned())),
            Err(_) => refuse(at, "the mailbox name is not UTF-8"),
        },
    }
}

/// `create = "CREATE" SP mailbox [SP "(" create-param *(SP create-param) ")"]` (RFC 4466 section 2.2)
pub(crate) fn create(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    let (rest, name) = then(made(spelling)).parse(input)?;
    let (rest, uses) = opt_if(rest, b" (", then(list1(create_param)))?;
    Ok((rest, CommandBody::Create(name, uses.unwrap_or_default().concat())))
}

/// `create-param = "USE" SP "(" [use-attr *(SP use-attr)] ")"` (RFC 6154 section 6)
fn create_param(input: &[u8]) -> Parsed<'_, Vec<String>> {
    let use_attr = map(recognize((tag("\\"), atom)), ascii);
    preceded(or_refuse(tag_no_case("USE"), "unknown parameter"), then(list0(use_attr))).parse(input)
}

/// `rename = "RENAME" SP mailbox SP mailbox`
pub(crate) fn rename(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    let names = (then(made(spelling)), then(made(spelling)));
    map(names, |(from, to)| CommandBody::Rename(from, to)).parse(input)
}

/// `sequence-set SP mailbox` of `copy` and `move`
pub(crate) fn copied(input: &[u8], spelling: Spelling) -> Parsed<'_, (SequenceSet, String)> {
    (then(sequence_set), then(mailbox(spelling))).parse(input)
}
