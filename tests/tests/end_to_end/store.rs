//! The store's commands: what was deleted comes back, with and without a running server; check, rebuild, compact, purge, backup, restore.

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
    let mut said = String::new();
    while !said.ends_with('\n') {
        said.push(char::from(stream.read_u8().await.unwrap()));
    }
    stream.write_all(text.as_bytes()).await.unwrap();
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

/// A message for alice.
async fn deliver(server: &Process, subject: &str) {
    let message = format!("From: Bob <bob@far.test>\r\nSubject: {subject}\r\n\r\ntext\r\n.\r\nQUIT\r\n");
    let text =
        format!("EHLO c.test\r\nMAIL FROM:<bob@far.test>\r\nRCPT TO:<alice@a.test>\r\nDATA\r\n{message}");
    assert!(talk(server.service("smtp")[0], &text).await.contains(" accepted"));
}

async fn stop(server: Process) {
    server.signal("TERM").await;
    assert_eq!(server.end().await.0, Some(0));
}

async fn uid_validity(server: &Process) -> String {
    let imap = *server.service("imap").last().unwrap();
    let said = talk(
        imap,
        &format!("a LOGIN alice@a.test \"{PASSWORD}\"\r\nb STATUS INBOX (UIDVALIDITY)\r\nc LOGOUT\r\n"),
    )
    .await;
    let (_, value) = said.split_once("(UIDVALIDITY ").unwrap_or_else(|| panic!("{said}"));
    value.split_once(')').unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_brings_all_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = SiteBuilder::new("a.test").write(folder.path());
    let waypost = Program { home: folder.path(), config: config.display().to_string() };
    let backup = folder.path().join("backup").display().to_string();
    let server = Process::serve(&program(), &config).await;
    deliver(&server, "first").await;
    let said = waypost.store(&["backup", &backup]).run().await;
    assert!(said.starts_with("backed up: "), "{said}");
    deliver(&server, "second").await;
    // What is new comes to what is there.
    waypost.store(&["backup", &backup]).run().await;
    assert!(waypost.store(&["backup", &backup, "--verify"]).run().await.contains("as it was written"));
    deliver(&server, "after the backup").await;
    let before = uid_validity(&server).await;
    let uidls = maildrop(&server, "UIDL\r\n").await;
    // A message that was erased comes back beside the others, once.
    assert!(maildrop(&server, "DELE 1\r\n").await.contains("2 messages left"));
    waypost.store(&["purge", "alice@a.test"]).run().await;
    for expected in
        ["brought back 1 messages; 1 are there already", "brought back 0 messages; 2 are there already"]
    {
        let said = waypost.store(&["restore", &backup, "--account", "alice@a.test"]).run().await;
        assert!(said.contains(expected), "{said}");
    }
    assert!(maildrop(&server, "STAT\r\n").await.contains("\r\n+OK 3 "));
    stop(server).await;

    // All of it, into an empty state only.
    let refused = waypost.store(&["restore", &backup]).output().await;
    assert!(refused.code == 1 && refused.text.contains("empty"), "{}", refused.text);
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    assert!(waypost.store(&["restore", &backup]).run().await.starts_with("restored "));
    let server = Process::serve(&program(), &config).await;
    let said = maildrop(&server, "STAT\r\nUIDL\r\n").await;
    assert!(said.contains("\r\n+OK 2 "), "{said}");
    // The messages have the unique-ids they had; those that come now have none that was given after the backup.
    deliver(&server, "after the restore").await;
    let now = maildrop(&server, "UIDL\r\n").await;
    let ids = |said: &str| {
        said.lines()
            .filter(|line| line.contains('.') && line.as_bytes()[0].is_ascii_digit())
            .map(|line| line[2..].to_owned())
            .collect::<Vec<_>>()
    };
    let (old, new) = (ids(&uidls), ids(&now));
    assert_eq!((old.len(), new.len(), &old[..2]), (3, 3, &new[..2]));
    assert!(!old.contains(&new[2]), "{old:?} {new:?}");
    assert_ne!(uid_validity(&server).await, before, "clients must read again");
    assert!(waypost.store(&["check"]).run().await.contains("the store is sound"));
    stop(server).await;

    // One octet: it is named, and nothing is restored.
    let journal = fs::read_dir(folder.path().join("backup/journal")).unwrap();
    let segment = journal
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().unwrap() == "segment")
        .unwrap();
    let mut octets = fs::read(&segment).unwrap();
    octets[100] ^= 1;
    fs::write(&segment, octets).unwrap();
    let said = waypost.store(&["backup", &backup, "--verify"]).output().await;
    assert!(
        said.code == 1 && said.text.contains(segment.file_name().unwrap().to_str().unwrap()),
        "{}",
        said.text
    );
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    assert_eq!(waypost.store(&["restore", &backup]).output().await.code, 1);
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
    stop(server).await;

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
    stop(server).await;
    let journal = fs::read_dir(folder.path().join("state/journal")).unwrap();
    let first = journal.map(|entry| entry.unwrap().path()).min().unwrap();
    let mut octets = fs::read(&first).unwrap();
    // the first one is the preview among the records
    let found = octets.windows(16).rposition(|octets| octets == b"remarkable words").unwrap();
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
