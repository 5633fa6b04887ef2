//! The queue: messages on their way to other servers. It lives in memory and is loaded from the journal.

pub(crate) mod changes;
pub(crate) mod entries;
pub(crate) mod history;
pub(crate) mod pages;
pub(crate) mod replay;

use minicbor::{Decode, Encode};
use waypost_mail::{BodyType, EntryId, Issuer, Reply, ReversePath, Timestamp, Wishes};

use crate::{
    accept::RelayRecipient,
    content::Content,
    decide::queue::{Hold, NoteReports, Pause, Remove, Reschedule},
    error::StoreError,
    record::codec,
    shared::locked,
    store::Store,
};

/// Most names of changed entries that are given at once.
const CHANGES_MAX: usize = 1024;

/// A message in the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueEntry {
    /// Its name.
    pub id: EntryId,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// Where notifications go.
    pub reverse_path: ReversePath,
    /// All its recipients, in the order in which they were accepted.
    pub recipients: Vec<QueuedRecipient>,
    /// Declared octets of the body.
    pub body: BodyType,
    /// Whether it needs SMTPUTF8.
    pub smtputf8: bool,
    /// Its octets; the prefix is for copies that are forwarded for somebody here, and for no others.
    pub content: Content,
    /// How many tries were recorded, each for some of its recipients.
    pub attempts: u32,
    /// What the sender asked for.
    pub wishes: Wishes,
    /// It was to be sent no earlier (RFC 4865).
    pub not_before: Option<Timestamp>,
    /// Why it is held, if it is: then it is not tried.
    pub held: Option<Held>,
}

impl QueueEntry {
    /// The recipients that must still be tried, with their indexes.
    pub fn open(&self) -> impl Iterator<Item = (usize, &QueuedRecipient)> {
        self.recipients.iter().enumerate().filter(|(_, queued)| queued.is_open())
    }

    /// When the first of them is tried next; `None` where there is none.
    pub fn next_attempt(&self) -> Option<Timestamp> {
        self.open().map(|(_, queued)| queued.next_attempt).min()
    }

    /// From when on its time in the queue counts: when it was accepted, or could be sent first.
    pub fn begun(&self) -> Timestamp {
        self.not_before.map_or(self.accepted, |earliest| earliest.max(self.accepted))
    }
}

/// A message is held.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Held {
    /// Since when.
    #[cbor(n(0), with = "codec::timestamp")]
    pub at: Timestamp,
    /// Why, in words.
    #[n(1)]
    pub why: String,
}

/// One recipient of a message in the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueuedRecipient {
    /// Where it goes.
    pub recipient: RelayRecipient,
    /// What came of the last try.
    pub outcome: Option<Outcome>,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next.
    pub next_attempt: Timestamp,
    /// Whether the sender was told that it is late.
    pub warned: bool,
}

impl QueuedRecipient {
    /// One that was not tried yet.
    pub(crate) fn new(recipient: RelayRecipient, next_attempt: Timestamp) -> Self {
        Self { recipient, outcome: None, tries: 0, next_attempt, warned: false }
    }

    /// Whether it must still be tried.
    pub fn is_open(&self) -> bool {
        !matches!(self.outcome, Some(Outcome::Delivered { .. } | Outcome::Failed { .. }))
    }
}

impl Outcome {
    /// Who said so, or nobody (empty), and what.
    pub fn said(&self) -> (&str, &Reply) {
        match self {
            Self::Delivered { peer, reply }
            | Self::Deferred { peer, reply }
            | Self::Failed { peer, reply } => (peer, reply),
        }
    }

    /// Whether the reply is not that of the next server, also where one was asked.
    pub fn is_of_ours(&self) -> bool {
        let (peer, reply) = self.said();
        peer.is_empty() || reply.issuer == Issuer::Here
    }
}

/// What came of one try for one recipient.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The next server took it.
    Delivered {
        /// Its name and address.
        peer: String,
        /// What it said.
        reply: Reply,
    },
    /// To be tried again.
    Deferred {
        /// Who was asked: name and address, or empty where no one could be.
        peer: String,
        /// What it said, or, of ours, what happened, as a 4yz reply.
        reply: Reply,
    },
    /// Given up.
    Failed {
        /// Who was asked: name and address, or empty.
        peer: String,
        /// What it said, or, of ours, what happened, as a 5yz reply (also for an expiry).
        reply: Reply,
    },
}

/// The outcome for one recipient.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub struct RecipientOutcome {
    /// Index in [`QueueEntry::recipients`].
    #[n(0)]
    pub recipient: usize,
    /// What came of it.
    #[n(1)]
    pub outcome: Outcome,
}

