//! The runner over a real store, with a server on loopback that follows a script.

use std::net::SocketAddr;

use bytes::Bytes;
use hickory_resolver::proto::rr::{RData, rdata};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use waypost_auth::Directory;
use waypost_config::{
    DnsConfig, Dnssec, DomainConfig, LimitsConfig, NextHop, QueueConfig, RouteConfig, RouteTls, SrsConfig,
    StorageConfig,
};
use waypost_mail::{
    AccountId, AccountSource, Address, BodyType, Domain, EnhancedStatus, EnvelopeId, Notify,
    OriginalRecipient, ReturnContent, ReversePath,
};
use waypost_message::Splitter;
use waypost_storage::{
    Acceptance, NewAccount, Options, Outcome, Relay, RelayRecipient, StoreError, Wishes,
    disk::{Disk, Real, Simulated},
};

use super::*;
use crate::{
    authenticity::Signers,
    dns::testing::{SignedZone, mx, tlsa},
    tls_policy::testing::{Authority, mail_server},
};

mod notices;
mod refused;
mod suppression;

/// What a server says to RCPT, and how many connections it takes.
#[derive(Clone, Debug)]
struct Peer {
    greeting: Arc<Mutex<&'static str>>,
    ehlo: &'static str,
    rcpt: Arc<Mutex<&'static str>>,
    seen: Arc<Mutex<Seen>>,
    address: SocketAddr,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    /// The MAIL commands.
    senders: Vec<String>,
    messages: Vec<String>,
    /// MAIL and RCPT.
    envelopes: Vec<String>,
}

impl Peer {
    async fn start(rcpt: &'static str) -> Self {
        Self::start_with(rcpt, "250 b").await
    }

    /// `ehlo`: its reply to EHLO.
    async fn start_with(rcpt: &'static str, ehlo: &'static str) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), rcpt, ehlo).await
    }

    async fn start_at(address: SocketAddr, rcpt: &'static str, ehlo: &'static str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let greeting = Arc::new(Mutex::new("220 b"));
        let peer = Self { greeting, ehlo, rcpt: Arc::new(Mutex::new(rcpt)), seen: Arc::default(), address };
        let server = peer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.seen.lock().unwrap().connections += 1;
                tokio::spawn(server.clone().serve(stream));
            }
        });
        peer
    }

    async fn serve(self, stream: TcpStream) {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let greeting = *self.greeting.lock().unwrap();
        write.write_all(format!("{greeting}\r\n").as_bytes()).await.unwrap();
        let mut message: Option<String> = None;
        while let Ok(Some(line)) = lines.next_line().await {
            let reply = match (&mut message, line.as_str()) {
                (Some(text), ".") => {
                    self.seen.lock().unwrap().messages.push(std::mem::take(text));
                    message = None;
                    "250 2.0.0 mine"
                }
                (Some(text), line) => {
                    *text += line;
                    *text += "\n";
                    continue;
                }
                (None, "DATA") => {
                    message = Some(String::new());
                    "354 go"
                }
                (None, line) if line.starts_with("EHLO") => self.ehlo,
                (None, line) if line.starts_with("RCPT") => {
                    self.seen.lock().unwrap().envelopes.push(line.to_owned());
                    *self.rcpt.lock().unwrap()
                }
                (None, line) if line.starts_with("MAIL") => {
                    let mut seen = self.seen.lock().unwrap();
                    seen.senders.push(line.to_owned());
                    seen.envelopes.push(line.to_owned());
                    "250 ok"
                }
                (None, "QUIT") => "221 bye",
                (None, _) => "250 ok",
            };
            write.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
        }
    }

    fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    fn senders(&self) -> Vec<String> {
        self.seen.lock().unwrap().senders.clone()
    }

    fn messages(&self) -> Vec<String> {
        self.seen.lock().unwrap().messages.clone()
    }
}

/// A store with one account, and a running queue that sends all mail to one server.
struct World {
    context: Context,
    control: Control,
    live: watch::Sender<Arc<Live>>,
    account: AccountId,
    _directory: tempfile::TempDir,
}

impl World {
    async fn start(server: SocketAddr, queue: QueueConfig) -> Self {
        Self::start_on(Arc::new(Real), server, queue).await
    }

    async fn start_on(disk: Arc<dyn Disk>, server: SocketAddr, queue: QueueConfig) -> Self {
        Self::start_with(disk, config(server, queue)).await
    }

    async fn start_with(disk: Arc<dyn Disk>, config: Config) -> Self {
        let nowhere = DnsConfig { servers: vec!["127.0.0.1:9".parse().unwrap()], ..DnsConfig::default() };
        Self::start_resolving(disk, config, Resolver::new(&nowhere).unwrap()).await
    }

