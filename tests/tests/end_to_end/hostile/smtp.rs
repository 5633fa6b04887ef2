//! Hostile input on SMTP and submission.

use std::time::Duration;

use waypost_tests::after_added_fields;

use super::{Case, Protocol, Target, Way, case};

const SMTP: Protocol = Protocol {
    service: "smtp",
    prelude: &[("", "220 "), ("EHLO c.test\r\n", "\r\n250 ")],
    alive: ("NOOP\r\n", "250 2.0.0 Ok\r\n"),
};
const BEGIN: &str = "MAIL FROM:<x@far.test>\r\nRCPT TO:<alice@a.test>\r\nDATA\r\n";

/// A message to alice, and what is answered to it.
fn data(name: &str, text: impl AsRef<[u8]>, expected: &str) -> Case {
    let sent = [BEGIN.as_bytes(), text.as_ref(), b"\r\n.\r\n"].concat();
    case(name, sent, expected)
}

fn lines() -> Vec<Case> {
    vec![
        case("a long command line", format!("NOOP {}\r\n", "x".repeat(3_000)), "500 5.5.2 Line too long"),
        case("a line of 8 MiB", format!("{}\r\n", "x".repeat(8 << 20)), "500 5.5.2 Line too long"),
        case(
            "a long AUTH line",
            format!("AUTH PLAIN {}\r\n", "A".repeat(20_000)),
            "500 5.5.6 Authentication exchange line is too long",
        ),
        case("bare LF", "NOOP\nNOOP\n", "500 5.5.2 Lines end with CRLF, not with LF alone")
            .then("", "500 5.5.2"),
        case("bare CR", "NO\rOP\r\n", "500 5.5.2 Characters that may not stand in a command"),
        case("bare CR in an argument", "MAIL FROM:<x@far\r.test>\r\n", "500 5.5.2"),
        case("NUL", "NOOP \0\r\n", "500 5.5.2 Characters that may not stand in a command"),
        case("octets that are not UTF-8", b"MAIL FROM:<\xff\xfe@far.test> SMTPUTF8\r\n", "500 5.5.2"),
        case("8-bit without SMTPUTF8", "MAIL FROM:<jörg@far.test>\r\n", "550 5.6.7"),
        case("an empty line", "\r\n", "500 5.5.2"),
    ]
}

fn order_and_parameters() -> Vec<Case> {
    let mail = |rest: &str| format!("MAIL FROM:<x@far.test>{rest}\r\n");
    vec![
        case("RCPT before MAIL", "RCPT TO:<alice@a.test>\r\n", "503 5.5.1 Send MAIL first"),
        case("DATA before MAIL", "DATA\r\n", "503 5.5.1 Send MAIL first"),
        case("DATA before RCPT", mail("") + "DATA\r\n", "554 5.5.1 No valid recipients"),
        case("MAIL in a transaction", mail("").repeat(2), "503 5.5.1 A transaction is open already"),
        case("MAIL after RSET", mail("") + "RSET\r\nRCPT TO:<alice@a.test>\r\n", "503 5.5.1 Send MAIL first"),
        case("AUTH without TLS", "AUTH PLAIN AGEAYg==\r\n", "538 5.7.11"),
        case("the end of data without DATA", ".\r\n", "500 5.5.2"),
        case("an unknown parameter", mail(" FOO=1"), "555 5.5.4 Unknown parameter FOO"),
        case("a parameter of RCPT", mail("") + "RCPT TO:<alice@a.test> FOO\r\n", "555 5.5.4"),
        case("a doubled parameter", mail(" SIZE=1 SIZE=1"), "501 5.5.4 Bad or repeated parameter SIZE"),
        case("an empty parameter", mail(" SIZE="), "501 5.5.4"),
        case("a parameter without name", mail(" =1"), "501 5.5.4"),
        case("a negative number", mail(" SIZE=-1"), "501 5.5.4"),
        case("a number of 30 digits", mail(&format!(" SIZE={}", "9".repeat(30))), "5"),
        case("an unknown body", mail(" BODY=9BIT"), "501 5.5.4"),
        case("a path in a path", "MAIL FROM:<<x@far.test>>\r\n", "501 5.1.7"),
        case("a path that does not end", "MAIL FROM:<x@far.test\r\n", "501 5.1.7"),
        case("an address literal of nonsense", "MAIL FROM:<x@[999.1.1.1]>\r\n", "501 5.1.7"),
        case("EHLO without name", "EHLO\r\n", "501 5.5.4"),
        case(
            "relaying",
            mail("") + "RCPT TO:<y@far.test>\r\n",
            "550 5.7.1 <y@far.test>: Relaying denied, log in first (session ",
        ),
        case("a relaying source route", mail("") + "RCPT TO:<@a.test:y@far.test>\r\n", "550 5.7.1"),
        case("a relaying percent sign", mail("") + "RCPT TO:<y%far.test@a.test>\r\n", "550 5.1.1"),
    ]
}

