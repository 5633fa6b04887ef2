//! The SMTP client as a machine without I/O: one connection, any number of messages.
//!
//! RFC 5321, with PIPELINING (RFC 2920), STARTTLS (RFC 3207), AUTH (RFC 4954), SIZE (RFC 1870), 8BITMIME (RFC 6152),
//! CHUNKING and BINARYMIME (RFC 3030), SMTPUTF8 (RFC 6531), LIMITS (RFC 9422) and enhanced status codes (RFC 2034) where the
//! server offers them; or LMTP (RFC 2033) with the same.
//!
//! ```text
//! Greeting ──220──► Hello ──250──┬─────────────► Login ──235──┐
//!                   ▲  │ 5yz:    │ STARTTLS                  ▼
//!                   │  └─ HELO   ▼                         Ready ◄──────────────────────────┐
//!                   └─ Handshake ◄─220─ StartTls             │ NextMessage                  │
//!                                                            ├─ none ──► Quit ──► Closed    │
//!                               8-bit? Octets ◄─ Scanning ◄──┤                              │
//!                                                            ▼                              │
//!                                   Envelope (RSET? MAIL RCPT* DATA, or chunks) ──refused──►┤
//!   354, or accepted, or chunks go along  │                    │354, no recipient        │
//!                                            ▼ NextChunk*         ▼                         │
//!                                           Body ──► EndOfData   LoneDot ──────────────────►┤
//!                          chunk refused ──► Aborted     └── any reply (LMTP: each) ───────►┘
//! 421, silence, nonsense, end of input in any state ──► Closed
//! refusal before the first message ──► Quit; as many messages as the server wants ──► Ended ──► Quit
//! ```
//!
//! What came of a message is told with the next [`Question::NextMessage`], so that it can be recorded before another one is
//! sent, or by [`Client::end`] where the session broke. Each recipient has exactly one reply then: the server's, word for
//! word, or one that says why there is none.

mod body;
mod chunks;
mod data;
mod login;
mod opening;
mod refusals;
mod said;
mod talk;
mod transaction;

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use waypost_mail::{Reply, Severity};
use waypost_net::{Machine, Step, TlsInfo};

use body::Body;
use login::Exchange;
use opening::Hello;
use refusals::broken;
use said::Record;
use transaction::{Outcome, Transaction};

pub use chunks::{CHUNK_BYTES, CHUNKS_UNANSWERED_MAX};
pub use said::{LINE_BYTES_MAX, MESSAGE_BYTES_MAX, OPENING_BYTES_MAX, Said};
pub use talk::{Answer, Encryption, End, Finished, Protocol, Question, Settings, Tells};
pub use transaction::{Octets, Outgoing, OutgoingRecipient, WINDOW_COMMANDS_MAX};
pub use waypost_auth::sasl::Login;

use super::reply::{Capabilities, ReplyParser};

/// Longest command line in octets, CRLF included (RFC 5321 section 4.5.3.1.4).
pub const COMMAND_LINE_BYTES_MAX: usize = 512;
/// RFC 5321 section 4.5.3.2.1.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// EHLO, HELO, STARTTLS and AUTH have no timeout of their own in RFC 5321 section 4.5.3.2: they get that of MAIL.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// MAIL, RCPT and RSET: RFC 5321 sections 4.5.3.2.2 and 4.5.3.2.3.
pub const ENVELOPE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// RFC 5321 section 4.5.3.2.4.
pub const DATA_TIMEOUT: Duration = Duration::from_secs(2 * 60);
/// RFC 5321 section 4.5.3.2.6. (The data blocks of section 4.5.3.2.5 are the driver's: `waypost_net::driver::SEND_TIMEOUT`.)
pub const END_OF_DATA_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// QUIT: nothing depends on the answer.
pub const QUIT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
enum State {
    Greeting,
    Hello(Hello),
    StartTls,
    Handshake,
    Login(Exchange),
    Ready(Option<Finished>),
    Scanning(Outgoing),
    Envelope(Transaction),
    Body(Transaction, Body),
    /// The message was sent whole; so many of its chunks before the last are not answered yet.
    EndOfData(Transaction, usize),
    LoneDot(Transaction),
    /// A chunk was refused; so many answers to others behind it are still to come.
    Aborted(Transaction, usize),
    /// The server wants no more messages over this connection.
    Ended(Finished),
    Quit,
    Closed(Option<Finished>),
}

