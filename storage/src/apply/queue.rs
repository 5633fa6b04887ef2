//! What records of the queue's stream do.

use std::sync::Arc;

use waypost_mail::EntryId;

use super::{Inapplicable, QueueState};
use crate::{
    journal::Placement,
    queue::{QueueEntry, QueuedRecipient},
    record::{Attempted, QueueChange, Queued},
};

/// Applies one record.
pub(crate) fn apply(
    state: &mut QueueState,
    seq: u64,
    change: &QueueChange,
    placement: &Placement,
) -> Result<(), Inapplicable> {
    match change {
        QueueChange::Queued(queued) => {
            state.entries.insert(queued.id, Arc::new(entry(queued, placement)));
        }
        QueueChange::Attempted(attempted) => attempt(existing(state, attempted.id)?, attempted)?,
        QueueChange::Settled(settled) => {
            state.entries.remove(&settled.id).ok_or(Inapplicable::Entry(settled.id))?;
        }
        QueueChange::Rescheduled(rescheduled) => {
            existing(state, rescheduled.id)?.next_attempt = rescheduled.next_attempt;
        }
        // They repeat the state, and change nothing of it.
        QueueChange::QueueSnapshotPart(_) | QueueChange::QueueSnapshotClosed(_) => {}
    }
    state.seq = seq;
    Ok(())
}

fn entry(queued: &Queued, placement: &Placement) -> QueueEntry {
    let open = |recipient: &crate::accept::RelayRecipient| QueuedRecipient {
        recipient: recipient.clone(),
        outcome: None,
    };
    QueueEntry {
        id: queued.id,
        accepted: queued.accepted,
        reverse_path: queued.reverse_path.clone(),
        recipients: queued.recipients.iter().map(open).collect(),
        body: queued.body,
        smtputf8: queued.smtputf8,
        content: queued.content.resolve(placement),
        next_attempt: queued.next_attempt,
        attempts: 0,
        warned: false,
        wishes: queued.wishes.clone().unwrap_or_default(),
    }
}

fn existing(state: &mut QueueState, id: EntryId) -> Result<&mut QueueEntry, Inapplicable> {
    state.entries.get_mut(&id).map(Arc::make_mut).ok_or(Inapplicable::Entry(id))
}

fn attempt(entry: &mut QueueEntry, attempted: &Attempted) -> Result<(), Inapplicable> {
    for outcome in &attempted.outcomes {
        let recipient = entry.recipients.get_mut(outcome.recipient);
        let recipient =
            recipient.ok_or(Inapplicable::Contradiction("an outcome for a recipient that does not exist"))?;
        recipient.outcome = Some(outcome.outcome.clone());
    }
    entry.attempts = attempted.attempts;
    entry.next_attempt = attempted.next_attempt;
    entry.warned = attempted.warned;
    Ok(())
}
