//! kill -9 at random moments under load: `WAYPOST_KILL_CYCLES=N cargo test -p waypost-tests --test faults kill`, with N kills
//! that hit something: a command in flight, and one acknowledged since the last checkpoint.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use waypost_tests::{Process, program};

use crate::{
    block::say,
    count, end, found,
    ledger::Acknowledged,
    load::{Load, Random},
    seed, until,
};

/// Cycles on one store; then a new one is begun, as each verification reads all of it.
const CYCLES_PER_STORE: u64 = 11;
/// Longest load of a cycle in milliseconds, behind its first acknowledged command.
const LOAD_MAX: u64 = 500;

/// What a server says of a compaction.
pub(crate) const COMPACTED: &str = "Compacted {";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_and_doubles_nothing() {
    let (cycles, seed) = (count("WAYPOST_KILL_CYCLES", 8), seed());
    let (mut done, mut counted, mut acknowledged) = (0, 0, Acknowledged::new());
    while counted < cycles {
        let folder = tempfile::tempdir().unwrap();
        let load = Load::new(seed + done).await;
        begin(&folder, &load, load.parts(0)).await;
        for _ in 0..CYCLES_PER_STORE {
            if counted == cycles {
                break;
            }
            assert!(done < cycles * 3, "only {counted} of {done} kills hit something");
            counted += u64::from(cycle(&folder, &load, done, seed).await);
            done += 1;
        }
        load.ledger.lock().unwrap().add_to(&mut acknowledged);
    }
    say(&format!("kill: seed {seed}, {done} kills, {counted} counted, done {acknowledged:?}, 0 problems"));
}

/// A server that only makes its accounts.
pub(crate) async fn begin(folder: &TempDir, load: &Load, under_test: &str) {
    let config = load.site().write(folder.path());
    let server = Process::try_serve(&program(), &config, under_test).await.unwrap();
    end(server).await;
    let found = found::by_store(&folder.path().join("state"), &load.taken()).await.unwrap();
    load.ledger.lock().unwrap().begin_with(&found);
}

/// One server, one kill, one verification: through the next server's protocols or in the store, in turn. Whether it counts.
async fn cycle(folder: &TempDir, load: &Load, cycle: u64, seed: u64) -> bool {
    let (config, state) = (folder.path().join("waypost.toml"), folder.path().join("state"));
    let server = Process::try_serve(&program(), &config, load.parts(cycle)).await;
    let server = Arc::new(server.unwrap_or_else(|said| panic!("cycle {cycle}: {said}")));
    load.ledger.lock().unwrap().start();
    let tasks = load.begin(&server, state.clone());
    until("a command is acknowledged", async || load.ledger.lock().unwrap().acknowledged_since(None) > 0)
        .await;
    let wait = Random::new(seed * 7919 + cycle).below(LOAD_MAX);
    tokio::time::sleep(Duration::from_millis(wait)).await;
    server.signal("KILL").await;
    for task in tasks {
        task.await.unwrap();
    }
    load.ledger.lock().unwrap().note("compacted", server.count(COMPACTED));
    Arc::into_inner(server).unwrap().kill().await;
    let checkpoint = checkpoint(&state);
    let counts = {
        let ledger = load.ledger.lock().unwrap();
        ledger.in_flight() > 0 && ledger.acknowledged_since(checkpoint) > 0
    };
    let problems = verify(&config, load, cycle.is_multiple_of(2)).await;
    assert!(problems.is_empty(), "cycle {cycle} of seed {seed}: {problems:#?}");
    counts
}

/// When the last checkpoint was.
pub(crate) fn checkpoint(state: &std::path::Path) -> Option<std::time::SystemTime> {
    std::fs::metadata(state.join("heads")).ok()?.modified().ok()
}

/// What is wrong after a cut.
pub(crate) async fn verify(config: &std::path::Path, load: &Load, by_protocols: bool) -> Vec<String> {
    let state = config.with_file_name("state");
    let mut problems = std::mem::take(&mut load.ledger.lock().unwrap().refusals);
    let found = if by_protocols {
        load.ledger.lock().unwrap().started();
        let server = match Process::try_serve(&program(), config, "segment=131072").await {
            Ok(server) => server,
            Err(said) => return vec![format!("the server does not start: {said}")],
        };
        let found = found::by_protocols(&server, &state, || load.taken(), &load.ledger).await;
        server.kill().await;
        found.ok_or_else(|| "the server went away while it was read".to_owned())
    } else {
        found::by_store(&state, &load.taken()).await.map_err(|error| format!("the store: {error}"))
    };
    match found {
        Ok(found) => problems.extend(load.ledger.lock().unwrap().verify(&found)),
        Err(problem) => problems.push(problem),
    }
    problems
}
