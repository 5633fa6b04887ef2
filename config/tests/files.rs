//! Whole files: the reference, what is refused, and how errors read.
#![allow(clippy::unwrap_used, reason = "test")]

use std::path::Path;

use waypost_config::{
    Config, Introspection, ListenAddress, LostTls, RouteProtocol, RouteTls, Service, TlsLevel, TlsMode,
    TokenSource, explain, parse, reference,
};

fn check(text: &str) -> Result<Config, Vec<String>> {
    parse(Path::new("/nowhere/waypost.toml"), text).map_err(|error| error.problems)
}

fn minimal(more: &str) -> String {
    format!(
        "hostname = \"mx.test\"\nstate_dir = \"state\"\n[[listener]]\nservice = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n{more}"
    )
}

#[test]
fn the_reference_is_a_valid_configuration_with_every_key_set() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["cert.pem", "key.pem", "other-cert.pem", "other-key.pem", "jwks.json", "dkim.pem"] {
        std::fs::write(folder.path().join(file), "").unwrap();
    }
    let text = reference().replace("\n#=", "\n");
    let config = parse(&folder.path().join("waypost.toml"), &text).unwrap();
    assert_eq!(config.listeners[0].service, Service::Smtp);
    assert_eq!(config.routes[0].login, Some(("user".into(), String::new())));
    let short = parse(&folder.path().join("waypost.toml"), reference()).unwrap();
    assert_eq!(short.queue, config.queue);
    assert_eq!(short.limits, config.limits);
    assert_eq!(short.oauth, config.oauth);
    assert_eq!(short.storage, config.storage);
    assert_eq!(short.listeners, config.listeners);
    assert_eq!(short.dns.dnssec, config.dns.dnssec);
    assert_eq!(short.outbound_tls, config.outbound_tls);
    assert_eq!(short.dkim, config.dkim);
}

#[test]
fn who_sends_from_other_addresses_is_read() {
    use waypost_config::SendAsAddress;
    let of = |more: &str| check(&minimal(&format!("[[send_as]]\n{more}\n")));
    let granted = of("accounts = [\"a@x.test\"]\naddresses = [\"b@y.test\", \"@Z.test\"]").unwrap();
    let granted = &granted.send_as[0];
    assert!(granted.add_sender);
    assert!(
        matches!(&granted.addresses[..], [SendAsAddress::Address(address), SendAsAddress::Domain(domain)]
        if address.to_string() == "b@y.test" && domain.as_str() == "z.test")
    );
    for (bad, problem) in [
        ("accounts = []\naddresses = [\"@z.test\"]", "send_as.accounts is empty"),
        ("accounts = [\"a@x.test\"]", "send_as.addresses is missing"),
        ("accounts = [\"a\"]\naddresses = [\"@z.test\"]", "is not an address"),
        ("accounts = [\"a@x.test\"]\naddresses = [\"@\"]", "is not a domain"),
    ] {
        let problems = of(bad).unwrap_err().join("\n");
        assert!(problems.contains(problem), "{bad}\n{problems}");
    }
}

#[test]
fn how_mail_is_signed_is_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key.pem"), "PEM").unwrap();
    let of = |more: &str| {
        let text = minimal(&format!("[[domain]]\nname = \"b.test\"\n{more}"));
        parse(&folder.path().join("waypost.toml"), &text)
    };
    let config = of("").unwrap();
    let days = |days: u64| std::time::Duration::from_secs(days * 86_400);
    assert!(
        config.dkim.sign_trusted
            && config.dkim.sign_forwarded
            && config.dkim.seal_forwarded
            && config.domains[0].dkim
    );
    assert_eq!((config.dkim.rotate_after, config.dkim.keep_retired), (days(180), days(7)));
    let domain = config.domains[0].name.clone();
    let key = |selector: &str, file: &str| {
        format!("[[dkim.key]]\ndomain = \"{domain}\"\nselector = \"{selector}\"\n{file}\n")
    };
    let file = "file = \"key.pem\"";
    let named = &of(&key("S1.Mail_x", file)).unwrap().dkim.keys[0];
    assert_eq!((named.selector.as_str(), named.pem.text(), &named.domain), ("s1.mail_x", "PEM", &domain));
    assert_eq!(format!("{:?}", named.pem), "PrivatePem", "it is in no log");
    for (bad, problem) in [
        (key("s", file) + &key("S", file), "two [[dkim.key]] of"),
        (key("s", ""), "dkim.key.file is missing"),
        (key("s", "file = \"none.pem\""), "No such file"),
        (key("-s", file), "is no selector"),
        (key("s..t", file), "is no selector"),
        (key("s t", file), "is no selector"),
        (key("s", file).replace(domain.as_str(), "c.test"), "is no [[domain]]"),
        ("[dkim]\nrotate = \"1d\"\n".to_owned(), "rotate_after"),
    ] {
        let error = of(&bad).unwrap_err().to_string();
        assert!(error.contains(problem), "{bad}\n{error}");
    }
}

