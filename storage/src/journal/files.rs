//! The journal's files as all threads share them: which segments there are, open handles, damage found, and reading.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use waypost_mail::EntryId;

use super::{
    Position, Stored, Stream,
    chunk::{CHUNK_BYTES, Run},
    footer::Footer,
    layout::{SEGMENT_HEADER_BYTES, SegmentId},
    room::Room,
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
/// Frames whose records are given at a time.
const PIECE_FRAMES: usize = 4096;

/// The journal's folder in the state directory.
pub(crate) const JOURNAL: &str = "journal";
/// The folder of bodies.
pub(crate) const BODIES: &str = "bodies";

/// The name of a segment's file.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:016x}.segment")
}

/// The name of a footer's file.
pub(crate) fn footer_name(number: u64) -> String {
    format!("{number:016x}.footer")
}

/// The name of the folder of a segment's bodies.
pub(crate) fn bodies_name(segment: u64) -> String {
    format!("{segment:016x}")
}

/// What readers and body writers need of the journal's files; shared by all threads.
#[derive(Debug)]
pub(crate) struct Files {
    pub(super) disk: Arc<dyn Disk>,
    journal: PathBuf,
    bodies: PathBuf,
    catalog: Mutex<Catalog>,
    segments: Mutex<Recent<u64, Arc<OpenSegment>>>,
    body_files: Mutex<Recent<(u64, u64), Arc<dyn DiskFile>>>,
    footers: Mutex<Recent<u64, Arc<Footer>>>,
    damage: Mutex<Vec<String>>,
    pub(super) floor_bytes: u64,
    /// What was last said of the room on the disk.
    pub(super) room_seen: AtomicU8,
    poisoned: AtomicBool,
    pub(super) current: AtomicU64,
    pub(super) next_body: AtomicU64,
    /// Bodies that no entry names yet.
    pub(super) arriving: Mutex<HashSet<(u64, u64)>>,
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
    /// Whether it was compacted: frames and areas are not where they were written.
    pub(super) compacted: bool,
}

/// An open segment. A compaction puts another file in its place; who holds this one goes on reading it.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) id: SegmentId,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) compacted: bool,
    /// Where areas are that were moved, once it was asked for.
    moves: OnceLock<Arc<Moves>>,
}

/// Where the areas of a compacted segment are now, by where they were written.
pub(super) type Moves = BTreeMap<u64, u64>;

impl Files {
    /// `floor_bytes`: no mail is taken while less is free.
    pub(super) fn new(disk: Arc<dyn Disk>, directory: &Path, floor_bytes: u64) -> Self {
        Self {
            disk,
            journal: directory.join(JOURNAL),
            bodies: directory.join(BODIES),
            catalog: Mutex::default(),
            segments: Mutex::new(Recent::new(OPEN_FILES_MAX)),
            body_files: Mutex::new(Recent::new(OPEN_FILES_MAX)),
            footers: Mutex::new(Recent::new(FOOTERS_MAX)),
            damage: Mutex::default(),
            floor_bytes,
            room_seen: AtomicU8::new(Room::Enough as u8),
            poisoned: AtomicBool::new(false),
            current: AtomicU64::new(1),
            next_body: AtomicU64::new(1),
            arriving: Mutex::default(),
            last_bodies_directory: Mutex::default(),
        }
    }

    /// Whether the disk is in memory, so that nothing waits for it.
    pub(crate) fn is_memory(&self) -> bool {
        self.disk.is_memory()
    }

    /// Whether the file system of the segments writes in place.
    pub(super) fn write_in_place(&self) -> bool {
        self.disk.writes_in_place(&self.journal)
    }

    pub(super) fn journal_directory(&self) -> &Path {
        &self.journal
    }

    pub(super) fn bodies_directory(&self) -> &Path {
        &self.bodies
    }

    pub(super) fn segment_path(&self, number: u64) -> PathBuf {
        self.journal.join(segment_name(number))
    }

    pub(super) fn footer_path(&self, number: u64) -> PathBuf {
        self.journal.join(footer_name(number))
    }

