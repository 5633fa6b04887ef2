//! Of the directory.

use waypost_mail::{AccountCertificate, Timestamp};

use super::*;

const CONFIG: &str = r#"
        hostname = "mx.a.test"
        state_dir = "state"
        [[listener]]
        service = "smtp"
        address = "127.0.0.1:0"
        tls = "none"
        [[domain]]
        name = "a.test"
        [[domain]]
        name = "c.test"
        catch_all = "Alice@a.test"
        separator = ""
        [[domain]]
        name = "backup.test"
        relay_to = "192.0.2.1:25"
        [[account]]
        address = "Alice@a.test"
        password = "open sesame"
        quota = "1 MiB"
        certificate_sha256 = ["0707070707070707070707070707070707070707070707070707070707070707"]
        [[account]]
        address = "new@a.test"
        password = "x"
        [[alias]]
        from = "team@a.test"
        to = ["alice@a.test", "bob@a.test", "far@elsewhere.test", "again@a.test"]
        [[alias]]
        from = "again@a.test"
        to = ["team@a.test", "x@backup.test"]
        [[alias]]
        from = "void@a.test"
        to = ["nobody@a.test"]
    "#;

pub(crate) fn record(id: u64, address: &str, source: AccountSource) -> AccountRecord {
    let secrets = (source == AccountSource::Store).then(|| crate::Secrets::of("bob's").unwrap());
    let phone = AppPassword {
        name: "telephone".into(),
        hash: app_password::hash("bobs-telephone"),
        services: vec![LoginService::Imap, LoginService::Submission],
        created: Timestamp(0),
    };
    AccountRecord {
        id: AccountId(id),
        address: Address::parse(address).unwrap(),
        source,
        password_hash: secrets.as_ref().map(|secrets| secrets.password_hash.clone()),
        app_passwords: secrets.iter().map(|_| phone.clone()).collect(),
        scram_verifiers: secrets.map(|secrets| secrets.scram_verifiers).unwrap_or_default(),
        totp: None,
        apop: None,
        certificates: Vec::new(),
        quota_bytes: None,
    }
}

/// With codes for bob.
pub(crate) fn protected(secret: TotpSecret) -> Arc<Directory> {
    with_bob(|bob| bob.totp = Some(secret))
}

/// With certificates for bob, each of one octet.
pub(crate) fn certified(octets: &[u8]) -> Arc<Directory> {
    let certificate = |octet: &u8| AccountCertificate {
        name: octet.to_string(),
        sha256: [*octet; 32],
        added: Timestamp(0),
    };
    with_bob(|bob| bob.certificates = octets.iter().map(certificate).collect())
}

/// With an issuer of tokens.
pub(crate) fn with_issuer(issuer: waypost_config::OauthConfig) -> Arc<Directory> {
    let mut config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), CONFIG).unwrap();
    config.oauth = Some(issuer);
    Directory::new(&config, &[record(1, "alice@a.test", AccountSource::File)]).unwrap()
}

/// With a change of bob.
pub(crate) fn with_bob(change: impl FnOnce(&mut AccountRecord)) -> Arc<Directory> {
    let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), CONFIG).unwrap();
    let mut bob = record(2, "bob@a.test", AccountSource::Store);
    change(&mut bob);
    Directory::new(&config, &[record(1, "alice@a.test", AccountSource::File), bob]).unwrap()
}

pub(crate) fn directory() -> Arc<Directory> {
    let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), CONFIG).unwrap();
    let records = [
        record(1, "alice@a.test", AccountSource::File),
        record(2, "bob@a.test", AccountSource::Store),
        record(3, "gone@a.test", AccountSource::File),
        record(4, "x@no-longer.test", AccountSource::Store),
    ];
    Directory::new(&config, &records).unwrap()
}

fn resolve(address: &str) -> Resolution {
    directory().resolve(&Address::parse(address).unwrap())
}

fn accounts(ids: &[u64]) -> Resolution {
    let (accounts, none) = (ids.iter().map(|id| AccountId(*id)).collect(), Vec::new());
    Resolution::Deliver { accounts, remote: none.clone(), missing: none }
}