#[test]
fn a_minimal_file_has_the_documented_defaults() {
    let config = check(&minimal("")).unwrap();
    assert_eq!(config.state_dir, Path::new("/nowhere/state"));
    assert_eq!(config.limits.message_size, 50 << 20);
    assert_eq!(config.queue.retry.len(), 4);
    assert_eq!(config.listeners[0].tls, TlsMode::None);
}

#[test]
fn what_holds_for_maildrops_is_read() {
    let seconds = std::time::Duration::from_secs;
    let of = |domain: &str, pop3: &str| {
        let text = format!("[[domain]]\nname = \"b.test\"\n{domain}\n[pop3]\n{pop3}");
        let config = check(&minimal(&text)).unwrap();
        (config.domains[0].pop3.expire_days, config.domains[0].pop3.login_delay, config.pop3.take_over_after)
    };
    assert_eq!(of("", ""), (None, seconds(0), seconds(60)));
    for (days, expected) in
        [("never", None), ("0", Some(0)), ("1d", Some(1)), ("48h", Some(2)), ("2w", Some(14))]
    {
        let domain = format!("pop3_expire = \"{days}\"\npop3_login_delay = \"5m\"");
        assert_eq!(of(&domain, "take_over_after = \"0\""), (expected, seconds(300), seconds(0)));
    }
    let apop = "[[listener]]\nservice = \"pop3\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\napop = true";
    let listeners = check(&minimal(apop)).unwrap().listeners;
    assert!(!listeners[0].rules.apop && listeners.last().unwrap().rules.apop);
}

#[test]
fn what_is_demanded_of_tls_is_read() {
    let config = check(&minimal("")).unwrap();
    assert!(config.outbound_tls.mta_sts && config.outbound_tls.roots.is_empty());
    assert_eq!((config.outbound_tls.mta_sts_port, config.outbound_tls.lost), (443, LostTls::Warn));
    let of = |more: &str| format!("[[tls_policy]]\ndomain = \"B.test\"\n{more}\n");
    let good = of("level = \"verify\"\nmx = [\"MX.b.test\", \"*.b.test\"]");
    let policy = &check(&minimal(&good)).unwrap().outbound_tls.domains[0];
    assert_eq!((policy.domain.as_str(), policy.level), ("b.test", TlsLevel::Verify));
    assert_eq!(policy.exchangers, ["mx.b.test", "*.b.test"]);
    for (bad, problem) in [
        (of(""), "tls_policy.level is missing"),
        (of("level = \"secure\""), "is none of"),
        (of("level = \"dane\"\nmx = [\"mx.b.test\"]"), "goes with the level \"verify\" only"),
        (of("level = \"verify\"\nmx = []"), "tls_policy.mx is empty"),
        (of("level = \"verify\"\nmx = [\"mx.*.test\"]"), "is not a domain"),
        (of("level = \"none\"") + &of("level = \"dane\""), "is there twice"),
        ("[outbound_tls]\nroots = [\"none.pem\"]\n".into(), "none.pem"),
        ("[outbound_tls]\nlost = \"panic\"\n".into(), "is none of"),
        ("[dns]\ndnssec = \"validate\"\ntrust_anchors = \"none\"\n".into(), "none"),
    ] {
        let problems = check(&minimal(&bad)).unwrap_err();
        assert!(problems.iter().any(|found| found.contains(problem)), "{bad}: {problems:?}");
    }
}

