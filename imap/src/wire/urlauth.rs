//! GENURLAUTH, URLFETCH and RESETKEY (RFC 4467 section 9, RFC 5524 section 5).

use nom::{
    Parser,
    bytes::complete::tag,
    combinator::{map, opt},
    sequence::{pair, preceded},
};

use super::{
    CommandBody, Spelling, UrlFetch, UrlFetchItem,
    mailbox::mailbox,
    token::{Parsed, astring_text, opt_if, or_refuse, refuse, spaced, then, word},
};

/// `genurlauth = "GENURLAUTH" 1*(SP url-rump SP mechanism)`
pub(crate) fn genurlauth(input: &[u8]) -> Parsed<'_, CommandBody> {
    map(then(spaced(pair(astring_text, then(word)))), CommandBody::GenUrlAuth).parse(input)
}

/// `urlfetch = "URLFETCH" 1*(SP url-fetch-arg)`
pub(crate) fn urlfetch(input: &[u8]) -> Parsed<'_, CommandBody> {
    map(then(spaced(url_fetch_arg)), CommandBody::UrlFetch).parse(input)
}

/// `url-fetch-arg = url-full / "(" url-full *(SP url-fetch-param) ")"`
fn url_fetch_arg(input: &[u8]) -> Parsed<'_, UrlFetch> {
    if !input.starts_with(b"(") {
        return map(astring_text, |url| UrlFetch { url, items: Vec::new() }).parse(input);
    }
    let (rest, url) = preceded(tag("("), astring_text).parse(input)?;
    let (rest, items) = opt_if(rest, b" ", then(spaced(url_fetch_param)))?;
    let (rest, _) = or_refuse(tag(")"), "expected a space or a closing parenthesis")(rest)?;
    let items = items.unwrap_or_default();
    let is_twice = items.iter().enumerate().any(|(at, item)| items[..at].contains(item));
    if is_twice || items.contains(&UrlFetchItem::Body) && items.contains(&UrlFetchItem::Binary) {
        return refuse(input, "BODY, BINARY and BODYPARTSTRUCTURE stand once, BODY and BINARY not together");
    }
    Ok((rest, UrlFetch { url, items }))
}

/// `url-fetch-param = "BODY" / "BINARY" / "BODYPARTSTRUCTURE"`
fn url_fetch_param(input: &[u8]) -> Parsed<'_, UrlFetchItem> {
    let (rest, name) = word(input)?;
    match name.as_str() {
        "BODY" => Ok((rest, UrlFetchItem::Body)),
        "BINARY" => Ok((rest, UrlFetchItem::Binary)),
        "BODYPARTSTRUCTURE" => Ok((rest, UrlFetchItem::BodyPartStructure)),
        _ => refuse(input, "unknown parameter"),
    }
}

/// `resetkey = "RESETKEY" [SP mailbox *(SP mechanism)]`
pub(crate) fn resetkey(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    if input.is_empty() {
        return Ok((input, CommandBody::ResetKey(None)));
    }
    let mechanisms = map(opt(then(spaced(word))), Option::unwrap_or_default);
    map((then(mailbox(spelling)), mechanisms), |named| CommandBody::ResetKey(Some(named))).parse(input)
}
