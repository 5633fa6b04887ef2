//! Durable acceptance beside the limit: rate, times, processor time, octets written.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use waypost_mail::{AccountId, AccountSource, Address, DateTime, Flags};
use waypost_message::Splitter;
use waypost_storage::{Acceptance, Delivery, NewAccount, Options, Store};

use crate::{
    folder, limit,
    measure::{Times, Usage, median},
};

/// Rounds, one after the other: what the machine does besides falls on all alike.
const ROUNDS: usize = 5;
const HEADER: &[u8] = b"From: sender@example.org\r\nTo: user@example.org\r\nSubject: a message\r\n\
    Date: Wed, 25 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\
    Received: from a.example.org by b.example.org; Wed, 25 Nov 2026 12:00:00 +0000\r\n\r\n";

/// A message of so many octets.
pub(crate) fn text(bytes: usize) -> Vec<u8> {
    let mut text = HEADER.to_vec();
    let line = b"The quick brown fox jumps over the lazy dog, and nobody knows why it does so.\r\n";
    while text.len() < bytes {
        text.extend_from_slice(&line[..line.len().min(bytes - text.len()).max(2)]);
    }
    text.truncate(bytes);
    text
}

/// A store with accounts.
pub(crate) async fn store(folder: &std::path::Path, accounts: usize) -> (Store, Vec<AccountId>) {
    let options = Options { retention: std::time::Duration::ZERO, ..Options::new(folder) };
    let store = Store::open(options).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..accounts {
        let new = NewAccount {
            address: Address::parse(&format!("user{number}@example.org")).unwrap(),
            source: AccountSource::Store,
            password_hash: None,
            scram_verifiers: Vec::new(),
            quota_bytes: None,
        };
        ids.push(store.create_account(new).await.unwrap());
    }
    (store, ids)
}

/// A message for an account, as a session makes it: split while it arrives.
pub(crate) async fn acceptance(store: &Store, text: &[u8], account: AccountId) -> Acceptance {
    let (header, body) = text.split_at(HEADER.len());
    let mut splitter = Splitter::new();
    splitter.feed(header);
    splitter.feed(body);
    let mut writer = store.body_writer();
    writer.write(body).await.unwrap();
    Acceptance {
        id: store.new_entry_id(),
        header: Bytes::copy_from_slice(header),
        body: writer.finish().await.unwrap(),
        structure: splitter.finish(),
        local: vec![Delivery {
            account,
            mailbox: None,
            prefix: b"Return-Path: <sender@example.org>\r\nDelivered-To: user@example.org\r\n".to_vec(),
            flags: Flags::default(),
            internal_date: DateTime { seconds: 1_800_000_000, offset_minutes: 0 },
        }],
        relay: None,
    }
}

/// Delivers `count` messages from so many tasks, to the accounts in turn.
pub(crate) async fn deliver(
    store: &Store,
    accounts: &Arc<Vec<AccountId>>,
    text: &Arc<Vec<u8>>,
    tasks: usize,
    count: usize,
) -> Times {
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let work = |_| {
        let (store, accounts) = (store.clone(), Arc::clone(accounts));
        let (text, next) = (Arc::clone(text), Arc::clone(&next));
        tokio::spawn(async move {
            let mut each = Vec::new();
            for _ in 0..count / tasks {
                let account = accounts[next.fetch_add(1, Ordering::Relaxed) % accounts.len()];
                let begun = Instant::now();
                let acceptance = acceptance(&store, &text, account).await;
                store.accept(acceptance).await.unwrap();
                each.push(begun.elapsed());
            }
            each
        })
    };
    Times::of(begun, (0..tasks).map(work).collect()).await
}

pub(crate) async fn run() {
    println!(
        "\nDurable accept beside the limit (bare append + fdatasync, same group commit); medians of {ROUNDS} rounds"
    );
    println!(
        "{:>8} {:>7} | {:>9} {:>9} {:>5} | {:>8} {:>8} {:>5} | {:>7} {:>7}",
        "octets", "writers", "accept/s", "limit/s", "part", "p99 ms", "limit", "times", "CPU us", "limit"
    );
    for bytes in [4 * 1024, 32 * 1024] {
        for tasks in [1, 16, 64] {
            row(bytes, tasks).await;
        }
    }
}

async fn row(bytes: usize, tasks: usize) {
    let count = (if tasks == 1 { 400 } else { 16_000 }) * 4096 / bytes.clamp(4096, 16 * 1024);
    let text = Arc::new(text(bytes));
    let mut columns: [Vec<f64>; 6] = Default::default();
    for _ in 0..ROUNDS {
        let place = folder();
        let usage = Usage::now();
        let bare = limit::run(place.path(), &text, tasks, count).await;
        let bare_processor = usage.processor_each(count);
        let place = folder();
        let (store, accounts) = store(place.path(), 4).await;
        let accounts = Arc::new(accounts);
        // The first messages find everything cold.
        deliver(&store, &accounts, &text, tasks, tasks * 4).await;
        let usage = Usage::now();
        let ours = deliver(&store, &accounts, &text, tasks, count).await;
        let processor = usage.processor_each(count);
        store.close().await;
        let values =
            [ours.rate(), bare.rate(), ours.percentile(99), bare.percentile(99), processor, bare_processor];
        columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
    }
    let [rate, limit, p99, limit_p99, processor, limit_processor] = columns.map(median);
    println!(
        "{bytes:>8} {tasks:>7} | {rate:>9.0} {limit:>9.0} {:>4.0}% | {p99:>8.1} {limit_p99:>8.1} {:>5.1} | {processor:>7.0} {limit_processor:>7.0}",
        rate / limit * 100.0,
        p99 / limit_p99,
    );
}
