//! A client that keeps what it knows while it is away and comes back with QRESYNC (RFC 7162 section 6).

use std::{collections::BTreeMap, path::Path};

use waypost_mail::MailboxId;
use waypost_storage::{Account, FlagChange, FlagMode, MailboxState, Missing, Options};

use self::qresync::{Cache, Online, plain, uids};
use super::*;
use crate::testing::Random;

#[path = "../../../../tests/src/qresync.rs"]
#[allow(unreachable_pub, reason = "there it is public")]
pub(super) mod qresync;

/// What a server does wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Broken {
    Nothing,
    VanishedEarlier,
    Vanished,
    Flags,
    /// Claims that all was told up to a modification sequence that is to come.
    HighestModSeq,
}

impl Broken {
    /// What such a server says of that.
    fn said(self, line: &str) -> Option<String> {
        let forgets = match self {
            Self::Nothing => false,
            Self::VanishedEarlier => line.starts_with("* VANISHED (EARLIER)"),
            Self::Vanished => line.starts_with("* VANISHED") && !line.contains("EARLIER"),
            Self::Flags => line.contains(" FETCH (") && line.contains("\\Flagged"),
            Self::HighestModSeq => {
                let Some(modseq) = qresync::between(line, "[HIGHESTMODSEQ ", "]") else {
                    return Some(line.to_owned());
                };
                let later: u64 = modseq.parse::<u64>().unwrap() + 7;
                return Some(
                    line.replace(&format!("[HIGHESTMODSEQ {modseq}]"), &format!("[HIGHESTMODSEQ {later}]")),
                );
            }
        };
        (!forgets).then(|| line.to_owned())
    }
}

/// The client while it is connected.
struct Connected {
    client: Client,
    online: Online,
    broken: Broken,
}

impl Connected {
    async fn new(world: &World, cache: &mut Cache, random: &mut Random, broken: Broken) -> Self {
        let mut client = world.login().await;
        assert_eq!(client.ok("ENABLE QRESYNC").await, "* ENABLED QRESYNC\r\n");
        let mut connected = Self { client, online: Online::default(), broken };
        let (select, before) = (cache.select(|bound| random.below(bound)), cache.modseq);
        connected.command(cache, &select).await;
        connected.online.selected(cache, before);
        connected.complete(cache).await;
        connected
    }

    async fn command(&mut self, cache: &mut Cache, text: &str) {
        let (untagged, tagged) = self.client.command(text).await;
        assert!(!tagged.starts_with("BAD"), "{text}: {tagged}");
        println!("C: {text}\n{untagged}{tagged}");
        let lines = untagged.lines().filter_map(|line| self.broken.said(line));
        lines.for_each(|line| self.online.hear(cache, &line));
        self.online.tagged(cache, &tagged);
    }

    /// Hears only some lines of a command before the connection is lost.
    async fn broken(mut self, cache: &mut Cache, text: &str, lines: usize) {
        self.client.send(&format!("broken {text}\r\n")).await;
        for _ in 0..lines {
            let line = self.client.until("\r\n").await;
            print!("C: {text}\n{line}");
            if line.starts_with("broken ") {
                return self.online.tagged(cache, &line);
            }
            self.online.hear(cache, line.trim_end());
        }
        // The command goes on without it.
        let Client { stream, session, .. } = self.client;
        drop(stream);
        session.await.unwrap();
    }

    async fn complete(&mut self, cache: &mut Cache) {
        self.command(cache, &Online::ask_for_new(cache)).await;
        assert!(self.online.complete(cache), "{:?}", self.online);
    }
}

/// What the client knows is what the server has.
fn check(cache: &Cache, server: &MailboxState) {
    let expected: BTreeMap<u32, (String, u64)> = server
        .rows()
        .map(|row| {
            let flags = plain(&server.flags(row).to_string());
            (row.uid.value(), (flags, row.modseq.value()))
        })
        .collect();
    assert_eq!(cache.messages, expected);
    assert!(cache.modseq <= server.highest_modseq.value());
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

async fn run(seed: u64, broken: Broken) {
    let mut random = Random::new(seed);
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
        let mut connected = Connected::new(&world, &mut cache, &mut random, broken).await;
        check(&cache, &world.mailbox(inbox).await.1);
        for _ in 0..random.below(8) {
            if random.below(2) == 0 {
                world.disturb(inbox, other, &mut random).await;
            }
            let text = command(&mut random, &cache, connected.online.numbers.len());
            connected.command(&mut cache, &text).await;
        }
        match random.below(3) {
            0 => {
                connected.command(&mut cache, "NOOP").await;
                connected.complete(&mut cache).await;
                check(&cache, &world.mailbox(inbox).await.1);
            }
            1 => {
                world.disturb(inbox, other, &mut random).await;
                let text = command(&mut random, &cache, connected.online.numbers.len());
                connected.broken(&mut cache, &text, random.below(5)).await;
            }
            _ => {}
        }
    }
    Connected::new(&world, &mut cache, &mut random, broken).await;
    check(&cache, &world.mailbox(inbox).await.1);
    assert_eq!(world.context.store.check().await.unwrap(), Vec::<String>::new(), "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_back_misses_nothing() {
    for seed in testing::seeds(8) {
        println!("seed {seed}, again with WAYPOST_MODEL_SEED={seed}");
        run(seed, Broken::Nothing).await;
    }
}

/// Negative controls: the client's copy is not the mailbox, and that is noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgets_is_found_out() {
    for broken in [Broken::VanishedEarlier, Broken::Vanished, Broken::Flags, Broken::HighestModSeq] {
        let mut found = false;
        for seed in 1..=12 {
            found = found || tokio::spawn(run(seed, broken)).await.is_err_and(|error| error.is_panic());
        }
        assert!(found, "{broken:?}");
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
