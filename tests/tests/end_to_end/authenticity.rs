//! Mail between servers that ask where it comes from.

use waypost_config::{Service, TlsMode};
use waypost_mail::{Address, ReversePath};
use waypost_server::{
    agent::{Login, Submission, Tls, submit},
    demo::{dns::Data, world::DkimKeys},
};
use waypost_tests::{Site, World, sample, site::PASSWORD};

/// What each domain says in DNS.
fn records() -> Vec<(&'static str, Data)> {
    let text = |text: &str| Data::Text(text.to_owned());
    vec![
        ("a.test", text("v=spf1 mx -all")),
        ("_dmarc.a.test", text("v=DMARC1; p=reject")),
        ("c.test", text("v=spf1 -all")),
        ("_dmarc.c.test", text("v=DMARC1; p=reject")),
        ("d.test", text("v=spf1 -all")),
        ("_dmarc.d.test", text("v=DMARC1; p=quarantine")),
    ]
}

async fn world() -> World {
    World::start(&records(), |site| site.with("[authenticity]\nexempt = []")).await
}

/// Two servers whose aliases lead to each other: `list@a.test` to `list@b.test`, and that to Alice; each signs for its domain.
async fn forwarders() -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let keys = |domain: &str| DkimKeys::new(&folder.path().join(domain), domain).unwrap();
    let (a, b) = (keys("a.test"), keys("b.test"));
    let all = a.records.iter().chain(&b.records);
    let records: Vec<_> = all.map(|(name, data)| (name.as_str(), data.clone())).collect();
    let more = [("c.test", Data::Text("v=spf1 ip4:127.0.0.1 -all".to_owned()))];
    let records = [records, more.to_vec()].concat();
    let world = World::start(&records, |site| {
        let (keys, from, to) = match site.is("a.test") {
            true => (&a, "list@a.test", "list@b.test"),
            false => (&b, "list@b.test", "alice@a.test"),
        };
        let alias = format!("[[alias]]\nfrom = \"{from}\"\nto = [\"{to}\"]\n");
        site.with(&format!("{alias}[authenticity]\nexempt = []\n{}", keys.config))
    });
    (world.await, folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forwarded_twice_carries_a_chain_that_stands() {
    let (world, _folder) = forwarders().await;
    // to the first forwarder's own user, too, whose copy needs no seal
    let sent = send(&world.a, "x@c.test", &["list@a.test", "bob@a.test"]).await;
    assert!(sent.ends_with(" accepted"), "{sent}");
    let read = world.a.messages("alice", "INBOX", 1).await.remove(0);
    let read = String::from_utf8(read).unwrap();
    let header = read.split("\r\n\r\n").next().unwrap().replace("\r\n\t", " ");
    let fields: Vec<&str> = header.lines().collect();
    let of = |name: &str| fields.iter().filter(|field| field.starts_with(name)).copied().collect::<Vec<_>>();
    assert!(of("Authentication-Results: mx.a.test;")[0].contains("; arc=pass \theader.d=b.test;"), "{read}");
    let starts = |name: &str, expected: [&str; 2]| {
        let found = of(name);
        assert!(
            found.len() == 2 && found.iter().zip(expected).all(|(found, start)| found.starts_with(start)),
            "{read}"
        );
    };
    starts(
        "ARC-Seal",
        [
            "ARC-Seal: i=2; a=rsa-sha256; cv=pass; d=b.test;",
            "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=a.test;",
        ],
    );
    starts("ARC-Message-Signature", ["ARC-Message-Signature: i=2;", "ARC-Message-Signature: i=1;"]);
    let results = of("ARC-Authentication-Results");
    assert!(
        results[0].contains("i=2; mx.b.test; iprev=") && results[0].contains("; arc=pass \theader.d=a.test;"),
        "{read}"
    );
    assert!(
        results[1].contains("i=1; mx.a.test; iprev=")
            && results[1].contains("; spf=pass \tsmtp.mailfrom=x@c.test;"),
        "{read}"
    );
    let own = world.a.messages("bob", "INBOX", 1).await.remove(0);
    assert!(!String::from_utf8(own).unwrap().contains("ARC-"));
    world.a.drain_queue().await;
    world.b.drain_queue().await;
    world.finish().await;
}

/// Sends a message to Bob as a stranger; what the server says to it.
async fn stranger(world: &World, sender: &str) -> String {
    send(&world.b, sender, &["bob@b.test"]).await
}

/// Sends a message as a stranger.
async fn send(site: &Site, sender: &str, to: &[&str]) -> String {
    let from = Address::parse(sender).unwrap();
    let to: Vec<_> = to.iter().map(|to| Address::parse(to).unwrap()).collect();
    let submission = Submission {
        address: site.address(Service::Smtp, TlsMode::StartTls),
        tls: Tls::None,
        login: None,
        from: &ReversePath::Address(from),
        to: &to,
        message: &sample(sender, "bob@b.test", 1),
    };
    submit(submission).await.unwrap_or_else(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_sends_for_its_domain_passes() {
    let world = world().await;
    let (from, to) = (Address::parse("alice@a.test").unwrap(), Address::parse("bob@b.test").unwrap());
    let submission = Submission {
        address: world.a.address(Service::Submission, TlsMode::None),
        tls: Tls::None,
        login: Some(Login { user: "alice@a.test".to_owned(), password: PASSWORD.to_owned() }),
        from: &ReversePath::Address(from),
        to: &[to],
        message: &sample("alice@a.test", "bob@b.test", 1),
    };
    submit(submission).await.unwrap();
    let read = world.b.messages("bob", "INBOX", 1).await.remove(0);
    let read = String::from_utf8_lossy(&read).into_owned();
    let start = "Return-Path: <alice@a.test>\r\nDelivered-To: bob@b.test\r\nAuthentication-Results: mx.b.test;\r\n\tiprev=";
    let rest = ";\r\n\tspf=pass\r\n\t\tsmtp.mailfrom=alice@a.test;\r\n\tspf=none\r\n\t\tsmtp.helo=mx.a.test;\r\n\tdkim=none;\r\n\tarc=none;\r\n\tdmarc=pass\r\n\
                \t\theader.from=a.test\r\n\t\tpolicy.dmarc=reject\r\nReceived: from mx.a.test ";
    assert!(read.starts_with(start) && read.contains(rest), "{read}");
    world.a.drain_queue().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_in_the_name_of_others_is_refused_or_goes_to_junk() {
    let world = world().await;
    let refused = stranger(&world, "x@c.test").await;
    assert!(refused.contains("550 5.7.1 Neither SPF nor DKIM shows that this is from c.test"), "{refused}");
    let accepted = stranger(&world, "x@d.test").await;
    assert!(accepted.ends_with(" accepted"), "{accepted}");
    let read = world.b.messages("bob", "Junk", 1).await.remove(0);
    let read = String::from_utf8_lossy(&read).into_owned();
    assert!(read.contains("spf=fail\r\n") && read.contains("reason=\"quarantined: "), "{read}");
    assert!(world.b.read_mailbox("bob", "INBOX").await.is_empty());
    world.finish().await;
}
