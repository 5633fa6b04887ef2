//! POP3 over a maildrop that IMAP fills and empties: octets, arithmetic of marks, and who has the maildrop.

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
};
use waypost_config::{Service, TlsMode};
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
