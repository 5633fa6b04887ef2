//! An import that is broken off is run again: nothing is lost, nothing doubled.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;
use waypost_tests::{Process, program};

use super::{Place, account, date, fill, maildir};

const MESSAGES: usize = 1000;

fn message(number: usize) -> String {
    // Some are alike in size.
    format!("Subject: m{number}\nMessage-ID: <{number}@far.test>\n\n{}\n", "x".repeat(number % 50))
}

fn write_maildir(path: &Path) {
    maildir(path);
    for number in 0..MESSAGES {
        fs::write(path.join(format!("cur/{number}.x:2,S")), message(number)).unwrap();
    }
}

fn write_mbox(path: &Path) {
    let mut file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    for number in 0..MESSAGES {
        let message = message(number);
        write!(file, "From x@far.test Sat Nov 21 04:05:06 2026\n{message}\n").unwrap();
    }
}

/// Kills imports until one ends by itself; how many were killed when something was imported already.
pub(super) async fn import_killed_again_and_again(place: &Place, user: &str, arguments: &[&str]) -> usize {
    let mut killed = 0;
    for cycle in 0..40_u64 {
        let mut import = Command::new(program())
            .args(["store", "import", &format!("{user}@a.test")])
            .args(arguments)
            .env("WAYPOST_CONFIG", place.config())
            .current_dir(place.folder.path())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let before = noted(place);
        // Not before something more was noted, so that each cycle gets on.
        let ended = loop {
            if let Some(status) = import.try_wait().unwrap() {
                break Some(status);
            }
            if noted(place) > before {
                tokio::time::sleep(Duration::from_millis(cycle * 7919 % 40)).await;
                break None;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        match ended {
            Some(status) => {
                assert!(status.success());
                return killed;
            }
            None => {
                import.kill().await.unwrap();
                killed += 1;
            }
        }
    }
    place.moved("import", user, arguments).await;
    killed
}

/// Octets of the notes on imports.
fn noted(place: &Place) -> u64 {
    notes(place).iter().map(|path| fs::metadata(path).unwrap().len()).sum()
}

fn notes(place: &Place) -> Vec<PathBuf> {
    let folder = place.path("state/import");
    if folder.exists() { super::files(&folder) } else { Vec::new() }
}

async fn is_complete(place: &Place, user: &str) {
    let mut found: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for (octets, _, _) in place.mailbox(user, "INBOX").await {
        *found.entry(octets).or_default() += 1;
    }
    for number in 0..MESSAGES {
        let message = message(number).replace('\n', "\r\n");
        assert_eq!(found.get(message.as_bytes()), Some(&1), "message {number}");
    }
    assert_eq!(found.len(), MESSAGES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_and_doubles_no_file_of_a_maildir() {
    let place = Place::new(&["alice"]).await;
    write_maildir(&place.path("m"));
    let killed = import_killed_again_and_again(&place, "alice", &["--maildir", "m"]).await;
    assert!(killed > 3, "only {killed} imports were killed");
    is_complete(&place, "alice").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_and_doubles_no_message_of_an_mbox() {
    let place = Place::new(&["alice"]).await;
    write_mbox(&place.path("m"));
    let killed = import_killed_again_and_again(&place, "alice", &["--mbox", "m"]).await;
    assert!(killed > 3, "only {killed} imports were killed");
    is_complete(&place, "alice").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_ends_the_import_gently() {
    let place = Place::new(&["alice"]).await;
    write_maildir(&place.path("m"));
    let server = Process::serve(&program(), &place.config()).await;
    let import = place.moves("import", "alice", &["--maildir", "m"]);
    let stop = async {
        while noted(&place) < 4096 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.signal("TERM").await;
        server.end().await
    };
    let (import, (code, log)) = tokio::join!(import, stop);
    assert_eq!(code, Some(0), "{log}");
    assert!(import.code == 1 && import.text.contains("goes on where it ended"), "{}", import.text);
    place.moved("import", "alice", &["--maildir", "m"]).await;
    is_complete(&place, "alice").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_in_doubt_is_looked_for_in_the_mailbox() {
    for (format, write) in [("--maildir", write_maildir as fn(&Path)), ("--mbox", write_mbox)] {
        let place = Place::new(&["alice"]).await;
        write(&place.path("m"));
        place.moved("import", "alice", &[format, "m"]).await;
        let path = notes(&place).remove(0);
        let text = fs::read_to_string(&path).unwrap();
        let without_end = text.strip_suffix("\"settled\"\n").unwrap();
        // It was accepted, and that was not noted. Mail that came meanwhile does not matter.
        fs::write(&path, without_end).unwrap();
        let store = place.open().await;
        let other = (b"Subject: other\r\n\r\n".to_vec(), String::new(), date("01-Jan-2026 00:00:00 +0000"));
        fill(&store, &account(&store, "alice").await, "INBOX", std::slice::from_ref(&other)).await;
        store.close().await;
        let said = place.moved("import", "alice", &[format, "m"]).await;
        assert!(said.contains("imported 0 messages"), "{said}");
        // It was noted, and never accepted: as if the last group had been removed from the mailbox, which now holds less.
        let groups: Vec<&str> = without_end.lines().collect();
        let last: serde_json::Value = serde_json::from_str(groups[groups.len() - 1]).unwrap();
        let uid_next = last["group"]["uid_next"].as_u64().unwrap() as u32;
        let store = place.open().await;
        let alice = account(&store, "alice").await;
        let inbox = alice.state().inbox().unwrap().id;
        let uids = (uid_next..uid_next + 64).filter_map(waypost_mail::Uid::new).collect();
        alice.expunge(inbox, uids).await.unwrap();
        fill(&store, &alice, "INBOX", &[other]).await;
        store.close().await;
        fs::write(&path, without_end).unwrap();
        let said = place.moved("import", "alice", &[format, "m"]).await;
        assert!(!said.contains("imported 0 messages"), "{said}");
        let messages = place.mailbox("alice", "INBOX").await;
        assert_eq!(
            messages.iter().filter(|(octets, _, _)| !octets.starts_with(b"Subject: other")).count(),
            MESSAGES
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_is_imported_later_and_all_of_it_on_demand() {
    let place = Place::new(&["alice"]).await;
    maildir(&place.path("m"));
    fs::write(place.path("m/new/1.x"), message(1)).unwrap();
    fs::write(place.path("box"), format!("From x Sat Nov 21 04:05:06 2026\n{}\n", message(10))).unwrap();
    for source in [["--maildir", "m"], ["--mbox", "box"]] {
        place.moved("import", "alice", &source).await;
    }
    // Read since, and one more.
    fs::rename(place.path("m/new/1.x"), place.path("m/cur/1.x:2,S")).unwrap();
    fs::write(place.path("m/new/2.x"), message(2)).unwrap();
    let mut mbox = fs::read_to_string(place.path("box")).unwrap();
    mbox.push_str(&format!("From x Sat Nov 21 04:05:06 2026\n{}\n", message(20)));
    fs::write(place.path("box"), &mbox).unwrap();
    for source in [["--maildir", "m"], ["--mbox", "box"]] {
        let said = place.moved("import", "alice", &source).await;
        assert!(said.contains("imported 1 messages"), "{said}");
    }
    assert_eq!(place.mailbox("alice", "INBOX").await.len(), 4);
    // A program rewrote the mbox: places in it say nothing any more.
    fs::write(place.path("box"), mbox.replacen("Subject: m10", "Subject: another", 1)).unwrap();
    let changed = place.moves("import", "alice", &["--mbox", "box"]).await;
    assert!(changed.code == 1 && changed.text.contains("--again"), "{}", changed.text);
    let said = place.moved("import", "alice", &["--mbox", "box", "--again"]).await;
    assert!(said.contains("imported 2 messages"), "{said}");
    assert_eq!(place.mailbox("alice", "INBOX").await.len(), 6);
}
