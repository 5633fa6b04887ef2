//! The journal: segments of frames, appended by one writer, synced once per batch.
//!
//! ```text
//! stage ─► batch ─► taken: write, sync ─► committed: catalog (readers see it)
//!            │ full                           │ rolled
//!            ▼                                ▼
//!   next segment, made ahead           keeper: footer, next segment
//! ```
//!
//! Invariants: a frame in segment n + 1 is written after segment n was synced; a frame says up to where all was durable when
//! it was written; what readers are shown is durable. After a failed write or sync nothing is written until the journal is
//! opened again. While one batch is written, the next may be staged, but not written. `docs/decisions/0001-record-format.md` describes the octets.
//!
//! Not here: what records mean. A record is octets with a stream, a sequence number, a kind and a version.

mod ahead;
mod batch;
mod body_file;
mod chunk;
mod compact;
mod files;
mod footer;
mod fresh;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod keeper;
mod layout;
mod pinned;
mod records;
mod recovery;
mod room;
mod scan;
mod sealing;
mod sweep;
mod syncer;
#[cfg(test)]
mod tests;
mod verify;
mod walk;

use std::{
    mem,
    path::Path,
    sync::{Arc, atomic::Ordering, mpsc::Receiver},
};

use bytes::Bytes;
use waypost_mail::{AccountId, EntryId};

pub(crate) use batch::Batch;
pub(crate) use body_file::BodyFile;
pub(crate) use chunk::CHUNK_BYTES;
pub(crate) use compact::Needed;
pub(crate) use files::{BODIES, Files, JOURNAL, bodies_name, footer_name, segment_name};
pub(crate) use pinned::Pinned;
pub(crate) use room::Room;
pub(crate) use syncer::Syncer;

use crate::{disk::Disk, error::StoreError};
use ahead::Ahead;
use batch::Part;
use files::{Index, Segment};
use fresh::Tail;
use keeper::Keeper;
use layout::{Draft, FrameHeader, MARK_BYTES};

/// Octets of a buffer that is kept from one batch for the next.
const SPARE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a record changes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Stream {
    /// The accounts.
    Directory,
    /// The queue of a node; 0 on a single server.
    Queue(u32),
    /// One account's mailboxes.
    Account(AccountId),
}

/// A record as the journal sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RawRecord {
    /// What it changes.
    pub(crate) stream: Stream,
    /// Its number in the stream: 1, 2, 3, …
    pub(crate) seq: u64,
    /// What it is.
    pub(crate) kind: u16,
    /// Version of its payload.
    pub(crate) version: u8,
    /// Whether a reader that does not know its kind may pass over it.
    pub(crate) ignorable: bool,
    /// Its content.
    pub(crate) payload: Vec<u8>,
}

/// What must happen together.
#[derive(Clone, Debug)]
pub(crate) struct NewEntry {
    /// Its name.
    pub(crate) id: EntryId,
    /// Its records, in order; the payloads together at most 16 MiB.
    pub(crate) records: Vec<RawRecord>,
    /// Its area: prefixes, header block, small body; written one behind the other.
    pub(crate) area: Vec<Bytes>,
    /// Body files that it names, as (segment, number): already synced; copied when an unproven tail is copied.
    pub(crate) body_files: Vec<(u64, u64)>,
}

/// A place in the journal; places ascend with time.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Position {
    /// Segment number, from 1.
    pub(crate) segment: u64,
    /// Offset of the frame in it.
    pub(crate) offset: u64,
}

/// Where a staged entry will be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Placement {
    /// Its frame.
    pub(crate) at: Position,
    /// Offset of its area in the segment.
    pub(crate) area_at: u64,
    /// Octets in its area, checks not counted.
    pub(crate) area_bytes: u32,
}

/// A record that was read, with the entry it is part of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Stored {
    /// The record.
    pub(crate) record: RawRecord,
    /// Its entry.
    pub(crate) entry: EntryId,
    /// Where that is.
    pub(crate) placement: Placement,
}

