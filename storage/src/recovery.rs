//! Loading an account: from the index and the records behind its head, else from the whole of its stream.
//!
//! ```text
//! head and meta agree ──► rows that the records behind touch ──► apply them ──► loaded
//!        │ no                          │ disagree with digest       │ gap
//!        └─────────────────────────────┴────────────────────────────┴──► rebuild from the journal ──► loaded
//! ```

use std::{collections::BTreeSet, sync::Arc};

use waypost_mail::{AccountId, MailboxId, Uid};

use crate::{
    apply::{Inapplicable, apply_account, rows},
    checkpoint::Written,
    error::StoreError,
    index::structures::Structures,
    journal::{Files, Position, Stored, Stream},
    record::{self, AccountChange, Change, SnapshotClosed},
    shared::{Shared, locked},
    snapshot::{self, Snapshot, WholeAccount},
    state::{AccountState, Chunk, MailboxState, RETAINED, Row},
};

/// An account as it was found.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) state: AccountState,
    /// Structures that are not in the index.
    pub(crate) structures: Structures,
    /// What the index holds of it; `None`: to be written anew.
    pub(crate) written: Option<Written>,
    /// Whether the index must still be brought up to it.
    pub(crate) dirty: bool,
    /// Whether records are missing in its stream and no UIDVALIDITY was changed since.
    pub(crate) gap: bool,
    /// Up to where the journal was read, if it was rebuilt.
    pub(crate) read_to: Position,
}

/// Loads an account. Reads from the disk.
pub(crate) fn load(shared: &Shared, id: AccountId) -> Result<Loaded, StoreError> {
    let pending = locked(&shared.pending).get(&id).cloned().unwrap_or_default();
    match from_index(shared, id, &pending) {
        Some(loaded) => Ok(loaded),
        None => rebuild(shared, id, 0),
    }
}

/// The account by the index and the records behind its head; `None` where they cannot be trusted.
fn from_index(shared: &Shared, id: AccountId, pending: &[Stored]) -> Option<Loaded> {
    let heads = shared.heads.as_ref()?;
    let head = heads.accounts.get(&id);
    let last =
        pending.last().map(|stored| stored.record.seq).into_iter().chain(head.map(|head| head.seq)).max();
    let last = last?;
    let steady = shared.index.steady();
    let base = match (shared.index.account(id), head) {
        (Some((state, digest)), Some(head)) => {
            let agrees = if state.seq == head.seq { digest == head.digest } else { state.seq > head.seq };
            agrees.then_some((state, true))
        }
        (Some((state, _)), None) => Some((state, true)),
        (None, Some(_)) => None,
        (None, None) => Some((AccountState::empty(id), false)),
    };
    let (mut state, indexed) = base.filter(|(state, _)| state.seq <= last)?;
    let mut written = Written::new(&state);
    let changes = changes_behind(&state, pending).ok()?;
    for mailbox in touched(&changes) {
        let Some(found) = state.place_mut(mailbox).filter(|mailbox| mailbox.partial) else {
            continue;
        };
        let complete = complete(shared, id, found)?;
        written.note_chunks(mailbox, &complete.chunks);
        *found = Arc::new(complete);
    }
    drop(steady);
    let mut structures = Structures::new();
    for (stored, change) in &changes {
        if stored.record.seq != state.seq + 1 || step(&mut state, stored, change.as_ref()).is_err() {
            return None;
        }
        gather(&mut structures, change.as_ref());
    }
    let dirty = !indexed || !changes.is_empty();
    let loaded = Loaded {
        state,
        structures,
        written: indexed.then_some(written),
        dirty,
        gap: false,
        read_to: Position::default(),
    };
    (loaded.state.seq == last).then_some(loaded)
}

