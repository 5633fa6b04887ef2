//! Mail libraries of other languages, driven by scripts of `tests/clients`.

use waypost_config::{Service, TlsMode};
use waypost_tests::{SiteBuilder, after_added_fields, site::PASSWORD};

use super::{Scene, message};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_imaplib_reads_flags_copies_moves_deletes_and_idles() {
    let scene = Scene::new().await;
    let sent = scene.fill(3).await;
    scene.file("sent0", &sent[0]);
    scene.python("imap.py").args(["alice@a.test", "bob@a.test"]).run().await;
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_imaplib_reads_compressed_and_logs_out_and_in_again() {
    let site = SiteBuilder::new("a.test").listeners("imap", "unauthenticate = true").start().await;
    let scene = Scene { site, home: tempfile::tempdir().unwrap() };
    let sent = scene.fill(3).await;
    for (number, message) in sent.iter().enumerate() {
        scene.file(&format!("sent{number}"), message);
    }
    scene.python("imap_compress.py").args(["alice@a.test", "bob@a.test"]).run().await;
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_poplib_downloads_and_deletes() {
    let scene = Scene::new().await;
    let sent = scene.fill(3).await;
    for (number, message) in sent.iter().enumerate() {
        scene.file(&format!("sent{number}"), message);
    }
    scene.python("pop3.py").args(["alice@a.test"]).run().await;
    assert_eq!(scene.site.read_mailbox("alice", "INBOX").await.len(), 1);
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_aiosmtplib_submits() {
    let scene = Scene::new().await;
    scene.venv("send_async.py").args(["alice@a.test", "bob@a.test"]).input(&message()).run().await;
    scene.arrive("bob", &message(), 2).await;
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_aioimaplib_reads_moves_and_idles() {
    reads_samples(Language::Python, "idle_async.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_imap_tools_reads_flags_moves_deletes_and_idles() {
    reads_samples(Language::Python, "imap_tools_mailbox.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_imapclient_reads_flags_moves_deletes_and_idles() {
    reads_samples(Language::Python, "imapclient_session.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_imapclients_own_live_test_suite_passes() {
    let scene = Scene::new().await;
    let shared = format!("username=alice@a.test\npassword={PASSWORD}\nssl_ca_file={}\n", scene.authority());
    let (implicit, starttls) =
        (scene.port(Service::Imap, TlsMode::Implicit), scene.port(Service::Imap, TlsMode::StartTls));
    let ini = format!(
        "[DEFAULT]\nhost=localhost\nport={implicit}\nssl=true\n{shared}\
         [starttls]\nport={starttls}\nssl=false\nstarttls=true\n\
         [wrong_password]\npassword=wrong\nexpect_failure=AUTHENTICATIONFAILED|[Ff]ailed|[Pp]assword\n"
    );
    let ini = scene.file("livetest.ini", ini).display().to_string();
    let said = scene.venv("livetest.py").args([&ini, "--verbose"]).run().await;
    assert!(said.contains("Ran 59 tests") && said.contains("\nOK"), "{said}");
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_nodemailer_submits() {
    let scene = Scene::new().await;
    scene.node("nodemailer.js").args(["alice@a.test", "bob@a.test"]).input(&message()).run().await;
    let stored = scene.site.messages("bob", "INBOX", 3).await;
    assert!(stored[..2].iter().all(|stored| after_added_fields(stored) == message()));
    let composed = String::from_utf8(stored[2].clone()).unwrap();
    assert!(composed.contains("Subject: =?UTF-8?") && composed.contains("AAEC/w=="), "{composed}");
    assert!(!composed.to_lowercase().contains("\nbcc:"), "Bcc is removed: {composed}");
    assert_eq!(scene.site.messages("alice", "INBOX", 1).await.len(), 1);
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_imapflow_reads_flags_moves_deletes_and_idles() {
    reads_samples(Language::Node, "imapflow.js").await;
}

/// What a script is written in.
enum Language {
    Python,
    Node,
}

/// Runs a script on three sample messages of alice.
async fn reads_samples(language: Language, script: &str) {
    let scene = Scene::new().await;
    let sent = scene.fill(3).await;
    scene.file("sent0", &sent[0]);
    let client = match language {
        Language::Python => scene.venv(script),
        Language::Node => scene.node(script),
    };
    client.args(["alice@a.test", "bob@a.test"]).run().await;
    scene.site.finish().await;
}
