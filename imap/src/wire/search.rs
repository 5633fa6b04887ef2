//! SEARCH.

use nom::{
    Parser,
    bytes::complete::tag_no_case,
    combinator::{map, opt},
};
use waypost_mail::{Flag, SystemFlags};

use super::{
    CommandBody, DateRelation, Numbers, Search, SearchKey,
    date::date,
    fetch::header_fld_name,
    sequence::sequence_set,
    token::{
        Parsed, ascii, astring, astring_text, atom, list1, number64, nz_number, or_refuse, refuse, sp,
        spaced, then, word,
    },
};

/// Deepest nesting of search keys: parentheses, NOT and OR.
pub const SEARCH_DEPTH_MAX: usize = 100;
/// Longest object identifier (RFC 8474 section 7).
const OBJECT_ID_BYTES_MAX: usize = 255;

/// `search = "SEARCH" [SP "CHARSET" SP astring] 1*(SP search-key)`
pub(crate) fn search(input: &[u8], numbers: Numbers) -> Parsed<'_, CommandBody> {
    let charset =
        opt((sp, tag_no_case("CHARSET"), then(astring_text)).map(|(_, _, name)| name.to_ascii_uppercase()));
    let keys = then(spaced(|input| search_key(input, SEARCH_DEPTH_MAX)));
    map((charset, keys), |(charset, keys)| CommandBody::Search(numbers, Search { charset, keys }))
        .parse(input)
}

/// `search-key = "ALL" / "ANSWERED" / … / sequence-set / "(" search-key *(SP search-key) ")"`; `depth` is how many levels
/// may still be below this one.
fn search_key(input: &[u8], depth: usize) -> Parsed<'_, SearchKey> {
    let Some(below) = depth.checked_sub(1) else {
        return refuse(input, "the search keys are nested too deeply");
    };
    match input.first() {
        Some(b'(') => map(list1(move |input| search_key(input, below)), SearchKey::And).parse(input),
        Some(b'0'..=b'9' | b'*') => map(sequence_set, SearchKey::Sequence).parse(input),
        _ => named_key(input, below),
    }
}

fn named_key(input: &[u8], below: usize) -> Parsed<'_, SearchKey> {
    let (rest, name) = or_refuse(word, "expected a search key")(input)?;
    if let Some(key) = flag_key(&name) {
        return Ok((rest, key));
    }
    let nested = |input| search_key(input, below).map(|(rest, key)| (rest, Box::new(key)));
    match name.as_str() {
        "NOT" => map(then(nested), SearchKey::Not).parse(rest),
        "OR" => map((then(nested), then(nested)), |(one, other)| SearchKey::Or(one, other)).parse(rest),
        "UID" => map(then(sequence_set), SearchKey::Uid).parse(rest),
        "KEYWORD" => map(then(flag_keyword), SearchKey::Flag).parse(rest),
        "UNKEYWORD" => map(then(flag_keyword), SearchKey::NoFlag).parse(rest),
        "HEADER" => {
            map((then(header_fld_name), then(text)), |(name, text)| SearchKey::Header(name, text)).parse(rest)
        }
        "BCC" | "CC" | "FROM" | "SUBJECT" | "TO" => {
            map(then(text), |text| SearchKey::Header(name.clone(), text)).parse(rest)
        }
        "BODY" => map(then(text), SearchKey::Body).parse(rest),
        "TEXT" => map(then(text), SearchKey::Text).parse(rest),
        "LARGER" => map(then(number64), SearchKey::Larger).parse(rest),
        "SMALLER" => map(then(number64), SearchKey::Smaller).parse(rest),
        "YOUNGER" => map(then(nz_number), SearchKey::Younger).parse(rest),
        "OLDER" => map(then(nz_number), SearchKey::Older).parse(rest),
        "EMAILID" => map(then(objectid), SearchKey::EmailId).parse(rest),
        "THREADID" => map(then(objectid), SearchKey::ThreadId).parse(rest),
        _ => match date_key(&name) {
            Some((key, relation)) => map(then(date), |day| key(relation, day)).parse(rest),
            None => refuse(input, "unknown search key"),
        },
    }
}

/// Keys without an argument.
fn flag_key(name: &str) -> Option<SearchKey> {
    let set = |flag| Some(SearchKey::Flag(Flag::System(flag)));
    let unset = |flag| Some(SearchKey::NoFlag(Flag::System(flag)));
    match name {
        "ALL" => Some(SearchKey::All),
        "NEW" => Some(SearchKey::New),
        "OLD" => Some(SearchKey::Old),
        "RECENT" => Some(SearchKey::Recent),
        "ANSWERED" => set(SystemFlags::ANSWERED),
        "DELETED" => set(SystemFlags::DELETED),
        "DRAFT" => set(SystemFlags::DRAFT),
        "FLAGGED" => set(SystemFlags::FLAGGED),
        "SEEN" => set(SystemFlags::SEEN),
        "UNANSWERED" => unset(SystemFlags::ANSWERED),
        "UNDELETED" => unset(SystemFlags::DELETED),
        "UNDRAFT" => unset(SystemFlags::DRAFT),
        "UNFLAGGED" => unset(SystemFlags::FLAGGED),
        "UNSEEN" => unset(SystemFlags::SEEN),
        _ => None,
    }
}

type DateKey = fn(DateRelation, super::Day) -> SearchKey;

/// Keys that compare dates.
fn date_key(name: &str) -> Option<(DateKey, DateRelation)> {
    let (key, relation): (DateKey, _) = match name.strip_prefix("SENT") {
        Some(relation) => (SearchKey::Sent, relation),
        None => (SearchKey::Internal, name),
    };
    match relation {
        "BEFORE" => Some((key, DateRelation::Before)),
        "ON" => Some((key, DateRelation::On)),
        "SINCE" => Some((key, DateRelation::Since)),
        _ => None,
    }
}

/// `astring`, as octets in the search's charset
fn text(input: &[u8]) -> Parsed<'_, Vec<u8>> {
    map(astring, std::borrow::Cow::into_owned).parse(input)
}

/// `flag-keyword = atom`
fn flag_keyword(input: &[u8]) -> Parsed<'_, Flag> {
    let (rest, octets) = atom(input)?;
    match Flag::parse(&ascii(octets)) {
        Some(flag) => Ok((rest, flag)),
        None => refuse(input, "the keyword is too long"),
    }
}

/// `objectid = 1*255(ALPHA / DIGIT / "_" / "-")` (RFC 8474 section 7)
fn objectid(input: &[u8]) -> Parsed<'_, String> {
    let (rest, octets) = atom(input)?;
    let valid = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-');
    if octets.len() > OBJECT_ID_BYTES_MAX || !octets.iter().all(valid) {
        return refuse(input, "no object identifier");
    }
    Ok((rest, ascii(octets)))
}
