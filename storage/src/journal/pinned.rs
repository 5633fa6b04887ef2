//! What a backup copies, and a journal that is only read.

use std::{io, path::Path, sync::Arc};

use super::{
    Position,
    files::{Files, lock},
    layout::{FrameHeader, SegmentId},
};
use crate::{
    disk::{Disk, DiskFile},
    error::StoreError,
};

/// A segment as it was at one moment. All before its end is committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pinned {
    id: SegmentId,
    /// Where its last frame ends.
    pub(crate) end: u64,
    /// Whether there is a footer that speaks for it.
    pub(crate) sealed: bool,
}

impl Pinned {
    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.id.number
    }

    /// Its marker: another one after each compaction.
    pub(crate) fn marker(&self) -> u128 {
        u128::from_be_bytes(self.id.marker)
    }

    /// The mark that says, behind its last frame, that all before is whole.
    pub(crate) fn mark(&self) -> Vec<u8> {
        let place = Position { segment: self.id.number, offset: self.end };
        FrameHeader::mark(place).encode(&self.id, self.end).to_vec()
    }
}

impl Files {
    /// All segments, as they are now: one moment for all of them.
    pub(crate) fn pin(&self) -> Vec<Pinned> {
        let catalog = self.catalog();
        let pinned = |segment: &super::files::Segment| Pinned {
            id: segment.id,
            end: segment.end,
            sealed: segment.index.is_none(),
        };
        catalog.values().map(pinned).collect()
    }

    /// The file of a segment.
    pub(crate) fn segment_file(&self, number: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::clone(&self.segment(number, |_| ())?.0.file))
    }

    /// The file of a footer.
    pub(crate) fn footer_file(&self, number: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(&self.footer_path(number))
    }

    /// The file of a body, not to be held.
    pub(crate) fn body_file_once(&self, segment: u64, number: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(&self.body_path(segment, number))
    }

    /// All bodies that are complete: those that an entry names which was committed before are among them.
    pub(crate) fn complete_bodies(&self) -> Result<Vec<(u64, u64)>, StoreError> {
        let mut bodies = Vec::new();
        for (segment, folder) in self.body_folders(0)? {
            for path in self.disk.list(&folder)? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                // Others are incomplete copies.
                if let Ok(number) = name.parse::<u64>() {
                    bodies.push((segment, number));
                }
            }
        }
        // Behind the list: what it holds and arrives no more is complete, or gone.
        let arriving = lock(&self.arriving);
        bodies.retain(|body| !arriving.contains(body));
        Ok(bodies)
    }

    /// A journal that was written and proven by someone else and is only read.
    pub(crate) fn view(disk: Arc<dyn Disk>, directory: &Path) -> Result<Arc<Self>, StoreError> {
        let files = Self::new(disk, directory, 0);
        let listing = files.listing()?;
        files.catalog_sealed(&listing, None)?;
        Ok(Arc::new(files))
    }
}
