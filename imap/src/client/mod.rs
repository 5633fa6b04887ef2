//! The client of another server, as a machine without I/O: reads folders and messages, and changes nothing there.
//!
//! RFC 3501 and RFC 9051, with STARTTLS, AUTHENTICATE or LOGIN, SASL-IR (RFC 4959), NAMESPACE (RFC 2342), LIST-EXTENDED (RFC 5258)
//! and SPECIAL-USE (RFC 6154) where the server offers them. Folders are selected by EXAMINE and octets fetched by BODY.PEEK: the
//! server's `\Recent` and `\Seen` stay as they are.
//!
//! ```text
//! Greeting ─► Capability ─┬──────────────────────────► Login ─► Capability ─► Ready ◄──────────────────────┐
//!     PREAUTH ────────────┼─ StartTls ─► Handshake ─► Capability                │ Question::Next           │
//!                         ▼                                                     ├─ List ─► Listing ───────►┤
//!                    (no STARTTLS: Closed)                                      ├─ Examine ─► Examining ──►┤
//!                                                                               ├─ Count, Survey, Bring    │
//!                                                                               │     └─► Fetching ───────►┘
//!                                                                               └─ LogOut ─► LogOut ─► Closed
//! BYE, silence, nonsense, end of input in any state ──► Closed, with a Fault
//! ```
//!
//! Untagged responses may come at any time. A message streams: its octets are told in pieces, what else is known of it at its end.

mod capability;
mod fault;
mod fetching;
mod framing;
mod listing;
mod login;
mod opening;
mod response;
mod talk;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use waypost_net::{Machine, Step, TlsInfo};

pub use capability::Capabilities;
pub use fault::Fault;
pub use framing::{MESSAGE_BYTES_MAX, RESPONSE_BYTES_MAX};
pub use response::Namespaces;
pub use talk::{
    Answer, COMMAND_RANGES_MAX, Done, Encryption, Examined, Folder, Heard, Message, Order, Question,
    Settings, WINDOW_BYTES_MAX, WINDOW_MESSAGES_MAX, Window, windows,
};
pub use waypost_auth::sasl::Login;

use crate::wire::{Status, encode};
use fetching::Fetching;
use framing::{Framing, Piece, Received};
use listing::Listing;
use login::Exchange;
use response::{Code, Response, Words};

/// Longest wait for the greeting, and for answers before and at login.
pub const OPENING_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a response after that: a server may have to read a large folder first.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// LOGOUT: nothing depends on the answer.
pub const LOGOUT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most octets of responses that nobody asked for, between two that somebody did.
pub const UNASKED_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug)]
enum State {
    Greeting,
    /// `true`: we are logged in.
    Capability(bool),
    StartTls,
    Handshake,
    Login(Exchange),
    /// The next order is asked for.
    Ready(Option<Done>),
    /// It was asked for.
    Waiting,
    Listing(Listing),
    Examining(Examined),
    Fetching(Fetching),
    LogOut,
    Closed,
}

/// The machine.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    state: State,
    server: Option<Capabilities>,
    framing: Framing,
    output: BytesMut,
    /// Number in the last tag.
    tag: u64,
    /// What is left of a command with literals: each piece waits for `+`.
    pieces: VecDeque<Vec<u8>>,
    heard: VecDeque<Heard>,
    /// When the response that is waited for is overdue; set at the first step that waits for it.
    deadline: Option<Instant>,
    /// The peer sends no more.
    ended: bool,
    /// Messages of the folder that is selected.
    exists: u32,
    unasked_bytes: usize,
    fault: Option<Fault>,
}

