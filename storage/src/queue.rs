//! The queue: messages on their way to other servers. It lives in memory and is loaded from the journal.

use std::sync::{Arc, PoisonError};

use minicbor::{Decode, Encode};
use waypost_mail::{BodyType, EntryId, Reply, ReversePath, Timestamp};

use crate::{
    accept::{RelayRecipient, Wishes},
    content::Content,
    decide::queue::Reschedule,
    error::StoreError,
    record::codec,
    shared::locked,
    store::Store,
};

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
    /// Its octets; no prefix.
    pub content: Content,
    /// When it is tried next.
    pub next_attempt: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// Whether a delay notification was sent.
    pub warned: bool,
    /// What the sender asked for.
    pub wishes: Wishes,
}

/// One recipient of a message in the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueuedRecipient {
    /// Where it goes.
    pub recipient: RelayRecipient,
    /// What came of the last try.
    pub outcome: Option<Outcome>,
}

impl QueuedRecipient {
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
}

/// What came of one try for one recipient.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub enum Outcome {
    /// The next server took it.
    #[n(0)]
    Delivered {
        /// Its name and address.
        #[n(0)]
        peer: String,
        /// What it said.
        #[cbor(n(1), with = "codec::reply")]
        reply: Reply,
    },
    /// To be tried again.
    #[n(1)]
    Deferred {
        /// Who was asked: name and address, or empty where no one could be.
        #[n(0)]
        peer: String,
        /// What it said, or what happened, as a 4yz reply.
        #[cbor(n(1), with = "codec::reply")]
        reply: Reply,
    },
    /// Given up.
    #[n(2)]
    Failed {
        /// Who was asked: name and address, or empty.
        #[n(0)]
        peer: String,
        /// What it said, or what happened, as a 5yz reply (also for an expiry).
        #[cbor(n(1), with = "codec::reply")]
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
    /// When the rest is tried next.
    pub next_attempt: Timestamp,
    /// Whether it comes with a delay notification.
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

impl Store {
    /// All entries, ascending by name.
    pub fn queue(&self) -> Vec<Arc<QueueEntry>> {
        self.shared().queue.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// One entry; `None` when it is not or no longer in the queue.
    pub fn queue_entry(&self, id: EntryId) -> Option<Arc<QueueEntry>> {
        self.shared().queue.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Waits until entries were added, changed or settled, and gives their names; the first call gives all that are there.
    /// For one reader, the queue runner.
    pub async fn queue_changes(&self) -> Vec<EntryId> {
        loop {
            let changed = std::mem::take(&mut *locked(&self.shared().queue_changed));
            if !changed.is_empty() {
                return changed.into_iter().collect();
            }
            // What changes from here on leaves a permit, so that none is missed.
            self.shared().queue_notify.notified().await;
        }
    }

    /// Makes entries due at `at`, as `waypost queue retry` does. Errors: `NoSuchEntry`, `Full`, `Poisoned`, `Closed`.
    pub async fn reschedule(&self, id: EntryId, at: Timestamp) -> Result<(), StoreError> {
        self.submit(Reschedule { id, at }).await
    }
}
