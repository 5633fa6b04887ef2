//! Several recipients in several domains, partly local, remote and refused; and what leaves again of what was hostile.

use waypost_config::{Service, TlsMode};
use waypost_server::demo::dns::Data;
use waypost_tests::{Site, World, after_added_fields, site::PASSWORD};

use super::{Peer, peer::base64};

async fn submission(site: &Site, user: &str) -> Peer {
    let mut peer = Peer::connect(site.address(Service::Submission, TlsMode::None), None).await;
    let login = format!(
        "EHLO c.test\r\nAUTH LOGIN\r\n{}\r\n{}\r\n",
        base64(site.user(user).as_bytes()),
        base64(PASSWORD.as_bytes())
    );
    peer.send(login.as_bytes()).await;
    peer.until("235 2.7.0 Authentication succeeded\r\n", "login").await;
    peer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_recipient_has_its_own_answer() {
    let world = World::start(&[("null.test", Data::Mx(0, ".".to_owned()))], |site| {
        if site.is("a.test") { site.limits("recipients = 100") } else { site }
    })
    .await;
    let mut peer = submission(&world.a, "alice").await;
    peer.send(b"MAIL FROM:<alice@a.test>\r\n").await;
    peer.until("250 2.1.0 Sender ok\r\n", "MAIL").await;
    for (to, expected) in [
        ("<bob@a.test>", "250 2.1.5 Recipient ok\r\n"),
        ("<nobody@a.test>", "550 5.1.1 <nobody@a.test>: there is no such user here (session "),
        ("<bob@b.test>", "250 2.1.5 Recipient ok\r\n"),
        ("<nobody@b.test>", "250 2.1.5 Recipient ok\r\n"),
        ("<x@null.test>", "250 2.1.5 Recipient ok\r\n"),
        ("<jörg@b.test>", "553 5.6.7 A recipient address with UTF-8 needs SMTPUTF8 (session "),
        ("<broken", "501 5.1.3 Bad recipient address syntax (session "),
        ("<bob@a.test> COLOUR=BLUE", "555 5.5.4 Unknown parameter COLOUR (session "),
        ("<>", "501 5.1.3 Bad recipient address syntax (session "),
        ("<alice@b.test>", "250 2.1.5 Recipient ok\r\n"),
    ] {
        peer.send(format!("RCPT TO:{to}\r\n").as_bytes()).await;
        peer.until(expected, to).await;
    }
    let text = "From: <alice@a.test>\r\nSubject: many\r\nMessage-ID: <1@a.test>\r\nDate: Sat, 21 Nov 2026 04:05:06 +0000\r\n\r\n.\r\n..\r\nthe end\r\n";
    peer.send(format!("DATA\r\n{}.\r\n", text.replace("\r\n.", "\r\n..")).as_bytes()).await;
    peer.until("354 ", "DATA").await;
    let accepted = peer.until(" accepted\r\n", "DATA").await;
    let id = accepted.rsplit_once("250 2.0.0 ").unwrap().1.strip_suffix(" accepted\r\n").unwrap();
    for (site, user) in [(&world.a, "bob"), (&world.b, "bob"), (&world.b, "alice")] {
        let stored = site.messages(user, "INBOX", 1).await.remove(0);
        assert_eq!(String::from_utf8_lossy(after_added_fields(&stored)), text);
        assert!(String::from_utf8_lossy(&stored).contains(id), "the id of the reply is in Received");
    }
    // A notification for each; what the server that refused has said names its session.
    let notifications = world.a.messages("alice", "INBOX", 2).await.concat();
    let said = String::from_utf8_lossy(&notifications);
    assert!(
        said.contains("Final-Recipient: rfc822; nobody@b.test") && said.contains("Status: 5.1.1"),
        "{said}"
    );
    assert!(
        said.contains("Final-Recipient: rfc822; x@null.test") && said.contains("Status: 5.1.10"),
        "{said}"
    );
    assert!(said.contains("there is no such user here (session"), "{said}");
    world.a.drain_queue().await;
    world.finish().await;
}

/// What is spoilt by a bare CR, LF or NUL is refused here, too, and nothing of it leaves; what is accepted arrives octet for octet, with
/// lines that look like ends of data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_hostile_leaves() {
    let world = World::start(&[], |site| site).await;
    let mut peer = submission(&world.a, "alice").await;
    let begin = "MAIL FROM:<alice@a.test>\r\nRCPT TO:<bob@b.test>\r\nDATA\r\n";
    for spoilt in ["\n.\n", "\r.\r\n", "\n.\r\n", "\r\n.\n", "\0", "a\nb", "a\rb"] {
        peer.send(format!("{begin}Subject: x\r\n\r\nx{spoilt}MAIL FROM:<evil@a.test>\r\n.\r\n").as_bytes())
            .await;
        peer.until("\r\n554 5.6.0 The message holds a ", spoilt).await;
        peer.until(" (session ", spoilt).await;
    }
    let body = "..\r\n. \r\n.\t\r\n ..\r\n.\r\n.MAIL FROM:<evil@a.test>\r\n\r\n.\r\n";
    let stuffed: String = body
        .split_inclusive("\r\n")
        .map(|l| if l.starts_with('.') { format!(".{l}") } else { l.to_owned() })
        .collect();
    peer.send(format!("{begin}Subject: dots\r\n\r\n{stuffed}.\r\n").as_bytes()).await;
    peer.until(" accepted\r\n", "dots").await;
    let stored = world.b.messages("bob", "INBOX", 1).await.remove(0);
    let stored = String::from_utf8(stored).unwrap();
    assert!(stored.ends_with(&format!("\r\n\r\n{body}")), "{stored}");
    assert!(!stored.replace("\r\n", "").contains(['\r', '\n', '\0']));
    world.a.drain_queue().await;
    world.finish().await;
}
