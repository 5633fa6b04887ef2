use mail_auth::dkim::Canonicalization;
use waypost_message::HeaderCollector;

use super::{DkimResult::*, *};
use crate::authenticity::testing::{Signing, Zone};

const MESSAGE: &str = "From: a@a.test\r\nTo: b@b.test\r\nSubject: x\r\n\r\nHello  there \r\n\r\nBye\r\n\r\n";

/// What comes of the signatures of a message that comes in pieces.
async fn outcomes(zone: Zone, message: &str, piece: usize, now: u64) -> Vec<DkimOutcome> {
    let (header, used) = HeaderCollector::default().feed(message.as_bytes()).unwrap().unwrap();
    let mut bodies = Bodies::default();
    let check = DkimCheck::begin(&header, &mut bodies, now);
    message.as_bytes()[used..].chunks(piece).for_each(|octets| bodies.feed(octets));
    let keys = Keys::fetch(&zone.resolver(), check.key_names()).await;
    check.finish(&bodies.finish(), &keys)
}

async fn results(zone: Zone, message: &str) -> Vec<(DkimResult, String)> {
    let outcomes = outcomes(zone, message, 4096, 0).await;
    outcomes.into_iter().map(|one| (one.result, one.reason.unwrap_or_default())).collect()
}

async fn one(zone: Zone, message: &str) -> (DkimResult, String) {
    let [one] = &results(zone, message).await[..] else { panic!("not one signature") };
    one.clone()
}

/// RFC 8463 appendix A.
fn football() -> (Zone, String) {
    let rsa = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";
    let ed25519 = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let zone = Zone::default()
        .text("brisbane._domainkey.football.example.com", ed25519)
        .text("test._domainkey.football.example.com", rsa);
    let message = "\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
";
    (zone, message.replace('\n', "\r\n"))
}

#[tokio::test]
async fn the_example_of_the_rfc_passes() {
    let (zone, message) = football();
    for piece in [1, 2, 7, 4096] {
        let outcomes = outcomes(zone.clone(), &message, piece, 0).await;
        let seen: Vec<_> = outcomes.iter().map(|one| (one.result, one.reason.as_deref())).collect();
        assert_eq!(seen, [(Pass, None), (Pass, Some("the key is shorter than 2048 bits"))]);
        let signer = outcomes[1].signer.clone().unwrap();
        assert_eq!((signer.domain.as_str(), signer.selector.as_str()), ("football.example.com", "test"));
        assert_eq!((signer.algorithm, signer.mark.as_str()), ("rsa-sha256", "F45dVWDf"));
    }
    let changed = message.replace("hungry", "angry");
    assert_eq!(results(zone.clone(), &changed).await, vec![(Fail, "the body was changed".into()); 2]);
    let changed = message.replace("dinner", "supper");
    assert_eq!(results(zone.clone(), &changed).await, vec![(Fail, "the signature does not match".into()); 2]);
    let more = message.replace("From: Joe", "From: eve@evil.test\r\nFrom: Joe");
    assert_eq!(results(zone, &more).await, vec![(Fail, "the signature does not match".into()); 2]);
}

#[tokio::test]
async fn signatures_of_others_stand_in_every_form() {
    let by = Signing::new("a.test");
    let bodies =
        ["", "\r\n", "x", "x\r\n\r\n\r\n", " \r\n\t\r\nx", " a  b\t\tc \r\n\r\n d\r\n", "\r\n\r\nlast"];
    for (form, body) in [Canonicalization::Simple, Canonicalization::Relaxed]
        .into_iter()
        .flat_map(|form| bodies.map(|body| (form, body)))
    {
        let message = format!("From:  a@a.test \r\nTo: b@b.test,\r\n\tc@c.test\r\nSubject:\r\n\r\n{body}");
        let signed = by.sign_as(&message, form, false, "");
        for piece in [1, 3, 4096] {
            let outcomes = outcomes(by.zone(), &signed, piece, 0).await;
            assert_eq!(outcomes[0].result, Pass, "{form:?} {body:?} {:?}", outcomes[0].reason);
        }
    }
}

#[tokio::test]
async fn a_length_that_leaves_something_unsigned_is_not_good_enough() {
    let by = Signing::new("a.test");
    let signed =
        by.sign_as("From: a@a.test\r\nTo: b@b.test\r\n\r\nHello\r\n", Canonicalization::Simple, true, "");
    assert!(signed.contains(" l=7;"), "{signed}");
    assert_eq!(one(by.zone(), &signed).await, (Pass, String::new()));
    let policy = (Policy, "l= is not the length of the body".to_owned());
    assert_eq!(one(by.zone(), &(signed.clone() + "more\r\n")).await, policy);
    let shorter = signed.strip_suffix("llo\r\n").unwrap();
    assert_eq!(one(by.zone(), shorter).await, (Fail, "the body was changed".into()));
}

