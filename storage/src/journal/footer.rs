//! Footers: all records of a sealed segment again, grouped by stream, with a directory of the streams.
//!
//! A footer serves [`super::Files::read_stream`] and mends damaged frames. It is derived: one that is missing or bad is
//! made again from the frames.

use std::sync::Arc;

use super::{
    Placement, Position, Stored, Stream,
    files::Moves,
    layout::{self, FORMAT, Fields, SegmentId, sealed},
};
use crate::{disk::DiskFile, error::StoreError};

/// Octets of a footer before its first block.
pub(super) const HEADER_BYTES: usize = 64;
/// Octets of one stream in the directory.
const ENTRY_BYTES: usize = 45;
/// In the number of moved areas: the segment was compacted.
const COMPACTED: u32 = 1 << 31;
/// Octets of one moved area.
const MOVE_BYTES: usize = 16;
/// Octets of a record before the length of its payload: place in its entry, placement, entry, stream, seq, kind, version, flags.
const STORED_BYTES: usize = 4 + 8 + 8 + 4 + 8 + 9 + 8 + 2 + 1 + 1;
/// Octets of records that are read at a time.
const PIECE_BYTES: u64 = 1024 * 1024;
const MAGIC: [u8; 8] = *b"WPFOOTER";

/// What a footer's header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FooterHeader {
    pub(super) segment: SegmentId,
    /// Where the segment's last frame ends.
    pub(super) end: u64,
    pub(super) directory_at: u64,
    pub(super) streams: u32,
    /// How many areas of a compacted segment it knows; `None`: the segment was not compacted.
    pub(super) moves: Option<u32>,
}

/// A footer whose directory was read and verified.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) header: FooterHeader,
    file: Arc<dyn DiskFile>,
    /// Ascending by stream.
    directory: Vec<DirectoryEntry>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct DirectoryEntry {
    stream: Stream,
    at: u64,
    length: u32,
    first: u64,
    last: u64,
    check: u32,
}

impl FooterHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        header[12..20].copy_from_slice(&self.segment.number.to_le_bytes());
        header[20..36].copy_from_slice(&self.segment.marker);
        header[36..44].copy_from_slice(&self.end.to_le_bytes());
        header[44..52].copy_from_slice(&self.directory_at.to_le_bytes());
        header[52..56].copy_from_slice(&self.streams.to_le_bytes());
        let moves = self.moves.map_or(0, |moves| moves | COMPACTED);
        header[56..60].copy_from_slice(&moves.to_le_bytes());
        layout::seal(&mut header, 0);
        header
    }

    /// Reads the header of the footer of segment `number`; `None` where it is damaged, or newer than this version.
    pub(super) fn read(file: &dyn DiskFile, number: u64) -> Result<Option<Self>, StoreError> {
        let mut octets = [0; HEADER_BYTES];
        let read = file.read_at(0, &mut octets)?;
        let decoded = (read == HEADER_BYTES).then(|| Self::decode(&octets, number)).flatten();
        // A footer that was cut short is as good as none.
        let length = file.length()?;
        Ok(decoded.filter(|header| header.length() == length))
    }

    fn decode(octets: &[u8; HEADER_BYTES], number: u64) -> Option<Self> {
        let mut fields = sealed(octets, 0)?;
        let (magic, format) = (fields.array()?, fields.u32()?);
        let segment = SegmentId { number: fields.u64()?, marker: fields.array()? };
        let header = Self {
            segment,
            end: fields.u64()?,
            directory_at: fields.u64()?,
            streams: fields.u32()?,
            moves: Some(fields.u32()?).filter(|moves| moves & COMPACTED != 0).map(|moves| moves & !COMPACTED),
        };
        (magic == MAGIC && format == FORMAT && segment.number == number).then_some(header)
    }

    fn directory_bytes(&self) -> usize {
        self.streams as usize * ENTRY_BYTES
    }

    fn moves_at(&self) -> u64 {
        self.directory_at + self.directory_bytes() as u64 + 4
    }

    fn moves_bytes(&self) -> usize {
        self.moves.map_or(0, |moves| moves as usize * MOVE_BYTES + 4)
    }

    /// Whether the segment was compacted.
    pub(super) fn is_compacted(&self) -> bool {
        self.moves.is_some()
    }

    fn length(&self) -> u64 {
        self.moves_at() + self.moves_bytes() as u64
    }
}

impl Footer {
    /// Reads and verifies header and directory; `None` where they are damaged.
    pub(super) fn read(file: Arc<dyn DiskFile>, number: u64) -> Result<Option<Self>, StoreError> {
        let Some(header) = FooterHeader::read(&*file, number)? else { return Ok(None) };
        let mut octets = vec![0; header.directory_bytes() + 4];
        let read = file.read_at(header.directory_at, &mut octets)?;
        if read < octets.len() {
            return Ok(None);
        }
        let Some(mut fields) = sealed(&octets, 0) else { return Ok(None) };
        let directory = (0..header.streams).map(|_| fields.directory_entry()).collect::<Option<Vec<_>>>();
        Ok(directory.map(|directory| Self { header, file, directory }))
    }

