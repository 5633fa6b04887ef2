//! The store's promises one by one.

use std::{sync::Arc, time::Duration};

use waypost_mail::{
    AccountCertificate, AccountId, AppPassword, BodyType, EntryId, Flags, LoginService, MailboxId, Reply,
    SystemFlags, Timestamp, TotpSecret, Uid,
};
use waypost_message::Structure;

use super::{accept, acceptance, account, delivery, options, relay, simulated};
use crate::{
    Attempt, Cause, DKIM_KEYS_MAX, DkimAlgorithm, DkimKey, DkimSecret, FlagChange, FlagMode, MaildropUpdate,
    Missing, Options, Outcome, QueueEvent, RecipientOutcome, Relay, ReturnedReport, Row, RowsAhead, Store,
    StoreError, Strike, UidSet, Wishes,
    disk::{Disk, Simulated},
    retrieved::day,
};

async fn open(directory: &tempfile::TempDir, disk: &Arc<dyn Disk>) -> Store {
    Store::open(options(directory.path(), Arc::clone(disk))).await.unwrap()
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(1));
    let store = open(&directory, &disk).await;
    let second = Store::open(options(directory.path(), Arc::clone(&disk))).await;
    assert!(matches!(second, Err(StoreError::Open(text)) if text.contains("is held by another process")));
    store.close().await;
    assert_eq!(account_error(&store).await, StoreError::Closed);
    open(&directory, &disk).await.close().await;
}

async fn account_error(store: &Store) -> StoreError {
    store.set_quota(AccountId(1), None).await.unwrap_err()
}

#[tokio::test]
async fn the_real_disk_keeps_all() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(directory.path())).await.unwrap();
    let id = account(&store, "user").await;
    let large = vec![b'x'; 700_000];
    for body in [b"small".as_slice(), &large] {
        accept(&store, body, vec![delivery(id, None, Flags::default())]).await.unwrap();
    }
    store.close().await;
    let store = Store::open(Options::new(directory.path())).await.unwrap();
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    let opened = store.account(id).await.unwrap();
    let inbox = opened.state().inbox().unwrap().id;
    let rows: Vec<_> = opened.select(inbox).await.unwrap().state().unwrap().rows().cloned().collect();
    assert!(store.read(&rows[1].content, 0, u64::MAX).await.unwrap().ends_with(&large));
    assert_eq!(store.structure(id, &rows[0]).await.unwrap(), Structure::default());
    store.close().await;
}

#[tokio::test]
async fn passwords_are_kept_with_all_that_belongs_to_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(directory.path())).await.unwrap();
    let id = account(&store, "user").await;
    let verifiers = vec!["one".to_owned(), "two".to_owned()];
    store.set_password(id, Some("hash".to_owned()), verifiers).await.unwrap();
    for service in LoginService::ALL {
        let name = service.to_string();
        let hash = format!("hash for {name}");
        let app_password = AppPassword { name, hash, services: vec![service], created: Timestamp(5) };
        store.add_app_password(id, app_password).await.unwrap();
    }
    store.remove_app_password(id, "imap".to_owned()).await.unwrap();
    store.set_totp(id, Some(TotpSecret(vec![0, 7, 255]))).await.unwrap();
    for (name, octet) in [("laptop", 0), ("telephone", 255)] {
        let certificate =
            AccountCertificate { name: name.to_owned(), sha256: [octet; 32], added: Timestamp(6) };
        store.add_certificate(id, certificate).await.unwrap();
    }
    store.remove_certificate(id, "telephone".to_owned()).await.unwrap();
    assert!(store.use_code(id, 7).await.unwrap());
    let kept = |store: &Store| store.directory().borrow().accounts[&id].clone();
    let before = kept(&store);
    assert_eq!((before.scram_verifiers.len(), before.app_passwords.len()), (2, 2));
    assert_eq!(before.certificates.len(), 1);
    assert_eq!(before.totp, Some(TotpSecret(vec![0, 7, 255])));
    store.close().await;
    let store = Store::open(Options::new(directory.path())).await.unwrap();
    assert_eq!(kept(&store), before);
    assert!(!store.use_code(id, 7).await.unwrap(), "a code that was used before the restart");
    assert!(store.use_code(id, 8).await.unwrap());
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

#[tokio::test]
async fn changes_are_seen_once() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(2));
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    let opened = store.account(id).await.unwrap();
    let mut selection = opened.select(opened.state().inbox().unwrap().id).await.unwrap();
    assert_eq!(selection.state().unwrap().count, 0);
    assert!(tokio::time::timeout(Duration::from_millis(20), selection.changed()).await.is_err());
    accept(&store, b"x", vec![delivery(id, None, Flags::default())]).await.unwrap();
    selection.changed().await;
    assert_eq!(selection.state().unwrap().count, 1);
    assert!(tokio::time::timeout(Duration::from_millis(20), selection.changed()).await.is_err());
    store.remove_account(id).await.unwrap();
    selection.changed().await;
    assert!(selection.state().is_none());
    assert!(matches!(store.account(id).await, Err(StoreError::NoSuchAccount)));
    let again = account(&store, "user").await;
    assert!(again > id, "a re-created address is another account");
    store.close().await;
}

#[tokio::test]
async fn outcomes_of_several_messages_are_recorded_together() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(3));
    let store = open(&directory, &disk).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        let queued = acceptance(&store, b"x", Vec::new(), Some(relay(&["a", "b"]))).await;
        ids.push(store.accept(queued).await.unwrap().id);
    }
    let (peer, ok, later) = (|| "mx".to_owned(), Reply::plain(250, "ok"), Reply::plain(451, "later"));
    let delivered = |recipient| RecipientOutcome {
        recipient,
        outcome: Outcome::Delivered { peer: peer(), reply: ok.clone() },
    };
    let deferred =
        RecipientOutcome { recipient: 1, outcome: Outcome::Deferred { peer: peer(), reply: later } };
    let attempt = |id, outcomes| Attempt {
        id,
        at: Timestamp(5),
        outcomes,
        next_attempt: Timestamp(9),
        warned: false,
        dialogues: Vec::new(),
    };
    store.remove_queued(ids[2]).await.unwrap();
    let attempts = [
        attempt(ids[0], vec![delivered(0), delivered(1)]),
        attempt(ids[1], vec![delivered(0), deferred]),
        attempt(ids[2], vec![delivered(0)]),
        attempt(ids[3], vec![delivered(7)]),
    ];
    let limit = StoreError::Limit("the entry has no such recipient");
    let results = store.settle_all(attempts.into()).await.unwrap();
    assert_eq!(results, [Ok(()), Ok(()), Err(StoreError::NoSuchEntry), Err(limit)]);
    store.close().await;
    let store = open(&directory, &disk).await;
    let left: Vec<_> = store.queue().into_iter().map(|entry| (entry.id, entry.open().count())).collect();
    assert_eq!(left, [(ids[1], 1), (ids[3], 2)]);
    assert_eq!(store.queue_entry(ids[1]).unwrap().next_attempt(), Some(Timestamp(9)));
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

