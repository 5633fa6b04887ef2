//! Compaction on a simulated disk: what is held stays, byte for byte, what nobody holds gives its space back, and a power cut at
//! any operation of it loses nothing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use waypost_mail::{
    AccountCertificate, AccountId, AccountSource, Address, AppPassword, DateTime, Domain, EnhancedStatus,
    EntryId, Flag, Flags, LoginService, Reply, ReversePath, Timestamp, TotpSecret, Uid,
};
use waypost_message::Structure;
use waypost_storage::{
    Acceptance, AccountState, Attempt, Compacted, Delivery, DkimAlgorithm, DkimKey, DkimSecret, FlagChange,
    FlagMode, MailboxState, NewAccount, Options, Outcome, RecipientOutcome, Relay, RelayRecipient, Store,
    StoreError,
    backup::{Damaged, restore},
    disk::{Disk, Simulated},
};

const SEGMENT_BYTES: u64 = 16 * 1024;
const LARGE_BODY: usize = 300 * 1024;

static CLOCK: AtomicI64 = AtomicI64::new(1_800_000_000_000);

fn options(directory: &Path, disk: &Simulated) -> Options {
    Options {
        directory: directory.to_owned(),
        disk: Arc::new(disk.clone()),
        clock: Arc::new(|| Timestamp(CLOCK.fetch_add(1, Ordering::Relaxed))),
        segment_bytes: SEGMENT_BYTES,
        checkpoint_records: 10,
        retention: Duration::ZERO,
    }
}

fn address(name: &str) -> Address {
    Address::parse(&format!("{name}@example.org")).unwrap()
}

/// A store, and what it must hold.
struct World {
    directory: tempfile::TempDir,
    disk: Simulated,
    store: Store,
    accounts: Vec<AccountId>,
    messages: BTreeMap<(AccountId, Uid), Vec<u8>>,
    queued: BTreeMap<EntryId, Vec<u8>>,
}

impl World {
    async fn new(seed: u64) -> Self {
        let (directory, disk) = (tempfile::tempdir().unwrap(), Simulated::new(seed));
        let store = Store::open(options(directory.path(), &disk)).await.unwrap();
        let (messages, queued) = (BTreeMap::new(), BTreeMap::new());
        let mut world = Self { directory, disk, store, accounts: Vec::new(), messages, queued };
        for name in ["user1", "user2"] {
            world.add_account(name).await;
        }
        world
    }

    async fn add_account(&mut self, name: &str) {
        let new = NewAccount {
            address: address(name),
            source: AccountSource::Store,
            password_hash: None,
            scram_verifiers: Vec::new(),
            quota_bytes: None,
        };
        self.accounts.push(self.store.create_account(new).await.unwrap());
    }

    async fn deliver(&mut self, body: Vec<u8>, to: &[AccountId], relay: bool) -> Option<EntryId> {
        let mut writer = self.store.body_writer();
        writer.write(&body).await.unwrap();
        let delivery = |account: &AccountId| Delivery {
            account: *account,
            mailbox: None,
            prefix: b"Return-Path: <>\r\n".to_vec(),
            flags: Flags::default(),
            internal_date: DateTime { seconds: 1_700_000_000, offset_minutes: 0 },
        };
        let relay = relay.then(|| Relay::new(ReversePath::Null, vec![RelayRecipient::new(address("far"))]));
        let queued = relay.is_some();
        let acceptance = Acceptance {
            id: self.store.new_entry_id(),
            header: Bytes::from_static(b"\r\n"),
            body: writer.finish().await.unwrap(),
            structure: Structure::default(),
            local: to.iter().map(delivery).collect(),
            relay,
        };
        let accepted = self.store.accept(acceptance).await.unwrap();
        for placed in accepted.local {
            self.messages.insert((placed.account, placed.uid), body.clone());
        }
        if queued {
            self.queued.insert(accepted.id, body);
        }
        queued.then_some(accepted.id)
    }

    async fn expunge(&mut self, account: AccountId, uids: Vec<Uid>) {
        let opened = self.store.account(account).await.unwrap();
        let inbox = opened.state().inbox().unwrap().id;
        uids.iter().for_each(|uid| drop(self.messages.remove(&(account, *uid))));
        assert_eq!(opened.expunge(inbox, uids.clone()).await.unwrap(), uids);
    }

