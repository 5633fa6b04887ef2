//! Answers of a signed zone, of one that is not, and of one with forged records in it.

use hickory_server::dnssec::NxProofKind;

use super::{
    super::testing::{SignedZone, a, alias, empty, mx, serve, sign, tlsa},
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
        ("alias2.test.", alias("b.test.")),
        ("away.test.", alias("mx.unsigned.test.")),
        ("plain.test.", a(2)),
        ("mx.unsigned.test.", a(3)),
        ("unsigned.test.", mx("mx.unsigned.test.")),
        ("_25._tcp.mx.unsigned.test.", tlsa(&record(2))),
        ("*.wild.test.", a(6)),
        ("*.wild.test.", mx("mx.b.test.")),
        ("known.wild.test.", a(7)),
    ];
    let forged = [
        ("forged.test.", mx("mx.forged.test.")),
        ("mx.forged.test.", a(4)),
        ("_25._tcp.mx.forged.test.", tlsa(&record(3))),
        ("_25._tcp.plain.test.", tlsa(&record(3))),
    ];
    SignedZone::start_with(proof, &signed, &forged).await
}

type Exchangers = Result<Vec<(u16, String)>, DnsError>;

/// What is no answer says so with the words left out.
async fn secured_mx(resolver: &Resolver, domain: &str) -> (Exchangers, Security) {
    let (answer, security) = resolver.secured_mx(&Domain::new(domain).unwrap()).await;
    let answer = answer.map_err(|error| match error {
        DnsError::Temporary(name, _) => DnsError::Temporary(name, String::new()),
        other => other,
    });
    (answer, security)
}

fn one(host: &str) -> Exchangers {
    Ok(vec![(10, host.to_owned())])
}

