//! The machine.
//!
//! ```text
//!            Greeting
//!               │
//!               ▼      line, literals          question           answer
//!  ┌────────► Command ──────────────────► Asked(Login, Run) ─────────────► tagged response ──┐
//!  │            │ ├── AUTHENTICATE ──► Sasl ⇄ challenge, response, Asked(LookUp) ──► Asked(Login) ┤
//!  │            │ ├── APPEND ──► Asked(AppendPiece) ──► AppendMessage ⇄ Asked(AppendChunk)   │
//!  │            │ │                   ▲                      ▼                               │
//!  │            │ │                   └──────────────── AppendPiece ─► Asked(AppendEnd, AppendAbort) ┤
//!  │            │ ├── IDLE ──► Asked(IdleStart) ──► Idle ⇄ event ── DONE ────────────────────┤
//!  │            │ ├── STARTTLS ──► StartTls ──► tls_started ─────────────────────────────────┤
//!  │            │ ├── UNAUTHENTICATE ──► Asked(Unauthenticate) ──► StopCompression ──────────┤
//!  │            │ └── refused, with a literal that follows at once ──► Skip ─────────────────┤
//!  └────────────┼───────────────────────────────────────────────────────────────────────────┘
//!               ▼
//!             Closed     LOGOUT, autologout, too many errors, shutdown, the handler's wish
//! ```
//! The state of RFC 9051 section 3 goes beside it: `NotAuthenticated → Authenticated ⇄ Selected`, as the handler says, and back
//! with UNAUTHENTICATE.

use std::{
    fmt,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use waypost_auth::sasl::{Certificate, Channel, Offer, Progress};
use waypost_config::ImapRules;
use waypost_net::{Machine, Step, TlsInfo};

use super::{
    capability::Privacy,
    framing::{COMMAND_BYTES_MAX, COMMAND_BYTES_MAX_BEFORE_LOGIN, Framing, Skipping},
    phase::{Asked, Phase, Reply, State},
    questions::{Answer, Event, Question, Ran},
};
use crate::wire::{Language, Spelling, encode, encode::Status, spoken};

/// Longest silence of a client that has logged in, in IDLE too (RFC 3501 section 5.4: at least 30 minutes; RFC 2177: clients renew
/// IDLE every 29).
pub const AUTOLOGOUT: Duration = Duration::from_secs(30 * 60);
/// Longest silence before login.
pub const AUTOLOGOUT_BEFORE_LOGIN: Duration = Duration::from_secs(60);
/// Longest time until login, whatever the client says; it begins anew with TLS.
pub const LOGIN_TIME: Duration = Duration::from_secs(3 * 60);
/// Time that a message, or what is skipped, has beside what its octets take at [`TRANSFER_BYTES_PER_SECOND`].
pub const TRANSFER_GRACE: Duration = Duration::from_secs(10 * 60);
/// The least rate of a client that sends a message.
pub const TRANSFER_BYTES_PER_SECOND: u64 = 1024;
/// Commands that may be wrong one after the other; before login, altogether.
pub const FAULTS_MAX: u32 = 50;
/// Logins that may fail in a session.
pub const LOGIN_FAILURES_MAX: u32 = 5;
const TEXT_SHUTDOWN: &str = "server shutting down";
const TEXT_AUTOLOGOUT: &str = "autologout; idle for too long";
const TEXT_LOGIN_TIME: &str = "autologout; no login in time";
const TEXT_TOO_SLOW: &str = "autologout; the message comes too slowly";
const TEXT_FAULTS: &str = "too many errors";
const TEXT_LOGIN_FAILURES: &str = "too many failed logins";
const TEXT_SERVER_BUG: &str = "internal error";

/// Whether passwords may go over the wire unprotected (`auth_without_tls`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlaintextLogin {
    /// `NO [PRIVACYREQUIRED]`
    Refused,
    /// On loopback.
    Allowed,
}

/// What a session is told when it begins.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For the greeting.
    pub hostname: String,
    /// TLS as it is when the session begins.
    pub privacy: Privacy,
    /// Whether login is possible without TLS.
    pub plaintext_login: PlaintextLogin,
    /// By what AUTHENTICATE is possible.
    pub offer: Offer,
    /// What the listener has its sessions do.
    pub rules: ImapRules,
    /// Octets of the largest message that APPEND takes (RFC 7889 section 2).
    pub append_limit: u32,
}

