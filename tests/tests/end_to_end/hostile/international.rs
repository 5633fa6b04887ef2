//! Addresses beyond ASCII in every spelling, from SMTP to IMAP: local parts in UTF-8, domains as U-labels and as A-labels.

use waypost_config::{Service, TlsMode};
use waypost_tests::{SiteBuilder, site::PASSWORD};

use super::Peer;

const CONFIG: &str = r#"
[[domain]]
name = "bücher.test"
separator = "-"
catch_all = "jörg@bücher.test"
[[account]]
address = "jörg@bücher.test"
password = "secret word"
[[account]]
address = "ユーザー@bücher.test"
password = "secret word"
[[alias]]
from = "größe@bücher.test"
to = ["ユーザー@xn--bcher-kva.test", "jörg@bücher.test"]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_beyond_ascii_reach_their_mailboxes() {
    let site = SiteBuilder::new("a.test").with(CONFIG).start().await;
    let mut smtp = Peer::connect(site.address(Service::Smtp, TlsMode::StartTls), None).await;
    smtp.until("220 ", "greeting").await;
    smtp.send(b"EHLO c.test\r\n").await;
    // Each spelling, and how the one who gets it is named in Delivered-To.
    let (mut for_joerg, mut for_user) = (Vec::new(), Vec::new());
    for (to, delivered, to_both) in [
        ("jörg@bücher.test", "jörg@xn--bcher-kva.test", false),
        ("JÖRG@BÜCHER.test", "JÖRG@xn--bcher-kva.test", false),
        ("jörg@XN--BCHER-KVA.test", "jörg@xn--bcher-kva.test", false),
        ("jörg-Bücher@bücher.test", "jörg-Bücher@xn--bcher-kva.test", false),
        ("Größe@bücher.test", "Größe@xn--bcher-kva.test", true),
        ("какой-то@bücher.test", "какой-то@xn--bcher-kva.test", false),
    ] {
        let message = format!(
            "MAIL FROM:<отправитель@пример.test> SMTPUTF8 BODY=8BITMIME\r\nRCPT TO:<{to}>\r\nDATA\r\n\
             From: <отправитель@пример.test>\r\nTo: <{to}>\r\nSubject: über\r\n\r\nöäü\r\n.\r\n"
        );
        smtp.send(message.as_bytes()).await;
        smtp.until(" accepted\r\n", to).await;
        for_joerg.push(delivered);
        if to_both {
            for_user.push(delivered);
        }
    }
    for (user, expected) in [("jörg@bücher.test", for_joerg), ("ユーザー@xn--bcher-kva.test", for_user)]
    {
        let mut imap = Peer::connect(site.address(Service::Imap, TlsMode::None), None).await;
        let login = format!("a LOGIN {{{}+}}\r\n{user} \"{PASSWORD}\"\r\n", user.len());
        imap.send(format!("{login}b SELECT INBOX\r\nc FETCH 1:* BODY.PEEK[HEADER]\r\n").as_bytes()).await;
        let said = imap.until("\r\nc OK ", user).await;
        let of = |name: &str| -> Vec<String> {
            said.lines().filter_map(|line| line.split_once(name)).map(|(_, value)| value.to_owned()).collect()
        };
        assert_eq!(of("Delivered-To: "), expected, "{said}");
        assert!(of("Return-Path: ").iter().all(|path| path == "<отправитель@xn--e1afmkfd.test>"), "{said}");
        assert!(
            of("Subject: ").iter().all(|subject| subject == "über") && said.contains("UTF8SMTP"),
            "{said}"
        );
    }
    site.finish().await;
}
