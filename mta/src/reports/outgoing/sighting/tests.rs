use mail_auth::report::{ActionDisposition, DKIMAuthResult, DmarcResult as Aligned, PolicyOverride};
use waypost_config::DmarcMode;

use super::*;
use crate::authenticity::{
    arc::{ArcResult, Sealer},
    testing::{Signing, Zone, verdict},
};

const MESSAGE: &str = "From: A <a@a.test>\r\nTo: b@b.test\r\nSubject: x\r\n\r\nHello\r\n";
const RUA: &str = "rua=mailto:d@a.test";

fn policy(text: &str) -> Zone {
    Zone::default().text("_dmarc.a.test", &format!("v=DMARC1; {text}"))
}

/// What is told of a message that nobody stands behind.
async fn told_of_a_failure(
    config: &AuthenticityConfig,
    tags: &str,
    applied: Policy,
) -> (ActionDisposition, Option<PolicyOverride>) {
    let verdict = verdict(policy(tags), "x@a.test", MESSAGE).await;
    let [seen] = &sightings(config, &verdict, applied, None, b"")[..] else { panic!("not one") };
    let evaluated = &seen.record.row.policy_evaluated;
    assert_eq!((evaluated.dkim, evaluated.spf), (Aligned::Fail, Aligned::Fail));
    (evaluated.disposition, evaluated.reason.first().map(|reason| reason.type_))
}

#[tokio::test]
async fn a_message_is_told_with_its_results() {
    let by = Signing::new("news.a.test");
    let record = format!("v=DMARC1; p=reject; sp=quarantine; adkim=r; aspf=s; fo=1:d; {RUA}!10m");
    let zone = by
        .zone()
        .text("_dmarc.a.test", &record)
        .text("bounces.a.test", "v=spf1 ip4:192.0.2.1 -all")
        .text("s._domainkey.other.test", &by.record());
    let other = "DKIM-Signature: v=1; a=ed25519-sha256; d=other.test; s=s; h=From; bh=AAAA; b=AAAA\r\n";
    let message = format!("{other}DKIM-Signature: junk\r\n{}", by.sign(MESSAGE));
    let verdict = verdict(zone, "x@bounces.a.test", &message).await;
    let to = Domain::new("b.test").unwrap();
    let seen =
        sightings(&AuthenticityConfig::default(), &verdict, Policy::None, Some(&to), b"Subject: x\r\n");
    let [Sighting { policy, report_uris, record }] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(report_uris, "mailto:d@a.test!10m");
    assert_eq!(
        *policy,
        wire::PolicyPublished {
            domain: "a.test".into(),
            version_published: None,
            adkim: wire::Alignment::Relaxed,
            aspf: wire::Alignment::Strict,
            p: wire::Disposition::Reject,
            sp: wire::Disposition::Quarantine,
            np: wire::Disposition::Quarantine,
            testing: false,
            discovery_method: wire::Discovery::Treewalk,
            fo: Some("1:d".into()),
        }
    );
    let evaluated = &record.row.policy_evaluated;
    assert_eq!(record.row.source_ip.unwrap().to_string(), "192.0.2.1");
    assert_eq!(
        (evaluated.disposition, evaluated.dkim, evaluated.spf, evaluated.reason.len()),
        (ActionDisposition::Pass, Aligned::Pass, Aligned::Fail, 0)
    );
    let names = &record.identifiers;
    assert_eq!(
        (names.envelope_to.as_deref(), names.envelope_from.as_str(), names.header_from.as_str()),
        (Some("b.test"), "bounces.a.test", "a.test")
    );
    let signature = |domain: &str, result, reason: Option<&str>| DKIMAuthResult {
        domain: domain.into(),
        selector: "s".into(),
        result,
        human_result: reason.map(str::to_owned),
    };
    // the one that counts stands first; of one that cannot be read nothing is told
    assert_eq!(record.auth_results.dkim.len(), 2);
    assert_eq!(record.auth_results.dkim[0], signature("news.a.test", wire::DkimResult::Pass, None));
    assert_eq!(record.auth_results.dkim[1].domain, "other.test");
    let [spf] = &record.auth_results.spf[..] else { panic!("not one") };
    assert_eq!((spf.domain.as_str(), spf.result), ("bounces.a.test", wire::SpfResult::Pass));
}