#[tokio::test]
async fn the_queue_tells_of_its_changes() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(3));
    let store = open(&directory, &disk).await;
    let queued = acceptance(&store, b"x", Vec::new(), Some(relay(&["a", "b"]))).await;
    let id = store.accept(queued).await.unwrap().id;
    assert_eq!(store.queue_changes().await, [id]);
    assert!(tokio::time::timeout(Duration::from_millis(20), store.queue_changes()).await.is_err());
    store.reschedule(id, Timestamp(7)).await.unwrap();
    assert_eq!(store.queue_changes().await, [id]);
    store.hold(id, Some("by hand".to_owned())).await.unwrap();
    assert_eq!(store.queue_changes().await, [id]);
    let reply = Reply::plain(451, "later");
    let outcomes =
        vec![RecipientOutcome { recipient: 0, outcome: Outcome::Deferred { peer: "mx".to_owned(), reply } }];
    let dialogues = Vec::new();
    let next_attempt = Timestamp(9);
    let attempt = Attempt { id, at: Timestamp(5), outcomes, next_attempt, warned: true, dialogues };
    store.settle(attempt, None).await.unwrap();
    let told = tokio::time::timeout(Duration::from_millis(20), store.queue_changes()).await;
    assert!(told.is_err(), "who settles knows it");
    store.close().await;
    let store = open(&directory, &disk).await;
    assert_eq!(store.queue_changes().await, [id], "the first call gives all that are there");
    let entry = store.queue_entry(id).unwrap();
    assert_eq!((entry.next_attempt(), entry.attempts), (Some(Timestamp(7)), 1));
    assert_eq!(entry.held.unwrap().why, "by hand");
    assert_eq!((store.queue_len(), store.queue_page(Some(id), 9).len(), store.queue().len()), (1, 0, 1));
    store.remove_queued(id).await.unwrap();
    assert!(store.queue_entry(id).is_none());
    // what comes back is noted also when the message is gone, and stays
    let report = ReturnedReport {
        recipient: "a@b.test".to_owned(),
        what: "failed".to_owned(),
        status: Some("5.1.1".to_owned()),
        said: None,
    };
    store.note_reports(id, vec![report.clone()]).await.unwrap();
    let told = tokio::time::timeout(Duration::from_millis(20), store.queue_changes()).await;
    assert!(told.is_err(), "nothing is due");
    store.close().await;
    let store = open(&directory, &disk).await;
    assert_eq!(store.queue_len(), 0);
    let history = store.queue_history(id).await.unwrap();
    assert!(
        matches!(
            &history[..],
            [
                QueueEvent::Queued { held: None, .. },
                QueueEvent::Rescheduled { next_attempt: Timestamp(7), at: Some(_) },
                QueueEvent::HoldChanged { why: Some(_), .. },
                QueueEvent::Attempted { at: Timestamp(5), warned: true, .. },
                QueueEvent::Settled { removed: Some(_) },
                QueueEvent::Reported { reports, .. },
            ] if *reports == [report]
        ),
        "{history:?}"
    );
    assert_eq!(store.queue_history(EntryId(1)).await.unwrap(), []);
    assert!(store.new_entry_id() > id);
    store.close().await;
}

#[tokio::test]
async fn suppressed_addresses_outlast_a_restart() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(6));
    let store = open(&directory, &disk).await;
    account(&store, "user").await;
    let address = |text: &str| waypost_mail::Address::parse(text).unwrap();
    let strike = |recipient: &str, limit| Strike {
        recipient: address(recipient),
        sender: None,
        cause: Cause::Bounce,
        why: "550 5.1.1 nobody".to_owned(),
        limit,
        lifetime: Some(Duration::from_secs(3600)),
    };
    let accounts = store.directory().borrow().accounts.clone();
    assert!(!store.strike(strike("x@b.test", 2)).await.unwrap());
    assert!(store.strike(strike("X@b.test", 2)).await.unwrap());
    assert!(!store.strike(strike("y@b.test", 2)).await.unwrap());
    assert!(store.strike(strike("gone@b.test", 1)).await.unwrap());
    store.suppress(address("z@b.test"), Some(address("s@a.test")), "so".to_owned(), None).await.unwrap();
    assert_eq!(store.unsuppress(address("gone@b.test")).await, Ok(1));
    assert_eq!(store.unsuppress(address("gone@b.test")).await, Ok(0));
    store.forget_bounces(address("x@b.test")).await.unwrap();
    assert!(Arc::ptr_eq(&accounts, &store.directory().borrow().accounts), "no account changed");
    let before = store.directory().borrow().suppressions.all(store.now());
    assert_eq!(before.len(), 3);
    store.close().await;
    let store = open(&directory, &disk).await;
    let list = store.directory().borrow().suppressions.clone();
    let now = store.now();
    assert_eq!(list.all(now), before);
    for (recipient, sender, expected) in [
        ("x@b.test", None, true),
        ("y@b.test", None, false),
        ("z@b.test", None, false),
        ("z@b.test", Some("s@a.test"), true),
        ("gone@b.test", None, false),
    ] {
        let sender = sender.map(address);
        let found = list.suppressing(&address(recipient), sender.as_ref(), now);
        assert_eq!(found.is_some(), expected, "{recipient} {sender:?}");
    }
    assert!(list.suppressing(&address("x@b.test"), None, now.after(Duration::from_secs(7200))).is_none());
    store.forget_bounces(address("y@b.test")).await.unwrap();
    assert!(store.directory().borrow().suppressions.of(&address("y@b.test")).is_empty());
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

