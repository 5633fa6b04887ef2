//! Faults: kills, power cuts, rotten octets, full and failing disks. Each harness is a test with a count in an environment
//! variable: a short run in `tests/run`, a long one by hand (`docs/reliability.md` has the commands). Beside each stand
//! its negative controls: what must be noticed, or the harness proves nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "test")]

mod block;
mod broken;
mod client;
mod content;
mod doctor;
mod found;
mod full;
mod hops;
mod kill;
mod ledger;
mod load;
mod power;
mod quit;
mod resync;
mod rot;
mod verify;
mod worker;

use waypost_tests::Process;

/// A count from the environment.
fn count(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// `WAYPOST_FAULT_SEED`, 1 if it is not set.
fn seed() -> u64 {
    count("WAYPOST_FAULT_SEED", 1)
}

/// Longest wait for what must come.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Waits until something is so.
async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is().await {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// Ends sessions that may wait for a server that says nothing more. What one of them found wrong fails the test.
async fn give_up(tasks: Vec<tokio::task::JoinHandle<()>>) {
    for task in tasks {
        task.abort();
        if let Err(error) = task.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Ends a server in order.
async fn end(server: Process) {
    server.signal("TERM").await;
    let (code, log) = server.end().await;
    assert_eq!(code, Some(0), "{log}");
}
