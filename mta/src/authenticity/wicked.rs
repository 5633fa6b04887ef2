//! Messages and records that are made to cost much, or to be taken for something else: each check of one is bounded in time, memory and look-ups.

use std::time::{Duration, Instant};

use allocation_counter::measure;
use base64::{Engine, engine::general_purpose::STANDARD};
use waypost_message::HeaderCollector;

use super::{
    arc::ArcResult,
    dmarc::DmarcResult,
    testing::{Signing, Zone},
    *,
};

/// Longest time of all checks of one message, in a build that is not optimised.
const TIME_MAX: Duration = Duration::from_secs(2);
/// Most octets that are held at once: a few times the largest header block (256 KiB).
const MEMORY_BYTES_MAX: u64 = 4 << 20;
/// Most look-ups: two of SPF with ten terms and what they ask, one policy of each author, keys, and the client's names.
const LOOKUPS_MAX: usize = 120;

const PEER: &str = "192.0.2.1";
const FROM: &str = "From: a@a.test\r\n";

/// What comes of a message whose sender is `a@a.test`, within the bounds.
fn checked(zone: &Zone, message: &str) -> Verdict {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let before = zone.asked();
    let begun = Instant::now();
    let mut found = None;
    let resolver = zone.clone().resolver();
    let allocated = measure(|| {
        found = Some(runtime.block_on(async {
            let mut collector = HeaderCollector::default();
            let (header, used) = collector.feed(message.as_bytes()).unwrap().unwrap();
            let mut check = Check::begin(&header, 0).for_seal();
            message.as_bytes()[used..].chunks(4096).for_each(|octets| check.feed(octets));
            let reverse_path = ReversePath::Address("a@a.test".parse().unwrap());
            let receiver = Domain::new("mx.b.test").unwrap();
            let peer = PEER.parse().unwrap();
            let sender =
                Sender { peer, helo: "mx.a.test", reverse_path: &reverse_path, receiver: &receiver, now: 0 };
            check.finish(&resolver, sender).await
        }));
    });
    let (took, asked) = (begun.elapsed(), zone.asked() - before);
    assert!(took < TIME_MAX, "it took {took:?}");
    assert!(allocated.bytes_max < MEMORY_BYTES_MAX, "{} octets were held", allocated.bytes_max);
    assert!(asked <= LOOKUPS_MAX, "{asked} look-ups");
    found.unwrap()
}

fn plain() -> String {
    format!("{FROM}\r\nbody\r\n")
}

/// The results of DKIM.
fn dkim(verdict: &Verdict) -> Vec<DkimResult> {
    verdict.dkim.iter().map(|outcome| outcome.result).collect()
}

#[test]
fn spf_that_goes_round_or_asks_for_much_ends() {
    let spf = |zone: Zone| checked(&zone, &plain()).spf;
    let record = |text: &str| Zone::default().text("a.test", text);
    // round, in pairs, and in a tree that doubles with each level
    let pair = record("v=spf1 include:b.test").text("b.test", "v=spf1 include:a.test");
    let tree = (1..30).fold(record("v=spf1 include:l1.test include:l1.test -all"), |zone, level| {
        let next = level + 1;
        zone.text(
            &format!("l{level}.test"),
            &format!("v=spf1 include:l{next}.test include:l{next}.test -all"),
        )
    });
    for zone in [
        record("v=spf1 include:a.test -all"),
        record("v=spf1 redirect=a.test"),
        pair,
        tree,
        record("v=spf1 a:x1.test a:x2.test a:x3.test -all"),
        record(&format!("v=spf1{} -all", " exists:%{i}.x.test".repeat(100))),
        record(&format!("v=spf1{} -all", " mx:m.test".repeat(100))),
        (0..200).fold(record("v=spf1 mx -all"), |zone, at| zone.exchange("a.test", &format!("h{at}.test"))),
    ] {
        let outcome = spf(zone);
        assert_eq!(outcome.result, SpfResult::PermError, "{outcome:?}");
    }
    // ten hosts of ten names that lead nowhere
    let mut zone =
        record(&format!("v=spf1{} -all", (0..10).map(|at| format!(" mx:m{at}.test")).collect::<String>()));
    for at in 0..10 {
        zone = (0..10)
            .fold(zone, |zone, host| zone.exchange(&format!("m{at}.test"), &format!("h{host}.m{at}.test")));
    }
    assert_eq!(spf(zone).result, SpfResult::Fail);
    // names without number that lead back, for a macro in each term
    let zone = record(&format!("v=spf1{} -all", " exists:%{p}.x.test".repeat(3)));
    let zone = (0..1000).fold(zone, |zone, at| zone.name(PEER, &format!("n{at}.test")));
    assert_eq!(spf(zone).result, SpfResult::PermError, "three void look-ups");
}

