//! Compaction: a full segment is written again without what nobody needs any more, and takes its own place.
//!
//! ```text
//! n.segment ──frames that are needed──► n.segment.tmp ──sync──► rename to n.segment ──► new footer
//! ```
//!
//! Sealed segments do not change otherwise. A compacted segment has a marker of its own; its frames say where they and their
//! areas stood when they were written, so what names a place in the journal, in rows, records and heads, stays right. Whoever
//! reads the old file meanwhile goes on reading it. A segment in which anything is damaged is left as it is: damage is
//! evidence, and what cannot be read may be needed.

use std::collections::{HashMap, HashSet};

use super::{
    Position, RawRecord, Stream,
    chunk::{self, Run},
    files::{Files, Index, OpenSegment, Segment, add_to_index},
    fresh::random_marker,
    layout::{Block, FrameHeader, SEGMENT_HEADER_BYTES, SegmentId, encode_moved},
    walk::{Areas, Frame, Step},
};
use crate::{disk::DiskFile, error::StoreError};

/// Octets written at once.
const WRITE_BYTES: usize = 1024 * 1024;
/// Segments of which less is needed are compacted, in percent.
const NEEDED_PERCENT: u64 = 80;

/// What is still needed of the journal.
#[derive(Debug, Default)]
pub(crate) struct Needed {
    /// Areas with their octets, by segment and by where they were written.
    areas: HashMap<u64, HashMap<u64, u32>>,
    bodies: HashSet<(u64, u64)>,
    /// Up to which seq the records of a stream are needed no more.
    superseded: HashMap<Stream, u64>,
}

impl Needed {
    /// An area is needed.
    pub(crate) fn need_area(&mut self, segment: u64, at: u64, bytes: u32) {
        self.areas.entry(segment).or_default().insert(at, bytes);
    }

    /// A body file is needed.
    pub(crate) fn need_body(&mut self, segment: u64, number: u64) {
        self.bodies.insert((segment, number));
    }

    /// Whether a body file is needed.
    pub(crate) fn needs_body(&self, body: (u64, u64)) -> bool {
        self.bodies.contains(&body)
    }

    /// Records of a stream up to a seq are needed no more.
    pub(crate) fn supersede(&mut self, stream: Stream, until: u64) {
        self.superseded.insert(stream, until);
    }

    fn needs(&self, record: &RawRecord) -> bool {
        self.superseded.get(&record.stream).is_none_or(|until| record.seq > *until)
    }

    fn needs_area(&self, segment: u64, at: u64) -> bool {
        self.areas.get(&segment).is_some_and(|areas| areas.contains_key(&at))
    }

    /// Octets of a segment's needed areas on the disk.
    fn area_bytes(&self, segment: u64) -> u64 {
        let areas = self.areas.get(&segment).into_iter().flat_map(HashMap::values);
        areas.map(|bytes| chunk::stored_bytes(u64::from(*bytes))).sum()
    }
}

impl Files {
    /// Compacts a sealed segment if enough of it is needed no more; octets that were given back.
    pub(crate) fn compact(&self, number: u64, needed: &Needed) -> Result<u64, StoreError> {
        if self.is_poisoned() {
            return Err(StoreError::Poisoned);
        }
        let (opened, (end, sealed)) =
            self.segment(number, |segment| (segment.end, segment.index.is_none()))?;
        let Some(footer) = self.footer(number)?.filter(|footer| sealed && footer.header.segment == opened.id)
        else {
            return Ok(0);
        };
        let records = footer
            .record_bytes(|stream, last| needed.superseded.get(&stream).is_none_or(|until| last > *until));
        let estimate = SEGMENT_HEADER_BYTES + records + needed.area_bytes(number);
        if estimate * 100 >= end * NEEDED_PERCENT {
            return Ok(0);
        }
        let path = self.segment_path(number);
        let id = SegmentId { number, marker: random_marker()? };
        let mut rewritten = None;
        let aside = self.write_aside(&path, |file| {
            rewritten = rewrite(&opened, end, id, needed, file)?;
            Ok(())
        })?;
        let Some((new_end, index)) = rewritten else {
            // Damage: the next check and the next start name it.
            self.disk.remove(&aside)?;
            tracing::warn!(event = "segment_not_compacted", segment = number, "it is damaged");
            return Ok(0);
        };
        self.exchange(&aside, Segment { id, end: new_end, index: Some(index), compacted: true })?;
        self.disk.sync_directory(self.journal_directory())?;
        self.seal(number)?;
        Ok(end.saturating_sub(new_end))
    }

