//! Mail between two servers: MX, routes, bounces, retries, loops.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use waypost_config::{Service, TlsMode};
use waypost_mail::{Address, ReversePath};
use waypost_server::{
    agent::{AgentError, Login, Submission, Tls, submit},
    demo::dns::Data,
};
use waypost_tests::{Site, SiteBuilder, World, after_added_fields, sample, site::PASSWORD};

async fn send(site: &Site, user: &str, to: &[&str], message: &[u8]) -> Result<String, AgentError> {
    let from = ReversePath::Address(Address::parse(&site.user(user)).unwrap());
    let to: Vec<Address> = to.iter().map(|to| Address::parse(to).unwrap()).collect();
    submit(Submission {
        address: site.address(Service::Submission, TlsMode::None),
        tls: Tls::None,
        login: Some(Login { user: site.user(user), password: PASSWORD.to_owned() }),
        from: &from,
        to: &to,
        message,
    })
    .await
}

fn text(message: &[u8]) -> String {
    String::from_utf8_lossy(message).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_crosses_two_domains_by_mx_under_tls() {
    let world = World::start(&[], |site| site).await;
    let message = sample("alice@a.test", "bob@b.test", 1);
    send(&world.a, "alice", &["bob@b.test", "alice@b.test", "bob@a.test"], &message).await.unwrap();
    for (site, user) in [(&world.b, "bob"), (&world.b, "alice"), (&world.a, "bob")] {
        let stored = site.messages(user, "INBOX", 1).await.remove(0);
        assert_eq!(text(after_added_fields(&stored)), text(&message));
        assert!(
            text(&stored).starts_with("Return-Path: <alice@a.test>\r\nDelivered-To:"),
            "{}",
            text(&stored)
        );
    }
    let stored = world.b.messages("bob", "INBOX", 1).await.remove(0);
    assert!(text(&stored).contains("with ESMTPS "), "{}", text(&stored));
    world.a.drain_queue().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_user_elsewhere_comes_back_as_a_notification() {
    let world = World::start(&[], |site| site).await;
    let message = sample("alice@a.test", "nobody@b.test", 1);
    send(&world.a, "alice", &["nobody@b.test", "bob@b.test"], &message).await.unwrap();
    world.b.messages("bob", "INBOX", 1).await;
    let notification = text(&world.a.messages("alice", "INBOX", 1).await[0]);
    for expected in [
        "Return-Path: <>",
        "Auto-Submitted: auto-replied",
        "Content-Type: multipart/report",
        "report-type=\"delivery-status\"",
        "Final-Recipient: rfc822; nobody@b.test",
        "Action: failed",
        "Status: 5.1.1",
        "Diagnostic-Code: smtp; 550",
        "Subject: sample 1",
    ] {
        assert!(notification.contains(expected), "{expected} is not in\n{notification}");
    }
    world.a.drain_queue().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn domains_that_take_no_mail_are_told_apart() {
    let records = [
        ("null.test", Data::Mx(0, ".".to_owned())),
        ("nowhere.test", Data::Mx(10, "mx.nowhere.test".to_owned())),
        ("mx.loop.test", Data::Address(IpAddr::V4(Ipv4Addr::LOCALHOST))),
        ("loop.test", Data::Mx(10, "mx.a.test".to_owned())),
    ];
    let world = World::start(&records, |site| site).await;
    for (number, (to, expected)) in
        [("x@null.test", "5.1.10"), ("x@missing.test", "5.1.2"), ("x@loop.test", "5.4.6")]
            .into_iter()
            .enumerate()
    {
        send(&world.a, "alice", &[to], &sample("alice@a.test", to, 1)).await.unwrap();
        let notification = text(&world.a.messages("alice", "INBOX", number + 1).await[number]);
        assert!(
            notification.contains(&format!("Status: {expected}")),
            "{to}: {expected} is not in\n{notification}"
        );
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_are_tried_in_turn_and_aliases_lead_on() {
    // The better MX does not answer, the host name of the other is an alias.
    let records = [
        ("multi.test", Data::Mx(10, "dead.multi.test".to_owned())),
        ("multi.test", Data::Mx(20, "alias.multi.test".to_owned())),
        ("dead.multi.test", Data::Address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)))),
        ("alias.multi.test", Data::Alias("mx.b.test".to_owned())),
    ];
    let world = World::start(&records, |site| site).await;
    // b.test does not serve multi.test: it says so at once, which proves that it was reached.
    send(&world.a, "alice", &["x@multi.test"], &sample("alice@a.test", "x@multi.test", 1)).await.unwrap();
    let notification = text(&world.a.messages("alice", "INBOX", 1).await[0]);
    assert!(
        notification.contains("Remote-MTA: dns; mx.b.test") || notification.contains("alias.multi.test"),
        "{notification}"
    );
    assert!(notification.contains("Status: 5.7.1"), "{notification}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_down_gets_the_mail_later() {
    let b = SiteBuilder::new("b.test").start().await;
    let port = b.address(Service::Smtp, TlsMode::StartTls).port();
    b.running.drain().await;
    let route = format!("[[route]]\ndomain = \"b.test\"\nnext_hop = \"127.0.0.1:{port}\"");
    let a = SiteBuilder::new("a.test").with(&route).queue("retry = [\"1s\"]").start().await;
    let message = sample("alice@a.test", "bob@b.test", 1);
    send(&a, "alice", &["bob@b.test"], &message).await.unwrap();
    // The first try waits for nothing.
    let tried = async {
        while a.running.store().queue().first().is_none_or(|entry| entry.attempts == 0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), tried).await.unwrap();
    assert_eq!(a.running.store().queue().len(), 1);
    let b = SiteBuilder::new("b.test").at(IpAddr::V4(Ipv4Addr::LOCALHOST), port).start().await;
    let stored = b.messages("bob", "INBOX", 1).await.remove(0);
    assert_eq!(text(after_added_fields(&stored)), text(&message));
    a.drain_queue().await;
    a.finish().await;
    b.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_that_cannot_leave_expires_with_a_notification() {
    let down = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = down.local_addr().unwrap().port();
    drop(down);
    let route = format!("[[route]]\ndomain = \"*\"\nnext_hop = \"127.0.0.1:{port}\"");
    // The lifetime leaves room for a slow machine: a try later than both gives the failure alone.
    let queue = "retry = [\"1s\"]\nlifetime = \"8s\"\nwarn_after = \"1s\"";
    let a = SiteBuilder::new("a.test").with(&route).queue(queue).start().await;
    send(&a, "alice", &["x@far.test"], &sample("alice@a.test", "x@far.test", 1)).await.unwrap();
    let notifications = a.messages("alice", "INBOX", 2).await;
    assert!(text(&notifications[0]).contains("Action: delayed"), "{}", text(&notifications[0]));
    assert!(text(&notifications[1]).contains("Action: failed"), "{}", text(&notifications[1]));
    assert!(
        text(&notifications[1]).contains("Status: 5.4.7")
            || text(&notifications[1]).contains("Status: 4.4.7")
    );
    a.drain_queue().await;
    a.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aliases_catch_all_plus_addresses_and_postmaster() {
    let more = "[[alias]]\nfrom = \"team@b.test\"\nto = [\"alice@b.test\", \"bob@b.test\", \"alice@a.test\"]\n\
                [[domain]]\nname = \"c.test\"\ncatch_all = \"bob@b.test\"";
    let world = World::start(&[("c.test", Data::Mx(10, "mx.b.test".to_owned()))], |site| {
        if site.is("b.test") { site.with(more) } else { site }
    })
    .await;
    let to = ["team@b.test", "bob+lists@b.test", "anything@c.test", "postmaster@b.test"];
    for (number, to) in to.iter().enumerate() {
        send(&world.a, "bob", &[to], &sample("bob@a.test", to, number as u32)).await.unwrap();
    }
    let bob = world.b.messages("bob", "INBOX", 3).await;
    let mut delivered: Vec<String> = bob
        .iter()
        .map(|m| {
            text(m).lines().find_map(|line| line.strip_prefix("Delivered-To: ").map(str::to_owned)).unwrap()
        })
        .collect();
    delivered.sort();
    assert_eq!(delivered.len(), 3, "{delivered:?}");
    // postmaster goes to the first account of the domain.
    assert_eq!(world.b.messages("alice", "INBOX", 2).await.len(), 2);
    // The alias leads on to another server: the message comes back to a.test.
    assert_eq!(
        text(after_added_fields(&world.a.messages("alice", "INBOX", 1).await[0])),
        text(&sample("bob@a.test", "team@b.test", 0))
    );
    world.finish().await;
}

/// RFC 5321 section 4.2.5: what was accepted for an alias and cannot be delivered comes back; without a sender nobody is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_behind_an_alias_that_nobody_has_comes_back_to_the_sender() {
    let more = "[[alias]]\nfrom = \"team@b.test\"\nto = [\"alice@b.test\", \"typo@b.test\", \"bob@a.test\"]";
    let world = World::start(&[], |site| if site.is("b.test") { site.with(more) } else { site }).await;
    send(&world.a, "alice", &["team@b.test"], &sample("alice@a.test", "team@b.test", 1)).await.unwrap();
    world.b.messages("alice", "INBOX", 1).await;
    world.a.messages("bob", "INBOX", 1).await;
    let notification = text(&world.a.messages("alice", "INBOX", 1).await[0]);
    for expected in [
        "Return-Path: <>",
        "report-type=\"delivery-status\"",
        "Reporting-MTA: dns; mx.b.test",
        "Final-Recipient: rfc822; typo@b.test",
        "Action: failed",
        "Status: 5.1.1",
        "550 5.1.1 there is no such user here",
        "Subject: sample 1",
    ] {
        assert!(notification.contains(expected), "{expected} is not in\n{notification}");
    }
    let login = Login { user: world.a.user("alice"), password: PASSWORD.to_owned() };
    submit(Submission {
        address: world.a.address(Service::Submission, TlsMode::None),
        tls: Tls::None,
        login: Some(login),
        from: &ReversePath::Null,
        to: &[Address::parse("team@b.test").unwrap()],
        message: &sample("alice@a.test", "team@b.test", 2),
    })
    .await
    .unwrap();
    world.b.messages("alice", "INBOX", 2).await;
    world.a.messages("bob", "INBOX", 2).await;
    world.a.drain_queue().await;
    world.b.drain_queue().await;
    assert_eq!(world.a.read_mailbox("alice", "INBOX").await.len(), 1, "nobody is told of what has no sender");
    assert_eq!(world.b.read_mailbox("alice", "INBOX").await.len(), 2);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aliases_that_lead_to_each_other_send_each_message_once() {
    let world = World::start(&[], |site| {
        let (us, them) = if site.is("a.test") { ("a.test", "b.test") } else { ("b.test", "a.test") };
        let to = format!("to = [\"bob@{us}\", \"team@{them}\"]");
        site.with(&format!("[[alias]]\nfrom = \"team@{us}\"\n{to}"))
    })
    .await;
    send(&world.a, "alice", &["team@a.test"], &sample("alice@a.test", "team@a.test", 1)).await.unwrap();
    let notification = text(&world.a.messages("alice", "INBOX", 1).await[0]);
    assert!(notification.contains("Status: 5.4.6"), "{notification}");
    world.a.messages("bob", "INBOX", 1).await;
    world.b.messages("bob", "INBOX", 1).await;
    world.a.drain_queue().await;
    world.b.drain_queue().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_a_loop_is_refused() {
    let site = SiteBuilder::new("a.test").start().await;
    let received = "Received: from x by y; Sat, 21 Nov 2026 04:05:06 +0000\r\n".repeat(120);
    let message = format!("{received}From: <alice@a.test>\r\nSubject: round\r\n\r\nround\r\n");
    let refused = send(&site, "alice", &["bob@a.test"], message.as_bytes()).await.unwrap_err();
    assert!(refused.to_string().contains("5.4.6"), "{refused}");
    assert!(site.read_mailbox("bob", "INBOX").await.is_empty());
    site.finish().await;
}

/// alice@a.test writes to an alias of b.test that leads to bob@a.test: he gets it with a return path of b.test, and what is sent back
/// to that comes to her.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forwarded_comes_back_to_its_sender() {
    let alias = "[[alias]]\nfrom = \"away@b.test\"\nto = [\"bob@a.test\"]";
    let world = World::start(&[], |site| if site.is("b.test") { site.with(alias) } else { site }).await;
    send(&world.a, "alice", &["away@b.test"], &sample("alice@a.test", "away@b.test", 1)).await.unwrap();
    let forwarded = text(&world.a.messages("bob", "INBOX", 1).await[0]);
    let path = forwarded.strip_prefix("Return-Path: <").and_then(|rest| rest.split_once('>')).unwrap().0;
    assert!(path.starts_with("SRS0=") && path.ends_with("=a.test=alice@b.test"), "{path}");
    let mut peer = TcpStream::connect(world.b.address(Service::Smtp, TlsMode::StartTls)).await.unwrap();
    let mut said = String::new();
    let bounce = format!("MAIL FROM:<>\r\nRCPT TO:<{path}>\r\n");
    let forged = format!("RCPT TO:<{}>\r\n", path.replace("alice", "bob"));
    for command in
        ["", "EHLO far.test\r\n", &bounce, &forged, "DATA\r\n", "Subject: returned\r\n\r\n.\r\n", "QUIT\r\n"]
    {
        peer.write_all(command.as_bytes()).await.unwrap();
        let mut octets = [0; 4096];
        while !said.ends_with('\n') {
            let read = peer.read(&mut octets).await.unwrap();
            said += &String::from_utf8_lossy(&octets[..read]);
        }
        said.push(' ');
    }
    assert!(said.contains("550 5.1.1 ") && said.contains(" accepted\r\n"), "{said}");
    let returned = text(&world.a.messages("alice", "INBOX", 1).await[0]);
    assert!(
        returned.starts_with("Return-Path: <>\r\n") && returned.contains("Subject: returned"),
        "{returned}"
    );
    world.b.drain_queue().await;
    world.finish().await;
}
