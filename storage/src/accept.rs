//! `accept`: the one entrance of new mail.

use std::sync::Arc;

use bytes::Bytes;
use minicbor::{Decode, Encode};
use waypost_mail::{
    AccountId, Address, BodyType, DateTime, EntryId, Flags, MailboxId, Notify, OriginalRecipient,
    ReversePath, Timestamp, Uid, UidValidity, UidlId, Wishes,
};
use waypost_message::Structure;

use crate::{
    content::{Body, BodyPlace},
    decide::{
        accept::{Accept, Deliver, Incoming, Local, Replace},
        queue::{Settle, SettleAll},
    },
    error::StoreError,
    queue::Attempt,
    record::codec,
    store::{Hand, Store},
    writer::Package,
};

/// Most octets of header blocks, prefixes and small bodies in one entry.
const AREA_BYTES_MAX: u32 = 32 * 1024 * 1024;

/// A message with all it is accepted for: one entry of the journal.
#[derive(Debug)]
pub struct Acceptance {
    /// Its name for ever; from [`Store::new_entry_id`].
    pub id: EntryId,
    /// Header block with its empty line; may be empty where the caller does not split (then all is body).
    pub header: Bytes,
    /// What follows.
    pub body: Body,
    /// MIME structure over header block and body; offsets count from the header block.
    pub structure: Structure,
    /// Mailboxes that get it.
    pub local: Vec<Delivery>,
    /// What goes to the queue.
    pub relay: Option<Relay>,
}

/// One mailbox that gets a message.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The account.
    pub account: AccountId,
    /// The mailbox; `None`: INBOX.
    pub mailbox: Option<MailboxId>,
    /// Header fields that stand before the header block: Return-Path, Delivered-To, Authentication-Results.
    pub prefix: Vec<u8>,
    /// Flags from the start.
    pub flags: Flags,
    /// Internal date.
    pub internal_date: DateTime,
}

/// A message that another one takes the place of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Replaced {
    /// The account.
    pub account: AccountId,
    /// The mailbox that it is in.
    pub mailbox: MailboxId,
    /// The message.
    pub uid: Uid,
}

/// What goes to the queue with a message.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Where notifications go.
    pub reverse_path: ReversePath,
    /// Recipients that are elsewhere; at least one.
    pub recipients: Vec<RelayRecipient>,
    /// Declared octets of the body.
    pub body: BodyType,
    /// Whether it needs SMTPUTF8.
    pub smtputf8: bool,
    /// What the sender asked for.
    pub wishes: Wishes,
    /// When it is sent at the earliest; `None`: at once (RFC 4865).
    pub not_before: Option<Timestamp>,
    /// Why it is held until it is released; `None`: it is not.
    pub held: Option<String>,
    /// Header fields that stand before the header block of copies which are forwarded for somebody here (ARC), and of no others.
    pub prefix: Vec<u8>,
}

impl Relay {
    /// Seven-bit mail of a sender who asks for nothing, to be sent at once.
    pub fn new(reverse_path: ReversePath, recipients: Vec<RelayRecipient>) -> Self {
        Self {
            reverse_path,
            recipients,
            body: BodyType::SevenBit,
            smtputf8: false,
            wishes: Wishes::default(),
            not_before: None,
            held: None,
            prefix: Vec::new(),
        }
    }
}

/// One recipient in the queue.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct RelayRecipient {
    /// Where it goes.
    #[cbor(n(0), with = "codec::address")]
    pub address: Address,
    /// What the sender wrote, where it differs (an alias).
    #[cbor(n(1), with = "codec::original")]
    pub original: Option<Address>,
    /// When the sender is told; `None`: it did not say (RFC 3461 section 4.1).
    #[cbor(n(2), with = "codec::notify", default)]
    pub notify: Option<Notify>,
    /// Whom the sender wrote to first (RFC 3461 section 4.2).
    #[cbor(n(3), with = "codec::original_recipient", default)]
    pub orcpt: Option<OriginalRecipient>,
}

impl RelayRecipient {
    /// A recipient of whom the sender said nothing more.
    pub fn new(address: Address) -> Self {
        Self { address, original: None, notify: None, orcpt: None }
    }
}

/// Where a message was placed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placed {
    /// The account.
    pub account: AccountId,
    /// The mailbox.
    pub mailbox: MailboxId,
    /// Its UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The message's UID.
    pub uid: Uid,
    /// Its unique-id in the maildrop.
    pub uidl: UidlId,
}

/// What became of an acceptance; durable.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The name it got.
    pub id: EntryId,
    /// One for each delivery, in their order.
    pub local: Vec<Placed>,
}

impl Store {
    /// Takes a message: all its deliveries and its queue entry, or none of them. Durable when it resolves.
    /// Errors: `NoSuchAccount`, `NoSuchMailbox`, `OverQuota`, `Limit`, `Full`, `Poisoned`, `Closed`.
    pub async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError> {
        let accepted = self.accept_all(vec![acceptance]).await?;
        accepted.into_iter().next().ok_or(StoreError::Closed)
    }

