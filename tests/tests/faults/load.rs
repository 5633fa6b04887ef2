//! The load: SMTP, IMAP and POP3 sessions that change a server until it is gone, each telling the ledger what it asked for
//! and what it heard.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinHandle;
use waypost_tests::{Process, SiteBuilder};

use crate::{
    client::{Imap, Pop3, Smtp},
    content::message,
    found::queue,
    hops::{Sink, silent},
    ledger::{Effect, Flags, Folder, Ledger, SILENT, SINK},
    worker::worker,
};

/// alice and bob are worked on by IMAP, carol's maildrop by POP3.
pub(crate) const ACCOUNTS: [&str; 3] = ["alice", "bob", "carol"];
/// Octets of a message that surely rides in the journal.
const SMALL_MAX: usize = 100_000;
const SENDERS: usize = 3;
const SUBMITTERS: usize = 2;
const IMAP_SESSIONS: usize = 4;
/// Flags that messages get.
pub(crate) const FLAG_SETS: [&str; 5] =
    ["", "\\Seen", "\\Seen \\Answered", "\\Flagged $Work", "\\Draft \\Flagged \\Seen"];
/// How often the queue is looked at.
const WATCH: Duration = Duration::from_millis(40);

/// Numbers by chance, the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// What stays while servers come and go: ledger, next hops, seed.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) sink: Sink,
    silent: SocketAddr,
    /// Makes names that were not used before.
    session: Arc<AtomicU64>,
    seed: u64,
}

impl Load {
    pub(crate) async fn new(seed: u64) -> Self {
        Self {
            ledger: Arc::default(),
            sink: Sink::start().await,
            silent: silent().await,
            session: Arc::default(),
            seed,
        }
    }

    /// The server that it is for; more lines for its configuration go into `more`.
    pub(crate) fn site(&self) -> SiteBuilder {
        let route = |domain: &str, at: SocketAddr| {
            format!("[[route]]\ndomain = \"{domain}\"\nnext_hop = \"{at}\"\ntls = \"none\"")
        };
        // What is deleted gives its space back at once, or stays for two weeks.
        let retention = if self.gives_space_back() { "0" } else { "14d" };
        SiteBuilder::new("a.test")
            .with(&format!("[storage]\nretention = \"{retention}\""))
            .users(&ACCOUNTS)
            .with(&route(SINK, self.sink.address))
            .with(&route(SILENT, self.silent))
            .queue("retry = [\"1s\"]")
    }

    /// Whether its server is one that retains nothing and compacts all the time.
    pub(crate) fn gives_space_back(&self) -> bool {
        !self.seed.is_multiple_of(2)
    }

