//! AUTH as a client (RFC 4954): SCRAM-SHA-256 (RFC 7677), else PLAIN (RFC 4616), else LOGIN.

use base64::{Engine, engine::general_purpose::STANDARD};
use waypost_auth::sasl::{
    Login,
    scram::{ScramClient, ServerSignature},
};
use waypost_mail::Reply;

use super::COMMAND_LINE_BYTES_MAX;
use crate::smtp::reply::Capabilities;

/// An exchange that is under way.
#[derive(Debug)]
pub(super) struct Exchange {
    state: State,
}

enum State {
    /// What is sent when the server says 334, the next at the end.
    Responses(Vec<String>),
    /// The first message of SCRAM goes out, or waits in base 64 for an empty challenge.
    ScramFirst(ScramClient, Option<String>),
    /// The server must show that it knows the password.
    ScramFinal(ServerSignature),
    /// It has; an empty response was sent.
    ScramEnd,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Responses(_) => "Responses",
            Self::ScramFirst(..) => "ScramFirst",
            Self::ScramFinal(_) => "ScramFinal",
            Self::ScramEnd => "ScramEnd",
        })
    }
}

/// What a reply means in an exchange.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// Send this line and go on.
    Respond(String),
    /// Logged in.
    Done,
    /// Refused, or the server asks for more than the mechanism has.
    Refused,
    /// The server does not hold to the mechanism: what is wrong.
    Distrusted(String),
}

impl Exchange {
    /// Begins with the best mechanism that is offered, which is named, and gives the command to send. `nonce`: for SCRAM, random and
    /// printable; empty where there is none. `None`: there is none that we know.
    pub(super) fn begin(
        login: &Login,
        capabilities: &Capabilities,
        nonce: &str,
    ) -> Option<(Self, &'static str, String)> {
        let Login { user, password } = login;
        let has_scram = capabilities.auth_scram && !nonce.is_empty();
        let scram = has_scram.then(|| ScramClient::begin(user, password, nonce)).flatten();
        if let Some((client, first)) = scram {
            let (waits, command) = initial("AUTH SCRAM-SHA-256", STANDARD.encode(first));
            return Some((Self { state: State::ScramFirst(client, waits) }, "AUTH SCRAM-SHA-256", command));
        }
        if capabilities.auth_plain {
            let (waits, command) = initial("AUTH PLAIN", STANDARD.encode(format!("\0{user}\0{password}")));
            let state = State::Responses(waits.into_iter().collect());
            return Some((Self { state }, "AUTH PLAIN", command));
        }
        let responses = vec![STANDARD.encode(password), STANDARD.encode(user)];
        let state = State::Responses(responses);
        capabilities.auth_login.then(|| (Self { state }, "AUTH LOGIN", "AUTH LOGIN".to_owned()))
    }

    /// Takes a reply.
    pub(super) fn reply(&mut self, reply: &Reply) -> Progress {
        let state = std::mem::replace(&mut self.state, State::Responses(Vec::new()));
        match (state, reply.code) {
            (State::Responses(mut responses), 334) => {
                let next = responses.pop();
                self.state = State::Responses(responses);
                next.map_or(Progress::Refused, Progress::Respond)
            }
            (State::Responses(_) | State::ScramEnd, 200..300) => Progress::Done,
            (State::ScramFirst(client, Some(first)), 334) => {
                self.state = State::ScramFirst(client, None);
                Progress::Respond(first)
            }
            (State::ScramFirst(client, None), 334) => self.prove(client, reply),
            (State::ScramFinal(signature), 334)
                if challenge(reply).is_some_and(|text| signature.is_in(&text)) =>
            {
                self.state = State::ScramEnd;
                Progress::Respond(String::new())
            }
            (State::ScramFinal(_), 334) => {
                Progress::Distrusted("it does not know the password itself".into())
            }
            (State::ScramFirst(..) | State::ScramFinal(_), 200..300) => {
                Progress::Distrusted("it did not show that it knows the password".into())
            }
            _ => Progress::Refused,
        }
    }

    fn prove(&mut self, client: ScramClient, reply: &Reply) -> Progress {
        let Some(text) = challenge(reply) else {
            return Progress::Distrusted("its challenge is not base 64".into());
        };
        match client.prove(&text) {
            Ok((message, signature)) => {
                self.state = State::ScramFinal(signature);
                Progress::Respond(STANDARD.encode(message))
            }
            Err(fault) => Progress::Distrusted(fault.to_string()),
        }
    }
}

/// The command with its initial response; a longer one than a line has room for waits for the server's empty challenge
/// (RFC 4954 section 4).
fn initial(command: &str, response: String) -> (Option<String>, String) {
    let line = format!("{command} {response}");
    if line.len() + 2 <= COMMAND_LINE_BYTES_MAX { (None, line) } else { (Some(response), command.to_owned()) }
}