/// The journal, held by the writer.
#[derive(Debug)]
pub(crate) struct Journal {
    files: Arc<Files>,
    segment_bytes: u64,
    /// Where the next staged frame goes.
    tail: Tail,
    /// All before it is durable and shown.
    committed: Position,
    /// What is staged and not taken.
    staged: Vec<Part>,
    /// A buffer of a batch that was written, for the next one.
    spare: Vec<u8>,
    next: Next,
    keeper: Keeper,
    ahead: Ahead,
}

/// The segment that is taken when this one is full.
#[derive(Debug)]
enum Next {
    Missing,
    Coming(Receiver<Result<Tail, StoreError>>),
    Ready(Tail),
}

impl Journal {
    /// Opens or creates the journal below `directory` and recovers it: damage is noted, the unproven tail copied and synced.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        segment_bytes: u64,
    ) -> Result<Self, StoreError> {
        let files = Arc::new(Files::new(disk, directory, segment_bytes));
        let recovered = files.recover(segment_bytes)?;
        let ahead = Ahead::new(files.write_in_place());
        let keeper = Keeper::start(Arc::clone(&files))?;
        recovered.unsealed.iter().for_each(|number| keeper.seal(*number));
        let tail = recovered.tail;
        let committed = tail.position();
        let next = match recovered.next {
            Some(next) => Next::Ready(next),
            None => Next::Coming(keeper.prepare(tail.id.number + 1, segment_bytes)),
        };
        Ok(Self {
            files,
            segment_bytes,
            tail,
            committed,
            staged: Vec::new(),
            spare: Vec::new(),
            next,
            keeper,
            ahead,
        })
    }

    /// Puts an entry into the batch and says where it will be. `Full`: there is no room; nothing was put. `Limit`: it is too
    /// large for any journal.
    pub(crate) fn stage(&mut self, entry: NewEntry) -> Result<Placement, StoreError> {
        self.refuse_if_poisoned()?;
        let draft = Draft::new(entry)?;
        self.make_room(draft.frame_bytes())?;
        let at = self.tail.position();
        let header = self.part().add(at.offset, &draft);
        self.tail.end = header.end(at.offset);
        Ok(Placement { at, area_at: header.area_at(at.offset), area_bytes: header.area_bytes })
    }

    /// What is staged, to be written and given back to [`Journal::committed`] before the next batch is taken; `None`: nothing is.
    pub(crate) fn take_batch(&mut self) -> Option<Batch> {
        if self.staged.is_empty() {
            return None;
        }
        let (files, parts) = (Arc::clone(&self.files), mem::take(&mut self.staged));
        Some(Batch { files, parts, proven: self.committed, end: self.tail.position() })
    }

    /// Has a batch that was just taken write zeros behind it, where those to come gain by it. `alone`: entries come one by one of late.
    pub(crate) fn write_ahead(&mut self, batch: &mut Batch, alone: bool) {
        let tail = &mut self.tail;
        let Some(part) = batch.parts.last_mut().filter(|part| part.segment == tail.id) else { return };
        let reach = self.ahead.reach(part.octets.len() as u64, alone);
        if tail.written < tail.end && reach > 0 {
            tail.written = (tail.end + reach).min(tail.capacity);
            part.written = tail.written;
        }
    }

    /// The batch that was taken is durable: readers find it from now on.
    pub(crate) fn committed(&mut self, batch: Batch) {
        self.show(batch.parts);
        let full = self.committed.segment..batch.end.segment;
        self.committed = batch.end;
        self.files.current.store(batch.end.segment, Ordering::Relaxed);
        full.for_each(|number| self.keeper.seal(number));
        if matches!(self.next, Next::Missing) {
            self.next = Next::Coming(self.keeper.prepare(self.tail.id.number + 1, self.segment_bytes));
        }
    }

    /// Appends what is staged and syncs it: durable when this returns. `Poisoned` as [`Batch::write`] says.
    pub(crate) fn commit(&mut self) -> Result<(), StoreError> {
        self.refuse_if_poisoned()?;
        if let Some(mut batch) = self.take_batch() {
            batch.write()?;
            self.committed(batch);
        }
        Ok(())
    }

    /// Where the next entry would be at the earliest; all before it was committed.
    pub(crate) fn end(&self) -> Position {
        self.committed
    }

    /// All records of all streams from a position on, in order.
    pub(crate) fn records_from(
        &self,
        from: Position,
    ) -> Result<Box<dyn Iterator<Item = Result<Stored, StoreError>> + '_>, StoreError> {
        Ok(Box::new(self.files.records_from(from)))
    }

    /// Removes body files that no entry names, in the folders of the segments from `from` on. Only before bodies are
    /// written. Failing to costs room, nothing else.
    pub(crate) fn sweep_bodies(&self, from: Position) {
        match self.files.sweep_bodies(from.segment.max(1)) {
            Ok(0) => {}
            Ok(removed) => tracing::info!(event = "bodies_swept", removed),
            Err(error) => tracing::warn!(event = "bodies_not_swept", %error),
        }
    }

    /// The files, for readers.
    pub(crate) fn files(&self) -> Arc<Files> {
        Arc::clone(&self.files)
    }

    /// Ends cleanly: commits what is staged, marks all as proven, waits for the keeper.
    pub(crate) fn close(mut self) -> Result<(), StoreError> {
        self.commit()?;
        let mark = FrameHeader::mark(self.committed).encode(&self.tail.id, self.tail.end);
        self.part().octets.extend_from_slice(&mark);
        self.take_batch().map_or(Ok(()), |mut batch| batch.write())
    }

    /// Readers find what is in a batch from now on.
    fn show(&mut self, parts: Vec<Part>) {
        let mut catalog = self.files.catalog();
        for part in parts {
            let id = part.segment;
            let empty = Segment { id, end: part.start, index: Some(Index::new()), compacted: false };
            let segment = catalog.entry(part.segment.number).or_insert(empty);
            segment.end = part.start + part.octets.len() as u64;
            let index = segment.index.get_or_insert_default();
            for (stream, offsets) in part.index {
                index.entry(stream).or_default().extend(offsets);
            }
            if part.octets.capacity() <= SPARE_BYTES_MAX {
                self.spare = part.octets;
                self.spare.clear();
            }
        }
    }

    /// The part of what is staged that the tail is in.
    fn part(&mut self) -> &mut Part {
        let tail = &self.tail;
        if self.staged.last().is_none_or(|part| part.segment != tail.id) {
            let buffer = mem::take(&mut self.spare);
            self.staged.push(Part::new(tail.id, Arc::clone(&tail.file), tail.end, buffer));
        }
        let last = self.staged.len() - 1;
        &mut self.staged[last]
    }

    /// Sees to it that a frame of this size and a mark fit behind the tail, in this segment or the next.
    fn make_room(&mut self, frame_bytes: u64) -> Result<(), StoreError> {
        if self.tail.end + frame_bytes + MARK_BYTES <= self.tail.capacity {
            return Ok(());
        }
        if self.tail.is_empty() {
            return self.tail.extend(frame_bytes);
        }
        let mut next = self.take_next()?;
        if let Err(error) = next.extend(frame_bytes) {
            self.next = Next::Ready(next);
            return Err(error);
        }
        self.tail = next;
        Ok(())
    }

    fn take_next(&mut self) -> Result<Tail, StoreError> {
        let made = match mem::replace(&mut self.next, Next::Missing) {
            Next::Ready(tail) => return Ok(tail),
            Next::Coming(coming) => coming.recv().ok().and_then(Result::ok),
            Next::Missing => None,
        };
        // What failed in the background is tried again here: there may be room by now, and the error is the caller's.
        made.map_or_else(|| self.files.create_segment(self.tail.id.number + 1, self.segment_bytes), Ok)
    }

    fn refuse_if_poisoned(&self) -> Result<(), StoreError> {
        if self.files.is_poisoned() { Err(StoreError::Poisoned) } else { Ok(()) }
    }
}
