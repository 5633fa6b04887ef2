//! A client that keeps what it knows while it is away and comes back with QRESYNC (RFC 7162 section 6).

use std::{collections::BTreeMap, path::Path};

use waypost_mail::MailboxId;
use waypost_storage::{Account, FlagChange, FlagMode, MailboxState, Missing, Options};

use super::*;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// What the client keeps.
#[derive(Debug, Default)]
struct Cache {
    validity: u32,
    /// Up to where it knows all.
    modseq: u64,
    /// Up to which UID it has asked for all messages.
    complete: u32,
    /// Flags and modification sequence of each UID.
    messages: BTreeMap<u32, (String, u64)>,
}

/// The client while it is connected.
struct Online {
    client: Client,
    /// The UID of each number, where it is known.
    numbers: Vec<Option<u32>>,
    /// What came since the last tagged response: the highest MODSEQ of a FETCH, the last HIGHESTMODSEQ.
    seen: u64,
    code: Option<u64>,
    validity: u32,
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    rest.split_once(end).map(|(found, _)| found)
}

fn uids(set: &str) -> impl Iterator<Item = u32> {
    set.trim().split(',').flat_map(|range| {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    })
}

fn plain(flags: &str) -> String {
    let mut flags: Vec<&str> = flags.split_whitespace().filter(|flag| *flag != "\\Recent").collect();
    flags.sort_unstable();
    flags.join(" ")
}

impl Online {
    fn hear(&mut self, cache: &mut Cache, line: &str) {
        if let Some(code) = between(line, "[HIGHESTMODSEQ ", "]") {
            self.code = Some(code.parse().unwrap());
        }
        if let Some(validity) = between(line, "[UIDVALIDITY ", "]") {
            self.validity = validity.parse().unwrap();
        }
        if let Some(set) = line.strip_prefix("* VANISHED (EARLIER) ") {
            cache.messages.retain(|uid, _| !uids(set).any(|gone| gone == *uid));
        } else if let Some(set) = line.strip_prefix("* VANISHED ") {
            for uid in uids(set) {
                let known = self.numbers.iter().position(|number| *number == Some(uid));
                // One whose UID it was never told is behind the last smaller one that it knows.
                let smaller = |number: &Option<u32>| number.is_some_and(|known| known < uid);
                let behind = || self.numbers.iter().rposition(smaller).map_or(0, |before| before + 1);
                let gone = self.numbers.remove(known.unwrap_or_else(behind));
                assert!(gone.is_none_or(|known| known == uid), "{line}: the number is that of {gone:?}");
                cache.messages.remove(&uid);
            }
        } else if let Some(exists) = between(line, "* ", " EXISTS") {
            let exists: usize = exists.parse().unwrap();
            assert!(exists >= self.numbers.len());
            self.numbers.resize(exists, None);
        } else if let Some(number) = between(line, "* ", " FETCH (") {
            self.fetched(cache, number.parse().unwrap(), line);
        }
    }

    fn fetched(&mut self, cache: &mut Cache, number: usize, line: &str) {
        let uid: u32 = between(line, "UID ", " ").unwrap().parse().unwrap();
        let modseq = between(line, "MODSEQ (", ")").unwrap().parse().unwrap();
        let known = self.numbers[number - 1].replace(uid);
        assert!(known.is_none_or(|known| known == uid), "{line}: the number is that of {known:?}");
        self.seen = self.seen.max(modseq);
        let message = cache.messages.entry(uid).or_default();
        message.1 = modseq;
        if let Some(flags) = between(line, "FLAGS (", ")") {
            message.0 = plain(flags);
        }
    }

    /// A tagged response came.
    fn tagged(&mut self, cache: &mut Cache, line: &str) {
        if let Some(code) = between(line, "[HIGHESTMODSEQ ", "]") {
            self.code = Some(code.parse().unwrap());
        }
        cache.modseq = self.code.take().unwrap_or(cache.modseq.max(self.seen));
        self.seen = 0;
    }

    async fn command(&mut self, cache: &mut Cache, text: &str) {
        let (untagged, tagged) = self.client.command(text).await;
        assert!(!tagged.starts_with("BAD"), "{text}: {tagged}");
        println!("C: {text}\n{untagged}{tagged}");
        untagged.lines().for_each(|line| self.hear(cache, line));
        self.tagged(cache, &tagged);
    }

    /// Hears only some lines of a command before the connection is lost.
    async fn broken(mut self, cache: &mut Cache, text: &str, lines: usize) {
        self.client.send(&format!("broken {text}\r\n")).await;
        for _ in 0..lines {
            let line = self.client.until("\r\n").await;
            print!("C: {text}\n{line}");
            if line.starts_with("broken ") {
                return self.tagged(cache, &line);
            }
            self.hear(cache, line.trim_end());
        }
        // The command goes on without it.
        let Client { stream, session, .. } = self.client;
        drop(stream);
        session.await.unwrap();
    }

