//! MESSAGELIMIT (RFC 9738): how many messages one command works on, where the listener has such a bound.
//!
//! What is beyond it are the messages with the lowest UIDs; the answer says down to which UID all was done.

use std::ops::Range;

use waypost_mail::Uid;

use super::{Failure, Operation};
use crate::{
    machine::Ran,
    view::View,
    wire::{Status, encode, spoken},
};

const TOO_MANY: &str = "too many messages for one command";
const SOME_LEFT: &str = "only the newest of the messages were looked at";

/// What a command left undone: `"MESSAGELIMIT" SP message-limit [SP uniqueid]` (RFC 9738 section 5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Left {
    code: String,
}

impl Left {
    pub(super) fn new(limit: u32, lowest: Option<Uid>) -> Self {
        let lowest = lowest.map(|uid| format!(" {uid}")).unwrap_or_default();
        Self { code: format!("MESSAGELIMIT {limit}{lowest}") }
    }

    /// NO: nothing was done.
    pub(super) fn refused(self) -> Failure {
        Failure::no(&self.code, TOO_MANY)
    }
}

/// The newest of these messages, as many as a command may work on; and what is left.
pub(super) fn newest(
    view: &View,
    ranges: Vec<Range<u32>>,
    limit: Option<u32>,
) -> (Vec<Range<u32>>, Option<Left>) {
    let all: u64 = ranges.iter().map(|range| range.len() as u64).sum();
    let Some(limit) = limit.filter(|limit| all > u64::from(*limit)) else { return (ranges, None) };
    let mut room = limit;
    let mut kept: Vec<Range<u32>> = Vec::new();
    for range in ranges.into_iter().rev() {
        let taken = room.min(range.len() as u32);
        room -= taken;
        if taken > 0 {
            kept.push(range.end - taken..range.end);
        }
    }
    kept.reverse();
    let lowest = kept.first().and_then(|range| view.by_number(range.start)).map(|known| known.row.uid);
    (kept, Some(Left::new(limit, lowest)))
}

impl Operation<'_, '_> {
    /// Says in the answer what was left undone; in a response before it, where the answer has another code (RFC 9738 section 3.1).
    pub(super) async fn limited(&mut self, ran: Ran, left: Option<Left>) -> Result<Ran, Failure> {
        match left {
            None => Ok(ran),
            Some(Left { code }) if ran.code.is_none() && ran.status == Status::Ok => Ok(ran.with_code(code)),
            Some(Left { code }) => {
                self.tell_left(&code).await?;
                Ok(ran)
            }
        }
    }

    /// Makes room for a code that must stand in the tagged answer.
    pub(super) async fn make_room(&mut self, mut ran: Ran) -> Result<Ran, Failure> {
        if let Some(code) = ran.code.take_if(|code| code.starts_with("MESSAGELIMIT ")) {
            self.tell_left(&code).await?;
        }
        Ok(ran)
    }

    async fn tell_left(&mut self, code: &str) -> Result<(), Failure> {
        let mut out = Vec::new();
        encode::untagged(&mut out, Status::No, Some(code), &spoken(self.user.enabled.language, SOME_LEFT));
        self.output.write(&out).await?;
        Ok(())
    }
}
