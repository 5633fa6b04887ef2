//! Backups: taken while others write, gone on with, cut short, damaged, restored.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use waypost_mail::{
    AccountId, AccountSource, Address, DateTime, Flag, Flags, ReversePath, Timestamp, Uid, UidValidity,
    UidlId,
};
use waypost_message::Structure;
use waypost_storage::{
    Acceptance, AnnotationLimits, Audience, Delivery, FlagChange, FlagMode, Missing, NewAccount, Options,
    Placed, Progress, Relay, RelayRecipient, Report, Store, StoreError,
    backup::{BackedUp, Damaged, Found, Wanted, restore, verify},
    disk::{Disk, Real, Simulated},
    progress::silent,
};

const SEGMENT_BYTES: u64 = 16 * 1024;
const LARGE_BODY: usize = 300 * 1024;

static CLOCK: AtomicI64 = AtomicI64::new(1_800_000_000_000);

/// A disk with a place for a state, a backup and a restored state on it.
#[derive(Clone)]
struct Place {
    directory: Arc<tempfile::TempDir>,
    disk: Arc<dyn Disk>,
}

impl Place {
    fn simulated(seed: u64) -> (Self, Simulated) {
        let disk = Simulated::new(seed);
        let place = Self { directory: Arc::new(tempfile::tempdir().unwrap()), disk: Arc::new(disk.clone()) };
        (place, disk)
    }

    fn real() -> Self {
        Self { directory: Arc::new(tempfile::tempdir().unwrap()), disk: Arc::new(Real) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn backup(&self) -> PathBuf {
        self.path("backup")
    }

    fn options(&self, state: &str) -> Options {
        Options {
            directory: self.path(state),
            disk: Arc::clone(&self.disk),
            clock: Arc::new(|| Timestamp(CLOCK.fetch_add(1, Ordering::Relaxed))),
            segment_bytes: SEGMENT_BYTES,
            checkpoint_records: 10,
            retention: Duration::ZERO,
        }
    }

    async fn open(&self, state: &str) -> Store {
        Store::open(self.options(state)).await.unwrap()
    }

    fn restore(&self, state: &str) -> Result<(), StoreError> {
        restore(self.disk.as_ref(), &self.backup(), &self.path(state), Damaged::Refuse, silent()).map(drop)
    }

    fn problems(&self) -> Vec<String> {
        verify(self.disk.as_ref(), &self.backup(), silent()).unwrap()
    }

    /// All files below a directory.
    fn files(&self, below: &str) -> Vec<PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![self.path(below)]);
        while let Some(folder) = folders.pop() {
            for path in self.disk.list(&folder).unwrap() {
                let is_folder = self.disk.open_to_read(&path).and_then(|file| file.read_at(0, &mut [0]));
                match is_folder {
                    Ok(_) => files.push(path),
                    Err(_) => folders.push(path),
                }
            }
        }
        files.sort();
        files
    }
}

async fn backup(store: &Store, place: &Place) -> Result<BackedUp, StoreError> {
    store.backup(&place.backup(), silent()).await
}

fn address(name: &str) -> Address {
    Address::parse(&format!("{name}@example.org")).unwrap()
}

async fn account(store: &Store, name: &str) -> AccountId {
    let new = NewAccount {
        address: address(name),
        source: AccountSource::Store,
        password_hash: None,
        scram_verifiers: Vec::new(),
        quota_bytes: None,
    };
    store.create_account(new).await.unwrap()
}

async fn deliver(store: &Store, to: AccountId, body: &[u8], relay: bool) -> Result<Placed, StoreError> {
    let mut writer = store.body_writer();
    writer.write(body).await?;
    let delivery = Delivery {
        account: to,
        mailbox: None,
        prefix: b"Return-Path: <>\r\n".to_vec(),
        flags: Flags::default(),
        internal_date: DateTime { seconds: 1_700_000_000, offset_minutes: 60 },
    };
    let relay = relay.then(|| Relay::new(ReversePath::Null, vec![RelayRecipient::new(address("far"))]));
    let acceptance = Acceptance {
        id: store.new_entry_id(),
        header: Bytes::from_static(b"Message-ID: <one@example.org>\r\n\r\n"),
        body: writer.finish().await?,
        structure: Structure::default(),
        local: vec![delivery],
        relay,
    };
    Ok(store.accept(acceptance).await?.local.remove(0))
}