    /// Asks for messages that are new.
    async fn complete(&mut self, cache: &mut Cache) {
        let text = format!("UID FETCH {}:* (FLAGS)", cache.complete + 1);
        self.command(cache, &text).await;
        let uids: Vec<u32> = cache.messages.keys().copied().collect();
        cache.complete = cache.complete.max(uids.last().copied().unwrap_or(0));
        assert_eq!(self.numbers.len(), uids.len(), "{uids:?}");
        let same =
            self.numbers.iter().zip(&uids).all(|(number, uid)| number.is_none_or(|known| known == *uid));
        assert!(same, "{:?} {uids:?}", self.numbers);
        self.numbers = uids.into_iter().map(Some).collect();
    }
}

impl Cache {
    async fn connect(&mut self, world: &World, random: &mut Random) -> Online {
        let mut client = world.login().await;
        assert_eq!(client.ok("ENABLE QRESYNC").await, "* ENABLED QRESYNC\r\n");
        let mut online = Online { client, numbers: Vec::new(), seen: 0, code: None, validity: self.validity };
        let select = self.select(random);
        let before = self.modseq;
        online.command(self, &select).await;
        assert!(self.modseq >= before, "HIGHESTMODSEQ went back");
        assert!(self.validity == 0 || self.validity == online.validity);
        self.validity = online.validity;
        online.complete(self).await;
        online
    }

    fn select(&self, random: &mut Random) -> String {
        if self.modseq == 0 {
            return "SELECT INBOX".to_owned();
        }
        let known: Vec<u32> = self.messages.keys().copied().collect();
        let mut parameters = format!("{} {}", self.validity, self.modseq);
        match random.below(3) {
            0 if !known.is_empty() => {
                let set = crate::wire::encode::sequence_set(known.iter().copied());
                parameters.push_str(&format!(" {set}"));
            }
            1 if !known.is_empty() => parameters.push_str(&format!(" 1:{}", known[known.len() - 1])),
            _ => {}
        }
        // What is not complete has no numbers that it knows.
        let whole = known.last().is_none_or(|last| *last <= self.complete);
        if whole && !known.is_empty() && random.below(2) == 0 {
            let picked: Vec<usize> = (0..known.len()).filter(|_| random.below(3) == 0).collect();
            let numbers: Vec<String> = picked.iter().map(|at| (at + 1).to_string()).collect();
            let uids: Vec<String> = picked.iter().map(|at| known[*at].to_string()).collect();
            if !picked.is_empty() {
                parameters.push_str(&format!(" ({} {})", numbers.join(","), uids.join(",")));
            }
        }
        format!("SELECT INBOX (QRESYNC ({parameters}))")
    }

    fn check(&self, server: &MailboxState) {
        let expected: BTreeMap<u32, (String, u64)> = server
            .rows()
            .map(|row| {
                let flags = plain(&server.flags(row).to_string());
                (row.uid.value(), (flags, row.modseq.value()))
            })
            .collect();
        assert_eq!(self.messages, expected);
        assert!(self.modseq <= server.highest_modseq.value());
    }
}

impl World {
    async fn mailbox(&self, id: MailboxId) -> (Account, Arc<MailboxState>) {
        let account = self.context.store.account(self.account).await.unwrap();
        let state = account.select(id).await.unwrap().state().unwrap();
        (account, state)
    }

    /// Another session changes something.
    async fn disturb(&self, inbox: MailboxId, other: MailboxId, random: &mut Random) {
        let (account, state) = self.mailbox(inbox).await;
        let share = 1 + random.below(8);
        let uids: Vec<Uid> =
            state.rows().map(|row| row.uid).filter(|_| random.below(share) == 0).take(6).collect();
        match random.below(8) {
            0..=2 => self.deliver(&vec![PLAIN; 1 + random.below(4)]).await,
            3 | 4 => {
                let mode = [FlagMode::Add, FlagMode::Remove, FlagMode::Replace][random.below(3)];
                let flags = testing::flags(["\\Seen", "\\Deleted work", "\\Flagged", ""][random.below(4)]);
                let change = FlagChange { mode, flags, unchanged_since: None };
                account.change_flags(inbox, uids, change).await.unwrap();
            }
            5 => drop(account.expunge(inbox, uids).await.unwrap()),
            6 => drop(account.move_to(inbox, uids, other, Missing::Skipped).await.unwrap()),
            _ => {
                let (_, state) = self.mailbox(other).await;
                let back = state.rows().map(|row| row.uid).take(3).collect();
                drop(account.move_to(other, back, inbox, Missing::Skipped).await.unwrap());
            }
        }
    }

