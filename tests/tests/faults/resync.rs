//! Clients that keep a mailbox over kill -9 of the server and come back with QRESYNC: in the end each knows what the server has,
//! and what was answered OK is there. `WAYPOST_RESYNC_CYCLES=N cargo test -p waypost-tests --test faults qresync`, with N kills.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use waypost_server::agent::Dialogue;
use waypost_tests::{
    Process, SiteBuilder, program,
    qresync::{Cache, Online, between, plain, uids},
    site::PASSWORD,
};

use crate::{
    block::say,
    client::Imap,
    count, end,
    load::{FLAG_SETS, Random},
    seed,
};

/// Clients that work at the mailbox at the same time.
const CLIENTS: u64 = 4;
/// Longest load of a cycle in milliseconds.
const LOAD_MAX: u64 = 400;
/// What the server is, in turn: most of the time as in production, sometimes with so many checkpoints and compactions that they are hit.
const PARTS: [&str; 3] = ["plain", "segment=131072 checkpoint=100 compact=20", "checkpoint=50"];

/// A message that the client has appended; nobody else changes it.
#[derive(Clone, Debug)]
struct Own {
    name: String,
    /// What was answered OK; `None`: it is removed.
    state: Option<String>,
}

/// What is on its way, and what becomes of the client's messages by it.
type Pending = Vec<(u32, Option<String>)>;

/// A client, connected or not.
struct Client {
    number: u64,
    cache: Cache,
    random: Random,
    own: BTreeMap<u32, Own>,
    /// What the kill met.
    pending: Pending,
    appending: Option<(String, String)>,
    appended: u64,
    done: Done,
}

/// How many commands were answered OK.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    appends: u64,
    stores: u64,
    expunges: u64,
    resyncs: u64,
    in_flight: u64,
}

/// The client while it is connected. `None` from its functions: the connection is gone.
struct Connected<'a> {
    client: &'a mut Client,
    dialogue: Dialogue,
    online: Online,
    tags: u32,
}

impl<'a> Connected<'a> {
    /// Comes back, and learns what happened meanwhile.
    async fn new(client: &'a mut Client, server: &Process) -> Option<Self> {
        let mut dialogue = Dialogue::connect(server.service("imap")[1], None).await.ok()?;
        dialogue.line().await.ok()?;
        let mut connected = Self { client, dialogue, online: Online::default(), tags: 0 };
        connected.ok(&format!("LOGIN alice@a.test \"{PASSWORD}\"")).await?;
        connected.ok("ENABLE QRESYNC").await?;
        let Client { cache, random, .. } = &mut *connected.client;
        let (select, before) = (cache.select(|bound| random.below(bound as u64) as usize), cache.modseq);
        connected.ok(&select).await?;
        connected.online.selected(&mut connected.client.cache, before);
        // The others may go on meanwhile.
        while {
            connected.ok(&Online::ask_for_new(&connected.client.cache)).await?;
            !connected.online.complete(&mut connected.client.cache)
        } {}
        connected.client.done.resyncs += 1;
        Some(connected)
    }

    /// A command that must not be refused; its tagged response. Each line is heard as it comes.
    async fn ok(&mut self, command: &str) -> Option<String> {
        self.tags += 1;
        let tag = format!("t{} ", self.tags);
        self.dialogue.send_line(&format!("{tag}{command}")).await.ok()?;
        loop {
            let line = self.dialogue.line().await.ok()?;
            match line.strip_prefix(&tag) {
                Some(tagged) => {
                    assert!(tagged.starts_with("OK"), "{command}: {tagged}");
                    self.online.tagged(&mut self.client.cache, tagged);
                    return Some(tagged.to_owned());
                }
                None => self.online.hear(&mut self.client.cache, &line),
            }
        }
    }

    /// Works until the server is gone.
    async fn work(&mut self) -> Option<()> {
        loop {
            match self.client.random.below(10) {
                0..=2 => self.append().await?,
                3..=5 => self.store().await?,
                6 | 7 => self.expunge().await?,
                8 => self.idle().await?,
                _ => drop(self.ok("NOOP").await?),
            }
        }
    }

    async fn append(&mut self) -> Option<()> {
        let client = &mut *self.client;
        client.appended += 1;
        let name = format!("c{}n{}", client.number, client.appended);
        let flags = plain(FLAG_SETS[client.random.below(5) as usize]);
        let message = message(&name);
        client.appending = Some((name.clone(), flags.clone()));
        let tagged = self.ok(&format!("APPEND INBOX ({flags}) {{{}+}}\r\n{message}", message.len())).await?;
        self.client.appending = None;
        let code = between(&tagged, "[APPENDUID ", "]").unwrap_or_else(|| panic!("{tagged}"));
        let uid = uids(code.split(' ').nth(1).unwrap()).next().unwrap();
        self.client.done.appends += 1;
        self.client.own.insert(uid, Own { name, state: Some(flags) });
        Some(())
    }

