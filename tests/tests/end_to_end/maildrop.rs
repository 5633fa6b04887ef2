//! POP3 over a maildrop that IMAP fills and empties: octets, arithmetic of marks, and who has the maildrop.

use std::sync::Arc;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
};
use waypost_config::{Service, TlsMode};
use waypost_mail::Timestamp;
use waypost_server::{Parts, Server, start::Clock};
use waypost_tests::{Site, SiteBuilder, site::PASSWORD};

/// A connection that speaks in lines.
pub(crate) struct Line(pub(crate) BufStream<TcpStream>);

impl Line {
    pub(crate) async fn open(site: &Site, service: Service) -> Self {
        let mut line =
            Self(BufStream::new(TcpStream::connect(site.address(service, TlsMode::None)).await.unwrap()));
        line.read().await;
        line
    }

    pub(crate) async fn pop3(site: &Site) -> Self {
        let mut line = Self::open(site, Service::Pop3).await;
        assert!(line.ask("USER alice@a.test").await.starts_with("+OK"));
        line
    }

    pub(crate) async fn maildrop(site: &Site) -> Self {
        let mut line = Self::pop3(site).await;
        assert!(line.ask(&format!("PASS {PASSWORD}")).await.starts_with("+OK "));
        line
    }

    pub(crate) async fn imap(site: &Site) -> Self {
        let mut line = Self::open(site, Service::Imap).await;
        line.run(&format!("LOGIN alice@a.test \"{PASSWORD}\"")).await;
        line
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    pub(crate) async fn read(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line
    }

    /// One line in, one line out, without its end.
    pub(crate) async fn ask(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n")).await;
        self.read().await.trim_end().to_owned()
    }

    /// A multi-line reply without its first and its last line.
    pub(crate) async fn all(&mut self, line: &str) -> String {
        let first = self.ask(line).await;
        assert!(first.starts_with("+OK"), "{line}: {first}");
        let mut reply = String::new();
        loop {
            match self.read().await.as_str() {
                ".\r\n" => return reply,
                "" => panic!("{line}: the reply does not end: {reply}"),
                line => reply.push_str(line),
            }
        }
    }

    /// An IMAP command that goes well; its untagged lines.
    pub(crate) async fn run(&mut self, command: &str) -> String {
        self.send(&format!("t {command}\r\n")).await;
        let mut said = String::new();
        loop {
            let line = self.read().await;
            if line.starts_with("t ") || line.is_empty() {
                assert!(line.starts_with("t OK"), "{command}: {line}");
                return said;
            }
            said.push_str(&line);
        }
    }

    pub(crate) async fn append(&mut self, message: &str) {
        self.run(&format!("APPEND INBOX {{{}+}}\r\n{message}", message.len())).await;
    }

    pub(crate) async fn ends(mut self) {
        assert_eq!(self.0.read(&mut [0; 9]).await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pop3_gives_messages_to_the_octet() {
    let site = SiteBuilder::new("a.test").start().await;
    let mut imap = Line::imap(&site).await;
    for message in [
        "A: 1\r\n\r\n.\r\n..two\r\nno end",
        "A: 2\r\n\r\none\r\n.\r\nthree\r\n",
        "A: only a header\r\n",
        "A: 4\r\n\r\n.",
    ] {
        imap.append(message).await;
    }
    let mut pop3 = Line::maildrop(&site).await;
    assert_eq!(pop3.ask("STAT").await, "+OK 4 74");
    assert_eq!(pop3.all("LIST").await, "1 24\r\n2 23\r\n3 18\r\n4 9\r\n");
    assert_eq!(pop3.all("RETR 1").await, "A: 1\r\n\r\n..\r\n...two\r\nno end\r\n");
    assert_eq!(pop3.all("RETR 2").await, "A: 2\r\n\r\none\r\n..\r\nthree\r\n");
    assert_eq!(pop3.all("RETR 3").await, "A: only a header\r\n");
    assert_eq!(pop3.all("RETR 4").await, "A: 4\r\n\r\n..\r\n");
    assert_eq!(pop3.all("TOP 1 0").await, "A: 1\r\n\r\n");
    assert_eq!(pop3.all("TOP 1 1").await, "A: 1\r\n\r\n..\r\n");
    assert_eq!(pop3.all("TOP 1 2").await, "A: 1\r\n\r\n..\r\n...two\r\n");
    assert_eq!(pop3.all("TOP 1 99").await, "A: 1\r\n\r\n..\r\n...two\r\nno end\r\n");
    assert_eq!(pop3.all("TOP 3 5").await, "A: only a header\r\n");
    for wrong in ["TOP 1", "TOP 5 0", "TOP 0 0", "RETR 5", "RETR", "LIST 5", "UIDL 0", "DELE 5", "TOP 1 -1"] {
        assert!(pop3.ask(wrong).await.starts_with("-ERR "), "{wrong}");
    }
    assert!(pop3.ask("QUIT").await.starts_with("+OK"));
    pop3.ends().await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pop3_deletes_at_quit_and_only_then() {
    let site = SiteBuilder::new("a.test").start().await;
    let mut imap = Line::imap(&site).await;
    for number in 1..=3 {
        imap.append(&format!("A: {}\r\n\r\n", "x".repeat(number))).await;
    }
    let mut pop3 = Line::maildrop(&site).await;
    let uidls = pop3.all("UIDL").await;
    let second = uidls.lines().nth(1).unwrap().to_owned();
    assert_eq!(pop3.ask("UIDL 2").await, format!("+OK {second}"));
    assert_eq!(pop3.ask("STAT").await, "+OK 3 27");
    assert!(pop3.ask("DELE 1").await.starts_with("+OK"));
    assert_eq!(pop3.ask("STAT").await, "+OK 2 19");
    assert_eq!(pop3.all("LIST").await, "2 9\r\n3 10\r\n");
    for gone in ["DELE 1", "RETR 1", "LIST 1", "UIDL 1", "TOP 1 0"] {
        assert!(pop3.ask(gone).await.starts_with("-ERR"), "{gone}");
    }
    assert_eq!(pop3.ask("RSET").await, "+OK 3 27");
    assert_eq!(pop3.ask("LIST 1").await, "+OK 1 8");
    assert!(pop3.ask("DELE 2").await.starts_with("+OK"));
    // A connection that is lost deletes nothing, and gives the maildrop up.
    drop(pop3);
    let mut pop3 = loop {
        let mut next = Line::pop3(&site).await;
        let answer = next.ask(&format!("PASS {PASSWORD}")).await;
        if answer.starts_with("+OK") {
            break next;
        }
        assert!(answer.starts_with("-ERR [IN-USE]"), "{answer}");
    };
    assert_eq!(pop3.all("UIDL").await, uidls);
    // While it is open no other session gets it, but IMAP works on.
    let mut other = Line::pop3(&site).await;
    assert!(other.ask(&format!("PASS {PASSWORD}")).await.starts_with("-ERR [IN-USE]"));
    imap.run("SELECT INBOX").await;
    imap.run("STORE 3 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(imap.run("EXPUNGE").await.lines().next(), Some("* 3 EXPUNGE"));
    imap.append("A: new\r\n\r\n").await;
    assert_eq!(pop3.ask("STAT").await, "+OK 3 27");
    assert!(pop3.ask("RETR 3").await.starts_with("-ERR"));
    assert!(pop3.ask("TOP 3 0").await.starts_with("-ERR"));
    assert!(pop3.ask("DELE 3").await.starts_with("+OK"));
    assert!(pop3.ask("DELE 1").await.starts_with("+OK"));
    assert!(pop3.ask("QUIT").await.starts_with("+OK"));
    let left = imap.run("NOOP").await;
    assert!(left.starts_with("* 1 EXPUNGE\r\n"), "{left}");
    assert_eq!(imap.run("UID SEARCH ALL").await, "* SEARCH 2 4\r\n");
    assert!(other.ask("USER alice@a.test").await.starts_with("+OK"));
    assert!(other.ask(&format!("PASS {PASSWORD}")).await.starts_with("+OK"));
    let ids: Vec<String> = other.all("UIDL").await.lines().map(|line| line[2..].to_owned()).collect();
    assert_eq!(ids[0], second[2..]);
    assert!(!uidls.contains(&ids[1]));
    assert!(other.ask("QUIT").await.starts_with("+OK"));
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sessions_that_race_for_a_maildrop_one_gets_it() {
    let site = SiteBuilder::new("a.test").start().await;
    let mut imap = Line::imap(&site).await;
    imap.append("A: 1\r\n\r\n").await;
    for _ in 0..10 {
        let mut racing = Vec::new();
        for _ in 0..8 {
            let mut line = Line::pop3(&site).await;
            racing.push(tokio::spawn(async move {
                let answer = line.ask(&format!("PASS {PASSWORD}")).await;
                (line, answer)
            }));
        }
        let mut winners = Vec::new();
        for one in racing {
            let (line, answer) = one.await.unwrap();
            if answer.starts_with("+OK 1 ") {
                winners.push(line);
            } else {
                assert!(answer.starts_with("-ERR [IN-USE]"), "{answer}");
            }
        }
        assert_eq!(winners.len(), 1, "who has the maildrop");
        let mut winner = winners.pop().unwrap();
        assert_eq!(winner.ask("QUIT").await, "+OK bye");
    }
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_is_broken_off_leaves_all_as_it_was() {
    let site = SiteBuilder::new("a.test").domain("pop3_expire = \"0\"").start().await;
    let large = format!("A: 1\r\n\r\n{}", ".line of a large message\r\n".repeat(400_000));
    site.append("alice", "INBOX", &[large.clone().into_bytes(), b"A: 2\r\n\r\n".to_vec()]).await;
    let mut pop3 = Line::maildrop(&site).await;
    let uidls = pop3.all("UIDL").await;
    pop3.send("DELE 2\r\nRETR 1\r\n").await;
    for _ in 0..1000 {
        assert!(!pop3.read().await.is_empty());
    }
    drop(pop3);
    let mut again = loop {
        let mut next = Line::pop3(&site).await;
        let answer = next.ask(&format!("PASS {PASSWORD}")).await;
        if answer.starts_with("+OK") {
            break next;
        }
        assert!(answer.starts_with("-ERR [IN-USE]"), "{answer}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(again.all("UIDL").await, uidls);
    let retrieved = again.all("RETR 1").await;
    assert!(retrieved == large.replace("\r\n.", "\r\n.."), "{} octets", retrieved.len());
    assert_eq!(again.ask("QUIT").await, "+OK bye");
    assert_eq!(site.read_mailbox("alice", "INBOX").await.len(), 1, "what was retrieved goes at QUIT");
    site.finish().await;
}

/// Commands that come all at once are obeyed one after the other, and what is said is the same as if they had waited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_come_in_a_flood_are_all_answered() {
    const MESSAGES: usize = 300;
    let site = SiteBuilder::new("a.test").start().await;
    let message = |number: usize| format!("A: {number}\r\n\r\n.{}\r\n", "x".repeat(number));
    let messages: Vec<_> = (1..=MESSAGES).map(|number| message(number).into_bytes()).collect();
    site.append("alice", "INBOX", &messages).await;
    let mut flood = format!("USER alice@a.test\r\nPASS {PASSWORD}\r\nCAPA\r\nUIDL\r\n");
    let mut expected = String::new();
    for number in 1..=MESSAGES {
        flood.push_str(&format!(
            "LIST {number}\r\nRETR {number}\r\nTOP {number} 0\r\nDELE {number}\r\nRETR {number}\r\n"
        ));
        let message = message(number);
        let (size, sent) = (message.len(), message.replace("\r\n.", "\r\n.."));
        let top = format!("A: {number}\r\n\r\n");
        expected.push_str(&format!(
            "+OK {number} {size}\r\n+OK {size} octets\r\n{sent}.\r\n+OK top of message follows\r\n{top}.\r\n\
             +OK marked as deleted\r\n-ERR this message is marked as deleted\r\n"
        ));
    }
    let octets: usize = messages.iter().map(Vec::len).sum();
    expected.push_str(&format!("-ERR unknown command\r\n+OK {MESSAGES} {octets}\r\n+OK bye\r\n"));
    flood.push_str("NONSENSE\r\nRSET\r\nQUIT\r\nNOOP\r\n");
    let mut pop3 = Line::open(&site, Service::Pop3).await;
    let (mut reader, mut writer) = tokio::io::split(pop3.0.get_mut());
    let sent = async {
        writer.write_all(flood.as_bytes()).await.unwrap();
    };
    let mut said = Vec::new();
    let (_, read) = tokio::join!(sent, reader.read_to_end(&mut said));
    read.unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(said.ends_with(&expected), "{} octets", said.len());
    assert_eq!(site.read_mailbox("alice", "INBOX").await.len(), MESSAGES, "RSET took the marks away");
    site.finish().await;
}

/// A message keeps its unique-id wherever it goes, and no other one gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unique_ids_stay_with_their_messages() {
    let site = SiteBuilder::new("a.test").start().await;
    let mut imap = Line::imap(&site).await;
    for number in 1..=3 {
        imap.append(&format!("A: {number}\r\n\r\n")).await;
    }
    let ids = async || -> Vec<String> {
        let mut pop3 = Line::maildrop(&site).await;
        let ids =
            pop3.all("UIDL").await.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect();
        assert_eq!(pop3.ask("QUIT").await, "+OK bye");
        ids
    };
    let before = ids().await;
    imap.run("SELECT INBOX").await;
    // There and back: it stands last now.
    imap.run("MOVE 1 Archive").await;
    assert_eq!(ids().await, before[1..]);
    imap.run("SELECT Archive").await;
    imap.run("MOVE 1 INBOX").await;
    assert_eq!(ids().await, [&before[1..], &before[..1]].concat());
    // A copy is another message.
    imap.run("SELECT INBOX").await;
    imap.run("COPY 1 INBOX").await;
    let copied = ids().await;
    assert!(copied.len() == 4 && !before.contains(&copied[3]), "{copied:?}");
    // What was deleted and comes back is the same.
    imap.run("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    imap.run("EXPUNGE").await;
    assert_eq!(ids().await, copied[1..]);
    let account = site.store().account(site.account_id("alice")).await.unwrap();
    let deleted = account.retained().await.unwrap().iter().map(|retained| retained.id).collect();
    account.undelete(deleted, None).await.unwrap();
    assert_eq!(ids().await, [&copied[1..], &copied[..1]].concat());
    // And flags change nothing.
    imap.run("STORE 1:* +FLAGS.SILENT (\\Seen work)").await;
    assert_eq!(ids().await, [&copied[1..], &copied[..1]].concat());
    site.finish().await;
}

/// Over a restart: the server that comes back a week later removes what was retrieved, and only that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retrieved_messages_expire_over_a_restart() {
    const DAY: i64 = 86_400_000;
    let folder = tempfile::tempdir().unwrap();
    let config = SiteBuilder::new("a.test").domain("pop3_expire = \"7d\"").write(folder.path());
    let start = async |days: i64| {
        let now = Timestamp(1_800_000_000_000 + days * DAY);
        let clock = Clock(Arc::new(move || now));
        let parts = Parts { clock: Some(clock), ..Parts::default() };
        let running = Server::start(waypost_config::load(&config).unwrap(), parts).await.unwrap();
        Site { domain: "a.test".to_owned(), folder: tempfile::tempdir().unwrap(), running }
    };
    let site = start(0).await;
    site.append("alice", "INBOX", &[b"A: 1\r\n\r\n".to_vec(), b"A: 2\r\n\r\n".to_vec()]).await;
    let mut pop3 = Line::maildrop(&site).await;
    assert_eq!(pop3.all("RETR 2").await, "A: 2\r\n\r\n");
    assert_eq!(pop3.ask("QUIT").await, "+OK bye");
    site.finish().await;
    for (days, expected) in [(7, 2), (8, 1), (1000, 1)] {
        let site = start(days).await;
        for _ in 0..100 {
            if site.read_mailbox("alice", "INBOX").await.len() == expected {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert_eq!(site.read_mailbox("alice", "INBOX").await.len(), expected, "after {days} days");
        site.finish().await;
    }
}
