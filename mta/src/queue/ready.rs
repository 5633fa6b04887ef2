//! Messages that are due at one destination, in the order in which they go: the urgent before the others (RFC 6710), and among
//! equals one of each sender in turn, so that who sends ten thousand does not hold up who sends one. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
};

use waypost_mail::EntryId;

/// Messages that are due; each is in it once.
#[derive(Debug, Default)]
pub(super) struct Ready {
    levels: BTreeMap<Reverse<i8>, Level>,
    all: HashSet<EntryId>,
}

/// Messages of one priority.
#[derive(Debug, Default)]
struct Level {
    senders: HashMap<u64, VecDeque<EntryId>>,
    /// Whose turn it is; each with a message stands in it once.
    turn: VecDeque<u64>,
}

impl Ready {
    /// Puts a message behind those of its sender (a hash of it) that are as urgent, unless it is there already.
    pub(super) fn push(&mut self, id: EntryId, priority: i8, sender: u64) {
        if !self.all.insert(id) {
            return;
        }
        let level = self.levels.entry(Reverse(priority)).or_default();
        let of_sender = level.senders.entry(sender).or_default();
        if of_sender.is_empty() {
            level.turn.push_back(sender);
        }
        of_sender.push_back(id);
    }

    /// Takes the next message.
    pub(super) fn pop(&mut self) -> Option<EntryId> {
        let mut first = self.levels.first_entry()?;
        let level = first.get_mut();
        let id = level.pop();
        if level.turn.is_empty() {
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
        if self.all.capacity() > 1024 && self.all.len() < self.all.capacity() / 8 {
            self.all.shrink_to_fit();
        }
    }
}

impl Level {
    fn pop(&mut self) -> Option<EntryId> {
        let sender = self.turn.pop_front()?;
        let of_sender = self.senders.get_mut(&sender)?;
        let id = of_sender.pop_front();
        if of_sender.is_empty() {
            self.senders.remove(&sender);
        } else {
            self.turn.push_back(sender);
        }
        id
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
