use hickory_server::proto::{
    rr::{Name, RData, RecordType},
    serialize::txt::Parser,
};

use super::*;

const LISTENERS: &str = r#"
[[listener]]
service = "smtp"
address = "0.0.0.0:25"
tls = "none"
[[listener]]
service = "submission"
address = "0.0.0.0:587"
[[listener]]
service = "submission"
address = "0.0.0.0:465"
tls = "implicit"
[[listener]]
service = "imap"
address = "0.0.0.0:1993"
tls = "implicit"
[[listener]]
service = "imap"
address = "192.0.2.1:993"
tls = "implicit"
[[listener]]
service = "pop3"
address = "127.0.0.1:995"
tls = "implicit"
"#;

fn config(more: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    for file in ["c.pem", "k.pem"] {
        std::fs::write(folder.path().join(file), "").unwrap();
    }
    let text = format!(
        "hostname = \"mx.example.org\"\nstate_dir = \"state\"\n[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n{LISTENERS}{more}"
    );
    waypost_config::parse(&folder.path().join("x.toml"), &text).unwrap_or_else(|error| panic!("{error}"))
}

fn key(selector: &str, state: &str, bytes: usize) -> DkimLine {
    DkimLine {
        domain: "example.org".into(),
        selector: selector.into(),
        algorithm: "rsa".into(),
        state: state.into(),
        in_file: false,
        created: None,
        activated: None,
        retired: None,
        name: format!("{selector}._domainkey.example.org"),
        record: format!("v=DKIM1; k=rsa; p={}", "A".repeat(bytes)),
    }
}

fn zone(config: &Config, keys: &[DkimLine]) -> String {
    let lines = lines(config, &config.domains[0], keys);
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What a server would read of it: name, type and data of each record.
fn read(text: &str) -> Vec<(String, RecordType, String)> {
    let soa = "example.org. 3600 IN SOA ns.example.org. root.example.org. 1 3600 600 86400 60\n";
    let origin = Name::from_ascii("example.org.").unwrap();
    let (_, sets) = Parser::new(format!("{soa}{text}"), None, Some(origin)).parse().unwrap();
    let mut records = Vec::new();
    for record in sets.values().flat_map(|set| set.records_without_rrsigs()) {
        let data = match &record.data {
            RData::TXT(txt) => {
                assert!(txt.txt_data.iter().all(|part| part.len() <= STRING_BYTES_MAX));
                String::from_utf8(txt.txt_data.concat()).unwrap()
            }
            other => other.to_string(),
        };
        records.push((record.name.to_string(), record.record_type(), data));
    }
    records.retain(|(_, kind, _)| *kind != RecordType::SOA);
    records
}

#[test]
fn a_server_reads_what_the_configuration_serves() {
    let config = config("[[domain]]\nname = \"example.org\"\n[queue]\nsource_addresses = [\"192.0.2.7\"]\n");
    let keys = [key("rsa-1", "active", 392), key("ed-1", "retired", 44), key("filed", "unused", 44)];
    let records = read(&zone(&config, &keys));
    let of = |name: &str, kind| -> Vec<&str> {
        let name = format!("{name}example.org.");
        let found = records.iter().filter(|(found, of, _)| *found == name && *of == kind);
        found.map(|(_, _, data)| data.as_str()).collect()
    };
    use RecordType::{MX, SRV, TXT};
    for (name, kind, data) in [
        ("", MX, "10 mx.example.org."),
        ("", TXT, "v=spf1 mx ip4:192.0.2.7 ~all"),
        ("mx.", TXT, "v=spf1 a ip4:192.0.2.7 -all"),
        ("rsa-1._domainkey.", TXT, &keys[0].record),
        ("ed-1._domainkey.", TXT, &keys[1].record),
        ("_dmarc.", TXT, "v=DMARC1; p=quarantine; rua=mailto:postmaster@example.org"),
        ("_smtp._tls.", TXT, "v=TLSRPTv1; rua=mailto:postmaster@example.org"),
        ("_submissions._tcp.", SRV, "0 1 465 mx.example.org."),
        ("_submission._tcp.", SRV, "10 1 587 mx.example.org."),
        ("_imaps._tcp.", SRV, "0 1 993 mx.example.org."),
        ("_imap._tcp.", SRV, "0 0 0 ."),
        ("_pop3s._tcp.", SRV, "0 0 0 ."),
        ("_pop3._tcp.", SRV, "0 0 0 ."),
    ] {
        assert_eq!(of(name, kind), [data], "{name} {kind}");
    }
    assert_eq!(records.len(), 13, "{records:?}");
}

#[test]
fn what_a_listener_for_https_serves_has_records() {
    let https = "[[listener]]\nservice = \"http\"\naddress = \"0.0.0.0:443\"\n";
    let config = config(&format!("[[domain]]\nname = \"example.org\"\n{https}"));
    let records = read(&zone(&config, &[]));
    let id = policy::id(&policy::text(&config, &config.domains[0]));
    for (name, kind, data) in [
        ("mta-sts", RecordType::CNAME, "mx.example.org."),
        ("_mta-sts", RecordType::TXT, &*format!("v=STSv1; id={id}")),
        ("autoconfig", RecordType::CNAME, "mx.example.org."),
        ("autodiscover", RecordType::CNAME, "mx.example.org."),
        ("_autodiscover._tcp", RecordType::SRV, "0 1 443 autodiscover.example.org."),
    ] {
        let record = (format!("{name}.example.org."), kind, data.to_owned());
        assert!(records.contains(&record), "{record:?} {records:?}");
    }
}

#[test]
fn what_cannot_be_known_is_said() {
    let text = zone(&config("[[domain]]\nname = \"example.org\"\n"), &[]);
    for said in [
        "; mail is not signed: `waypost dkim new example.org` makes keys\n",
        "v=DMARC1; p=none; ",
        "; https://mta-sts.example.org/.well-known/mta-sts.txt\n",
        ";     mx: mx.example.org\n",
        ";     _mta-sts.example.org. 3600 IN TXT \"v=STSv1; id=",
    ] {
        assert!(text.contains(said), "{said}\n{text}");
    }
    assert!(!text.contains("\n_mta-sts"), "nobody serves the policy");
    let smarthost = "[[domain]]\nname = \"other.test\"\n[[route]]\ndomain = \"*\"\nnext_hop = \"out.test\"\n";
    let text = zone(&config(smarthost), &[]);
    assert!(text.contains("; a [[route]] sends mail by another server"), "{text}");
    assert!(!text.contains("v=spf1 a"), "the host is in another zone");
    let backup = config("[[domain]]\nname = \"example.org\"\nrelay_to = \"192.0.2.9:25\"\n");
    let records = read(&zone(&backup, &[]));
    assert_eq!(records, [("example.org.".to_owned(), RecordType::MX, "20 mx.example.org.".to_owned())]);
}

#[test]
fn long_texts_are_split_and_quoted() {
    assert_eq!(txt("a.test", "x"), "a.test. 3600 IN TXT \"x\"");
    assert_eq!(txt("a.test", r#"a"b\c"#), r#"a.test. 3600 IN TXT "a\"b\\c""#);
    let (full, more) = ("x".repeat(255), "x".repeat(256));
    assert_eq!(txt("a.test", &full), format!("a.test. 3600 IN TXT \"{full}\""));
    assert_eq!(txt("a.test", &more), format!("a.test. 3600 IN TXT \"{full}\" \"x\""));
}
