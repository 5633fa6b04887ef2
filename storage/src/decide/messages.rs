//! Commands on messages that are there already: flags, expunging, copying, moving.

use std::collections::BTreeMap;

use waypost_mail::{AccountId, Flags, MailboxId, SystemFlags, Uid, UidlId};

use super::{Command, Draft, Undecided};
use crate::{
    account::{CopyOutcome, FlagChange, FlagMode, FlagsOutcome, Missing},
    decide::retained::retain,
    error::StoreError,
    record::{ContentPlace, Expunged, FlagGroup, FlagsChanged, MessageAdded, UidRange},
    state::{MailboxState, Row},
};

/// Changes flags of messages.
pub(crate) struct ChangeFlags {
    pub(crate) account: AccountId,
    pub(crate) mailbox: MailboxId,
    pub(crate) uids: Vec<Uid>,
    pub(crate) change: FlagChange,
}

impl Command for ChangeFlags {
    type Outcome = FlagsOutcome;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<FlagsOutcome, Undecided> {
        let mailbox = draft.complete(self.account, self.mailbox)?;
        let since = self.change.unchanged_since.unwrap_or(u64::MAX);
        let rows = rows_of(&mailbox, &self.uids);
        let (rows, modified): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.modseq.value() <= since);
        let modified = modified.iter().map(|row| row.uid).collect();
        let groups = self.groups(draft, &mailbox, &rows)?;
        if groups.is_empty() {
            return Ok(FlagsOutcome { modseq: None, modified });
        }
        let modseq = draft.push(self.account, FlagsChanged { mailbox: self.mailbox, groups })?;
        Ok(FlagsOutcome { modseq: Some(modseq), modified })
    }
}

impl ChangeFlags {
    /// The rows whose flags become others, by what they become.
    fn groups(
        &self,
        draft: &mut Draft<'_>,
        mailbox: &MailboxState,
        rows: &[&Row],
    ) -> Result<Vec<FlagGroup>, Undecided> {
        let flags = &self.change.flags;
        let bits = match self.change.mode {
            FlagMode::Remove => known_bits(mailbox, flags),
            _ if rows.is_empty() => return Ok(Vec::new()),
            FlagMode::Add | FlagMode::Replace => draft.keyword_bits(self.account, mailbox, flags)?,
        };
        let mut groups: BTreeMap<(u8, u64), Vec<Uid>> = BTreeMap::new();
        for row in rows {
            let after = match self.change.mode {
                FlagMode::Replace => (flags.system, bits),
                FlagMode::Add => (row.flags.with(flags.system), row.keywords | bits),
                FlagMode::Remove => (row.flags.without(flags.system), row.keywords & !bits),
            };
            if after != (row.flags, row.keywords) {
                groups.entry((after.0.bits(), after.1)).or_default().push(row.uid);
            }
        }
        let group = |((flags, keywords), uids): ((u8, u64), Vec<Uid>)| FlagGroup {
            flags: SystemFlags::from_bits(flags),
            keywords,
            uids: ranges(&uids),
        };
        Ok(groups.into_iter().map(group).collect())
    }
}

/// Removes messages.
pub(crate) struct Expunge {
    pub(crate) account: AccountId,
    pub(crate) mailbox: MailboxId,
    pub(crate) uids: Vec<Uid>,
    pub(crate) which: Which,
}

/// Which of the named messages are removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Which {
    /// All.
    All,
    /// Those with `\Deleted`.
    Deleted,
}

impl Command for Expunge {
    type Outcome = Vec<Uid>;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Vec<Uid>, Undecided> {
        let mailbox = draft.complete(self.account, self.mailbox)?;
        let gone = |row: &&Row| self.which == Which::All || row.flags.contains(SystemFlags::DELETED);
        let uids: Vec<Uid> =
            rows_of(&mailbox, &self.uids).into_iter().filter(gone).map(|row| row.uid).collect();
        if !uids.is_empty() {
            let bytes = uids.iter().filter_map(|uid| mailbox.row(*uid)).map(|row| row.content.size()).sum();
            let retained = retain(draft, self.account, bytes)?;
            draft.push(self.account, Expunged { mailbox: self.mailbox, uids: ranges(&uids), retained })?;
        }
        Ok(uids)
    }
}

