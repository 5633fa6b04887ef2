//! The store's commands: what was deleted comes back, with and without a running server; check, rebuild, compact, purge.

use std::{fs, net::SocketAddr, path::Path};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use waypost_tests::{Client, Process, SiteBuilder, program, site::PASSWORD};

/// Says all at once and reads to the end.
async fn talk(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    said
}

/// The program on one configuration.
struct Program<'a> {
    home: &'a Path,
    config: String,
}

impl Program<'_> {
    fn store(&self, args: &[&str]) -> Client {
        let client = Client::new(program().to_str().unwrap(), self.home);
        client.args(["store"]).args(args.iter().copied()).env("WAYPOST_CONFIG", &self.config)
    }

    async fn json(&self, args: &[&str]) -> Vec<Value> {
        let said = self.store(args).args(["--json"]).run().await;
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

async fn maildrop(server: &Process, commands: &str) -> String {
    let pop3 = *server.service("pop3").last().unwrap();
    talk(pop3, &format!("USER alice@a.test\r\nPASS {PASSWORD}\r\n{commands}QUIT\r\n")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_mail_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = SiteBuilder::new("a.test").write(folder.path());
    let waypost = Program { home: folder.path(), config: config.display().to_string() };
    let server = Process::serve(&program(), &config).await;
    for subject in ["first", "second", "third"] {
        let message = format!("From: Bob <bob@far.test>\r\nSubject: {subject}\r\n\r\ntext\r\n.\r\nQUIT\r\n");
        let text =
            format!("EHLO c.test\r\nMAIL FROM:<bob@far.test>\r\nRCPT TO:<alice@a.test>\r\nDATA\r\n{message}");
        assert!(talk(server.service("smtp")[0], &text).await.contains(" accepted"));
    }
    assert!(waypost.store(&["undelete", "alice@a.test"]).run().await.contains("there are none"));
    assert!(maildrop(&server, "DELE 1\r\nDELE 3\r\n").await.contains("+OK bye (1 messages left)"));

    let deleted = waypost.json(&["undelete", "alice@a.test"]).await;
    let shown: Vec<_> =
        deleted.iter().map(|line| (&line["number"], &line["subject"], &line["mailbox"])).collect();
    assert_eq!(
        shown,
        [(&1.into(), &"first".into(), &"INBOX".into()), (&2.into(), &"third".into(), &"INBOX".into())]
    );
    let text = waypost.store(&["undelete", "alice@a.test"]).run().await;
    assert!(text.contains("Bob <bob@far.test>  first") && text.contains("INBOX UID 1"), "{text}");
    let back = waypost.store(&["undelete", "alice@a.test", "1"]).run().await;
    assert_eq!(back.trim(), "1 is back in INBOX as UID 4");
    assert!(maildrop(&server, "STAT\r\n").await.contains("\r\n+OK 2 "));
    // What is there now, as of a time far ahead; and nothing of long ago.
    let then = waypost.json(&["undelete", "alice@a.test", "--as-of", "2100-01-01T00:00:00Z"]).await;
    assert_eq!(then.iter().map(|line| line["uid"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(waypost.json(&["undelete", "alice@a.test", "--as-of", "2000-01-01T00:00:00Z"]).await.len(), 0);

    for (args, expected) in [
        (&["undelete", "alice@a.test", "1"][..], "none of these can be brought back"),
        (&["undelete", "nobody@a.test"], "there is no account nobody@a.test"),
        (&["undelete", "alice@a.test", "--as-of", "yesterday"], "yesterday is no time like"),
        (&["undelete", "alice@a.test", "--all", "--to", "nowhere"], "there is no mailbox nowhere"),
    ] {
        let said = waypost.store(args).output().await;
        assert!(said.code == 1 && said.text.contains(expected), "{args:?}: {}", said.text);
    }
    assert!(waypost.store(&["check"]).run().await.contains("the store is sound"));
    assert!(waypost.store(&["rebuild"]).run().await.contains("it holds 2 messages"));
    server.signal("TERM").await;
    assert_eq!(server.end().await.0, Some(0));

    // The same without a server.
    let back =
        waypost.json(&["undelete", "alice@a.test", "--all", "--mailbox", "INBOX", "--to", "Archive"]).await;
    assert_eq!((back.len(), &back[0]["mailbox"]), (1, &"Archive".into()));
    assert!(waypost.store(&["rebuild"]).run().await.contains("it holds 3 messages"));
    assert!(waypost.store(&["check"]).run().await.contains("the store is sound"));
    assert!(waypost.store(&["compact"]).run().await.contains("octets were given back"));
    assert!(waypost.store(&["purge", "alice@a.test"]).run().await.starts_with("0 deleted messages"));
}

/// Damage is named, and the exit code tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_names_damage() {
    let folder = tempfile::tempdir().unwrap();
    let config = SiteBuilder::new("a.test").write(folder.path());
    let waypost = Program { home: folder.path(), config: config.display().to_string() };
    let server = Process::serve(&program(), &config).await;
    let text = "EHLO c.test\r\nMAIL FROM:<bob@far.test>\r\nRCPT TO:<alice@a.test>\r\nDATA\r\nSubject: x\r\n\r\n\
                remarkable words\r\n.\r\nQUIT\r\n";
    assert!(talk(server.service("smtp")[0], text).await.contains(" accepted"));
    server.signal("TERM").await;
    assert_eq!(server.end().await.0, Some(0));
    let journal = fs::read_dir(folder.path().join("state/journal")).unwrap();
    let first = journal.map(|entry| entry.unwrap().path()).min().unwrap();
    let mut octets = fs::read(&first).unwrap();
    let found = octets.windows(16).position(|octets| octets == b"remarkable words").unwrap();
    octets[found] ^= 1;
    fs::write(&first, octets).unwrap();
    let said = waypost.store(&["check"]).output().await;
    assert!(
        said.code == 1 && said.text.contains("texts of entry") && said.text.contains("UID 1"),
        "{}",
        said.text
    );
    let said = waypost.store(&["compact"]).output().await;
    assert!(said.code == 1 && said.text.contains("nothing is compacted"), "{}", said.text);
}
