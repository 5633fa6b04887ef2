//! New segments: made aside, allocated and synced before they get their name.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Position,
    files::Files,
    layout::{MARK_BYTES, Marker, SEGMENT_HEADER_BYTES, SegmentId},
};
use crate::{disk::DiskFile, error::StoreError};

/// A segment that can take frames.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) id: SegmentId,
    pub(super) file: Arc<dyn DiskFile>,
    /// Octets that are allocated.
    pub(super) capacity: u64,
    /// Where the next frame goes.
    pub(super) end: u64,
    /// Up to where something was written: octets behind it, which are only allocated, cost a change of the file system's own books when
    /// they are.
    pub(super) written: u64,
}

impl Tail {
    pub(super) fn is_empty(&self) -> bool {
        self.end == SEGMENT_HEADER_BYTES
    }

    pub(super) fn position(&self) -> Position {
        Position { segment: self.id.number, offset: self.end }
    }

    /// Allocates more where a frame of this size, with a mark behind it, does not fit.
    pub(super) fn extend(&mut self, frame_bytes: u64) -> Result<(), StoreError> {
        let needed = self.end + frame_bytes + MARK_BYTES;
        if needed > self.capacity {
            self.file.allocate(needed)?;
            self.capacity = needed;
        }
        Ok(())
    }
}

impl Files {
    /// Makes an empty segment. `Full`: there is no room; nothing is left behind.
    pub(super) fn create_segment(&self, number: u64, bytes: u64) -> Result<Tail, StoreError> {
        let id = SegmentId { number, marker: random_marker()? };
        let path = self.segment_path(number);
        let file = self.replace(&path, |file| {
            file.allocate(bytes.max(SEGMENT_HEADER_BYTES))?;
            Ok(file.write_at(0, &id.encode())?)
        })?;
        let capacity = file.length()?;
        Ok(Tail { id, file, capacity, end: SEGMENT_HEADER_BYTES, written: SEGMENT_HEADER_BYTES })
    }

    /// Writes a file beside `path`, syncs it and gives it that name, durably. On an error nothing is left behind.
    pub(super) fn replace(
        &self,
        path: &Path,
        write: impl FnOnce(&dyn DiskFile) -> Result<(), StoreError>,
    ) -> Result<Arc<dyn DiskFile>, StoreError> {
        let (file, aside) = self.create_aside(path)?;
        let named = write(&*file).and_then(|()| {
            file.sync()?;
            self.disk.rename(&aside, path)?;
            Ok(self.disk.sync_directory(path.parent().unwrap_or(path))?)
        });
        self.or_remove(&aside, named).map(|()| file)
    }

    /// Writes a file beside `path` and syncs it; where it is. On an error nothing is left behind.
    pub(super) fn write_aside(
        &self,
        path: &Path,
        write: impl FnOnce(&dyn DiskFile) -> Result<(), StoreError>,
    ) -> Result<PathBuf, StoreError> {
        let (file, aside) = self.create_aside(path)?;
        let written = write(&*file).and_then(|()| Ok(file.sync()?));
        self.or_remove(&aside, written).map(|()| aside)
    }

    fn create_aside(&self, path: &Path) -> Result<(Arc<dyn DiskFile>, PathBuf), StoreError> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(TEMPORARY_SUFFIX);
        let aside = PathBuf::from(aside);
        let file = match self.disk.create(&aside) {
            // Left behind by a crash.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.remove(&aside)?;
                self.disk.create(&aside)?
            }
            other => other?,
        };
        Ok((file, aside))
    }

    fn or_remove(&self, aside: &Path, done: Result<(), StoreError>) -> Result<(), StoreError> {
        if done.is_err()
            && let Err(error) = self.disk.remove(aside)
        {
            // The next start removes it.
            tracing::debug!(event = "temporary_file_left", path = %aside.display(), %error);
        }
        done
    }
}

/// What the names of files end in that are not complete yet.
pub(super) const TEMPORARY_SUFFIX: &str = ".tmp";

pub(super) fn random_marker() -> Result<Marker, StoreError> {
    let mut marker = Marker::default();
    getrandom::fill(&mut marker).map_err(|error| StoreError::Io(format!("no randomness: {error}")))?;
    Ok(marker)
}
