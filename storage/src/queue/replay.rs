//! The queue as the records of its stream say, read a segment at a time: a queue of any length is never in memory twice.

use std::collections::{BTreeMap, BTreeSet};

use super::entries::Entries;
use crate::{
    apply::{Inapplicable, QueueState, apply_queue},
    decide::QUEUE,
    error::StoreError,
    journal::{Files, Stored},
    record::{self, Change, QueueChange, SnapshotClosed},
    snapshot,
};

/// What is met on the way.
#[derive(Debug)]
pub(crate) enum Met<'a> {
    /// A record; each is met once or more.
    Record(&'a Stored),
    /// So many records are missing.
    Missing(u64),
    /// A record that says nothing that could be read.
    Damaged(String),
    /// A record that cannot be applied.
    Inapplicable(u64, Inapplicable),
}

/// The queue after its last record. Errors: the journal cannot be read; a record is of a later version.
pub(crate) fn replay(files: &Files, mut meet: impl FnMut(Met<'_>)) -> Result<QueueState, StoreError> {
    let (first, mut queue) = base(files)?;
    files.read_segments(QUEUE, first, |records| {
        for stored in &records {
            meet(Met::Record(stored));
            if stored.record.seq <= queue.seq {
                continue;
            }
            let missing = stored.record.seq - queue.seq - 1;
            if missing > 0 {
                meet(Met::Missing(missing));
            }
            match record::decode(&stored.record) {
                Ok(Some(Change::Queue(change))) => {
                    if let Err(error) = apply_queue(&mut queue, stored.record.seq, &change, &stored.placement)
                    {
                        meet(Met::Inapplicable(stored.record.seq, error));
                    }
                }
                Ok(_) => {}
                Err(StoreError::Damaged(sentence)) => meet(Met::Damaged(sentence)),
                Err(error) => return Err(error),
            }
            queue.seq = stored.record.seq;
        }
        Ok(())
    })?;
    Ok(queue)
}

/// The newest complete snapshot, or an empty queue, with the segment from which on its records and those behind it are read.
fn base(files: &Files) -> Result<(u64, QueueState), StoreError> {
    let Some((first, end)) = newest(files)? else { return Ok((0, QueueState::replayed())) };
    if let Some(queue) = assembled(files, first, end)? {
        return Ok((first, queue));
    }
    let mut closed = Vec::new();
    files.read_segments(QUEUE, 0, |records| {
        closed.extend(records.iter().filter_map(closed_by));
        Ok(())
    })?;
    for end in closed.into_iter().rev() {
        if let Some(queue) = assembled(files, 0, end)? {
            return Ok((0, queue));
        }
    }
    Ok((0, QueueState::replayed()))
}

/// The end of the snapshot that was closed last, with the segment in which it and the records behind it begin.
fn newest(files: &Files) -> Result<Option<(u64, SnapshotClosed)>, StoreError> {
    // of the segment that is being read: its first record, the last end in it, its parts by what they are of
    let (mut first_seq, mut last_closed, mut parts_here) = (None, None, BTreeMap::new());
    let (mut closed, mut parts) = (None, 0);
    let first = files.read_segments_back(QUEUE, |records| {
        let Some(records) = records else {
            closed = closed.or(last_closed.take());
            let here = std::mem::take(&mut parts_here);
            let first_here = first_seq.take();
            let Some(SnapshotClosed { of, parts: all, .. }) = closed else { return false };
            parts += here.get(&of).copied().unwrap_or(0);
            return parts >= all && first_here.is_some_and(|first: u64| first <= of + 1);
        };
        first_seq = first_seq.or(records.first().map(|stored| stored.record.seq));
        for stored in &records {
            if let Some(part) = part(stored) {
                *parts_here.entry(part.of).or_insert(0) += 1;
            }
            last_closed = closed_by(stored).or(last_closed);
        }
        false
    })?;
    Ok(closed.map(|end| (first, end)))
}

/// The snapshot of that end; `None` where it is not complete.
fn assembled(files: &Files, first: u64, end: SnapshotClosed) -> Result<Option<QueueState>, StoreError> {
    let (mut entries, mut numbers, mut digest) = (Entries::replayed(), BTreeSet::new(), 0_u64);
    files.read_segments(QUEUE, first, |records| {
        for part in records.iter().filter_map(part).filter(|part| part.of == end.of) {
            if numbers.insert(part.number) {
                digest = digest.wrapping_add(snapshot::digest(part.number as usize, &part.entries));
                let parts = part.entries.into_iter().map(record::EntryPart::into_entry);
                parts.for_each(|entry| entries.insert(&entry));
            }
        }
        Ok(())
    })?;
    let is_complete = numbers.into_iter().eq(0..end.parts) && digest == end.digest;
    Ok(is_complete.then_some(QueueState { seq: end.of, entries }))
}

fn closed_by(stored: &Stored) -> Option<SnapshotClosed> {
    of_snapshot(stored).and_then(|change| snapshot::closed_by(&change))
}

fn part(stored: &Stored) -> Option<record::QueueSnapshotPart> {
    match of_snapshot(stored)? {
        Change::Queue(QueueChange::QueueSnapshotPart(part)) => Some(part),
        _ => None,
    }
}

fn of_snapshot(stored: &Stored) -> Option<Change> {
    record::is_of_snapshot(&stored.record).then(|| record::decode(&stored.record).ok().flatten()).flatten()
}
