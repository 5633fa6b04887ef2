//! SEARCH.

use nom::{
    Parser,
    bytes::complete::tag_no_case,
    combinator::{map, opt},
};
use waypost_mail::{Flag, SystemFlags};

use super::{
    CommandBody, DateRelation, Numbers, Search, SearchKey, SearchReturn,
    date::date,
    fetch::any_fld_name,
    partial::partial_range,
    sequence::sequence_set,
    token::{
        Parsed, ascii, astring, astring_text, atom, beyond, list0, list1, number64, nz_number, opt_if,
        or_refuse, quoted, refuse, sp, spaced, then, word,
    },
};

/// Deepest nesting of search keys: parentheses, NOT and OR.
pub const SEARCH_DEPTH_MAX: usize = 100;
/// Longest object identifier (RFC 8474 section 7).
const OBJECT_ID_BYTES_MAX: usize = 255;

/// `search = "SEARCH" [SP "RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")"] [SP "CHARSET" SP astring] 1*(SP search-key)`
/// (RFC 4731 section 4)
pub(crate) fn search(input: &[u8], numbers: Numbers) -> Parsed<'_, CommandBody> {
    let charset =
        opt((sp, tag_no_case("CHARSET"), then(astring_text)).map(|(_, _, name)| name.to_ascii_uppercase()));
    let keys = then(spaced(|input| search_key(input, SEARCH_DEPTH_MAX)));
    let (rest, returned) = match opt((sp, tag_no_case("RETURN"))).parse(input)? {
        (rest, Some(_)) => then(list0(search_return_opt)).map(Some).parse(rest)?,
        (rest, None) => (rest, None),
    };
    let lists = |option: &&SearchReturn| matches!(option, SearchReturn::All | SearchReturn::Partial(_));
    if returned.as_ref().is_some_and(|options| options.iter().filter(lists).count() > 1) {
        return refuse(input, "there is one ALL or one PARTIAL");
    }
    map((charset, keys), |(charset, keys)| {
        CommandBody::Search(numbers, Search { returned: returned.clone(), charset, keys })
    })
    .parse(rest)
}

/// `search-return-opt = "MIN" / "MAX" / "ALL" / "COUNT" / "SAVE" / modifier-partial` (RFC 5182 section 3, RFC 9394 section 4)
fn search_return_opt(input: &[u8]) -> Parsed<'_, SearchReturn> {
    let (rest, name) = word(input)?;
    let option = match name.as_str() {
        "MIN" => SearchReturn::Min,
        "MAX" => SearchReturn::Max,
        "ALL" => SearchReturn::All,
        "COUNT" => SearchReturn::Count,
        "SAVE" => SearchReturn::Save,
        "PARTIAL" => return map(then(partial_range), SearchReturn::Partial).parse(rest),
        _ => return refuse(input, "unknown result option"),
    };
    Ok((rest, option))
}

/// `search-key = "ALL" / "ANSWERED" / … / sequence-set / "(" search-key *(SP search-key) ")"`; `depth` is how many levels
/// may still be below this one.
fn search_key(input: &[u8], depth: usize) -> Parsed<'_, SearchKey> {
    let Some(below) = depth.checked_sub(1) else {
        return beyond(input, "the search keys are nested too deeply");
    };
    match input.first() {
        Some(b'(') => map(list1(move |input| search_key(input, below)), SearchKey::And).parse(input),
        Some(b'0'..=b'9' | b'*' | b'$') => map(sequence_set, SearchKey::Sequence).parse(input),
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
        "UIDAFTER" => map(then(nz_number), SearchKey::UidAfter).parse(rest),
        "UIDBEFORE" => map(then(nz_number), SearchKey::UidBefore).parse(rest),
        "KEYWORD" => map(then(flag_keyword), |flag| flag.map_or_else(nothing, SearchKey::Flag)).parse(rest),
        "UNKEYWORD" => {
            map(then(flag_keyword), |flag| flag.map_or(SearchKey::All, SearchKey::NoFlag)).parse(rest)
        }
        "HEADER" => map((then(any_fld_name), then(text)), |(name, text)| match name {
            Some(name) => SearchKey::Header(name, text),
            None => nothing(),
        })
        .parse(rest),
        "BCC" | "CC" | "FROM" | "SUBJECT" | "TO" => {
            map(then(text), |text| SearchKey::Header(name.clone(), text)).parse(rest)
        }
        "BODY" => map(then(text), SearchKey::Body).parse(rest),
        "TEXT" => map(then(text), SearchKey::Text).parse(rest),
        "LARGER" => map(then(number64), SearchKey::Larger).parse(rest),
        "SMALLER" => map(then(number64), SearchKey::Smaller).parse(rest),
        "YOUNGER" => map(then(nz_number), SearchKey::Younger).parse(rest),
        "OLDER" => map(then(nz_number), SearchKey::Older).parse(rest),
        "MODSEQ" => map(then(modseq), SearchKey::ModSeq).parse(rest),
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
        // Every mailbox has save dates (RFC 8514 section 4.3).
        "ALL" | "SAVEDATESUPPORTED" => Some(SearchKey::All),
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
    let (key, relation): (DateKey, _) = match (name.strip_prefix("SENT"), name.strip_prefix("SAVED")) {
        (Some(relation), _) => (SearchKey::Sent, relation),
        (None, Some(relation)) => (SearchKey::Saved, relation),
        (None, None) => (SearchKey::Internal, name),
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

/// `flag-keyword = atom`; `None`: longer than any that we store.
fn flag_keyword(input: &[u8]) -> Parsed<'_, Option<Flag>> {
    map(atom, |octets| Flag::parse(&ascii(octets))).parse(input)
}

/// A key that no message matches.
fn nothing() -> SearchKey {
    SearchKey::Not(Box::new(SearchKey::All))
}

/// `search-modsequence = "MODSEQ" [search-modseq-ext] SP mod-sequence-valzer`, `search-modseq-ext = SP entry-name SP entry-type-req`
/// (RFC 7162 section 7); with one modification sequence a message the entry is ignored (section 3.1.5).
fn modseq(input: &[u8]) -> Parsed<'_, u64> {
    let (rest, _) = opt_if(input, b"\"", (quoted, sp, entry_type_req, sp))?;
    number64(rest)
}

/// `entry-type-req = "priv" / "shared" / "all"`
fn entry_type_req(input: &[u8]) -> Parsed<'_, ()> {
    let (rest, name) = word(input)?;
    match name.as_str() {
        "PRIV" | "SHARED" | "ALL" => Ok((rest, ())),
        _ => refuse(input, "expected priv, shared or all"),
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
