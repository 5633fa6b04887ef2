//! Tables: what is known of a server, and what is demanded of it.

use std::time::Duration;

use waypost_net::TlsaRecord;

use super::*;

const HOST: &str = "mx.b.test";

/// Everything that an input refers to.
struct World {
    level: Option<TlsLevel>,
    exchangers: Vec<String>,
    lost: LostTls,
    wish: Wish,
    mx: Security,
    addresses: HostSecurity,
    tlsa: Tlsa,
    sts: Option<StsPolicy>,
    standing: Standing,
}

/// Nothing signed, nothing published.
fn world() -> World {
    World {
        level: None,
        exchangers: Vec::new(),
        lost: LostTls::Warn,
        wish: Wish::Usual,
        mx: Security::Insecure,
        addresses: HostSecurity::Insecure,
        tlsa: Tlsa::None,
        sts: None,
        standing: Standing::default(),
    }
}

fn signed() -> World {
    World { mx: Security::Secure, addresses: HostSecurity::Secure { canonical: None }, ..world() }
}

impl World {
    fn policy(&self) -> TlsPolicy {
        let domain = Domain::new("b.test").unwrap();
        policy(&Inputs {
            level: self.level,
            exchangers: &self.exchangers,
            lost: self.lost,
            wish: self.wish,
            domain: &domain,
            host: HOST,
            mx: self.mx,
            addresses: &self.addresses,
            base: HOST,
            tlsa: &self.tlsa,
            sts: self.sts.as_ref(),
            standing: self.standing,
        })
    }

    /// The demand in short, what follows where it is not met, and whether the name is sure.
    fn short(&self) -> (String, OnFailure, bool) {
        let policy = self.policy();
        assert!(!policy.reasons.is_empty() && policy.reasons.iter().all(|reason| !reason.is_empty()));
        let demand = match policy.demand {
            Demand::NoTls => "none".to_owned(),
            Demand::Offered => "offered".to_owned(),
            Demand::Encrypted => "encrypted".to_owned(),
            Demand::Named(names) => format!("named {}", names.join(",")),
            Demand::Dane { base, dane } => {
                format!("dane {base} {} for {}", dane.records().len(), dane.names().join(","))
            }
            Demand::Unusable(Obstacle::TlsaUnknown(_)) => "TLSA unknown".to_owned(),
            Demand::Unusable(Obstacle::AddressesUnknown(_)) => "addresses unknown".to_owned(),
            Demand::Unusable(obstacle) => format!("{obstacle:?}"),
        };
        (demand, policy.failure, policy.authentic)
    }
}

fn record(usage: u8) -> TlsaRecord {
    TlsaRecord { usage, selector: 1, matching: 1, data: vec![7; 32] }
}

fn usable() -> Tlsa {
    Tlsa::Records(vec![record(3), record(2), record(1)])
}

fn unusable() -> Tlsa {
    Tlsa::Records(vec![record(0), record(1)])
}

fn failed() -> Tlsa {
    Tlsa::Failed("SERVFAIL".into())
}

fn sts(mode: Mode, exchanger: &str) -> Option<StsPolicy> {
    Some(StsPolicy { mode, exchangers: vec![exchanger.into()], max_age: Duration::from_secs(1) })
}

fn check(cases: Vec<(&str, World, &str, OnFailure, bool)>) {
    for (what, world, demand, failure, authentic) in cases {
        assert_eq!(world.short(), (demand.to_owned(), failure, authentic), "{what}");
    }
}

use OnFailure::{FallBack, Never, TryLater};

const DANE: &str = "dane mx.b.test 2 for mx.b.test,b.test";

#[test]
fn dane_is_what_signed_records_say() {
    check(vec![
        ("nothing published", world(), "offered", FallBack, false),
        ("nothing published, signed", signed(), "offered", FallBack, true),
        ("usable", World { tlsa: usable(), ..signed() }, DANE, TryLater, true),
        ("none usable", World { tlsa: unusable(), ..signed() }, "encrypted", TryLater, true),
        (
            "only the alias is signed",
            World { tlsa: usable(), addresses: HostSecurity::OnlyAlias, ..signed() },
            DANE,
            TryLater,
            true,
        ),
        // it protects the way to the server, not which server that is
        (
            "exchangers not signed",
            World { tlsa: usable(), mx: Security::Insecure, ..signed() },
            DANE,
            TryLater,
            false,
        ),
        (
            "addresses not signed",
            World { tlsa: usable(), addresses: HostSecurity::Insecure, ..signed() },
            "offered",
            FallBack,
            true,
        ),
    ]);
}

