use std::net::{IpAddr, Ipv4Addr};

use super::*;

const DAY: i64 = 1_795_564_800; // 2026-11-25T00:00:00Z

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(DAY + second)
}

fn day() -> Day {
    Day::of(at(0))
}

fn seen(domain: &str, source: u32, selector: &str) -> Sighting {
    let signature = wire::DKIMAuthResult { selector: selector.into(), ..Default::default() };
    Sighting {
        policy: wire::PolicyPublished { domain: domain.into(), ..Default::default() },
        report_uris: "mailto:d@a.test".into(),
        record: wire::Record {
            row: wire::Row { source_ip: Some(IpAddr::V4(Ipv4Addr::from_bits(source))), ..Default::default() },
            auth_results: wire::AuthResult { dkim: vec![signature], spf: Vec::new() },
            ..Default::default()
        },
    }
}

/// Domains, with the counts of their records.
fn shown(counts: &DayCounts) -> Vec<(&str, Vec<u32>)> {
    let records = |counts: &DomainCounts| counts.records.iter().map(|record| record.row.count).collect();
    counts.iter().map(|(name, counts)| (name.as_str(), records(counts))).collect()
}

#[tokio::test]
async fn what_is_alike_is_counted_and_outlives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let counts = Counts::open(folder.path(), at(0));
    let two = || vec![seen("a.test", 1, "s"), seen("b.test", 1, "s")];
    counts.note(two(), at(1));
    counts.note(vec![seen("a.test", 1, "s"), seen("a.test", 2, "s"), seen("a.test", 1, "t")], at(2));
    let expected = [("a.test", vec![2, 1, 1]), ("b.test", vec![1])];
    assert_eq!(shown(&counts.day(day()).unwrap()), expected);
    counts.write(at(3)).await;
    counts.note(two(), at(4));
    // what was counted since the last writing is lost, and no more
    drop(counts);
    let counts = Counts::open(folder.path(), at(5));
    assert_eq!(shown(&counts.day(day()).unwrap()), expected);
    counts.note(two(), at(6));
    assert_eq!(shown(&counts.day(day()).unwrap()), [("a.test", vec![3, 1, 1]), ("b.test", vec![2])]);
}

#[tokio::test]
async fn a_day_ends_and_is_kept_for_some() {
    let folder = tempfile::tempdir().unwrap();
    let counts = Counts::open(folder.path(), at(0));
    counts.note(vec![seen("a.test", 1, "s")], at(86_399));
    counts.note(vec![seen("b.test", 1, "s")], at(86_400));
    // not in its file yet
    assert_eq!(shown(&counts.day(day()).unwrap()), [("a.test", vec![1])]);
    assert_eq!(shown(&counts.day(Day::of(at(86_400))).unwrap()), [("b.test", vec![1])]);
    counts.write(at(86_401)).await;
    assert_eq!(shown(&Counts::open(folder.path(), at(86_402)).day(day()).unwrap()), [("a.test", vec![1])]);
    counts.note(vec![seen("c.test", 1, "s")], at(8 * 86_400));
    counts.write(at(8 * 86_400)).await;
    assert_eq!(shown(&counts.day(day()).unwrap()), [("a.test", vec![1])]);
    counts.note(vec![seen("c.test", 1, "s")], at(9 * 86_400));
    counts.write(at(9 * 86_400)).await;
    assert!(counts.day(day()).unwrap().is_empty(), "it is outdated");
    // what cannot be read is begun anew
    std::fs::write(folder.path().join("dmarc/2026-11-25.json"), "{").unwrap();
    assert!(counts.day(day()).is_err());
    assert!(Counts::open(folder.path(), at(0)).day(day()).unwrap().is_empty());
}

#[test]
fn the_policy_that_was_seen_last_is_told() {
    let counts = Counts::default();
    counts.note(vec![seen("a.test", 1, "s")], at(0));
    let mut changed = seen("a.test", 1, "s");
    (changed.policy.testing, changed.report_uris) = (true, "mailto:e@a.test".into());
    counts.note(vec![changed], at(1));
    let day = counts.day(day()).unwrap();
    assert_eq!((day["a.test"].policy.testing, day["a.test"].report_uris.as_str()), (true, "mailto:e@a.test"));
    assert_eq!(day["a.test"].messages, 2);
}

#[test]
fn a_flood_is_bounded_and_told() {
    let counts = Counts::default();
    counts.note(vec![seen("small.test", 1, "s")], at(0));
    let selector = "s".repeat(255);
    let flood = 20_000;
    for source in 0..flood {
        counts.note(vec![seen("a.test", source, &selector)], at(0));
    }
    // one domain cannot take the room of others
    counts.note(vec![seen("small.test", 1, "s"), seen("small.test", 2, "s")], at(0));
    let day = counts.day(day()).unwrap();
    assert_eq!(shown(&day)[1], ("small.test", vec![2, 1]));
    let DomainCounts { messages, unlisted, records, .. } = &day["a.test"];
    assert_eq!((*messages, records.len() as u64 + unlisted), (u64::from(flood), u64::from(flood)));
    let kept: usize = records.iter().map(bytes).sum();
    assert!((DOMAIN_BYTES_MAX - 2000..=DOMAIN_BYTES_MAX).contains(&kept), "{kept}");
    // what was counted already is counted on
    counts.note(vec![seen("a.test", 0, &selector)], at(0));
    let again = &counts.day(self::day()).unwrap()["a.test"];
    assert_eq!((again.unlisted, again.records[0].row.count), (*unlisted, 2));
}

#[test]
fn domains_are_bounded() {
    let counts = Counts::default();
    for number in 0..=DOMAINS_MAX {
        counts.note(vec![seen(&format!("d{number}.test"), 1, "s")], at(0));
    }
    counts.note(vec![seen("d0.test", 1, "s")], at(0));
    let day = counts.day(day()).unwrap();
    assert_eq!((day.len(), day["d0.test"].messages), (DOMAINS_MAX, 2));
}
