//! Debian's Postfix takes mail from us by DANE, or gets nothing.

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

/// A message from a site of ours to `far.test`, whose exchanger is Postfix, which hands it on to the last site.
struct Way {
    site: Site,
    peer: Peer,
    last: Site,
    _dns: SignedDns,
}

impl Way {
    /// `None`: the machine does not allow what Postfix needs.
    async fn start(records: impl FnOnce(TlsaRecord) -> Vec<TlsaRecord>) -> Option<Self> {
        let last = SiteBuilder::new("far.test").start().await;
        let mut record = None;
        let next = last.address(Service::Smtp, TlsMode::StartTls);
        let peer = Peer::start_with("postfix", next, |folder| record = Some(certificate(folder))).await?;
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

    async fn finish(self) {
        self.peer.end().await;
        self.site.finish().await;
        self.last.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postfix_with_the_right_key_takes_mail_under_tls() {
    let Some(way) = Way::start(|record| vec![other(), record]).await else { return };
    let message = sample("alice@a.test", "alice@far.test", 1);
    let told = route(way.site.folder.path(), "alice@a.test", "alice@far.test").await;
    let tls = &told["relayed"][0]["targets"][0]["tls"];
    assert_eq!(
        (&tls["demand"], &tls["basis"], &tls["failure"]),
        (&"dane".into(), &"tlsa".into(), &"later".into())
    );
    assert!(tls["text"].as_str().unwrap().contains("mx.far.test has 2 TLSA records"), "{tls}");
    send(&way.site, &message).await;
    let stored = way.last.messages("alice", "INBOX", 1).await.remove(0);
    assert_eq!(String::from_utf8_lossy(after_added_fields(&stored)), String::from_utf8_lossy(&message));
    let added = String::from_utf8_lossy(&stored[..stored.len() - message.len()]).into_owned();
    assert!(
        added.contains("using TLSv1.3") && added.contains("from mx.a.test"),
        "{added}\n{}",
        way.peer.log()
    );
    way.site.drain_queue().await;
    way.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postfix_with_another_key_gets_nothing() {
    let Some(way) = Way::start(|_| vec![other()]).await else { return };
    send(&way.site, &sample("alice@a.test", "alice@far.test", 1)).await;
    let mut tried = None;
    for _ in 0..400 {
        tried = way.site.running.store().queue().into_iter().find(|entry| entry.attempts > 0);
        if tried.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let entry = tried.expect("a try");
    let Some(Outcome::Deferred { reply, peer }) = &entry.recipients[0].outcome else {
        panic!("{:?}", entry.recipients)
    };
    assert!(peer.starts_with(HOST), "{peer}");
    assert!(reply.text().contains("matches no TLSA record"), "{reply:?}");
    let log = way.peer.log();
    assert!(log.contains("connect from") && !log.contains("client="), "{log}");
    assert!(way.last.read_mailbox("alice", "INBOX").await.is_empty());
    way.finish().await;
}
