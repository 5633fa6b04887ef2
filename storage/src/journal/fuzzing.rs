//! What is fuzzed of the journal: frames, footers, and a journal that was damaged.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use waypost_mail::{AccountId, EntryId};

use super::{
    Journal, NewEntry, Position, RawRecord, Stored, Stream,
    footer::Footer,
    layout::{
        FRAME_HEADER_BYTES, Fields, FrameHeader, SegmentId, decode_block, decode_moved, encode_moved,
        encode_record, seal,
    },
};
use crate::{
    disk::{Disk, Simulated},
    error::StoreError,
};

const SEGMENT: SegmentId = SegmentId { number: 7, marker: *b"0123456789abcdef" };

/// The octets as a segment's header, as a frame's header, and as a record block.
pub(crate) fn frame(octets: &[u8]) {
    if let Ok(segment) = SegmentId::decode(octets, SEGMENT.number) {
        assert_eq!(SegmentId::decode(&segment.encode(), SEGMENT.number), Ok(segment));
    }
    if let Ok(header) = FrameHeader::decode(octets, &SEGMENT, 64) {
        assert_eq!(FrameHeader::decode(&header.encode(&SEGMENT, 64), &SEGMENT, 64), Ok(header));
    }
    if let Some((home, block)) = decode_moved(octets) {
        let frame = encode_moved(&SEGMENT, 64, EntryId(1), home, &block, 0);
        assert_eq!(decode_moved(&frame[FRAME_HEADER_BYTES as usize..]), Some((home, block)));
    }
    for record in decode_block(octets).into_iter().flat_map(|block| block.records) {
        let mut again = Vec::new();
        encode_record(&record, &mut again);
        assert_eq!(Fields(&again).record(), Some(record));
    }
}

/// Octets of a footer's header, of one stream in its directory, and where in that the check of its block stands.
const FOOTER_HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 45;
const ENTRY_CHECK: usize = 37;

/// The octets as a footer in which all checks are right.
pub(crate) fn footer(octets: &[u8]) {
    let mut octets = octets.to_vec();
    if correct_checks(&mut octets).is_none() {
        return;
    }
    let disk = Simulated::new(1);
    let path = Path::new("/footer");
    let file = disk.create(path).and_then(|file| file.write_at(0, &octets).map(|()| file));
    let Ok(file) = file else { return };
    let Ok(Some(footer)) = Footer::read(file, SEGMENT.number) else { return };
    for stream in [Stream::Directory, Stream::Queue(0), Stream::Account(AccountId(1))] {
        let mut check = |records: Vec<Stored>| {
            assert!(records.iter().all(|stored| stored.record.seq > 1));
            Ok(())
        };
        footer.pieces(stream, 1, &mut check).ok();
    }
    if let Ok(Some(records)) = footer.range(100..1000) {
        assert!(records.iter().all(|stored| (100..1000).contains(&stored.placement.at.offset)));
        assert!(records.is_sorted_by_key(|stored| stored.placement.at));
    }
}

/// Makes the checks of header, directory and blocks right, as far as the octets are there.
fn correct_checks(octets: &mut [u8]) -> Option<()> {
    seal(octets.first_chunk_mut::<FOOTER_HEADER_BYTES>()?, 0);
    let place = u64::from_le_bytes(*octets[44..].first_chunk()?);
    let at = usize::try_from(place).ok()?;
    let end = octets.len() - 4;
    for entry in (at.max(FOOTER_HEADER_BYTES)..end).step_by(ENTRY_BYTES) {
        let fields = octets.get(entry + 9..entry + 21)?;
        let from = u64::from_le_bytes(*fields.first_chunk()?);
        let bytes = u32::from_le_bytes(*fields[8..].first_chunk()?);
        let from = usize::try_from(from).ok()?;
        let block = octets.get(from..from.checked_add(bytes as usize)?)?;
        let check = crc32c::crc32c(block);
        let place = octets.get_mut(entry + ENTRY_CHECK..entry + ENTRY_CHECK + 4)?;
        place.copy_from_slice(&check.to_le_bytes());
    }
    let check = crc32c::crc32c(octets.get(at..end)?);
    octets[end..].copy_from_slice(&check.to_le_bytes());
    Some(())
}

const STATE: &str = "/state";
const SEGMENT_BYTES: u64 = 1024;
/// Entries that are written before octets are changed.
const ENTRIES_MAX: usize = 8;

/// The first octets say how long the entries are; the others, three by three, what is changed: file and offset, bits.
pub(crate) fn journal(octets: &[u8]) {
    let Some((lengths, damage)) = octets.split_first_chunk::<ENTRIES_MAX>() else { return };
    let entries: Vec<NewEntry> = (1..).zip(lengths).map(|(n, length)| entry(n, *length)).collect();
    let disk = Simulated::new(1);
    assert_eq!(write(&disk, &entries), Ok(()));
    let Ok(files) = disk.list(&Path::new(STATE).join("journal")) else { return };
    for change in damage.as_chunks::<3>().0 {
        let file = &files[usize::from(change[0] >> 4) % files.len()];
        let offset = usize::from(u16::from_le_bytes([change[1], change[0] & 0xf]));
        disk.flip(file, offset % (2 * SEGMENT_BYTES as usize), change[2]);
    }
    let Ok(journal) = open(&disk) else { return };
    let records = journal.records_from(Position::default()).into_iter().flatten().filter_map(Result::ok);
    for stored in records {
        let written = entries.iter().find(|entry| entry.id == stored.entry);
        assert!(written.is_some_and(|entry| entry.records.contains(&stored.record)), "{stored:?}");
    }
}

fn open(disk: &Simulated) -> Result<Journal, StoreError> {
    Journal::open(Arc::new(disk.clone()), Path::new(STATE), SEGMENT_BYTES)
}

fn write(disk: &Simulated, entries: &[NewEntry]) -> Result<(), StoreError> {
    let mut journal = open(disk)?;
    for entry in entries {
        journal.stage(entry.clone())?;
        journal.commit()?;
    }
    journal.close()
}

fn entry(n: u64, length: u8) -> NewEntry {
    let payload = vec![b'p'; usize::from(length)];
    let record = RawRecord {
        stream: Stream::Account(AccountId(n % 2)),
        seq: n,
        kind: 1,
        version: 1,
        ignorable: false,
        payload,
    };
    let area = vec![Bytes::from(vec![b'a'; usize::from(length) * 2])];
    NewEntry { id: EntryId(n), records: vec![record], area, body_files: Vec::new() }
}
