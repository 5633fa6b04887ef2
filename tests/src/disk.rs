//! Disks that lie: what a harness must notice, or it proves nothing.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use waypost_storage::disk::{Disk, DiskFile, Real};

/// How long after its answer a late sync happens.
const LATE: Duration = Duration::from_millis(200);

/// When a sync is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sync {
    /// Never: it says that it was.
    Never,
    /// After it said so: what is answered then is answered before the sync.
    Late,
    /// At once, but nobody hears of its errors.
    Deaf,
}

/// The real disk, but for its syncs.
#[derive(Clone, Copy, Debug)]
pub struct Lying(pub Sync);

#[derive(Debug)]
struct LyingFile {
    file: Arc<dyn DiskFile>,
    sync: Sync,
    /// A late sync is on its way.
    pending: Arc<AtomicBool>,
}

impl Lying {
    fn file(self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(LyingFile { file, sync: self.0, pending: Arc::default() })
    }
}

impl Disk for Lying {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        match self.0 {
            Sync::Never => std::fs::create_dir_all(path),
            Sync::Late | Sync::Deaf => Real.create_directory(path),
        }
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        match self.0 {
            Sync::Never => Ok(()),
            Sync::Late | Sync::Deaf => Real.sync_directory(path),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(Real.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(Real.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Real.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Real.remove(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Real.list(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        Real.free_bytes(path)
    }

    fn writes_in_place(&self, path: &Path) -> bool {
        Real.writes_in_place(path)
    }
}

impl LyingFile {
    fn sync_later(&self) {
        if self.pending.swap(true, Ordering::SeqCst) {
            return;
        }
        let (file, pending) = (Arc::clone(&self.file), Arc::clone(&self.pending));
        std::thread::spawn(move || {
            std::thread::sleep(LATE);
            pending.store(false, Ordering::SeqCst);
            // Nobody is left who could be told.
            let _late = file.sync();
        });
    }
}

impl DiskFile for LyingFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, octets)
    }

    fn sync(&self) -> io::Result<()> {
        match self.sync {
            Sync::Never => {}
            Sync::Late => self.sync_later(),
            // Deaf.
            Sync::Deaf => drop(self.file.sync()),
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.allocate(length)
    }
}
