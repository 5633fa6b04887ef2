//! Many at once, slow ones, and what is said in plain text behind STARTTLS.

use std::time::Duration;

use tokio::task::JoinSet;

use waypost_tests::site::PASSWORD;

use super::{Peer, Target, Way, peer::base64};

/// Services with a greeting, and how STARTTLS is asked for and answered there.
const SERVICES: [(&str, &str, &str, &str, &str); 4] = [
    ("smtp", "220 ", "EHLO c.test\r\nSTARTTLS\r\n", "\r\n220 2.0.0 ", "EHLO c.test\r\n"),
    ("submission", "220 ", "EHLO c.test\r\nSTARTTLS\r\n", "\r\n220 2.0.0 ", "EHLO c.test\r\n"),
    ("imap", "* OK ", "a STARTTLS\r\n", "a OK ", "b CAPABILITY\r\n"),
    ("pop3", "+OK ", "STLS\r\n", "+OK ", "CAPA\r\n"),
];

/// The commands of [`SERVICES`] that must never be obeyed: each would be answered.
const INJECTED: &str = "NOOP\r\nx NOOP\r\nEHLO evil.test\r\nMAIL FROM:<evil@far.test>\r\nRCPT TO:<bob@a.test>\r\nUSER bob@a.test\r\n";

const LOOKS_MAX: usize = 200;
const LOOK_PAUSE: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_text_behind_starttls_is_never_obeyed() {
    let mut target = Target::start().await;
    for (service, greeting, starttls, go, hello) in SERVICES {
        for at_once in [true, false] {
            let place = &format!("{service}, in one segment: {at_once}");
            let mut peer = target.connect(service, Way::StartTls).await;
            peer.until(greeting, place).await;
            let first = if at_once { format!("{starttls}{INJECTED}") } else { starttls.to_owned() };
            peer.send(first.as_bytes()).await;
            peer.until(go, place).await;
            peer.until("\r\n", place).await;
            if !at_once {
                peer.send(INJECTED.as_bytes()).await;
            }
            // Either the octets are thrown away with the plain text, or they spoil the handshake.
            let began = peer.start_tls(target.tls()).await;
            assert!(!began || at_once, "{place}: plain text became part of the handshake and it went well");
            if began {
                peer.send(hello.as_bytes()).await;
                peer.half_close().await;
                let said = peer.end(place).await;
                let answers = ["250 2.", "x BAD", "x OK", "503 ", "500 ", "-ERR", "BAD"];
                assert!(!answers.iter().any(|answer| said.contains(answer)), "{place}: {said}");
                assert!(
                    said.contains("250 ") || said.contains("b OK") || said.contains("+OK"),
                    "{place}: {said}"
                );
            }
            target.is_well(place).await;
        }
    }
    target.finish().await.finish().await;
}

/// A thousand sessions at once on all protocols, and 200 that begin a handshake and say no more. Others are served meanwhile, none of
/// the thousand is turned away, and when all are gone so are their descriptors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_at_once_and_200_stuck_handshakes() {
    waypost_net::raise_descriptor_limit(2_000).unwrap();
    let mut target = Target::start().await;
    let descriptors = target.server().descriptors();
    let mut stuck = Vec::new();
    for service in ["imap", "pop3", "submission", "imap"].iter().cycle().take(200) {
        let address = target.server().service(&format!("{service}s"))[0];
        let mut peer = Peer::connect(address, None).await;
        // The head of a TLS record and of a ClientHello.
        peer.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc").await;
        stuck.push(peer);
    }
    let mut opening = JoinSet::new();
    for (number, (service, greeting, ..)) in SERVICES.iter().cycle().take(1_000).enumerate() {
        let tls = (number % 10 == 0).then(|| target.tls().clone());
        let implicit = tls.is_some() && *service != "smtp";
        let address = target.server().service(&format!("{service}{}", if implicit { "s" } else { "" }))[0];
        opening.spawn(async move {
            let mut peer = Peer::connect(address, tls.filter(|_| implicit).as_ref()).await;
            peer.until(greeting, "one of a thousand").await;
            // Half a command: it stays with the server until its deadline.
            peer.send(b"NO").await;
            peer
        });
    }
    let peers = opening.join_all().await;
    assert_eq!((peers.len(), stuck.len()), (1_000, 200));
    let opened = target.server().descriptors() - descriptors;
    // Of the normal sessions before some may have been open still.
    assert!(opened >= 1_190, "only {opened} connections are open");
    let begun = std::time::Instant::now();
    target.is_well("a crowd").await;
    assert!(begun.elapsed() < Duration::from_secs(10), "a session in a crowd took {:?}", begun.elapsed());
    // 1,200 sessions with their buffers, a tenth of them under TLS.
    target.memory_is_bounded("a crowd");
    // Slow-loris: each sends an octet more, and none is in the way of others. (When they are cut: the machines' deadlines.)
    let mut peers = peers;
    for peer in &mut peers {
        peer.send(b"O").await;
    }
    target.is_well("a slow crowd").await;
    drop((peers, stuck));
    for _ in 0..200 {
        if target.server().descriptors() <= descriptors + 20 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(target.server().descriptors() <= descriptors + 20, "descriptors stay open");
    target.finish().await.finish().await;
}

