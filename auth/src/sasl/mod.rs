//! SASL exchanges on the server's side (RFC 4422): PLAIN (RFC 4616), LOGIN, SCRAM (RFC 5802, RFC 7677), and
//! OAUTHBEARER (RFC 7628), EXTERNAL. Pure: challenges and
//! responses, decoded from base 64 by the exchange itself.
//!
//! A session offers mechanisms by its [`Offer`]. What the exchange cannot know it asks for: SCRAM's salt and verifier of a user,
//! whether a token is valid ([`Progress::Needs`]), and at the end whether the client's [`Claim`] is good.

mod oauth;
mod offer;
mod prepare;
pub mod scram;
#[cfg(test)]
mod tests;

use base64::{Engine, prelude::BASE64_STANDARD};

pub use self::prepare::prepare;
use self::scram::Dialogue;
pub use self::{
    oauth::Bearer,
    offer::{Certificate, Channel, Mechanism, Offer, Scram, Tokens},
    scram::{Fault, Proof, ScramHash, ServerFirst, Verifier},
};
use crate::{Apop, token::TokenFault};

/// A name and a password, as a client has shown them.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    /// Whom the client wants to act as; empty: as `login`.
    pub authorization: String,
    /// Who it says it is.
    pub login: String,
    /// Its password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("login", &self.login).finish_non_exhaustive()
    }
}

/// A name and a password that are shown to another server. Neither may hold NUL, CR or LF.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Who a client says it is, and by what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Claim {
    /// By a password, which is to be checked.
    Password(Credentials),
    /// By a proof, which the exchange has checked.
    Scram(Proof),
    /// By a bearer token, which the exchange has checked.
    Token(Bearer),
    /// By its certificate, which TLS has checked.
    Certificate(Shown),
    /// By a digest, which is to be checked; that is POP3's, and no mechanism.
    Apop(Apop),
}

/// What a client has shown with its certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    /// Whom the client wants to act as; empty: as the certificate says.
    pub authorization: String,
    /// Its certificate.
    pub certificate: Certificate,
}

/// What an exchange must be told.
#[derive(Clone, Eq, PartialEq)]
pub enum Lookup {
    /// What the first message of the server says to a user. Nobody has shown anything yet.
    ServerFirst {
        /// The name that the client gave.
        login: String,
        /// For this hash.
        hash: ScramHash,
    },
    /// The verifier of a user, for a proof that the client has shown.
    Verifier {
        /// The name that the client gave.
        login: String,
        /// For this hash.
        hash: ScramHash,
    },
    /// Whether a bearer token is valid, and whose it is.
    Token {
        /// Whom the client wants to act as; may be empty.
        authorization: String,
        /// The token: a secret.
        token: String,
    },
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ServerFirst { login, hash } => {
                f.debug_struct("ServerFirst").field("login", login).field("hash", hash).finish()
            }
            Self::Verifier { login, hash } => {
                f.debug_struct("Verifier").field("login", login).field("hash", hash).finish()
            }
            Self::Token { authorization, .. } => {
                f.debug_struct("Token").field("authorization", authorization).finish_non_exhaustive()
            }
        }
    }
}

/// What an exchange is told for a [`Lookup`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// For [`Lookup::ServerFirst`].
    ServerFirst(ServerFirst),
    /// For [`Lookup::Verifier`]. Of a user who does not exist: one that no password fits.
    Verifier(Verifier),
    /// For [`Lookup::Token`]: the login name in it, or why it is not valid.
    Token(Result<String, TokenFault>),
}

/// What comes next in an exchange.
#[derive(Debug, Eq, PartialEq)]
pub enum Progress {
    /// Send this challenge (base 64, may be empty) and give the response to [`Exchange::respond`].
    Challenge(String),
    /// Find this and give it to [`Exchange::found`].
    Needs(Lookup),
    /// The exchange is over; the claim is to be judged.
    Done(Claim),
    /// The client cancelled with `*`.
    Cancelled,
    /// Not base 64, or not what the mechanism wants.
    Malformed,
}

/// Longest response in octets of base 64 that is looked at (RFC 4954 section 4: at least 12,288 for a line).
pub const RESPONSE_BYTES_MAX: usize = 12_288;
/// Longest name in octets that is prepared: more than an address has (RFC 5321 section 4.5.3.1), also with its letters decomposed.
/// A name that is prepared can be eleven times as long.
pub const NAME_BYTES_MAX: usize = 1024;

