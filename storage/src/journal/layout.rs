//! The octets of segments: file header, frame header, record block. All integers are little-endian; `docs/decisions/0001-record-format.md`
//! has the tables. No I/O here.

use waypost_mail::{AccountId, EntryId};

use super::{NewEntry, Position, RawRecord, Stream, chunk};
use crate::error::StoreError;

/// Format of segments, frames and footers that this version writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;
/// Octets before a segment's first frame.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 64;
/// Octets of a frame before its record block.
pub(super) const FRAME_HEADER_BYTES: u64 = 64;
/// Octets of a mark: a frame without records and area.
pub(super) const MARK_BYTES: u64 = FRAME_HEADER_BYTES;
/// Most octets of one entry's record block: what a start must hold in memory for one entry.
pub(super) const BLOCK_BYTES_MAX: usize = 16 * 1024 * 1024 + 1024 * 1024;
/// Most octets of one entry's records' payloads.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most octets of one entry's area: the batch is in memory while it is written.
pub(super) const AREA_BYTES_MAX: usize = 64 * 1024 * 1024;

const SEGMENT_MAGIC: [u8; 8] = *b"WPSEGMNT";
const FRAME_FORMAT: u8 = 1;
const CODEC_PLAIN: u8 = 0;
const KEY_PLAIN: u32 = 0;
const FLAG_IGNORABLE: u8 = 1;

/// Begins every frame of one segment; random, so that no message can hold it by chance or by intent.
pub(super) type Marker = [u8; 16];

/// Which segment octets belong to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SegmentId {
    pub(super) number: u64,
    pub(super) marker: Marker,
}

/// Why octets are not a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HeaderFault {
    /// The check does not agree.
    Invalid,
    /// The check agrees, but a newer version of Waypost wrote it.
    Newer,
}

impl SegmentId {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut header = [0; SEGMENT_HEADER_BYTES as usize];
        header[..8].copy_from_slice(&SEGMENT_MAGIC);
        header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        header[16..24].copy_from_slice(&self.number.to_le_bytes());
        header[24..40].copy_from_slice(&self.marker);
        seal(&mut header, 0);
        header
    }

    /// Reads the header of segment `number`.
    pub(super) fn decode(header: &[u8], number: u64) -> Result<Self, HeaderFault> {
        let mut fields = sealed(header, 0).ok_or(HeaderFault::Invalid)?;
        if fields.array() != Some(SEGMENT_MAGIC) {
            return Err(HeaderFault::Invalid);
        }
        let format = fields.u32().ok_or(HeaderFault::Invalid)?;
        if format > FORMAT {
            return Err(HeaderFault::Newer);
        }
        let rest = (fields.u32(), fields.u64(), fields.array());
        let (Some(_), Some(found), Some(marker)) = rest else { return Err(HeaderFault::Invalid) };
        if found == number { Ok(Self { number, marker }) } else { Err(HeaderFault::Invalid) }
    }

    /// What a frame's check covers besides its header.
    fn seed(&self, offset: u64) -> u32 {
        let check = crc32c::crc32c(&self.number.to_le_bytes());
        crc32c::crc32c_append(check, &offset.to_le_bytes())
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FrameKind {
    /// Records that happen together, and their area.
    Entry,
    /// Nothing but `synced_to`.
    Mark,
    /// An entry in a compacted segment: what is still needed of it, and where it stood when it was written.
    Moved,
}

/// Where a frame and its area stood when they were written: places that rows and records name for ever.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Home {
    /// Offset of the frame.
    pub(super) at: u64,
    /// Offset of its area.
    pub(super) area_at: u64,
    /// Octets in the area, checks not counted.
    pub(super) area_bytes: u32,
}

/// Octets of a record before its payload.
const RECORD_HEADER_BYTES: usize = 25;
/// Octets of a [`Home`] before the record block of a moved frame.
const HOME_BYTES: usize = 20;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FrameHeader {
    pub(super) kind: FrameKind,
    pub(super) entry: EntryId,
    pub(super) block_bytes: u32,
    pub(super) area_bytes: u32,
    /// All before it was durable when the frame was written.
    pub(super) synced_to: Position,
    pub(super) block_check: u32,
}

impl FrameHeader {
    pub(super) fn mark(at: Position) -> Self {
        Self {
            kind: FrameKind::Mark,
            entry: EntryId(0),
            block_bytes: 0,
            area_bytes: 0,
            synced_to: at,
            block_check: 0,
        }
    }

