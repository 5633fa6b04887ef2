//! Footers: all records of a sealed segment again, grouped by stream, with a directory of the streams.
//!
//! A footer serves [`super::Files::read_stream`] and mends damaged frames. It is derived: one that is missing or bad is
//! made again from the frames.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Placement, Position, Stored, Stream,
    files::Moves,
    layout::{self, FORMAT, Fields, SegmentId, encode_record, encode_stream, sealed},
};
use crate::{disk::DiskFile, error::StoreError};

/// Octets of a footer before its first block.
const HEADER_BYTES: usize = 64;
/// Octets of one stream in the directory.
const ENTRY_BYTES: usize = 45;
/// In the number of moved areas: the segment was compacted.
const COMPACTED: u32 = 1 << 31;
/// Octets of one moved area.
const MOVE_BYTES: usize = 16;
const MAGIC: [u8; 8] = *b"WPFOOTER";

/// What a footer's header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FooterHeader {
    pub(super) segment: SegmentId,
    /// Where the segment's last frame ends.
    pub(super) end: u64,
    directory_at: u64,
    streams: u32,
    /// How many areas of a compacted segment it knows; `None`: the segment was not compacted.
    moves: Option<u32>,
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

/// The octets of the footer of a segment whose records are given in order.
/// `moves`: where its areas are, if it was compacted.
pub(super) fn encode(segment: SegmentId, end: u64, records: &[Stored], moves: Option<&Moves>) -> Vec<u8> {
    let mut streams: BTreeMap<Stream, Vec<(u32, &Stored)>> = BTreeMap::new();
    let (mut entry, mut ordinal) = (None, 0);
    for stored in records {
        ordinal = if entry == Some(stored.placement.at) { ordinal + 1 } else { 0 };
        entry = Some(stored.placement.at);
        streams.entry(stored.record.stream).or_default().push((ordinal, stored));
    }
    let mut output = vec![0; HEADER_BYTES];
    let mut directory = Vec::new();
    for (stream, records) in &streams {
        let at = output.len();
        records.iter().for_each(|(ordinal, stored)| encode_stored(*ordinal, stored, &mut output));
        encode_stream(*stream, &mut directory);
        let seqs = records.iter().map(|(_, stored)| stored.record.seq);
        directory.extend_from_slice(&(at as u64).to_le_bytes());
        directory.extend_from_slice(&((output.len() - at) as u32).to_le_bytes());
        directory.extend_from_slice(&seqs.clone().min().unwrap_or_default().to_le_bytes());
        directory.extend_from_slice(&seqs.max().unwrap_or_default().to_le_bytes());
        directory.extend_from_slice(&crc32c::crc32c(&output[at..]).to_le_bytes());
        directory.extend_from_slice(&[0; 4]);
    }
    let header = FooterHeader {
        segment,
        end,
        directory_at: output.len() as u64,
        streams: streams.len() as u32,
        moves: moves.map(|moves| moves.len() as u32),
    };
    output[..HEADER_BYTES].copy_from_slice(&header.encode());
    let check = crc32c::crc32c(&directory);
    output.extend_from_slice(&directory);
    output.extend_from_slice(&check.to_le_bytes());
    if let Some(moves) = moves {
        let places = moves.iter().flat_map(|(from, to)| [from.to_le_bytes(), to.to_le_bytes()]);
        let places: Vec<u8> = places.flatten().collect();
        output.extend_from_slice(&places);
        output.extend_from_slice(&crc32c::crc32c(&places).to_le_bytes());
    }
    output
}

fn encode_stored(ordinal: u32, stored: &Stored, output: &mut Vec<u8>) {
    output.extend_from_slice(&ordinal.to_le_bytes());
    output.extend_from_slice(&stored.placement.at.offset.to_le_bytes());
    output.extend_from_slice(&stored.placement.area_at.to_le_bytes());
    output.extend_from_slice(&stored.placement.area_bytes.to_le_bytes());
    output.extend_from_slice(&stored.entry.0.to_le_bytes());
    encode_record(&stored.record, output);
}

impl FooterHeader {
    fn encode(&self) -> [u8; HEADER_BYTES] {
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

    /// The records of one stream with a seq above `after`, in order; `None` where they are damaged.
    pub(super) fn stream(&self, stream: Stream, after: u64) -> Result<Option<Vec<Stored>>, StoreError> {
        let Ok(found) = self.directory.binary_search_by_key(&stream, |entry| entry.stream) else {
            return Ok(Some(Vec::new()));
        };
        let entry = self.directory[found];
        if entry.last <= after {
            return Ok(Some(Vec::new()));
        }
        let Some(records) = self.block(entry)? else { return Ok(None) };
        let records =
            records.into_iter().map(|(_, stored)| stored).filter(|stored| stored.record.seq > after);
        Ok(Some(records.collect()))
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
        let mut octets = vec![0; entry.length as usize];
        let read = self.file.read_at(entry.at, &mut octets)?;
        if read < octets.len() || crc32c::crc32c(&octets) != entry.check {
            return Ok(None);
        }
        let mut fields = Fields(&octets);
        let mut records = Vec::new();
        while !fields.0.is_empty() {
            let Some(stored) = fields.stored(self.header.segment.number) else { return Ok(None) };
            records.push(stored);
        }
        Ok(Some(records))
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

    fn stored(&mut self, segment: u64) -> Option<(u32, Stored)> {
        let ordinal = self.u32()?;
        let at = Position { segment, offset: self.u64()? };
        let placement = Placement { at, area_at: self.u64()?, area_bytes: self.u32()? };
        let entry = waypost_mail::EntryId(self.u64()?);
        let record = self.record()?;
        Some((ordinal, Stored { record, entry, placement }))
    }
}
