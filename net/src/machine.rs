//! The contract between a protocol and its driver.

use std::{future::Future, time::Instant};

use bytes::BytesMut;

use crate::{driver::Disconnect, tls::TlsInfo, wire::Output};

/// A protocol session without I/O: octets, answers, events and time go in; what is needed next comes out.
pub trait Machine: Send {
    /// What the machine asks of the world.
    type Question: Send;
    /// What the world answers.
    type Answer: Send;
    /// What may happen by itself while the machine watches.
    type Event: Send;

    /// Takes octets that arrived. Not called while a question is open.
    fn receive(&mut self, octets: &[u8]);
    /// The peer sends no more. What is complete may still be obeyed; then the machine closes.
    fn end_of_input(&mut self);
    /// Takes the answer to the question that [`Machine::step`] asked last.
    fn answer(&mut self, answer: Self::Answer);
    /// Takes an event; only while [`Step::Watch`] is what was asked for last.
    fn event(&mut self, event: Self::Event);
    /// TLS is there, as [`Step::StartTls`] asked: what arrived before it and was not obeyed is forgotten.
    fn tls_started(&mut self, info: &TlsInfo);
    /// Takes octets that had arrived when sending failed: the peer may have said why it takes no more. Nothing is done after it.
    fn last_words(&mut self, octets: &[u8]) {
        // most machines have no use for them
        let _unheard = octets;
    }
    /// The server stops: says so to the peer (421, BYE) and closes at the next step.
    fn shutdown(&mut self);
    /// What is needed to go on. Called again after each input, and when a deadline has passed.
    fn step(&mut self, now: Instant) -> Step<Self::Question>;
    /// What is to be sent. The driver takes it away after each step, before it does what the step says.
    fn output(&mut self) -> &mut BytesMut;
}

/// What a machine needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step<Q> {
    /// More octets, until the deadline.
    Read {
        /// When [`Machine::step`] is called at the latest.
        deadline: Instant,
    },
    /// Octets or an event, until the deadline (IDLE).
    Watch {
        /// When [`Machine::step`] is called at the latest.
        deadline: Instant,
    },
    /// The answer to a question. No input is read meanwhile.
    Ask(Q),
    /// TLS on the connection; what was to be sent goes out first, in plain text.
    StartTls,
    /// DEFLATE in both directions, within TLS (RFC 4978): what was to be sent goes out before. All that arrived was obeyed.
    StartCompression,
    /// No DEFLATE any more (RFC 8437 section 4.1): what was to be sent goes out compressed. All that arrived was obeyed.
    StopCompression,
    /// The end, after what is still to be sent.
    Close,
}

/// Answers a machine's questions; owns what the machine may not know: store, directory, DNS.
pub trait Handler<M: Machine>: Send {
    /// Answers one question. Long output goes to `output` directly, which waits for a slow peer; what the machine had
    /// to send before the question is sent already, or goes out before it. An error ends the session.
    fn answer(
        &mut self,
        question: M::Question,
        output: &mut Output<'_>,
    ) -> impl Future<Output = Result<M::Answer, Disconnect>> + Send;

    /// Whether a question is answered so soon that what the machine had to send before it can wait, to go out together with what comes of the
    /// answer: each write costs more than most answers.
    fn is_quick(&self, _question: &M::Question) -> bool {
        false
    }

    /// Looks at the machine after each of its steps: what it said of its own accord may be worth a line in the log.
    fn observe(&mut self, _machine: &mut M) {}

    /// Waits for something that happens by itself. Cancel-safe. Where nothing can happen it waits for ever.
    fn event(&mut self) -> impl Future<Output = M::Event> + Send;
}