    /// Takes a message as [`Store::accept`] does, whatever quotas say: for a protocol that looks at them when it lets a recipient
    /// in, and cannot refuse the message for one of several recipients afterwards (SMTP). With a notification that goes with it as one
    /// entry. Where nobody else has anything to write, and the disk is quick, it is written in the caller's thread, which is held up for
    /// that time: see `docs/decisions/0008-sessions-on-cores.md`.
    /// Errors: those of [`Store::accept`] but `OverQuota`.
    pub async fn deliver(
        &self,
        acceptance: Acceptance,
        notification: Option<Acceptance>,
    ) -> Result<Accepted, StoreError> {
        let (id, mut area) = (acceptance.id, Area::default());
        let message = area.place(acceptance)?;
        let notification = notification.map(|notification| area.place(notification)).transpose()?;
        self.submit_by(Hand::Caller, area.package(id, Deliver { message, notification })).await
    }

    /// Several messages into mailboxes as one entry or none (RFC 3502: MULTIAPPEND). Errors as [`Store::accept`].
    pub async fn accept_all(&self, acceptances: Vec<Acceptance>) -> Result<Vec<Accepted>, StoreError> {
        let Some(id) = acceptances.first().map(|acceptance| acceptance.id) else { return Ok(Vec::new()) };
        let mut area = Area::default();
        let incoming =
            acceptances.into_iter().map(|acceptance| area.place(acceptance)).collect::<Result<_, _>>()?;
        self.submit_package(area.package(id, Accept(incoming))).await
    }

    /// Takes a message and removes another one, as one entry or not at all (RFC 8508: REPLACE). The quota holds for what is more
    /// than before. Errors: `NoSuchMessage`: the other one is gone; `NoSuchMailbox`: its mailbox is; `NoSuchDestination`: the
    /// mailbox is gone that the message should go to; and those of [`Store::accept`].
    pub async fn replace(&self, acceptance: Acceptance, replaced: Replaced) -> Result<Accepted, StoreError> {
        let (id, mut area) = (acceptance.id, Area::default());
        let message = area.place(acceptance)?;
        self.submit_package(area.package(id, Replace { message, replaced })).await
    }

    /// Records what came of a try, and takes what it caused (a notification, the delivery to mailboxes here), as one entry or not at all.
    /// Errors: `NoSuchEntry` and those of [`Store::accept`].
    pub async fn settle(
        &self,
        attempt: Attempt,
        caused: impl IntoIterator<Item = Acceptance>,
    ) -> Result<(), StoreError> {
        let (mut area, mut id) = (Area::default(), None);
        let place = |acceptance: Acceptance| {
            id.get_or_insert(acceptance.id);
            area.place(acceptance)
        };
        let caused = caused.into_iter().map(place).collect::<Result<_, _>>()?;
        let id = id.unwrap_or_else(|| self.new_entry_id());
        self.submit_package(area.package(id, Settle { attempt, caused })).await
    }

    /// Records what came of tries for different entries that caused nothing, as one entry of the journal; for each of them whether it is
    /// recorded, or why not, as [`Store::settle`] has it.
    /// Errors: `Limit`: too much at once; `Full`, `Poisoned`, `Closed`.
    pub async fn settle_all(
        &self,
        attempts: Arc<[Attempt]>,
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        self.submit(SettleAll(attempts)).await
    }

    /// A new name for an acceptance: never given twice, ascending in time.
    pub fn new_entry_id(&self) -> EntryId {
        self.shared().new_entry_id()
    }
}

/// The area of an entry as it is laid out: prefixes, header block, small body, for one message after the other.
#[derive(Default)]
struct Area {
    octets: Vec<Bytes>,
    size: u32,
    bodies: Vec<Body>,
}

impl Area {
    /// Lays out one message.
    fn place(&mut self, acceptance: Acceptance) -> Result<Incoming, StoreError> {
        let Acceptance { id, header, body, structure, local, mut relay } = acceptance;
        let local = local.into_iter().map(|delivery| self.delivery(delivery)).collect::<Result<_, _>>()?;
        let prefix = relay.as_mut().map(|relay| std::mem::take(&mut relay.prefix)).unwrap_or_default();
        let relay_prefix = if prefix.is_empty() { (0, 0) } else { self.add(prefix.into())? };
        let header = self.add(header)?;
        let body_bytes = body.size();
        let place = match body.file() {
            Some((segment, number)) => BodyPlace::File { segment, number },
            None => {
                let start = self.size;
                for piece in body.pieces().unwrap_or_default() {
                    self.add(piece.clone())?;
                }
                BodyPlace::Area(start)
            }
        };
        self.bodies.push(body);
        let (thread_key, structure) = (structure.thread_key(), structure.encode());
        Ok(Incoming {
            id,
            header,
            body: place,
            body_bytes,
            structure,
            thread_key,
            local,
            relay,
            relay_prefix,
        })
    }

    fn delivery(&mut self, delivery: Delivery) -> Result<Local, StoreError> {
        let Delivery { account, mailbox, prefix, flags, internal_date } = delivery;
        Ok(Local { account, mailbox, prefix: self.add(prefix.into())?, flags, internal_date })
    }

    /// Adds octets; their start and length.
    fn add(&mut self, octets: Bytes) -> Result<(u32, u32), StoreError> {
        let too_large = StoreError::Limit("the message is too large to be taken at once");
        let length = u32::try_from(octets.len()).map_err(|_| too_large.clone())?;
        let end = self.size.checked_add(length).filter(|end| *end <= AREA_BYTES_MAX).ok_or(too_large)?;
        let place = (self.size, length);
        self.size = end;
        if !octets.is_empty() {
            self.octets.push(octets);
        }
        Ok(place)
    }

    fn package<C>(self, id: EntryId, command: C) -> Package<C> {
        Package { command, id, area: self.octets, bodies: self.bodies }
    }
}
