//! Identifiers. Each is its own type, so that none is taken for another.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroU64},
    str::FromStr,
};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id! {
    /// An account for ever: a re-created address gets a new one.
    AccountId(u64)
}
number_id! {
    /// A mailbox within its account, kept when it is renamed. Never reused.
    MailboxId(u64)
}
number_id! {
    /// The message itself, the same in each copy (RFC 8474 section 5.1: EMAILID). Unique within the account.
    EmailId(u64)
}
number_id! {
    /// The conversation a message belongs to (RFC 8474 section 5.2: THREADID).
    ThreadId(u64)
}
number_id! {
    /// A message's unique-id in the maildrop (RFC 1939 section 7: UIDL). Unique within the account, kept on move and restore.
    UidlId(u64)
}

macro_rules! counted_id {
    ($(#[$doc:meta])* $name:ident($inner:ty, $nonzero:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name($nonzero);

        impl $name {
            /// The first value.
            pub const FIRST: Self = Self(<$nonzero>::MIN);

            /// `None` for zero.
            pub fn new(value: $inner) -> Option<Self> {
                <$nonzero>::new(value).map(Self)
            }

            /// The number.
            pub fn value(self) -> $inner {
                self.0.get()
            }

            /// The next value; stays at the largest.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counted_id! {
    /// `Uid` of a message: never zero, never reused under one `UidValidity` (RFC 9051 section 2.3.1.1).
    Uid(u32, NonZeroU32)
}
counted_id! {
    /// `UidValidity` of a mailbox (RFC 9051 section 2.3.1.1): never repeats within an account.
    UidValidity(u32, NonZeroU32)
}
counted_id! {
    /// Modification sequence (RFC 7162 section 3.1): the sequence number of the change in the account's stream.
    ModSeq(u64, NonZeroU64)
}

/// Names one acceptance of a message: the id in the reply to end-of-data, in Received, in the queue and in traces.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EntryId(pub u64);

const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl fmt::Display for EntryId {
    /// 13 characters of Crockford's base 32, so that ids sort as numbers and survive being read aloud.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: [u8; 13] = std::array::from_fn(|at| BASE32[(self.0 >> (5 * (12 - at))) as usize & 31]);
        f.pad(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

/// The text is not 13 characters of base 32.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an id is 13 characters of 0-9 and a-z without i, l, o and u")]
pub struct EntryIdError;

impl FromStr for EntryId {
    type Err = EntryIdError;

    fn from_str(text: &str) -> Result<Self, EntryIdError> {
        if text.len() != 13 || text.as_bytes()[0] > b'f' {
            return Err(EntryIdError);
        }
        let digit = |c: u8| BASE32.iter().position(|d| *d == c.to_ascii_lowercase()).ok_or(EntryIdError);
        let value = text.bytes().try_fold(0u128, |value, c| Ok(value << 5 | digit(c)? as u128))?;
        u64::try_from(value).map(Self).map_err(|_| EntryIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_ids_print_and_parse() {
        for value in [0, 1, 31, 32, u64::MAX / 3, u64::MAX] {
            let text = EntryId(value).to_string();
            assert_eq!(text.len(), 13);
            assert_eq!(text.parse(), Ok(EntryId(value)));
        }
        for text in ["", "0", "00000000000000", "u000000000000", "zzzzzzzzzzzzz", "g000000000000"] {
            assert_eq!(text.parse::<EntryId>(), Err(EntryIdError), "{text}");
        }
    }
}
