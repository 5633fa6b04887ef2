//! A batch: what is written and synced at once, one write and one sync for each segment.

use std::{io, sync::Arc};

use super::{
    Position,
    files::{Files, Index, add_to_index},
    layout::{Draft, FRAME_HEADER_BYTES, FrameHeader, SEGMENT_HEADER_BYTES, SegmentId},
};
use crate::{disk::DiskFile, error::StoreError};

/// Entries on their way to the disk.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(super) files: Arc<Files>,
    pub(super) parts: Vec<Part>,
    /// All before it was durable when the batch was taken.
    pub(super) proven: Position,
    /// Where it ends.
    pub(super) end: Position,
}

/// The part of a batch that goes to one segment.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) segment: SegmentId,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) start: u64,
    pub(super) octets: Vec<u8>,
    pub(super) index: Index,
    /// Up to where zeros are written behind it, within what is allocated; 0: there are none.
    pub(super) written: u64,
    /// Offsets of the frames in the segment with their headers, which are written when it is known what is durable.
    frames: Vec<(u64, FrameHeader)>,
}

impl Batch {
    /// Writes and syncs: durable when this returns. `Poisoned`: it may or may not be durable; the next opening of the journal
    /// decides, and nothing is written until then.
    pub(crate) fn write(&mut self) -> Result<(), StoreError> {
        for part in &mut self.parts {
            if self.files.is_poisoned() {
                return Err(StoreError::Poisoned);
            }
            part.write_headers(self.proven);
            let written = part.write().and_then(|()| part.file.sync());
            if let Err(error) = written {
                tracing::error!(event = "journal_poisoned", segment = part.segment.number, %error);
                self.files.poison();
                return Err(StoreError::Poisoned);
            }
        }
        Ok(())
    }
}

impl Part {
    /// Octets are gathered in `buffer`, which is empty.
    pub(super) fn new(segment: SegmentId, file: Arc<dyn DiskFile>, start: u64, buffer: Vec<u8>) -> Self {
        Self { segment, file, start, octets: buffer, index: Index::new(), written: 0, frames: Vec::new() }
    }

    /// Adds the frame that stands at `offset`, behind all that is there; its header.
    pub(super) fn add(&mut self, offset: u64, draft: &Draft) -> FrameHeader {
        let header = draft.encode(&mut self.octets);
        add_to_index(&mut self.index, offset, draft.records().iter().map(|record| record.stream));
        self.frames.push((offset, header));
        header
    }

    fn write(&self) -> io::Result<()> {
        self.file.write_at(self.start, &self.octets)?;
        self.file.write_zeros(self.start + self.octets.len() as u64, self.written)
    }

    /// `proven`: all before it is durable. In a later segment, all before the segment is: it was synced first.
    fn write_headers(&mut self, proven: Position) {
        let segment = self.segment;
        let begin = Position { segment: segment.number, offset: SEGMENT_HEADER_BYTES };
        let synced_to = if proven.segment == segment.number { proven } else { begin };
        for (offset, header) in &self.frames {
            let at = (offset - self.start) as usize;
            let header = FrameHeader { synced_to, ..*header };
            self.octets[at..at + FRAME_HEADER_BYTES as usize]
                .copy_from_slice(&header.encode(&segment, *offset));
        }
    }
}
