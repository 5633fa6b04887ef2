//! What is left after power cuts at any moment and after syncs that failed.

use super::*;

/// Lives of four rounds each.
const SEEDS: u64 = 300;

/// Seeded numbers for the shape of a run; xorshift.
struct Choices(u64);

impl Choices {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % bound
    }
}

/// What a run knows when it ends.
#[derive(Debug, Default)]
struct Known {
    /// Entries that were committed.
    committed: u64,
    /// Entries that were staged.
    staged: u64,
}

/// Entry `n`; every seventh names a body file, which is written here.
fn entry_with_body(journal: &Journal, n: u64) -> Result<NewEntry, StoreError> {
    let mut new = entry(n);
    if n.is_multiple_of(7) {
        let mut body = BodyFile::create(journal.files())?;
        body.append(&[Bytes::from(text(n))])?;
        body.sync()?;
        new.body_files = vec![body.name()];
        new.records[0].payload = format!("{}/{}", body.name().0, body.name().1).into_bytes();
        body.claim();
    }
    Ok(new)
}

/// Writes batches, with zeros behind some, until something fails, or `batches` are written.
fn write(
    journal: &mut Journal,
    known: &mut Known,
    batches: u64,
    choices: &mut Choices,
) -> Result<(), StoreError> {
    for _ in 0..batches {
        for _ in 0..=choices.below(4) {
            let new = entry_with_body(journal, known.staged + 1)?;
            journal.stage(new)?;
            known.staged += 1;
        }
        match choices.below(2) {
            0 => journal.commit()?,
            _ => drop(commit_ahead(journal)?),
        }
        known.committed = known.staged;
    }
    Ok(())
}

/// Compares the journal with what is known: everything committed once and in order, and of the rest whole entries in order.
fn check(journal: &Journal, known: &Known) -> Result<u64, String> {
    let stored = records(journal);
    let damage = journal.files.damage();
    let whole = |pair: &[Stored], n: u64| {
        let area = area(journal, pair[0].placement).map_err(|error| error.to_string())?;
        let expected = entry(n);
        let body = match n.is_multiple_of(7) {
            true => {
                let name = String::from_utf8_lossy(&pair[0].record.payload).into_owned();
                let (segment, number) = name.split_once('/').ok_or("no body")?;
                let name = (segment.parse().unwrap(), number.parse().unwrap());
                let length = text(n).len() as u64;
                journal.files().body_chunks(name, length, 0, 1).map_err(|error| error.to_string())?.concat()
                    == text(n)
            }
            false => pair[0].record == expected.records[0],
        };
        let second = pair.get(1).is_some_and(|stored| stored.record == expected.records[1]);
        Ok::<_, String>(pair[0].entry.0 == n && body && second && area == expected_area(n))
    };
    for (pair, n) in stored.chunks(2).zip(1..) {
        if !whole(pair, n)? {
            return Err(format!("entry {n} is not whole: {pair:?}"));
        }
    }
    let count = stored.len() as u64 / 2;
    match count {
        _ if !damage.is_empty() => Err(damage.concat()),
        count if count < known.committed || count > known.staged => {
            Err(format!("{count} entries, but {known:?}"))
        }
        count => Ok(count),
    }
}

/// One life of a disk: some rounds of writing, each ended in the middle of anything: the power fails, or the process
/// is killed.
fn life(seed: u64, sync_is_noop: bool) -> Result<(), String> {
    let disk = Simulated::new(seed);
    disk.set_sync_is_noop(sync_is_noop);
    let mut choices = Choices::new(seed);
    let mut known = Known::default();
    for round in 0..4 {
        disk.power_off_after(1 + choices.below(120));
        if let Ok(mut journal) = open(&disk) {
            let count = check_if_on(&disk, &journal, &known)?;
            known =
                Known { committed: count.unwrap_or(known.committed), staged: count.unwrap_or(known.staged) };
            if !disk.is_off() {
                let rest = write(&mut journal, &mut known, 20, &mut choices);
                assert!(rest.is_ok() || disk.is_off(), "{rest:?}");
            }
        }
        match choices.below(2) {
            0 => disk.crash(seed * 10 + round),
            _ => disk.restart(),
        }
        // Killed again in the middle of recovering.
        disk.power_off_after(1 + choices.below(16));
        drop(open(&disk));
        disk.restart();
        let journal = open(&disk).map_err(|error| error.to_string())?;
        let count = check(&journal, &known)?;
        known = Known { committed: count, staged: count };
        drop(journal);
        // What was shown must not vanish.
        disk.crash(seed * 10 + round + 5);
        check(&open(&disk).map_err(|error| error.to_string())?, &known)?;
    }
    Ok(())
}