    pub(super) fn encode(&self, segment: &SegmentId, offset: u64) -> [u8; FRAME_HEADER_BYTES as usize] {
        let mut header = [0; FRAME_HEADER_BYTES as usize];
        header[..16].copy_from_slice(&segment.marker);
        header[16] = match self.kind {
            FrameKind::Entry => 1,
            FrameKind::Mark => 2,
            FrameKind::Moved => 3,
        };
        header[17..19].copy_from_slice(&[FRAME_FORMAT, CODEC_PLAIN]);
        header[20..24].copy_from_slice(&KEY_PLAIN.to_le_bytes());
        header[24..32].copy_from_slice(&self.entry.0.to_le_bytes());
        header[32..36].copy_from_slice(&self.block_bytes.to_le_bytes());
        header[36..40].copy_from_slice(&self.area_bytes.to_le_bytes());
        header[40..48].copy_from_slice(&self.synced_to.segment.to_le_bytes());
        header[48..56].copy_from_slice(&self.synced_to.offset.to_le_bytes());
        header[56..60].copy_from_slice(&self.block_check.to_le_bytes());
        seal(&mut header, segment.seed(offset));
        header
    }

    pub(super) fn decode(header: &[u8], segment: &SegmentId, offset: u64) -> Result<Self, HeaderFault> {
        if header.get(..16) != Some(&segment.marker[..]) {
            return Err(HeaderFault::Invalid);
        }
        let mut fields = sealed(&header[16..], crc32c::crc32c_append(segment.seed(offset), &segment.marker))
            .ok_or(HeaderFault::Invalid)?;
        let [kind, format, codec, _] = fields.array().ok_or(HeaderFault::Invalid)?;
        let key = fields.u32().ok_or(HeaderFault::Invalid)?;
        let kind = match (kind, format, codec, key) {
            (1, FRAME_FORMAT, CODEC_PLAIN, KEY_PLAIN) => FrameKind::Entry,
            (2, FRAME_FORMAT, CODEC_PLAIN, KEY_PLAIN) => FrameKind::Mark,
            (3, FRAME_FORMAT, CODEC_PLAIN, KEY_PLAIN) => FrameKind::Moved,
            _ => return Err(HeaderFault::Newer),
        };
        fields.frame(kind).ok_or(HeaderFault::Invalid)
    }

    /// Where the area is, if the frame is at `at`.
    pub(super) fn area_at(&self, at: u64) -> u64 {
        at + FRAME_HEADER_BYTES + u64::from(self.block_bytes)
    }

    /// Where the frame ends, if it is at `at`.
    pub(super) fn end(&self, at: u64) -> u64 {
        self.area_at(at) + chunk::stored_bytes(u64::from(self.area_bytes))
    }
}

/// An entry on its way into a batch: everything but its place.
#[derive(Debug)]
pub(super) struct Draft {
    header: FrameHeader,
    block: Vec<u8>,
    entry: NewEntry,
}

impl Draft {
    /// `Limit`: the entry is larger than any entry may be.
    pub(super) fn new(entry: NewEntry) -> Result<Self, StoreError> {
        let payload: usize = entry.records.iter().map(|record| record.payload.len()).sum();
        let area: usize = entry.area.iter().map(bytes::Bytes::len).sum();
        let block = encode_block(&entry.body_files, &entry.records);
        if payload > PAYLOAD_BYTES_MAX || block.len() > BLOCK_BYTES_MAX {
            return Err(StoreError::Limit("too many changes at once"));
        }
        if area > AREA_BYTES_MAX {
            return Err(StoreError::Limit("too many octets at once"));
        }
        let header = FrameHeader {
            kind: FrameKind::Entry,
            entry: entry.id,
            block_bytes: block.len() as u32,
            area_bytes: area as u32,
            synced_to: Position::default(),
            block_check: crc32c::crc32c(&block),
        };
        Ok(Self { header, block, entry })
    }

    /// Octets that its frame has.
    pub(super) fn frame_bytes(&self) -> u64 {
        self.header.end(0)
    }

    /// Appends the frame with room for its header, which is given: it is written when it is known what is durable.
    pub(super) fn encode(&self, output: &mut Vec<u8>) -> FrameHeader {
        output.extend_from_slice(&[0; FRAME_HEADER_BYTES as usize]);
        output.extend_from_slice(&self.block);
        chunk::encode(&self.entry.area, output);
        self.header
    }

    pub(super) fn records(&self) -> &[RawRecord] {
        &self.entry.records
    }
}

