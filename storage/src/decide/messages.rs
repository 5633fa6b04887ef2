//! Commands on messages that are there already: flags, expunging, copying, moving.

use std::collections::{BTreeMap, HashMap};

use minicbor::bytes::ByteVec;
use waypost_mail::{AccountId, EmailId, Flags, MailboxId, SystemFlags, ThreadId, Uid, UidlId};

use super::{Command, Draft, Undecided};
use crate::{
    account::{CopyOutcome, FlagChange, FlagMode, FlagsOutcome, Missing},
    acl::FlagRights,
    crossing::Crossing,
    decide::retained::retain,
    error::StoreError,
    record::{ContentPlace, Expunged, FlagGroup, FlagsChanged, MessageAdded, SeenChanged, UidRange},
    state::{MailboxState, Row},
};

/// Changes flags of messages.
pub(crate) struct ChangeFlags {
    pub(crate) account: AccountId,
    pub(crate) mailbox: MailboxId,
    pub(crate) uids: Vec<Uid>,
    pub(crate) change: FlagChange,
    /// Who does not own the mailbox, and has a `\Seen` of their own.
    pub(crate) reader: Option<AccountId>,
    /// Flags that may change; others stay as they are.
    pub(crate) may: FlagRights,
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
        let mut modseq = None;
        if !groups.is_empty() {
            modseq = Some(draft.push(self.account, FlagsChanged { mailbox: self.mailbox, groups })?);
        }
        if let Some(changed) = self.seen(&mailbox, &rows) {
            modseq = Some(draft.push(self.account, changed)?);
        }
        Ok(FlagsOutcome { modseq, modified })
    }
}

impl ChangeFlags {
    /// The system flags of the rows that may change: a reader's `\Seen` is none of them.
    fn mask(&self) -> SystemFlags {
        match self.reader {
            None => self.may.system(),
            Some(_) => self.may.system().without(SystemFlags::SEEN),
        }
    }

    /// What changes of what a reader has seen.
    fn seen(&self, mailbox: &MailboxState, rows: &[&Row]) -> Option<SeenChanged> {
        let reader = self.reader.filter(|_| self.may.system().contains(SystemFlags::SEEN))?;
        let seen = match (self.change.mode, self.change.flags.system.contains(SystemFlags::SEEN)) {
            (FlagMode::Replace | FlagMode::Add, true) => true,
            (FlagMode::Replace, false) | (FlagMode::Remove, true) => false,
            (FlagMode::Add | FlagMode::Remove, false) => return None,
        };
        let known = mailbox.seen.by(reader);
        let differs = |row: &&&Row| known.is_some_and(|known| known.contains(row.uid)) != seen;
        let uids: Vec<Uid> = rows.iter().filter(differs).map(|row| row.uid).collect();
        let changed = SeenChanged { mailbox: self.mailbox, reader, seen, uids: ranges(&uids) };
        (!uids.is_empty()).then_some(changed)
    }

    /// The rows whose flags become others, by what they become.
    fn groups(
        &self,
        draft: &mut Draft<'_>,
        mailbox: &MailboxState,
        rows: &[&Row],
    ) -> Result<Vec<FlagGroup>, Undecided> {
        let flags = &self.change.flags;
        let (mask, keywords) = (self.mask(), self.may.keywords());
        let system = flags.system.common(mask);
        let bits = match self.change.mode {
            _ if !keywords => 0,
            FlagMode::Remove => known_bits(mailbox, flags),
            _ if rows.is_empty() => return Ok(Vec::new()),
            FlagMode::Add | FlagMode::Replace => draft.keyword_bits(self.account, mailbox, flags)?,
        };
        let mut groups: BTreeMap<(u8, u64), Vec<Uid>> = BTreeMap::new();
        for row in rows {
            let after = match self.change.mode {
                FlagMode::Replace if !keywords => (row.flags.without(mask).with(system), row.keywords),
                FlagMode::Replace => (row.flags.without(mask).with(system), bits),
                FlagMode::Add => (row.flags.with(system), row.keywords | bits),
                FlagMode::Remove => (row.flags.without(system), row.keywords & !bits),
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
        expunge(draft, self.account, &mailbox, &uids)?;
        Ok(uids)
    }
}

/// Removes messages that are there; their UIDs ascend.
pub(super) fn expunge(
    draft: &mut Draft<'_>,
    account: AccountId,
    mailbox: &MailboxState,
    uids: &[Uid],
) -> Result<(), Undecided> {
    if !uids.is_empty() {
        let bytes = uids.iter().filter_map(|uid| mailbox.row(*uid)).map(|row| row.content.size()).sum();
        let retained = retain(draft, account, bytes)?;
        draft.push(account, Expunged { mailbox: mailbox.id, uids: ranges(uids), retained })?;
    }
    Ok(())
}

/// Copies or moves messages, within an account or to another one, in one entry.
pub(crate) struct Copy {
    pub(crate) from: MailboxId,
    pub(crate) uids: Vec<Uid>,
    pub(crate) to: MailboxId,
    pub(crate) missing: Missing,
    pub(crate) route: Route,
}

/// From whom to whom messages go, by whom, and with which flags.
pub(crate) struct Route {
    /// Whose they are.
    pub(crate) from: AccountId,
    /// Whose they become.
    pub(crate) to: AccountId,
    /// Who copies them.
    pub(crate) actor: AccountId,
    pub(crate) originals: Originals,
    /// Flags that the actor may set there; others are left out.
    pub(crate) may: FlagRights,
    /// The encoded structures of the messages, where they go to another account.
    pub(crate) structures: HashMap<EmailId, Vec<u8>>,
    /// Kept until the command is over: see [`crate::crossing`].
    pub(crate) _crossing: Option<Crossing>,
}

/// What becomes of the messages that were copied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Originals {
    /// They stay: COPY.
    Stay,
    /// They go: MOVE (RFC 6851).
    Go,
}

impl Route {
    /// Of an owner within their account.
    pub(crate) fn within(account: AccountId, originals: Originals) -> Self {
        Self {
            from: account,
            to: account,
            actor: account,
            originals,
            may: FlagRights::ALL,
            structures: HashMap::new(),
            _crossing: None,
        }
    }

