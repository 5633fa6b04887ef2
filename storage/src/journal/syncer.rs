//! The thread that writes and syncs batches, one after the other, while the writer makes the next. Without it the writer does so itself.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{Builder, JoinHandle},
};

use tokio::sync::mpsc;

use super::Batch;
use crate::error::StoreError;

/// The thread; ends when it is dropped, after the batches that wait.
#[derive(Debug)]
pub(crate) struct Syncer {
    batches: Option<SyncSender<Batch>>,
    done: Option<mpsc::Sender<Result<Batch, StoreError>>>,
    written: mpsc::Receiver<Result<Batch, StoreError>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(crate) fn start() -> Result<Self, StoreError> {
        let (batches, waiting) = sync_channel(1);
        let (done, written) = mpsc::channel(1);
        let thread = Builder::new().name("journal-syncer".into()).spawn(move || work(&waiting, &done))?;
        Ok(Self { batches: Some(batches), done: None, written, thread: Some(thread) })
    }

    /// Without a thread, for a disk in memory.
    pub(crate) fn in_place() -> Self {
        let (done, written) = mpsc::channel(1);
        Self { batches: None, done: Some(done), written, thread: None }
    }

    /// Has a batch written; its outcome comes from [`Syncer::written`], to be awaited before the next batch.
    pub(crate) fn begin(&self, mut batch: Batch) {
        if let Some(done) = &self.done {
            let written = batch.write().map(|()| batch);
            // There is room: the outcome of the batch before was awaited.
            let _gone = done.try_send(written);
            return;
        }
        // A thread that is gone tells so when it is asked for the outcome.
        let _gone = self.batches.as_ref().map(|batches| batches.send(batch));
    }

    /// The batch that was begun, once it is durable, or `Poisoned` as [`Batch::write`] says. May be dropped and called again.
    pub(crate) async fn written(&mut self) -> Result<Batch, StoreError> {
        self.written.recv().await.unwrap_or(Err(StoreError::Poisoned))
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(event = "journal_syncer_panicked", "the journal's syncer panicked");
        }
    }
}

fn work(batches: &Receiver<Batch>, done: &mpsc::Sender<Result<Batch, StoreError>>) {
    for mut batch in batches {
        let written = batch.write().map(|()| batch);
        if done.blocking_send(written).is_err() {
            return;
        }
    }
}
