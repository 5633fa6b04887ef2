//! Tables over canned DNS answers and configurations; and DNS itself against a zone in this process.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use waypost_config::{
    DnsConfig, DomainConfig, LimitsConfig, ListenerConfig, QueueConfig, Service, StorageConfig, TlsMode,
};
use waypost_mail::EnhancedStatus;

use super::{
    exchange::{Exchanger, Found},
    *,
};
use crate::{
    dns::{DnsError, Resolver},
    tls_policy::Wish,
};

fn domain(text: &str) -> Domain {
    Domain::new(text).unwrap()
}

fn next_hop(host: &str, port: u16) -> NextHop {
    NextHop::server(host, port)
}

fn config() -> Config {
    Config {
        imap: Default::default(),
        pop3: Default::default(),
        oauth: None,
        outbound_tls: Default::default(),
        hostname: domain("mx.a.test"),
        state_dir: "/nonexistent".into(),
        storage: StorageConfig { retention: Duration::ZERO },
        tls: None,
        listeners: Vec::new(),
        domains: Vec::new(),
        accounts: Vec::new(),
        send_as: Vec::new(),
        aliases: Vec::new(),
        routes: Vec::new(),
        trust: Vec::new(),
        dns: DnsConfig::default(),
        queue: QueueConfig { mx_port: 2525, ..QueueConfig::default() },
        limits: LimitsConfig {
            message_size: 0,
            recipients: 0,
            connections: 0,
            connections_per_address: 0,
            auth_failures_per_minute: 0,
            error_delay: Duration::ZERO,
            priority: 4,
            future_release: Duration::ZERO,
            no_soliciting: None,
            rates: Default::default(),
        },
        srs: Default::default(),
        authenticity: Default::default(),
        dkim: Default::default(),
        reports: Default::default(),
    }
}

fn listening_on(address: &str) -> Config {
    let listener = ListenerConfig {
        service: Service::Smtp,
        address: address.parse::<SocketAddr>().unwrap().into(),
        tls: TlsMode::None,
        auth_without_tls: false,
        rules: Default::default(),
    };
    Config { listeners: vec![listener], ..config() }
}

#[test]
fn the_most_specific_of_the_configuration_decides() {
    let route = |domain: Option<&str>, host: &str, tls| RouteConfig {
        tls,
        login: Some(("u".into(), "p".into())),
        ..RouteConfig::new(domain.map(self::domain), next_hop(host, 587))
    };
    let backup = |name: &str, relay_to| DomainConfig {
        name: domain(name),
        catch_all: None,
        separator: None,
        relay_to,
        dkim: true,
        mta_sts: Default::default(),
        pop3: Default::default(),
    };
    let mut config = Config {
        routes: vec![route(Some("exact.test"), "exact", RouteTls::Required)],
        domains: vec![
            backup("backup.test", Some(next_hop("primary", 25))),
            backup("exact.test", Some(next_hop("other", 25))),
            backup("ours.test", None),
        ],
        ..config()
    };
    let login = Some(Login { user: "u".into(), password: "p".into() });
    let hop = |host: &str, port, encryption, login| {
        Destination::NextHops(NextHops {
            next_hops: vec![next_hop(host, port)],
            protocol: Protocol::Smtp,
            encryption,
            login,
            sources: SourceAddresses::default(),
        })
    };
    for (name, with_smarthost, expected) in [
        ("exact.test", true, hop("exact", 587, Encryption::Required, login.clone())),
        ("backup.test", true, hop("primary", 25, Encryption::Offered, None)),
        ("other.test", true, hop("smart", 587, Encryption::Never, login.clone())),
        ("sub.exact.test", false, Destination::Exchangers(domain("sub.exact.test"))),
        ("ours.test", false, Destination::Exchangers(domain("ours.test"))),
        ("exact.test", false, hop("exact", 587, Encryption::Required, login.clone())),
    ] {
        config.routes.truncate(1);
        config.routes.extend(with_smarthost.then(|| route(None, "smart", RouteTls::None)));
        assert_eq!(destination(&config, None, &domain(name)), expected, "{name}");
    }
}

/// Hosts with their preferences, or the refusal.
fn exchangers(answer: Result<&[(u16, &str)], DnsError>, seed: u64) -> Result<Vec<String>, String> {
    let records = answer
        .map(|records| records.iter().map(|(preference, host)| (*preference, (*host).to_owned())).collect());
    let found = exchange::exchangers(&domain("b.test"), records, &|host| host == "mx.a.test", seed);
    found
        .map(|found| {
            found
                .items
                .into_iter()
                .map(|exchanger| format!("{} {}", exchanger.preference, exchanger.host))
                .collect()
        })
        .map_err(|refusal| format!("{} {}", refusal.code, refusal.status))
}

