//! AUTH as a client (RFC 4954): PLAIN (RFC 4616), else LOGIN.

use base64::{Engine, engine::general_purpose::STANDARD};
use waypost_mail::Reply;

use super::COMMAND_LINE_BYTES_MAX;
use crate::smtp::reply::Capabilities;

/// User name and password for a next hop.
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

/// An exchange that is under way: what is sent when the server says 334, the next at the end.
#[derive(Debug)]
pub(super) struct Exchange {
    responses: Vec<String>,
}

/// What a reply means in an exchange.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// Send this line.
    Respond(String),
    /// Logged in.
    Done,
    /// Refused, or the server asks for more than the mechanism has.
    Refused,
}

impl Exchange {
    /// Begins with the best mechanism that is offered; gives the command to send. `None`: there is none that we know.
    pub(super) fn begin(login: &Login, capabilities: &Capabilities) -> Option<(Self, String)> {
        if capabilities.auth_plain {
            let response = STANDARD.encode(format!("\0{}\0{}", login.user, login.password));
            let command = format!("AUTH PLAIN {response}");
            // RFC 4954 section 4: a longer initial response waits for the server's empty challenge
            return Some(if command.len() + 2 <= COMMAND_LINE_BYTES_MAX {
                (Self { responses: Vec::new() }, command)
            } else {
                (Self { responses: vec![response] }, "AUTH PLAIN".to_owned())
            });
        }
        let responses = vec![STANDARD.encode(&login.password), STANDARD.encode(&login.user)];
        capabilities.auth_login.then(|| (Self { responses }, "AUTH LOGIN".to_owned()))
    }

    /// Takes a reply.
    pub(super) fn reply(&mut self, reply: &Reply) -> Progress {
        match reply.code {
            334 => self.responses.pop().map_or(Progress::Refused, Progress::Respond),
            200..300 => Progress::Done,
            _ => Progress::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_chosen_and_spoken() {
        let login = Login { user: "u".into(), password: "p".into() };
        let offers =
            |plain, login| Capabilities { auth_plain: plain, auth_login: login, ..Capabilities::default() };
        assert!(Exchange::begin(&login, &offers(false, false)).is_none());
        let (mut exchange, command) = Exchange::begin(&login, &offers(true, true)).unwrap();
        assert_eq!(command, "AUTH PLAIN AHUAcA==");
        assert_eq!(exchange.reply(&Reply::plain(235, "ok")), Progress::Done);
        let (mut exchange, command) = Exchange::begin(&login, &offers(false, true)).unwrap();
        assert_eq!(command, "AUTH LOGIN");
        let challenge = Reply::plain(334, "VXNlcm5hbWU6");
        assert_eq!(exchange.reply(&challenge), Progress::Respond("dQ==".into()));
        assert_eq!(exchange.reply(&challenge), Progress::Respond("cA==".into()));
        assert_eq!(exchange.reply(&challenge), Progress::Refused);
    }

    #[test]
    fn a_long_initial_response_waits() {
        // AUTH PLAIN + SP + base 64 of 2 + n octets + CRLF
        let begin = |octets: usize| {
            let login = Login { user: "u".into(), password: "p".repeat(octets - 3) };
            let offers = Capabilities { auth_plain: true, ..Capabilities::default() };
            Exchange::begin(&login, &offers).unwrap()
        };
        let (exchange, command) = begin(372);
        assert!(command.len() > 500 && exchange.responses.is_empty());
        let (mut exchange, command) = begin(376);
        assert_eq!(command, "AUTH PLAIN");
        assert!(matches!(exchange.reply(&Reply::plain(334, "")), Progress::Respond(_)));
    }
}
