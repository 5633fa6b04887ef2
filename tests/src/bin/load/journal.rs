//! A limit: a bare loop of append and `fdatasync` with group commit, as little as a durable log can do.

use std::{path::PathBuf, sync::Arc, time::Instant};

use tokio::sync::{mpsc, oneshot};
use waypost_storage::disk::{Disk, DiskFile, Real};

use crate::Words;

/// Octets that are allocated ahead.
pub(crate) const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

pub(crate) async fn run(words: &Words) -> serde_json::Value {
    let (writers, octets): (usize, usize) = (words.of("writers"), words.of("octets"));
    let file = Real.create(&words.of::<PathBuf>("folder").join("log")).unwrap();
    let (sender, receiver) = mpsc::channel(4096);
    let thread = std::thread::spawn(move || append(&file, octets, receiver));
    let begun = Instant::now();
    let end = begun + words.seconds();
    let work = |_| {
        let sender = sender.clone();
        tokio::spawn(async move {
            let mut count = 0_u64;
            while Instant::now() < end {
                let (caller, answer) = oneshot::channel();
                sender.send(caller).await.unwrap();
                answer.await.unwrap();
                count += 1;
            }
            count
        })
    };
    let tasks: Vec<_> = (0..writers).map(work).collect();
    let mut messages = 0;
    for task in tasks {
        messages += task.await.unwrap();
    }
    let seconds = begun.elapsed().as_secs_f64();
    drop(sender);
    thread.join().unwrap();
    serde_json::json!({ "messages": messages, "seconds": seconds })
}

fn append(file: &Arc<dyn DiskFile>, octets: usize, mut receiver: mpsc::Receiver<oneshot::Sender<()>>) {
    let (mut at, mut allocated) = (0, 0);
    while let Some(first) = receiver.blocking_recv() {
        let mut waiting = vec![first];
        while let Ok(more) = receiver.try_recv() {
            waiting.push(more);
        }
        let batch = vec![b'x'; octets * waiting.len()];
        let end = at + batch.len() as u64;
        if end > allocated {
            allocated = end.next_multiple_of(SEGMENT_BYTES);
            file.allocate(allocated).unwrap();
            file.sync().unwrap();
        }
        file.write_at(at, &batch).unwrap();
        file.sync().unwrap();
        at = end;
        for caller in waiting {
            caller.send(()).unwrap();
        }
    }
}
