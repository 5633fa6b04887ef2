//! Account → files → another account, with and without a running server.

use std::fs;

use waypost_tests::Process;

use super::{Message, Place, account, corpus, date, fill};

const NAMES: [&str; 7] =
    ["INBOX", "INBOX/below", "Folder", "Folder/Sub", "Entwürfe & Co/日本", "a.b/../c.mbox", "cur/.x\\2e"];
const FLAGS: [&str; 6] =
    ["", "\\Seen", "\\Answered \\Flagged", "\\Deleted \\Draft $Forwarded", "\\Seen $Junk work", "NonJunk"];
const DATES: [&str; 4] = [
    "01-Jan-1971 00:00:00 +0000",
    "29-Feb-2024 23:59:59 -0330",
    "21-Nov-2026 04:05:06 +0100",
    "01-Jan-2038 12:00:00 +1345",
];

/// Octets that a format could lose.
fn awkward() -> Vec<Vec<u8>> {
    let long = [b"Subject: long\r\n\r\n".to_vec(), b"x".repeat(700_000), b"\r\n".to_vec()].concat();
    let texts = [
        "From x@y Sat Nov 21 04:05:06 2026\r\nSubject: a From line first\r\n\r\nFrom here\r\n>From there\r\n>>From\r\n",
        "Subject: x\r\n\r\nFrom a@b Sat Nov 21 04:05:06 2026\r\n\r\n\r\nFrom a@b Sat Nov 21 04:05:06 2026\r\n\r\n",
        "Status: RO\r\nX-Status: F\r\nX-Keywords: own\r\nContent-Length: 4\r\nX-UID: 7\r\n\r\nbody",
        "Return-Path: <alice@far.test>\r\nDelivered-To: alice@a.test\r\nSubject: no end of line\r\n\r\nend",
        "Subject: all header",
        "Subject: all header\r\n",
        "Subject: empty body\r\n\r\n",
        "\r\n\r\n\r\n",
        "\n",
        "From ",
        ">From x\r\n",
        "Subject: LF alone\n\nline\nFrom x\n",
        "Subject: a\0b\r\n\r\n\0\r\nFrom \0\r\n\0",
        "\0",
        "Subject: mixed\r\n\r\nCRLF\r\nLF\nCR\rCR CR LF\r\r\nend\r",
    ];
    texts.into_iter().map(|text| text.as_bytes().to_vec()).chain([long]).collect()
}

fn messages() -> Vec<(&'static str, Vec<Message>)> {
    let mut mailboxes: Vec<_> = NAMES.iter().map(|name| (*name, Vec::new())).collect();
    for (number, octets) in corpus().into_iter().chain(awkward()).enumerate() {
        let flags = FLAGS[number % FLAGS.len()].to_owned();
        mailboxes[number % NAMES.len()].1.push((octets, flags, date(DATES[number % DATES.len()])));
    }
    mailboxes
}

