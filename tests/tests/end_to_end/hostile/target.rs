//! The server under attack: a process of its own, so that its memory is its own, too.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;
use tokio::task::AbortHandle;
use waypost_net::{ClientTls, Verification};
use waypost_server::{Parts, Server};
use waypost_tests::{Process, Site, SiteBuilder, process::memory_kib, program, site::PASSWORD};

use super::peer::Peer;

/// So much may the server's anonymous memory grow over what it had after its first normal session. The largest that one session may
/// hold by its bounds is a header block with its copies (4 × 256 KiB); the rest is the allocator's, the store's cache, and debug code.
const GROWTH_KIB_MAX: u64 = 24 * 1024;

/// How a connection is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// Without TLS from the first octet; login is possible on loopback.
    Plain,
    /// With TLS from the first octet.
    Tls,
    /// The listener that asks for STARTTLS.
    StartTls,
}

/// What stands behind a case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum After {
    /// The session goes on.
    Alive,
    /// The server has hung up.
    Closed,
}

/// One attack: what is sent, and what must be answered to it.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) steps: Vec<(Vec<u8>, String)>,
    pub(super) after: After,
    /// Messages that come into alice's INBOX by it.
    pub(super) accepted: usize,
}

/// A case of one step after which the session goes on.
pub(super) fn case(name: &str, sent: impl AsRef<[u8]>, expected: &str) -> Case {
    let steps = vec![(sent.as_ref().to_vec(), expected.to_owned())];
    Case { name: name.to_owned(), steps, after: After::Alive, accepted: 0 }
}

impl Case {
    /// After which the server hangs up.
    pub(super) fn closes(mut self) -> Self {
        self.after = After::Closed;
        self
    }

    /// That brings messages into alice's INBOX.
    pub(super) fn accepts(mut self, messages: usize) -> Self {
        self.accepted = messages;
        self
    }

    /// One step more.
    pub(super) fn then(mut self, sent: impl AsRef<[u8]>, expected: &str) -> Self {
        self.steps.push((sent.as_ref().to_vec(), expected.to_owned()));
        self
    }
}

/// How normal sessions of a protocol begin and go on.
pub(super) struct Protocol {
    pub(super) service: &'static str,
    /// What a session says before each case, and what is answered.
    pub(super) prelude: &'static [(&'static str, &'static str)],
    /// What shows that a session is alive.
    pub(super) alive: (&'static str, &'static str),
}

/// The server.
pub(super) struct Target {
    folder: TempDir,
    server: Process,
    tls: ClientTls,
    /// Messages in alice's INBOX.
    pub(super) messages: usize,
    /// Messages in bob's.
    pub(super) for_bob: usize,
    baseline_kib: u64,
    peak_kib: Arc<AtomicU64>,
    sampler: AbortHandle,
}

impl Target {
    /// A server for a.test with alice and bob that takes messages up to 1 MiB.
    pub(super) async fn start() -> Self {
        Self::shaped(|site| site).await
    }

    /// The same, with another configuration.
    pub(super) async fn shaped(shape: impl Fn(SiteBuilder) -> SiteBuilder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = shape(SiteBuilder::new("a.test").limits("message_size = \"1 MiB\""));
        let server = Process::serve(&program(), &site.write(folder.path())).await;
        let roots = Verification::Pkix(vec![folder.path().join("ca.pem")]);
        let tls = ClientTls::new("localhost", &roots).unwrap();
        let peak_kib = Arc::new(AtomicU64::new(0));
        let sampler = sample(server.id(), peak_kib.clone());
        let mut target =
            Self { folder, server, tls, messages: 0, for_bob: 0, baseline_kib: 0, peak_kib, sampler };
        target.is_well("before").await;
        target.is_well("before").await;
        target.baseline_kib = target.server.memory_kib();
        target
    }

    /// The policy that trusts the server.
    pub(super) fn tls(&self) -> &ClientTls {
        &self.tls
    }

    /// The process.
    pub(super) fn server(&self) -> &Process {
        &self.server
    }

    /// Connects to a service.
    pub(super) async fn connect(&self, service: &str, way: Way) -> Peer {
        let address = match way {
            Way::Tls => self.server.service(&format!("{service}s"))[0],
            Way::StartTls => self.server.service(service)[0],
            // The first is the one with STARTTLS; SMTP has only that.
            Way::Plain => *self.server.service(service).last().unwrap(),
        };
        let mut peer = Peer::connect(address, (way == Way::Tls).then_some(&self.tls)).await;
        if service == "smtp" {
            // Who speaks first is refused there.
            peer.hear("\r\n", "the greeting").await;
        }
        peer
    }

