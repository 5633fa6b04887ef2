//! Every transcript below `tests/scripts`, over every transport it can run over.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::SystemTime,
};

use waypost_auth::{hash_password, totp};
use waypost_mail::{AccountSource, Address, ApopSecret};
use waypost_server::demo::dns::{Data, Dns};
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
            let dns = if script.needs("dns") { Some(Dns::start(&records()).await.unwrap()) } else { None };
            let mut site = SiteBuilder::new("a.test");
            if script.needs("bounds") {
                site = site.only_limits(BOUNDS).listeners("smtp", "xclient = [\"127.0.0.0/8\"]");
            }
            if let Some(dns) = &dns {
                site = site.dns(dns.address(), 25);
            }
            let site = site
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

/// Little that strangers and users may do.
const BOUNDS: &str = "error_delay = \"0\"\nconnections_per_address = 0\nauth_failures_per_minute = 1\nmessages_per_minute = 1\n\
                      recipients_per_hour_per_account = 1\nover_send_limit = \"refuse\"\n";

/// A domain of whose mail nobody can say whether it is to be refused: the server knows no answer for names outside of `test`.
fn records() -> [(&'static str, Data); 2] {
    [
        ("c.test", Data::Text("v=spf1 include:elsewhere.example -all".to_owned())),
        ("_dmarc.c.test", Data::Text("v=DMARC1; p=reject".to_owned())),
    ]
}

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

/// All reply codes that the sources of the server name.
fn codes_in_sources() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut open: Vec<PathBuf> = ["mta/src/smtp/server", "mta/src/server", "mta/src/authenticity/policy.rs"]
        .map(|path| root.join(path))
        .into();
    let mut codes = BTreeSet::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        if path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests")) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let of_server = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for maker in
            ["Fixed(", "Refusal::new(", "Reply::new(", "Reply::plain(", "Reply { code: ", "Self::new("]
        {
            let behind = of_server.split(maker).skip(1).map(str::trim_start);
            let code = |rest: &str| rest.get(..4)?.strip_suffix(',').map(str::to_owned);
            codes.extend(
                behind.filter_map(code).filter(|code| code.bytes().all(|octet| octet.is_ascii_digit())),
            );
        }
    }
    codes
}

/// Each reply code that the server can send is seen in a session.
#[test]
fn every_reply_code_of_smtp_has_its_transcript() {
    let codes = codes_in_sources();
    let known = ["214", "220", "250", "354", "421", "450", "451", "452", "454", "503", "538", "550", "555"];
    assert!(known.iter().all(|code| codes.contains(*code)), "{codes:?}");
    let mut seen = BTreeSet::new();
    for path in ["smtp", "submission", "lmtp"].into_iter().flat_map(scripts) {
        let text = std::fs::read_to_string(path).unwrap();
        let said = text.lines().filter(|line| line.starts_with('S')).filter_map(|line| line.split_once(": "));
        seen.extend(said.filter_map(|(_, reply)| reply.get(..3).map(str::to_owned)));
    }
    let missing: Vec<_> = codes.difference(&seen).collect();
    assert!(missing.is_empty(), "no transcript has {missing:?}");
}
