//! Messages from several sessions at once, one transaction after the other in each; a message counts once it is accepted and
//! IMAP shows it, or once the sink has it to which it is relayed.

use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::LocalSet;

use crate::{Words, smtp::Peer};

pub(crate) const DOMAIN: &str = "a.test";
pub(crate) const PASSWORD: &str = "secret";
/// Longest wait until what was accepted is in the mailboxes.
const VISIBLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Different texts.
const TEXTS: u64 = 16;
const WORDS: [&str; 16] = [
    "the",
    "letter",
    "of",
    "yesterday",
    "arrives",
    "with",
    "an",
    "answer",
    "to",
    "questions",
    "nobody",
    "had",
    "asked",
    "before",
    "Tuesday",
    "evening",
];

/// What all sessions share.
struct Load {
    smtp: SocketAddr,
    texts: Vec<String>,
    /// Messages accepted, by mailbox.
    accepted: Vec<Cell<u64>>,
    begun: Cell<u64>,
    end: Instant,
}

pub(crate) async fn run(words: &Words) -> serde_json::Value {
    let mailboxes: usize = words.of("mailboxes");
    let octets: usize = words.of("octets");
    let mut looks = Vec::new();
    if let Some(imap) = words.maybe("imap") {
        for number in 0..mailboxes {
            looks.push(Look::new(imap, number).await);
        }
    }
    let mut sink = match words.maybe("sink") {
        Some(address) => Some(Sink::new(address).await),
        None => None,
    };
    let begun = Instant::now();
    let load = Rc::new(Load {
        smtp: words.of("smtp"),
        texts: (0..TEXTS).map(|seed| text(seed, octets)).collect(),
        accepted: vec![Cell::new(0); mailboxes],
        begun: Cell::new(0),
        end: begun + words.seconds(),
    });
    let sessions: usize = words.of("sessions");
    let set = LocalSet::new();
    let tasks: Vec<_> = (0..sessions).map(|_| set.spawn_local(session(Rc::clone(&load)))).collect();
    set.await;
    for task in tasks {
        task.await.unwrap();
    }
    let accepted_seconds = begun.elapsed().as_secs_f64();
    for (look, accepted) in looks.iter_mut().zip(&load.accepted) {
        look.until(accepted.get()).await;
    }
    let messages: u64 = load.accepted.iter().map(Cell::get).sum();
    if let Some(sink) = &mut sink {
        sink.until(messages).await;
    }
    serde_json::json!({
        "messages": messages,
        "accepted_seconds": accepted_seconds,
        "seconds": begun.elapsed().as_secs_f64(),
    })
}

async fn session(load: Rc<Load>) {
    let mut peer = Peer::ehlo(load.smtp).await;
    while Instant::now() < load.end {
        let number = load.begun.replace(load.begun.get() + 1);
        let mailbox = number as usize % load.accepted.len();
        let to = address(mailbox);
        // Pipelined (RFC 2920), as servers send to each other.
        let envelope = format!("MAIL FROM:<sender@far.test>\r\nRCPT TO:<{to}>\r\nDATA\r\n");
        peer.send(envelope.as_bytes()).await;
        for code in ["250", "250", "354"] {
            peer.reply(code).await;
        }
        let message = message(&to, number, &load.texts[(number % TEXTS) as usize]);
        peer.send(message.as_bytes()).await;
        peer.reply("250").await;
        load.accepted[mailbox].set(load.accepted[mailbox].get() + 1);
    }
    peer.send(b"QUIT\r\n").await;
    peer.reply("221").await;
}

/// The account of a mailbox.
pub(crate) fn address(mailbox: usize) -> String {
    format!("user{mailbox}@{DOMAIN}")
}

/// A message as it is sent, with the dot at its end.
fn message(to: &str, number: u64, text: &str) -> String {
    format!(
        "Date: Sat, 21 Nov 2026 04:05:06 +0000\r\nFrom: Sender <sender@far.test>\r\nTo: <{to}>\r\n\
         Subject: message {number}\r\nMessage-ID: <{number:012}.load@far.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n{text}.\r\n"
    )
}

/// Lines of words in an order of their own, so that message and header have so many octets.
fn text(seed: u64, octets: usize) -> String {
    let header = message(&address(0), 0, "").len();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let (mut text, mut line) = (String::new(), 0);
    while text.len() + header + 2 < octets {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = WORDS[(state >> 32) as usize % WORDS.len()];
        text.push_str(word);
        line += word.len() + 1;
        if line > 66 {
            text.push_str("\r\n");
            line = 0;
        } else {
            text.push(' ');
        }
    }
    text.push_str("\r\n");
    text
}

/// An IMAP session that counts a mailbox.
struct Look {
    peer: Peer,
    before: u64,
}

impl Look {
    async fn new(imap: SocketAddr, mailbox: usize) -> Self {
        let mut peer = Peer::connect(imap).await;
        peer.line().await;
        peer.send(format!("a LOGIN {} {PASSWORD}\r\n", address(mailbox)).as_bytes()).await;
        loop {
            let line = peer.line().await;
            if line.starts_with("a ") {
                assert!(line.starts_with("a OK"), "{line}");
                break;
            }
        }
        let mut look = Self { peer, before: 0 };
        look.before = look.count().await;
        look
    }

    /// By EXAMINE, which shows the mailbox itself.
    async fn count(&mut self) -> u64 {
        self.peer.send(b"b EXAMINE INBOX\r\n").await;
        let mut count = None;
        loop {
            let line = self.peer.line().await;
            if line.starts_with("b ") {
                assert!(line.starts_with("b OK"), "{line}");
                return count.expect("EXAMINE is answered");
            }
            if let Some(digits) = line.strip_prefix("* ").and_then(|rest| rest.strip_suffix(" EXISTS\r\n")) {
                count = Some(digits.parse().unwrap());
            }
        }
    }

    /// Waits until so many more are there.
    async fn until(&mut self, accepted: u64) {
        let begun = Instant::now();
        loop {
            let shown = self.count().await - self.before;
            assert!(shown <= accepted, "{shown} messages are shown, {accepted} were accepted");
            if shown == accepted {
                return;
            }
            assert!(begun.elapsed() < VISIBLE_TIMEOUT, "{shown} of {accepted} messages are shown");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

/// A session that asks a null server how much it took.
struct Sink {
    peer: Peer,
    before: u64,
}

impl Sink {
    async fn new(address: SocketAddr) -> Self {
        let mut sink = Self { peer: Peer::ehlo(address).await, before: 0 };
        sink.before = sink.count().await;
        sink
    }

    async fn count(&mut self) -> u64 {
        self.peer.send(b"XCOUNT\r\n").await;
        let line = self.peer.line().await;
        line.strip_prefix("250 ").and_then(|rest| rest.trim_end().parse().ok()).expect("a count")
    }

    /// Waits until it took so many more.
    async fn until(&mut self, accepted: u64) {
        let begun = Instant::now();
        loop {
            let taken = self.count().await - self.before;
            assert!(taken <= accepted, "{taken} messages were relayed, {accepted} were accepted");
            if taken == accepted {
                return;
            }
            assert!(begun.elapsed() < VISIBLE_TIMEOUT, "{taken} of {accepted} messages were relayed");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}