#[test]
fn texts_beyond_all_measure_are_no_records() {
    let long = "x".repeat(60_000);
    for (text, expected) in [
        (format!("v=spf1 {long} -all"), SpfResult::PermError),
        (format!("v=spf1{}", " x=y".repeat(15_000)), SpfResult::Neutral),
        (format!("v=spf1{}", " ip4:192.0.2.9".repeat(4_000)), SpfResult::Neutral),
        (format!("v=spf1 exists:{}", "%{s}".repeat(15_000)), SpfResult::Neutral),
        (format!("v=spf1 exists:{}.x.test -all", "%{s}".repeat(200)), SpfResult::Fail),
        (format!("v=spf1 a:{}", "%".repeat(50_000)), SpfResult::PermError),
    ] {
        let outcome = checked(&Zone::default().text("a.test", &text), &plain()).spf;
        assert_eq!(outcome.result, expected, "{}: {outcome:?}", &text[..40]);
    }
    // so many that each could be the one
    let crowd = |name: &str, text: &str| {
        (0..2_000).fold(Zone::default(), |zone, at| zone.text(name, &format!("{text}{at}")))
    };
    assert_eq!(checked(&crowd("a.test", "other text "), &plain()).spf.result, SpfResult::None);
    assert_eq!(checked(&crowd("a.test", "v=spf1 "), &plain()).spf.result, SpfResult::PermError);
    assert_eq!(
        checked(&crowd("_dmarc.a.test", "v=DMARC1; p=reject; x="), &plain()).dmarc[0].result,
        DmarcResult::None
    );
    let signed = Signing::new("a.test").sign(&plain());
    assert_eq!(
        dkim(&checked(&crowd("s._domainkey.a.test", "v=DKIM1; p="), &signed)),
        [DkimResult::PermError]
    );
    let zone = Zone::default().text("s._domainkey.a.test", &format!("v=DKIM1; p={long}"));
    assert_eq!(dkim(&checked(&zone, &signed)), [DkimResult::PermError]);
}

#[test]
fn of_a_thousand_signatures_the_first_ones_cost_something() {
    let by = Signing::new("a.test");
    let signed = by.sign(&plain());
    let (field, _) = signed.split_once(FROM).unwrap();
    for (zone, expected) in [(by.zone(), DkimResult::Pass), (Zone::default(), DkimResult::PermError)] {
        let found = dkim(&checked(&zone, &(field.repeat(700) + &plain())));
        assert_eq!(found, vec![expected; dkim::SIGNATURES_MAX]);
    }
    // each with a key of its own, and a length of its own
    let own = |at: usize| {
        format!(
            "DKIM-Signature: v=1; a=ed25519-sha256; d=a.test; s=s{at}; l={at}; h=From; bh=aGk=; b=aGk=\r\n"
        )
    };
    let many: String = (0..1_000).map(own).collect();
    let found = dkim(&checked(&by.zone(), &(many + &plain())));
    assert!(found.len() == dkim::SIGNATURES_MAX && !found.contains(&DkimResult::Pass), "{found:?}");
    // a header of the largest size that one signature names wholly, and one that names the same field without end
    let rest = "To: x@b.test\r\n".repeat(14_000);
    let large = format!("{FROM}{rest}\r\nbody\r\n");
    let names = ["From", &":To".repeat(499)].concat();
    let field = field.replace("h=From:To:Subject", &format!("h={names}"));
    assert!(field.len() > 1_000, "{field}");
    assert_eq!(dkim(&checked(&by.zone(), &(field.clone() + &large))), [DkimResult::Fail]);
    let more = field.replace(&names, &format!("{names}:To"));
    assert_eq!(dkim(&checked(&by.zone(), &(more + &large))), [DkimResult::Neutral]);
}

#[test]
fn a_length_says_nothing_beyond_what_is_there() {
    let by = Signing::new("a.test");
    let signed = by.sign_as(&plain(), mail_auth::dkim::Canonicalization::Relaxed, true, "");
    assert_eq!(dkim(&checked(&by.zone(), &signed)), [DkimResult::Pass]);
    for length in ["0", "5", "7", "99999999999999999999999999", "-1", "", "6 6"] {
        let changed = signed.replace("l=6", &format!("l={length}"));
        assert_ne!(changed, signed);
        let found = dkim(&checked(&by.zone(), &changed));
        assert!(matches!(found[..], [DkimResult::Fail | DkimResult::Neutral]), "{length}: {found:?}");
    }
    let longer = format!("{signed}{}", "and more\r\n".repeat(100_000));
    assert_eq!(dkim(&checked(&by.zone(), &longer)), [DkimResult::Policy]);
}