    pub(super) fn body_directory(&self, segment: u64) -> PathBuf {
        self.bodies.join(bodies_name(segment))
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

    /// A segment with what the catalog says of it at that moment. `NotFound`: it is not in the catalog, or its file is missing.
    pub(super) fn segment<T>(
        &self,
        number: u64,
        look: impl FnOnce(&Segment) -> T,
    ) -> io::Result<(Arc<OpenSegment>, T)> {
        // Under the catalog's lock, as a compaction exchanges the file under it.
        let catalog = self.catalog();
        let segment = catalog.get(&number).ok_or(io::ErrorKind::NotFound)?;
        let seen = look(segment);
        if let Some(found) = lock(&self.segments).find(&number) {
            return Ok((found, seen));
        }
        let (id, compacted) = (segment.id, segment.compacted);
        let file = self.disk.open(&self.segment_path(number))?;
        let opened = Arc::new(OpenSegment { id, file, compacted, moves: OnceLock::new() });
        lock(&self.segments).insert(number, Arc::clone(&opened));
        Ok((opened, seen))
    }

    /// A walk over all frames of a segment.
    pub(super) fn walk(&self, number: u64, areas: Areas) -> io::Result<Walk> {
        let (opened, end) = self.segment(number, |segment| segment.end)?;
        Ok(opened.walk(SEGMENT_HEADER_BYTES, end, areas))
    }

    /// Puts a compacted segment, `aside` until now, in the place of the old one. Its name is not durable when this returns.
    pub(super) fn exchange(&self, aside: &Path, segment: Segment) -> io::Result<()> {
        let number = segment.id.number;
        let mut catalog = self.catalog();
        self.disk.rename(aside, &self.segment_path(number))?;
        lock(&self.segments).remove(&number);
        lock(&self.footers).remove(&number);
        catalog.insert(number, segment);
        Ok(())
    }

    pub(super) fn body_file(&self, segment: u64, number: u64) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(found) = lock(&self.body_files).find(&(segment, number)) {
            return Ok(found);
        }
        let file = self.disk.open(&self.body_path(segment, number))?;
        lock(&self.body_files).insert((segment, number), Arc::clone(&file));
        Ok(file)
    }

    /// Removes a body that no message holds any more.
    pub(crate) fn remove_body(&self, segment: u64, number: u64) -> io::Result<()> {
        lock(&self.body_files).remove(&(segment, number));
        self.disk.remove(&self.body_path(segment, number))
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
        let (opened, _) = self.segment(segment, |_| ()).map_err(|error| missing(error, &place(index)))?;
        let base = match opened.compacted {
            false => area_at,
            true => *self.moves(&opened)?.get(&area_at).ok_or_else(|| StoreError::Damaged(place(index)))?,
        };
        let run = Run { base, length: u64::from(area_bytes) };
        Ok(run.read(&*opened.file, index, 1, place)?.pop().unwrap_or_default())
    }

    /// Where the areas of a compacted segment are.
    fn moves(&self, opened: &OpenSegment) -> Result<Arc<Moves>, StoreError> {
        if let Some(moves) = opened.moves.get() {
            return Ok(Arc::clone(moves));
        }
        let footer = self.footer(opened.id.number)?.filter(|footer| footer.header.segment == opened.id);
        let moves = match footer.map(|footer| footer.moves()).transpose()?.flatten() {
            Some(moves) => Arc::new(moves),
            None => Arc::new(opened.find_moves()?),
        };
        Ok(Arc::clone(opened.moves.get_or_init(|| moves)))
    }

    /// All records of one stream with a seq above `after`, in order, from footers where there are any.
    pub(crate) fn read_stream(&self, stream: Stream, after: u64) -> Result<Vec<Stored>, StoreError> {
        let numbers: Vec<u64> = self.catalog().keys().copied().collect();
        let mut records = Vec::new();
        for number in numbers {
            records.extend(self.read_part(number, stream, after)?);
        }
        Ok(records)
    }

    /// The records of one stream, in order, of as many of the last segments as `enough` wants: it is given those of one segment
    /// after the other, the last segment first.
    pub(crate) fn read_last(
        &self,
        stream: Stream,
        mut enough: impl FnMut(&[Stored]) -> bool,
    ) -> Result<Vec<Stored>, StoreError> {
        let mut parts = Vec::new();
        self.read_back(stream, |part| {
            let is_enough = enough(&part);
            parts.push(part);
            is_enough
        })?;
        Ok(parts.into_iter().rev().flatten().collect())
    }

    /// Gives the records of one stream, those of one segment after the other, the last segment first, until that is enough; the
    /// number of the segment where it was.
    pub(crate) fn read_back(
        &self,
        stream: Stream,
        mut enough: impl FnMut(Vec<Stored>) -> bool,
    ) -> Result<u64, StoreError> {
        let numbers: Vec<u64> = self.catalog().keys().copied().collect();
        for number in numbers.into_iter().rev() {
            if enough(self.read_part(number, stream, 0)?) {
                return Ok(number);
            }
        }
        Ok(0)
    }

