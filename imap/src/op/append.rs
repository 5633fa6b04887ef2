//! APPEND (RFC 3501 section 6.3.11) with APPENDUID (RFC 4315 section 3): the octets stream into the store as they arrive.

use bytes::Bytes;
use waypost_mail::{DateTime, Flags, Timestamp};
use waypost_storage::{Delivery, MessageError, MessageWriter, StoreError};

use super::{Failure, NOT_NOW, Operation, place::Found, store::within};
use crate::{
    machine::Ran,
    wire::{Append, LiteralKind},
};

const TOO_BIG: &str = "the message is larger than the server takes";
const HEADER_TOO_BIG: &str = "the header of the message is larger than the server takes";
const HOLDS_NUL: &str = "a literal holds NUL";
const NO_NUL: &str = "messages with NUL cannot be kept; send it encoded";
const EMPTY: &str = "a message is not empty";

/// A message that arrives.
#[derive(Debug)]
pub(crate) struct Appending {
    to: Box<Found>,
    flags: Flags,
    date: Option<DateTime>,
    literal: LiteralKind,
    message: MessageWriter,
}

impl Operation<'_, '_> {
    /// Before the message is sent: whether it will be taken.
    pub(crate) async fn append_start(&mut self, append: Append) -> Result<(), Failure> {
        let to = self.destination(&append.mailbox).await?;
        if append.size > self.context.live().config.limits.message_size {
            return Err(Failure::no("TOOBIG", TOO_BIG));
        }
        if append.size == 0 {
            return Err(Failure::no("CANNOT", EMPTY));
        }
        self.user.appending = Some(Appending {
            // RFC 4314 section 4: what may not be set is left out.
            flags: within(append.flags, to.rights.into()),
            to: Box::new(to),
            date: append.date,
            literal: append.literal,
            message: self.context.store.message_writer(),
        });
        Ok(())
    }

    /// Some octets. After a refusal what was written is forgotten.
    pub(crate) async fn append_chunk(&mut self, octets: &Bytes) -> Result<(), Failure> {
        let mut appending = self.user.appending.take().ok_or(Failure::bad(NOT_NOW))?;
        appending.take(octets).await?;
        self.user.appending = Some(appending);
        Ok(())
    }

    /// The message is complete.
    pub(crate) async fn append_end(&mut self) -> Result<Ran, Failure> {
        let appending = self.user.appending.take().ok_or(Failure::bad(NOT_NOW))?;
        let delivery = Delivery {
            account: appending.to.space.account.id(),
            mailbox: Some(appending.to.mailbox.id),
            prefix: Vec::new(),
            flags: appending.to.owners(appending.flags.clone()),
            internal_date: appending.date.unwrap_or_else(|| DateTime::utc(now())),
        };
        let acceptance = appending.message.finish().await?.for_mailbox(&self.context.store, delivery);
        let accepted = self.context.store.accept(acceptance).await.map_err(|error| match error {
            // RFC 9051 section 6.3.12: also where it went while the message arrived.
            StoreError::NoSuchMailbox => StoreError::NoSuchDestination,
            error => error,
        })?;
        appending.to.mark_seen(&appending.flags, &accepted).await?;
        self.sync(super::Expunges::Report, crate::wire::Numbers::Sequence).await?;
        let ran = Ran::ok("appended");
        Ok(match accepted.local.first() {
            Some(placed) => ran.with_code(format!("APPENDUID {} {}", placed.uid_validity, placed.uid)),
            None => ran,
        })
    }
}

impl Appending {
    async fn take(&mut self, octets: &[u8]) -> Result<(), Failure> {
        self.message.write(octets).await.map_err(|error| match (error, self.literal) {
            (MessageError::HoldsNul, LiteralKind::Text) => Failure::bad(HOLDS_NUL),
            // RFC 3516 section 4.4: as of a mailbox that does not keep binary content.
            (MessageError::HoldsNul, LiteralKind::Binary) => Failure::no("UNKNOWN-CTE", NO_NUL),
            (MessageError::Header(_), _) => Failure::no("TOOBIG", HEADER_TOO_BIG),
            (MessageError::Store(error), _) => error.into(),
        })
    }
}

pub(super) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}