/// An RSA key that nobody made, as it stands in `p=` (RFC 6376 erratum 3017).
fn rsa(modulus_bytes: usize, exponent: &[u8]) -> String {
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }
    let mut modulus = vec![0xA5; modulus_bytes];
    modulus[0] = 0x80;
    let modulus = [&[0], modulus.as_slice()].concat();
    let key = der(0x30, &[der(0x02, &modulus), der(0x02, exponent)].concat());
    let algorithm =
        [0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00];
    STANDARD.encode(der(0x30, &[&algorithm[..], &der(0x03, &[&[0], key.as_slice()].concat())].concat()))
}

#[test]
fn keys_of_any_size_cost_little() {
    for (bytes, exponent) in [
        (2048, &[1, 0, 1][..]),
        (1024, &[1, 0, 1]),
        (512, &[0x7F; 512]),
        (256, &[0x7F; 256]),
        (256, &[1]),
        (256, &[0]),
        (64, &[1, 0, 1]),
        (1, &[1, 0, 1]),
    ] {
        let record = format!("v=DKIM1; k=rsa; p={}", rsa(bytes, exponent));
        let zone = Zone::default().text("s._domainkey.a.test", &record);
        let signature = STANDARD.encode(vec![0x55; bytes]);
        let hash = "ZJb4hDvvxBH0CqN0xV8bYf3xnYq7pYkT3yWbUoHqf4s=";
        let fields = "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=a.test; s=s; h=From; ";
        let field = format!("{fields}bh={hash}; b={signature}\r\n");
        let found = dkim(&checked(&zone, &(field.repeat(10) + &plain())));
        assert!(
            found.iter().all(|one| matches!(one, DkimResult::Fail | DkimResult::PermError)),
            "{bytes}: {found:?}"
        );
    }
}

#[test]
fn policies_that_are_wrong_ask_for_nothing() {
    let long = "x".repeat(60_000);
    for record in [
        "",
        "v=DMARC1",
        "v=DMARC1;",
        "v=DMARC1; p",
        "v=DMARC1; p=",
        "v=DMARC2; p=reject",
        "p=reject; v=DMARC1",
        "v=DMARC1 p=reject",
        "v=dmarc1; p=reject",
        " v=DMARC1;; ;p=reject;;=;",
        "v=DMARC1; p=reject; p=none",
        "v=DMARC1; p=\u{1F4A9}",
        "v=DMARC1; p=re ject",
        &long,
        &format!("v=DMARC1; p={long}"),
        &format!("v=DMARC1; {}", "sp=reject; ".repeat(5_000)),
    ] {
        let verdict = checked(&Zone::default().text("_dmarc.a.test", record), &plain());
        let [dmarc] = &verdict.dmarc[..] else { panic!("one author") };
        let asks = dmarc.policy > dmarc::Policy::None && dmarc.is_a_failure();
        assert!(!asks, "{}: {dmarc:?}", &record[..record.len().min(60)]);
    }
    // authors without number, and a name of many labels
    let many: String = (0..2_000).map(|at| format!("a@x{at}.test, ")).collect();
    let verdict = checked(&Zone::default(), &format!("From: {many}a@a.test\r\n\r\nbody\r\n"));
    assert!(verdict.dmarc.len() <= dmarc::AUTHORS_MAX, "{}", verdict.dmarc.len());
    let deep = format!("{}test", "a.".repeat(120));
    checked(&Zone::default(), &format!("From: a@{deep}\r\n\r\nbody\r\n"));
}

#[test]
fn chains_without_end_are_none() {
    let set = |at: usize| {
        format!(
            "ARC-Seal: i={at}; a=rsa-sha256; cv=pass; d=d{at}.test; s=s; b=aGk=\r\n\
             ARC-Message-Signature: i={at}; a=rsa-sha256; d=d{at}.test; s=s; h=from; bh=aGk=; b=aGk=\r\n\
             ARC-Authentication-Results: i={at}; d.test; none\r\n"
        )
    };
    for count in [1, 49, 50, 51, 700] {
        let sets: String = (1..=count).map(set).collect();
        let sets = sets.replacen("cv=pass", "cv=none", 1);
        let verdict = checked(&Zone::default(), &(sets + &plain()));
        assert_eq!(verdict.arc.result, ArcResult::Fail, "{count}");
        assert_eq!(verdict.custody.is_some(), count < arc::SETS_MAX, "{count}");
    }
    let large = format!("ARC-Seal: i=1; {}\r\n", "x=;".repeat(80_000));
    assert_eq!(checked(&Zone::default(), &(large + &plain())).arc.result, ArcResult::Fail);
    let huge = set(1).replace("i=1;", "i=18446744073709551616;");
    assert_eq!(checked(&Zone::default(), &(huge + &plain())).arc.result, ArcResult::Fail);
}