#[tokio::test]
async fn keys_of_domains_outlast_a_restart() {
    use DkimAlgorithm::{Ed25519, Rsa};
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(7));
    let store = open(&directory, &disk).await;
    let domain = |text: &str| waypost_mail::Domain::new(text).unwrap();
    let key = |name: &str, selector: &str, algorithm| DkimKey {
        domain: domain(name),
        selector: selector.to_owned(),
        algorithm,
        secret: DkimSecret::new(selector.as_bytes().to_vec()),
        created: Timestamp(1),
        activated: None,
        retired: None,
    };
    let two = vec![key("a.test", "r1", Rsa), key("a.test", "e1", Ed25519)];
    store.add_dkim_keys(two.clone()).await.unwrap();
    assert_eq!(store.add_dkim_keys(two).await, Err(StoreError::DkimKeyExists));
    let twice = vec![key("a.test", "x", Rsa), key("a.test", "x", Rsa)];
    assert_eq!(store.add_dkim_keys(twice).await, Err(StoreError::DkimKeyExists));
    store.add_dkim_keys(vec![key("a.test", "r2", Rsa), key("b.test", "r2", Rsa)]).await.unwrap();
    let states = |store: &Store, name: &str| {
        let keys = store.dkim_keys(&domain(name));
        let states: Vec<_> =
            keys.iter().map(|key| format!("{} {}", key.selector, key.state().name())).collect();
        states.join(", ")
    };
    assert_eq!(states(&store, "a.test"), "e1 waiting, r1 waiting, r2 waiting");
    for selector in ["r1", "e1", "r2", "r2"] {
        store.activate_dkim_key(domain("a.test"), selector.to_owned()).await.unwrap();
    }
    let absent = store.activate_dkim_key(domain("c.test"), "r1".to_owned()).await;
    assert_eq!(absent, Err(StoreError::NoSuchDkimKey));
    assert_eq!(states(&store, "a.test"), "e1 active, r1 retired, r2 active");
    store.remove_dkim_key(domain("b.test"), "r2".to_owned()).await.unwrap();
    assert_eq!(
        store.remove_dkim_key(domain("b.test"), "r2".to_owned()).await,
        Err(StoreError::NoSuchDkimKey)
    );
    let before = store.dkim_keys(&domain("a.test"));
    store.close().await;
    let store = open(&directory, &disk).await;
    assert_eq!(store.dkim_keys(&domain("a.test")), before);
    assert_eq!(states(&store, "a.test"), "e1 active, r1 retired, r2 active");
    assert_eq!(states(&store, "b.test"), "");
    let many = (0..DKIM_KEYS_MAX).map(|n| key("b.test", &format!("s{n}"), Rsa)).collect();
    store.add_dkim_keys(many).await.unwrap();
    let more = store.add_dkim_keys(vec![key("b.test", "more", Rsa)]).await;
    assert!(matches!(more, Err(StoreError::Limit(_))), "{more:?}");
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

#[tokio::test]
async fn what_is_said_of_a_queued_message_is_kept() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(5));
    let store = open(&directory, &disk).await;
    let mut kept = Vec::new();
    for body in [BodyType::SevenBit, BodyType::EightBitMime, BodyType::BinaryMime] {
        let wishes = Wishes { tls_optional: body == BodyType::SevenBit, ..Wishes::default() };
        let relay = Relay { body, wishes, ..relay(&["a"]) };
        let queued = acceptance(&store, b"x", Vec::new(), Some(relay)).await;
        let id = store.accept(queued).await.unwrap().id;
        kept.push(store.queue_entry(id).unwrap());
        assert_eq!(kept.last().unwrap().body, body);
    }
    store.close().await;
    // First from the records, then from the snapshot that a checkpoint makes.
    for _ in 0..2 {
        let store = open(&directory, &disk).await;
        assert_eq!(store.queue(), kept);
        store.checkpoint().await.unwrap();
        store.compact().await.unwrap();
        store.close().await;
    }
}

#[tokio::test]
async fn names_of_entries_ascend_though_the_clock_goes_back() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(4));
    let at = |milliseconds| Options {
        clock: Arc::new(move || Timestamp(milliseconds)),
        ..options(directory.path(), Arc::clone(&disk))
    };
    let store = Store::open(at(9_000)).await.unwrap();
    let (first, second) = (store.new_entry_id(), store.new_entry_id());
    assert!(first < second);
    let id = account(&store, "user").await;
    store.close().await;
    let store = Store::open(at(1_000)).await.unwrap();
    let last = accept(&store, b"x", vec![delivery(id, None, Flags::default())]).await.unwrap().id;
    assert!(last > second);
    store.close().await;
}

#[tokio::test]
async fn a_broken_index_is_set_aside() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(5));
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    for _ in 0..60 {
        accept(&store, b"x", vec![delivery(id, None, Flags::default())]).await.unwrap();
    }
    store.close().await;
    let conf = directory.path().join("index/conf");
    std::fs::write(&conf, b"nothing that sled can read").unwrap();
    let store = open(&directory, &disk).await;
    assert!(directory.path().join("index.broken-1").exists());
    assert_eq!(store.account(id).await.unwrap().state().inbox().unwrap().count, 60);
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

#[tokio::test]
async fn rot_in_the_index_costs_nothing_but_time() {
    for part in 1..8u64 {
        let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(6));
        let store = open(&directory, &disk).await;
        let id = account(&store, "user").await;
        for _ in 0..60 {
            accept(&store, b"x", vec![delivery(id, None, Flags::default())]).await.unwrap();
        }
        store.close().await;
        let file = directory.path().join("index/db");
        let mut octets = std::fs::read(&file).unwrap();
        let used = octets.iter().rposition(|octet| *octet != 0).unwrap() as u64;
        octets[(used * part / 8) as usize] ^= 0x10;
        std::fs::write(&file, octets).unwrap();
        let store = open(&directory, &disk).await;
        assert_eq!(store.account(id).await.unwrap().state().inbox().unwrap().count, 60, "part {part}");
        let opened = store.account(id).await.unwrap();
        let selection = opened.select(opened.state().inbox().unwrap().id).await.unwrap();
        assert_eq!(selection.state().unwrap().rows().count(), 60, "part {part}");
        store.close().await;
    }
}

