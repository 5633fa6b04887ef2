//! Walking over a segment from frame to frame, past whatever is damaged.

use std::sync::Arc;

use waypost_mail::EntryId;

use super::{
    Placement, Position, Stored,
    chunk::Run,
    layout::{self, Block, FRAME_HEADER_BYTES, FrameHeader, FrameKind, HeaderFault, Home, SegmentId},
};
use crate::{disk::DiskFile, error::StoreError};

/// Octets read at the place of a frame: most frames' header and record block.
const GUESS_BYTES: u64 = 4096;
/// Octets searched at once.
const WINDOW_BYTES: u64 = 256 * 1024;

/// Whether areas are read and verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Areas {
    Verify,
    Skip,
}

/// Walks over the frames of one segment.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) segment: SegmentId,
    /// Where the next frame should be.
    pub(super) at: u64,
    /// Where to stop.
    pub(super) end: u64,
    pub(super) areas: Areas,
}

#[derive(Debug)]
pub(super) enum Step {
    Frame(Frame),
    Gap(Gap),
}

/// A frame whose header and record block are intact.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) at: u64,
    pub(super) header: FrameHeader,
    pub(super) block: Block,
    /// Where it stood when it was written, if its segment was compacted since.
    pub(super) home: Option<Home>,
    /// `false`: its area was verified and is damaged.
    pub(super) area_intact: bool,
}

/// Octets that are no intact frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Gap {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The entry, where the frame's header is intact.
    pub(super) entry: Option<EntryId>,
    /// Nothing but zeros, up to the end of the walk.
    pub(super) blank: bool,
}

impl Frame {
    pub(super) fn placement(&self, segment: u64) -> Placement {
        let Home { at, area_at, area_bytes } = self.home();
        Placement { at: Position { segment, offset: at }, area_at, area_bytes }
    }

    /// Where it stood when it was written.
    pub(super) fn home(&self) -> Home {
        self.home.unwrap_or(Home {
            at: self.at,
            area_at: self.header.area_at(self.at),
            area_bytes: self.header.area_bytes,
        })
    }

    /// Its records as readers get them.
    pub(super) fn into_stored(self, segment: u64) -> impl Iterator<Item = Stored> {
        let (entry, placement) = (self.header.entry, self.placement(segment));
        self.block.records.into_iter().map(move |record| Stored { record, entry, placement })
    }
}

impl Walk {
    /// The next frame or gap; `None` at the end.
    pub(super) fn step(&mut self) -> Result<Option<Step>, StoreError> {
        if self.at + FRAME_HEADER_BYTES > self.end {
            return Ok(None);
        }
        let at = self.at;
        let start = self.read(at, GUESS_BYTES.min(self.end - at))?;
        let step = match self.header(&start, at)? {
            Some(header) if header.end(at) <= self.end => self.frame(header, &start)?,
            _ => Step::Gap(self.search()?),
        };
        self.at = match &step {
            Step::Frame(frame) => frame.header.end(at),
            Step::Gap(gap) => gap.to,
        };
        Ok(Some(step))
    }

    fn header(&self, octets: &[u8], at: u64) -> Result<Option<FrameHeader>, StoreError> {
        let header = octets.get(..FRAME_HEADER_BYTES as usize).unwrap_or_default();
        match FrameHeader::decode(header, &self.segment, at) {
            Ok(header) => Ok(Some(header)),
            Err(HeaderFault::Invalid) => Ok(None),
            Err(HeaderFault::Newer) => Err(StoreError::Open(format!(
                "segment {} of the journal holds a frame (at {at}) that a newer version of Waypost wrote",
                self.segment.number
            ))),
        }
    }

    fn frame(&self, header: FrameHeader, start: &[u8]) -> Result<Step, StoreError> {
        let at = self.at;
        let range = FRAME_HEADER_BYTES as usize..FRAME_HEADER_BYTES as usize + header.block_bytes as usize;
        let more;
        let octets = match start.get(range) {
            Some(octets) => octets,
            None => {
                more = self.read(at + FRAME_HEADER_BYTES, u64::from(header.block_bytes))?;
                &more
            }
        };
        let intact =
            octets.len() == header.block_bytes as usize && crc32c::crc32c(octets) == header.block_check;
        let decoded = match header.kind {
            _ if !intact => None,
            FrameKind::Moved => layout::decode_moved(octets).map(|(home, block)| (Some(home), block)),
            FrameKind::Mark => Some((None, Block::default())),
            FrameKind::Entry => layout::decode_block(octets).map(|block| (None, block)),
        };
        let Some((home, block)) = decoded else {
            return Ok(Step::Gap(Gap {
                from: at,
                to: header.end(at),
                entry: Some(header.entry),
                blank: false,
            }));
        };
        let area = Run { base: header.area_at(at), length: u64::from(header.area_bytes) };
        let area_intact = self.areas == Areas::Skip || area.is_intact(&*self.file)?;
        Ok(Step::Frame(Frame { at, header, block, home, area_intact }))
    }

    /// Looks for the next frame behind a place that is none.
    fn search(&self) -> Result<Gap, StoreError> {
        let (mut at, mut blank) = (self.at + 1, self.read(self.at, 1)? == [0]);
        while at < self.end {
            let window = self.read(at, WINDOW_BYTES.min(self.end - at))?;
            let is_blank = is_zero(&window);
            blank &= is_blank;
            if window.is_empty() {
                break;
            }
            if !is_blank && let Some(found) = self.search_window(&window, at)? {
                return Ok(Gap { from: self.at, to: found, entry: None, blank: false });
            }
            // The next window overlaps this one, so that a marker across the border is found.
            let overlap =
                if at + (window.len() as u64) < self.end { self.segment.marker.len() as u64 - 1 } else { 0 };
            at += (window.len() as u64).saturating_sub(overlap).max(1);
        }
        Ok(Gap { from: self.at, to: self.end, entry: None, blank })
    }

    fn search_window(&self, window: &[u8], base: u64) -> Result<Option<u64>, StoreError> {
        let marker = &self.segment.marker;
        let mut from = 0;
        while let Some(found) = window[from..].iter().position(|octet| *octet == marker[0]) {
            let place = from + found;
            if window[place..].starts_with(marker) {
                let at = base + place as u64;
                let octets = self.read(at, FRAME_HEADER_BYTES)?;
                if self.header(&octets, at)?.is_some_and(|header| header.end(at) <= self.end) {
                    return Ok(Some(at));
                }
            }
            from = place + 1;
        }
        Ok(None)
    }

    fn read(&self, at: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let mut buffer = vec![0; length as usize];
        let read = self.file.read_at(at, &mut buffer)?;
        buffer.truncate(read);
        Ok(buffer)
    }
}

/// Compares with zeros a page at a time, which is fast in any build.
pub(super) fn is_zero(octets: &[u8]) -> bool {
    static ZEROS: [u8; 4096] = [0; 4096];
    octets.chunks(ZEROS.len()).all(|piece| *piece == ZEROS[..piece.len()])
}
