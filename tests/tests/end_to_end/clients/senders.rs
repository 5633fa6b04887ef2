//! Clients that submit: what they sent arrives to the octet.

use waypost_config::{Service, TlsMode};
use waypost_tests::{after_added_fields, site::PASSWORD};

use super::{Scene, message, swaks_data, unix};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaks_submits_with_starttls_and_auth_plain() {
    let scene = Scene::new().await;
    let data = scene.file("message", swaks_data());
    let port = scene.port(Service::Submission, TlsMode::StartTls);
    let (server, data) = (format!("localhost:{port}"), format!("@{}", data.display()));
    let ca = scene.authority();
    let args = [
        "--server",
        &server,
        "--from",
        "alice@a.test",
        "--to",
        "bob@a.test",
        "--tls",
        "--tls-verify",
        "--tls-ca-path",
        &ca,
        "--auth",
        "PLAIN",
    ];
    let login = ["--auth-user", "alice@a.test", "--auth-password", PASSWORD, "--data", &data];
    scene.client("swaks").args(args).args(login).run().await;
    scene.arrives("bob", &message()).await;
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaks_submits_with_implicit_tls_and_auth_login() {
    let scene = Scene::new().await;
    let data = scene.file("message", swaks_data());
    let port = scene.port(Service::Submission, TlsMode::Implicit);
    let (server, data) = (format!("localhost:{port}"), format!("@{}", data.display()));
    let args = [
        "--server",
        &server,
        "--from",
        "alice@a.test",
        "--to",
        "bob@a.test",
        "--tls-on-connect",
        "--auth",
        "LOGIN",
    ];
    let login = ["--auth-user", "alice@a.test", "--auth-password", PASSWORD, "--data", &data];
    scene.client("swaks").args(args).args(login).run().await;
    scene.arrives("bob", &message()).await;
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaks_is_told_why_it_is_refused() {
    let scene = Scene::new().await;
    let server = format!("localhost:{}", scene.port(Service::Submission, TlsMode::StartTls));
    let args = ["--server", &server, "--from", "alice@a.test", "--to", "bob@a.test"];
    let refused = scene.client("swaks").args(args).output().await;
    assert_ne!(refused.code, 0);
    assert!(refused.text.contains("530 5.7.0"), "{}", refused.text);
    let login = ["--tls", "--auth", "PLAIN", "--auth-user", "alice@a.test", "--auth-password", "wrong"];
    let refused = scene.client("swaks").args(args).args(login).output().await;
    assert_ne!(refused.code, 0);
    assert!(refused.text.contains("535 5.7.8"), "{}", refused.text);
    let relay = format!("localhost:{}", scene.port(Service::Smtp, TlsMode::StartTls));
    let refused = scene
        .client("swaks")
        .args(["--server", &relay, "--from", "x@y.test", "--to", "z@far.test"])
        .output()
        .await;
    assert_ne!(refused.code, 0);
    assert!(refused.text.contains("550 5.7.1"), "{}", refused.text);
    assert!(scene.site.read_mailbox("bob", "INBOX").await.is_empty());
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn msmtp_submits() {
    let scene = Scene::new().await;
    let port = scene.port(Service::Submission, TlsMode::StartTls);
    let rc = format!(
        "account default\nhost localhost\nport {port}\nfrom alice@a.test\nauth on\nuser alice@a.test\npassword {PASSWORD}\n\
         tls on\ntls_starttls on\ntls_trust_file {}\n",
        scene.authority()
    );
    let rc = scene.file("msmtprc", rc).display().to_string();
    scene.client("msmtp").args(["-C", &rc, "bob@a.test"]).input(&unix(&message())).run().await;
    scene.arrives("bob", &message()).await;
    scene.site.finish().await;
}

/// SCRAM of another implementation; a wrong password does not pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn msmtp_submits_with_scram() {
    let scene = Scene::new().await;
    let port = scene.port(Service::Submission, TlsMode::StartTls);
    let rc = |mechanism: &str, password: &str| {
        let text = format!(
            "account default\nhost localhost\nport {port}\nfrom alice@a.test\nauth {mechanism}\nuser alice@a.test\n\
             password {password}\ntls on\ntls_starttls on\ntls_trust_file {}\n",
            scene.authority()
        );
        scene.file("msmtprc", text).display().to_string()
    };
    let send = |rc: String| scene.client("msmtp").args(["-C", &rc, "bob@a.test"]).input(&unix(&message()));
    for (number, mechanism) in ["scram-sha-256", "scram-sha-1"].into_iter().enumerate() {
        send(rc(mechanism, PASSWORD)).run().await;
        scene.arrive("bob", &message(), number + 1).await;
        let refused = send(rc(mechanism, "wrong")).output().await;
        assert_ne!(refused.code, 0);
        assert!(refused.text.contains("535"), "{mechanism}: {}", refused.text);
    }
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_sends_and_reads() {
    let scene = Scene::new().await;
    let data = scene.file("message", message()).display().to_string();
    let (ca, login) = (scene.authority(), format!("alice@a.test:{PASSWORD}"));
    let url = format!("smtps://localhost:{}/client.test", scene.port(Service::Submission, TlsMode::Implicit));
    let args = ["-sS", "--cacert", &ca, "--user", &login, "--url", &url];
    let mail = ["--mail-from", "alice@a.test", "--mail-rcpt", "bob@a.test", "--upload-file", &data];
    scene.client("curl").args(args).args(mail).run().await;
    scene.arrives("bob", &message()).await;
    let login = format!("bob@a.test:{PASSWORD}");
    let imap =
        format!("imaps://localhost:{}/INBOX;MAILINDEX=1", scene.port(Service::Imap, TlsMode::Implicit));
    let read = scene.client("curl").args(["-sS", "--cacert", &ca, "--user", &login, &imap]).run().await;
    assert_eq!(
        String::from_utf8_lossy(after_added_fields(read.as_bytes())),
        String::from_utf8_lossy(&message())
    );
    let pop3 = format!("pop3://localhost:{}/1", scene.port(Service::Pop3, TlsMode::StartTls));
    let read = scene
        .client("curl")
        .args(["-sS", "--ssl-reqd", "--cacert", &ca, "--user", &login, &pop3])
        .run()
        .await;
    assert_eq!(
        String::from_utf8_lossy(after_added_fields(read.as_bytes())),
        String::from_utf8_lossy(&message())
    );
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_smtplib_submits() {
    let scene = Scene::new().await;
    scene.python("send.py").args(["alice@a.test", "bob@a.test"]).input(&message()).run().await;
    scene.arrives("bob", &message()).await;
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutt_sends_in_batch() {
    let scene = Scene::new().await;
    let port = scene.port(Service::Submission, TlsMode::Implicit);
    let rc = format!(
        "set certificate_file = \"{}\"\nset ssl_verify_host = no\nset smtp_url = \"smtps://alice%40a.test@localhost:{port}/\"\n\
         set smtp_pass = \"{PASSWORD}\"\nset from = alice@a.test\nset realname = \"Alice Example\"\nset send_charset = utf-8\nset use_from = yes\nset copy = no\n",
        scene.authority()
    );
    let rc = scene.file("muttrc", rc).display().to_string();
    let args = ["-n", "-F", &rc, "-s", "Grüße", "-a", &rc, "-b", "alice@a.test", "--", "bob@a.test"];
    scene.client("mutt").args(args).input("Grüße aus dem Test\n.\nEnde\n".as_bytes()).run().await;
    let stored = String::from_utf8(scene.site.messages("bob", "INBOX", 1).await.remove(0)).unwrap();
    assert!(
        stored.contains("From: Alice Example <alice@a.test>") && stored.contains("Subject: =?utf-8?"),
        "{stored}"
    );
    assert!(!stored.to_lowercase().contains("\nbcc:"), "Bcc is removed: {stored}");
    assert_eq!(scene.site.messages("alice", "INBOX", 1).await.len(), 1);
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_nail_submits() {
    let scene = Scene::new().await;
    let ca = format!("tls-ca-file={}", scene.authority());
    let attached = scene.file("attached.bin", [0, 1, 2, 255]).display().to_string();
    for (scheme, tls) in [("smtps", TlsMode::Implicit), ("submission", TlsMode::StartTls)] {
        let port = scene.port(Service::Submission, tls);
        let mta = format!("mta={scheme}://alice%40a.test:secret%20word@localhost:{port}");
        let tls =
            ["-S", "tls-ca-no-defaults", "-S", &ca, "-S", "tls-verify=strict", "-S", "smtp-use-starttls"];
        let send = ["-S", &mta, "-S", "from=alice@a.test", "-S", "smtp-auth=plain", "-S", "ttycharset=utf-8"];
        let message = ["-s", "Grüße", "-a", &attached, "-b", "alice@a.test", "bob@a.test"];
        let client =
            scene.client("s-nail").args(["-n", "-S", "v15-compat"]).args(tls).args(send).args(message);
        client.input("Grüße\n.\nEnde\n".as_bytes()).run().await;
    }
    for user in ["alice", "bob"] {
        for stored in scene.site.messages(user, "INBOX", 2).await {
            let stored = String::from_utf8(stored).unwrap();
            assert!(stored.contains("Subject: =?utf-8?") && stored.contains("AAEC/w=="), "{stored}");
            assert!(!stored.to_lowercase().contains("\nbcc:"), "Bcc is removed: {stored}");
        }
    }
    scene.site.finish().await;
}
