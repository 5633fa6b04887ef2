//! The journal against bounds, damage and simulated crashes.

mod crash;
mod damage;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    layout::{PAYLOAD_BYTES_MAX, SEGMENT_HEADER_BYTES},
    *,
};
use crate::disk::{Disk, Real, Simulated};

const STATE: &str = "/state";
const SEGMENT_BYTES: u64 = 2048;

fn open(disk: &Simulated) -> Result<Journal, StoreError> {
    Journal::open(Arc::new(disk.clone()), Path::new(STATE), SEGMENT_BYTES)
}

fn account(id: u64) -> Stream {
    Stream::Account(AccountId(id))
}

/// Entry `n`: two records in two streams, and an area whose length and content follow from `n`.
fn entry(n: u64) -> NewEntry {
    let record = |stream, seq| RawRecord {
        stream,
        seq,
        kind: n as u16,
        version: 1,
        ignorable: n.is_multiple_of(2),
        payload: format!("record of {n}").into_bytes(),
    };
    NewEntry {
        id: EntryId(n),
        records: vec![record(account(n % 3), n), record(Stream::Directory, n)],
        area: vec![Bytes::from(text(n)), Bytes::from_static(b"end")],
        body_files: Vec::new(),
    }
}

fn text(n: u64) -> Vec<u8> {
    vec![b'a' + (n % 26) as u8; (n * 97 % 300) as usize]
}

/// An entry whose frame has `bytes` octets.
fn entry_of(id: u64, bytes: u64) -> NewEntry {
    let empty = NewEntry { id: EntryId(id), records: Vec::new(), area: Vec::new(), body_files: Vec::new() };
    let rest = bytes - Draft::new(empty.clone()).unwrap().frame_bytes() - 25;
    let record = RawRecord {
        stream: Stream::Directory,
        seq: id,
        kind: 1,
        version: 1,
        ignorable: false,
        payload: vec![7; rest as usize],
    };
    NewEntry { records: vec![record], ..empty }
}

fn records(journal: &Journal) -> Vec<Stored> {
    journal.records_from(Position::default()).unwrap().map(Result::unwrap).collect()
}

/// The entries in the journal, after checking that the records of each are whole.
fn entries(journal: &Journal) -> Vec<u64> {
    let mut found = Vec::new();
    for pair in records(journal).chunks(2) {
        let n = pair[0].entry.0;
        let stored: Vec<_> = pair.iter().map(|stored| stored.record.clone()).collect();
        assert_eq!(stored, entry(n).records);
        found.push(n);
    }
    found
}

fn area(journal: &Journal, placement: Placement) -> Result<Bytes, StoreError> {
    journal.files().area_chunk(placement.at.segment, placement.area_at, placement.area_bytes, 0)
}

fn expected_area(n: u64) -> Vec<u8> {
    [text(n), b"end".to_vec()].concat()
}

/// A closed journal with entries 1 to `last`, some of them in one batch.
fn written(disk: &Simulated, last: u64) {
    let mut journal = open(disk).unwrap();
    for n in 1..=last {
        journal.stage(entry(n)).unwrap();
        if n % 3 == 0 {
            journal.commit().unwrap();
        }
    }
    journal.close().unwrap();
}

fn stage_all(journal: &mut Journal, entries: std::ops::RangeInclusive<u64>) {
    for n in entries {
        journal.stage(entry(n)).unwrap();
    }
}

/// Commits what is staged, with zeros behind it where they are due; up to where these reach.
fn commit_ahead(journal: &mut Journal) -> Result<Option<u64>, StoreError> {
    let Some(mut batch) = journal.take_batch() else { return Ok(None) };
    journal.write_ahead(&mut batch, false);
    batch.write()?;
    let reach = batch.parts.last().map(|part| part.written).filter(|written| *written > 0);
    journal.committed(batch);
    Ok(reach)
}

fn segment_path(number: u64) -> PathBuf {
    Path::new(STATE).join(format!("journal/{number:016x}.segment"))
}

fn footer_path(number: u64) -> PathBuf {
    segment_path(number).with_extension("footer")
}

fn up_to(last: u64) -> Vec<u64> {
    (1..=last).collect()
}

/// Readers look at the newest segments while these are filled and sealed: they find each record once, and take nothing for damage.
#[test]
fn a_segment_is_sealed_while_it_is_read() {
    let disk = Simulated::new(1);
    let mut journal = open(&disk).unwrap();
    let (files, done) = (journal.files(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let mut parts = 0;
                    let newest = files.read_last(Stream::Directory, |_| {
                        parts += 1;
                        parts == 3
                    });
                    let seqs: Vec<u64> = newest.unwrap().iter().map(|stored| stored.record.seq).collect();
                    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
                }
            });
        }
        for n in 1..=3000 {
            journal.stage(entry(n)).unwrap();
            journal.commit().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(files.damage(), [""; 0]);
}

