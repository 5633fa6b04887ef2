//! Octets written and octets kept for each octet of mail.

use std::sync::Arc;

use crate::{
    accept::{deliver, store, text},
    folder,
    measure::{Usage, disk_bytes},
};

pub(crate) async fn run() {
    println!("\nOctets written for each octet of mail (16 writers; at the end a checkpoint and the close)");
    println!("{:>8} {:>10} {:>9} | {:>8}", "octets", "mailboxes", "messages", "written");
    for (bytes, accounts, messages) in
        [(4 * 1024, 4, 160_000), (4 * 1024, 20_000, 160_000), (32 * 1024, 4, 8_000), (256 * 1024, 4, 1_000)]
    {
        let place = folder();
        let (store, accounts) = store(place.path(), accounts).await;
        let accounts = Arc::new(accounts);
        // The accounts themselves are no mail.
        store.checkpoint().await.unwrap();
        let usage = Usage::now();
        deliver(&store, &accounts, &Arc::new(text(bytes)), 16, messages).await;
        store.close().await;
        let part = usage.written() as f64 / (bytes * messages) as f64;
        println!("{bytes:>8} {:>10} {messages:>9} | {part:>8.2}", accounts.len());
    }
    println!("\nDisk after deleting half and filling up again, retention 0");
    println!(
        "{:>8} {:>9} | {:>9} {:>9} {:>9} | {:>9}",
        "octets", "messages", "full", "half", "again", "of live"
    );
    for (bytes, messages) in [(4 * 1024, 60_000), (32 * 1024, 16_000)] {
        refill(bytes, messages).await;
    }
}

async fn refill(bytes: usize, messages: usize) {
    let place = folder();
    let (store, accounts) = store(place.path(), 4).await;
    let (accounts, text) = (Arc::new(accounts), Arc::new(text(bytes)));
    deliver(&store, &accounts, &text, 16, messages).await;
    let full = disk_bytes(place.path());
    for account in accounts.iter() {
        let opened = store.account(*account).await.unwrap();
        let inbox = opened.state().inbox().unwrap().id;
        let state = opened.select(inbox).await.unwrap().state().unwrap();
        let half = state.rows().filter(|row| row.uid.value() % 2 == 0).map(|row| row.uid).collect();
        opened.expunge(inbox, half).await.unwrap();
    }
    store.checkpoint().await.unwrap();
    store.compact().await.unwrap();
    let half = disk_bytes(place.path());
    deliver(&store, &accounts, &text, 16, messages / 2).await;
    store.checkpoint().await.unwrap();
    store.compact().await.unwrap();
    let again = disk_bytes(place.path());
    store.close().await;
    let live = (bytes * messages) as f64;
    let mib = |bytes: u64| bytes / 1024 / 1024;
    println!(
        "{bytes:>8} {messages:>9} | {:>5} MiB {:>5} MiB {:>5} MiB | {:>8.2}x",
        mib(full),
        mib(half),
        mib(again),
        again as f64 / live
    );
}