fn messages() -> Vec<Case> {
    let received = "Received: from x by y; Sat, 21 Nov 2026 04:05:06 +0000\r\n".repeat(120);
    let nested: String = (0..10_000)
        .map(|depth| format!("Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n--b{depth}\r\n"))
        .collect();
    let part = "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n".repeat(10_000);
    let large = "\r\n".to_owned() + &format!("{}\r\n", "x".repeat(998)).repeat(1_100);
    vec![
        data("a message over SIZE", &large, "552 5.3.4 The message is larger than this server takes"),
        case("SIZE over SIZE", "MAIL FROM:<x@far.test> SIZE=1048577\r\n", "552 5.3.4"),
        data(
            "a header without end",
            "X: yyyyyy\r\n".repeat(60_000),
            "552 5.3.4 The header of the message is too large",
        ),
        data(
            "a field without end",
            format!("X: {}", "y".repeat(900_000)),
            "552 5.3.4 The header of the message",
        ),
        data("120 Received", received, "554 5.4.6 Too many hops"),
        data("NUL in a message", "a\0b", "554 5.6.0 The message holds a NUL"),
        data("8-bit without 8BITMIME", b"Subject: \xe4\r\n\r\n\xff\xfe", " accepted\r\n").accepts(1),
        data("a text line of 900,000 octets", format!("\r\n{}", "x".repeat(900_000)), " accepted\r\n")
            .accepts(1),
        data("MIME nested 10,000 deep", &nested, " accepted\r\n").accepts(1),
        data(
            "10,000 parts",
            format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{part}"),
            " accepted\r\n",
        )
        .accepts(1),
        data(
            "10,000 parentheses",
            format!("From: {}\r\nTo: {}\r\n", "(".repeat(10_000), "a:".repeat(10_000)),
            " accepted\r\n",
        )
        .accepts(1),
        data("no header at all", "", " accepted\r\n").accepts(1),
    ]
}

/// What has been taken for the end of data somewhere: each is text here, and spoils the message.
const NO_ENDS: [&str; 18] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\r.\n",
    "\n.\r",
    "\r\n.\r\r\n",
    "\r\r\n.\r\r\n",
    "\n\n.\r\n\n",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\0\r\n.\0\r\n",
    "\r\n\r.\r\n",
    "\r\n.\n\r\n",
    "\n\r.\n\r",
    "\r\0\n.\r\0\n",
];