/// The machine.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    state: State,
    server: Capabilities,
    replies: ReplyParser,
    output: BytesMut,
    /// When the reply that is waited for is overdue; set at the first step that waits for it.
    deadline: Option<Instant>,
    /// The peer sends no more.
    ended: bool,
    /// The last transaction was left open.
    reset: bool,
    /// Why no message was asked for.
    refusal: Option<Reply>,
    /// The first message was asked for.
    asked: bool,
    /// Transactions that the server has answered.
    transactions: u32,
    /// What was said before the first message, and of the present one.
    opening: Record,
    said: Record,
    /// The server offers no TLS, or refused it.
    without_tls: bool,
    /// The server took the message before for somebody.
    takes: bool,
}

impl Client {
    /// Before the greeting.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::Greeting,
            server: Capabilities::default(),
            replies: ReplyParser::default(),
            output: BytesMut::new(),
            deadline: None,
            ended: false,
            reset: false,
            refusal: None,
            asked: false,
            transactions: 0,
            opening: Record::new(OPENING_BYTES_MAX),
            said: Record::new(MESSAGE_BYTES_MAX),
            without_tls: false,
            takes: false,
        }
    }

    /// TLS, where it is on.
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.settings.tls.as_ref()
    }

    /// Whether the server was asked for TLS, by EHLO or STARTTLS, and has none for us.
    pub fn is_without_tls(&self) -> bool {
        self.without_tls
    }

    /// After the session: what is not told yet. `lost` says why the connection ended, for what was open then.
    pub fn end(mut self, lost: &Reply) -> End {
        let early = self.early_answer();
        let lost = early.as_ref().unwrap_or(lost);
        let is_over =
            matches!(self.state, State::Closed(_) | State::Quit | State::Ready(_) | State::Ended(_));
        if !is_over && early.is_none() {
            self.note(&lost.text());
        }
        if !self.asked {
            let refusal = self.refusal.take();
            return End::Refused(refusal.unwrap_or_else(|| lost.clone()), self.what_was_said());
        }
        match std::mem::replace(&mut self.state, State::Quit) {
            State::Ready(finished) | State::Closed(finished) => End::Done(finished),
            State::Ended(finished) => End::Done(Some(finished)),
            state => End::Done(self.broken_off(state, lost, Ending::Lost)),
        }
    }

    /// What a server said that took no more of the message before it was whole.
    fn early_answer(&mut self) -> Option<Reply> {
        loop {
            if !matches!(self.state, State::Body(..) | State::EndOfData(..)) {
                return None;
            }
            let reply = self.replies.next_reply().ok()??;
            self.record_reply(&reply);
            match &mut self.state {
                // RFC 5321 section 3.8: no answer to a command, the server closes the channel
                _ if reply.code == 421 => return Some(reply),
                State::Body(transaction, _) | State::EndOfData(transaction, _)
                    if transaction.awaits_reply() =>
                {
                    transaction.reply(reply);
                }
                _ if reply.code >= 400 => return Some(reply),
                _ => {}
            }
        }
    }

    /// Reads a reply or waits for it; `None`: the state changed.
    fn read(&mut self, now: Instant) -> Option<Step<Question>> {
        match self.replies.next_reply() {
            Ok(Some(reply)) => {
                self.deadline = None;
                self.record_reply(&reply);
                self.reply(reply);
            }
            Err(error) => self.fail_by_ourselves(&broken(&error.to_string())),
            Ok(None) if self.ended => self.lose(&refusals::lost(self.awaited())),
            Ok(None) => {
                let deadline = *self.deadline.get_or_insert(now + self.patience());
                if now < deadline {
                    return Some(Step::Read { deadline });
                }
                self.fail_by_ourselves(&refusals::overdue(self.awaited(), self.patience()));
            }
        }
        None
    }

    fn reply(&mut self, reply: Reply) {
        // RFC 5321 section 3.8: the server closes the channel
        if reply.code == 421 {
            return self.lose(&reply);
        }
        match std::mem::replace(&mut self.state, State::Closed(None)) {
            State::Greeting => self.greeted(reply),
            State::Hello(hello) => self.welcomed(hello, reply),
            State::StartTls => self.tls_answered(&reply),
            State::Login(exchange) => self.login_answered(exchange, &reply),
            State::Envelope(transaction) => self.envelope_answered(transaction, reply),
            State::Body(transaction, body) => self.chunk_answered(transaction, body, reply),
            State::EndOfData(transaction, _) if transaction.awaits_reply() => {
                self.answered_behind(transaction, reply);
            }
            State::EndOfData(transaction, chunks) => self.end_answered(transaction, chunks, &reply),
            State::Aborted(transaction, left) => self.abort(transaction, left.saturating_sub(1)),
            State::LoneDot(mut transaction) => {
                transaction.lone_dot_answered();
                self.finish(transaction);
            }
            // RFC 5321 section 4.1.1.10: after QUIT only closing is left
            State::Quit => {}
            // no reply is read in these
            state @ (State::Handshake
            | State::Ready(_)
            | State::Scanning(_)
            | State::Ended(_)
            | State::Closed(_)) => self.state = state,
        }
    }

    fn tells(&self) -> Tells {
        Tells { dsn: self.server.dsn, overdue: self.server.deliver_by.is_some() }
    }

    fn be_ready(&mut self, finished: Option<Finished>) {
        self.state = State::Ready(finished);
    }

    /// Begins a message, unless the server cannot take it as it is.
    fn begin(&mut self, message: Outgoing) {
        self.said = Record::new(MESSAGE_BYTES_MAX);
        if let Some(reply) = message.obstacle(&self.server, self.settings.tls.as_ref()) {
            self.note(&reply.text());
            let replies = vec![reply; message.recipients.len()];
            let finished = self.finished(Outcome { replies, unsent: Vec::new() });
            return self.be_ready(Some(finished));
        }
        let mut transaction = Transaction::new(message, &self.server, self.settings.protocol, self.reset);
        // a reply that nobody asked for must not be taken for one to the next command; 421 is the usual one
        if !self.replies.is_empty() {
            self.state = State::Envelope(transaction);
            return match self.replies.next_reply() {
                Ok(Some(reply)) if reply.code == 421 => {
                    self.record_reply(&reply);
                    self.lose(&reply);
                }
                _ => self.fail_by_ourselves(&broken("a reply without a command")),
            };
        }
        transaction.write(&self.server, &mut self.output, &mut self.said);
        if self.goes_along(&transaction) {
            self.begin_body(transaction);
        } else {
            self.state = State::Envelope(transaction);
        }
    }

    fn envelope_answered(&mut self, mut transaction: Transaction, reply: Reply) {
        match transaction.reply(reply) {
            transaction::Progress::Envelope => {
                transaction.write(&self.server, &mut self.output, &mut self.said);
                self.state = State::Envelope(transaction);
            }
            transaction::Progress::Body => self.begin_body(transaction),
            transaction::Progress::LoneDot => self.send_lone_dot(transaction),
            transaction::Progress::Over => self.finish(transaction),
            transaction::Progress::Broken(reply) => {
                self.state = State::Envelope(transaction);
                self.fail_by_ourselves(&reply);
            }
        }
    }

    /// A transaction has ended, and the connection goes on, if the server wants more over it (RFC 9422 section 4.1).
    fn finish(&mut self, transaction: Transaction) {
        self.reset = transaction.is_open();
        self.transactions = self.transactions.saturating_add(1);
        let finished = self.finished(transaction.into_outcome());
        self.takes = finished.replies.iter().any(|reply| reply.severity() == Severity::Success);
        let most = self.server.limits.mail;
        if most.is_some_and(|most| self.transactions >= most.get()) {
            self.state = State::Ended(finished);
        } else {
            self.be_ready(Some(finished));
        }
    }

    fn finished(&self, outcome: Outcome) -> Finished {
        let Outcome { replies, unsent } = outcome;
        let is_taken = replies.iter().all(|reply| reply.severity() == Severity::Success);
        let said = (!is_taken).then(|| self.what_was_said());
        Finished { replies, unsent, hung_up: false, tls: self.tls_version(), tells: self.tells(), said }
    }

    /// No message over this connection: says good-bye.
    fn give_up(&mut self, reply: Reply) {
        self.refusal = Some(reply);
        self.quit();
    }

    /// The same for a reason of ours.
    fn give_up_by_ourselves(&mut self, reply: Reply) {
        self.note(&reply.text());
        self.give_up(reply);
    }

    fn quit(&mut self) {
        self.output.put_slice(b"QUIT\r\n");
        self.state = State::Quit;
    }

    /// The connection is of no use any more, as we found out ourselves.
    fn fail_by_ourselves(&mut self, reply: &Reply) {
        self.note(&reply.text());
        self.fail(reply, Ending::Broken);
    }

    /// The server has closed the connection, or says that it does.
    fn lose(&mut self, reply: &Reply) {
        if reply.code != 421 {
            self.note(&reply.text());
        }
        self.fail(reply, Ending::Lost);
    }

    /// The connection is of no use any more; what is open gets this reply.
    fn fail(&mut self, reply: &Reply, ending: Ending) {
        if !self.asked {
            self.refusal.get_or_insert_with(|| reply.clone());
        }
        let finished = match std::mem::replace(&mut self.state, State::Closed(None)) {
            State::Ready(finished) | State::Closed(finished) => finished,
            State::Ended(finished) => Some(finished),
            state => self.broken_off(state, reply, ending),
        };
        self.state = State::Closed(finished);
    }

    /// What comes of a message that was under way. A server that has had its messages and hangs up before it has obeyed a command of
    /// another one has nothing against that one.
    fn broken_off(&mut self, state: State, reply: &Reply, ending: Ending) -> Option<Finished> {
        let is_over = ending == Ending::Lost && self.transactions > 0;
        let mut hung_up = false;
        let outcome = match state {
            State::Envelope(transaction) if is_over && transaction.is_untouched() => transaction.not_begun(),
            // The server has the message, in part or whole; it is sure that it did not take it only where it says so.
            State::Body(transaction, _) | State::EndOfData(transaction, _)
                if reply.code == 421 && transaction.is_untouched() =>
            {
                transaction.not_begun()
            }
            // It may have taken it, but hardly has: to send it again at once is no more likely to send it twice than to send it later.
            State::Body(transaction, _) | State::EndOfData(transaction, _)
                if is_over && transaction.is_unanswered() =>
            {
                hung_up = true;
                transaction.not_begun()
            }
            State::Envelope(transaction)
            | State::Body(transaction, _)
            | State::EndOfData(transaction, _)
            | State::Aborted(transaction, _)
            | State::LoneDot(transaction) => transaction.broken_off(reply),
            State::Scanning(message) => {
                Outcome { replies: vec![reply.clone(); message.recipients.len()], unsent: Vec::new() }
            }
            State::Greeting | State::Hello(_) | State::StartTls | State::Handshake | State::Login(_) => {
                return None;
            }
            State::Ready(_) | State::Ended(_) | State::Quit | State::Closed(_) => return None,
        };
        Some(Finished { hung_up, ..self.finished(outcome) })
    }

    fn record_reply(&mut self, reply: &Reply) {
        match &self.state {
            // challenges hold what only we and the server know
            State::Login(_) if reply.code == 334 => self.opening.heard_secret(reply.code),
            State::Greeting | State::Hello(_) | State::StartTls | State::Login(_) => {
                self.opening.heard(reply);
            }
            State::Quit => {}
            _ => self.said.heard(reply),
        }
    }

    fn note(&mut self, what: &str) {
        if self.asked { &mut self.said } else { &mut self.opening }.note(what);
    }

    fn what_was_said(&self) -> Said {
        let lines = self.opening.lines().chain(self.said.lines()).collect();
        Said { tls: self.settings.tls.clone(), lines }
    }

    fn tls_version(&self) -> Option<String> {
        self.settings.tls.as_ref().map(|tls| tls.version.clone())
    }

    fn patience(&self) -> Duration {
        match &self.state {
            State::Greeting => GREETING_TIMEOUT,
            State::Envelope(transaction) if transaction.awaits_data() => DATA_TIMEOUT,
            State::Envelope(_) => ENVELOPE_TIMEOUT,
            State::Body(..) | State::EndOfData(..) | State::LoneDot(_) | State::Aborted(..) => {
                END_OF_DATA_TIMEOUT
            }
            State::Quit | State::Closed(_) => QUIT_TIMEOUT,
            State::Hello(_) | State::StartTls | State::Handshake | State::Login(_) => HELLO_TIMEOUT,
            State::Ready(_) | State::Scanning(_) | State::Ended(_) => HELLO_TIMEOUT,
        }
    }

    fn awaited(&self) -> &'static str {
        match &self.state {
            State::Greeting => "the connection (its greeting)",
            State::Hello(hello) => hello.verb(),
            State::StartTls | State::Handshake => "STARTTLS",
            State::Login(_) => "AUTH",
            State::Envelope(transaction) => transaction.awaited(),
            State::Body(..) | State::Aborted(..) => "BDAT",
            State::EndOfData(..) | State::LoneDot(_) => "the end of the data",
            State::Quit | State::Closed(_) | State::Ready(_) | State::Scanning(_) | State::Ended(_) => "QUIT",
        }
    }
}

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    /// The server closed it.
    Lost,
    /// We give it up.
    Broken,
}

