//! One life of a host: its steps are counted, and it can end before any of them.
//!
//! A step is all that can be seen from outside: octets that go to the network or come from it, and changes of the disk. A host
//! that is dead does none, so that its tasks, which still run, can do nothing any more.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use waypost_storage::{
    Store,
    disk::{Disk, DiskFile, Simulated},
};

/// How long the queue waits before it offers a full disk again what it has to record.
const ROOM_WAIT: Duration = Duration::from_secs(10);

/// A life.
#[derive(Debug, Default)]
pub(crate) struct Life {
    dead: AtomicBool,
    steps: AtomicU64,
    /// The step before which it ends; 0: none.
    end: AtomicU64,
    /// The next write does nothing and says that it was done.
    forgets: AtomicBool,
    /// A write or sync of its disk has failed.
    disk_failed: AtomicBool,
    /// When its disk was seen full last.
    full: Mutex<Option<Instant>>,
    /// The store, while it lives.
    store: Mutex<Option<Store>>,
    /// Told when it ended by itself.
    pub(crate) ended: Notify,
}

impl Life {
    /// Counts a step, which the caller does then. Errors: the host is dead.
    pub(crate) fn step(&self) -> io::Result<()> {
        self.alive()?;
        let step = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        if self.end.load(Ordering::Relaxed) == step {
            self.dead.store(true, Ordering::Relaxed);
            self.ended.notify_one();
        }
        self.alive()
    }

    pub(crate) fn alive(&self) -> io::Result<()> {
        if self.is_dead() { Err(io::Error::other("the host is dead")) } else { Ok(()) }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    pub(crate) fn disk_has_failed(&self) -> bool {
        self.disk_failed.load(Ordering::Relaxed)
    }

    pub(crate) fn keep(&self, store: Option<Store>) {
        *self.store.lock().unwrap() = store;
    }

    /// Whether it records nothing any more, as a write of the journal has failed.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.disk_has_failed() && self.store.lock().unwrap().as_ref().is_some_and(Store::is_poisoned)
    }

    /// Whether its disk is full, or was so short a time ago that what waits for room may not have been tried again.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.full.lock().unwrap().is_some_and(|at| at.elapsed() <= ROOM_WAIT)
    }

    fn note<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if done.is_err() {
            self.disk_failed.store(true, Ordering::Relaxed);
        }
        done
    }

    pub(crate) fn end_now(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// It ends before the `nth` step from now on.
    pub(crate) fn end_before(&self, nth: u64) {
        self.end.store(self.steps() + nth, Ordering::Relaxed);
    }

    /// It does not end by itself.
    pub(crate) fn end_never(&self) {
        self.end.store(0, Ordering::Relaxed);
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// The next write to the disk is lost, and nobody is told.
    pub(crate) fn forget_next_write(&self) {
        self.forgets.store(true, Ordering::Relaxed);
    }
}

/// The disk as one life of its host sees it.
#[derive(Debug)]
pub(crate) struct MortalDisk {
    pub(crate) disk: Simulated,
    pub(crate) life: Arc<Life>,
}

impl MortalDisk {
    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(MortalFile { file, life: Arc::clone(&self.life) })
    }
}

impl Disk for MortalDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.life.step().and_then(|()| self.disk.create_directory(path))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.life.step().and_then(|()| self.disk.sync_directory(path))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.life.step()?;
        self.disk.create(path).map(|file| self.file(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.life.alive()?;
        self.disk.open(path).map(|file| self.file(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.life.step().and_then(|()| self.disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.life.step().and_then(|()| self.disk.remove(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.life.alive().and_then(|()| self.disk.list(path))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let free = self.disk.free_bytes(path)?;
        if free == 0 {
            self.life.full.lock().unwrap().replace(Instant::now());
        }
        Ok(free)
    }

    fn writes_in_place(&self, path: &Path) -> bool {
        self.disk.writes_in_place(path)
    }

    fn is_memory(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct MortalFile {
    file: Arc<dyn DiskFile>,
    life: Arc<Life>,
}

impl DiskFile for MortalFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.life.alive().and_then(|()| self.file.read_at(offset, buffer))
    }

    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        self.life.step()?;
        if self.life.forgets.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        self.life.note(self.file.write_at(offset, octets))
    }

    fn sync(&self) -> io::Result<()> {
        self.life.step().and_then(|()| self.life.note(self.file.sync()))
    }

    fn length(&self) -> io::Result<u64> {
        self.life.alive().and_then(|()| self.file.length())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.life.step().and_then(|()| self.file.allocate(length))
    }
}

/// A path that is nowhere on the real disk.
pub(crate) fn state_directory() -> PathBuf {
    let path = PathBuf::from("/nowhere/waypost-simulation");
    assert!(fs::metadata(&path).is_err());
    path
}
