//! Maildrops under contention: sessions that race for one, break off in the middle, or have their mail removed by IMAP meanwhile.

use std::{collections::BTreeSet, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufStream},
    net::TcpSocket,
    task::JoinSet,
};
use waypost_config::{Service, TlsMode};
use waypost_tests::{Site, SiteBuilder, site::PASSWORD};

use crate::maildrop::Line;

/// More than the buffers between server and client take.
const LARGE_LINES: usize = 100_000;

fn small(number: usize) -> Vec<u8> {
    format!("Subject: {number}\r\n\r\nmessage {number}\r\n").into_bytes()
}

/// Some 8 MiB, with dots to be stuffed on both sides of any cut.
fn large() -> Vec<u8> {
    let mut message = b"Subject: large\r\n\r\n".to_vec();
    for line in 0..LARGE_LINES {
        message.extend(format!("{}line {line} {}\r\n", ".".repeat(line % 4), "x".repeat(line % 137)).bytes());
    }
    message
}

/// A session without the maildrop gets it, once others have given it up.
async fn maildrop(site: &Site) -> Line {
    loop {
        let mut line = Line::pop3(site).await;
        let answer = line.ask(&format!("PASS {PASSWORD}")).await;
        if answer.starts_with("+OK") {
            return line;
        }
        assert!(answer.starts_with("-ERR [IN-USE]"), "{answer}");
    }
}