    fn crosses(&self) -> bool {
        self.from != self.to
    }

    /// Flags of the copy of a row, and who else has seen it. Each keeps their own `\Seen` within an account; into another one only
    /// the actor's goes along.
    fn flags(&self, from: &MailboxState, row: &Row) -> (SystemFlags, Vec<AccountId>) {
        let may = self.may.system();
        let mut readers: Vec<AccountId> = from.seen.readers(row.uid).collect();
        let seen = match self.actor == self.from {
            true => row.flags.contains(SystemFlags::SEEN),
            false => readers.contains(&self.actor),
        } && may.contains(SystemFlags::SEEN);
        if self.crosses() {
            readers.clear();
        }
        readers.retain(|reader| *reader != self.actor);
        let mut flags = row.flags.common(may).without(SystemFlags::SEEN);
        let owners = match self.actor == self.to {
            true => seen,
            false => !self.crosses() && row.flags.contains(SystemFlags::SEEN),
        };
        if owners {
            flags = flags.with(SystemFlags::SEEN);
        }
        if seen && self.actor != self.to {
            readers.push(self.actor);
        }
        (flags, readers)
    }
}

impl Command for Copy {
    type Outcome = CopyOutcome;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<CopyOutcome, Undecided> {
        let route = &self.route;
        let from = draft.complete(route.from, self.from)?;
        let to = draft.base(route.to)?.mailboxes.get(&self.to).cloned();
        let to = to.ok_or(StoreError::NoSuchDestination)?;
        let rows = rows_of(&from, &self.uids);
        if self.missing == Missing::Refused && rows.len() < named(&self.uids).len() {
            return Err(StoreError::NoSuchMessage.into());
        }
        if route.originals == Originals::Stay || route.crosses() {
            let bytes = rows.iter().map(|row| row.content.size()).sum();
            draft.take_bytes(route.to, bytes)?;
        }
        let uids = match route.originals {
            Originals::Go => move_rows(draft, route, &from, &rows, &to)?,
            Originals::Stay => copy_rows(draft, route, &from, &rows, &to)?,
        };
        Ok(CopyOutcome { uid_validity: to.uid_validity, uids })
    }
}

/// Adds the rows to another mailbox and removes them from theirs; within an account they keep all their ids.
pub(super) fn move_rows(
    draft: &mut Draft<'_>,
    route: &Route,
    from: &MailboxState,
    rows: &[&Row],
    to: &MailboxState,
) -> Result<Vec<(Uid, Uid)>, Undecided> {
    let uids = copy_rows(draft, route, from, rows, to)?;
    let old: Vec<Uid> = uids.iter().map(|(old, _)| *old).collect();
    if !old.is_empty() {
        // Within an account they are not deleted: nothing is retained. The owner of what went elsewhere can have it back.
        let bytes = rows.iter().map(|row| row.content.size()).sum();
        let retained = if route.crosses() { retain(draft, route.from, bytes)? } else { None };
        draft.push(route.from, Expunged { mailbox: from.id, uids: ranges(&old), retained })?;
    }
    Ok(uids)
}

fn copy_rows(
    draft: &mut Draft<'_>,
    route: &Route,
    from: &MailboxState,
    rows: &[&Row],
    to: &MailboxState,
) -> Result<Vec<(Uid, Uid)>, Undecided> {
    let mut uids = Vec::with_capacity(rows.len());
    for row in rows {
        let keywords = match route.may.keywords() {
            true => draft.keyword_bits(route.to, to, &from.flags(row))?,
            false => 0,
        };
        let uid = draft.take_uid(route.to, to)?;
        let seq = draft.next_seq(route.to)?;
        let (flags, seen_by) = route.flags(from, row);
        let mut added = MessageAdded {
            mailbox: to.id,
            uid,
            email: row.email,
            thread: row.thread,
            uidl: if route.originals == Originals::Go { row.uidl } else { UidlId(seq) },
            flags,
            keywords,
            internal_date: row.internal_date,
            save_date: draft.now(),
            content: ContentPlace::At(row.content.clone()),
            structure: None,
            seen_by,
        };
        if route.crosses() {
            // Ids are numbers of one account's stream.
            let structure = route.structures.get(&row.email).ok_or(StoreError::NoSuchMessage)?;
            added.structure = Some(ByteVec::from(structure.clone()));
            (added.email, added.uidl) = (EmailId(seq), UidlId(seq));
            if row.thread.0 == row.email.0 {
                added.thread = ThreadId(seq);
            }
        }
        draft.push(route.to, added)?;
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
