//! How far long work has come.

use std::sync::Arc;

/// How far long work has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub step: &'static str,
    /// How many of `total` are done.
    pub done: u64,
    /// How many there are.
    pub total: u64,
}

/// Is told how far long work has come; from any thread, so it must be quick.
pub type Report = Arc<dyn Fn(Progress) + Send + Sync>;

/// Tells nobody.
pub fn silent() -> Report {
    Arc::new(|_| {})
}
