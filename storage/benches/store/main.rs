//! What the store costs, beside a bare loop of append and `fdatasync` with the same group commit on the same disk.
//!
//!     cargo bench -p waypost-storage --bench store -- [accept | space | mailbox | crash | rebuild [MESSAGES]]…
//!
//! Without words: accept, space, mailbox. Files go to `target/bench`, or to the folder in WAYPOST_BENCH_DIR; it must lie on a
//! real disk. Rates are shown for comparison within one run: machines differ, and are shared.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

mod accept;
mod crash;
mod limit;
mod mailbox;
mod measure;
mod rebuild;
mod space;

use std::path::PathBuf;

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if words.is_empty() {
        words = ["accept", "space", "mailbox"].map(str::to_owned).to_vec();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        match word.as_str() {
            "accept" => runtime.block_on(accept::run()),
            "space" => runtime.block_on(space::run()),
            "mailbox" => runtime.block_on(mailbox::run()),
            "crash" => runtime.block_on(crash::run()),
            "crash-victim" => {
                let (place, bytes) = (words.next().unwrap(), words.next().unwrap());
                runtime.block_on(crash::victim(place.as_ref(), bytes.parse().unwrap()));
            }
            "rebuild" => {
                let messages = words.next_if(|word| word.parse::<u32>().is_ok());
                runtime.block_on(rebuild::run(messages.map_or(100_000, |text| text.parse().unwrap())));
            }
            other => panic!("{other}: accept, space, mailbox, crash or rebuild"),
        }
    }
}

/// A folder of its own below the place for benchmarks.
fn folder() -> tempfile::TempDir {
    let place = std::env::var_os("WAYPOST_BENCH_DIR").map(PathBuf::from);
    let place = place.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench"));
    std::fs::create_dir_all(&place).unwrap();
    tempfile::tempdir_in(place).unwrap()
}
