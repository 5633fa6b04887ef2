//! Clients that keep a copy in step, both ways.

use std::{collections::BTreeSet, fs, path::Path};

use waypost_config::{Service, TlsMode};
use waypost_mail::SystemFlags;
use waypost_tests::{after_added_fields, sample, site::PASSWORD};

use super::{Scene, files, message, unix};

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
    let new = files(&inbox.join("new"));
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
    assert!(there.iter().any(|stored| without_marks(&unix(stored)) == unix(&message())));
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

/// SCRAM of another implementation over IMAP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mbsync_logs_in_by_scram() {
    let scene = Scene::new().await;
    scene.fill(1).await;
    let port = scene.port(Service::Imap, TlsMode::Implicit);
    let sync = |mechanism: &str, password: &str| {
        let text = format!(
            "IMAPAccount a\nHost localhost\nPort {port}\nUser alice@a.test\nPass \"{password}\"\nAuthMechs {mechanism}\n\
             SSLType IMAPS\nCertificateFile {}\n\nIMAPStore far\nAccount a\n\n\
             MaildirStore near\nPath ~/{mechanism}/\nInbox ~/{mechanism}/INBOX\n\n\
             Channel c\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSyncState *\n",
            scene.authority()
        );
        let rc = scene.file("mbsyncrc", text).display().to_string();
        scene.client("mbsync").args(["-c", &rc, "-a"])
    };
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-1"] {
        let mail = scene.home.path().join(mechanism);
        fs::create_dir(&mail).unwrap();
        assert_ne!(sync(mechanism, "wrong").output().await.code, 0, "{mechanism}");
        assert!(!mail.join("INBOX/new").exists(), "{mechanism}");
        sync(mechanism, PASSWORD).run().await;
        assert_eq!(files(&mail.join("INBOX/new")).len(), 1, "{mechanism}");
    }
    scene.site.finish().await;
}

fn after_added_unix(stored: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(without_marks(stored)).unwrap().replace('\n', "\r\n");
    unix(after_added_fields(text.as_bytes()))
}

