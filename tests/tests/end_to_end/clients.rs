//! Real mail clients over TLS, with a CA file: what they send arrives to the octet, and what they read is what was sent.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use waypost_config::{Service, TlsMode};
use waypost_tests::{Client, Site, SiteBuilder, after_added_fields, sample, site::PASSWORD};

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
            let message = sample("bob@a.test", "alice@a.test", number);
            let script = self.python("send.py").args(["bob@a.test", "alice@a.test"]).input(&message);
            script.run().await;
            messages.push(message);
        }
        self.site.messages("alice", "INBOX", count as usize).await;
        messages
    }

    /// A script of `tests/clients`, told where the server is.
    fn python(&self, script: &str) -> Client {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
        let port = |service, tls| self.port(service, tls).to_string();
        self.client("python3")
            .env("CA", self.authority())
            .env("PASSWORD", PASSWORD)
            .env("SUBMISSION", port(Service::Submission, TlsMode::StartTls))
            .env("SUBMISSIONS", port(Service::Submission, TlsMode::Implicit))
            .env("IMAP", port(Service::Imap, TlsMode::StartTls))
            .env("IMAPS", port(Service::Imap, TlsMode::Implicit))
            .env("POP3", port(Service::Pop3, TlsMode::StartTls))
            .env("POP3S", port(Service::Pop3, TlsMode::Implicit))
            .args([path])
    }

    async fn arrives(&self, user: &str, message: &[u8]) {
        let stored = self.site.messages(user, "INBOX", 1).await.remove(0);
        let shown = String::from_utf8_lossy(after_added_fields(&stored)).into_owned();
        assert_eq!(shown, String::from_utf8_lossy(message));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaks_submits_with_starttls_and_auth_plain() {
    let scene = Scene::new().await;
    let data = scene.file("message", swaks_data());
    let port = scene.port(Service::Submission, TlsMode::StartTls);
    let (server, data) = (format!("localhost:{port}"), format!("@{}", data.display()));
    let ca = scene.authority();
    let args = [
        "--server",
        &server,
        "--from",
        "alice@a.test",
        "--to",
        "bob@a.test",
        "--tls",
        "--tls-verify",
        "--tls-ca-path",
        &ca,
        "--auth",
        "PLAIN",
    ];
    let login = ["--auth-user", "alice@a.test", "--auth-password", PASSWORD, "--data", &data];
    scene.client("swaks").args(args).args(login).run().await;
    scene.arrives("bob", &message()).await;
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaks_submits_with_implicit_tls_and_auth_login() {
    let scene = Scene::new().await;
    let data = scene.file("message", swaks_data());
    let port = scene.port(Service::Submission, TlsMode::Implicit);
    let (server, data) = (format!("localhost:{port}"), format!("@{}", data.display()));
    let args = [
        "--server",
        &server,
        "--from",
        "alice@a.test",
        "--to",
        "bob@a.test",
        "--tls-on-connect",
        "--auth",
        "LOGIN",
    ];
    let login = ["--auth-user", "alice@a.test", "--auth-password", PASSWORD, "--data", &data];
    scene.client("swaks").args(args).args(login).run().await;
    scene.arrives("bob", &message()).await;
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaks_is_told_why_it_is_refused() {
    let scene = Scene::new().await;
    let server = format!("localhost:{}", scene.port(Service::Submission, TlsMode::StartTls));
    let args = ["--server", &server, "--from", "alice@a.test", "--to", "bob@a.test"];
    let refused = scene.client("swaks").args(args).output().await;
    assert_ne!(refused.code, 0);
    assert!(refused.text.contains("530 5.7.0"), "{}", refused.text);
    let login = ["--tls", "--auth", "PLAIN", "--auth-user", "alice@a.test", "--auth-password", "wrong"];
    let refused = scene.client("swaks").args(args).args(login).output().await;
    assert_ne!(refused.code, 0);
    assert!(refused.text.contains("535 5.7.8"), "{}", refused.text);
    let relay = format!("localhost:{}", scene.port(Service::Smtp, TlsMode::StartTls));
    let refused = scene
        .client("swaks")
        .args(["--server", &relay, "--from", "x@y.test", "--to", "z@far.test"])
        .output()
        .await;
    assert_ne!(refused.code, 0);
    assert!(refused.text.contains("550 5.7.1"), "{}", refused.text);
    assert!(scene.site.read_mailbox("bob", "INBOX").await.is_empty());
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn msmtp_submits() {
    let scene = Scene::new().await;
    let port = scene.port(Service::Submission, TlsMode::StartTls);
    let rc = format!(
        "account default\nhost localhost\nport {port}\nfrom alice@a.test\nauth on\nuser alice@a.test\npassword {PASSWORD}\n\
         tls on\ntls_starttls on\ntls_trust_file {}\n",
        scene.authority()
    );
    let rc = scene.file("msmtprc", rc).display().to_string();
    scene.client("msmtp").args(["-C", &rc, "bob@a.test"]).input(&unix(&message())).run().await;
    scene.arrives("bob", &message()).await;
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_sends_and_reads() {
    let scene = Scene::new().await;
    let data = scene.file("message", message()).display().to_string();
    let (ca, login) = (scene.authority(), format!("alice@a.test:{PASSWORD}"));
    let url = format!("smtps://localhost:{}/client.test", scene.port(Service::Submission, TlsMode::Implicit));
    let args = ["-sS", "--cacert", &ca, "--user", &login, "--url", &url];
    let mail = ["--mail-from", "alice@a.test", "--mail-rcpt", "bob@a.test", "--upload-file", &data];
    scene.client("curl").args(args).args(mail).run().await;
    scene.arrives("bob", &message()).await;
    let login = format!("bob@a.test:{PASSWORD}");
    let imap =
        format!("imaps://localhost:{}/INBOX;MAILINDEX=1", scene.port(Service::Imap, TlsMode::Implicit));
    let read = scene.client("curl").args(["-sS", "--cacert", &ca, "--user", &login, &imap]).run().await;
    assert_eq!(
        String::from_utf8_lossy(after_added_fields(read.as_bytes())),
        String::from_utf8_lossy(&message())
    );
    let pop3 = format!("pop3://localhost:{}/1", scene.port(Service::Pop3, TlsMode::StartTls));
    let read = scene
        .client("curl")
        .args(["-sS", "--ssl-reqd", "--cacert", &ca, "--user", &login, &pop3])
        .run()
        .await;
    assert_eq!(
        String::from_utf8_lossy(after_added_fields(read.as_bytes())),
        String::from_utf8_lossy(&message())
    );
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_smtplib_submits() {
    let scene = Scene::new().await;
    scene.python("send.py").args(["alice@a.test", "bob@a.test"]).input(&message()).run().await;
    scene.arrives("bob", &message()).await;
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_imaplib_reads_flags_copies_moves_deletes_and_idles() {
    let scene = Scene::new().await;
    let sent = scene.fill(3).await;
    scene.file("sent0", &sent[0]);
    scene.python("imap.py").args(["alice@a.test", "bob@a.test"]).run().await;
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_poplib_downloads_and_deletes() {
    let scene = Scene::new().await;
    let sent = scene.fill(3).await;
    for (number, message) in sent.iter().enumerate() {
        scene.file(&format!("sent{number}"), message);
    }
    scene.python("pop3.py").args(["alice@a.test"]).run().await;
    assert_eq!(scene.site.read_mailbox("alice", "INBOX").await.len(), 1);
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mbsync_keeps_a_maildir_in_step_both_ways() {
    let scene = Scene::new().await;
    let sent = scene.fill(3).await;
    let port = scene.port(Service::Imap, TlsMode::Implicit);
    let rc = format!(
        "IMAPAccount a\nHost localhost\nPort {port}\nUser alice@a.test\nPass \"{PASSWORD}\"\nSSLType IMAPS\nCertificateFile {}\n\n\
         IMAPStore far\nAccount a\n\nMaildirStore near\nPath ~/mail/\nInbox ~/mail/INBOX\nSubFolders Verbatim\n\n\
         Channel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nRemove Both\nExpunge Both\nSyncState *\n",
        scene.authority()
    );
    let rc = scene.file("mbsyncrc", rc).display().to_string();
    fs::create_dir(scene.home.path().join("mail")).unwrap();
    let sync = || scene.client("mbsync").args(["-c", &rc, "-a"]).run();
    sync().await;
    let inbox = scene.home.path().join("mail/INBOX");
    let files = |folder: &str| -> Vec<PathBuf> {
        let mut files: Vec<_> =
            fs::read_dir(inbox.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    };
    let new = files("new");
    assert_eq!(new.len(), 3);
    let mut got: Vec<Vec<u8>> = new.iter().map(|path| after_added_unix(&fs::read(path).unwrap())).collect();
    got.sort();
    let mut expected: Vec<Vec<u8>> = sent.iter().map(|message| unix(message)).collect();
    expected.sort();
    assert_eq!(got, expected);
    // Near to far: one is read and flagged, one deleted, one written.
    let name =
        |path: &Path| path.file_name().unwrap().to_string_lossy().split(':').next().unwrap().to_owned();
    fs::rename(&new[0], inbox.join("cur").join(format!("{}:2,FS", name(&new[0])))).unwrap();
    fs::remove_file(&new[1]).unwrap();
    fs::write(inbox.join("cur/1.local.host:2,S"), unix(&message())).unwrap();
    sync().await;
    let there = scene.site.read_mailbox("alice", "INBOX").await;
    assert_eq!(there.len(), 3);
    assert!(there.iter().any(|stored| without_tuid(&unix(stored)) == unix(&message())));
    let status = scene.python("flags.py").args(["alice@a.test"]).run().await;
    assert_eq!(
        status.lines().filter(|line| line.contains("\\Flagged") && line.contains("\\Seen")).count(),
        1,
        "{status}"
    );
    // A second sync has nothing to do.
    sync().await;
    assert_eq!(scene.site.read_mailbox("alice", "INBOX").await.len(), 3);
    scene.site.finish().await;
}

fn after_added_unix(stored: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(without_tuid(stored)).unwrap().replace('\n', "\r\n");
    unix(after_added_fields(text.as_bytes()))
}

/// The message without the field that mbsync adds to what it stores.
fn without_tuid(stored: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(stored.to_vec()).unwrap();
    text.split_inclusive('\n').filter(|line| !line.starts_with("X-TUID:")).collect::<String>().into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetchmail_takes_over_pop3_and_imap() {
    let scene = Scene::new().await;
    let sent = scene.fill(2).await;
    let collected = scene.home.path().join("collected");
    let deliver = scene.file("deliver", format!("#!/bin/sh\ncat >> {}\n", collected.display()));
    fs::set_permissions(&deliver, fs::Permissions::from_mode(0o700)).unwrap();
    let ca = scene.authority();
    let rc = |protocol: &str, port: u16, more: &str| {
        format!(
            "poll localhost protocol {protocol} port {port} user \"alice@a.test\" password \"{PASSWORD}\" ssl sslcertck \
             sslcertfile \"{ca}\" mda \"{}\" no rewrite {more}\n",
            deliver.display()
        )
    };
    let run = |rc: PathBuf| {
        let rc = rc.display().to_string();
        scene.client("fetchmail").args(["-f", &rc, "--nosyslog", "--nodetach", "--invisible"]).run()
    };
    let pop3 = scene.port(Service::Pop3, TlsMode::Implicit);
    run(scene.file("keep.rc", rc("POP3", pop3, "keep"))).await;
    assert_eq!(scene.site.read_mailbox("alice", "INBOX").await.len(), 2, "keep leaves the mail");
    let text = fs::read_to_string(&collected).unwrap();
    for message in &sent {
        assert!(
            text.contains(&*String::from_utf8_lossy(&unix(message))),
            "the message is not in what fetchmail delivered"
        );
    }
    fs::remove_file(&collected).unwrap();
    let imap = scene.port(Service::Imap, TlsMode::Implicit);
    run(scene.file("nokeep.rc", rc("IMAP", imap, "nokeep fetchall"))).await;
    assert_eq!(scene.site.read_mailbox("alice", "INBOX").await.len(), 0, "nokeep takes the mail");
    let text = fs::read_to_string(&collected).unwrap();
    assert!(sent.iter().all(|message| text.contains(&*String::from_utf8_lossy(&unix(message)))));
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutt_reads_saves_and_deletes() {
    let scene = Scene::new().await;
    let sent = scene.fill(2).await;
    let saved = scene.home.path().join("saved");
    let rc = format!(
        "set ssl_force_tls = yes\nset ssl_starttls = yes\nset certificate_file = \"{}\"\nset ssl_verify_host = no\n\
         set imap_user = \"alice@a.test\"\nset imap_pass = \"{PASSWORD}\"\nset mbox_type = mbox\nset delete = yes\nset quit = yes\n\
         set confirmappend = no\nset confirmcreate = no\nset sort = mailbox-order\nset wait_key = no\nset move = no\nset beep = no\n",
        scene.authority()
    );
    let keys =
        format!("<first-entry><save-message><kill-line>{}<enter><sync-mailbox><quit>", saved.display());
    let rc = format!("{rc}folder-hook . 'push {keys}'\n");
    let rc = scene.file("muttrc", rc).display().to_string();
    let folder = format!("imaps://localhost:{}/INBOX", scene.port(Service::Imap, TlsMode::Implicit));
    let command = format!("mutt -n -F {rc} -f {folder}");
    // Without its folder mutt asks whether to make it.
    fs::create_dir(scene.home.path().join("Mail")).unwrap();
    // mutt wants a terminal; script(1) gives it one.
    let shown = scene.client("script").args(["-qec", &command, "/dev/null"]).run().await;
    let text =
        fs::read_to_string(&saved).unwrap_or_else(|error| panic!("{error}: mutt saved nothing:\n{shown}"));
    assert!(text.contains("Subject: sample 0"), "{text}");
    assert!(text.contains("\nepilogue\n") && text.contains("AAECAwQFBgc="), "{text}");
    let left = scene.site.read_mailbox("alice", "INBOX").await;
    assert_eq!(left.len(), 1);
    assert_eq!(after_added_fields(&left[0]), sent[1]);
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutt_sends_in_batch() {
    let scene = Scene::new().await;
    let port = scene.port(Service::Submission, TlsMode::Implicit);
    let rc = format!(
        "set certificate_file = \"{}\"\nset ssl_verify_host = no\nset smtp_url = \"smtps://alice%40a.test@localhost:{port}/\"\n\
         set smtp_pass = \"{PASSWORD}\"\nset from = alice@a.test\nset realname = \"Alice Example\"\nset send_charset = utf-8\nset use_from = yes\nset copy = no\n",
        scene.authority()
    );
    let rc = scene.file("muttrc", rc).display().to_string();
    let args = ["-n", "-F", &rc, "-s", "Grüße", "-a", &rc, "-b", "alice@a.test", "--", "bob@a.test"];
    scene.client("mutt").args(args).input("Grüße aus dem Test\n.\nEnde\n".as_bytes()).run().await;
    let stored = String::from_utf8(scene.site.messages("bob", "INBOX", 1).await.remove(0)).unwrap();
    assert!(
        stored.contains("From: Alice Example <alice@a.test>") && stored.contains("Subject: =?utf-8?"),
        "{stored}"
    );
    assert!(!stored.to_lowercase().contains("\nbcc:"), "Bcc is removed: {stored}");
    assert_eq!(scene.site.messages("alice", "INBOX", 1).await.len(), 1);
    scene.site.finish().await;
}
