//! The `waypost` program once more, so that tests that need a process of its own have it built.
//!
//! `WAYPOST_UNDER_TEST` makes it a server with other parts, by words: `segment=BYTES`, `checkpoint=RECORDS`,
//! `compact=MILLISECONDS` (how often space is given back), `sync=never`, `sync=late` and `sync=deaf` (the negative controls of `tests/faults`), `plain` (none of these).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "test")]

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use waypost_server::{Parts, Server};
use waypost_storage::Store;
use waypost_tests::{Lying, Sync, process::UNDER_TEST};

fn main() -> ExitCode {
    match std::env::var(UNDER_TEST) {
        Ok(words) => {
            let config = std::env::args().nth(3).expect("serve --config FILE");
            tokio::runtime::Runtime::new().unwrap().block_on(serve(Path::new(&config), words))
        }
        Err(_) => waypost_server::cli::run(),
    }
}

fn parts(words: &str) -> Parts {
    let mut parts = Parts::default();
    for word in words.split_whitespace() {
        match word.split_once('=') {
            Some(("segment", bytes)) => parts.segment_bytes = Some(bytes.parse().unwrap()),
            Some(("checkpoint", records)) => parts.checkpoint_records = Some(records.parse().unwrap()),
            Some(("sync", "never")) => parts.disk = Some(Arc::new(Lying(Sync::Never))),
            Some(("sync", "late")) => parts.disk = Some(Arc::new(Lying(Sync::Late))),
            Some(("sync", "deaf")) => parts.disk = Some(Arc::new(Lying(Sync::Deaf))),
            Some(("compact", _)) => {}
            _ => assert_eq!(word, "plain"),
        }
    }
    parts
}

fn compaction(words: &str) -> Option<Duration> {
    let pause = words.split_whitespace().find_map(|word| word.strip_prefix("compact="))?;
    Some(Duration::from_millis(pause.parse().unwrap()))
}

/// Gives space back all the time.
async fn compact(store: Store, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let released = store.release_expired().await;
        match released.and(store.compact().await) {
            Ok(done) if done.segments > 0 => eprintln!("{done:?}"),
            Ok(_) => {}
            Err(error) => eprintln!("compaction: {error}"),
        }
    }
}

async fn serve(config: &Path, words: String) -> ExitCode {
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let config = waypost_config::load(config).unwrap_or_else(|error| panic!("{error}"));
    let compaction = compaction(&words);
    let running = match Server::start(config, parts(&words)).await {
        Ok(running) => running,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let bound: Vec<String> = running.bound().iter().map(ToString::to_string).collect();
    eprintln!("ready {}", bound.join(" "));
    if let Some(pause) = compaction {
        tokio::spawn(compact(running.store().clone(), pause));
    }
    terminate.recv().await;
    running.drain().await;
    ExitCode::SUCCESS
}
