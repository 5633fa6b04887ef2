//! The server's side of a session as a machine: RFC 5321 with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152),
//! SMTPUTF8 (RFC 6531), ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC 3207), AUTH (RFC 4954), CHUNKING and BINARYMIME (RFC 3030) and LIMITS (RFC 9422);
//! and of LMTP (RFC 2033).
//!
//! It knows grammar, order and bounds; whether a sender, a recipient or a password is good it asks ([`Question`]).
//!
//! ```text
//! Greeting ─220─► Ready(no transaction) ◄─────────────────────────────── all end here, but for those that are drawn
//!                   │ AUTH ──► Authenticating ◄─► responses; ──► CheckingLogin (Authenticate)
//!                   │           ▲ └──► LookingUp (LookUp) ──────────┐
//!                   │           └───────────────────────────────────┘
//!                   │ STARTTLS ──► StartingTls ── tls_started ──► Ready, before EHLO
//!                   │ MAIL ──► OpeningTransaction (Mail)
//!                   ▼
//!                 Ready(transaction) ◄──► AddingRecipient (Recipient), one RCPT each
//!                   │ DATA, or BDAT; after a chunk that is not the last one back to Ready(transaction)
//!                   ▼
//!                 Receiving ◄──► Storing (Chunk), until CRLF.CRLF, or all octets of a chunk
//!                   ▼
//!                 EndingData (DataEnd)
//! XCLIENT ──► Introducing (XClient) ──220─► Ready, before EHLO
//! VRFY ──► Verifying (Verify) ──► as before
//! QUIT, 421, the end of input ──► Closing
//! ```
//!
//! In the states with a question in parentheses that question is open: nothing is read meanwhile, so pipelined commands
//! are obeyed in their order, each after the answer to the one before.

mod budget;
mod line;
mod obey;
mod question;
mod reception;
mod refused;
mod replies;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    fmt::Write,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use waypost_auth::sasl::{Claim, Exchange, Progress};
use waypost_mail::{Address, BodyType, Refusal, Reply, reply::write_line};
use waypost_net::{Machine, Step, TlsInfo};

use crate::smtp::{command::Verb, xclient::XClient};

use self::{
    budget::Budget,
    line::{Line, LineKind, LineReader},
    reception::Reception,
    refused::Notes,
    replies::Fixed,
};
pub use self::{
    budget::{
        ANONYMOUS_TIMEOUT, ERRORS_MAX, JUNK_COMMANDS_MAX, LOGIN_TIMEOUT, REFUSALS_NOTED_MAX,
        REFUSED_RECIPIENTS_MAX,
    },
    line::{AUTH_LINE_BYTES_MAX, COMMAND_LINE_BYTES_MAX},
    question::{
        Accepted, Answer, AuthPolicy, Client, Dialect, Login, Mail, Manners, Question, Role, Settings,
        StartTls,
    },
    reception::{DATA_BLOCK_TIMEOUT, DATA_BYTES_PER_SECOND_MIN, DATA_TIMEOUT},
    refused::Refused,
};

/// Longest wait for a command (RFC 5321 section 4.5.3.2.7).
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// A wait is looked at again after this time, if not before: one timer that is set earlier than the last one wakes the runtime, which each
/// message would do whose data has less time than the command before it.
const LOOK_AFTER: Duration = DATA_BLOCK_TIMEOUT;

/// Octets that code, enhanced status code and line end of a reply take, or fewer.
const REPLY_CODES_BYTES: usize = "250 2.000.000 \r\n".len();

/// A transaction between MAIL and the end of DATA.
#[derive(Clone, Copy, Debug)]
struct Transaction {
    recipients: usize,
    smtputf8: bool,
    body: BodyType,
}

/// What is large and not the usual lies in boxes: all sessions that wait would hold the room for it.
#[derive(Debug)]
enum State {
    Greeting,
    Ready(Option<Transaction>),
    Authenticating(Box<Exchange>),
    LookingUp(Box<Exchange>),
    Claiming(Box<Claim>),
    CheckingLogin,
    Introducing(Box<XClient>),
    Verifying(Box<Address>, Option<Transaction>),
    OpeningTransaction(Transaction),
    AddingRecipient(Transaction),
    Receiving(Box<Reception>, Result<(), Refusal>),
    Storing(Box<Reception>),
    /// With so many replies to come.
    EndingData(usize),
    /// Octets of a chunk that is refused, or, of a message for nobody, passed over.
    Skipping(u64, Option<Fixed>, Option<Transaction>),
    StartingTls,
    Closing,
}

