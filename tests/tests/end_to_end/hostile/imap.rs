//! Hostile input on IMAP.

use std::time::Duration;

use waypost_net::deflate::{Deflater, Inflated, Inflater};
use waypost_tests::site::PASSWORD;

use super::{Case, Peer, Protocol, Target, Way, case};

const STRANGER: Protocol =
    Protocol { service: "imap", prelude: &[("", "* OK ")], alive: ("alive NOOP\r\n", "alive OK ") };
const USER: Protocol = Protocol {
    service: "imap",
    prelude: &[
        ("", "* OK "),
        ("p LOGIN alice@a.test \"secret word\"\r\n", "p OK "),
        ("q SELECT INBOX\r\n", "q OK "),
    ],
    alive: ("alive NOOP\r\n", "alive OK "),
};

fn before_login() -> Vec<Case> {
    let junk: String = (0..60_000).map(|line| format!("{line} \u{1}{}\r\n", "~".repeat(line % 90))).collect();
    vec![
        case("a long line", format!("a NOOP {}\r\n", "x".repeat(9_000)), "a BAD "),
        case("a line of 8 MiB", format!("a NOOP {}\r\n", "x".repeat(8 << 20)), "a BAD "),
        case("a tag of 9,000 octets", format!("{} NOOP\r\n", "a".repeat(8_000)), "* BAD "),
        case("bare LF", "a NOOP\n", "a BAD "),
        case("bare CR", "a NO\rOP\r\n", "a BAD "),
        case("NUL", "a NOOP\0\r\n", "a BAD "),
        case("octets that are not UTF-8", b"a LOGIN \xff\xfe x\r\n", "a BAD "),
        case("an empty line", "\r\n", "* BAD "),
        case("a tag alone", "a\r\n", "BAD "),
        case("a command of another state", "a SELECT INBOX\r\n", "a BAD "),
        case("FETCH before login", "a FETCH 1 BODY[]\r\n", "a BAD "),
        case("DONE without IDLE", "DONE\r\n", "BAD "),
        case("a doubled argument", "a LOGIN a b c\r\n", "a BAD "),
        case("an empty argument", "a LOGIN  b\r\n", "a BAD "),
        case("an empty login", "a LOGIN \"\" \"\"\r\n", "a NO "),
        case("a literal of 4 GiB", "a LOGIN {4294967296}\r\n", "a BAD [TOOBIG]"),
        case("a literal of 4 GiB that comes at once", "a LOGIN {4294967296+}\r\n", "* BYE [TOOBIG]").closes(),
        case("a literal beyond 64 bits", "a LOGIN {99999999999999999999999}\r\n", "a BAD "),
        case("a literal of -1", "a LOGIN {-1}\r\n", "a BAD "),
        case("a literal of nonsense", "a LOGIN {12x}\r\n", "a BAD "),
        case("a literal without number", "a LOGIN {}\r\n", "a BAD "),
        case(
            "a literal that is skipped",
            [&b"a LOGIN {200000+}\r\n"[..], &[b'\n'; 200_000], b" x\r\n"].concat(),
            "a BAD [TOOBIG]",
        ),
        case("AUTHENTICATE with nonsense", "a AUTHENTICATE PLAIN\r\n", "+ ").then("!!!\r\n", "a BAD "),
        case("AUTHENTICATE with a long line", "a AUTHENTICATE PLAIN\r\n", "+ ")
            .then(format!("{}\r\n", "A".repeat(20_000)), "BAD "),
        case("pipelined junk", junk, "* BYE [LIMIT] too many errors").closes(),
        case(
            "HTTP",
            format!("GET / HTTP/1.1\r\n{}\r\n", "Host: x\r\n".repeat(60)),
            "* BYE [LIMIT] too many errors",
        )
        .closes(),
        case(
            "TLS on a port without",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n".repeat(80),
            "* BYE [LIMIT] too many errors",
        )
        .closes(),
    ]
}

