//! Answers of a signed zone, of one that is not, and of one with forged records in it.

use hickory_server::dnssec::NxProofKind;

use super::{
    super::testing::{SignedZone, a, alias, mx, tlsa},
    *,
};

fn record(octet: u8) -> TlsaRecord {
    TlsaRecord { usage: 3, selector: 1, matching: 1, data: vec![octet; 32] }
}

async fn zone() -> SignedZone {
    zone_with(NxProofKind::Nsec).await
}

async fn zone_with(proof: NxProofKind) -> SignedZone {
    let signed = [
        ("b.test.", mx("mx.b.test.")),
        ("mx.b.test.", a(1)),
        ("_25._tcp.mx.b.test.", tlsa(&record(1))),
        ("_26._tcp.mx.b.test.", alias("_25._tcp.mx.b.test.")),
        ("alias.test.", alias("mx.b.test.")),
        ("away.test.", alias("mx.unsigned.test.")),
        ("plain.test.", a(2)),
        ("mx.unsigned.test.", a(3)),
        ("unsigned.test.", mx("mx.unsigned.test.")),
        ("_25._tcp.mx.unsigned.test.", tlsa(&record(2))),
        ("*.wild.test.", a(6)),
    ];
    let forged = [
        ("forged.test.", mx("mx.forged.test.")),
        ("mx.forged.test.", a(4)),
        ("_25._tcp.mx.forged.test.", tlsa(&record(3))),
        ("_25._tcp.plain.test.", tlsa(&record(3))),
    ];
    SignedZone::start_with(proof, &signed, &forged).await
}

async fn mx_security(resolver: &Resolver, domain: &str) -> Security {
    match resolver.mx_security(&Domain::new(domain).unwrap()).await {
        Security::Failed(_) => Security::Failed(String::new()),
        other => other,
    }
}

async fn host_security(resolver: &Resolver, host: &str) -> HostSecurity {
    match resolver.host_security(host).await {
        HostSecurity::Failed(_) => HostSecurity::Failed(String::new()),
        other => other,
    }
}

async fn tlsa_of(resolver: &Resolver, base: &str, port: u16) -> Tlsa {
    match resolver.tlsa(base, port).await {
        Tlsa::Failed(_) => Tlsa::Failed(String::new()),
        other => other,
    }
}

#[tokio::test]
async fn secure_insecure_and_bogus_answers_are_told_apart() {
    let zone = zone().await;
    let resolver = zone.resolver(Dnssec::Validate);
    let failed = || String::new();
    for (domain, expected) in [
        ("b.test", Security::Secure),
        ("unsigned.test", Security::Insecure),
        ("forged.test", Security::Failed(failed())),
    ] {
        assert_eq!(mx_security(&resolver, domain).await, expected, "{domain}");
    }
    let secure = |canonical: Option<&str>| HostSecurity::Secure { canonical: canonical.map(str::to_owned) };
    for (host, expected) in [
        ("mx.b.test", secure(None)),
        ("alias.test", secure(Some("mx.b.test"))),
        ("away.test", HostSecurity::OnlyAlias),
        ("mx.unsigned.test", HostSecurity::Insecure),
        ("mx.forged.test", HostSecurity::Failed(failed())),
        ("absent.test", HostSecurity::Insecure),
    ] {
        assert_eq!(host_security(&resolver, host).await, expected, "{host}");
    }
    for (base, port, expected) in [
        ("mx.b.test", 25, Tlsa::Records(vec![record(1)])),
        ("mx.b.test", 26, Tlsa::Records(vec![record(1)])),
        ("mx.b.test", 27, Tlsa::None),
        ("absent.test", 25, Tlsa::None),
        ("mx.unsigned.test", 25, Tlsa::None),
        ("plain.test", 25, Tlsa::Failed(failed())),
    ] {
        assert_eq!(tlsa_of(&resolver, base, port).await, expected, "{base} {port}");
    }
}

#[tokio::test]
async fn what_fails_to_validate_is_still_found_for_ordinary_mail() {
    let zone = zone().await;
    let resolver = zone.resolver(Dnssec::Validate);
    assert!(resolver.mx(&Domain::new("forged.test").unwrap()).await.is_ok());
    // the second one by a fault of the validator (wildcards under NSEC)
    for host in ["mx.forged.test", "x.wild.test"] {
        assert!(matches!(resolver.host_security(host).await, HostSecurity::Failed(_)), "{host}");
        assert_eq!(resolver.addresses(host).await.map(|found| found.len()), Ok(1), "{host}");
    }
}

#[tokio::test]
async fn without_dnssec_nothing_is_secure() {
    let zone = zone().await;
    // an authoritative server says nothing by the AD bit
    for dnssec in [Dnssec::Off, Dnssec::TrustAd, Dnssec::Auto] {
        let resolver = zone.resolver(dnssec);
        assert_eq!(resolver.knows_dnssec(), dnssec != Dnssec::Off);
        assert_eq!(mx_security(&resolver, "b.test").await, Security::Insecure);
        assert_eq!(host_security(&resolver, "mx.b.test").await, HostSecurity::Insecure);
        assert_eq!(tlsa_of(&resolver, "mx.b.test", 25).await, Tlsa::None);
    }
}