/// One IMAP session.
pub struct ImapMachine {
    pub(super) settings: Settings,
    pub(super) input: BytesMut,
    pub(super) output: BytesMut,
    pub(super) state: State,
    pub(super) phase: Phase,
    /// How names of mailboxes are written.
    pub(super) spelling: Spelling,
    /// In which language people are spoken to.
    pub(super) language: Language,
    /// Since when the client is silent; set when it is waited for.
    pub(super) silent_since: Option<Instant>,
    /// Since when login is waited for.
    pub(super) login_since: Option<Instant>,
    /// DEFLATE is on.
    pub(super) compressing: bool,
    /// The transfer of the present command.
    transfer: Transfer,
    /// The client sends no more.
    ended: bool,
    /// The server stops.
    stopping: bool,
    faults: u32,
    login_failures: u32,
}

impl fmt::Debug for ImapMachine {
    /// Without input and output: they may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImapMachine").field("state", &self.state).finish_non_exhaustive()
    }
}

/// Octets that arrive beside commands: the message of an APPEND, what is skipped.
#[derive(Clone, Copy, Debug, Default)]
struct Transfer {
    /// When they were first waited for.
    since: Option<Instant>,
    /// How many have arrived.
    bytes: u64,
}

/// How [`Machine::step`] goes on.
pub(super) enum Turn {
    /// The phase has changed.
    Again,
    /// More input is needed.
    Wait,
    /// This is needed.
    Do(Step<Question>),
}

