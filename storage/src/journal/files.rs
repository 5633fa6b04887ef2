//! The journal's files as all threads share them: which segments there are, open handles, damage found, and reading.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use waypost_mail::EntryId;

use super::{
    Position, Stored, Stream,
    chunk::{CHUNK_BYTES, Run},
    footer::Footer,
    layout::{SEGMENT_HEADER_BYTES, SegmentId},
    walk::{Areas, Gap, Step, Walk},
};
use crate::{
    disk::{Disk, DiskFile},
    error::StoreError,
};

/// Most files of the journal that are held open for reading.
const OPEN_FILES_MAX: usize = 256;
/// Most footers whose directories are held in memory.
const FOOTERS_MAX: usize = 64;
/// Most sentences about damage that are kept; more than an operator reads.
const DAMAGE_MAX: usize = 1000;

/// What readers and body writers need of the journal's files; shared by all threads.
#[derive(Debug)]
pub(crate) struct Files {
    pub(super) disk: Arc<dyn Disk>,
    journal: PathBuf,
    bodies: PathBuf,
    catalog: Mutex<Catalog>,
    open: Mutex<Recent<FileKey, Arc<dyn DiskFile>>>,
    footers: Mutex<Recent<u64, Arc<Footer>>>,
    damage: Mutex<Vec<String>>,
    poisoned: AtomicBool,
    pub(super) current: AtomicU64,
    pub(super) next_body: AtomicU64,
    pub(super) last_bodies_directory: Mutex<Option<u64>>,
}

/// The segments that hold committed frames.
pub(super) type Catalog = BTreeMap<u64, Segment>;
/// Where each stream's frames are in a segment, ascending.
pub(super) type Index = HashMap<Stream, Vec<u64>>;

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) id: SegmentId,
    /// Where its last frame ends.
    pub(super) end: u64,
    /// `None`: its footer knows.
    pub(super) index: Option<Index>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum FileKey {
    Segment(u64),
    Body(u64, u64),
}

impl Files {
    pub(super) fn new(disk: Arc<dyn Disk>, directory: &Path) -> Self {
        Self {
            disk,
            journal: directory.join("journal"),
            bodies: directory.join("bodies"),
            catalog: Mutex::default(),
            open: Mutex::new(Recent::new(OPEN_FILES_MAX)),
            footers: Mutex::new(Recent::new(FOOTERS_MAX)),
            damage: Mutex::default(),
            poisoned: AtomicBool::new(false),
            current: AtomicU64::new(1),
            next_body: AtomicU64::new(1),
            last_bodies_directory: Mutex::default(),
        }
    }

    pub(super) fn journal_directory(&self) -> &Path {
        &self.journal
    }

    pub(super) fn bodies_directory(&self) -> &Path {
        &self.bodies
    }

    pub(super) fn segment_path(&self, number: u64) -> PathBuf {
        self.journal.join(format!("{number:016x}.segment"))
    }

    pub(super) fn footer_path(&self, number: u64) -> PathBuf {
        self.journal.join(format!("{number:016x}.footer"))
    }

    pub(super) fn body_directory(&self, segment: u64) -> PathBuf {
        self.bodies.join(format!("{segment:016x}"))
    }

    pub(super) fn body_path(&self, segment: u64, number: u64) -> PathBuf {
        self.body_directory(segment).join(number.to_string())
    }

    /// The end of what readers are shown.
    pub(crate) fn end(&self) -> Position {
        let catalog = self.catalog();
        catalog
            .last_key_value()
            .map_or_else(Position::default, |(number, last)| Position { segment: *number, offset: last.end })
    }

