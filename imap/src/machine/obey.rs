//! What the machine does by itself with a command, and the exchanges that go beyond one command: AUTHENTICATE and IDLE.

use waypost_auth::sasl::{Claim, Credentials, Exchange, Progress};
use waypost_net::Step;

use super::{
    append::Next,
    capability::Privacy,
    gather::{Line, TEXT_NOT_CRLF},
    phase::{Asked, Phase, Reply, State},
    questions::{Question, Ran},
    session::{ImapMachine, Turn},
};
use crate::wire::{Command, CommandBody, Spelling, encode, encode::Status, literal::announced, spoken};

/// Longest line in an AUTHENTICATE exchange (as RFC 4954 section 4 has it for SMTP).
pub(super) const SASL_LINE_BYTES_MAX: usize = 12_288;
/// Longest line that ends IDLE.
const IDLE_LINE_BYTES_MAX: usize = 64;

/// What a client enables to be spoken to as RFC 9051 has it; commands are parsed in capitals.
pub(crate) const IMAP4REV2: &str = "IMAP4REV2";
/// What a client enables to be sent UTF-8 in quoted strings (RFC 6855 section 3).
pub(crate) const UTF8_ACCEPT: &str = "UTF8=ACCEPT";

const TEXT_LOGOUT: &str = "Waypost logging out";

impl ImapMachine {
    pub(super) fn obey(&mut self, Command { tag, body }: Command) -> Turn {
        match body {
            CommandBody::Capability => {
                let capabilities = self.settings.capability_data(self.state);
                self.say(|out| encode::data(out, &capabilities));
                self.done(tag, Ran::ok("CAPABILITY completed"))
            }
            CommandBody::Id(_) => {
                self.say(|out| encode::data(out, "ID (\"name\" \"Waypost\")"));
                self.done(tag, Ran::ok("ID completed"))
            }
            CommandBody::Noop if self.state == State::NotAuthenticated => {
                self.done(tag, Ran::ok("NOOP completed"))
            }
            CommandBody::Logout => {
                let language = self.language;
                self.say(|out| {
                    encode::bye(out, None, &spoken(language, TEXT_LOGOUT));
                    encode::tagged(out, &tag, Status::Ok, None, &spoken(language, "LOGOUT completed"));
                });
                self.phase = Phase::Closed;
                Turn::Again
            }
            CommandBody::StartTls => self.start_tls(tag),
            CommandBody::Authenticate(mechanism, initial) => {
                self.authenticate(tag, &mechanism, initial.as_deref())
            }
            CommandBody::Login(login, password) if self.settings.login_allowed() => {
                let credentials = Credentials { authorization: String::new(), login, password };
                self.ask(Asked::Login { tag }, Question::Login(Claim::Password(credentials)))
            }
            CommandBody::LoginOctets if self.settings.login_allowed() => self.login(tag, wrong_credentials()),
            CommandBody::Login(..) | CommandBody::LoginOctets => self.login(tag, privacy_required()),
            CommandBody::Language(ranges) => self.change_language(tag, &ranges),
            CommandBody::Compress(algorithm) => self.compress(tag, &algorithm),
            CommandBody::Unauthenticate => self.unauthenticate(tag),
            CommandBody::Idle => self.ask(Asked::IdleStart { tag }, Question::IdleStart),
            CommandBody::Append(append) => {
                self.ask(Asked::AppendPiece { tag, next: Next::End }, Question::AppendStart(append))
            }
            CommandBody::Enable(ref names)
                if names.iter().any(|name| name == IMAP4REV2 || name == UTF8_ACCEPT) =>
            {
                self.spelling = Spelling::Utf8;
                self.ask(Asked::Run { tag: tag.clone() }, Question::Run(Command { tag, body }))
            }
            body => self.ask(Asked::Run { tag: tag.clone() }, Question::Run(Command { tag, body })),
        }
    }

