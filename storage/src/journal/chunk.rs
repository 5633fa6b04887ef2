//! Octets in chunks of 64 KiB, each followed by its CRC32C: how areas and body files lie on the disk.

use bytes::Bytes;

use crate::{disk::DiskFile, error::StoreError};

/// Octets under one check.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;
/// Octets of a check.
const CHECK_BYTES: usize = 4;

/// Octets on the disk of `length` octets in chunks.
pub(super) fn stored_bytes(length: u64) -> u64 {
    length + length.div_ceil(CHUNK_BYTES as u64) * CHECK_BYTES as u64
}

/// Octets in chunks that take `stored` octets on the disk: the reverse of [`stored_bytes`].
pub(super) fn carried_bytes(stored: u64) -> u64 {
    stored.saturating_sub(stored.div_ceil(chunk_at(1)) * CHECK_BYTES as u64)
}

/// Where chunk `index` begins on the disk, counted from the first one.
pub(super) fn chunk_at(index: u64) -> u64 {
    index * (CHUNK_BYTES + CHECK_BYTES) as u64
}

/// Appends octets, given in pieces, as chunks with their checks.
pub(super) fn encode(pieces: &[Bytes], output: &mut Vec<u8>) {
    let (mut check, mut filled) = (0, 0);
    for piece in pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(CHUNK_BYTES - filled));
            check = crc32c::crc32c_append(check, now);
            output.extend_from_slice(now);
            filled += now.len();
            rest = later;
            if filled == CHUNK_BYTES {
                output.extend_from_slice(&check.to_le_bytes());
                (check, filled) = (0, 0);
            }
        }
    }
    if filled > 0 {
        output.extend_from_slice(&check.to_le_bytes());
    }
}

/// A run of chunks that begins at `base` in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) base: u64,
    /// Octets in all its chunks, checks not counted.
    pub(super) length: u64,
}

impl Run {
    /// Reads up to `count` chunks from chunk `first` on with one pread, and verifies them. `Err(Damaged)` carries what
    /// `place` says of the chunk.
    pub(super) fn read(
        self,
        file: &dyn DiskFile,
        first: u64,
        count: u64,
        place: impl Fn(u64) -> String,
    ) -> Result<Vec<Bytes>, StoreError> {
        let start = first * CHUNK_BYTES as u64;
        let length = self.length.saturating_sub(start).min(count * CHUNK_BYTES as u64);
        let mut buffer = vec![0; stored_bytes(length) as usize];
        let read = file.read_at(self.base + chunk_at(first), &mut buffer)?;
        buffer.truncate(read);
        let buffer = Bytes::from(buffer);
        let indexes = first..first + length.div_ceil(CHUNK_BYTES as u64);
        let chunk = |index: u64| {
            let at = chunk_at(index - first) as usize;
            let length = (self.length - index * CHUNK_BYTES as u64).min(CHUNK_BYTES as u64) as usize;
            verified(&buffer, at, length).ok_or_else(|| StoreError::Damaged(place(index)))
        };
        indexes.map(chunk).collect()
    }

    /// Whether all its chunks can be read and agree with their checks.
    pub(super) fn is_intact(self, file: &dyn DiskFile) -> Result<bool, StoreError> {
        /// Chunks read at once.
        const AT_ONCE: u64 = 16;
        let chunks = self.length.div_ceil(CHUNK_BYTES as u64);
        for first in (0..chunks).step_by(AT_ONCE as usize) {
            match self.read(file, first, AT_ONCE, |_| String::new()) {
                Err(StoreError::Damaged(_)) => return Ok(false),
                other => other.map(drop)?,
            }
        }
        Ok(true)
    }
}

fn verified(buffer: &Bytes, at: usize, length: usize) -> Option<Bytes> {
    let check = buffer.get(at + length..at + length + CHECK_BYTES)?;
    let octets = buffer.slice(at..at + length);
    (crc32c::crc32c(&octets).to_le_bytes() == check).then_some(octets)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::{Disk, Simulated};

    #[test]
    fn octets_come_back_from_chunks_and_damage_is_placed() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5] {
            let octets: Vec<u8> = (0..length).map(|place| (place * 31 % 251) as u8).collect();
            let (first, second) = octets.split_at(length * 2 / 3);
            let mut stored = vec![9; 10];
            encode(
                &[Bytes::copy_from_slice(first), Bytes::new(), Bytes::copy_from_slice(second)],
                &mut stored,
            );
            assert_eq!(stored.len() as u64, 10 + stored_bytes(length as u64));
            assert_eq!(carried_bytes(stored.len() as u64 - 10), length as u64);
            let disk = Simulated::new(1);
            disk.create_directory(Path::new("/")).unwrap();
            let file = disk.create(Path::new("/file")).unwrap();
            file.write_at(0, &stored).unwrap();
            file.sync().unwrap();
            let run = Run { base: 10, length: length as u64 };
            let read = |first, count| run.read(&*file, first, count, |index| index.to_string());
            assert_eq!(read(0, 9).unwrap().concat(), octets);
            assert_eq!(
                read(1, 1).unwrap().concat(),
                octets[CHUNK_BYTES.min(length)..(2 * CHUNK_BYTES).min(length)]
            );
            assert!(run.is_intact(&*file).unwrap());
            if length > 0 {
                let last = (length - 1) / CHUNK_BYTES;
                assert!(disk.flip(Path::new("/file"), stored.len() - 1, 1));
                assert_eq!(read(0, 9), Err(StoreError::Damaged(last.to_string())));
                assert!(!run.is_intact(&*file).unwrap());
            }
        }
    }
}
