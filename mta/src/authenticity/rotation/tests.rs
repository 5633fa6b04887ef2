use hickory_resolver::proto::rr::{RData, rdata::TXT};
use waypost_config::Dnssec;
use waypost_storage::{DkimSecret, Options};

use super::*;
use crate::dns::testing::SignedZone;

const DAY: Duration = Duration::from_secs(86_400);

fn domain(text: &str) -> Domain {
    Domain::new(text).unwrap()
}

fn states(store: &Store, name: &str) -> Vec<String> {
    let keys = store.dkim_keys(&domain(name));
    keys.iter().map(|key| format!("{} {}", key.selector, key.state().name())).collect()
}

/// The store's clock, and what moves it.
fn clock() -> (std::sync::Arc<std::sync::atomic::AtomicI64>, Options, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let now = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(1_795_651_200_000));
    let told = now.clone();
    let clock = std::sync::Arc::new(move || Timestamp(told.load(std::sync::atomic::Ordering::Relaxed)));
    (now, Options { clock, ..Options::new(folder.path()) }, folder)
}

/// Texts of at most 255 octets each (RFC 6376 section 3.6.2.2).
fn txt(key: &DkimKey) -> (String, RData) {
    let key = SigningKey::new(key.domain.clone(), key.selector.clone(), key.secret.pkcs8()).unwrap();
    let record = key.record();
    let parts = record.as_bytes().chunks(100).map(|part| String::from_utf8(part.to_vec()).unwrap());
    (format!("{}.", key.record_name()), RData::TXT(TXT::new(parts.collect())))
}

fn config(text: &str) -> Config {
    let text = format!(
        "hostname = \"mx.a.test\"\nstate_dir = \"state\"\n[[listener]]\nservice = \"smtp\"\naddress = \"127.0.0.1:0\"\n\
         tls = \"none\"\n[[domain]]\nname = \"a.test\"\n{text}"
    );
    waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), &text).unwrap()
}

#[tokio::test]
async fn a_new_key_waits_for_its_record_and_the_old_one_stays_for_a_while() {
    let (now, options, _folder) = clock();
    let store = Store::open(options).await.unwrap();
    let made = make(&store, &domain("a.test")).await.unwrap();
    let selectors: Vec<_> = made.iter().map(|key| key.selector.as_str()).collect();
    assert_eq!(selectors, ["rsa-20261126", "ed-20261126"]);
    // the record of RSA is there, that of Ed25519 is of another key
    let (rsa, (ed, _)) = (txt(&made[0]), txt(&made[1]));
    let foreign = RData::TXT(TXT::new(vec!["v=DKIM1; k=ed25519; p=AAAA".to_owned()]));
    let zone = SignedZone::start(&[(&rsa.0, rsa.1), (&ed, foreign)], &[]).await;
    let resolver = zone.resolver(Dnssec::Off);
    let (activated, waiting) = activate(&store, &resolver, &domain("a.test"), Proof::Demanded).await.unwrap();
    assert_eq!(activated, ["rsa-20261126"]);
    let why = "ed-20261126._domainkey.a.test has a record of another key".to_owned();
    assert_eq!(waiting, [Waits { selector: "ed-20261126".to_owned(), why }]);
    assert_eq!(states(&store, "a.test"), ["ed-20261126 waiting", "rsa-20261126 active"]);
    let (activated, waiting) = activate(&store, &resolver, &domain("a.test"), Proof::Waived).await.unwrap();
    assert_eq!((activated, waiting), (vec!["ed-20261126".to_owned()], Vec::new()));

    // on the same day once more: other names, and the old ones sign until the new ones do
    make(&store, &domain("a.test")).await.unwrap();
    let (_, waiting) = activate(&store, &resolver, &domain("a.test"), Proof::Demanded).await.unwrap();
    assert_eq!(waiting.len(), 2);
    assert_eq!(waiting[0].why, "ed-20261126-2._domainkey.a.test has no TXT record yet");
    let both =
        ["ed-20261126 active", "ed-20261126-2 waiting", "rsa-20261126 active", "rsa-20261126-2 waiting"];
    assert_eq!(states(&store, "a.test"), both);
    activate(&store, &resolver, &domain("a.test"), Proof::Waived).await.unwrap();
    let both =
        ["ed-20261126 retired", "ed-20261126-2 active", "rsa-20261126 retired", "rsa-20261126-2 active"];
    assert_eq!(states(&store, "a.test"), both);

    let config = config("[dkim]\nkeep_retired = \"3d\"\nrotate_after = \"10d\"");
    let day = i64::try_from(DAY.as_millis()).unwrap();
    now.fetch_add(2 * day, std::sync::atomic::Ordering::Relaxed);
    tend(&store, &config, &resolver, 0).await;
    assert_eq!(states(&store, "a.test"), both);
    now.fetch_add(day, std::sync::atomic::Ordering::Relaxed);
    tend(&store, &config, &resolver, 1).await;
    assert_eq!(states(&store, "a.test"), ["ed-20261126-2 active", "rsa-20261126-2 active"]);
    now.fetch_add(7 * day, std::sync::atomic::Ordering::Relaxed);
    for look in [2, 3] {
        tend(&store, &config, &resolver, look).await;
        let all =
            ["ed-20261126-2 active", "ed-20261206 waiting", "rsa-20261126-2 active", "rsa-20261206 waiting"];
        assert_eq!(states(&store, "a.test"), all, "made once");
    }
    store.close().await;
}

#[tokio::test]
async fn a_domain_without_keys_is_left_alone() {
    let (_, options, _folder) = clock();
    let store = Store::open(options).await.unwrap();
    let zone = SignedZone::start(&[], &[]).await;
    tend(&store, &config(""), &zone.resolver(Dnssec::Off), 0).await;
    assert_eq!(states(&store, "a.test"), Vec::<String>::new());
    store.close().await;
}

#[test]
fn white_space_in_a_record_does_not_count() {
    for (record, is) in [
        ("v=DKIM1; k=rsa; p=AB CD==", true),
        ("p=ABCD==;", true),
        (" p = AB\tCD== ; t=y", true),
        ("v=DKIM1; p=", false),
        ("v=DKIM1; p=ABCD", false),
        ("v=DKIM1; np=ABCD==", false),
        ("", false),
    ] {
        assert_eq!(publishes(record, "ABCD=="), is, "{record}");
    }
}

#[test]
fn keys_are_due_when_they_are_old_and_none_waits() {
    let key = |activated: Option<i64>| DkimKey {
        domain: domain("a.test"),
        selector: "s".to_owned(),
        algorithm: DkimAlgorithm::Rsa,
        secret: DkimSecret::new(Vec::new()),
        created: Timestamp(0),
        activated: activated.map(Timestamp),
        retired: None,
    };
    let at = Timestamp(0).after(DAY);
    for (known, after, due) in [
        (vec![key(Some(0))], DAY, true),
        (vec![key(Some(1))], DAY, false),
        (vec![key(Some(0)), key(None)], DAY, false),
        (vec![key(Some(0))], Duration::ZERO, false),
        (vec![], DAY, false),
    ] {
        assert_eq!(is_due(&known, after, at), due, "{known:?} {after:?}");
    }
}