/// RFC 7672 section 2.1.2: a server is not used where a look-up that leads to its TLSA records fails.
#[test]
fn what_cannot_be_looked_up_is_not_taken_for_nothing() {
    let bogus = || HostSecurity::Failed("bogus".into());
    let insecure = |world: World| World { mx: Security::Insecure, ..world };
    let alias = || World { tlsa: failed(), addresses: HostSecurity::OnlyAlias, ..signed() };
    check(vec![
        ("records not known", World { tlsa: failed(), ..signed() }, "TLSA unknown", TryLater, true),
        ("records of an alias not known", alias(), "TLSA unknown", TryLater, true),
        // section 2.2.1: they need not be asked for then; who asks does as for any other
        (
            "records not known, exchangers not signed",
            insecure(World { tlsa: failed(), ..signed() }),
            "TLSA unknown",
            TryLater,
            false,
        ),
        ("addresses bogus", World { addresses: bogus(), ..signed() }, "addresses unknown", TryLater, true),
        (
            "addresses bogus, exchangers not signed",
            insecure(World { addresses: bogus(), ..signed() }),
            "addresses unknown",
            TryLater,
            false,
        ),
        (
            "addresses bogus, and a policy of MTA-STS",
            World { addresses: bogus(), sts: sts(Mode::Enforce, "*.b.test"), ..signed() },
            "addresses unknown",
            TryLater,
            true,
        ),
        // section 2.2.2: servers that do not sign may know no such records, and fail
        (
            "addresses not signed",
            World { tlsa: failed(), addresses: HostSecurity::Insecure, ..signed() },
            "offered",
            FallBack,
            true,
        ),
        // the operator's way out
        (
            "the operator wants it sent",
            World { level: Some(TlsLevel::Opportunistic), addresses: bogus(), ..signed() },
            "offered",
            FallBack,
            true,
        ),
        (
            "the sender wants it sent",
            World { wish: Wish::Optional, addresses: bogus(), ..signed() },
            "offered",
            FallBack,
            true,
        ),
        (
            "the sender wants it sent in safety",
            World { wish: Wish::Required, addresses: bogus(), ..signed() },
            "addresses unknown",
            TryLater,
            true,
        ),
    ]);
}

#[test]
fn mta_sts_comes_behind_dane() {
    let (enforce, testing) = (|| sts(Mode::Enforce, "*.b.test"), || sts(Mode::Testing, "*.b.test"));
    check(vec![
        ("enforce", World { sts: enforce(), ..world() }, "named mx.b.test", TryLater, true),
        (
            "another exchanger",
            World { sts: sts(Mode::Enforce, "mx.c.test"), ..world() },
            "NotNamed",
            TryLater,
            true,
        ),
        ("testing", World { sts: testing(), ..world() }, "offered", FallBack, true),
        (
            "testing, another exchanger",
            World { sts: sts(Mode::Testing, "mx.c.test"), ..world() },
            "offered",
            FallBack,
            false,
        ),
        ("none", World { sts: sts(Mode::None, "mx.b.test"), ..world() }, "offered", FallBack, false),
        ("both", World { sts: enforce(), tlsa: usable(), ..signed() }, DANE, TryLater, true),
        (
            "DANE does not allow what MTA-STS does not",
            World { sts: sts(Mode::Enforce, "mx.c.test"), tlsa: usable(), ..signed() },
            DANE,
            TryLater,
            true,
        ),
        (
            "a failure of DANE is not mended",
            World { sts: enforce(), tlsa: failed(), ..signed() },
            "TLSA unknown",
            TryLater,
            true,
        ),
        (
            "unusable records are less than a policy",
            World { sts: enforce(), tlsa: unusable(), ..signed() },
            "named mx.b.test",
            TryLater,
            true,
        ),
        (
            "and more than none",
            World { sts: testing(), tlsa: unusable(), ..signed() },
            "encrypted",
            TryLater,
            true,
        ),
    ]);
    assert!(matches!(World { sts: testing(), ..world() }.policy().basis, Basis::Sts(_)));
    assert!(matches!(World { sts: sts(Mode::None, "x.test"), ..world() }.policy().basis, Basis::Nothing));
}