/// A frame of a compacted segment up to its area, of which `area_bytes` octets follow in chunks, all or none.
pub(super) fn encode_moved(
    segment: &SegmentId,
    offset: u64,
    entry: EntryId,
    home: Home,
    block: &Block,
    area_bytes: u32,
) -> Vec<u8> {
    let mut octets = Vec::with_capacity(HOME_BYTES + 256);
    octets.extend_from_slice(&home.at.to_le_bytes());
    octets.extend_from_slice(&home.area_at.to_le_bytes());
    octets.extend_from_slice(&home.area_bytes.to_le_bytes());
    octets.extend_from_slice(&encode_block(&block.body_files, &block.records));
    let header = FrameHeader {
        kind: FrameKind::Moved,
        entry,
        block_bytes: octets.len() as u32,
        area_bytes,
        // A compacted segment is synced as a whole before it gets its name.
        synced_to: Position { segment: segment.number, offset: SEGMENT_HEADER_BYTES },
        block_check: crc32c::crc32c(&octets),
    };
    [header.encode(segment, offset).as_slice(), &octets].concat()
}

/// Reads what stands between the header of a moved frame and its area.
pub(super) fn decode_moved(octets: &[u8]) -> Option<(Home, Block)> {
    let mut fields = Fields(octets);
    let home = Home { at: fields.u64()?, area_at: fields.u64()?, area_bytes: fields.u32()? };
    Some((home, decode_block(fields.0)?))
}

/// What a record block holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Block {
    pub(super) body_files: Vec<(u64, u64)>,
    pub(super) records: Vec<RawRecord>,
}

fn encode_block(body_files: &[(u64, u64)], records: &[RawRecord]) -> Vec<u8> {
    let payload: usize = records.iter().map(|record| record.payload.len() + RECORD_HEADER_BYTES).sum();
    let mut block = Vec::with_capacity(8 + body_files.len() * 16 + payload);
    block.extend_from_slice(&(body_files.len() as u32).to_le_bytes());
    for (segment, number) in body_files {
        block.extend_from_slice(&segment.to_le_bytes());
        block.extend_from_slice(&number.to_le_bytes());
    }
    block.extend_from_slice(&(records.len() as u32).to_le_bytes());
    records.iter().for_each(|record| encode_record(record, &mut block));
    block
}

/// Reads a record block whose check agreed; `None` where it is not one all the same.
pub(super) fn decode_block(block: &[u8]) -> Option<Block> {
    let mut fields = Fields(block);
    let count = fields.u32()?;
    let body_files = (0..count).map(|_| Some((fields.u64()?, fields.u64()?))).collect::<Option<_>>()?;
    let count = fields.u32()?;
    let records = (0..count).map(|_| fields.record()).collect::<Option<_>>()?;
    fields.0.is_empty().then_some(Block { body_files, records })
}

pub(super) fn encode_record(record: &RawRecord, output: &mut Vec<u8>) {
    encode_stream(record.stream, output);
    output.extend_from_slice(&record.seq.to_le_bytes());
    output.extend_from_slice(&record.kind.to_le_bytes());
    output.push(record.version);
    output.push(if record.ignorable { FLAG_IGNORABLE } else { 0 });
    output.extend_from_slice(&(record.payload.len() as u32).to_le_bytes());
    output.extend_from_slice(&record.payload);
}

pub(super) fn encode_stream(stream: Stream, output: &mut Vec<u8>) {
    let (kind, id) = match stream {
        Stream::Directory => (1, 0),
        Stream::Queue(node) => (2, u64::from(node)),
        Stream::Account(account) => (3, account.0),
    };
    output.push(kind);
    output.extend_from_slice(&id.to_le_bytes());
}

/// Writes the check of a header into its last four octets; `seed` is what it covers besides the header.
pub(super) fn seal<const N: usize>(header: &mut [u8; N], seed: u32) {
    let check = crc32c::crc32c_append(seed, &header[..N - 4]);
    header[N - 4..].copy_from_slice(&check.to_le_bytes());
}

/// The fields of what [`seal`] sealed, if its check agrees.
pub(super) fn sealed(header: &[u8], seed: u32) -> Option<Fields<'_>> {
    let (octets, check) = header.split_last_chunk::<4>()?;
    (crc32c::crc32c_append(seed, octets).to_le_bytes() == *check).then_some(Fields(octets))
}

