//! A domain with a signed zone, a policy host and a mail server, all on loopback; and mail that is sent to it.

use hickory_resolver::proto::rr::{RData, rdata};
use tokio::net::TcpListener;
use waypost_config::{Dnssec, TlsPolicyConfig};
use waypost_mail::{Address, ReversePath, Wishes};
use waypost_net::{Dialler, TlsaRecord};
use waypost_storage::Dialogue;

use super::{
    super::testing::{Authority, PolicyHost, mail_server},
    *,
};
use crate::{
    client::{Delivery, Outbox, deliver},
    dns::testing::{SignedZone, mx, tlsa},
    route::{Destination, Route, RoutePlan, Target, resolve},
    smtp::client::{Finished, Octets, Outgoing, Protocol},
    tls_policy::OnFailure,
};

const POLICY: &str = "version: STSv1\r\nmode: enforce\r\nmx: *.b.test\r\nmax_age: 1000\r\n";

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(1_795_651_200 + second)
}

fn domain() -> Domain {
    Domain::new("b.test").unwrap()
}

fn here() -> RData {
    RData::A(rdata::A::new(127, 0, 0, 1))
}

fn txt(text: &str) -> RData {
    RData::TXT(rdata::TXT::new(vec![text.to_owned()]))
}

/// What of results counts: type of the policy, good sessions, failures by kind.
type Counted = (String, u64, Vec<(String, u64)>);

fn results(policies: &Policies) -> Vec<Counted> {
    let day = policies.day("2026-11-26").unwrap();
    let kinds = |results: &super::super::results::PolicyResults| {
        let kind = |kind| serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned();
        results
            .details
            .iter()
            .map(|details| (kind(details.result_type), details.failed_session_count))
            .collect()
    };
    let all = day.get("b.test").into_iter().flatten();
    all.map(|results| (results.policy.policy_type.clone(), results.summary.successful, kinds(results)))
        .collect()
}

fn failures(kinds: &[(&str, u64)]) -> Vec<(String, u64)> {
    kinds.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
}

/// `b.test` in DNS, with these records beside its exchanger.
async fn zone(more: &[(&str, RData)]) -> SignedZone {
    let mut records = vec![("b.test.", mx("mx.b.test.")), ("mx.b.test.", here())];
    records.extend(more.iter().cloned());
    SignedZone::start(&records, &[]).await
}

fn config(authority: &Authority, port: u16) -> OutboundTlsConfig {
    OutboundTlsConfig { roots: authority.roots(), mta_sts: true, mta_sts_port: port, ..Default::default() }
}

#[tokio::test]
async fn policies_are_fetched_kept_and_outlive_failures() {
    let authority = Authority::new();
    let host = PolicyHost::start(authority.issue("mta-sts.b.test").tls).await;
    let zone = zone(&[("_mta-sts.b.test.", txt("v=STSv1; id=1;")), ("mta-sts.b.test.", here())]).await;
    let folder = tempfile::tempdir().unwrap();
    let config = config(&authority, host.address.port());
    let open = |now| Policies::open(zone.resolver(Dnssec::Off), folder.path(), now);
    let policies = open(at(0));
    let retry = 5 * 60;
    host.say("200 OK", "text/plain; charset=utf-8", POLICY);
    let first = policies.sts(&config, &domain(), at(0)).await.unwrap();
    assert_eq!((first.exchangers.as_slice(), first.max_age.as_secs()), (&["*.b.test".to_owned()][..], 1000));
    assert_eq!(host.asked(), ["GET /.well-known/mta-sts.txt HTTP/1.1 host: mta-sts.b.test"]);
    assert_eq!(policies.sts(&config, &domain(), at(499)).await, Some(first.clone()));
    assert_eq!(host.asked(), [""; 0], "it holds");
    // half over: another one is fetched, and where that fails the old one stays
    host.say("404 Not Found", "text/plain", "nothing here");
    let policies = {
        drop(policies);
        open(at(500))
    };
    assert_eq!(policies.sts(&config, &domain(), at(500)).await, Some(first.clone()), "from the file");
    assert_eq!(
        (host.asked().len(), results(&policies)),
        (1, vec![("sts".into(), 0, failures(&[("sts-policy-fetch-error", 1)]))])
    );
    assert_eq!(policies.sts(&config, &domain(), at(501)).await, Some(first.clone()));
    assert_eq!(host.asked().len(), 0, "it is not asked at once again");
    host.say("200 OK", "text/plain", &POLICY.replace("enforce", "none"));
    let ended = policies.sts(&config, &domain(), at(501 + retry)).await.unwrap();
    assert_eq!(ended.mode, super::super::sts::Mode::None);
    assert_eq!(open(at(502 + retry)).sts(&config, &domain(), at(502 + retry)).await, Some(ended));
    assert_eq!(host.asked().len(), 1);
}

