//! Bit rot: one octet of any file is another one. `WAYPOST_ROT_STEP=97 cargo test -p waypost-tests --test faults rot`
//!
//! Small stores: closed in order, as a kill leaves one, compacted. In a fresh copy of them one octet is changed at each
//! step. The store must open; each message is as it was, or what was damaged is named: the entry, the offsets that hold it,
//! or the body file. Rows that the index holds rotten cost nothing at all.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use waypost_mail::{AccountId, AccountSource, Address, DateTime, Flags, ReversePath, SystemFlags};
use waypost_message::Structure;
use waypost_storage::{
    Acceptance, Delivery, FlagChange, FlagMode, Missing, NewAccount, Options, Relay, RelayRecipient, Store,
};

use crate::{
    block::say,
    count,
    doctor::{MESSAGE_ADDED, frames, pass_over_last},
    load::Random,
    seed,
};

const SEGMENT_BYTES: u64 = 64 * 1024;
const MESSAGES: usize = 36;
/// Stream kind of an account's records.
const ACCOUNT_STREAM: u8 = 3;
const HEAD_BYTES: usize = 64;
/// Cases of the short run.
const CASES: u64 = 300;

/// Everything that a store shows: what it is, and its value.
type Shown = BTreeMap<String, String>;

/// A store's files, and what it shows.
struct Sample {
    name: String,
    files: Vec<(PathBuf, Vec<u8>)>,
    shown: Shown,
    /// UIDVALIDITY and UIDNEXT of each mailbox.
    next: BTreeMap<String, (u32, u32)>,
    killed: bool,
}

/// How a store is left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Left {
    Closed,
    CutOff,
    /// Much is expunged, what it held is given back, and it is closed.
    Compacted,
}

fn options(folder: &Path) -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        checkpoint_records: 40,
        retention: Duration::ZERO,
        ..Options::new(folder)
    }
}

async fn accept(store: &Store, number: usize, to: &[AccountId], relay: bool) {
    let length = if number == 5 { 300_000 } else { number * 977 % 9_000 + 50 };
    let body: Vec<u8> = (0..length).map(|at| (at * 7 + number) as u8).collect();
    let mut writer = store.body_writer();
    writer.write(&body).await.unwrap();
    let delivery = |account: &AccountId| Delivery {
        account: *account,
        mailbox: None,
        prefix: b"Return-Path: <>\r\n".to_vec(),
        flags: Flags::default(),
        internal_date: DateTime { seconds: 1_700_000_000, offset_minutes: 0 },
    };
    let far = RelayRecipient::new(Address::parse("far@b.test").unwrap());
    let relay = relay.then(|| Relay::new(ReversePath::Null, vec![far]));
    let acceptance = Acceptance {
        id: store.new_entry_id(),
        header: Bytes::from(format!("Subject: {number}\r\n\r\n")),
        body: writer.finish().await.unwrap(),
        structure: Structure::default(),
        local: to.iter().map(delivery).collect(),
        relay,
    };
    store.accept(acceptance).await.unwrap();
}

/// Writes messages, flags, mailboxes, copies, moves, expunges and queue entries.
async fn fill(store: &Store) {
    let mut accounts = Vec::new();
    for name in ["alice", "bob"] {
        let address = Address::parse(&format!("{name}@a.test")).unwrap();
        let new = NewAccount {
            address,
            source: AccountSource::Store,
            password_hash: None,
            scram_verifiers: Vec::new(),
            quota_bytes: None,
        };
        accounts.push(store.create_account(new).await.unwrap());
    }
    for number in 0..MESSAGES {
        accept(store, number, &accounts[..1 + number % 2], number % 9 == 4).await;
        if number % 6 != 5 {
            continue;
        }
        let account = store.account(accounts[number / 6 % 2]).await.unwrap();
        let inbox = account.state().inbox().unwrap().id;
        let made = account.create_mailbox(&format!("Work/{number}"), None).await.unwrap();
        let selection = account.select(inbox).await.unwrap();
        let uids: Vec<_> = selection.state().unwrap().rows().map(|row| row.uid).collect();
        let flags = Flags::from(SystemFlags::SEEN);
        let change = FlagChange { mode: FlagMode::Add, flags, unchanged_since: None };
        account.change_flags(inbox, uids.iter().copied().step_by(2).collect(), change).await.unwrap();
        account.copy(inbox, uids[..1].to_vec(), made, Missing::Refused).await.unwrap();
        account.move_to(inbox, uids[1..2].to_vec(), made, Missing::Refused).await.unwrap();
        account.expunge(inbox, uids[2..3].to_vec()).await.unwrap();
    }
}

