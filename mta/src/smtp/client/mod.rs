//! The SMTP client as a machine without I/O: one connection, any number of messages.
//!
//! RFC 5321, with PIPELINING (RFC 2920), STARTTLS (RFC 3207), AUTH (RFC 4954), SIZE (RFC 1870), 8BITMIME (RFC 6152),
//! SMTPUTF8 (RFC 6531) and enhanced status codes (RFC 2034) where the server offers them.
//!
//! ```text
//! Greeting ──220──► Hello ──250──┬─────────────► Login ──235──┐
//!                   ▲  │ 5yz:    │ STARTTLS                  ▼
//!                   │  └─ HELO   ▼                         Ready ◄──────────────────────────┐
//!                   └─ Handshake ◄─220─ StartTls             │ NextMessage                  │
//!                                                            ├─ none ──► Quit ──► Closed    │
//!                               8-bit? Octets ◄─ Scanning ◄──┤                              │
//!                                                            ▼                              │
//!                                              Envelope (RSET? MAIL RCPT* DATA) ──refused──►┤
//!                                                  │354                    │354, no recipient
//!                                                  ▼ NextChunk*            ▼                │
//!                                                 Body ──► EndOfData     LoneDot ──────────►┤
//!                                                              └──── any reply ────────────►┘
//! 421, silence, nonsense, end of input in any state ──► Closed
//! refusal before the first message ──► Quit
//! ```
//!
//! What came of a message is told with the next [`Question::NextMessage`], so that it can be recorded before another one is
//! sent, or by [`Client::end`] where the session broke. Each recipient has exactly one reply then: the server's, word for
//! word, or one that says why there is none.

mod data;
mod login;
mod refusals;
mod talk;
mod transaction;

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use waypost_mail::Reply;
use waypost_net::{Machine, Step, TlsInfo};

use data::{DotStuffer, END_OF_DATA};
use login::Exchange;
use refusals::broken;
use transaction::Transaction;