#[test]
fn addresses_lead_where_they_should() {
    for (address, expected) in [
        ("alice@a.test", accounts(&[1])),
        ("ALICE+lists@A.test", accounts(&[1])),
        ("postmaster@a.test", accounts(&[1])),
        ("Abuse@a.test", accounts(&[1])),
        ("anyone+x@c.test", accounts(&[1])),
        ("nobody@a.test", Resolution::UnknownUser),
        ("void@a.test", Resolution::UnknownUser),
        ("gone@a.test", Resolution::UnknownUser),
        ("new@a.test", Resolution::UnknownUser),
        ("x@backup.test", Resolution::BackupMx),
        ("x@no-longer.test", Resolution::Elsewhere),
        ("x@elsewhere.test", Resolution::Elsewhere),
    ] {
        assert_eq!(resolve(address), expected, "{address}");
    }
}

#[test]
fn the_way_of_an_address_is_told_step_by_step() {
    let address = |text: &str| Address::parse(text).unwrap();
    let step = |text: &str, means, leads| Step { address: address(text), means, leads };
    let steps = |text: &str| directory().steps(&address(text));
    let alice = Leads::Account(AccountId(1));
    for (text, means, leads) in [
        ("alice@a.test", Means::Itself, alice.clone()),
        ("Alice+lists@a.test", Means::Detail, alice.clone()),
        ("abuse@a.test", Means::Role, alice.clone()),
        ("nobody@a.test", Means::Itself, Leads::Nowhere),
        ("x@backup.test", Means::Itself, Leads::Elsewhere),
        ("x@elsewhere.test", Means::Itself, Leads::Elsewhere),
    ] {
        assert_eq!(steps(text), [step(text, means, leads)], "{text}");
    }
    let to_alice = Leads::Addresses(vec![address("Alice@a.test")]);
    assert_eq!(
        steps("any@c.test"),
        [step("any@c.test", Means::CatchAll, to_alice), step("Alice@a.test", Means::Itself, alice)]
    );
    // Each address once, though the aliases lead in a circle.
    let way: Vec<String> = steps("team@a.test").iter().map(|step| step.address.to_string()).collect();
    assert_eq!(
        way,
        ["team@a.test", "alice@a.test", "bob@a.test", "far@elsewhere.test", "again@a.test", "x@backup.test"]
    );
}

#[test]
fn addresses_beyond_ascii_and_rules_of_a_domain() {
    let more = r#"
            [[domain]]
            name = "bücher.test"
            separator = "-"
            catch_all = "Jörg@bücher.test"
            [[account]]
            address = "jörg@xn--bcher-kva.test"
            password = "x"
            [[alias]]
            from = "Größe@bücher.test"
            to = ["JÖRG@bücher.test", "bob@a.test", "ü@ö.test"]
        "#;
    let text = format!("{CONFIG}\n{more}");
    let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), &text).unwrap();
    let records =
        [record(2, "bob@a.test", AccountSource::Store), record(7, "jörg@bücher.test", AccountSource::File)];
    let directory = Directory::new(&config, &records).unwrap();
    let resolve = |address: &str| directory.resolve(&Address::parse(address).unwrap());
    for address in [
        "jörg@bücher.test",
        "JÖRG@BÜCHER.test",
        "Jörg@XN--BCHER-KVA.test",
        "jörg-ab-c@bücher.test",
        "postmaster@bücher.test",
        // Only by catch-all: the separator is another one here.
        "jörg+x@bücher.test",
        "кто-то@bücher.test",
    ] {
        assert_eq!(resolve(address), accounts(&[7]), "{address}");
    }
    let Resolution::Deliver { accounts, remote, .. } = resolve("gRÖße@bücher.test") else {
        panic!("it is an alias")
    };
    assert_eq!(accounts, [AccountId(7), AccountId(2)]);
    assert_eq!(remote[0].to_string(), "ü@xn--nda.test");
    let right = |address: &str| directory.send_right(AccountId(7), &Address::parse(address).unwrap());
    assert_eq!((right("JÖRG-x@bücher.test"), right("größe-x@bücher.test")), (Some(SendRight::Own), None));
    assert_eq!(directory.identity("JÖRG@bücher.test").unwrap().account, AccountId(7));
}

#[test]
fn a_login_name_means_an_account() {
    for (name, account) in
        [("ALICE@a.test", Some(1)), ("bob", Some(2)), ("gone@a.test", None), ("team@a.test", None)]
    {
        let identity = directory().identity(name);
        assert_eq!(identity.map(|identity| identity.account.0), account, "{name}");
    }
}

#[test]
fn aliases_lead_to_several_and_loops_end() {
    let Resolution::Deliver { accounts, remote, missing } = resolve("team@a.test") else {
        panic!("team is an alias")
    };
    assert_eq!(accounts, [AccountId(1), AccountId(2)]);
    assert_eq!(
        remote.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["far@elsewhere.test", "x@backup.test"]
    );
    assert!(missing.is_empty(), "{missing:?}");
}

