//! The AUTHORIZATION state (RFC 1939 section 4): logins, and TLS before them.

use waypost_auth::{
    Apop,
    sasl::{Claim, Credentials, Progress, prepare},
};
use waypost_net::Step;

use super::{Login, Question, SYNTAX, Session, State, Tls, UNKNOWN, WRONG_STATE};
use crate::wire::{Command, Encode, Refusal};

const NO_USER: Refusal = Refusal::new("USER comes first");
const NEEDS_TLS: Refusal = Refusal::new("no login without TLS; use STLS first");
const NO_TLS: Refusal = Refusal::new("TLS is not available");
const TLS_ACTIVE: Refusal = Refusal::new("TLS is active already");
const MECHANISM: Refusal = Refusal::new("unknown authentication mechanism");
const CANCELLED: Refusal = Refusal::new("authentication cancelled");
const MALFORMED: Refusal = Refusal::new("this is no valid response");

impl Session {
    pub(super) fn authorization(
        &mut self,
        user: Option<String>,
        command: Command<'_>,
    ) -> Option<Step<Question>> {
        self.state = State::Authorization { user: None };
        match command {
            Command::Apop { .. } if self.timestamp.is_none() => self.fault(UNKNOWN),
            Command::User(_) | Command::Pass(_) | Command::Apop { .. } | Command::Auth { .. }
                if !self.may_login() =>
            {
                self.fault(NEEDS_TLS);
            }
            Command::User(name) => match prepared(name) {
                Some(name) => {
                    self.state = State::Authorization { user: Some(name) };
                    self.ok("now the password");
                }
                None => self.fault(SYNTAX),
            },
            Command::Pass(password) => match user {
                Some(_) if prepared(password).is_none() => self.fault(SYNTAX),
                Some(login) => {
                    let (authorization, password) = (String::new(), password.into());
                    return self.log_in(Claim::Password(Credentials { authorization, login, password }));
                }
                None => self.fault(NO_USER),
            },
            Command::Apop { name, digest } => match (prepared(name), self.timestamp.clone()) {
                (Some(login), Some(timestamp)) => {
                    return self.log_in(Claim::Apop(Apop { login, timestamp, digest: digest.into() }));
                }
                _ => self.fault(SYNTAX),
            },
            Command::Auth { mechanism, initial } => return self.begin_exchange(mechanism, initial),
            Command::Stls => match self.tls {
                Tls::None => self.fault(NO_TLS),
                Tls::Active => self.fault(TLS_ACTIVE),
                Tls::Offered => {
                    self.ok("begin TLS");
                    self.state = State::StartingTls;
                    return Some(Step::StartTls);
                }
            },
            Command::Capa => self.capabilities(self.tls),
            // Nothing changes: messages are sent as they are in any case.
            Command::Utf8 => self.ok("UTF-8 it is"),
            Command::Lang(range) => self.speak(range),
            Command::Quit => {
                self.ok("bye");
                self.state = State::Closing;
            }
            _ => self.fault(WRONG_STATE),
        }
        None
    }

    fn begin_exchange(&mut self, mechanism: &str, initial: Option<&str>) -> Option<Step<Question>> {
        let Some((exchange, progress)) = self.offer.begin(mechanism, initial) else {
            self.fault(MECHANISM);
            return None;
        };
        self.state = State::Exchanging(exchange);
        self.exchange(progress)
    }

    pub(super) fn exchange(&mut self, progress: Progress) -> Option<Step<Question>> {
        let refusal = match progress {
            Progress::Challenge(challenge) => {
                self.output.line(format_args!("+ {challenge}"));
                return None;
            }
            Progress::Needs(lookup) => {
                if let State::Exchanging(exchange) = std::mem::replace(&mut self.state, State::Closing) {
                    self.state = State::LookingUp(exchange);
                }
                return Some(Step::Ask(Question::LookUp(lookup)));
            }
            Progress::Done(claim) => return self.log_in(claim),
            Progress::Cancelled => CANCELLED,
            Progress::Malformed => MALFORMED,
        };
        self.state = State::Authorization { user: None };
        self.fault(refusal);
        None
    }

    fn log_in(&mut self, claim: Claim) -> Option<Step<Question>> {
        self.state = State::LoggingIn;
        Some(Step::Ask(Question::Login(claim)))
    }

    pub(super) fn may_login(&self) -> bool {
        self.tls == Tls::Active || self.login == Login::Always
    }
}

/// What is not ASCII by SASLprep (RFC 6856 section 2.2); `None`: it holds what must not be there.
fn prepared(text: &str) -> Option<String> {
    if text.is_ascii() { Some(text.to_owned()) } else { prepare(text) }
}