#[tokio::test]
async fn who_asks_meanwhile_waits_for_the_same_fetch() {
    let authority = Authority::new();
    let host = PolicyHost::start(authority.issue("mta-sts.b.test").tls).await;
    let zone = zone(&[("_mta-sts.b.test.", txt("v=STSv1; id=1;")), ("mta-sts.b.test.", here())]).await;
    let config = config(&authority, host.address.port());
    let (domain, policies) = (domain(), Policies::in_memory(zone.resolver(Dnssec::Off)));
    host.say("200 OK", "text/plain", POLICY);
    let ask = || policies.sts(&config, &domain, at(0));
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    assert!(one.is_some() && one == two && two == three);
    assert_eq!(host.asked().len(), 1);
    assert!(lock(&policies.0.fetches).is_empty());
}

#[tokio::test]
async fn what_is_no_policy_is_told_apart() {
    let authority = Authority::new();
    let (good, other) = (authority.issue("mta-sts.b.test").tls, authority.issue("www.b.test").tls);
    let zone = zone(&[("_mta-sts.b.test.", txt("v=STSv1; id=1;")), ("mta-sts.b.test.", here())]).await;
    let large = format!("{POLICY}{}", "x: y\n".repeat(20_000));
    for (tls, status, content_type, body, kind) in [
        (&good, "200 OK", "text/html", POLICY, "sts-policy-invalid"),
        (&good, "200 OK", "text/plain", "version: STSv1\n", "sts-policy-invalid"),
        (&good, "200 OK", "text/plain", large.as_str(), "sts-policy-fetch-error"),
        // RFC 8461 section 3.3: redirects are not followed
        (
            &good,
            "301 Moved\r\nLocation: https://mta-sts.b.test/x",
            "text/plain",
            POLICY,
            "sts-policy-fetch-error",
        ),
        (&good, "500 Sorry", "text/plain", POLICY, "sts-policy-fetch-error"),
        (&other, "200 OK", "text/plain", POLICY, "sts-webpki-invalid"),
    ] {
        let host = PolicyHost::start(tls.clone()).await;
        host.say(status, content_type, body);
        let policies = Policies::in_memory(zone.resolver(Dnssec::Off));
        assert_eq!(
            policies.sts(&config(&authority, host.address.port()), &domain(), at(0)).await,
            None,
            "{status}"
        );
        assert_eq!(
            results(&policies),
            [("no-policy-found".into(), 0, failures(&[(kind, 1)]))],
            "{status} {content_type}"
        );
    }
    // nobody there
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let policies = Policies::in_memory(zone.resolver(Dnssec::Off));
    assert_eq!(policies.sts(&config(&authority, port), &domain(), at(0)).await, None);
    assert_eq!(results(&policies)[0].2, failures(&[("sts-policy-fetch-error", 1)]));
}

/// One message.
struct One {
    message: Option<Outgoing>,
    replies: Vec<String>,
}

impl Outbox for One {
    fn now(&self) -> Timestamp {
        at(0)
    }

    async fn next(&mut self) -> Option<Outgoing> {
        self.message.take()
    }

    async fn octets(&mut self) -> Option<Octets> {
        Some(Octets::default())
    }

    async fn chunk(&mut self) -> Option<bytes::Bytes> {
        let sent = std::mem::replace(&mut self.replies, vec!["sent".into()]);
        Some(if sent.is_empty() { bytes::Bytes::from_static(b"x\r\n") } else { bytes::Bytes::new() })
    }

    async fn finish(&mut self, _: &str, finished: Finished, _: Vec<Dialogue>) {
        self.replies =
            finished.replies.iter().map(|reply| format!("{} {}", reply.code, reply.text())).collect();
    }
}

impl Towards<'_> {
    /// What routing gives a target.
    async fn mx(&self) -> Security {
        self.policies.0.resolver.secured_mx(&domain()).await.1
    }
}

