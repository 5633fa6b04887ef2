//! What is left when the disk changes octets, loses files, or messages pose as frames.

use std::collections::BTreeSet;

use super::*;

/// Entries that can be read whole, entries whose records are there, and whether anything was reported.
fn examine(disk: &Simulated, last: u64) -> (BTreeSet<u64>, BTreeSet<u64>, bool) {
    let journal = open(disk).unwrap();
    let mut reported = false;
    let (mut whole, mut known) = (BTreeSet::new(), BTreeSet::new());
    for stored in records(&journal) {
        let n = stored.entry.0;
        assert!(n <= last && entry(n).records.contains(&stored.record), "never something else: {stored:?}");
        known.insert(n);
        match area(&journal, stored.placement) {
            Ok(text) => {
                assert_eq!(text, expected_area(n));
                whole.insert(n);
            }
            Err(StoreError::Damaged(_)) => reported = true,
            Err(error) => panic!("{error}"),
        }
    }
    for stream in [account(0), account(1), account(2), Stream::Directory] {
        let found = journal.files().read_stream(stream, 0).unwrap();
        assert!(found.iter().all(|stored| entry(stored.entry.0).records.contains(&stored.record)));
        assert!(found.is_sorted_by_key(|stored| stored.record.seq), "each once");
    }
    reported |= !journal.files.damage().is_empty();
    (whole, known, reported)
}

#[test]
fn each_entry_is_whole_or_reported_whatever_octet_is_damaged() {
    const LAST: u64 = 9;
    let disk = Simulated::new(1);
    written(&disk, LAST);
    let all: BTreeSet<u64> = (1..=LAST).collect();
    assert_eq!(examine(&disk.duplicate(), LAST), (all.clone(), all.clone(), false));
    let files = disk.list(&Path::new(STATE).join("journal")).unwrap();
    assert!(
        files.iter().filter(|path| path.extension().is_some_and(|suffix| suffix == "footer")).count() >= 1
    );
    let ahead = (1..).take_while(|number| disk.open(&segment_path(*number)).is_ok()).count() as u64;
    let mut losses = 0;
    for path in files {
        let length = disk.open(&path).unwrap().length().unwrap() as usize;
        let blank = path == segment_path(ahead);
        for offset in (0..length).step_by(if blank { 17 } else { 1 }) {
            let disk = disk.duplicate();
            assert!(disk.flip(&path, offset, 1 << (offset % 8)));
            let (whole, known, reported) = examine(&disk, LAST);
            assert!(whole == all || reported, "{} at {offset}: {whole:?}", path.display());
            assert!(known.len() as u64 >= LAST - 1, "one octet costs one entry at most");
            losses += usize::from(whole != all);
        }
    }
    assert!(losses > 500, "{losses}");
}

#[test]
fn a_damaged_frame_is_mended_from_the_footer() {
    let disk = Simulated::new(1);
    written(&disk, 12);
    let first = records(&open(&disk.duplicate()).unwrap())[0].placement;
    for offset in [first.at.offset, first.at.offset + 20, first.at.offset + 70] {
        let disk = disk.duplicate();
        assert!(disk.flip(&segment_path(1), offset as usize, 4));
        let journal = open(&disk).unwrap();
        assert_eq!(entries(&journal), up_to(12));
        assert_eq!(journal.files.damage().len(), 1, "{:?}", journal.files.damage());
        assert_eq!(journal.files().read_stream(Stream::Directory, 0).unwrap().len(), 12);
    }
}

#[test]
fn footers_are_made_again_and_lost_segments_are_reported() {
    let disk = Simulated::new(1);
    written(&disk, 30);
    let lost = |paths: &[PathBuf]| {
        let disk = disk.duplicate();
        paths.iter().for_each(|path| disk.remove(path).unwrap());
        let journal = open(&disk).unwrap();
        let (found, damage) = (entries(&journal), journal.files.damage());
        assert_eq!(journal.files().read_stream(Stream::Directory, 0).unwrap().len(), found.len());
        journal.close().unwrap();
        (disk, found, damage)
    };
    let (disk_after, found, damage) = lost(&[footer_path(1), footer_path(2)]);
    assert_eq!((found, damage), (up_to(30), vec![]));
    assert!(disk_after.open(&footer_path(1)).is_ok() && disk_after.open(&footer_path(2)).is_ok());

    let (_, found, damage) = lost(&[segment_path(2)]);
    assert_eq!(found, up_to(30), "the footer has the records");
    assert!(damage[0].starts_with("segment 2 is missing; its records were mended"), "{damage:?}");

    let (_, found, damage) = lost(&[segment_path(2), footer_path(2), segment_path(3), footer_path(3)]);
    assert!(found.len() < 30 && found.contains(&1) && found.contains(&30));
    assert_eq!(damage, ["segments 2 to 3 are missing; the entries in them are lost"]);

    let newest = (1..).take_while(|number| disk.open(&footer_path(*number)).is_ok()).last().unwrap();
    let (_, _, damage) = lost(&[segment_path(newest + 1)]);
    assert_eq!(damage, [format!("segment {} is missing; the entries in it are lost", newest + 1)]);
}

