//! What records of the queue's stream do.

use waypost_mail::{EntryId, Wishes};

use super::{Inapplicable, QueueState};
use crate::{
    journal::Placement,
    queue::{Held, Outcome, QueueEntry, QueuedRecipient},
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
        QueueChange::Queued(queued) => state.entries.insert(&entry(queued, placement)),
        QueueChange::Attempted(attempted) => {
            changed(state, attempted.id, |entry| attempt(entry, attempted))?;
        }
        QueueChange::Settled(settled) => {
            if !state.entries.remove(settled.id) {
                return Err(Inapplicable::Entry(settled.id));
            }
        }
        QueueChange::Rescheduled(rescheduled) => changed(state, rescheduled.id, |entry| {
            let open = entry.recipients.iter_mut().filter(|queued| queued.is_open());
            open.for_each(|queued| queued.next_attempt = rescheduled.next_attempt);
            Ok(())
        })?,
        QueueChange::HoldChanged(hold) => changed(state, hold.id, |entry| {
            entry.held = hold.why.clone().map(|why| Held { at: hold.at, why });
            Ok(())
        })?,
        // It is history, of an entry that may be gone.
        QueueChange::Reported(_) => {}
        // They repeat the state, and change nothing of it.
        QueueChange::QueueSnapshotPart(_) | QueueChange::QueueSnapshotClosed(_) => {}
    }
    state.seq = seq;
    Ok(())
}

fn entry(queued: &Queued, placement: &Placement) -> QueueEntry {
    let open = |recipient: &crate::accept::RelayRecipient| {
        QueuedRecipient::new(recipient.clone(), queued.next_attempt)
    };
    QueueEntry {
        id: queued.id,
        accepted: queued.accepted,
        reverse_path: queued.reverse_path.clone(),
        recipients: queued.recipients.iter().map(open).collect(),
        body: queued.body,
        smtputf8: queued.smtputf8,
        content: queued.content.resolve(placement),
        attempts: 0,
        wishes: queued.wishes.as_deref().cloned().map(Wishes::from).unwrap_or_default(),
        not_before: queued.not_before,
        held: queued.held.clone(),
    }
}

fn changed(
    state: &mut QueueState,
    id: EntryId,
    change: impl FnOnce(&mut QueueEntry) -> Result<(), Inapplicable>,
) -> Result<(), Inapplicable> {
    let mut entry = state.entries.entry(id).ok_or(Inapplicable::Entry(id))?;
    change(&mut entry)?;
    state.entries.insert(&entry);
    Ok(())
}

fn attempt(entry: &mut QueueEntry, attempted: &Attempted) -> Result<(), Inapplicable> {
    for outcome in &attempted.outcomes {
        let recipient = entry.recipients.get_mut(outcome.recipient);
        let recipient =
            recipient.ok_or(Inapplicable::Contradiction("an outcome for a recipient that does not exist"))?;
        recipient.warned |= attempted.warned && matches!(outcome.outcome, Outcome::Deferred { .. });
        recipient.outcome = Some(outcome.outcome.clone());
        recipient.tries = recipient.tries.saturating_add(1);
        recipient.next_attempt = attempted.next_attempt;
    }
    entry.attempts = attempted.attempts;
    Ok(())
}