impl State {
    fn has_open_question(&self) -> bool {
        matches!(
            self,
            Self::LookingUp(_)
                | Self::CheckingLogin
                | Self::Introducing(_)
                | Self::Verifying(..)
                | Self::OpeningTransaction(_)
                | Self::AddingRecipient(_)
                | Self::Storing(_)
                | Self::EndingData(_)
        )
    }
}

/// The next state, and what is to be done before it goes on; `None`: nothing.
type Turn = (State, Option<Step<Question>>);

/// The machine.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    state: State,
    client: Option<Client>,
    login: Login,
    budget: Budget,
    lines: LineReader,
    /// Whether replies may hold UTF-8: in a transaction whose MAIL said SMTPUTF8 (RFC 6531 section 3.7.4).
    smtputf8: bool,
    /// A message of which more chunks are to come.
    chunks: Option<Box<Reception>>,
    output: BytesMut,
    /// What was refused here, not by an answer, since it was taken away last.
    notes: Option<Box<Notes>>,
    /// The command that is obeyed.
    verb: Option<Verb>,
    /// What is refused now is what the machine was told to refuse.
    is_answered: bool,
    /// When what is waited for now must have come.
    deadline: Option<Instant>,
    input_ended: bool,
    stopping: bool,
}

impl Machine for Server {
    type Question = Question;
    type Answer = Answer;
    type Event = Infallible;

    fn receive(&mut self, octets: &[u8]) {
        if matches!(self.state, State::Receiving(..) | State::Skipping(..)) {
            self.deadline = None;
        }
        let taken = match &mut self.state {
            // Most octets of a message need not be gathered with those that wait to be understood.
            State::Receiving(message, _) if self.lines.input.is_empty() => message.receive(octets),
            _ => 0,
        };
        self.lines.input.extend_from_slice(&octets[taken..]);
    }

    fn end_of_input(&mut self) {
        self.input_ended = true;
    }

    fn answer(&mut self, answer: Answer) {
        self.deadline = None;
        self.is_answered = matches!(answer, Answer::Refused(_));
        self.state = match (mem::replace(&mut self.state, State::Closing), answer) {
            (State::Storing(message), answer) => self.stored(message, answer),
            (State::EndingData(replies), Answer::Accepted(accepted)) => {
                self.budget.accepted();
                let reply = replies::accepted(accepted);
                for _ in 0..replies {
                    self.say(&reply);
                }
                State::Ready(None)
            }
            (State::EndingData(replies), Answer::Refused(refusal)) => {
                for _ in 1..replies {
                    self.say_no(refusal.clone().into(), State::Closing);
                }
                self.refuse(refusal, State::Ready(None))
            }
            (State::LookingUp(mut exchange), Answer::Found(found)) => match exchange.found(&found) {
                Progress::Done(claim) => State::Claiming(Box::new(claim)),
                progress => self.progress(exchange, progress).0,
            },
            (State::CheckingLogin, Answer::Done) => {
                self.login = Login::Authenticated;
                self.reply(replies::LOGGED_IN, State::Ready(None))
            }
            (State::Introducing(client), Answer::Done) => self.introduced(*client),
            (State::OpeningTransaction(open), Answer::Done) => {
                self.reply(replies::SENDER_OK, State::Ready(Some(open)))
            }
            (State::AddingRecipient(open), Answer::Done) => {
                let open = Transaction { recipients: open.recipients + 1, ..open };
                self.reply(replies::RECIPIENT_OK, State::Ready(Some(open)))
            }
            (State::AddingRecipient(open), Answer::Refused(refusal)) => self.refuse_recipient(refusal, open),
            (State::LookingUp(_) | State::CheckingLogin, Answer::Refused(refusal)) => {
                // Also a login that is refused for now counts, or it could be tried for ever.
                if refusal.code < 500 {
                    self.budget.error();
                }
                self.refuse(refusal, State::Ready(None))
            }
            (State::Verifying(address, transaction), answer) => self.verified(&address, answer, transaction),
            (_, Answer::Refused(refusal)) => self.refuse(refusal, State::Ready(None)),
            (_, Answer::Done | Answer::Accepted(_) | Answer::Found(_) | Answer::CannotTell) => {
                self.refuse(replies::INTERNAL, State::Closing)
            }
        };
    }