fn selected() -> Vec<Case> {
    let sets = |ranges: usize| vec!["1:2"; ranges].join(",");
    let deep = |open: &str, inside: &str, close: &str| {
        format!("a SEARCH {}{inside}{}\r\n", open.repeat(10_000), close.repeat(10_000))
    };
    let keys = format!("({})", vec!["1"; 1_000].join(" "));
    vec![
        case("a line of 200,000 octets", format!("a NOOP {}\r\n", "x".repeat(200_000)), "a BAD "),
        case("parentheses 10,000 deep", deep("(", "ALL", ")"), "a NO [LIMIT]"),
        case("NOT 10,000 deep", deep("NOT ", "ALL", ""), "a NO [LIMIT]"),
        case("OR 10,000 deep", deep("OR ALL ", "ALL", ""), "a NO [LIMIT]"),
        case("parentheses that do not close", format!("a FETCH 1 {}\r\n", "(".repeat(10_000)), "a BAD "),
        case(
            "a section 10,000 deep",
            format!("a FETCH 1 BODY[{}1]\r\n", "1.".repeat(10_000)),
            "a NO [LIMIT]",
        ),
        case(
            "10,000 parts of LIST",
            format!("a LIST \"\" ({})\r\n", vec!["x"; 10_000].join(" ")),
            "a NO [LIMIT]",
        ),
        case("a set of a million ranges", format!("a FETCH {} UID\r\n", sets(1_000_000)), "a BAD "),
        case("a set of 30,000 ranges", format!("a FETCH {} UID\r\n", sets(30_000)), "a NO [LIMIT]"),
        case("a set of 9,000 ranges", format!("a FETCH {} UID\r\n", sets(9_000)), "a OK "),
        case("a pattern of 50,000 wildcards", format!("a LIST \"\" {}\r\n", "%*".repeat(25_000)), "a OK "),
        case(
            "a pattern of 40,000 octets",
            format!("a LIST \"\" {}\r\n", "a%".repeat(20_000)),
            "a NO [LIMIT]",
        ),
        case("LSUB with the same", format!("a LSUB \"\" {}\r\n", "a%".repeat(20_000)), "a NO [LIMIT]"),
        case(
            "SEARCH of what is saved 1,000 times",
            format!("a SEARCH {}\r\n", vec!["$"; 1_000].join(" ")),
            "a OK ",
        ),
        case(
            "SEARCH with 60,000 keys",
            format!("a SEARCH ({})\r\n", vec![keys.as_str(); 60].join(" ")),
            "a NO [LIMIT]",
        ),
        case(
            "SEARCH for 101 texts",
            format!("a SEARCH {}\r\n", vec!["TEXT x"; 101].join(" ")),
            "a NO [LIMIT]",
        ),
        case(
            "1,000 times the same item",
            format!("a FETCH 1 ({})\r\n", vec!["BODY[]"; 1_000].join(" ")),
            "a OK ",
        ),
        case(
            "a keyword of 200 octets",
            format!("a STORE 1 +FLAGS ({})\r\n", "k".repeat(200)),
            "a NO [LIMIT]",
        ),
        case("sequence number 0", "a FETCH 0 UID\r\n", "a BAD "),
        case("sequence number 2^32", "a FETCH 4294967296 UID\r\n", "a BAD "),
        case("a sequence number of 30 digits", format!("a FETCH {} UID\r\n", "9".repeat(30)), "a BAD "),
        case("a sequence number that is not there", "a FETCH 4294967295 UID\r\n", "a BAD "),
        case("UID 0", "a UID FETCH 0 FLAGS\r\n", "a BAD "),
        case("a UID that is not there", "a UID FETCH 4294967295 FLAGS\r\n", "a OK "),
        case("all UIDs", "a UID FETCH 1:4294967295 (UID)\r\n", "a OK "),
        case("a negative number", "a FETCH -1 UID\r\n", "a BAD "),
        case("an empty set", "a FETCH  UID\r\n", "a BAD "),
        case("a set with a hole", "a FETCH 1,,2 UID\r\n", "a BAD "),
        case("a part of 0 octets", "a FETCH 1 BODY[]<0.0>\r\n", "a BAD "),
        case("a part beyond 64 bits", format!("a FETCH 1 BODY[]<{}.1>\r\n", "9".repeat(30)), "a BAD "),
        case("a part behind the end", "a FETCH 1 BODY[]<4294967295.4294967295>\r\n", "a OK "),
        case("section 0", "a FETCH 1 BODY[0]\r\n", "a BAD "),
        case("section 2^32", "a FETCH 1 BODY[4294967296]\r\n", "a BAD "),
        case("SEARCH of a large number", format!("a SEARCH LARGER {}\r\n", "9".repeat(30)), "a BAD "),
        case("SEARCH of a day that is none", "a SEARCH SINCE 31-Feb-2026\r\n", "a BAD "),
        case("an unknown charset", "a SEARCH CHARSET KLINGON ALL\r\n", "a NO [BADCHARSET"),
        case("a flag of nonsense", "a STORE 1 FLAGS (\\\\)\r\n", "a BAD "),
        case("an unknown item", "a FETCH 1 NONSENSE\r\n", "a BAD "),
        case("login again", "a LOGIN alice@a.test x\r\n", "a BAD "),
    ]
}

