//! Hostile input on POP3.

use std::time::Duration;

use super::{Case, Protocol, Target, Way, case};

const STRANGER: Protocol =
    Protocol { service: "pop3", prelude: &[("", "+OK ")], alive: ("CAPA\r\n", "+OK ") };
const USER: Protocol = Protocol {
    service: "pop3",
    prelude: &[("", "+OK "), ("USER alice@a.test\r\n", "+OK"), ("PASS secret word\r\n", "+OK ")],
    alive: ("NOOP\r\n", "+OK"),
};

fn before_login() -> Vec<Case> {
    let junk: String = (0..60_000).map(|line| format!("{line} \u{1}{}\r\n", "~".repeat(line % 90))).collect();
    vec![
        case("a long line", format!("USER {}\r\n", "x".repeat(300)), "-ERR the line is too long"),
        case("a line of 8 MiB", format!("{}\r\n", "x".repeat(8 << 20)), "-ERR the line is too long"),
        case("bare LF", "CAPA\n", "-ERR lines end with CRLF"),
        case("bare CR", "CA\rPA\r\n", "-ERR unknown command"),
        case("NUL", "CAPA\0\r\n", "-ERR "),
        case("octets that are not UTF-8", b"USER \xff\xfe\r\n", "-ERR "),
        case("an empty line", "\r\n", "-ERR unknown command"),
        case("a command of another state", "RETR 1\r\n", "-ERR not in this state"),
        case("PASS before USER", "PASS x\r\n", "-ERR "),
        case("USER without name", "USER\r\n", "-ERR wrong arguments"),
        case("an unknown mechanism", "AUTH NONSENSE\r\n", "-ERR "),
        case("AUTH with nonsense", "AUTH PLAIN\r\n", "+ ").then("!!!\r\n", "-ERR "),
        case("AUTH with a long line", "AUTH PLAIN\r\n", "+ ")
            .then(format!("{}\r\n", "A".repeat(20_000)), "-ERR the line is too long"),
        case("pipelined junk", junk, "-ERR too many errors").closes(),
        case("HTTP", format!("GET / HTTP/1.1\r\n{}\r\n", "Host: x\r\n".repeat(30)), "-ERR too many errors")
            .closes(),
        case(
            "TLS on a port without",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n".repeat(40),
            "-ERR too many errors",
        )
        .closes(),
    ]
}

fn logged_in() -> Vec<Case> {
    let mut cases = Vec::new();
    for number in
        ["0", "-1", "2147483648", "4294967296", "18446744073709551616", "1 2", "x", "", " 1", "+1", "1x"]
    {
        for command in ["RETR", "DELE", "LIST", "UIDL"] {
            // Without a number these two list all.
            if number.is_empty() && matches!(command, "LIST" | "UIDL") {
                continue;
            }
            cases.push(case(&format!("{command} {number:?}"), format!("{command} {number}\r\n"), "-ERR "));
        }
    }
    cases.extend([
        case("TOP of nothing", "TOP 1\r\n", "-ERR wrong arguments"),
        // More lines than there are are all (RFC 1939 section 7).
        case("TOP of a number of 30 digits", format!("TOP 1 {}\r\n", "9".repeat(30)), "\r\n.\r\n"),
        case("TOP of a negative number", "TOP 1 -1\r\n", "-ERR "),
        case("TOP of all", "TOP 1 4294967295\r\n", "\r\n.\r\n"),
        case("DELE twice", "DELE 1\r\nDELE 1\r\nRSET\r\n", "-ERR ").then("", "+OK"),
        case("RETR of what is deleted", "DELE 1\r\nRETR 1\r\nRSET\r\n", "-ERR ").then("", "+OK"),
        case("login again", "USER alice@a.test\r\n", "-ERR not in this state"),
        case("STLS after login", "STLS\r\n", "-ERR "),
    ]);
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pop3_lines_order_and_numbers() {
    let mut target = Target::start().await;
    target.run(&STRANGER, &[Way::Plain], &before_login()).await;
    target.run(&USER, &[Way::Tls], &logged_in()).await;
    target.finish().await.finish().await;
}

/// A client that deletes and vanishes, half or whole, has deleted nothing; one that never reads stops only itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pop3_that_stops_in_the_middle() {
    let mut target = Target::start().await;
    for half in [true, false] {
        let mut peer = target.connect("pop3", Way::Plain).await;
        peer.send(b"USER alice@a.test\r\nPASS secret word\r\nDELE 1\r\n").await;
        for _ in 0..4 {
            peer.until("+OK", "half closed").await;
        }
        if half {
            peer.half_close().await;
            peer.end("half closed").await;
        }
        drop(peer);
        target.is_well("half closed").await;
    }
    let text = format!("{}\r\n", "x".repeat(98)).repeat(8_000);
    let mut smtp = target.connect("smtp", Way::Plain).await;
    let message = format!("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<bob@a.test>\r\nDATA\r\n\r\n{text}.\r\n");
    smtp.send(message.as_bytes()).await;
    smtp.until(" accepted\r\n", "a large message").await;
    let mut peer = target.connect("pop3", Way::Plain).await;
    peer.send(b"USER bob@a.test\r\nPASS secret word\r\n").await;
    peer.until("+OK 1 messages", "login").await;
    let taken = peer.flood(&b"RETR 1\r\n".repeat(200), Duration::from_secs(2)).await;
    assert!(taken < 64 << 20, "{taken} octets were taken");
    target.is_well("a client that never reads").await;
    target.memory_is_bounded("a client that never reads");
    drop(peer);
    target.for_bob = 1;
    target.finish().await.finish().await;
}

/// Ten thousand commands in one piece: each is answered, in order, and the session is alive behind them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pop3_answers_a_flood_in_order() {
    const COMMANDS: usize = 10_000;
    let mut target = Target::start().await;
    let count = target.messages;
    // A command, what its answer begins with, and whether lines follow.
    let kinds = [
        ("NOOP", "+OK nothing".to_owned(), false),
        ("STAT", format!("+OK {count} "), false),
        ("LIST 1", "+OK 1 ".to_owned(), false),
        ("RETR 1", "+OK ".to_owned(), true),
        ("RETR 999", "-ERR no such message".to_owned(), false),
        ("TOP 2 0", "+OK top".to_owned(), true),
        ("UIDL", "+OK ".to_owned(), true),
        ("DELE 1", "+OK ".to_owned(), false),
        ("RETR 1", "-ERR this message is marked".to_owned(), false),
        ("RSET", format!("+OK {count} "), false),
    ];
    let mut peer = target.connect("pop3", Way::Plain).await;
    peer.send(b"USER alice@a.test\r\nPASS secret word\r\n").await;
    peer.until(" messages (", "login").await;
    peer.until("\r\n", "login").await;
    let commands = kinds.iter().cycle().take(COMMANDS);
    let flood: String = commands.clone().map(|(command, ..)| format!("{command}\r\n")).collect();
    peer.send(flood.as_bytes()).await;
    peer.send(b"QUIT\r\n").await;
    let said = peer.end("a flood").await;
    let mut lines = said.lines();
    for (place, (command, answer, is_long)) in commands.enumerate() {
        let line = lines.next().unwrap_or_default();
        assert!(line.starts_with(answer), "command {place}, {command}: {line}");
        if *is_long {
            assert!(lines.by_ref().any(|line| line == "."), "command {place}, {command} has no end");
        }
    }
    assert_eq!(lines.collect::<Vec<_>>(), [format!("+OK bye ({count} messages left)")]);
    target.memory_is_bounded("a flood");
    target.is_well("a flood").await;
    target.finish().await.finish().await;
}
