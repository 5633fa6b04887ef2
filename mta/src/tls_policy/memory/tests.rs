use super::*;

fn at(day: i64) -> Timestamp {
    Timestamp::from_seconds(day * 86_400 + 7)
}

fn domain(text: &str) -> Domain {
    Domain::new(text).unwrap()
}

use Afterwards::{Forget, Keep};
use Quality::{Clear, Encrypted, Verified};

fn stands(memory: &Memory, day: i64) -> (bool, bool) {
    let Standing { encrypted, verified } = memory.standing(&domain("b.test"), at(day));
    (encrypted, verified)
}

#[test]
fn a_domain_stands_well_after_two_weeks_and_for_a_month() {
    let mut memory = Memory::default();
    let note = |memory: &mut Memory, day, quality| memory.note(&domain("b.test"), quality, Forget, at(day));
    assert_eq!(note(&mut memory, 100, Verified), None);
    assert_eq!(note(&mut memory, 100 + GOOD_DAYS - 1, Encrypted), None, "not yet good for weeks");
    assert_eq!(stands(&memory, 100 + GOOD_DAYS - 1), (false, false));
    note(&mut memory, 100 + GOOD_DAYS, Verified);
    let last = 100 + GOOD_DAYS;
    assert_eq!(stands(&memory, last), (true, false), "the certificate was not good in between");
    assert_eq!(stands(&memory, last + FRESH_DAYS), (true, false));
    assert_eq!(stands(&memory, last + FRESH_DAYS + 1), (false, false));
    // and begins anew
    note(&mut memory, last + FRESH_DAYS + 1, Verified);
    assert_eq!(stands(&memory, last + FRESH_DAYS + 1), (false, false));
    assert_eq!(memory.standing(&domain("c.test"), at(last)), Standing::default());
}

/// Good from day 0 to day 20.
fn good(quality: Quality) -> Memory {
    let mut memory = Memory::default();
    for day in 0..=20 {
        assert_eq!(memory.note(&domain("b.test"), quality, Forget, at(day)), None);
    }
    memory
}

#[test]
fn a_loss_is_told_once() {
    for (before, now, lost) in [
        (Verified, Clear, Some(Lost::Encryption)),
        (Encrypted, Clear, Some(Lost::Encryption)),
        (Verified, Encrypted, Some(Lost::Verification)),
        (Encrypted, Encrypted, None),
        (Encrypted, Verified, None),
    ] {
        let mut memory = good(before);
        assert_eq!(memory.note(&domain("b.test"), now, Forget, at(21)), lost, "{before:?} {now:?}");
        assert_eq!(memory.note(&domain("b.test"), now, Forget, at(21)), None, "{before:?} {now:?}");
    }
}

#[test]
fn where_mail_waits_a_loss_is_told_once_a_day_and_the_standing_stays() {
    let mut memory = good(Verified);
    for (day, quality, lost) in [
        (21, Clear, Some(Lost::Encryption)),
        (21, Clear, None),
        (22, Encrypted, Some(Lost::Verification)),
        (22, Clear, None),
        (23, Verified, None),
        (23, Clear, Some(Lost::Encryption)),
    ] {
        assert_eq!(memory.note(&domain("b.test"), quality, Keep, at(day)), lost, "{day} {quality:?}");
        assert_eq!(stands(&memory, day), (true, true));
    }
}

#[test]
fn it_is_kept_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("memory.json");
    let mut memory = Memory { file: Some(file.clone()), ..good(Verified) };
    let (place, octets) = memory.take_changes().unwrap();
    assert_eq!(place, file);
    durable::write(&place, &octets).unwrap();
    assert_eq!(memory.take_changes(), None, "nothing has changed");
    memory.note(&domain("b.test"), Verified, Forget, at(20));
    assert_eq!(memory.take_changes(), None, "the same day says nothing new");
    let again = Memory::open(&file);
    assert_eq!(again.domains, memory.domains);
    assert_eq!(stands(&again, 21), (true, true));
    // as it was written when the last day of DANE was in it
    let old = r#"{"b.test": {"encrypted": {"since": 0, "last": 20}, "dane": 20}}"#;
    std::fs::write(&file, old).unwrap();
    assert_eq!(stands(&Memory::open(&file), 21), (true, false));
    std::fs::write(&file, "{\"b.test\": 7}").unwrap();
    assert_eq!(stands(&Memory::open(&file), 21), (false, false), "what cannot be read is forgotten");
    assert!(Memory::open(&folder.path().join("none")).domains.is_empty());
}

#[test]
fn it_is_bounded() {
    let mut memory = good(Encrypted);
    for number in 0..DOMAINS_MAX {
        memory.note(&domain(&format!("d{number}.test")), Encrypted, Forget, at(30));
    }
    assert!(memory.domains.len() <= DOMAINS_MAX && memory.domains.len() > DOMAINS_MAX / 2);
    assert!(!memory.domains.contains_key("b.test"), "the oldest go first");
}
