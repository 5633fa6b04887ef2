#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

use std::path::Path;

use super::*;

const LISTENERS: &str = "
[[listener]]
service = \"imap\"
address = \"0.0.0.0:993\"
tls = \"implicit\"
[[listener]]
service = \"imap\"
address = \"0.0.0.0:143\"
[[listener]]
service = \"pop3\"
address = \"127.0.0.1:995\"
tls = \"implicit\"
[[listener]]
service = \"submission\"
address = \"0.0.0.0:587\"
";

fn config(domains: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    for file in ["cert.pem", "key.pem"] {
        std::fs::write(folder.path().join(file), "").unwrap();
    }
    let head = "hostname = \"mx.a.test\"\nstate_dir = \"state\"\n[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";
    let file = folder.path().join("waypost.toml");
    waypost_config::parse(Path::new(&file), &format!("{head}{LISTENERS}{domains}")).unwrap()
}

fn ask(config: &Config, host: &str, path: &str) -> HttpReply {
    reply(config, true, &HttpQuery { host: host.into(), path: path.into(), body: None })
}

fn post(config: &Config, host: &str, path: &str) -> HttpReply {
    reply(config, true, &HttpQuery { host: host.into(), path: path.into(), body: Some("<x/>".into()) })
}

const TWO: &str = "[[domain]]\nname = \"a.test\"\n[[domain]]\nname = \"b.test\"\nmta_sts = \"enforce\"\n\
                   [[domain]]\nname = \"old.test\"\nmta_sts = \"none\"\n[[domain]]\nname = \"backup.test\"\nrelay_to = \"192.0.2.9:25\"\n";

#[test]
fn a_policy_is_that_of_its_domain() {
    let config = config(TWO);
    for (host, mode, max_age) in [
        ("mta-sts.a.test", "testing", 604_800),
        ("mta-sts.b.test", "enforce", 604_800),
        ("mta-sts.old.test", "none", 86_400),
    ] {
        let found = ask(&config, host, "/.well-known/mta-sts.txt");
        let expected = format!("version: STSv1\r\nmode: {mode}\r\nmx: mx.a.test\r\nmax_age: {max_age}\r\n");
        assert_eq!((found.status, found.body), (200, expected), "{host}");
        assert!(found.content_type.starts_with("text/plain"), "RFC 8461 section 3.2");
    }
    for host in [
        "a.test",
        "mta-sts.c.test",
        "mta-sts.backup.test",
        "mta-sts.",
        "",
        "mta-sts.mta-sts.a.test",
        "xmta-sts.a.test",
    ] {
        assert_eq!(ask(&config, host, "/.well-known/mta-sts.txt").status, 404, "{host}");
    }
    let ids: Vec<_> =
        config.domains[..3].iter().map(|domain| policy::id(&policy::text(&config, domain))).collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2], "another policy has another id: {ids:?}");
}

#[test]
fn thunderbird_is_told_what_can_be_reached() {
    let config = config(TWO);
    let found = ask(&config, "autoconfig.a.test", "/mail/config-v1.1.xml");
    assert_eq!((found.status, found.content_type), (200, XML));
    for (there, part) in [
        (true, "<domain>a.test</domain>"),
        (
            true,
            "<incomingServer type=\"imap\">\n      <hostname>mx.a.test</hostname>\n      <port>993</port>\n      <socketType>SSL</socketType>",
        ),
        (true, "<port>143</port>\n      <socketType>STARTTLS</socketType>"),
        (
            true,
            "<outgoingServer type=\"smtp\">\n      <hostname>mx.a.test</hostname>\n      <port>587</port>\n      <socketType>STARTTLS</socketType>",
        ),
        (true, "<username>%EMAILADDRESS%</username>"),
        (false, "pop3"),
    ] {
        assert_eq!(found.body.contains(part), there, "{part}\n{}", found.body);
    }
    assert_eq!(ask(&config, "a.test", "/.well-known/autoconfig/mail/config-v1.1.xml"), found);
    assert_eq!(ask(&config, "autoconfig.c.test", "/mail/config-v1.1.xml").status, 404);
    assert_eq!(post(&config, "autoconfig.a.test", "/mail/config-v1.1.xml").status, 404);
}

#[test]
fn outlook_is_told_one_way_to_each_service() {
    let config = config(TWO);
    let found = post(&config, "autodiscover.b.test", "/Autodiscover/Autodiscover.xml");
    assert_eq!((found.status, found.content_type), (200, XML));
    assert_eq!(found.body.matches("<Protocol>").count(), 2, "{}", found.body);
    for part in [
        "<Type>IMAP</Type>",
        "<Port>993</Port>",
        "<Encryption>SSL</Encryption>",
        "<Type>SMTP</Type>",
        "<Port>587</Port>",
        "<Encryption>TLS</Encryption>",
    ] {
        assert!(found.body.contains(part), "{part}\n{}", found.body);
    }
    assert_eq!(post(&config, "autodiscover.c.test", autodiscover::PATH).status, 404);
    assert_eq!(ask(&config, "autodiscover.a.test", autodiscover::PATH).status, 404);
}

#[test]
fn the_rest_is_missing_and_health_is_told() {
    let config = config(TWO);
    for path in ["/", "/../etc/passwd", "/.well-known/", "/health/", "//health"] {
        assert_eq!(ask(&config, "a.test", path).status, 404, "{path}");
    }
    let health = |is_well| {
        reply(&config, is_well, &HttpQuery { path: "/health".into(), ..HttpQuery::default() }).status
    };
    assert_eq!((health(true), health(false)), (200, 503));
}
