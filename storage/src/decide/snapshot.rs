//! Commands that write a snapshot, a group of parts at a time.

use waypost_mail::AccountId;

use super::{Command, Draft, Undecided};
use crate::record::{
    AccountPart, AccountSnapshotClosed, AccountSnapshotPart, DirectoryPart, DirectorySnapshotClosed,
    DirectorySnapshotPart, EntryPart, QueueSnapshotClosed, QueueSnapshotPart, SnapshotClosed,
};

/// Parts of a snapshot of the state after record `of`.
#[derive(Debug)]
pub(crate) struct Parts<P> {
    pub(crate) of: u64,
    /// With their numbers.
    pub(crate) parts: Vec<(u32, P)>,
    /// With the last of them.
    pub(crate) end: Option<SnapshotClosed>,
}

/// Adds parts of an account's snapshot.
#[derive(Debug)]
pub(crate) struct SnapshotAccount(pub(crate) AccountId, pub(crate) Parts<AccountPart>);

impl Command for SnapshotAccount {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let Self(account, Parts { of, parts, end }) = self;
        for (number, part) in parts {
            draft.push(*account, AccountSnapshotPart { of: *of, number: *number, part: part.clone() })?;
        }
        if let Some(end) = end {
            draft.push(*account, AccountSnapshotClosed(*end))?;
        }
        Ok(())
    }
}

/// Adds parts of the directory's snapshot.
#[derive(Debug)]
pub(crate) struct SnapshotDirectory(pub(crate) Parts<DirectoryPart>);

impl Command for SnapshotDirectory {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let Parts { of, parts, end } = &self.0;
        for (number, part) in parts {
            draft.directory(DirectorySnapshotPart { of: *of, number: *number, part: part.clone() });
        }
        if let Some(end) = end {
            draft.directory(DirectorySnapshotClosed(*end));
        }
        Ok(())
    }
}

/// Adds parts of the queue's snapshot.
#[derive(Debug)]
pub(crate) struct SnapshotQueue(pub(crate) Parts<Vec<EntryPart>>);

impl Command for SnapshotQueue {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let Parts { of, parts, end } = &self.0;
        for (number, entries) in parts {
            draft.queue(QueueSnapshotPart { of: *of, number: *number, entries: entries.clone() });
        }
        if let Some(end) = end {
            draft.queue(QueueSnapshotClosed(*end));
        }
        Ok(())
    }
}
