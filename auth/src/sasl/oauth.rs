//! OAuth 2.0 bearer tokens: OAUTHBEARER (RFC 7628), and XOAUTH2, which came before it and many clients still use.
//!
//! ```text
//! Message ── client-resp ──► Judging ── a valid token ──► Done
//!                               └── a token that is not ──► error as JSON ──► Refused ── ^A, or anything ──► Done, with the fault
//! ```

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Claim, Lookup, Progress, scram::gs2_header};
use crate::token::TokenFault;

/// What stands between the pairs of a message.
const SEPARATOR: char = '\u{1}';
/// What a client is told of a token that is not valid (RFC 7628 section 3.2.2).
const INVALID_TOKEN: &str = r#"{"status":"invalid_token"}"#;
/// What XOAUTH2's clients are told.
const INVALID_TOKEN_OF_XOAUTH2: &str = r#"{"status":"401","schemes":"Bearer"}"#;

/// Whose messages are spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Dialect {
    OauthBearer,
    Xoauth2,
}

/// What a client has shown with a token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bearer {
    /// Whom the client wants to act as; empty: as the token says.
    pub authorization: String,
    /// Whose token it is; of one that is not valid, what the client says.
    pub login: String,
    /// Whether the token is valid.
    pub verdict: Result<(), TokenFault>,
}

/// An exchange that goes on.
#[derive(Debug)]
pub(super) struct Dialogue {
    dialect: Dialect,
    state: State,
}

#[derive(Debug)]
enum State {
    Message,
    Judging { authorization: String },
    Refused(Bearer),
}

impl Dialogue {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, state: State::Message }
    }

    /// Takes a message of the client.
    pub(super) fn take(self, text: &str) -> (Option<Self>, Progress) {
        let Self { dialect, state } = self;
        match state {
            State::Message => match parse(dialect, text) {
                Some((authorization, token)) => {
                    let lookup =
                        Lookup::Token { authorization: authorization.clone(), token: token.to_owned() };
                    (Some(Self { dialect, state: State::Judging { authorization } }), Progress::Needs(lookup))
                }
                None => (None, Progress::Malformed),
            },
            // RFC 7628 section 3.2.3: the client says something before it is told that it failed; what, does not matter.
            State::Refused(bearer) => (None, Progress::Done(Claim::Token(bearer))),
            State::Judging { .. } => (None, Progress::Malformed),
        }
    }

    /// Takes the verdict on the token.
    pub(super) fn judged(self, verdict: &Result<String, TokenFault>) -> (Option<Self>, Progress) {
        let Self { dialect, state: State::Judging { authorization } } = self else {
            return (None, Progress::Malformed);
        };
        match verdict {
            Ok(login) => {
                let bearer = Bearer { authorization, login: login.clone(), verdict: Ok(()) };
                (None, Progress::Done(Claim::Token(bearer)))
            }
            Err(fault) => {
                let bearer = Bearer { login: authorization.clone(), authorization, verdict: Err(*fault) };
                let error = match dialect {
                    Dialect::OauthBearer => INVALID_TOKEN,
                    Dialect::Xoauth2 => INVALID_TOKEN_OF_XOAUTH2,
                };
                let next = Self { dialect, state: State::Refused(bearer) };
                (Some(next), Progress::Challenge(BASE64_STANDARD.encode(error)))
            }
        }
    }
}

/// Whom the client wants to act as, and the token.
fn parse(dialect: Dialect, text: &str) -> Option<(String, &str)> {
    // client-resp = (gs2-header kvsep *kvpair kvsep) / kvsep
    let pairs = text.strip_suffix("\u{1}\u{1}")?;
    let mut pairs = pairs.split(SEPARATOR);
    let first = pairs.next()?;
    let authorization = match dialect {
        Dialect::OauthBearer => gs2_header(first)?,
        // "user=" user ^A "auth=Bearer " token ^A ^A
        Dialect::Xoauth2 => first.strip_prefix("user=")?.to_owned(),
    };
    let mut auth = None;
    for pair in pairs {
        let (key, value) = pair.split_once('=')?;
        if key.is_empty() || !key.bytes().all(|octet| octet.is_ascii_alphabetic()) {
            return None;
        }
        if key == "auth" && auth.replace(value).is_some() {
            return None;
        }
    }
    let (scheme, token) = auth?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some((authorization, token.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let bearer = |dialect, text: &str| {
            parse(dialect, &text.replace("^A", "\u{1}")).map(|(who, token)| (who, token.to_owned()))
        };
        let found = |who: &str, token: &str| Some((who.to_owned(), token.to_owned()));
        for (text, parsed) in [
            (
                "n,a=user@example.com,^Ahost=server.example.com^Aport=143^Aauth=Bearer vF9d==^A^A",
                found("user@example.com", "vF9d=="),
            ),
            ("n,,^Aauth=bearer x^A^A", found("", "x")),
            ("y,,^Aauth=BEARER x^A^A", found("", "x")),
            ("n,a=a=2Cb,^Aauth=Bearer x^Afuture=1^A^A", found("a,b", "x")),
            ("n,,^Aauth=Bearer x^Aauth=Bearer y^A^A", None),
            ("n,,^Ahost=x^A^A", None),
            ("n,,^Aauth=Basic x^A^A", None),
            ("n,,^Aauth=Bearer^A^A", None),
            ("n,,^A1=x^Aauth=Bearer x^A^A", None),
            ("p=tls-exporter,,^Aauth=Bearer x^A^A", None),
            ("n,^Aauth=Bearer x^A^A", None),
            ("n,,^Aauth=Bearer x^A", None),
            ("^A", None),
            ("", None),
        ] {
            assert_eq!(bearer(Dialect::OauthBearer, text), parsed, "{text}");
        }
        for (text, parsed) in [
            (
                "user=someuser@example.com^Aauth=Bearer ya29.vF9dft4^A^A",
                found("someuser@example.com", "ya29.vF9dft4"),
            ),
            ("someuser@example.com^Aauth=Bearer x^A^A", None),
            ("user=a^Aauth=Bearer x", None),
        ] {
            assert_eq!(bearer(Dialect::Xoauth2, text), parsed, "{text}");
        }
    }
}
