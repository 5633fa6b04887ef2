//! How we log in: SCRAM-SHA-256 (RFC 7677), PLAIN (RFC 4616) with its response in the command where the server takes that
//! (RFC 4959), or LOGIN.

use base64::{Engine, prelude::BASE64_STANDARD};
use waypost_auth::sasl::{
    Login,
    scram::{ScramClient, ServerSignature},
};

use super::capability::Capabilities;

/// What is sent first.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Opening {
    /// AUTHENTICATE with these words.
    Authenticate(String),
    /// LOGIN.
    Login,
}

/// What comes next.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// This line.
    Respond(String),
    /// We are logged in.
    Done,
    /// The server does not hold to the mechanism.
    Distrusted(&'static str),
}

/// An exchange.
pub(super) enum Exchange {
    /// LOGIN, or a mechanism whose last response was sent.
    Sent,
    /// PLAIN's response waits for an empty challenge.
    Plain(String),
    /// The first message of SCRAM was sent, or waits for an empty challenge.
    ScramFirst(ScramClient, Option<String>),
    /// The server must show that it knows the password.
    ScramFinal(ServerSignature),
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sent => "Sent",
            Self::Plain(_) => "Plain",
            Self::ScramFirst(..) => "ScramFirst",
            Self::ScramFinal(_) => "ScramFinal",
        })
    }
}

impl Exchange {
    /// Begins with the best way that is offered. `nonce`: for SCRAM, random and printable; empty: there is none. `None`: there is no way.
    pub(super) fn begin(login: &Login, server: &Capabilities, nonce: &str) -> Option<(Self, Opening)> {
        let Login { user, password } = login;
        let has_scram = server.auth_scram && !nonce.is_empty();
        if let Some((client, first)) = has_scram.then(|| ScramClient::begin(user, password, nonce)).flatten()
        {
            let (waits, words) = initial("SCRAM-SHA-256", BASE64_STANDARD.encode(first), server);
            return Some((Self::ScramFirst(client, waits), Opening::Authenticate(words)));
        }
        if server.auth_plain {
            let response = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
            let (waits, words) = initial("PLAIN", response, server);
            return Some((waits.map_or(Self::Sent, Self::Plain), Opening::Authenticate(words)));
        }
        (!server.login_disabled).then_some((Self::Sent, Opening::Login))
    }

    /// Takes a challenge.
    pub(super) fn challenge(&mut self, text: &str) -> Progress {
        match std::mem::replace(self, Self::Sent) {
            Self::Sent => Progress::Distrusted("it asks for more than the login has"),
            Self::Plain(response) => Progress::Respond(response),
            Self::ScramFirst(client, Some(first)) => {
                *self = Self::ScramFirst(client, None);
                Progress::Respond(first)
            }
            Self::ScramFirst(client, None) => match decoded(text).map(|text| client.prove(&text)) {
                Some(Ok((message, signature))) => {
                    *self = Self::ScramFinal(signature);
                    Progress::Respond(BASE64_STANDARD.encode(message))
                }
                _ => Progress::Distrusted("its challenge is none of SCRAM-SHA-256"),
            },
            Self::ScramFinal(signature) if decoded(text).is_some_and(|text| signature.is_in(&text)) => {
                Progress::Respond(String::new())
            }
            Self::ScramFinal(_) => Progress::Distrusted("it does not know the password itself"),
        }
    }

    /// The server says that we are logged in.
    pub(super) fn end(self) -> Progress {
        match self {
            Self::Sent | Self::Plain(_) => Progress::Done,
            _ => Progress::Distrusted("it did not show that it knows the password"),
        }
    }
}

/// What waits, and the words behind AUTHENTICATE.
fn initial(mechanism: &str, response: String, server: &Capabilities) -> (Option<String>, String) {
    match server.sasl_ir {
        true => (None, format!("{mechanism} {response}")),
        false => (Some(response), mechanism.to_owned()),
    }
}

fn decoded(text: &str) -> Option<String> {
    String::from_utf8(BASE64_STANDARD.decode(text.trim()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(server: &Capabilities) -> Option<(Exchange, Opening)> {
        Exchange::begin(&Login { user: "u".into(), password: "p".into() }, server, "nonce")
    }

    #[test]
    fn the_best_way_is_taken() {
        let none = Capabilities { login_disabled: true, ..Capabilities::default() };
        assert!(begin(&none).is_none());
        assert_eq!(begin(&Capabilities::default()).unwrap().1, Opening::Login);
        let plain = Capabilities { auth_plain: true, ..none.clone() };
        let (mut exchange, opening) = begin(&plain).unwrap();
        assert_eq!(opening, Opening::Authenticate("PLAIN".into()));
        assert_eq!(exchange.challenge(""), Progress::Respond("AHUAcA==".into()));
        assert!(matches!(exchange.challenge(""), Progress::Distrusted(_)));
        let plain = Capabilities { sasl_ir: true, ..plain };
        assert_eq!(begin(&plain).unwrap().1, Opening::Authenticate("PLAIN AHUAcA==".into()));
        let scram = Capabilities { auth_scram: true, ..plain };
        let (mut exchange, opening) = begin(&scram).unwrap();
        assert_eq!(opening, Opening::Authenticate("SCRAM-SHA-256 biwsbj11LHI9bm9uY2U=".into()));
        assert!(matches!(exchange.challenge("!"), Progress::Distrusted(_)));
        let (exchange, _) = begin(&scram).unwrap();
        assert!(matches!(exchange.end(), Progress::Distrusted(_)));
    }
}
