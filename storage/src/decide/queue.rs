//! Commands on the queue.

use std::sync::Arc;

use waypost_mail::{EntryId, Timestamp};

use super::{Command, Draft, Undecided, accept::Incoming};
use crate::{
    error::StoreError,
    queue::{Attempt, Outcome, QueueEntry, ReturnedReport},
    record::{Attempted, DestinationPaused, HoldChanged, Reported, Rescheduled, Settled},
};

/// Records what came of a try, and takes what it caused.
pub(crate) struct Settle {
    pub(crate) attempt: Attempt,
    pub(crate) caused: Vec<Incoming>,
}

impl Command for Settle {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        settle(draft, &self.attempt)?;
        // A sender whose mailbox is full still learns that a message did not arrive.
        draft.waive_quota();
        self.caused.iter().try_for_each(|incoming| incoming.decide(draft).map(drop))
    }
}

/// Records what came of tries for different entries that caused nothing.
pub(crate) struct SettleAll(pub(crate) Arc<[Attempt]>);

impl Command for SettleAll {
    /// One for each attempt, in their order.
    type Outcome = Vec<Result<(), StoreError>>;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Outcome, Undecided> {
        Ok(self.0.iter().map(|attempt| settle(draft, attempt)).collect())
    }
}

/// Drafts what came of a try, or nothing.
fn settle(draft: &mut Draft<'_>, attempt: &Attempt) -> Result<(), StoreError> {
    let entry = entry(draft, attempt.id)?;
    let mut open: Vec<bool> = entry.recipients.iter().map(crate::queue::QueuedRecipient::is_open).collect();
    for outcome in &attempt.outcomes {
        let open =
            open.get_mut(outcome.recipient).ok_or(StoreError::Limit("the entry has no such recipient"))?;
        if !*open {
            return Err(StoreError::Limit("the recipient is not open any more"));
        }
        *open = matches!(outcome.outcome, Outcome::Deferred { .. });
    }
    draft.queue(Attempted {
        id: attempt.id,
        at: attempt.at,
        outcomes: attempt.outcomes.clone(),
        next_attempt: attempt.next_attempt,
        attempts: entry.attempts.saturating_add(1),
        warned: attempt.warned,
        dialogues: (!attempt.dialogues.is_empty()).then(|| attempt.dialogues.clone()),
    });
    if !open.contains(&true) {
        draft.queue(Settled { id: attempt.id, removed: None });
    }
    Ok(())
}

/// Makes an entry due at another time.
pub(crate) struct Reschedule {
    pub(crate) id: EntryId,
    pub(crate) at: Timestamp,
}

impl Command for Reschedule {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        exists(draft, self.id)?;
        let at = Some(draft.now());
        draft.queue(Rescheduled { id: self.id, next_attempt: self.at, at });
        Ok(())
    }
}

/// Notes what came back for a message, which need not be in the queue any more.
pub(crate) struct NoteReports {
    pub(crate) id: EntryId,
    pub(crate) reports: Vec<ReturnedReport>,
}

impl Command for NoteReports {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let at = draft.now();
        draft.queue(Reported { id: self.id, at, reports: self.reports.clone() });
        Ok(())
    }
}

/// Holds an entry, or releases it.
pub(crate) struct Hold {
    pub(crate) id: EntryId,
    pub(crate) why: Option<String>,
}

impl Command for Hold {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let entry = entry(draft, self.id)?;
        if entry.held.as_ref().map(|held| &held.why) != self.why.as_ref() {
            let at = draft.now();
            draft.queue(HoldChanged { id: self.id, at, why: self.why.clone() });
        }
        Ok(())
    }
}

/// Pauses a destination, or lets it go on.
pub(crate) struct Pause {
    pub(crate) destination: String,
    pub(crate) paused: bool,
}

impl Command for Pause {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        if draft.state().directory.paused.contains(&self.destination) != self.paused {
            let destination = self.destination.clone();
            draft.directory(DestinationPaused { destination, paused: self.paused });
        }
        Ok(())
    }
}

/// Takes an entry out of the queue.
pub(crate) struct Remove {
    pub(crate) id: EntryId,
}

impl Command for Remove {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        exists(draft, self.id)?;
        let removed = Some(draft.now());
        draft.queue(Settled { id: self.id, removed });
        Ok(())
    }
}

fn entry(draft: &Draft<'_>, id: EntryId) -> Result<QueueEntry, StoreError> {
    draft.state().queue.entries.entry(id).ok_or(StoreError::NoSuchEntry)
}

fn exists(draft: &Draft<'_>, id: EntryId) -> Result<(), Undecided> {
    match draft.state().queue.entries.contains(id) {
        true => Ok(()),
        false => Err(StoreError::NoSuchEntry.into()),
    }
}
