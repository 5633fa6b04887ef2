//! Entrances for the fuzz targets to what is private here: the grammar, and the machine with a maildrop of three messages.

use std::{convert::Infallible, time::Instant};

use bytes::BytesMut;
use waypost_auth::sasl::{Claim, Offer, Scram};
use waypost_config::Pop3Policy;
use waypost_mail::{AccountId, Domain, Uid, UidlId};
use waypost_net::{Step, TlsInfo};

use crate::{
    listing::Listing,
    machine::{self, Announced, Login, Opened, Terms, Tls},
    wire::{self, Code, Refusal},
};

const WRONG: Refusal = Refusal::with(Code::AUTH, "wrong");
const BROKEN: Refusal = Refusal::with(Code::SYS_TEMP, "broken");

/// What a line is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// A command; as it was understood.
    Understood(String),
    /// Nothing that we know.
    Unknown,
    /// A command with wrong arguments.
    Wrong,
}

impl Command {
    /// Reads a line without its CRLF.
    pub fn parse(line: &[u8]) -> Self {
        match wire::Command::parse(line) {
            Ok(command) => Self::Understood(format!("{command:?}")),
            Err(wire::UNKNOWN) => Self::Unknown,
            Err(_) => Self::Wrong,
        }
    }
}

/// A session.
pub struct Session(machine::Session);

/// What it asks.
pub struct Question(machine::Question);

/// What it is answered.
pub struct Answer(machine::Answer);

impl Session {
    /// The bits of `settings`: 1 TLS is offered, 2 it is on, 4 passwords only under TLS, 16 SCRAM is offered, 32 APOP is.
    pub fn new(hostname: &Domain, settings: u8) -> Self {
        let tls = match settings & 3 {
            0 => Tls::None,
            1 => Tls::Offered,
            _ => Tls::Active,
        };
        let login = if settings & 4 == 0 { Login::Always } else { Login::WithTls };
        let offer = Offer {
            scram: if settings & 16 == 0 { Scram::Absent } else { Scram::Offered },
            ..Offer::default()
        };
        let timestamp = (settings & 32 != 0).then(|| "<1@mx.test>".to_owned());
        let announced = Announced::of_account(Pop3Policy::default());
        Self(machine::Session::new(hostname, Terms { tls, login, offer, timestamp, announced }))
    }
}

impl Question {
    /// The answer: login with any password but `x`; with bit 8 of `settings` nothing else works.
    pub fn answer(self, settings: u8) -> Answer {
        let result = if settings & 8 == 0 { Ok(()) } else { Err(BROKEN) };
        Answer(match self.0 {
            machine::Question::Login(Claim::Password(shown)) if shown.password == "x" => {
                machine::Answer::Opened(Err(WRONG))
            }
            machine::Question::LookUp(_) => machine::Answer::Found(Err(WRONG)),
            machine::Question::Login(_) => {
                machine::Answer::Opened(Ok(Opened { listing: maildrop(), policy: Pop3Policy::default() }))
            }
            machine::Question::Retrieve(retrieval) => {
                assert!((1..=3).contains(&retrieval.message.uid.value()), "no such message");
                machine::Answer::Retrieved(result)
            }
            machine::Question::Update { deleted } => {
                assert!(deleted.is_sorted_by(|a, b| a < b) && deleted.len() <= 3);
                machine::Answer::Updated(result.map(|()| deleted.len()))
            }
            machine::Question::Flush => machine::Answer::Flushed,
        })
    }
}

fn maildrop() -> Listing {
    let mut listing = Listing::default();
    for (number, uid) in (1..=3).zip((1..=3).filter_map(Uid::new)) {
        listing.push(uid, UidlId(70 + number), 100 * number);
    }
    listing.finish(AccountId(4))
}

impl waypost_net::Machine for Session {
    type Question = Question;
    type Answer = Answer;
    type Event = Infallible;

    fn receive(&mut self, octets: &[u8]) {
        self.0.receive(octets);
    }

    fn end_of_input(&mut self) {
        self.0.end_of_input();
    }

    fn answer(&mut self, answer: Answer) {
        self.0.answer(answer.0);
    }

    fn event(&mut self, event: Infallible) {
        match event {}
    }

    fn tls_started(&mut self, info: &TlsInfo) {
        self.0.tls_started(info);
    }

    fn shutdown(&mut self) {
        self.0.shutdown();
    }

    fn step(&mut self, now: Instant) -> Step<Question> {
        match self.0.step(now) {
            Step::Read { deadline } => Step::Read { deadline },
            Step::Watch { deadline } => Step::Watch { deadline },
            Step::Ask(question) => Step::Ask(Question(question)),
            Step::StartTls => Step::StartTls,
            Step::StartCompression => Step::StartCompression,
            Step::StopCompression => Step::StopCompression,
            Step::Close => Step::Close,
        }
    }

    fn output(&mut self) -> &mut BytesMut {
        self.0.output()
    }
}
