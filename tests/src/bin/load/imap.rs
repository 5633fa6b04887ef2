//! IMAP commands of many kinds from several sessions at once, one after the other in each: as mail clients mix them.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::LocalSet;

use crate::{
    Words,
    send::{PASSWORD, address},
    smtp::Peer,
};

/// What clients do, and how often of a hundred times.
const MIX: [(Kind, u64); 9] = [
    (Kind::Select, 10),
    (Kind::Flags, 20),
    (Kind::Overview, 15),
    (Kind::Body, 20),
    (Kind::Store, 15),
    (Kind::Noop, 8),
    (Kind::Search, 4),
    (Kind::Append, 4),
    (Kind::Expunge, 4),
];

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    /// SELECT of the mailbox once more.
    Select,
    /// The flags of 50 messages.
    Flags,
    /// What a list shows of 20 messages: flags, size, envelope, structure.
    Overview,
    /// A whole message.
    Body,
    /// `\Seen` of one message.
    Store,
    Noop,
    /// SEARCH FLAGGED.
    Search,
    /// A message of some 1,000 octets.
    Append,
    /// One message is marked as deleted and goes.
    Expunge,
}

/// How long commands of each kind took.
type Times = Rc<RefCell<BTreeMap<Kind, Vec<Duration>>>>;

pub(crate) async fn run(words: &Words) -> serde_json::Value {
    let (imap, mailboxes, sessions): (SocketAddr, usize, usize) =
        (words.of("imap"), words.of("mailboxes"), words.of("sessions"));
    let times = Times::default();
    let mut clients = Vec::new();
    for number in 0..sessions {
        clients.push(Client::new(imap, number % mailboxes, number as u64 + 1).await);
    }
    let begun = Instant::now();
    let end = begun + words.seconds();
    let set = LocalSet::new();
    let work = |client: Client| {
        let times = Rc::clone(&times);
        set.spawn_local(client.work(end, times))
    };
    let tasks: Vec<_> = clients.into_iter().map(work).collect();
    set.await;
    for task in tasks {
        task.await.unwrap();
    }
    let seconds = begun.elapsed().as_secs_f64();
    let mut kinds = serde_json::Map::new();
    let mut count = 0;
    for (kind, times) in times.borrow_mut().iter_mut() {
        times.sort_unstable();
        count += times.len();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        let measured =
            serde_json::json!({ "count": times.len(), "p50": at(0.5), "p99": at(0.99), "most": at(1.0) });
        kinds.insert(format!("{kind:?}").to_lowercase(), measured);
    }
    serde_json::json!({ "commands": count, "seconds": seconds, "kinds": kinds })
}

/// A session with its mailbox selected.
struct Client {
    peer: Peer,
    state: u64,
    uid_next: u64,
}

impl Client {
    async fn new(imap: SocketAddr, mailbox: usize, seed: u64) -> Self {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut client = Self { peer: Peer::connect(imap).await, state, uid_next: 1 };
        client.peer.line().await;
        client.run(&format!("LOGIN {} {PASSWORD}", address(mailbox))).await;
        client.run("SELECT INBOX").await;
        client
    }

    async fn work(mut self, end: Instant, times: Times) {
        while Instant::now() < end {
            let kind = self.kind();
            let begun = Instant::now();
            self.obey(kind).await;
            times.borrow_mut().entry(kind).or_default().push(begun.elapsed());
        }
        self.run("LOGOUT").await;
    }

    fn random(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) % below
    }

    fn kind(&mut self) -> Kind {
        let mut left = self.random(MIX.iter().map(|(_, often)| often).sum());
        let found = MIX.iter().find(|(_, often)| {
            let here = left < *often;
            left = left.saturating_sub(*often);
            here
        });
        found.unwrap().0
    }

    async fn obey(&mut self, kind: Kind) {
        let uid = 1 + self.random(self.uid_next - 1);
        match kind {
            Kind::Select => self.run("SELECT INBOX").await,
            Kind::Flags => self.run(&format!("UID FETCH {uid}:{} (FLAGS)", uid + 49)).await,
            Kind::Overview => {
                let items = "UID FLAGS RFC822.SIZE ENVELOPE BODYSTRUCTURE";
                self.run(&format!("UID FETCH {uid}:{} ({items})", uid + 19)).await;
            }
            Kind::Body => self.run(&format!("UID FETCH {uid} (BODY.PEEK[])")).await,
            Kind::Store => {
                let sign = ["+", "-"][self.random(2) as usize];
                self.run(&format!("UID STORE {uid} {sign}FLAGS (\\Seen)")).await;
            }
            Kind::Noop => self.run("NOOP").await,
            Kind::Search => self.run("UID SEARCH FLAGGED").await,
            Kind::Append => self.append().await,
            Kind::Expunge => {
                self.run(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)")).await;
                self.run(&format!("UID EXPUNGE {uid}")).await;
            }
        }
    }

    async fn append(&mut self) {
        let line = "an answer to the letter of yesterday, which nobody had asked for\r\n";
        let message = format!("From: a@a.test\r\nSubject: a draft\r\n\r\n{}", line.repeat(14));
        self.peer.send(format!("c APPEND INBOX {{{}}}\r\n", message.len()).as_bytes()).await;
        while !self.peer.line().await.starts_with('+') {}
        self.peer.send(message.as_bytes()).await;
        self.run_out("\r\n").await;
    }

    async fn run(&mut self, command: &str) {
        self.run_out(&format!("c {command}\r\n")).await;
    }

    /// Sends octets, and reads up to the answer, which must be OK.
    async fn run_out(&mut self, octets: &str) {
        self.peer.send(octets.as_bytes()).await;
        loop {
            let line = self.peer.line().await;
            if line.starts_with("c ") {
                assert!(line.starts_with("c OK"), "{octets}: {line}");
                return;
            }
            if let Some((_, next)) = line.split_once("[UIDNEXT ") {
                self.uid_next = next.split(']').next().unwrap().parse().unwrap();
            }
            let literal = line.strip_suffix("}\r\n").and_then(|line| line.rsplit_once('{'));
            if let Some(octets) = literal.and_then(|(_, octets)| octets.parse().ok()) {
                self.peer.skip(octets).await;
            }
        }
    }
}
