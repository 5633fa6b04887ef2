//! Giving space back: what no mailbox, no retained message and no queue entry holds any more.
//!
//! What is needed is found from the journal alone, never from the index, and only of what was committed before the search
//! began: nothing that was needed by nobody then can be needed later. Where anything of the journal is damaged nothing is
//! removed at all.
//!
//! Where the records of an account, of the directory or of the queue outweigh what they say, a snapshot is written first; then
//! those before it can go, too.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    sync::{PoisonError, atomic::Ordering},
};

use waypost_mail::AccountId;

use crate::{
    content::{BodyPlace, Content},
    decide::{
        QUEUE,
        directory::ForgetCodes,
        snapshot::{SnapshotAccount, SnapshotDirectory, SnapshotQueue},
    },
    directory,
    error::StoreError,
    journal::{Needed, Position, Stored, Stream},
    record::{self, AccountChange, Change, ContentPlace, QueueChange, SnapshotClosed},
    recovery,
    shared::{Shared, locked},
    snapshot,
    state::AccountState,
    store::Store,
};

/// What a compaction gave back.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Compacted {
    /// Segments that were written again.
    pub segments: u64,
    /// Octets that they have less.
    pub segment_bytes: u64,
    /// Body files that were removed.
    pub bodies: u64,
    /// Octets of those.
    pub body_bytes: u64,
}

impl Store {
    /// Gives back the space of what is held no more, in segments that are full and of which less than four fifths are needed, and
    /// of large bodies. Reads the records of the whole journal; waits for a backup that runs. Errors: `Damaged`: something is damaged, so nothing was removed;
    /// `Full`, `Poisoned`, `Io`.
    pub async fn compact(&self) -> Result<Compacted, StoreError> {
        let _alone = self.shared().maintenance.lock().await;
        let mut search = self.blocking(Search::run).await?;
        for account in std::mem::take(&mut search.outweighed) {
            match self.snapshot_account(account).await {
                Ok(of) => search.needed.supersede(Stream::Account(account), of),
                // Without a snapshot its records stay.
                Err(StoreError::Full | StoreError::NoSuchAccount) => {}
                Err(error) => return Err(error),
            }
        }
        if search.directory_outweighed {
            match self.snapshot_directory().await {
                Ok(of) => search.needed.supersede(Stream::Directory, of),
                Err(StoreError::Full) => {}
                Err(error) => return Err(error),
            }
        }
        if search.queue_outweighed {
            match self.snapshot_queue().await {
                Ok(of) => search.needed.supersede(QUEUE, of),
                Err(StoreError::Full) => {}
                Err(error) => return Err(error),
            }
        }
        let compacted = self.blocking(move |shared| search.give_back(shared)).await?;
        if compacted != Compacted::default() {
            let Compacted { segments, segment_bytes, bodies, body_bytes } = compacted;
            tracing::info!(event = "compacted", segments, segment_bytes, bodies, body_bytes);
        }
        Ok(compacted)
    }

    /// Writes an account's snapshot; up to which seq its records are in it.
    async fn snapshot_account(&self, account: AccountId) -> Result<u64, StoreError> {
        let whole = self.blocking(move |shared| recovery::whole(shared, account)).await?;
        let whole =
            whole.ok_or_else(|| StoreError::Damaged(format!("records of account {account} are missing")))?;
        let of = whole.state.seq;
        for parts in snapshot::written(of, whole.parts()) {
            self.submit(SnapshotAccount(account, parts)).await?;
        }
        Ok(of)
    }

    /// Writes the directory's snapshot, without codes that were used long ago; up to which seq its records are in it.
    async fn snapshot_directory(&self) -> Result<u64, StoreError> {
        self.submit(ForgetCodes).await?;
        let mut directory = self.blocking(|shared| directory::replay(&shared.files, |_| {})).await?;
        // An id that was given stays given, even where its record never said so.
        directory.next_account = directory.next_account.max(self.directory().borrow().next_account);
        let of = directory.seq;
        for parts in snapshot::written(of, directory.parts()) {
            self.submit(SnapshotDirectory(parts)).await?;
        }
        Ok(of)
    }

    /// Writes the queue's snapshot; up to which seq its records are in it.
    async fn snapshot_queue(&self) -> Result<u64, StoreError> {
        let queue = self.blocking(crate::check::replay_queue).await?;
        let of = queue.seq;
        for parts in snapshot::of_queue(queue) {
            self.submit(SnapshotQueue(parts)).await?;
        }
        Ok(of)
    }
}