/// Sends one message; gives the first replies, `sent` where there is none.
async fn send(towards: &Towards<'_>, server: SocketAddr, require_tls: bool) -> String {
    let sender = ReversePath::Address(Address::parse("s@a.test").unwrap());
    let message = Outgoing {
        wishes: Wishes { require_tls, ..Wishes::default() },
        ..Outgoing::new(sender, vec![Address::parse("x@b.test").unwrap()], 3)
    };
    let targets = vec![Target { mx: towards.mx().await, ..Target::new("mx.b.test", server) }];
    let route = Route { targets, protocol: Protocol::Smtp, login: None };
    let hostname = Domain::new("a.test").unwrap();
    let outbox = One { message: Some(message), replies: Vec::new() };
    let dialler = Dialler::default();
    let (outbox, delivery) = deliver(outbox, &route, towards, &hostname, &dialler, &Shutdown::new()).await;
    match delivery {
        Delivery::Done => outbox.replies.join(", "),
        Delivery::Refused { reply, .. } => format!("{} {}", reply.code, reply.text()),
        Delivery::Stopped => panic!("stopped"),
    }
}

/// What is sent to `b.test` and what its server heard, where the zone says this of its TLSA records.
async fn sent(
    records: &[TlsaRecord],
    tls: Option<waypost_net::ServerTls>,
    authority: &Authority,
) -> (String, Vec<String>, Policies) {
    let (server, heard) = mail_server(tls).await;
    let owner = format!("_{}._tcp.mx.b.test.", server.port());
    let records: Vec<_> = records.iter().map(|record| (owner.as_str(), tlsa(record))).collect();
    let zone = zone(&records).await;
    let policies = Policies::in_memory(zone.resolver(Dnssec::Validate));
    let config = OutboundTlsConfig { mta_sts: false, ..config(authority, 1) };
    let domain = domain();
    let towards = Towards {
        policies: &policies,
        config: &config,
        whose: Whose::Domain(&domain),
        wish: Wish::Usual,
        now: at(0),
    };
    let reply = send(&towards, server, false).await;
    let heard = heard.lock().unwrap().clone();
    (reply, heard, policies)
}

const IN_TLS: [&str; 4] = ["TLS", "MAIL FROM:<s@a.test>", "RCPT TO:<x@b.test>", "."];
const IN_CLEAR: [&str; 3] = ["MAIL FROM:<s@a.test>", "RCPT TO:<x@b.test>", "."];

#[tokio::test]
async fn mail_goes_by_tlsa_records_or_not_at_all() {
    let authority = Authority::new();
    let (ours, other) = (authority.issue("somewhere.test"), authority.issue("other.test"));
    let unusable = TlsaRecord { usage: 1, ..ours.record.clone() };
    for (what, records, tls, reply, heard, counted) in [
        ("right", vec![ours.record.clone()], true, "250 ok", &IN_TLS[..], ("tlsa", 1, None)),
        (
            "right key",
            vec![other.key_record.clone(), ours.key_record.clone()],
            true,
            "250 ok",
            &IN_TLS,
            ("tlsa", 1, None),
        ),
        (
            "wrong",
            vec![other.record.clone()],
            true,
            "454 TLS failed",
            &[],
            ("tlsa", 0, Some("validation-failure")),
        ),
        (
            "no TLS",
            vec![ours.record.clone()],
            false,
            "454 the next server offers no TLS",
            &[],
            ("tlsa", 0, Some("starttls-not-supported")),
        ),
        ("none usable", vec![unusable.clone()], true, "250 ok", &IN_TLS, ("tlsa", 0, Some("tlsa-invalid"))),
        (
            "none usable, no TLS",
            vec![unusable],
            false,
            "454 the next server offers no TLS",
            &[],
            ("tlsa", 0, Some("starttls-not-supported")),
        ),
        ("none", vec![], true, "250 ok", &IN_TLS, ("no-policy-found", 1, None)),
        (
            "none, no TLS",
            vec![],
            false,
            "250 ok",
            &IN_CLEAR,
            ("no-policy-found", 0, Some("starttls-not-supported")),
        ),
    ] {
        let (said, was_heard, policies) = sent(&records, tls.then(|| ours.tls.clone()), &authority).await;
        assert!(said.starts_with(reply), "{what}: {said}");
        assert_eq!(was_heard, heard, "{what}");
        let (kind, good, failed) = counted;
        let failed = failed.map(|failed| (failed, 1));
        assert_eq!(results(&policies), [(kind.into(), good, failures(failed.as_slice()))], "{what}");
    }
}