impl Client {
    /// Before the greeting.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::Greeting,
            server: None,
            framing: Framing::default(),
            output: BytesMut::new(),
            tag: 0,
            pieces: VecDeque::new(),
            heard: VecDeque::new(),
            deadline: None,
            ended: false,
            exists: 0,
            unasked_bytes: 0,
            fault: None,
        }
    }

    /// After the session: what went wrong, if something did.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// UIDs of messages that were asked for and did not come, in ascending order within each command.
    pub fn expected(&self) -> impl Iterator<Item = u32> {
        let fetching = if let State::Fetching(fetching) = &self.state { Some(fetching) } else { None };
        fetching.into_iter().flat_map(Fetching::expected)
    }

    /// Reads something or waits for it; `None`: the state changed.
    fn read(&mut self, now: Instant) -> Option<Step<Question>> {
        match self.framing.next() {
            Ok(Some(piece)) => {
                self.deadline = None;
                self.take(piece);
            }
            Err(error) => self.fail(Fault::Broken(error.to_string())),
            Ok(None) if self.ended => self.lose(),
            Ok(None) => {
                let patience = self.patience();
                let deadline = *self.deadline.get_or_insert(now + patience);
                if now < deadline {
                    return Some(Step::Read { deadline });
                }
                match self.state {
                    State::LogOut => self.state = State::Closed,
                    _ => self.fail(Fault::Overdue(patience.as_secs())),
                }
            }
        }
        None
    }

    fn patience(&self) -> Duration {
        match self.state {
            State::Greeting | State::Capability(_) | State::StartTls | State::Login(_) => OPENING_TIMEOUT,
            State::LogOut => LOGOUT_TIMEOUT,
            _ => RESPONSE_TIMEOUT,
        }
    }

    fn take(&mut self, piece: Piece) {
        match piece {
            Piece::Body(octets) => match &self.state {
                State::Fetching(fetching) if fetching.brings() => self.heard.push_back(Heard::Octets(octets)),
                _ => self.fail(Fault::Broken("a message that was not asked for".into())),
            },
            Piece::Response(Received { octets, had_body }) => {
                self.unasked_bytes += octets.len();
                match response::response(&octets) {
                    Ok(response) => self.response(response, had_body),
                    Err(text) => self.fail(Fault::Broken(text)),
                }
                if self.unasked_bytes > UNASKED_BYTES_MAX {
                    self.fail(Fault::Broken("it talks without end, and not of what it was asked".into()));
                }
            }
        }
    }

    fn response(&mut self, response: Response, had_body: bool) {
        match response {
            Response::Bye(words) => self.good_bye(words),
            Response::Capability(found) => self.server = Some(found),
            Response::Continue(text) => self.continued(&text),
            Response::Tagged(tag, status, words) => self.tagged(&tag, status, words),
            Response::Status(status, words) => self.status(status, words),
            Response::PreAuth(words) if matches!(self.state, State::Greeting) => {
                self.pre_authenticated(words);
            }
            Response::Exists(exists) => self.exists = exists,
            Response::Fetch(fetched) => self.fetched(fetched, had_body),
            Response::Count(messages) => self.counted(messages),
            Response::List(listed) => self.listed(listed),
            Response::Lsub(listed) => self.subscribed(listed),
            Response::Namespace(found) => self.namespaces(found),
            Response::PreAuth(_) | Response::Other => {}
        }
    }

    fn good_bye(&mut self, words: Words) {
        match self.state {
            State::LogOut => {}
            State::Greeting => self.fail(Fault::Refused("the connection", words.text)),
            _ => self.fail(Fault::Bye(words.text)),
        }
    }

    fn continued(&mut self, text: &str) {
        if let Some(piece) = self.pieces.pop_front() {
            return self.output.extend_from_slice(&piece);
        }
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Login(exchange) => self.challenged(exchange, text),
            state => {
                self.state = state;
                self.fail(Fault::Broken("it waits for what we do not have".into()));
            }
        }
    }

    fn status(&mut self, status: Status, words: Words) {
        if let (State::Examining(examined), Some(Code::UidValidity(number))) = (&mut self.state, &words.code)
        {
            examined.uid_validity = Some(*number);
        }
        if matches!(self.state, State::Greeting) {
            return match status {
                Status::Ok => self.greeted(words),
                Status::No | Status::Bad => self.fail(Fault::Refused("the connection", words.text)),
            };
        }
        self.know(words.code);
    }

    /// Capabilities may stand in a code.
    fn know(&mut self, code: Option<Code>) {
        if let Some(Code::Capability(found)) = code {
            self.server = Some(found);
        }
    }

    fn tagged(&mut self, tag: &str, status: Status, words: Words) {
        self.unasked_bytes = 0;
        let is_last = tag == self.last_tag() && self.pieces.is_empty();
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Fetching(fetching) => self.fetching_answered(fetching, tag, status, words),
            // A command that is refused before its literals are sent ends there.
            state if is_last || tag == self.last_tag() && status != Status::Ok => {
                self.pieces.clear();
                self.answered(state, status, words);
            }
            state => {
                self.state = state;
                self.fail(Fault::Broken("an answer to a command that was not sent".into()));
            }
        }
    }

    fn answered(&mut self, state: State, status: Status, words: Words) {
        match state {
            State::Capability(is_in) => self.capabilities_told(is_in, status, words),
            State::StartTls => match status {
                Status::Ok => self.state = State::Handshake,
                Status::No | Status::Bad => self.fail(Fault::StartTlsRefused(words.text)),
            },
            State::Login(exchange) => self.login_answered(exchange, status, words),
            State::Listing(listing) => self.listing_answered(listing, status, words),
            State::Examining(examined) => {
                let exists = self.exists;
                self.ready(match status {
                    Status::Ok => Done::Examined(Examined { exists, ..examined }),
                    Status::No | Status::Bad => Done::Refused(words.text),
                });
            }
            State::LogOut => self.state = State::Closed,
            // no answer is waited for in these
            state => {
                self.state = state;
                self.fail(Fault::Broken("an answer to a command that was not sent".into()));
            }
        }
    }

    fn ready(&mut self, done: Done) {
        self.state = State::Ready(Some(done));
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::List => self.list(),
            Order::Count(names) => self.count(&names),
            Order::Examine(name) => {
                self.exists = 0;
                self.state = State::Examining(Examined::default());
                self.command("EXAMINE", &[&name]);
            }
            Order::Survey(ranges) => self.survey(&ranges),
            Order::Bring(windows) => self.bring(windows),
            Order::LogOut => {
                self.state = State::LogOut;
                self.command("LOGOUT", &[]);
            }
        }
    }

    fn last_tag(&self) -> String {
        format!("w{}", self.tag)
    }

    /// Sends a command with strings; those that only a literal can hold wait for the server.
    fn command(&mut self, words: &str, strings: &[&[u8]]) {
        self.tag += 1;
        let mut pieces = vec![format!("{} {words}", self.last_tag()).into_bytes()];
        for string in strings {
            let mut spelled = Vec::new();
            encode::astring(&mut spelled, string);
            let head = if spelled.starts_with(b"{") {
                spelled.iter().position(|octet| *octet == b'\n')
            } else {
                None
            };
            let octets = spelled.split_off(head.map_or(0, |end| end + 1));
            if let Some(piece) = pieces.last_mut() {
                piece.push(b' ');
                piece.extend(spelled);
            }
            match (head, pieces.last_mut()) {
                (None, Some(piece)) => piece.extend(octets),
                _ => pieces.push(octets),
            }
        }
        if let Some(piece) = pieces.last_mut() {
            piece.extend(b"\r\n");
        }
        self.pieces = pieces.into();
        if let Some(piece) = self.pieces.pop_front() {
            self.output.extend_from_slice(&piece);
        }
    }

    fn lose(&mut self) {
        match self.state {
            State::LogOut | State::Closed => self.state = State::Closed,
            _ => self.fail(Fault::Lost),
        }
    }

    /// The session is over. What was asked for stays known, for [`Client::expected`].
    fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}