fn challenge(reply: &Reply) -> Option<String> {
    let octets = STANDARD.decode(reply.text().trim()).ok()?;
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use waypost_auth::sasl::{
        Claim, Found, Lookup, Offer, Progress as ServerProgress, Scram, ScramHash, ServerFirst, Verifier,
    };

    use super::*;

    fn begin(login: &Login, offers: &Capabilities) -> Option<(Exchange, &'static str, String)> {
        Exchange::begin(login, offers, "nonce")
    }

    #[test]
    fn mechanisms_are_chosen_and_spoken() {
        let login = Login { user: "u".into(), password: "p".into() };
        let offers =
            |plain, login| Capabilities { auth_plain: plain, auth_login: login, ..Capabilities::default() };
        assert!(begin(&login, &offers(false, false)).is_none());
        let (mut exchange, name, command) = begin(&login, &offers(true, true)).unwrap();
        assert_eq!((name, command.as_str()), ("AUTH PLAIN", "AUTH PLAIN AHUAcA=="));
        assert_eq!(exchange.reply(&Reply::plain(235, "ok")), Progress::Done);
        let (mut exchange, _, command) = begin(&login, &offers(false, true)).unwrap();
        assert_eq!(command, "AUTH LOGIN");
        let challenge = Reply::plain(334, "VXNlcm5hbWU6");
        assert_eq!(exchange.reply(&challenge), Progress::Respond("dQ==".into()));
        assert_eq!(exchange.reply(&challenge), Progress::Respond("cA==".into()));
        assert_eq!(exchange.reply(&challenge), Progress::Refused);
        // What SCRAM cannot carry goes by PLAIN.
        let odd = Login { user: "u".into(), password: "\u{7}".into() };
        let all = Capabilities { auth_scram: true, ..offers(true, true) };
        assert_eq!(begin(&odd, &all).unwrap().1, "AUTH PLAIN");
        assert_eq!(begin(&login, &all).unwrap().1, "AUTH SCRAM-SHA-256");
    }

    #[test]
    fn a_long_initial_response_waits() {
        // AUTH PLAIN + SP + base 64 of 2 + n octets + CRLF
        let begin = |octets: usize| {
            let login = Login { user: "u".into(), password: "p".repeat(octets - 3) };
            let offers = Capabilities { auth_plain: true, ..Capabilities::default() };
            begin(&login, &offers).unwrap()
        };
        let (_, _, command) = begin(372);
        assert!(command.len() > 500);
        let (mut exchange, _, command) = begin(376);
        assert_eq!(command, "AUTH PLAIN");
        assert!(matches!(exchange.reply(&Reply::plain(334, "")), Progress::Respond(_)));
    }

    /// Speaks SCRAM with our own server; what came of it on both sides.
    fn scram(password: &str, tamper: impl Fn(String) -> String) -> (Progress, Option<bool>) {
        let login = Login { user: "u".into(), password: password.into() };
        let offers = Capabilities { auth_scram: true, ..Capabilities::default() };
        let (mut client, _, command) = begin(&login, &offers).unwrap();
        let offer = Offer { scram: Scram::Offered, ..Offer::default() };
        let (mut server, mut progress) = offer.begin("SCRAM-SHA-256", command.split(' ').nth(2)).unwrap();
        let mut judged = None;
        loop {
            let challenge = match progress {
                ServerProgress::Needs(lookup) => {
                    let (salt, iterations) = (b"salt".to_vec(), NonZeroU32::new(4096).unwrap());
                    let found = match lookup {
                        Lookup::ServerFirst { .. } => {
                            Found::ServerFirst(ServerFirst { nonce: "theirs".into(), salt, iterations })
                        }
                        _ => Found::Verifier(
                            Verifier::derive(ScramHash::Sha256, "secret", salt, iterations).unwrap(),
                        ),
                    };
                    progress = server.found(&found);
                    continue;
                }
                ServerProgress::Challenge(text) => tamper(text),
                ServerProgress::Done(Claim::Scram(proof)) => {
                    judged = Some(proof.verdict.is_ok());
                    let code = if proof.verdict.is_ok() { 235 } else { 535 };
                    return (client.reply(&Reply::plain(code, "end")), judged);
                }
                _ => return (Progress::Refused, judged),
            };
            match client.reply(&Reply::plain(334, challenge)) {
                Progress::Respond(line) => progress = server.respond(&line),
                other => return (other, judged),
            }
        }
    }

    #[test]
    fn scram_is_spoken_with_a_server() {
        assert_eq!(scram("secret", |text| text), (Progress::Done, Some(true)));
        assert_eq!(scram("wrong", |text| text), (Progress::Refused, Some(false)));
        // One in the middle who does not know the password.
        let forged = |text: String| {
            let is_final = STANDARD.decode(&text).unwrap().starts_with(b"v=");
            if is_final { STANDARD.encode("v=AAAA") } else { text }
        };
        assert!(matches!(scram("secret", forged).0, Progress::Distrusted(_)));
        assert!(matches!(scram("secret", |_| "*".into()).0, Progress::Distrusted(_)));
    }

    #[test]
    fn a_server_that_accepts_without_proof_is_not_believed() {
        let login = Login { user: "u".into(), password: "p".into() };
        let offers = Capabilities { auth_scram: true, ..Capabilities::default() };
        let (mut exchange, ..) = begin(&login, &offers).unwrap();
        assert!(matches!(exchange.reply(&Reply::plain(235, "welcome")), Progress::Distrusted(_)));
    }
}