    /// Some of its own messages, by chance.
    fn picked(&mut self) -> Vec<u32> {
        let Client { random, own, .. } = &mut *self.client;
        let there = own.iter().filter(|(_, own)| own.state.is_some()).map(|(uid, _)| *uid);
        there.filter(|_| random.below(3) == 0).take(5).collect()
    }

    /// A command, and what becomes of messages by it: all of it or nothing.
    async fn change(&mut self, command: &str, pending: Pending) -> Option<()> {
        self.client.pending.clone_from(&pending);
        self.ok(command).await?;
        self.client.pending.clear();
        for (uid, state) in pending {
            self.client.own.get_mut(&uid).unwrap().state = state;
        }
        Some(())
    }

    async fn store(&mut self) -> Option<()> {
        let picked = self.picked();
        if picked.is_empty() {
            return Some(());
        }
        let flags = plain(FLAG_SETS[self.client.random.below(5) as usize]);
        let silent = if self.client.random.below(2) == 0 { ".SILENT" } else { "" };
        let command = format!("UID STORE {} FLAGS{silent} ({flags})", listed(&picked));
        let change = picked.iter().map(|uid| (*uid, Some(flags.clone()))).collect();
        self.change(&command, change).await?;
        if !silent.is_empty() {
            // RFC 7162 section 3.1.3: it knows the flags, and was told the modification sequences.
            for uid in picked {
                self.client.cache.messages.get_mut(&uid).unwrap().0.clone_from(&flags);
            }
        }
        self.client.done.stores += 1;
        Some(())
    }

    async fn expunge(&mut self) -> Option<()> {
        let picked = self.picked();
        if picked.is_empty() {
            return Some(());
        }
        let set = listed(&picked);
        let deleted = picked.iter().map(|uid| (*uid, Some("\\Deleted".to_owned()))).collect();
        self.change(&format!("UID STORE {set} FLAGS (\\Deleted)"), deleted).await?;
        let removed = picked.iter().map(|uid| (*uid, None)).collect();
        self.change(&format!("UID EXPUNGE {set}"), removed).await?;
        self.client.done.expunges += 1;
        Some(())
    }

    /// Hears what the others do.
    async fn idle(&mut self) -> Option<()> {
        self.dialogue.send_line("idle IDLE").await.ok()?;
        tokio::time::sleep(Duration::from_millis(self.client.random.below(30))).await;
        self.dialogue.send_line("DONE").await.ok()?;
        loop {
            let line = self.dialogue.line().await.ok()?;
            if let Some(tagged) = line.strip_prefix("idle ") {
                assert!(tagged.starts_with("OK"), "{line}");
                self.online.tagged(&mut self.client.cache, tagged);
                return Some(());
            }
            self.online.hear(&mut self.client.cache, &line);
        }
    }
}

impl Client {
    fn new(number: u64, seed: u64) -> Self {
        Self {
            number,
            cache: Cache::default(),
            random: Random::new(seed * 31 + number),
            own: BTreeMap::new(),
            pending: Pending::new(),
            appending: None,
            appended: 0,
            done: Done::default(),
        }
    }

    /// What the client knows, and what it was answered, is what the server shows.
    fn check(&mut self, server: &Shown, cycle: u64) {
        let known = self.cache.messages.iter().map(|(uid, message)| (*uid, message.clone())).collect();
        let shown: BTreeMap<u32, (String, u64)> =
            server.messages.iter().map(|(uid, (_, message))| (*uid, message.clone())).collect();
        assert_eq!(shown, known, "cycle {cycle}: what client {} knows", self.number);
        assert!(
            self.cache.modseq <= server.modseq,
            "cycle {cycle}: {} > {}",
            self.cache.modseq,
            server.modseq
        );
        self.settle(server);
        for (uid, own) in &self.own {
            let shown = server.messages.get(uid).map(|(name, (flags, _))| (name, flags));
            let expected = own.state.as_ref().map(|flags| (&own.name, flags));
            assert_eq!(shown, expected, "cycle {cycle}: message {uid} of client {}", self.number);
        }
        let mine = format!("c{}n", self.number);
        for (uid, (name, _)) in &server.messages {
            assert!(
                !name.starts_with(&mine) || self.own.contains_key(uid),
                "cycle {cycle}: {uid} is {name}, twice"
            );
        }
    }

    /// What was on its way happened, all of it, or did not.
    fn settle(&mut self, server: &Shown) {
        self.done.in_flight += u64::from(!self.pending.is_empty() || self.appending.is_some());
        let shown = |uid: &u32| server.messages.get(uid).map(|(_, (flags, _))| flags.clone());
        let pending = std::mem::take(&mut self.pending);
        let happened = pending.iter().all(|(uid, state)| shown(uid) == *state);
        for (uid, state) in pending.into_iter().filter(|_| happened) {
            self.own.get_mut(&uid).unwrap().state = state;
        }
        if let Some((name, flags)) = self.appending.take() {
            let found: Vec<u32> = server
                .messages
                .iter()
                .filter(|(_, (known, _))| *known == name)
                .map(|(uid, _)| *uid)
                .collect();
            assert!(found.len() <= 1, "{name} is there as {found:?}");
            self.own.extend(
                found.into_iter().map(|uid| (uid, Own { name: name.clone(), state: Some(flags.clone()) })),
            );
        }
    }
}

