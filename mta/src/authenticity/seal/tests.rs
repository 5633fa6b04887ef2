use std::sync::Arc;

use waypost_mail::{Domain, ReversePath};
use waypost_storage::DkimAlgorithm;

use super::*;
use crate::{
    authenticity::{
        Check, Sender,
        arc::{ArcResult, SETS_MAX},
        keys::generate,
        policy::Disposition,
        results,
        testing::{Signing, Zone},
    },
    dns::Resolver,
};

const MESSAGE: &str = "From: a@a.test\r\nTo: list@one.test\r\nSubject: s\r\n\r\nbody\r\n";

/// A forwarder, who checks a message and seals it.
struct Hop {
    key: Arc<SigningKey>,
    domain: Domain,
}

impl Hop {
    fn new(domain: &str, algorithm: DkimAlgorithm) -> Self {
        let domain = Domain::new(domain).unwrap();
        let kept = generate(domain.clone(), "s".to_owned(), algorithm, Timestamp(0)).unwrap();
        let key = SigningKey::new(domain.clone(), kept.selector, kept.secret.pkcs8()).unwrap();
        Self { key: Arc::new(key), domain }
    }

    fn publish(&self, zone: Zone) -> Zone {
        zone.text(&self.key.record_name(), &self.key.record())
    }

    async fn verdict(&self, resolver: &Resolver, message: &str) -> Verdict {
        let (header, body) = split(message);
        let mut check = Check::begin(&header, 0).for_seal();
        check.feed(body.as_bytes());
        let sender = Sender {
            peer: "192.0.2.1".parse().unwrap(),
            helo: "mx.a.test",
            reverse_path: &ReversePath::Null,
            receiver: &self.domain,
            now: 0,
        };
        check.finish(resolver, sender).await
    }

    /// The message as it goes on; `None`: without a set.
    async fn seal(&self, resolver: &Resolver, message: &str) -> Option<String> {
        let verdict = self.verdict(resolver, message).await;
        let results = results::field(&verdict, &Disposition::Deliver(None), self.domain.as_str());
        let message = format!("Received: by {}\r\n{message}", self.domain);
        let set = set(&self.key, &verdict, &results, &split(&message).0, Timestamp(1_000)).unwrap()?;
        assert!(set.lines().all(|line| line.len() <= 78), "{set}");
        Some(set + &message)
    }
}

fn split(message: &str) -> (HeaderBlock, &str) {
    let end = message.find("\r\n\r\n").unwrap() + 4;
    (HeaderBlock::new(message[..end].into()), &message[end..])
}

fn hops() -> (Hop, Hop, Zone) {
    let hops = (Hop::new("one.test", DkimAlgorithm::Rsa), Hop::new("two.test", DkimAlgorithm::Ed25519));
    let zone = hops.1.publish(hops.0.publish(Zone::default()));
    (hops.0, hops.1, zone)
}

/// `i=` and `cv=` of the seals, the newest first.
fn seals(message: &str) -> Vec<(String, String)> {
    let tag = |text: &str, name: &str| {
        let tags = text.split(';').filter_map(|tag| tag.trim().split_once('='));
        tags.filter(|(tag, _)| *tag == name).map(|(_, value)| value.to_owned()).collect::<String>()
    };
    let of = |field: waypost_message::Field<'_>| {
        let text = String::from_utf8(field.value()).unwrap();
        (tag(&text, "i"), tag(&text, "cv"))
    };
    split(message).0.fields().filter(|field| field.is("ARC-Seal")).map(of).collect()
}

fn told(seals: &[(String, String)]) -> Vec<(&str, &str)> {
    seals.iter().map(|(i, cv)| (i.as_str(), cv.as_str())).collect()
}