    async fn settle(&mut self, id: EntryId) {
        let reply = Reply::new(250, EnhancedStatus(2, 0, 0), "taken");
        let outcome = Outcome::Delivered { peer: "mx.far.test".into(), reply };
        let outcomes = vec![RecipientOutcome { recipient: 0, outcome }];
        let attempt = Attempt {
            id,
            at: Timestamp(0),
            outcomes,
            next_attempt: Timestamp(0),
            warned: false,
            dialogues: Vec::new(),
        };
        self.store.settle(attempt, None).await.unwrap();
        self.queued.remove(&id);
    }

    /// Messages of all kinds over many segments, of which many are held no more.
    async fn fill(&mut self) {
        let both = self.accounts.clone();
        for number in 0..120u32 {
            let body = format!("message {number} ").into_bytes().repeat(60);
            let to = &both[..1 + number as usize % 2];
            let queued = self.deliver(body, to, number % 5 == 0).await;
            if let Some(id) = queued.filter(|_| number % 2 == 0) {
                self.settle(id).await;
            }
            if number % 19 == 7 {
                let mut body = format!("large {number} ").into_bytes();
                body.resize(LARGE_BODY, b'x');
                self.deliver(body, &both, false).await;
            }
        }
        for (index, account) in both.into_iter().enumerate() {
            let gone: Vec<Uid> = self
                .uids(account)
                .into_iter()
                .filter(|uid| !(uid.value() + index as u32).is_multiple_of(3))
                .collect();
            self.expunge(account, gone).await;
        }
    }

    fn uids(&self, account: AccountId) -> Vec<Uid> {
        self.messages.keys().filter(|key| key.0 == account).map(|key| key.1).collect()
    }

    /// Closes and opens, so that all is in the index and in footers.
    async fn reopen(&mut self) -> Result<(), StoreError> {
        self.store.close().await;
        self.store = Store::open(options(self.directory.path(), &self.disk)).await?;
        Ok(())
    }

    async fn verify(&self, place: &str) {
        for account in &self.accounts {
            let opened = self.store.account(*account).await.unwrap();
            let inbox = opened.state().inbox().unwrap().id;
            let state = opened.select(inbox).await.unwrap().state().unwrap();
            assert_eq!(state.rows().map(|row| row.uid).collect::<Vec<_>>(), self.uids(*account), "{place}");
            for row in state.rows() {
                let octets = self.store.read(&row.content, 0, u64::MAX).await.unwrap();
                let body = octets.strip_prefix(b"Return-Path: <>\r\n\r\n").unwrap();
                assert!(body == self.messages[&(*account, row.uid)], "{place}: UID {} is another", row.uid);
            }
        }
        let queue = self.store.queue();
        assert_eq!(queue.len(), self.queued.len(), "{place}");
        for entry in queue {
            let octets = self.store.read(&entry.content, 0, u64::MAX).await.unwrap();
            assert!(octets.ends_with(&self.queued[&entry.id]), "{place}");
        }
        assert_eq!(self.store.check().await.unwrap(), Vec::<String>::new(), "{place}");
    }

    /// Octets of the journal and of bodies on the disk.
    fn size(&self) -> u64 {
        self.size_of("journal") + self.size_of("bodies")
    }

    fn size_of(&self, folder: &str) -> u64 {
        let mut size = 0;
        let mut folders = vec![self.directory.path().join(folder)];
        while let Some(folder) = folders.pop() {
            for path in self.disk.list(&folder).unwrap() {
                match self.disk.open(&path) {
                    Ok(file) => size += file.length().unwrap(),
                    Err(_) => folders.push(path),
                }
            }
        }
        size
    }
}

