//! A file system in memory that can lose, tear and reorder whatever was not synced.
//!
//! Each write leaves one snapshot of every sector that it touched. Until the file is synced, a crash keeps any subset of the
//! snapshots: so a sector may be new, old or anything it was in between, whatever became of its neighbours. Names behave
//! alike until their directory is synced. A failed sync behaves as on Linux: the pages count as clean, go on being shown,
//! and are never written.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{Disk, DiskFile};

/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;
/// Free bytes where no capacity was set.
const UNLIMITED: u64 = 1 << 40;

/// A file system in memory; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Simulated {
    state: Arc<Mutex<State>>,
    released: Arc<Condvar>,
}

#[derive(Debug, Default)]
struct State {
    random: Random,
    epoch: u64,
    inodes: BTreeMap<u64, Inode>,
    directories: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending_names: Vec<NameChange>,
    capacity: Option<u64>,
    writes_until_failure: Option<u64>,
    syncs_until_failure: Option<u64>,
    operations_until_power_off: Option<u64>,
    sync_is_noop: bool,
    alone: bool,
    syncs_allowed: Option<u64>,
    syncs_waiting: usize,
}

#[derive(Debug, Default)]
struct Inode {
    shown: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Sector(usize, Box<[u8]>),
    Length(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

impl Simulated {
    /// An empty file system; the seed decides what failed syncs keep.
    pub fn new(seed: u64) -> Self {
        let state = State { random: Random::new(seed), ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), released: Arc::default() }
    }

    /// The same, and the store that uses it is all in memory: see [`Disk::is_memory`].
    pub fn alone(seed: u64) -> Self {
        let state = State { random: Random::new(seed), alone: true, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), released: Arc::default() }
    }

    /// The power fails and comes back: what was not synced survives by chance. Files that were open give errors from now on.
    pub fn crash(&self, seed: u64) {
        self.lock().crash(seed);
    }

    /// The process was killed, not the machine: what was shown is shown on, and is as little durable as before.
    pub fn restart(&self) {
        let mut state = self.lock();
        state.epoch += 1;
        state.operations_until_power_off = None;
    }

    /// The `n`th write from now on (1: the next) fails after writing half of its octets.
    pub fn fail_write(&self, n: u64) {
        self.lock().writes_until_failure = Some(n);
    }

    /// The `n`th sync of a file from now on (1: the next) fails; what it should have written is lost by chance.
    pub fn fail_sync(&self, n: u64) {
        self.lock().syncs_until_failure = Some(n);
    }

    /// No write and no sync is to fail any more.
    pub fn mend(&self) {
        let mut state = self.lock();
        (state.writes_until_failure, state.syncs_until_failure) = (None, None);
    }

    /// After `n` more changing operations, the last of which fails, everything fails until [`Simulated::crash`] or
    /// [`Simulated::restart`].
    pub fn power_off_after(&self, n: u64) {
        self.lock().operations_until_power_off = Some(n);
    }

    /// Whether the power went off.
    pub fn is_off(&self) -> bool {
        self.lock().operations_until_power_off == Some(0)
    }

    /// Octets that all files together may have; `None`: no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Syncs of files and directories do nothing and say `Ok`: the control that tests of durability must fail.
    pub fn set_sync_is_noop(&self, noop: bool) {
        self.lock().sync_is_noop = noop;
    }

    /// So many more syncs of files go on, the others wait; `None`: all go on.
    pub fn allow_syncs(&self, most: Option<u64>) {
        self.lock().syncs_allowed = most;
        self.released.notify_all();
    }

    /// How many syncs wait.
    pub fn syncs_waiting(&self) -> usize {
        self.lock().syncs_waiting
    }