async fn filled() -> Place {
    let place = Place::new(&["alice", "bob", "carol", "dave", "erin"]).await;
    let store = place.open().await;
    let alice = account(&store, "alice").await;
    for (name, messages) in messages() {
        fill(&store, &alice, name, &messages).await;
    }
    alice.create_mailbox("empty", None).await.unwrap();
    for name in ["Folder/Sub", "gone", "Entwürfe & Co/日本"] {
        alice.subscribe(name, true).await.unwrap();
    }
    store.close().await;
    // A server may be started now.
    place.run(&["account", "list"]).await;
    place
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_comes_back_to_the_octet() {
    let place = filled().await;
    let (stored, subscriptions) = place.account("alice").await;
    for (user, format, more) in
        [("bob", "--maildir", &[][..]), ("carol", "--maildir", &["--layout", "fs"]), ("dave", "--mbox", &[])]
    {
        let arguments = [&[format, user], more].concat();
        place.moved("export", "alice", &arguments).await;
        place.moved("import", user, &arguments).await;
        let (found, subscribed) = place.account(user).await;
        let names =
            |all: &[(String, Vec<Message>)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&found), names(&stored));
        for ((name, found), (_, stored)) in found.iter().zip(&stored) {
            assert_eq!(found.len(), stored.len(), "{format} {name}");
            for (found, stored) in found.iter().zip(stored) {
                assert_eq!(
                    found.0.escape_ascii().to_string(),
                    stored.0.escape_ascii().to_string(),
                    "{format} {name}"
                );
                assert_eq!((&found.1, found.2), (&stored.1, stored.2), "{format} {name}");
            }
        }
        assert_eq!(subscribed, subscriptions);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_server_does_the_same_and_tells_how_far_it_is() {
    let place = filled().await;
    let server = Process::serve(&waypost_tests::program(), &place.config()).await;
    for (user, format) in [("bob", "--maildir"), ("carol", "--mbox")] {
        let folder = user;
        let exported = place.moved("export", "alice", &[format, folder, "--json"]).await;
        let imported = place.moved("import", user, &[format, folder, "--json"]).await;
        let counts = |text: &str| {
            let summary: serde_json::Value = serde_json::from_str(text).unwrap();
            (
                summary["messages"].as_u64().unwrap(),
                summary["octets"].as_u64().unwrap(),
                summary["failed"].as_u64(),
            )
        };
        assert_eq!(counts(&exported), counts(&imported));
        assert!(counts(&exported).0 > 200 && counts(&exported).2 == Some(0));
        // A second time nothing is left to be done.
        for (command, user) in [("export", "alice"), ("import", user)] {
            let again = place.moved(command, user, &[format, folder, "--json"]).await;
            let again: serde_json::Value = serde_json::from_str(&again).unwrap();
            assert_eq!(
                (again["messages"].as_u64(), again["earlier"].as_u64()),
                (Some(0), Some(counts(&exported).0))
            );
        }
    }
    let nobody = place.moves("export", "nobody", &["--mbox", "x"]).await;
    assert!(nobody.code == 1 && nobody.text.contains("no account nobody@a.test"), "{}", nobody.text);
    server.signal("TERM").await;
    server.end().await;
    let (alice, bob, carol) =
        (place.account("alice").await, place.account("bob").await, place.account("carol").await);
    assert!(alice == bob && alice == carol);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_can_end_with_lf_outside() {
    let place = Place::new(&["alice", "bob", "carol"]).await;
    let store = place.open().await;
    let message = b"Subject: x\r\n\r\nFrom here\r\nend\r\n".to_vec();
    let stored = vec![(message, "\\Seen work".to_owned(), date(DATES[0]))];
    fill(&store, &account(&store, "alice").await, "INBOX", &stored).await;
    store.close().await;
    for (user, format) in [("bob", "--maildir"), ("carol", "--mbox")] {
        place.moved("export", "alice", &[format, user, "--lf"]).await;
        place.moved("import", user, &[format, user]).await;
        assert_eq!(place.mailbox(user, "INBOX").await, stored);
    }
    let file = fs::read_to_string(place.path("carol/INBOX")).unwrap();
    assert!(file.contains("Subject: x\n\n>From here\nend\n") && !file.contains('\r'), "{file}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_completed_and_never_writes_over_other_files() {
    let place = Place::new(&["alice", "bob", "carol"]).await;
    let message = |n: usize, flags: &str| {
        (format!("Subject: {n}\r\n\r\n{n}").into_bytes(), flags.to_owned(), date(DATES[2]))
    };
    let mut stored = Vec::new();
    for round in 0..2 {
        let new = [message(round * 2, ""), message(round * 2 + 1, "\\Seen")];
        let store = place.open().await;
        fill(&store, &account(&store, "alice").await, "INBOX", &new).await;
        store.close().await;
        stored.extend(new);
        for format in ["--maildir", "--mbox"] {
            let said = place.moved("export", "alice", &[format, &format[2..]]).await;
            assert!(said.contains("exported 2 messages"), "{said}");
            assert_eq!(said.contains("2 messages had been exported earlier"), round == 1, "{said}");
        }
        // What was written behind the last note is written again.
        let mut octets = fs::read(place.path("mbox/INBOX")).unwrap();
        octets.extend_from_slice(b"From torn");
        fs::write(place.path("mbox/INBOX"), octets).unwrap();
    }
    place.moved("export", "alice", &["--mbox", "mbox"]).await;
    for (user, format) in [("bob", "--maildir"), ("carol", "--mbox")] {
        place.moved("import", user, &[format, &format[2..]]).await;
        assert_eq!(place.mailbox(user, "INBOX").await, stored);
    }
    fs::create_dir(place.path("other")).unwrap();
    fs::write(place.path("other/INBOX"), "precious").unwrap();
    for (user, folder, why) in [
        ("alice", "other", "neither empty nor an earlier export"),
        ("bob", "mbox", "another account"),
        ("alice", "maildir", "other options"),
    ] {
        let refused = place.moves("export", user, &["--mbox", folder]).await;
        assert!(refused.code == 1 && refused.text.contains(why), "{}", refused.text);
    }
    assert_eq!(fs::read_to_string(place.path("other/INBOX")).unwrap(), "precious");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_find_the_mailboxes_for_their_use() {
    let place = Place::new(&["alice", "bob"]).await;
    for folder in ["", ".Sent Items", ".Spam", ".Junk", ".Work.Sent"] {
        super::maildir(&place.path("m").join(folder));
        fs::write(place.path("m").join(folder).join("new/1.x"), format!("Subject: {folder}\n\n")).unwrap();
    }
    let said = place.moved("import", "alice", &["--maildir", "m"]).await;
    assert!(said.contains("imported 5 messages"), "{said}");
    let (mailboxes, subscriptions) = place.account("alice").await;
    let counts: Vec<_> = mailboxes.iter().map(|(name, messages)| (name.as_str(), messages.len())).collect();
    // Junk is there beside Spam: the two do not become one.
    let expected =
        [("Archive", 0), ("Drafts", 0), ("INBOX", 1), ("Junk", 1), ("Sent", 1), ("Spam", 1), ("Trash", 0)];
    assert_eq!(counts, [&expected[..], &[("Work", 0), ("Work/Sent", 1)]].concat());
    assert!(subscriptions.iter().any(|name| name == "Work/Sent"), "{subscriptions:?}");
    fs::remove_dir_all(place.path("m/.Junk")).unwrap();
    place.moved("import", "bob", &["--maildir", "m"]).await;
    assert_eq!(place.mailbox("bob", "Junk").await[0].0, b"Subject: .Spam\r\n\r\n");
}
