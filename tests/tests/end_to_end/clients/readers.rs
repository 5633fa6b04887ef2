//! Clients that read, take over and delete.

use std::{
    fs,
    path::{Path, PathBuf},
};

use waypost_config::{Service, TlsMode};
use waypost_tests::{Client, after_added_fields, site::PASSWORD};

use super::{Scene, files, unix};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetchmail_takes_over_pop3_and_imap() {
    let scene = Scene::new().await;
    let sent = scene.fill(2).await;
    let collected = scene.home.path().join("collected");
    let deliver = scene.program("deliver", &format!("cat >> {}", collected.display()));
    let ca = scene.authority();
    let rc = |protocol: &str, port: u16, more: &str| {
        format!(
            "poll localhost protocol {protocol} port {port} user \"alice@a.test\" password \"{PASSWORD}\" ssl sslcertck \
             sslcertfile \"{ca}\" mda \"{}\" no rewrite {more}\n",
            deliver
        )
    };
    let run = |rc: PathBuf| {
        let rc = rc.display().to_string();
        fetchmail(&scene, &rc).run()
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
async fn fetchmail_uidl_takes_each_message_once() {
    let scene = Scene::new().await;
    let sent = scene.fill(2).await;
    let collected = scene.home.path().join("collected");
    let deliver = scene.program("deliver", &format!("cat >> {}", collected.display()));
    let rc = format!(
        "poll localhost protocol POP3 uidl port {} user \"alice@a.test\" password \"{PASSWORD}\" sslproto TLS1.2+ sslcertck \
         sslcertfile \"{}\" mda \"{deliver}\" no rewrite keep\n",
        scene.port(Service::Pop3, TlsMode::StartTls),
        scene.authority()
    );
    let rc = scene.file("uidl.rc", rc).display().to_string();
    let run = || fetchmail(&scene, &rc).output();
    let first = run().await;
    assert_eq!(first.code, 0, "{}", first.text);
    assert_contains_all(&fs::read(&collected).unwrap(), &sent);
    fs::remove_file(&collected).unwrap();
    let second = run().await;
    assert_eq!(second.code, 1, "1 says that there is nothing new: {}", second.text);
    assert!(!collected.exists(), "{}", second.text);
    let late = scene.send(9).await;
    scene.site.messages("alice", "INBOX", 3).await;
    let third = run().await;
    assert_eq!(third.code, 0, "{}", third.text);
    let text = fs::read(&collected).unwrap();
    assert_contains_all(&text, &[late]);
    assert!(!String::from_utf8(text).unwrap().contains("sample 0"), "only the new message is taken");
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn getmail_takes_over_pop3_and_imap() {
    let scene = Scene::new().await;
    let sent = scene.fill(3).await;
    let maildir = scene.maildir("got");
    // getmail itself refuses to write a maildir as root.
    let deliver = scene.program("deliver", &format!("exec cat > {}/new/$$", maildir.display()));
    let rc = |retriever: &str, port: u16, more: &str, options: &str| {
        format!(
            "[retriever]\ntype = {retriever}\nserver = localhost\nport = {port}\nusername = alice@a.test\npassword = {PASSWORD}\n\
             ca_certs = {}\n{more}\n[destination]\ntype = MDA_external\npath = {deliver}\nunixfrom = false\nallow_root_commands = true\n[options]\ndelivered_to = false\nreceived = false\n\
             verbose = 2\n{options}\n",
            scene.authority()
        )
    };
    let home = scene.home.path().display().to_string();
    let run = |rc: PathBuf| {
        scene.client("getmail").args(["--getmaildir", &home, "--rcfile", &rc.display().to_string()]).run()
    };
    let keep = "read_all = false\ndelete = false";
    let pop3 = rc("SimplePOP3SSLRetriever", scene.port(Service::Pop3, TlsMode::Implicit), "", keep);
    let pop3 = scene.file("pop3.rc", pop3);
    run(pop3.clone()).await;
    assert_same(&maildir, &sent);
    run(pop3).await;
    assert_same(&maildir, &sent);
    assert_eq!(scene.site.read_mailbox("alice", "INBOX").await.len(), 3, "getmail leaves the mail");
    for file in files(&maildir.join("new")) {
        fs::remove_file(file).unwrap();
    }
    let imap = scene.port(Service::Imap, TlsMode::Implicit);
    let imap = rc("SimpleIMAPSSLRetriever", imap, "mailboxes = (\"INBOX\",)", "delete = true");
    run(scene.file("imap.rc", imap)).await;
    assert_same(&maildir, &sent);
    assert_eq!(scene.site.read_mailbox("alice", "INBOX").await.len(), 0, "getmail takes the mail");
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mpop_keeps_and_deletes() {
    let scene = Scene::new().await;
    let sent = scene.fill(3).await;
    let maildir = scene.maildir("got");
    let rc = |keep: &str| {
        format!(
            "account default\nhost localhost\nport {}\nuser alice@a.test\npassword {PASSWORD}\nauth user\ntls on\n\
             tls_starttls on\ntls_trust_file {}\ndelivery maildir {}\nkeep {keep}\nuidls_file {}/uidls\nreceived_header off\n",
            scene.port(Service::Pop3, TlsMode::StartTls),
            scene.authority(),
            maildir.display(),
            scene.home.path().display()
        )
    };
    let run = |rc: PathBuf| scene.client("mpop").args(["-C", &rc.display().to_string()]).run();
    let keep = scene.file("keep.rc", rc("on"));
    run(keep.clone()).await;
    assert_same(&maildir, &sent);
    run(keep).await;
    assert_same(&maildir, &sent);
    assert_eq!(scene.site.read_mailbox("alice", "INBOX").await.len(), 3, "mpop keeps the mail");
    run(scene.file("nokeep.rc", rc("off"))).await;
    assert_same(&maildir, &sent);
    assert_eq!(scene.site.read_mailbox("alice", "INBOX").await.len(), 0, "mpop deletes what it has");
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_nail_reads_saves_and_deletes() {
    let scene = Scene::new().await;
    let sent = scene.fill(3).await;
    let saved = scene.home.path().join("saved");
    let ca = format!("tls-ca-file={}", scene.authority());
    let port = scene.port(Service::Imap, TlsMode::Implicit);
    let folder = format!("imaps://alice%40a.test:secret%20word@localhost:{port}/INBOX");
    let args =
        ["-n", "-R", "-S", "v15-compat", "-S", "tls-ca-no-defaults", "-S", &ca, "-S", "tls-verify=strict"];
    let commands = format!("copy 1 {}\ntype 2\nquit\n", saved.display());
    let shown =
        scene.client("s-nail").args(args).args(["-#", "-f", &folder]).input(commands.as_bytes()).run().await;
    assert!(shown.contains("Subject: sample 1") && shown.contains(".leading dot"), "{shown}");
    assert_contains_all(&fs::read(&saved).unwrap(), &sent[..1]);
    let args = ["-n", "-S", "v15-compat", "-S", "tls-ca-no-defaults", "-S", &ca, "-S", "tls-verify=strict"];
    let commands = "delete 1 3\nquit\n";
    scene.client("s-nail").args(args).args(["-#", "-f", &folder]).input(commands.as_bytes()).run().await;
    let left = scene.site.read_mailbox("alice", "INBOX").await;
    assert_eq!(left.len(), 1);
    assert_eq!(after_added_fields(&left[0]), sent[1]);
    scene.site.finish().await;
}

/// fetchmail with its configuration, and a lock of its own: without one it does not run beside another.
pub(super) fn fetchmail(scene: &Scene, rc: &str) -> Client {
    let lock = scene.home.path().join("fetchmail.pid").display().to_string();
    let args = ["-f", rc, "--pidfile", &lock, "--nosyslog", "--nodetach", "--invisible", "-v"];
    scene.client("fetchmail").args(args)
}

/// A maildir holds exactly these messages as new ones, behind the fields that were added.
fn assert_same(maildir: &Path, sent: &[Vec<u8>]) {
    let mut got: Vec<Vec<u8>> =
        files(&maildir.join("new")).iter().map(|file| without_marks(&fs::read(file).unwrap())).collect();
    assert_eq!(got.len(), sent.len());
    for message in sent {
        let message = unix(message);
        let found = got.iter().position(|got| got.ends_with(&message));
        got.remove(found.unwrap_or_else(|| {
            let got = got.concat();
            panic!("missing: {}\nin: {}", String::from_utf8_lossy(&message), String::from_utf8_lossy(&got))
        }));
    }
}

/// The message without the field that getmail adds.
pub(super) fn without_marks(stored: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(stored.to_vec()).unwrap();
    let lines = text.split_inclusive('\n').filter(|line| !line.starts_with("X-getmail-"));
    lines.collect::<String>().into_bytes()
}

/// A file of several messages holds all of these.
fn assert_contains_all(text: &[u8], sent: &[Vec<u8>]) {
    let text = String::from_utf8_lossy(text);
    for message in sent {
        // Files of several messages quote lines that look like their separators.
        let message = unix(message);
        let message = String::from_utf8_lossy(&message);
        assert!(
            text.contains(&*message) || text.contains(&message.replace("\nFrom ", "\n>From ")),
            "missing: {message}\nin: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thunderbird_reads_flags_moves_deletes_sends_and_idles() {
    let scene = Scene::new().await;
    let sent = scene.fill(3).await;
    scene.file("sent0", &sent[0]);
    scene.python("thunderbird.py").args(["alice@a.test", "bob@a.test"]).run().await;
    let stored = String::from_utf8(scene.site.messages("bob", "INBOX", 1).await.remove(0)).unwrap();
    assert!(
        stored.contains("Subject: from Thunderbird\r\n") && stored.contains("\r\n.\r\nEnde\r\n"),
        "{stored}"
    );
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alpine_reads_flags_deletes_saves_and_sends() {
    let scene = Scene::new().await;
    let sent = scene.fill(3).await;
    scene.file("sent1", &sent[1]);
    scene.venv("alpine.py").args(["alice@a.test", "bob@a.test"]).run().await;
    let stored = String::from_utf8(scene.site.messages("bob", "INBOX", 1).await.remove(0)).unwrap();
    assert!(
        stored.contains("Subject: from alpine\r\n") && stored.ends_with("\r\n\r\n.\r\nEnd\r\n"),
        "{stored}"
    );
    scene.site.finish().await;
}