fn ends_of_data() -> Vec<Case> {
    let smuggled =
        "MAIL FROM:<evil@far.test>\r\nRCPT TO:<bob@a.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled";
    let spoiled = |end: &&str| {
        data(&format!("the end {end:?}"), format!("Subject: s\r\n\r\ns{end}{smuggled}"), "\r\n554 5.6.0 ")
    };
    NO_ENDS.iter().map(spoiled).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smtp_lines_order_and_parameters() {
    let mut target = Target::start().await;
    target.run(&SMTP, &[Way::Plain], &lines()).await;
    target.run(&SMTP, &[Way::Plain], &order_and_parameters()).await;
    target.finish().await.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smtp_messages() {
    let mut target = Target::start().await;
    target.run(&SMTP, &[Way::Plain], &messages()).await;
    target.run(&SMTP, &[Way::Plain], &ends_of_data()).await;
    let site = target.finish().await;
    for message in site.read_mailbox("alice", "INBOX").await {
        let bare = message.iter().enumerate().filter(|(at, octet)| match octet {
            b'\n' => *at == 0 || message[at - 1] != b'\r',
            b'\r' => message.get(at + 1) != Some(&b'\n'),
            octet => **octet == 0,
        });
        assert_eq!(bare.count(), 0, "{}", String::from_utf8_lossy(after_added_fields(&message)));
    }
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smtp_crowds_and_floods() {
    let mut target = Target::start().await;
    let junk: String = (0..60_000).map(|line| format!("{line} \u{1}{}\r\n", "~".repeat(line % 90))).collect();
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n".repeat(40);
    let cases = [
        case("pipelined junk", junk, "421 4.7.0 Too many errors, closing the connection").closes(),
        case(
            "HTTP",
            format!("GET / HTTP/1.1\r\n{}\r\n", "Host: x\r\n".repeat(30)),
            "421 4.7.0 Too many errors",
        )
        .closes(),
        case("TLS on a port without", hello, "421 4.7.0 Too many errors").closes(),
        case("NOOP for ever", "NOOP\r\n".repeat(10_000), "421 4.7.0 Too many commands that send no mail")
            .closes(),
    ];
    target.run(&SMTP, &[Way::Plain], &cases).await;
    ten_thousand_recipients(&mut target).await;
    half_closed(&mut target).await;
    never_reads(&mut target).await;
    target.finish().await.finish().await;
}

async fn ten_thousand_recipients(target: &mut Target) {
    let place = "10,000 recipients";
    let mut peer = target.connect("smtp", Way::Plain).await;
    let recipients = "RCPT TO:<alice@a.test>\r\n".repeat(10_000);
    peer.send(format!("EHLO c.test\r\nMAIL FROM:<x@far.test>\r\n{recipients}DATA\r\n").as_bytes()).await;
    let said = peer.until("354 ", place).await;
    assert_eq!(said.matches("250 2.1.5 ").count(), 1_000);
    assert_eq!(
        said.matches("452 4.5.3 Too many recipients, send the rest in another transaction").count(),
        9_000
    );
    peer.send(b"Subject: many\r\n\r\n.\r\nQUIT\r\n").await;
    peer.until(" accepted\r\n", place).await;
    peer.end(place).await;
    // One account, one message.
    target.messages += 1;
    target.is_well(place).await;
    target.memory_is_bounded(place);
}

async fn half_closed(target: &mut Target) {
    for (sent, expected) in [
        ("EHLO c.test\r\nNOOP\r\n", "250 2.0.0 Ok\r\n"),
        (&format!("EHLO c.test\r\n{BEGIN}half a mess"), "354 "),
    ] {
        let mut peer = target.connect("smtp", Way::Plain).await;
        peer.send(sent.as_bytes()).await;
        peer.half_close().await;
        peer.until(expected, "half closed").await;
        assert!(!peer.end("half closed").await.contains(" accepted"));
        target.is_well("half closed").await;
    }
}

async fn never_reads(target: &mut Target) {
    let mut peer = target.connect("smtp", Way::Plain).await;
    // Commands that are answered without end: recipients beyond the bound are no errors.
    peer.send(b"EHLO c.test\r\nMAIL FROM:<x@far.test>\r\n").await;
    // What the kernel holds for both sides, and a buffer of ours: after that the server takes no more.
    let taken = peer.flood(&b"RCPT TO:<alice@a.test>\r\n".repeat(1_000), Duration::from_secs(2)).await;
    assert!(taken < 64 << 20, "{taken} octets were taken");
    target.is_well("a client that never reads").await;
    target.memory_is_bounded("a client that never reads");
}