    async fn start_resolving(disk: Arc<dyn Disk>, config: Config, resolver: Resolver) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { disk, segment_bytes: 1 << 20, ..Options::new(directory.path()) };
        let store = Store::open(options).await.unwrap();
        let account = NewAccount {
            address: address("s@a.test"),
            source: AccountSource::Store,
            password_hash: None,
            scram_verifiers: Vec::new(),
            quota_bytes: None,
        };
        let account = store.create_account(account).await.unwrap();
        let records: Vec<_> = store.directory().borrow().accounts.values().cloned().collect();
        let live = Live { directory: Directory::new(&config, &records).unwrap(), config: Arc::new(config) };
        let (live, watched) = watch::channel(Arc::new(live));
        let context = Context {
            store,
            live: watched,
            tls: Policies::in_memory(resolver.clone()),
            resolver,
            srs: Srs::new(&[7; 32]),
            dialler: Dialler::default(),
            random: Random::default(),
            signers: Signers::default(),
            sent: Default::default(),
            shutdown: Shutdown::new(),
        };
        let control = Control::default();
        let (running, controlled) = (context.clone(), control.clone());
        context.shutdown.spawn(async move { run_with(running, &controlled).await });
        Self { context, control, live, account, _directory: directory }
    }

    async fn submit(&self, from: ReversePath, to: &[&str]) -> EntryId {
        self.submit_text(from, to, "text\r\n").await
    }

    async fn submit_text(&self, from: ReversePath, to: &[&str], text: &str) -> EntryId {
        // `alias>target` is one that an alias leads to.
        let recipient = |to: &&str| match to.split_once('>') {
            Some((alias, to)) => {
                RelayRecipient { original: Some(address(alias)), ..RelayRecipient::new(address(to)) }
            }
            None => RelayRecipient::new(address(to)),
        };
        let recipients = to.iter().map(recipient).collect();
        self.submit_relay(from, recipients, Wishes::default(), text).await
    }

    async fn submit_relay(
        &self,
        from: ReversePath,
        recipients: Vec<RelayRecipient>,
        wishes: Wishes,
        text: &str,
    ) -> EntryId {
        self.accept(Relay { wishes, ..Relay::new(from, recipients) }, text).await
    }

    async fn submit_held(&self, from: ReversePath, to: &[&str]) -> EntryId {
        let recipients = to.iter().map(|to| RelayRecipient::new(address(to))).collect();
        self.accept(Relay { held: Some("test".to_owned()), ..Relay::new(from, recipients) }, "text\r\n").await
    }

    async fn accept(&self, relay: Relay, text: &str) -> EntryId {
        self.accept_octets(relay, "Subject: hello\r\n\r\n", text).await
    }

    /// `{id}` in the header block stands for the name of the message.
    async fn accept_octets(&self, relay: Relay, header: &str, text: &str) -> EntryId {
        let store = &self.context.store;
        let id = store.new_entry_id();
        let header = header.replace("{id}", &id.to_string());
        let mut body = store.body_writer();
        body.write(text.as_bytes()).await.unwrap();
        let acceptance = Acceptance {
            id,
            header: Bytes::copy_from_slice(header.as_bytes()),
            body: body.finish().await.unwrap(),
            structure: Splitter::split(format!("{header}{text}").as_bytes()),
            local: Vec::new(),
            relay: Some(relay),
        };
        store.accept(acceptance).await.unwrap().id
    }

    /// Waits until so many messages wait, and none is under way.
    async fn until_waiting(&self, count: usize) {
        let waiting = || self.control.destinations().iter().map(|site| site.waiting).sum::<usize>();
        self.until("all wait", |_| waiting() == count).await;
    }

    /// Waits until something is so.
    async fn until(&self, what: &str, so: impl Fn(&Store) -> bool) {
        for _ in 0..500 {
            if so(&self.context.store) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: {:?}", self.context.store.queue());
    }

    async fn until_empty(&self) {
        self.until("the queue is empty", |store| store.queue().is_empty()).await;
    }

    async fn until_tried(&self, id: EntryId, tries: u32) {
        let tried = |store: &Store| store.queue_entry(id).is_some_and(|entry| entry.attempts >= tries);
        self.until("the entry was tried", tried).await;
    }

    /// The text of all messages in INBOX.
    async fn inbox(&self) -> Vec<String> {
        let store = &self.context.store;
        let account = store.account(self.account).await.unwrap();
        let state = account.state();
        let inbox = state.mailboxes.values().find(|mailbox| mailbox.name == "INBOX").unwrap();
        let selection = account.select(inbox.id).await.unwrap().state().unwrap();
        let mut texts = Vec::new();
        for row in selection.rows() {
            let octets = store.read(&row.content, 0, u64::MAX).await.unwrap();
            texts.push(String::from_utf8(octets.to_vec()).unwrap());
        }
        texts
    }

    async fn stop(self) {
        assert!(self.context.shutdown.drain(Duration::from_secs(5)).await);
        assert_eq!(self.context.store.check().await.unwrap(), Vec::<String>::new());
        self.context.store.close().await;
    }
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn sender() -> ReversePath {
    ReversePath::Address(address("s@a.test"))
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn queue() -> QueueConfig {
    QueueConfig { retry: vec![DAY], warn_after: DAY, ..QueueConfig::default() }
}

fn config(server: SocketAddr, queue: QueueConfig) -> Config {
    let next_hop = NextHop::server(server.ip().to_string(), server.port());
    let domain = DomainConfig {
        name: Domain::new("a.test").unwrap(),
        catch_all: None,
        separator: None,
        relay_to: None,
        dkim: true,
        mta_sts: Default::default(),
        pop3: Default::default(),
    };
    Config {
        imap: Default::default(),
        pop3: Default::default(),
        oauth: None,
        outbound_tls: Default::default(),
        hostname: Domain::new("mx.a.test").unwrap(),
        state_dir: "/nonexistent".into(),
        storage: StorageConfig { retention: Duration::ZERO },
        tls: None,
        listeners: Vec::new(),
        domains: vec![domain],
        accounts: Vec::new(),
        send_as: Vec::new(),
        aliases: Vec::new(),
        routes: vec![RouteConfig { tls: RouteTls::None, ..RouteConfig::new(None, next_hop) }],
        trust: Vec::new(),
        dns: DnsConfig::default(),
        queue,
        limits: LimitsConfig {
            message_size: 0,
            recipients: 0,
            connections: 0,
            connections_per_address: 0,
            auth_failures_per_minute: 0,
            error_delay: Duration::ZERO,
            priority: 4,
            future_release: Duration::ZERO,
            no_soliciting: None,
            rates: Default::default(),
        },
        srs: SrsConfig { enabled: true, domain: None },
        authenticity: Default::default(),
        dkim: Default::default(),
        reports: Default::default(),
    }
}

#[tokio::test]
async fn messages_are_delivered_at_once() {
    let peer = Peer::start("250 ok").await;
    let world = World::start(peer.address, queue()).await;
    // two domains, one next hop: one transaction
    world.submit(sender(), &["x@b.test", "y@c.test"]).await;
    world.until_empty().await;
    assert_eq!(peer.messages(), ["Subject: hello\n\ntext\n"]);
    for _ in 0..30 {
        world.submit(ReversePath::Null, &["x@b.test"]).await;
    }
    world.until_empty().await;
    assert_eq!(peer.messages().len(), 31);
    assert!(world.inbox().await.is_empty());
    world.stop().await;
}

fn asked(to: &str, notify: &str) -> RelayRecipient {
    RelayRecipient {
        notify: Some(Notify::parse(notify).unwrap()),
        orcpt: OriginalRecipient::new("rfc822;first+2Bx@far.test"),
        ..RelayRecipient::new(address(to))
    }
}

fn wishes(return_content: ReturnContent) -> Wishes {
    Wishes {
        return_content: Some(return_content),
        envelope_id: EnvelopeId::new("QQ+2B314"),
        ..Wishes::default()
    }
}

#[tokio::test]
async fn what_the_sender_asked_for_goes_on_to_a_server_that_knows_it() {
    let peer = Peer::start_with("250 ok", "250-b\r\n250 DSN").await;
    let world = World::start(peer.address, queue()).await;
    let recipients = vec![
        asked("x@b.test", "SUCCESS,FAILURE"),
        asked("y@b.test", "NEVER"),
        RelayRecipient::new(address("z@b.test")),
    ];
    world.submit_relay(sender(), recipients, wishes(ReturnContent::Headers), "text\r\n").await;
    world.until_empty().await;
    assert_eq!(
        peer.seen.lock().unwrap().envelopes,
        [
            "MAIL FROM:<s@a.test> RET=HDRS ENVID=QQ+2B314",
            "RCPT TO:<x@b.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first+2Bx@far.test",
            "RCPT TO:<y@b.test> NOTIFY=NEVER ORCPT=rfc822;first+2Bx@far.test",
            "RCPT TO:<z@b.test>",
        ]
    );
    assert!(world.inbox().await.is_empty(), "the next server tells of success");
    world.stop().await;
}

#[tokio::test]
async fn a_server_that_does_not_know_it_is_told_nothing_and_the_sender_that_it_was_relayed() {
    let peer = Peer::start("250 2.1.5 ok").await;
    let world = World::start(peer.address, queue()).await;
    let recipients =
        vec![asked("x@b.test", "SUCCESS"), asked("y@b.test", "NEVER"), asked("z@b.test", "FAILURE")];
    world.submit_relay(sender(), recipients, wishes(ReturnContent::Full), "text\r\n").await;
    world.until_empty().await;
    let envelopes = peer.seen.lock().unwrap().envelopes.clone();
    assert_eq!(envelopes[..2], ["MAIL FROM:<s@a.test>", "RCPT TO:<x@b.test>"]);
    let [told] = &world.inbox().await[..] else { panic!("one notification") };
    for line in [
        "Subject: Your mail was handed on\r\n",
        "Original-Envelope-Id: QQ+314\r\n",
        "Original-Recipient: rfc822; first+x@far.test\r\n",
        "Final-Recipient: rfc822; x@b.test\r\n",
        "Action: relayed\r\n",
        "Status: 2.0.0\r\n",
        "Content-Type: text/rfc822-headers",
    ] {
        assert!(told.contains(line), "{line:?} is not in {told}");
    }
    assert!(!told.contains("y@b.test") && !told.contains("z@b.test") && !told.contains("text\r\n\r\n"));
    world.stop().await;
}

#[tokio::test]
async fn failures_come_back_as_the_sender_wants_them() {
    let peer = Peer::start("550 5.1.1 no such user").await;
    let world = World::start(peer.address, queue()).await;
    world.submit_relay(sender(), vec![asked("x@b.test", "NEVER")], Wishes::default(), "text\r\n").await;
    world
        .submit_relay(sender(), vec![asked("x@b.test", "SUCCESS,DELAY")], Wishes::default(), "text\r\n")
        .await;
    world.until_empty().await;
    assert!(world.inbox().await.is_empty());
    let full = vec![asked("x@b.test", "FAILURE")];
    world.submit_relay(sender(), full.clone(), wishes(ReturnContent::Full), "all of it\r\n").await;
    world.until_empty().await;
    let whole = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: hello\r\n\r\nall of it\r\n";
    let told = world.inbox().await.remove(0);
    assert!(told.contains(whole), "{told}");
    // What not every server takes comes back as its header block.
    let long = "x".repeat(1_000_100);
    for text in ["b\u{fc}cher\r\n", &format!("{long}\r\n"), &"line\r\n".repeat(200_000)] {
        let before = world.inbox().await.len();
        world.submit_relay(sender(), full.clone(), wishes(ReturnContent::Full), text).await;
        world.until_empty().await;
        let told = world.inbox().await.remove(before);
        assert!(told.contains("Content-Type: text/rfc822-headers") && told.len() < 10_000);
    }
    world.stop().await;
}

#[tokio::test]
async fn what_an_alias_forwards_has_a_return_path_of_ours() {
    let peer = Peer::start("250 ok").await;
    let world = World::start(peer.address, queue()).await;
    let far = ReversePath::Address(address("x@far.test"));
    world.submit(far.clone(), &["fwd@a.test>x@b.test", "y@b.test", "fwd@a.test>z@b.test"]).await;
    world.until_empty().await;
    let mut senders = peer.senders();
    senders.sort();
    let [rewritten, plain] = &senders[..] else { panic!("{senders:?}") };
    assert_eq!(plain, "MAIL FROM:<x@far.test>");
    let path = rewritten.strip_prefix("MAIL FROM:<").and_then(|path| path.strip_suffix('>')).unwrap();
    let (path, today) = (address(path), waypost_auth::srs::day(world.context.store.now()));
    assert_eq!(path.domain.as_str(), "a.test");
    let back = world.context.srs.reverse(&path, today);
    assert_eq!(back, waypost_auth::srs::Return::To(address("x@far.test")), "{path}");
    // Our own mail, notifications, and what would be too long keep theirs.
    let long = format!("{}@far.test", "x".repeat(60));
    for from in [sender(), ReversePath::Null, ReversePath::Address(address(&long))] {
        world.submit(from.clone(), &["fwd@a.test>x@b.test"]).await;
        world.until_empty().await;
        assert_eq!(peer.senders().last().unwrap(), &format!("MAIL FROM:<{from}>"));
    }
    world.stop().await;
}

#[tokio::test]
async fn refused_messages_come_back_once_and_only_to_a_sender() {
    let peer = Peer::start("550 5.1.1 no such user").await;
    let world = World::start(peer.address, queue()).await;
    world.submit(sender(), &["x@b.test"]).await;
    world.submit(ReversePath::Null, &["x@b.test"]).await;
    world.submit(ReversePath::Address(address("nobody@a.test")), &["x@b.test"]).await;
    world.until_empty().await;
    let inbox = world.inbox().await;
    assert_eq!(inbox.len(), 1);
    assert!(inbox[0].starts_with("Return-Path: <>\r\n"), "{}", inbox[0]);
    for line in ["Final-Recipient: rfc822; x@b.test", "Status: 5.1.1", "Subject: hello"] {
        assert!(inbox[0].lines().any(|text| text == line), "{line} in {}", inbox[0]);
    }
    world.stop().await;
}

#[tokio::test]
async fn a_message_that_cannot_be_read_comes_back_without_its_header() {
    let peer = Peer::start("451 4.7.1 later").await;
    let world = World::start(peer.address, queue()).await;
    // large enough for a file of its own
    let id = world.submit_text(sender(), &["x@b.test"], &"text\r\n".repeat(100_000)).await;
    world.until_tried(id, 1).await;
    std::fs::remove_dir_all(world._directory.path().join("bodies")).unwrap();
    *peer.rcpt.lock().unwrap() = "550 5.1.1 no such user";
    world.control.retry(id).await.unwrap();
    world.until_empty().await;
    let inbox = world.inbox().await;
    assert!(inbox.len() == 1 && inbox[0].contains("Final-Recipient: rfc822; x@b.test"), "{inbox:?}");
    assert!(world.context.shutdown.drain(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn deferred_messages_wait_and_can_be_tried_now() {
    let peer = Peer::start("451 4.7.1 later").await;
    let world = World::start(peer.address, queue()).await;
    let id = world.submit(sender(), &["x@b.test"]).await;
    world.until_tried(id, 1).await;
    let entry = world.context.store.queue_entry(id).unwrap();
    assert!(
        matches!(&entry.recipients[0].outcome, Some(Outcome::Deferred { reply, .. }) if reply.code == 451)
    );
    assert!(entry.next_attempt().unwrap() > world.context.store.now().after(DAY / 2));
    *peer.rcpt.lock().unwrap() = "250 ok";
    world.control.retry(id).await.unwrap();
    world.until_empty().await;
    assert_eq!(peer.messages().len(), 1);
    assert!(world.inbox().await.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn senders_are_told_of_delay_once() {
    let peer = Peer::start("451 4.7.1 later").await;
    let world = World::start(peer.address, QueueConfig { warn_after: Duration::ZERO, ..queue() }).await;
    let id = world.submit(sender(), &["x@b.test"]).await;
    world.until_tried(id, 1).await;
    world.control.retry(id).await.unwrap();
    world.until_tried(id, 2).await;
    let inbox = world.inbox().await;
    assert_eq!(inbox.len(), 1);
    let entry = world.context.store.queue_entry(id).unwrap();
    assert!(inbox[0].contains("Action: delayed") && entry.recipients[0].warned);
    world.stop().await;
}

#[tokio::test]
async fn messages_expire() {
    let peer = Peer::start("451 4.7.1 later").await;
    let world = World::start(peer.address, QueueConfig { lifetime: Duration::ZERO, ..queue() }).await;
    world.submit(sender(), &["x@b.test"]).await;
    world.until_empty().await;
    let inbox = world.inbox().await;
    assert!(inbox[0].contains("554 5.4.7 given up; the last answer was: 451 4.7.1 later"), "{}", inbox[0]);
    world.stop().await;
}

#[tokio::test]
async fn a_dead_host_is_asked_once_and_what_waits_goes_when_it_is_back() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let world = World::start(dead, queue()).await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(world.submit(sender(), &["x@b.test"]).await);
    }
    let stood = |store: &Store| store.queue().iter().find(|entry| entry.attempts > 0).map(|entry| entry.id);
    world.until("one is tried for all", |store| stood(store).is_some()).await;
    world.until_waiting(10).await;
    let stood = stood(&world.context.store).unwrap();
    let other = ids.into_iter().find(|id| *id != stood).unwrap();
    let tried: u32 = world.context.store.queue().iter().map(|entry| entry.attempts).sum();
    assert!(tried <= 2, "{tried} tries");
    let [site] = &world.control.destinations()[..] else { panic!("one destination") };
    let (_, failures, peer, reply) = site.resting.clone().unwrap();
    assert_eq!((site.place.to_string(), failures), (dead.to_string(), 1));
    assert!(
        peer.starts_with("127.0.0.1 [") && reply.status == Some(EnhancedStatus(4, 4, 1)),
        "{peer} {reply:?}"
    );
    let peer = Peer::start_at(dead, "250 ok", "250 b").await;
    world.control.retry(other).await.unwrap();
    world.until("those that rested go", |store| store.queue().len() == 1).await;
    // the one that stood for them has a time of its own
    assert!(peer.messages().len() == 9 && world.context.store.queue()[0].id == stood);
    world.control.retry(stood).await.unwrap();
    world.until_empty().await;
    world.stop().await;
}

#[tokio::test]
async fn senders_are_told_of_what_waits_for_a_dead_host() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let soon = Duration::from_millis(300);
    let world = World::start(dead, QueueConfig { warn_after: soon, lifetime: 3 * soon, ..queue() }).await;
    for _ in 0..3 {
        world.submit(sender(), &["x@b.test"]).await;
    }
    world.until_empty().await;
    let inbox = world.inbox().await;
    let count = |text: &str| inbox.iter().filter(|message| message.contains(text)).count();
    // the one that was tried is tried next when its time is over: it is not told of before
    assert_eq!(count("Action: failed"), 3, "{inbox:?}");
    assert!((2..=3).contains(&count("Action: delayed")), "{inbox:?}");
    assert!(inbox.iter().all(|message| message.contains("no connection")), "{inbox:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_held_message_waits_until_it_is_released() {
    let peer = Peer::start("250 ok").await;
    let world = World::start(peer.address, queue()).await;
    let store = &world.context.store;
    let id = world.submit_held(sender(), &["x@b.test", "s@a.test", "nobody@a.test"]).await;
    let other = world.submit(sender(), &["x@b.test"]).await;
    world.until("the other one is sent", |store| store.queue_entry(other).is_none()).await;
    assert_eq!((store.queue_entry(id).unwrap().attempts, peer.messages().len()), (0, 1));
    store.hold(id, None).await.unwrap();
    world.until_empty().await;
    assert_eq!(peer.messages().len(), 2);
    let inbox = world.inbox().await;
    let [delivered, failed] = &inbox[..] else { panic!("{inbox:?}") };
    let (delivered, failed) =
        if failed.contains("5.1.1") { (delivered, failed) } else { (failed, delivered) };
    assert_eq!(
        delivered,
        "Return-Path: <s@a.test>\r\nDelivered-To: s@a.test\r\nSubject: hello\r\n\r\ntext\r\n"
    );
    assert!(failed.contains("Final-Recipient: rfc822; nobody@a.test\r\n"), "{failed}");
    // held by hand, and taken out
    let id = world.submit_held(sender(), &["x@b.test"]).await;
    assert_eq!(world.control.remove(id).await, Ok(Handed::Done));
    assert!(store.queue().is_empty() && world.inbox().await.len() == 2);
    assert_eq!(world.control.retry(id).await, Err(Unavailable::Store(StoreError::NoSuchEntry)));
    world.stop().await;
}

#[tokio::test]
async fn a_message_can_be_sent_back_by_hand() {
    let peer = Peer::start("451 4.7.1 later").await;
    let world = World::start(peer.address, queue()).await;
    let id = world.submit(sender(), &["x@b.test", "y@b.test"]).await;
    world.until_tried(id, 1).await;
    world.until_waiting(1).await;
    assert_eq!(world.control.bounce(id, "this address was mistyped").await, Ok(Handed::Done));
    world.until_empty().await;
    let inbox = world.inbox().await;
    assert_eq!(inbox.len(), 1);
    for text in ["Final-Recipient: rfc822; x@b.test", "Final-Recipient: rfc822; y@b.test", "mistyped"] {
        assert!(inbox[0].contains(text), "{text} in {}", inbox[0]);
    }
    assert_eq!(world.control.bounce(id, "again").await, Err(Unavailable::Store(StoreError::NoSuchEntry)));
    world.stop().await;
    let nobody = Control::default();
    assert_eq!(nobody.retry(id).await, Err(Unavailable::Stopped));
    assert!(nobody.destinations().is_empty());
}

#[tokio::test]
async fn nothing_is_sent_to_a_destination_that_is_paused() {
    let peer = Peer::start("250 ok").await;
    let world = World::start(peer.address, queue()).await;
    let (store, name) = (&world.context.store, peer.address.to_string());
    store.pause(name.clone(), true).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    world.submit(sender(), &["x@b.test"]).await;
    world.until_waiting(1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((peer.connections(), store.queue().len()), (0, 1));
    assert!(world.control.destinations()[0].is_paused);
    store.pause(name, false).await.unwrap();
    world.until_empty().await;
    assert_eq!(peer.messages().len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_message_that_is_to_be_sent_later_waits_for_its_time() {
    let peer = Peer::start("250 ok").await;
    let world = World::start(peer.address, queue()).await;
    let at = world.context.store.now().after(Duration::from_millis(400));
    let relay = Relay {
        not_before: Some(at),
        ..Relay::new(sender(), vec![RelayRecipient::new(address("x@b.test"))])
    };
    world.accept(relay, "text\r\n").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(peer.connections(), 0);
    world.until_empty().await;
    assert!(world.context.store.now() >= at && peer.messages().len() == 1);
    world.stop().await;
}

#[tokio::test]
async fn messages_keep_to_the_rate_and_the_connections_of_a_destination() {
    let peer = Peer::start("250 ok").await;
    let domain = Domain::new("b.test").unwrap();
    let queue = QueueConfig { messages_per_connection: 2, connections_per_destination: 1, ..queue() };
    let world = World::start(peer.address, queue).await;
    for _ in 0..5 {
        world.submit(sender(), &[&format!("x@{domain}")]).await;
    }
    world.until_empty().await;
    assert_eq!((peer.messages().len(), peer.connections()), (5, 3));
    world.stop().await;
}

#[tokio::test]
async fn what_waits_is_found_again_after_a_restart() {
    let peer = Peer::start("250 ok").await;
    let world = World::start(peer.address, queue()).await;
    assert!(world.context.shutdown.drain(Duration::from_secs(5)).await);
    let id = world.submit(sender(), &["x@b.test"]).await;
    assert!(world.context.store.queue_entry(id).is_some() && peer.connections() == 0);
    let context = Context { shutdown: Shutdown::new(), ..world.context.clone() };
    context.shutdown.spawn(run(context.clone()));
    world.until_empty().await;
    assert_eq!(peer.messages().len(), 1);
    assert!(context.shutdown.drain(Duration::from_secs(5)).await);
    world.stop().await;
}

#[tokio::test]
async fn nothing_is_sent_whose_outcome_cannot_be_recorded() {
    let peer = Peer::start("451 4.7.1 later").await;
    let disk = Simulated::new(1);
    let retry = vec![Duration::from_secs(1)];
    let queue = QueueConfig { retry, ..queue() };
    let world = World::start_on(Arc::new(disk.clone()), peer.address, queue).await;
    let id = world.submit(sender(), &["x@b.test"]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.submit(sender(), &["y@b.test"]).await;
    world.until_tried(id, 2).await;
    disk.fail_sync(1);
    world.until("the disk has failed", Store::is_poisoned).await;
    // What was under way ends.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let sent = peer.senders().len();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(peer.senders().len(), sent, "the other one is sent");
    world.context.shutdown.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_connection_goes_on_while_a_few_outcomes_wait_for_the_disk() {
    let peer = Peer::start("250 ok").await;
    let disk = Simulated::new(1);
    let queue = QueueConfig { connections_per_destination: 1, ..queue() };
    let world = World::start_on(Arc::new(disk.clone()), peer.address, queue).await;
    let (store, place) = (world.context.store.clone(), peer.address.to_string());
    store.pause(place.clone(), true).await.unwrap();
    for number in 0..20 {
        world.submit(sender(), &[&format!("{number}@b.test")]).await;
    }
    disk.allow_syncs(Some(1));
    store.pause(place, false).await.unwrap();
    let most = courier::UNRECORDED_MAX as usize;
    world.until("so many are sent", |_| peer.messages().len() >= most).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((peer.messages().len(), peer.senders().len()), (most, most), "no more is begun");
    assert_eq!(store.queue_len(), 20, "nothing is recorded");
    // a server that stops waits for what is recorded
    let (stopping, stopped) = (world.context.shutdown.clone(), Arc::new(tokio::sync::Notify::new()));
    let told = stopped.clone();
    tokio::spawn(async move {
        assert!(stopping.drain(Duration::from_secs(5)).await);
        told.notify_one();
    });
    assert!(tokio::time::timeout(Duration::from_millis(300), stopped.notified()).await.is_err());
    disk.allow_syncs(None);
    stopped.notified().await;
    assert_eq!((peer.messages().len(), store.queue_len(), peer.connections()), (most, 20 - most, 1));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn sleeps_end_when_an_entry_is_due() {
    let started = tokio::time::Instant::now();
    sleep_until(Some(Timestamp(0)), Timestamp(1)).await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    sleep_until(Some(Timestamp(91_000)), Timestamp(1000)).await;
    assert!((Duration::from_secs(89)..Duration::from_secs(91)).contains(&started.elapsed()));
    sleep_until(Some(Timestamp(i64::MAX)), Timestamp(0)).await;
    assert!(started.elapsed() < SLEEP_MAX + Duration::from_secs(92));
    assert!(tokio::time::timeout(2 * SLEEP_MAX, sleep_until(None, Timestamp(0))).await.is_err());
}

#[tokio::test]
async fn messages_with_different_wishes_of_tls_share_no_connection() {
    let authority = Authority::new();
    let (good, other) = (authority.issue("mx.b.test"), authority.issue("other.test"));
    let (server, heard) = mail_server(Some(good.tls)).await;
    let owner = format!("_{}._tcp.mx.b.test.", server.port());
    let here = RData::A(rdata::A::new(127, 0, 0, 1));
    // the TLSA record is not of the certificate that the server shows
    let records = [("b.test.", mx("mx.b.test.")), ("mx.b.test.", here), (&owner, tlsa(&other.record))];
    let zone = SignedZone::start(&records, &[]).await;
    let queue = QueueConfig { mx_port: server.port(), connections_per_destination: 1, ..queue() };
    let config = Config { routes: Vec::new(), ..config(server, queue) };
    let world = World::start_resolving(Arc::new(Real), config, zone.resolver(Dnssec::Validate)).await;
    let submit = async |wishes| {
        world.submit_relay(sender(), vec![RelayRecipient::new(address("x@b.test"))], wishes, "text\r\n").await
    };
    let usual = submit(Wishes::default()).await;
    let optional = submit(Wishes { tls_optional: true, ..Wishes::default() }).await;
    let required = submit(Wishes { require_tls: true, ..Wishes::default() }).await;
    let gone = |store: &Store, id| store.queue_entry(id).is_none();
    world.until("one goes and one comes back", |store| gone(store, optional) && gone(store, required)).await;
    world.until_tried(usual, 1).await;
    let sent = ["TLS", "MAIL FROM:<s@a.test>", "RCPT TO:<x@b.test>", "."];
    assert_eq!(*heard.lock().unwrap(), sent);
    let inbox = world.inbox().await;
    assert!(inbox.len() == 1 && inbox[0].contains("Status: 5.7.10"), "{inbox:?}");
    let entry = world.context.store.queue_entry(usual).unwrap();
    let Some(Outcome::Deferred { reply, .. }) = &entry.recipients[0].outcome else { panic!("{entry:?}") };
    assert_eq!((reply.code, reply.status), (454, Some(EnhancedStatus(4, 7, 5))));
    world.stop().await;
}

#[tokio::test]
async fn a_wish_of_tls_counts_where_dns_decides() {
    let server = "127.0.0.1:9".parse().unwrap();
    let world = World::start(server, queue()).await;
    let wishes = || Wishes { tls_optional: true, ..Wishes::default() };
    let recipient = RelayRecipient::new(address("x@b.test"));
    let relay =
        Relay { wishes: wishes(), held: Some("test".into()), ..Relay::new(sender(), vec![recipient]) };
    let id = world.accept(relay, "text\r\n").await;
    let entry = world.context.store.queue_entry(id).unwrap();
    let (by_route, live) = (world.context.live(), world.context.live());
    let by_dns = Live {
        config: Arc::new(Config { routes: Vec::new(), ..config(server, queue()) }),
        directory: live.directory.clone(),
    };
    for (live, wish) in [(&*by_route, Wish::Usual), (&by_dns, Wish::Optional)] {
        assert_eq!(Place::of(live, &entry, &entry.recipients[0].recipient).wish(), wish);
    }
    world.stop().await;
}

#[tokio::test]
async fn copies_that_are_forwarded_alone_carry_what_is_for_them() {
    let peer = Peer::start("250 ok").await;
    let world = World::start(peer.address, queue()).await;
    let forwarded =
        RelayRecipient { original: Some(address("team@a.test")), ..RelayRecipient::new(address("x@b.test")) };
    let relay = Relay {
        prefix: b"ARC-Seal: i=1\r\n".to_vec(),
        ..Relay::new(sender(), vec![forwarded, RelayRecipient::new(address("y@b.test"))])
    };
    world.accept(relay, "text\r\n").await;
    world.until_empty().await;
    let mut messages = peer.messages();
    messages.sort();
    assert_eq!(messages, ["ARC-Seal: i=1\nSubject: hello\n\ntext\n", "Subject: hello\n\ntext\n"]);
    world.stop().await;
}
