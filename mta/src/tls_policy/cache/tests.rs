use super::*;
use crate::tls_policy::sts::Mode;

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(second)
}

fn domain(text: &str) -> Domain {
    Domain::new(text).unwrap()
}

/// Fetched at a second, for so many seconds.
fn kept(id: &str, fetched: i64, seconds: u64) -> Kept {
    let policy = StsPolicy {
        mode: Mode::Enforce,
        exchangers: vec![format!("{id}.b.test")],
        max_age: Duration::from_secs(seconds),
    };
    Kept { id: id.into(), fetched: at(fetched), policy }
}

#[test]
fn a_policy_is_fetched_when_it_is_new_and_before_it_runs_out() {
    let one = || Some(kept("1", 0, 1000).policy);
    let retry = RETRY_WAIT.as_secs() as i64;
    let fetch = |id: &str, policy| Step::Fetch(id.to_owned(), policy);
    for (what, kept_one, failed, id, now, expected) in [
        ("nothing", false, None, None, 0, Step::Use(None)),
        ("new", false, None, Some("1"), 0, fetch("1", None)),
        ("known", true, None, Some("1"), 499, Step::Use(one())),
        ("half over", true, None, Some("1"), 500, fetch("1", one())),
        ("over", true, None, Some("1"), 1000, fetch("1", None)),
        ("another", true, None, Some("2"), 1, fetch("2", one())),
        // RFC 8461 section 5.1: it holds until it runs out
        ("taken away", true, None, None, 999, Step::Use(one())),
        ("taken away, over", true, None, None, 1000, Step::Use(None)),
        ("could not be fetched", true, Some(500), Some("2"), 501, Step::Use(one())),
        ("could not be fetched, none kept", false, Some(500), Some("2"), 500 + retry - 1, Step::Use(None)),
        ("later", false, Some(500), Some("2"), 500 + retry, fetch("2", None)),
        ("a clock that was set back", true, None, Some("1"), -1, fetch("1", None)),
    ] {
        let mut cache = Cache::default();
        if kept_one {
            assert_eq!(cache.keep(&domain("b.test"), kept("1", 0, 1000)), (None, Vec::new()));
        }
        failed.into_iter().for_each(|second| cache.failed(&domain("b.test"), at(second)));
        assert_eq!(cache.step(&domain("b.test"), id.map(str::to_owned), at(now)), expected, "{what}");
    }
}

#[test]
fn policies_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut cache = Cache::open(folder.path(), at(0));
    let (write, remove) = cache.keep(&domain("b.test"), kept("1", 0, 1000));
    let (file, octets) = write.unwrap();
    assert_eq!((file.clone(), remove), (folder.path().join("b.test.json"), Vec::new()));
    durable::write(&file, &octets).unwrap();
    for (name, text) in [
        ("c.test.json", "nonsense"),
        ("d.test.json", "{\"id\":\"1\",\"fetched_ms\":0,\"policy\":\"\"}"),
        ("e.new", ""),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let mut cache = Cache::open(folder.path(), at(600));
    assert_eq!(cache.entries.len(), 1);
    assert_eq!(cache.ageing(at(600)), [domain("b.test")]);
    assert_eq!(cache.step(&domain("b.test"), None, at(600)), Step::Use(Some(kept("1", 0, 1000).policy)));
    assert_eq!(cache.ageing(at(499)), []);
    assert!(cache.bound(at(999)).is_empty());
    assert_eq!(cache.bound(at(1000)), [file]);
    assert!(cache.entries.is_empty());
}

#[test]
fn policies_are_bounded() {
    let mut cache = Cache { folder: Some("folder".into()), ..Cache::default() };
    cache.keep(&domain("first.test"), kept("1", 0, 500));
    for number in 1..POLICIES_MAX {
        let name = domain(&format!("d{number}.test"));
        cache.entries.insert(name.to_string(), Entry { kept: Some(kept("1", 0, 1000)), ..Entry::default() });
    }
    let (_, remove) = cache.keep(&domain("last.test"), kept("1", 1, 1000));
    assert_eq!((remove, cache.entries.len()), (vec![PathBuf::from("folder/first.test.json")], POLICIES_MAX));
}