    /// Gives the records of one stream with a seq above `after`, in order, some at a time; `false`, and nothing is given, where they are
    /// damaged.
    pub(super) fn pieces(
        &self,
        stream: Stream,
        after: u64,
        take: &mut dyn FnMut(Vec<Stored>) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let Ok(found) = self.directory.binary_search_by_key(&stream, |entry| entry.stream) else {
            return Ok(true);
        };
        let entry = self.directory[found];
        if entry.last <= after {
            return Ok(true);
        }
        let Some(ends) = self.piece_ends(entry)? else { return Ok(false) };
        let mut at = entry.at;
        for end in ends {
            let Some(records) = self.records(at, end)? else {
                return Err(StoreError::Damaged(format!("footer {}", self.header.segment.number)));
            };
            let records = records.into_iter().map(|(_, stored)| stored);
            take(records.filter(|stored| stored.record.seq > after).collect())?;
            at = end;
        }
        Ok(true)
    }

    /// Where records of a block end, one every [`PIECE_BYTES`] or so, and the last; `None` where it is damaged.
    fn piece_ends(&self, entry: DirectoryEntry) -> Result<Option<Vec<u64>>, StoreError> {
        let (mut ends, mut octets) = (Vec::new(), Vec::new());
        let (mut check, mut at) = (0, entry.at);
        let end = entry.at + u64::from(entry.length);
        while at < end {
            let (begun, length) = (octets.len(), PIECE_BYTES.min(end - at) as usize);
            octets.resize(begun + length, 0);
            if self.file.read_at(at, &mut octets[begun..])? < length {
                return Ok(None);
            }
            check = crc32c::crc32c_append(check, &octets[begun..]);
            at += length as u64;
            let mut rest = Fields(&octets);
            while let Some(next) = rest.behind_stored() {
                rest = next;
            }
            let behind = octets.len() - rest.0.len();
            octets.drain(..behind);
            if behind > 0 {
                ends.push(at - octets.len() as u64);
            }
        }
        Ok((octets.is_empty() && check == entry.check).then_some(ends))
    }

    /// Octets of the records of the streams that `needed` wants, given the last seq of each here.
    pub(super) fn record_bytes(&self, needed: impl Fn(Stream, u64) -> bool) -> u64 {
        let wanted = self.directory.iter().filter(|entry| needed(entry.stream, entry.last));
        wanted.map(|entry| u64::from(entry.length)).sum()
    }

    /// Where the areas of the segment are, if it was compacted; `None` where that is damaged.
    pub(super) fn moves(&self) -> Result<Option<Moves>, StoreError> {
        let mut octets = vec![0; self.header.moves_bytes()];
        let read = self.file.read_at(self.header.moves_at(), &mut octets)?;
        let Some(mut fields) = sealed(&octets[..read], 0) else { return Ok(None) };
        let mut moves = Moves::new();
        while let (Some(from), Some(to)) = (fields.u64(), fields.u64()) {
            moves.insert(from, to);
        }
        Ok((Some(moves.len() as u32) == self.header.moves).then_some(moves))
    }

    /// All records whose frames lie in a range of offsets, in order; `None` where they are damaged.
    pub(super) fn range(&self, offsets: std::ops::Range<u64>) -> Result<Option<Vec<Stored>>, StoreError> {
        let mut all = Vec::new();
        for entry in &self.directory {
            let Some(records) = self.block(*entry)? else { return Ok(None) };
            all.extend(
                records.into_iter().filter(|(_, stored)| offsets.contains(&stored.placement.at.offset)),
            );
        }
        all.sort_by_key(|(ordinal, stored)| (stored.placement.at, *ordinal));
        Ok(Some(all.into_iter().map(|(_, stored)| stored).collect()))
    }

    fn block(&self, entry: DirectoryEntry) -> Result<Option<Vec<(u32, Stored)>>, StoreError> {
        let octets = self.octets(entry.at, entry.length as usize)?;
        let is_good = octets.len() == entry.length as usize && crc32c::crc32c(&octets) == entry.check;
        Ok(is_good.then(|| self.decode(&octets)).flatten())
    }

    /// Records from one place in the file to another.
    fn records(&self, from: u64, to: u64) -> Result<Option<Vec<(u32, Stored)>>, StoreError> {
        Ok(self.decode(&self.octets(from, (to - from) as usize)?))
    }

    /// So many octets from a place on; fewer where the file ends.
    fn octets(&self, at: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        let mut octets = vec![0; length];
        let read = self.file.read_at(at, &mut octets)?;
        octets.truncate(read);
        Ok(octets)
    }

    fn decode(&self, octets: &[u8]) -> Option<Vec<(u32, Stored)>> {
        let mut fields = Fields(octets);
        let mut records = Vec::new();
        while !fields.0.is_empty() {
            records.push(fields.stored(self.header.segment.number)?);
        }
        Some(records)
    }
}

impl Fields<'_> {
    fn directory_entry(&mut self) -> Option<DirectoryEntry> {
        let stream = self.stream()?;
        let (at, length) = (self.u64()?, self.u32()?);
        let (first, last, check) = (self.u64()?, self.u64()?, self.u32()?);
        let _reserved = self.u32()?;
        Some(DirectoryEntry { stream, at, length, first, last, check })
    }

    /// What comes behind a record that is here as a whole.
    fn behind_stored(&self) -> Option<Self> {
        let mut rest = Fields(self.0);
        rest.octets(STORED_BYTES)?;
        let length = rest.u32()? as usize;
        rest.octets(length)?;
        Some(rest)
    }

    fn stored(&mut self, segment: u64) -> Option<(u32, Stored)> {
        let ordinal = self.u32()?;
        let at = Position { segment, offset: self.u64()? };
        let placement = Placement { at, area_at: self.u64()?, area_bytes: self.u32()? };
        let entry = waypost_mail::EntryId(self.u64()?);
        let record = self.record()?;
        Some((ordinal, Stored { record, entry, placement }))
    }
}