#[tokio::test]
async fn what_nobody_holds_gives_its_space_back() {
    let mut world = World::new(1).await;
    world.fill().await;
    world.reopen().await.unwrap();
    let before = world.size();
    let compacted = world.store.compact().await.unwrap();
    assert!(compacted.segments >= 3 && compacted.bodies >= 1, "{compacted:?}");
    assert_eq!(compacted.body_bytes, compacted.bodies * LARGE_BODY as u64);
    let after = world.size();
    assert!(
        before - after > compacted.segment_bytes / 2 + compacted.body_bytes,
        "{before} {after} {compacted:?}"
    );
    world.verify("after a compaction").await;
    assert_eq!(world.store.compact().await.unwrap(), Compacted::default(), "at once again");
    // What is there is read again from the frames and footers that were written, also without an index.
    world.reopen().await.unwrap();
    world.verify("after a start").await;
    world.store.close().await;
    std::fs::remove_dir_all(world.directory.path().join("index")).unwrap();
    world.store = Store::open(options(world.directory.path(), &world.disk)).await.unwrap();
    world.verify("without an index").await;
    // A compacted segment is compacted again when more is gone.
    let first = world.accounts[0];
    let rest = world.uids(first);
    world.expunge(first, rest).await;
    world.reopen().await.unwrap();
    assert!(world.store.compact().await.unwrap().segments >= 1);
    world.verify("after a second compaction").await;
    world.store.close().await;
}

/// Where records outweigh what they say, snapshots take their place: what is rebuilt from them is the same.
#[tokio::test]
async fn histories_become_snapshots() {
    let mut world = World::new(6).await;
    world.fill().await;
    let account = world.accounts[0];
    let opened = world.store.account(account).await.unwrap();
    let inbox = opened.state().inbox().unwrap().id;
    opened.create_mailbox("a/b", None).await.unwrap();
    let uids = world.uids(account);
    for round in 0..300 {
        let mode = if round % 2 == 0 { FlagMode::Add } else { FlagMode::Remove };
        let flags: Flags = ["\\Seen", "work"].iter().filter_map(|flag| Flag::parse(flag)).collect();
        let change = FlagChange { mode, flags, unchanged_since: None };
        opened.change_flags(inbox, uids.clone(), change).await.unwrap();
    }
    for _ in 0..100 {
        let body = b"relayed ".repeat(10);
        let id = world.deliver(body, &[], true).await.unwrap();
        world.settle(id).await;
    }
    world.reopen().await.unwrap();
    let seq = world.store.account(account).await.unwrap().state().seq;
    let before = world.size_of("journal");
    assert!(world.store.compact().await.unwrap().segments >= 3);
    let after = world.size_of("journal");
    assert!(after * 2 < before, "{before} {after}");
    let state = world.store.account(account).await.unwrap().state();
    assert!(state.seq > seq, "a snapshot is part of the stream");
    world.verify("after a compaction").await;
    // From the snapshots alone, without an index; MODSEQ and UIDVALIDITY as they were.
    world.store.close().await;
    std::fs::remove_dir_all(world.directory.path().join("index")).unwrap();
    world.store = Store::open(options(world.directory.path(), &world.disk)).await.unwrap();
    world.verify("without an index").await;
    let rebuilt = world.store.account(account).await.unwrap().state();
    assert_eq!(facts(&rebuilt), facts(&state));
    // And on from there.
    world.deliver(b"more".to_vec(), &world.accounts.clone(), true).await;
    world.reopen().await.unwrap();
    world.verify("after more").await;
    world.store.close().await;
}

