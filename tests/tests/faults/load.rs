//! The load: SMTP, IMAP and POP3 sessions that change a server until it is gone, each telling the ledger what it asked for
//! and what it heard.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use waypost_tests::{Process, SiteBuilder};

use crate::{
    client::{Answer, Imap, Pop3, Smtp, flags},
    content::message,
    found::queue,
    ledger::{Effect, Flags, Folder, Ledger, Place, SILENT, SINK},
};

/// alice and bob are worked on by IMAP, carol's maildrop by POP3.
pub(crate) const ACCOUNTS: [&str; 3] = ["alice", "bob", "carol"];
/// Octets of a message that surely rides in the journal.
const SMALL_MAX: usize = 100_000;
const SENDERS: usize = 3;
const SUBMITTERS: usize = 2;
const IMAP_SESSIONS: usize = 4;
const FLAG_SETS: [&str; 5] =
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
        SiteBuilder::new("a.test")
            .users(&ACCOUNTS)
            .with(&route(SINK, self.sink.address))
            .with(&route(SILENT, self.silent))
            .queue("retry = [\"1s\"]")
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
        self.sink.taken.lock().unwrap().clone()
    }
}

type Work = std::pin::Pin<Box<dyn Future<Output = Option<()>> + Send>>;

/// What a session knows.
struct Session {
    server: Arc<Process>,
    load: Load,
    name: String,
    number: u64,
    random: Random,
}