/// The messages of an account's INBOX.
async fn inbox(store: &Store, id: AccountId) -> BTreeMap<Uid, Vec<u8>> {
    let account = store.account(id).await.unwrap();
    let inbox = account.state().inbox().unwrap().id;
    let state = account.select(inbox).await.unwrap().state().unwrap();
    let mut messages = BTreeMap::new();
    for row in state.rows() {
        let octets = store.read(&row.content, 0, u64::MAX).await.unwrap();
        let skipped = b"Return-Path: <>\r\nMessage-ID: <one@example.org>\r\n\r\n";
        messages.insert(row.uid, octets.strip_prefix(skipped).unwrap().to_vec());
    }
    messages
}

/// What may never be given twice of an account.
async fn numbers(store: &Store, id: AccountId) -> (UidValidity, u64, BTreeSet<UidlId>) {
    let account = store.account(id).await.unwrap();
    let inbox = account.state().inbox().unwrap().id;
    let state = account.select(inbox).await.unwrap().state().unwrap();
    (state.uid_validity, account.state().seq, state.rows().map(|row| row.uidl).collect())
}

async fn check(store: &Store, place: &str) {
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new(), "{place}");
}

/// What was restored is opened, whole, and has these messages; then it is closed.
async fn restored_holds(place: &Place, when: &str, id: AccountId, messages: &BTreeMap<Uid, Vec<u8>>) {
    let restored = place.open("restored").await;
    assert_eq!(inbox(&restored, id).await, *messages, "{when}");
    check(&restored, when).await;
    restored.close().await;
}

/// Messages of all kinds over some segments.
async fn fill(store: &Store, id: AccountId, name: &str) -> BTreeMap<Uid, Vec<u8>> {
    let mut messages = BTreeMap::new();
    for number in 0..60u32 {
        let mut body = format!("{name} {number} ").into_bytes().repeat(100);
        if number % 20 == 7 {
            body.resize(LARGE_BODY, b'x');
        }
        messages.insert(deliver(store, id, &body, number % 10 == 0).await.unwrap().uid, body);
    }
    messages
}

async fn comes_back(place: Place) {
    let store = place.open("state").await;
    let id = account(&store, "user1").await;
    let messages = fill(&store, id, "first").await;
    let steps = Arc::new(std::sync::Mutex::new(Vec::<Progress>::new()));
    let report: Report = {
        let steps = Arc::clone(&steps);
        Arc::new(move |step| steps.lock().unwrap().push(step))
    };
    let done = store.backup(&place.backup(), report).await.unwrap();
    assert_eq!((done.files, done.bytes), (done.files_copied, done.bytes_copied));
    assert!(done.bytes > 3 * LARGE_BODY as u64 && done.damage.is_empty(), "{done:?}");
    let steps = steps.lock().unwrap().clone();
    assert!(steps.is_sorted_by_key(|step| step.done) && steps[0].done == 0 && steps[0].total > 0);
    assert_eq!(steps.last().map(|step| step.done), Some(steps[0].total));
    assert_eq!(place.problems(), Vec::<String>::new());
    // What comes later is not in it.
    deliver(&store, id, b"later", false).await.unwrap();
    let queue: Vec<_> = store.queue().iter().map(|entry| entry.id).collect();
    store.close().await;
    place.restore("restored").unwrap();
    let restored = place.open("restored").await;
    assert_eq!(inbox(&restored, id).await, messages);
    assert_eq!(restored.queue().iter().map(|entry| entry.id).collect::<Vec<_>>(), queue);
    check(&restored, "restored").await;
    restored.close().await;
    restored_holds(&place, "started again", id, &messages).await;
}

#[tokio::test]
async fn what_was_backed_up_comes_back_on_a_simulated_disk() {
    comes_back(Place::simulated(1).0).await;
}

#[tokio::test]
async fn what_was_backed_up_comes_back_on_a_real_disk() {
    comes_back(Place::real()).await;
}

/// A store of which nothing was ever written.
#[tokio::test]
async fn an_empty_store_comes_back() {
    let (place, _) = Place::simulated(2);
    let store = place.open("state").await;
    assert_eq!(backup(&store, &place).await.unwrap(), BackedUp::default());
    store.close().await;
    place.restore("restored").unwrap();
    let restored = place.open("restored").await;
    let id = account(&restored, "user1").await;
    deliver(&restored, id, b"hello", false).await.unwrap();
    check(&restored, "restored").await;
    restored.close().await;
}

