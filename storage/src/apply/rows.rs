//! Rows in chunks: adding, changing and removing them, with the counts and the digest that belong to them.
//!
//! New rows gather in a small tail chunk; a full tail is folded into the chunk before it, so that a delivery copies a few
//! rows and not 256.

use std::sync::Arc;

use waypost_mail::{SystemFlags, Uid};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    content::BodyPlace,
    record::UidRange,
    state::{CHUNK_ROWS_MAX, Chunk, MailboxState, Row},
};

/// Most rows in the tail chunk.
pub(crate) const TAIL_ROWS_MAX: usize = 16;
/// Neighbours that shrank are merged up to so many rows.
const MERGED_ROWS_MAX: usize = CHUNK_ROWS_MAX / 2;

/// The hash of a row: part of the mailbox's digest, which snapshots hold, so its form is fixed for ever.
pub(crate) fn hash(row: &Row) -> u64 {
    let content = &row.content;
    let (body_kind, body_a, body_b) = match content.body {
        BodyPlace::Area(at) => (0, u64::from(at), 0),
        BodyPlace::File { segment, number } => (1, segment, number),
    };
    let small = [
        row.uid.value(),
        u32::from(row.flags.bits()),
        row.internal_date.offset_minutes as u32,
        content.area_bytes,
        content.prefix.0,
        content.prefix.1,
        content.header.0,
        content.header.1,
        body_kind,
    ];
    let large = [
        row.modseq.value(),
        row.keywords,
        row.internal_date.seconds as u64,
        row.save_date.0 as u64,
        row.email.0,
        row.thread.0,
        row.uidl.0,
        content.segment,
        content.area_at,
        content.body_bytes,
        body_a,
        body_b,
    ];
    let mut octets = [0; 9 * 4 + 12 * 8 + 20];
    let mut end = 0;
    let mut add = |value: &[u8]| {
        octets[end..end + value.len()].copy_from_slice(value);
        end += value.len();
    };
    small.iter().for_each(|value| add(&value.to_le_bytes()));
    large.iter().for_each(|value| add(&value.to_le_bytes()));
    if let Some(origin) = &row.origin {
        add(&origin.mailbox.0.to_le_bytes());
        add(&origin.uid.value().to_le_bytes());
        add(&origin.save_date.0.to_le_bytes());
    }
    xxh3_64(&octets[..end])
}

/// The digest of rows: the sum of their hashes.
pub(crate) fn digest<'a>(rows: impl IntoIterator<Item = &'a Row>) -> u64 {
    rows.into_iter().fold(0, |sum, row| sum.wrapping_add(hash(row)))
}

/// Adds a row behind all others.
pub(crate) fn push(mailbox: &mut MailboxState, row: Row) {
    count_in(mailbox, &row);
    let tail_full = mailbox.chunks.last().is_none_or(|tail| tail.rows.len() >= TAIL_ROWS_MAX);
    if tail_full {
        fold(&mut mailbox.chunks);
        mailbox.chunks.push(Arc::new(Chunk { rows: vec![row] }));
    } else if let Some(tail) = mailbox.chunks.last_mut() {
        Arc::make_mut(tail).rows.push(row);
    }
}

/// Puts a full tail behind the rows of the chunk before it, where they fit.
fn fold(chunks: &mut Vec<Arc<Chunk>>) {
    let [.., before, tail] = chunks.as_mut_slice() else { return };
    if tail.rows.len() > TAIL_ROWS_MAX || before.rows.len() + tail.rows.len() > CHUNK_ROWS_MAX {
        return;
    }
    Arc::make_mut(before).rows.extend_from_slice(&tail.rows);
    chunks.pop();
}

/// Changes all rows whose UIDs lie in the ranges. Chunks without such rows stay shared.
pub(crate) fn change(mailbox: &mut MailboxState, uids: &[UidRange], mut with: impl FnMut(&mut Row)) {
    let mut chunks = std::mem::take(&mut mailbox.chunks);
    for chunk in chunks.iter_mut().filter(|chunk| touches(chunk, uids)) {
        for row in &mut Arc::make_mut(chunk).rows {
            if contains(uids, row.uid) {
                count_out(mailbox, row);
                with(row);
                count_in(mailbox, row);
            }
        }
    }
    mailbox.chunks = chunks;
}

/// Removes all rows whose UIDs lie in the ranges, and gives them.
pub(crate) fn remove(mailbox: &mut MailboxState, uids: &[UidRange]) -> Vec<Row> {
    let chunks = std::mem::take(&mut mailbox.chunks);
    let mut removed = Vec::new();
    let mut kept: Vec<Arc<Chunk>> = Vec::with_capacity(chunks.len());
    for mut chunk in chunks {
        if !touches(&chunk, uids) {
            kept.push(chunk);
            continue;
        }
        for row in chunk.rows.iter().filter(|row| contains(uids, row.uid)) {
            count_out(mailbox, row);
            removed.push(row.clone());
        }
        Arc::make_mut(&mut chunk).rows.retain(|row| !contains(uids, row.uid));
        match kept.last_mut() {
            _ if chunk.rows.is_empty() => {}
            Some(before) if before.rows.len() + chunk.rows.len() <= MERGED_ROWS_MAX => {
                Arc::make_mut(before).rows.extend_from_slice(&chunk.rows);
            }
            _ => kept.push(chunk),
        }
    }
    mailbox.chunks = kept;
    removed
}

/// Whether some UID between the chunk's first and last lies in the ranges, which ascend.
fn touches(chunk: &Chunk, uids: &[UidRange]) -> bool {
    let (Some(first), Some(last)) = (chunk.rows.first(), chunk.rows.last()) else { return false };
    let at = uids.partition_point(|range| range.last < first.uid);
    uids.get(at).is_some_and(|range| range.first <= last.uid)
}

fn contains(uids: &[UidRange], uid: Uid) -> bool {
    let at = uids.partition_point(|range| range.last < uid);
    uids.get(at).is_some_and(|range| range.first <= uid)
}

fn count_in(mailbox: &mut MailboxState, row: &Row) {
    mailbox.count += 1;
    mailbox.unseen += u32::from(!row.flags.contains(SystemFlags::SEEN));
    mailbox.deleted += u32::from(row.flags.contains(SystemFlags::DELETED));
    mailbox.bytes += row.content.size();
    mailbox.digest = mailbox.digest.wrapping_add(hash(row));
}

fn count_out(mailbox: &mut MailboxState, row: &Row) {
    mailbox.count -= 1;
    mailbox.unseen -= u32::from(!row.flags.contains(SystemFlags::SEEN));
    mailbox.deleted -= u32::from(row.flags.contains(SystemFlags::DELETED));
    mailbox.bytes -= row.content.size();
    mailbox.digest = mailbox.digest.wrapping_sub(hash(row));
}