#[tokio::test]
async fn a_resolver_that_is_believed_vouches_by_the_ad_bit() {
    let zone = zone().await;
    let secure = [
        "b.test. MX",
        "mx.b.test. A",
        "alias.test. A",
        "away.test. CNAME",
        "_25._tcp.mx.b.test. TLSA",
        // what it says of other questions means nothing for these
        "mx.forged.test. AAAA",
    ];
    let resolver = zone.trusted(Box::leak(Box::new(secure))).await;
    for (domain, expected) in [
        ("b.test", Security::Secure),
        ("unsigned.test", Security::Insecure),
        ("forged.test", Security::Insecure),
    ] {
        assert_eq!(mx_security(&resolver, domain).await, expected, "{domain}");
    }
    let secure = |canonical: Option<&str>| HostSecurity::Secure { canonical: canonical.map(str::to_owned) };
    for (host, expected) in [
        ("mx.b.test", secure(None)),
        ("alias.test", secure(Some("mx.b.test"))),
        ("away.test", HostSecurity::OnlyAlias),
        ("mx.unsigned.test", HostSecurity::Insecure),
        ("mx.forged.test", HostSecurity::Insecure),
        ("absent.test", HostSecurity::Insecure),
    ] {
        assert_eq!(host_security(&resolver, host).await, expected, "{host}");
    }
    for (base, port, expected) in [
        ("mx.b.test", 25, Tlsa::Records(vec![record(1)])),
        ("mx.b.test", 27, Tlsa::None),
        ("plain.test", 25, Tlsa::None),
    ] {
        assert_eq!(tlsa_of(&resolver, base, port).await, expected, "{base} {port}");
    }
}

/// RFC 5155.
#[tokio::test]
async fn what_is_denied_by_nsec3_is_not_there() {
    for (iterations, opt_out) in [(0, false), (0, true), (5, false)] {
        let salt = Arc::from([7_u8, 8].as_slice());
        let proof = NxProofKind::Nsec3 { algorithm: Default::default(), salt, iterations, opt_out };
        let zone = zone_with(proof).await;
        let resolver = zone.resolver(Dnssec::Validate);
        for (base, port, expected) in [
            ("mx.b.test", 25, Tlsa::Records(vec![record(1)])),
            // no such name, and a name without such records
            ("mx.b.test", 27, Tlsa::None),
            ("absent.test", 25, Tlsa::None),
            ("mx.unsigned.test", 25, Tlsa::None),
            ("plain.test", 25, Tlsa::Failed(String::new())),
        ] {
            let found = tlsa_of(&resolver, base, port).await;
            assert_eq!(found, expected, "{base} {port}, {iterations} iterations, opt-out {opt_out}");
        }
        for (host, expected) in [
            ("mx.b.test", HostSecurity::Secure { canonical: None }),
            ("mx.unsigned.test", HostSecurity::Insecure),
            ("absent.test", HostSecurity::Insecure),
            ("mx.forged.test", HostSecurity::Failed(String::new())),
        ] {
            let found = host_security(&resolver, host).await;
            assert_eq!(found, expected, "{host}, {iterations} iterations, opt-out {opt_out}");
        }
        assert_eq!(mx_security(&resolver, "b.test").await, Security::Secure);
        assert_eq!(mx_security(&resolver, "unsigned.test").await, Security::Insecure);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_leaves_it_open() {
    let config = DnsConfig {
        servers: vec!["127.0.0.1:9".parse().unwrap()],
        dnssec: Dnssec::TrustAd,
        ..DnsConfig::default()
    };
    let resolver = Resolver::new(&config).unwrap();
    assert_eq!(mx_security(&resolver, "b.test").await, Security::Failed(String::new()));
    assert_eq!(tlsa_of(&resolver, "mx.b.test", 25).await, Tlsa::Failed(String::new()));
}

#[test]
fn a_resolver_elsewhere_is_not_believed() {
    let servers = |address: &str| {
        let server = hickory_resolver::config::NameServerConfig::udp_and_tcp(address.parse().unwrap());
        ResolverConfig::from_name_servers(vec![server])
    };
    for (wanted, address, expected) in [
        (Dnssec::Auto, "127.0.0.53", Dnssec::TrustAd),
        (Dnssec::Auto, "::1", Dnssec::TrustAd),
        (Dnssec::Auto, "192.0.2.1", Dnssec::Validate),
        (Dnssec::TrustAd, "192.0.2.1", Dnssec::TrustAd),
        (Dnssec::Off, "127.0.0.1", Dnssec::Off),
    ] {
        assert_eq!(effective(wanted, &servers(address)), expected, "{wanted:?} {address}");
    }
}

#[tokio::test]
async fn trust_anchors_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("anchors");
    for text in ["", "; nothing\n", "test. IN A 192.0.2.1\n"] {
        std::fs::write(&file, text).unwrap();
        let config = DnsConfig {
            dnssec: Dnssec::Validate,
            trust_anchors: Some(file.clone()),
            ..zone().await.config(Dnssec::Validate)
        };
        assert!(Resolver::new(&config).is_err(), "{text:?}");
    }
}
