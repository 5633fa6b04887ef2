//! The limit: a bare loop of append and `fdatasync` with group commit, as little as a durable log can do.

use std::{fs::File, os::unix::fs::FileExt, path::Path, sync::Arc, time::Instant};

use tokio::sync::{mpsc, oneshot};

use crate::measure::Times;

/// Octets that are allocated ahead.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Appends `count` texts from so many tasks.
pub(crate) async fn run(folder: &Path, text: &Arc<Vec<u8>>, tasks: usize, count: usize) -> Times {
    let (sender, mut receiver) = mpsc::channel::<oneshot::Sender<()>>(4096);
    let (path, octets) = (folder.join("log"), Arc::clone(text));
    let writer = std::thread::spawn(move || {
        let file = File::create(path).unwrap();
        let (mut at, mut allocated) = (0, 0);
        while let Some(first) = receiver.blocking_recv() {
            let mut waiting = vec![first];
            while let Ok(more) = receiver.try_recv() {
                waiting.push(more);
            }
            let batch = octets.repeat(waiting.len());
            if at + batch.len() as u64 > allocated {
                allocated = (at + batch.len() as u64).next_multiple_of(SEGMENT_BYTES);
                rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, allocated).unwrap();
                file.sync_data().unwrap();
            }
            file.write_all_at(&batch, at).unwrap();
            file.sync_data().unwrap();
            at += batch.len() as u64;
            for caller in waiting {
                caller.send(()).unwrap();
            }
        }
    });
    let begun = Instant::now();
    let work = |_| {
        let sender = sender.clone();
        tokio::spawn(async move {
            let mut each = Vec::new();
            for _ in 0..count / tasks {
                let (caller, answer) = oneshot::channel();
                let begun = Instant::now();
                sender.send(caller).await.unwrap();
                answer.await.unwrap();
                each.push(begun.elapsed());
            }
            each
        })
    };
    let times = Times::of(begun, (0..tasks).map(work).collect()).await;
    drop(sender);
    writer.join().unwrap();
    times
}
