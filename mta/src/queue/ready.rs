//! Messages that are due at one destination, in the order in which they go: the urgent before the others (RFC 6710), and among
//! equals one of each sender in turn, so that who sends ten thousand does not hold up who sends one. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
};

use waypost_mail::EntryId;

/// Messages up to which no memory is given back.
const KEPT_MAX: usize = 64;

/// Messages that are due; each is in it once. One takes some 50 octets: thousands of destinations may have all of theirs here at
/// the same time.
#[derive(Debug, Default)]
pub(super) struct Ready {
    levels: BTreeMap<Reverse<i8>, Level>,
    all: HashSet<EntryId>,
}

/// Messages of one priority, in rounds: in each round one of each sender, the older before the younger.
#[derive(Debug, Default)]
struct Level {
    messages: BinaryHeap<Reverse<(u64, EntryId)>>,
    /// The round of the message that was taken last.
    round: u64,
    /// The round of the last message of each sender, where it is above that.
    last: HashMap<u64, u64>,
}

impl Ready {
    /// Puts a message behind those of its sender (a hash of it) that are as urgent, unless it is there already.
    pub(super) fn push(&mut self, id: EntryId, priority: i8, sender: u64) {
        if self.all.insert(id) {
            self.levels.entry(Reverse(priority)).or_default().push(id, sender);
        }
    }

    /// Takes the next message.
    pub(super) fn pop(&mut self) -> Option<EntryId> {
        let mut first = self.levels.first_entry()?;
        let level = first.get_mut();
        let id = level.pop();
        if level.messages.is_empty() {
            first.remove();
        }
        self.all.remove(&id?);
        self.shrink();
        id
    }

    /// Takes all messages.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = EntryId> {
        self.levels.clear();
        std::mem::take(&mut self.all).into_iter()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    #[cfg(test)]
    pub(super) fn holds(&self, id: EntryId) -> bool {
        self.all.contains(&id)
    }

    /// Gives memory back after a crowd.
    fn shrink(&mut self) {
        if self.all.capacity() > KEPT_MAX && self.all.len() < self.all.capacity() / 8 {
            self.all.shrink_to_fit();
        }
    }
}

impl Level {
    fn push(&mut self, id: EntryId, sender: u64) {
        let last = self.last.entry(sender).or_default();
        *last = self.round.max(*last) + 1;
        self.messages.push(Reverse((*last, id)));
    }

    fn pop(&mut self) -> Option<EntryId> {
        let Reverse((round, id)) = self.messages.pop()?;
        self.round = round;
        if self.messages.len() < self.messages.capacity() / 4 && self.messages.capacity() > KEPT_MAX {
            self.messages.shrink_to_fit();
        }
        // senders whose turn is over; there are no more of the others than messages
        if self.last.len() > 2 * self.messages.len() {
            self.last.retain(|_, last| *last > round);
            self.last.shrink_to_fit();
        }
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(messages: &[(u64, i8, u64)]) -> Vec<u64> {
        let mut ready = Ready::default();
        messages.iter().for_each(|(id, priority, sender)| ready.push(EntryId(*id), *priority, *sender));
        std::iter::from_fn(|| ready.pop()).map(|id| id.0).collect()
    }

    #[test]
    fn urgent_ones_go_first_and_senders_take_turns() {
        for (messages, expected) in [
            (&[][..], &[][..]),
            (&[(1, 0, 1), (2, 0, 1), (3, 0, 1)], &[1, 2, 3]),
            (&[(1, 0, 1), (2, 0, 1), (3, 0, 1), (4, 0, 2), (5, 0, 3)], &[1, 4, 5, 2, 3]),
            (&[(1, 0, 1), (2, -3, 2), (3, 4, 1), (4, 0, 2)], &[3, 1, 4, 2]),
            (&[(1, 0, 1), (1, 4, 1), (2, 0, 1)], &[1, 2]),
        ] {
            assert_eq!(order(messages), expected, "{messages:?}");
        }
    }

    #[test]
    fn who_comes_later_waits_for_two_of_each_other_sender_at_most() {
        let mut ready = Ready::default();
        (0..300).for_each(|id| ready.push(EntryId(id), 0, id % 3));
        assert_eq!((0..31).filter_map(|_| ready.pop()).count(), 31);
        ready.push(EntryId(1000), 0, 9);
        ready.push(EntryId(1001), 0, 9);
        let order: Vec<u64> = std::iter::from_fn(|| ready.pop()).map(|id| id.0).collect();
        assert_eq!(order.iter().position(|id| *id == 1000), Some(2 + 3), "{order:?}");
        assert_eq!(order.iter().position(|id| *id == 1001), Some(2 + 3 + 4), "{order:?}");
    }

    #[test]
    fn who_sends_one_after_the_other_holds_up_nobody() {
        let mut ready = Ready::default();
        (0..10).for_each(|id| ready.push(EntryId(id), 0, 1));
        let mut of_first = 0;
        for id in 100..120 {
            ready.push(EntryId(id), 0, 2);
            of_first += usize::from(ready.pop().unwrap() < EntryId(100));
        }
        assert_eq!(of_first, 10);
    }

    #[test]
    fn what_has_left_leaves_no_memory_taken() {
        let mut ready = Ready::default();
        (0..3000).for_each(|id| ready.push(EntryId(id), 0, id));
        assert_eq!((0..2997).filter_map(|_| ready.pop()).count(), 2997);
        let level = ready.levels.values().next().unwrap();
        let capacities = [ready.all.capacity(), level.messages.capacity(), level.last.capacity()];
        assert!(capacities.iter().all(|capacity| *capacity <= 2 * KEPT_MAX), "{capacities:?}");
    }

    #[test]
    fn what_is_taken_can_come_again() {
        let mut ready = Ready::default();
        (0..3000).for_each(|id| ready.push(EntryId(id), 0, id % 7));
        assert_eq!(ready.len(), 3000);
        while ready.len() > 3 {
            ready.pop().unwrap();
        }
        assert!(ready.all.capacity() < 1024);
        ready.push(EntryId(0), 0, 0);
        assert_eq!((ready.len(), ready.drain().count(), ready.len()), (4, 4, 0));
        assert_eq!(ready.pop(), None);
        ready.push(EntryId(0), 0, 0);
        assert_eq!(ready.pop(), Some(EntryId(0)));
    }
}