/// Checks a journal unless the power goes off meanwhile; the number of entries.
fn check_if_on(disk: &Simulated, journal: &Journal, known: &Known) -> Result<Option<u64>, String> {
    let shown = journal.records_from(Position::default()).unwrap().collect::<Result<Vec<_>, _>>();
    if disk.is_off() || shown.is_err() {
        return Ok(None);
    }
    let count = shown.unwrap().len() as u64 / 2;
    if count < known.committed || count > known.staged {
        return Err(format!("{count} entries, but {known:?}"));
    }
    Ok(Some(count))
}

#[test]
fn what_was_committed_survives_any_end_once_and_in_order() {
    for seed in 0..SEEDS {
        life(seed, false).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn without_syncs_the_same_test_finds_losses() {
    let lost = (0..SEEDS).filter(|seed| life(*seed, true).is_err()).count();
    assert!(lost > SEEDS as usize / 2, "{lost} of {SEEDS}");
}

#[test]
fn what_is_shown_after_a_failed_sync_does_not_vanish_at_the_next_boot() {
    let mut reappeared = 0;
    for seed in 0..SEEDS {
        let disk = Simulated::new(seed);
        let mut journal = open(&disk).unwrap();
        journal.next = Next::Ready(journal.take_next().unwrap());
        let (mut known, mut choices) = (Known::default(), Choices::new(seed));
        disk.fail_sync(3 + choices.below(8));
        let failed = write(&mut journal, &mut known, 40, &mut choices);
        assert!(failed.is_err() || !journal.files.is_poisoned());
        drop(journal);
        // No power cut: the page cache shows all that was written.
        let journal = open(&disk).unwrap();
        let count = check(&journal, &known).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        reappeared += u64::from(count > known.committed);
        drop(journal);
        disk.crash(seed);
        let known = Known { committed: count, staged: count };
        check(&open(&disk).unwrap(), &known).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    assert!(reappeared > SEEDS / 10, "the failure hit the journal in {reappeared} runs only");
}

#[test]
fn a_torn_end_is_cut_and_written_over() {
    let disk = Simulated::new(1);
    let mut journal = open(&disk).unwrap();
    for n in 1..=3 {
        journal.stage(entry(n)).unwrap();
        journal.commit().unwrap();
    }
    let last = journal.end().offset - 1;
    drop(journal);
    for offset in [last, last - 10, last - text(3).len() as u64 - 100] {
        let disk = disk.duplicate();
        assert!(disk.flip(&segment_path(1), offset as usize, 1));
        let mut journal = open(&disk).unwrap();
        assert_eq!(entries(&journal), [1, 2], "nothing proves that entry 3 was ever whole");
        assert_eq!(journal.files.damage(), [""; 0]);
        journal.stage(entry(3)).unwrap();
        journal.commit().unwrap();
        disk.crash(1);
        assert_eq!(entries(&open(&disk).unwrap()), [1, 2, 3]);
    }
}

/// A journal of three entries and a fourth that names a body, whose sync failed: the page cache shows what may be lost.
/// The name of that body.
fn with_a_body_that_may_be_lost(disk: &Simulated) -> (u64, u64) {
    let mut journal = open(disk).unwrap();
    stage_all(&mut journal, 1..=3);
    journal.commit().unwrap();
    journal.next = Next::Ready(journal.take_next().unwrap());
    let mut body = BodyFile::create(journal.files()).unwrap();
    body.append(&[Bytes::from(vec![b'b'; 5000])]).unwrap();
    disk.fail_sync(1);
    assert!(body.sync().is_err());
    body.sync().unwrap();
    let name = body.name();
    journal.stage(NewEntry { body_files: vec![name], ..entry(4) }).unwrap();
    body.claim();
    journal.commit().unwrap();
    name
}

#[test]
fn bodies_of_the_unproven_end_are_made_durable_with_it() {
    for (seed, full) in (0..20).flat_map(|seed| [(seed, false), (seed, true)]) {
        let disk = Simulated::new(seed);
        let name = with_a_body_that_may_be_lost(&disk);
        disk.restart();
        if full {
            disk.remove(&segment_path(2)).unwrap();
            disk.set_capacity(Some(0));
        }
        let opened = open(&disk).map(|journal| {
            assert_eq!(entries(&journal), up_to(4));
        });
        opened.unwrap_or_else(|error| panic!("seed {seed}, full {full}: {error}"));
        disk.set_capacity(None);
        disk.crash(seed);
        let journal = open(&disk).unwrap();
        assert_eq!(entries(&journal), up_to(4));
        let body = journal.files().body_chunks(name, 5000, 0, 1);
        assert_eq!(
            body.unwrap_or_else(|error| panic!("seed {seed}, full {full}: {error}")).concat(),
            [b'b'; 5000]
        );
    }
}

#[test]
fn a_start_on_a_full_disk_proves_and_cuts_the_end_where_it_is() {
    for seed in 0..200 {
        let disk = Simulated::new(seed);
        let mut choices = Choices::new(seed);
        let mut journal = open(&disk).unwrap();
        stage_all(&mut journal, 1..=2);
        journal.commit().unwrap();
        journal.next = Next::Ready(journal.take_next().unwrap());
        stage_all(&mut journal, 3..=6);
        disk.fail_sync(1);
        assert_eq!(journal.commit(), Err(StoreError::Poisoned));
        drop(journal);
        match choices.below(2) {
            0 => disk.crash(seed),
            _ => disk.restart(),
        }
        disk.remove(&segment_path(2)).unwrap();
        disk.sync_directory(&Path::new(STATE).join("journal")).unwrap();
        disk.set_capacity(Some(0));
        // Interrupted at any step.
        disk.power_off_after(1 + choices.below(8));
        drop(open(&disk));
        match choices.below(2) {
            0 => disk.crash(seed + 1),
            _ => disk.restart(),
        }
        let journal = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let shown = entries(&journal);
        assert!(shown.starts_with(&[1, 2]) && shown == up_to(shown.len() as u64), "seed {seed}: {shown:?}");
        assert_eq!(journal.files.damage(), [""; 0], "seed {seed}");
        drop(journal);
        disk.crash(seed + 2);
        assert_eq!(entries(&open(&disk).unwrap()), shown, "seed {seed}");
    }
}

#[test]
fn what_was_cut_on_a_full_disk_does_not_come_back_behind_what_is_written_over_it() {
    let disk = Simulated::new(1);
    let mut journal = open(&disk).unwrap();
    for (id, bytes) in [(1, 200), (2, 600), (3, 300)] {
        journal.stage(entry_of(id, bytes)).unwrap();
    }
    journal.commit().unwrap();
    journal.next = Next::Ready(journal.take_next().unwrap());
    drop(journal);
    disk.restart();
    disk.remove(&segment_path(2)).unwrap();
    disk.set_capacity(Some(0));
    assert!(disk.flip(&segment_path(1), (SEGMENT_HEADER_BYTES + 200 + 300) as usize, 1));
    let mut journal = open(&disk).unwrap();
    // With the mark, it ends where the third began.
    journal.stage(entry_of(4, 600 - MARK_BYTES)).unwrap();
    journal.commit().unwrap();
    drop(journal);
    disk.restart();
    let ids: Vec<u64> = records(&open(&disk).unwrap()).iter().map(|stored| stored.entry.0).collect();
    assert_eq!(ids, [1, 4]);
}

#[test]
fn bodies_that_no_entry_names_are_swept() {
    let disk = Simulated::new(3);
    let mut journal = open(&disk).unwrap();
    let mut kept = Vec::new();
    for n in 1..=20 {
        let body = BodyFile::create(journal.files()).unwrap();
        body.sync().unwrap();
        let named = n % 2 == 0;
        if named {
            kept.push(body.name());
        }
        let body_files = if named { vec![body.name()] } else { Vec::new() };
        body.claim();
        journal.stage(NewEntry { body_files, ..entry(n) }).unwrap();
        journal.commit().unwrap();
    }
    let last = journal.end().segment;
    assert!(last >= 3, "{last}");
    drop(journal);
    let path =
        |(segment, number): (u64, u64)| Path::new(STATE).join(format!("bodies/{segment:016x}/{number}"));
    let temporary = path((last, 99)).with_extension("tmp");
    disk.create(&temporary).unwrap();
    let names = |disk: &Simulated, from: u64| {
        let folders = (from..=last).map(|segment| Path::new(STATE).join(format!("bodies/{segment:016x}")));
        folders.flat_map(|folder| disk.list(&folder).unwrap()).collect::<Vec<_>>()
    };
    let older = names(&disk, 1).len() - names(&disk, 2).len();
    let damaged = disk.duplicate();
    let journal = open(&disk).unwrap();
    journal.sweep_bodies(Position { segment: 2, offset: 700 });
    let mut expected: Vec<_> = kept.iter().filter(|name| name.0 >= 2).map(|name| path(*name)).collect();
    expected.sort();
    assert_eq!(names(&disk, 2), expected);
    assert_eq!(names(&disk, 1).len(), older + expected.len(), "older folders are left alone");
    journal.sweep_bodies(Position::default());
    assert_eq!(names(&disk, 1).len(), kept.len());
    // Whatever cannot be read may name any of them.
    let all = names(&damaged, 1).len();
    assert!(damaged.flip(&segment_path(2), 80, 1));
    damaged.remove(&footer_path(2)).unwrap();
    open(&damaged).unwrap().sweep_bodies(Position::default());
    assert_eq!(names(&damaged, 1).len(), all);
}
