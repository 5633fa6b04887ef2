//! Debian's Postfix, Exim and OpenSMTPD relay mail to us under TLS, and take it from us: what was given arrives to the octet.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
};
use waypost_config::{Service, TlsMode};
use waypost_mail::{Address, ReversePath};
use waypost_server::agent::{AgentError, Submission, Tls, submit};
use waypost_tests::{
    Site, SiteBuilder, after_added_fields, client::installed, not_run, sample, scripted, site::free_port,
};

/// What `tests/clients/peer` ends with where the machine does not allow what it needs.
const NOT_ALLOWED: i32 = 77;
const LOOKS_MAX: usize = 400;
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// A mail server of others. It ends with our end of its standard input.
pub(super) struct Peer {
    pub(super) folder: tempfile::TempDir,
    pub(super) address: SocketAddr,
    process: Child,
}

impl Peer {
    /// Starts one that relays everything to that port. `None`: the machine does not allow it, which is said.
    async fn start(name: &str, next: SocketAddr) -> Option<Self> {
        Self::start_with(name, next, |folder| drop(scripted::certificate(folder, "mx.far.test"))).await
    }

    /// The same, with a certificate that somebody else writes into its folder.
    pub(super) async fn start_with(
        name: &str,
        next: SocketAddr,
        certificate: impl FnOnce(&Path),
    ) -> Option<Self> {
        installed("peers");
        let folder = tempfile::tempdir().unwrap();
        // Their users are not ours.
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        certificate(folder.path());
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let port = free_port(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
        let process = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/peer"))
            .args([name, folder.path().to_str().unwrap(), &port.to_string(), &next.port().to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut peer = Self { folder, address: SocketAddr::new(loopback, port), process };
        for _ in 0..LOOKS_MAX {
            if let Some(status) = peer.process.try_wait().unwrap() {
                assert_eq!(status.code(), Some(NOT_ALLOWED), "{name} ended:\n{}", peer.log());
                not_run(name, "root and namespaces", &peer.log());
                return None;
            }
            if TcpStream::connect(peer.address).await.is_ok() {
                return Some(peer);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        panic!("{name} does not listen:\n{}", peer.log());
    }

    pub(super) fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    async fn give(&self, message: &[u8]) {
        give(self.address, "alice@a.test", message)
            .await
            .unwrap_or_else(|error| panic!("{error}:\n{}", self.log()));
    }

    /// Waits for so many messages in the INBOX of alice.
    async fn stored(&self, site: &Site, count: usize) -> Vec<Vec<u8>> {
        let mut stored = Vec::new();
        for _ in 0..LOOKS_MAX {
            stored = site.read_mailbox("alice", "INBOX").await;
            if stored.len() >= count {
                break;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        assert_eq!(stored.len(), count, "messages; the peer says:\n{}", self.log());
        stored
    }

    /// Waits for the message with this number there, and looks at its octets; gives the fields that were added.
    async fn arrived(&self, site: &Site, number: usize, message: &[u8]) -> String {
        let stored = &self.stored(site, number + 1).await[number];
        let (is, wanted) =
            (String::from_utf8_lossy(after_added_fields(stored)), String::from_utf8_lossy(message));
        assert!(is == wanted, "message {number} is\n{is:.2000}\nand was\n{wanted:.2000}");
        String::from_utf8_lossy(&stored[..stored.len() - message.len()]).into_owned()
    }

    pub(super) async fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().await.unwrap().success());
    }
}

async fn give(address: SocketAddr, to: &str, message: &[u8]) -> Result<String, AgentError> {
    let from = ReversePath::Address(Address::parse("sender@far.test").unwrap());
    let to = [Address::parse(to).unwrap()];
    submit(Submission { address, tls: Tls::None, login: None, from: &from, to: &to, message }).await
}

/// Traps, octets above 127, and one that takes many packets.
fn messages() -> Vec<Vec<u8>> {
    let traps = sample("sender@far.test", "alice@a.test", 1);
    let head = "Date: Sat, 21 Nov 2026 04:05:06 +0000\r\nFrom: <sender@far.test>\r\nTo: <alice@a.test>\r\n";
    let utf8 = format!(
        "{head}Subject: folded\r\n\t =?utf-8?Q?Gr=C3=BC=C3=9Fe?=  \r\nMessage-ID: <2@far.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\t \r\n\r\n.\r\n..\r\n"
    );
    let lines = "A line, and it is the same as the ones before and behind it.\r\n".repeat(10_000);
    let large = format!("{head}Subject: large\r\nMessage-ID: <3@far.test>\r\n\r\n{lines}");
    vec![traps, utf8.into_bytes(), large.into_bytes()]
}

async fn relays(name: &str) {
    let site = SiteBuilder::new("a.test").start().await;
    let Some(peer) = Peer::start(name, site.address(Service::Smtp, TlsMode::StartTls)).await else { return };
    let given = messages();
    for (number, message) in given.iter().enumerate() {
        peer.give(message).await;
        let added = peer.arrived(&site, number, message).await;
        // Ours stands on top, and says how it came.
        let ours = added.split("\r\nReceived:").nth(1).unwrap_or_else(|| panic!("no Received in {added}"));
        assert!(ours.contains("from mx.far.test") && ours.contains(" with ESMTPS"), "{name}: {added}");
        assert!(added.split("\r\nReceived:").nth(2).is_some(), "{name} says that it had it: {added}");
    }
    peer.end().await;
    site.finish().await;
}

/// Gives messages to a server of ours, which relays them to the peer, and that one to another server of ours.
async fn receives(name: &str) {
    let last = SiteBuilder::new("b.test").start().await;
    let Some(peer) = Peer::start(name, last.address(Service::Smtp, TlsMode::StartTls)).await else { return };
    let more = format!(
        "[[trust]]\nnetworks = [\"127.0.0.0/8\"]\n[[route]]\ndomain = \"*\"\nnext_hop = \"{}\"",
        peer.address
    );
    let site = SiteBuilder::new("a.test").queue("connections_per_destination = 1").with(&more).start().await;
    for (number, message) in messages().iter().enumerate() {
        let given = give(site.address(Service::Smtp, TlsMode::StartTls), "alice@b.test", message).await;
        given.unwrap_or_else(|error| panic!("{error}"));
        let added = peer.arrived(&last, number, message).await;
        let theirs = added.split("\r\nReceived:").nth(2).unwrap_or_else(|| panic!("{name}: {added}"));
        let theirs = theirs.to_lowercase();
        let under_tls = theirs.contains("esmtps") || theirs.contains("using tls");
        // OpenSMTPD 6.8 loses its keys in OpenSSL 3: it offers STARTTLS and then fails, and the message goes without.
        let cannot = name == "opensmtpd" && peer.log().contains("missing private key");
        assert!(theirs.contains("mx.a.test") && (under_tls || cannot), "{name}: {theirs}\n{}", peer.log());
    }
    give_many(&site, &last, &peer, name).await;
    site.drain_queue().await;
    peer.end().await;
    site.finish().await;
    last.finish().await;
}

/// Several messages over one connection, where those behind the first go along with their envelopes.
async fn give_many(site: &Site, last: &Site, peer: &Peer, name: &str) {
    let before = last.read_mailbox("alice", "INBOX").await.len();
    let [traps, utf8, _] = messages().try_into().unwrap();
    let with_number = |message: &[u8], number: usize| [message, format!("{number}\r\n").as_bytes()].concat();
    let many: Vec<_> = (0..6).map(|number| with_number([&traps, &utf8][number % 2], number)).collect();
    for message in &many {
        let given = give(site.address(Service::Smtp, TlsMode::StartTls), "alice@b.test", message).await;
        given.unwrap_or_else(|error| panic!("{error}"));
    }
    let stored = peer.stored(last, before + many.len()).await;
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let mut stored: Vec<_> = stored[before..].iter().map(|octets| text(after_added_fields(octets))).collect();
    let mut many: Vec<_> = many.iter().map(|octets| text(octets)).collect();
    stored.sort();
    many.sort();
    assert_eq!(stored, many, "{name}:\n{}", peer.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postfix_takes_mail_from_us() {
    receives("postfix").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exim_takes_mail_from_us() {
    receives("exim").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opensmtpd_takes_mail_from_us() {
    receives("opensmtpd").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postfix_relays_to_us() {
    relays("postfix").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exim_relays_to_us() {
    relays("exim").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opensmtpd_relays_to_us() {
    relays("opensmtpd").await;
}