#[tokio::test]
async fn a_second_backup_copies_what_is_new() {
    let (place, _) = Place::simulated(3);
    let store = place.open("state").await;
    let id = account(&store, "user1").await;
    let mut messages = fill(&store, id, "first").await;
    let mut first = backup(&store, &place).await.unwrap();
    // Footers are written a moment after their segments.
    for _ in 0..100 {
        let again = backup(&store, &place).await.unwrap();
        assert!(again.bytes_copied < SEGMENT_BYTES && again.files_removed == 0, "{again:?}");
        first = again;
        if first.files_copied == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((first.files_copied, first.files_removed), (0, 0));
    let large = vec![b'y'; LARGE_BODY];
    messages.insert(deliver(&store, id, &large, false).await.unwrap().uid, large);
    let second = backup(&store, &place).await.unwrap();
    let new = LARGE_BODY as u64 + SEGMENT_BYTES + 1024;
    assert!(second.bytes_copied > LARGE_BODY as u64 && second.bytes_copied < new, "{second:?} {new}");
    assert_eq!(second.files, first.files + 1);
    // The last segment as it was before.
    assert_eq!(second.files_removed, 1);
    assert_eq!(place.problems(), Vec::<String>::new());
    // What a compaction wrote again is copied again, and what it removed goes.
    let gone: Vec<Uid> = messages.keys().copied().filter(|uid| uid.value() % 4 != 0).collect();
    let opened = store.account(id).await.unwrap();
    let mailbox = opened.state().inbox().unwrap().id;
    opened.expunge(mailbox, gone.clone()).await.unwrap();
    gone.iter().for_each(|uid| drop(messages.remove(uid)));
    store.close().await;
    let store = place.open("state").await;
    let compacted = store.compact().await.unwrap();
    assert!(compacted.segments >= 1 && compacted.bodies >= 1, "{compacted:?}");
    let third = backup(&store, &place).await.unwrap();
    assert!(third.files_removed > compacted.segments && third.bytes < second.bytes, "{third:?}");
    store.close().await;
    place.restore("restored").unwrap();
    restored_holds(&place, "restored", id, &messages).await;
}

/// The name of a body that was given up is given again after a start: it is another body, even if it is as long.
#[tokio::test]
async fn another_body_of_the_same_name_is_copied() {
    let (place, _) = Place::simulated(10);
    let store = place.open("state").await;
    let id = account(&store, "user1").await;
    let first = deliver(&store, id, &vec![b'a'; LARGE_BODY], false).await.unwrap();
    backup(&store, &place).await.unwrap();
    let names = |place: &Place| -> Vec<PathBuf> {
        place.files("state").into_iter().filter(|path| path.to_str().unwrap().contains("bodies")).collect()
    };
    let before = names(&place);
    store.account(id).await.unwrap().expunge(first.mailbox, vec![first.uid]).await.unwrap();
    assert_eq!(store.compact().await.unwrap().bodies, 1);
    store.close().await;
    let store = place.open("state").await;
    let second = deliver(&store, id, &vec![b'b'; LARGE_BODY], false).await.unwrap();
    assert_eq!((names(&place), before.len()), (before, 1), "the name is the same");
    let done = backup(&store, &place).await.unwrap();
    assert!(done.bytes_copied > LARGE_BODY as u64);
    store.close().await;
    place.restore("restored").unwrap();
    let restored = place.open("restored").await;
    assert!(inbox(&restored, id).await[&second.uid].iter().all(|octet| *octet == b'b'));
    restored.close().await;
}

/// A compaction that is asked for while a backup runs waits for its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_waits() {
    let (place, _) = Place::simulated(11);
    let store = place.open("state").await;
    let id = account(&store, "user1").await;
    let mut messages = fill(&store, id, "first").await;
    let opened = store.account(id).await.unwrap();
    let mailbox = opened.state().inbox().unwrap().id;
    let gone: Vec<Uid> = messages.keys().copied().filter(|uid| uid.value() % 7 != 0).collect();
    opened.expunge(mailbox, gone.clone()).await.unwrap();
    gone.iter().for_each(|uid| drop(messages.remove(uid)));
    store.close().await;
    let store = place.open("state").await;
    let compaction = Arc::new(std::sync::Mutex::new(None));
    let ask: Report = {
        let (store, compaction) = (store.clone(), Arc::clone(&compaction));
        Arc::new(move |step| {
            if step.done == 0 {
                let store = store.clone();
                *compaction.lock().unwrap() = Some(tokio::spawn(async move { store.compact().await }));
                std::thread::sleep(Duration::from_millis(300));
            }
        })
    };
    store.backup(&place.backup(), ask).await.unwrap();
    let compaction = compaction.lock().unwrap().take().unwrap();
    let compacted = compaction.await.unwrap().unwrap();
    assert!(compacted.segments > 0 && compacted.bodies > 0, "{compacted:?}");
    store.close().await;
    assert_eq!(place.problems(), Vec::<String>::new());
    place.restore("restored").unwrap();
    restored_holds(&place, "restored", id, &messages).await;
}

