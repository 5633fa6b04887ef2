//! Previews are the same wherever they come from: what delivery found is what is kept, in memory, in the index, and in an index that
//! is made anew.

use std::{sync::Arc, time::Duration};

use waypost_mail::{AccountId, Flags, Uid};
use waypost_message::{
    Splitter, Structure,
    preview::{self, PREVIEW_PART_BYTES_MAX, PreviewWriter},
};

use super::{acceptance, account, delivery, options, simulated};
use crate::{Carried, FlagRights, KeptStructure, Missing, Options, Previews, Row, Store, progress::silent};

/// Messages as they come: text, HTML, parts, replies, none of these, and one that is hard to find the preview of.
fn messages() -> Vec<String> {
    let long = "Words of a text that is longer than what is shown of it. ".repeat(100);
    let parts = "Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n\
                 <p>HTML</p>\r\n--x\r\n\r\n> quoted\r\n\r\nplain\r\n--x--\r\n";
    let hard = format!("Content-Type: text/html\r\n\r\n<style>{}</style>late", "s".repeat(20_000));
    vec![
        format!("Subject: 1\r\n\r\n{long}"),
        "Content-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>Gr=FC=DFe</p>".to_owned(),
        parts.to_owned(),
        "Content-Type: image/png\r\n\r\ni".to_owned(),
        hard,
    ]
}

async fn open(directory: &tempfile::TempDir, disk: &Arc<dyn crate::disk::Disk>) -> Store {
    let options = options(directory.path(), Arc::clone(disk));
    Store::open(Options { checkpoint_records: u64::MAX, retention: Duration::ZERO, ..options }).await.unwrap()
}

async fn deliver(store: &Store, account: AccountId) {
    for message in messages() {
        let mut writer = store.message_writer();
        for piece in message.as_bytes().chunks(1_000) {
            writer.write(piece).await.unwrap();
        }
        let written = writer.finish().await.unwrap();
        let delivery = delivery(account, None, Flags::default());
        store.accept(written.for_mailbox(store, delivery)).await.unwrap();
    }
}

async fn rows(store: &Store, account: AccountId) -> Vec<Row> {
    let opened = store.account(account).await.unwrap();
    let inbox = opened.state().inbox().unwrap().id;
    opened.select(inbox).await.unwrap().state().unwrap().rows().cloned().collect()
}

/// What is made of the octets of a message, as it is where none is kept.
async fn made(store: &Store, row: &Row) -> String {
    let octets = store.read(&row.content, row.content.prefix_size(), u64::MAX).await.unwrap();
    let structure = Splitter::split(&octets);
    let Some(part) = preview::part(&structure.root) else { return String::new() };
    let mut writer = PreviewWriter::new(part);
    let body = &octets[part.body.start as usize..part.body.end as usize];
    writer.feed(&body[..body.len().min(PREVIEW_PART_BYTES_MAX as usize)]);
    writer.finish()
}

fn text(kept: &KeptStructure) -> Option<String> {
    kept.preview().map(|octets| String::from_utf8(octets.to_vec()).unwrap())
}

/// The previews of all messages that are kept, once with all and once one by one.
async fn kept(store: &Store, account: AccountId) -> Vec<Option<String>> {
    let rows = rows(store, account).await;
    let all = store.structures(account, &rows, Previews::Wanted).await.unwrap();
    for (row, kept) in rows.iter().zip(&all) {
        // Blocks that were opened without their previews, and with them.
        for previews in [Previews::Unwanted, Previews::Wanted, Previews::Unwanted] {
            let one = store.kept_structure(account, row, previews).await.unwrap();
            assert_eq!(one.envelope::<Vec<u8>>().unwrap(), kept.envelope::<Vec<u8>>().unwrap());
            if previews == Previews::Wanted {
                assert_eq!(text(&one), text(kept));
            }
        }
    }
    all.iter().map(text).collect()
}

