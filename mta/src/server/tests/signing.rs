//! Mail that goes out is signed for whom it is from, or for whom it is forwarded.

use waypost_message::{HeaderBlock, Splitter};
use waypost_storage::{DkimAlgorithm, Previews};

use super::*;
use crate::authenticity::rotation::make;

impl Site {
    /// Keys of a.test that sign.
    async fn with_keys() -> Self {
        let site = Self::new().await;
        let domain = waypost_mail::Domain::new("a.test").unwrap();
        for key in make(&site.context.store, &domain).await.unwrap() {
            site.context.store.activate_dkim_key(domain.clone(), key.selector).await.unwrap();
        }
        site
    }
}

/// Algorithms and domains of the signatures, in their order.
fn signatures(message: &str) -> Vec<String> {
    let block = HeaderBlock::new(message.as_bytes().to_vec());
    let signatures = block.fields().filter(|field| field.is("DKIM-Signature"));
    signatures
        .map(|field| {
            let text = String::from_utf8(field.value()).unwrap();
            let tag = |name: &str| {
                let tags = text.split(';').filter_map(|tag| tag.trim().split_once('='));
                tags.filter(|(tag, _)| *tag == name).map(|(_, value)| value.to_owned()).collect::<String>()
            };
            assert!(!tag("bh").starts_with("AAAAAA") && !tag("b").starts_with("AAAAAA"), "{text}");
            format!("{} {}", tag("a"), tag("d"))
        })
        .collect()
}

const BOTH: [&str; 2] = ["ed25519-sha256 a.test", "rsa-sha256 a.test"];
const DATA: &str = "From: Anna <anna@a.test>\r\nSubject: s\r\n\r\nbody \t x\r\n\r\n";

#[tokio::test]
async fn mail_of_users_is_signed_and_its_structure_holds() {
    let large = format!("From: anna@a.test\r\n\r\n{}", "0123456789 \r\n".repeat(22_000));
    for data in [DATA, "From: anna@a.test\r\n", &large] {
        for transport_bytes in [3, 1 << 16] {
            let mut site = Site { transport_bytes, ..Site::with_keys().await };
            if data.len() > 10_000 && transport_bytes == 3 {
                site.transport_bytes = 4096;
            }
            accepted(&site.submit(&message("anna@a.test", &["dora@else.test", "anna@a.test"], data)).await);
            let (entry, text) = site.queued().await.remove(0);
            assert_eq!(signatures(&text), BOTH);
            assert!(text.starts_with("DKIM-Signature: "), "above the trace field of this server");
            assert!(site.inbox(site.anna).await[0].ends_with(&text), "mailboxes see the same");
            let account = site.context.store.account(site.anna).await.unwrap();
            let inbox = account.state().inbox().unwrap().id;
            let state = account.select(inbox).await.unwrap().state().unwrap();
            let row = state.rows().next().unwrap().clone();
            let kept = site.context.store.kept_structure(site.anna, &row, Previews::Wanted).await.unwrap();
            let split = Splitter::split(text.as_bytes());
            assert_eq!(kept.read::<Vec<u8>>().unwrap().root, split.root, "{}", entry.id);
            assert!(split.preview.is_some());
            assert_eq!(kept.preview(), split.preview.as_deref(), "{}", entry.id);
        }
    }
}

#[tokio::test]
async fn who_is_signed_for() {
    let site = Site::with_keys().await;
    let sent = async |replies: Vec<String>| {
        accepted(&replies);
        signatures(&site.queued().await.pop().unwrap().1)
    };
    let none: [&str; 0] = [];
    // a stranger's mail that an alias forwards is signed for the alias; a partner's for its author, or likewise
    let foreign = "From: s@c.test\r\n\r\nx\r\n";
    assert_eq!(sent(site.relay(&message("s@c.test", &["team@a.test"], foreign)).await).await, BOTH);
    assert_eq!(sent(site.relay(&message("s@c.test", &["x@backup.test"], foreign)).await).await, none);
    assert_eq!(sent(site.relay(&message("s@c.test", &["x@backup.test"], DATA)).await).await, none, "forged");
    let partner = async |data: &str| {
        let input = format!("EHLO c.test\r\n{}", message("s@c.test", &["dora@else.test"], data));
        sent(site.talk(Service::Smtp, PARTNER, &input).await).await
    };
    assert_eq!(partner(DATA).await, BOTH);
    assert_eq!(partner(foreign).await, none);
    let below = DATA.replace("a.test>", "news.a.test>");
    assert_eq!(partner(&below).await, BOTH, "a domain below ours");
    assert_eq!(partner(&DATA.replace("a.test>", "xa.test>")).await, none);
    site.change("[limits]", "[dkim]\nsign_trusted = false\nsign_forwarded = false\n[limits]");
    assert_eq!(partner(DATA).await, none);
    assert_eq!(sent(site.relay(&message("s@c.test", &["team@a.test"], foreign)).await).await, none);
    let own = || message("anna@a.test", &["dora@else.test"], DATA);
    assert_eq!(sent(site.submit(&own()).await).await, BOTH);
    site.change("name = \"a.test\"\n", "name = \"a.test\"\ndkim = false\n");
    assert_eq!(sent(site.submit(&own()).await).await, none);
}

#[tokio::test]
async fn only_active_keys_sign_and_those_of_files_before_them() {
    let site = Site::new().await;
    let domain = waypost_mail::Domain::new("a.test").unwrap();
    let own = || message("anna@a.test", &["dora@else.test"], DATA);
    let signed = async || {
        accepted(&site.submit(&own()).await);
        signatures(&site.queued().await.pop().unwrap().1)
    };
    for key in make(&site.context.store, &domain).await.unwrap() {
        assert_eq!(signed().await, Vec::<String>::new());
        if key.algorithm == DkimAlgorithm::Ed25519 {
            site.context.store.activate_dkim_key(domain.clone(), key.selector).await.unwrap();
        }
    }
    assert_eq!(signed().await, ["ed25519-sha256 a.test"]);
    let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    std::fs::write(site._state.path().join("dkim.pem"), pem).unwrap();
    site.change(
        "[limits]",
        "[[dkim.key]]\ndomain = \"a.test\"\nselector = \"filed\"\nfile = \"dkim.pem\"\n[limits]",
    );
    assert_eq!(signed().await, ["ed25519-sha256 a.test"]);
    let text = site.queued().await.pop().unwrap().1;
    assert!(text.contains("d=a.test; s=filed;"), "{text}");
}

#[tokio::test]
async fn notifications_are_signed_for_the_host() {
    let site = Site::with_keys().await;
    let asked = "MAIL FROM:<s@c.test>\r\nRCPT TO:<anna@a.test> NOTIFY=SUCCESS\r\nDATA\r\nFrom: s@c.test\r\n\r\nx\r\n.\r\n";
    accepted(&site.relay(asked).await);
    let (entry, text) = site.queued().await.remove(0);
    assert_eq!(entry.reverse_path, waypost_mail::ReversePath::Null);
    assert!(text.contains("From: Mail Delivery System <MAILER-DAEMON@mx.a.test>"), "{text}");
    assert_eq!(signatures(&text), BOTH);
}