/// Four writers and a compaction go on meanwhile: all that was acknowledged before is in the backup, and nothing is torn.
async fn goes_on_meanwhile(place: Place) {
    let store = place.open("state").await;
    let mut accounts = Vec::new();
    for name in ["user1", "user2", "user3", "user4"] {
        accounts.push(account(&store, name).await);
    }
    for id in &accounts {
        let messages = fill(&store, *id, "before").await;
        let opened = store.account(*id).await.unwrap();
        let mailbox = opened.state().inbox().unwrap().id;
        let gone = messages.keys().copied().filter(|uid| uid.value() % 3 != 0).collect();
        opened.expunge(mailbox, gone).await.unwrap();
    }
    store.close().await;
    let store = place.open("state").await;
    let stop = Arc::new(AtomicU32::new(0));
    let mut writers = Vec::new();
    for id in accounts.clone() {
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        writers.push(tokio::spawn(async move {
            let mut written = 0u32;
            while stop.load(Ordering::Relaxed) == 0 {
                let mut body = format!("meanwhile {written} ").into_bytes().repeat(50);
                if written % 16 == 5 {
                    body.resize(LARGE_BODY, b'z');
                }
                deliver(&store, id, &body, false).await.unwrap();
                written += 1;
            }
        }));
    }
    let compaction = {
        let store = store.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            store.compact().await
        })
    };
    tokio::time::sleep(Duration::from_millis(40)).await;
    for round in 0..3 {
        let mut before = Vec::new();
        for id in &accounts {
            before.push(inbox(&store, *id).await);
        }
        backup(&store, &place).await.unwrap();
        assert_eq!(place.problems(), Vec::<String>::new());
        let state = format!("restored{round}");
        place.restore(&state).unwrap();
        let restored = place.open(&state).await;
        for (id, before) in accounts.iter().zip(before) {
            let found = inbox(&restored, *id).await;
            assert!(before.iter().all(|(uid, body)| found.get(uid) == Some(body)), "round {round}");
            assert!(
                found.values().all(|body| body.starts_with(b"before ") || body.starts_with(b"meanwhile "))
            );
        }
        check(&restored, &state).await;
        restored.close().await;
    }
    stop.store(1, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(compaction.await.unwrap().unwrap().segments > 0);
    check(&store, "the store").await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_write_meanwhile_on_a_simulated_disk() {
    goes_on_meanwhile(Place::simulated(4).0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_write_meanwhile_on_a_real_disk() {
    goes_on_meanwhile(Place::real()).await;
}

/// The power goes off at each operation of a second backup in turn: the earlier one is whole, or the new one is.
#[tokio::test]
async fn a_cut_at_any_operation_leaves_a_whole_backup() {
    let (mut done, mut cuts) = (false, 0);
    while !done {
        let (place, disk) = Place::simulated(cuts);
        let store = place.open("state").await;
        let id = account(&store, "user1").await;
        let mut old = fill(&store, id, "first").await;
        // A removed body and a compacted segment, so that files of the earlier backup go.
        backup(&store, &place).await.unwrap();
        let opened = store.account(id).await.unwrap();
        let mailbox = opened.state().inbox().unwrap().id;
        let earlier = old.clone();
        opened.expunge(mailbox, old.keys().copied().take(30).collect()).await.unwrap();
        old = old.into_iter().skip(30).collect();
        let large = vec![b'y'; LARGE_BODY];
        old.insert(deliver(&store, id, &large, false).await.unwrap().uid, large);
        store.close().await;
        let store = place.open("state").await;
        store.compact().await.unwrap();
        disk.power_off_after(1 + cuts);
        done = backup(&store, &place).await.is_ok() && !disk.is_off();
        store.close().await;
        disk.crash(cuts.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        assert_eq!(place.problems(), Vec::<String>::new(), "cut {cuts}");
        place.restore("restored").unwrap();
        let restored = place.open("restored").await;
        let found = inbox(&restored, id).await;
        assert!(found == old || found == earlier && !done, "cut {cuts}");
        check(&restored, &format!("cut {cuts}")).await;
        restored.close().await;
        // It is gone on with.
        let store = place.open("state").await;
        backup(&store, &place).await.unwrap();
        store.close().await;
        assert_eq!(place.problems(), Vec::<String>::new(), "cut {cuts}, gone on with");
        place.restore("again").unwrap();
        let restored = place.open("again").await;
        assert!(inbox(&restored, id).await == old, "cut {cuts}, gone on with");
        restored.close().await;
        cuts += 1;
        assert!(cuts < 300);
    }
    assert!(cuts > 20, "{cuts} operations are too few to be a backup");
}

/// A first backup that was cut short is none, and what it copied is not copied again.
#[tokio::test]
async fn a_first_backup_is_gone_on_with() {
    // What the store does by itself counts, too, so that it is not the same operation each time.
    let (mut is_gone_on_with, mut cuts) = (false, 0);
    for operations in (15..).step_by(10) {
        let (place, disk) = Place::simulated(5);
        let store = place.open("state").await;
        let id = account(&store, "user1").await;
        let messages = fill(&store, id, "first").await;
        disk.power_off_after(operations);
        if backup(&store, &place).await.is_ok() {
            break;
        }
        cuts += 1;
        disk.restart();
        assert!(matches!(verify(&disk, &place.backup(), silent()), Err(StoreError::Open(_))));
        assert!(matches!(place.restore("restored"), Err(StoreError::Open(_))));
        store.close().await;
        let store = place.open("state").await;
        let done = backup(&store, &place).await.unwrap();
        is_gone_on_with |= done.files_copied < done.files;
        store.close().await;
        place.restore("restored").unwrap();
        let restored = place.open("restored").await;
        assert_eq!(inbox(&restored, id).await, messages);
        restored.close().await;
    }
    assert!(is_gone_on_with && cuts > 1, "{cuts} cuts");
}

/// The power goes off at each operation of a restore and of the first start in turn.
#[tokio::test]
async fn a_restore_is_gone_on_with() {
    let (place, disk) = Place::simulated(6);
    let store = place.open("state").await;
    let id = account(&store, "user1").await;
    let messages = fill(&store, id, "first").await;
    let (validity, seq, _) = numbers(&store, id).await;
    backup(&store, &place).await.unwrap();
    store.close().await;
    let (mut done, mut cuts) = (false, 0);
    while !done {
        let copy = disk.duplicate();
        let place = Place { directory: Arc::new(tempfile::tempdir().unwrap()), disk: Arc::new(copy.clone()) };
        let from = disk_backup(&disk);
        let restore_once = || restore(&copy, &from, &place.path("restored"), Damaged::Refuse, silent());
        copy.power_off_after(1 + cuts);
        let restored = restore_once();
        if restored.is_err() {
            // Nobody takes it for a store.
            copy.crash(cuts);
            let early = Store::open(place.options("restored")).await;
            if let Ok(early) = early {
                // Not even the mark became durable, or all was done but its answer.
                let nothing = early.directory().borrow().accounts.is_empty();
                assert!(nothing || inbox(&early, id).await == messages, "cut {cuts}");
                early.close().await;
                cuts += 1;
                continue;
            }
            restore_once().unwrap();
        } else if let Ok(store) = Store::open(place.options("restored")).await {
            let opened = store.account(id).await.is_ok();
            store.close().await;
            done = opened && !copy.is_off();
            copy.crash(cuts);
        } else {
            copy.crash(cuts);
        }
        let store = place.open("restored").await;
        assert_eq!(inbox(&store, id).await, messages, "cut {cuts}");
        let (new_validity, new_seq, _) = numbers(&store, id).await;
        assert!(new_validity > validity && new_seq > seq + (1 << 32), "cut {cuts}");
        check(&store, &format!("cut {cuts}")).await;
        store.close().await;
        cuts += 1;
        assert!(cuts < 300);
    }
    assert!(cuts > 20, "{cuts} operations are too few to be a restore");
}

/// The backup's directory on a disk that has one.
fn disk_backup(disk: &Simulated) -> PathBuf {
    fn find(disk: &Simulated, folder: &Path) -> Option<PathBuf> {
        let paths = disk.list(folder).unwrap();
        let found = paths.iter().find(|path| path.ends_with("backup")).cloned();
        found.or_else(|| paths.iter().find_map(|path| find(disk, path)))
    }
    find(disk, Path::new("/")).unwrap()
}

#[tokio::test]
async fn any_damage_is_named_and_refuses_a_restore() {
    let (place, disk) = Place::simulated(7);
    let store = place.open("state").await;
    let id = account(&store, "user1").await;
    let messages = fill(&store, id, "first").await;
    backup(&store, &place).await.unwrap();
    store.close().await;
    let files = place.files("backup");
    let named = files.iter().filter(|path| !path.ends_with("owner") && !path.ends_with("manifest"));
    let named: Vec<_> = named.cloned().collect();
    assert!(named.len() > 6, "{named:?}");
    for (number, path) in named.iter().enumerate() {
        let length = disk.open(path).unwrap().length().unwrap() as usize;
        for offset in [0, length / 2, length - 1] {
            assert!(disk.flip(path, offset, 0x10));
            let problems = place.problems();
            assert!(problems.len() == 1 && problems[0].contains(path.to_str().unwrap()), "{problems:?}");
            let state = format!("restored {number} {offset}");
            let refused = place.restore(&state);
            assert!(
                matches!(&refused, Err(StoreError::Damaged(what)) if what.contains(path.to_str().unwrap()))
            );
            assert!(matches!(Store::open(place.options(&state)).await, Err(StoreError::Open(_))));
            assert!(disk.flip(path, offset, 0x10));
            // Mended from elsewhere, it is gone on with.
            place.restore(&state).unwrap();
        }
    }
    // A missing file; the rest is taken all the same if that is wanted, and the store knows what it lost.
    let body = named.iter().find(|path| path.to_str().unwrap().contains("bodies")).unwrap();
    disk.remove(body).unwrap();
    assert!(place.problems()[0].contains("is missing"));
    let state = place.path("in part");
    let taken = restore(&disk, &place.backup(), &state, Damaged::Take, silent()).unwrap();
    assert_eq!(taken.damage.len(), 1);
    let store = place.open("in part").await;
    assert_eq!(store.check().await.unwrap().len(), 1);
    assert_eq!(store.account(id).await.unwrap().state().inbox().unwrap().count as usize, messages.len());
    store.close().await;
    // A damaged manifest.
    assert!(disk.flip(&place.backup().join("manifest"), 30, 1));
    assert!(matches!(verify(&disk, &place.backup(), silent()), Err(StoreError::Damaged(_))));
    assert!(matches!(place.restore("never"), Err(StoreError::Damaged(_))));
    // The next backup needs none of it, and copies what is missing.
    let store = place.open("state").await;
    let done = backup(&store, &place).await.unwrap();
    store.close().await;
    assert_eq!(place.problems(), Vec::<String>::new());
    assert!(done.files_copied >= 1 && done.files_copied <= 3, "{done:?}");
}

#[tokio::test]
async fn only_an_empty_directory_is_restored_into_and_only_our_own_is_backed_up_into() {
    let place = Place::real();
    let store = place.open("state").await;
    let id = account(&store, "user1").await;
    deliver(&store, id, b"hello", false).await.unwrap();
    backup(&store, &place).await.unwrap();
    let mode = std::fs::metadata(place.backup()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "it holds mail");
    let state = place.files("state");
    assert!(matches!(place.restore("state"), Err(StoreError::Open(_))), "held by its lock");
    store.close().await;
    let before = place.files("state");
    assert!(matches!(place.restore("state"), Err(StoreError::Open(_))));
    assert_eq!(place.files("state"), before);
    drop(state);
    let other = place.open("other").await;
    account(&other, "user1").await;
    for directory in ["backup", "state", "other", "other/backup"] {
        let refused = other.backup(&place.path(directory), silent()).await;
        assert!(matches!(&refused, Err(StoreError::Open(_))), "{directory} {refused:?}");
    }
    assert!(matches!(other.backup(place.directory.path(), silent()).await, Err(StoreError::Open(_))));
    other.close().await;
    // A restored store is another one, and goes on with the backup it came from; the one that was backed up does not any more.
    place.restore("restored").unwrap();
    let restored = place.open("restored").await;
    deliver(&restored, id, b"more", false).await.unwrap();
    let done = backup(&restored, &place).await.unwrap();
    assert!(done.files >= 1);
    backup(&restored, &place).await.unwrap();
    restored.close().await;
    let store = place.open("state").await;
    assert!(matches!(backup(&store, &place).await, Err(StoreError::Open(_))));
    store.close().await;
}

/// UIDs under one UIDVALIDITY, MODSEQs, UIDLs, ids of accounts and mailboxes: nothing that was given after the backup is given
/// again, not even when it is restored twice.
#[tokio::test]
async fn no_number_is_given_twice() {
    let (place, _) = Place::simulated(8);
    let store = place.open("state").await;
    let id = account(&store, "user1").await;
    let idle = account(&store, "user2").await;
    fill(&store, id, "first").await;
    deliver(&store, idle, b"idle", false).await.unwrap();
    let uidls = numbers(&store, id).await.2;
    backup(&store, &place).await.unwrap();
    let (mut validities, mut given, mut accounts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut mailboxes, mut seq) = (BTreeSet::new(), 0);
    let mut store = store;
    for round in 0..3 {
        if round > 0 {
            CLOCK.fetch_add(2000, Ordering::Relaxed);
            store.close().await;
            place.restore(&format!("restored{round}")).unwrap();
            store = place.open(&format!("restored{round}")).await;
        }
        let (validity, _, found) = numbers(&store, id).await;
        assert!(found.is_superset(&uidls), "a message keeps its UIDL");
        assert!(validities.insert(validity), "a UIDVALIDITY came back");
        for number in 0..5u32 {
            let placed = deliver(&store, id, format!("{number}").as_bytes(), false).await.unwrap();
            assert!(given.insert(placed.uidl) && !uidls.contains(&placed.uidl), "a UIDL was given twice");
        }
        let new = account(&store, &format!("new{round}")).await;
        assert!(accounts.insert(new), "an account's id was given twice");
        deliver(&store, new, b"new", false).await.unwrap();
        let opened = store.account(id).await.unwrap();
        assert!(mailboxes.insert(opened.create_mailbox("new", None).await.unwrap()));
        let state = opened.state();
        assert!(
            state.seq > seq && state.mailboxes.values().all(|mailbox| mailbox.highest_modseq.value() > seq)
        );
        seq = state.seq;
        check(&store, &format!("round {round}")).await;
    }
    // An account that is looked at much later, after more starts and a compaction.
    for _ in 0..3 {
        store.close().await;
        store = place.open("restored2").await;
    }
    store.compact().await.unwrap();
    let (validity, modseq, _) = numbers(&store, idle).await;
    assert!(modseq > 1 << 32);
    store.close().await;
    store = place.open("restored2").await;
    assert_eq!(numbers(&store, idle).await.0, validity, "once");
    assert!(validities.contains(&numbers(&store, id).await.0), "once");
    check(&store, "at the end").await;
    store.close().await;
}

/// Somebody puts the index and the heads of the lost store beside what was restored.
#[tokio::test]
async fn an_index_of_another_time_is_not_believed() {
    let place = Place::real();
    let store = place.open("state").await;
    let id = account(&store, "user1").await;
    let messages = fill(&store, id, "first").await;
    backup(&store, &place).await.unwrap();
    fill(&store, id, "second").await;
    store.close().await;
    place.restore("restored").unwrap();
    std::fs::copy(place.path("state/heads"), place.path("restored/heads")).unwrap();
    std::fs::create_dir_all(place.path("restored/index")).unwrap();
    for entry in std::fs::read_dir(place.path("state/index")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, place.path("restored/index").join(path.file_name().unwrap())).unwrap();
        }
    }
    restored_holds(&place, "restored", id, &messages).await;
    restored_holds(&place, "started again", id, &messages).await;
}

/// Messages come back out of a backup into the store that goes on.
#[tokio::test]
async fn messages_come_back_into_a_live_mailbox() {
    let (place, _) = Place::simulated(9);
    let store = place.open("state").await;
    let id = account(&store, "user1").await;
    let messages = fill(&store, id, "first").await;
    let opened = store.account(id).await.unwrap();
    let mailbox = opened.state().inbox().unwrap().id;
    let flags: Flags = ["\\Seen", "work"].iter().filter_map(|flag| Flag::parse(flag)).collect();
    let all: Vec<Uid> = messages.keys().copied().collect();
    let change = FlagChange { mode: FlagMode::Add, flags: flags.clone(), unchanged_since: None };
    opened.change_flags(mailbox, all.clone(), change).await.unwrap();
    let folder = opened.create_mailbox("a/b", None).await.unwrap();
    opened.copy(mailbox, vec![all[3]], folder, Missing::Skipped).await.unwrap();
    let limits = AnnotationLimits {
        entries_max: 9,
        value_bytes_max: 9,
        audience_bytes_max: 1 << 20,
        account_bytes_max: 1 << 20,
    };
    let note = |audience, value: &[u8]| ((Some(folder), audience, "/comment".to_owned()), Some(value.into()));
    let notes = vec![note(Audience::Shared, b"\0all"), note(Audience::Private(id), b"mine")];
    opened.annotate(notes, limits).await.unwrap();
    backup(&store, &place).await.unwrap();
    opened.expunge(mailbox, all.iter().copied().filter(|uid| uid.value() > 10).collect()).await.unwrap();
    opened.delete_mailbox(folder).await.unwrap();
    let wanted = |mailbox: Option<&str>, message| Wanted {
        address: address("user1"),
        mailbox: mailbox.map(str::to_owned),
        message,
    };
    let bring = async |wanted| store.restore_from(&place.backup(), wanted, silent()).await;
    // One message, by its UID then.
    let one = bring(wanted(Some("inbox"), Some(Found::Uid(all[20])))).await.unwrap();
    assert_eq!((one.messages, one.held), (1, 0));
    // All of the mailbox; what it holds is passed over.
    let rest = bring(wanted(Some("INBOX"), None)).await.unwrap();
    assert_eq!((rest.messages, rest.held), (messages.len() as u64 - 11, 11));
    let again = bring(wanted(Some("INBOX"), None)).await.unwrap();
    assert_eq!((again.messages, again.held), (0, messages.len() as u64));
    // And of the account: the other mailbox is created.
    let (seen, total) = (Arc::new(AtomicU32::new(0)), messages.len() as u64 + 1);
    let report: Report = {
        let seen = Arc::clone(&seen);
        Arc::new(move |step| {
            seen.store(u32::from(step.done == total && step.total == total), Ordering::Relaxed);
        })
    };
    let more = store.restore_from(&place.backup(), wanted(None, None), report).await.unwrap();
    assert_eq!((more.messages, more.held, more.damage), (1, messages.len() as u64, Vec::new()));
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    let state = opened.state();
    let back = state.by_name("a/b").unwrap();
    assert_eq!(back.count, 1);
    for (audience, value) in [(Audience::Shared, &b"\0all"[..]), (Audience::Private(id), b"mine")] {
        let notes: Vec<_> = state.annotations.of(Some(back.id), audience).collect();
        assert_eq!(notes, [("/comment", &Arc::from(value))]);
    }
    let selected = opened.select(mailbox).await.unwrap().state().unwrap();
    let date = DateTime { seconds: 1_700_000_000, offset_minutes: 60 };
    assert!(selected.rows().all(|row| selected.flags(row) == flags && row.internal_date == date));
    let live: BTreeSet<Vec<u8>> = inbox(&store, id).await.into_values().collect();
    assert_eq!(live, messages.into_values().collect());
    // What is not there is said.
    let nothing = bring(wanted(None, Some(Found::MessageId("<none@example.org>".into())))).await.unwrap();
    assert_eq!(nothing.messages + nothing.held, 0);
    assert_eq!(bring(wanted(Some("none"), None)).await, Err(StoreError::NoSuchMailbox));
    let nobody = Wanted { address: address("nobody"), mailbox: None, message: None };
    assert_eq!(bring(nobody).await, Err(StoreError::NoSuchAccount));
    check(&store, "the store").await;
    // The backup was only read.
    assert_eq!(place.problems(), Vec::<String>::new());
    store.close().await;
}