#[test]
fn the_operator_has_the_first_word() {
    let level = |level, world: World| World { level: Some(level), ..world };
    let own = |name: &str| World { level: Some(TlsLevel::Verify), exchangers: vec![name.into()], ..world() };
    let enforced = || World { sts: sts(Mode::Enforce, HOST), ..world() };
    check(vec![
        ("none", level(TlsLevel::None, enforced()), "none", FallBack, false),
        (
            "opportunistic, DANE",
            level(TlsLevel::Opportunistic, World { tlsa: failed(), ..signed() }),
            "offered",
            FallBack,
            true,
        ),
        ("opportunistic, MTA-STS", level(TlsLevel::Opportunistic, enforced()), "offered", FallBack, false),
        ("encrypt", level(TlsLevel::Encrypt, world()), "encrypted", TryLater, false),
        ("encrypt, MTA-STS", level(TlsLevel::Encrypt, enforced()), "named mx.b.test", TryLater, true),
        (
            "encrypt, DANE",
            level(TlsLevel::Encrypt, World { tlsa: usable(), ..signed() }),
            DANE,
            TryLater,
            true,
        ),
        ("verify", level(TlsLevel::Verify, world()), "named mx.b.test,b.test", TryLater, false),
        ("verify, signed", level(TlsLevel::Verify, signed()), "named mx.b.test,b.test", TryLater, true),
        (
            "verify, unusable records",
            level(TlsLevel::Verify, World { tlsa: unusable(), ..signed() }),
            "named mx.b.test,b.test",
            TryLater,
            true,
        ),
        ("own exchangers", own("*.b.test"), "named mx.b.test", TryLater, true),
        ("not one of them", own("mx.c.test"), "NotNamed", TryLater, true),
        ("dane", level(TlsLevel::Dane, World { tlsa: usable(), ..signed() }), DANE, TryLater, true),
        ("dane, no records", level(TlsLevel::Dane, enforced()), "NoTlsa", TryLater, false),
        (
            "dane, not known",
            level(TlsLevel::Dane, World { tlsa: failed(), ..signed() }),
            "TLSA unknown",
            TryLater,
            true,
        ),
    ]);
}

#[test]
fn a_message_may_be_told_to_go_without_and_to_go_with() {
    let optional = |world: World| World { wish: Wish::Optional, ..world };
    let required = |world: World| World { wish: Wish::Required, ..world };
    let enforced = || World { sts: sts(Mode::Enforce, HOST), ..world() };
    check(vec![
        ("optional, DANE", optional(World { tlsa: usable(), ..signed() }), "offered", FallBack, true),
        ("optional, MTA-STS", optional(enforced()), "offered", FallBack, false),
        ("optional, not known", optional(World { tlsa: failed(), ..signed() }), "offered", FallBack, true),
        (
            "optional, the operator's word",
            optional(World { level: Some(TlsLevel::Encrypt), ..world() }),
            "encrypted",
            TryLater,
            false,
        ),
        ("required, DANE", required(World { tlsa: usable(), ..signed() }), DANE, Never, true),
        (
            "required, DANE, which exchanger is not sure",
            required(World { tlsa: usable(), mx: Security::Insecure, ..signed() }),
            "NotSure",
            Never,
            false,
        ),
        ("required, MTA-STS", required(enforced()), "named mx.b.test", Never, true),
        ("required, signed", required(signed()), "named mx.b.test", Never, true),
        ("required, nothing", required(world()), "NotSure", Never, false),
        (
            "required, none",
            required(World { level: Some(TlsLevel::None), ..signed() }),
            "NotSure",
            Never,
            true,
        ),
        (
            "required, not known",
            required(World { tlsa: failed(), ..signed() }),
            "TLSA unknown",
            TryLater,
            true,
        ),
    ]);
}