    /// The segments that may be compacted when the index is durable up to segment `heads`: behind each there is a full one, so
    /// that no start takes it for the end of the journal.
    pub(crate) fn compactable(&self, heads: u64) -> Vec<u64> {
        let last = self.end().segment.saturating_sub(2).min(heads.saturating_sub(1));
        self.catalog().range(..=last).map(|(number, _)| *number).collect()
    }
}

/// Writes what is needed of a segment to another file; where that ends and where its frames are. `None`: it is damaged.
fn rewrite(
    opened: &OpenSegment,
    end: u64,
    id: SegmentId,
    needed: &Needed,
    file: &dyn DiskFile,
) -> Result<Option<(u64, Index)>, StoreError> {
    let mut output = Output { file, written: 0, buffer: id.encode().to_vec() };
    let mut index = Index::new();
    let mut walk = opened.walk(SEGMENT_HEADER_BYTES, end, Areas::Skip);
    while let Some(step) = walk.step()? {
        let Step::Frame(frame) = step else { return Ok(None) };
        let Some((block, area_bytes)) = what_is_needed(&frame, id.number, needed) else { return Ok(None) };
        if block.records.is_empty() && area_bytes == 0 {
            continue;
        }
        let at = output.at();
        add_to_index(&mut index, at, block.records.iter().map(|record| record.stream));
        output.add(&encode_moved(&id, at, frame.header.entry, frame.home(), &block, area_bytes))?;
        let area = Run { base: frame.header.area_at(frame.at), length: u64::from(area_bytes) };
        if area_bytes > 0 && !output.copy(&*opened.file, area)? {
            return Ok(None);
        }
    }
    let at = output.at();
    output.add(&FrameHeader::mark(Position { segment: id.number, offset: at }).encode(&id, at))?;
    output.flush()?;
    Ok(Some((output.at(), index)))
}

/// What is needed of a frame: records and body files, and the octets of its area, all or none. `None`: its area is needed, but
/// was not kept.
fn what_is_needed(frame: &Frame, segment: u64, needed: &Needed) -> Option<(Block, u32)> {
    let home = frame.home();
    let records = frame.block.records.iter().filter(|record| needed.needs(record)).cloned().collect();
    let bodies = frame.block.body_files.iter().filter(|body| needed.needs_body(**body)).copied().collect();
    let area_bytes = if needed.needs_area(segment, home.area_at) { home.area_bytes } else { 0 };
    let kept = area_bytes == 0 || frame.header.area_bytes == area_bytes;
    kept.then_some((Block { body_files: bodies, records }, area_bytes))
}

struct Output<'a> {
    file: &'a dyn DiskFile,
    written: u64,
    buffer: Vec<u8>,
}

impl Output<'_> {
    fn at(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn add(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        self.buffer.extend_from_slice(octets);
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.file.write_at(self.written, &self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Copies an area with its checks; `false` where one does not agree.
    fn copy(&mut self, from: &dyn DiskFile, area: Run) -> Result<bool, StoreError> {
        for index in 0..area.length.div_ceil(chunk::CHUNK_BYTES as u64) {
            let chunks = match area.read(from, index, 1, |_| String::new()) {
                Err(StoreError::Damaged(_)) => return Ok(false),
                other => other?,
            };
            let mut stored = Vec::with_capacity(chunk::CHUNK_BYTES + 4);
            chunk::encode(&chunks, &mut stored);
            self.add(&stored)?;
        }
        Ok(true)
    }
}
