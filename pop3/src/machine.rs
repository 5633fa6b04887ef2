//! A POP3 session without I/O (RFC 1939; CAPA: RFC 2449; STLS: RFC 2595; AUTH: RFC 1734, RFC 5034; UTF8 and LANG: RFC 6856). What it may
//! not know — accounts, mail, time — it asks.
//!
//! ```text
//!                 ┌──────────────────── -ERR ───────────────────┐
//!                 ▼                                             │
//!   greeting ─► Authorization ─ PASS, APOP ─────────────────► LoggingIn ─ +OK ─► Transaction ─ QUIT ─► Updating ─► Closing
//!                 │ ▲   │ ▲ │                                   ▲                │ ▲
//!               STLS│ AUTH│ └── QUIT ─► Closing                 │     LIST, UIDL │ │ all listed
//!                 ▼ │   ▼ │ *, not base 64                      │     RETR, TOP  ▼ │ sent
//!          StartingTls  Exchanging ─────────────────────────────┘          Listing, Retrieving
//! ```
//! SCRAM and tokens go from Exchanging to LookingUp and back, or on to Claiming. AUTHORIZATION is the left half, TRANSACTION the right one; UPDATE is entered by QUIT only, so a lost connection deletes nothing, nor does a session whose maildrop another one has taken over.

mod authorization;
mod capability;
mod language;
mod transaction;

use std::time::{Duration, Instant};

use bytes::BytesMut;
use waypost_auth::sasl::{Certificate, Channel, Claim, Exchange, Found, Lookup, Offer, Progress};
use waypost_config::Pop3Policy;
use waypost_mail::{Domain, Language, Uid};
use waypost_net::{Machine, Step, TlsInfo};

pub(crate) use self::capability::Announced;
use crate::{
    listing::{Listing, Message},
    wire::{
        COMMAND_LINE_BYTES_MAX, Code, Command, Encode, List, Refusal, SASL_LINE_BYTES_MAX, begins_auth,
        spoken,
    },
};

/// Inactivity after which a session is closed (RFC 1939 section 3: at least 10 minutes).
pub(crate) const AUTOLOGOUT: Duration = Duration::from_secs(10 * 60);
/// Inactivity before login after which a session is closed.
pub(crate) const AUTOLOGOUT_BEFORE_LOGIN: Duration = Duration::from_secs(60);
/// Longest time until login, whatever is said meanwhile: nobody holds a connection without an account.
pub(crate) const LOGIN_TIMEOUT: Duration = Duration::from_secs(3 * 60);
/// Bad commands and failed logins after which a session is closed.
pub(crate) const ERRORS_MAX: u32 = 20;
/// Output after which what is said is sent before more is said.
const OUTPUT_BYTES_MAX: usize = 32 * 1024;

const LINE_TOO_LONG: Refusal = Refusal::new("the line is too long");
const LINE_END: Refusal = Refusal::new("lines end with CRLF");
const WRONG_STATE: Refusal = Refusal::new("not in this state");
const TOO_MANY_ERRORS: Refusal = Refusal::new("too many errors");
const TAKEN_OVER: Refusal = Refusal::new("another session has taken the maildrop over");
const SHUTTING_DOWN: Refusal = Refusal::with(Code::SYS_TEMP, "shutting down");
const CONFUSED: Refusal = Refusal::with(Code::SYS_PERM, "internal error");

/// What the session asks of the world.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Question {
    /// Finds what SCRAM goes on with.
    LookUp(Lookup),
    /// Judges the claim and opens the maildrop.
    Login(Claim),
    /// Sends a positive multi-line reply with the message, or with as much of it as TOP shows.
    Retrieve(Retrieval),
    /// Removes messages and gives the maildrop up.
    Update {
        /// UIDs of the messages, ascending.
        deleted: Vec<Uid>,
    },
    /// Nothing: what was said so far is sent before more is said.
    Flush,
}

/// What RETR or TOP asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Retrieval {
    pub(crate) message: Message,
    /// Lines of the body, for TOP.
    pub(crate) lines: Option<u32>,
    /// In which the first line is.
    pub(crate) language: Language,
    pub(crate) mode: Mode,
}

/// Whether messages may hold UTF-8 in their header fields (RFC 6856 section 2.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Mode {
    #[default]
    Ascii,
    Utf8,
}

/// What the world answers.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// What an exchange goes on with.
    Found(Result<Box<Found>, Refusal>),
    /// The maildrop is open and locked.
    Opened(Result<Opened, Refusal>),
    /// The whole reply is sent; after a refusal nothing of it.
    Retrieved(Result<(), Refusal>),
    /// So many messages are gone; after a refusal none is.
    Updated(Result<usize, Refusal>),
    /// It is sent.
    Flushed,
}

/// A maildrop that is open.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Opened {
    /// Its messages.
    pub(crate) listing: Listing,
    /// What holds for the account.
    pub(crate) policy: Pop3Policy,
}

