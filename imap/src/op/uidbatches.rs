//! UIDBATCHES (RFC 10022): ranges of UIDs that hold so many messages each, the newest first.
//!
//! Ranges follow each other without a gap, and the last one ends with 1. Finding one costs a look-up, whatever its size, so how
//! often a client asks is not counted; how long the answer is is bounded.

use std::ops::RangeInclusive;

use super::{Failure, Operation};
use crate::{
    machine::Ran,
    view::View,
    wire::{UidBatches, encode},
};

/// Fewest messages of a batch (RFC 10022 section 3.1.3.2).
pub(crate) const BATCH_MESSAGES_MIN: u32 = 500;
/// Most ranges of an answer: those of more messages than the 100,000 that section 3.1.7 asks for.
const BATCHES_MAX: u32 = 1000;

const TOO_FEW: &str = "a batch has at least 500 messages";
const TOO_MANY: &str = "too many batches, ask for a range of them";
const WRONG_ORDER: &str = "the batches are named in the wrong order";

impl Operation<'_, '_> {
    pub(super) async fn uid_batches(&mut self, tag: &str, asked: UidBatches) -> Result<Ran, Failure> {
        let view = &self.selected()?.view;
        let Some((first, last)) = asked.batches.or(Some((1, u32::MAX))).filter(|(first, last)| first <= last)
        else {
            return Err(Failure::Refused(Ran::bad(WRONG_ORDER).with_code("CLIENTBUG")));
        };
        if asked.messages < BATCH_MESSAGES_MIN {
            return Err(Failure::no("TOOFEW", TOO_FEW));
        }
        let there = view.told().div_ceil(asked.messages);
        let wanted = first..=last.min(there);
        if wanted.clone().count() > BATCHES_MAX as usize {
            return Err(Failure::no("TOOMANY", TOO_MANY));
        }
        let ranges: Vec<String> = wanted
            .filter_map(|batch| uids(view, asked.messages, batch))
            .map(|uids| format!("{}:{}", uids.end(), uids.start()))
            .collect();
        let mut out = b"* UIDBATCHES (TAG ".to_vec();
        encode::string(&mut out, tag.as_bytes());
        out.push(b')');
        if !ranges.is_empty() {
            out.extend(format!(" {}", ranges.join(",")).as_bytes());
        }
        out.extend(b"\r\n");
        self.output.write(&out).await?;
        Ok(Ran::ok("batches told"))
    }
}

/// The UIDs of a batch, counted from 1; `None`: there is no such batch.
fn uids(view: &View, messages: u32, batch: u32) -> Option<RangeInclusive<u32>> {
    // The UID of the message so many before the newest; 0 where there are not so many.
    let before_newest = |count: u64| {
        let number = u64::from(view.told()).saturating_sub(count);
        let known = u32::try_from(number).ok().and_then(|number| view.by_number(number));
        known.map_or(0, |known| known.row.uid.value())
    };
    let behind = |batches: u32| before_newest(u64::from(messages) * u64::from(batches));
    let uids = behind(batch) + 1..=behind(batch - 1);
    (!uids.is_empty()).then_some(uids)
}