    /// Turns the bits of `mask` in one octet of a file, on the disk itself. `false` where there is no such octet.
    pub fn flip(&self, path: &Path, offset: usize, mask: u8) -> bool {
        let mut state = self.lock();
        let Some(inode) = state.names.get(path).copied().and_then(|name| state.inodes.get_mut(&name)) else {
            return false;
        };
        for image in [&mut inode.shown, &mut inode.durable] {
            match image.get_mut(offset) {
                Some(octet) => *octet ^= mask,
                None => return false,
            }
        }
        true
    }

    /// An independent copy of what is shown now, as if all of it were durable.
    pub fn duplicate(&self) -> Self {
        let state = self.lock();
        let inodes =
            state.inodes.iter().map(|(number, inode)| (*number, Inode::durable(inode.shown.clone())));
        let copy = State {
            inodes: inodes.collect(),
            directories: state.directories.clone(),
            names: state.names.clone(),
            durable_names: state.names.clone(),
            alone: state.alone,
            ..State::default()
        };
        Self { state: Arc::new(Mutex::new(copy)), released: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, state: &State, inode: u64) -> Arc<dyn DiskFile> {
        Arc::new(SimulatedFile { disk: self.clone(), epoch: state.epoch, inode })
    }
}

impl State {
    fn crash(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        for change in std::mem::take(&mut self.pending_names) {
            if random.chance() {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
        let linked: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|number, _| linked.contains(number));
        for inode in self.inodes.values_mut() {
            inode.settle(&mut random);
            inode.shown = inode.durable.clone();
        }
        self.epoch += 1;
        self.random = random;
        self.writes_until_failure = None;
        self.syncs_until_failure = None;
        self.operations_until_power_off = None;
    }

    /// Counts a changing operation: `Ok(true)` if the power goes off in the middle of it.
    fn spend(&mut self) -> io::Result<bool> {
        self.powered()?;
        let Some(left) = &mut self.operations_until_power_off else { return Ok(false) };
        *left -= 1;
        Ok(*left == 0)
    }

    fn powered(&self) -> io::Result<()> {
        match self.operations_until_power_off {
            Some(0) => Err(power_off()),
            _ => Ok(()),
        }
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        let off = self.spend()?;
        change.apply(&mut self.names);
        self.pending_names.push(change);
        if off { Err(power_off()) } else { Ok(()) }
    }

    fn used_bytes(&self) -> u64 {
        self.inodes
            .iter()
            .filter(|(number, _)| self.names.values().any(|name| name == *number))
            .fold(0, |sum, (_, inode)| sum + inode.shown.len() as u64)
    }

    fn free_bytes(&self) -> u64 {
        self.capacity.map_or(UNLIMITED, |capacity| capacity.saturating_sub(self.used_bytes()))
    }

    /// Makes a file at least `length` long, if there is room.
    fn grow(&mut self, number: u64, length: usize) -> io::Result<()> {
        let shown = self.inode(number)?.shown.len();
        let more = length.saturating_sub(shown);
        if more == 0 {
            return Ok(());
        }
        if self.capacity.is_some() && more as u64 > self.free_bytes() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = self.inode(number)?;
        inode.shown.resize(length, 0);
        inode.pending.push(Change::Length(length));
        Ok(())
    }

    fn inode(&mut self, number: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Inode {
    fn durable(octets: Vec<u8>) -> Self {
        Self { shown: octets.clone(), durable: octets, pending: Vec::new() }
    }

    fn write(&mut self, offset: usize, octets: &[u8]) {
        let end = offset + octets.len();
        self.shown[offset..end].copy_from_slice(octets);
        for sector in offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let start = sector * SECTOR_BYTES;
            let stop = (start + SECTOR_BYTES).min(self.shown.len());
            self.pending.push(Change::Sector(start, self.shown[start..stop].into()));
        }
    }

    /// Each pending change reaches the disk or not.
    fn settle(&mut self, random: &mut Random) {
        for change in std::mem::take(&mut self.pending) {
            if random.chance() {
                self.persist(change);
            }
        }
    }

    fn persist(&mut self, change: Change) {
        let length = match &change {
            Change::Sector(start, octets) => start + octets.len(),
            Change::Length(length) => *length,
        };
        if self.durable.len() < length {
            self.durable.resize(length, 0);
        }
        if let Change::Sector(start, octets) = change {
            self.durable[start..start + octets.len()].copy_from_slice(&octets);
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Unlink(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }

    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Link(path, _) | Self::Unlink(path) | Self::Rename(_, path, _) => path.parent(),
        }
    }
}

impl Disk for Simulated {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.powered()?;
        state.directories.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.spend()? {
            return Err(power_off());
        }
        if state.sync_is_noop {
            return Ok(());
        }
        let pending = std::mem::take(&mut state.pending_names);
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|change| change.directory() == Some(path));
        here.iter().for_each(|change| change.apply(&mut state.durable_names));
        state.pending_names = elsewhere;
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !path.parent().is_some_and(|parent| state.directories.contains(parent)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inode = state.inodes.keys().next_back().map_or(1, |last| last + 1);
        state.powered()?;
        state.inodes.insert(inode, Inode::default());
        state.change_name(NameChange::Link(path.to_owned(), inode))?;
        Ok(self.handle(&state, inode))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.lock();
        state.powered()?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(&state, inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned(), inode))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Unlink(path.to_owned()))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.lock();
        state.powered()?;
        let all = state.names.keys().chain(&state.directories);
        let found: BTreeSet<&PathBuf> = all.filter(|name| name.parent() == Some(path)).collect();
        Ok(found.into_iter().cloned().collect())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.lock().free_bytes())
    }

    fn writes_in_place(&self, path: &Path) -> bool {
        self.lock().directories.contains(path)
    }

    fn is_memory(&self) -> bool {
        self.lock().alone
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: Simulated,
    epoch: u64,
    inode: u64,
}

