//! Sessions that change one mailbox at the same moment, each with a client that believes what it is told: in the end all know it as
//! it is. What happens in which order is open, so a seed repeats only what each session asks for; `model` has the steps one by one.

use std::collections::BTreeSet;

use super::{
    model::{Marks, marks, written},
    resync::qresync::{between, uids},
    *,
};
use crate::testing::Random;

const SESSIONS: u64 = 4;
const COMMANDS: usize = 40;
const MESSAGE: &str = "A: b\r\n\r\nc\r\n";

/// A client: UID, where it was told, and flags of each number.
struct Believer {
    client: Client,
    random: Random,
    number: u64,
    qresync: bool,
    messages: Vec<(Option<u32>, Option<Marks>)>,
    gone: BTreeSet<u32>,
    expunges: usize,
}

impl Believer {
    async fn new(world: &World, seed: u64) -> Self {
        let (number, qresync) = (seed % SESSIONS, seed % 2 == 1);
        let mut client = world.login().await;
        if qresync {
            client.ok("ENABLE QRESYNC").await;
        }
        let selected = client.ok("SELECT INBOX").await;
        let (random, messages, gone) = (Random::new(seed), Vec::new(), BTreeSet::new());
        let mut believer = Self { client, random, number, qresync, messages, gone, expunges: 0 };
        // Others are at work already: behind what SELECT says stands what changed meanwhile.
        selected.lines().filter(|line| *line != "* 0 EXISTS").for_each(|line| believer.hear(line));
        believer.ask_for_all().await;
        believer
    }

    /// Afterwards it knows UID and flags of all that it was told of.
    async fn ask_for_all(&mut self) {
        self.run("UID FETCH 1:* (FLAGS)", Expunges::Report).await;
        while self.messages.iter().any(|(uid, _)| uid.is_none()) {
            self.run("UID FETCH 1:* (FLAGS)", Expunges::Report).await;
        }
    }

    async fn work(mut self) -> Self {
        for _ in 0..COMMANDS {
            let count = self.messages.len();
            let number = if count == 0 { 0 } else { 1 + self.random.below(count) };
            let names: Marks = ["\\Seen", "\\Flagged", "\\Deleted", "work"]
                .iter()
                .filter(|_| self.random.below(3) == 0)
                .map(|name| (*name).to_owned())
                .collect();
            match self.random.below(10) {
                0 | 1 => {
                    let append =
                        format!("APPEND INBOX ({}) {{{}+}}\r\n{MESSAGE}", written(&names), MESSAGE.len());
                    self.run(&append, Expunges::Report).await;
                }
                2..=4 if count > 0 => self.store(number, &names).await,
                5 => self.run("EXPUNGE", Expunges::Report).await,
                6 if count > 0 => self.run(&format!("FETCH {number}:* (UID FLAGS)"), Expunges::Hold).await,
                7 if count > 0 => self.run(&format!("MOVE {number} INBOX"), Expunges::Report).await,
                8 => self.run("SEARCH DELETED", Expunges::Hold).await,
                _ => self.run("NOOP", Expunges::Report).await,
            }
        }
        self
    }

    async fn store(&mut self, number: usize, names: &Marks) {
        let silent = self.random.below(2) == 0;
        if silent && let Some(known) = &mut self.messages[number - 1].1 {
            // What it takes for granted.
            known.extend(names.iter().cloned());
        }
        let dot = if silent { ".SILENT" } else { "" };
        self.run(&format!("STORE {number} +FLAGS{dot} ({})", written(names)), Expunges::Hold).await;
    }