/// The account by its stream alone; `known`: a seq that it had once.
pub(crate) fn rebuild(shared: &Shared, id: AccountId, known: u64) -> Result<Loaded, StoreError> {
    let mut rebuild = Rebuild::of(id, &records_of::<WholeAccount>(&shared.files, Stream::Account(id))?)?;
    // Once more for what came during the first and longest reading.
    let read_to = shared.files.end();
    for stored in shared.files.read_stream(Stream::Account(id), rebuild.state.seq)? {
        rebuild.next(&stored)?;
    }
    let promised = shared.promised.get(&id).copied().unwrap_or_default().max(known);
    if rebuild.state.seq < promised {
        // The end of the stream is lost, and with it UIDs and MODSEQs that were given.
        rebuild.gap = true;
        rebuild.state.seq = promised;
    }
    if rebuild.state.inbox().is_none() {
        rebuild.gap = true;
    }
    if rebuild.gap {
        shared.note_damage(format!(
            "records of account {id} are missing in the journal; its UIDVALIDITYs change"
        ));
    }
    Ok(Loaded {
        state: rebuild.state,
        structures: rebuild.structures,
        written: None,
        dirty: true,
        gap: rebuild.gap,
        read_to,
    })
}

/// Brings an account that was rebuilt up to what was written since; for the writer, as nothing is written meanwhile. Reads
/// what was written last.
pub(crate) fn catch_up(shared: &Shared, loaded: &mut Loaded) -> Result<(), StoreError> {
    let id = loaded.state.id;
    let mut rebuild = Rebuild {
        state: loaded.state.clone(),
        structures: std::mem::take(&mut loaded.structures),
        gap: loaded.gap,
    };
    for stored in shared.files.records_from(loaded.read_to) {
        let stored = stored?;
        if stored.record.stream == Stream::Account(id) {
            rebuild.next(&stored)?;
        }
    }
    (loaded.state, loaded.structures, loaded.gap) = (rebuild.state, rebuild.structures, rebuild.gap);
    Ok(())
}

/// Rebuilds an account up to a seq, for comparison: nothing is noted.
pub(crate) fn replay(shared: &Shared, id: AccountId, until: u64) -> Result<AccountState, StoreError> {
    let mut records = records_of::<WholeAccount>(&shared.files, Stream::Account(id))?;
    records.retain(|stored| stored.record.seq <= until);
    Ok(Rebuild::of(id, &records)?.state)
}

/// The same with its structures, up to the last record; `None` where something of it is missing.
pub(crate) fn whole(shared: &Shared, id: AccountId) -> Result<Option<WholeAccount>, StoreError> {
    let records = records_of::<WholeAccount>(&shared.files, Stream::Account(id))?;
    let Rebuild { state, structures, gap } = Rebuild::of(id, &records)?;
    Ok((!gap).then_some(WholeAccount { state, structures }))
}

/// An account as a journal has it that is only read; what is missing in it is missed.
pub(crate) fn read(files: &Files, id: AccountId) -> Result<WholeAccount, StoreError> {
    let records = records_of::<WholeAccount>(files, Stream::Account(id))?;
    let Rebuild { state, structures, .. } = Rebuild::of(id, &records)?;
    Ok(WholeAccount { state, structures })
}

/// The records of a stream from its newest complete snapshot on; all where there is none.
pub(crate) fn records_of<S: Snapshot>(files: &Files, stream: Stream) -> Result<Vec<Stored>, StoreError> {
    let (mut closed, mut parts) = (None, 0);
    let records = files.read_last(stream, |segment| {
        for stored in segment.iter().rev().filter(|stored| record::is_of_snapshot(&stored.record)) {
            match (record::decode(&stored.record), closed) {
                (Ok(Some(change)), None) => closed = snapshot::closed_by(&change),
                (Ok(Some(change)), Some(end)) => {
                    let SnapshotClosed { of, .. } = end;
                    parts += u32::from(S::part(change).is_some_and(|(other, ..)| other == of));
                }
                _ => {}
            }
        }
        let first = segment.first().map(|stored| stored.record.seq);
        closed.is_some_and(|end| parts == end.parts && first.is_some_and(|first| first <= end.of + 1))
    })?;
    let is_complete = closed.is_none() || snapshot::newest::<S>(&records).is_some();
    if is_complete { Ok(records) } else { files.read_stream(stream, 0) }
}