impl SimulatedFile {
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if state.epoch != self.epoch {
            return Err(power_off());
        }
        state.powered()?;
        Ok(state)
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.lock()?;
        let shown = &state.inode(self.inode)?.shown;
        let rest = shown.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        let mut state = self.lock()?;
        let off = state.spend()?;
        let fails = countdown(&mut state.writes_until_failure);
        let written = if fails { &octets[..octets.len() / 2] } else { octets };
        state.grow(self.inode, offset as usize + written.len())?;
        state.inode(self.inode)?.write(offset as usize, written);
        if off || fails { Err(io::Error::other("injected: the write failed")) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.lock()?;
        while state.syncs_allowed == Some(0) {
            state.syncs_waiting += 1;
            state = self.disk.released.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.syncs_waiting -= 1;
        }
        state.syncs_allowed = state.syncs_allowed.map(|left| left - 1);
        if state.spend()? {
            return Err(power_off());
        }
        if countdown(&mut state.syncs_until_failure) {
            let mut random = state.random.clone();
            state.inode(self.inode)?.settle(&mut random);
            state.random = random;
            return Err(io::Error::other("injected: the sync failed"));
        }
        if !state.sync_is_noop {
            let inode = state.inode(self.inode)?;
            std::mem::take(&mut inode.pending).into_iter().for_each(|change| inode.persist(change));
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.lock()?.inode(self.inode)?.shown.len() as u64)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut state = self.lock()?;
        let off = state.spend()?;
        state.grow(self.inode, length as usize)?;
        if off { Err(power_off()) } else { Ok(()) }
    }
}

fn power_off() -> io::Error {
    io::Error::other("injected: the power is off")
}

/// Counts down to an injected failure; whether it is due.
fn countdown(left: &mut Option<u64>) -> bool {
    match left {
        Some(0 | 1) => {
            *left = None;
            true
        }
        Some(more) => {
            *more -= 1;
            false
        }
        None => false,
    }
}