#[tokio::test]
async fn a_chain_stands_after_one_hop_and_after_two() {
    let (one, two, zone) = hops();
    let author = Signing::new("a.test");
    let resolver = zone.text("s._domainkey.a.test", &author.record()).resolver();
    let first = one.seal(&resolver, &author.sign(MESSAGE)).await.unwrap();
    assert!(first.contains("\r\nARC-Authentication-Results: i=1; one.test;\r\n\tiprev="), "{first}");
    let arc = two.verdict(&resolver, &first).await.arc;
    assert_eq!((arc.result, arc.sealers.len()), (ArcResult::Pass, 1), "{:?}", arc.reason);
    let second = two.seal(&resolver, &first).await.unwrap();
    let verdict = one.verdict(&resolver, &second).await;
    let sealers: Vec<_> = verdict.arc.sealers.iter().map(|sealer| sealer.domain.as_str()).collect();
    assert_eq!((verdict.arc.result, sealers.as_slice()), (ArcResult::Pass, &["two.test", "one.test"][..]));
    assert_eq!(told(&seals(&second)), [("2", "pass"), ("1", "none")]);
    // the signatures of the author are covered: without them the seal does not hold
    let without = second.replace("DKIM-Signature: ", "X-Signature: ");
    assert_eq!(one.verdict(&resolver, &without).await.arc.result, ArcResult::Fail);
    let saw = verdict.arc.sealers.iter().map(|sealer| sealer.saw_dmarc_pass).collect::<Vec<_>>();
    assert_eq!(saw, [false, false], "a.test has no policy");
}

#[tokio::test]
async fn what_was_changed_on_the_way_is_told_once() {
    let (one, two, zone) = hops();
    let resolver = zone.resolver();
    let first = one.seal(&resolver, MESSAGE).await.unwrap();
    for (from, to, sets) in [
        ("body", "other", "2"),
        ("Subject: s", "Subject: t", "2"),
        // chains that are none
        ("ARC-Message-Signature: ", "X-Message-Signature: ", "2"),
        ("i=1;", "i=3;", "4"),
        ("cv=none", "cv=pass", "2"),
    ] {
        let changed = first.replace(from, to);
        let second = two.seal(&resolver, &changed).await.unwrap();
        let newest = seals(&second).remove(0);
        assert_eq!((newest.0.as_str(), newest.1.as_str()), (sets, "fail"), "{to}");
        assert_eq!(one.verdict(&resolver, &second).await.arc.result, ArcResult::Fail);
        assert_eq!(one.seal(&resolver, &second).await, None, "it was told already");
    }
}

#[tokio::test]
async fn a_seal_of_a_broken_chain_signs_its_own_set_alone() {
    let (one, two, zone) = hops();
    let resolver = zone.resolver();
    let first = one.seal(&resolver, MESSAGE).await.unwrap().replace("body", "other");
    let second = two.seal(&resolver, &first).await.unwrap();
    let fields: Vec<_> = split(&second).0.fields().take(3).map(|field| field.octets.to_vec()).collect();
    let block = |at: usize| HeaderBlock::new(fields[at].clone());
    let mut octets = Vec::new();
    for at in [2, 1] {
        FORM.field(&block(at).fields().next().unwrap(), &mut octets);
    }
    let expected = signed(&two.key, &fields[0], octets).unwrap();
    let text: String = String::from_utf8(block(0).first("ARC-Seal").unwrap()).unwrap();
    let value: String = text.rsplit_once("b=").unwrap().1.split_ascii_whitespace().collect();
    assert_eq!(value, STANDARD.encode(expected), "Ed25519 makes one signature of the same octets");
}

#[tokio::test]
async fn there_are_fifty_sets_at_most_and_none_where_dns_does_not_answer() {
    let (one, two, zone) = hops();
    let resolver = zone.clone().resolver();
    let mut message = MESSAGE.to_owned();
    for _ in 0..SETS_MAX {
        message = two.seal(&resolver, &message).await.unwrap();
    }
    assert_eq!(two.verdict(&resolver, &message).await.arc.result, ArcResult::Pass);
    assert_eq!(two.seal(&resolver, &message).await, None);
    assert_eq!(two.seal(&resolver, &message.replace("body", "other")).await, None);

    let first = one.seal(&resolver, MESSAGE).await.unwrap();
    let silent = Zone::default().text("s._domainkey.one.test", "TIMEOUT").resolver();
    assert_eq!(two.verdict(&silent, &first).await.arc.result, ArcResult::Fail);
    assert_eq!(two.seal(&silent, &first).await, None);
}
