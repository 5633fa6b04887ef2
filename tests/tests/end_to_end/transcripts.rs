//! Every transcript below `tests/scripts`, over every transport it can run over.

use std::path::{Path, PathBuf};

use waypost_tests::{Script, SiteBuilder, Transport};

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
        for transport in TRANSPORTS.into_iter().filter(|transport| script.runs_over(*transport)) {
            let site = SiteBuilder::new("a.test")
                .limits("message_size = \"64 KiB\"\nrecipients = 100")
                .with("[[alias]]\nfrom = \"team@a.test\"\nto = [\"alice@a.test\", \"bob@a.test\"]")
                .start()
                .await;
            script.run(&site, transport).await;
            site.finish().await;
        }
    }
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
