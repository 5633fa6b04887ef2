//! The program as its users call it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

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
    waypost(home).args(["config", "check", "--config", &config_text]).run().await;
    waypost(home).args(["config", "check"]).env("WAYPOST_CONFIG", &config_text).run().await;
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
async fn addresses_that_lead_nowhere_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let alias =
        "[[alias]]\nfrom = \"team@a.test\"\nto = [\"alice@a.test\", \"carol@a.test\", \"typo@a.test\"]";
    let config = SiteBuilder::new("a.test").with(alias).write(home);
    let config_text = config.display().to_string();
    let check = || waypost(home).args(["config", "check", &config_text]).output();
    let said = check().await;
    assert_eq!(said.code, 0, "{}", said.text);
    for expected in [
        "warning: the alias team@a.test leads to carol@a.test, which nobody has by the file",
        "warning: the alias team@a.test leads to typo@a.test, which nobody has by the file",
        "waypost.toml: good",
    ] {
        assert!(said.text.contains(expected), "{expected}: {}", said.text);
    }
    let server = Process::serve(&program(), &config).await;
    server.logs("team@a.test").await;
    let told = |target: &str| server.count(&format!("target={target}@a.test"));
    assert_eq!((told("typo"), told("carol"), told("alice")), (1, 1, 0));
    // An account that is made later is none any more, one that goes is one again.
    waypost(home).args(["account", "add", "carol@a.test", "-c", &config_text]).input(b"x\n").run().await;
    let said = check().await;
    assert!(said.text.contains("typo@a.test, which nobody has\n"), "{}", said.text);
    assert!(!said.text.contains("carol@a.test"), "{}", said.text);
    server.signal("HUP").await;
    server.logs("configuration reloaded").await;
    assert_eq!((told("typo"), told("carol")), (2, 1));
    waypost(home).args(["account", "remove", "carol@a.test", "-c", &config_text]).run().await;
    for _ in 0..100 {
        if told("carol") == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!((told("typo"), told("carol")), (2, 2));
    server.signal("TERM").await;
    server.end().await;
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
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for domain in ["a.test", "b.test"] {
        let found = format!("finds spf=pass dkim=pass ({domain}) dmarc=pass;");
        assert!(words.contains(&found), "{found} is not in\n{said}");
    }
    let json = waypost(folder.path()).args(["demo", "--json"]).run().await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(json["legs"].as_array().unwrap().len(), 3);
    for leg in json["legs"].as_array().unwrap() {
        let times: Vec<f64> =
            leg["hops"].as_array().unwrap().iter().map(|hop| hop["milliseconds"].as_f64().unwrap()).collect();
        assert!(times.is_sorted(), "the clock of a leg goes on: {times:?}");
    }
    let found = |leg: usize| &json["legs"][leg]["authenticity"];
    for (leg, domain) in ["a.test", "b.test"].into_iter().enumerate() {
        assert_eq!((&found(leg)["dmarc"], &found(leg)["signed_by"]), (&"pass".into(), &domain.into()));
    }
    assert!(found(2).is_null(), "the message that is refused");
    assert!(said.lines().all(|line| line.chars().count() <= 80), "wider than a terminal:\n{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_demo_can_be_walked_again_with_mail_in_its_mailboxes() {
    let folder = tempfile::tempdir().unwrap();
    for walk in 0..2 {
        let world = waypost_server::demo::world::World::start(folder.path()).await.unwrap();
        let walked = waypost_server::demo::walk::walk(&world)
            .await
            .unwrap_or_else(|failure| panic!("{}", failure.text));
        assert_eq!(walked.legs.len(), 3, "walk {walk}");
        let (address, tls) = world.b.submission().unwrap();
        let from = waypost_mail::ReversePath::Address(world.b.user.clone());
        let submission = waypost_server::agent::Submission {
            address,
            tls,
            login: Some(world.b.login()),
            from: &from,
            to: std::slice::from_ref(&world.b.user),
            message: b"From: bob@b.test\r\n\r\nI stay.\r\n",
        };
        waypost_server::agent::submit(submission).await.unwrap();
        world.stop().await;
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Codes of a telephone: the password alone logs in nowhere any more, with a code it does once, an app password goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_protected_by_codes() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let config = SiteBuilder::new("a.test").write(home);
    let file = config.display().to_string();
    let account = |args: &[&str]| waypost(home).args(["account"]).args(args).args(["-c", &file]);
    account(&["add", "carol@a.test"]).input(b"carol's\n").run().await;
    let server = Process::serve(&program(), &config).await;
    let reader = account(&["app-password", "add", "carol@a.test", "reader"]).run().await;
    let log_in_to = async |server: &Process, service: &str, user: &str, password: &str| {
        let address = server.service(service)[0].to_string().replace("127.0.0.1", "localhost");
        let url = format!("{}://{address}/", if service == "submission" { "smtp" } else { service });
        let login = format!("{user}@a.test:{}", password.trim());
        let curl = ["--verbose", "--ssl-reqd", "--cacert", "ca.pem", "--login-options", "AUTH=PLAIN"];
        let more: &[&str] = if service == "submission" { &["--request", "NOOP"] } else { &[] };
        Client::new("curl", home).args(curl).args(["--user", &login]).args(more).args([&url]).output().await
    };
    let log_in =
        async |service: &str, user: &str, password: &str| log_in_to(&server, service, user, password).await;
    let shown = account(&["totp", "carol@a.test", "on"]).run().await;
    let (uri, secret) = shown.trim().split_once('\n').unwrap();
    assert!(uri.starts_with("otpauth://totp/mx.a.test:carol@a.test?secret="), "{uri}");
    assert!(uri.ends_with(&format!("secret={secret}&issuer=mx.a.test")), "{uri}");
    let again = account(&["totp", "carol@a.test", "on"]).output().await;
    assert!(again.code == 1 && again.text.contains("turn them off first"), "{}", again.text);
    let nobody = account(&["totp", "nobody@a.test", "on"]).output().await;
    assert!(nobody.code == 1 && nobody.text.contains("there is no account"), "{}", nobody.text);
    for service in ["imap", "pop3", "submission"] {
        let alone = log_in(service, "carol", "carol's").await;
        assert!(alone.code != 0 && alone.text.contains("needs an app password"), "{service}: {}", alone.text);
        assert!(!alone.text.contains("SCRAM"), "{service}: a proof has no code: {}", alone.text);
        assert_eq!(log_in(service, "carol", &reader).await.code, 0, "{service}");
        assert_eq!(log_in(service, "alice", PASSWORD).await.code, 0, "{service}: others go on");
    }
    let script = "import base64, hmac, struct, sys, time\n\
        step = struct.pack('>Q', int(time.time()) // 30 + int(sys.argv[2]))\n\
        tag = hmac.digest(base64.b32decode(sys.argv[1]), step, 'sha1')\n\
        at = tag[-1] & 15\n\
        print('%06d' % ((struct.unpack('>I', tag[at:at + 4])[0] & 0x7fffffff) % 1000000))";
    let typed = async |password: &str, secret: &str, ahead: &str| {
        let code = Client::new("python3", home).args(["-c", script, secret, ahead]).run().await;
        format!("{password}{}", code.trim())
    };
    // The code of the next half minute is good for a minute and a half.
    let next = typed("carol's", secret, "1").await;
    assert_eq!(log_in("imap", "carol", &next).await.code, 0);
    assert_ne!(log_in("pop3", "carol", &next).await.code, 0, "a code is good once");
    server.logs("reason=\"the password without a code\"").await;
    // Also when the server dies at once.
    server.kill().await;
    let server = Process::serve(&program(), &config).await;
    let log_in =
        async |service: &str, user: &str, password: &str| log_in_to(&server, service, user, password).await;
    assert_ne!(log_in("imap", "carol", &next).await.code, 0, "a code is good once, also after a restart");
    assert_ne!(
        log_in("submission", "carol", &next).await.code,
        0,
        "a code is good once, also after a restart"
    );
    // And who has used none can log in at once.
    let shown = account(&["totp", "alice@a.test", "on"]).run().await;
    let of_now = typed(PASSWORD, shown.trim().split_once('\n').unwrap().1, "0").await;
    assert_eq!(log_in("submission", "alice", &of_now).await.code, 0);
    assert_ne!(log_in("imap", "alice", &of_now).await.code, 0);
    account(&["totp", "carol@a.test", "off"]).run().await;
    assert_eq!(log_in("imap", "carol", "carol's").await.code, 0);
    server.signal("TERM").await;
}

/// The secret of APOP is made by the command, shown once, and good until it is turned off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_gets_a_secret_for_apop() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let config = SiteBuilder::new("a.test").listeners("pop3", "apop = true").write(home);
    let file = config.display().to_string();
    let account = |args: &[&str]| waypost(home).args(["account"]).args(args).args(["-c", &file]);
    let first = account(&["apop", "alice@a.test", "on"]).run().await;
    let server = Process::serve(&program(), &config).await;
    let port = server.service("pop3").last().unwrap().port().to_string();
    let script = "import poplib, sys\n\
        maildrop = poplib.POP3('127.0.0.1', int(sys.argv[1]))\n\
        try:\n    print(maildrop.apop(sys.argv[2], sys.argv[3]).decode())\n\
        except poplib.error_proto as error:\n    print(error.args[0].decode())";
    let apop = async |user: &str, secret: &str| {
        Client::new("python3", home).args(["-c", script, &port, user, secret.trim()]).run().await
    };
    assert_eq!(apop("alice@a.test", &first).await.trim(), "+OK 0 messages (0 octets)");
    let second = account(&["apop", "alice@a.test", "on"]).run().await;
    assert!(first != second && second.trim().len() > 20, "{second}");
    assert!(apop("alice@a.test", &first).await.starts_with("-ERR [AUTH]"), "a former secret is good no more");
    assert!(apop("alice@a.test", &second).await.starts_with("+OK"));
    assert!(apop("bob@a.test", PASSWORD).await.starts_with("-ERR [AUTH]"), "a password is no secret");
    let off = account(&["apop", "alice@a.test", "off"]).run().await;
    assert_eq!(off.trim(), "alice@a.test does not log in by APOP any more");
    assert!(apop("alice@a.test", &second).await.starts_with("-ERR [AUTH]"));
    let nobody = account(&["apop", "nobody@a.test", "on"]).output().await;
    assert!(nobody.code == 1 && nobody.text.contains("there is no account"), "{}", nobody.text);
    server.signal("TERM").await;
}

/// App passwords, made without and with a running server; SCRAM with the password that `account add` stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_passwords_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let config = SiteBuilder::new("a.test").write(home);
    let file = config.display().to_string();
    let account = |args: &[&str]| waypost(home).args(["account"]).args(args).args(["-c", &file]);
    account(&["add", "carol@a.test"]).input(b"carol's\n").run().await;
    let reader =
        account(&["app-password", "add", "carol@a.test", "reader", "--services", "imap"]).run().await;

    let server = Process::serve(&program(), &config).await;
    let sender = account(&["app-password", "add", "carol@a.test", "sender", "--services", "submission,pop3"]);
    let sender = sender.run().await;
    let of_the_file = account(&["app-password", "add", "alice@a.test", "telephone"]).run().await;
    for (args, problem) in [
        (["carol@a.test", "reader", "--services", "imap"], "has an app password of that name already"),
        (["carol@a.test", "other", "--services", "ftp"], "there are submission, imap, pop3"),
        (["nobody@a.test", "other", "--services", "imap"], "there is no account nobody@a.test"),
        (["carol@a.test", "", "--services", "imap"], "a name has 1 to 64 characters"),
    ] {
        let refused = account(&[&["app-password", "add"], &args[..]].concat()).output().await;
        assert!(refused.code == 1 && refused.text.contains(problem), "{}", refused.text);
    }
    let listed = account(&["app-password", "list", "carol@a.test", "--json"]).run().await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let names: Vec<_> =
        listed.as_array().unwrap().iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["reader", "sender"]);
    assert_eq!(listed[1]["services"], serde_json::json!(["submission", "pop3"]));

    let log_in = async |service: &str, user: &str, password: &str, mechanism: &str| {
        let address = server.service(service)[0].to_string().replace("127.0.0.1", "localhost");
        let url = format!("{}://{address}/", if service == "submission" { "smtp" } else { service });
        let login = format!("{user}@a.test:{}", password.trim());
        let options = format!("AUTH={mechanism}");
        let curl =
            ["--silent", "--show-error", "--ssl-reqd", "--cacert", "ca.pem", "--login-options", &options];
        let command = if service == "submission" { "NOOP" } else { "CAPA" };
        let more: &[&str] = if service == "imap" { &[] } else { &["--request", command] };
        let curl = Client::new("curl", home).args(curl).args(["--user", &login]).args(more).args([&url]);
        curl.output().await.code == 0
    };
    for (service, user, password, passes) in [
        ("imap", "carol", "carol's", true),
        ("imap", "carol", reader.as_str(), true),
        ("imap", "carol", &sender, false),
        ("pop3", "carol", &sender, true),
        ("pop3", "carol", &reader, false),
        ("submission", "carol", &sender, true),
        ("submission", "carol", &reader, false),
        ("imap", "alice", &of_the_file, true),
        ("imap", "alice", &reader, false),
    ] {
        assert_eq!(log_in(service, user, password, "PLAIN").await, passes, "{service} {user} {password}");
    }
    account(&["app-password", "remove", "carol@a.test", "reader"]).run().await;
    assert!(!log_in("imap", "carol", &reader, "PLAIN").await, "it was taken away");
    let again = account(&["app-password", "remove", "carol@a.test", "reader"]).output().await;
    assert!(again.code == 1 && again.text.contains("no app password of that name"), "{}", again.text);

    // SCRAM, before and after a change of the password, which leaves app passwords as they are.
    let port = server.service("submission")[0].port();
    let scram = async |password: &str| {
        let rc = format!(
            "account default\nhost localhost\nport {port}\nfrom carol@a.test\nauth scram-sha-256\nuser carol@a.test\n\
             password {password}\ntls on\ntls_starttls on\ntls_trust_file {}\n",
            home.join("ca.pem").display()
        );
        let path = home.join("msmtprc");
        fs::write(&path, rc).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let client = Client::new("msmtp", home).args(["-C", "msmtprc", "alice@a.test"]);
        client.input(b"From: carol@a.test\n\nhello\n").output().await.code == 0
    };
    assert!(scram("carol's").await && !scram(sender.trim()).await);
    account(&["password", "carol@a.test"]).input(b"another\n").run().await;
    assert!(scram("another").await && !scram("carol's").await);
    assert!(log_in("pop3", "carol", &sender, "PLAIN").await);
    server.logs("login failed address=127.0.0.1 service=submission").await;
    server.signal("TERM").await;
    let (code, log) = server.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(![&reader, &sender].iter().any(|password| log.contains(password.trim())), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_was_taken_out_of_the_file_is_kept_until_purged() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let config = SiteBuilder::new("a.test").write(home);
    let file = config.display().to_string();
    let with_all = fs::read_to_string(&config).unwrap();
    let declared = format!("[[account]]\naddress = \"alice@a.test\"\npassword = \"{PASSWORD}\"\n");
    assert!(with_all.contains(&declared), "{with_all}");
    let without_alice = with_all.replace(&declared, "");
    let server = Process::serve(&program(), &config).await;
    let remove = |more: &'static [&'static str]| {
        waypost(home).args(["account", "remove", "alice@a.test", "-c", &file]).args(more).output()
    };
    let refused = remove(&["--purge"]).await;
    assert!(refused.code == 1 && refused.text.contains("take it out there"), "{}", refused.text);
    fs::write(home.join("password"), PASSWORD).unwrap();
    let submission = server.service("submission")[0].to_string().replace("127.0.0.1", "localhost");
    let send = || {
        let args = ["send", "--server", &submission, "--from", "alice@a.test", "--to", "alice@a.test"];
        let more = ["--user", "alice@a.test", "--password-file", "password", "--ca", "ca.pem"];
        waypost(home).args(args).args(more).input(b"x").output()
    };
    assert_eq!(send().await.code, 0);

    fs::write(&config, without_alice).unwrap();
    server.signal("HUP").await;
    server.logs("configuration reloaded").await;
    let refused = send().await;
    assert!(refused.code == 1 && refused.text.contains("535"), "{}", refused.text);
    let listed = waypost(home).args(["account", "list", "--json", "-c", &file]).run().await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let alice = listed.as_array().unwrap().iter().find(|line| line["address"] == "alice@a.test").unwrap();
    assert_eq!((alice["declared_in"].as_str(), alice["messages"].as_u64()), (Some("nowhere"), Some(1)));
    for (refused, reason) in [
        (remove(&[]).await, "until `waypost account remove --purge alice@a.test`"),
        (
            waypost(home)
                .args(["account", "add", "alice@a.test", "-c", &file])
                .input(b"alice's\n")
                .output()
                .await,
            "its mail is kept",
        ),
    ] {
        assert!(refused.code == 1 && refused.text.contains(reason), "{}", refused.text);
    }
    let purged = remove(&["--purge"]).await;
    assert_eq!(purged.code, 0, "{}", purged.text);
    waypost(home).args(["account", "add", "alice@a.test", "-c", &file]).input(b"alice's\n").run().await;

    // Now an account of the store: the file cannot have it, too.
    fs::write(&config, with_all).unwrap();
    server.signal("HUP").await;
    server.logs("declared in the configuration file and as an account of the store").await;
    server.signal("TERM").await;
    assert_eq!(server.end().await.0, Some(0));
    let both = waypost(home).args(["serve", "-c", &file]).output().await;
    assert!(both.code == 78 && both.text.contains("alice@a.test is declared"), "{}", both.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_is_not_shown_to_other_users_of_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let config = SiteBuilder::new("a.test").write(home);
    let server = Process::serve(&program(), &config).await;
    assert_eq!(mode(&home.join("state")), 0o750);
    assert_eq!(mode(&home.join("state/waypost.sock")), 0o660);
    server.signal("TERM").await;
    assert_eq!(server.end().await.0, Some(0));
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(home.join("state"), fs::Permissions::from_mode(0o755)).unwrap();
    let server = Process::serve(&program(), &config).await;
    server.signal("TERM").await;
    let (_, log) = server.end().await;
    assert!(log.contains("everyone on this machine can look into"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_too_long_is_refused_and_not_cut() {
    let folder = tempfile::tempdir().unwrap();
    let longest = "x".repeat(1024);
    let hash =
        |password: String| waypost(folder.path()).args(["hash-password"]).input(password.as_bytes()).output();
    assert_eq!(hash(format!("{longest}\r\n")).await.code, 0);
    for password in [format!("{longest}x"), format!("{longest}x\n"), longest.repeat(3)] {
        let refused = hash(password).await;
        assert!(refused.code == 1 && refused.text.contains("more than 1024 octets"), "{}", refused.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_that_are_fixed_at_the_start_are_not_silently_kept() {
    let folder = tempfile::tempdir().unwrap();
    let config = SiteBuilder::new("a.test").write(folder.path());
    let server = Process::serve(&program(), &config).await;
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("[limits]", "[limits]\nconnections = 77")).unwrap();
    server.signal("HUP").await;
    server.logs("limits.connections cannot be changed while the server runs: restart it").await;
    fs::write(&config, text.replace("[limits]", "[limits]\nrecipients = 200")).unwrap();
    server.signal("HUP").await;
    server.logs("configuration reloaded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_says_which_option_may_help() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let server = Process::serve(&program(), &SiteBuilder::new("a.test").write(home)).await;
    let submission = server.service("submission")[0].to_string().replace("127.0.0.1", "localhost");
    // As a server does that waits for TLS, only sooner.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_address = silent.local_addr().unwrap().to_string();
    std::thread::spawn(move || drop(silent.accept()));
    for (address, advice) in [(submission, "; --ca FILE names "), (silent_address, "say --tls implicit")] {
        let args = ["send", "--server", &address, "--from", "alice@a.test", "--to", "alice@a.test"];
        let refused = waypost(home).args(args).input(b"x").output().await;
        assert!(refused.code == 1 && refused.text.contains(advice), "{}", refused.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let route = format!("[[route]]\ndomain = \"*\"\nnext_hop = \"{closed}\"");
    let config = SiteBuilder::new("a.test").with(&route).write(home);
    let file = config.display().to_string();
    let server = Process::serve(&program(), &config).await;
    fs::write(home.join("password"), PASSWORD).unwrap();
    let submission = server.service("submission")[0].to_string().replace("127.0.0.1", "localhost");
    let args = [
        "send",
        "--server",
        &submission,
        "--from",
        "alice@a.test",
        "--to",
        "x@far.test",
        "--to",
        "y@far.test",
    ];
    let more = ["--user", "alice@a.test", "--password-file", "password", "--ca", "ca.pem"];
    let sent = waypost(home).args(args).args(more).input(b"x").run().await;
    let id = sent.split(' ').nth(1).unwrap();
    let mut listed = String::new();
    for _ in 0..100 {
        listed = waypost(home).args(["queue", "list", "-c", &file]).run().await;
        if listed.contains("tried 1") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for expected in [id, "from <alice@a.test>", "tried 1", "<x@far.test>", "<y@far.test>", "refused"] {
        assert!(listed.contains(expected), "{expected} is not in\n{listed}");
    }
    server.signal("TERM").await;
    assert_eq!(server.end().await.0, Some(0));
    // The same without a server.
    let listed = waypost(home).args(["queue", "list", "--json", "-c", &file]).run().await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["id"], id);
    assert_eq!(listed["attempts"], 1);
    assert_eq!(listed["recipients"].as_array().unwrap().len(), 2);
}

/// A server for one session that says each of these lines when the client has said something; what the client said.
async fn play(answers: &'static [&'static str]) -> (String, tokio::task::JoinHandle<String>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let session = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut said = Vec::new();
        for answer in answers {
            stream.write_all(answer.as_bytes()).await.unwrap();
            let mut octets = vec![0; 64 * 1024];
            let count = stream.read(&mut octets).await.unwrap_or(0);
            said.extend_from_slice(&octets[..count]);
        }
        String::from_utf8_lossy(&said).into_owned()
    });
    (address, session)
}

async fn sent_to(
    answers: &'static [&'static str],
    to: &[&str],
    body: &[u8],
) -> (waypost_tests::client::Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let (server, session) = play(answers).await;
    let args = ["send", "--tls", "none", "--server", &server, "--from", "a@a.test"];
    let to = to.iter().flat_map(|to| ["--to", to]);
    let output = waypost(folder.path()).args(args).args(to).input(body).output().await;
    (output, session.await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_accepted_is_sent_whatever_it_says_then() {
    let answers =
        &["220 x\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 2.0.0 id accepted\r\n"];
    let (output, said) = sent_to(answers, &["b@b.test"], b"one\ntwo\rthree\r\n.\nfour").await;
    assert_eq!((output.code, output.text.as_str()), (0, "2.0.0 id accepted\n"), "{said}");
    assert!(said.contains("\r\none\r\ntwo\r\nthree\r\n..\r\nfour\r\n.\r\n"), "{said}");
    assert!(said.ends_with("QUIT\r\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_sent_is_told() {
    // One recipient refused: no one gets it, and the user knows which one.
    let answers = &["220 x\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "550 5.1.1 nobody\r\n"];
    let (output, said) = sent_to(answers, &["b@b.test", "no@b.test"], b"x").await;
    assert!(output.code == 1 && output.text.contains("<no@b.test>"), "{}", output.text);
    assert!(output.text.contains("550 5.1.1 nobody") && !said.contains("DATA"), "{said}");
    // Too large: known before it travels.
    let answers = &["220 x\r\n", "250-x\r\n250 SIZE 10\r\n", "552 5.3.4 too large\r\n"];
    let (output, said) = sent_to(answers, &["b@b.test"], b"x").await;
    assert!(output.code == 1 && output.text.contains("552 5.3.4"), "{}", output.text);
    assert!(said.contains("MAIL FROM:<a@a.test> SIZE="), "{said}");
    // An address that the server cannot take.
    let (output, said) = sent_to(&["220 x\r\n", "250 x\r\n"], &["b\u{fc}@b.test"], b"x").await;
    assert!(output.code == 1 && output.text.contains("SMTPUTF8: nothing was sent"), "{}", output.text);
    assert!(!said.contains("MAIL"), "{said}");
    // A server that closes.
    let (output, _) = sent_to(&["220 x\r\n"], &["b@b.test"], b"x").await;
    assert!(output.code == 1 && output.text.contains("the connection broke"), "{}", output.text);
    // Text that is none.
    let folder = tempfile::tempdir().unwrap();
    let args = ["send", "--tls", "none", "--server", "127.0.0.1:1", "--from", "a@a.test", "--to", "b@b.test"];
    let output = waypost(folder.path()).args(args).input(b"\xff").output().await;
    assert!(output.code == 1 && output.text.contains("standard input: "), "{}", output.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_given_and_taken() {
    let folder = tempfile::tempdir().unwrap();
    let config = SiteBuilder::new("a.test").write(folder.path());
    let config_text = config.display().to_string();
    let acl = |args: &[&str]| {
        let (command, rest) = args.split_first().unwrap();
        waypost(folder.path()).args(["acl", command, "-c", &config_text]).args(rest)
    };
    let account = |name: &str| format!("{name}@a.test");
    let (alice, bob) = (account("alice"), account("bob"));
    // Accounts of the file have their ids once a server ran.
    let server = Process::serve(&program(), &config).await;
    let set = acl(&["set", &alice, "INBOX", &bob, "lrs"]).run().await;
    assert!(
        set.lines().nth(1).is_some_and(|line| line.starts_with("INBOX ") && line.ends_with(" lrs")),
        "{set}"
    );
    acl(&["set", &alice, "Sent", "anyone", "+l"]).run().await;
    for (args, said) in [
        (["set", &alice, "Nowhere", &bob, "l"], "there is no mailbox \"Nowhere\""),
        (["set", &alice, "INBOX", &bob, "lq"], "are no rights"),
        (["set", &alice, "INBOX", "nobody@a.test", "l"], "nobody@a.test is no account"),
        (["set", &alice, "INBOX", &alice, "l"], "the owner of a mailbox has all rights"),
        (["set", "nobody@a.test", "INBOX", &bob, "l"], "nobody@a.test"),
    ] {
        let refused = acl(&args).output().await;
        assert!(refused.code == 1 && refused.text.contains(said), "{args:?}: {}", refused.text);
    }
    server.signal("TERM").await;
    server.end().await;
    // Without a server, too.
    acl(&["set", "--json", "--", &alice, "INBOX", &format!("-{bob}"), "s"]).run().await;
    let listed = acl(&["list", "--json", &alice]).run().await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let line = |mailbox: &str, who: &str, rights: &str| serde_json::json!({ "mailbox": mailbox, "identifier": who, "rights": rights });
    let lines =
        [line("INBOX", &bob, "lrs"), line("INBOX", &format!("-{bob}"), "s"), line("Sent", "anyone", "l")];
    assert_eq!(listed, serde_json::Value::from(lines.to_vec()));
    let one = acl(&["list", "--json", &alice, "Sent"]).run().await;
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&one).unwrap().len(), 1);
}
