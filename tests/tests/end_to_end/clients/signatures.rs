//! Others verify what we sign.

use waypost_mail::Domain;
use waypost_mta::authenticity::{keys::SigningKey, rotation};

use super::*;

/// Makes keys for the server's domain that sign at once; gives the lines of its records.
async fn signing(site: &Site) -> String {
    let domain = Domain::new(&site.domain).unwrap();
    let mut records = String::new();
    for kept in rotation::make(site.store(), &domain).await.unwrap() {
        site.store().activate_dkim_key(domain.clone(), kept.selector.clone()).await.unwrap();
        let key = SigningKey::new(domain.clone(), kept.selector, kept.secret.pkcs8()).unwrap();
        records.push_str(&format!("{} {}\n", key.record_name(), key.record()));
    }
    records
}

/// Messages with every trap of canonicalisation, in header and body.
pub(super) fn traps() -> Vec<Vec<u8>> {
    let header = "From: Alice <alice@a.test>\r\nTo: bob@a.test\r\nSubject: one\r\n";
    let bodies = [
        "",
        "\r\n",
        "\r\n\r\n\r\n",
        " \r\n\t\r\n",
        "text\r\n",
        "text\r\n\r\n\r\n\r\n",
        "text\r\n \r\n\t \t\r\n",
        "text \t \r\n  two   words\t\tand\tmore \r\n",
        "\r\n\r\ntext\r\n",
        "gr\u{f6}\u{df}e \u{a0}\u{2003} \u{1f4ee}\r\n",
        ".\r\n..\r\n.x\r\n",
    ];
    let mut messages: Vec<Vec<u8>> =
        bodies.iter().map(|body| format!("{header}\r\n{body}").into_bytes()).collect();
    let fields = [
        "Subject: folded\r\n\tonce \r\n  and   twice\t\r\n",
        "subject:no white space, lower case\r\n",
        "SUBJECT:\r\n no text on the first line\r\n",
        "Subject:\r\nReply-To:  \r\n",
        "Subject: Gr\u{fc}\u{df}e\r\n",
        "Subject: s\r\nTo: one@x.test\r\nTo: two@x.test\r\nCC: x@y.test,\r\n y@z.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=utf-8\r\nList-Id: l <l.a.test>\r\nList-Id: m <m.a.test>\r\nReferences: <1@x>\r\n\t<2@x>\r\n",
    ];
    let of = |fields: &&str| format!("From: alice@a.test\r\n{fields}\r\nbody\r\n").into_bytes();
    messages.extend(fields.iter().map(of));
    let large = "0123456789 \t abcdef \r\n".repeat(60_000);
    messages.push(format!("{header}\r\n{large}\r\n\r\n").into_bytes());
    messages
}

/// The lines that dkimpy prints about messages.
async fn verified(scene: &Scene, records: &str, messages: &[Vec<u8>]) -> Vec<String> {
    let records = scene.file("records", records).display().to_string();
    let mut paths = vec![records];
    for (number, message) in messages.iter().enumerate() {
        paths.push(scene.file(&format!("message{number}"), message).display().to_string());
    }
    let printed = scene.venv("dkim_verify.py").args(paths).run().await;
    printed.lines().filter(|line| line.contains("-sha256 a.test ")).map(str::to_owned).collect()
}

/// opendkim, and where its libraries are.
pub(super) fn opendkim_program() -> (String, String) {
    let place = waypost_tests::client::installed("checkers");
    let libraries = ["usr/lib", "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
    let libraries: Vec<_> = libraries.iter().map(|path| place.join(path).display().to_string()).collect();
    (place.join("usr/sbin/opendkim").display().to_string(), libraries.join(":"))
}

/// Which files opendkim verifies by one key alone.
async fn opendkim(scene: &Scene, record: &str, messages: &[Vec<u8>]) -> Vec<bool> {
    let keys = scene.file("keys", format!("{record}\n")).display().to_string();
    let config =
        scene.file("opendkim.conf", format!("Mode v\nTestPublicKeys {keys}\n")).display().to_string();
    let (program, libraries) = opendkim_program();
    let mut verified = Vec::new();
    for message in messages {
        let file = scene.file("message", message).display().to_string();
        let output = scene.client(&program).env("LD_LIBRARY_PATH", &libraries);
        let output = output.args(["-x", &config, "-t", &file, "-v"]).output().await;
        let holds = output.text.contains(" succeeded");
        assert!(holds || output.text.contains("message: "), "it says:\n{}", output.text);
        verified.push(holds);
    }
    verified
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opendkim_verifies_both_signatures_of_each_message() {
    let scene = Scene::new().await;
    let records = signing(&scene.site).await;
    // a field whose name has white space behind it is obsolete (RFC 5322 section 4.5), and may be signed
    let obsolete = b"From: alice@a.test\r\nsubject :x\r\n\r\nbody\r\n".to_vec();
    let sent = [traps(), vec![obsolete]].concat();
    for message in &sent {
        send(&scene.site, "bob@a.test", message).await;
    }
    let stored = scene.site.messages("bob", "INBOX", sent.len()).await;
    let text = String::from_utf8(stored[4].clone()).unwrap();
    let changed = vec![text.replace("Subject: one", "Subject: two").into_bytes()];
    for record in records.lines() {
        assert_eq!(opendkim(&scene, record, &stored).await, vec![true; sent.len()], "{record}");
        assert_eq!(opendkim(&scene, record, &changed).await, [false], "{record}");
    }
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dkimpy_verifies_both_signatures_of_each_message() {
    let scene = Scene::new().await;
    let records = signing(&scene.site).await;
    let sent = traps();
    for message in &sent {
        send(&scene.site, "bob@a.test", message).await;
    }
    let stored = scene.site.messages("bob", "INBOX", sent.len()).await;
    let printed = verified(&scene, &records, &stored).await;
    let both = ["ed25519-sha256 a.test holds", "rsa-sha256 a.test holds"];
    assert_eq!(printed, both.repeat(sent.len()));

    // and it tells what was changed, or added
    let text = String::from_utf8(stored[4].clone()).unwrap();
    let changed: Vec<Vec<u8>> = [
        text.replace("\r\n\r\ntext", "\r\n\r\ntexts"),
        text.replace("Subject: one", "Subject: two"),
        text.replace("Subject: one", "Subject: one\r\nSubject: one"),
        text.replace("To: bob", "Reply-To: eve@x.test\r\nTo: bob"),
    ]
    .map(String::into_bytes)
    .to_vec();
    let neither = ["ed25519-sha256 a.test fails", "rsa-sha256 a.test fails"];
    assert_eq!(verified(&scene, &records, &changed).await, neither.repeat(changed.len()));
    scene.site.finish().await;
}