/// A session whose client takes little at once.
async fn narrow(address: SocketAddr) -> Line {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut line = Line(BufStream::new(socket.connect(address).await.unwrap()));
    line.read().await;
    assert!(line.ask("USER alice@a.test").await.starts_with("+OK"));
    line
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sessions_that_log_in_at_once_one_gets_the_maildrop() {
    let site = SiteBuilder::new("a.test").start().await;
    site.append("alice", "INBOX", &[small(1)]).await;
    for round in 0..20 {
        let mut racing = JoinSet::new();
        for _ in 0..8 {
            let mut line = Line::pop3(&site).await;
            racing.spawn(async move { (line.ask(&format!("PASS {PASSWORD}")).await, line) });
        }
        let answers = racing.join_all().await;
        let (winners, losers): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|(answer, _)| answer.starts_with("+OK"));
        assert_eq!(winners.len(), 1, "round {round}");
        assert!(losers.iter().all(|(answer, _)| answer.starts_with("-ERR [IN-USE]")), "round {round}");
        for (_, mut winner) in winners {
            assert_eq!(winner.all("LIST").await, format!("1 {}\r\n", small(1).len()));
            assert!(winner.ask("QUIT").await.starts_with("+OK"));
        }
        // One that was too late gets it then.
        let (_, mut loser) = losers.into_iter().next().unwrap();
        assert!(loser.ask("USER alice@a.test").await.starts_with("+OK"));
        assert!(loser.ask(&format!("PASS {PASSWORD}")).await.starts_with("+OK"));
        assert!(loser.ask("QUIT").await.starts_with("+OK"));
    }
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_that_empty_a_maildrop_take_each_message_once() {
    const MESSAGES: usize = 40;
    let site = SiteBuilder::new("a.test").start().await;
    let messages: Vec<_> = (0..MESSAGES).map(small).collect();
    site.append("alice", "INBOX", &messages).await;
    let empty = async || {
        let mut taken = Vec::new();
        loop {
            let mut line = maildrop(&site).await;
            if line.ask("STAT").await == "+OK 0 0" {
                assert!(line.ask("QUIT").await.starts_with("+OK"));
                return taken;
            }
            taken.push(line.all("RETR 1").await.into_bytes());
            assert!(line.ask("DELE 1").await.starts_with("+OK"));
            assert!(line.ask("QUIT").await.starts_with("+OK"));
        }
    };
    let (first, second) = tokio::join!(empty(), empty());
    assert_eq!(first.len() + second.len(), MESSAGES);
    let taken: BTreeSet<_> = first.into_iter().chain(second).collect();
    assert_eq!(taken, messages.into_iter().collect());
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_off_deletes_nothing_and_gives_the_maildrop_up() {
    let site = SiteBuilder::new("a.test").start().await;
    let (large, small) = (large(), small(2));
    let length = small.len();
    site.append("alice", "INBOX", &[large.clone(), small]).await;
    // In the middle of RETR, with the rest unread.
    for read in [0, 1, 100_000, 1_000_000] {
        let mut line = maildrop(&site).await;
        assert!(line.ask("DELE 2").await.starts_with("+OK"));
        line.send("RETR 1\r\n").await;
        line.0.read_exact(&mut vec![0; read]).await.unwrap();
        drop(line);
    }
    // Before QUIT is complete.
    for words in ["", "QUI", "QUIT", "QUIT\r", "QUIT\n", "QUIT \r\n"] {
        let mut line = maildrop(&site).await;
        assert!(line.ask("DELE 1").await.starts_with("+OK"));
        line.send(words).await;
        line.0.shutdown().await.unwrap();
        drop(line);
    }
    let mut line = maildrop(&site).await;
    assert_eq!(line.all("LIST").await.lines().count(), 2);
    assert!(line.all("RETR 1").await.as_bytes() == stuffed(&large), "the message is not what was stored");
    // The answer is lost, not the command.
    assert!(line.ask("DELE 1").await.starts_with("+OK"));
    line.send("QUIT\r\n").await;
    drop(line);
    let mut line = maildrop(&site).await;
    assert_eq!(line.ask("STAT").await, format!("+OK 1 {length}"));
    assert!(line.ask("QUIT").await.starts_with("+OK"));
    site.finish().await;
}

fn stuffed(message: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(message.to_vec()).unwrap();
    text.replace("\r\n.", "\r\n..").into_bytes()
}

/// A message that goes while it is sent comes whole, or the connection ends before the reply does: never the end of a message that is
/// not all there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imap_expunges_and_mail_arrives_in_the_middle_of_retr() {
    let site = SiteBuilder::new("a.test").with("[storage]\nretention = \"0\"").start().await;
    let large = large();
    site.append("alice", "INBOX", &[large.clone(), small(2)]).await;
    let mut pop3 = narrow(site.address(Service::Pop3, TlsMode::None)).await;
    assert!(pop3.ask(&format!("PASS {PASSWORD}")).await.starts_with("+OK"));
    assert!(pop3.ask("RETR 1").await.starts_with("+OK"));
    let mut imap = Line::imap(&site).await;
    imap.run("SELECT INBOX").await;
    imap.run("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    imap.run("EXPUNGE").await;
    imap.append("Subject: 3\r\n\r\nnew\r\n").await;
    // Its octets go, too.
    site.store().release_expired().await.unwrap();
    site.store().compact().await.unwrap();
    let mut rest = Vec::new();
    let whole = [&stuffed(&large)[..], b".\r\n"].concat();
    while rest.len() < whole.len() {
        if pop3.0.read_buf(&mut rest).await.unwrap_or(0) == 0 {
            break;
        }
    }
    assert!(whole.starts_with(&rest), "octets that are not of this message");
    if rest.len() == whole.len() {
        assert!(pop3.ask("RETR 1").await.starts_with("-ERR"));
        assert_eq!(pop3.all("RETR 2").await.as_bytes(), small(2));
        assert_eq!(pop3.all("UIDL").await.lines().count(), 2, "new mail is of the next session");
        assert!(pop3.ask("QUIT").await.starts_with("+OK"));
    }
    drop(pop3);
    let mut next = maildrop(&site).await;
    assert_eq!(next.all("RETR 1").await.as_bytes(), small(2));
    assert_eq!(next.all("RETR 2").await, "Subject: 3\r\n\r\nnew\r\n");
    assert!(next.ask("QUIT").await.starts_with("+OK"));
    site.finish().await;
}
