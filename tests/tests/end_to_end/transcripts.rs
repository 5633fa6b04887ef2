//! Every transcript below `tests/scripts`, over every transport it can run over.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::SystemTime,
};

use waypost_auth::totp;
use waypost_tests::{Script, Site, SiteBuilder, Transport};

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
            let site = SiteBuilder::new("a.test")
                .limits("message_size = \"64 KiB\"\nrecipients = 100")
                .with("[[alias]]\nfrom = \"team@a.test\"\nto = [\"alice@a.test\", \"bob@a.test\"]")
                .listeners("imap", if script.needs("unauthenticate") { "unauthenticate = true" } else { "" })
                .limits(match script.needs("no-soliciting") {
                    true => "no_soliciting = [\"org.example:ADV\", \"net.example:X\"]",
                    false => "",
                })
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
            if script.needs("codes") {
                made.extend(codes(&site).await);
            }
            script.run(&site, transport, made).await;
            site.finish().await;
        }
    }
}

/// Protects alice's password by codes; those of now.
async fn codes(site: &Site) -> BTreeMap<String, String> {
    let (store, secret) = (site.running.store(), totp::generate().unwrap());
    store.set_totp(site.account_id("alice"), Some(secret.clone())).await.unwrap();
    // The accounts are looked at anew at once, not a little later.
    site.running.reload((*site.running.config()).clone()).await.unwrap();
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
