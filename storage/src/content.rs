//! The octets of a message: written once while they arrive, read by ranges.
//!
//! A stored message is `prefix` (per delivery) + `header block` + `body`. Prefixes, header block and small bodies lie in the
//! entry that accepted the message (its *area*); a larger body is a file of its own beside the journal.

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, mem, sync::Arc};

use bytes::{Bytes, BytesMut};
use minicbor::{Decode, Encode};
use tokio::task::spawn_blocking;

use crate::{
    error::StoreError,
    journal::{BodyFile, CHUNK_BYTES, Files},
    store::Store,
};

/// Bodies up to this size ride inside their entry; larger ones get a file.
pub const INLINE_BODY_BYTES_MAX: usize = 256 * 1024;
/// Fewer octets than these are copied behind the others: what they came in may hold more than them.
const COPIED_BYTES_MAX: usize = 1024;
/// Chunks of a body file that are read at once.
const CHUNKS_READ: u64 = 4;

/// Where the octets of one message are. Valid as long as some message or queue entry holds it.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Content {
    /// Segment of the entry that accepted the message.
    #[n(0)]
    pub(crate) segment: u64,
    /// Offset of the entry's area in that segment.
    #[n(1)]
    pub(crate) area_at: u64,
    /// Octets in the area, checks not counted.
    #[n(2)]
    pub(crate) area_bytes: u32,
    /// Prefix: start in the area and length.
    #[n(3)]
    pub(crate) prefix: (u32, u32),
    /// Header block: start in the area and length.
    #[n(4)]
    pub(crate) header: (u32, u32),
    /// Where the body is.
    #[n(5)]
    pub(crate) body: BodyPlace,
    /// Octets of the body.
    #[n(6)]
    pub(crate) body_bytes: u64,
}

/// Where a body is.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub(crate) enum BodyPlace {
    /// In the entry's area, from this offset on.
    #[n(0)]
    Area(#[n(0)] u32),
    /// In `bodies/<segment>/<number>`.
    #[n(1)]
    File {
        #[n(0)]
        segment: u64,
        #[n(1)]
        number: u64,
    },
}

impl Content {
    /// Octets of the whole message: prefix, header block and body.
    pub fn size(&self) -> u64 {
        u64::from(self.prefix.1) + u64::from(self.header.1) + self.body_bytes
    }

    /// Octets of the prefix: what structure offsets, which count from the header block, are moved by.
    pub fn prefix_size(&self) -> u64 {
        u64::from(self.prefix.1)
    }

    /// The same message without its prefix: what is relayed, but for what is forwarded.
    #[must_use]
    pub fn without_prefix(&self) -> Self {
        Self { prefix: (0, 0), ..self.clone() }
    }
}

/// A complete body that no entry names yet. Dropping it removes its file.
#[derive(Debug)]
pub struct Body {
    inner: BodyInner,
}

#[derive(Debug)]
enum BodyInner {
    /// In the pieces that it came in.
    Memory(Vec<Bytes>),
    File {
        file: BodyFile,
        size: u64,
    },
}