#[test]
fn what_cannot_be_listened_on_at_once_is_refused() {
    let listener = |address: &str| {
        format!("[[listener]]\nservice = \"smtp\"\naddress = \"{address}\"\ntls = \"none\"\n")
    };
    for (one, other, good) in [
        ("127.0.0.1:25", "127.0.0.1:25", false),
        ("0.0.0.0:25", "127.0.0.1:25", false),
        ("192.0.2.1:25", "0.0.0.0:25", false),
        ("[::]:25", "[::1]:25", false),
        ("0.0.0.0:25", "[::]:25", true),
        ("0.0.0.0:25", "0.0.0.0:26", true),
        ("127.0.0.1:25", "127.0.0.2:25", true),
        ("0.0.0.0:0", "127.0.0.1:0", true),
    ] {
        let checked = check(&minimal(&(listener(one) + &listener(other))));
        assert_eq!(checked.is_ok(), good, "{one} {other}: {checked:?}");
        let told = checked.err().unwrap_or_default().concat();
        assert!(good || told.contains("waypost.toml:13:11: "), "{told}");
    }
}

#[test]
fn a_listener_believes_only_networks_of_one_owner() {
    for (network, good) in [
        ("127.0.0.0/8", true),
        ("2001:db8::/32", true),
        ("0.0.0.0/0", false),
        ("::/0", false),
        ("128.0.0.0/1", false),
        ("192.0.2.1/24", false),
        ("192.0.2.1", false),
    ] {
        let listener = format!(
            "[[listener]]\nservice = \"imap\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\nproxy_protocol = [\"{network}\"]\n"
        );
        let checked = check(&minimal(&listener));
        assert_eq!(checked.is_ok(), good, "{network}: {checked:?}");
        assert_eq!(checked.is_ok_and(|config| config.listeners[1].rules.proxy_protocol.len() == 1), good);
    }
}

#[test]
fn wide_networks_are_told_apart() {
    for (network, is_wide, is_wide_private) in [
        ("10.0.0.0/8", false, true),
        ("172.16.0.0/12", false, true),
        ("172.17.0.0/16", false, false),
        ("127.0.0.0/8", false, false),
        ("fc00::/7", false, true),
        ("fd00::/48", false, false),
        ("192.0.0.0/16", false, false),
        ("192.0.0.0/15", true, false),
        ("198.0.0.0/8", true, false),
        ("2001:db8::/32", true, false),
        ("2001:db8::/48", false, false),
    ] {
        let config = check(&minimal(&format!("[[trust]]\nnetworks = [\"{network}\"]"))).unwrap();
        let found = (config.trust[0].is_wide(), config.trust[0].is_wide_private());
        assert_eq!(found, (is_wide, is_wide_private), "{network}");
    }
}

#[test]
fn so_many_recipients_are_announced_in_six_digits() {
    for (written, most) in [(100, 100), (999_999, 999_999), (1_000_000, 999_999)] {
        let config = check(&minimal(&format!("[limits]\nrecipients = {written}"))).unwrap();
        assert_eq!(config.limits.recipients, most);
    }
}

#[test]
fn an_address_that_nobody_knows_lies_in_no_network() {
    let config = check(&minimal("[[trust]]\nnetworks = [\"0.0.0.0/8\", \"192.0.2.0/24\"]")).unwrap();
    for (address, is_trusted) in
        [("0.0.0.0", false), ("::", false), ("::ffff:0.0.0.0", false), ("0.0.0.1", true), ("192.0.2.1", true)]
    {
        let address = address.parse().unwrap();
        assert_eq!(config.trust.iter().any(|network| network.contains(address)), is_trusted, "{address}");
    }
}