#[tokio::test]
async fn a_full_disk_refuses_mail_and_recovers() {
    let (directory, simulated) = (tempfile::tempdir().unwrap(), Simulated::new(7));
    let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    let local = || vec![delivery(id, None, Flags::default())];
    simulated.set_capacity(Some(200 * 1024));
    let body = vec![b'x'; 10_000];
    let mut taken = 0;
    let refused = loop {
        match accept(&store, &body, local()).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, StoreError::Full);
    simulated.set_capacity(None);
    accept(&store, &body, local()).await.unwrap();
    assert_eq!(store.account(id).await.unwrap().state().inbox().unwrap().count, taken + 1);
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

/// Two floors: first no mail is taken while all else goes on, then only reading goes on.
#[tokio::test]
async fn a_full_disk_takes_changes_longer_than_mail() {
    let (directory, simulated) = (tempfile::tempdir().unwrap(), Simulated::new(7));
    let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    let local = || vec![delivery(id, None, Flags::default())];
    for _ in 0..5 {
        accept(&store, b"body", local()).await.unwrap();
    }
    simulated.set_capacity(Some(1 << 30));
    let used = (1 << 30) - disk.free_bytes(directory.path()).unwrap();
    let opened = store.account(id).await.unwrap();
    let (inbox, trash) = (opened.state().inbox().unwrap().id, opened.state().by_name("Trash").unwrap().id);
    let uids = |uid: u32| vec![Uid::new(uid).unwrap()];
    simulated.set_capacity(Some(used + 60 * 1024));
    assert_eq!(accept(&store, b"body", local()).await.unwrap_err(), StoreError::Full);
    assert_eq!(
        store.body_writer().write(&vec![b'x'; 300 * 1024]).await.unwrap_err(),
        StoreError::Full,
        "a large body is refused before it is written"
    );
    let seen = FlagChange { mode: FlagMode::Add, flags: SystemFlags::SEEN.into(), unchanged_since: None };
    opened.change_flags(inbox, uids(1), seen.clone()).await.unwrap();
    opened.move_to(inbox, uids(2), trash, Missing::Skipped).await.unwrap();
    assert_eq!(opened.expunge(inbox, uids(3)).await.unwrap(), uids(3));
    simulated.set_capacity(Some(used + 4 * 1024));
    for refused in [
        accept(&store, b"body", local()).await.map(drop),
        opened.change_flags(inbox, uids(1), seen).await.map(drop),
        opened.expunge(inbox, uids(4)).await.map(drop),
    ] {
        assert_eq!(refused, Err(StoreError::Full));
    }
    let state = opened.select(inbox).await.unwrap().state().unwrap();
    for row in state.rows() {
        assert!(store.read(&row.content, 0, u64::MAX).await.unwrap().ends_with(b"body"));
    }
    simulated.set_capacity(None);
    opened.expunge(inbox, uids(4)).await.unwrap();
    accept(&store, b"body", local()).await.unwrap();
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

/// On a full disk deleted messages go before their time, the oldest first, and mail is taken again.
#[tokio::test]
async fn a_full_disk_makes_room_by_itself() {
    let (directory, simulated) = (tempfile::tempdir().unwrap(), Simulated::new(7));
    let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    let local = || vec![delivery(id, None, Flags::default())];
    let opened = store.account(id).await.unwrap();
    let inbox = opened.state().inbox().unwrap().id;
    for number in 1..=60u32 {
        accept(&store, &vec![b'x'; 10_000], local()).await.unwrap();
        opened.expunge(inbox, vec![Uid::new(number).unwrap()]).await.unwrap();
    }
    // The heads move on, so that the segments before them can be compacted.
    store.close().await;
    let store = open(&directory, &disk).await;
    let opened = store.account(id).await.unwrap();
    simulated.set_capacity(Some(1 << 30));
    let used = (1 << 30) - disk.free_bytes(directory.path()).unwrap();
    simulated.set_capacity(Some(used + 50 * 1024));
    assert_eq!(accept(&store, b"body", local()).await.unwrap_err(), StoreError::Full);
    assert_eq!(opened.retained().await.unwrap().len(), 60);
    store.make_room().await.unwrap();
    assert!(opened.retained().await.unwrap().len() < 60);
    for _ in 0..3 {
        accept(&store, b"body", local()).await.unwrap();
    }
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

/// Progress is told, and the index that was made anew is right.
#[tokio::test]
async fn the_index_is_made_anew_on_request() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(9));
    let store = open(&directory, &disk).await;
    for name in ["user1", "user2", "user3"] {
        let id = account(&store, name).await;
        for _ in 0..30 {
            accept(&store, b"body", vec![delivery(id, None, Flags::default())]).await.unwrap();
        }
    }
    store.close().await;
    let store = open(&directory, &disk).await;
    // One is loaded, and goes on being used.
    let opened = store.account(AccountId(2)).await.unwrap();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let report: crate::Report = Arc::new(move |progress| tell.lock().unwrap().push(progress));
    assert_eq!(store.rebuild(Arc::clone(&report)).await.unwrap(), 90);
    let last = told.lock().unwrap().last().cloned().unwrap();
    assert_eq!((last.step, last.done, last.total), ("accounts", 3, 3));
    accept(&store, b"body", vec![delivery(opened.id(), None, Flags::default())]).await.unwrap();
    assert_eq!(store.check_reporting(report).await.unwrap(), Vec::<String>::new());
    assert!(told.lock().unwrap().iter().any(|progress| progress.step == "segments of the journal"));
    store.close().await;
    let store = open(&directory, &disk).await;
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

#[tokio::test]
async fn a_failed_sync_poisons_and_publishes_nothing() {
    let (directory, simulated) = (tempfile::tempdir().unwrap(), Simulated::new(8));
    let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    let local = || vec![delivery(id, None, Flags::default())];
    accept(&store, b"one", local()).await.unwrap();
    simulated.fail_sync(1);
    assert_eq!(accept(&store, b"two", local()).await.unwrap_err(), StoreError::Poisoned);
    assert_eq!(accept(&store, b"three", local()).await.unwrap_err(), StoreError::Poisoned);
    let opened = store.account(id).await.unwrap();
    let selection = opened.select(opened.state().inbox().unwrap().id).await.unwrap();
    assert_eq!(selection.state().unwrap().rows().count(), 1);
    store.close().await;
    simulated.crash(8);
    let store = open(&directory, &disk).await;
    let count = store.account(id).await.unwrap().state().inbox().unwrap().count;
    assert!((1..=2).contains(&count), "{count}");
    accept(&store, b"four", local()).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_large_mailbox_is_evicted_and_comes_back() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(9));
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    for number in 0..300u32 {
        accept(&store, &number.to_le_bytes(), vec![delivery(id, None, Flags::default())]).await.unwrap();
    }
    let opened = store.account(id).await.unwrap();
    let inbox = opened.state().inbox().unwrap().id;
    for _ in 0..500 {
        if opened.state().mailboxes[&inbox].partial {
            break;
        }
        accept(&store, b"more", vec![delivery(id, None, Flags::default())]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(opened.state().mailboxes[&inbox].partial, "rows that nobody holds open are given up");
    let selection = opened.select(inbox).await.unwrap();
    let state = selection.state().unwrap();
    assert!(!state.partial && state.rows().count() == state.count as usize);
    let change = FlagChange { mode: FlagMode::Add, flags: SystemFlags::SEEN.into(), unchanged_since: None };
    opened.change_flags(inbox, vec![Uid::FIRST], change).await.unwrap();
    assert!(opened.select(MailboxId(99)).await.is_err());
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

#[tokio::test]
async fn a_maildrop_is_read_without_coming_to_memory() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(19));
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    for number in 0..900u32 {
        accept(&store, &number.to_le_bytes(), vec![delivery(id, None, Flags::default())]).await.unwrap();
    }
    let expected: Vec<_> = {
        let opened = store.account(id).await.unwrap();
        let selection = opened.select(opened.state().inbox().unwrap().id).await.unwrap();
        selection.state().unwrap().rows().cloned().collect()
    };
    store.close().await;
    let store = open(&directory, &disk).await;
    let opened = store.account(id).await.unwrap();
    let inbox = opened.state().inbox().unwrap().id;
    // Some that are in memory only.
    accept(&store, b"more", vec![delivery(id, None, Flags::default())]).await.unwrap();
    let rows: fn(&mut Vec<Row>, &Row) = |rows, row| rows.push(row.clone());
    let (state, gathered) = opened.gather(inbox, rows).await.unwrap();
    assert_eq!((gathered.len(), &gathered[..900]), (901, &expected[..]));
    assert!(state.partial && opened.state().mailboxes[&inbox].partial, "it came to memory");
    let uid = |uid| Uid::new(uid).unwrap();
    let mut ahead = RowsAhead::default();
    for number in [1, 2, 16, 17, 255, 256, 257, 899, 900, 901, 4, 3, 290, 300] {
        assert_eq!(
            opened.row(inbox, uid(number), &mut ahead).await.unwrap().as_ref(),
            gathered.get(number as usize - 1)
        );
    }
    assert_eq!(opened.row(inbox, uid(902), &mut ahead).await.unwrap(), None);
    assert!(opened.state().mailboxes[&inbox].partial, "it came to memory");
    // What is removed is gone, whatever the index still holds.
    opened.expunge(inbox, vec![uid(3), uid(300)]).await.unwrap();
    assert_eq!(opened.row(inbox, uid(300), &mut ahead).await.unwrap(), None);
    assert_eq!(opened.gather(inbox, rows).await.unwrap().1.len(), 899);
    store.checkpoint().await.unwrap();
    assert_eq!(opened.row(inbox, uid(3), &mut ahead).await.unwrap(), None);
    assert!(opened.row(inbox, uid(4), &mut ahead).await.unwrap().is_some());
    assert_eq!(opened.gather(MailboxId(99), rows).await.unwrap_err(), StoreError::NoSuchMailbox);
    assert_eq!(
        opened.row(MailboxId(99), uid(1), &mut RowsAhead::default()).await.unwrap_err(),
        StoreError::NoSuchMailbox
    );
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

#[tokio::test]
async fn what_was_retrieved_expires_also_after_a_restart() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(20));
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    for number in 0..5u32 {
        accept(&store, &number.to_le_bytes(), vec![delivery(id, None, Flags::default())]).await.unwrap();
    }
    let opened = store.account(id).await.unwrap();
    let inbox = opened.state().inbox().unwrap().clone();
    let mut retrieved = UidSet::default();
    [2, 3, 5].into_iter().filter_map(Uid::new).for_each(|uid| retrieved.insert(uid));
    let uid_validity = inbox.uid_validity;
    let update = MaildropUpdate { uid_validity, deleted: vec![Uid::FIRST], retrieved };
    opened.update_maildrop(inbox.id, update).await.unwrap();
    let today = day(store.now());
    store.close().await;
    let store = open(&directory, &disk).await;
    assert_eq!(store.expire_retrieved(id, today).await, Ok(0));
    assert!(store.shared().account(id).is_none(), "who has nothing that is over stays on the disk");
    assert_eq!(store.expire_retrieved(id, today + 1).await, Ok(3));
    assert_eq!(store.expire_retrieved(AccountId(99), u32::MAX).await, Err(StoreError::NoSuchAccount));
    let left = store.account(id).await.unwrap();
    assert_eq!(left.state().mailboxes[&inbox.id].count, 1);
    assert_eq!(left.retained().await.unwrap().len(), 4, "it can be brought back");
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

/// Turns one octet that lies some octets before a text in the journal.
fn damage_before(disk: &Simulated, directory: &tempfile::TempDir, text: &[u8], octets_before: usize) {
    for path in disk.list(&directory.path().join("journal")).unwrap() {
        let file = Disk::open(disk, &path).unwrap();
        let mut octets = vec![0; file.length().unwrap() as usize];
        file.read_at(0, &mut octets).unwrap();
        if let Some(at) = octets.windows(text.len()).position(|window| window == text) {
            assert!(disk.flip(&path, at - octets_before, 0x55));
            return;
        }
    }
    panic!("the text is not in the journal");
}

#[tokio::test]
async fn a_gap_in_an_account_changes_its_uid_validities_once() {
    let (directory, simulated) = (tempfile::tempdir().unwrap(), Simulated::new(10));
    let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    for number in 0..6 {
        let body = format!("body number {number}");
        accept(&store, body.as_bytes(), vec![delivery(id, None, Flags::default())]).await.unwrap();
    }
    let before = store.account(id).await.unwrap().state().inbox().unwrap().uid_validity;
    store.close().await;
    // Into the records of that entry, which stand before its area.
    let area = format!("Delivered-To: {id}\r\nSubject: test\r\n\r\n").len();
    damage_before(&simulated, &directory, b"body number 3", area + 40);
    std::fs::remove_dir_all(directory.path().join("index")).unwrap();
    std::fs::create_dir(directory.path().join("index")).unwrap();
    let mut validities = vec![before];
    for _ in 0..2 {
        let store = open(&directory, &disk).await;
        let state = store.account(id).await.unwrap().state();
        let inbox = state.inbox().unwrap();
        assert_eq!(inbox.count, 5, "the others are there");
        assert!(!store.damage().is_empty());
        validities.push(inbox.uid_validity);
        let placed = accept(&store, b"new", vec![delivery(id, None, Flags::default())]).await.unwrap();
        store.account(id).await.unwrap().expunge(inbox.id, vec![placed.local[0].uid]).await.unwrap();
        store.close().await;
    }
    assert!(validities[1] > validities[0]);
    assert_eq!(validities[2], validities[1], "the gap was mended");
}

#[tokio::test]
async fn a_store_that_is_dropped_gives_up_its_lock() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(11));
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    accept(&store, b"x", vec![delivery(id, None, Flags::default())]).await.unwrap();
    drop(store);
    let mut opened = Store::open(options(directory.path(), Arc::clone(&disk))).await;
    for _ in 0..200 {
        if opened.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        opened = Store::open(options(directory.path(), Arc::clone(&disk))).await;
    }
    let store = opened.unwrap();
    assert_eq!(store.account(id).await.unwrap().state().inbox().unwrap().count, 1);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_vanishes_changes_nothing_that_was_decided() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(12));
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    for number in 0..40u64 {
        let message = acceptance(&store, b"x", vec![delivery(id, None, Flags::default())], None).await;
        let accept = store.accept(message);
        // Given up at another moment each time.
        let _given_up = tokio::time::timeout(Duration::from_micros(number * 10), accept).await;
    }
    accept(&store, b"last", vec![delivery(id, None, Flags::default())]).await.unwrap();
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