    /// A normal session of each protocol: a message comes in, IMAP and POP3 count it, and nothing is missing.
    pub(super) async fn is_well(&mut self, place: &str) {
        let place = &format!("the normal session after {place}");
        self.messages += 1;
        let mut smtp = self.connect("smtp", Way::Plain).await;
        let number = self.messages;
        let message = format!(
            "EHLO c.test\r\nMAIL FROM:<x@far.test>\r\nRCPT TO:<alice@a.test>\r\nDATA\r\nSubject: {number}\r\n\r\n{place}\r\n.\r\nQUIT\r\n"
        );
        smtp.send(message.as_bytes()).await;
        smtp.until(" accepted\r\n", place).await;
        smtp.until("221 ", place).await;
        let mut imap = self.connect("imap", Way::Plain).await;
        let status =
            format!("a LOGIN alice@a.test \"{PASSWORD}\"\r\nb STATUS INBOX (MESSAGES)\r\nc LOGOUT\r\n");
        imap.send(status.as_bytes()).await;
        imap.until(&format!("(MESSAGES {number})\r\n"), place).await;
        let said = self.maildrop(place).await;
        assert!(said.contains(&format!("\r\n+OK {number} ")), "{place}: {said}");
    }

    /// A POP3 session. The server sees a moment later that the session of the case before is gone: until then the maildrop is in use.
    async fn maildrop(&self, place: &str) -> String {
        for _ in 0..200 {
            let mut pop3 = self.connect("pop3", Way::Plain).await;
            pop3.send(format!("USER alice@a.test\r\nPASS {PASSWORD}\r\nSTAT\r\nQUIT\r\n").as_bytes()).await;
            let said = pop3.end(place).await;
            if !said.contains("[IN-USE]") {
                return said;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{place}: the maildrop stays in use")
    }

    /// Runs cases one after the other, each over each way, each followed by a normal session.
    pub(super) async fn run(&mut self, protocol: &Protocol, ways: &[Way], cases: &[Case]) {
        for case in cases {
            for way in ways {
                self.run_one(protocol, *way, case).await;
            }
        }
    }

    async fn run_one(&mut self, protocol: &Protocol, way: Way, case: &Case) {
        let place = &format!("{} over {way:?}: {}", protocol.service, case.name);
        let mut peer = self.connect(protocol.service, way).await;
        for (sent, expected) in protocol.prelude {
            peer.send(sent.as_bytes()).await;
            peer.until(expected, place).await;
        }
        for (sent, expected) in &case.steps {
            peer.send(sent).await;
            peer.until(expected, place).await;
        }
        match case.after {
            After::Alive => {
                peer.send(protocol.alive.0.as_bytes()).await;
                let said = peer.until(protocol.alive.1, place).await;
                // The rest of the last reply, and no reply more.
                let lines = said.matches("\r\n").count();
                assert!(lines <= 2, "{place}: something more was answered: {said}");
            }
            After::Closed => drop(peer.end(place).await),
        }
        drop(peer);
        self.messages += case.accepted;
        self.is_well(place).await;
        self.memory_is_bounded(place);
    }

    /// Checks the memory: its peak since the last check.
    pub(super) fn memory_is_bounded(&self, place: &str) {
        let peak = self.peak_kib.swap(0, Ordering::Relaxed).max(self.server.memory_kib());
        let before = self.baseline_kib;
        assert!(peak <= before + GROWTH_KIB_MAX, "{place}: {before} KiB have become {peak} KiB");
    }

    /// Stops the server, which must end in time and without a panic, and looks into its store.
    pub(super) async fn finish(self) -> Site {
        self.sampler.abort();
        self.server.signal("TERM").await;
        let (code, log) = self.server.end().await;
        assert_eq!(code, Some(0), "{log}");
        assert!(!log.contains("panicked"), "{log}");
        let config = waypost_config::load(&self.folder.path().join("waypost.toml")).unwrap();
        let running = Server::start(config, Parts::default()).await.unwrap();
        let site = Site { domain: "a.test".to_owned(), folder: self.folder, running };
        let inbox = site.read_mailbox("alice", "INBOX").await;
        assert_eq!(inbox.len(), self.messages);
        assert_eq!(site.read_mailbox("bob", "INBOX").await.len(), self.for_bob);
        assert!(site.running.store().queue().is_empty(), "nothing was for others");
        site
    }
}

/// Keeps the highest memory of a process.
fn sample(id: u32, peak_kib: Arc<AtomicU64>) -> AbortHandle {
    let sampling = async move {
        while let Some(memory) = memory_kib(id) {
            peak_kib.fetch_max(memory, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::spawn(sampling).abort_handle()
}