#[tokio::test]
async fn an_index_made_anew_has_the_previews_of_delivery() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(31));
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    deliver(&store, id).await;
    let delivered = kept(&store, id).await;
    for (row, (number, kept)) in rows(&store, id).await.iter().zip(delivered.iter().enumerate()) {
        let made = made(&store, row).await;
        match kept {
            Some(kept) => assert_eq!(*kept, made, "message {number}"),
            None => assert_eq!((number, made.as_str()), (4, "late"), "only one is hard to find"),
        }
    }
    store.checkpoint().await.unwrap();
    let emails: Vec<_> = rows(&store, id).await.iter().map(|row| row.email).collect();
    let indexed = store.shared().index.structures(id, &emails, Previews::Wanted);
    let indexed: Vec<_> = indexed.iter().map(|kept| text(kept.as_ref().unwrap())).collect();
    assert_eq!(indexed, delivered, "in the index");
    assert_eq!(kept(&store, id).await, delivered, "from the index");
    assert_eq!(store.rebuild(silent()).await.unwrap(), delivered.len() as u64);
    assert_eq!(kept(&store, id).await, delivered, "rebuilt");
    store.close().await;
    std::fs::remove_dir_all(directory.path().join("index")).unwrap();
    let store = open(&directory, &disk).await;
    assert_eq!(kept(&store, id).await, delivered, "rebuilt at the start");
    // Enough records for several segments, so that a snapshot takes the place of those.
    for _ in 0..600 {
        let more = acceptance(&store, b"more", vec![delivery(id, None, Flags::default())], None).await;
        store.accept(more).await.unwrap();
    }
    store.checkpoint().await.unwrap();
    store.compact().await.unwrap();
    store.rebuild(silent()).await.unwrap();
    assert_eq!(kept(&store, id).await[..delivered.len()], delivered, "rebuilt from a snapshot");
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}

#[tokio::test]
async fn previews_go_with_messages_to_another_account() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(32));
    let store = open(&directory, &disk).await;
    let [one, two] = [account(&store, "one").await, account(&store, "two").await];
    deliver(&store, one).await;
    let delivered = kept(&store, one).await;
    let (from, to) = (store.account_for(one, two).await.unwrap(), store.account(two).await.unwrap());
    let [source, target] = [&from, &to].map(|account| account.state().inbox().unwrap().id);
    let carried = Carried { moved: false, may: FlagRights::ALL };
    let uids: Vec<Uid> = (1..=delivered.len() as u32).filter_map(Uid::new).collect();
    let (later, first) = uids.split_last().unwrap();
    from.carry(source, first.to_vec(), (&to, target), Missing::Refused, carried).await.unwrap();
    store.checkpoint().await.unwrap();
    from.carry(source, vec![*later], (&to, target), Missing::Refused, carried).await.unwrap();
    assert_eq!(kept(&store, two).await, delivered);
    store.rebuild(silent()).await.unwrap();
    assert_eq!(kept(&store, two).await, delivered);
    store.close().await;
}

/// What earlier releases wrote has none, and stays as it is among messages that have one.
#[tokio::test]
async fn what_came_before_previews_were_kept_has_none() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), simulated(33));
    let store = open(&directory, &disk).await;
    let id = account(&store, "user").await;
    for message in messages() {
        let (header, body) = message.split_at(message.find("\r\n\r\n").unwrap() + 4);
        let mut old =
            acceptance(&store, body.as_bytes(), vec![delivery(id, None, Flags::default())], None).await;
        old.header = header.to_owned().into();
        old.structure = Structure { preview: None, ..Splitter::split(message.as_bytes()) };
        store.accept(old).await.unwrap();
    }
    store.checkpoint().await.unwrap();
    deliver(&store, id).await;
    for round in ["in memory", "in the index", "rebuilt"] {
        let all = kept(&store, id).await;
        let (old, new) = all.split_at(messages().len());
        assert!(old.iter().all(Option::is_none), "{round}: {old:?}");
        assert_eq!(new.iter().filter(|preview| preview.is_some()).count(), new.len() - 1, "{round}: {new:?}");
        match round {
            "in memory" => store.checkpoint().await.unwrap(),
            _ => drop(store.rebuild(silent()).await.unwrap()),
        }
    }
    store.close().await;
}
