//! Copying and hashing files in pieces.

use std::{io, path::Path};

use xxhash_rust::xxh3::Xxh3Default;

use super::create_anew;
use crate::{
    disk::{Disk, DiskFile},
    error::StoreError,
};

/// Octets that are in memory at once.
const PIECE_BYTES: u64 = 1024 * 1024;

/// The hash of a file's first `length` octets and of a tail; `Io`: it ends earlier.
pub(super) fn hash(file: &dyn DiskFile, length: u64, tail: &[u8]) -> Result<u64, StoreError> {
    each_piece(file, length, tail, |_, _| Ok(()))
}

/// Copies a file's first `length` octets and a tail to `aside`, synced; their hash. The caller gives it its name.
pub(super) fn copy(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    length: u64,
    tail: &[u8],
    aside: &Path,
) -> Result<u64, StoreError> {
    let to = create_anew(disk, aside)?;
    let hash = each_piece(file, length, tail, |at, piece| to.write_at(at, piece))?;
    to.sync()?;
    Ok(hash)
}

fn each_piece(
    file: &dyn DiskFile,
    length: u64,
    tail: &[u8],
    mut with: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> Result<u64, StoreError> {
    let mut hasher = Xxh3Default::new();
    let mut buffer = vec![0; PIECE_BYTES.min(length) as usize];
    let mut at = 0;
    while at < length {
        let piece = (length - at).min(PIECE_BYTES) as usize;
        let read = file.read_at(at, &mut buffer[..piece])?;
        if read == 0 {
            return Err(StoreError::Io(format!("a file ended at {at} of {length} while it was read")));
        }
        hasher.update(&buffer[..read]);
        with(at, &buffer[..read])?;
        at += read as u64;
    }
    if !tail.is_empty() {
        hasher.update(tail);
        with(at, tail)?;
    }
    Ok(hasher.digest())
}