#[tokio::test]
async fn what_the_key_record_says_counts() {
    let by = Signing::new("a.test");
    let signed = by.sign(MESSAGE);
    let below = by.sign_as(MESSAGE, Canonicalization::Relaxed, false, "x@mail.a.test");
    let zone = |record: &str| Zone::default().text("s._domainkey.a.test", record);
    let record = by.record();
    let permanent = |why: &str| (PermError, why.to_owned());
    for (records, expected) in [
        (record.clone(), (Pass, String::new())),
        (record.replace("v=DKIM1; ", ""), (Pass, String::new())),
        (record.clone() + "; h=sha1:sha256; s=email; t=y:s; n=note", (Pass, String::new())),
        (record.replace("DKIM1", "DKIM2"), permanent("the key record is of another version")),
        (record.replace("v=DKIM1; ", "") + "; v=DKIM1", permanent("the key record is of another version")),
        (record.replace("ed25519", "rsa"), permanent("the key is of another kind")),
        (record.replace("ed25519", "x"), permanent("the key is of an unknown kind")),
        (record.clone() + "; h=sha1", permanent("the key is for another hash")),
        (record.clone() + "; s=other", permanent("the key is not for mail")),
        ("v=DKIM1; k=ed25519; p=".into(), permanent("the key is revoked")),
        ("v=DKIM1; k=ed25519; p=?".into(), permanent("the key record is wrong")),
        ("v=DKIM1; k=ed25519".into(), permanent("the key record is wrong")),
        (record.clone() + "; p=x", permanent("the key record is wrong")),
        (record.clone() + "; n=" + &"x".repeat(4096), permanent("the key record is wrong")),
        (Signing::new("a.test").record(), (Fail, "the signature does not match".into())),
        ("TIMEOUT".into(), (TempError, "the key could not be looked up".into())),
    ] {
        assert_eq!(one(zone(&records), &signed).await, expected, "{records}");
    }
    assert_eq!(one(Zone::default(), &signed).await, permanent("there is no key"));
    let two = zone("v=DKIM1; p=").text("s._domainkey.a.test", &record);
    assert_eq!(one(two, &signed).await, (Pass, String::new()), "one of two records is its key");
    assert_eq!(one(by.zone(), &below).await, (Pass, String::new()));
    let strict = zone(&(record + "; t=s"));
    assert_eq!(one(strict, &below).await, permanent("the key is not for domains below its own"));
}

#[tokio::test]
async fn short_keys_and_old_hashes_say_nothing() {
    // RSA with 512 bits
    let short = "v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBANDiE2+Xi/WnO+s120NiiJhNyIButVu6zxqlVzz0wy2j4kQVUC4ZRZD80IY+4wIiX2YxKBZKGnd2TtPkcJ/ljkUCAwEAAQ==";
    let (_, message) = football();
    let zone = Zone::default().text("test._domainkey.football.example.com", short);
    let results = results(zone, &message).await;
    assert_eq!(results[1], (PermError, "the key is too short".into()));
    let (zone, message) = football();
    let old = message.replace("rsa-sha256", "rsa-sha1");
    assert_eq!(self::results(zone, &old).await[1], (Neutral, "rsa-sha1 is not secure".into()));
}

#[tokio::test]
async fn signatures_end_when_they_say_so() {
    let by = Signing::new("a.test");
    let signed = by.sign(MESSAGE);
    let expiring = signed.replacen(" t=", " x=99999999999; t=", 1);
    for (now, expected) in
        [(99_999_999_999, "the signature does not match"), (100_000_000_000, "it has expired")]
    {
        let outcomes = outcomes(by.zone(), &expiring, 4096, now).await;
        assert_eq!((outcomes[0].result, outcomes[0].reason.as_deref()), (Fail, Some(expected)), "{now}");
    }
}

#[tokio::test]
async fn of_many_signatures_the_first_ones_are_looked_at() {
    let by = Signing::new("a.test");
    let signed = by.sign(MESSAGE);
    let field = signed.strip_suffix(MESSAGE).unwrap();
    let flood = "DKIM-Signature: v=1\r\n".repeat(1000) + &signed;
    let results = results(by.zone(), &flood).await;
    assert_eq!(results, vec![(Neutral, "a= is missing".to_owned()); SIGNATURES_MAX]);
    let outcomes = outcomes(by.zone(), &(field.repeat(9) + &signed), 4096, 0).await;
    assert_eq!(outcomes.iter().filter(|one| one.result == Pass).count(), 10);
}

/// A signature costs one hash for each form and length, and no octets of the body.
#[test]
fn a_body_is_not_held() {
    let by = Signing::new("a.test");
    let signed = by.sign(MESSAGE);
    let (header, _) = HeaderCollector::default().feed(signed.as_bytes()).unwrap().unwrap();
    let line = b"a line of a large message, of which there are a great many\r\n".repeat(1000);
    let taken = |times: usize| {
        allocation_counter::measure(|| {
            let mut bodies = Bodies::default();
            let check = DkimCheck::begin(&header, &mut bodies, 0);
            (0..times).for_each(|_| bodies.feed(&line));
            drop((check, bodies.finish()));
        })
        .bytes_max
    };
    assert_eq!(taken(1), taken(100));
}
