//! Clients of port 25 that do not wait, that come too often, and proxies that speak for others, over TCP.

use std::time::Duration;

use waypost_config::{Service, TlsMode};
use waypost_tests::{Process, Site, SiteBuilder, program, site::PASSWORD};

use super::{Peer, peer::base64};

const MESSAGE: &str =
    "MAIL FROM:<x@far.test>\r\nRCPT TO:<alice@a.test>\r\nDATA\r\nSubject: s\r\n\r\n.\r\nQUIT\r\n";

async fn connect(site: &Site) -> Peer {
    Peer::connect(site.address(Service::Smtp, TlsMode::StartTls), None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_before_the_greeting_is_refused() {
    let site = SiteBuilder::new("a.test").listeners("smtp", "greeting_delay = \"2s\"").start().await;
    for wait in [Duration::ZERO, Duration::from_millis(500)] {
        let mut early = connect(&site).await;
        tokio::time::sleep(wait).await;
        early.send(format!("EHLO c.test\r\n{MESSAGE}").as_bytes()).await;
        let said = early.end("early").await;
        assert!(said.starts_with("421 4.5.1 You spoke before the greeting"), "{said}");
        assert_eq!(said.matches("\r\n").count(), 1, "{said}");
    }
    let mut patient = connect(&site).await;
    patient.until("220 ", "patient").await;
    patient.send(format!("EHLO c.test\r\n{MESSAGE}").as_bytes()).await;
    patient.until(" accepted\r\n", "patient").await;
    assert_eq!(site.messages("alice", "INBOX", 1).await.len(), 1);
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_wait_for_354_sends_nothing() {
    let site = SiteBuilder::new("a.test").listeners("smtp", "strict_pipelining = true").start().await;
    let mut peer = connect(&site).await;
    peer.until("220 ", "greeting").await;
    peer.send(b"EHLO c.test\r\n").await;
    peer.until("\r\n250 ", "EHLO").await;
    peer.send(MESSAGE.as_bytes()).await;
    let said = peer.end("pipelined").await;
    assert!(said.contains("\r\n421 4.5.0 You did not wait for an answer"), "{said}");
    assert!(site.read_mailbox("alice", "INBOX").await.is_empty());
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_too_often_is_told_so() {
    let site = SiteBuilder::new("a.test")
        .limits("connections_per_minute = 3\nmessages_per_minute = 1")
        .listeners("smtp", "proxy_protocol = [\"127.0.0.0/8\"]")
        .start()
        .await;
    let header = |last: u8| format!("PROXY TCP4 198.51.100.{last} 192.0.2.1 40000 25\r\n");
    let mut connections = Vec::new();
    for (last, expected) in [
        (7, "220 "),
        (7, "220 "),
        (7, "220 "),
        (7, "421 4.7.0 Too many connections from your address\r\n"),
        (8, "220 "),
    ] {
        let mut peer = connect(&site).await;
        peer.send(header(last).as_bytes()).await;
        peer.until(expected, expected).await;
        connections.push(peer);
    }
    for (peer, expected) in connections.iter_mut().zip([" accepted\r\n", "450 4.7.0 Too many messages"]) {
        peer.send(format!("EHLO c.test\r\n{MESSAGE}").as_bytes()).await;
        peer.until(expected, expected).await;
    }
    site.finish().await;
}

/// Behind the bridge of containers all clients of the Internet have one private address: what is trusted with it is trusted with anyone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_that_is_everybody_is_told_of_and_loudly_where_it_may_relay() {
    let folder = tempfile::tempdir().unwrap();
    let [bare, relay] = ["a proxy or NAT hides them", "this server is an OPEN RELAY"];
    for (trust, told) in [("", bare), ("[[trust]]\nnetworks = [\"172.17.0.0/16\"]", relay)] {
        let config = SiteBuilder::new("a.test")
            .listeners("smtp", "proxy_protocol = [\"127.0.0.0/8\"]")
            .with(trust)
            .write(folder.path());
        let server = Process::serve(&program(), &config).await;
        for number in 1..=50 {
            assert_eq!(server.count("every client of port 25"), 0, "{number}");
            let mut peer = Peer::connect(server.service("smtp")[0], None).await;
            peer.send(b"PROXY TCP4 172.17.0.1 192.0.2.1 40000 25\r\n").await;
            peer.until("220 ", "greeting").await;
        }
        server.logs(told).await;
        assert_eq!(
            (server.count("every client of port 25"), server.count("alert=")),
            (1, usize::from(told == relay))
        );
        server.signal("TERM").await;
        server.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_speaks_for_a_client_by_xclient() {
    let site = SiteBuilder::new("a.test").listeners("smtp", "xclient = [\"127.0.0.0/8\"]").start().await;
    let mut peer = connect(&site).await;
    peer.until("220 ", "greeting").await;
    peer.send(b"EHLO proxy\r\n").await;
    peer.until("250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n", "EHLO").await;
    peer.send(b"XCLIENT ADDR=IPV6:2001:db8::7 NAME=c.far.test PORT=40000\r\n").await;
    peer.until("220 ", "XCLIENT").await;
    peer.send(format!("EHLO c.test\r\n{MESSAGE}").as_bytes()).await;
    peer.until(" accepted\r\n", "message").await;
    let stored = String::from_utf8(site.messages("alice", "INBOX", 1).await.remove(0)).unwrap();
    assert!(stored.contains("Received: from c.test ([IPv6:2001:db8::7])"), "{stored}");
    site.finish().await;
}

/// An account whose password others know: what it may send is bounded, over all its sessions, and the operator hears of it once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_sends_too_much_is_refused_and_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let site = SiteBuilder::new("a.test").only_limits(
        "error_delay = \"0\"\nrecipients_per_hour_per_account = 2\n\
         over_send_limit = \"refuse\"\n",
    );
    let server = Process::serve(&program(), &site.write(folder.path())).await;
    for (user, sends) in [("alice", true), ("alice", false), ("alice", false), ("bob", true)] {
        let mut peer = Peer::connect(*server.service("submission").last().unwrap(), None).await;
        let login = base64(format!("\0{user}@a.test\0{PASSWORD}").as_bytes());
        let begin = format!("EHLO c.test\r\nAUTH PLAIN {login}\r\nMAIL FROM:<{user}@a.test>\r\n");
        peer.send(format!("{begin}RCPT TO:<alice@a.test>\r\nRCPT TO:<bob@a.test>\r\n").as_bytes()).await;
        if sends {
            peer.send(b"DATA\r\nSubject: s\r\n\r\n.\r\nQUIT\r\n").await;
            peer.until(" accepted\r\n", user).await;
        } else {
            peer.until("452 4.7.0 <alice@a.test> may send to 2 recipients an hour, try again later", user)
                .await;
        }
    }
    server.logs("alert=\"send_limit\"").await;
    server.signal("TERM").await;
    let (code, log) = server.end().await;
    assert_eq!((code, log.matches("send_limit").count()), (Some(0), 1), "{log}");
    assert!(log.contains("account=alice@a.test"), "{log}");
}

/// Sends, and gives the refusals up to the end of the session: the session's name, and what was said.
async fn refused(mut peer: Peer, begin: &str, place: &str) -> Vec<(String, String)> {
    peer.send(begin.as_bytes()).await;
    let said = peer.end(place).await;
    let lines = said.lines().filter(|line| line.starts_with(['4', '5']));
    let parts = lines.map(|line| {
        let (reply, session) = line.rsplit_once(" (session ").unwrap_or_else(|| panic!("{line}"));
        (session.trim_end_matches(')').to_owned(), reply.to_owned())
    });
    parts.collect()
}

/// A user's session with one refusal of each kind, and a message. A response without its exchange is no command.
const FAULTS: [&str; 17] = [
    "EHLO c.test",
    "MAIL FROM:<alice@a.test>",
    "AUTH PLAIN !",
    "AUTH PLAIN BAD",
    "BAD",
    "NOOP\nNOOP",
    "AUTH PLAIN GOOD",
    "MAIL FROM:<alice@a.test> SIZE=1000000000000",
    "MAIL FROM:<bob@a.test>",
    "MAIL FROM:<alice@a.test>",
    "DATA",
    "RCPT TO:<nobody@a.test>",
    "RCPT TO:<alice@a.test>",
    "RCPT TO:<bob@a.test>",
    "DATA",
    "Message-ID: <7@ua.test>\r\n\r\n.",
    "",
];
/// What stands in the log of it, and of a client that did not wait for the greeting.
const LOGGED: [&str; 6] = [
    ": refused peer=127.0.0.1 reply=421 4.5.1 You spoke",
    ": refused peer=127.0.0.1 command=\"MAIL\" reply=530 5.7.0 ",
    ": refused peer=127.0.0.1 command=\"AUTH\" reply=501 5.5.2 ",
    ": refused peer=127.0.0.1 command=\"DATA\" from=\"alice@a.test\" reply=554 5.5.1 ",
    " to=\"alice@a.test, bob@a.test\" recipients=2 ",
    " message_id=\"<7@ua.test>\"",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_has_one_line_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let builder = SiteBuilder::new("a.test").listeners("smtp", "greeting_delay = \"1s\"");
    let server = Process::serve(&program(), &builder.write(folder.path())).await;
    let early = Peer::connect(server.service("smtp")[0], None).await;
    let mut all = refused(early, "EHLO c.test\r\n", "early").await;
    assert_eq!(all.len(), 1, "{all:?}");
    let (bad, good) =
        (base64(b"\0alice@a.test\0s3cret"), base64(format!("\0alice@a.test\0{PASSWORD}").as_bytes()));
    let mut user = Peer::connect(*server.service("submission").last().unwrap(), None).await;
    user.until("220 ", "user").await;
    let script = format!("{}{}", FAULTS.join("\r\n"), "DATA\r\n".repeat(20))
        .replace("BAD", &bad)
        .replace("GOOD", &good);
    let of_user = refused(user, &script, "user").await;
    let codes: Vec<&str> = of_user.iter().map(|(_, reply)| &reply[..3]).collect();
    let expected = ["530", "501", "535", "500", "500", "552", "553", "554", "550"];
    assert_eq!(codes[..9], expected, "{of_user:?}");
    assert_eq!((codes[9..29].to_vec(), codes[29..].to_vec()), (vec!["503"; 20], vec!["421"]), "{of_user:?}");
    all.extend(of_user);
    server.logs("reply=421 4.7.0 ").await;
    server.signal("TERM").await;
    let (code, log) = server.end().await;
    assert_eq!(code, Some(0), "{log}");
    for (session, reply) in &all {
        let lines = |text: &str| {
            log.lines()
                .filter(|line| line.contains(&format!("session={session}")) && line.ends_with(text))
                .count()
        };
        let said = all.iter().filter(|refused| **refused == (session.clone(), reply.clone())).count();
        assert_eq!(lines(&format!(" reply={reply}")), said, "{reply}:\n{log}");
    }
    assert_eq!(log.matches(" reply=").count(), all.len(), "{log}");
    for line in LOGGED {
        assert_eq!(log.matches(line).count(), 1, "{line}:\n{log}");
    }
    assert!([&bad, &good, PASSWORD].iter().all(|secret| !log.contains(*secret)), "{log}");
}