/// Reads fields one after the other; `None` where the octets end.
#[derive(Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn octets(&mut self, length: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    /// The rest of a frame header, after its key id.
    fn frame(&mut self, kind: FrameKind) -> Option<FrameHeader> {
        Some(FrameHeader {
            kind,
            entry: EntryId(self.u64()?),
            block_bytes: self.u32()?,
            area_bytes: self.u32()?,
            synced_to: Position { segment: self.u64()?, offset: self.u64()? },
            block_check: self.u32()?,
        })
    }

    pub(super) fn stream(&mut self) -> Option<Stream> {
        let [kind] = self.array()?;
        match (kind, self.u64()?) {
            (1, 0) => Some(Stream::Directory),
            (2, node) => u32::try_from(node).ok().map(Stream::Queue),
            (3, account) => Some(Stream::Account(AccountId(account))),
            _ => None,
        }
    }

    pub(super) fn record(&mut self) -> Option<RawRecord> {
        let (stream, seq) = (self.stream()?, self.u64()?);
        let kind = u16::from_le_bytes(self.array()?);
        let [version, flags] = self.array()?;
        let length = self.u32()? as usize;
        let payload = self.octets(length)?.to_vec();
        Some(RawRecord { stream, seq, kind, version, ignorable: flags & FLAG_IGNORABLE != 0, payload })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEGMENT: SegmentId = SegmentId { number: 7, marker: *b"0123456789abcdef" };

    fn frame_header() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Entry,
            entry: EntryId(u64::MAX - 3),
            block_bytes: 100,
            area_bytes: 70_000,
            synced_to: Position { segment: 7, offset: 64 },
            block_check: 0x1234_5678,
        }
    }

    #[test]
    fn a_frame_header_is_itself_only_in_its_place() {
        let header = frame_header();
        assert_eq!(header.area_at(1000), 1164);
        assert_eq!(header.end(1000), 1164 + 70_000 + 8);
        let octets = header.encode(&SEGMENT, 1000);
        assert_eq!(FrameHeader::decode(&octets, &SEGMENT, 1000), Ok(header));
        let elsewhere = SegmentId { number: 8, ..SEGMENT };
        for (segment, offset) in [(SEGMENT, 999), (SEGMENT, 1001), (elsewhere, 1000)] {
            assert_eq!(FrameHeader::decode(&octets, &segment, offset), Err(HeaderFault::Invalid));
        }
        for bit in 0..octets.len() * 8 {
            let mut damaged = octets;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&damaged, &SEGMENT, 1000), Err(HeaderFault::Invalid));
        }
        assert_eq!(FrameHeader::decode(&octets[..63], &SEGMENT, 1000), Err(HeaderFault::Invalid));
    }

    #[test]
    fn a_mark_has_its_size_and_proves_its_own_place() {
        let at = Position { segment: 7, offset: 640 };
        let mark = FrameHeader::mark(at);
        assert_eq!(mark.end(640), 640 + MARK_BYTES);
        assert_eq!(FrameHeader::decode(&mark.encode(&SEGMENT, 640), &SEGMENT, 640), Ok(mark));
    }

    #[test]
    fn what_a_newer_version_wrote_is_told_from_damage() {
        for (place, value) in [(16, 4), (17, 2), (18, 1), (20, 1)] {
            let mut octets = frame_header().encode(&SEGMENT, 1000);
            octets[place] = value;
            seal(&mut octets, SEGMENT.seed(1000));
            assert_eq!(FrameHeader::decode(&octets, &SEGMENT, 1000), Err(HeaderFault::Newer), "{place}");
        }
        let mut octets = SEGMENT.encode();
        assert_eq!(SegmentId::decode(&octets, 7), Ok(SEGMENT));
        assert_eq!(SegmentId::decode(&octets, 8), Err(HeaderFault::Invalid));
        octets[8] = 2;
        assert_eq!(SegmentId::decode(&octets, 7), Err(HeaderFault::Invalid));
        seal(&mut octets, 0);
        assert_eq!(SegmentId::decode(&octets, 7), Err(HeaderFault::Newer));
    }

    fn record() -> impl Strategy<Value = RawRecord> {
        let stream = prop_oneof![
            Just(Stream::Directory),
            any::<u32>().prop_map(Stream::Queue),
            any::<u64>().prop_map(|id| Stream::Account(AccountId(id))),
        ];
        let payload = proptest::collection::vec(any::<u8>(), 0..50);
        let fields = (stream, any::<u64>(), any::<u16>(), any::<u8>(), any::<bool>(), payload);
        fields.prop_map(|(stream, seq, kind, version, ignorable, payload)| RawRecord {
            stream,
            seq,
            kind,
            version,
            ignorable,
            payload,
        })
    }

    proptest! {
        #[test]
        fn blocks_come_back(
            body_files in proptest::collection::vec(any::<(u64, u64)>(), 0..3),
            records in proptest::collection::vec(record(), 0..5),
            cut in any::<proptest::sample::Index>(),
        ) {
            let octets = encode_block(&body_files, &records);
            prop_assert_eq!(decode_block(&octets), Some(Block { body_files, records }));
            prop_assert_eq!(decode_block(&octets[..cut.index(octets.len())]), None);
            prop_assert_eq!(decode_block(&[&octets[..], &[0]].concat()), None);
        }
    }
}
