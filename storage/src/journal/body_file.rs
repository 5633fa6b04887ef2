//! Body files: `bodies/<segment>/<number>`, written while a large body arrives, named by an entry afterwards.
//!
//! ```text
//! create ─► append … ─► sync ─► claim (an entry names it)
//!    └─────────┴──────────┴──► dropped: the file is removed
//! ```

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;

use super::{
    chunk::{self, Run},
    files::{Files, lock, missing},
    layout::{self, FORMAT},
};
use crate::{decide::Need, disk::DiskFile, error::StoreError};

const HEADER_BYTES: usize = 40;
const MAGIC: [u8; 8] = *b"WPBODY\0\0";

/// A body file that no entry names yet. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct BodyFile {
    files: Arc<Files>,
    file: Arc<dyn DiskFile>,
    segment: u64,
    number: u64,
    /// Where the next chunk goes.
    end: u64,
    claimed: bool,
}

impl BodyFile {
    /// Begins a file. Blocks.
    pub(crate) fn create(files: Arc<Files>) -> Result<Self, StoreError> {
        if files.is_poisoned() {
            return Err(StoreError::Poisoned);
        }
        if !files.room().is_enough_for(Need::Mail) {
            return Err(StoreError::Full);
        }
        let segment = files.current.load(Ordering::Relaxed);
        files.make_body_directory(segment)?;
        let (number, file) = loop {
            let number = files.next_body.fetch_add(1, Ordering::Relaxed);
            lock(&files.arriving).insert((segment, number));
            match files.disk.create(&files.body_path(segment, number)) {
                // Left behind by an earlier run.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    lock(&files.arriving).remove(&(segment, number));
                }
                Err(error) => {
                    lock(&files.arriving).remove(&(segment, number));
                    return Err(error.into());
                }
                Ok(file) => break (number, file),
            }
        };
        let body = Self { files, file, segment, number, end: HEADER_BYTES as u64, claimed: false };
        body.file.write_at(0, &header(segment, number))?;
        Ok(body)
    }

    /// Appends octets, given in pieces, as chunks; only the last call may give something else than whole chunks. Blocks.
    pub(crate) fn append(&mut self, pieces: &[Bytes]) -> Result<(), StoreError> {
        let octets: usize = pieces.iter().map(Bytes::len).sum();
        let mut chunks = Vec::with_capacity(chunk::stored_bytes(octets as u64) as usize);
        chunk::encode(pieces, &mut chunks);
        self.file.write_at(self.end, &chunks)?;
        self.end += chunks.len() as u64;
        Ok(())
    }

    /// Makes the file and its name durable. Blocks.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync()?;
        Ok(self.files.disk.sync_directory(&self.files.body_directory(self.segment))?)
    }

    /// Segment and number: how an entry names it.
    pub(crate) fn name(&self) -> (u64, u64) {
        (self.segment, self.number)
    }

    /// An entry names it now: it stays.
    pub(crate) fn claim(mut self) {
        self.claimed = true;
    }
}

impl Drop for BodyFile {
    fn drop(&mut self) {
        // One unlink: short enough for the thread that lets go of a message that was not accepted.
        if !self.claimed
            && let Err(error) = self.files.disk.remove(&self.files.body_path(self.segment, self.number))
        {
            tracing::warn!(event = "body_not_removed", segment = self.segment, number = self.number, %error);
        }
        lock(&self.files.arriving).remove(&self.name());
    }
}

impl Files {
    /// Verified chunks of a body file, `count` from `first` on. Blocks.
    pub(crate) fn body_chunks(
        &self,
        (segment, number): (u64, u64),
        body_bytes: u64,
        first: u64,
        count: u64,
    ) -> Result<Vec<Bytes>, StoreError> {
        let place = |index| {
            format!("body {number} of segment {segment}, octets {} on", index * chunk::CHUNK_BYTES as u64)
        };
        let file = self.body_file(segment, number).map_err(|error| missing(error, &place(first)))?;
        if first == 0 {
            let mut found = [0; HEADER_BYTES];
            file.read_at(0, &mut found)?;
            if found != header(segment, number) {
                return Err(StoreError::Damaged(format!("body {number} of segment {segment}, its header")));
            }
        }
        Run { base: HEADER_BYTES as u64, length: body_bytes }.read(&*file, first, count, place)
    }

    fn make_body_directory(&self, segment: u64) -> Result<(), StoreError> {
        let mut last = lock(&self.last_bodies_directory);
        if *last != Some(segment) {
            self.disk.create_directory(&self.body_directory(segment))?;
            *last = Some(segment);
        }
        Ok(())
    }
}

/// The chunks of a body file of this length.
pub(super) fn run(file_bytes: u64) -> Run {
    let base = HEADER_BYTES as u64;
    Run { base, length: chunk::carried_bytes(file_bytes.saturating_sub(base)) }
}

fn header(segment: u64, number: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[16..24].copy_from_slice(&segment.to_le_bytes());
    header[24..32].copy_from_slice(&number.to_le_bytes());
    layout::seal(&mut header, 0);
    header
}
