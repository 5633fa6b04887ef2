//! Real mail clients over TLS, with a CA file: what they send arrives to the octet, and what they read is what was sent.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use waypost_config::{Service, TlsMode};
use waypost_mail::{Address, EntryId, ReversePath};
use waypost_server::agent::{Login, Submission, Tls, submit};
use waypost_tests::{Client, Site, SiteBuilder, after_added_fields, sample, site::PASSWORD};

mod bound;
mod certificate;
mod downloads;
mod foreign;
mod issuer;
mod libraries;
mod readers;
mod real_mail;
mod reports;
mod senders;
mod signatures;
mod storms;
mod synchronisers;
pub(crate) mod tokens;

/// Sends a message of alice's; gives its name.
async fn send(site: &Site, to: &str, message: &[u8]) -> EntryId {
    let from = ReversePath::Address(Address::parse(&site.user("alice")).unwrap());
    let to = [Address::parse(to).unwrap()];
    let reply = submit(Submission {
        address: site.address(Service::Submission, TlsMode::None),
        tls: Tls::None,
        login: Some(Login { user: site.user("alice"), password: PASSWORD.to_owned() }),
        from: &from,
        to: &to,
        message,
    });
    let reply = reply.await.unwrap();
    reply.split(' ').find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{reply}"))
}

/// A server, and a home folder for clients.
struct Scene {
    site: Site,
    home: TempDir,
}

impl Scene {
    async fn new() -> Self {
        Self { site: SiteBuilder::new("a.test").start().await, home: tempfile::tempdir().unwrap() }
    }

    fn client(&self, program: &str) -> Client {
        Client::new(program, self.home.path())
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn authority(&self) -> String {
        self.site.authority().display().to_string()
    }

    fn port(&self, service: Service, tls: TlsMode) -> u16 {
        self.site.address(service, tls).port()
    }

    /// Puts messages into alice's inbox through the front door.
    async fn fill(&self, count: u32) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        for number in 0..count {
            messages.push(self.send(number).await);
        }
        self.site.messages("alice", "INBOX", count as usize).await;
        messages
    }

    /// Sends a message to alice.
    async fn send(&self, number: u32) -> Vec<u8> {
        let message = sample("bob@a.test", "alice@a.test", number);
        let script = self.python("send.py").args(["bob@a.test", "alice@a.test"]).input(&message);
        script.run().await;
        message
    }

    /// A script of `tests/clients` for the system's Python, told where the server is.
    fn python(&self, script: &str) -> Client {
        self.script(Path::new("python3"), script)
    }

    /// The same for the Python with the libraries of `tests/clients/requirements.txt`.
    fn venv(&self, script: &str) -> Client {
        self.script(&waypost_tests::client::python(), script)
    }

    /// The same for Node with the packages of `tests/clients/node`.
    fn node(&self, script: &str) -> Client {
        let packages = waypost_tests::client::node_packages();
        self.script(Path::new("node"), &format!("node/{script}")).env("PACKAGES", packages)
    }

    fn script(&self, interpreter: &Path, script: &str) -> Client {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
        let port = |service, tls| self.port(service, tls).to_string();
        self.client(&interpreter.display().to_string())
            .env("CA", self.authority())
            .env("PASSWORD", PASSWORD)
            .env("SMTP", port(Service::Smtp, TlsMode::StartTls))
            .env("SUBMISSION", port(Service::Submission, TlsMode::StartTls))
            .env("SUBMISSIONS", port(Service::Submission, TlsMode::Implicit))
            .env("IMAP", port(Service::Imap, TlsMode::StartTls))
            .env("IMAPS", port(Service::Imap, TlsMode::Implicit))
            .env("POP3", port(Service::Pop3, TlsMode::StartTls))
            .env("POP3S", port(Service::Pop3, TlsMode::Implicit))
            .args([path])
    }

    /// A shell script.
    fn program(&self, name: &str, script: &str) -> String {
        let path = self.file(name, format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path.display().to_string()
    }

    /// An empty maildir.
    fn maildir(&self, name: &str) -> PathBuf {
        let path = self.home.path().join(name);
        for folder in ["cur", "new", "tmp"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        path
    }

    async fn arrives(&self, user: &str, message: &[u8]) {
        self.arrive(user, message, 1).await;
    }

    /// Waits for so many copies of a message.
    async fn arrive(&self, user: &str, message: &[u8], copies: usize) {
        for stored in self.site.messages(user, "INBOX", copies).await {
            let shown = String::from_utf8_lossy(after_added_fields(&stored)).into_owned();
            assert_eq!(shown, String::from_utf8_lossy(message));
        }
    }
}

fn message() -> Vec<u8> {
    sample("alice@a.test", "bob@a.test", 7)
}

/// The message without its last CRLF, which swaks adds.
fn swaks_data() -> Vec<u8> {
    message().strip_suffix(b"\r\n").unwrap().to_vec()
}

/// Lines ended by LF alone, as files of Unix programs are.
fn unix(message: &[u8]) -> Vec<u8> {
    message.iter().copied().filter(|b| *b != b'\r').collect()
}

/// The files of a folder, in order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
