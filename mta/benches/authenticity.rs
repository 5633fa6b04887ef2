//! What the checks of one message cost: iprev, SPF, DKIM with RSA of 2,048 bits and Ed25519, DMARC. DNS is a server on loopback whose
//! answers the resolver remembers. Run by hand: `cargo bench -p waypost-mta --bench authenticity`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a measurement")]

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hickory_resolver::{
    net::runtime::TokioRuntimeProvider,
    proto::rr::{
        LowerName, Name, RData, Record,
        rdata::{A, PTR, SOA, TXT},
    },
};
use hickory_server::{
    Server,
    store::in_memory::InMemoryZoneHandler,
    zone_handler::{AxfrPolicy, Catalog, ZoneType},
};
use mail_auth::{
    common::{
        crypto::{Ed25519Key, RsaKey, Sha256},
        headers::HeaderWriter,
    },
    dkim::DkimSigner,
};
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize};
use tokio::net::{TcpListener, UdpSocket};
use waypost_config::DnsConfig;
use waypost_mail::{Domain, ReversePath};
use waypost_message::HeaderCollector;
use waypost_mta::{
    authenticity::{Check, Sender},
    dns::Resolver,
};

const MESSAGES: u32 = 5_000;
const HEADER: &str = "From: A <a@a.test>\r\nTo: b@b.test\r\nSubject: a subject of some length\r\nDate: Thu, 26 Nov 2026 09:00:00 +0000\r\nMessage-ID: <1@a.test>\r\n\r\n";

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let ed25519 = Ed25519Key::generate_pkcs8().unwrap();
    let key = |kind: &str, octets: &[u8]| format!("v=DKIM1; k={kind}; p={}", STANDARD.encode(octets));
    let public = Ed25519Key::from_pkcs8_der(&ed25519).unwrap().public_key();
    let (_server, address) = zone(&[
        ("a.test.", text("v=spf1 ip4:192.0.2.0/28 a:mx.a.test -all")),
        ("_dmarc.a.test.", text("v=DMARC1; p=reject")),
        ("r._domainkey.a.test.", text(&key("rsa", &rsa.subject_public_key_info()))),
        ("e._domainkey.a.test.", text(&key("ed25519", &public))),
        ("mx.a.test.", RData::A(A::new(198, 51, 100, 7))),
        ("7.100.51.198.in-addr.arpa.", RData::PTR(PTR(name("mx.a.test.")))),
    ])
    .await;
    let resolver = Resolver::new(&DnsConfig { servers: vec![address], ..DnsConfig::default() }).unwrap();
    let line = "a line of a message of an ordinary size, as people write them\r\n";
    for (octets, messages) in [(4_000, MESSAGES), (100_000, MESSAGES / 10), (50 << 20, 3)] {
        let plain = HEADER.to_owned() + &line.repeat(octets / line.len());
        let fields = ["From", "To", "Subject", "Date", "Message-ID"];
        let rsa = RsaKey::<Sha256>::from_key_der(rsa.serialize_der().try_into().unwrap()).unwrap();
        let rsa = DkimSigner::from_key(rsa).domain("a.test").selector("r").headers(fields);
        let ed25519 = Ed25519Key::from_pkcs8_der(&ed25519).unwrap();
        let ed25519 = DkimSigner::from_key(ed25519).domain("a.test").selector("e").headers(fields);
        let by_rsa = rsa.sign(plain.as_bytes()).unwrap().to_header() + &plain;
        let by_both = ed25519.sign(plain.as_bytes()).unwrap().to_header() + &by_rsa;
        for (what, message) in [("not signed", &plain), ("RSA", &by_rsa), ("RSA and Ed25519", &by_both)] {
            let verdict = check(&resolver, message).await;
            let (wall, cpu) = (Instant::now(), cpu());
            for _ in 0..messages {
                check(&resolver, message).await;
            }
            let each = |spent: Duration| spent.as_secs_f64() * 1e3 / f64::from(messages);
            println!(
                "{octets:>9} octets, {what:<16} {:.3} ms CPU, {:.3} ms wall: {verdict}",
                each(self::cpu() - cpu),
                each(wall.elapsed())
            );
        }
    }
}

async fn check(resolver: &Resolver, message: &str) -> String {
    let (header, used) = HeaderCollector::default().feed(message.as_bytes()).unwrap().unwrap();
    let mut check = Check::begin(&header, 0);
    message.as_bytes()[used..].chunks(16 << 10).for_each(|octets| check.feed(octets));
    let (peer, receiver) = ("198.51.100.7".parse().unwrap(), Domain::new("mx.b.test").unwrap());
    let reverse_path = ReversePath::Address("a@a.test".parse().unwrap());
    let sender = Sender { peer, helo: "mx.a.test", reverse_path: &reverse_path, receiver: &receiver, now: 1 };
    check.finish(resolver, sender).await.to_string()
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn text(text: &str) -> RData {
    RData::TXT(TXT::from_bytes(text.as_bytes().chunks(255).collect()))
}

/// The CPU time of this process.
fn cpu() -> Duration {
    let ticks: u64 = std::fs::read_to_string("/proc/self/stat")
        .unwrap()
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(10 * ticks)
}

async fn zone(records: &[(&str, RData)]) -> (Server<Catalog>, SocketAddr) {
    let root = Name::root();
    let mut zone: InMemoryZoneHandler<TokioRuntimeProvider> =
        InMemoryZoneHandler::empty(root.clone(), ZoneType::Primary, AxfrPolicy::Deny, None);
    let soa = SOA::new(name("ns.test."), name("root.test."), 1, 3600, 3600, 3600, 3600);
    zone.upsert_mut(Record::from_rdata(root.clone(), 3600, RData::SOA(soa)), 1);
    for (owner, data) in records {
        zone.upsert_mut(Record::from_rdata(name(owner), 3600, data.clone()), 1);
    }
    let mut catalog = Catalog::new();
    catalog.upsert(LowerName::new(&root), vec![Arc::new(zone)]);
    let mut server = Server::new(catalog);
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = udp.local_addr().unwrap();
    server.register_listener(TcpListener::bind(address).await.unwrap(), Duration::from_secs(5), 64);
    server.register_socket(udp);
    (server, address)
}
