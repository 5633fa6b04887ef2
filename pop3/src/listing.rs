//! The messages of a maildrop as one session numbers them, and which of them it has marked as deleted (RFC 1939 section 5). Pure.

use std::fmt;

use waypost_mail::{AccountId, UidlId};

use crate::wire::Refusal;

const NO_SUCH_MESSAGE: Refusal = Refusal::new("no such message");
const DELETED: Refusal = Refusal::new("this message is marked as deleted");

/// One message as POP3 shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Message {
    /// Octets.
    pub(crate) size: u64,
    /// Its unique-id.
    pub(crate) unique: UniqueId,
}

/// A message's unique-id (RFC 1939 section 7). The account is part of it: ids of accounts are never given again, so a maildrop
/// that is removed and made again has no unique-id of the old one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct UniqueId {
    /// The account whose maildrop it is.
    pub(crate) account: AccountId,
    /// The message in the account.
    pub(crate) uidl: UidlId,
}

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.account.0, self.uidl.0)
    }
}

/// All messages of a maildrop; numbers never change while a session lasts.
#[derive(Debug)]
pub(crate) struct Listing {
    messages: Vec<(Message, Mark)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mark {
    Kept,
    Deleted,
}

impl Listing {
    pub(crate) fn new(messages: Vec<Message>) -> Self {
        Self { messages: messages.into_iter().map(|message| (message, Mark::Kept)).collect() }
    }

    /// Marks a message as deleted.
    pub(crate) fn delete(&mut self, number: u32) -> Result<(), Refusal> {
        let (index, _) = self.find(number)?;
        self.messages[index].1 = Mark::Deleted;
        Ok(())
    }

    /// Takes all marks away.
    pub(crate) fn reset(&mut self) {
        self.messages.iter_mut().for_each(|(_, mark)| *mark = Mark::Kept);
    }

    /// The index and the message of a number.
    pub(crate) fn find(&self, number: u32) -> Result<(usize, Message), Refusal> {
        let index = (number as usize).checked_sub(1).ok_or(NO_SUCH_MESSAGE)?;
        match self.messages.get(index) {
            Some((message, Mark::Kept)) => Ok((index, *message)),
            Some((_, Mark::Deleted)) => Err(DELETED),
            None => Err(NO_SUCH_MESSAGE),
        }
    }

    /// Number and size of the messages that are not marked as deleted.
    pub(crate) fn drop_listing(&self) -> (usize, u64) {
        self.kept_from(0).fold((0, 0), |(count, octets), (_, message)| (count + 1, octets + message.size))
    }

    /// The messages from an index on that are not marked as deleted, with their indexes.
    pub(crate) fn kept_from(&self, index: usize) -> impl Iterator<Item = (usize, Message)> {
        let kept = |(index, (message, mark)): (usize, &(Message, Mark))| {
            (*mark == Mark::Kept).then_some((index, *message))
        };
        self.messages.iter().enumerate().skip(index).filter_map(kept)
    }

    /// Indexes of the messages that are marked as deleted.
    pub(crate) fn deleted(&self) -> Vec<usize> {
        let deleted =
            |(index, (_, mark)): (usize, &(Message, Mark))| (*mark == Mark::Deleted).then_some(index);
        self.messages.iter().enumerate().filter_map(deleted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_when_messages_are_deleted() {
        let unique = |uidl| UniqueId { account: AccountId(1), uidl: UidlId(uidl) };
        let message = |size| Message { size, unique: unique(size + 100) };
        let mut listing = Listing::new(vec![message(1), message(2), message(4)]);
        assert_eq!(listing.find(0), Err(NO_SUCH_MESSAGE));
        assert_eq!(listing.find(4), Err(NO_SUCH_MESSAGE));
        assert_eq!(listing.find(u32::MAX), Err(NO_SUCH_MESSAGE));
        assert_eq!(listing.delete(2), Ok(()));
        assert_eq!(listing.delete(2), Err(DELETED));
        assert_eq!(listing.find(3), Ok((2, message(4))));
        assert_eq!(listing.drop_listing(), (2, 5));
        assert_eq!(listing.deleted(), [1]);
        assert_eq!(listing.kept_from(1).collect::<Vec<_>>(), [(2, message(4))]);
        listing.reset();
        assert_eq!((listing.drop_listing(), listing.deleted()), ((3, 7), vec![]));
    }
}