/// About what one message takes in a snapshot: its row and its structure with its preview, or its queue entry.
const MESSAGE_BYTES: u64 = 800;
/// Octets of records that are not worth a snapshot: this part of a segment.
const RECORDS_MIN_PART: u64 = 256;
/// Records that are weighed together: few octets for a stream of millions, and exact enough.
const GROUP_RECORDS: u64 = 64;
/// Octets of a record besides its payload.
const RECORD_BYTES: u64 = 25;

/// What the records of a stream weigh that no snapshot supersedes.
#[derive(Debug, Default)]
struct Weight {
    /// Octets of the records of no snapshot, by the group of [`GROUP_RECORDS`] seqs that a record is in.
    groups: BTreeMap<u64, u64>,
    /// Up to which seq a complete snapshot supersedes them.
    superseded: Option<u64>,
}

impl Weight {
    fn add(&mut self, stored: &Stored, closed: Option<SnapshotClosed>) {
        if let Some(SnapshotClosed { of, .. }) = closed {
            self.superseded = self.superseded.max(Some(of));
        } else if !record::is_of_snapshot(&stored.record) {
            let group = self.groups.entry(stored.record.seq / GROUP_RECORDS).or_default();
            *group += stored.record.payload.len() as u64 + RECORD_BYTES;
        }
    }

    /// Whether they weigh more than twice as much as a snapshot would.
    fn outweighs(&self, snapshot_bytes: u64, segment_bytes: u64) -> bool {
        let superseded = self.superseded.unwrap_or(0);
        // the group in which the snapshot stands counts as a whole
        let behind = self.groups.range(superseded / GROUP_RECORDS..);
        behind.map(|(_, bytes)| bytes).sum::<u64>() > 2 * snapshot_bytes + segment_bytes / RECORDS_MIN_PART
    }
}

/// The search for what is needed.
#[derive(Debug)]
struct Search {
    /// What was committed before.
    until: Position,
    /// The segments that may be compacted, ascending.
    segments: Vec<u64>,
    /// Accounts whose records outweigh what they say.
    outweighed: Vec<AccountId>,
    directory_outweighed: bool,
    queue_outweighed: bool,
    needed: Needed,
    /// Body files that entries named, with their octets.
    bodies: HashSet<((u64, u64), u64)>,
}

impl Search {
    fn run(shared: &Shared) -> Result<Self, StoreError> {
        shared.dead_bytes.store(0, Ordering::Relaxed);
        let crossing = shared.crossings.watch();
        let mut search = Self {
            until: shared.files.end(),
            segments: shared.files.compactable(shared.heads_segment.load(Ordering::Relaxed)),
            outweighed: Vec::new(),
            directory_outweighed: false,
            queue_outweighed: false,
            needed: Needed::default(),
            bodies: HashSet::new(),
        };
        search.refuse_if_damaged(shared)?;
        let directory = shared.directory.borrow().clone();
        for id in directory.given() {
            if directory.accounts.contains_key(&id) {
                search.account(shared, id)?;
            } else {
                search.removed(shared, id)?;
            }
        }
        search.directory(shared)?;
        // Last, so that a message which is known from an account is known here, too, as long as it is queued.
        search.queue(shared)?;
        search.in_memory(shared);
        crossing.contents().iter().for_each(|content| search.need_content(content));
        search.refuse_if_damaged(shared)?;
        Ok(search)
    }

    fn refuse_if_damaged(&self, shared: &Shared) -> Result<(), StoreError> {
        let damage = shared.files.damage().into_iter().chain(locked(&shared.damage).iter().cloned()).next();
        match damage {
            Some(sentence) => Err(StoreError::Damaged(format!("nothing is compacted: {sentence}"))),
            None => Ok(()),
        }
    }

    fn account(&mut self, shared: &Shared, id: AccountId) -> Result<(), StoreError> {
        let mut weight = Weight::default();
        let state = recovery::replay_all(shared, id, |stored, change| {
            self.note(stored, change);
            let closed = match change {
                AccountChange::AccountSnapshotClosed(closed) => Some(closed.0),
                _ => None,
            };
            weight.add(stored, closed);
        })?;
        match state {
            Some(state) => {
                self.need(&state);
                if let Some(of) = weight.superseded {
                    self.needed.supersede(Stream::Account(id), of);
                }
                let rows: u64 = state.places().map(|place| u64::from(place.count)).sum();
                if weight.outweighs(rows * MESSAGE_BYTES, shared.segment_bytes) {
                    self.outweighed.push(id);
                }
            }
            // Removed since the search began, or damaged.
            None if !shared.directory.borrow().accounts.contains_key(&id) => {}
            None => return Err(StoreError::Damaged(format!("records of account {id} are missing"))),
        }
        Ok(())
    }

