//! Mail between servers that ask where it comes from.

use waypost_config::{Service, TlsMode};
use waypost_mail::{Address, ReversePath};
use waypost_server::{
    agent::{Login, Submission, Tls, submit},
    demo::dns::Data,
};
use waypost_tests::{World, sample, site::PASSWORD};

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

/// Sends a message to Bob as a stranger; what the server says to it.
async fn stranger(world: &World, sender: &str) -> String {
    let (from, to) = (Address::parse(sender).unwrap(), Address::parse("bob@b.test").unwrap());
    let submission = Submission {
        address: world.b.address(Service::Smtp, TlsMode::StartTls),
        tls: Tls::None,
        login: None,
        from: &ReversePath::Address(from),
        to: &[to],
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
    let rest = ";\r\n\tspf=pass\r\n\t\tsmtp.mailfrom=alice@a.test;\r\n\tdkim=none;\r\n\tarc=none;\r\n\tdmarc=pass\r\n\
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