impl ImapMachine {
    /// A session that has not greeted yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            input: BytesMut::new(),
            output: BytesMut::new(),
            state: State::NotAuthenticated,
            phase: Phase::Greeting,
            spelling: Spelling::default(),
            language: Language::default(),
            silent_since: None,
            login_since: None,
            compressing: false,
            transfer: Transfer::default(),
            ended: false,
            stopping: false,
            faults: 0,
            login_failures: 0,
        }
    }

    /// `greeting = "*" SP (resp-cond-auth / resp-cond-bye) CRLF`
    fn greet(&mut self) -> Turn {
        let code = self.settings.capability_data(self.state);
        let text = format!("{} Waypost ready", self.settings.hostname);
        self.say(|out| encode::untagged(out, Status::Ok, Some(&code), &text));
        self.phase = Phase::Command(Framing::default());
        Turn::Again
    }

    pub(super) fn ask(&mut self, asked: Asked, question: Question) -> Turn {
        self.phase = Phase::Asked(asked);
        Turn::Do(Step::Ask(question))
    }

    pub(super) fn done(&mut self, tag: String, ran: Ran) -> Turn {
        self.reply(Reply { tag, ran })
    }

    /// Ends a command.
    pub(super) fn reply(&mut self, Reply { tag, ran }: Reply) -> Turn {
        let text = spoken(self.language, &ran.text);
        self.say(|out| encode::tagged(out, &tag, ran.status, ran.code.as_deref(), &text));
        self.state = ran.state.map_or(self.state, State::from);
        self.silent_since = None;
        self.transfer = Transfer::default();
        self.phase = Phase::Command(Framing::default());
        match ran.status {
            Status::Bad => self.faults += 1,
            Status::Ok | Status::No if self.state != State::NotAuthenticated => self.faults = 0,
            Status::Ok | Status::No => {}
        }
        if self.faults >= FAULTS_MAX { self.bye(Some("LIMIT"), TEXT_FAULTS) } else { Turn::Again }
    }

    /// Takes an answer.
    fn answered(&mut self, asked: Asked, answer: Answer) {
        match (asked, answer) {
            (_, Answer::Bye(text)) => {
                self.bye(None, &text);
            }
            (Asked::LookUp { tag, mut exchange }, Answer::Found(found)) => match exchange.found(&found) {
                Progress::Done(claim) => self.phase = Phase::Claiming { tag, claim },
                progress => {
                    self.exchange(tag, exchange, progress);
                }
            },
            (Asked::Login { tag } | Asked::LookUp { tag, .. }, Answer::Ran(ran)) => {
                self.login(tag, ran);
            }
            (Asked::AppendPiece { tag, next }, Answer::Go) => self.append_goes_on(tag, next),
            (Asked::AppendPiece { tag, next }, Answer::Ran(ran)) => self.append_refused(tag, next, ran),
            (Asked::AppendChunk { tag, left, behind }, Answer::Go) => {
                self.phase = Phase::AppendMessage { tag, left, behind };
            }
            (Asked::AppendChunk { tag, left, .. }, Answer::Ran(ran)) => {
                self.phase = Phase::Skip(Skipping::new(left), Reply { tag, ran });
            }
            (Asked::AppendAbort { reply, rest }, Answer::Go | Answer::Ran(_)) => {
                self.append_aborted(reply, rest);
            }
            (Asked::IdleStart { tag }, Answer::Go) => {
                self.say(|out| encode::continue_req(out, "idling"));
                self.phase = Phase::Idle { tag };
            }
            (Asked::Unauthenticate { tag }, Answer::Go) => self.unauthenticated(&tag),
            (Asked::Speak { tag, language }, Answer::Go) => {
                self.language_changed(tag, language);
            }
            (Asked::Speak { tag, .. }, Answer::Ran(_) | Answer::Found(_)) => {
                self.done(tag, Ran::no(TEXT_SERVER_BUG).with_code("SERVERBUG"));
            }
            // RFC 8437 section 3: there is no NO.
            (Asked::Unauthenticate { .. }, Answer::Ran(_) | Answer::Found(_)) => {
                self.bye(None, TEXT_SERVER_BUG);
            }
            (Asked::Run { tag } | Asked::AppendEnd { tag } | Asked::IdleStart { tag }, Answer::Ran(ran)) => {
                self.done(tag, ran);
            }
            (
                Asked::Login { tag }
                | Asked::LookUp { tag, .. }
                | Asked::Run { tag }
                | Asked::AppendEnd { tag },
                Answer::Go,
            )
            | (
                Asked::Login { tag }
                | Asked::Run { tag }
                | Asked::AppendPiece { tag, .. }
                | Asked::AppendChunk { tag, .. }
                | Asked::AppendEnd { tag }
                | Asked::AppendAbort { reply: Reply { tag, .. }, .. }
                | Asked::IdleStart { tag },
                Answer::Found(_),
            ) => {
                self.done(tag, Ran::no(TEXT_SERVER_BUG).with_code("SERVERBUG"));
            }
        }
    }

    /// Ends a login.
    pub(super) fn login(&mut self, tag: String, mut ran: Ran) -> Turn {
        if ran.status == Status::Ok {
            self.state = ran.state.map_or(State::Authenticated, State::from);
            ran.code.get_or_insert_with(|| self.settings.capability_data(self.state));
        } else {
            self.login_failures += 1;
        }
        self.done(tag, ran);
        if self.login_failures >= LOGIN_FAILURES_MAX && !matches!(self.phase, Phase::Closed) {
            self.bye(None, TEXT_LOGIN_FAILURES);
        }
        Turn::Again
    }

    pub(super) fn bye(&mut self, code: Option<&str>, text: &str) -> Turn {
        let text = spoken(self.language, text);
        self.say(|out| encode::bye(out, code, &text));
        self.phase = Phase::Closed;
        Turn::Again
    }

    pub(super) fn say(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut octets = Vec::new();
        write(&mut octets);
        self.output.extend_from_slice(&octets);
    }

    /// What to wait for, and how long.
    fn wait(&mut self, now: Instant) -> Step<Question> {
        if self.input.is_empty() {
            // Its end may lie in a block that held much more: a session that waits holds none.
            self.input = BytesMut::new();
        }
        let (deadline, text) = self.deadline(now);
        if !self.ended && now < deadline {
            let idle = matches!(self.phase, Phase::Idle { .. });
            return if idle { Step::Watch { deadline } } else { Step::Read { deadline } };
        }
        if !self.ended {
            self.bye(None, text);
        }
        self.phase = Phase::Closed;
        Step::Close
    }

    /// Until when is waited, and what is said then.
    fn deadline(&mut self, now: Instant) -> (Instant, &'static str) {
        let silent_since = *self.silent_since.get_or_insert(now);
        let (timeout, other) = match self.state {
            State::NotAuthenticated => {
                let since = *self.login_since.get_or_insert(now);
                (AUTOLOGOUT_BEFORE_LOGIN, Some((since + LOGIN_TIME, TEXT_LOGIN_TIME)))
            }
            State::Authenticated | State::Selected => {
                let slow = self.is_transfer().then(|| (self.transfer.deadline(now), TEXT_TOO_SLOW));
                (AUTOLOGOUT, slow)
            }
        };
        let silence = (silent_since + timeout, TEXT_AUTOLOGOUT);
        other.filter(|(deadline, _)| *deadline < silence.0).unwrap_or(silence)
    }

    fn is_transfer(&self) -> bool {
        matches!(self.phase, Phase::AppendMessage { .. } | Phase::AppendPiece { .. } | Phase::Skip(..))
    }

    pub(super) fn command_bytes_max(&self) -> usize {
        match self.state {
            State::NotAuthenticated => COMMAND_BYTES_MAX_BEFORE_LOGIN,
            State::Authenticated | State::Selected => COMMAND_BYTES_MAX,
        }
    }
}

