//! Shutdown: one token for all, and a count of what still runs.

use std::{future::Future, time::Duration};

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Tells all tasks of a server to stop, and waits for them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// A server that runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task that [`Shutdown::drain`] waits for.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task);
    }

    /// The same, on a thread of its own choice.
    pub(crate) fn spawn_on<F>(&self, task: F, thread: &Handle)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn_on(task, thread);
    }

    /// Waits until the server stops. Cancel-safe.
    pub async fn stopping(&self) {
        self.token.cancelled().await;
    }

    /// Whether the server stops.
    pub fn is_stopping(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Tells all tasks to stop and waits for them, at most this long; whether all ended.
    pub async fn drain(&self, at_most: Duration) -> bool {
        self.token.cancel();
        self.tasks.close();
        tokio::time::timeout(at_most, self.tasks.wait()).await.is_ok()
    }
}
