//! Power cuts on a simulated disk: some writers, a cut at a random operation, a new start; what was acknowledged holds.
//!
//! The number of seeds is `WAYPOST_CUT_SEEDS`, 1,000 if it is not set. The same check with syncs that do nothing must fail:
//! else it would prove nothing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use waypost_mail::{
    AccountId, AccountSource, Address, DateTime, EnhancedStatus, EntryId, Flags, ModSeq, Reply, ReversePath,
    SystemFlags, Timestamp, TotpSecret, Uid,
};
use waypost_message::Structure;
use waypost_storage::{
    Acceptance, Attempt, Delivery, FlagChange, FlagMode, NewAccount, Options, Outcome, RecipientOutcome,
    Relay, RelayRecipient, Store, StoreError, disk::Simulated,
};

const WRITERS: usize = 4;
/// With every so manieth seed there is one only, who writes what is delivered himself.
const ALONE_EVERY: u64 = 3;
const COMMANDS: usize = 10;
const CUTS: u64 = 2;
const LARGE_BODY: usize = 300 * 1024;

static CLOCK: AtomicI64 = AtomicI64::new(1_800_000_000_000);
/// The time step of the next code, at the time of the clock.
static NEXT_STEP: AtomicU64 = AtomicU64::new(60_000_000);

/// Whether something is there after the cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Presence {
    Certain,
    Possible,
    Gone,
}

/// What is known of one message that was acknowledged.
#[derive(Clone, Debug)]
struct Known {
    body: Vec<u8>,
    /// `None`: a change of flags was not acknowledged.
    flags: Option<SystemFlags>,
    presence: Presence,
}

/// What was acknowledged.
#[derive(Debug, Default)]
struct Acknowledged {
    messages: BTreeMap<(AccountId, Uid), Known>,
    /// Bodies of deliveries that were not acknowledged: there or not, but not twice.
    unclear: BTreeSet<Vec<u8>>,
    queue: BTreeMap<EntryId, Presence>,
    seqs: BTreeMap<AccountId, u64>,
    /// The last code that each account used.
    codes: BTreeMap<AccountId, u64>,
}

struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

fn options(directory: &Path, disk: &Simulated) -> Options {
    Options {
        directory: directory.to_owned(),
        disk: Arc::new(disk.clone()),
        clock: Arc::new(|| Timestamp(CLOCK.fetch_add(1, Ordering::Relaxed))),
        segment_bytes: 64 * 1024,
        checkpoint_records: 25,
        retention: std::time::Duration::from_secs(3600),
    }
}

fn address(name: &str) -> Address {
    Address::parse(&format!("{name}@example.org")).unwrap()
}

async fn acceptance(
    store: &Store,
    body: &[u8],
    accounts: &[AccountId],
    relay: bool,
) -> Result<Acceptance, StoreError> {
    let mut writer = store.body_writer();
    writer.write(body).await?;
    let internal_date = DateTime { seconds: 1_700_000_000, offset_minutes: 0 };
    let delivery = |account: &AccountId| Delivery {
        account: *account,
        mailbox: None,
        prefix: b"Return-Path: <>\r\n".to_vec(),
        flags: Flags::default(),
        internal_date,
    };
    let relay = relay.then(|| Relay::new(ReversePath::Null, vec![RelayRecipient::new(address("far"))]));
    Ok(Acceptance {
        id: store.new_entry_id(),
        header: Bytes::from_static(b"\r\n"),
        body: writer.finish().await?,
        structure: Structure::default(),
        local: accounts.iter().map(delivery).collect(),
        relay,
    })
}

/// One writer: commands on its own messages until the power goes.
struct Writer {
    store: Store,
    accounts: Vec<AccountId>,
    random: Random,
    name: String,
    known: Arc<Mutex<Acknowledged>>,
    own: Vec<(AccountId, Uid)>,
    queued: Vec<EntryId>,
}

impl Writer {
    async fn run(mut self) {
        for number in 0..COMMANDS {
            if self.command(number).await.is_err() {
                return;
            }
        }
    }