    pub(super) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        lock(&self.catalog)
    }

    /// Whether a write or sync failed: nothing is written any more.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(super) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// Damage found so far, one sentence each.
    pub(crate) fn damage(&self) -> Vec<String> {
        lock(&self.damage).clone()
    }

    pub(super) fn note_damage(&self, sentence: String) {
        let mut damage = lock(&self.damage);
        if damage.len() < DAMAGE_MAX && !damage.contains(&sentence) {
            tracing::error!(event = "journal_damage", "{sentence}");
            damage.push(sentence);
        }
    }

    /// Notes the loss of a gap in a segment.
    pub(super) fn note_gap(&self, segment: u64, gap: &Gap) {
        let Gap { from, to, .. } = gap;
        self.note_damage(match gap.entry {
            Some(entry) => format!("segment {segment}: the frame at offset {from} is damaged, the records of entry {entry} are lost"),
            None => format!("segment {segment}: offsets {from} to {to} are damaged, the entries there are lost"),
        });
    }

    /// Notes that an entry's texts are damaged.
    pub(super) fn note_area(&self, segment: u64, at: u64, entry: EntryId) {
        self.note_damage(format!("segment {segment}: texts of entry {entry} at offset {at} are damaged"));
    }

    pub(super) fn segment_file(&self, number: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.file(FileKey::Segment(number), || self.segment_path(number))
    }

    pub(super) fn body_file(&self, segment: u64, number: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.file(FileKey::Body(segment, number), || self.body_path(segment, number))
    }

    fn file(&self, key: FileKey, path: impl FnOnce() -> PathBuf) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(found) = lock(&self.open).find(&key) {
            return Ok(found);
        }
        let file = self.disk.open(&path())?;
        lock(&self.open).insert(key, Arc::clone(&file));
        Ok(file)
    }

    /// One chunk of an entry's area, verified.
    pub(crate) fn area_chunk(
        &self,
        segment: u64,
        area_at: u64,
        area_bytes: u32,
        index: u64,
    ) -> Result<bytes::Bytes, StoreError> {
        let place =
            |_| format!("segment {segment}, octets {} of the area at {area_at}", index * CHUNK_BYTES as u64);
        let file = self.segment_file(segment).map_err(|error| missing(error, &place(index)))?;
        let run = Run { base: area_at, length: u64::from(area_bytes) };
        Ok(run.read(&*file, index, 1, place)?.pop().unwrap_or_default())
    }

    /// All records of one stream with a seq above `after`, in order, from footers where there are any.
    pub(crate) fn read_stream(&self, stream: Stream, after: u64) -> Result<Vec<Stored>, StoreError> {
        let segments: Vec<(SegmentId, u64, Option<Vec<u64>>)> = {
            let catalog = self.catalog();
            let offsets = |index: &Index| index.get(&stream).cloned().unwrap_or_default();
            catalog
                .values()
                .map(|segment| (segment.id, segment.end, segment.index.as_ref().map(offsets)))
                .collect()
        };
        let mut records = Vec::new();
        for (id, end, offsets) in segments {
            match offsets {
                Some(offsets) => self.read_frames(id, end, &offsets, &mut records)?,
                None => match self.footer_stream(id.number, stream, after)? {
                    Some(found) => records.extend(found),
                    None => {
                        let offsets = self.reindex(id, end, stream)?;
                        self.read_frames(id, end, &offsets, &mut records)?;
                    }
                },
            }
        }
        records.retain(|stored| stored.record.stream == stream && stored.record.seq > after);
        Ok(records)
    }

    fn read_frames(
        &self,
        id: SegmentId,
        end: u64,
        offsets: &[u64],
        records: &mut Vec<Stored>,
    ) -> Result<(), StoreError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let file = self.segment_file(id.number)?;
        for &at in offsets {
            let mut walk = Walk { file: Arc::clone(&file), segment: id, at, end, areas: Areas::Skip };
            match walk.step()? {
                Some(Step::Frame(frame)) => records.extend(frame.into_stored(id.number)),
                Some(Step::Gap(gap)) => self.note_gap(id.number, &gap),
                None => {}
            }
        }
        Ok(())
    }

    fn footer_stream(
        &self,
        number: u64,
        stream: Stream,
        after: u64,
    ) -> Result<Option<Vec<Stored>>, StoreError> {
        match self.footer(number)? {
            Some(footer) => footer.stream(stream, after),
            None => Ok(None),
        }
    }

    /// The footer of a sealed segment; `None` where it is missing or damaged.
    pub(super) fn footer(&self, number: u64) -> Result<Option<Arc<Footer>>, StoreError> {
        if let Some(found) = lock(&self.footers).find(&number) {
            return Ok(Some(found));
        }
        let file = match self.disk.open(&self.footer_path(number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let footer = Footer::read(file, number)?.map(Arc::new);
        if let Some(footer) = &footer {
            lock(&self.footers).insert(number, Arc::clone(footer));
        }
        Ok(footer)
    }

    /// A footer turned out to be damaged: the frames are indexed again, and the footer is made anew at the next start.
    fn reindex(&self, id: SegmentId, end: u64, stream: Stream) -> Result<Vec<u64>, StoreError> {
        self.note_damage(format!(
            "segment {}: its footer is damaged; its frames are read instead",
            id.number
        ));
        if let Err(error) = self.disk.remove(&self.footer_path(id.number)) {
            tracing::warn!(event = "footer_not_removed", segment = id.number, %error);
        }
        let mut index = Index::new();
        let file = self.segment_file(id.number)?;
        let mut walk = Walk { file, segment: id, at: SEGMENT_HEADER_BYTES, end, areas: Areas::Skip };
        while let Some(step) = walk.step()? {
            match step {
                Step::Frame(frame) => {
                    add_to_index(&mut index, frame.at, frame.block.records.iter().map(|r| r.stream));
                }
                Step::Gap(gap) => self.note_gap(id.number, &gap),
            }
        }
        let offsets = index.get(&stream).cloned().unwrap_or_default();
        if let Some(segment) = self.catalog().get_mut(&id.number) {
            segment.index = Some(index);
        }
        Ok(offsets)
    }
}

/// Adds a frame's streams to an index; frames come in ascending order.
pub(super) fn add_to_index(index: &mut Index, at: u64, streams: impl Iterator<Item = Stream>) {
    for stream in streams {
        let offsets = index.entry(stream).or_default();
        if offsets.last() != Some(&at) {
            offsets.push(at);
        }
    }
}

/// A file that a message needs and that is gone is damage, not an accident of reading.
pub(super) fn missing(error: io::Error, place: &str) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::Damaged(format!("{place}: the file is missing")),
        _ => error.into(),
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics between two changes that belong together, so what a panic left is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bounded map that forgets what was not used for longest.
#[derive(Debug)]
struct Recent<K, V> {
    most: usize,
    clock: u64,
    entries: HashMap<K, (u64, V)>,
}

impl<K: Copy + Eq + std::hash::Hash, V: Clone> Recent<K, V> {
    fn new(most: usize) -> Self {
        Self { most, clock: 0, entries: HashMap::new() }
    }

    fn find(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(value.clone())
    }

    fn insert(&mut self, key: K, value: V) {
        self.clock += 1;
        self.entries.insert(key, (self.clock, value));
        if self.entries.len() > self.most {
            let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key);
            oldest.and_then(|key| self.entries.remove(&key));
        }
    }
}
