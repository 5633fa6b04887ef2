//! Looking through a whole segment: what it holds, what is damaged, and what was never committed.

use std::{collections::BTreeSet, sync::Arc};

use waypost_mail::EntryId;

use super::{
    Position,
    files::{Files, Index, add_to_index},
    fresh::Tail,
    layout::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, HeaderFault, SEGMENT_HEADER_BYTES, SegmentId},
    walk::{Areas, Frame, Gap, Step, Walk, is_zero},
};
use crate::{disk::DiskFile, error::StoreError};

/// Octets compared with zero at once.
const WINDOW_BYTES: usize = 256 * 1024;

/// What a segment turned out to be.
#[derive(Debug)]
pub(super) enum Inspected {
    /// It holds frames.
    Used(Scan),
    /// Made ahead and never written to.
    Blank(Tail),
    /// No frame in it was ever completely written.
    Torn,
    /// Damaged so that not even its marker is known.
    Unreadable,
}

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) id: SegmentId,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) length: u64,
    pub(super) index: Index,
    /// Body files with the offset of the frame that names them.
    pub(super) body_files: Vec<(u64, (u64, u64))>,
    /// What is damaged or torn, ascending.
    faults: Vec<Fault>,
    /// All frames before this offset were durable once.
    proven: u64,
    /// Where the last intact frame ends.
    end: u64,
    last: Option<(u64, FrameHeader)>,
    header_intact: bool,
    /// Whether it was compacted.
    pub(super) compacted: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Frame(Gap),
    Area(u64, EntryId),
}

impl Fault {
    fn at(&self) -> u64 {
        match self {
            Self::Frame(gap) => gap.from,
            Self::Area(at, _) => *at,
        }
    }
}

impl Files {
    /// Looks through segment `number`.
    pub(super) fn inspect(&self, number: u64, areas: Areas) -> Result<Inspected, StoreError> {
        let file = self.disk.open(&self.segment_path(number))?;
        let length = file.length()?;
        let Some((id, header_intact)) = identify(&*file, number)? else {
            // A segment gets its name after its header is durable: zeros in its place are damage too, but nothing is lost.
            return Ok(if is_blank(&*file)? { Inspected::Torn } else { Inspected::Unreadable });
        };
        let mut scan = Scan::new(id, file, length, header_intact);
        let blank = scan.run(areas)?;
        Ok(match scan.last {
            Some(_) => Inspected::Used(scan),
            None if blank => Inspected::Blank(Tail {
                id,
                file: scan.file,
                capacity: length,
                end: SEGMENT_HEADER_BYTES,
                written: 0,
            }),
            None => Inspected::Torn,
        })
    }
}

impl Scan {
    fn new(id: SegmentId, file: Arc<dyn DiskFile>, length: u64, header_intact: bool) -> Self {
        Self {
            id,
            file,
            length,
            index: Index::new(),
            body_files: Vec::new(),
            faults: Vec::new(),
            proven: SEGMENT_HEADER_BYTES,
            end: SEGMENT_HEADER_BYTES,
            last: None,
            header_intact,
            compacted: false,
        }
    }

    /// Where the segment ends if it is the last one: at the first fault that nothing proves to have been whole.
    pub(super) fn cut(&self) -> u64 {
        self.faults.iter().map(Fault::at).find(|at| *at >= self.proven).unwrap_or(self.end)
    }

    /// Where the last intact frame ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// All frames before this offset were durable once.
    pub(super) fn proven(&self) -> u64 {
        self.proven
    }

    /// Body files that frames behind the last proof name.
    pub(super) fn unproven_bodies(&self) -> BTreeSet<(u64, u64)> {
        self.body_files.iter().filter(|(at, _)| *at >= self.proven).map(|(_, file)| *file).collect()
    }