/// All that a store shows, without what cannot be read.
async fn show(store: &Store) -> (Shown, BTreeMap<String, (u32, u32)>) {
    let (mut shown, mut next) = (Shown::new(), BTreeMap::new());
    let accounts: Vec<_> = store.directory().borrow().accounts.values().cloned().collect();
    for record in accounts {
        shown.insert(format!("account {}", record.address), record.id.to_string());
        let Ok(account) = store.account(record.id).await else { continue };
        let state = account.state();
        for mailbox in state.mailboxes.keys() {
            let Ok(selection) = account.select(*mailbox).await else { continue };
            let state = selection.state().unwrap();
            let name = format!("{} {}", record.address, state.name);
            shown.insert(name.clone(), mailbox.to_string());
            next.insert(name.clone(), (state.uid_validity.value(), state.uid_next.value()));
            for row in state.rows() {
                let Ok(octets) = store.read(&row.content, 0, row.content.size()).await else { continue };
                let value = format!("{} {:08x}", state.flags(row), crc32c::crc32c(&octets));
                shown.insert(format!("{name} {}", row.uid), value);
            }
        }
    }
    for entry in store.queue() {
        if let Ok(octets) = store.read(&entry.content, 0, entry.content.size()).await {
            shown.insert(format!("queue {}", entry.id), format!("{:08x}", crc32c::crc32c(&octets)));
        }
    }
    (shown, next)
}

fn read_files(folder: &Path, below: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read_files(&path, below, files);
        } else {
            files.push((path.strip_prefix(below).unwrap().to_owned(), std::fs::read(&path).unwrap()));
        }
    }
}

/// Expunges most of what is in the INBOXes, and gives the space of it back.
async fn compact(store: &Store) {
    let accounts: Vec<_> = store.directory().borrow().accounts.keys().copied().collect();
    for id in accounts {
        let account = store.account(id).await.unwrap();
        let inbox = account.state().inbox().unwrap().id;
        let selection = account.select(inbox).await.unwrap();
        let uids: Vec<_> = selection.state().unwrap().rows().map(|row| row.uid).collect();
        let gone = uids.iter().enumerate().filter(|(at, _)| at % 4 != 0).map(|(_, uid)| *uid);
        account.expunge(inbox, gone.collect()).await.unwrap();
    }
    store.release_expired().await.unwrap();
    let compacted = store.compact().await.unwrap();
    assert!(compacted.segments > 0, "{compacted:?}");
}

async fn made(left: Left) -> Sample {
    let (name, killed) = (format!("{left:?}"), left == Left::CutOff);
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(options(folder.path())).await.unwrap();
    fill(&store).await;
    if left == Left::Compacted {
        // The heads are behind what is compacted.
        store.close().await;
        store = Store::open(options(folder.path())).await.unwrap();
        compact(&store).await;
    }
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    let (shown, next) = show(&store).await;
    let mut files = Vec::new();
    if killed {
        read_files(folder.path(), folder.path(), &mut files);
    }
    store.close().await;
    if !killed {
        read_files(folder.path(), folder.path(), &mut files);
    }
    Sample { name, files, shown, next, killed }
}

/// What one changed octet did.
#[derive(Debug, Default)]
struct Outcome {
    lost: usize,
    /// It was behind all that is proven: a torn end, which is cut.
    torn: bool,
    /// UIDs that were given can be given again.
    reusable: Vec<String>,
    problem: Option<String>,
}

impl Sample {
    /// Every so many octets of all files, from a place in each that differs.
    fn cases(&self, step: usize) -> Vec<(usize, usize)> {
        let of = |(at, (_, octets)): (usize, &(PathBuf, Vec<u8>))| {
            // Small files are looked at more closely.
            let step = step.min(octets.len() / 3 + 1);
            (at * 31 % step..octets.len()).step_by(step).map(move |offset| (at, offset)).collect::<Vec<_>>()
        };
        self.files.iter().enumerate().flat_map(of).collect()
    }

    async fn case(&self, file: usize, offset: usize) -> Outcome {
        let mut rotten = self.files[file].1.clone();
        rotten[offset] ^= 1 + Random::new((file * 1_000_003 + offset) as u64 + seed()).below(255) as u8;
        self.with(file, offset, &rotten).await
    }