/// An account with all its records, each given to `look`; `None` where something of it is missing.
pub(crate) fn replay_all(
    shared: &Shared,
    id: AccountId,
    mut look: impl FnMut(&Stored, &AccountChange),
) -> Result<Option<AccountState>, StoreError> {
    let records = shared.files.read_stream(Stream::Account(id), 0)?;
    for stored in &records {
        match account_change(stored) {
            Ok(Some(change)) => look(stored, &change),
            Ok(None) => {}
            Err(_) => return Ok(None),
        }
    }
    let rebuild = Rebuild::of(id, &records)?;
    Ok((!rebuild.gap).then_some(rebuild.state))
}

struct Rebuild {
    state: AccountState,
    structures: Structures,
    gap: bool,
}

impl Rebuild {
    /// By records from the newest snapshot among them on.
    fn of(id: AccountId, records: &[Stored]) -> Result<Self, StoreError> {
        let base = snapshot::newest::<WholeAccount>(records).filter(|whole| whole.state.id == id);
        let (state, structures) = match base {
            Some(WholeAccount { state, structures }) => (state, structures),
            None => (AccountState::empty(id), Structures::new()),
        };
        let mut rebuild = Self { state, structures, gap: false };
        records.iter().try_for_each(|stored| rebuild.next(stored))?;
        Ok(rebuild)
    }

    /// Applies the next record of the stream, and what can be saved of it behind a gap.
    fn next(&mut self, stored: &Stored) -> Result<(), StoreError> {
        let change = match account_change(stored) {
            Err(StoreError::Damaged(_)) => return Ok(()),
            other => other?,
        };
        if stored.record.seq <= self.state.seq {
            return Ok(());
        }
        self.gap |= stored.record.seq != self.state.seq + 1;
        if let (true, Some(AccountChange::MessageAdded(added))) = (self.gap, &change) {
            self.recover_mailbox(added.mailbox);
        }
        gather(&mut self.structures, change.as_ref());
        match step(&mut self.state, stored, change.as_ref()) {
            Ok(()) => self.gap &= !matches!(change, Some(AccountChange::UidValidityChanged(_))),
            Err(_) => {
                self.gap = true;
                self.state.seq = stored.record.seq;
            }
        }
        Ok(())
    }

    /// A mailbox whose creation was lost comes back under a name of its own.
    fn recover_mailbox(&mut self, id: MailboxId) {
        let state = &mut self.state;
        if state.mailboxes.contains_key(&id) {
            return;
        }
        let validity = state.last_uid_validity.saturating_add(1);
        if let Some(uid_validity) = waypost_mail::UidValidity::new(validity) {
            let mailbox = MailboxState::new(id, format!("Recovered-{id}"), uid_validity);
            state.last_uid_validity = validity;
            state.next_mailbox = state.next_mailbox.max(MailboxId(id.0 + 1));
            state.mailboxes.insert(id, Arc::new(mailbox));
        }
    }
}

/// The rows of a mailbox that only the index holds, in front of those that are in memory. `None`: they disagree with its digest.
pub(crate) fn missing_rows(
    shared: &Shared,
    account: AccountId,
    mailbox: &MailboxState,
) -> Option<Vec<Arc<Chunk>>> {
    let first: Option<Uid> = mailbox.chunks.first().and_then(|chunk| chunk.rows.first()).map(|row| row.uid);
    let chunks = shared.index.chunks(account, mailbox.id, first)?;
    agrees(mailbox, &chunks).then_some(chunks)
}

/// The same, noted as what the index holds, so that the next checkpoint knows which of its keys are no chunk's any more.
pub(crate) fn load_rows(
    shared: &Shared,
    account: AccountId,
    mailbox: &MailboxState,
) -> Option<Vec<Arc<Chunk>>> {
    let steady = shared.index.steady();
    let chunks = missing_rows(shared, account, mailbox)?;
    drop(steady);
    if let Some(written) = locked(&shared.written).get_mut(&account) {
        written.note_chunks(mailbox.id, &chunks);
    }
    Some(chunks)
}

