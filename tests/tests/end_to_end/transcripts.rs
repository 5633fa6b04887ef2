//! Every transcript below `tests/scripts`, over every transport it can run over.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::SystemTime,
};

use waypost_auth::{hash_password, totp};
use waypost_mail::{AccountSource, Address, ApopSecret};
use waypost_storage::NewAccount;
use waypost_tests::{Script, Site, SiteBuilder, Transport, site::PASSWORD};

use crate::clients::tokens::Tokens;

const TRANSPORTS: [Transport; 5] =
    [Transport::Memory(1), Transport::Memory(3), Transport::Memory(4096), Transport::Tcp, Transport::Tls];

fn scripts(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(folder);
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(!found.is_empty(), "{} holds no transcripts", folder.display());
    found
}

async fn run_all(folder: &str) {
    for path in scripts(folder) {
        let script = Script::load(&path);
        let tokens = if script.needs("tokens") { Some(Tokens::new().await) } else { None };
        for transport in TRANSPORTS.into_iter().filter(|transport| script.runs_over(*transport)) {
            let users: &[&str] =
                if script.needs("shared") { &["alice", "bob", "folders"] } else { &["alice", "bob"] };
            let site = SiteBuilder::new("a.test")
                .users(users)
                .with(if script.needs("shared") { SHARED } else { "" })
                .limits("message_size = \"64 KiB\"\nrecipients = 100")
                .with("[[alias]]\nfrom = \"team@a.test\"\nto = [\"alice@a.test\", \"bob@a.test\"]")
                .listeners("pop3", if script.needs("apop") { "apop = true" } else { "" })
                .domain(if script.needs("policy") { POLICY } else { "" })
                .with(if script.needs("policy") { "[[domain]]\nname = \"b.test\"" } else { "" })
                .listeners("imap", if script.needs("unauthenticate") { "unauthenticate = true" } else { "" })
                .limits(match script.needs("no-soliciting") {
                    true => "no_soliciting = [\"org.example:ADV\", \"net.example:X\"]",
                    false => "",
                })
                .with(if script.needs("refusal of utf8") { "[pop3]\nwithout_utf8 = \"refuse\"" } else { "" })
                .with(tokens.as_ref().map(Tokens::section).as_deref().unwrap_or_default())
                .start()
                .await;
            let mut made = BTreeMap::new();
            if let Some(tokens) = &tokens {
                for (name, address, seconds) in
                    [("token", "alice", "300"), ("old token", "alice", "-300"), ("bob's token", "bob", "300")]
                {
                    made.insert(name.to_owned(), tokens.issue(&format!("{address}@a.test"), seconds).await);
                }
            }
            if script.needs("shared") {
                add_carol(&site, PASSWORD).await;
            }
            if script.needs("messages") {
                let messages = MESSAGES.map(|message| message.as_bytes().to_vec());
                site.append("alice", "INBOX", &messages).await;
            }
            if script.needs("utf8") {
                site.append("alice", "INBOX", &UTF8.map(|message| message.as_bytes().to_vec())).await;
                add_carol(&site, "p\u{e4}sswort").await;
            }
            if script.needs("apop") {
                let secret = Some(ApopSecret("shared secret".to_owned()));
                site.store().set_apop(site.account_id("alice"), secret).await.unwrap();
                look_anew(&site).await;
            }
            if script.needs("codes") {
                made.extend(codes(&site).await);
            }
            script.run(&site, transport, made).await;
            site.finish().await;
        }
    }
}

/// Mailboxes of `folders` are shared; alice sets quotas.
const SHARED: &str = "[imap]\nshared = \"folders@a.test\"\nadministrators = [\"alice@a.test\"]\nmetadata_entries = 10\nmetadata_size = \"1 KiB\"";

/// What holds for POP3 sessions.
const POLICY: &str = "pop3_expire = \"7d\"\npop3_login_delay = \"10m\"";
/// Of 24, 35 and 12 octets.
const MESSAGES: [&str; 3] =
    ["Subject: one\r\n\r\nbody 1\r\n", "Subject: two\r\n\r\n.\r\n..dots\r\n\r\nlast\r\n", "A: b\r\n\r\nnone"];

/// With UTF-8 in header and body, in addresses, and in a header of a part.
const UTF8: [&str; 2] = [
    "Subject: Gr\u{fc}\u{df}e\r\n\r\n\u{c4}\r\n",
    "From: J\u{f6}rg <j\u{f6}rg@a.test>\r\nTo: <bob@b\u{fc}cher.test>\r\nX: \u{e4}\r\n\
     Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\
     Content-Disposition: attachment; filename=\"\u{e4} b.txt\"\r\n\r\ntwo\r\n--b--\r\n",
];

/// The accounts are looked at anew at once, not a little later.
async fn look_anew(site: &Site) {
    site.running.reload((*site.running.config()).clone()).await.unwrap();
}

/// An account of the store, with 10 KiB.
async fn add_carol(site: &Site, password: &str) {
    let new = NewAccount {
        address: Address::parse(&site.user("carol")).unwrap(),
        source: AccountSource::Store,
        password_hash: Some(hash_password(password).unwrap()),
        scram_verifiers: Vec::new(),
        quota_bytes: Some(10 << 10),
    };
    site.store().create_account(new).await.unwrap();
    look_anew(site).await;
}

/// Protects alice's password by codes; those of now.
async fn codes(site: &Site) -> BTreeMap<String, String> {
    let (store, secret) = (site.running.store(), totp::generate().unwrap());
    store.set_totp(site.account_id("alice"), Some(secret.clone())).await.unwrap();
    look_anew(site).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let code = |ahead| totp::code(&secret, now / totp::STEP_SECONDS + ahead);
    [("code".to_owned(), code(0)), ("next code".to_owned(), code(1))].into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smtp() {
    run_all("smtp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lmtp() {
    run_all("lmtp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submission() {
    run_all("submission").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imap() {
    run_all("imap").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pop3() {
    run_all("pop3").await;
}