#[test]
fn exchangers_are_chosen_by_dns() {
    let refused = |text: &str| Err(text.to_owned());
    let hosts = |hosts: &[&str]| Ok(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>());
    for (answer, expected) in [
        (Ok(&[(20, "c"), (10, "B")][..]), hosts(&["10 b", "20 c"])),
        (Err(DnsError::NoRecords("b.test".into())), hosts(&["0 b.test"])),
        (Err(DnsError::NoSuchDomain("b.test".into())), refused("550 5.1.2")),
        (Err(DnsError::Temporary("b.test".into(), "SERVFAIL".into())), refused("451 4.4.3")),
        (Ok(&[(0, ".")]), refused("556 5.1.10")),
        // RFC 7505 section 3: not to be had beside others
        (Ok(&[(0, "."), (10, "b")]), hosts(&["10 b"])),
        // we are one of them
        (Ok(&[(10, "b"), (20, "MX.a.test"), (20, "c"), (30, "d")]), hosts(&["10 b"])),
        (Ok(&[(10, "mx.a.test"), (20, "c")]), refused("554 5.4.6")),
        (Ok(&[(10, "mx.a.test"), (10, "c")]), refused("554 5.4.6")),
    ] {
        assert_eq!(exchangers(answer.clone(), 1), expected, "{answer:?}");
    }
}

#[test]
fn equal_exchangers_are_shuffled() {
    let records = [(10, "a"), (10, "b"), (10, "c"), (5, "first"), (20, "last")];
    let mut firsts = std::collections::HashSet::new();
    for seed in (0..100).map(|seed: u64| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
        let order = exchangers(Ok(&records), seed).unwrap();
        assert_eq!((order[0].as_str(), order[4].as_str()), ("5 first", "20 last"));
        firsts.insert(order[1].clone());
    }
    assert_eq!(firsts.len(), 3);
}

#[test]
fn addresses_are_listed_in_order_and_bounded() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let found = |preference, host: &str, addresses: Result<&[&str], DnsError>| Found {
        exchanger: Exchanger { preference, host: host.into() },
        addresses: addresses.map(|all| all.iter().map(|text| ip(text)).collect()),
    };
    let none = || DnsError::NoRecords("h".into());
    let gone = || DnsError::NoSuchDomain("h".into());
    let later = || DnsError::Temporary("h".into(), "SERVFAIL".into());
    let own = ["192.0.2.9:25".parse().unwrap(), "192.0.2.8:2525".parse().unwrap()];
    let targets = |found| {
        exchange::targets(found, &|address| own.contains(&address), 25, 0)
            .map(|targets| targets.items.iter().map(ToString::to_string).collect::<Vec<_>>())
            .map_err(|refusal| format!("{} {}", refusal.code, refusal.status))
    };
    let listed = |all: &[&str]| Ok(all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    let refused = |text: &str| Err(text.to_owned());
    for (found, expected) in [
        (
            vec![found(1, "b", Ok(&["::1", "192.0.2.1"])), found(2, "c", Ok(&["192.0.2.1", "192.0.2.2"]))],
            listed(&["b [::1]", "b [192.0.2.1]", "c [192.0.2.2]"]),
        ),
        (vec![found(1, "b", Err(later())), found(2, "c", Ok(&["192.0.2.2"]))], listed(&["c [192.0.2.2]"])),
        (vec![found(1, "b", Err(none())), found(2, "c", Err(gone()))], refused("550 5.4.4")),
        (vec![found(1, "b", Err(none())), found(2, "c", Err(later()))], refused("451 4.4.3")),
        // an address of ours: neither that server nor what is not better
        (
            vec![
                found(1, "b", Ok(&["192.0.2.1"])),
                found(2, "c", Ok(&["192.0.2.9"])),
                found(2, "d", Ok(&["192.0.2.3"])),
            ],
            listed(&["b [192.0.2.1]"]),
        ),
        (vec![found(1, "b", Ok(&["192.0.2.9"])), found(2, "c", Ok(&["192.0.2.3"]))], refused("554 5.4.6")),
        // ours, but another port
        (vec![found(1, "b", Ok(&["192.0.2.8"]))], listed(&["b [192.0.2.8]"])),
    ] {
        assert_eq!(targets(found.clone()), expected, "{found:?}");
    }
    let many: Vec<_> = (0..=ADDRESSES_MAX).map(|n| format!("192.0.2.{}", n + 10)).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(targets(vec![found(1, "b", Ok(&many))]).unwrap().len(), ADDRESSES_MAX);
}

async fn plan(resolver: &Resolver, config: &Config, name: &str) -> RoutePlan {
    resolve(resolver, config, &destination(config, None, &domain(name)), Wish::Usual, 1).await
}

#[tokio::test]
async fn literals_and_next_hops_by_address_need_no_dns() {
    let nowhere = DnsConfig { servers: vec!["127.0.0.1:9".parse().unwrap()], ..DnsConfig::default() };
    let resolver = Resolver::new(&nowhere).unwrap();
    let RoutePlan::Send(route) = plan(&resolver, &config(), "[IPv6:::1]").await else { panic!() };
    assert_eq!(route.targets[0].place, Place::Tcp("[::1]:2525".parse().unwrap()));
    let RoutePlan::Fail(refusal) = plan(&resolver, &listening_on("192.0.2.1:2525"), "[192.0.2.1]").await
    else {
        panic!()
    };
    assert_eq!((refusal.code, refusal.status), (554, EnhancedStatus(5, 4, 6)));
    let smarthost =
        RouteConfig { tls: RouteTls::Required, ..RouteConfig::new(None, next_hop("192.0.2.7", 465)) };
    let config = Config { routes: vec![smarthost], ..config() };
    let RoutePlan::Send(route) = plan(&resolver, &config, "b.test").await else { panic!() };
    assert_eq!(route.targets, [Target::new("192.0.2.7", "192.0.2.7:465".parse().unwrap())]);
}