    /// What it shows where one file holds other octets.
    async fn with(&self, file: usize, offset: usize, rotten: &[u8]) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        for (at, (path, octets)) in self.files.iter().enumerate() {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, if at == file { rotten } else { octets }).unwrap();
        }
        let store = match Store::open(options(folder.path())).await {
            Ok(store) => store,
            Err(error) => {
                return Outcome { problem: Some(format!("it does not open: {error}")), ..Outcome::default() };
            }
        };
        let (shown, next) = show(&store).await;
        let mut sentences = store.damage();
        match store.check().await {
            Ok(more) => sentences.extend(more),
            Err(error) => sentences.push(format!("check: {error}")),
        }
        store.close().await;
        self.judge(file, offset, &shown, &next, &sentences)
    }

    fn judge(
        &self,
        file: usize,
        offset: usize,
        shown: &Shown,
        next: &BTreeMap<String, (u32, u32)>,
        sentences: &[String],
    ) -> Outcome {
        let missing: Vec<_> =
            self.shown.iter().filter(|(key, value)| shown.get(*key) != Some(value)).collect();
        let reusable = self.next.iter().filter(|(name, (validity, uid))| {
            next.get(*name).is_some_and(|now| now.0 == *validity && now.1 < *uid)
        });
        let mut outcome = Outcome {
            lost: missing.len(),
            reusable: reusable.map(|(name, _)| name.clone()).collect(),
            ..Outcome::default()
        };
        if missing.is_empty() {
            return outcome;
        }
        let path = self.files[file].0.to_string_lossy().into_owned();
        outcome.torn = self.killed && self.is_unproven(file, offset);
        if !outcome.torn && !self.is_named(file, offset, sentences) {
            outcome.problem = Some(format!(
                "{path} is not named, {} differ, the first {:?} is {:?}; said: {sentences:?}",
                missing.len(),
                missing[0],
                shown.get(missing[0].0)
            ));
        }
        outcome
    }

    /// Whether no frame says that this place was durable once.
    fn is_unproven(&self, file: usize, offset: usize) -> bool {
        let path = &self.files[file].0;
        let number = |path: &Path| u64::from_str_radix(path.file_stem()?.to_str()?, 16).ok();
        let is_segment = |path: &Path| path.extension().is_some_and(|suffix| suffix == "segment");
        let Some(own) = number(path).filter(|_| is_segment(path)) else { return false };
        let proven = self.files.iter().filter(|(path, _)| is_segment(path)).flat_map(|(_, octets)| {
            frames(octets).into_iter().map(|(at, _)| {
                let field = |at: usize| u64::from_le_bytes(octets[at..at + 8].try_into().unwrap());
                (field(at + 40), field(at + 48))
            })
        });
        proven.max().is_none_or(|proven| (own, offset as u64) >= proven)
    }

    /// Whether this is the last frame of an account: behind the last checkpoint nobody else knows that it was there
    /// (`docs/reliability.md`, what is not there yet).
    fn is_last_of_an_account(&self, file: usize, offset: usize) -> bool {
        let mut last: BTreeMap<&[u8], (usize, usize)> = BTreeMap::new();
        let segments = self.files.iter().enumerate().filter(|(_, (path, _))| kind(path) == "segment");
        for (at, (_, octets)) in segments {
            for (frame, records) in frames(octets) {
                for record in records.into_iter().filter(|record| octets[*record] == ACCOUNT_STREAM) {
                    last.insert(&octets[record + 1..record + 9], (at, frame));
                }
            }
        }
        let frame = self.frame(file, offset);
        self.killed && frame.is_some_and(|frame| last.values().any(|at| *at == (file, frame)))
    }

    /// The frame that holds a place in a segment.
    fn frame(&self, file: usize, offset: usize) -> Option<usize> {
        let all = frames(&self.files[file].1);
        all.iter().rev().map(|(at, _)| *at).find(|at| *at <= offset && offset >= HEAD_BYTES)
    }

    /// Whether a sentence names what was changed: its entry, offsets around it, its body file, or its segment.
    fn is_named(&self, file: usize, offset: usize, sentences: &[String]) -> bool {
        let (path, octets) = &self.files[file];
        let text = path.to_string_lossy();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        if text.starts_with("bodies") {
            let folder = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
            let segment = u64::from_str_radix(folder, 16).unwrap();
            let name = format!("body {stem} of segment {segment}");
            let named = |sentence: &String| {
                sentence.split_once(&name).is_some_and(|(_, rest)| rest.starts_with([' ', ',']))
            };
            return sentences.iter().any(named);
        }
        if !text.ends_with(".segment") {
            return false;
        }
        let number = u64::from_str_radix(stem, 16).unwrap();
        let frame = self.frame(file, offset);
        let entry = frame.map(|at| u64::from_le_bytes(octets[at + 24..at + 32].try_into().unwrap()));
        sentences.iter().any(|sentence| {
            let by_entry = entry
                .is_some_and(|entry| sentence.contains(&format!("entry {}", waypost_mail::EntryId(entry))));
            let by_place = sentence.starts_with(&format!("segment {number}: offsets "))
                && range(sentence).is_some_and(|(from, to)| from <= offset && offset < to);
            by_entry || by_place || sentence.starts_with(&format!("segment {number} is unreadable"))
        })
    }
}

