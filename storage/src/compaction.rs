//! Giving space back: what no mailbox, no retained message and no queue entry holds any more.
//!
//! What is needed is found from the journal alone, never from the index, and only of what was committed before the search
//! began: nothing that was needed by nobody then can be needed later. Where anything of the journal is damaged nothing is
//! removed at all.

use std::{
    collections::HashSet,
    io,
    sync::{PoisonError, atomic::Ordering},
};

use waypost_mail::AccountId;

use crate::{
    content::{BodyPlace, Content},
    decide::QUEUE,
    error::StoreError,
    journal::{Needed, Position, Stored, Stream},
    record::{self, AccountChange, Change, ContentPlace, QueueChange},
    recovery,
    shared::{Shared, locked},
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
    /// of large bodies. Reads the records of the whole journal. Errors: `Damaged`: something is damaged, so nothing was removed;
    /// `Full`, `Poisoned`, `Io`.
    pub async fn compact(&self) -> Result<Compacted, StoreError> {
        let compacted = self.blocking(compact).await?;
        if compacted != Compacted::default() {
            let Compacted { segments, segment_bytes, bodies, body_bytes } = compacted;
            tracing::info!(event = "compacted", segments, segment_bytes, bodies, body_bytes);
        }
        Ok(compacted)
    }
}

fn compact(shared: &Shared) -> Result<Compacted, StoreError> {
    shared.dead_bytes.store(0, Ordering::Relaxed);
    let segments = shared.files.compactable(shared.heads_segment.load(Ordering::Relaxed));
    let search = Search::run(shared)?;
    let mut compacted = Compacted::default();
    for number in segments {
        let reclaimed = shared.files.compact(number, &search.needed)?;
        compacted.segments += u64::from(reclaimed > 0);
        compacted.segment_bytes += reclaimed;
    }
    for (body, bytes) in search.unneeded_bodies() {
        match shared.files.remove_body(body.0, body.1) {
            // Removed earlier.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(event = "body_not_removed", segment = body.0, number = body.1, %error);
            }
            Ok(()) => {
                compacted.bodies += 1;
                compacted.body_bytes += bytes;
            }
        }
    }
    Ok(compacted)
}

/// The search for what is needed.
#[derive(Debug)]
struct Search {
    /// What was committed before.
    until: Position,
    needed: Needed,
    /// Body files that entries named, with their octets.
    bodies: HashSet<((u64, u64), u64)>,
}

impl Search {
    fn run(shared: &Shared) -> Result<Self, StoreError> {
        let mut search =
            Self { until: shared.files.end(), needed: Needed::default(), bodies: HashSet::new() };
        search.refuse_if_damaged(shared)?;
        let directory = shared.directory.borrow().clone();
        for id in (1..directory.next_account).map(AccountId) {
            if directory.accounts.contains_key(&id) {
                search.account(shared, id)?;
            } else {
                search.removed(shared, id)?;
            }
        }
        // Last, so that a message which is known from an account is known here, too, as long as it is queued.
        search.queue(shared)?;
        search.in_memory(shared);
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
        let state = recovery::replay_all(shared, id, |stored, change| self.note(stored, change))?;
        match state {
            Some(state) => self.need(&state),
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

    fn queue(&mut self, shared: &Shared) -> Result<(), StoreError> {
        for stored in shared.files.read_stream(QUEUE, 0)? {
            if let Ok(Some(Change::Queue(QueueChange::Queued(queued)))) = record::decode(&stored.record) {
                self.note_body(&stored, &queued.content);
            }
        }
        let queue = shared.queue.read().unwrap_or_else(PoisonError::into_inner);
        queue.values().for_each(|entry| self.need_content(&entry.content));
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
        self.needed.need_area(content.segment, content.area_at, content.area_bytes);
        if let BodyPlace::File { segment, number } = content.body {
            self.needed.need_body(segment, number);
        }
    }

    fn unneeded_bodies(&self) -> impl Iterator<Item = ((u64, u64), u64)> {
        self.bodies.iter().filter(|(body, _)| !self.needed.needs_body(*body)).copied()
    }
}
