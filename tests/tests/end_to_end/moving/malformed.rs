//! What is malformed is named and left out, and all else is imported.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use waypost_tests::Client;

use super::{Place, maildir};

const FROM: &str = "From x@far.test Sat Nov 21 04:05:06 2026\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_maildir_with_all_that_can_be_wrong() {
    let place = Place::new(&["alice", "bob"]).await;
    let root = place.path("m");
    for folder in ["", ".good", ".a..b", ".\\2fetc", ".new\nline"] {
        maildir(&root.join(folder));
        fs::write(root.join(folder).join("cur/1.good:2,S"), "Subject: good\n\nx\n").unwrap();
    }
    let cur = root.join("cur");
    fs::write(cur.join("2.nul"), "Subject: x\n\n\0\n").unwrap();
    fs::write(cur.join("3.empty"), "").unwrap();
    fs::write(cur.join("4.header"), format!("Subject: {}\n\nx", "y".repeat(300_000))).unwrap();
    fs::write(cur.join("5.line"), format!("Subject: long line\n\n{}", "y".repeat(3_000_000))).unwrap();
    fs::write(cur.join("6.binary:2,ZZé"), [b"Subject: \xff\n\n".as_slice(), &[0x80; 100]].concat()).unwrap();
    fs::create_dir(cur.join("7.folder")).unwrap();
    symlink("/etc/hostname", cur.join("8.link")).unwrap();
    symlink("9.loop", cur.join("9.loop")).unwrap();
    symlink(&root, root.join(".loop")).unwrap();
    Client::new("mkfifo", &cur).args(["91.pipe"]).run().await;
    fs::write(cur.join("92.unreadable"), "Subject: x\n\n").unwrap();
    fs::set_permissions(cur.join("92.unreadable"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::write(root.join("dovecot-uidlist"), "no such list\n\0\n").unwrap();
    fs::write(root.join("dovecot-keywords"), "x\n0\n99 y\n").unwrap();
    fs::write(root.join("subscriptions"), "good\n..\n\n.a..b\n").unwrap();
    let is_root = fs::read(cur.join("92.unreadable")).is_ok();

    let imported = place.moves("import", "alice", &["--maildir", "m", "--json"]).await;
    assert_eq!(imported.code, 1, "{}", imported.text);
    let named = [
        "3.empty", "4.header", "7.folder", "8.link", "9.loop", "/.loop", "91.pipe", ".a..b", ".\\2fetc",
        ".new",
    ];
    for name in named {
        assert!(imported.text.contains(name), "{name} is not named:\n{}", imported.text);
    }
    for good in ["1.good", "2.nul", "5.line", "6.binary"] {
        assert!(!imported.text.contains(good), "{good} is named:\n{}", imported.text);
    }
    let refused = named.len() + usize::from(!is_root);
    assert!(imported.text.contains(&format!("\"failed\": {refused},")), "{}", imported.text);
    let inbox = place.mailbox("alice", "INBOX").await;
    assert_eq!(inbox.len(), 4 + usize::from(is_root));
    assert!(inbox.iter().any(|(octets, _, _)| octets == b"Subject: x\r\n\r\n\0\r\n"));
    assert_eq!(place.mailbox("alice", "good").await.len(), 1);

    let strict = place.moves("import", "bob", &["--maildir", "m", "--strict"]).await;
    assert!(strict.code == 1 && strict.text.contains("nothing after it was imported"), "{}", strict.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_mbox_tree_with_all_that_can_be_wrong() {
    let place = Place::new(&["alice", "bob"]).await;
    let root = place.path("m");
    fs::create_dir_all(root.join("Folder.sbd")).unwrap();
    fs::write(root.join("none"), "Subject: x\n\nno From line\n").unwrap();
    fs::write(root.join("binary"), [0_u8, 1, 2, 255]).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(
        root.join("Folder"),
        format!("{FROM}Subject: x\n\n{}\n\n{FROM}Subject: y", "z".repeat(1_000_000)),
    )
    .unwrap();
    fs::write(root.join("Folder.sbd/Sub"), format!("{FROM}Subject: x\n\n")).unwrap();
    fs::write(root.join("Folder.msf"), "Thunderbird's").unwrap();
    fs::write(
        root.join("mixed"),
        format!("{FROM}Subject: a\n\nb\n\n{FROM}Subject: c\n\n\0\n\n{FROM}\n{FROM}Subject: d\n"),
    )
    .unwrap();
    symlink(".", root.join("loop")).unwrap();
    symlink("/etc/hostname", root.join("link")).unwrap();
    fs::write(root.join("x\\2f"), format!("{FROM}Subject: x\n\n")).unwrap();

    for _ in 0..2 {
        let imported = place.moves("import", "alice", &["--mbox", "m", "--json"]).await;
        assert_eq!(imported.code, 1, "{}", imported.text);
        for name in ["/none", "/binary", "/mixed, message at octet", "/loop", "/link", "/x\\2f"] {
            assert!(imported.text.contains(name), "{name} is not named:\n{}", imported.text);
        }
        assert!(imported.text.contains("\"failed\": 6,"), "{}", imported.text);
    }
    let (mailboxes, _) = place.account("alice").await;
    let counts: Vec<_> =
        mailboxes.iter().filter(|(_, m)| !m.is_empty()).map(|(n, m)| (n.as_str(), m.len())).collect();
    assert_eq!(counts, [("Folder", 2), ("Folder/Sub", 1), ("mixed", 3)]);
    assert!(mailboxes.iter().any(|(name, _)| name == "empty"));

    let one = place.moved("import", "bob", &["--mbox", "m/Folder", "--mailbox", "Old/Mail"]).await;
    assert!(one.contains("imported 2 messages"), "{one}");
    assert_eq!(place.mailbox("bob", "Old/Mail").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_usage_is_told() {
    let place = Place::new(&["alice"]).await;
    fs::create_dir(place.path("folder")).unwrap();
    for (arguments, code, why) in [
        (&["--maildir", "gone"][..], 1, "No such file"),
        (&["--maildir", "folder"], 1, "is no Maildir"),
        (&["--mbox", "folder", "--mailbox", "x"], 1, "for a single file"),
        (&[], 2, "--maildir"),
        (&["--maildir", "x", "--mbox", "y"], 2, "cannot be used"),
    ] {
        let refused = place.moves("import", "alice", arguments).await;
        assert!(refused.code == code && refused.text.contains(why), "{arguments:?}: {}", refused.text);
    }
    // An account without room takes what fits, and the same command goes on.
    maildir(&place.path("m"));
    for number in 0..200 {
        fs::write(
            place.path(&format!("m/cur/{number}.x")),
            format!("Subject: {number}\n\n{}", "x".repeat(1000)),
        )
        .unwrap();
    }
    place.waypost(&["account", "add", "full@a.test", "--quota", "100 KiB"]).input(b"x\n").run().await;
    let full = place.moves("import", "full", &["--maildir", "m"]).await;
    assert!(full.code == 1 && full.text.contains("over its quota"), "{}", full.text);
    place.waypost(&["account", "quota", "full@a.test", "none"]).run().await;
    place.moved("import", "full", &["--maildir", "m"]).await;
    assert_eq!(place.mailbox("full", "INBOX").await.len(), 200);
}