#[test]
fn a_message_never_becomes_a_frame() {
    let disk = Simulated::new(1);
    let mut journal = open(&disk).unwrap();
    journal.stage(entry(1)).unwrap();
    journal.commit().unwrap();
    let mut stolen = vec![0; journal.end().offset as usize];
    disk.open(&segment_path(1)).unwrap().read_at(0, &mut stolen).unwrap();
    let frame = stolen.split_off(SEGMENT_HEADER_BYTES as usize);
    let forged = NewEntry { area: vec![Bytes::from(frame[..16].repeat(3)), Bytes::from(frame)], ..entry(2) };
    let placement = journal.stage(forged).unwrap();
    journal.commit().unwrap();
    journal.stage(entry(3)).unwrap();
    journal.commit().unwrap();
    journal.close().unwrap();
    assert_eq!(entries(&open(&disk.duplicate()).unwrap()), [1, 2, 3]);
    // Its own header is damaged: what stands in the message must not come up in its place.
    assert!(disk.flip(&segment_path(1), placement.at.offset as usize + 30, 1));
    let journal = open(&disk).unwrap();
    assert_eq!(entries(&journal), [1, 3]);
    assert_eq!(journal.files.damage().len(), 1);
    assert!(journal.files.damage()[0].contains(&format!("offsets {} to", placement.at.offset)));
}

#[test]
fn a_newer_format_is_refused_clearly() {
    let disk = Simulated::new(1);
    written(&disk, 3);
    let file = disk.open(&segment_path(1)).unwrap();
    let mut header = [0; SEGMENT_HEADER_BYTES as usize];
    file.read_at(0, &mut header).unwrap();
    header[8] = 2;
    layout::seal(&mut header, 0);
    file.write_at(0, &header).unwrap();
    let refused = open(&disk).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Open(why) if why.contains("newer version of Waypost")),
        "{refused}"
    );
}

#[test]
fn a_segment_made_ahead_is_used_and_garbage_in_it_is_not() {
    let disk = Simulated::new(1);
    written(&disk, 1);
    let before = disk.open(&segment_path(2)).unwrap();
    let mut header = [0; SEGMENT_HEADER_BYTES as usize];
    before.read_at(0, &mut header).unwrap();
    for garbage in [false, true] {
        let disk = disk.duplicate();
        if garbage {
            assert!(disk.flip(&segment_path(2), 500, 255));
        }
        let mut journal = open(&disk).unwrap();
        stage_all(&mut journal, 2..=8);
        journal.commit().unwrap();
        assert_eq!(entries(&journal), up_to(8));
        let mut now = [0; SEGMENT_HEADER_BYTES as usize];
        disk.open(&segment_path(2)).unwrap().read_at(0, &mut now).unwrap();
        assert_eq!(now == header, !garbage);
    }
}

#[test]
fn verifying_finds_damage_wherever_it_is() {
    let disk = Simulated::new(1);
    let mut journal = open(&disk).unwrap();
    let mut body = BodyFile::create(journal.files()).unwrap();
    body.append(&[Bytes::from(vec![1; 100_000])]).unwrap();
    body.sync().unwrap();
    let (segment, number) = body.name();
    let placement = journal.stage(NewEntry { body_files: vec![body.name()], ..entry(1) }).unwrap();
    body.claim();
    stage_all(&mut journal, 2..=12);
    journal.close().unwrap();
    let verified = |path: &Path, offset: usize| {
        let disk = disk.duplicate();
        let journal = open(&disk).unwrap();
        assert!(offset == 0 || disk.flip(path, offset, 1));
        journal.files().verify(&|_| {}).unwrap();
        journal.files.damage()
    };
    assert_eq!(verified(Path::new("/"), 0), [""; 0]);
    let body = body_path(segment, number);
    let places = [
        (segment_path(1), placement.at.offset as usize + 1, "are lost"),
        (segment_path(1), placement.area_at as usize, "texts of entry"),
        (footer_path(1), 100, "its footer is damaged"),
        (body, 70_000, "body 1 of segment 1 is damaged"),
    ];
    for (path, offset, expected) in places {
        let damage = verified(&path, offset);
        assert!(damage.len() == 1 && damage[0].contains(expected), "{damage:?}");
    }
}

fn body_path(segment: u64, number: u64) -> PathBuf {
    Path::new(STATE).join(format!("bodies/{segment:016x}/{number}"))
}
