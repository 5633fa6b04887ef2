//! Debian's Postfix, Exim and OpenSMTPD take mail from us by DANE, to the octet, or get nothing.

use std::{fs, path::Path, time::Duration};

use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use waypost_config::{Service, TlsMode};
use waypost_mail::{Address, ReversePath};
use waypost_net::TlsaRecord;
use waypost_server::agent::{Login, Submission, Tls, submit};
use waypost_storage::Outcome;
use waypost_tests::{
    Site, SiteBuilder, after_added_fields, sample,
    signed_dns::{SignedData, SignedDns},
    site::PASSWORD,
};

use super::{peers::Peer, routes::route};

const HOST: &str = "mx.far.test";

/// A certificate that nobody has signed, for nobody; its `3 1 0` record.
fn certificate(folder: &Path) -> TlsaRecord {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["nobody.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    TlsaRecord { usage: 3, selector: 1, matching: 0, data: key.subject_public_key_info() }
}

/// Another certificate's record.
fn other() -> TlsaRecord {
    TlsaRecord { usage: 3, selector: 1, matching: 1, data: vec![7; 32] }
}

async fn send(site: &Site, message: &[u8]) {
    let from = ReversePath::Address(Address::parse(&site.user("alice")).unwrap());
    let submission = Submission {
        address: site.address(Service::Submission, TlsMode::None),
        tls: Tls::None,
        login: Some(Login { user: site.user("alice"), password: PASSWORD.to_owned() }),
        from: &from,
        to: &[Address::parse("alice@far.test").unwrap()],
        message,
    };
    submit(submission).await.unwrap();
}

/// Traps, and one that takes many packets.
fn messages() -> [Vec<u8>; 2] {
    let head = "Date: Sat, 21 Nov 2026 04:05:06 +0000\r\nFrom: <alice@a.test>\r\nTo: <alice@far.test>\r\n";
    let lines = "A line, and it is the same as the ones before and behind it.\r\n..\r\n".repeat(10_000);
    let large = format!("{head}Subject: large\r\nMessage-ID: <3@a.test>\r\n\r\n{lines}");
    [sample("alice@a.test", "alice@far.test", 1), large.into_bytes()]
}

/// Messages from a site of ours to `far.test`, whose exchanger is another server, which hands them on to the last site.
struct Way {
    site: Site,
    peer: Peer,
    last: Site,
    _dns: SignedDns,
}

impl Way {
    /// `None`: the machine does not allow what the server needs.
    async fn start(name: &str, records: impl FnOnce(TlsaRecord) -> Vec<TlsaRecord>) -> Option<Self> {
        let last = SiteBuilder::new("far.test").start().await;
        let mut record = None;
        let next = last.address(Service::Smtp, TlsMode::StartTls);
        let peer = Peer::start_with(name, next, |folder| record = Some(certificate(folder))).await?;
        let port = peer.address.port();
        let mut zone = vec![
            ("far.test".to_owned(), SignedData::Mx(HOST.to_owned())),
            (HOST.to_owned(), SignedData::Here),
        ];
        let owner = format!("_{port}._tcp.{HOST}");
        zone.extend(
            records(record.unwrap()).into_iter().map(|record| (owner.clone(), SignedData::Tlsa(record))),
        );
        let dns = SignedDns::start(&zone).await;
        let anchors = peer.folder.path().join("anchors");
        dns.write_anchors(&anchors);
        let site = SiteBuilder::new("a.test").dns(dns.address, port).validating(&anchors).start().await;
        Some(Self { site, peer, last, _dns: dns })
    }

    /// What came of the first try of a message; `None`: the server took it, and so many have arrived.
    async fn tried_or_taken(&self, count: usize) -> Option<Outcome> {
        for _ in 0..400 {
            let tried = self.site.running.store().queue().into_iter().find(|entry| entry.attempts > 0);
            if let Some(outcome) = tried.and_then(|entry| entry.recipients[0].outcome.clone()) {
                return Some(outcome);
            }
            if self.last.read_mailbox("alice", "INBOX").await.len() >= count {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no try; the server says:\n{}", self.peer.log());
    }

    /// The message waits, with these words in the reply that is recorded, and the server has heard of none.
    async fn came_to_nothing(self, words: &str) {
        let tried = self.tried_or_taken(1).await;
        let Some(Outcome::Deferred { reply, peer }) = &tried else { panic!("{tried:?}") };
        assert!(peer.starts_with(HOST), "{peer}");
        assert!(reply.text().contains("TLS") && reply.text().contains(words), "{reply:?}");
        assert!(self.last.read_mailbox("alice", "INBOX").await.is_empty());
        self.finish().await;
    }

    /// Looks at a message that arrived: at its octets, and at how it came to the server.
    fn check(&self, stored: &[u8], message: &[u8]) {
        let (is, was) =
            (String::from_utf8_lossy(after_added_fields(stored)), String::from_utf8_lossy(message));
        assert!(is == was, "is\n{is:.2000}\nand was\n{was:.2000}");
        let added = String::from_utf8_lossy(&stored[..stored.len() - message.len()]).to_lowercase();
        let theirs = added.split("\r\nreceived:").nth(2).unwrap_or_else(|| panic!("{added}"));
        let under_tls = ["using tlsv1.3", "esmtps", "tls1.3"].iter().any(|words| theirs.contains(words));
        assert!(theirs.contains("mx.a.test") && under_tls, "{added}\n{}", self.peer.log());
    }

    async fn finish(self) {
        self.peer.end().await;
        self.site.finish().await;
        self.last.finish().await;
    }
}

/// With one record of the server's key, and one that is wrong.
async fn takes_mail(name: &str) {
    let Some(way) = Way::start(name, |record| vec![other(), record]).await else { return };
    let told = route(way.site.folder.path(), "alice@a.test", "alice@far.test").await;
    let tls = &told["relayed"][0]["targets"][0]["tls"];
    assert_eq!(
        (&tls["demand"], &tls["basis"], &tls["failure"]),
        (&"dane".into(), &"tlsa".into(), &"later".into())
    );
    assert!(tls["text"].as_str().unwrap().contains("mx.far.test has 2 TLSA records"), "{tls}");
    for (number, message) in messages().iter().enumerate() {
        send(&way.site, message).await;
        // OpenSMTPD 6.8 loses its keys in OpenSSL 3: it offers STARTTLS and then fails. By DANE no message goes without.
        if name == "opensmtpd"
            && matches!(way.tried_or_taken(number + 1).await, Some(Outcome::Deferred { .. }))
        {
            assert!(way.peer.log().contains("missing private key"), "{}", way.peer.log());
            return way.came_to_nothing("TLS").await;
        }
        let stored = &way.last.messages("alice", "INBOX", number + 1).await[number];
        way.check(stored, message);
    }
    way.site.drain_queue().await;
    way.finish().await;
}

/// With nothing but a record of another key.
async fn gets_nothing(name: &str) {
    let Some(way) = Way::start(name, |_| vec![other()]).await else { return };
    send(&way.site, &messages()[0]).await;
    way.came_to_nothing(if name == "opensmtpd" { "" } else { "matches no TLSA record" }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postfix_with_the_right_key_takes_mail_under_tls() {
    takes_mail("postfix").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exim_with_the_right_key_takes_mail_under_tls() {
    takes_mail("exim").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opensmtpd_with_the_right_key_takes_mail_under_tls() {
    takes_mail("opensmtpd").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postfix_with_another_key_gets_nothing() {
    gets_nothing("postfix").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exim_with_another_key_gets_nothing() {
    gets_nothing("exim").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opensmtpd_with_another_key_gets_nothing() {
    gets_nothing("opensmtpd").await;
}