#[tokio::test]
async fn a_message_to_many_accounts_is_taken_though_none_is_loaded() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(13));
    let store = open(&directory, &disk).await;
    let mut accounts = Vec::new();
    for number in 0..40 {
        accounts.push(account(&store, &format!("user{number}")).await);
    }
    store.close().await;
    let store = open(&directory, &disk).await;
    let local = accounts.iter().map(|id| delivery(*id, None, Flags::default())).collect();
    assert_eq!(accept(&store, b"x", local).await.unwrap().local.len(), 40);
    store.close().await;
}

#[tokio::test]
async fn a_stream_that_lost_its_end_gives_no_uid_twice() {
    let (directory, simulated) = (tempfile::tempdir().unwrap(), Simulated::new(14));
    let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    for number in 0..6 {
        let body = format!("body number {number}");
        accept(&store, body.as_bytes(), vec![delivery(id, None, Flags::default())]).await.unwrap();
    }
    let before = store.account(id).await.unwrap().state();
    store.close().await;
    let area = format!("Delivered-To: {id}\r\nSubject: test\r\n\r\n").len();
    damage_before(&simulated, &directory, b"body number 5", area + 40);
    std::fs::remove_dir_all(directory.path().join("index")).unwrap();
    let store = open(&directory, &disk).await;
    let state = store.account(id).await.unwrap().state();
    assert_eq!(state.inbox().unwrap().count, 5, "the others are there");
    assert!(
        state.inbox().unwrap().uid_validity > before.inbox().unwrap().uid_validity,
        "UID 6 was given once"
    );
    assert!(state.seq > before.seq, "MODSEQ only grows");
    let validity = state.inbox().unwrap().uid_validity;
    store.close().await;
    std::fs::remove_dir_all(directory.path().join("index")).unwrap();
    let store = open(&directory, &disk).await;
    let state = store.account(id).await.unwrap().state();
    assert_eq!(state.inbox().unwrap().uid_validity, validity, "the end was mended");
    store.close().await;
}