#[tokio::test]
async fn records_that_cannot_be_validated_let_mail_wait() {
    let authority = Authority::new();
    let certificate = authority.issue("mx.b.test");
    let (server, heard) = mail_server(Some(certificate.tls.clone())).await;
    let owner = format!("_{}._tcp.mx.b.test.", server.port());
    let zone = SignedZone::start(
        &[("b.test.", mx("mx.b.test.")), ("mx.b.test.", here())],
        &[(owner.as_str(), tlsa(&certificate.record))],
    )
    .await;
    let policies = Policies::in_memory(zone.resolver(Dnssec::Validate));
    let (config, domain) = (OutboundTlsConfig { mta_sts: false, ..config(&authority, 1) }, domain());
    let mut towards = Towards {
        policies: &policies,
        config: &config,
        whose: Whose::Domain(&domain),
        wish: Wish::Usual,
        now: at(0),
    };
    let reply = send(&towards, server, false).await;
    assert!(reply.starts_with("454 the server is not used: its TLSA records cannot be had"), "{reply}");
    assert_eq!(heard.lock().unwrap().len(), 0);
    assert_eq!(results(&policies), [("no-policy-found".into(), 0, failures(&[("dnssec-invalid", 1)]))]);
    // RFC 8689 section 5: a message may ask to go all the same
    towards.wish = Wish::Optional;
    assert_eq!(send(&towards, server, false).await, "250 ok");
    // which says nothing of what the domain asks for, and is so with reports of TLS
    assert_eq!(results(&policies), [("no-policy-found".into(), 0, failures(&[("dnssec-invalid", 1)]))]);
}

#[tokio::test]
async fn mail_that_requires_tls_goes_where_the_exchanger_is_sure() {
    let authority = Authority::new();
    let none = "550 the sender requires TLS";
    for (what, host, dnssec, wish, reply) in [
        ("signed, and a good certificate", "mx.b.test", Dnssec::Validate, Wish::Usual, "250 ok"),
        ("signed, another name", "x.b.test", Dnssec::Validate, Wish::Usual, none),
        ("a good certificate of whom DNS may have lied", "mx.b.test", Dnssec::Off, Wish::Usual, none),
        // decided for such messages alone, it is known before they are begun
        ("signed, good, decided", "mx.b.test", Dnssec::Validate, Wish::Required, "250 ok"),
        (
            "another name, decided",
            "x.b.test",
            Dnssec::Validate,
            Wish::Required,
            "550 TLS failed: the certificate is for another name",
        ),
        ("no TLS, decided", "", Dnssec::Validate, Wish::Required, "550 the next server offers no TLS"),
        (
            "DNS may have lied, decided",
            "mx.b.test",
            Dnssec::Off,
            Wish::Required,
            "550 the server is not used: nothing says surely",
        ),
    ] {
        let tls = (!host.is_empty()).then(|| authority.issue(host).tls);
        let (server, _) = mail_server(tls).await;
        let zone = zone(&[]).await;
        let policies = Policies::in_memory(zone.resolver(dnssec));
        let (config, domain) = (OutboundTlsConfig { mta_sts: false, ..config(&authority, 1) }, domain());
        let towards =
            Towards { policies: &policies, config: &config, whose: Whose::Domain(&domain), wish, now: at(0) };
        let said = send(&towards, server, true).await;
        assert!(said.starts_with(reply), "{what}: {said}");
        if reply.starts_with("550 the server is not used") {
            // nobody was asked, and the domain has done nothing (RFC 8460 section 4.3)
            assert_eq!(results(&policies), [], "{what}");
        }
    }
}

/// Mail for `b.test`, routed by DNS, to a server on this port.
async fn routed(resolver: &Resolver, port: u16, wish: Wish) -> RoutePlan {
    let text = format!(
        "hostname = \"a.test\"\nstate_dir = \"state\"\n[[listener]]\nservice = \"smtp\"\n\
         address = \"192.0.2.1:25\"\ntls = \"none\"\n[queue]\nmx_port = {port}\n"
    );
    let config = waypost_config::parse(Path::new("/nowhere/x.toml"), &text).unwrap();
    resolve(resolver, &config, &Destination::Exchangers(domain()), wish, 1).await
}