fn appends() -> Vec<Case> {
    let append = |octets: usize| format!("a APPEND INBOX {{{octets}}}\r\n");
    let nested: String = (0..10_000)
        .map(|depth| format!("Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n--b{depth}\r\n"))
        .collect();
    let whole = |text: &str| (append(text.len()), format!("{text}\r\n"));
    let comments = format!("From: {}a@b.test\r\n\r\n", "(".repeat(10_000));
    let last = "b FETCH * (ENVELOPE BODYSTRUCTURE BODY[1.1.1.1])\r\n";
    let mut cases = vec![
        case("APPEND over the largest message", append(1 << 21), "a NO [TOOBIG]"),
        case("APPEND of 4 GiB", "a APPEND INBOX {4294967296}\r\n", "a NO [TOOBIG]"),
        case("APPEND of nonsense", "a APPEND INBOX {x}\r\n", "a BAD "),
        case("APPEND of nothing", "a APPEND INBOX\r\n", "a BAD "),
        case(
            "APPEND with a day that is none",
            "a APPEND INBOX \"99-Foo-2026 00:00:00 +0000\" {1}\r\n",
            "a BAD ",
        ),
        case("APPEND where nothing is", "a APPEND nowhere {1}\r\n", "a NO [TRYCREATE]"),
    ];
    for (name, text) in
        [("APPEND of MIME nested 10,000 deep", &nested), ("APPEND of 10,000 comments", &comments)]
    {
        let (command, octets) = whole(text);
        cases.push(case(name, command, "+ ").then(octets, "a OK ").then(last, "b OK ").accepts(1));
    }
    let (command, octets) = whole("a\0b");
    cases.push(case("APPEND with a NUL", command, "+ ").then(octets, "a BAD "));
    cases
}

/// Annotations without end (RFC 5464 section 4.3): each bound is told, and nothing of what is beyond it stays.
fn annotations() -> Vec<Case> {
    let set = |entries: usize, value: &str| {
        let entry = |number| format!("/private/vendor/x/{number} {value}");
        format!("a SETMETADATA INBOX ({})\r\n", (0..entries).map(entry).collect::<Vec<_>>().join(" "))
    };
    let named = |bytes: usize| format!("a SETMETADATA INBOX (/private/{} \"x\")\r\n", "n".repeat(bytes - 1));
    let quoted = |bytes: usize| format!("\"{}\"", "v".repeat(bytes));
    let asked = vec!["/private"; 1_000].join(" ");
    let anew = |value: &str| format!("a SETMETADATA INBOX (/private/comment {value})\r\n");
    let again = format!("{}{}", anew("\"x\""), anew("NIL")).repeat(100);
    vec![
        case("1,001 annotations at once", set(1_001, "\"x\""), "a NO [LIMIT]"),
        case("1,000 annotations at once", set(1_000, "\"x\""), "a NO [METADATA TOOMANY]"),
        case("as many as there may be", set(100, &quoted(1_024)), "a OK "),
        case("the same once more", set(100, &quoted(1_024)), "a OK "),
        case("one more", "a SETMETADATA INBOX (/private/more \"x\")\r\n", "a NO [METADATA TOOMANY]"),
        case(
            "all of them a thousand times",
            format!("a GETMETADATA (DEPTH infinity) INBOX ({asked})\r\n"),
            "a OK ",
        ),
        case("none of them any more", set(100, "NIL"), "a OK "),
        case("a value that is too large", set(1, &quoted(16_385)), "a NO [METADATA MAXSIZE 16384]"),
        case(
            "a value that is far too large",
            "a SETMETADATA INBOX (/private/comment ~{4294967296+}\r\n",
            "* BYE [TOOBIG]",
        )
        .closes(),
        case("a name of 1,000 octets", named(1_000), "a OK "),
        case("a name of 1,001 octets", named(1_001), "a BAD "),
        case(
            "a name of 1,000 levels",
            format!("a GETMETADATA INBOX /private{}\r\n", "/a".repeat(500)),
            "a OK ",
        ),
        case("an annotation of a flood", format!("{again}b NOOP\r\n"), "b OK "),
        case(
            "an annotation of the server",
            "a SETMETADATA \"\" (/shared/comment \"x\")\r\n",
            "a NO [NOPERM]",
        ),
    ]
}