#[tokio::test]
async fn an_account_id_is_not_given_again_though_its_record_is_lost() {
    let (directory, simulated) = (tempfile::tempdir().unwrap(), Simulated::new(15));
    let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
    for heads in [true, false] {
        let store = open(&directory, &disk).await;
        let name = format!("lost{heads}");
        let lost = account(&store, &name).await;
        accept(&store, b"secret", vec![delivery(lost, None, Flags::default())]).await.unwrap();
        store.close().await;
        damage_before(&simulated, &directory, name.as_bytes(), 0);
        if !heads {
            simulated.remove(&directory.path().join("heads")).unwrap();
        }
        let store = open(&directory, &disk).await;
        assert!(matches!(store.account(lost).await, Err(StoreError::NoSuchAccount)));
        let other = account(&store, &format!("other{heads}")).await;
        assert!(other > lost, "{other} has the mail of {lost}");
        store.close().await;
    }
}

#[tokio::test]
async fn names_of_entries_ascend_without_heads() {
    let (directory, simulated) = (tempfile::tempdir().unwrap(), Simulated::new(16));
    let at = |milliseconds| Options {
        clock: Arc::new(move || Timestamp(milliseconds)),
        ..options(directory.path(), Arc::new(simulated.clone()))
    };
    let store = Store::open(at(9_000)).await.unwrap();
    let id = account(&store, "user").await;
    let last = accept(&store, b"x", vec![delivery(id, None, Flags::default())]).await.unwrap().id;
    store.close().await;
    simulated.remove(&directory.path().join("heads")).unwrap();
    let store = Store::open(at(1_000)).await.unwrap();
    assert!(store.new_entry_id() > last);
    store.close().await;
}