impl Machine for Client {
    type Question = Question;
    type Answer = Answer;
    type Event = std::convert::Infallible;

    fn receive(&mut self, octets: &[u8]) {
        self.replies.receive(octets);
    }

    fn end_of_input(&mut self) {
        self.ended = true;
    }

    fn last_words(&mut self, octets: &[u8]) {
        self.replies.receive(octets);
    }

    fn answer(&mut self, answer: Answer) {
        match (std::mem::replace(&mut self.state, State::Closed(None)), answer) {
            (State::Ready(_), Answer::Message(None)) | (State::Ended(_), Answer::Heard) => self.quit(),
            (State::Ready(_), Answer::Message(Some(message))) if message.is_doubtful(&self.server) => {
                self.state = State::Scanning(message);
            }
            (State::Ready(_), Answer::Message(Some(message))) => self.begin(message),
            (State::Scanning(mut message), Answer::Octets(octets)) => {
                message.declare(octets);
                self.begin(message);
            }
            (State::Body(transaction, body), Answer::Chunk(octets)) => {
                self.send_octets(transaction, body, &octets);
            }
            // also for an answer to another question, which no handler gives
            (state, _) => {
                self.state = state;
                self.fail_by_ourselves(&refusals::unreadable());
            }
        }
    }

    fn event(&mut self, event: Self::Event) {
        match event {}
    }

    fn tls_started(&mut self, info: &TlsInfo) {
        // RFC 3207 section 4.2: nothing that was said before TLS counts
        self.replies.clear();
        self.server = Capabilities::default();
        self.settings.tls = Some(info.clone());
        self.greet();
    }

    /// A message under way is finished: a server that hears only half of it gets it twice. That no further one is begun is
    /// the handler's to see to.
    fn shutdown(&mut self) {}

    fn step(&mut self, now: Instant) -> Step<Question> {
        loop {
            match &mut self.state {
                State::Ready(finished) => {
                    self.asked = true;
                    // kept until the answer shows that it was heard: the connection may break before
                    return Step::Ask(Question::NextMessage { finished: finished.clone() });
                }
                State::Ended(finished) => {
                    return Step::Ask(Question::LastFinished { finished: finished.clone() });
                }
                State::Scanning(_) => return Step::Ask(Question::Octets),
                State::Body(_, body) if !body.must_wait() => return Step::Ask(Question::NextChunk),
                State::Handshake => return Step::StartTls,
                State::Closed(_) => return Step::Close,
                _ => {}
            }
            if let Some(step) = self.read(now) {
                return step;
            }
        }
    }

    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }
}

#[cfg(test)]
mod tests;