#[test]
fn entries_come_back_in_order_over_many_segments() {
    let disk = Simulated::new(1);
    let mut journal = open(&disk).unwrap();
    for n in 1..=100 {
        let placement = journal.stage(entry(n)).unwrap();
        if n % 3 == 0 {
            journal.commit().unwrap();
            assert_eq!(area(&journal, placement).unwrap(), expected_area(n));
            assert!(journal.end() > placement.at);
        }
    }
    assert_eq!(entries(&journal), up_to(99), "what is staged is not shown");
    journal.close().unwrap();
    let journal = open(&disk).unwrap();
    assert_eq!(entries(&journal), up_to(100));
    assert_eq!(journal.files.damage(), [""; 0]);
    for stored in records(&journal) {
        assert_eq!(area(&journal, stored.placement).unwrap(), expected_area(stored.entry.0));
    }
}

#[test]
fn a_stream_is_read_from_footers_and_frames_alike() {
    let disk = Simulated::new(1);
    let mut journal = open(&disk).unwrap();
    for n in 1..=60 {
        journal.stage(entry(n)).unwrap();
        journal.commit().unwrap();
    }
    let check = |journal: &Journal| {
        for after in [0, 1, 30, 57, 58, 60] {
            let found = journal.files().read_stream(account(1), after).unwrap();
            let seqs: Vec<u64> = found.iter().map(|stored| stored.record.seq).collect();
            assert_eq!(seqs, (after + 1..=60).filter(|n| n % 3 == 1).collect::<Vec<_>>());
            assert!(found.iter().all(|stored| stored.entry.0 == stored.record.seq));
        }
        assert_eq!(journal.files().read_stream(account(9), 0).unwrap(), []);
    };
    check(&journal);
    journal.close().unwrap();
    let sealed = open(&disk).unwrap();
    assert!(sealed.files.catalog().values().filter(|segment| segment.index.is_none()).count() > 3);
    check(&sealed);
    let from = sealed.files().read_stream(account(1), 30).unwrap()[0].placement.at;
    let rest = sealed.records_from(from).unwrap().map(|stored| stored.unwrap().entry.0);
    assert!(rest.eq((31..=60).flat_map(|n| [n, n])));
}

#[test]
fn an_entry_takes_the_next_segment_only_if_it_does_not_fit() {
    let room = SEGMENT_BYTES - SEGMENT_HEADER_BYTES - MARK_BYTES;
    for (first, second, segment) in
        [(500, room - 500, 1), (500, room - 499, 2), (500, room, 2), (500, room + 1, 2)]
    {
        let disk = Simulated::new(1);
        let mut journal = open(&disk).unwrap();
        assert_eq!(journal.stage(entry_of(1, first)).unwrap().at.segment, 1);
        assert_eq!(journal.stage(entry_of(2, second)).unwrap().at.segment, segment);
        journal.commit().unwrap();
        journal.close().unwrap();
        let found: Vec<_> = records(&open(&disk).unwrap()).iter().map(|stored| stored.entry.0).collect();
        assert_eq!(found, [1, 2]);
        let length = disk.open(&segment_path(segment)).unwrap().length().unwrap();
        assert_eq!(length, SEGMENT_BYTES.max(if segment == 2 { second + 128 } else { 0 }));
    }
}

#[test]
fn the_first_entry_may_be_larger_than_a_segment() {
    let disk = Simulated::new(1);
    let mut journal = open(&disk).unwrap();
    assert_eq!(journal.stage(entry_of(1, 3 * SEGMENT_BYTES)).unwrap().at.segment, 1);
    assert_eq!(journal.stage(entry_of(2, 500)).unwrap().at.segment, 2);
    journal.commit().unwrap();
    drop(journal);
    assert_eq!(records(&open(&disk).unwrap()).len(), 2);
}

#[test]
fn an_entry_is_bounded() {
    let mut journal = open(&Simulated::new(1)).unwrap();
    let overhead = entry_of(1, 1000).records[0].payload.len() as u64;
    let largest = PAYLOAD_BYTES_MAX as u64 + 1000 - overhead;
    assert!(journal.stage(entry_of(1, largest)).is_ok());
    let at = journal.stage(entry_of(2, largest + 1));
    assert!(matches!(at, Err(StoreError::Limit(_))), "{at:?}");
    let area = vec![Bytes::from(vec![0; layout::AREA_BYTES_MAX]), Bytes::from_static(b"1")];
    let at = journal.stage(NewEntry { area, ..entry(3) });
    assert!(matches!(at, Err(StoreError::Limit(_))), "{at:?}");
    journal.commit().unwrap();
    assert_eq!(records(&journal).len(), 1);
}

#[test]
fn a_full_disk_is_said_before_a_place_is_promised_and_recovers_alone() {
    let disk = Simulated::new(1);
    disk.set_capacity(Some(3 * SEGMENT_BYTES));
    let mut journal = open(&disk).unwrap();
    let mut last = 0;
    let refused = loop {
        match journal.stage(entry(last + 1)) {
            Ok(_) => last += 1,
            Err(error) => break error,
        }
        journal.commit().unwrap();
    };
    assert_eq!(refused, StoreError::Full);
    assert_eq!(journal.stage(entry(last + 1)), Err(StoreError::Full));
    assert_eq!(entries(&journal), up_to(last));
    disk.set_capacity(None);
    journal.stage(entry(last + 1)).unwrap();
    journal.commit().unwrap();
    journal.close().unwrap();
    let journal = open(&disk).unwrap();
    assert_eq!(entries(&journal), up_to(last + 1));
    assert_eq!(journal.files.damage(), [""; 0]);
}

