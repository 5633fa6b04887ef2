//! The start after a kill -9 under load, just before the next checkpoint: most of what a start can have to read again.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use waypost_storage::{Options, Store};

use crate::{
    accept::{deliver, store, text},
    folder,
    measure::timed,
};

const ACCOUNTS: usize = 1_000;
const WRITERS: usize = 16;
/// About what the journal takes before the kill, in octets: a checkpoint comes after 256 MiB, or after 50,000 records.
const TAIL: usize = 240 * 1024 * 1024;
const RECORDS: usize = 75_000;
/// What a message takes besides its octets, generously.
const OVERHEAD: usize = 600;

pub(crate) async fn run() {
    println!("\nStart after kill -9 under load by {WRITERS} writers, shortly before the next checkpoint");
    for bytes in [600, 4 * 1024, 32 * 1024] {
        row(bytes).await;
    }
}

async fn row(bytes: usize) {
    let place = folder();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["crash-victim", place.path().to_str().unwrap(), &bytes.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let checkpoint = heads(place.path());
    let taken: f64 = lines.next().unwrap().unwrap().parse().unwrap();
    std::thread::sleep(Duration::from_millis(30));
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!(heads(place.path()), checkpoint, "a checkpoint came before the kill");
    let (store, time) = timed(Store::open(Options::new(place.path()))).await;
    println!("{bytes:>8} octets, {taken:>7} messages and some: {time:>6.0} ms");
    store.unwrap().close().await;
}

/// When the last checkpoint was.
fn heads(place: &Path) -> std::time::SystemTime {
    std::fs::metadata(place.join("heads")).unwrap().modified().unwrap()
}

/// The process that is killed: says when its accounts are there, and how many messages it took.
pub(crate) async fn victim(place: &Path, bytes: usize) {
    let (store, accounts) = store(place, ACCOUNTS).await;
    let (accounts, text) = (Arc::new(accounts), Arc::new(text(bytes)));
    store.checkpoint().await.unwrap();
    let say = |text: String| {
        println!("{text}");
        std::io::stdout().flush().unwrap();
    };
    say("ready".to_owned());
    let messages = (TAIL / (bytes + OVERHEAD)).min(RECORDS);
    deliver(&store, &accounts, &text, WRITERS, messages).await;
    say(messages.to_string());
    deliver(&store, &accounts, &text, WRITERS, messages).await;
    panic!("nobody killed this");
}