#[test]
fn routes_have_next_hops_protocol_and_sources() {
    let more = r#"
        [queue]
        source_addresses = ["192.0.2.1", "2001:db8::1"]
        own_names = ["Backup.x.test"]
        own_addresses = ["203.0.113.9"]
        fallback_relay = "mx:relay.test"
        [[route]]
        domain = "x.test"
        next_hop = ["one.test:587", "two.test", "mx:three.test"]
        source_addresses = ["192.0.2.2"]
        [[route]]
        domain = "x.test"
        sender = "y.test"
        next_hop = "unix:/run/dovecot/lmtp"
        [[route]]
        domain = "*"
        next_hop = "[::1]:24"
        protocol = "lmtp"
    "#;
    let config = check(&minimal(more)).unwrap();
    let shown: Vec<_> = config
        .routes
        .iter()
        .map(|route| {
            let hops: Vec<String> = route.next_hops.iter().map(ToString::to_string).collect();
            (hops.join(" "), route.protocol, route.tls)
        })
        .collect();
    assert_eq!(
        shown,
        [
            (
                "one.test:587 two.test:25 mx:three.test:25".to_owned(),
                RouteProtocol::Smtp,
                RouteTls::Opportunistic
            ),
            ("unix:/run/dovecot/lmtp".to_owned(), RouteProtocol::Lmtp, RouteTls::Opportunistic),
            ("[::1]:24".to_owned(), RouteProtocol::Lmtp, RouteTls::Opportunistic),
        ]
    );
    let sources = config.routes[0].sources.or(config.queue.sources);
    assert_eq!(sources.towards("203.0.113.1".parse().unwrap()), Some("192.0.2.2".parse().unwrap()));
    assert_eq!(sources.towards("2001:db8::9".parse().unwrap()), Some("2001:db8::1".parse().unwrap()));
    assert_eq!(config.queue.fallback_relays[0].to_string(), "mx:relay.test:25");
    assert_eq!(config.queue.fallback_tls, RouteTls::Required);
    assert_eq!(config.queue.own_names, [waypost_mail::Domain::new("backup.x.test").unwrap()]);
    assert_eq!(config.queue.own_addresses, ["203.0.113.9".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(config.routes[1].sender.as_ref().map(waypost_mail::Domain::as_str), Some("y.test"));
}

#[test]
fn an_error_delay_is_short() {
    for (delay, good) in [("0", true), ("60s", true), ("61s", false), ("1d", false)] {
        assert_eq!(
            check(&minimal(&format!("[limits]\nerror_delay = \"{delay}\"\n"))).is_ok(),
            good,
            "{delay}"
        );
    }
}

#[test]
fn all_errors_are_told_at_once_with_their_places() {
    let text =
        minimal("[limits]\nconections = 5\nrecipients = \"many\"\nerror_delay = \"soon\"\n[[domain]]\n");
    let problems = check(&text).unwrap_err();
    let starts: Vec<String> = problems.iter().map(|p| p.lines().next().unwrap().to_owned()).collect();
    assert_eq!(
        starts,
        [
            "/nowhere/waypost.toml:8:1: limits.conections is not a known key; did you mean limits.connections?",
            "/nowhere/waypost.toml:9:14: limits.recipients is a whole number, not a value of type string",
            "/nowhere/waypost.toml:10:15: limits.error_delay: \"soon\" is no duration: write a number and a unit, like \"90s\", \"5m\", \"4h\", \"14d\" or \"2w\"",
            "/nowhere/waypost.toml:11:1: domain.name is missing",
        ]
    );
    assert!(problems[0].ends_with("\n 8 | conections = 5\n   | ^^^^^^^^^^"), "{}", problems[0]);
}

/// A listener on a Unix socket with these keys.
fn unix(keys: &str) -> String {
    format!("[[listener]]\naddress = \"unix:run/lmtp\"\n{keys}\n")
}

#[test]
fn lmtp_has_unix_sockets() {
    let address = |keys: &str| {
        let config = check(&minimal(&unix(&format!("service = \"lmtp\"\n{keys}")))).unwrap();
        config.listeners.last().unwrap().clone()
    };
    let plain = address("");
    assert_eq!((plain.tls, plain.address.to_string().as_str()), (TlsMode::None, "unix:/nowhere/run/lmtp"));
    let ListenAddress::Unix(file) = plain.address else { panic!() };
    assert_eq!((file.mode, file.users), (0o660, vec![]));
    let ListenAddress::Unix(file) =
        address("socket_mode = \"600\"\nsocket_users = [\"root\", \"103\"]").address
    else {
        panic!()
    };
    assert_eq!((file.mode, file.users), (0o600, vec![0, 103]));
}

#[test]
fn what_must_not_be_is_refused() {
    for (more, expected) in [
        ("[[trust]]\nnetworks = [\"0.0.0.0/0\"]", "the whole Internet"),
        ("[[trust]]\nnetworks = [\"::/0\"]", "the whole Internet"),
        ("[[trust]]\nnetworks = [\"192.0.2.1/24\"]", "bits set behind"),
        ("[[account]]\naddress = \"a@b.test\"\npassword = \"x\"", "no [[domain]]"),
        ("[[domain]]\nname = \"b.test\"\n[[account]]\naddress = \"a@b.test\"", "password_hash is missing"),
        (
            "[[domain]]\nname = \"b.test\"\n[[account]]\naddress = \"a@b.test\"\npassword_hash = \"secret\"",
            "not a whole argon2",
        ),
        ("[[domain]]\nname = \"b.test\"\n[[domain]]\nname = \"B.test\"", "the domain is there twice"),
        ("[[listener]]\nservice = \"imap\"\naddress = \"0.0.0.0:143\"\nauth_without_tls = true", "loopback"),
        ("[[listener]]\nservice = \"imap\"\naddress = \"0.0.0.0:143\"", "no [tls]"),
        (
            "[[listener]]\nservice = \"http\"\naddress = \"0.0.0.0:80\"\ntls = \"starttls\"",
            "which has no STARTTLS",
        ),
        (
            "[[listener]]\nservice = \"http\"\naddress = \"127.0.0.1:80\"\nauth_without_tls = true",
            "listener.auth_without_tls means nothing for the service \"http\"",
        ),
        (
            "[[listener]]\nservice = \"submission\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\nauth = false",
            "listener.auth means nothing for the service \"submission\"",
        ),
        (
            "[[listener]]\nservice = \"smtp\"\naddress = \"127.0.0.1:0\"\nauth = false\nauth_without_tls = true",
            "listener.auth_without_tls means nothing where auth is false",
        ),
        ("[[domain]]\nname = \"b.test\"\nmta_sts = \"strict\"", "is none of"),
        (
            "[[listener]]\nservice = \"http\"\naddress = \"127.0.0.1:80\"\nclient_certificates = \"a.pem\"",
            "listener.client_certificates means nothing for the service \"http\"",
        ),
        ("[[listener]]\nservice = \"smpt\"\naddress = \"0.0.0.0:80\"\ntls = \"none\"", "is none of"),
        ("[tls]\ncertificate = \"missing.pem\"\nkey = \"missing.pem\"", "missing.pem: No such file"),
        ("[storage]\nengine = \"postgres\"", "not available in this version"),
        ("[queue]\nretry = []", "queue.retry is empty"),
        (
            "[[listener]]\nservice = \"imap\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\nxclient = [\"127.0.0.0/8\"]",
            "listener.xclient means nothing for the service \"imap\"",
        ),
        (
            "[[listener]]\nservice = \"submission\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\ngreeting_delay = \"1s\"",
            "listener.greeting_delay means nothing",
        ),
        (
            "[[listener]]\nservice = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\ngreeting_delay = \"61s\"",
            "at most 1 minute",
        ),
        (
            "[[listener]]\nservice = \"pop3\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\nunauthenticate = true",
            "listener.unauthenticate means nothing for the service \"pop3\"",
        ),
        (
            "[[listener]]\nservice = \"imap\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\nmessage_limit = 999",
            "between 1000 and",
        ),
        (
            "[[listener]]\nservice = \"imap\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\napop = true",
            "listener.apop means nothing for the service \"imap\"",
        ),
        ("[[domain]]\nname = \"b.test\"\npop3_expire = \"12h\"", "nor a number of days"),
        ("[[domain]]\nname = \"b.test\"\npop3_expire = \"soon\"", "nor a number of days"),
        ("[[domain]]\nname = \"b.test\"\npop3_login_delay = \"25h\"", "at most 1 day"),
        ("[pop3]\ntake_over_after = \"9s\"", "at least 10 seconds, or 0"),
        (
            "[[listener]]\nservice = \"lmtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\nvrfy = true",
            "listener.vrfy means nothing for the service \"lmtp\"",
        ),
        ("[imap]\nshared = \"x\"", "not an address"),
        ("[imap]\nadministrators = [\"nobody\"]", "nobody"),
        ("[imap]\nmetadata_entries = 9", "between 10 and 1000"),
        ("[imap]\nmetadata_size = \"1023 B\"", "between 1 KiB and 64 KiB"),
        ("[imap]\nmetadata_size = \"65 KiB\"", "between 1 KiB and 64 KiB"),
        ("[limits]\npriority = 10", "between 0 and 9"),
        ("[limits]\nno_soliciting = [\"a,b\"]", "\"a,b\" is no solicitation class keyword"),
        ("[limits]\nno_soliciting = [\"a b\"]", "is no solicitation class keyword"),
        (
            &format!("[limits]\nno_soliciting = [\"{0}\", \"{0}\"]", "a".repeat(240)),
            "limits.no_soliciting has at most 480 characters in all",
        ),
        (&unix("service = \"smtp\""), "a Unix socket is for the service \"lmtp\" only"),
        (&unix("service = \"lmtp\"\ntls = \"starttls\""), "listener.tls is \"none\" on a Unix socket"),
        (&unix("service = \"lmtp\"\nproxy_protocol = [\"127.0.0.0/8\"]"), "means nothing on a Unix socket"),
        (&unix("service = \"lmtp\"\nsocket_mode = \"0888\""), "is not the mode of a file"),
        (&unix("service = \"lmtp\"\nsocket_mode = \"+77\""), "is not the mode of a file"),
        (&unix("service = \"lmtp\"\nsocket_users = [\"no such user\"]"), "neither a user in /etc/passwd nor"),
        (&unix("service = \"lmtp\"").replace("run/lmtp", ""), "has no path"),
        (&unix("service = \"lmtp\"").replace("run/lmtp", &"x".repeat(108)), "has at most 107 octets"),
        (&unix("service = \"lmtp\"").repeat(2), "the listener's address is there twice"),
        (
            "[[listener]]\nservice = \"lmtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\nsocket_mode = \"0600\"",
            "listener.socket_mode means nothing without a Unix socket",
        ),
        ("[srs]\ndomain = \"far.test\"", "no [[domain]] whose mail"),
        ("[authenticity]\ndmarc = \"reject\"", "\"enforce\""),
        ("[authenticity]\ntrusted_sealers = [\"a b\"]", "a b"),
        ("[[authenticity.domain]]\nname = \"far.test\"", "dmarc"),
        ("[reports]\nfrom = \"x@far.test\"", "no [[domain]] whose mail"),
        ("[reports]\nfrom = \"x\"", "not an address"),
        ("[reports]\norganization = \"a\\nb\"", "one line"),
        ("[reports]\ncontact = \" \"", "one line"),
        ("[reports]\ndaily_max = 0", "daily_max"),
        ("[reports]\nkeep = \"1h\"", "at least 1 day"),
        ("[reports]\naddresses = [\"nobody\"]", "nobody"),
        ("[limits]\nrecipients = 99", "between 100 and"),
        ("[limits]\nrecipients = -1", "between 100 and"),
        ("[limits]\nrecipients = 99999999999999999999999", "between 100 and"),
        ("[limits]\nrecipients = 2020-01-01", "is a whole number, not a value of type datetime"),
        ("[limits]\nmessage_size = \"0\"", "between 64 KiB and 4 GiB"),
        ("[limits]\nmessage_size = \"5 TiB\"", "between 64 KiB and 4 GiB"),
        ("[queue]\nlifetime = \"30000000000000w\"", "longer than ten years"),
        ("[[trust]]\nnetworks = [\"0.0.0.0/1\", \"128.0.0.0/1\"]", "networks of strangers"),
        ("[[trust]]\nnetworks = [\"2000::/3\"]", "networks of strangers"),
        ("[[trust]]\nnetworks = [\"::ffff:0.0.0.0/96\"]", "write IPv4 networks as such"),
        ("[[trust]]\nnetworks = [\"10.0.0.0/+8\"]", "is not a network"),
        ("[[trust]]\nnetworks = { a = 1 }", "is a list of texts"),
        ("[trust]\nnetworks = []", "each beginning with [[trust]]"),
        ("[[route]]\ndomain = \"x.test\"\nnext_hop = \"192.0.2.7:0\"", "not a host with a port"),
        ("[[route]]\ndomain = \"x.test\"\nnext_hop = \"[::1\"", "not a host with a port"),
        (
            "[[route]]\ndomain = \"*\"\nnext_hop = \"192.0.2.7:25\"\ntls = \"none\"\nusername = \"u\"\npassword = \"p\"",
            "would cross the network in the clear",
        ),
        ("[[route]]\ndomain = \"x.test\"\nnext_hop = []", "route.next_hop is empty"),
        ("[[route]]\ndomain = \"x.test\"\nnext_hop = 25", "route.next_hop is a list of texts"),
        (
            "[[route]]\ndomain = \"x.test\"\nnext_hop = [\"mx.test\", \"unix:lmtp\"]",
            "absolute path of a socket",
        ),
        (
            "[[route]]\ndomain = \"x.test\"\nnext_hop = \"mx.test\"\nprotocol = \"lmtp\"",
            "never spoken on port 25",
        ),
        ("[[route]]\ndomain = \"x.test\"\nnext_hop = \"unix:/run/lmtp\"\ntls = \"required\"", "has no TLS"),
        (
            "[[route]]\ndomain = \"x.test\"\nnext_hop = \"mx.test\"\nsource_addresses = [\"127.0.0.1\", \"127.0.0.2\"]",
            "two addresses of one family",
        ),
        ("[queue]\nsource_addresses = [\"0.0.0.0\"]", "the address of no host"),
        ("[queue]\nsource_addresses = [\"mx.test\"]", "is not an IP address"),
        ("[queue]\nown_addresses = [\"mx.test\"]", "is not an IP address"),
        ("[queue]\nfallback_relay = \"unix:/run/x\"", "no other server"),
        ("[queue]\nfallback_relay = \"mx.test\"\nfallback_tls = \"maybe\"", "fallback_tls"),
        ("[[domain]]\nname = \"b.test\"\nrelay_to = \"mx:c.test\"", "is not asked for here"),
        (
            "[[route]]\ndomain = \"x.test\"\nnext_hop = \"mx:y.test\"\nprotocol = \"lmtp\"",
            "never spoken on port 25",
        ),
        ("[queue]\nown_names = [\"192.0.2.1:25\"]", "queue.own_names"),
        (
            "[[route]]\ndomain = \"x.test\"\nsender = \"y.test\"\nnext_hop = \"mx.test\"\n\
             [[route]]\ndomain = \"x.test\"\nsender = \"y.test\"\nnext_hop = \"mx.test\"",
            "the route is there twice",
        ),
        ("[[domain]]\nname = \"b.test\"\nrelay_to = \"unix:/run/lmtp\"", "no other server"),
        (
            "[[domain]]\nname = \"b.test\"\n[[account]]\naddress = \"a@b.test\"\npassword_hash = \"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ\"",
            "not a whole argon2",
        ),
        (
            "[[domain]]\nname = \"b.test\"\n[[account]]\naddress = \"a@b.test\"\npassword_file = \"\"",
            "password_file is empty",
        ),
        (
            "[[listener]]\nservice = \"smtp\"\naddress = \"127.0.0.1:2525\"\ntls = \"none\"\n\
             [[listener]]\nservice = \"imap\"\naddress = \"127.0.0.1:2525\"\ntls = \"none\"",
            "the listener's address is there twice",
        ),
        ("[limits\n", ""),
        ("x = ", ""),
    ] {
        let problems = check(&minimal(more)).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{more}: {problems:?}");
    }
    assert!(check("").unwrap_err().iter().any(|problem| problem.contains("hostname is missing")));
}

#[test]
fn a_bad_item_of_a_list_is_one_error() {
    assert_eq!(check(&minimal("[queue]\nretry = [[\"5m\"]]")).unwrap_err().len(), 1);
}

#[test]
fn a_state_dir_is_short_enough_for_its_socket() {
    let with = |folder: usize| minimal("").replace("\"state\"", &format!("\"/{}\"", "x".repeat(folder)));
    // 107 octets (unix(7)), less "/waypost.sock" and the slash in front.
    assert!(check(&with(93)).is_ok());
    assert!(check(&with(94)).unwrap_err()[0].contains("state_dir is too long"));
}

#[test]
fn large_networks_of_one_owner_may_be_trusted() {
    let networks = "[[trust]]\nnetworks = [\"10.0.0.0/8\", \"fc00::/7\", \"192.0.2.1/32\", \"::1/128\"]";
    assert_eq!(check(&minimal(networks)).unwrap().trust.len(), 4);
}

#[test]
fn a_password_in_a_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("waypost.toml");
    let text =
        minimal("[[domain]]\nname = \"b.test\"\n[[account]]\naddress = \"a@b.test\"\npassword = \"geheim\"");
    std::fs::write(&file, &text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(waypost_config::load(&file).unwrap_err().to_string().contains("chmod 0600"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(waypost_config::load(&file).unwrap().accounts.len(), 1);
}

#[test]
fn keys_are_explained() {
    assert!(explain("queue.retry").unwrap().contains("Waits between tries"));
    assert!(explain("queue").unwrap().contains("lifetime"));
    assert!(explain("oauth.keys_url").unwrap().contains("fetched at start"));
    assert!(explain("account.password").unwrap().contains("instead of its hash"));
    assert!(!explain("account.quota").unwrap().contains("instead of its hash"));
    assert_eq!(explain("queue.rety"), Err(Some("queue.retry".into())));
}

#[test]
fn tokens_are_checked_in_one_way() {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in [("jwks.json", "{}"), ("ca.pem", ""), ("secret", "s3cret\n")] {
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let source = |keys: &str| {
        let text = minimal(&format!("[oauth]\nissuer = \"i\"\naudience = \"a\"\n{keys}"));
        parse(&folder.path().join("waypost.toml"), &text).map(|config| config.oauth.unwrap())
    };
    let asked =
        "introspection_url = \"https://id.test/x\"\nclient_id = \"me\"\nclient_secret_file = \"secret\"";
    let config = source(&format!("{asked}\nroots = [\"ca.pem\"]")).unwrap();
    assert_eq!((config.claim.as_str(), config.roots), ("username", vec![folder.path().join("ca.pem")]));
    assert!(!format!("{:?}", config.source).contains("s3cret"));
    assert_eq!(
        config.source,
        TokenSource::Introspection(Introspection {
            url: "https://id.test/x".into(),
            client_id: "me".into(),
            client_secret: "s3cret".into()
        })
    );
    let fetched = source("keys_url = \"https://id.test:8443/keys\"").unwrap();
    assert_eq!(fetched.source, TokenSource::KeysUrl("https://id.test:8443/keys".into()));
    assert_eq!(fetched.claim, "email");
    assert_eq!(source("keys = \"jwks.json\"").unwrap().source, TokenSource::Keys("{}".into()));
    for (keys, problem) in [
        ("", "one of keys, keys_url and introspection_url"),
        ("keys = \"jwks.json\"\nkeys_url = \"https://id.test/\"", "one of keys"),
        (&format!("keys = \"jwks.json\"\n{asked}"), "one of keys"),
        ("keys_url = \"http://id.test/\"", "is not a URL"),
        ("keys_url = \"https:///keys\"", "is not a URL"),
        ("keys_url = \"https://me@id.test/\"", "is not a URL"),
        ("keys_url = \"https://id.test/a b\"", "is not a URL"),
        ("keys_url = \"https://id.test/\"\nclient_id = \"x\"", "only for introspection_url"),
        ("introspection_url = \"https://id.test/\"", "needs client_id and client_secret_file"),
        ("introspection_url = \"https://id.test/\"\nclient_id = \"x\"", "needs client_id"),
        ("keys_url = \"https://id.test/\"\nroots = [\"none.pem\"]", "none.pem"),
        ("keys = \"none.json\"", "none.json"),
    ] {
        let error = source(keys).unwrap_err().to_string();
        assert!(error.contains(problem), "{keys}: {error}");
    }
}

#[test]
fn certificates_of_clients() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["ca.pem", "cert.pem", "key.pem"] {
        std::fs::write(folder.path().join(file), "").unwrap();
    }
    let parsed = |text: &str| {
        let tls = "[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n[[domain]]\nname = \"a.test\"";
        parse(&folder.path().join("waypost.toml"), &minimal(&format!("{tls}\n{text}")))
    };
    let listener = |service: &str, more: &str| {
        format!("[[listener]]\nservice = \"{service}\"\naddress = \"127.0.0.1:0\"\n{more}")
    };
    let asking = "client_certificates = \"ca.pem\"";
    for service in ["imap", "pop3", "submission"] {
        let config = parsed(&listener(service, asking)).unwrap();
        assert_eq!(config.listeners[1].rules.client_certificates, Some(folder.path().join("ca.pem")));
    }
    let account = |list: &str| {
        format!("[[account]]\naddress = \"a@a.test\"\npassword = \"x\"\ncertificate_sha256 = [{list}]")
    };
    let (plain, colons) = ("0a".repeat(32), "0A:".repeat(32));
    let both = parsed(&account(&format!("\"{plain}\", \"{}\"", colons.trim_end_matches(':')))).unwrap();
    assert_eq!(both.accounts[0].certificates, [[10; 32], [10; 32]]);
    for (text, problem) in [
        (listener("smtp", asking), "means nothing for the service"),
        (listener("lmtp", asking), "means nothing for the service"),
        (listener("imap", &format!("{asking}\ntls = \"none\"")), "needs TLS"),
        (listener("imap", "client_certificates = \"none.pem\""), "none.pem"),
        (account("\"\""), "no SHA-256 fingerprint"),
        (account(&format!("\"{}\"", &plain[1..])), "no SHA-256 fingerprint"),
        (account(&format!("\"{plain}0\"")), "no SHA-256 fingerprint"),
        (account(&format!("\"+{}\"", &plain[1..])), "no SHA-256 fingerprint"),
        (account(&format!("\"é{}\"", &plain[2..])), "no SHA-256 fingerprint"),
    ] {
        let error = parsed(&text).unwrap_err().to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
}
