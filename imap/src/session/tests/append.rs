//! APPEND: what comes of several messages, and of those that are too many or too large.

use std::path::Path;

use super::*;
use crate::op::append::{APPEND_MESSAGES_MAX, APPEND_TOTAL_FACTOR};

/// How many files of bodies there are.
fn body_files(directory: &Path) -> usize {
    let Ok(segments) = std::fs::read_dir(directory.join("bodies")) else { return 0 };
    segments.map(|segment| std::fs::read_dir(segment.unwrap().path()).unwrap().count()).sum()
}

/// A literal that follows at once.
fn literal(message: &str) -> String {
    format!(" {{{}+}}\r\n{message}", message.len())
}

fn long(octets: usize) -> String {
    format!("Subject: long\r\n\r\n{}", "x".repeat(octets))
}

#[tokio::test]
async fn short_bodies_that_are_too_many_to_wait_in_memory_wait_in_files() {
    let world = world().await;
    let mut client = world.inbox().await;
    let message = long(200_000);
    let messages = literal(&message).repeat(24);
    let (untagged, tagged) = client.command(&format!("APPEND INBOX{messages}")).await;
    assert!(tagged.starts_with("OK [APPENDUID ") && tagged.contains(" 1:24]"), "{tagged}");
    assert!(untagged.starts_with("* 24 EXISTS\r\n"), "{untagged}");
    let files = body_files(world.directory.path());
    assert_eq!(files, 24 - 4 * 1024 * 1024 / 200_000);
    let fetched = client.ok("UID FETCH 1,24 BODY.PEEK[]").await;
    assert_eq!(fetched.matches(&message).count(), 2);
    assert_eq!(world.context.store.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_client_that_breaks_off_leaves_nothing() {
    let world = world().await;
    let mut client = world.inbox().await;
    let first = literal(&long(300_000));
    client.send(&format!("x APPEND INBOX{first} {{310000+}}\r\n{}", long(280_000))).await;
    while body_files(world.directory.path()) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(client.stream);
    client.session.await.unwrap();
    assert_eq!(body_files(world.directory.path()), 0);
    let mut client = world.inbox().await;
    assert!(client.ok("STATUS INBOX (MESSAGES UIDNEXT)").await.contains("(MESSAGES 0 UIDNEXT 1)"));
}

#[tokio::test]
async fn all_messages_of_an_append_are_over_quota_or_none() {
    let world = world().await;
    let mut client = world.inbox().await;
    let (fits, size) = (literal(&long(480)), long(480).len() as u64);
    world.context.store.set_quota(world.account, Some(2 * size)).await.unwrap();
    let tagged = client.refused(&format!("APPEND INBOX{}", fits.repeat(3))).await;
    assert!(tagged.starts_with("NO [OVERQUOTA]"), "{tagged}");
    assert!(client.ok("STATUS INBOX (MESSAGES UIDNEXT)").await.contains("(MESSAGES 0 UIDNEXT 1)"));
    client.ok(&format!("APPEND INBOX{}", fits.repeat(2))).await;
    // A literal that is waited for is refused before it comes.
    let tagged = client.refused("APPEND INBOX {1}").await;
    assert!(tagged.starts_with("NO [OVERQUOTA]"), "{tagged}");
    // What another session brings while the messages arrive counts, too.
    world.context.store.set_quota(world.account, Some(3 * size)).await.unwrap();
    client.send(&format!("x APPEND INBOX{}", &fits[..fits.len() - 1])).await;
    let mut other = world.inbox().await;
    assert!(other.append("INBOX", "", &long(480)).await.starts_with("OK"));
    client.send("x\r\n").await;
    assert!(client.until("x NO [OVERQUOTA] ").await.starts_with("* 3 EXISTS\r\n"));
}

#[tokio::test]
async fn an_append_is_bounded() {
    let world = world().await;
    let mut client = world.inbox().await;
    let messages = literal("A: 1\r\n\r\n").repeat(APPEND_MESSAGES_MAX);
    let tagged = client.refused(&format!("APPEND INBOX{messages} {{8+}}\r\nA: 2\r\n\r\n")).await;
    assert!(tagged.starts_with("NO [LIMIT] these are more messages"), "{tagged}");
    let (_, tagged) = client.command(&format!("APPEND INBOX{messages}")).await;
    assert!(tagged.starts_with("OK [APPENDUID ") && tagged.contains(" 1:4096]"), "{tagged}");
    // Of the largest message `limits.message_size` allows.
    let largest = literal(&long(1_000_000 - 17));
    let most = largest.repeat(usize::try_from(APPEND_TOTAL_FACTOR).unwrap());
    let tagged = client.refused(&format!("APPEND Trash{most} {{1}}")).await;
    assert!(tagged.starts_with("NO [LIMIT] the messages together"), "{tagged}");
    assert!(client.refused("APPEND Trash {1000001}").await.starts_with("NO [TOOBIG]"));
    let header = format!("X: {}\r\n", "x".repeat(250_000));
    let headers = literal(&header).repeat(16 * 1024 * 1024 / header.len() + 1);
    let tagged = client.refused(&format!("APPEND Trash{headers}")).await;
    assert!(tagged.starts_with("NO [LIMIT] the messages together"), "{tagged}");
    let tagged = client.refused(&format!("APPEND Trash{}", literal(&header.repeat(2)))).await;
    assert!(tagged.starts_with("NO [TOOBIG] the header"), "{tagged}");
    assert!(client.ok("STATUS Trash (MESSAGES)").await.contains("(MESSAGES 0)"));
}

#[tokio::test]
async fn a_message_takes_the_place_of_another_in_a_full_account() {
    let world = world().await;
    let mut client = world.inbox().await;
    client.ok(&format!("APPEND INBOX{}", literal(&long(480)).repeat(2))).await;
    let size = long(480).len() as u64;
    world.context.store.set_quota(world.account, Some(2 * size)).await.unwrap();
    assert!(client.append("INBOX", "", &long(1)).await.starts_with("NO [OVERQUOTA]"));
    let (untagged, tagged) = client.command(&format!("REPLACE 1 INBOX{}", literal(&long(480)))).await;
    assert!(tagged.starts_with("OK replaced"), "{tagged}");
    assert!(untagged.starts_with("* OK [APPENDUID "), "{untagged}");
    assert!(
        untagged.ends_with(" 3] the new message is there\r\n* 1 EXPUNGE\r\n* 2 EXISTS\r\n"),
        "{untagged}"
    );
    // One octet more than is there is refused before it comes.
    let tagged = client.refused(&format!("UID REPLACE 2 Trash {{{}}}", size + 1)).await;
    assert!(tagged.starts_with("NO [OVERQUOTA]"), "{tagged}");
    assert!(client.ok("UID SEARCH ALL").await.contains("SEARCH 2 3\r\n"));
    assert!(client.ok("STATUS Trash (MESSAGES)").await.contains("(MESSAGES 0)"));
}

#[tokio::test]
async fn what_is_catenated_is_bounded() {
    let world = world().await;
    let mut client = world.inbox().await;
    let message = long(399_900);
    client.ok(&format!("APPEND INBOX{}", literal(&message))).await;
    let url = |times: usize| format!("CATENATE ({})", vec!["URL ;UID=1"; times].join(" "));
    client.ok(&format!("APPEND INBOX {}", url(2))).await;
    let fetched = client.ok("UID FETCH 2 BODY.PEEK[]").await;
    assert!(fetched.contains(&message.repeat(2)));
    let tagged = client.refused(&format!("APPEND INBOX {}", url(3))).await;
    assert!(tagged.starts_with("NO [TOOBIG]"), "{tagged}");
    // Short commands do not make a large one: 16 MB altogether.
    let most = vec![url(2); 20].join(" ");
    client.ok(&format!("APPEND Trash {most}")).await;
    let tagged = client.refused(&format!("APPEND Trash {most} {}", url(1))).await;
    assert!(tagged.starts_with("NO [LIMIT]"), "{tagged}");
    assert!(client.ok("STATUS Trash (MESSAGES)").await.contains("(MESSAGES 20)"));
    let files = body_files(world.directory.path());
    assert_eq!(files, 22, "what was refused is gone");
    assert_eq!(world.context.store.check().await.unwrap(), Vec::<String>::new());
}

/// A part that has NUL is copied octet for octet, though BODY shows another octet in its place.
#[tokio::test]
async fn what_is_catenated_is_unchanged() {
    let world = world().await;
    let mut client = world.inbox().await;
    client.ok("APPEND INBOX ~{10+}\r\nA: 1\r\n\r\n\0x").await;
    client.ok("APPEND INBOX CATENATE (TEXT {2+}\r\n\r\n URL ;UID=1/;SECTION=TEXT)").await;
    let fetched = client.ok("UID FETCH 2 BINARY.PEEK[]").await;
    assert_eq!(fetched, "* 2 FETCH (UID 2 BINARY[] ~{4}\r\n\r\n\0x)\r\n");
}