impl Body {
    /// Octets in it.
    pub fn size(&self) -> u64 {
        match &self.inner {
            BodyInner::Memory(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
            BodyInner::File { size, .. } => *size,
        }
    }

    /// Its octets, where they are to ride inside the entry; copied where they came in several pieces.
    pub fn memory(&self) -> Option<Bytes> {
        self.pieces().map(|pieces| match pieces {
            [] => Bytes::new(),
            [one] => one.clone(),
            several => several.concat().into(),
        })
    }

    /// The same in pieces, none of them copied.
    pub(crate) fn pieces(&self) -> Option<&[Bytes]> {
        match &self.inner {
            BodyInner::Memory(pieces) => Some(pieces),
            BodyInner::File { .. } => None,
        }
    }

    /// Segment and number of its file, durable already, for [`crate::journal::NewEntry::body_files`].
    pub(crate) fn file(&self) -> Option<(u64, u64)> {
        match &self.inner {
            BodyInner::Memory(_) => None,
            BodyInner::File { file, .. } => Some(file.name()),
        }
    }

    /// A staged entry names it: its file stays, whatever becomes of the commit.
    pub(crate) fn claim(self) {
        match self.inner {
            BodyInner::Memory(_) => {}
            BodyInner::File { file, .. } => file.claim(),
        }
    }
}

/// Takes a body while it arrives. Holds up to [`INLINE_BODY_BYTES_MAX`] octets in memory, then writes to a file.
/// Dropping it removes what was written.
///
/// ```text
/// Memory ──more than fits──► File ──finish──► Body
///    └──finish──► Body        └──error, or a write that was dropped──► Failed
/// ```
#[derive(Debug)]
pub struct BodyWriter {
    files: Arc<Files>,
    /// Octets that are not in the file yet, and those that come behind them.
    pieces: Vec<Bytes>,
    buffer: BytesMut,
    /// How many both are.
    held: usize,
    size: u64,
    place: WriterPlace,
}

#[derive(Debug)]
enum WriterPlace {
    Memory,
    File(BodyFile),
    Failed(StoreError),
}

impl BodyWriter {
    /// Adds octets. Errors: `Full`, `Poisoned`, `Io`; the body is lost then.
    pub async fn write(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        if let WriterPlace::Failed(error) = &self.place {
            return Err(error.clone());
        }
        let mut rest = octets;
        while !rest.is_empty() {
            if self.held == INLINE_BODY_BYTES_MAX {
                self.spill().await?;
            }
            let (now, later) = rest.split_at(rest.len().min(INLINE_BODY_BYTES_MAX - self.held));
            self.buffer.extend_from_slice(now);
            self.add(now.len());
            rest = later;
        }
        Ok(())
    }

    /// Adds octets as [`BodyWriter::write`] does, without copying them where they stay in memory; they should have their room to
    /// themselves, as all of it is held. Errors as `write`.
    pub async fn take(&mut self, octets: Bytes) -> Result<(), StoreError> {
        let fits = self.held + octets.len() <= INLINE_BODY_BYTES_MAX;
        if octets.len() < COPIED_BYTES_MAX || !fits || !matches!(self.place, WriterPlace::Memory) {
            return self.write(&octets).await;
        }
        self.add(octets.len());
        self.gather();
        self.pieces.push(octets);
        Ok(())
    }

    fn add(&mut self, octets: usize) {
        self.held += octets;
        self.size += octets as u64;
    }

    /// What is in the buffer is a piece.
    fn gather(&mut self) {
        if !self.buffer.is_empty() {
            self.pieces.push(mem::take(&mut self.buffer).freeze());
        }
    }

    /// Octets so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Octets that are in memory.
    pub fn in_memory(&self) -> u64 {
        self.held as u64
    }

    /// Ends the body; a file is synced with its directory. Errors as `write`.
    pub async fn finish(mut self) -> Result<Body, StoreError> {
        if matches!(self.place, WriterPlace::File(_)) && self.held > 0 {
            self.spill().await?;
        }
        self.gather();
        let inner = match self.place {
            WriterPlace::Memory => BodyInner::Memory(self.pieces),
            WriterPlace::Failed(error) => return Err(error),
            WriterPlace::File(file) => {
                let synced = move || file.sync().map(|()| file);
                BodyInner::File { file: blocking(&self.files, synced).await?, size: self.size }
            }
        };
        Ok(Body { inner })
    }

    /// Ends the body as [`BodyWriter::finish`] does, in a file however short it is: for one that has to wait. Errors as `write`.
    pub async fn finish_in_file(mut self) -> Result<Body, StoreError> {
        if self.held > 0 {
            self.spill().await?;
        }
        self.finish().await
    }

