//! SASL exchanges on the server's side (RFC 4422): PLAIN (RFC 4616) and LOGIN. Pure: challenges and responses, decoded from base 64 by
//! the exchange itself.

use base64::{Engine, prelude::BASE64_STANDARD};

/// A mechanism.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The obsolete LOGIN, which many clients still use.
    Login,
}

impl Mechanism {
    /// All that are offered, strongest first.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Login];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// The mechanism of a name, in any case.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}

/// What a client has shown.
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

/// What comes next in an exchange.
#[derive(Debug, Eq, PartialEq)]
pub enum Progress {
    /// Send this challenge (base 64, may be empty) and give the response to [`Exchange::respond`].
    Challenge(String),
    /// The exchange is over; the credentials are to be checked.
    Done(Credentials),
    /// The client cancelled with `*`.
    Cancelled,
    /// Not base 64, or not what the mechanism wants.
    Malformed,
}

/// Longest response in octets of base 64 that is looked at (RFC 4954 section 4: at least 12,288 for a line).
pub const RESPONSE_BYTES_MAX: usize = 12_288;

/// One exchange.
///
/// ```text
/// PLAIN:  start ──(initial response)──► Done
///         start ── "" ──► message ──► Done
/// LOGIN:  start ── "Username:" ──► user ── "Password:" ──► password ──► Done     (an initial response is the user name)
/// ```
#[derive(Debug)]
pub struct Exchange {
    awaits: Awaits,
}

#[derive(Debug)]
enum Awaits {
    PlainMessage,
    LoginUser,
    LoginPassword { user: String },
    Nothing,
}

impl Exchange {
    /// Begins; `initial` is the initial response in base 64 (`=` stands for an empty one).
    pub fn begin(mechanism: Mechanism, initial: Option<&str>) -> (Self, Progress) {
        let awaits = match mechanism {
            Mechanism::Plain => Awaits::PlainMessage,
            Mechanism::Login => Awaits::LoginUser,
        };
        let mut exchange = Self { awaits };
        let progress = match (initial, mechanism) {
            (Some("="), _) => exchange.take(String::new()),
            (Some(initial), _) => exchange.respond(initial),
            (None, Mechanism::Plain) => Progress::Challenge(String::new()),
            (None, Mechanism::Login) => Progress::Challenge(BASE64_STANDARD.encode("Username:")),
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

    fn take(&mut self, text: String) -> Progress {
        match std::mem::replace(&mut self.awaits, Awaits::Nothing) {
            Awaits::PlainMessage => plain_message(&text).map_or(Progress::Malformed, Progress::Done),
            Awaits::LoginUser if !text.is_empty() => {
                self.awaits = Awaits::LoginPassword { user: text };
                Progress::Challenge(BASE64_STANDARD.encode("Password:"))
            }
            Awaits::LoginPassword { user } => {
                Progress::Done(Credentials { authorization: String::new(), login: user, password: text })
            }
            Awaits::LoginUser | Awaits::Nothing => Progress::Malformed,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> String {
        BASE64_STANDARD.encode(text)
    }

    fn credentials(authorization: &str, login: &str, password: &str) -> Progress {
        let own = |text: &str| text.to_owned();
        let (authorization, login, password) = (own(authorization), own(login), own(password));
        Progress::Done(Credentials { authorization, login, password })
    }

    #[test]
    fn plain() {
        for (message, expected) in [
            ("\0tim\0tanstaaftanstaaf", credentials("", "tim", "tanstaaftanstaaf")),
            ("Ursel\0Kurt\0xipj3plmq", credentials("Ursel", "Kurt", "xipj3plmq")),
            ("\0tim\0pässword", credentials("", "tim", "pässword")),
            ("\0tim\0", Progress::Malformed),
            ("\0\0x", Progress::Malformed),
            ("tim", Progress::Malformed),
            ("\0tim\0x\0y", Progress::Malformed),
            ("", Progress::Malformed),
        ] {
            assert_eq!(Exchange::begin(Mechanism::Plain, Some(&encoded(message))).1, expected, "{message:?}");
            let (mut exchange, challenge) = Exchange::begin(Mechanism::Plain, None);
            assert_eq!(challenge, Progress::Challenge(String::new()));
            assert_eq!(exchange.respond(&encoded(message)), expected, "{message:?}");
            assert_eq!(exchange.respond(&encoded(message)), Progress::Malformed, "an exchange ends once");
        }
        assert_eq!(Exchange::begin(Mechanism::Plain, Some("=")).1, Progress::Malformed);
        assert_eq!(Exchange::begin(Mechanism::Plain, Some("*")).1, Progress::Cancelled);
        for line in ["!", "AGE", "/w==", &"A".repeat(RESPONSE_BYTES_MAX + 4)] {
            assert_eq!(Exchange::begin(Mechanism::Plain, Some(line)).1, Progress::Malformed);
        }
    }

    #[test]
    fn login() {
        let user = |progress: &Progress| *progress == Progress::Challenge(encoded("Username:"));
        let (mut exchange, challenge) = Exchange::begin(Mechanism::Login, None);
        assert!(user(&challenge));
        assert_eq!(exchange.respond(&encoded("tim")), Progress::Challenge("UGFzc3dvcmQ6".to_owned()));
        assert_eq!(exchange.respond(&encoded("secret")), credentials("", "tim", "secret"));
        let (mut exchange, challenge) = Exchange::begin(Mechanism::Login, Some(&encoded("tim")));
        assert_eq!(challenge, Progress::Challenge(encoded("Password:")));
        assert_eq!(exchange.respond("*"), Progress::Cancelled);
        assert_eq!(exchange.respond(&encoded("x")), Progress::Malformed);
        assert_eq!(Mechanism::by_name("login"), Some(Mechanism::Login));
        assert_eq!(Mechanism::by_name("CRAM-MD5"), None);
    }
}
