//! A message while it comes in, behind DATA or in the chunks of BDAT: how long that may take, how much may come.

use std::time::{Duration, Instant};

use bytes::Buf;
use waypost_mail::{BodyType, EnhancedStatus, Refusal, Reply};
use waypost_net::Step;

use super::{
    Answer, Question, Server, State, Transaction, Turn,
    replies::{self, Fixed},
};
use crate::smtp::data::{DataReceiver, OVERRUN_BYTES};

/// Longest wait for the next octets of a message (RFC 5321 section 4.5.3.2.5).
pub const DATA_BLOCK_TIMEOUT: Duration = Duration::from_secs(3 * 60);
/// Longest time that a whole message takes, beyond what [`DATA_BYTES_PER_SECOND_MIN`] allows its octets. RFC 5321
/// section 4.5.3.2 bounds only the time between two blocks, which a client could draw out octet by octet for ever.
pub const DATA_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// The rate that a message has at least, in octets, once [`DATA_TIMEOUT`] is used up: what the slowest modems did.
pub const DATA_BYTES_PER_SECOND_MIN: u64 = 1024;

/// A message between DATA, or the first BDAT, and its end.
#[derive(Debug)]
pub(super) struct Reception {
    data: DataReceiver,
    since: Instant,
    /// What it belongs to.
    pub(super) open: Transaction,
    /// The chunk that comes in; `None`: it came with DATA.
    chunk: Option<Chunk>,
}

/// A chunk of BDAT.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    octets: u64,
    left: u64,
    last: bool,
}

impl Reception {
    /// Before the first octet of a message.
    pub(super) fn new(size_max: u64, open: Transaction, now: Instant) -> Self {
        let data = match open.body {
            BodyType::BinaryMime => DataReceiver::binary(size_max),
            BodyType::SevenBit | BodyType::EightBitMime => DataReceiver::new(size_max),
        };
        Self { data, since: now, open, chunk: None }
    }

    /// The next chunk follows.
    pub(super) fn begin_chunk(&mut self, octets: u64, last: bool) {
        self.chunk = Some(Chunk { octets, left: octets, last });
    }

    /// Takes octets from the start of `input`; how many.
    pub(super) fn receive(&mut self, input: &[u8]) -> usize {
        let Some(chunk) = &mut self.chunk else { return self.data.receive(input) };
        let taken = self.data.receive_counted(input, &mut chunk.left);
        if chunk.left == 0 && chunk.last && !self.data.ended() {
            self.data.end_counted();
        }
        taken
    }

    /// The size of a chunk that came whole and is not the last one.
    fn chunk_ended(&self) -> Option<u64> {
        self.chunk.filter(|chunk| chunk.left == 0 && !chunk.last).map(|chunk| chunk.octets)
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
        mut message: Box<Reception>,
        verdict: Result<(), Refusal>,
        now: Instant,
    ) -> Turn {
        self.lines.input.advance(message.receive(&self.lines.input));
        if let Some(chunk) = message.data.take_chunk() {
            return (State::Storing(message), Some(Step::Ask(Question::Chunk(chunk))));
        }
        let chunk = message.chunk_ended();
        let verdict =
            verdict.and(message.data.fault().map_or(Ok(()), |fault| Err(replies::data_fault(fault))));
        // A chunk that is refused ends the transaction (RFC 3030 section 2).
        if message.data.ended() || chunk.is_some() && verdict.is_err() {
            // A chunk that is not the last has one reply, whoever the client is (RFC 2033 section 4.3).
            let replies = if message.data.ended() { self.replies_at_end(message.open) } else { 1 };
            let verdict = match self.is_out_of_turn().filter(|_| !self.has_extensions()) {
                Some(reply) => Err(reply.into()),
                None => verdict,
            };
            return (State::EndingData(replies), Some(Step::Ask(Question::DataEnd(verdict))));
        }
        if let Some(octets) = chunk {
            self.say(&Reply::new(250, EnhancedStatus(2, 0, 0), format!("{octets} octets received")));
            let open = message.open;
            self.chunks = Some(message);
            return (State::Ready(Some(open)), None);
        }
        if message.data.overruns() {
            return (self.refuse(replies::OVERRUN, State::Closing), None);
        }
        let deadline = message.deadline();
        self.wait(State::Receiving(message, verdict), now, DATA_BLOCK_TIMEOUT, deadline)
    }

    /// Whether a chunk is larger than any that is read.
    pub(super) fn is_beyond_all(&self, octets: u64) -> bool {
        octets > self.settings.message_size.saturating_mul(2).saturating_add(OVERRUN_BYTES)
    }

    /// Passes over the octets of a chunk that is refused: they are no commands. Without a reply it was the end of a message for nobody.
    pub(super) fn skip(
        &mut self,
        left: u64,
        reply: Option<Fixed>,
        transaction: Option<Transaction>,
        now: Instant,
    ) -> Turn {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.lines.input.len());
        self.lines.input.advance(here);
        match left - here as u64 {
            0 => match reply {
                Some(reply) => self.refused(reply, transaction),
                None => (State::Ready(transaction), None),
            },
            left => {
                let end = self.budget.deadline(self.settings.role, self.login, now);
                self.wait(State::Skipping(left, reply, transaction), now, DATA_BLOCK_TIMEOUT, end)
            }
        }
    }

    pub(super) fn stored(&mut self, mut message: Box<Reception>, answer: Answer) -> State {
        let verdict = match answer {
            Answer::Done => Ok(()),
            Answer::Refused(refusal) => Err(refusal),
            Answer::Accepted(_) | Answer::Found(_) | Answer::CannotTell => Err(replies::INTERNAL.into()),
        };
        if verdict.is_err() {
            message.data.discard();
        }
        State::Receiving(message, verdict)
    }
}