#[test]
fn what_was_good_is_demanded_where_the_operator_wants_it() {
    let was =
        |lost, encrypted, verified| World { lost, standing: Standing { encrypted, verified }, ..world() };
    check(vec![
        ("defer, verified", was(LostTls::Defer, true, true), "named mx.b.test", TryLater, false),
        ("defer, encrypted", was(LostTls::Defer, true, false), "encrypted", TryLater, false),
        ("defer, nothing yet", was(LostTls::Defer, false, false), "offered", FallBack, false),
        ("warn", was(LostTls::Warn, true, true), "offered", FallBack, false),
        ("ignore", was(LostTls::Ignore, true, true), "offered", FallBack, false),
    ]);
}

#[test]
fn a_next_hop_has_what_its_route_says() {
    let named = || Demand::Named(vec!["smart.test".into()]);
    for (level, demand, failure) in [
        (TlsLevel::None, Demand::NoTls, FallBack),
        (TlsLevel::Opportunistic, Demand::Offered, FallBack),
        (TlsLevel::Encrypt, Demand::Encrypted, TryLater),
        (TlsLevel::Verify, named(), TryLater),
    ] {
        let policy = next_hop_policy(level, vec!["smart.test".into()]);
        assert_eq!((policy.demand, policy.failure, policy.authentic), (demand, failure, true), "{level:?}");
    }
}

#[test]
fn a_policy_says_itself_in_words() {
    for (world, text) in [
        (
            World { tlsa: usable(), ..signed() },
            "TLS with a certificate by the TLSA records of mx.b.test (DANE), else the mail waits \
             (mx.b.test has 2 TLSA records that can be used)",
        ),
        (
            world(),
            "TLS where offered, with any certificate, else without \
             (TLS where it is offered; no DANE: the addresses of mx.b.test are not signed)",
        ),
        (
            World { sts: sts(Mode::Enforce, "mx.c.test"), ..signed() },
            "not used: it is not one of the exchangers that the domain's policy names; the mail waits \
             (MTA-STS, mode enforce; no DANE: mx.b.test has no TLSA records)",
        ),
        (World { level: Some(TlsLevel::None), ..world() }, "no TLS (the configuration says \"none\")"),
    ] {
        assert_eq!(world.policy().to_string(), text);
    }
}

#[test]
fn a_policy_says_itself_in_json() {
    let json = |world: World| serde_json::to_value(world.policy()).unwrap();
    let dane = json(World { tlsa: usable(), ..signed() });
    assert_eq!(
        (&dane["demand"], &dane["failure"], &dane["basis"]),
        (&"dane".into(), &"later".into(), &"tlsa".into())
    );
    assert_eq!(dane["names"], serde_json::json!(["mx.b.test", "b.test"]));
    assert_eq!(dane["records"].as_array().map(Vec::len), Some(3));
    assert_eq!((&dane["authentic"], &dane["obstacle"]), (&true.into(), &serde_json::Value::Null));
    let unused = json(World { sts: sts(Mode::Enforce, "mx.c.test"), ..world() });
    assert_eq!((&unused["demand"], &unused["basis"]), (&"unusable".into(), &"sts".into()));
    assert!(unused["obstacle"].as_str().unwrap().contains("exchangers"), "{unused}");
}

#[test]
fn a_message_wishes_what_its_sender_asked_for() {
    let sender = ReversePath::Address(waypost_mail::Address::parse("s@a.test").unwrap());
    for (require_tls, tls_optional, from_someone, from_nobody) in [
        (false, false, Wish::Usual, Wish::Usual),
        (false, true, Wish::Optional, Wish::Optional),
        // RFC 8689 section 4.1: the option goes before the field
        (true, true, Wish::Required, Wish::Usual),
        // section 5: a notification is not lost for it
        (true, false, Wish::Required, Wish::Usual),
    ] {
        let wishes = Wishes { require_tls, tls_optional, ..Wishes::default() };
        assert_eq!(Wish::of(&wishes, &sender), from_someone, "{wishes:?}");
        assert_eq!(Wish::of(&wishes, &ReversePath::Null), from_nobody, "{wishes:?}");
    }
}