/// One who is told of annotations, and never listens, while they change without end.
async fn never_listens(target: &mut Target) {
    let login = format!("p LOGIN alice@a.test \"{PASSWORD}\"\r\n");
    let mut deaf = target.connect("imap", Way::Plain).await;
    deaf.send(format!("{login}a ENABLE METADATA\r\nb SELECT INBOX\r\nc IDLE\r\n").as_bytes()).await;
    deaf.until("+ ", "idle").await;
    let mut other = target.connect("imap", Way::Plain).await;
    other.send(login.as_bytes()).await;
    for round in 0..10 {
        let entry = |number: usize| format!("/private/vendor/{}/{number} \"{round}\"", "x".repeat(900));
        let entries = (0..90).map(entry).collect::<Vec<_>>().join(" ");
        other.send(format!("a{round} SETMETADATA INBOX ({entries})\r\n").as_bytes()).await;
        other.until(&format!("a{round} OK "), "annotations").await;
    }
    target.is_well("one who never listens").await;
    target.memory_is_bounded("one who never listens");
}

/// What some octets are as DEFLATE.
fn deflated(octets: &[u8]) -> Vec<u8> {
    let (mut deflater, mut out) = (Deflater::default(), Vec::new());
    deflater.write(octets, &mut out).unwrap();
    deflater.flush(&mut out).unwrap();
    out
}

fn inflated(octets: &[u8]) -> String {
    let (mut inflater, mut out) = (Inflater::default(), Vec::new());
    inflater.feed(octets);
    while let Ok(Inflated::Octets(_)) = inflater.next(|octets| out.extend_from_slice(octets)) {}
    String::from_utf8_lossy(&out).into_owned()
}

/// Bombs: little that becomes much (RFC 4978 section 3). The server ends each session by itself, or is told to.
async fn bombs(target: &mut Target) {
    let logout = "z LOGOUT\r\n";
    let large = 64 << 20;
    let append = |bytes: usize| format!("a APPEND INBOX {{{bytes}+}}\r\n{}\r\n", "x".repeat(bytes));
    for (name, text, said) in [
        ("a line of 64 MiB", format!("a NOOP {}\r\n{logout}", "x".repeat(large)), "a BAD [LIMIT]"),
        ("a message of 64 MiB", format!("{}{logout}", append(large)), " [TOOBIG]"),
        (
            "a string of 64 MiB",
            format!("a SELECT {{{large}+}}\r\n{}\r\n{logout}", "x".repeat(large)),
            " [TOOBIG]",
        ),
        ("16 million empty lines", "\r\n".repeat(16 << 20), "* BYE [LIMIT] too many errors"),
        ("100,000 commands", format!("{}{logout}", "a NOOP\r\n".repeat(100_000)), "a OK "),
        (
            "a search of a million keys",
            format!("a SEARCH {}ALL\r\n{logout}", "NOT ".repeat(1 << 20)),
            "a BAD [LIMIT]",
        ),
    ] {
        let bomb = deflated(text.as_bytes());
        assert!(bomb.len() < text.len() / 100, "{name}: {} octets", bomb.len());
        let mut peer = compressing(target).await;
        peer.send(&bomb).await;
        let answered = inflated(&peer.end_octets(name).await);
        assert!(answered.contains(said), "{name}: {answered:.300}");
        target.is_well(name).await;
        target.memory_is_bounded(name);
    }
    // What is no DEFLATE at all, and a bomb in a bomb, which is only octets.
    for (name, octets) in
        [("no DEFLATE", vec![0xff; 1 << 20]), ("a bomb in a bomb", deflated(&deflated(&vec![b'x'; large])))]
    {
        let mut peer = compressing(target).await;
        peer.send(&octets).await;
        peer.half_close().await;
        drop(peer.end_octets(name).await);
        target.is_well(name).await;
        target.memory_is_bounded(name);
    }
}

