//! The program as its users call it.

use std::{fs, path::Path};

use waypost_tests::{Client, Process, SiteBuilder, program, site::PASSWORD};

fn waypost(home: &Path) -> Client {
    Client::new(program().to_str().unwrap(), home)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_in_the_life_of_an_administrator() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let config = SiteBuilder::new("a.test").write(home);
    let config_text = config.display().to_string();
    let checked = waypost(home).args(["config", "check", &config_text]).run().await;
    assert!(checked.contains("good"), "{checked}");
    // Without a server, the command opens the store itself.
    waypost(home)
        .args(["account", "add", "carol@a.test", "--config", &config_text])
        .input(b"carol's\n")
        .run()
        .await;

    let server = Process::serve(&program(), &config).await;
    // With one, it asks the server: the account works at once.
    waypost(home).args(["account", "add", "dave@a.test", "-c", &config_text]).input(b"dave's\n").run().await;
    let again = waypost(home)
        .args(["account", "add", "dave@a.test", "-c", &config_text])
        .input(b"x\n")
        .output()
        .await;
    assert_eq!(again.code, 1);
    assert!(again.text.contains("has an account already"), "{}", again.text);
    let elsewhere =
        waypost(home).args(["account", "add", "x@b.test", "-c", &config_text]).input(b"x\n").output().await;
    assert!(elsewhere.code == 1 && elsewhere.text.contains("no [[domain]]"), "{}", elsewhere.text);
    fs::write(home.join("password"), "carol's\n").unwrap();
    fs::write(home.join("notes.txt"), "attached\n").unwrap();
    let submission = server.service("submission")[0].to_string().replace("127.0.0.1", "localhost");
    let args = [
        "send",
        "--server",
        &submission,
        "--from",
        "carol@a.test",
        "--to",
        "dave@a.test",
        "--subject",
        "Grüße",
    ];
    let more =
        ["--user", "carol@a.test", "--password-file", "password", "--ca", "ca.pem", "--attach", "notes.txt"];
    let sent = waypost(home).args(args).args(more).input("Hallo\n.\nDave\n".as_bytes()).run().await;
    assert!(sent.starts_with("2.0.0 ") && sent.contains(" accepted"), "{sent}");
    let listed = waypost(home).args(["account", "list", "--json", "-c", &config_text]).run().await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let dave = listed.as_array().unwrap().iter().find(|line| line["address"] == "dave@a.test").unwrap();
    assert_eq!(dave["messages"], 1);
    assert_eq!(listed.as_array().unwrap().len(), 4);
    let queue = waypost(home).args(["queue", "list", "-c", &config_text]).run().await;
    assert_eq!(queue.trim(), "the queue is empty");

    // A second server does not get the store.
    let second = waypost(home).args(["serve", "-c", &config_text]).output().await;
    assert!(second.code == 1 && second.text.contains("another process"), "{}", second.text);

    // A bad reload leaves the old configuration serving; a good one is taken.
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, good.replace("[limits]", "[limits]\nunknown = 1")).unwrap();
    server.signal("HUP").await;
    server.logs("the old configuration goes on serving").await;
    server.logs("limits.unknown is not a known key").await;
    fs::write(
        &config,
        good.replace("[[domain]]", "[[alias]]\nfrom = \"d@a.test\"\nto = [\"dave@a.test\"]\n[[domain]]"),
    )
    .unwrap();
    server.signal("HUP").await;
    server.logs("configuration reloaded").await;
    let to_alias: Vec<&str> =
        args.iter().map(|arg| if *arg == "dave@a.test" { "d@a.test" } else { arg }).collect();
    waypost(home).args(&to_alias).args(more).input(b"x").run().await;

    waypost(home)
        .args(["account", "password", "dave@a.test", "-c", &config_text])
        .input(b"new\n")
        .run()
        .await;
    waypost(home).args(["account", "quota", "dave@a.test", "5 GiB", "-c", &config_text]).run().await;
    waypost(home).args(["account", "remove", "carol@a.test", "-c", &config_text]).run().await;
    let refused = waypost(home).args(args).args(more).input(b"x").output().await;
    assert!(refused.code == 1 && refused.text.contains("535"), "{}", refused.text);
    server.signal("TERM").await;
    let (code, log) = server.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains("carol's"), "a password is in the log: {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_configurations_and_wrong_usage_have_their_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let bad = home.join("bad.toml");
    fs::write(&bad, "hostname = \"mx.test\"\nstate_dri = \"x\"\n").unwrap();
    let bad = bad.display().to_string();
    for args in [["config", "check", bad.as_str()], ["serve", "--config", &bad]] {
        let refused = waypost(home).args(args).output().await;
        assert_eq!(refused.code, 78, "{}", refused.text);
        assert!(
            refused.text.contains("bad.toml:2:1: state_dri is not a known key; did you mean state_dir?"),
            "{}",
            refused.text
        );
    }
    assert_eq!(waypost(home).args(["serve", "--nonsense"]).output().await.code, 2);
    assert_eq!(waypost(home).args(["config", "explain", "nonsense"]).output().await.code, 1);
    let explained = waypost(home).args(["config", "explain", "queue.retry"]).run().await;
    assert!(explained.contains("Waits between tries"), "{explained}");
    let hash = waypost(home).args(["hash-password"]).input(b"secret\n").run().await;
    assert!(hash.starts_with("$argon2id$v=19$"), "{hash}");
    assert_eq!(waypost(home).args(["hash-password"]).input(b"").output().await.code, 1);
    // Certificate and key that do not belong together.
    let config = SiteBuilder::new("a.test").write(home);
    fs::rename(home.join("key.pem"), home.join("old.pem")).unwrap();
    SiteBuilder::new("a.test").write(home);
    fs::rename(home.join("old.pem"), home.join("key.pem")).unwrap();
    let refused = waypost(home).args(["config", "check", config.to_str().unwrap()]).output().await;
    assert_eq!(refused.code, 78, "{}", refused.text);
    // A port that is taken.
    SiteBuilder::new("a.test").write(home);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replacen("127.0.0.1:0", &taken.local_addr().unwrap().to_string(), 1);
    fs::write(&config, text).unwrap();
    let refused = waypost(home).args(["serve", "-c", config.to_str().unwrap()]).output().await;
    assert!(refused.code == 1 && refused.text.contains("cannot listen on 127.0.0.1:"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_walks_the_whole_path() {
    let folder = tempfile::tempdir().unwrap();
    let said = waypost(folder.path()).args(["demo"]).run().await;
    assert!(said.ends_with("\nok\n"), "{said}");
    for expected in
        ["alice@a.test", "MTA client", "MTA server", "IMAP", "POP3", "STARTTLS", "nobody@b.test", "550"]
    {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    let json = waypost(folder.path()).args(["demo", "--json"]).run().await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(json["legs"].as_array().unwrap().len(), 3);
}