/// RFC 7672 section 2.2.1, RFC 8689 section 4.2.1: an exchanger that only somebody on the way names is none, whatever its certificate.
#[tokio::test]
async fn mail_goes_to_no_server_that_a_forged_answer_names() {
    let authority = Authority::new();
    let zone = zone(&[]).await;
    let lies = [("b.test.", mx("evil.test.")), ("evil.test.", here())];
    let (evil, _) = mail_server(Some(authority.issue("evil.test").tls)).await;
    for (dnssec, wish, hosts) in [
        (Dnssec::Validate, Wish::Usual, &["mx.b.test"][..]),
        (Dnssec::Validate, Wish::Required, &["mx.b.test"]),
        // who asks nobody to look believes what comes
        (Dnssec::Validate, Wish::Optional, &["evil.test"]),
        (Dnssec::Off, Wish::Usual, &["evil.test"]),
    ] {
        let resolver = zone.lied_to(dnssec, &lies).await;
        let RoutePlan::Send(route) = routed(&resolver, evil.port(), wish).await else { panic!("{wish:?}") };
        let found: Vec<&str> = route.targets.iter().map(|target| target.host.as_str()).collect();
        assert_eq!(found, hosts, "{dnssec:?} {wish:?}");
        let is_sure = route.targets.iter().all(|target| target.mx == Security::Secure);
        assert_eq!(is_sure, hosts == ["mx.b.test"], "{dnssec:?} {wish:?}");
    }
}

/// RFC 7672 section 2.1.2.
#[tokio::test]
async fn mail_waits_where_the_answer_that_names_the_exchangers_does_not_hold() {
    let zone = SignedZone::start(&[("mx.b.test.", here())], &[("b.test.", mx("mx.b.test."))]).await;
    let resolver = zone.resolver(Dnssec::Validate);
    for (wish, waits) in [(Wish::Usual, true), (Wish::Required, true), (Wish::Optional, false)] {
        match routed(&resolver, 2525, wish).await {
            RoutePlan::Fail(refusal) => {
                assert!(waits && refusal.code == 451, "{wish:?}: {refusal}");
                assert!(refusal.to_string().contains("[dns] dnssec"), "{refusal}");
            }
            RoutePlan::Send(route) => assert!(!waits, "{wish:?}: {route:?}"),
        }
    }
}

#[tokio::test]
async fn mta_sts_is_enforced_tested_and_left() {
    let authority = Authority::new();
    let host = PolicyHost::start(authority.issue("mta-sts.b.test").tls).await;
    let zone = zone(&[("_mta-sts.b.test.", txt("v=STSv1; id=1;")), ("mta-sts.b.test.", here())]).await;
    let (good, wrong) = (authority.issue("mx.b.test").tls, authority.issue("x.test").tls);
    let testing = POLICY.replace("enforce", "testing");
    let elsewhere = POLICY.replace("*.b.test", "mx.c.test");
    for (what, policy, tls, reply, counted) in [
        ("enforce", POLICY, Some(&good), "250 ok", ("sts", 1, None)),
        (
            "enforce, another name",
            POLICY,
            Some(&wrong),
            "454 TLS failed: the certificate is for another name",
            ("sts", 0, Some("certificate-host-mismatch")),
        ),
        (
            "enforce, no TLS",
            POLICY,
            None,
            "454 the next server offers no TLS",
            ("sts", 0, Some("starttls-not-supported")),
        ),
        (
            "enforce, another exchanger",
            &elsewhere,
            Some(&good),
            "454 the server is not used: it is not one",
            ("sts", 0, Some("validation-failure")),
        ),
        ("testing", &testing, Some(&good), "250 ok", ("sts", 1, None)),
        (
            "testing, another name",
            &testing,
            Some(&wrong),
            "250 ok",
            ("sts", 0, Some("certificate-host-mismatch")),
        ),
        ("testing, no TLS", &testing, None, "250 ok", ("sts", 0, Some("starttls-not-supported"))),
        (
            "none",
            &POLICY.replace("enforce", "none"),
            None,
            "250 ok",
            ("no-policy-found", 0, Some("starttls-not-supported")),
        ),
    ] {
        host.say("200 OK", "text/plain", policy);
        let (server, _) = mail_server(tls.cloned()).await;
        let policies = Policies::in_memory(zone.resolver(Dnssec::Off));
        let (config, domain) = (config(&authority, host.address.port()), domain());
        let towards = Towards {
            policies: &policies,
            config: &config,
            whose: Whose::Domain(&domain),
            wish: Wish::Usual,
            now: at(0),
        };
        let said = send(&towards, server, false).await;
        assert!(said.starts_with(reply), "{what}: {said}");
        let (kind, successes, failed) = counted;
        let failed = failed.map(|failed| (failed, 1));
        assert_eq!(results(&policies), [(kind.into(), successes, failures(failed.as_slice()))], "{what}");
    }
}