    /// Gives the records of one stream in order, some at a time, from segment `first` on.
    pub(crate) fn read_segments(
        &self,
        stream: Stream,
        first: u64,
        mut take: impl FnMut(Vec<Stored>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let numbers: Vec<u64> = self.catalog().range(first..).map(|(number, _)| *number).collect();
        numbers.into_iter().try_for_each(|number| self.read_pieces(number, stream, 0, &mut take))
    }

    /// Gives the records of one stream of one segment after the other, the last segment first, each in order and some at a time. After
    /// each segment it asks whether that is enough; the number of the segment where it was.
    pub(crate) fn read_segments_back(
        &self,
        stream: Stream,
        mut take: impl FnMut(Option<Vec<Stored>>) -> bool,
    ) -> Result<u64, StoreError> {
        let numbers: Vec<u64> = self.catalog().keys().copied().collect();
        for number in numbers.into_iter().rev() {
            self.read_pieces(number, stream, 0, &mut |records| {
                take(Some(records));
                Ok(())
            })?;
            if take(None) {
                return Ok(number);
            }
        }
        Ok(0)
    }

    /// The records of one stream in one segment.
    fn read_part(&self, number: u64, stream: Stream, after: u64) -> Result<Vec<Stored>, StoreError> {
        let mut all = Vec::new();
        self.read_pieces(number, stream, after, &mut |mut records| {
            all.append(&mut records);
            Ok(())
        })?;
        Ok(all)
    }

    /// Gives the records of one stream in one segment, some at a time.
    fn read_pieces(
        &self,
        number: u64,
        stream: Stream,
        after: u64,
        take: &mut dyn FnMut(Vec<Stored>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // It may be sealed or compacted at any time: then it is looked at once more.
        loop {
            if let Some(id) = self.sealed(number) {
                if let Some(footer) = self.footer(number)?
                    && footer.pieces(stream, after, take)?
                {
                    return Ok(());
                }
                self.reindex(id)?;
            }
            if self.read_frames(number, stream, after, take)? {
                return Ok(());
            }
        }
    }

    /// Which one a segment is, if its footer alone knows its streams.
    pub(super) fn sealed(&self, number: u64) -> Option<SegmentId> {
        let catalog = self.catalog();
        catalog.get(&number).filter(|segment| segment.index.is_none()).map(|segment| segment.id)
    }

    /// Gives the frames of a stream in a segment that has an index; `false`, and nothing is given, where it has none.
    fn read_frames(
        &self,
        number: u64,
        stream: Stream,
        after: u64,
        take: &mut dyn FnMut(Vec<Stored>) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let look = |segment: &Segment| {
            let offsets = |index: &Index| index.get(&stream).cloned().unwrap_or_default();
            (segment.end, segment.index.as_ref().map(offsets))
        };
        // A segment whose streams are known is not opened for one that it does not hold.
        let known = self.catalog().get(&number).map(look);
        if matches!(&known, Some((_, Some(offsets))) if offsets.is_empty()) {
            return Ok(true);
        }
        let (opened, (end, Some(offsets))) = self.segment(number, look)? else { return Ok(false) };
        for offsets in offsets.chunks(PIECE_FRAMES) {
            let mut records = Vec::new();
            for at in offsets {
                match opened.walk(*at, end, Areas::Skip).step()? {
                    Some(Step::Frame(frame)) => records.extend(frame.into_stored(number)),
                    Some(Step::Gap(gap)) => self.note_gap(number, &gap),
                    None => {}
                }
            }
            records.retain(|stored| stored.record.stream == stream && stored.record.seq > after);
            take(records)?;
        }
        Ok(true)
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
            let catalog = self.catalog();
            // That of a segment which was compacted meanwhile is not kept.
            if catalog.get(&number).is_some_and(|segment| segment.id == footer.header.segment) {
                lock(&self.footers).insert(number, Arc::clone(footer));
            }
        }
        Ok(footer)
    }

    /// The footer of a sealed segment turned out to be damaged, unless the segment was compacted meanwhile: the frames are indexed again,
    /// and the footer is made anew at the next start.
    fn reindex(&self, id: SegmentId) -> Result<(), StoreError> {
        let number = id.number;
        if self.sealed(number) != Some(id) {
            return Ok(());
        }
        self.note_damage(format!("segment {number}: its footer is damaged; its frames are read instead"));
        if let Err(error) = self.disk.remove(&self.footer_path(number)) {
            tracing::warn!(event = "footer_not_removed", segment = number, %error);
        }
        let mut index = Index::new();
        let mut walk = self.walk(number, Areas::Skip)?;
        while let Some(step) = walk.step()? {
            match step {
                Step::Frame(frame) => {
                    add_to_index(&mut index, frame.at, frame.block.records.iter().map(|r| r.stream));
                }
                Step::Gap(gap) => self.note_gap(number, &gap),
            }
        }
        if let Some(segment) = self.catalog().get_mut(&number) {
            // One that was compacted meanwhile has an index of its own.
            segment.index.get_or_insert(index);
        }
        Ok(())
    }
}

impl OpenSegment {
    /// A walk from one frame on.
    pub(super) fn walk(&self, at: u64, end: u64, areas: Areas) -> Walk {
        Walk { file: Arc::clone(&self.file), segment: self.id, at, end, areas }
    }

    /// Looks for the areas of a compacted segment in its frames.
    fn find_moves(&self) -> Result<Moves, StoreError> {
        let mut walk = self.walk(SEGMENT_HEADER_BYTES, self.file.length()?, Areas::Skip);
        let mut moves = Moves::new();
        while let Some(step) = walk.step()? {
            if let Step::Frame(frame) = step
                && frame.header.area_bytes > 0
            {
                moves.insert(frame.home().area_at, frame.header.area_at(frame.at));
            }
        }
        Ok(moves)
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

    fn remove(&mut self, key: &K) {
        self.entries.remove(key);
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