    /// An account that was removed: all its records are needed no more.
    fn removed(&mut self, shared: &Shared, id: AccountId) -> Result<(), StoreError> {
        for stored in shared.files.read_stream(Stream::Account(id), 0)? {
            if let Ok(Some(Change::Account(change))) = record::decode(&stored.record) {
                self.note(&stored, &change);
            }
        }
        self.needed.supersede(Stream::Account(id), u64::MAX);
        Ok(())
    }

    fn directory(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let mut weight = Weight::default();
        for stored in shared.files.read_stream(Stream::Directory, 0)? {
            let change = record::decode(&stored.record).ok().flatten();
            weight.add(&stored, change.as_ref().and_then(snapshot::closed_by));
        }
        if let Some(of) = weight.superseded {
            self.needed.supersede(Stream::Directory, of);
        }
        let parts = shared.directory.borrow().parts();
        let snapshot_bytes = parts.iter().map(|part| record::cbor(part).len() as u64).sum();
        self.directory_outweighed = weight.outweighs(snapshot_bytes, shared.segment_bytes);
        Ok(())
    }

    fn queue(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let mut weight = Weight::default();
        shared.files.read_segments(QUEUE, 0, |records| {
            for stored in records {
                let change = record::decode(&stored.record);
                if let Ok(Some(Change::Queue(QueueChange::Queued(queued)))) = &change {
                    self.note_body(&stored, &queued.content);
                }
                weight.add(&stored, change.ok().flatten().as_ref().and_then(snapshot::closed_by));
            }
            Ok(())
        })?;
        if let Some(of) = weight.superseded {
            self.needed.supersede(QUEUE, of);
        }
        let queue = shared.queue.read();
        self.queue_outweighed = weight.outweighs(queue.len() as u64 * MESSAGE_BYTES, shared.segment_bytes);
        queue.behind(None).for_each(|slot| self.need_content(&slot.entry().content));
        Ok(())
    }

    /// What is in memory is what the journal says; this is for the case that it is not.
    fn in_memory(&mut self, shared: &Shared) {
        let accounts = shared.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts.values().for_each(|published| self.need(&published.borrow()));
    }

    fn note(&mut self, stored: &Stored, change: &AccountChange) {
        if let AccountChange::MessageAdded(added) = change {
            self.note_body(stored, &added.content);
        }
    }

    /// A body that an entry named, if that was committed before the search began.
    fn note_body(&mut self, stored: &Stored, content: &ContentPlace) {
        if let ContentPlace::ThisEntry { body: BodyPlace::File { segment, number }, body_bytes, .. } = content
            && stored.placement.at < self.until
        {
            self.bodies.insert(((*segment, *number), *body_bytes));
        }
    }

    fn need(&mut self, account: &AccountState) {
        let rows = account.places().flat_map(|place| place.rows().map(|row| row.content.clone()));
        rows.for_each(|content| self.need_content(&content));
    }

    fn need_content(&mut self, content: &Content) {
        if self.segments.binary_search(&content.segment).is_ok() {
            self.needed.need_area(content.segment, content.area_at, content.area_bytes);
        }
        if let BodyPlace::File { segment, number } = content.body {
            self.needed.need_body(segment, number);
        }
    }

    /// Bodies first: once the records that name them are gone nobody knows them.
    fn give_back(&self, shared: &Shared) -> Result<Compacted, StoreError> {
        let mut compacted = Compacted::default();
        self.remove_bodies(shared, &mut compacted);
        for number in &self.segments {
            let reclaimed = match shared.files.compact(*number, &self.needed) {
                // There is no room for what is left of it; for that of another there may be.
                Err(StoreError::Full) => 0,
                other => other?,
            };
            compacted.segments += u64::from(reclaimed > 0);
            compacted.segment_bytes += reclaimed;
        }
        Ok(compacted)
    }

    fn remove_bodies(&self, shared: &Shared, compacted: &mut Compacted) {
        for ((segment, number), bytes) in self.unneeded_bodies() {
            match shared.files.remove_body(segment, number) {
                // Removed earlier.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(event = "body_not_removed", segment, number, %error),
                Ok(()) => {
                    compacted.bodies += 1;
                    compacted.body_bytes += bytes;
                }
            }
        }
    }

    fn unneeded_bodies(&self) -> impl Iterator<Item = ((u64, u64), u64)> {
        self.bodies.iter().filter(|(body, _)| !self.needed.needs_body(*body)).copied()
    }
}
