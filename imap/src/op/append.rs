//! APPEND (RFC 3501 section 6.3.11) of one or several messages (RFC 3502), and REPLACE (RFC 8508), with APPENDUID (RFC 4315
//! section 3).
//!
//! The octets stream into the store as they arrive; all messages of a command become one entry of its journal, or none, and the
//! message whose place is taken is removed in the same one. A client that breaks off, and a command that is refused in the middle,
//! leave nothing.

use bytes::Bytes;
use waypost_config::LimitsConfig;
use waypost_mail::{DateTime, Flags, Timestamp, Uid};
use waypost_storage::{
    Acceptance, Accepted, Account, Delivery, MessageError, MessageWriter, Replaced, Rights, Store,
    StoreError, Written,
};

use super::{Expunges, Failure, NOT_NOW, Operation, limit::Left, place::Found, store::within, uids_only};
use crate::{
    machine::Ran,
    wire::{
        Append, AppendPart, AppendPiece, LiteralKind, MessageLiteral, Numbers, SequenceNumber, SequenceSet,
        Status, encode, spoken,
    },
};

/// Most messages of one APPEND.
pub(crate) const APPEND_MESSAGES_MAX: usize = 4096;
/// Octets of all messages of one APPEND, as a multiple of what one may have.
pub(crate) const APPEND_TOTAL_FACTOR: u64 = 16;
/// Octets of short bodies that wait in memory for the end of an APPEND; others wait in files.
const APPEND_BODIES_IN_MEMORY_MAX: u64 = 4 * 1024 * 1024;
/// Octets of all headers of one APPEND.
const APPEND_HEADERS_MAX: u64 = 16 * 1024 * 1024;

const TOO_BIG: &str = "the message is larger than the server takes";
const HEADER_TOO_BIG: &str = "the header of the message is larger than the server takes";
const TOO_MUCH: &str = "the messages together are larger than the server takes at once";
const TOO_MANY: &str = "these are more messages than the server takes at once";
const HOLDS_NUL: &str = "a literal holds NUL";
const EMPTY: &str = "a message is not empty";
const NO_SUCH_UID: &str = "no message has that UID";

/// The messages of an APPEND, while they arrive.
#[derive(Debug)]
pub(crate) struct Appending {
    to: Box<Found>,
    /// The message whose place is taken, and how the client named it.
    replaced: Option<(Replaced, Numbers)>,
    room: Room,
    /// How many messages a command may bring (RFC 9738 section 3.1); `None`: any number.
    message_limit: Option<u32>,
    complete: Vec<Message<Written>>,
    arriving: Option<Message<MessageWriter>>,
    /// The literal whose octets arrive.
    literal: LiteralKind,
}

/// A message, as far as it is there.
#[derive(Debug)]
struct Message<T> {
    flags: Flags,
    date: Option<DateTime>,
    octets: T,
}

/// What may still come.
#[derive(Debug)]
struct Room {
    /// Octets of one message.
    message_max: u64,
    /// Octets of all messages.
    total: u64,
    /// What the account's quota leaves; `None`: it has none.
    quota: Option<u64>,
    /// Octets of short bodies.
    bodies_in_memory: u64,
    /// Octets of headers.
    headers: u64,
}

impl Operation<'_, '_> {
    /// Before the first message is sent: whether it will be taken.
    pub(crate) async fn append_start(&mut self, append: Append) -> Result<(), Failure> {
        self.refresh()?;
        let replaced = append.replaced.map(|named| self.replaced(named)).transpose()?;
        let to = self.destination(&append.mailbox).await?;
        let goes = replaced.filter(|(replaced, ..)| replaced.account == to.space.account.id());
        let goes = goes.map_or(0, |(_, _, size)| size);
        let appending = Appending {
            room: self.room(&to.space.account, goes),
            to: Box::new(to),
            replaced: replaced.map(|(replaced, numbers, _)| (replaced, numbers)),
            message_limit: self.user.message_limit,
            complete: Vec::new(),
            arriving: None,
            literal: LiteralKind::Text,
        };
        self.take_piece(Box::new(appending), append.piece).await
    }

    /// The message whose place is taken, how it was named, and its size.
    fn replaced(
        &mut self,
        (numbers, number): (Numbers, SequenceNumber),
    ) -> Result<(Replaced, Numbers, u64), Failure> {
        // RFC 9586 section 3.8.
        if numbers == Numbers::Sequence && self.user.enabled.uidonly {
            return Err(uids_only());
        }
        // RFC 8508 section 4.1: as for STORE of \Deleted and EXPUNGE.
        let selected = self.selected_for_writing(Some(Rights::DELETED.with(Rights::EXPUNGE)))?;
        let set = SequenceSet::Ranges(vec![(number, number)]);
        let number = selected.numbers(numbers, &set)?.into_iter().flatten().next();
        let known = number.and_then(|number| selected.view.by_number(number));
        let known = known.ok_or(Failure::no("NONEXISTENT", NO_SUCH_UID))?;
        if known.gone {
            return Err(StoreError::NoSuchMessage.into());
        }
        let account = selected.space.account.id();
        let replaced = Replaced { account, mailbox: selected.view.state().id, uid: known.row.uid };
        Ok((replaced, numbers, known.row.content.size()))
    }

