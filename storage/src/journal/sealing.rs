//! Writing footers: the records of a segment are passed once, and are kept, encoded, where they are few; else they are passed once more
//! and written where they belong, so that a segment full of records is never in memory.

use std::collections::BTreeMap;

use super::{
    Position, Stored, Stream,
    files::Moves,
    footer::{FooterHeader, HEADER_BYTES},
    layout::{SegmentId, encode_record, encode_stream},
};
use crate::{disk::DiskFile, error::StoreError};

/// Octets of records up to which they are kept: a segment of messages holds that many.
pub(super) const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Octets that are gathered for one write.
const WRITE_BYTES: usize = 256 * 1024;

/// What a footer holds.
#[derive(Debug)]
pub(super) struct Outline {
    streams: BTreeMap<Stream, Block>,
    encoder: Encoder,
    kept_max: usize,
    /// Octets that are kept; `None`: they were too many.
    kept: Option<usize>,
}

/// The records of one stream.
#[derive(Debug)]
struct Block {
    length: u64,
    first: u64,
    last: u64,
    check: u32,
    octets: Vec<u8>,
}

/// Encodes records in the order in which they stand in the segment.
#[derive(Debug, Default)]
struct Encoder {
    entry: Option<Position>,
    /// Of the record in its entry.
    ordinal: u32,
    octets: Vec<u8>,
}

impl Encoder {
    fn encode(&mut self, stored: &Stored) -> &[u8] {
        let placement = &stored.placement;
        self.ordinal = if self.entry == Some(placement.at) { self.ordinal + 1 } else { 0 };
        self.entry = Some(placement.at);
        self.octets.clear();
        self.octets.extend_from_slice(&self.ordinal.to_le_bytes());
        self.octets.extend_from_slice(&placement.at.offset.to_le_bytes());
        self.octets.extend_from_slice(&placement.area_at.to_le_bytes());
        self.octets.extend_from_slice(&placement.area_bytes.to_le_bytes());
        self.octets.extend_from_slice(&stored.entry.0.to_le_bytes());
        encode_record(&stored.record, &mut self.octets);
        &self.octets
    }
}

impl Outline {
    /// Of no record yet; up to so many octets of them are kept.
    pub(super) fn new(kept_max: usize) -> Self {
        Self { streams: BTreeMap::new(), encoder: Encoder::default(), kept_max, kept: Some(0) }
    }

    /// Adds a record; they come in their order.
    pub(super) fn add(&mut self, stored: &Stored) {
        let octets = self.encoder.encode(stored);
        let seq = stored.record.seq;
        let block = self.streams.entry(stored.record.stream).or_insert_with(|| Block {
            length: 0,
            first: seq,
            last: seq,
            check: 0,
            octets: Vec::new(),
        });
        block.length += octets.len() as u64;
        block.check = crc32c::crc32c_append(block.check, octets);
        (block.first, block.last) = (block.first.min(seq), block.last.max(seq));
        let Some(kept) = &mut self.kept else { return };
        *kept += octets.len();
        if *kept <= self.kept_max {
            block.octets.extend_from_slice(octets);
        } else {
            self.kept = None;
            self.streams.values_mut().for_each(|block| block.octets = Vec::new());
        }
    }

    /// Writes the footer of a segment that ends there. `moves`: where its areas are, if it was compacted. `again` gives all records once more
    /// to what it is given.
    pub(super) fn write(
        self,
        file: &dyn DiskFile,
        (segment, end): (SegmentId, u64),
        moves: Option<&Moves>,
        again: impl FnOnce(&mut dyn FnMut(&Stored) -> Result<(), StoreError>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let directory_at = HEADER_BYTES as u64 + self.streams.values().map(|block| block.length).sum::<u64>();
        let streams = self.streams.len() as u32;
        let moved = moves.map(|moves| moves.len() as u32);
        let header = FooterHeader { segment, end, directory_at, streams, moves: moved };
        let mut run = Run::new(file, 0);
        run.add(&header.encode())?;
        if self.kept.is_some() {
            self.streams.values().try_for_each(|block| run.add(&block.octets))?;
        } else {
            let mut spread = Spread::new(file, &self.streams);
            again(&mut |stored| spread.add(stored))?;
            spread.flush()?;
            run.flush()?;
            run = Run::new(file, directory_at);
        }
        run.sealed(&self.directory())?;
        if let Some(moves) = moves {
            let places = moves.iter().flat_map(|(from, to)| [from.to_le_bytes(), to.to_le_bytes()]);
            run.sealed(&places.flatten().collect::<Vec<u8>>())?;
        }
        run.flush()
    }

    fn directory(&self) -> Vec<u8> {
        let (mut directory, mut at) = (Vec::new(), HEADER_BYTES as u64);
        for (stream, block) in &self.streams {
            encode_stream(*stream, &mut directory);
            directory.extend_from_slice(&at.to_le_bytes());
            directory.extend_from_slice(&(block.length as u32).to_le_bytes());
            directory.extend_from_slice(&block.first.to_le_bytes());
            directory.extend_from_slice(&block.last.to_le_bytes());
            directory.extend_from_slice(&block.check.to_le_bytes());
            directory.extend_from_slice(&[0; 4]);
            at += block.length;
        }
        directory
    }
}

/// Octets that are written one behind the other.
struct Run<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    octets: Vec<u8>,
}