fn message(name: &str) -> String {
    format!("Subject: {name}\r\n\r\n{}", "text\r\n".repeat(name.len() * 3))
}

fn listed(uids: &[u32]) -> String {
    uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// What a client sees that knows nothing.
struct Shown {
    modseq: u64,
    /// Subject, flags and modification sequence of each UID.
    messages: BTreeMap<u32, (String, (String, u64))>,
}

impl Shown {
    async fn by(server: &Process) -> Self {
        let mut imap = Imap::login(server, "alice").await.unwrap();
        let selected = imap.ok("SELECT INBOX (CONDSTORE)").await.unwrap();
        let modseq = selected.number_after("[HIGHESTMODSEQ ").unwrap();
        let fetched = imap.ok("UID FETCH 1:* (FLAGS MODSEQ BODY.PEEK[])").await.unwrap();
        let mut messages = BTreeMap::new();
        for line in fetched.lines.iter().filter(|line| !line.literals.is_empty()) {
            let text = String::from_utf8(line.literals[0].clone()).unwrap();
            let name = between(&text, "Subject: ", "\r\n").unwrap().to_owned();
            assert_eq!(text, message(&name), "other octets");
            let part = |begin, end| between(&line.text, begin, end).unwrap_or_else(|| panic!("{line:?}"));
            let uid = part("UID ", " ").parse().unwrap();
            let shown = (plain(part("FLAGS (", ")")), part("MODSEQ (", ")").parse().unwrap());
            messages.insert(uid, (name, shown));
        }
        Self { modseq, messages }
    }
}

/// A server starts; all come back, and know what it has.
async fn resync(clients: &mut [Client], server: &Process, cycle: u64) {
    let shown = Shown::by(server).await;
    for client in clients {
        assert!(Connected::new(client, server).await.is_some(), "cycle {cycle}: the server went away");
        client.check(&shown, cycle);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qresync_clients_know_the_mailbox_after_kills() {
    let (cycles, seed) = (count("WAYPOST_RESYNC_CYCLES", 12), seed());
    let folder = tempfile::tempdir().unwrap();
    let config = SiteBuilder::new("a.test").write(folder.path());
    let mut random = Random::new(seed);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|number| Client::new(number, seed)).collect();
    for cycle in 0..cycles {
        let server = Process::try_serve(&program(), &config, PARTS[(cycle % 3) as usize]).await;
        let server = server.unwrap_or_else(|said| panic!("cycle {cycle} of seed {seed}: {said}"));
        resync(&mut clients, &server, cycle).await;
        let wait = Duration::from_millis(50 + random.below(LOAD_MAX));
        tokio::join!(work(&mut clients, &server), async {
            tokio::time::sleep(wait).await;
            server.signal("KILL").await;
        });
        server.kill().await;
        if random.below(4) == 0 {
            fs::remove_dir_all(folder.path().join("state/index")).unwrap();
        }
    }
    let server = Process::try_serve(&program(), &config, "plain").await.unwrap();
    resync(&mut clients, &server, cycles).await;
    end(server).await;
    sound(folder.path()).await;
    let mut all = Done::default();
    for Client { done, .. } in &clients {
        all.appends += done.appends;
        all.stores += done.stores;
        all.expunges += done.expunges;
        all.resyncs += done.resyncs;
        all.in_flight += done.in_flight;
    }
    say(&format!("qresync: seed {seed}, {cycles} kills, {all:?}, 0 problems"));
    assert!(all.appends > 0 && all.stores > 0 && all.expunges > 0, "nothing was done: {all:?}");
    assert!(2 * all.in_flight >= cycles, "the kills hit nothing: {all:?}");
}

/// All clients work until the server is gone.
async fn work(clients: &mut [Client], server: &Process) {
    let [one, two, three, four] = clients else { unreachable!("there are {CLIENTS}") };
    tokio::join!(
        until_gone(one, server),
        until_gone(two, server),
        until_gone(three, server),
        until_gone(four, server)
    );
}

async fn until_gone(client: &mut Client, server: &Process) {
    if let Some(mut connected) = Connected::new(client, server).await {
        connected.work().await;
    }
}

async fn sound(folder: &Path) {
    let store =
        waypost_storage::Store::open(waypost_storage::Options::new(folder.join("state"))).await.unwrap();
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    assert_eq!(store.damage(), Vec::<String>::new());
    store.close().await;
}
