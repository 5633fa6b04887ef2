//! What a client missed while it was away: SELECT with QRESYNC (RFC 7162 section 3.2.5), UID FETCH with VANISHED (section 3.2.6).
//!
//! The store remembers what vanished for some time ([`waypost_storage::Vanished`]). A client that was away for longer is told
//! of every UID that has no message: of those above the last one of which it shows that it knows all below it (section
//! 3.2.5.2). VANISHED (EARLIER) comes before the FETCH responses.

use std::ops::RangeInclusive;

use waypost_storage::MailboxState;

use super::{Failure, Operation, fetch::BATCH_MESSAGES, flags_response};
use crate::{
    view::View,
    wire::{Numbers, Resync, SequenceMatch, SequenceSet, encode},
};

impl Operation<'_, '_> {
    /// Says what changed of the messages that the client knows; nothing where it knows them under another UIDVALIDITY.
    pub(super) async fn resync(&mut self, view: &View, resync: &Resync) -> Result<(), Failure> {
        let state = view.state();
        if resync.uid_validity != state.uid_validity.value() {
            return Ok(());
        }
        let all = || vec![1..=u32::MAX];
        let known = resync.known_uids.clone().unwrap_or_else(all);
        self.earlier(&common(&vanished(state, resync.modseq, known_up_to(view, &resync.matched)), &known))
            .await?;
        let enabled = self.user.enabled;
        let mut numbers = known.into_iter().flat_map(|uids| view.numbers_of_uids(uids));
        loop {
            let (mut out, mut more) = (Vec::new(), false);
            for number in numbers.by_ref().take(BATCH_MESSAGES) {
                more = true;
                let known = view.by_number(number);
                if let Some(known) = known.filter(|known| known.row.modseq.value() > resync.modseq) {
                    flags_response(&mut out, view, known, Numbers::Uid, enabled);
                }
            }
            if !more {
                return Ok(());
            }
            self.output.write(&out).await?;
            tokio::task::yield_now().await;
        }
    }

    /// Says which of the UIDs of a set vanished after a modification sequence. Messages that still have numbers are left to the
    /// VANISHED that takes these away.
    pub(super) async fn tell_vanished(&mut self, set: &SequenceSet, modseq: u64) -> Result<(), Failure> {
        let view = &self.selected()?.view;
        let most = view.state().uid_next.value() - 1;
        let asked = set.cover(view.largest_uid().min(most), most);
        let uids = view.without_gone(common(&vanished(view.state(), modseq, 0), &asked));
        self.earlier(&uids).await
    }

    async fn earlier(&mut self, uids: &[RangeInclusive<u32>]) -> Result<(), Failure> {
        for response in encode::vanished_earlier(uids) {
            self.output.write(&response).await?;
        }
        Ok(())
    }
}

/// The UIDs that vanished after a modification sequence; where that is not known any more, all that have no message and are
/// above `known_up_to`.
fn vanished(state: &MailboxState, modseq: u64, known_up_to: u32) -> Vec<RangeInclusive<u32>> {
    let all = || match known_up_to.checked_add(1) {
        Some(first) => common(&state.absent(), &[first..=u32::MAX]),
        None => Vec::new(),
    };
    state.vanished.after(modseq).unwrap_or_else(all)
}

/// The largest UID that has the number which the client has for it: it knows of all that vanished below (RFC 7162 section
/// 3.2.5.2). 0: none.
fn known_up_to(view: &View, matched: &SequenceMatch) -> u32 {
    let there = matched.pairs().take_while(|(number, _)| *number <= view.exists());
    let same = |(number, uid): &(u32, u32)| {
        view.by_number(*number).is_some_and(|known| known.row.uid.value() == *uid)
    };
    there.filter(same).last().map_or(0, |(_, uid)| uid)
}

/// What two lists of ascending ranges have in common.
fn common(one: &[RangeInclusive<u32>], other: &[RangeInclusive<u32>]) -> Vec<RangeInclusive<u32>> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut common = Vec::new();
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        let (start, end) = (*a.start().max(b.start()), *a.end().min(b.end()));
        if start <= end {
            common.push(start..=end);
        }
        if a.end() < b.end() {
            one.next()
        } else {
            other.next()
        };
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_in_common() {
        let max = u32::MAX;
        for (one, other, expected) in [
            (vec![], vec![1..=9], vec![]),
            (vec![1..=3, 5..=9], vec![2..=6, 9..=max], vec![2..=3, 5..=6, 9..=9]),
            (vec![max..=max], vec![1..=max], vec![max..=max]),
            (vec![1..=1, 3..=3], vec![2..=2, 4..=4], vec![]),
        ] {
            assert_eq!(common(&one, &other), expected);
            assert_eq!(common(&other, &one), expected);
        }
    }
}