#[tokio::test]
async fn what_was_done_and_why_is_told() {
    let enforcing = AuthenticityConfig { enabled: true, ..AuthenticityConfig::default() };
    let with = |dmarc| AuthenticityConfig { dmarc, ..enforcing.clone() };
    use ActionDisposition as Done;
    use PolicyOverride::{LocalPolicy, Other, PolicyTestMode};
    for (config, tags, applied, expected) in [
        (&enforcing, "p=none", Policy::None, (Done::None, None)),
        (&enforcing, "p=quarantine", Policy::Quarantine, (Done::Quarantine, None)),
        (&enforcing, "p=reject", Policy::Reject, (Done::Reject, None)),
        (&enforcing, "p=reject; t=y", Policy::Quarantine, (Done::Quarantine, Some(PolicyTestMode))),
        (&enforcing, "p=quarantine; t=y", Policy::None, (Done::None, Some(PolicyTestMode))),
        (&with(DmarcMode::Quarantine), "p=reject", Policy::Quarantine, (Done::Quarantine, Some(LocalPolicy))),
        (&with(DmarcMode::Observe), "p=reject", Policy::None, (Done::None, Some(LocalPolicy))),
        // another author asked for more
        (&enforcing, "p=none", Policy::Reject, (Done::Reject, Some(Other))),
    ] {
        let tags = format!("{tags}; {RUA}");
        assert_eq!(told_of_a_failure(config, &tags, applied).await, expected, "{tags} {applied:?}");
    }
}

#[tokio::test]
async fn who_is_trusted_is_told_as_the_reason() {
    let zone = policy(&format!("p=reject; {RUA}"));
    let mut verdict = verdict(zone, "x@a.test", MESSAGE).await;
    verdict.arc.result = ArcResult::Pass;
    verdict.arc.sealers = vec![Sealer { domain: "lists.test".into(), saw_dmarc_pass: true }];
    let config = AuthenticityConfig {
        enabled: true,
        trusted_sealers: vec![Domain::new("lists.test").unwrap()],
        ..AuthenticityConfig::default()
    };
    let seen = sightings(&config, &verdict, Policy::None, None, b"");
    let [reason] = &seen[0].record.row.policy_evaluated.reason[..] else { panic!("{seen:?}") };
    let expected = (PolicyOverride::TrustedForwarder, Some("ARC sealed by lists.test"));
    assert_eq!((reason.type_, reason.comment.as_deref()), expected);
}

#[tokio::test]
async fn of_a_null_path_the_name_in_ehlo_is_told() {
    let zone = policy(&format!("p=none; {RUA}")).text("mx.a.test", "v=spf1 ip4:192.0.2.1 -all");
    let verdict = verdict(zone, "", MESSAGE).await;
    let seen = sightings(&AuthenticityConfig::default(), &verdict, Policy::None, None, b"");
    let record = &seen[0].record;
    assert_eq!((record.identifiers.envelope_from.as_str(), &record.identifiers.envelope_to), ("", &None));
    assert_eq!(record.auth_results.spf[0].domain, "mx.a.test");
    assert_eq!(record.row.policy_evaluated.spf, Aligned::Pass);
}

#[tokio::test]
async fn who_wants_no_reports_is_told_nothing_and_reports_are_not_told_of() {
    let none = |seen: Vec<Sighting>| assert_eq!(seen, []);
    let config = AuthenticityConfig::default();
    for zone in [Zone::default(), policy("p=reject"), policy("p=reject; rua="), policy("x=y")] {
        none(sightings(&config, &verdict(zone, "x@a.test", MESSAGE).await, Policy::None, None, b""));
    }
    let zone = || policy(&format!("p=reject; {RUA}"));
    let passing = verdict(zone().text("a.test", "v=spf1 ip4:192.0.2.1 -all"), "x@a.test", MESSAGE).await;
    let failing = verdict(zone(), "x@a.test", MESSAGE).await;
    for (header, is_report) in [
        ("Subject: Report Domain: b.test Submitter: a.test\r\n", true),
        ("subject: report\r\n\tdomain: b.test\r\n", true),
        ("TLS-Report-Domain: b.test\r\nSubject: x\r\n", true),
        ("Subject: Re: Report Domain: b.test\r\n", false),
        ("Subject: Report\r\n", false),
        ("", false),
    ] {
        let told = |verdict| sightings(&config, verdict, Policy::None, None, header.as_bytes()).len();
        assert_eq!(told(&passing), usize::from(!is_report), "{header}");
        assert_eq!(told(&failing), 1, "a forged one is told of: {header}");
    }
}

#[test]
fn names_of_strangers_are_bounded() {
    assert_eq!(name("a\u{0}b\r\n<\u{fc}> c"), "ab<> c");
    assert_eq!(name(&"x".repeat(1000)).len(), NAME_BYTES_MAX);
}
