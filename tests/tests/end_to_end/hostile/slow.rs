//! Slow-loris over TCP: a client that says little, and never enough, is cut off by every protocol. The server runs in this process
//! and its clock is the runtime's, which stands still between an octet and the next: minutes pass at once.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, pause, resume, sleep, timeout},
};
use waypost_config::{Service, TlsMode};
use waypost_tests::{Site, SiteBuilder, site::PASSWORD};

use super::peer::base64;

const MINUTE: Duration = Duration::from_secs(60);

/// One slow client.
struct Case {
    name: &'static str,
    service: Service,
    tls: TlsMode,
    /// What it says at once, and the answer that shows that all was obeyed.
    prelude: (String, &'static str),
    /// What it says again and again, an octet or a command at a time.
    dribble: &'static [u8],
    every: Duration,
    /// What it is told last, and when at the latest.
    farewell: &'static str,
    at_most: Duration,
}

impl Case {
    fn new(name: &'static str, service: Service, tls: TlsMode) -> Self {
        let every = Duration::from_secs(20);
        let prelude = (String::new(), "");
        Self { name, service, tls, prelude, dribble: b"x", every, farewell: "", at_most: MINUTE }
    }

    fn after(mut self, prelude: impl Into<String>, answer: &'static str) -> Self {
        self.prelude = (prelude.into(), answer);
        self
    }

    fn says(mut self, dribble: &'static [u8], every: Duration) -> Self {
        (self.dribble, self.every) = (dribble, every);
        self
    }

    fn hears(mut self, farewell: &'static str, at_most: Duration) -> Self {
        (self.farewell, self.at_most) = (farewell, at_most);
        self
    }

    async fn run(&self, site: &Site) {
        let mut stream = TcpStream::connect(site.address(self.service, self.tls)).await.unwrap();
        let mut said = Vec::new();
        // Each service greets, and none but SMTP minds who speaks before it.
        while self.service == Service::Smtp && !said.ends_with(b"\r\n") {
            assert!(stream.read_buf(&mut said).await.unwrap() > 0, "{}: {said:?}", self.name);
        }
        stream.write_all(self.prelude.0.as_bytes()).await.unwrap();
        while !String::from_utf8_lossy(&said).contains(self.prelude.1) {
            assert!(stream.read_buf(&mut said).await.unwrap() > 0, "{}: {said:?}", self.name);
        }
        pause();
        let begun = Instant::now();
        let mut open = true;
        while open {
            // The server may have hung up already.
            drop(stream.write_all(self.dribble).await);
            let waited = begun.elapsed();
            assert!(waited <= self.at_most, "{}: still served after {waited:?}", self.name);
            let until = sleep(self.every);
            tokio::pin!(until);
            while open {
                tokio::select! {
                    biased;
                    read = stream.read_buf(&mut said) => open = read.unwrap_or(0) > 0,
                    () = &mut until => break,
                }
            }
        }
        resume();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.contains(self.farewell), "{}: {said}", self.name);
    }
}

#[tokio::test]
async fn the_slow_are_cut_off() {
    let site = SiteBuilder::new("a.test").one_runtime().start().await;
    let login = format!("a LOGIN alice@a.test \"{PASSWORD}\"\r\n");
    let plain = base64(format!("\0alice@a.test\0{PASSWORD}").as_bytes());
    let data = "EHLO c.test\r\nMAIL FROM:<x@far.test>\r\nRCPT TO:<alice@a.test>\r\nDATA\r\n";
    let [minutes_3, minutes_5, minutes_10, minutes_30] = [3, 5, 10, 30].map(|minutes| MINUTE * minutes);
    let slack = Duration::from_secs(60);
    for case in [
        Case::new("an SMTP command that never ends", Service::Smtp, TlsMode::StartTls)
            .hears("421 4.4.2 ", minutes_5 + slack),
        Case::new("NOOP on port 25", Service::Smtp, TlsMode::StartTls)
            .says(b"NOOP\r\n", MINUTE)
            .hears("421 4.7.0 ", minutes_30 + slack),
        Case::new("a message that never ends", Service::Smtp, TlsMode::StartTls)
            .after(data, "354 ")
            .hears("421 4.4.2 ", minutes_10 + slack),
        Case::new("NOOP for submission", Service::Submission, TlsMode::None)
            .says(b"NOOP\r\n", MINUTE)
            .hears("421 4.7.0 ", minutes_5 + slack),
        Case::new("a password that never ends", Service::Submission, TlsMode::None)
            .after("EHLO c.test\r\nAUTH PLAIN\r\n", "334 ")
            .hears("421 4.", minutes_5 + slack),
        Case::new("a user who says nothing useful", Service::Submission, TlsMode::None)
            .after(format!("EHLO c.test\r\nAUTH PLAIN {plain}\r\n"), "235 ")
            .hears("421 4.4.2 ", minutes_5 + slack),
        Case::new("IMAP before login", Service::Imap, TlsMode::None)
            .says(b"a NOOP\r\n", Duration::from_secs(50))
            .hears("* BYE ", minutes_3 + slack),
        Case::new("an IMAP command that never ends", Service::Imap, TlsMode::None)
            .after(&login, "a OK ")
            .says(b"x", minutes_5)
            .hears("* BYE ", minutes_30 + minutes_5),
        Case::new("an IMAP literal that never ends", Service::Imap, TlsMode::None)
            .after(format!("{login}b APPEND INBOX {{1000000}}\r\n"), "+ ")
            .says(b"x", minutes_5)
            .hears("* BYE ", minutes_30 + minutes_5),
        Case::new("IDLE that is never renewed", Service::Imap, TlsMode::None)
            .after(format!("{login}b SELECT INBOX\r\nc IDLE\r\n"), "+ ")
            .says(b"x", minutes_5)
            .hears("* BYE ", minutes_30 + minutes_5),
        Case::new("POP3 before login", Service::Pop3, TlsMode::None)
            .says(b"CAPA\r\n", Duration::from_secs(50))
            .hears("+OK", minutes_3 + slack),
        Case::new("a POP3 command that never ends", Service::Pop3, TlsMode::None)
            .after(format!("USER alice@a.test\r\nPASS {PASSWORD}\r\n"), "messages")
            .says(b"x", MINUTE)
            .hears("+OK", minutes_10 + slack),
        Case::new("a TLS handshake that never ends", Service::Imap, TlsMode::Implicit)
            .says(b"\x16", Duration::from_secs(5))
            .hears("", Duration::from_secs(60)),
    ] {
        let whole = timeout(Duration::from_secs(3600 * 24), case.run(&site)).await;
        whole.unwrap_or_else(|_| panic!("{}: never ended", case.name));
    }
    assert!(site.read_mailbox("alice", "INBOX").await.is_empty());
    site.finish().await;
}