/// One exchange.
///
/// ```text
/// PLAIN:  start ──(initial response)──► Done
///         start ── "" ──► message ──► Done
/// LOGIN:  start ── "Username:" ──► user ── "Password:" ──► password ──► Done     (an initial response is the user name)
/// EXTERNAL: start ──(initial response)──► Done
///           start ── "" ──► authorization identity, may be empty ──► Done
/// SCRAM:  see `scram`; OAUTHBEARER, XOAUTH2: see `oauth`
/// ```
#[derive(Debug)]
pub struct Exchange {
    awaits: Awaits,
}

#[derive(Debug)]
enum Awaits {
    External(Certificate),
    PlainMessage,
    LoginUser,
    LoginPassword { user: String },
    Scram(Dialogue),
    Oauth(oauth::Dialogue),
    Nothing,
}

impl Exchange {
    /// Begins; `initial` is the initial response in base 64 (`=` stands for an empty one).
    fn begin(awaits: Awaits, initial: Option<&str>) -> (Self, Progress) {
        let first = match awaits {
            Awaits::LoginUser => BASE64_STANDARD.encode("Username:"),
            _ => String::new(),
        };
        let mut exchange = Self { awaits };
        let progress = match initial {
            Some("=") => exchange.take(String::new()),
            Some(initial) => exchange.respond(initial),
            None => Progress::Challenge(first),
        };
        (exchange, progress)
    }

    /// Takes a response line in base 64, without its CRLF.
    pub fn respond(&mut self, line: &str) -> Progress {
        if line == "*" {
            self.awaits = Awaits::Nothing;
            return Progress::Cancelled;
        }
        let decoded = if line.len() > RESPONSE_BYTES_MAX { None } else { BASE64_STANDARD.decode(line).ok() };
        match decoded.and_then(|octets| String::from_utf8(octets).ok()) {
            Some(text) => self.take(text),
            None => self.malformed(),
        }
    }

    /// Takes what was asked for.
    pub fn found(&mut self, found: &Found) -> Progress {
        match (std::mem::replace(&mut self.awaits, Awaits::Nothing), found) {
            (Awaits::Scram(dialogue), Found::ServerFirst(first)) => self.go_on(dialogue.opened(first)),
            (Awaits::Scram(dialogue), Found::Verifier(verifier)) => self.go_on(dialogue.verified(verifier)),
            (Awaits::Oauth(dialogue), Found::Token(verdict)) => self.go_on_oauth(dialogue.judged(verdict)),
            _ => Progress::Malformed,
        }
    }

    fn take(&mut self, text: String) -> Progress {
        match std::mem::replace(&mut self.awaits, Awaits::Nothing) {
            // extern-resp = *( UTF8-char-no-nul )
            Awaits::External(certificate) if !text.contains('\0') => {
                Progress::Done(Claim::Certificate(Shown { authorization: text, certificate }))
            }
            Awaits::PlainMessage => plain_message(&text)
                .map_or(Progress::Malformed, |shown| Progress::Done(Claim::Password(shown))),
            Awaits::LoginUser if !text.is_empty() => {
                self.awaits = Awaits::LoginPassword { user: text };
                Progress::Challenge(BASE64_STANDARD.encode("Password:"))
            }
            Awaits::LoginPassword { user } => {
                let (authorization, login, password) = (String::new(), user, text);
                Progress::Done(Claim::Password(Credentials { authorization, login, password }))
            }
            Awaits::Scram(dialogue) => self.go_on(dialogue.take(&text)),
            Awaits::Oauth(dialogue) => self.go_on_oauth(dialogue.take(&text)),
            Awaits::External(_) | Awaits::LoginUser | Awaits::Nothing => Progress::Malformed,
        }
    }

    fn go_on(&mut self, (next, progress): (Option<Dialogue>, Progress)) -> Progress {
        self.awaits = next.map_or(Awaits::Nothing, Awaits::Scram);
        progress
    }

    fn go_on_oauth(&mut self, (next, progress): (Option<oauth::Dialogue>, Progress)) -> Progress {
        self.awaits = next.map_or(Awaits::Nothing, Awaits::Oauth);
        progress
    }

    fn malformed(&mut self) -> Progress {
        self.awaits = Awaits::Nothing;
        Progress::Malformed
    }
}

/// `message = [authzid] UTF8NUL authcid UTF8NUL passwd` (RFC 4616 section 2)
fn plain_message(text: &str) -> Option<Credentials> {
    let mut parts = text.split('\0');
    let (authorization, login, password) = (parts.next()?, parts.next()?, parts.next()?);
    let valid = parts.next().is_none() && !login.is_empty() && !password.is_empty();
    let own = |text: &str| text.to_owned();
    valid.then(|| Credentials {
        authorization: own(authorization),
        login: own(login),
        password: own(password),
    })
}