/// What happens by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// Another session has the maildrop now.
    TakenOver,
}

/// What a session is offered.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) tls: Tls,
    pub(crate) login: Login,
    pub(crate) offer: Offer,
    /// The timestamp for APOP, where it is offered.
    pub(crate) timestamp: Option<String>,
    /// Before the login.
    pub(crate) announced: Announced,
}

/// TLS on this connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tls {
    /// Not to be had.
    None,
    /// STLS starts it.
    Offered,
    /// It is on.
    Active,
}

/// Where passwords may be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Login {
    /// Only over TLS.
    WithTls,
    /// Everywhere: a local connection on a listener that allows it.
    Always,
}

enum State {
    /// Waits for a login; the name of a USER command that came just before.
    Authorization {
        user: Option<String>,
    },
    /// A challenge was sent.
    Exchanging(Exchange),
    /// What the exchange needs is looked for.
    LookingUp(Exchange),
    /// The exchange is over; what it came to is to be judged.
    Claiming(Claim),
    /// The credentials are being checked.
    LoggingIn,
    /// STLS was answered.
    StartingTls,
    /// The maildrop is open.
    Transaction(Listing),
    /// A listing is being sent; the index that comes next.
    Listing {
        listing: Listing,
        list: List,
        next: usize,
    },
    /// A message is being sent.
    Retrieving(Listing),
    /// QUIT was given; how many messages there were.
    Updating(usize),
    Closing,
}

/// One session.
pub(crate) struct Session {
    state: State,
    terms: Terms,
    language: Language,
    mode: Mode,
    input: BytesMut,
    /// The rest of a line that is too long is thrown away as it comes.
    skipping: bool,
    output: BytesMut,
    errors: u32,
    /// Since when the next command is waited for.
    idle_since: Option<Instant>,
    /// When the session began.
    since: Option<Instant>,
    /// The peer sends no more.
    ended: bool,
}

impl Session {
    pub(crate) fn new(hostname: &Domain, terms: Terms) -> Self {
        let mut output = BytesMut::new();
        // What stands in angle brackets offers APOP.
        let timestamp = terms.timestamp.iter().map(|timestamp| format!(" {timestamp}")).collect::<String>();
        output.line(format_args!("+OK {hostname} POP3 ready{timestamp}"));
        Self {
            state: State::Authorization { user: None },
            terms,
            language: Language::default(),
            mode: Mode::default(),
            input: BytesMut::new(),
            skipping: false,
            output,
            errors: 0,
            idle_since: None,
            since: None,
            ended: false,
        }
    }

    fn ok(&mut self, text: &str) {
        self.output.line(format_args!("+OK {}", spoken(self.language, text)));
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.output.refusal(refusal, self.language);
    }

    /// Refuses something that no good client does; too many of them end the session.
    fn fault(&mut self, refusal: Refusal) {
        self.refuse(refusal);
        self.errors += 1;
        if self.errors >= ERRORS_MAX {
            self.refuse(TOO_MANY_ERRORS);
            self.state = State::Closing;
        }
    }

    /// The next complete line without its CRLF; a line that is none is refused here.
    fn next_line(&mut self) -> Option<BytesMut> {
        loop {
            let Some(end) = self.input.iter().position(|octet| *octet == b'\n') else {
                if self.skipping || self.input.len() >= self.line_bytes_max() {
                    self.skipping = true;
                    self.input.clear();
                }
                return None;
            };
            let too_long = std::mem::take(&mut self.skipping) || end >= self.line_bytes_max();
            let mut line = self.input.split_to(end + 1);
            self.idle_since = None;
            if !too_long && line.ends_with(b"\r\n") {
                line.truncate(end - 1);
                return Some(line);
            }
            self.fault(if too_long { LINE_TOO_LONG } else { LINE_END });
            match self.state {
                State::Closing => return None,
                // A bad response ends the exchange as `*` would.
                State::Exchanging(_) => self.state = State::Authorization { user: None },
                _ => {}
            }
        }
    }

    /// When the session ends, if nothing more is said.
    fn deadline(&mut self, now: Instant) -> Instant {
        let (since, idle_since) = (*self.since.get_or_insert(now), *self.idle_since.get_or_insert(now));
        match self.state {
            State::Authorization { .. } | State::Exchanging(_) => {
                (idle_since + AUTOLOGOUT_BEFORE_LOGIN).min(since + LOGIN_TIMEOUT)
            }
            _ => idle_since + AUTOLOGOUT,
        }
    }

    fn line_bytes_max(&self) -> usize {
        let sasl = matches!(self.state, State::Exchanging(_)) || begins_auth(&self.input);
        if sasl { SASL_LINE_BYTES_MAX } else { COMMAND_LINE_BYTES_MAX }
    }