#[tokio::test]
async fn tls_that_was_good_is_missed() {
    let authority = Authority::new();
    let (zone, tls) = (zone(&[]).await, authority.issue("mx.b.test").tls);
    for (lost, reply, alarms) in [
        (LostTls::Warn, "250 ok", 1),
        (LostTls::Ignore, "250 ok", 0),
        (LostTls::Defer, "454 the next server offers no TLS", 1),
    ] {
        let policies = Policies::in_memory(zone.resolver(Dnssec::Off));
        let (config, domain) =
            (OutboundTlsConfig { mta_sts: false, lost, ..config(&authority, 1) }, domain());
        let towards = |day: i64| Towards {
            policies: &policies,
            config: &config,
            whose: Whose::Domain(&domain),
            wish: Wish::Usual,
            now: at(day * 86_400),
        };
        let (server, _) = mail_server(Some(tls.clone())).await;
        for day in [0, 15] {
            assert_eq!(send(&towards(day), server, false).await, "250 ok");
        }
        assert_eq!(policies.alarms(), 0);
        let (server, _) = mail_server(None).await;
        for _ in 0..2 {
            let said = send(&towards(16), server, false).await;
            assert!(said.starts_with(reply), "{lost:?}: {said}");
        }
        assert_eq!(policies.alarms(), alarms, "{lost:?}");
        let alarmed: Vec<_> =
            policies.alarmed().into_iter().map(|(domain, alarm)| (domain, alarm.at, alarm.count)).collect();
        let expected = (alarms > 0).then(|| (domain.clone(), at(16 * 86_400), alarms));
        assert_eq!(alarmed, Vec::from_iter(expected), "{lost:?}");
    }
}

#[tokio::test]
async fn the_operator_says_what_is_not_asked_for() {
    let authority = Authority::new();
    // nobody answers there, and nobody is asked
    let nowhere =
        waypost_config::DnsConfig { servers: vec!["127.0.0.1:9".parse().unwrap()], ..Default::default() };
    let policies = Policies::in_memory(Resolver::new(&nowhere).unwrap());
    let own = |level| TlsPolicyConfig { domain: domain(), level, exchangers: Vec::new() };
    let domain = domain();
    for level in [TlsLevel::None, TlsLevel::Opportunistic] {
        let config = OutboundTlsConfig { domains: vec![own(level)], ..config(&authority, 1) };
        let towards = Towards {
            policies: &policies,
            config: &config,
            whose: Whose::Domain(&domain),
            wish: Wish::Usual,
            now: at(0),
        };
        let asking = towards.decide("mx.b.test", 25, Security::Insecure);
        let decided = tokio::time::timeout(Duration::from_secs(1), asking).await.unwrap();
        assert_eq!(decided.failure, OnFailure::FallBack);
    }
    let literal = Domain::new("[192.0.2.1]").unwrap();
    let config = config(&authority, 1);
    let towards = Towards {
        policies: &policies,
        config: &config,
        whose: Whose::Domain(&literal),
        wish: Wish::Usual,
        now: at(0),
    };
    assert_eq!(towards.decide("[192.0.2.1]", 25, Security::Insecure).await.demand, Demand::Offered);
}

#[tokio::test]
async fn memory_and_results_are_written() {
    let authority = Authority::new();
    let (zone, folder) = (zone(&[]).await, tempfile::tempdir().unwrap());
    let (config, domain) = (OutboundTlsConfig { mta_sts: false, ..config(&authority, 1) }, domain());
    let (server, _) = mail_server(Some(authority.issue("mx.b.test").tls)).await;
    let policies = Policies::open(zone.resolver(Dnssec::Off), folder.path(), at(0));
    let towards = Towards {
        policies: &policies,
        config: &config,
        whose: Whose::Domain(&domain),
        wish: Wish::Usual,
        now: at(0),
    };
    assert_eq!(send(&towards, server, false).await, "250 ok");
    let (shutdown, of_now) = (Shutdown::new(), config.clone());
    shutdown.spawn(policies.clone().run(move || of_now.clone(), || at(1), shutdown.clone()));
    shutdown.drain(Duration::from_secs(5)).await;
    let again = Policies::open(zone.resolver(Dnssec::Off), folder.path(), at(2));
    assert_eq!(
        (again.days(), results(&again)),
        (vec!["2026-11-26".to_owned()], vec![("no-policy-found".into(), 1, vec![])])
    );
    assert!(folder.path().join("memory.json").exists());
}
