//! Configurations that no server can serve by: each is refused with its place and its reason, and nothing is begun.

use std::{fs, net::TcpListener, path::Path};

use waypost_tests::{Client, Process, SiteBuilder, program};

const BAD_CONFIGURATION: i32 = 78;

/// What is put into a good file at its beginning or end, or instead of something, and what is said to it: place and reason.
const CASES: [(&str, &str, &str); 17] = [
    ("hostname = ", "hostnam = ", "waypost.toml:1:1: hostnam is not a known key; did you mean hostname?"),
    (
        "[limits]",
        "[limits]\nrecipient = 5",
        "limits.recipient is not a known key; did you mean limits.recipients?",
    ),
    ("[limits]", "[limit]\nx = 1\n[limits]", "limit is not a known key; did you mean limits?"),
    ("hostname = \"mx.a.test\"", "hostname = 5", "waypost.toml:1:12: "),
    (
        "hostname = \"mx.a.test\"",
        "hostname = \"mx a test\"",
        "waypost.toml:1:12: hostname: \"mx a test\" is not a domain",
    ),
    ("[limits]", "[limits]\nrecipients = \"many\"", "recipients"),
    ("[limits]", "[limits]\nrecipients = -1", "recipients"),
    ("[limits]", "[limits]\nrecipients = 1.5", "recipients"),
    ("[limits]", "[limits]\nconnections = 99999999999999999999", "waypost.toml:"),
    ("[limits]", "[limits]\nmessage_size = \"5 XB\"", "5 XB"),
    ("[queue]", "[queue]\nretry = \"5m\"", "retry"),
    ("[queue]", "[queue]\nretry = [5]", "retry"),
    ("[[domain]]", "[domain]", "domain"),
    ("service = \"imap\"", "service = \"gopher\"", "gopher"),
    (
        "address = \"127.0.0.1:0\"",
        "address = \"localhost\"",
        "\"localhost\" is not an IP address with a port",
    ),
    ("[tls]", "[tls", "waypost.toml:3:"),
    ("[limits]", "[limits]\nrecipients = 5\nrecipients = 6", "waypost.toml:"),
];

async fn refused(home: &Path, config: &Path, code: i32, expected: &str) {
    let config = config.to_str().unwrap();
    for args in [["config", "check", config], ["serve", "--config", config]] {
        let said = Client::new(program().to_str().unwrap(), home).args(args).output().await;
        assert_eq!(said.code, code, "{args:?}: {}", said.text);
        assert!(said.text.contains(expected), "{args:?}: {expected:?} is not in\n{}", said.text);
        assert!(!said.text.contains("panicked") && !said.text.contains("ready "), "{}", said.text);
    }
    assert!(!home.join("state").exists(), "nothing is begun by a bad configuration");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_configurations_are_refused_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let config = SiteBuilder::new("a.test").write(home);
    let good = fs::read_to_string(&config).unwrap();
    for (from, to, expected) in CASES {
        assert!(good.contains(from), "{from}");
        fs::write(&config, good.replacen(from, to, 1)).unwrap();
        refused(home, &config, BAD_CONFIGURATION, expected).await;
    }
    let many = (0..10_000).map(|number| format!("key{number} = 1\n")).collect::<String>();
    fs::write(&config, many + &good).unwrap();
    refused(home, &config, BAD_CONFIGURATION, "waypost.toml:10000:1: key9999 is not a known key").await;
    fs::write(&config, format!("x = {}", "[".repeat(100_000))).unwrap();
    refused(home, &config, BAD_CONFIGURATION, "waypost.toml:1:").await;
    fs::write(&config, b"hostname = \"\xff\xfe\"\n").unwrap();
    refused(home, &config, BAD_CONFIGURATION, "waypost.toml").await;
    fs::remove_file(&config).unwrap();
    refused(home, &config, BAD_CONFIGURATION, "No such file").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_relay_does_not_serve() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let networks: Vec<String> = (1..224).map(|first| format!("\"{first}.0.0.0/8\"")).collect();
    let networks = networks.join(", ");
    let expected = "this would be an open relay: from most IPv4 addresses of the Internet anyone could send";
    let trusting = SiteBuilder::new("a.test").with(&format!("[[trust]]\nnetworks = [{networks}]"));
    refused(home, &trusting.write(home), BAD_CONFIGURATION, expected).await;
    let believing = SiteBuilder::new("a.test").listeners("smtp", &format!("xclient = [{networks}]"));
    refused(home, &believing.write(home), BAD_CONFIGURATION, expected).await;
    // One that serves does not become one.
    let config = SiteBuilder::new("a.test").with("[[trust]]\nnetworks = [\"172.16.0.0/12\"]").write(home);
    let server = Process::serve(&program(), &config).await;
    server.logs("very wide private network").await;
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"172.16.0.0/12\"", &networks)).unwrap();
    server.signal("HUP").await;
    server.logs("the old configuration goes on serving: this would be an open relay").await;
    server.signal("TERM").await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_missing_or_broken() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let config = SiteBuilder::new("a.test").write(home);
    for (file, text) in [
        ("cert.pem", Some("")),
        ("key.pem", Some("-----BEGIN PRIVATE KEY-----\nAA\n")),
        ("cert.pem", None),
        ("key.pem", None),
    ] {
        let kept = fs::read(home.join(file)).unwrap();
        match text {
            Some(text) => fs::write(home.join(file), text).unwrap(),
            None => fs::remove_file(home.join(file)).unwrap(),
        }
        refused(home, &config, BAD_CONFIGURATION, file).await;
        fs::write(home.join(file), kept).unwrap();
    }
}

/// `config check` refuses a certificate that is out of date; a server that has one warns and serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_have_expired() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let config = SiteBuilder::new("a.test").write(home);
    let mut params = rcgen::CertificateParams::new(["mx.a.test".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(home.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(home.join("key.pem"), key.serialize_pem()).unwrap();
    let checked =
        Client::new(program().to_str().unwrap(), home).args(["config", "check", config.to_str().unwrap()]);
    let checked = checked.output().await;
    assert_eq!(checked.code, BAD_CONFIGURATION, "{}", checked.text);
    assert!(checked.text.contains("cert.pem: holds a certificate that has expired"), "{}", checked.text);
    let server = Process::serve(&program(), &config).await;
    server.logs("holds a certificate that has expired").await;
    server.signal("TERM").await;
    assert_eq!(server.end().await.0, Some(0));
}

/// Each port in turn is taken: the server says which, and lets go of all it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let config = SiteBuilder::new("a.test").write(home);
    let good = fs::read_to_string(&config).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let pieces: Vec<&str> = good.split("127.0.0.1:0").collect();
    for at in [1, pieces.len() / 2, pieces.len() - 1] {
        let text =
            format!("{}{address}{}", pieces[..at].join("127.0.0.1:0"), pieces[at..].join("127.0.0.1:0"));
        fs::write(&config, text).unwrap();
        let args = ["serve", "--config", config.to_str().unwrap()];
        let said = Client::new(program().to_str().unwrap(), home).args(args).output().await;
        assert_eq!(said.code, 1, "{}", said.text);
        assert!(
            said.text.contains(&format!("cannot listen on {address}: Address already in use")),
            "{}",
            said.text
        );
    }
    drop(taken);
    // The last of these files is good now.
    let server = Process::serve(&program(), &config).await;
    server.signal("TERM").await;
    assert_eq!(server.end().await.0, Some(0));
}
