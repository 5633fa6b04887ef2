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
        body.append(Bytes::from(text(n)))?;
        body.sync()?;
        new.body_files = vec![body.name()];
        new.records[0].payload = format!("{}/{}", body.name().0, body.name().1).into_bytes();
        body.claim();
    }
    Ok(new)
}

/// Writes batches until something fails, or `batches` are written.
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
        journal.commit()?;
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