    /// Moves what is in memory to the file. What fails, or is dropped half way, leaves a failed writer, and no file.
    async fn spill(&mut self) -> Result<(), StoreError> {
        let dropped = StoreError::Io("writing a body was broken off".into());
        let place = mem::replace(&mut self.place, WriterPlace::Failed(dropped));
        self.gather();
        let (files, pieces) = (Arc::clone(&self.files), mem::take(&mut self.pieces));
        self.held = 0;
        let append = move || {
            let mut file = match place {
                WriterPlace::Memory => BodyFile::create(files)?,
                WriterPlace::File(file) => file,
                WriterPlace::Failed(error) => return Err(error),
            };
            file.append(&pieces).map(|()| file)
        };
        let appended = blocking(&self.files, append).await;
        self.place = match &appended {
            Err(error) => WriterPlace::Failed(error.clone()),
            Ok(_) => return appended.map(|file| self.place = WriterPlace::File(file)),
        };
        appended.map(drop)
    }
}

/// Reads one message from its first octet to its last, or a range of it, in chunks. Checks are verified.
#[derive(Debug)]
pub struct Reader {
    files: Arc<Files>,
    content: Content,
    /// What is still to be read, in order; nothing in it is empty.
    pieces: VecDeque<Piece>,
    /// Chunks that were read last, and what they are part of.
    area: Option<(u64, Bytes)>,
    ahead: VecDeque<(u64, Bytes)>,
}

/// A run of octets that lie together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Piece {
    Area { start: u64, length: u64 },
    File { start: u64, length: u64 },
}

impl Reader {
    fn new(files: Arc<Files>, content: &Content, start: u64, length: u64) -> Self {
        let pieces = content.pieces(start, length);
        Self { files, content: content.clone(), pieces, area: None, ahead: VecDeque::new() }
    }

    /// Goes on with a range of a message, of another one, too: octets that lie together with those that were read last are not read
    /// again. `start` and `length` as for [`Store::reader`].
    pub fn aim(&mut self, content: &Content, start: u64, length: u64) {
        if (content.segment, content.area_at) != (self.content.segment, self.content.area_at) {
            self.area = None;
        }
        self.ahead.clear();
        self.pieces = content.pieces(start, length);
        self.content = content.clone();
    }

    /// All octets that are left, at once. Errors: `Damaged`, `Io`.
    pub async fn rest(&mut self) -> Result<Bytes, StoreError> {
        let first = self.next().await?;
        if self.pieces.is_empty() {
            return Ok(first);
        }
        let mut all = BytesMut::from(first);
        loop {
            let more = self.next().await?;
            if more.is_empty() {
                return Ok(all.freeze());
            }
            all.extend_from_slice(&more);
        }
    }

    /// The next octets, at most 64 KiB; empty at the end. Errors: `Damaged`, `Io`.
    pub async fn next(&mut self) -> Result<Bytes, StoreError> {
        let Some(piece) = self.pieces.front().copied() else { return Ok(Bytes::new()) };
        let (start, length) = piece.range();
        let (index, within) = (start / CHUNK_BYTES as u64, (start % CHUNK_BYTES as u64) as usize);
        let chunk = match piece {
            Piece::Area { .. } => self.area_chunk(index)?,
            Piece::File { .. } => self.file_chunk(index, start + length).await?,
        };
        let end = chunk.len().min(within + length.min(CHUNK_BYTES as u64) as usize);
        if within >= end {
            return Err(StoreError::Damaged(format!(
                "segment {}: a message ends early",
                self.content.segment
            )));
        }
        let taken = (end - within) as u64;
        self.pieces.pop_front();
        if taken < length {
            self.pieces.push_front(piece.after(taken));
        }
        Ok(chunk.slice(within..end))
    }

    /// A chunk of the area. Blocks for one short pread, most often from the page cache.
    fn area_chunk(&mut self, index: u64) -> Result<Bytes, StoreError> {
        if let Some((found, chunk)) = &self.area
            && *found == index
        {
            return Ok(chunk.clone());
        }
        let Content { segment, area_at, area_bytes, .. } = self.content;
        let chunk = self.files.area_chunk(segment, area_at, area_bytes, index)?;
        self.area = Some((index, chunk.clone()));
        Ok(chunk)
    }

    /// A chunk of the body file; some more are read with it, if they are before `end`.
    async fn file_chunk(&mut self, index: u64, end: u64) -> Result<Bytes, StoreError> {
        while let Some((found, chunk)) = self.ahead.pop_front() {
            if found == index {
                return Ok(chunk);
            }
        }
        let BodyPlace::File { segment, number } = self.content.body else { return Ok(Bytes::new()) };
        let count = (end.div_ceil(CHUNK_BYTES as u64) - index).min(CHUNKS_READ);
        let (files, body_bytes) = (Arc::clone(&self.files), self.content.body_bytes);
        let read = move || files.body_chunks((segment, number), body_bytes, index, count);
        let chunks = blocking(&self.files, read).await?;
        self.ahead = (index..).zip(chunks).collect();
        Ok(self.ahead.pop_front().map(|(_, chunk)| chunk).unwrap_or_default())
    }
}