/// Changes of the directory that outweigh what they say: logins by code, passwords, and all else that stands there.
async fn change_the_directory(world: &World, logins: u64) {
    let (store, [one, two]) = (&world.store, [world.accounts[0], world.accounts[1]]);
    let now = u64::try_from(CLOCK.load(Ordering::Relaxed)).unwrap() / 30_000;
    for account in [one, two] {
        store.set_totp(account, Some(TotpSecret(vec![7; 20]))).await.unwrap();
    }
    assert!(store.use_code(two, now - 3000).await.unwrap(), "a day is 2880 steps");
    for step in now - logins..=now {
        assert!(store.use_code(one, step).await.unwrap());
    }
    for round in 0..20 {
        store
            .set_password(two, Some(format!("hash {round}")), vec![format!("verifier {round}")])
            .await
            .unwrap();
    }
    let services = vec![LoginService::Imap];
    let created = Timestamp(1_700_000_000_000);
    let app_password = AppPassword { name: "phone".into(), hash: "hash".into(), services, created };
    store.add_app_password(one, app_password).await.unwrap();
    let certificate = AccountCertificate { name: "laptop".into(), sha256: [3; 32], added: created };
    store.add_certificate(two, certificate).await.unwrap();
    store.set_quota(one, Some(1 << 30)).await.unwrap();
    store.pause("slow.test".to_owned(), true).await.unwrap();
    let lifetime = Some(Duration::from_secs(3600 * 24 * 365));
    store.suppress(address("once"), Some(address("user1")), "asked for".into(), None).await.unwrap();
    store.suppress(address("once"), None, "asked for".into(), lifetime).await.unwrap();
    let key = DkimKey {
        domain: Domain::new("example.org").unwrap(),
        selector: "one".to_owned(),
        algorithm: DkimAlgorithm::Ed25519,
        secret: DkimSecret::new(vec![48, 1, 2]),
        created,
        activated: None,
        retired: None,
    };
    store.add_dkim_keys(vec![key]).await.unwrap();
}

/// What the directory says; its codes are given apart.
fn directory_facts(store: &Store) -> (String, BTreeMap<AccountId, u64>) {
    let directory = store.directory().borrow().clone();
    let suppressed = directory.suppressions.all(Timestamp(CLOCK.load(Ordering::Relaxed)));
    let facts = (&directory.accounts, &directory.paused, suppressed, &directory.dkim_keys);
    (format!("{facts:?}"), directory.used_codes.clone())
}

/// The directory's records, too: what each login by a code leaves does not stay for ever.
#[tokio::test]
async fn the_directory_becomes_a_snapshot() {
    let mut world = World::new(7).await;
    world.add_account("gone").await;
    let gone = world.accounts.pop().unwrap();
    world.store.remove_account(gone).await.unwrap();
    change_the_directory(&world, 1000).await;
    world.reopen().await.unwrap();
    let (facts, mut codes) = directory_facts(&world.store);
    let before = world.size_of("journal");
    world.store.compact().await.unwrap();
    let after = world.size_of("journal");
    assert!(after * 2 < before, "the records of the directory stay: {before} {after}");
    assert_eq!(codes.remove(&world.accounts[1]).map(|_| ()), Some(()), "a code of the day before yesterday");
    assert_eq!(
        directory_facts(&world.store),
        (facts.clone(), codes.clone()),
        "a code of today is still used"
    );
    world.verify("after a compaction").await;
    for round in ["by the index", "without an index"] {
        world.reopen().await.unwrap();
        assert_eq!(directory_facts(&world.store), (facts.clone(), codes.clone()), "{round}");
        world.verify(round).await;
        world.store.rebuild(Arc::new(|_| {})).await.unwrap();
        world.verify(round).await;
        world.store.close().await;
        std::fs::remove_dir_all(world.directory.path().join("index")).unwrap();
        world.store = Store::open(options(world.directory.path(), &world.disk)).await.unwrap();
    }
    // A backup holds it, and what comes out of one has it.
    let (backup, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    world.store.backup(backup.path(), Arc::new(|_| {})).await.unwrap();
    restore(&world.disk, backup.path(), state.path(), Damaged::Refuse, Arc::new(|_| {})).unwrap();
    let restored = Store::open(options(state.path(), &world.disk)).await.unwrap();
    assert_eq!(directory_facts(&restored), (facts, codes), "out of a backup");
    assert!(restored.directory().borrow().next_account > gone.0 + 1);
    assert_eq!(restored.check().await.unwrap(), Vec::<String>::new());
    restored.close().await;
    // And on from there: the id of the account that was removed is not given again.
    world.add_account("user3").await;
    assert!(world.accounts.pop().unwrap() > gone);
    world.store.compact().await.unwrap();
    world.reopen().await.unwrap();
    world.verify("after more").await;
    world.store.close().await;
}

/// What of an account must come back.
fn facts(state: &AccountState) -> impl PartialEq + std::fmt::Debug {
    let mailbox = |m: &Arc<MailboxState>| {
        (m.id, m.name.clone(), m.uid_validity, m.uid_next, m.highest_modseq, m.keywords.clone(), m.digest)
    };
    let mailboxes: Vec<_> = state.mailboxes.values().map(mailbox).collect();
    (state.seq, state.bytes, state.next_mailbox, state.subscriptions.clone(), mailboxes)
}

#[tokio::test]
async fn an_account_that_was_removed_leaves_nothing() {
    let mut world = World::new(2).await;
    world.add_account("user3").await;
    let third = world.accounts.pop().unwrap();
    for number in 0..40u32 {
        let body = format!("{number}").into_bytes().repeat(700);
        world.deliver(body, &[third], false).await;
    }
    world.deliver(vec![b'x'; LARGE_BODY], &[third], false).await;
    world.messages.retain(|(account, _), _| *account != third);
    world.fill().await;
    world.store.remove_account(third).await.unwrap();
    world.reopen().await.unwrap();
    let compacted = world.store.compact().await.unwrap();
    assert!(compacted.bodies >= 1 && compacted.segment_bytes > 40 * 700, "{compacted:?}");
    world.verify("after a compaction").await;
    world.reopen().await.unwrap();
    world.verify("after a start").await;
    world.store.close().await;
}

/// Sessions that read and write meanwhile see nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_disturbs_nobody() {
    let mut world = World::new(3).await;
    world.fill().await;
    world.reopen().await.unwrap();
    let store = world.store.clone();
    let compaction = tokio::spawn(async move { store.compact().await });
    for number in 0..40u32 {
        world.deliver(format!("{number}").into_bytes().repeat(100), &[world.accounts[0]], false).await;
        for account in world.accounts.clone() {
            let opened = world.store.account(account).await.unwrap();
            let inbox = opened.state().inbox().unwrap().id;
            let state = opened.select(inbox).await.unwrap().state().unwrap();
            for row in state.rows() {
                let octets = world.store.read(&row.content, 0, u64::MAX).await.unwrap();
                assert!(octets.ends_with(&world.messages[&(account, row.uid)]));
            }
        }
    }
    assert!(compaction.await.unwrap().unwrap().segments >= 3);
    world.verify("after a compaction").await;
    world.store.close().await;
}