    /// What the server is in a cycle: with small segments, many checkpoints and compactions, so that their moments are hit,
    /// too; or not, and every third time as in production.
    pub(crate) fn parts(&self, cycle: u64) -> &'static str {
        match (self.gives_space_back(), cycle % 3) {
            (true, _) => "segment=131072 checkpoint=100 compact=20",
            (false, 0) => "segment=1048576 checkpoint=100",
            (false, 1) => "segment=4194304 checkpoint=1000",
            (false, _) => "plain",
        }
    }

    /// Begins all sessions. They end with the server, or are ended.
    pub(crate) fn begin(&self, server: &Arc<Process>, state: PathBuf) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        let mut spawn = |kind: fn(Session) -> Work, count: usize| {
            for _ in 0..count {
                let work = kind(self.session(server));
                tasks.push(tokio::spawn(async move {
                    // Gone with the server.
                    let _gone = work.await;
                }));
            }
        };
        spawn(|session| Box::pin(sender(session)), SENDERS);
        spawn(|session| Box::pin(submitter(session)), SUBMITTERS);
        spawn(|session| Box::pin(worker(session)), IMAP_SESSIONS);
        spawn(|session| Box::pin(maildrop(session)), 1);
        let load = self.clone();
        tasks.push(tokio::spawn(async move {
            while watch(&load, &state).await.is_some() {
                tokio::time::sleep(WATCH).await;
            }
        }));
        tasks
    }

    /// One message of alice for bob and the sink, when no session is there; its name.
    pub(crate) async fn one_more(&self, server: &Arc<Process>) -> String {
        let session = self.session(server);
        let mut smtp = Smtp::submission(server).await.unwrap();
        session.submit(&mut smtp, 0, "bob", SINK).await.unwrap();
        format!("{}00000", session.name)
    }

    /// Brings one message for alice and bob from elsewhere; the last reply.
    /// `small`: one that rides in the journal.
    pub(crate) async fn bring(&self, server: &Arc<Process>, small: bool) -> String {
        let mut session = self.session(server);
        let mut name = format!("{}00000", session.name);
        while small && message(&name).len() > SMALL_MAX {
            session = self.session(server);
            name = format!("{}00000", session.name);
        }
        let mut smtp = Smtp::from_elsewhere(server).await.unwrap();
        let to = ["alice@a.test".to_owned(), "bob@a.test".to_owned()];
        let effects = vec![arrives("alice", &name), arrives("bob", &name)];
        match session.send(&mut smtp, "x@far.test", &to, &name, effects).await {
            Some(reply) => reply,
            None => {
                let refusal = session.ledger().refusals.pop().expect("an answer");
                refusal.split("; to ").next().unwrap().to_owned()
            }
        }
    }

    /// Appends one message to alice's INBOX; the answer.
    pub(crate) async fn append(&self, server: &Arc<Process>, imap: &mut Imap) -> String {
        let session = self.session(server);
        let name = format!("a{}00000", session.name);
        let effect = Effect::Added((inbox("alice"), name.clone()), Flags::new());
        let operation = session.ledger().begin(vec![effect]);
        let answer = imap.append("INBOX", "", &message(&name)).await.unwrap();
        if answer.is_ok() {
            session.ledger().acknowledge(operation);
        } else {
            session.ledger().refuse(operation, &answer.status);
            session.ledger().refusals.pop();
        }
        answer.status
    }

    /// Removes the first message of alice's INBOX; the answer.
    pub(crate) async fn expunge_first(&self, server: &Arc<Process>) -> String {
        let session = self.session(server);
        let mut imap = Imap::login(server, "alice").await.unwrap();
        let first = imap.read_mailbox("alice", "INBOX").await.unwrap().rows.swap_remove(0);
        let place = (inbox("alice"), first.message.unwrap());
        let deleted: Flags = ["\\Deleted".to_owned()].into();
        let steps = [
            (format!("UID STORE {} FLAGS (\\Deleted)", first.uid), Effect::Flagged(place.clone(), deleted)),
            (format!("UID EXPUNGE {}", first.uid), Effect::Removed(place)),
        ];
        for (command, effect) in steps {
            let operation = session.ledger().begin(vec![effect]);
            let answer = imap.run(&command).await.unwrap();
            if !answer.is_ok() {
                session.ledger().refuse(operation, &answer.status);
                session.ledger().refusals.pop();
                return answer.status;
            }
            session.ledger().acknowledge(operation);
        }
        "OK".to_owned()
    }

    fn session(&self, server: &Arc<Process>) -> Session {
        let number = self.session.fetch_add(1, Ordering::Relaxed);
        Session {
            server: Arc::clone(server),
            load: self.clone(),
            name: format!("m{number:05}n"),
            number,
            random: Random::new(self.seed * 1_000_003 + number),
        }
    }

    /// What the sink took.
    pub(crate) fn taken(&self) -> BTreeMap<String, u32> {
        self.sink.taken()
    }
}

type Work = std::pin::Pin<Box<dyn Future<Output = Option<()>> + Send>>;

/// What a session knows.
pub(crate) struct Session {
    pub(crate) server: Arc<Process>,
    pub(crate) load: Load,
    /// Begins the names of its messages.
    pub(crate) name: String,
    pub(crate) number: u64,
    pub(crate) random: Random,
}

impl Session {
    pub(crate) fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.load.ledger.lock().unwrap()
    }

    /// Sends a message in; what was said to it, once it was begun.
    async fn send(
        &self,
        smtp: &mut Smtp,
        from: &str,
        to: &[String],
        name: &str,
        effects: Vec<Effect>,
    ) -> Option<String> {
        let go = smtp.envelope(from, to).await?;
        if !go.starts_with("354") {
            self.ledger().refusals.push(go);
            return None;
        }
        let operation = self.ledger().begin(effects);
        let reply = smtp.message(&message(name)).await?;
        if !reply.starts_with("250") {
            self.ledger().refuse(operation, &reply);
            return None;
        }
        self.ledger().acknowledge(operation);
        Some(reply)
    }
}

