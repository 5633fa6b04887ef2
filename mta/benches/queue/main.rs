//! What a long queue costs: a million messages for ten thousand destinations, half of them dead.
//!
//!     cargo bench -p waypost-mta --bench queue -- [MESSAGES]…          (default: 10000 100000 1000000)
//!
//! A hundred messages go to each destination, so that the cost of one message can be compared.
//!
//! For each number: the messages are accepted into a store; a process of its own opens it, runs the queue and says how long it took until
//! the first delivery, its memory, and its processor time for each message delivered. A quarter of the destinations refuses connections,
//! a quarter takes them and says nothing. When all that can be delivered is, new messages go to the live destinations: how long
//! each takes, while the dead ones are being tried, and while one destination takes ten seconds for each reply.
//!
//! The servers are in a process of their own, load and queue in one. Files go to `target/bench`, or to the folder in WAYPOST_BENCH_DIR, on a real disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a benchmark"
)]

mod sink;
mod world;

use std::{path::PathBuf, process::Command, time::Duration};

use world::World;

/// Messages for one destination.
const MESSAGES_A_DOMAIN: usize = 100;
/// Messages to live destinations while the dead ones are tried.
const LATE_MESSAGES: usize = 2_000;
/// Between two of them.
const LATE_PAUSE: Duration = Duration::from_millis(10);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let number = |word: &String| word.parse::<usize>().expect("a number of messages");
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fill", place, _] => {
            let messages = number(&words[2]);
            runtime.block_on(world::fill(place.as_ref(), messages, domains(messages)));
        }
        ["sink"] => runtime.block_on(sink::serve()),
        ["run", place, _] => runtime.block_on(run(place.into(), number(&words[2]))),
        [] => [10_000, 100_000, 1_000_000].into_iter().for_each(measure),
        _ => words.iter().map(number).for_each(measure),
    }
}

fn domains(messages: usize) -> usize {
    (messages / MESSAGES_A_DOMAIN).max(4)
}

/// Fills a store and runs its queue, each in a process of its own.
fn measure(messages: usize) {
    let place = std::env::var_os("WAYPOST_BENCH_DIR").map(PathBuf::from);
    let place = place.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench"));
    std::fs::create_dir_all(&place).unwrap();
    let folder = tempfile::tempdir_in(place).unwrap();
    for what in ["fill", "run"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(what).arg(folder.path()).arg(messages.to_string());
        assert!(command.status().unwrap().success(), "{what} {messages}");
    }
}

async fn run(place: PathBuf, messages: usize) {
    let world = World::start(place).await;
    let opened = world.begun.elapsed();
    let (memory_opened, processor_opened) = (world::memory_mib(), world::processor());
    world.deliver();
    world.until_left(1, Duration::from_millis(1)).await;
    let first = world.begun.elapsed();
    let live = messages / 2;
    let most = world.until_left(live, Duration::from_millis(20)).await;
    let whole = world.begun.elapsed();
    let each = world::processor().as_secs_f64() * 1e6 / live as f64;
    println!(
        "{messages} messages: open {:.2} s ({:.2} s of processor), {memory_opened} MiB; first delivery after {:.2} s; {live} delivered after {:.1} s, \
         {each:.0} us of processor each, {most} MiB at most",
        opened.as_secs_f64(),
        processor_opened.as_secs_f64(),
        first.as_secs_f64(),
        whole.as_secs_f64(),
    );
    let mut late = Vec::new();
    for number in 0..LATE_MESSAGES {
        late.push(world.send(number, domains(messages)).await);
        tokio::time::sleep(LATE_PAUSE).await;
    }
    let mut took = Vec::new();
    for waiting in late {
        took.push(waiting.await.unwrap());
    }
    took.sort_unstable();
    let at =
        |permille: usize| took[(took.len() * permille / 1000).min(took.len() - 1)].as_secs_f64() * 1000.0;
    println!(
        "    new ones beside {} that wait: half within {:.1} ms, 99 of 100 within {:.1} ms, all within {:.1} ms; {} MiB",
        world.waiting(),
        at(500),
        at(990),
        at(1000),
        world::memory_mib(),
    );
    world.end().await;
}
