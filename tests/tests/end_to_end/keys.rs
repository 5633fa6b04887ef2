//! The keys that mail is signed with, and the zone, as the administrator has them.

use std::{fs, path::Path};

use serde_json::Value;
use waypost_server::demo::dns::{Data, Dns};
use waypost_tests::{Client, Process, SiteBuilder, program};

fn waypost(home: &Path, args: &[&str]) -> Client {
    let config = home.join("waypost.toml").display().to_string();
    Client::new(program().to_str().unwrap(), home).args(args).env("WAYPOST_CONFIG", config)
}

/// Each key as JSON.
async fn list(home: &Path) -> Vec<Value> {
    let listed = waypost(home, &["dkim", "list", "--json"]).run().await;
    listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Algorithms and states.
fn states(keys: &[Value]) -> Vec<String> {
    let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    keys.iter().map(|key| format!("{} {}", text(key, "algorithm"), text(key, "state"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_made_wait_sign_retire_and_come_back_from_a_backup() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    SiteBuilder::new("a.test").write(home);
    // without a server
    let made = waypost(home, &["dkim", "new", "a.test"]).run().await;
    assert_eq!(made.matches("._domainkey.a.test. 3600 IN TXT \"v=DKIM1; k=").count(), 2, "{made}");
    let again = waypost(home, &["dkim", "new", "a.test"]).output().await;
    assert!(again.code == 1 && again.text.contains("has keys already"), "{}", again.text);
    let foreign = waypost(home, &["dkim", "new", "b.test"]).output().await;
    assert!(foreign.code == 1 && foreign.text.contains("no [[domain]] b.test"), "{}", foreign.text);
    let keys = list(home).await;
    assert_eq!(states(&keys), ["ed25519 waiting", "rsa waiting"]);

    // the record of one of them is published, and a server sees it at its start
    let rsa = &keys[1];
    let record = Data::Text(rsa["record"].as_str().unwrap().to_owned());
    let dns = Dns::start(&[(rsa["name"].as_str().unwrap(), record)]).await.unwrap();
    let config = SiteBuilder::new("a.test").dns(dns.address(), 25).write(home);
    let server = Process::serve(&program(), &config).await;
    server.logs("mail is signed with this DKIM key from now on").await;
    let rotated = waypost(home, &["dkim", "rotate", "a.test"]).run().await;
    assert!(rotated.contains(" waits: ed-") && rotated.contains("has no TXT record yet"), "{rotated}");
    assert_eq!(states(&list(home).await), ["ed25519 waiting", "rsa active"]);
    let rotated = waypost(home, &["dkim", "rotate", "a.test", "--now"]).run().await;
    assert!(rotated.contains("signs from now on"), "{rotated}");
    // none waits: new ones are made
    let rotated = waypost(home, &["dkim", "rotate", "a.test", "--now", "--json"]).run().await;
    let answer: Value = serde_json::from_str(&rotated).unwrap();
    assert_eq!((answer["made"].as_array().unwrap().len(), answer["signed"].as_bool()), (2, Some(true)));
    let four = ["ed25519 retired", "ed25519 active", "rsa retired", "rsa active"];
    let keys = list(home).await;
    assert_eq!(states(&keys), four);
    let oldest = keys[0]["selector"].as_str().unwrap();
    waypost(home, &["dkim", "remove", "a.test", oldest]).run().await;
    let absent = waypost(home, &["dkim", "remove", "a.test", oldest]).output().await;
    assert!(absent.code == 1 && absent.text.contains("no DKIM key of that selector"), "{}", absent.text);
    let secret = fs::read(home.join("waypost.toml")).unwrap();
    assert!(!String::from_utf8_lossy(&secret).contains("PRIVATE"), "keys are in the store alone");

    let backup = tempfile::tempdir().unwrap();
    let place = backup.path().join("b").display().to_string();
    waypost(home, &["store", "backup", &place]).run().await;
    let kept = list(home).await;
    server.signal("TERM").await;
    server.end().await;
    let other = tempfile::tempdir().unwrap();
    SiteBuilder::new("a.test").write(other.path());
    waypost(other.path(), &["store", "restore", &place]).run().await;
    assert_eq!(list(other.path()).await, kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bind_takes_the_zone() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    SiteBuilder::new("a.test").write(home);
    waypost(home, &["dkim", "new", "a.test", "--now"]).run().await;
    let printed = waypost(home, &["dns", "a.test"]).run().await;
    assert!(printed.contains("a.test. 3600 IN MX 10 mx.a.test.\n"), "{printed}");
    let zone = format!(
        "a.test. 3600 IN SOA ns.b.test. root.a.test. 1 3600 600 86400 60\na.test. 3600 IN NS ns.b.test.\n\
         mx.a.test. 3600 IN A 192.0.2.1\n{printed}"
    );
    fs::write(home.join("zone"), &zone).unwrap();
    let checked = Client::new("named-checkzone", home).args(["-i", "local", "a.test", "zone"]).output().await;
    assert_eq!((checked.code, checked.text.lines().last()), (0, Some("OK")), "{}\n{zone}", checked.text);
    assert_eq!(checked.text.lines().count(), 2, "it has nothing to say: {}", checked.text);

    let records = waypost(home, &["dns", "a.test", "--json"]).run().await;
    let records: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines = printed.lines().filter(|line| !line.starts_with(';')).count();
    assert_eq!(records.len(), lines, "{records:?}");
    let unknown = waypost(home, &["dns", "b.test"]).output().await;
    assert_eq!(unknown.code, 1, "{}", unknown.text);
}