/// What a kill leaves: all that is shown, in a directory of its own.
fn killed(directory: &tempfile::TempDir, simulated: &Simulated) -> (tempfile::TempDir, Simulated) {
    let (copy, disk) = (tempfile::tempdir().unwrap(), Simulated::new(1));
    disk.create_directory(copy.path()).unwrap();
    copy_simulated(simulated, directory.path(), &disk, copy.path());
    copy_real(&directory.path().join("index"), &copy.path().join("index"));
    (copy, disk)
}

fn copy_simulated(from: &Simulated, source: &std::path::Path, to: &Simulated, target: &std::path::Path) {
    to.create_directory(target).unwrap();
    for path in from.list(source).unwrap() {
        let there = target.join(path.file_name().unwrap());
        match Disk::open(from, &path) {
            Ok(file) => {
                let mut octets = vec![0; file.length().unwrap() as usize];
                file.read_at(0, &mut octets).unwrap();
                let copy = to.create(&there).unwrap();
                copy.write_at(0, &octets).unwrap();
                copy.sync().unwrap();
            }
            Err(_) => copy_simulated(from, &path, to, &there),
        }
    }
    to.sync_directory(target).unwrap();
}

fn copy_real(source: &std::path::Path, target: &std::path::Path) {
    std::fs::create_dir_all(target).unwrap();
    for entry in std::fs::read_dir(source).unwrap().map(Result::unwrap) {
        let there = target.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_real(&entry.path(), &there),
            false => drop(std::fs::copy(entry.path(), there).unwrap()),
        }
    }
}

#[tokio::test]
async fn a_store_that_is_killed_often_still_makes_checkpoints() {
    let (mut directory, mut simulated) = (tempfile::tempdir().unwrap(), Simulated::new(17));
    let store = open(&directory, &(Arc::new(simulated.clone()) as Arc<dyn Disk>)).await;
    let id = account(&store, "user").await;
    store.close().await;
    let heads = |directory: &tempfile::TempDir, disk: &Simulated| {
        crate::index::heads::Heads::read(disk, directory.path()).unwrap().position
    };
    let first = heads(&directory, &simulated);
    for _ in 0..4 {
        let store = open(&directory, &(Arc::new(simulated.clone()) as Arc<dyn Disk>)).await;
        for _ in 0..30 {
            accept(&store, b"x", vec![delivery(id, None, Flags::default())]).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let next = killed(&directory, &simulated);
        store.close().await;
        (directory, simulated) = next;
    }
    assert!(heads(&directory, &simulated) > first, "40 records are enough for one");
    let store = open(&directory, &(Arc::new(simulated.clone()) as Arc<dyn Disk>)).await;
    assert_eq!(store.account(id).await.unwrap().state().inbox().unwrap().count, 120);
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

#[tokio::test]
async fn a_body_that_was_arriving_when_the_server_was_killed_is_swept() {
    let (directory, simulated) = (tempfile::tempdir().unwrap(), Simulated::new(18));
    let store = open(&directory, &(Arc::new(simulated.clone()) as Arc<dyn Disk>)).await;
    let id = account(&store, "user").await;
    let large = vec![b'x'; 700_000];
    accept(&store, &large, vec![delivery(id, None, Flags::default())]).await.unwrap();
    let mut arriving = store.body_writer();
    arriving.write(&large).await.unwrap();
    let (left, disk) = killed(&directory, &simulated);
    let files = || {
        let folders = disk.list(&left.path().join("bodies")).unwrap();
        folders.iter().flat_map(|folder| disk.list(folder).unwrap()).count()
    };
    assert_eq!(files(), 2);
    let again = open(&left, &(Arc::new(disk.clone()) as Arc<dyn Disk>)).await;
    assert_eq!(files(), 1);
    assert_eq!(again.check().await.unwrap(), Vec::<String>::new());
    again.close().await;
    store.close().await;
}

#[tokio::test]
async fn reading_alone_does_not_fill_the_memory() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(19));
    let store = open(&directory, &disk).await;
    let mut accounts = Vec::new();
    for number in 0..3 {
        let id = account(&store, &format!("user{number}")).await;
        for _ in 0..30 {
            accept(&store, b"x", vec![delivery(id, None, Flags::default())]).await.unwrap();
        }
        accounts.push(id);
    }
    store.close().await;
    let store = open(&directory, &disk).await;
    let mut in_memory = 0;
    for id in &accounts {
        let opened = store.account(*id).await.unwrap();
        drop(opened.select(opened.state().inbox().unwrap().id).await.unwrap());
    }
    for id in &accounts {
        let state = store.account(*id).await.unwrap().state();
        in_memory += state.inbox().unwrap().rows().count();
    }
    assert!(in_memory <= 60, "{in_memory} rows of 90 are in memory");
    store.close().await;
}