    /// What stands between messages. After a refusal what was written is forgotten.
    pub(crate) async fn append_piece(&mut self, piece: AppendPiece) -> Result<(), Failure> {
        let appending = self.user.appending.take().ok_or(Failure::bad(NOT_NOW))?;
        self.take_piece(appending, piece).await
    }

    /// Some octets. After a refusal what was written is forgotten.
    pub(crate) async fn append_chunk(&mut self, octets: &Bytes) -> Result<(), Failure> {
        let mut appending = self.user.appending.take().ok_or(Failure::bad(NOT_NOW))?;
        appending.take(octets).await?;
        self.user.appending = Some(appending);
        Ok(())
    }

    /// The command is complete.
    pub(crate) async fn append_end(&mut self) -> Result<Ran, Failure> {
        let appending = self.user.appending.take().ok_or(Failure::bad(NOT_NOW))?;
        let (numbers, before) = match appending.replaced {
            Some((_, numbers)) => (numbers, self.known_modseq()),
            None => (Numbers::Sequence, None),
        };
        let ran = self.accept(appending).await;
        self.tell_changes(ran, Expunges::Report, numbers, before).await
    }

    async fn accept(&mut self, mut appending: Box<Appending>) -> Result<Ran, Failure> {
        appending.finish().await?;
        let replaced = appending.replaced;
        let to = appending.to.clone();
        let flags: Vec<Flags> = appending.complete.iter().map(|message| message.flags.clone()).collect();
        let mut acceptances = self.acceptances(*appending);
        let Some((replaced, _)) = replaced else {
            let accepted = self.context.store.accept_all(acceptances).await.map_err(|error| match error {
                // RFC 9051 section 6.3.12: also where it went while the message arrived.
                StoreError::NoSuchMailbox => StoreError::NoSuchDestination,
                error => error,
            })?;
            to.mark_seen(&flags, &accepted).await?;
            let ran = Ran::ok("appended");
            return Ok(match appenduid(&accepted) {
                Some(code) => ran.with_code(code),
                None => ran,
            });
        };
        let acceptance = acceptances.pop().ok_or(Failure::bad(NOT_NOW))?;
        let accepted = [self.context.store.replace(acceptance, replaced).await?];
        to.mark_seen(&flags, &accepted).await?;
        if let Some(code) = appenduid(&accepted) {
            // RFC 8508 section 4.3: before the EXPUNGE response.
            let mut out = Vec::new();
            let text = spoken(self.user.enabled.language, "the new message is there");
            encode::untagged(&mut out, Status::Ok, Some(&code), &text);
            self.output.write(&out).await?;
        }
        Ok(Ran::ok("replaced"))
    }

    async fn take_piece(&mut self, mut appending: Box<Appending>, piece: AppendPiece) -> Result<(), Failure> {
        for part in piece.parts {
            match part {
                AppendPart::Message { flags, date } => {
                    appending.finish().await?;
                    appending.begin(&self.context.store, flags, date)?;
                }
                AppendPart::Url(url) => self.catenate(&mut appending, &url).await?,
            }
        }
        if let Some(literal) = piece.literal {
            appending.expect(literal)?;
        }
        self.user.appending = Some(appending);
        Ok(())
    }

    /// What an APPEND may bring to an account, of which so many octets go.
    fn room(&self, account: &Account, goes: u64) -> Room {
        let directory = self.context.store.directory().borrow().clone();
        let record = directory.accounts.get(&account.id());
        let held = account.state().bytes.saturating_sub(goes);
        let quota = record.and_then(|record| record.quota_bytes).map(|quota| quota.saturating_sub(held));
        let message_max = limit(&self.context.live().config.limits).into();
        Room { message_max, total: 0, quota, bodies_in_memory: 0, headers: 0 }
    }

    /// The messages, each for the mailbox.
    fn acceptances(&self, appending: Appending) -> Vec<Acceptance> {
        let to = &appending.to;
        let (account, mailbox) = (to.space.account.id(), Some(to.mailbox.id));
        let acceptance = |message: Message<Written>| {
            let internal_date = message.date.unwrap_or_else(|| DateTime::utc(now()));
            let flags = to.owners(message.flags);
            let delivery = Delivery { account, mailbox, prefix: Vec::new(), flags, internal_date };
            message.octets.for_mailbox(&self.context.store, delivery)
        };
        appending.complete.into_iter().map(acceptance).collect()
    }
}