impl Machine for Client {
    type Question = Question;
    type Answer = Answer;
    type Event = std::convert::Infallible;

    fn receive(&mut self, octets: &[u8]) {
        self.framing.feed(octets);
    }

    fn end_of_input(&mut self) {
        self.ended = true;
    }

    fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Order(order) => self.obey(order),
            Answer::GoOn => {}
        }
    }

    fn event(&mut self, event: Self::Event) {
        match event {}
    }

    fn tls_started(&mut self, _info: &TlsInfo) {
        // What was said in plain text counts for nothing (RFC 9051 section 6.2.1).
        self.framing = Framing::default();
        self.server = None;
        self.settings.encryption = Encryption::Implicit;
        self.ask_capabilities(false);
    }

    fn shutdown(&mut self) {
        self.fail(Fault::Stopped);
    }

    fn step(&mut self, now: Instant) -> Step<Question> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Step::Ask(Question::Heard(heard));
            }
            if self.fault.is_some() {
                return Step::Close;
            }
            match &mut self.state {
                State::Closed => return Step::Close,
                State::Handshake => return Step::StartTls,
                State::Ready(done) => {
                    let done = done.take();
                    self.state = State::Waiting;
                    return Step::Ask(Question::Next(done));
                }
                _ => {
                    if let Some(step) = self.read(now) {
                        return step;
                    }
                }
            }
        }
    }

    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }
}