    /// The place of the mark, if the segment ends with one that proves all of it.
    pub(super) fn clean_mark(&self) -> Option<u64> {
        let (at, header) = self.last?;
        let here = Position { segment: self.id.number, offset: at };
        let is_mark = header.kind == FrameKind::Mark && header.synced_to == here;
        let torn = self.faults.iter().any(|fault| fault.at() >= self.proven);
        (is_mark && !torn && self.header_intact).then_some(at)
    }

    /// Notes what is damaged before `end`; whether anything was.
    pub(super) fn note_damage(&self, files: &Files, end: u64) -> bool {
        let number = self.id.number;
        if !self.header_intact {
            files.note_damage(format!(
                "segment {number}: its header is damaged; nothing else is lost by that"
            ));
        }
        let damaged = self.faults.iter().take_while(|fault| fault.at() < end);
        let count = damaged.clone().count();
        for fault in damaged {
            match fault {
                Fault::Frame(gap) => files.note_gap(number, gap),
                Fault::Area(at, entry) => files.note_area(number, *at, *entry),
            }
        }
        count > 0 || !self.header_intact
    }

    /// Forgets all from `cut` on.
    pub(super) fn truncate(&mut self, cut: u64) {
        for offsets in self.index.values_mut() {
            offsets.retain(|at| *at < cut);
        }
        self.index.retain(|_, offsets| !offsets.is_empty());
        self.body_files.retain(|(at, _)| *at < cut);
    }

    /// Walks over the segment; whether there is nothing but zeros behind the last frame.
    fn run(&mut self, areas: Areas) -> Result<bool, StoreError> {
        let (file, segment) = (Arc::clone(&self.file), self.id);
        let mut walk = Walk { file, segment, at: SEGMENT_HEADER_BYTES, end: self.length, areas };
        let mut blank = true;
        while let Some(step) = walk.step()? {
            match step {
                Step::Frame(frame) => self.add(&frame),
                Step::Gap(gap) if gap.blank => {}
                Step::Gap(gap) => {
                    blank &= gap.to < self.length;
                    self.faults.push(Fault::Frame(gap));
                }
            }
        }
        Ok(blank)
    }

    fn add(&mut self, frame: &Frame) {
        if frame.header.synced_to.segment == self.id.number {
            self.proven = self.proven.max(frame.header.synced_to.offset);
        }
        if !frame.area_intact {
            self.faults.push(Fault::Area(frame.at, frame.header.entry));
        }
        add_to_index(&mut self.index, frame.at, frame.block.records.iter().map(|record| record.stream));
        self.body_files.extend(frame.block.body_files.iter().map(|file| (frame.at, *file)));
        self.compacted |= frame.home.is_some();
        self.end = frame.header.end(frame.at);
        self.last = Some((frame.at, frame.header));
    }
}

/// The segment's identity and whether its header is intact; where it is not, its first frame knows the marker as well.
pub(super) fn identify(file: &dyn DiskFile, number: u64) -> Result<Option<(SegmentId, bool)>, StoreError> {
    let mut start = [0; (SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES) as usize];
    file.read_at(0, &mut start)?;
    let (header, frame) = start.split_at(SEGMENT_HEADER_BYTES as usize);
    match SegmentId::decode(header, number) {
        Ok(id) => Ok(Some((id, true))),
        Err(HeaderFault::Newer) => {
            let sentence =
                "has a format of a newer version of Waypost; start that version, or restore a backup";
            Err(StoreError::Open(format!("segment {number} of the journal {sentence}")))
        }
        Err(HeaderFault::Invalid) => {
            let id = frame.first_chunk().map(|marker| SegmentId { number, marker: *marker });
            Ok(id
                .filter(|id| FrameHeader::decode(frame, id, SEGMENT_HEADER_BYTES).is_ok())
                .map(|id| (id, false)))
        }
    }
}

fn is_blank(file: &dyn DiskFile) -> Result<bool, StoreError> {
    let mut window = vec![0; WINDOW_BYTES];
    let mut at = 0;
    loop {
        let read = file.read_at(at, &mut window)?;
        if read == 0 || !is_zero(&window[..read]) {
            return Ok(read == 0);
        }
        at += read as u64;
    }
}