/// The message without the field that mbsync or offlineimap adds to what it stores.
pub(super) fn without_marks(stored: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(stored.to_vec()).unwrap();
    text.split_inclusive('\n')
        .filter(|line| !line.starts_with("X-TUID:") && !line.starts_with("X-OfflineIMAP:"))
        .collect::<String>()
        .into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offlineimap_keeps_a_maildir_in_step_both_ways() {
    let scene = Scene::new().await;
    let sent = scene.fill(3).await;
    let rc = format!(
        "[general]\naccounts = a\nmetadata = ~/metadata\n[Account a]\nlocalrepository = near\nremoterepository = far\n\
         [Repository near]\ntype = Maildir\nlocalfolders = ~/mail\n[Repository far]\ntype = IMAP\nremotehost = localhost\n\
         remoteport = {}\nremoteuser = alice@a.test\nremotepass = {PASSWORD}\nssl = yes\nsslcacertfile = {}\n",
        scene.port(Service::Imap, TlsMode::Implicit),
        scene.authority()
    );
    let rc = scene.file("offlineimaprc", rc).display().to_string();
    let sync = || scene.client("offlineimap").args(["-o", "-1", "-u", "basic", "-c", &rc]).run();
    sync().await;
    let inbox = scene.home.path().join("mail/INBOX");
    let new = files(&inbox.join("new"));
    assert_eq!(new.len(), 3);
    let mut got: Vec<Vec<u8>> = new.iter().map(|path| unix(&fs::read(path).unwrap())).collect();
    for message in &sent {
        let found = got.iter().position(|got| got.ends_with(&unix(message)));
        got.remove(found.expect("the message is there"));
    }
    // Near to far: one is read and flagged, one deleted, one written.
    let flagged = new[0].file_name().unwrap().to_string_lossy().replace(":2,", "") + ":2,FS";
    fs::rename(&new[0], inbox.join("cur").join(flagged)).unwrap();
    fs::remove_file(&new[1]).unwrap();
    fs::write(inbox.join("cur/1.local.host:2,S"), unix(&message())).unwrap();
    sync().await;
    let there = scene.site.messages("alice", "INBOX", 3).await;
    assert_eq!(there.iter().filter(|stored| without_marks(&unix(stored)) == unix(&message())).count(), 1);
    let status = scene.python("flags.py").args(["alice@a.test"]).run().await;
    let flagged = status.lines().filter(|line| line.contains("\\Flagged") && line.contains("\\Seen"));
    assert_eq!(flagged.count(), 1, "{status}");
    sync().await;
    assert_eq!(scene.site.read_mailbox("alice", "INBOX").await.len(), 3, "a second run has nothing to do");
    scene.site.finish().await;
}

/// A mailbox to be synchronised: messages, folders.
const MANY: usize = 5_000;
const FOLDERS: usize = 30;

impl Scene {
    /// Fills the large mailbox through the store.
    async fn store_many(&self, user: &str) -> BTreeSet<Vec<u8>> {
        let mut all = BTreeSet::new();
        for folder in 0..FOLDERS {
            let numbers = (0..MANY).filter(|number| number % FOLDERS == folder);
            let messages: Vec<_> =
                numbers.map(|number| sample("bob@a.test", "alice@a.test", number as u32)).collect();
            self.site.append(user, &folder_name(folder), &messages).await;
            all.extend(messages);
        }
        assert_eq!(all.len(), MANY);
        all
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mbsync_moves_5000_messages_in_30_folders_both_ways() {
    let scene = Scene::new().await;
    let sent = scene.store_many("alice").await;
    let rc = |user: &str| {
        let text = format!(
            "FSync no\nIMAPAccount a\nHost localhost\nPort {}\nUser {user}@a.test\nPass \"{PASSWORD}\"\nSSLType IMAPS\n\
             CertificateFile {}\nTimeout 60\n\nIMAPStore far\nAccount a\n\nMaildirStore near\nPath ~/mail/\nInbox ~/mail/INBOX\n\
             SubFolders Verbatim\n\nChannel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nRemove Both\nExpunge Both\n\
             SyncState ~/state-{user}/\n",
            scene.port(Service::Imap, TlsMode::Implicit),
            scene.authority()
        );
        fs::create_dir(scene.home.path().join(format!("state-{user}"))).unwrap();
        scene.file(&format!("{user}.rc"), text).display().to_string()
    };
    fs::create_dir(scene.home.path().join("mail")).unwrap();
    let (alice, bob) = (rc("alice"), rc("bob"));
    let sync = |rc: &str| scene.client("mbsync").args(["-q", "-c", rc, "-a"]).run();

    // Far to near: all there, to the octet.
    sync(&alice).await;
    let mail = scene.home.path().join("mail");
    assert!(
        near(&mail) == sent.iter().map(|message| unix(message)).collect(),
        "what mbsync fetched is not what was stored"
    );

    // Near to far: a flag and a deletion in each folder go back to alice, and bob gets everything.
    let (mut deleted, mut flagged) = (BTreeSet::new(), 0);
    for folder in 0..FOLDERS {
        let folder = mail.join(disk_name(folder));
        let arrived = [files(&folder.join("new")), files(&folder.join("cur"))].concat();
        deleted.insert(without_marks(&fs::read(&arrived[0]).unwrap()));
        fs::remove_file(&arrived[0]).unwrap();
        let name = arrived[1].file_name().unwrap().to_string_lossy().replace(":2,", "") + ":2,FS";
        fs::rename(&arrived[1], folder.join("cur").join(name)).unwrap();
        flagged += 1;
    }
    assert_eq!((deleted.len(), flagged), (FOLDERS, FOLDERS));
    sync(&alice).await;
    sync(&bob).await;
    for user in ["alice", "bob"] {
        let mut expected: BTreeSet<Vec<u8>> = sent.iter().map(|message| unix(message)).collect();
        for folder in 0..FOLDERS {
            for stored in scene.site.read_mailbox(user, &folder_name(folder)).await {
                let stored = without_marks(&unix(&stored));
                assert!(expected.remove(&stored), "not sent, or twice: {}", String::from_utf8_lossy(&stored));
            }
            let marked = scene.site.flags(user, &folder_name(folder)).await;
            let marked = marked
                .into_iter()
                .filter(|flags| flags.contains(SystemFlags::FLAGGED.with(SystemFlags::SEEN)));
            assert_eq!(marked.count(), 1, "{user} {folder}");
        }
        assert!(expected == deleted, "{user} misses messages, or holds deleted ones");
    }
    scene.site.finish().await;
}

/// Folders of the large mailbox: INBOX, plain ones, nested ones, names beyond ASCII.
fn folder_name(number: usize) -> String {
    match number {
        0 => "INBOX".to_owned(),
        1..=9 => format!("Ordner {number}"),
        _ => format!("Archiv/Jahr {number} Grüße"),
    }
}

/// The same name as mbsync writes it on disk: as it stands on the wire.
fn disk_name(number: usize) -> String {
    folder_name(number).replace("Grüße", "Gr&APwA3w-e")
}

/// All messages in maildirs, without what mbsync added.
fn near(mail: &Path) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    for folder in 0..FOLDERS {
        for part in ["new", "cur"] {
            for file in files(&mail.join(disk_name(folder)).join(part)) {
                found.insert(without_marks(&fs::read(file).unwrap()));
            }
        }
    }
    found
}