/// Copies or moves messages within an account.
pub(crate) struct Copy {
    pub(crate) account: AccountId,
    pub(crate) from: MailboxId,
    pub(crate) uids: Vec<Uid>,
    pub(crate) to: MailboxId,
    pub(crate) originals: Originals,
    pub(crate) missing: Missing,
}

/// What becomes of the messages that were copied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Originals {
    /// They stay: COPY.
    Stay,
    /// They go: MOVE (RFC 6851).
    Go,
}

impl Command for Copy {
    type Outcome = CopyOutcome;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<CopyOutcome, Undecided> {
        let from = draft.complete(self.account, self.from)?;
        let to = draft.base(self.account)?.mailboxes.get(&self.to).cloned();
        let to = to.ok_or(StoreError::NoSuchDestination)?;
        let rows = rows_of(&from, &self.uids);
        if self.missing == Missing::Refused && rows.len() < named(&self.uids).len() {
            return Err(StoreError::NoSuchMessage.into());
        }
        let uids = match self.originals {
            Originals::Go => move_rows(draft, self.account, &from, &rows, &to)?,
            Originals::Stay => {
                let bytes = rows.iter().map(|row| row.content.size()).sum();
                draft.take_bytes(self.account, bytes)?;
                copy_rows(draft, self.account, &from, &rows, &to, Originals::Stay)?
            }
        };
        Ok(CopyOutcome { uid_validity: to.uid_validity, uids })
    }
}

/// Adds the rows to another mailbox and removes them from theirs; they keep all their ids.
pub(super) fn move_rows(
    draft: &mut Draft<'_>,
    account: AccountId,
    from: &MailboxState,
    rows: &[&Row],
    to: &MailboxState,
) -> Result<Vec<(Uid, Uid)>, Undecided> {
    let uids = copy_rows(draft, account, from, rows, to, Originals::Go)?;
    let old: Vec<Uid> = uids.iter().map(|(old, _)| *old).collect();
    if !old.is_empty() {
        // They are not deleted: nothing is retained.
        draft.push(account, Expunged { mailbox: from.id, uids: ranges(&old), retained: None })?;
    }
    Ok(uids)
}

fn copy_rows(
    draft: &mut Draft<'_>,
    account: AccountId,
    from: &MailboxState,
    rows: &[&Row],
    to: &MailboxState,
    originals: Originals,
) -> Result<Vec<(Uid, Uid)>, Undecided> {
    let mut uids = Vec::with_capacity(rows.len());
    for row in rows {
        let keywords = draft.keyword_bits(account, to, &from.flags(row))?;
        let uid = draft.take_uid(account, to)?;
        let uidl = match originals {
            Originals::Go => row.uidl,
            Originals::Stay => UidlId(draft.next_seq(account)?),
        };
        let added = MessageAdded {
            mailbox: to.id,
            uid,
            email: row.email,
            thread: row.thread,
            uidl,
            flags: row.flags,
            keywords,
            internal_date: row.internal_date,
            save_date: draft.now(),
            content: ContentPlace::At(row.content.clone()),
            structure: None,
        };
        draft.push(account, added)?;
        uids.push((row.uid, uid));
    }
    Ok(uids)
}

/// The rows of UIDs, ascending, each once; UIDs that do not exist are skipped.
fn rows_of<'a>(mailbox: &'a MailboxState, uids: &[Uid]) -> Vec<&'a Row> {
    named(uids).into_iter().filter_map(|uid| mailbox.row(uid)).collect()
}

/// The UIDs ascending, each once.
fn named(uids: &[Uid]) -> Vec<Uid> {
    let mut uids = uids.to_vec();
    uids.sort_unstable();
    uids.dedup();
    uids
}

fn known_bits(mailbox: &MailboxState, flags: &Flags) -> u64 {
    let bit = |keyword| mailbox.keywords.iter().position(|name| name == keyword);
    flags.keywords.iter().filter_map(bit).fold(0, |bits, bit| bits | 1 << bit)
}

/// Ascending UIDs as ranges of neighbours.
pub(super) fn ranges(uids: &[Uid]) -> Vec<UidRange> {
    let mut ranges: Vec<UidRange> = Vec::new();
    for uid in uids {
        match ranges.last_mut() {
            Some(range) if range.last.next() == *uid => range.last = *uid,
            _ => ranges.push(UidRange { first: *uid, last: *uid }),
        }
    }
    ranges
}
