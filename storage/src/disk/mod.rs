//! The seam to the disk: what the journal asks of a file system, so that a simulated one can lose, tear and reorder.

mod real;
mod simulated;

use std::{
    fmt::Debug,
    io,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

pub use real::Real;
pub use simulated::Simulated;

/// Zeros that are written at once: the more, the larger the pieces that the page cache is made of. Made when they are first wanted, and never
/// written to: as they come fresh from the kernel they are its one page of zeros, and take no room.
static ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; 1024 * 1024]);

/// A file system. Paths are absolute. What is not synced may be lost or torn by a crash, in any order.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Creates a directory and those above it where they are missing; their names are durable when this returns.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// Creates a new file for reading and writing; an error if it exists.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading only: it may lie where nothing can be written.
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }
    /// Renames, replacing what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The entries of a directory, sorted; empty where it does not exist.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Bytes that can still be written.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Whether what is written over octets of a file takes their place, so that it needs no room. Not so where a file system copies on write.
    fn writes_in_place(&self, path: &Path) -> bool;
    /// Whether it is in memory alone, where nothing waits. Then the store has no threads and does its work in the tasks that ask for it, so
    /// that a run on one thread repeats itself exactly; it keeps no index and no lock, which are files of the system, and nothing happens
    /// by itself (retention, compaction).
    fn is_memory(&self) -> bool {
        false
    }
}

/// An open file.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Reads until the buffer is full or the file ends; how much was read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all octets.
    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()>;
    /// Writes zeros from `start` up to `end`; none where that is no later.
    fn write_zeros(&self, start: u64, end: u64) -> io::Result<()> {
        let mut at = start;
        while at < end {
            let piece = (end - at).min(ZEROS.len() as u64);
            self.write_at(at, &ZEROS[..piece as usize])?;
            at += piece;
        }
        Ok(())
    }
    /// Makes content and size durable.
    fn sync(&self) -> io::Result<()>;
    /// Length in octets.
    fn length(&self) -> io::Result<u64>;
    /// Reserves space up to this length, so that writing there cannot find the disk full; new octets read as zero.
    fn allocate(&self, length: u64) -> io::Result<()>;
}
