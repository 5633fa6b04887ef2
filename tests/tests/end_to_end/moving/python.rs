//! Python's own module for mailboxes reads what is exported and writes what is imported.

use std::{fs, path::Path};

use waypost_tests::Client;

use super::{Message, Place, account, corpus, date, fill};

async fn python(place: &Place, arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/mailboxes.py");
    Client::new("python3", place.folder.path()).args([script]).args(arguments).run().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_exported_is_read_by_python() {
    let place = Place::new(&["alice"]).await;
    let store = place.open().await;
    let alice = account(&store, "alice").await;
    let flags = ["", "\\Seen", "\\Answered \\Flagged", "\\Deleted \\Draft"];
    let messages: Vec<Message> = (corpus().into_iter().enumerate())
        .map(|(n, octets)| (octets, flags[n % 4].to_owned(), date("21-Nov-2026 04:05:06 +0100")))
        .collect();
    let (inbox, sub) = messages.split_at(messages.len() / 2);
    let mut expected = Vec::new();
    for (mailbox, messages) in [("INBOX", inbox), ("Folder/Sub", sub)] {
        fill(&store, &alice, mailbox, messages).await;
        let folder = place.path("expected").join(mailbox.replace('/', "."));
        fs::create_dir_all(&folder).unwrap();
        for (number, (octets, flags, date)) in messages.iter().enumerate() {
            let name = format!("{number:04}");
            fs::write(folder.join(&name), octets).unwrap();
            expected.push(serde_json::json!([mailbox, name, flags, date.seconds]));
        }
    }
    store.close().await;
    place.moved("export", "alice", &["--maildir", "maildir"]).await;
    place.moved("export", "alice", &["--mbox", "mbox"]).await;
    fs::write(place.path("expected.json"), serde_json::to_string(&expected).unwrap()).unwrap();
    let said = python(&place, &["read"]).await;
    assert_eq!(said.trim(), format!("{0} in the Maildir, {0} in the mboxes", messages.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_python_writes_is_imported() {
    let place = Place::new(&["alice", "bob"]).await;
    python(&place, &["write"]).await;
    for (user, format) in [("alice", "--maildir"), ("bob", "--mbox")] {
        place.moved("import", user, &[format, &format!("written{format}")]).await;
        for mailbox in ["INBOX", "Folder/Sub"] {
            let messages = place.mailbox(user, mailbox).await;
            assert_eq!(messages.len(), 3, "{user} {mailbox}");
            let flags = ["\\Seen", "\\Answered \\Flagged \\Seen", ""];
            for (number, ((octets, found, internal_date), flags)) in messages.iter().zip(flags).enumerate() {
                let text = format!("Subject: {mailbox} {number}\r\n\r\nFrom here\r\n> quoted\r\n");
                assert_eq!(String::from_utf8_lossy(octets), text);
                assert_eq!(
                    (found.as_str(), internal_date.imap().as_str()),
                    (flags, "21-Nov-2026 04:05:06 +0000")
                );
            }
        }
    }
}