impl<'a> Run<'a> {
    fn new(file: &'a dyn DiskFile, at: u64) -> Self {
        Self { file, at, octets: Vec::new() }
    }

    fn add(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        self.octets.extend_from_slice(octets);
        if self.octets.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    /// Adds octets and their check.
    fn sealed(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        self.add(octets)?;
        self.add(&crc32c::crc32c(octets).to_le_bytes())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if !self.octets.is_empty() {
            self.file.write_at(self.at, &self.octets)?;
            self.at += self.octets.len() as u64;
            self.octets.clear();
        }
        Ok(())
    }
}

/// Writes records to the blocks of their streams.
struct Spread<'a> {
    blocks: BTreeMap<Stream, Run<'a>>,
    gathered: usize,
    encoder: Encoder,
}

impl<'a> Spread<'a> {
    fn new(file: &'a dyn DiskFile, streams: &BTreeMap<Stream, Block>) -> Self {
        let mut at = HEADER_BYTES as u64;
        let mut block = |(stream, block): (&Stream, &Block)| {
            let run = Run::new(file, at);
            at += block.length;
            (*stream, run)
        };
        let blocks = streams.iter().map(&mut block).collect();
        Self { blocks, gathered: 0, encoder: Encoder::default() }
    }

    fn add(&mut self, stored: &Stored) -> Result<(), StoreError> {
        let octets = self.encoder.encode(stored);
        if let Some(run) = self.blocks.get_mut(&stored.record.stream) {
            run.add(octets)?;
        }
        self.gathered += octets.len();
        if self.gathered >= KEPT_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.gathered = 0;
        self.blocks.values_mut().try_for_each(Run::flush)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use waypost_mail::{AccountId, EntryId};

    use super::*;
    use crate::{
        disk::{Disk, Simulated},
        journal::{Placement, RawRecord, footer::Footer},
    };

    const SEGMENT: SegmentId = SegmentId { number: 3, marker: [7; 16] };

    fn records() -> Vec<Stored> {
        (1..200).map(|number| stored(number, number as usize % 50)).collect()
    }

    fn stored(number: u64, bytes: usize) -> Stored {
        let stream = match number % 3 {
            0 => Stream::Queue(0),
            1 => Stream::Account(AccountId(number % 5)),
            _ => Stream::Directory,
        };
        let payload = vec![number as u8; bytes];
        let record = RawRecord { stream, seq: number, kind: 1, version: 1, ignorable: false, payload };
        let at = Position { segment: 3, offset: number / 4 * 100 };
        Stored { record, entry: EntryId(number / 4), placement: Placement { at, area_at: 9, area_bytes: 8 } }
    }

    fn written(records: &[Stored], kept_max: usize, moves: Option<&Moves>) -> (Vec<u8>, Footer) {
        let disk = Simulated::new(1);
        disk.create_directory(Path::new("/")).unwrap();
        let file = disk.create(Path::new("/footer")).unwrap();
        let mut outline = Outline::new(kept_max);
        records.iter().for_each(|stored| outline.add(stored));
        outline.write(&*file, (SEGMENT, 1000), moves, |take| records.iter().try_for_each(take)).unwrap();
        let mut octets = vec![0; file.length().unwrap() as usize];
        file.read_at(0, &mut octets).unwrap();
        (octets, Footer::read(file, 3).unwrap().unwrap())
    }

    #[test]
    fn a_footer_is_the_same_whether_its_records_were_kept_or_passed_twice() {
        let moves = Moves::from([(1, 2), (3, 4)]);
        for moves in [None, Some(&moves)] {
            let (kept, footer) = written(&records(), usize::MAX, moves);
            for kept_max in [0, 1, 1000] {
                assert_eq!(written(&records(), kept_max, moves).0, kept, "{kept_max}");
            }
            assert_eq!(footer.range(0..u64::MAX).unwrap().unwrap(), records());
            assert_eq!(
                footer.moves().unwrap().as_ref(),
                Some(moves.unwrap_or(&Moves::new())).filter(|_| moves.is_some())
            );
        }
    }

    #[test]
    fn records_of_any_size_are_read_in_pieces_and_none_where_one_octet_is_wrong() {
        let sizes = [0, 1, 70_000, 1 << 20, 3 << 20, 5, 1 << 19, 1 << 19, 1 << 19];
        let records: Vec<Stored> =
            (0..).zip(sizes).map(|(number, bytes)| stored(number * 3, bytes)).collect();
        let (octets, footer) = written(&records, 0, None);
        let read = |footer: &Footer| {
            let (mut all, mut pieces) = (Vec::new(), 0);
            let sound = footer.pieces(Stream::Queue(0), 3, &mut |mut records| {
                pieces += 1;
                all.append(&mut records);
                Ok(())
            });
            (sound.unwrap(), all, pieces)
        };
        let (sound, all, pieces) = read(&footer);
        assert!(sound && pieces > 3, "{pieces}");
        assert_eq!(all, records[2..]);
        let disk = Simulated::new(1);
        disk.create_directory(Path::new("/")).unwrap();
        for wrong in [HEADER_BYTES, 2 << 20, octets.len() - 200] {
            let mut octets = octets.clone();
            octets[wrong] ^= 1;
            let file = disk.create(Path::new(&format!("/{wrong}"))).unwrap();
            file.write_at(0, &octets).unwrap();
            assert_eq!(read(&Footer::read(file, 3).unwrap().unwrap()), (false, Vec::new(), 0), "{wrong}");
        }
    }
}