/// The power goes off at each operation of a compaction in turn.
#[tokio::test]
async fn a_cut_at_any_operation_loses_nothing() {
    let (mut done, mut cuts) = (false, 0);
    while !done {
        let mut world = World::new(cuts).await;
        change_the_directory(&world, 100).await;
        world.fill().await;
        world.reopen().await.unwrap();
        let (facts, mut codes) = directory_facts(&world.store);
        world.disk.power_off_after(1 + cuts);
        done = world.store.compact().await.is_ok();
        world.store.close().await;
        world.disk.crash(cuts.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        world.store = Store::open(options(world.directory.path(), &world.disk)).await.unwrap();
        world.verify(&format!("cut {cuts}")).await;
        assert_eq!(directory_facts(&world.store).0, facts, "cut {cuts}");
        world.reopen().await.unwrap();
        world.store.compact().await.unwrap();
        codes.remove(&world.accounts[1]);
        assert_eq!(directory_facts(&world.store), (facts, codes), "after cut {cuts} and a compaction");
        world.verify(&format!("after cut {cuts} and a compaction")).await;
        world.store.close().await;
        cuts += 1;
        assert!(cuts < 1000);
    }
    assert!(cuts > 20, "{cuts} operations are too few to be a compaction");
}

/// Damage is evidence: where there is any, nothing is removed.
#[tokio::test]
async fn a_damaged_journal_is_not_compacted() {
    let mut world = World::new(5).await;
    world.fill().await;
    world.store.close().await;
    let path = world.disk.list(&world.directory.path().join("journal")).unwrap()[1].clone();
    let file = world.disk.open(&path).unwrap();
    let mut octet = [0];
    file.read_at(5000, &mut octet).unwrap();
    file.write_at(5000, &[octet[0] ^ 1]).unwrap();
    world.store = Store::open(options(world.directory.path(), &world.disk)).await.unwrap();
    let before = world.size();
    drop(world.store.check().await.unwrap());
    assert!(matches!(world.store.compact().await, Err(StoreError::Damaged(_))));
    assert_eq!(world.size(), before);
    world.store.close().await;
}