pub use login::Login;
pub use talk::{Answer, Encryption, End, Finished, Question, Settings, Tells};
pub use transaction::{Octets, Outgoing, WINDOW_COMMANDS_MAX};

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
    Body(Transaction, DotStuffer),
    EndOfData(Transaction),
    LoneDot(Transaction),
    Quit,
    Closed(Option<Finished>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hello {
    Ehlo,
    Helo,
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
    /// The server offers no TLS, or refused it.
    without_tls: bool,
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
            without_tls: false,
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
    pub fn end(self, lost: &Reply) -> End {
        if !self.asked {
            return End::Refused(self.refusal.unwrap_or_else(|| lost.clone()));
        }
        let tells = self.tells();
        let (tls, tells) = (self.settings.tls.map(|tls| tls.version), tells);
        End::Done(match self.state {
            State::Ready(finished) | State::Closed(finished) => finished,
            State::Scanning(message) => {
                Some(Finished { replies: vec![lost.clone(); message.recipients.len()], tls, tells })
            }
            State::Envelope(transaction)
            | State::Body(transaction, _)
            | State::EndOfData(transaction)
            | State::LoneDot(transaction) => {
                Some(Finished { replies: transaction.into_replies(lost), tls, tells })
            }
            State::Greeting | State::Hello(_) | State::StartTls | State::Handshake => None,
            State::Login(_) | State::Quit => None,
        })
    }

    /// Reads a reply or waits for it; `None`: the state changed.
    fn read(&mut self, now: Instant) -> Option<Step<Question>> {
        match self.replies.next_reply() {
            Ok(Some(reply)) => {
                self.deadline = None;
                self.reply(reply);
            }
            Err(error) => self.fail(broken(&error.to_string())),
            Ok(None) if self.ended => self.fail(refusals::lost(self.awaited())),
            Ok(None) => {
                let deadline = *self.deadline.get_or_insert(now + self.patience());
                if now < deadline {
                    return Some(Step::Read { deadline });
                }
                self.fail(refusals::overdue(self.awaited(), self.patience()));
            }
        }
        None
    }

    fn reply(&mut self, reply: Reply) {
        // RFC 5321 section 3.8: the server closes the channel
        if reply.code == 421 {
            return self.fail(reply);
        }
        match std::mem::replace(&mut self.state, State::Closed(None)) {
            State::Greeting => self.greeted(reply),
            State::Hello(hello) => self.welcomed(hello, reply),
            State::StartTls => self.tls_answered(&reply),
            State::Login(exchange) => self.login_answered(exchange, &reply),
            State::Envelope(transaction) => self.envelope_answered(transaction, reply),
            State::EndOfData(transaction) => self.message_answered(transaction, &reply),
            State::LoneDot(transaction) => self.finish_ended(transaction, &reply),
            // RFC 5321 section 4.1.1.10: after QUIT only closing is left
            State::Quit => {}
            // no reply is read in these
            state @ (State::Handshake
            | State::Ready(_)
            | State::Scanning(_)
            | State::Body(..)
            | State::Closed(_)) => self.state = state,
        }
    }

    fn greeted(&mut self, reply: Reply) {
        match reply.code {
            200..300 => self.hello(Hello::Ehlo),
            300..400 => self.fail(broken("its greeting")),
            _ => self.give_up(reply),
        }
    }

    fn hello(&mut self, hello: Hello) {
        let verb = if hello == Hello::Ehlo { "EHLO" } else { "HELO" };
        let line = format!("{verb} {}\r\n", self.settings.hostname);
        self.output.put_slice(line.as_bytes());
        self.state = State::Hello(hello);
    }

    fn welcomed(&mut self, hello: Hello, reply: Reply) {
        match (hello, reply.code) {
            (Hello::Ehlo, 200..300) => self.server = Capabilities::from_ehlo(&reply),
            (Hello::Helo, 200..300) => self.server = Capabilities::default(),
            // RFC 5321 section 3.2: an old server gets HELO
            (Hello::Ehlo, 500..) => return self.hello(Hello::Helo),
            (_, 300..400) => return self.fail(broken("its reply to EHLO")),
            _ => return self.give_up(reply),
        }
        if self.settings.tls.is_some() || self.settings.encryption == Encryption::Never {
            self.log_in();
        } else if self.server.starttls {
            self.output.put_slice(b"STARTTLS\r\n");
            self.state = State::StartTls;
        } else if self.settings.encryption == Encryption::Required {
            self.without_tls = true;
            self.give_up(refusals::tls_missing());
        } else {
            self.without_tls = true;
            self.log_in();
        }
    }

    fn tls_answered(&mut self, reply: &Reply) {
        self.without_tls = !(200..300).contains(&reply.code);
        match (reply.code, self.settings.encryption) {
            (200..300, _) => self.state = State::Handshake,
            (_, Encryption::Required) => self.give_up(refusals::tls_refused(reply)),
            _ => self.log_in(),
        }
    }

    fn log_in(&mut self) {
        let Some(login) = &self.settings.login else {
            return self.be_ready(None);
        };
        if self.settings.tls.is_none() && !self.settings.login_in_clear {
            return self.give_up(refusals::login_in_clear());
        }
        match Exchange::begin(login, &self.server) {
            Some((exchange, command)) => {
                self.line(&command);
                self.state = State::Login(exchange);
            }
            None => self.give_up(refusals::login_unknown()),
        }
    }

    fn login_answered(&mut self, mut exchange: Exchange, reply: &Reply) {
        match exchange.reply(reply) {
            login::Progress::Respond(line) => {
                self.line(&line);
                self.state = State::Login(exchange);
            }
            login::Progress::Done => self.be_ready(None),
            login::Progress::Refused => self.give_up(refusals::login_refused(reply)),
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
        if let Some(reply) = message.obstacle(&self.server, self.settings.tls.as_ref()) {
            let replies = vec![reply; message.recipients.len()];
            return self.be_ready(Some(Finished { replies, tls: self.tls_version(), tells: self.tells() }));
        }
        let mut transaction = Transaction::new(message, self.reset);
        // a reply that nobody asked for must not be taken for one to the next command; 421 is the usual one
        if !self.replies.is_empty() {
            let reply = match self.replies.next_reply() {
                Ok(Some(reply)) if reply.code == 421 => reply,
                _ => broken("a reply without a command"),
            };
            self.state = State::Envelope(transaction);
            return self.fail(reply);
        }
        transaction.write(&self.server, &mut self.output);
        self.state = State::Envelope(transaction);
    }

    fn envelope_answered(&mut self, mut transaction: Transaction, reply: Reply) {
        match transaction.reply(reply) {
            transaction::Progress::Envelope => {
                transaction.write(&self.server, &mut self.output);
                self.state = State::Envelope(transaction);
            }
            transaction::Progress::Body => self.state = State::Body(transaction, DotStuffer::default()),
            transaction::Progress::LoneDot => {
                self.output.put_slice(END_OF_DATA);
                self.state = State::LoneDot(transaction);
            }
            // all recipients are settled: there is no rest that could get this
            transaction::Progress::Over => self.finish(transaction, &broken("no reply")),
            transaction::Progress::Broken(reply) => {
                self.state = State::Envelope(transaction);
                self.fail(reply);
            }
        }
    }

    fn chunk(&mut self, transaction: Transaction, mut stuffer: DotStuffer, octets: &[u8]) {
        if octets.is_empty() {
            stuffer.finish(&mut self.output);
            self.state = State::EndOfData(transaction);
        } else {
            stuffer.push(octets, &mut self.output);
            self.state = State::Body(transaction, stuffer);
        }
    }

    fn message_answered(&mut self, transaction: Transaction, reply: &Reply) {
        if (300..400).contains(&reply.code) {
            self.state = State::EndOfData(transaction);
            return self.fail(broken("its reply to the end of the data"));
        }
        self.finish_ended(transaction, reply);
    }

    fn finish_ended(&mut self, mut transaction: Transaction, reply: &Reply) {
        transaction.end_of_data();
        self.finish(transaction, reply);
    }

    fn finish(&mut self, transaction: Transaction, rest: &Reply) {
        self.reset = transaction.is_open();
        let finished = Finished {
            replies: transaction.into_replies(rest),
            tls: self.tls_version(),
            tells: self.tells(),
        };
        self.be_ready(Some(finished));
    }

    /// No message over this connection: says good-bye.
    fn give_up(&mut self, reply: Reply) {
        self.refusal = Some(reply);
        self.quit();
    }

    fn quit(&mut self) {
        self.output.put_slice(b"QUIT\r\n");
        self.state = State::Quit;
    }

    /// The connection is of no use any more; what is open gets this reply.
    fn fail(&mut self, reply: Reply) {
        let (tls, tells) = (self.tls_version(), self.tells());
        if !self.asked {
            self.refusal.get_or_insert_with(|| reply.clone());
        }
        let finished = match std::mem::replace(&mut self.state, State::Closed(None)) {
            State::Envelope(transaction)
            | State::Body(transaction, _)
            | State::EndOfData(transaction)
            | State::LoneDot(transaction) => {
                Some(Finished { replies: transaction.into_replies(&reply), tls, tells })
            }
            State::Scanning(message) => {
                Some(Finished { replies: vec![reply; message.recipients.len()], tls, tells })
            }
            State::Ready(finished) | State::Closed(finished) => finished,
            State::Greeting | State::Hello(_) | State::StartTls | State::Handshake => None,
            State::Login(_) | State::Quit => None,
        };
        self.state = State::Closed(finished);
    }

    fn line(&mut self, line: &str) {
        self.output.put_slice(line.as_bytes());
        self.output.put_slice(b"\r\n");
    }

    fn tls_version(&self) -> Option<String> {
        self.settings.tls.as_ref().map(|tls| tls.version.clone())
    }

    fn patience(&self) -> Duration {
        match &self.state {
            State::Greeting => GREETING_TIMEOUT,
            State::Envelope(transaction) if transaction.awaits_data() => DATA_TIMEOUT,
            State::Envelope(_) => ENVELOPE_TIMEOUT,
            State::Body(..) | State::EndOfData(_) | State::LoneDot(_) => END_OF_DATA_TIMEOUT,
            State::Quit | State::Closed(_) => QUIT_TIMEOUT,
            State::Hello(_) | State::StartTls | State::Handshake | State::Login(_) => HELLO_TIMEOUT,
            State::Ready(_) | State::Scanning(_) => HELLO_TIMEOUT,
        }
    }

    fn awaited(&self) -> &'static str {
        match &self.state {
            State::Greeting => "the connection (its greeting)",
            State::Hello(Hello::Ehlo) => "EHLO",
            State::Hello(Hello::Helo) => "HELO",
            State::StartTls | State::Handshake => "STARTTLS",
            State::Login(_) => "AUTH",
            State::Envelope(transaction) => transaction.awaited(),
            State::Body(..) | State::EndOfData(_) | State::LoneDot(_) => "the end of the data",
            State::Quit | State::Closed(_) | State::Ready(_) | State::Scanning(_) => "QUIT",
        }
    }
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

    fn answer(&mut self, answer: Answer) {
        match (std::mem::replace(&mut self.state, State::Closed(None)), answer) {
            (State::Ready(_), Answer::Message(None)) => self.quit(),
            (State::Ready(_), Answer::Message(Some(message))) if message.is_doubtful(&self.server) => {
                self.state = State::Scanning(message);
            }
            (State::Ready(_), Answer::Message(Some(message))) => self.begin(message),
            (State::Scanning(mut message), Answer::Octets(octets)) => {
                message.declare(octets);
                self.begin(message);
            }
            (State::Body(transaction, stuffer), Answer::Chunk(octets)) => {
                self.chunk(transaction, stuffer, &octets);
            }
            // also for an answer to another question, which no handler gives
            (state, _) => {
                self.state = state;
                self.fail(refusals::unreadable());
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
        self.hello(Hello::Ehlo);
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
                State::Scanning(_) => return Step::Ask(Question::Octets),
                State::Body(..) => return Step::Ask(Question::NextChunk),
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
