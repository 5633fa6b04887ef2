//! MESSAGELIMIT (RFC 9738) and UIDBATCHES (RFC 10022).

use std::num::NonZeroU32;

use waypost_config::ImapRules;

use super::*;

impl World {
    /// A session in INBOX of a listener with a bound.
    async fn limited(&self, limit: u32) -> Client {
        let imap = ImapRules { message_limit: NonZeroU32::new(limit), ..ImapRules::default() };
        let mut listener = listener();
        listener.rules.imap = imap;
        let mut client = self.connect_to(&listener).await;
        let (_, tagged) = client.command("LOGIN user@a.test secret").await;
        assert!(tagged.contains(&format!(" MESSAGELIMIT={limit} ")), "{tagged}");
        client.ok("SELECT INBOX").await;
        client
    }
}

/// The response code of an answer.
fn code(tagged: &str) -> &str {
    tagged.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(code, _)| code)
}

#[tokio::test]
async fn one_command_works_on_the_newest_messages() {
    let world = world().await;
    world.deliver(&[PLAIN; 6]).await;
    let mut client = world.limited(4).await;
    let (untagged, tagged) = client.command("FETCH 1:* UID").await;
    let descending = [6, 5, 4, 3].map(|number| format!("* {number} FETCH (UID {number})\r\n")).concat();
    assert_eq!((untagged, code(&tagged)), (descending, "MESSAGELIMIT 4 3"));
    for (command, said) in [
        ("FETCH 2:5 UID", ""),
        ("UID FETCH 1:* UID (PARTIAL -1:-4)", ""),
        ("UID SEARCH UID 1:4", ""),
        ("UID SEARCH UIDAFTER 2 UIDBEFORE 9", ""),
        ("UID SEARCH UIDBEFORE 1", ""),
        ("UID SEARCH UIDAFTER 4294967295", ""),
        ("UID SEARCH ALL", "MESSAGELIMIT 4 3"),
        ("UID SEARCH UID 1:5 UNDELETED", "MESSAGELIMIT 4 2"),
        ("SEARCH 1:5 2:6", ""),
        ("UID FETCH 1:* UID (PARTIAL 1:5)", "MESSAGELIMIT 4"),
        ("UID COPY 1:5 INBOX", "MESSAGELIMIT 4 2"),
        ("UID STORE 1:6 +FLAGS (\\Deleted)", "MESSAGELIMIT 4 3"),
        ("UID STORE 1:2 +FLAGS (\\Deleted)", ""),
    ] {
        let (_, tagged) = client.command(command).await;
        assert_eq!(code(&tagged), said, "{command}: {tagged}");
        let refused = command.contains("COPY") || command.contains("1:5)");
        assert_eq!(tagged.starts_with("NO "), refused, "{command}: {tagged}");
    }
    assert_eq!(client.ok("UID SEARCH UNDELETED").await, "* SEARCH\r\n");
    assert!(client.ok("UID SEARCH RETURN (SAVE COUNT) DELETED").await.ends_with(" COUNT 4\r\n"));
    assert_eq!(client.ok("FETCH $ UID").await.lines().count(), 4);
    let (untagged, tagged) = client.command("UID EXPUNGE 1:*").await;
    assert_eq!((untagged.matches("EXPUNGE").count(), code(&tagged)), (4, "MESSAGELIMIT 4 3"));
    // EXPUNGE has no bound.
    world.deliver(&[PLAIN; 6]).await;
    client.ok("NOOP").await;
    client.ok("STORE 4:* +FLAGS.SILENT (\\Deleted)").await;
    let (untagged, tagged) = client.command("EXPUNGE").await;
    assert_eq!((untagged.matches("EXPUNGE").count(), code(&tagged)), (6, ""));
}

#[tokio::test]
async fn a_move_is_repeated_until_nothing_is_left() {
    let world = world().await;
    world.deliver(&[PLAIN; 5]).await;
    let mut client = world.limited(4).await;
    client.ok("CREATE to").await;
    let (untagged, tagged) = client.command("UID MOVE 1:* to").await;
    assert!(untagged.contains(" 2:5 1:4]"), "{untagged}");
    assert_eq!(code(&tagged), "MESSAGELIMIT 4 2");
    let (_, tagged) = client.command("UID MOVE 1:* to").await;
    assert_eq!(code(&tagged), "");
}

/// The tagged answer has room for one code: EXPUNGEISSUED and HIGHESTMODSEQ stand there (RFC 9738 section 3.1).
#[tokio::test]
async fn another_code_comes_first() {
    let world = world().await;
    world.deliver(&[PLAIN; 5]).await;
    let mut client = world.limited(4).await;
    let mut other = world.inbox().await;
    other.ok("STORE 1 +FLAGS (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    let (untagged, tagged) = client.command("FETCH 1:5 UID").await;
    assert!(untagged.contains("* NO [MESSAGELIMIT 4 2] "), "{untagged}");
    assert_eq!(code(&tagged), "EXPUNGEISSUED");
}

#[tokio::test]
async fn batches_partition_the_mailbox() {
    let world = world().await;
    world.deliver(&vec!["\r\n"; 1203]).await;
    let mut client = world.inbox().await;
    client.ok("UID STORE 1:3 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("ENABLE UIDONLY").await;
    assert_eq!(client.ok("EXPUNGE").await, "* VANISHED 1:3\r\n* 1200 RECENT\r\n");
    for (asked, ranges) in [
        ("500", " 1203:704,703:204,203:1"),
        ("1200", " 1203:1"),
        ("600", " 1203:604,603:1"),
        ("4294967295", " 1203:1"),
        ("500 2:3", " 703:204,203:1"),
        ("500 3:9", " 203:1"),
        ("500 4:9", ""),
        ("500 4294967295:4294967295", ""),
    ] {
        let said = client.ok(&format!("UIDBATCHES {asked}")).await;
        let tag = format!("t{}", client.tags);
        assert_eq!(said, format!("* UIDBATCHES (TAG \"{tag}\"){ranges}\r\n"), "{asked}");
    }
    for (asked, said) in [
        ("499", "NO [TOOFEW]"),
        ("500 2:1", "BAD [CLIENTBUG]"),
        ("0", "BAD"),
        ("500 1", "BAD"),
        ("500 0:1", "BAD"),
        ("", "BAD"),
    ] {
        let refused = client.refused(&format!("UIDBATCHES {asked}")).await;
        assert!(refused.starts_with(said), "{asked}: {refused}");
    }
    client.ok("CREATE empty").await;
    client.ok("SELECT empty").await;
    assert!(client.ok("UIDBATCHES 500").await.ends_with("\")\r\n"));
    client.ok("UNSELECT").await;
    assert!(client.refused("UIDBATCHES 500").await.starts_with("BAD"));
}
