//! What happened to a queued message, from its records.

use waypost_mail::{EntryId, ReversePath, Timestamp};

use super::{Dialogue, RecipientOutcome, ReturnedReport};
use crate::{
    accept::RelayRecipient,
    decide::QUEUE,
    error::StoreError,
    record::{self, Change, QueueChange},
    store::Store,
};

/// One thing that happened to a message in the queue.
#[derive(Clone, Debug, PartialEq)]
pub enum QueueEvent {
    /// It came into the queue.
    Queued {
        /// When.
        at: Timestamp,
        /// Where notifications go.
        reverse_path: ReversePath,
        /// Its recipients, in the order in which [`RecipientOutcome`] counts them.
        recipients: Vec<RelayRecipient>,
        /// When it was due first.
        next_attempt: Timestamp,
        /// Why it was held from the start, if it was.
        held: Option<String>,
    },
    /// It was tried for some recipients.
    Attempted {
        /// When.
        at: Timestamp,
        /// What came of it.
        outcomes: Vec<RecipientOutcome>,
        /// When those that were deferred are tried next.
        next_attempt: Timestamp,
        /// Whether the sender was told that it is late.
        warned: bool,
        /// What was said with each server that did not take it.
        dialogues: Vec<Dialogue>,
    },
    /// It was made due at another time.
    Rescheduled {
        /// When, where that is known.
        at: Option<Timestamp>,
        /// Due then.
        next_attempt: Timestamp,
    },
    /// It was held, or released (`None`).
    HoldChanged {
        /// When.
        at: Timestamp,
        /// Why.
        why: Option<String>,
    },
    /// Reports came back for it.
    Reported {
        /// When.
        at: Timestamp,
        /// What they say.
        reports: Vec<ReturnedReport>,
    },
    /// It left the queue; by hand, if there is a time.
    Settled {
        /// When it was taken out.
        removed: Option<Timestamp>,
    },
}

impl Store {
    /// What happened to a message in the queue, oldest first, as far back as the journal has its records; also where it has left the
    /// queue. Reads the queue's records back to where it began. Errors: the journal cannot be read.
    pub async fn queue_history(&self, id: EntryId) -> Result<Vec<QueueEvent>, StoreError> {
        self.blocking(move |shared| {
            let mut found = Vec::new();
            shared.files.read_back(QUEUE, |records| {
                let changes =
                    records.iter().rev().filter_map(|stored| record::decode(&stored.record).ok().flatten());
                for change in changes {
                    if let Change::Queue(change) = change {
                        found.extend(event(id, change));
                    }
                }
                matches!(found.last(), Some(QueueEvent::Queued { .. }))
            })?;
            found.reverse();
            Ok(found)
        })
        .await
    }
}

fn event(id: EntryId, change: QueueChange) -> Option<QueueEvent> {
    let (of, event) = match change {
        QueueChange::Queued(queued) => {
            let held = queued.held.map(|held| held.why);
            let record::Queued { id, accepted: at, reverse_path, recipients, next_attempt, .. } = queued;
            (id, QueueEvent::Queued { at, reverse_path, recipients, next_attempt, held })
        }
        QueueChange::Attempted(attempted) => {
            let record::Attempted { id, at, outcomes, next_attempt, warned, dialogues, .. } = attempted;
            let dialogues = dialogues.unwrap_or_default();
            (id, QueueEvent::Attempted { at, outcomes, next_attempt, warned, dialogues })
        }
        QueueChange::Rescheduled(record::Rescheduled { id, next_attempt, at }) => {
            (id, QueueEvent::Rescheduled { at, next_attempt })
        }
        QueueChange::HoldChanged(record::HoldChanged { id, at, why }) => {
            (id, QueueEvent::HoldChanged { at, why })
        }
        QueueChange::Reported(record::Reported { id, at, reports }) => {
            (id, QueueEvent::Reported { at, reports })
        }
        QueueChange::Settled(record::Settled { id, removed }) => (id, QueueEvent::Settled { removed }),
        QueueChange::QueueSnapshotPart(_) | QueueChange::QueueSnapshotClosed(_) => return None,
    };
    (of == id).then_some(event)
}