#[tokio::test]
async fn broken_indexes_do_not_pile_up() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(20));
    let index = directory.path().join("index");
    for spoilt in ["garbage", "empty", "a file", "missing", "garbage", "garbage"] {
        let store = open(&directory, &disk).await;
        let id = store.directory().borrow().accounts.keys().next().copied();
        let id = match id {
            Some(id) => id,
            None => account(&store, "user").await,
        };
        accept(&store, b"x", vec![delivery(id, None, Flags::default())]).await.unwrap();
        assert_eq!(store.check().await.unwrap(), Vec::<String>::new(), "before {spoilt}");
        store.close().await;
        match spoilt {
            "garbage" => std::fs::write(index.join("conf"), b"nothing that sled can read").unwrap(),
            "a file" => {
                std::fs::remove_dir_all(&index).unwrap();
                std::fs::write(&index, b"x").unwrap();
            }
            _ => std::fs::remove_dir_all(&index).unwrap(),
        }
        if spoilt == "empty" {
            std::fs::create_dir(&index).unwrap();
        }
    }
    let store = open(&directory, &disk).await;
    let id = *store.directory().borrow().accounts.keys().next().unwrap();
    assert_eq!(store.account(id).await.unwrap().state().inbox().unwrap().count, 6);
    store.close().await;
    let aside = std::fs::read_dir(directory.path()).unwrap().map(Result::unwrap);
    assert_eq!(aside.filter(|entry| entry.file_name().to_string_lossy().contains("broken")).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_busy_mailbox_loads_while_it_is_delivered_to_checkpointed_and_evicted() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(21));
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    let opened = store.account(id).await.unwrap();
    let inbox = opened.state().inbox().unwrap().id;
    let end = tokio::time::Instant::now() + Duration::from_secs(3);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut added = 0usize;
            while tokio::time::Instant::now() < end {
                accept(&store, b"x", vec![delivery(id, None, Flags::default())]).await.unwrap();
                added += 1;
            }
            (added, 0)
        });
    }
    for task in 0..4u32 {
        let opened = opened.clone();
        tasks.spawn(async move {
            let (mut rounds, mut removed) = (0u32, 0usize);
            while tokio::time::Instant::now() < end {
                let selection = opened.select(inbox).await.unwrap();
                let state = selection.state().unwrap();
                assert!(!state.partial);
                assert_eq!(state.rows().count(), state.count as usize);
                let uids: Vec<Uid> = state.rows().map(|row| row.uid).collect();
                drop((selection, state));
                rounds += 1;
                if task == 0 && rounds.is_multiple_of(4) {
                    let some = uids.into_iter().step_by(7).collect();
                    removed += opened.expunge(inbox, some).await.unwrap().len();
                } else if task == 1 {
                    let change = FlagChange {
                        mode: if rounds.is_multiple_of(2) { FlagMode::Add } else { FlagMode::Remove },
                        flags: SystemFlags::SEEN.into(),
                        unchanged_since: None,
                    };
                    let some = uids.into_iter().step_by(5).collect();
                    opened.change_flags(inbox, some, change).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            (0, removed)
        });
    }
    let (mut added, mut removed) = (0, 0);
    while let Some(done) = tasks.join_next().await {
        let (more, fewer) = done.unwrap();
        (added, removed) = (added + more, removed + fewer);
    }
    assert_eq!(opened.state().inbox().unwrap().count as usize, added - removed);
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    assert_eq!(store.damage(), Vec::<String>::new());
    drop(opened);
    store.close().await;
    let store = open(&directory, &disk).await;
    assert_eq!(store.account(id).await.unwrap().state().inbox().unwrap().count as usize, added - removed);
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_busy_account_is_rebuilt_though_it_changes_all_the_time() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(22));
    let quiet = || Options { checkpoint_records: 1_000_000, ..options(directory.path(), Arc::clone(&disk)) };
    let store = Store::open(quiet()).await.unwrap();
    let id = account(&store, "user").await;
    for _ in 0..400 {
        accept(&store, b"x", vec![delivery(id, None, Flags::default())]).await.unwrap();
    }
    store.close().await;
    let store = Store::open(quiet()).await.unwrap();
    let opened = store.account(id).await.unwrap();
    let inbox = opened.state().inbox().unwrap().id;
    let rows = store.shared().index.keys(&crate::index::rows_prefix(id, inbox)).unwrap();
    store.shared().index.apply(&[(rows[0].clone(), None)]).unwrap();
    let busy = tokio::spawn({
        let store = store.clone();
        async move {
            loop {
                accept(&store, b"x", vec![delivery(id, None, Flags::default())]).await.unwrap();
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let selection = opened.select(inbox).await.unwrap();
    busy.abort();
    let state = selection.state().unwrap();
    assert!(state.rows().count() == state.count as usize && state.count >= 400);
    assert_eq!(store.damage(), Vec::<String>::new());
    store.close().await;
}

#[tokio::test]
async fn structures_do_not_gather_where_no_checkpoint_succeeds() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(23));
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    // Syncing the index fails from now on.
    std::fs::remove_file(directory.path().join("index/db")).unwrap();
    for _ in 0..60 {
        for _ in 0..10 {
            accept(&store, b"x", vec![delivery(id, None, Flags::default())]).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let kept =
        || store.shared().structures.read().unwrap().get(&id).map_or(0, std::collections::BTreeMap::len);
    // On a busy machine checkpoints come late.
    for _ in 0..100 {
        if kept() < 300 {
            break;
        }
        accept(&store, b"x", vec![delivery(id, None, Flags::default())]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(kept() < 300, "{}", kept());
    let opened = store.account(id).await.unwrap();
    let inbox = opened.state().inbox().unwrap().id;
    let row = opened.select(inbox).await.unwrap().state().unwrap().rows().next().unwrap().clone();
    assert!(store.structure(id, &row).await.is_ok(), "found in the message");
    store.close().await;
}

#[tokio::test]
async fn the_check_finds_damage_wherever_it_is() {
    for place in ["nowhere", "row", "area", "record", "body"] {
        let (directory, simulated) = (tempfile::tempdir().unwrap(), Simulated::new(24));
        let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
        let store = open(&directory, &disk).await;
        let id = account(&store, "user").await;
        for number in 0..20 {
            let body = format!("body number {number};");
            accept(&store, body.as_bytes(), vec![delivery(id, None, Flags::default())]).await.unwrap();
        }
        accept(&store, &vec![b'x'; 700_000], vec![delivery(id, None, Flags::default())]).await.unwrap();
        store.close().await;
        let store = open(&directory, &disk).await;
        let area = format!("Delivered-To: {id}\r\nSubject: test\r\n\r\n").len();
        match place {
            "row" => {
                let inbox = store.account(id).await.unwrap().state().inbox().unwrap().id;
                let rows = store.shared().index.keys(&crate::index::rows_prefix(id, inbox)).unwrap();
                store.shared().index.apply(&[(rows[0].clone(), None)]).unwrap();
            }
            "area" => damage_before(&simulated, &directory, b"body number 7;", 0),
            "record" => damage_before(&simulated, &directory, b"body number 7;", area + 40),
            "body" => {
                let folders = simulated.list(&directory.path().join("bodies")).unwrap();
                let bodies: Vec<_> =
                    folders.iter().flat_map(|folder| simulated.list(folder).unwrap()).collect();
                assert!(simulated.flip(&bodies[0], 500_000, 1));
            }
            _ => {}
        }
        let problems = store.check().await.unwrap();
        assert_eq!(problems.is_empty(), place == "nowhere", "{place}: {problems:?}");
        store.close().await;
    }
}
