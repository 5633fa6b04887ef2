//! The AUTHORIZATION state (RFC 1939 section 4): logins, and TLS before them.

use waypost_auth::{
    Apop,
    sasl::{Claim, Credentials, Progress, prepare},
};
use waypost_net::Step;

use super::{Login, Mode, Obeyed, Question, Session, State, Tls, WRONG_STATE};
use crate::wire::{Command, Encode, Refusal, SYNTAX, UNKNOWN};

const NO_USER: Refusal = Refusal::new("USER comes first");
const NEEDS_TLS: Refusal = Refusal::new("no login without TLS; use STLS first");
const NO_TLS: Refusal = Refusal::new("TLS is not available");
const TLS_ACTIVE: Refusal = Refusal::new("TLS is active already");
const MECHANISM: Refusal = Refusal::new("unknown authentication mechanism");
const CANCELLED: Refusal = Refusal::new("authentication cancelled");
const MALFORMED: Refusal = Refusal::new("this is no valid response");

impl Session {
    pub(super) fn authorization(&mut self, user: Option<String>, command: Command<'_>) -> Obeyed {
        self.state = State::Authorization { user: None };
        match command {
            Command::Apop { .. } if self.terms.timestamp.is_none() => return Err(UNKNOWN),
            Command::User(_) | Command::Pass(_) | Command::Apop { .. } | Command::Auth { .. }
                if !self.may_login() =>
            {
                return Err(NEEDS_TLS);
            }
            Command::User(name) => {
                self.state = State::Authorization { user: Some(prepared(name)?) };
                self.ok("now the password");
            }
            Command::Pass(password) => {
                let login = user.ok_or(NO_USER)?;
                prepared(password)?;
                let (authorization, password) = (String::new(), password.into());
                return self.log_in(Claim::Password(Credentials { authorization, login, password }));
            }
            Command::Apop { name, digest } => {
                let (login, timestamp) = (prepared(name)?, self.terms.timestamp.clone().ok_or(UNKNOWN)?);
                return self.log_in(Claim::Apop(Apop { login, timestamp, digest: digest.into() }));
            }
            Command::Auth { mechanism, initial } => {
                let (exchange, progress) = self.terms.offer.begin(mechanism, initial).ok_or(MECHANISM)?;
                self.state = State::Exchanging(exchange);
                return self.exchange(progress);
            }
            Command::Stls => match self.terms.tls {
                Tls::None => return Err(NO_TLS),
                Tls::Active => return Err(TLS_ACTIVE),
                Tls::Offered => {
                    self.ok("begin TLS");
                    self.state = State::StartingTls;
                    return Ok(Some(Step::StartTls));
                }
            },
            Command::Utf8 => {
                self.mode = Mode::Utf8;
                self.ok("UTF-8 it is");
            }
            Command::Quit => {
                self.ok("bye");
                self.state = State::Closing;
            }
            _ => return Err(WRONG_STATE),
        }
        Ok(None)
    }

    pub(super) fn exchange(&mut self, progress: Progress) -> Obeyed {
        let refusal = match progress {
            Progress::Challenge(challenge) => {
                self.output.line(format_args!("+ {challenge}"));
                return Ok(None);
            }
            Progress::Needs(lookup) => {
                if let State::Exchanging(exchange) = std::mem::replace(&mut self.state, State::Closing) {
                    self.state = State::LookingUp(exchange);
                }
                return Ok(Some(Step::Ask(Question::LookUp(lookup))));
            }
            Progress::Done(claim) => return self.log_in(claim),
            Progress::Cancelled => CANCELLED,
            Progress::Malformed => MALFORMED,
        };
        self.state = State::Authorization { user: None };
        Err(refusal)
    }

    fn log_in(&mut self, claim: Claim) -> Obeyed {
        self.state = State::LoggingIn;
        Ok(Some(Step::Ask(Question::Login(claim))))
    }

    pub(super) fn may_login(&self) -> bool {
        self.terms.tls == Tls::Active || self.terms.login == Login::Always
    }
}

/// What is not ASCII by SASLprep (RFC 6856 section 2.2); an error: it holds what must not be there.
fn prepared(text: &str) -> Result<String, Refusal> {
    if text.is_ascii() { Ok(text.to_owned()) } else { prepare(text).ok_or(SYNTAX) }
}