impl Appending {
    /// A message begins.
    fn begin(&mut self, store: &Store, flags: Flags, date: Option<DateTime>) -> Result<(), Failure> {
        if let Some(limit) = self.message_limit.filter(|limit| self.complete.len() >= *limit as usize) {
            return Err(Left::new(limit, None).refused());
        }
        if self.complete.len() >= APPEND_MESSAGES_MAX {
            return Err(Failure::no("LIMIT", TOO_MANY));
        }
        // RFC 4314 section 4: what may not be set is left out.
        let flags = within(flags, self.to.rights.into());
        let octets = store.message_writer();
        self.arriving = Some(Message { flags, date, octets });
        Ok(())
    }

    /// Whether the octets of a literal may come.
    fn expect(&mut self, literal: MessageLiteral) -> Result<(), Failure> {
        self.makes_room(literal.bytes)?;
        // RFC 3502 section 6.3.11: what a client cancels the command with.
        if literal.bytes == 0 && !literal.behind.place.is_part() {
            return Err(Failure::no("CANNOT", EMPTY));
        }
        self.literal = literal.kind;
        Ok(())
    }

    /// Whether so many octets more of the message may come.
    pub(super) fn makes_room(&mut self, bytes: u64) -> Result<(), Failure> {
        let before = self.arriving.as_ref().map_or(0, |message| message.octets.size());
        self.room.take(before, bytes)
    }

    /// Octets of a literal.
    async fn take(&mut self, octets: &[u8]) -> Result<(), Failure> {
        if self.literal == LiteralKind::Text && octets.contains(&0) {
            return Err(Failure::bad(HOLDS_NUL));
        }
        self.write(octets).await
    }

    /// Octets of the message, whatever they are.
    pub(super) async fn write(&mut self, octets: &[u8]) -> Result<(), Failure> {
        let message = self.arriving.as_mut().ok_or(Failure::bad(NOT_NOW))?;
        Ok(message.octets.write(octets).await?)
    }

    /// The message that arrives is complete, if there is one.
    async fn finish(&mut self) -> Result<(), Failure> {
        let Some(Message { flags, date, octets }) = self.arriving.take() else { return Ok(()) };
        if octets.size() == 0 {
            return Err(Failure::no("CANNOT", EMPTY));
        }
        let in_memory = self.room.bodies_in_memory + octets.body_in_memory();
        let octets = if in_memory <= APPEND_BODIES_IN_MEMORY_MAX {
            self.room.bodies_in_memory = in_memory;
            octets.finish().await?
        } else {
            octets.finish_in_file().await?
        };
        self.room.headers += octets.header.len() as u64;
        if self.room.headers > APPEND_HEADERS_MAX {
            return Err(Failure::no("LIMIT", TOO_MUCH));
        }
        self.complete.push(Message { flags, date, octets });
        Ok(())
    }
}

impl Room {
    /// Takes room for octets of a message that has some already.
    fn take(&mut self, before: u64, bytes: u64) -> Result<(), Failure> {
        if before.saturating_add(bytes) > self.message_max {
            return Err(Failure::no("TOOBIG", TOO_BIG));
        }
        self.total = self.total.saturating_add(bytes);
        if self.quota.is_some_and(|quota| self.total > quota) {
            return Err(StoreError::OverQuota.into());
        }
        if self.total > self.message_max.saturating_mul(APPEND_TOTAL_FACTOR) {
            return Err(Failure::no("LIMIT", TOO_MUCH));
        }
        Ok(())
    }
}

impl From<MessageError> for Failure {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Header(_) => Self::no("TOOBIG", HEADER_TOO_BIG),
            MessageError::Store(error) => error.into(),
        }
    }
}

/// Octets of the largest message that is taken: what the configuration says, as far as IMAP can say it (RFC 7889 section 5).
pub(crate) fn limit(limits: &LimitsConfig) -> u32 {
    u32::try_from(limits.message_size).unwrap_or(u32::MAX)
}

/// `"APPENDUID" SP nz-number SP append-uid`: the UIDs in the order of the messages.
fn appenduid(accepted: &[Accepted]) -> Option<String> {
    let placed = || accepted.iter().flat_map(|accepted| &accepted.local);
    let uids: Vec<Uid> = placed().map(|placed| placed.uid).collect();
    let set = encode::sequence_set(uids.iter().map(|uid| uid.value()));
    placed().next().map(|first| format!("APPENDUID {} {set}", first.uid_validity))
}

pub(super) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}
