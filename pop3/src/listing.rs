//! The messages of a maildrop as one session numbers them, and which of them it has marked as deleted (RFC 1939 section 5). Pure.
//!
//! It is a copy of what there was at login, and small: a message is some six octets, its UID and unique-id as differences to those of the
//! message before it. Every [`ANCHOR`] messages the reading can begin.

use std::fmt;

use waypost_mail::{AccountId, Uid, UidlId};

use crate::wire::Refusal;

const NO_SUCH_MESSAGE: Refusal = Refusal::new("no such message");
const DELETED: Refusal = Refusal::new("this message is marked as deleted");
/// Messages between two places where reading can begin.
const ANCHOR: usize = 64;

/// One message as POP3 shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Message {
    /// Its UID in INBOX.
    pub(crate) uid: Uid,
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
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Listing {
    account: u64,
    /// Of each message: by how much its UID is larger than that before it, the difference of the unique-ids, the size.
    octets: Vec<u8>,
    anchors: Vec<Place>,
    /// Behind the last message.
    end: Place,
    /// How many there are, and their octets.
    all: (usize, u64),
    /// One bit each; empty before the first.
    marks: Vec<u64>,
    /// How many are marked as deleted, and their octets.
    deleted: (usize, u64),
}

/// Where reading begins, and what the message before has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Place {
    at: u32,
    uid: u32,
    uidl: u64,
}

impl Listing {
    /// Adds the message with the next larger UID.
    pub(crate) fn push(&mut self, uid: Uid, uidl: UidlId, size: u64) {
        if self.all.0.is_multiple_of(ANCHOR) {
            self.anchors.push(self.end);
        }
        self.number((uid.value() - self.end.uid).into());
        let difference = uidl.0.wrapping_sub(self.end.uidl) as i64;
        // Small ones in either direction are small numbers.
        self.number((difference << 1 ^ difference >> 63) as u64);
        self.number(size);
        self.end = Place { at: self.octets.len() as u32, uid: uid.value(), uidl: uidl.0 };
        self.all = (self.all.0 + 1, self.all.1 + size);
    }

    /// All are there; it holds no more memory than it needs.
    pub(crate) fn finish(mut self, account: AccountId) -> Self {
        self.octets.shrink_to_fit();
        self.anchors.shrink_to_fit();
        Self { account: account.0, ..self }
    }

    /// Marks a message as deleted.
    pub(crate) fn delete(&mut self, number: u32) -> Result<(), Refusal> {
        let size = self.find(number)?.size;
        let index = number as usize - 1;
        self.marks.resize(self.all.0.div_ceil(64), 0);
        self.marks[index / 64] |= 1 << (index % 64);
        self.deleted = (self.deleted.0 + 1, self.deleted.1 + size);
        Ok(())
    }

    /// Takes all marks away.
    pub(crate) fn reset(&mut self) {
        (self.marks, self.deleted) = (Vec::new(), (0, 0));
    }

    /// The message of a number.
    pub(crate) fn find(&self, number: u32) -> Result<Message, Refusal> {
        let index = (number as usize).checked_sub(1).ok_or(NO_SUCH_MESSAGE)?;
        match self.from(index).next() {
            Some(_) if self.is_deleted(index) => Err(DELETED),
            Some((_, message)) => Ok(message),
            None => Err(NO_SUCH_MESSAGE),
        }
    }

    /// Number and size of the messages that are not marked as deleted.
    pub(crate) fn drop_listing(&self) -> (usize, u64) {
        (self.all.0 - self.deleted.0, self.all.1 - self.deleted.1)
    }

    /// The messages from an index on that are not marked as deleted, with their indexes.
    pub(crate) fn kept_from(&self, index: usize) -> impl Iterator<Item = (usize, Message)> {
        self.from(index).filter(|(index, _)| !self.is_deleted(*index))
    }

    /// UIDs of the messages that are marked as deleted, ascending.
    pub(crate) fn deleted(&self) -> Vec<Uid> {
        let last = if self.deleted.0 == 0 { 0 } else { self.all.0 };
        let deleted = self.from(0).take(last).filter(|(index, _)| self.is_deleted(*index));
        deleted.map(|(_, message)| message.uid).collect()
    }

    fn is_deleted(&self, index: usize) -> bool {
        self.marks.get(index / 64).is_some_and(|marks| marks >> (index % 64) & 1 == 1)
    }