    async fn command(&mut self, number: usize) -> Result<(), StoreError> {
        match self.random.below(8) {
            6 => self.use_codes().await,
            7 => self.store.compact().await.map(|_| ()),
            0..=2 => self.deliver(number).await,
            3 => match self.queued.pop() {
                Some(id) => self.settle(id).await,
                None => Ok(()),
            },
            kind if !self.own.is_empty() => {
                let at = self.random.below(self.own.len() as u64) as usize;
                match kind {
                    4 => self.flag(self.own[at]).await,
                    _ => {
                        let message = self.own.swap_remove(at);
                        self.expunge(message).await
                    }
                }
            }
            _ => Ok(()),
        }
    }

    async fn deliver(&mut self, number: usize) -> Result<(), StoreError> {
        let mut body = format!("{}.{number}", self.name).into_bytes();
        if self.random.below(20) == 0 {
            body.resize(LARGE_BODY, b'x');
        }
        let to = &self.accounts[..1 + self.random.below(self.accounts.len() as u64) as usize];
        let relay = self.random.below(3) == 0;
        let acceptance = acceptance(&self.store, &body, to, relay).await?;
        let id = acceptance.id;
        {
            let mut known = self.known.lock().unwrap();
            known.unclear.insert(body.clone());
            if relay {
                known.queue.insert(id, Presence::Possible);
            }
        }
        let accepted = self.store.deliver(acceptance, None).await?;
        let mut known = self.known.lock().unwrap();
        known.unclear.remove(&body);
        if relay {
            known.queue.insert(id, Presence::Certain);
            self.queued.push(id);
        }
        for placed in accepted.local {
            let message =
                Known { body: body.clone(), flags: Some(SystemFlags::EMPTY), presence: Presence::Certain };
            let before = known.messages.insert((placed.account, placed.uid), message);
            assert!(before.is_none(), "a UID was given twice");
            let seq = known.seqs.entry(placed.account).or_default();
            *seq = (*seq).max(placed.uidl.0);
            self.own.push((placed.account, placed.uid));
        }
        Ok(())
    }

    /// Logs in by codes, often enough for the directory to outweigh what it says.
    async fn use_codes(&mut self) -> Result<(), StoreError> {
        let account = self.accounts[self.random.below(self.accounts.len() as u64) as usize];
        for _ in 0..8 {
            let step = NEXT_STEP.fetch_add(1, Ordering::Relaxed);
            if self.store.use_code(account, step).await? {
                let mut known = self.known.lock().unwrap();
                let used = known.codes.entry(account).or_default();
                *used = (*used).max(step);
            }
        }
        Ok(())
    }

    async fn settle(&self, id: EntryId) -> Result<(), StoreError> {
        self.known.lock().unwrap().queue.insert(id, Presence::Possible);
        let reply = Reply::new(250, EnhancedStatus(2, 0, 0), "taken");
        let outcome = Outcome::Delivered { peer: "mx.far.test".into(), reply };
        let attempt = Attempt {
            id,
            at: Timestamp(0),
            outcomes: vec![RecipientOutcome { recipient: 0, outcome }],
            next_attempt: Timestamp(0),
            warned: false,
            dialogues: Vec::new(),
        };
        self.store.settle(attempt, None).await?;
        self.known.lock().unwrap().queue.insert(id, Presence::Gone);
        Ok(())
    }

    async fn flag(&self, message: (AccountId, Uid)) -> Result<(), StoreError> {
        self.known.lock().unwrap().messages.get_mut(&message).unwrap().flags = None;
        let account = self.store.account(message.0).await?;
        let inbox = account.state().inbox().unwrap().id;
        let flags = Flags::from(SystemFlags::SEEN);
        let change = FlagChange { mode: FlagMode::Replace, flags, unchanged_since: None };
        let outcome = account.change_flags(inbox, vec![message.1], change).await?;
        let mut known = self.known.lock().unwrap();
        known.messages.get_mut(&message).unwrap().flags = Some(SystemFlags::SEEN);
        let seq = known.seqs.entry(message.0).or_default();
        *seq = (*seq).max(outcome.modseq.map_or(0, ModSeq::value));
        Ok(())
    }