    async fn run(&mut self, text: &str, expunges: Expunges) {
        let (untagged, tagged) = self.client.command(text).await;
        println!("{} C: {text}\n{untagged}{tagged}", self.number);
        assert!(tagged.starts_with("OK") || tagged.starts_with("NO [EXPUNGEISSUED]"), "{text}: {tagged}");
        for line in untagged.lines() {
            let is_expunge = line.starts_with("* VANISHED ") || line.ends_with(" EXPUNGE");
            assert!(expunges == Expunges::Report || !is_expunge, "{text}: {line}");
            self.hear(line);
        }
        let known: Vec<u32> = self.messages.iter().filter_map(|(uid, _)| *uid).collect();
        assert!(known.is_sorted_by(|one, next| one < next), "{text}: {known:?}");
    }

    fn hear(&mut self, line: &str) {
        if let Some(set) = line.strip_prefix("* VANISHED ") {
            assert!(self.qresync, "{line}");
            for uid in uids(set) {
                let known = self.messages.iter().position(|(known, _)| *known == Some(uid));
                let smaller = |(known, _): &(Option<u32>, _)| known.is_some_and(|known| known < uid);
                let behind = || self.messages.iter().rposition(smaller).map_or(0, |before| before + 1);
                let (removed, _) = self.messages.remove(known.unwrap_or_else(behind));
                assert!(removed.is_none_or(|removed| removed == uid), "{line}: {removed:?}");
                self.gone.insert(uid);
                self.expunges += 1;
            }
        } else if let Some(number) = between(line, "* ", " EXPUNGE") {
            assert!(!self.qresync, "{line}");
            let (removed, _) = self.messages.remove(number.parse::<usize>().unwrap() - 1);
            self.gone.extend(removed);
            self.expunges += 1;
        } else if let Some(exists) = between(line, "* ", " EXISTS") {
            let exists = exists.parse().unwrap();
            assert!(exists > self.messages.len(), "{line}");
            self.messages.resize(exists, (None, None));
        } else if let Some(number) = between(line, "* ", " FETCH (") {
            let message = &mut self.messages[number.parse::<usize>().unwrap() - 1];
            if let Some(uid) = between(line, "UID ", " ") {
                let uid = uid.parse().unwrap();
                assert!(message.0.replace(uid).is_none_or(|known| known == uid), "{line}: {message:?}");
                assert!(!self.gone.contains(&uid), "{line}: it was gone");
            }
            if let Some(flags) = between(line, "FLAGS (", ")") {
                message.1 = Some(marks(flags));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_at_the_same_moment_agree_in_the_end() {
    let mut expunges = 0;
    for seed in testing::seeds(12) {
        println!("seed {seed}");
        let world = world().await;
        world.deliver(&[MESSAGE; 20]).await;
        let mut working = Vec::new();
        for number in 0..SESSIONS {
            let believer = Believer::new(&world, seed * SESSIONS + number).await;
            working.push(tokio::spawn(believer.work()));
        }
        let mut all = Vec::new();
        for believer in working {
            all.push(believer.await.unwrap());
        }
        let account = world.context.store.account(world.account).await.unwrap();
        let inbox = account.state().inbox().unwrap().id;
        let state = account.select(inbox).await.unwrap().state().unwrap();
        let there: Vec<(Option<u32>, Option<Marks>)> = state
            .rows()
            .map(|row| (Some(row.uid.value()), Some(marks(&state.flags(row).to_string()))))
            .collect();
        for believer in &mut all {
            // What was told before is not asked for again: only of what is new a client knows nothing.
            believer.run("NOOP", Expunges::Report).await;
            let told: Vec<_> = believer.messages.iter().map(|(uid, flags)| (*uid, flags.clone())).collect();
            assert_eq!(told.len(), there.len());
            for ((uid, flags), there) in told.iter().zip(&there) {
                assert!(uid.is_none() || *uid == there.0, "{uid:?} is {there:?}");
                assert!(flags.is_none() || *flags == there.1, "{uid:?} has {flags:?}, not {there:?}");
            }
            believer.ask_for_all().await;
            assert_eq!(believer.messages, there);
            expunges += believer.expunges;
        }
        assert_eq!(world.context.store.check().await.unwrap(), Vec::<String>::new());
    }
    assert!(expunges > 100, "only {expunges} were told to be gone");
}