    /// STARTTLS (RFC 3501 section 6.2.1). What the client sent after it in plain text is never obeyed.
    fn start_tls(&mut self, tag: String) -> Turn {
        match self.settings.privacy {
            Privacy::Tls => self.done(tag, Ran::bad("TLS is on already")),
            Privacy::None => self.done(tag, Ran::bad("TLS is not to be had here")),
            Privacy::StartTls => {
                self.say(|out| encode::tagged(out, &tag, Status::Ok, None, "begin TLS negotiation now"));
                self.input.clear();
                self.phase = Phase::StartTls;
                Turn::Do(Step::StartTls)
            }
        }
    }

    /// AUTHENTICATE (RFC 3501 section 6.2.2, RFC 4959).
    fn authenticate(&mut self, tag: String, mechanism: &str, initial: Option<&str>) -> Turn {
        if !self.settings.login_allowed() {
            return self.login(tag, privacy_required());
        }
        match self.settings.offer.begin(mechanism, initial) {
            Some((exchange, progress)) => self.exchange(tag, exchange, progress),
            None => self.done(tag, Ran::no("unknown mechanism")),
        }
    }

    /// Goes on with an exchange.
    pub(super) fn exchange(&mut self, tag: String, exchange: Exchange, progress: Progress) -> Turn {
        match progress {
            Progress::Challenge(challenge) => {
                self.say(|out| encode::continue_req(out, &challenge));
                self.silent_since = None;
                self.phase = Phase::Sasl { tag, exchange };
                Turn::Again
            }
            Progress::Needs(lookup) => self.ask(Asked::LookUp { tag, exchange }, Question::LookUp(lookup)),
            Progress::Done(claim) => self.ask(Asked::Login { tag }, Question::Login(claim)),
            Progress::Cancelled => self.done(tag, Ran::bad("AUTHENTICATE cancelled")),
            Progress::Malformed => self.done(tag, Ran::bad("malformed response")),
        }
    }

    pub(super) fn sasl_response(&mut self, tag: String, mut exchange: Exchange) -> Turn {
        match self.line(SASL_LINE_BYTES_MAX) {
            Line::Part => {
                self.phase = Phase::Sasl { tag, exchange };
                Turn::Wait
            }
            Line::TooLong => self.skip_line(tag, Ran::bad("the response is too long")),
            Line::Complete(line) => match line.strip_suffix(b"\r\n").map(str::from_utf8) {
                Some(Ok(response)) => {
                    let progress = exchange.respond(response);
                    self.exchange(tag, exchange, progress)
                }
                Some(Err(_)) => self.done(tag, Ran::bad("malformed response")),
                None => self.done(tag, Ran::bad(TEXT_NOT_CRLF)),
            },
        }
    }

    /// The client idles until it says DONE (RFC 2177).
    pub(super) fn idle(&mut self, tag: String) -> Turn {
        match self.line(IDLE_LINE_BYTES_MAX) {
            Line::Part => {
                self.phase = Phase::Idle { tag };
                Turn::Wait
            }
            Line::TooLong => self.skip_line(tag, Ran::bad("expected DONE")),
            Line::Complete(line) if line.eq_ignore_ascii_case(b"DONE\r\n") => {
                self.done(tag, Ran::ok("IDLE completed"))
            }
            Line::Complete(line) => match announced(&line) {
                Some(literal) => self.refuse(literal, Reply::new(Some(tag), Ran::bad("expected DONE"))),
                None => self.done(tag, Ran::bad("expected DONE")),
            },
        }
    }
}

/// The credentials cannot be right (RFC 5530).
fn wrong_credentials() -> Ran {
    Ran::no("wrong user name or password").with_code("AUTHENTICATIONFAILED")
}

/// A password would go unprotected (RFC 5530).
fn privacy_required() -> Ran {
    Ran::no("login needs TLS").with_code("PRIVACYREQUIRED")
}