/// xorshift64*: chance that a seed repeats.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        // Zero is the one state that xorshift never leaves.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn chance(&mut self) -> bool {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 63 == 1
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/d/file";

    fn disk_with(octets: &[u8]) -> (Simulated, Arc<dyn DiskFile>) {
        let disk = Simulated::new(1);
        disk.create_directory(Path::new("/d")).unwrap();
        let file = disk.create(Path::new(PATH)).unwrap();
        file.write_at(0, octets).unwrap();
        (disk, file)
    }

    fn content(disk: &Simulated) -> Option<Vec<u8>> {
        let file = disk.open(Path::new(PATH)).ok()?;
        let mut buffer = vec![0; file.length().unwrap() as usize];
        file.read_at(0, &mut buffer).unwrap();
        Some(buffer)
    }

    #[test]
    fn what_is_synced_survives_and_old_handles_end() {
        for seed in 0..50 {
            let (disk, file) = disk_with(&[7; 2000]);
            file.sync().unwrap();
            disk.sync_directory(Path::new("/d")).unwrap();
            disk.crash(seed);
            assert_eq!(content(&disk), Some(vec![7; 2000]));
            assert!(file.sync().is_err() && file.length().is_err());
        }
    }

    #[test]
    fn what_is_not_synced_is_kept_lost_and_torn_by_sectors() {
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let (disk, file) = disk_with(&[1; 1024]);
            file.sync().unwrap();
            disk.sync_directory(Path::new("/d")).unwrap();
            file.write_at(0, &[2; 1024]).unwrap();
            disk.crash(seed);
            let found = content(&disk).unwrap();
            assert!(found.chunks(512).all(|sector| sector.iter().all(|octet| *octet == sector[0])));
            seen.insert((found[0], found[512]));
        }
        assert_eq!(seen.len(), 4, "each sector is old or new, independently");
    }

    #[test]
    fn names_survive_by_chance_until_their_directory_is_synced() {
        let survived = (0..100).filter(|seed| {
            let (disk, file) = disk_with(b"text");
            file.sync().unwrap();
            disk.crash(*seed);
            content(&disk).is_some()
        });
        assert!((10..90).contains(&survived.count()));
    }

    #[test]
    fn a_failed_sync_goes_on_showing_what_is_lost() {
        let lost = (0..50).filter(|seed| {
            let disk = Simulated::new(*seed);
            disk.create_directory(Path::new("/d")).unwrap();
            let file = disk.create(Path::new(PATH)).unwrap();
            disk.sync_directory(Path::new("/d")).unwrap();
            file.write_at(0, &[3; 600]).unwrap();
            disk.fail_sync(1);
            assert!(file.sync().is_err());
            file.sync().unwrap();
            assert_eq!(content(&disk), Some(vec![3; 600]));
            disk.crash(1);
            content(&disk) != Some(vec![3; 600])
        });
        assert!(lost.count() > 10);
    }

    #[test]
    fn faults_come_when_they_are_due() {
        let (disk, file) = disk_with(b"");
        disk.fail_write(2);
        file.write_at(0, b"ab").unwrap();
        assert!(file.write_at(2, b"cd").is_err());
        assert_eq!(content(&disk), Some(b"abc".to_vec()));
        disk.fail_write(1);
        disk.fail_sync(1);
        disk.mend();
        disk.set_capacity(Some(4));
        file.write_at(0, b"abcd").unwrap();
        assert_eq!(file.allocate(5).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.set_capacity(None);
        disk.power_off_after(2);
        file.sync().unwrap();
        assert!(file.sync().is_err() && disk.is_off() && file.length().is_err());
        disk.crash(0);
        assert!(!disk.is_off());
    }

    #[test]
    fn without_syncs_all_can_be_lost() {
        let lost = (0..50).filter(|seed| {
            let (disk, file) = disk_with(b"text");
            disk.set_sync_is_noop(true);
            file.sync().unwrap();
            disk.sync_directory(Path::new("/d")).unwrap();
            disk.crash(*seed);
            content(&disk) != Some(b"text".to_vec())
        });
        assert!(lost.count() > 10);
    }
}