impl Piece {
    fn range(self) -> (u64, u64) {
        match self {
            Self::Area { start, length } | Self::File { start, length } => (start, length),
        }
    }

    /// What is left of it after its first `taken` octets.
    fn after(self, taken: u64) -> Self {
        match self {
            Self::Area { start, length } => Self::Area { start: start + taken, length: length - taken },
            Self::File { start, length } => Self::File { start: start + taken, length: length - taken },
        }
    }

    /// This and what follows as one, where they lie together.
    fn join(self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Area { start, length }, Self::Area { start: second, length: more })
                if start + length == second =>
            {
                Some(Self::Area { start, length: length + more })
            }
            _ => None,
        }
    }
}

impl Content {
    /// Where `length` octets from `start` on lie.
    fn pieces(&self, start: u64, length: u64) -> VecDeque<Piece> {
        let area = |(start, length): (u32, u32)| Piece::Area { start: start.into(), length: length.into() };
        let body = match self.body {
            BodyPlace::Area(start) => Piece::Area { start: start.into(), length: self.body_bytes },
            BodyPlace::File { .. } => Piece::File { start: 0, length: self.body_bytes },
        };
        let (mut skip, mut left) = (start, length);
        let mut pieces: VecDeque<Piece> = VecDeque::new();
        for piece in [area(self.prefix), area(self.header), body] {
            let (_, length) = piece.range();
            let skipped = skip.min(length);
            skip -= skipped;
            let taken = left.min(length - skipped);
            left -= taken;
            if taken == 0 {
                continue;
            }
            let piece = match piece.after(skipped) {
                Piece::Area { start, .. } => Piece::Area { start, length: taken },
                Piece::File { start, .. } => Piece::File { start, length: taken },
            };
            match pieces.back().and_then(|last| last.join(piece)) {
                Some(joined) => drop(pieces.pop_back().map(|_| pieces.push_back(joined))),
                None => pieces.push_back(piece),
            }
        }
        pieces
    }
}

impl Files {
    /// Begins a body.
    pub(crate) fn body_writer(self: &Arc<Self>) -> BodyWriter {
        BodyWriter {
            files: Arc::clone(self),
            pieces: Vec::new(),
            buffer: BytesMut::new(),
            held: 0,
            size: 0,
            place: WriterPlace::Memory,
        }
    }

    /// Reads a range of a message: see [`Store::reader`].
    pub(crate) fn reader(self: &Arc<Self>, content: &Content, start: u64, length: u64) -> Reader {
        Reader::new(Arc::clone(self), content, start, length)
    }

    /// A range of a message at once: see [`Store::read`].
    pub(crate) async fn read(
        self: &Arc<Self>,
        content: &Content,
        start: u64,
        length: u64,
    ) -> Result<Bytes, StoreError> {
        self.reader(content, start, length).rest().await
    }
}

impl Store {
    /// Begins a body.
    pub fn body_writer(&self) -> BodyWriter {
        self.files().body_writer()
    }

    /// Reads a range of a message: `start` counts from its first octet (the prefix's), `length` is cut at its end.
    pub fn reader(&self, content: &Content, start: u64, length: u64) -> Reader {
        self.files().reader(content, start, length)
    }

    /// A range of a message at once, for header blocks and small parts; the same bounds as [`Store::reader`].
    pub async fn read(&self, content: &Content, start: u64, length: u64) -> Result<Bytes, StoreError> {
        self.files().read(content, start, length).await
    }
}

/// Runs what may wait for the disk off the async threads.
async fn blocking<T: Send + 'static>(
    files: &Files,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    if files.is_memory() {
        return work();
    }
    // A task that does not end properly panicked, or the runtime is going down.
    spawn_blocking(work).await.unwrap_or(Err(StoreError::Closed))
}