/// One try of one entry. An entry none of whose recipients is open any more leaves the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The entry.
    pub id: EntryId,
    /// When it was made.
    pub at: Timestamp,
    /// What came of it, for the recipients that were tried.
    pub outcomes: Vec<RecipientOutcome>,
    /// When those of them that are deferred are tried next.
    pub next_attempt: Timestamp,
    /// Whether it comes with a notification that those are late.
    pub warned: bool,
    /// What was said with each server that did not take the message for all of them.
    pub dialogues: Vec<Dialogue>,
}

/// What was said with one server, without secrets and without the message. Its octets are bounded by who makes it.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Dialogue {
    /// When it began.
    #[cbor(n(0), with = "codec::timestamp")]
    pub at: Timestamp,
    /// With whom: name and address.
    #[n(1)]
    pub peer: String,
    /// TLS, once it was on.
    #[n(2)]
    pub tls: Option<DialogueTls>,
    /// Which TLS was wanted and why, in words.
    #[n(3)]
    pub policy: String,
    /// Lines in their order: `S: ` the server's, `C: ` ours, `*: ` what happened.
    #[n(4)]
    pub lines: Vec<String>,
}

/// TLS of a dialogue.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct DialogueTls {
    /// `TLSv1.3`, `TLSv1.2`.
    #[n(0)]
    pub version: String,
    /// The cipher suite's IANA name.
    #[n(1)]
    pub cipher: String,
    /// Whether the server's certificate was verified.
    #[n(2)]
    pub verified: bool,
}

/// What another server reports of a message for one recipient: a note, as nobody knows whether it is true. Its octets are bounded by who makes it.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct ReturnedReport {
    /// The recipient, as the report writes it; empty where it does not say.
    #[n(0)]
    pub recipient: String,
    /// What became of the message: `failed`, `delayed`, …, or `complaint: abuse`.
    #[n(1)]
    pub what: String,
    /// The enhanced status, where there is one.
    #[n(2)]
    pub status: Option<String>,
    /// What was said.
    #[n(3)]
    pub said: Option<String>,
}

impl Store {
    /// Notes reports that came back for a message, which may have left the queue long ago; see [`Store::queue_history`]. Errors: `Full`,
    /// `Poisoned`, `Closed`.
    pub async fn note_reports(&self, id: EntryId, reports: Vec<ReturnedReport>) -> Result<(), StoreError> {
        self.submit(NoteReports { id, reports }).await
    }

    /// All entries, ascending by name; for a queue that may be long, see [`Store::queue_page`].
    pub fn queue(&self) -> Vec<QueueEntry> {
        self.queue_page(None, usize::MAX)
    }

    /// The first entries, at most `most`, ascending by name, behind `after`.
    pub fn queue_page(&self, after: Option<EntryId>, most: usize) -> Vec<QueueEntry> {
        self.shared().queue.read().behind(after).take(most).map(|slot| slot.entry()).collect()
    }

    /// How many entries there are.
    pub fn queue_len(&self) -> usize {
        self.shared().queue.read().len()
    }

    /// One entry; `None` when it is not or no longer in the queue.
    pub fn queue_entry(&self, id: EntryId) -> Option<QueueEntry> {
        let packed = self.shared().queue.read().get(id);
        packed.map(|packed| packed.entry())
    }

    /// Waits until entries were added, rescheduled, held or released, and gives the names of some; the first calls give all that are
    /// there. What came of tries is not told of: who asks for it has recorded it. For one reader, the queue runner. Cancel-safe.
    pub async fn queue_changes(&self) -> Vec<EntryId> {
        loop {
            let changed = self.take_changes();
            if !changed.is_empty() {
                return changed;
            }
            // What changes from here on leaves a permit, so that none is missed.
            self.shared().queue_notify.notified().await;
        }
    }

    fn take_changes(&self) -> Vec<EntryId> {
        let shared = self.shared();
        locked(&shared.queue_changed).take(&shared.queue.read(), CHANGES_MAX)
    }

    /// Makes the open recipients of an entry due at `at`, as `waypost queue retry` does. Errors: `NoSuchEntry`, `Full`, `Poisoned`,
    /// `Closed`.
    pub async fn reschedule(&self, id: EntryId, at: Timestamp) -> Result<(), StoreError> {
        self.submit(Reschedule { id, at }).await
    }

    /// Holds an entry, so that it is not tried, or releases it (`None`). Errors as [`Store::reschedule`].
    pub async fn hold(&self, id: EntryId, why: Option<String>) -> Result<(), StoreError> {
        self.submit(Hold { id, why }).await
    }

    /// Pauses a destination, so that nothing is sent there, or lets it go on; see [`crate::DirectoryState::paused`]. Errors: `Full`,
    /// `Poisoned`, `Closed`.
    pub async fn pause(&self, destination: String, paused: bool) -> Result<(), StoreError> {
        self.submit(Pause { destination, paused }).await
    }

    /// Takes an entry out of the queue; its sender is not told. Errors as [`Store::reschedule`].
    pub async fn remove_queued(&self, id: EntryId) -> Result<(), StoreError> {
        self.submit(Remove { id }).await
    }
}