/// The offsets in a sentence.
fn range(sentence: &str) -> Option<(usize, usize)> {
    let mut words = sentence.split_once("offsets ")?.1.split(' ');
    Some((words.next()?.parse().ok()?, words.nth(1)?.parse().ok()?))
}

fn run_all(store: &Sample, cases: &[(usize, usize)]) -> Vec<(usize, usize, Outcome)> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        while let Some((file, offset)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = runtime.block_on(store.case(*file, *offset));
            done.lock().unwrap().push((*file, *offset, outcome));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    done.into_inner().unwrap()
}

/// What a file is: the folder it is in, or its suffix, or its name.
fn kind(path: &Path) -> String {
    let first = path.iter().next().unwrap().to_string_lossy().into_owned();
    let suffix = path.extension().filter(|_| first == "journal");
    suffix.map_or(first, |suffix| suffix.to_string_lossy().into_owned())
}

fn rot(store: &Sample) {
    let bytes: usize = store.files.iter().map(|(_, octets)| octets.len()).sum();
    let step = count("WAYPOST_ROT_STEP", 2 * bytes as u64 / CASES) as usize;
    let outcomes = run_all(store, &store.cases(step));
    let name = |file: usize| store.files[file].0.display();
    let problems: Vec<String> = outcomes
        .iter()
        .filter_map(|(file, offset, outcome)| {
            Some(format!("{} at {offset}: {}", name(*file), outcome.problem.as_ref()?))
        })
        .collect();
    let of = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|(_, _, outcome)| wanted(outcome)).count();
    let reusable: Vec<_> = outcomes
        .iter()
        .filter(|(_, _, outcome)| !outcome.reusable.is_empty() && !outcome.torn)
        .filter(|(file, offset, _)| !store.is_last_of_an_account(*file, *offset))
        .map(|(file, offset, outcome)| format!("{} at {offset}: {:?}", name(*file), outcome.reusable))
        .collect();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (file, ..) in &outcomes {
        *kinds.entry(kind(&store.files[*file].0)).or_default() += 1;
    }
    say(&format!(
        "rot, {}: {} cases in {} files of {bytes} octets (step {step}; {kinds:?}): {} lost nothing, {} named what is lost (at most {} rows), {} cut a torn end, {} not named; {} leave UIDs that can be given again, as the last of an account, {} others",
        store.name,
        outcomes.len(),
        store.files.len(),
        of(|outcome| outcome.lost == 0),
        of(|outcome| outcome.lost > 0 && outcome.problem.is_none() && !outcome.torn),
        outcomes.iter().map(|(_, _, outcome)| outcome.lost).max().unwrap_or(0),
        of(|outcome| outcome.torn),
        problems.len(),
        of(|outcome| !outcome.reusable.is_empty() && !outcome.torn) - reusable.len(),
        reusable.len(),
    ));
    assert!(
        problems.is_empty(),
        "{} of {}: {:#?}",
        problems.len(),
        outcomes.len(),
        &problems[..problems.len().min(10)]
    );
    assert!(reusable.is_empty(), "UIDs can be given again: {:#?}", &reusable[..reusable.len().min(10)]);
}

#[test]
fn rot_in_a_store_that_was_closed_is_never_silent() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    rot(&runtime.block_on(made(Left::Closed)));
}

#[test]
fn rot_in_a_store_that_was_cut_off_is_never_silent() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    rot(&runtime.block_on(made(Left::CutOff)));
}

#[test]
fn rot_in_a_store_that_was_compacted_is_never_silent() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    rot(&runtime.block_on(made(Left::Compacted)));
}

/// The control: a record that nobody reports and that does nothing is a loss that nobody names.
#[test]
fn rot_control_a_silent_loss_is_noticed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut sample = runtime.block_on(made(Left::CutOff));
    // All is read from the journal.
    sample.files.retain(|(path, _)| path.starts_with("journal") || path.starts_with("bodies"));
    let last = |(path, _): &(PathBuf, Vec<u8>)| path.extension().is_some_and(|suffix| suffix == "segment");
    let mut caught = 0;
    for file in (0..sample.files.len()).filter(|file| last(&sample.files[*file])) {
        let mut rotten = sample.files[file].1.clone();
        if let Some(at) = pass_over_last(&mut rotten, MESSAGE_ADDED) {
            let outcome = runtime.block_on(sample.with(file, at, &rotten));
            caught += usize::from(outcome.problem.is_some_and(|problem| problem.contains("is not named")));
        }
    }
    assert!(caught > 0, "a message was lost and nobody noticed");
    say(&format!("control: {caught} silent losses, caught"));
}
