//! GENURLAUTH, URLFETCH and RESETKEY (RFC 4467 section 9).

use nom::{
    Parser,
    combinator::{map, opt},
    sequence::pair,
};

use super::{
    CommandBody, Spelling,
    mailbox::mailbox,
    token::{Parsed, astring_text, spaced, then, word},
};

/// `genurlauth = "GENURLAUTH" 1*(SP url-rump SP mechanism)`
pub(crate) fn genurlauth(input: &[u8]) -> Parsed<'_, CommandBody> {
    map(then(spaced(pair(astring_text, then(word)))), CommandBody::GenUrlAuth).parse(input)
}

/// `urlfetch = "URLFETCH" 1*(SP url-full)`
pub(crate) fn urlfetch(input: &[u8]) -> Parsed<'_, CommandBody> {
    map(then(spaced(astring_text)), CommandBody::UrlFetch).parse(input)
}

/// `resetkey = "RESETKEY" [SP mailbox *(SP mechanism)]`
pub(crate) fn resetkey(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    if input.is_empty() {
        return Ok((input, CommandBody::ResetKey(None)));
    }
    let mechanisms = map(opt(then(spaced(word))), Option::unwrap_or_default);
    map((then(mailbox(spelling)), mechanisms), |named| CommandBody::ResetKey(Some(named))).parse(input)
}