/// The directory of the configuration with more in it.
fn with(more: &str, records: &[AccountRecord]) -> Arc<Directory> {
    let text = format!("{CONFIG}\n{more}");
    let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), &text).unwrap();
    Directory::new(&config, records).unwrap()
}

fn ends(directory: &Directory) -> Vec<String> {
    directory.dead_ends().iter().map(|end| format!("{} {}", end.from, end.to)).collect()
}

#[test]
fn what_an_alias_leads_to_in_vain_is_told() {
    let more = r#"
            [[alias]]
            from = "Some@a.test"
            to = ["alice@a.test", "Typo@a.test", "bob+x@a.test", "inner@a.test"]
            [[alias]]
            from = "inner@a.test"
            to = ["typo@a.test", "lost@a.test", "x@elsewhere.test", "x@backup.test", "x@c.test"]
            [[domain]]
            name = "d.test"
            catch_all = "nobody@d.test"
        "#;
    let records =
        [record(1, "alice@a.test", AccountSource::File), record(2, "bob@a.test", AccountSource::Store)];
    let directory = with(more, &records);
    let Resolution::Deliver { accounts, missing, .. } =
        directory.resolve(&Address::parse("some@a.test").unwrap())
    else {
        panic!("some is an alias")
    };
    assert_eq!(accounts, [AccountId(1), AccountId(2)]);
    assert_eq!(missing.iter().map(ToString::to_string).collect::<Vec<_>>(), ["Typo@a.test", "lost@a.test"]);
    assert_eq!(
        ends(&directory),
        [
            "@d.test nobody@d.test",
            "inner@a.test lost@a.test",
            "inner@a.test typo@a.test",
            "some@a.test Typo@a.test",
            "void@a.test nobody@a.test",
        ]
    );
    assert_eq!(ends(&self::directory()), ["void@a.test nobody@a.test"]);
}

#[test]
fn aliases_that_go_round_are_told() {
    let records =
        [record(1, "alice@a.test", AccountSource::File), record(2, "bob@a.test", AccountSource::Store)];
    let circles = r#"
            [[alias]]
            from = "self@a.test"
            to = ["Self@a.test"]
            [[alias]]
            from = "here@a.test"
            to = ["there@a.test"]
            [[alias]]
            from = "there@a.test"
            to = ["here@a.test"]
            [[alias]]
            from = "out@a.test"
            to = ["out@a.test", "alice@a.test"]
        "#;
    let directory = with(circles, &records);
    let expected = [
        "here@a.test there@a.test",
        "self@a.test Self@a.test",
        "there@a.test here@a.test",
        "void@a.test nobody@a.test",
    ];
    assert_eq!(ends(&directory), expected);
    assert_eq!(directory.resolve(&Address::parse("self@a.test").unwrap()), Resolution::UnknownUser);
}

/// RFC 5321 section 4.5.1.
#[test]
fn every_domain_has_a_postmaster_as_long_as_there_is_an_account() {
    let more = r#"
            [[domain]]
            name = "d.test"
            [[domain]]
            name = "e.test"
            catch_all = "nobody@e.test"
            [[domain]]
            name = "f.test"
            catch_all = "bob@a.test"
            [[alias]]
            from = "info@d.test"
            to = ["far@elsewhere.test"]
            [[alias]]
            from = "abuse@d.test"
            to = ["nobody@d.test"]
        "#;
    let records =
        [record(2, "bob@a.test", AccountSource::Store), record(1, "alice@a.test", AccountSource::File)];
    let directory = with(more, &records);
    let resolve = |directory: &Directory, text: &str| directory.resolve(&Address::parse(text).unwrap());
    for (address, expected) in [
        ("postmaster@d.test", accounts(&[1])),
        ("ABUSE@d.test", accounts(&[1])),
        ("abuse@e.test", accounts(&[1])),
        ("postmaster@f.test", accounts(&[2])),
        ("hostmaster@d.test", Resolution::UnknownUser),
        ("postmaster@backup.test", Resolution::BackupMx),
        ("postmaster@elsewhere.test", Resolution::Elsewhere),
    ] {
        assert_eq!(resolve(&directory, address), expected, "{address}");
    }
    let last = directory.steps(&Address::parse("abuse@d.test").unwrap()).pop().unwrap();
    assert_eq!((last.means, last.leads), (Means::Role, Leads::Account(AccountId(1))));
    assert!(!directory.has_no_account());
    let nobody = with(more, &[]);
    assert_eq!(resolve(&nobody, "postmaster@d.test"), Resolution::UnknownUser);
    assert!(nobody.has_no_account());
}