impl Transfer {
    /// Until when more must come: a transfer at the least rate is never late.
    fn deadline(&mut self, now: Instant) -> Instant {
        let seconds = self.bytes / TRANSFER_BYTES_PER_SECOND;
        *self.since.get_or_insert(now) + TRANSFER_GRACE + Duration::from_secs(seconds)
    }
}

/// What logins can stand on.
pub(crate) fn channel(TlsInfo { binding, certificate, .. }: &TlsInfo) -> Channel {
    let certificate =
        certificate.as_ref().map(|shown| Certificate { emails: shown.emails.clone(), sha256: shown.sha256 });
    Channel { exporter: binding.exporter, end_point: binding.end_point.clone(), certificate }
}

impl Machine for ImapMachine {
    type Question = Question;
    type Answer = Answer;
    type Event = Event;

    fn receive(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        if self.is_transfer() && !octets.is_empty() && self.state != State::NotAuthenticated {
            self.silent_since = None;
            self.transfer.bytes = self.transfer.bytes.saturating_add(octets.len() as u64);
        }
    }

    fn end_of_input(&mut self) {
        self.ended = true;
    }

    fn answer(&mut self, answer: Answer) {
        self.silent_since = None;
        if let Phase::Asked(asked) = std::mem::replace(&mut self.phase, Phase::Closed) {
            self.answered(asked, answer);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            // Outside IDLE nobody waits for events, and what they say of message numbers would be wrong.
            Event::Updates(octets) if matches!(self.phase, Phase::Idle { .. }) => {
                self.output.extend_from_slice(&octets);
            }
            Event::Updates(_) => {}
            Event::Bye(text) => {
                self.bye(None, &text);
            }
        }
    }

    fn tls_started(&mut self, info: &TlsInfo) {
        self.input.clear();
        self.settings.privacy = Privacy::Tls;
        self.settings.offer.channel = channel(info);
        self.silent_since = None;
        self.login_since = None;
        self.phase = Phase::Command(Framing::default());
    }

    fn shutdown(&mut self) {
        self.stopping = true;
    }

    fn step(&mut self, now: Instant) -> Step<Question> {
        if self.stopping && !matches!(self.phase, Phase::Closed) {
            self.bye(None, TEXT_SHUTDOWN);
        }
        loop {
            let turn = match std::mem::replace(&mut self.phase, Phase::Closed) {
                Phase::Greeting => self.greet(),
                Phase::Command(framing) => self.gather(framing),
                Phase::Skip(skipping, refusal) => self.skip(skipping, refusal),
                Phase::Sasl { tag, exchange } => self.sasl_response(tag, exchange),
                Phase::Claiming { tag, claim } => self.ask(Asked::Login { tag }, Question::Login(claim)),
                Phase::AppendMessage { tag, left, behind } => self.append_message(tag, left, behind),
                Phase::AppendPiece { tag, framing, behind } => self.append_piece(tag, framing, behind),
                Phase::AppendOver { tag } => self.ask(Asked::AppendEnd { tag }, Question::AppendEnd),
                Phase::Idle { tag } => self.idle(tag),
                Phase::StopCompression => self.stop_compression(),
                // A step without the answer, or without TLS, is not to be had: the session ends.
                Phase::Asked(_) | Phase::StartTls | Phase::Closed => return Step::Close,
            };
            match turn {
                Turn::Again => {}
                Turn::Do(step) => return step,
                Turn::Wait => return self.wait(now),
            }
        }
    }

    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }
}
