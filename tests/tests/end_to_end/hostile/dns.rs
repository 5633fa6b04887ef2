//! DNS of strangers that goes round, or is larger than anything: a message whose sender's domain has it is answered in time, and delivered.

use std::time::{Duration, Instant};

use waypost_config::{Service, TlsMode};
use waypost_mail::{Address, ReversePath};
use waypost_server::{
    agent::{Submission, Tls, submit},
    demo::dns::Data,
};
use waypost_tests::World;

/// Longest time until a message is answered; each check has 20 seconds at most.
const ANSWER_MAX: Duration = Duration::from_secs(15);

fn text(text: impl Into<String>) -> Data {
    Data::Text(text.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wicked_records_keep_no_message_waiting() {
    let alias = |to: &str| Data::Alias(to.to_owned());
    let mut records = vec![
        // round: one name, two, and a long way of them
        ("self.test".to_owned(), alias("self.test")),
        ("one.test".to_owned(), alias("two.test")),
        ("two.test".to_owned(), alias("one.test")),
        ("s._domainkey.round.test".to_owned(), alias("t._domainkey.round.test")),
        ("t._domainkey.round.test".to_owned(), alias("s._domainkey.round.test")),
        ("_dmarc.round.test".to_owned(), alias("_dmarc.round.test")),
        ("round.test".to_owned(), text("v=spf1 include:one.test a:two.test mx:self.test -all")),
        // texts of the largest size that goes over TCP
        ("large.test".to_owned(), text(format!("v=spf1 x={}", "x".repeat(60_000)))),
        ("_dmarc.large.test".to_owned(), text(format!("v=DMARC1; p=none; x={}", "x".repeat(60_000)))),
        ("s._domainkey.large.test".to_owned(), text(format!("v=DKIM1; p={}", "A".repeat(60_000)))),
    ];
    records.extend((0..60).map(|at| (format!("n{at}.test"), alias(&format!("n{}.test", at + 1)))));
    for name in ["many.test", "_dmarc.many.test", "s._domainkey.many.test"] {
        records.extend((0..1_500).map(|at| (name.to_owned(), text(format!("v=spf1; v=DMARC1; {at}")))));
    }
    let records: Vec<_> = records.iter().map(|(name, data)| (name.as_str(), data.clone())).collect();
    let world = World::start(&records, |site| site.with("[authenticity]\nexempt = []")).await;
    let domains = ["self.test", "one.test", "n0.test", "round.test", "large.test", "many.test"];
    for domain in domains {
        let sender = format!("x@{domain}");
        let message = format!(
            "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={domain}; s=s; h=From; bh=aGk=; b=aGk=\r\nFrom: {sender}\r\n\r\nx\r\n"
        );
        let submission = Submission {
            address: world.b.address(Service::Smtp, TlsMode::StartTls),
            tls: Tls::None,
            login: None,
            from: &ReversePath::Address(Address::parse(&sender).unwrap()),
            to: &[Address::parse("bob@b.test").unwrap()],
            message: message.as_bytes(),
        };
        let begun = Instant::now();
        let answer = submit(submission).await.unwrap_or_else(|error| error.to_string());
        assert!(answer.ends_with(" accepted"), "{domain}: {answer}");
        assert!(begun.elapsed() < ANSWER_MAX, "{domain} took {:?}", begun.elapsed());
    }
    for message in world.b.messages("bob", "INBOX", domains.len()).await {
        let text = String::from_utf8(message).unwrap();
        let results = text.split("Received: ").next().unwrap();
        for method in ["spf", "dkim", "dmarc"] {
            assert!(
                results.contains(&format!("{method}=")) && !results.contains(&format!("{method}=pass")),
                "{results}"
            );
        }
    }
    world.finish().await;
}
