//! `decide`: which records a command causes, given the state. Pure; the same state and command give the same records.
//!
//! A command never looks at a disk: where it needs an account or rows that are not in memory, it says so
//! ([`Undecided`]) and is submitted again once they are there.

pub(crate) mod accept;
pub(crate) mod access_key;
pub(crate) mod directory;
pub(crate) mod dkim;
mod draft;
pub(crate) mod mailboxes;
pub(crate) mod maildrop;
pub(crate) mod messages;
pub(crate) mod name;
pub(crate) mod queue;
pub(crate) mod retained;
pub(crate) mod sharing;
pub(crate) mod snapshot;
pub(crate) mod suppression;
#[cfg(test)]
mod tests;

use waypost_mail::{AccountId, MailboxId, Timestamp};

pub(crate) use self::draft::Draft;
use crate::{apply::State, error::StoreError, record::Record};

/// The stream of this node's queue.
pub(crate) const QUEUE: crate::journal::Stream = crate::journal::Stream::Queue(0);

/// Something to be changed.
pub(crate) trait Command: Send + 'static {
    /// What the caller learns once it is durable.
    type Outcome: Send + 'static;

    /// What it needs of the disk.
    const NEED: Need = Need::Change;

    /// The records that do it, none where nothing has to change.
    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Outcome, Undecided>;
}

/// What a command needs of the disk: on one that is nearly full, what brings new octets is refused first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Need {
    /// Room for new mail.
    Mail,
    /// Room for records.
    Change,
}

/// Why a command was not decided.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Undecided {
    /// It cannot be done.
    Refused(StoreError),
    /// The account must be loaded first.
    Account(AccountId),
    /// The mailbox's rows must be loaded first.
    Rows(AccountId, MailboxId),
}

impl From<StoreError> for Undecided {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

/// Decides one command over a state.
pub(crate) fn decide<C: Command>(
    state: &State,
    now: Timestamp,
    command: &C,
) -> Result<(Vec<Record>, C::Outcome), Undecided> {
    let mut draft = Draft::new(state, now);
    let outcome = command.decide(&mut draft)?;
    Ok((draft.into_records(), outcome))
}