impl Session {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
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

fn inbox(account: &str) -> Folder {
    Folder(account.to_owned(), "INBOX".to_owned())
}

fn arrives(account: &str, name: &str) -> Effect {
    Effect::Added((inbox(account), name.to_owned()), Flags::new())
}

/// Brings mail from elsewhere, most of it to several accounts: in all of them or in none.
async fn sender(mut session: Session) -> Option<()> {
    let mut smtp = Smtp::from_elsewhere(&session.server).await?;
    for number in 0.. {
        let name = format!("{}{number:05}", session.name);
        let skipped = session.random.below(6) as usize;
        let accounts =
            ACCOUNTS.iter().enumerate().filter(|(at, _)| *at != skipped).map(|(_, account)| *account);
        let accounts: Vec<&str> = accounts.collect();
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
    loop {
        let mut pop3 = Pop3::login(&session.server, "carol").await?;
        let mut effects = Vec::new();
        for (number, uidl) in pop3.uidl().await?.into_iter().take(4) {
            let name = pop3.message(number).await?;
            let name = name.unwrap_or_else(|wrong| panic!("{wrong}"));
            if let Some(wrong) = session.ledger().learn_uidl(&format!("carol {uidl}"), &name) {
                panic!("{wrong}");
            }
            if session.random.below(2) == 0 {
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

/// One message that a worker moves about.
struct Own {
    folder: Folder,
    name: String,
    uid: u32,
    flags: Flags,
}

impl Own {
    fn place(&self) -> Place {
        (self.folder.clone(), self.name.clone())
    }
}

struct Worker {
    session: Session,
    imap: Imap,
    account: &'static str,
    /// A mailbox of its own, and what it is called now.
    folder: Folder,
    called: String,
    selected: Option<Folder>,
    own: Vec<Own>,
}

/// Appends, flags, copies, moves, expunges, and renames its mailbox.
async fn worker(session: Session) -> Option<()> {
    let account = ACCOUNTS[session.number as usize % 2];
    let imap = Imap::login(&session.server, account).await?;
    let called = format!("work-{}", session.number);
    let folder = Folder(account.to_owned(), called.clone());
    let mut worker = Worker { session, imap, account, folder, called, selected: None, own: Vec::new() };
    worker.create().await?;
    for number in 0.. {
        match worker.session.random.below(9) {
            0 | 1 => worker.append(number).await?,
            2 => worker.claim().await?,
            3 | 4 => worker.store().await?,
            5 => worker.copy().await?,
            6 => worker.relocate().await?,
            7 => worker.expunge().await?,
            _ if number % 4 == 0 => worker.rename(number).await?,
            _ => {}
        }
    }
    None
}

impl Worker {
    /// Runs a command as an operation; its answer if it was obeyed.
    async fn operation(&mut self, command: &str, effects: Vec<Effect>) -> Option<Option<Answer>> {
        let operation = self.session.ledger().begin(effects);
        let answer = self.imap.run(command).await?;
        Some(self.end(operation, answer))
    }

    fn end(&mut self, operation: u64, answer: Answer) -> Option<Answer> {
        let mut ledger = self.session.ledger();
        if answer.is_ok() {
            ledger.acknowledge(operation);
            Some(answer)
        } else {
            ledger.refuse(operation, &answer.status);
            None
        }
    }

    async fn create(&mut self) -> Option<()> {
        let (command, effect) = (format!("CREATE {}", self.called), Effect::Created(self.folder.clone()));
        self.operation(&command, vec![effect]).await?;
        Some(())
    }

    async fn rename(&mut self, number: usize) -> Option<()> {
        let new = format!("work-{}-{number}", self.session.number);
        let command = format!("RENAME {} {new}", self.called);
        let effect = Effect::Renamed(self.folder.clone(), new.clone());
        if self.operation(&command, vec![effect]).await?.is_some() {
            self.called = new;
        }
        Some(())
    }

    fn other(&self, folder: &Folder) -> (Folder, String) {
        if *folder == self.folder {
            (inbox(self.account), "INBOX".to_owned())
        } else {
            (self.folder.clone(), self.called.clone())
        }
    }

    async fn select(&mut self, folder: &Folder) -> Option<()> {
        if self.selected.as_ref() == Some(folder) {
            return Some(());
        }
        let name = if *folder == self.folder { self.called.clone() } else { folder.1.clone() };
        let answer = self.imap.ok(&format!("SELECT {name} (CONDSTORE)")).await?;
        let modseq = answer.number_after("[HIGHESTMODSEQ ").unwrap_or(0);
        self.session.ledger().learn_modseq(folder, modseq);
        self.selected = Some(folder.clone());
        Some(())
    }

    async fn append(&mut self, number: usize) -> Option<()> {
        let name = format!("a{}{number:05}", self.session.name);
        let (folder, called) = match self.session.random.below(2) {
            0 => (inbox(self.account), "INBOX".to_owned()),
            _ => (self.folder.clone(), self.called.clone()),
        };
        let set = FLAG_SETS[self.session.random.below(5) as usize];
        let flags: Flags = set.split_whitespace().map(str::to_owned).collect();
        let mut own = Own { folder, name, uid: 0, flags };
        let effect = Effect::Added(own.place(), own.flags.clone());
        let operation = self.session.ledger().begin(vec![effect]);
        let answer = self.imap.append(&called, set, &message(&own.name)).await?;
        if let Some(answer) = self.end(operation, answer) {
            own.uid = self.learn(&own.place(), &answer, "[APPENDUID ", 2);
            self.own.push(own);
        }
        Some(())
    }

    /// Learns the UID that stands so many words behind one.
    fn learn(&self, place: &Place, answer: &Answer, word: &str, words: usize) -> u32 {
        let texts = answer.lines.iter().map(|line| &line.text).chain([&answer.status]);
        let text = texts.filter_map(|text| text.split_once(word)).map(|(_, rest)| rest).next();
        let text = text.unwrap_or_else(|| panic!("no {word} in {answer:?}"));
        let mut numbers = text[..text.find(']').unwrap()].split(' ').map(|number| number.parse().unwrap());
        let validity = numbers.next().unwrap();
        let uid = numbers.nth(words - 2).unwrap();
        self.session.ledger().learn_uid(place, validity, uid);
        uid
    }

    /// Takes a message that was delivered into its care.
    async fn claim(&mut self) -> Option<()> {
        let claimed = self.session.ledger().claim(self.account);
        let Some(name) = claimed else { return Some(()) };
        let folder = inbox(self.account);
        self.select(&folder).await?;
        // A mailbox that was selected before may show it only from the next answer on.
        self.imap.ok("NOOP").await?;
        let answer = self.imap.ok(&format!("UID SEARCH SUBJECT {name}")).await?;
        let uid = answer.word_after("* SEARCH ").and_then(|uid| uid.parse().ok());
        let Some(uid) = uid else {
            self.session
                .ledger()
                .refusals
                .push(format!("{name} was acknowledged and is not found: {answer:?}"));
            return Some(());
        };
        self.own.push(Own { folder, name, uid, flags: Flags::new() });
        Some(())
    }

    fn any(&mut self) -> Option<usize> {
        let count = self.own.len() as u64;
        (count > 0).then(|| self.session.random.below(count) as usize)
    }

    async fn store(&mut self) -> Option<()> {
        let Some(at) = self.any() else { return Some(()) };
        let set = FLAG_SETS[self.session.random.below(5) as usize];
        self.store_flags(at, set).await
    }

    async fn store_flags(&mut self, at: usize, set: &str) -> Option<()> {
        let folder = self.own[at].folder.clone();
        self.select(&folder).await?;
        let flags_now: Flags = set.split_whitespace().map(str::to_owned).collect();
        let effect = Effect::Flagged(self.own[at].place(), flags_now.clone());
        let command = format!("UID STORE {} FLAGS ({set})", self.own[at].uid);
        if let Some(answer) = self.operation(&command, vec![effect]).await? {
            let uid = format!("UID {}", self.own[at].uid);
            let lines = answer.lines.iter().filter(|line| line.text.contains(&uid));
            let shown = lines.filter_map(|line| flags(&line.text)).next_back();
            if shown.is_some_and(|shown| shown != flags_now) {
                self.session.ledger().refusals.push(format!("{command}: {answer:?}"));
            }
            if let Some(modseq) = answer.number_after("MODSEQ (") {
                self.session.ledger().learn_modseq(&folder, modseq);
            }
            self.own[at].flags = flags_now;
        }
        Some(())
    }

    /// Whether the mailbox that a message would go to has it already.
    fn has_both(&self, at: usize) -> bool {
        self.own.iter().filter(|own| own.name == self.own[at].name).count() > 1
    }

    async fn copy(&mut self) -> Option<()> {
        let Some(at) = self.any().filter(|at| !self.has_both(*at)) else { return Some(()) };
        let source = self.own[at].folder.clone();
        self.select(&source).await?;
        let (folder, called) = self.other(&source);
        let mut own =
            Own { folder, uid: 0, name: self.own[at].name.clone(), flags: self.own[at].flags.clone() };
        let effect = Effect::Added(own.place(), own.flags.clone());
        let command = format!("UID COPY {} {called}", self.own[at].uid);
        if let Some(answer) = self.operation(&command, vec![effect]).await? {
            own.uid = self.learn(&own.place(), &answer, "[COPYUID ", 3);
            self.own.push(own);
        }
        Some(())
    }

    async fn relocate(&mut self) -> Option<()> {
        let Some(at) = self.any().filter(|at| !self.has_both(*at)) else { return Some(()) };
        let source = self.own[at].folder.clone();
        self.select(&source).await?;
        let (folder, called) = self.other(&source);
        let from = self.own[at].place();
        let place = (folder.clone(), from.1.clone());
        let effects = vec![Effect::Removed(from), Effect::Added(place.clone(), self.own[at].flags.clone())];
        let command = format!("UID MOVE {} {called}", self.own[at].uid);
        if let Some(answer) = self.operation(&command, effects).await? {
            self.own[at].uid = self.learn(&place, &answer, "[COPYUID ", 3);
            self.own[at].folder = folder;
        }
        Some(())
    }

    async fn expunge(&mut self) -> Option<()> {
        let Some(at) = self.any() else { return Some(()) };
        self.store_flags(at, "\\Deleted").await?;
        let command = format!("UID EXPUNGE {}", self.own[at].uid);
        let effect = Effect::Removed(self.own[at].place());
        if self.operation(&command, vec![effect]).await?.is_some() {
            self.own.swap_remove(at);
        }
        Some(())
    }
}

/// A next hop that takes everything and counts it.
#[derive(Clone)]
pub(crate) struct Sink {
    address: SocketAddr,
    taken: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Sink {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let sink = Self { address: listener.local_addr().unwrap(), taken: Arc::default() };
        let taken = Arc::clone(&sink.taken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, Arc::clone(&taken)));
            }
        });
        sink
    }
}

async fn take(stream: TcpStream, taken: Arc<Mutex<BTreeMap<String, u32>>>) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let (mut name, mut in_data) = (String::new(), false);
    write.write_all(b"220 sink\r\n").await.ok()?;
    while let Some(line) = lines.next_line().await.ok()? {
        let reply = match (in_data, line.as_str()) {
            (true, ".") => {
                in_data = false;
                *taken.lock().unwrap().entry(std::mem::take(&mut name)).or_default() += 1;
                "250 2.0.0 mine\r\n"
            }
            (true, _) => continue,
            (false, "DATA") => {
                in_data = true;
                "354 go\r\n"
            }
            (false, "QUIT") => "221 bye\r\n",
            (false, line) => {
                if let Some(address) = line.strip_prefix("RCPT TO:<") {
                    name = address.split('@').next().unwrap_or("").to_owned();
                }
                "250 ok\r\n"
            }
        };
        write.write_all(reply.as_bytes()).await.ok()?;
    }
    None
}

/// A next hop that accepts connections and never says anything.
async fn silent() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    address
}
