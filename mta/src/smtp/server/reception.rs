//! A message while it comes in: how long that may take, how much may come.

use std::time::{Duration, Instant};

use waypost_mail::Refusal;
use waypost_net::Step;

use super::{Answer, Question, Server, State, Turn, replies};
use crate::smtp::data::DataReceiver;

/// Longest wait for the next octets of a message (RFC 5321 section 4.5.3.2.5).
pub const DATA_BLOCK_TIMEOUT: Duration = Duration::from_secs(3 * 60);
/// Longest time that a whole message takes, beyond what [`DATA_BYTES_PER_SECOND_MIN`] allows its octets. RFC 5321
/// section 4.5.3.2 bounds only the time between two blocks, which a client could draw out octet by octet for ever.
pub const DATA_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// The rate that a message has at least, in octets, once [`DATA_TIMEOUT`] is used up: what the slowest modems did.
pub const DATA_BYTES_PER_SECOND_MIN: u64 = 1024;

/// A message between DATA and its end.
#[derive(Debug)]
pub(super) struct Reception {
    data: DataReceiver,
    since: Instant,
}

impl Reception {
    /// Before the first octet of a message.
    pub(super) fn new(size_max: u64, now: Instant) -> Self {
        Self { data: DataReceiver::new(size_max), since: now }
    }

    /// When the message must have ended, going by what has come of it; `None`: in no time that can be told.
    fn deadline(&self) -> Option<Instant> {
        let earned = Duration::from_secs(self.data.received() / DATA_BYTES_PER_SECOND_MIN);
        self.since.checked_add(DATA_TIMEOUT.saturating_add(earned))
    }
}

impl Server {
    pub(super) fn receive_data(
        &mut self,
        mut message: Reception,
        verdict: Result<(), Refusal>,
        now: Instant,
    ) -> Turn {
        message.data.receive(&mut self.lines.input);
        if let Some(chunk) = message.data.take_chunk() {
            return (State::Storing(message), Some(Step::Ask(Question::Chunk(chunk))));
        }
        if message.data.ended() {
            let fault = message.data.fault().map_or(Ok(()), |fault| Err(replies::data_fault(fault)));
            return (State::EndingData, Some(Step::Ask(Question::DataEnd(verdict.and(fault)))));
        }
        if message.data.overruns() {
            return (self.refuse(replies::OVERRUN, State::Closing), None);
        }
        let deadline = message.deadline();
        self.wait(State::Receiving(message, verdict), now, DATA_BLOCK_TIMEOUT, deadline)
    }

    pub(super) fn stored(&mut self, mut message: Reception, answer: Answer) -> State {
        let verdict = match answer {
            Answer::Done => Ok(()),
            Answer::Refused(refusal) => Err(refusal),
            Answer::Accepted(_) | Answer::Keys(_) => Err(replies::INTERNAL.into()),
        };
        if verdict.is_err() {
            message.data.discard();
        }
        State::Receiving(message, verdict)
    }
}