impl Session {
    /// Submits a message of alice to one account here and one next hop.
    async fn submit(
        &self,
        smtp: &mut Smtp,
        number: usize,
        account: &str,
        domain: &'static str,
    ) -> Option<()> {
        let name = format!("{}{number:05}", self.name);
        let to = [format!("{account}@a.test"), format!("{name}@{domain}")];
        let effects = vec![arrives(account, &name), Effect::Queued(name.clone(), domain)];
        let reply = self.send(smtp, "alice@a.test", &to, &name, effects).await?;
        if let Some(entry) = reply.split(' ').nth(2) {
            self.ledger().learn_entry(&name, entry);
        }
        Some(())
    }
}

pub(crate) fn inbox(account: &str) -> Folder {
    Folder(account.to_owned(), "INBOX".to_owned())
}

fn arrives(account: &str, name: &str) -> Effect {
    Effect::Added((inbox(account), name.to_owned()), Flags::new())
}

/// Brings mail from elsewhere, half of it to several accounts: in all of them or in none.
async fn sender(mut session: Session) -> Option<()> {
    let mut smtp = Smtp::from_elsewhere(&session.server).await?;
    for number in 0.. {
        let name = format!("{}{number:05}", session.name);
        let accounts: Vec<&str> = match session.random.below(6) as usize {
            at @ 0..3 => vec![ACCOUNTS[at]],
            3 => ACCOUNTS.to_vec(),
            skipped => ACCOUNTS.into_iter().filter(|account| *account != ACCOUNTS[skipped - 4]).collect(),
        };
        let to: Vec<String> = accounts.iter().map(|account| format!("{account}@a.test")).collect();
        let effects = accounts.iter().map(|account| arrives(account, &name)).collect();
        session.send(&mut smtp, "x@far.test", &to, &name, effects).await?;
    }
    None
}

/// Submits mail of alice.
async fn submitter(mut session: Session) -> Option<()> {
    let mut smtp = Smtp::submission(&session.server).await?;
    for number in 0.. {
        let domain = if session.random.below(4) == 0 { SILENT } else { SINK };
        let account = ACCOUNTS[1 + session.random.below(2) as usize];
        session.submit(&mut smtp, number, account, domain).await?;
    }
    None
}

/// Reads carol's maildrop and empties it.
async fn maildrop(mut session: Session) -> Option<()> {
    let deleted_of_8 = if session.load.gives_space_back() { 7 } else { 4 };
    loop {
        let mut pop3 = Pop3::login(&session.server, "carol").await?;
        let mut effects = Vec::new();
        for (number, uidl) in pop3.uidl().await?.into_iter().take(8) {
            let name = pop3.message(number).await?;
            let name = name.unwrap_or_else(|wrong| panic!("{wrong}"));
            if let Some(wrong) = session.ledger().learn_uidl(&format!("carol {uidl}"), &name) {
                panic!("{wrong}");
            }
            if session.random.below(8) < deleted_of_8 {
                let reply = pop3.command(&format!("DELE {number}")).await?;
                assert!(reply.starts_with("+OK"), "{reply}");
                effects.push(Effect::Removed((inbox("carol"), name)));
            }
        }
        let operation = session.ledger().begin(effects);
        let reply = pop3.command("QUIT").await?;
        if reply.starts_with("+OK") {
            session.ledger().acknowledge(operation);
        } else {
            session.ledger().refuse(operation, &reply);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Notes what is settled: what a listing does not show any more is durable.
async fn watch(load: &Load, state: &std::path::Path) -> Option<()> {
    let open = load.ledger.lock().unwrap().unsettled();
    let listed = queue(state).await?;
    let taken = load.taken();
    let mut ledger = load.ledger.lock().unwrap();
    for (message, entry) in open {
        if !listed.iter().any(|line| line.entry == entry) {
            ledger.settled(&message, taken.get(&message).copied().unwrap_or(0));
        }
    }
    Some(())
}