#[test]
fn an_alias_leads_to_all_its_addresses() {
    let targets: Vec<_> = (0..2_000).map(|n| format!("\"x{n}@elsewhere.test\"")).collect();
    let alias = format!("[[alias]]\nfrom = \"all@a.test\"\nto = [{}]", targets.join(", "));
    let text = format!("{CONFIG}\n{alias}");
    let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), &text).unwrap();
    let directory = Directory::new(&config, &[]).unwrap();
    let Resolution::Deliver { remote, .. } = directory.resolve(&Address::parse("all@a.test").unwrap()) else {
        panic!("all is an alias")
    };
    assert_eq!(remote.len(), targets.len());
}

#[test]
fn a_sender_must_get_the_mail_of_the_address_alone_or_be_granted_it() {
    let text = format!(
        "{CONFIG}\n[[send_as]]\naccounts = [\"BOB@a.test\"]\naddresses = [\"team@a.test\", \"@lists.test\"]\n\
         [[send_as]]\naccounts = [\"alice@a.test\", \"bob@a.test\"]\naddresses = [\"x@lists.test\"]\nadd_sender = false\n"
    );
    let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), &text).unwrap();
    let records =
        [record(1, "alice@a.test", AccountSource::File), record(2, "bob@a.test", AccountSource::Store)];
    let directory = Directory::new(&config, &records).unwrap();
    let (own, named, hidden) = (
        Some(SendRight::Own),
        Some(SendRight::Granted { add_sender: true }),
        Some(SendRight::Granted { add_sender: false }),
    );
    for (address, alice, bob) in [
        ("alice@a.test", own, None),
        ("ALICE+x@a.test", own, None),
        ("any@c.test", own, None),
        ("team@a.test", None, named),
        ("Team+x@a.test", None, named),
        ("x@lists.test", hidden, hidden),
        ("y@lists.test", None, named),
        ("x@more.lists.test", None, None),
        ("bob@elsewhere.test", None, None),
    ] {
        let parsed = Address::parse(address).unwrap();
        let rights = [1, 2].map(|id| directory.send_right(AccountId(id), &parsed));
        assert_eq!(rights, [alice, bob], "{address}");
    }
    let team = Address::parse("team@a.test").unwrap();
    assert_eq!(directory.send_right(AccountId(99), &team), None);
}

#[test]
fn scram_is_offered_where_it_works_for_all() {
    let config = |text: &str| waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), text).unwrap();
    let scram =
        |text: &str, records: &[AccountRecord]| Directory::new(&config(text), records).unwrap().scram();
    assert_eq!(directory().scram(), Scram::Offered);
    let alice = record(1, "alice@a.test", AccountSource::File);
    let mut bob = record(2, "bob@a.test", AccountSource::Store);
    let hashed = CONFIG.replace("\"open sesame\"", &format!("{:?}", bob.password_hash.as_ref().unwrap()));
    let hashed = hashed.replacen("password =", "password_hash =", 1);
    assert_eq!(scram(&hashed, std::slice::from_ref(&alice)), Scram::Absent, "the file holds a hash alone");
    assert_eq!(scram(CONFIG, &[alice.clone(), bob.clone()]), Scram::Offered);
    let odd = CONFIG.replace("open sesame", "open\\u0007sesame");
    assert_eq!(scram(&odd, &[alice.clone(), bob.clone()]), Scram::Absent, "SCRAM cannot carry the password");
    let mut protected = bob.clone();
    protected.totp = Some(TotpSecret(vec![7]));
    assert_eq!(scram(CONFIG, &[alice.clone(), protected]), Scram::Absent, "a proof has no code");
    bob.scram_verifiers.pop();
    assert_eq!(scram(CONFIG, &[alice.clone(), bob.clone()]), Scram::Absent, "a verifier is missing");
    bob.password_hash = None;
    assert_eq!(scram(CONFIG, &[alice, bob]), Scram::Offered, "who has no password needs no verifier");
}

#[test]
fn an_address_in_both_places_is_an_error() {
    let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), CONFIG).unwrap();
    let records = [record(1, "ALICE@a.test", AccountSource::Store)];
    let error = Directory::new(&config, &records).unwrap_err();
    assert!(matches!(error, DirectoryError::Twice(_)), "{error}");
    let directory = Directory::new(&config, &[]).unwrap();
    assert_eq!(directory.missing().len(), 2);
}