fn unknown(domain: &str) -> Exchangers {
    Err(DnsError::Temporary(domain.to_owned(), String::new()))
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
        ("b.test", (one("mx.b.test"), Security::Secure)),
        ("alias2.test", (one("mx.b.test"), Security::Secure)),
        ("unsigned.test", (one("mx.unsigned.test"), Security::Insecure)),
        ("mx.b.test", (Err(DnsError::NoRecords("mx.b.test".into())), Security::Secure)),
        ("absent.test", (Err(DnsError::NoSuchDomain("absent.test".into())), Security::Insecure)),
        ("forged.test", (unknown("forged.test"), Security::Insecure)),
    ] {
        assert_eq!(secured_mx(&resolver, domain).await, expected, "{domain}");
    }
    let secure = |canonical: Option<&str>| HostSecurity::Secure { canonical: canonical.map(str::to_owned) };
    for (host, expected) in [
        ("mx.b.test", secure(None)),
        ("alias.test", secure(Some("mx.b.test"))),
        ("away.test", HostSecurity::OnlyAlias),
        ("mx.unsigned.test", HostSecurity::Insecure),
        ("mx.forged.test", HostSecurity::Failed(failed())),
        ("absent.test", HostSecurity::Failed(String::new())),
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
async fn what_fails_to_validate_is_found_where_dnssec_is_not_asked() {
    let zone = zone().await;
    let resolver = zone.resolver(Dnssec::Validate);
    assert!(resolver.mx(&Domain::new("forged.test").unwrap()).await.is_ok());
    assert!(matches!(resolver.host_security("mx.forged.test").await, HostSecurity::Failed(_)));
    assert_eq!(resolver.addresses("mx.forged.test").await.map(|found| found.len()), Ok(1));
}

/// RFC 4035 section 5.3.4.
#[tokio::test]
async fn what_comes_from_a_wildcard_is_secure_where_nothing_stands_nearer() {
    let zone = zone().await;
    let resolver = zone.resolver(Dnssec::Validate);
    for name in ["x.wild.test", "y.x.wild.test", "zz.wild.test"] {
        assert_eq!(secured_mx(&resolver, name).await, (one("mx.b.test"), Security::Secure), "{name}");
        let secure = HostSecurity::Secure { canonical: None };
        assert_eq!(host_security(&resolver, name).await, secure, "{name}");
    }
    // the server says what the wildcard says of a name that is there, too
    let known = "known.wild.test";
    assert_eq!(resolver.mx(&Domain::new(known).unwrap()).await, one("mx.b.test"));
    assert_eq!(secured_mx(&resolver, known).await, (unknown(known), Security::Insecure));
}

/// RFC 7672 section 2.2.1: the exchangers are those of the answer that is secure.
#[tokio::test]
async fn what_somebody_else_answers_without_dnssec_names_no_exchanger() {
    let zone = zone().await;
    let lies = [("b.test.", mx("evil.test.")), ("mx.b.test.", mx("evil.test.")), ("evil.test.", a(66))];
    let resolver = zone.lied_to(Dnssec::Validate, &lies).await;
    for domain in ["b.test", "mx.b.test"] {
        assert_eq!(resolver.mx(&Domain::new(domain).unwrap()).await, one("evil.test"), "the lie works");
    }
    assert_eq!(secured_mx(&resolver, "b.test").await, (one("mx.b.test"), Security::Secure));
    // it has none, and is its own exchanger
    let denied = (Err(DnsError::NoRecords("mx.b.test".into())), Security::Secure);
    assert_eq!(secured_mx(&resolver, "mx.b.test").await, denied);
    // an address of what does not exist
    assert_eq!(resolver.addresses("evil.test").await.map(|found| found.len()), Ok(1));
    assert!(matches!(resolver.host_security("evil.test").await, HostSecurity::Failed(_)));
}

#[tokio::test]
async fn without_dnssec_nothing_is_secure() {
    let zone = zone().await;
    // an authoritative server says nothing by the AD bit
    for dnssec in [Dnssec::Off, Dnssec::TrustAd, Dnssec::Auto] {
        let resolver = zone.resolver(dnssec);
        assert_eq!(resolver.knows_dnssec(), dnssec != Dnssec::Off);
        assert_eq!(secured_mx(&resolver, "b.test").await, (one("mx.b.test"), Security::Insecure));
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
        ("b.test", (one("mx.b.test"), Security::Secure)),
        ("unsigned.test", (one("mx.unsigned.test"), Security::Insecure)),
        ("forged.test", (one("mx.forged.test"), Security::Insecure)),
    ] {
        assert_eq!(secured_mx(&resolver, domain).await, expected, "{domain}");
    }
    let secure = |canonical: Option<&str>| HostSecurity::Secure { canonical: canonical.map(str::to_owned) };
    for (host, expected) in [
        ("mx.b.test", secure(None)),
        ("alias.test", secure(Some("mx.b.test"))),
        ("away.test", HostSecurity::OnlyAlias),
        ("mx.unsigned.test", HostSecurity::Insecure),
        ("mx.forged.test", HostSecurity::Insecure),
        ("absent.test", HostSecurity::Failed(String::new())),
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
            ("absent.test", HostSecurity::Failed(String::new())),
            ("mx.forged.test", HostSecurity::Failed(String::new())),
        ] {
            let found = host_security(&resolver, host).await;
            assert_eq!(found, expected, "{host}, {iterations} iterations, opt-out {opt_out}");
        }
        assert_eq!(secured_mx(&resolver, "b.test").await.1, Security::Secure);
        assert_eq!(secured_mx(&resolver, "unsigned.test").await.1, Security::Insecure);
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
    assert_eq!(secured_mx(&resolver, "b.test").await, (unknown("b.test"), Security::Insecure));
    assert_eq!(tlsa_of(&resolver, "mx.b.test", 25).await, Tlsa::Failed(String::new()));
}

/// RFC 7672 section 2.1.2: who says that it failed has denied nothing.
#[tokio::test]
async fn a_server_that_fails_leaves_it_open() {
    use hickory_resolver::proto::op::{Message, OpCode};
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let servers = vec![socket.local_addr().unwrap()];
    tokio::spawn(async move {
        let mut octets = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut octets).await {
            let asked = Message::from_vec(&octets[..length]).unwrap();
            let mut failure = Message::response(asked.metadata.id, OpCode::Query);
            failure.add_queries(asked.queries);
            failure.metadata.response_code = ResponseCode::ServFail;
            socket.send_to(&failure.to_vec().unwrap(), client).await.unwrap();
        }
    });
    for dnssec in [Dnssec::TrustAd, Dnssec::Validate] {
        let config = DnsConfig { servers: servers.clone(), dnssec, ..DnsConfig::default() };
        let resolver = Resolver::new(&config).unwrap();
        assert_eq!(secured_mx(&resolver, "b.test").await, (unknown("b.test"), Security::Insecure));
        let failed = HostSecurity::Failed(String::new());
        assert_eq!(host_security(&resolver, "mx.b.test").await, failed, "{dnssec:?}");
        assert_eq!(tlsa_of(&resolver, "mx.b.test", 25).await, Tlsa::Failed(String::new()), "{dnssec:?}");
    }
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

/// The root, signed or not.
async fn root(
    is_signed: bool,
) -> (hickory_server::Server<hickory_server::zone_handler::Catalog>, std::net::SocketAddr) {
    let mut zone = empty(".", is_signed.then_some(NxProofKind::Nsec));
    if is_signed {
        sign(&mut zone, ".");
    }
    serve(".", zone).await
}

#[tokio::test]
async fn resolvers_that_hand_on_no_signatures_are_not_asked_for_any() {
    let signatures = |address: std::net::SocketAddr| {
        let mut server = hickory_resolver::config::NameServerConfig::udp(address.ip());
        server.connections[0].port = address.port();
        let servers = ResolverConfig::from_name_servers(vec![server]);
        let mut options = ResolverOpts::default();
        options.timeout = Duration::from_millis(200);
        Signatures::new(believing(servers, options).unwrap())
    };
    for is_signed in [true, false] {
        let (_server, address) = root(is_signed).await;
        assert_eq!(signatures(address).are_handed_on().await, is_signed);
    }
    // who gives no answer leaves it open
    assert!(signatures("127.0.0.1:9".parse().unwrap()).are_handed_on().await);
}