    fn event(&mut self, event: Infallible) {
        match event {}
    }

    /// RFC 3207 section 4.2: all that the client said before is forgotten.
    fn tls_started(&mut self, info: &TlsInfo) {
        self.settings.tls = Some(Arc::new(info.clone()));
        self.lines.clear();
        (self.client, self.login, self.deadline) = (None, Login::Anonymous, None);
        self.state = State::Ready(None);
    }

    fn shutdown(&mut self) {
        self.stopping = true;
    }

    fn step(&mut self, now: Instant) -> Step<Question> {
        self.is_answered = false;
        loop {
            if matches!(self.state, State::Ready(_)) {
                self.verb = None;
            }
            let (state, step) = match mem::replace(&mut self.state, State::Closing) {
                State::Closing => (State::Closing, Some(Step::Close)),
                state if state.has_open_question() => {
                    (state, Some(Step::Read { deadline: now + COMMAND_TIMEOUT }))
                }
                _ if self.stopping => (self.refuse(replies::SHUTTING_DOWN, State::Closing), None),
                state => self.advance(state, now),
            };
            self.state = state;
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }
}

impl Server {
    /// A session that begins.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::Greeting,
            client: None,
            login: Login::Anonymous,
            budget: Budget::default(),
            lines: LineReader::default(),
            smtputf8: false,
            chunks: None,
            output: BytesMut::new(),
            notes: None,
            verb: None,
            is_answered: false,
            deadline: None,
            input_ended: false,
            stopping: false,
        }
    }

    fn advance(&mut self, state: State, now: Instant) -> Turn {
        match state {
            State::Greeting => self.greet(now),
            State::Claiming(claim) => (State::CheckingLogin, Some(Step::Ask(Question::Authenticate(*claim)))),
            State::Ready(_) | State::Authenticating(_) if let Some(reply) = self.exhausted(now) => {
                (self.refuse(reply, State::Closing), None)
            }
            State::Ready(transaction) => {
                self.chunks.take_if(|_| transaction.is_none());
                self.smtputf8 &= transaction.is_some();
                self.next_command(transaction, now)
            }
            State::Authenticating(exchange) => match self.next_line(LineKind::Response) {
                Line::Complete(line) => self.respond(exchange, &line),
                Line::BareLineFeed => self.refused(replies::BARE_LINE_FEED, None),
                Line::TooLong(kind) => self.refused(replies::line_too_long(kind), None),
                Line::Incomplete => self.wait_for_line(State::Authenticating(exchange), now),
            },
            State::Receiving(message, verdict) => self.receive_data(message, verdict, now),
            State::Skipping(left, reply, transaction) => self.skip(left, reply, transaction, now),
            State::StartingTls => (State::StartingTls, Some(Step::StartTls)),
            state => (state, Some(Step::Close)),
        }
    }

    /// How many replies the end of a message has: one, or one for each recipient (RFC 2033 sections 4.2 and 4.3).
    fn replies_at_end(&self, open: Transaction) -> usize {
        if self.settings.role == Role::Lmtp { open.recipients } else { 1 }
    }

    /// Greets, unless the client speaks first: a mail server waits (RFC 5321 section 3.1), programs that only send spam do not.
    fn greet(&mut self, now: Instant) -> Turn {
        if let Some(delay) = self.settings.manners.greeting_delay {
            if !self.lines.input.is_empty() {
                return (self.refuse(replies::SPOKE_FIRST, State::Closing), None);
            }
            let greets = *self.deadline.get_or_insert(now + delay);
            if now < greets && !self.input_ended {
                return (State::Greeting, Some(Step::Read { deadline: greets }));
            }
            self.deadline = None;
        }
        (self.say_greeting(), None)
    }

    fn say_greeting(&mut self) -> State {
        let greeting = match self.settings.role {
            Role::Lmtp => replies::LMTP_GREETING,
            Role::Relay | Role::Submission => replies::GREETING,
        };
        self.say(&Reply::plain(220, format!("{} {greeting}", self.settings.hostname)));
        State::Ready(None)
    }

    /// Why the session ends here, if it does.
    fn exhausted(&mut self, now: Instant) -> Option<Fixed> {
        let deadline = self.budget.deadline(self.settings.role, self.login, now);
        let overdue = deadline.filter(|deadline| now >= *deadline).map(|_| replies::LASTS_TOO_LONG);
        self.budget.spent().or(overdue)
    }

    fn next_command(&mut self, transaction: Option<Transaction>, now: Instant) -> Turn {
        match self.next_line(LineKind::Command) {
            Line::Complete(line) => self.obey(&line, transaction, now),
            Line::BareLineFeed => self.refused(replies::BARE_LINE_FEED, transaction),
            Line::TooLong(kind) => self.refused(replies::line_too_long(kind), transaction),
            Line::Incomplete => self.wait_for_line(State::Ready(transaction), now),
        }
    }

    /// The next line. Whatever it is, the one behind it has its own time.
    fn next_line(&mut self, kind: LineKind) -> Line {
        let line = self.lines.next(kind);
        if line != Line::Incomplete {
            self.deadline = None;
        }
        line
    }

    fn wait_for_line(&mut self, state: State, now: Instant) -> Turn {
        let end = self.budget.deadline(self.settings.role, self.login, now);
        self.wait(state, now, COMMAND_TIMEOUT, end)
    }

    /// Waits for the rest of a line or more of a message; not beyond `end`, where there is one.
    fn wait(&mut self, state: State, now: Instant, at_most: Duration, end: Option<Instant>) -> Turn {
        let deadline = *self.deadline.get_or_insert(now + at_most);
        let deadline = end.map_or(deadline, |end| deadline.min(end));
        if self.input_ended {
            (State::Closing, None)
        } else if now >= deadline {
            (self.refuse(replies::TIMEOUT, State::Closing), None)
        } else {
            (state, Some(Step::Read { deadline: deadline.min(now + LOOK_AFTER) }))
        }
    }

    fn say(&mut self, reply: &Reply) {
        if !self.smtputf8 && !reply.lines.iter().all(|line| line.is_ascii()) {
            return self.say(&reply.clone().in_ascii());
        }
        let octets = reply.lines.iter().map(|line| line.len() + REPLY_CODES_BYTES).sum();
        self.output.reserve(octets);
        let _infallible = write!(self.output, "{reply}");
    }

    /// What is fixed is ASCII.
    fn reply(&mut self, Fixed(code, status, text): Fixed, next: State) -> State {
        self.output.reserve(text.len() + REPLY_CODES_BYTES);
        let _infallible = write_line(&mut self.output, code, Some(status), text, true);
        next
    }

    /// Refuses a command; the transaction stays as it was.
    fn refused(&mut self, reply: impl Into<Reply>, transaction: Option<Transaction>) -> Turn {
        (self.refuse(reply, State::Ready(transaction)), None)
    }

    fn refuse(&mut self, reply: impl Into<Reply>, next: State) -> State {
        let reply = reply.into();
        if reply.code >= 500 {
            self.budget.error();
        }
        self.say_no(reply, next)
    }

    /// Refuses a recipient. It is no error of a client whose transaction has good ones.
    fn refuse_recipient(&mut self, reply: impl Into<Reply>, open: Transaction) -> State {
        let reply = reply.into();
        if reply.code >= 500 {
            self.budget.refused_recipient();
            if open.recipients == 0 {
                self.budget.error();
            }
        }
        self.say_no(reply, State::Ready(Some(open)))
    }

    fn say_no(&mut self, mut reply: Reply, next: State) -> State {
        self.note(&reply);
        // What a person quotes to us leads to the session's lines in the log.
        reply
            .lines
            .iter_mut()
            .for_each(|line| line.push_str(&format!(" (session {})", self.settings.session)));
        self.say(&reply);
        if reply.code == 421 { State::Closing } else { next }
    }
}
