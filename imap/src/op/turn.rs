//! Long commands let others have their turn: rows and short texts are in memory, and a large mailbox would keep the thread.

use std::time::{Duration, Instant};

/// How long a command works until others have their turn.
const TURN: Duration = Duration::from_micros(500);

/// The turn of one command.
#[derive(Debug)]
pub(super) struct Turn {
    begun: Instant,
}

impl Turn {
    /// It begins.
    pub(super) fn new() -> Self {
        Self { begun: Instant::now() }
    }

    /// Lets others go on once it has taken its time. More often it would cost more than the work between.
    pub(super) async fn give(&mut self) {
        if self.begun.elapsed() >= TURN {
            tokio::task::yield_now().await;
            self.begun = Instant::now();
        }
    }
}