/// Over the bound for one address the service says so in its own words, and serves it again when others have gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_have_bounds() {
    let limits = "error_delay = \"0\"\nconnections_per_address = 40\n";
    let mut target = Target::shaped(|site| site.only_limits(limits)).await;
    for (service, refusal) in [
        ("smtp", "421 4.7.0 Too many connections from your address\r\n"),
        ("imap", "* BYE [LIMIT] Too many connections from your address\r\n"),
        ("pop3", "-ERR [SYS/TEMP] Too many connections from your address\r\n"),
    ] {
        let mut held = Vec::new();
        // The server sees a moment later that the sessions of before have ended; until then they count.
        for _ in 0..LOOKS_MAX {
            let mut peer = target.connect(service, Way::StartTls).await;
            if peer.until("\r\n", service).await == refusal {
                tokio::time::sleep(LOOK_PAUSE).await;
            } else {
                held.push(peer);
            }
            if held.len() == 40 {
                break;
            }
        }
        assert_eq!(held.len(), 40, "{service}");
        for _ in 0..20 {
            let mut peer = target.connect(service, Way::StartTls).await;
            assert_eq!(peer.until("\r\n", service).await, refusal);
            assert_eq!(peer.end(service).await, "");
        }
        drop(held);
        // The server sees the ends a moment later.
        tokio::time::sleep(Duration::from_millis(500)).await;
        target.is_well(service).await;
    }
    target.finish().await.finish().await;
}

/// After login a session counts for its account, whatever its protocol, and no more for its address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_have_bounds() {
    let limits = "error_delay = \"0\"\nconnections_per_address = 40\n";
    let mut target = Target::shaped(|site| site.only_limits(limits)).await;
    let plain = |user: &str| {
        let encoded = base64(format!("\0{user}@a.test\0{PASSWORD}").as_bytes());
        format!("EHLO c.test\r\nAUTH PLAIN {encoded}\r\n")
    };
    let imap = |user: &str| format!("a LOGIN {user}@a.test \"{PASSWORD}\"\r\n");
    let pop3 = |user: &str| format!("USER {user}@a.test\r\nPASS {PASSWORD}\r\n");
    let cases = [
        ("imap", imap("alice"), "\r\na OK ", imap("bob")),
        ("submission", plain("alice"), "\r\n235 ", plain("bob")),
    ];
    let refusals = [
        ("imap", imap("alice"), "a NO [LIMIT] too many sessions of this account"),
        ("submission", plain("alice"), "454 4.7.0 Too many sessions of this account, try again later"),
        ("pop3", pop3("alice"), "-ERR [SYS/TEMP] too many sessions of this account, try again later"),
    ];
    for (service, login, welcome, other) in cases {
        let mut held = Vec::new();
        for _ in 0..40 {
            let mut peer = target.connect(service, Way::Plain).await;
            peer.send(login.as_bytes()).await;
            peer.until(welcome, service).await;
            held.push(peer);
        }
        for (service, login, refusal) in &refusals {
            let mut peer = target.connect(service, Way::Plain).await;
            peer.send(login.as_bytes()).await;
            peer.until(refusal, service).await;
        }
        let mut peer = target.connect(service, Way::Plain).await;
        peer.send(other.as_bytes()).await;
        peer.until(welcome, "another account").await;
        drop((held, peer));
        tokio::time::sleep(Duration::from_millis(500)).await;
        target.is_well(service).await;
    }
    target.finish().await.finish().await;
}
