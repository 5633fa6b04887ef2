//! Mail moves out of an account and into another, as Maildir and as mbox: what was stored comes back to the octet.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use waypost_mail::{DateTime, Flag, Flags};
use waypost_storage::{Account, Delivery, Options, Store};
use waypost_tests::{Client, SiteBuilder, client::Output, program, site::account_id};

mod foreign;
mod malformed;
mod python;
mod resume;
mod round_trip;

/// A message as it is stored: octets, flags, internal date.
type Message = (Vec<u8>, String, DateTime);

/// How often a store is tried whose lock is held: a process that another test starts has our lock, too, until it is another program.
const LOOKS_MAX: usize = 100;
const IS_HELD: &str = "another process";

/// A store without a server, and the program.
struct Place {
    folder: TempDir,
}

impl Place {
    /// With the accounts of these users.
    async fn new(users: &[&str]) -> Self {
        Self::of(&SiteBuilder::new("a.test").users(users)).await
    }

    /// With what is configured so.
    async fn of(builder: &SiteBuilder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        builder.write(folder.path());
        let place = Self { folder };
        // The first command gives the accounts of the file ids.
        place.waypost(&["account", "list"]).run().await;
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("waypost.toml")
    }

    fn waypost(&self, arguments: &[&str]) -> Client {
        let client = Client::new(program().to_str().unwrap(), self.folder.path());
        client.env("WAYPOST_CONFIG", self.config()).args(arguments)
    }

    /// Runs the program once the store is free.
    async fn run(&self, arguments: &[&str]) -> Output {
        for _ in 0..LOOKS_MAX {
            let output = self.waypost(arguments).output().await;
            if !output.text.contains(IS_HELD) {
                return output;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the store is not given up");
    }

    /// `store export` or `store import`.
    async fn moves(&self, command: &str, user: &str, more: &[&str]) -> Output {
        let address = format!("{user}@a.test");
        self.run(&[&["store", command, &address], more].concat()).await
    }

    /// The same; it must be done.
    async fn moved(&self, command: &str, user: &str, more: &[&str]) -> String {
        let Output { code, text } = self.moves(command, user, more).await;
        assert_eq!(code, 0, "{text}");
        text
    }

    async fn open(&self) -> Store {
        for _ in 0..LOOKS_MAX {
            match Store::open(Options::new(self.path("state"))).await {
                Err(error) if error.to_string().contains(IS_HELD) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                store => return store.unwrap(),
            }
        }
        panic!("the store is not given up");
    }

    /// All mailboxes of an account with their messages, and the subscriptions.
    async fn account(&self, user: &str) -> (Vec<(String, Vec<Message>)>, Vec<String>) {
        let store = self.open().await;
        let account = account(&store, user).await;
        let state = account.state();
        let mut mailboxes = Vec::new();
        for mailbox in state.mailboxes.values() {
            let selection = account.select(mailbox.id).await.unwrap();
            let mailbox = selection.state().unwrap();
            let mut messages = Vec::new();
            for row in mailbox.rows() {
                let octets = store.read(&row.content, 0, u64::MAX).await.unwrap().to_vec();
                messages.push((octets, mailbox.flags(row).to_string(), row.internal_date));
            }
            mailboxes.push((mailbox.name.clone(), messages));
        }
        mailboxes.sort_by(|a, b| a.0.cmp(&b.0));
        let subscriptions = state.subscriptions.iter().cloned().collect();
        assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
        store.close().await;
        (mailboxes, subscriptions)
    }

    /// The messages of one mailbox.
    async fn mailbox(&self, user: &str, name: &str) -> Vec<Message> {
        let (mailboxes, _) = self.account(user).await;
        mailboxes.into_iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name}")).1
    }
}

async fn account(store: &Store, user: &str) -> Account {
    store.account(account_id(store, &format!("{user}@a.test"))).await.unwrap()
}

/// Puts messages into a mailbox, which is created where it is missing.
async fn fill(store: &Store, account: &Account, mailbox: &str, messages: &[Message]) {
    let id = match account.state().by_name(mailbox) {
        Some(mailbox) => mailbox.id,
        None => account.create_mailbox(mailbox, None).await.unwrap(),
    };
    for (octets, flags, date) in messages {
        let mut writer = store.message_writer();
        writer.write(octets).await.unwrap();
        let delivery = Delivery {
            account: account.id(),
            mailbox: Some(id),
            prefix: Vec::new(),
            flags: flags.split_whitespace().filter_map(Flag::parse).collect::<Flags>(),
            internal_date: *date,
        };
        store.accept(writer.finish().await.unwrap().for_mailbox(store, delivery)).await.unwrap();
    }
}

/// The real messages that `tests/run` unpacks, as their packages have them.
fn corpus() -> Vec<Vec<u8>> {
    let root = waypost_tests::client::installed("corpora");
    let mut messages = Vec::new();
    for folder in [
        "usr/lib/python3.11/test/test_email/data",
        "usr/share/gocode/src/github.com/jhillyerd/enmime/testdata/mail",
        "usr/share/gocode/src/github.com/jhillyerd/enmime/testdata/low-quality",
        "usr/lib/python3/dist-packages/flufl/bounce/tests/data",
        "usr/share/doc/spamassassin/examples",
    ] {
        for path in files(&root.join(folder)) {
            let is_message =
                path.extension().is_some_and(|extension| extension == "txt" || extension == "raw");
            let octets = if is_message { fs::read(path).unwrap() } else { Vec::new() };
            if !octets.is_empty() {
                messages.push(octets);
            }
        }
    }
    assert!(messages.len() > 200, "only {} messages", messages.len());
    messages
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn date(text: &str) -> DateTime {
    DateTime::parse_imap(text).unwrap()
}

/// An empty Maildir, or a folder of one.
fn maildir(path: &Path) {
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(path.join(part)).unwrap();
    }
}