    /// The store is opened again, after it was closed or as a kill leaves it; perhaps without its index.
    async fn restart(&mut self, random: &mut Random) {
        let directory = TempDir::new().unwrap();
        let killed = random.below(2) == 0;
        if !killed {
            self.context.store.close().await;
        }
        copy(self.directory.path(), directory.path());
        if killed {
            self.context.store.close().await;
        }
        if random.below(3) == 0 {
            std::fs::remove_dir_all(directory.path().join("index")).unwrap();
        }
        let store = Store::open(Options::new(directory.path())).await.unwrap();
        if random.below(3) == 0 {
            store.compact().await.unwrap();
        }
        let (sender, receiver) = watch::channel(live(config(), &store));
        self.context = Context::new(store, receiver, Authenticator::new(0));
        (self.live, self.directory) = (sender, directory);
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// A command of the client, by numbers or UIDs.
fn command(random: &mut Random, cache: &Cache, numbers: usize) -> String {
    let any = if numbers == 0 { 0 } else { 1 + random.below(numbers) };
    match random.below(9) {
        0 | 1 if any > 0 => format!("STORE {any} +FLAGS (\\Answered)"),
        2 if any > 0 => format!("STORE {any}:* -FLAGS (\\Answered work)"),
        3 if any > 0 => format!("FETCH {any} (UID FLAGS)"),
        4 => format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {} VANISHED)", cache.modseq),
        5 => "EXPUNGE".to_owned(),
        6 => "UID STORE 1:* +FLAGS (\\Deleted)".to_owned(),
        7 if any > 0 => format!("MOVE {any} Other"),
        _ => "NOOP".to_owned(),
    }
}

async fn run(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut world = world().await;
    let (inbox, other) = {
        let account = world.context.store.account(world.account).await.unwrap();
        account.create_mailbox("Other", None).await.unwrap();
        let state = account.state();
        (state.inbox().unwrap().id, state.by_name("Other").unwrap().id)
    };
    let mut cache = Cache::default();
    for _ in 0..12 {
        for _ in 0..random.below(6) {
            world.disturb(inbox, other, &mut random).await;
        }
        if random.below(4) == 0 {
            world.restart(&mut random).await;
        }
        let mut online = cache.connect(&world, &mut random).await;
        cache.check(&world.mailbox(inbox).await.1);
        for _ in 0..random.below(8) {
            if random.below(2) == 0 {
                world.disturb(inbox, other, &mut random).await;
            }
            let text = command(&mut random, &cache, online.numbers.len());
            online.command(&mut cache, &text).await;
        }
        match random.below(3) {
            0 => {
                online.command(&mut cache, "NOOP").await;
                online.complete(&mut cache).await;
                cache.check(&world.mailbox(inbox).await.1);
            }
            1 => {
                world.disturb(inbox, other, &mut random).await;
                let text = command(&mut random, &cache, online.numbers.len());
                online.broken(&mut cache, &text, random.below(5)).await;
            }
            _ => {}
        }
    }
    cache.connect(&world, &mut random).await;
    cache.check(&world.mailbox(inbox).await.1);
    assert_eq!(world.context.store.check().await.unwrap(), Vec::<String>::new(), "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_back_misses_nothing() {
    let seeds = std::env::var("WAYPOST_MODEL_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    for seed in 1..=seeds {
        run(seed).await;
    }
}

/// What vanished is forgotten: all UIDs without a message are said, but for those that the client shows to know of.
#[tokio::test]
async fn what_is_forgotten_is_said_of_all() {
    let world = world().await;
    world.deliver(&vec![PLAIN; 2100]).await;
    let account = world.context.store.account(world.account).await.unwrap();
    let state = account.state();
    let inbox = state.inbox().unwrap();
    let (validity, before) = (inbox.uid_validity, inbox.highest_modseq);
    // Each second one up to 2098.
    let even = (2..=2098).step_by(2).filter_map(Uid::new).collect();
    account.expunge(inbox.id, even).await.unwrap();
    let mut client = world.login().await;
    client.ok("ENABLE QRESYNC").await;
    let all: Vec<u32> = (2..=2098).step_by(2).collect();
    let up_to = |said: &str| -> Vec<u32> {
        said.lines().filter_map(|line| line.strip_prefix("* VANISHED (EARLIER) ")).flat_map(uids).collect()
    };
    for (more, from) in [
        ("", 2),
        (" 1:2097", 2),
        // Number 2 is UID 3, number 4 is UID 7; number 5 is UID 9, not 8.
        (" 1:2100 (2,4,5 3,7,8)", 8),
        (" (1049:1050 2097,2099)", 2100),
    ] {
        let said = client.ok(&format!("SELECT INBOX (QRESYNC ({validity} {before}{more}))")).await;
        let last = if more == " 1:2097" { 2096 } else { 2098 };
        let expected: Vec<u32> = all.iter().copied().filter(|uid| (from..=last).contains(uid)).collect();
        assert_eq!(up_to(&said), expected, "{more}");
        assert!(said.lines().all(|line| line.len() < 8192));
    }
    let said = client.ok(&format!("UID FETCH 2090:* (FLAGS) (CHANGEDSINCE {before} VANISHED)")).await;
    assert_eq!(up_to(&said), [2090, 2092, 2094, 2096, 2098]);
}