    /// The messages from an index on, with their indexes.
    fn from(&self, index: usize) -> impl Iterator<Item = (usize, Message)> {
        let anchor = index / ANCHOR;
        let begin = self.anchors.get(anchor).copied().unwrap_or(self.end);
        let mut rest = (begin, self.octets.get(begin.at as usize..).unwrap_or_default());
        let messages = std::iter::from_fn(move || self.next(&mut rest));
        (anchor * ANCHOR..).zip(messages).skip(index % ANCHOR)
    }

    fn next(&self, (before, octets): &mut (Place, &[u8])) -> Option<Message> {
        let uid = before.uid + u32::try_from(number(octets)?).ok()?;
        let zigzag = number(octets)?;
        let uidl = before.uidl.wrapping_add(zigzag >> 1 ^ (zigzag & 1).wrapping_neg());
        (before.uid, before.uidl) = (uid, uidl);
        let unique = UniqueId { account: AccountId(self.account), uidl: UidlId(uidl) };
        Some(Message { uid: Uid::new(uid)?, size: number(octets)?, unique })
    }

    /// Seven bits an octet, the lowest first.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.octets.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.octets.push(number as u8);
    }
}

/// The next number; `None` at the end.
fn number(octets: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (octet, rest) = octets.split_first()?;
        *octets = rest;
        number |= u64::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(messages: impl IntoIterator<Item = (u32, u64, u64)>) -> Listing {
        let mut listing = Listing::default();
        messages
            .into_iter()
            .for_each(|(uid, uidl, size)| listing.push(Uid::new(uid).unwrap(), UidlId(uidl), size));
        listing.finish(AccountId(1))
    }

    fn message((uid, uidl, size): (u32, u64, u64)) -> Message {
        let unique = UniqueId { account: AccountId(1), uidl: UidlId(uidl) };
        Message { uid: Uid::new(uid).unwrap(), size, unique }
    }

    #[test]
    fn numbers_stay_when_messages_are_deleted() {
        let mut listing = listing([(5, 101, 1), (6, 102, 2), (9, 99, 4)]);
        assert_eq!(listing.find(0), Err(NO_SUCH_MESSAGE));
        assert_eq!(listing.find(4), Err(NO_SUCH_MESSAGE));
        assert_eq!(listing.find(u32::MAX), Err(NO_SUCH_MESSAGE));
        assert_eq!(listing.delete(2), Ok(()));
        assert_eq!(listing.delete(2), Err(DELETED));
        assert_eq!(listing.find(3), Ok(message((9, 99, 4))));
        assert_eq!(listing.drop_listing(), (2, 5));
        assert_eq!(listing.deleted(), [Uid::new(6).unwrap()]);
        assert_eq!(listing.kept_from(1).collect::<Vec<_>>(), [(2, message((9, 99, 4)))]);
        listing.reset();
        assert_eq!((listing.drop_listing(), listing.deleted()), ((3, 7), vec![]));
    }

    /// At and around each place where reading can begin, with numbers as large and as far apart as they can be.
    #[test]
    fn messages_are_as_they_were() {
        let uidls = [1, u64::MAX, 0, 1 << 63, 127, 128, (1 << 50) + 7, 2];
        for count in [0, 1, 63, 64, 65, 128, 1000] {
            let all: Vec<_> = (0..count)
                .map(|n| {
                    let uid = if n + 1 == count { u32::MAX } else { 3 * n as u32 + 1 };
                    (uid, uidls[n % uidls.len()] ^ n as u64, [0, 1, 127, 128, u64::MAX >> 12][n % 5])
                })
                .collect();
            let mut listing = listing(all.iter().copied());
            for (index, expected) in all.iter().enumerate() {
                assert_eq!(listing.find(index as u32 + 1), Ok(message(*expected)));
            }
            for begin in [0, 1, 62, 63, 64, 65, 999, 1000, 5000] {
                let expected = all.iter().enumerate().skip(begin).map(|(index, one)| (index, message(*one)));
                assert_eq!(listing.kept_from(begin).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            }
            (1..=count as u32).for_each(|number| listing.delete(number).unwrap());
            assert_eq!(listing.drop_listing(), (0, 0));
            assert_eq!(listing.deleted().len(), count);
            assert_eq!(listing.kept_from(0).next(), None);
        }
    }

    #[test]
    fn a_message_takes_less_than_eight_octets() {
        let mut listing = listing((1..=100_000).map(|n| (n, (1 << 50) + 3 * u64::from(n), 1_900_000)));
        listing.delete(7).unwrap();
        let octets = listing.octets.capacity()
            + listing.anchors.capacity() * size_of::<Place>()
            + listing.marks.capacity() * size_of::<u64>();
        assert!(octets <= 8 * 100_000, "{octets}");
    }
}