/// What `look` makes of all rows of a mailbox that only the index holds in part, ascending by UID; none of them is kept. `None`: they
/// disagree with its digest.
pub(crate) fn gather_rows<T: Default>(
    shared: &Shared,
    account: AccountId,
    mailbox: &MailboxState,
    look: fn(&mut T, &Row),
) -> Option<T> {
    let _steady = shared.index.steady();
    let first = mailbox.chunks.first().and_then(|chunk| chunk.rows.first()).map(|row| row.uid);
    let (mut gathered, mut count, mut digest) = (T::default(), 0u32, 0u64);
    let (mut last, mut ascending) = (None, true);
    let mut next = |row: &Row| {
        ascending &= last < Some(row.uid);
        last = Some(row.uid);
        count = count.saturating_add(1);
        digest = digest.wrapping_add(rows::hash(row));
        look(&mut gathered, row);
    };
    shared.index.each_row(account, mailbox.id, first, &mut next)?;
    mailbox.rows().for_each(next);
    (ascending && count == mailbox.count && digest == mailbox.digest).then_some(gathered)
}

/// Whether some chunks are what is missing of a mailbox.
pub(crate) fn agrees(mailbox: &MailboxState, missing: &[Arc<Chunk>]) -> bool {
    let all = || missing.iter().chain(&mailbox.chunks).flat_map(|chunk| &chunk.rows);
    let ascending = all().zip(all().skip(1)).all(|(row, next)| row.uid < next.uid);
    let empty = missing.iter().any(|chunk| chunk.rows.is_empty());
    ascending && !empty && all().count() == mailbox.count as usize && rows::digest(all()) == mailbox.digest
}

fn complete(shared: &Shared, account: AccountId, mailbox: &MailboxState) -> Option<MailboxState> {
    let mut chunks = missing_rows(shared, account, mailbox)?;
    chunks.extend(mailbox.chunks.iter().cloned());
    Some(MailboxState { partial: false, chunks, ..mailbox.clone() })
}

type Behind<'a> = Vec<(&'a Stored, Option<AccountChange>)>;

fn changes_behind<'a>(state: &AccountState, pending: &'a [Stored]) -> Result<Behind<'a>, StoreError> {
    let behind = pending.iter().filter(|stored| stored.record.seq > state.seq);
    behind.map(|stored| Ok((stored, account_change(stored)?))).collect()
}

fn account_change(stored: &Stored) -> Result<Option<AccountChange>, StoreError> {
    Ok(match record::decode(&stored.record)? {
        Some(Change::Account(change)) => Some(change),
        _ => None,
    })
}

/// The mailboxes whose rows some changes need.
fn touched(changes: &Behind<'_>) -> BTreeSet<MailboxId> {
    let rows = |change: &AccountChange| match change {
        AccountChange::FlagsChanged(changed) => Some(changed.mailbox),
        AccountChange::SeenChanged(changed) => Some(changed.mailbox),
        AccountChange::Expunged(expunged) => Some(expunged.mailbox),
        AccountChange::MailboxDeleted(deleted) => deleted.retained.map(|_| deleted.mailbox),
        AccountChange::Released(_) => Some(RETAINED),
        _ => None,
    };
    changes.iter().filter_map(|(_, change)| rows(change.as_ref()?)).collect()
}

fn step(
    state: &mut AccountState,
    stored: &Stored,
    change: Option<&AccountChange>,
) -> Result<(), Inapplicable> {
    match change {
        Some(change) => apply_account(state, stored.record.seq, change, &stored.placement)?,
        None => state.seq = stored.record.seq,
    }
    Ok(())
}

fn gather(structures: &mut Structures, change: Option<&AccountChange>) {
    if let Some(AccountChange::MessageAdded(added)) = change
        && let Some(structure) = &added.structure
    {
        structures.insert(added.email, Arc::from(structure.as_slice()));
    }
}