    /// Obeys one line. What is wrong with it counts as an error.
    fn obey(&mut self, line: &[u8]) -> Obeyed {
        if let State::Exchanging(exchange) = &mut self.state {
            // What is not ASCII is not base 64 either.
            let progress =
                std::str::from_utf8(line).map_or(Progress::Malformed, |line| exchange.respond(line));
            return self.exchange(progress);
        }
        let command = Command::parse(line)?;
        let user = match &mut self.state {
            // PASS comes at once behind it (RFC 1939 section 7).
            State::Authorization { user } => user.take(),
            _ => None,
        };
        match command {
            Command::Capa => self.capabilities(),
            Command::Lang(range) => self.speak(range)?,
            command => match std::mem::replace(&mut self.state, State::Closing) {
                State::Authorization { .. } => return self.authorization(user, command),
                State::Transaction(listing) => return self.transaction(listing, command),
                // In the other states no line is read.
                state => self.state = state,
            },
        }
        Ok(None)
    }
}

/// What a command leads to, or what is wrong with it.
type Obeyed = Result<Option<Step<Question>>, Refusal>;

/// What logins can stand on.
pub(crate) fn channel(TlsInfo { binding, certificate, .. }: &TlsInfo) -> Channel {
    let certificate =
        certificate.as_ref().map(|shown| Certificate { emails: shown.emails.clone(), sha256: shown.sha256 });
    Channel { exporter: binding.exporter, end_point: binding.end_point.clone(), certificate }
}

impl Machine for Session {
    type Question = Question;
    type Answer = Answer;
    type Event = Event;

    fn receive(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
    }

    fn end_of_input(&mut self) {
        self.ended = true;
    }

    fn answer(&mut self, answer: Answer) {
        match (std::mem::replace(&mut self.state, State::Closing), answer) {
            (state, Answer::Flushed) => self.state = state,
            (State::LoggingIn, Answer::Opened(Ok(opened))) => self.opened(opened),
            (State::LookingUp(mut exchange), Answer::Found(Ok(found))) => match exchange.found(&found) {
                Progress::Done(claim) => self.state = State::Claiming(claim),
                progress => {
                    self.state = State::Exchanging(exchange);
                    // A step would be a question: there is none after a challenge, nor after an end without a claim.
                    self.exchange(progress).map_or_else(|refusal| self.fault(refusal), drop);
                }
            },
            (State::LookingUp(_), Answer::Found(Err(refusal)))
            | (State::LoggingIn, Answer::Opened(Err(refusal))) => {
                self.state = State::Authorization { user: None };
                self.fault(refusal);
            }
            (State::Retrieving(listing), Answer::Retrieved(result)) => {
                self.state = State::Transaction(listing);
                result.unwrap_or_else(|refusal| self.refuse(refusal));
            }
            (State::Updating(count), Answer::Updated(result)) => self.updated(count, result),
            // An answer to something else: our bug. The session ends and nothing is deleted.
            _ => self.refuse(CONFUSED),
        }
    }

    fn event(&mut self, event: Event) {
        let Event::TakenOver = event;
        self.refuse(TAKEN_OVER);
        self.state = State::Closing;
    }

    fn tls_started(&mut self, info: &TlsInfo) {
        self.input.clear();
        self.terms.tls = Tls::Active;
        self.terms.offer.channel = channel(info);
        // Nothing that was said before holds (RFC 2595 section 4).
        (self.language, self.mode) = (Language::default(), Mode::default());
        self.state = State::Authorization { user: None };
    }

    fn shutdown(&mut self) {
        self.refuse(SHUTTING_DOWN);
        self.state = State::Closing;
    }

    fn step(&mut self, now: Instant) -> Step<Question> {
        loop {
            match std::mem::replace(&mut self.state, State::Closing) {
                State::Closing => return Step::Close,
                State::Claiming(claim) => {
                    self.state = State::LoggingIn;
                    return Step::Ask(Question::Login(claim));
                }
                State::Listing { listing, list, next } => self.list_more(listing, list, next),
                state => self.state = state,
            }
            if self.output.len() >= OUTPUT_BYTES_MAX {
                return Step::Ask(Question::Flush);
            }
            if matches!(self.state, State::Listing { .. }) {
                continue;
            }
            let Some(line) = self.next_line() else { break };
            match self.obey(&line) {
                Ok(Some(step)) => return step,
                Ok(None) => {}
                Err(refusal) => self.fault(refusal),
            }
        }
        if self.input.is_empty() {
            // An idle session holds no buffer.
            self.input = BytesMut::new();
        }
        // No reply at the end of the time (RFC 1939 section 3).
        let deadline = self.deadline(now);
        let over = self.ended || now >= deadline || matches!(self.state, State::Closing);
        match self.state {
            _ if over => Step::Close,
            State::Transaction(_) => Step::Watch { deadline },
            _ => Step::Read { deadline },
        }
    }

    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }
}

#[cfg(test)]
mod tests;