    async fn expunge(&self, message: (AccountId, Uid)) -> Result<(), StoreError> {
        self.known.lock().unwrap().messages.get_mut(&message).unwrap().presence = Presence::Possible;
        let account = self.store.account(message.0).await?;
        let inbox = account.state().inbox().unwrap().id;
        account.expunge(inbox, vec![message.1]).await?;
        self.known.lock().unwrap().messages.get_mut(&message).unwrap().presence = Presence::Gone;
        Ok(())
    }
}

/// Compares the store with what was acknowledged; then what it holds is what is known.
async fn verify(store: &Store, accounts: &[AccountId], known: &mut Acknowledged) -> Result<(), String> {
    for &id in accounts {
        verify_account(store, id, known).await?;
    }
    verify_queue(store, known)?;
    verify_directory(store, accounts, known)?;
    known.unclear.clear();
    let problems = store.check().await.map_err(text)?;
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

async fn verify_account(store: &Store, id: AccountId, known: &mut Acknowledged) -> Result<(), String> {
    let account = store.account(id).await.map_err(text)?;
    let state = account.state();
    let inbox = state.inbox().ok_or("no INBOX")?.id;
    let selection = account.select(inbox).await.map_err(text)?;
    let mailbox = selection.state().ok_or("no INBOX")?;
    if state.seq < known.seqs.get(&id).copied().unwrap_or(0) {
        return Err(format!("MODSEQ of account {id} went back"));
    }
    let (mut found, mut bodies) = (BTreeMap::new(), BTreeSet::new());
    for row in mailbox.rows() {
        let octets = store.read(&row.content, 0, u64::MAX).await.map_err(text)?;
        let body = octets.strip_prefix(b"Return-Path: <>\r\n\r\n").ok_or("other octets")?.to_vec();
        if !bodies.insert(body.clone()) {
            return Err(format!("account {id} has a message twice"));
        }
        match known.messages.get(&(id, row.uid)) {
            Some(message) if message.presence == Presence::Gone => {
                return Err(format!("expunged UID {} is back", row.uid));
            }
            Some(message) if message.body != body => return Err(format!("UID {} has other octets", row.uid)),
            Some(message) if message.flags.is_some_and(|flags| flags != row.flags) => {
                return Err(format!("UID {} has other flags", row.uid));
            }
            Some(_) => {}
            None if known.unclear.contains(&body) => {}
            None => return Err(format!("UID {} comes from nowhere", row.uid)),
        }
        found.insert((id, row.uid), Known { body, flags: Some(row.flags), presence: Presence::Certain });
    }
    for (key, message) in known.messages.iter_mut().filter(|(key, _)| key.0 == id && !found.contains_key(key))
    {
        match message.presence {
            Presence::Certain => return Err(format!("account {id} lost UID {}", key.1)),
            Presence::Possible | Presence::Gone => message.presence = Presence::Gone,
        }
    }
    let largest = known.messages.keys().filter(|key| key.0 == id).map(|key| key.1).max();
    if largest.is_some_and(|largest| mailbox.uid_next <= largest) {
        return Err("a UID can be reused".into());
    }
    known.messages.extend(found);
    known.seqs.insert(id, state.seq);
    Ok(())
}

fn verify_queue(store: &Store, known: &mut Acknowledged) -> Result<(), String> {
    let found: BTreeSet<EntryId> = store.queue().iter().map(|entry| entry.id).collect();
    for (id, presence) in &mut known.queue {
        match (found.contains(id), *presence) {
            (false, Presence::Certain) => return Err(format!("queue entry {id} is lost")),
            (true, Presence::Gone) => return Err(format!("queue entry {id} is back")),
            (there, _) => *presence = if there { Presence::Certain } else { Presence::Gone },
        }
    }
    match found.iter().find(|id| !known.queue.contains_key(id)) {
        Some(id) => Err(format!("queue entry {id} comes from nowhere")),
        None => Ok(()),
    }
}

fn verify_directory(store: &Store, accounts: &[AccountId], known: &Acknowledged) -> Result<(), String> {
    let directory = store.directory().borrow().clone();
    if !directory.accounts.keys().eq(accounts) {
        return Err("the accounts are others".into());
    }
    for (account, step) in &known.codes {
        if directory.used_codes.get(account).is_none_or(|used| used < step) {
            return Err(format!("account {account} can use a code again"));
        }
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn text(error: StoreError) -> String {
    error.to_string()
}

/// Opens the store, with the power going off once or not during it.
async fn open(directory: &Path, disk: &Simulated, random: &mut Random) -> Result<Store, String> {
    if random.below(3) == 0 {
        disk.power_off_after(1 + random.below(30));
        if let Ok(store) = Store::open(options(directory, disk)).await {
            store.close().await;
        }
        disk.crash(random.below(u64::MAX));
    }
    Store::open(options(directory, disk)).await.map_err(text)
}

/// One seed: what went wrong.
async fn run(seed: u64, sync_is_noop: bool) -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let disk = Simulated::new(seed);
    let mut random = Random::new(seed);
    let mut store = Store::open(options(directory.path(), &disk)).await.map_err(text)?;
    let mut accounts = Vec::new();
    for name in ["user1", "user2"] {
        let new = NewAccount {
            address: address(name),
            source: AccountSource::Store,
            password_hash: None,
            scram_verifiers: Vec::new(),
            quota_bytes: None,
        };
        let account = store.create_account(new).await.map_err(text)?;
        store.set_totp(account, Some(TotpSecret(vec![7; 20]))).await.map_err(text)?;
        accounts.push(account);
    }
    disk.set_sync_is_noop(sync_is_noop);
    let known = Arc::new(Mutex::new(Acknowledged::default()));
    for cut in 0..CUTS {
        disk.power_off_after(1 + random.below(100));
        let writer = |number: usize| Writer {
            store: store.clone(),
            accounts: accounts.clone(),
            random: Random::new(seed * 1000 + cut * 100 + number as u64),
            name: format!("{seed}.{cut}.{number}"),
            known: Arc::clone(&known),
            own: Vec::new(),
            queued: Vec::new(),
        };
        let writers = if seed.is_multiple_of(ALONE_EVERY) { 1 } else { WRITERS };
        let writers: Vec<_> = (0..writers).map(|number| tokio::spawn(writer(number).run())).collect();
        for writer in writers {
            writer.await.map_err(|error| error.to_string())?;
        }
        store.close().await;
        disk.crash(random.below(u64::MAX));
        store = open(directory.path(), &disk, &mut random).await?;
        let mut now = std::mem::take(&mut *known.lock().unwrap());
        let verified = verify(&store, &accounts, &mut now).await;
        *known.lock().unwrap() = now;
        if verified.is_err() {
            store.close().await;
            return verified;
        }
    }
    store.close().await;
    Ok(())
}

fn seeds() -> u64 {
    std::env::var("WAYPOST_CUT_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000)
}

/// Runs seeds on two threads; those that failed, with what went wrong.
fn run_all(seeds: u64, sync_is_noop: bool) -> Vec<(u64, String)> {
    let (next, failed) = (AtomicU64::new(1), Mutex::new(Vec::new()));
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > seeds {
                return;
            }
            if let Err(error) = runtime.block_on(run(seed, sync_is_noop)) {
                failed.lock().unwrap().push((seed, error));
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    failed.into_inner().unwrap()
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    let failed = run_all(seeds(), false);
    assert!(failed.is_empty(), "{} seeds failed: {:#?}", failed.len(), &failed[..failed.len().min(10)]);
}

#[test]
fn without_syncs_the_check_fails() {
    let failed = run_all(10, true);
    assert!(
        failed.len() > 5,
        "syncs that do nothing went unnoticed: only {} of 10 seeds failed",
        failed.len()
    );
}