/// A user from whom everything comes compressed.
async fn compressing(target: &Target) -> Peer {
    let mut peer = target.connect("imap", Way::Plain).await;
    peer.send(format!("p LOGIN alice@a.test \"{PASSWORD}\"\r\nq SELECT INBOX\r\n").as_bytes()).await;
    peer.until("q OK [READ-WRITE] selected\r\n", "select").await;
    peer.send(b"c COMPRESS DEFLATE\r\n").await;
    peer.until("c OK DEFLATE active\r\n", "compress").await;
    peer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imap_bombs() {
    let mut target = Target::start().await;
    bombs(&mut target).await;
    target.finish().await.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imap_annotations() {
    let mut target = Target::start().await;
    target.run(&USER, &[Way::Plain], &annotations()).await;
    never_listens(&mut target).await;
    target.finish().await.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imap_strangers() {
    let mut target = Target::start().await;
    target.run(&STRANGER, &[Way::Plain], &before_login()).await;
    target.finish().await.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imap_users() {
    let mut target = Target::start().await;
    target.run(&USER, &[Way::Tls], &selected()).await;
    target.run(&USER, &[Way::Plain], &appends()).await;
    target.finish().await.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imap_that_stops_in_the_middle() {
    let mut target = Target::start().await;
    half_closed(&mut target).await;
    never_reads(&mut target).await;
    target.finish().await.finish().await;
}

/// A client that goes away in a literal, or half: what it has said is answered, and nothing comes into the mailbox.
async fn half_closed(target: &mut Target) {
    let login = format!("p LOGIN alice@a.test \"{PASSWORD}\"\r\n");
    for (sent, expected) in [
        ("a NOOP\r\n".to_owned(), "a OK "),
        ("a LOGIN {10}\r\n".to_owned(), "+ "),
        (format!("{login}a APPEND INBOX {{1000}}\r\nhalf a mess"), "+ "),
        (format!("{login}a APPEND INBOX {{1000+}}\r\nhalf a mess"), "p OK "),
        (format!("{login}a IDLE\r\n"), "+ "),
    ] {
        for half in [true, false] {
            let place = &format!("{sent:?}, half closed: {half}");
            let mut peer = target.connect("imap", Way::Plain).await;
            peer.send(sent.as_bytes()).await;
            peer.until(expected, place).await;
            if half {
                peer.half_close().await;
                peer.end(place).await;
            }
            drop(peer);
            target.is_well(place).await;
        }
    }
}

/// 200 times a message of 800,000 octets is asked for, and never read.
async fn never_reads(target: &mut Target) {
    let text = "x".repeat(98) + "\r\n";
    let message = "Subject: large\r\n\r\n".to_owned() + &text.repeat(8_000);
    let mut peer = target.connect("imap", Way::Plain).await;
    let login = format!("p LOGIN alice@a.test \"{PASSWORD}\"\r\na APPEND INBOX {{{}}}\r\n", message.len());
    peer.send(login.as_bytes()).await;
    peer.until("+ ", "append").await;
    peer.send(format!("{message}\r\nb SELECT INBOX\r\n").as_bytes()).await;
    peer.until("b OK ", "select").await;
    target.messages += 1;
    let mut stuck = Vec::new();
    for _ in 0..10 {
        let mut peer = target.connect("imap", Way::Plain).await;
        peer.send(format!("{}b SELECT INBOX\r\n", login.split_inclusive("\r\n").next().unwrap()).as_bytes())
            .await;
        peer.until("b OK ", "select").await;
        let taken = peer.flood(&b"c FETCH * BODY[]\r\n".repeat(200), Duration::from_millis(300)).await;
        assert!(taken < 64 << 20, "{taken} octets were taken");
        stuck.push(peer);
    }
    target.is_well("clients that never read").await;
    target.memory_is_bounded("clients that never read");
}