#[test]
fn a_clean_start_copies_nothing_and_an_unclean_one_fits_on_a_full_disk() {
    let disk = Simulated::new(1);
    written(&disk, 2);
    disk.set_capacity(Some(2 * SEGMENT_BYTES));
    let mut journal = open(&disk).unwrap();
    journal.stage(entry(3)).unwrap();
    journal.commit().unwrap();
    drop(journal);
    // Both segments are there and nothing is free: the one made ahead gives its room.
    let journal = open(&disk).unwrap();
    assert_eq!(entries(&journal), up_to(3));
}

#[test]
fn a_failed_write_or_sync_poisons_until_reopened() {
    for fail in [Simulated::fail_write as fn(&Simulated, u64), Simulated::fail_sync] {
        let disk = Simulated::new(1);
        let mut journal = open(&disk).unwrap();
        // The segment made ahead is written by then, so the next write is ours.
        journal.next = Next::Ready(journal.take_next().unwrap());
        journal.stage(entry(1)).unwrap();
        journal.commit().unwrap();
        journal.stage(entry(2)).unwrap();
        fail(&disk, 1);
        assert_eq!(journal.commit(), Err(StoreError::Poisoned));
        assert_eq!(journal.stage(entry(3)), Err(StoreError::Poisoned));
        assert_eq!(journal.commit(), Err(StoreError::Poisoned));
        assert_eq!(entries(&journal), [1]);
        assert!(matches!(BodyFile::create(journal.files()), Err(StoreError::Poisoned)));
        assert_eq!(journal.close(), Err(StoreError::Poisoned));
        let mut journal = open(&disk).unwrap();
        let next = entries(&journal).len() as u64 + 1;
        journal.stage(entry(next)).unwrap();
        journal.commit().unwrap();
        assert_eq!(entries(&journal), up_to(next));
    }
}

/// Octets of the first segment from `start` up to `end`.
fn octets(journal: &Journal, start: u64, end: u64) -> Vec<u8> {
    let mut octets = vec![1; (end - start) as usize];
    assert_eq!(journal.tail.file.read_at(start, &mut octets).unwrap(), octets.len());
    octets
}

#[test]
fn small_batches_find_their_octets_written() {
    let disk = Simulated::new(33);
    let mut journal = Journal::open(Arc::new(disk.clone()), Path::new(STATE), 1 << 20).unwrap();
    let mut reaches = Vec::new();
    for n in 1..=2000 {
        journal.stage(entry(n)).unwrap();
        if let Some(reach) = commit_ahead(&mut journal).unwrap() {
            assert!(octets(&journal, journal.tail.end, reach).iter().all(|octet| *octet == 0));
            reaches.push(reach);
        }
        assert!(reaches.last().unwrap() >= &journal.tail.end, "{reaches:?}");
    }
    let used = journal.tail.end;
    assert!(reaches.len() as u64 <= used / (250 * 1024) + 1, "{used} octets: {reaches:?}");
    // As a process that is killed leaves it, and as one that ends does.
    for round in 0..2 {
        drop(journal);
        disk.crash(33);
        journal = Journal::open(Arc::new(disk.clone()), Path::new(STATE), 1 << 20).unwrap();
        assert_eq!(entries(&journal), up_to(2000));
        if round == 0 {
            journal.close().unwrap();
            journal = Journal::open(Arc::new(disk.clone()), Path::new(STATE), 1 << 20).unwrap();
        }
    }
    // Zeros end with the segment, and the next one has its own.
    for n in 2001..=8000 {
        journal.stage(entry(n)).unwrap();
        commit_ahead(&mut journal).unwrap();
        assert!(journal.tail.end <= journal.tail.written && journal.tail.written <= journal.tail.capacity);
    }
    assert!(journal.tail.id.number > 1);
    assert_eq!((entries(&journal), journal.files.damage()), (up_to(8000), Vec::new()));
}

#[test]
fn it_works_on_real_files() {
    let state = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let mut journal = Journal::open(Arc::new(Real), state.path(), 4096).unwrap();
        assert_eq!(entries(&journal), up_to(round * 30));
        for n in round * 30 + 1..=round * 30 + 30 {
            journal.stage(entry(n)).unwrap();
            journal.commit().unwrap();
        }
        // Every other time without a mark.
        if round % 2 == 0 {
            journal.close().unwrap();
        }
    }
    let journal = Journal::open(Arc::new(Real), state.path(), 4096).unwrap();
    assert_eq!(journal.files.damage(), [""; 0]);
    assert_eq!(entries(&journal), up_to(90));
}
