//! PREVIEW (RFC 8970): what is kept is what is made on demand, however a message came.

use waypost_message::Structure;
use waypost_storage::{Previews, Row};

use super::*;
use crate::fetch::preview::{LAZY_MESSAGES_MAX, make};

const PARTS: &str = "Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n<p>HTML</p>\r\n--x\r\n\r\n> quoted\r\n\r\nown words\r\n--x--\r\n";

async fn rows(world: &World, mailbox: &str) -> Vec<Row> {
    let account = world.context.store.account(world.account).await.unwrap();
    let id = account.state().by_name(mailbox).unwrap().id;
    account.select(id).await.unwrap().state().unwrap().rows().cloned().collect()
}

/// The previews that are kept of a mailbox; each is what would be made of the octets.
async fn kept(world: &World, mailbox: &str) -> Vec<String> {
    let (store, rows) = (&world.context.store, rows(world, mailbox).await);
    let mut previews = Vec::new();
    for row in &rows {
        let kept = store.kept_structure(world.account, row, Previews::Wanted).await.unwrap();
        let preview = String::from_utf8(kept.preview().unwrap().to_vec()).unwrap();
        assert_eq!(preview, make(store, &row.content, &kept.read().unwrap()).await.unwrap());
        previews.push(preview);
    }
    previews
}

/// Takes what is kept away: what an earlier release had written.
async fn deliver_without(world: &World, messages: &[&str]) {
    let of = |message: &str| {
        let structure = waypost_message::Splitter::split(message.as_bytes());
        Structure { preview: None, ..structure }
    };
    testing::deliver_as(&world.context.store, world.account, PREFIX, messages, of).await;
}

#[tokio::test]
async fn a_preview_is_kept_however_a_message_came() {
    let world = world().await;
    world.deliver(&[PLAIN, MIXED, PARTS]).await;
    let mut client = world.inbox().await;
    assert!(client.append("INBOX", "", PARTS).await.starts_with("OK"));
    // MULTIAPPEND, CATENATE and REPLACE
    let (one, other) = ("\r\nfirst of two", "Content-Type: text/html\r\n\r\n<b>second</b>&nbsp;of two");
    let two = format!("APPEND INBOX {{{}+}}\r\n{one} {{{}+}}\r\n{other}", one.len(), other.len());
    client.ok(&two).await;
    let header = "Subject: put together\r\n\r\n";
    client.ok(&format!("APPEND INBOX CATENATE (TEXT {{{}+}}\r\n{header} URL \"/INBOX/;UID=3/;SECTION=2\" TEXT {{5+}}\r\n more)", header.len())).await;
    client.ok(&format!("REPLACE 1 INBOX {{{}+}}\r\n{one}", one.len())).await;
    let expected = ["geheimnis", "own words", "own words", "first of two", "second of two", "own words more"];
    let expected: Vec<String> =
        expected.iter().chain(&["first of two"]).map(|text| (*text).to_owned()).collect();
    assert_eq!(kept(&world, "INBOX").await, expected);
    world.context.store.checkpoint().await.unwrap();
    assert_eq!(kept(&world, "INBOX").await, expected);
    client.ok("NOOP").await;
    let shown: String =
        (1..).zip(&expected).map(|(n, text)| format!("* {n} FETCH (PREVIEW \"{text}\")\r\n")).collect();
    assert_eq!(client.ok("FETCH 1:* PREVIEW").await, shown);
    // with items that need more of the structure, and less
    for items in ["ENVELOPE", "BODYSTRUCTURE", "FLAGS", "BODY.PEEK[HEADER]"] {
        let fetched = client.ok(&format!("FETCH 1:* ({items} PREVIEW)")).await;
        for text in &expected {
            assert!(fetched.contains(&format!(" PREVIEW \"{text}\")\r\n")), "{text} in {fetched}");
        }
    }
}

#[tokio::test]
async fn what_was_not_kept_is_made_when_it_is_asked_for() {
    let world = world().await;
    deliver_without(&world, &[PLAIN, PARTS]).await;
    world.deliver(&[PARTS]).await;
    let mut client = world.inbox().await;
    let shown = |n: u32, text: &str| format!("* {n} FETCH (PREVIEW \"{text}\")\r\n");
    let all = [shown(1, "Hello World"), shown(2, "own words"), shown(3, "own words")].concat();
    assert_eq!(client.ok("FETCH 1:* PREVIEW").await, all);
    assert_eq!(client.ok("FETCH 1:* PREVIEW (LAZY)").await, all);
    assert!(client.ok("FETCH 1 (ENVELOPE PREVIEW)").await.contains("PREVIEW \"Hello World\""));
}

#[tokio::test]
async fn a_lazy_preview_is_shown_where_it_is_kept() {
    let world = world().await;
    let without = vec!["\r\nnot kept"; LAZY_MESSAGES_MAX + 1];
    deliver_without(&world, &without).await;
    world.deliver(&["\r\nkept"]).await;
    let mut client = world.inbox().await;
    let fetched = client.ok("FETCH 1:* PREVIEW (LAZY)").await;
    assert_eq!(fetched.matches("\"not kept\"").count(), LAZY_MESSAGES_MAX);
    let behind = LAZY_MESSAGES_MAX + 1;
    let end = format!("* {behind} FETCH (PREVIEW NIL)\r\n* {} FETCH (PREVIEW \"kept\")\r\n", behind + 1);
    assert!(fetched.ends_with(&end), "{fetched}");
    assert_eq!(client.ok("FETCH 501:* PREVIEW").await, end.replace("NIL", "\"not kept\""));
}
