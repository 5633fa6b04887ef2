//! Many MTAs in one process, with simulated time, network, disk and DNS: each message that was accepted ends in exactly one way.
//!
//! `WAYPOST_SIM_SEEDS` is the number of seeds (2,000 if it is not set), `WAYPOST_SIM_SEED` runs one seed alone, and
//! `WAYPOST_SIM_TRACE=1` prints all that is said in it. A seed repeats itself to the octet.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "test")]

mod book;
mod chance;
mod kills;
mod life;
mod network;
mod node;
mod peer;
mod tap;
mod trace;
mod verdict;
mod world;
mod zones;

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use crate::world::{Control, Outcome, run_seed};

/// Seeds of the short run.
const SEEDS: u64 = 2000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs something in a world of its own, whose time passes when nothing else is to be done.
fn simulate<T>(world: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(world)
}

/// Runs seeds on two threads.
fn run_all(seeds: impl Iterator<Item = u64>, control: Control) -> Vec<(u64, Outcome)> {
    let seeds: Vec<u64> = seeds.collect();
    let (next, done) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let outcome = simulate(run_seed(*seed, control));
            done.lock().unwrap().push((*seed, outcome));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(seed, _)| *seed);
    done
}

#[test]
fn each_accepted_message_ends_in_exactly_one_way() {
    let seeds = match number("WAYPOST_SIM_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("WAYPOST_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let done = run_all(seeds, Control::None);
    let sum = |of: fn(&Outcome) -> u64| done.iter().map(|(_, outcome)| of(outcome)).sum::<u64>();
    let (windows, duplicates) = (sum(|outcome| outcome.windows), sum(|outcome| outcome.duplicates));
    eprintln!(
        "{} seeds: {} messages accepted, {} copies, {} given up, {} deaths, {windows} windows, {duplicates} duplicates",
        done.len(),
        sum(|outcome| outcome.accepted),
        sum(|outcome| outcome.copies),
        sum(|outcome| outcome.notifications),
        sum(|outcome| outcome.deaths),
    );
    let failed: Vec<_> = done.iter().filter(|(_, outcome)| !outcome.problems.is_empty()).collect();
    let first = failed.first().map(|(seed, outcome)| (seed, &outcome.problems));
    assert!(
        failed.is_empty(),
        "{} seeds failed: {:?}; again with WAYPOST_SIM_SEED={} cargo test -p waypost-mta --test simulation each: {:#?}",
        failed.len(),
        failed.iter().take(20).map(|(seed, _)| *seed).collect::<Vec<_>>(),
        first.map_or(0, |(seed, _)| *seed),
        first.map(|(_, problems)| problems),
    );
}

/// What a world with a defect is found out by; at least so many of its seeds are.
fn found_out(control: Control, seeds: std::ops::RangeInclusive<u64>, by: &str, least: usize) {
    let done = run_all(seeds.clone(), control);
    let is_found =
        |(_, outcome): &&(u64, Outcome)| outcome.problems.iter().any(|problem| problem.contains(by));
    let found = done.iter().filter(is_found).count();
    assert!(
        found >= least,
        "{control:?} was found out by {by:?} in {found} of the seeds {seeds:?}: {done:#?}"
    );
    eprintln!("{control:?}: found out in {found} of the seeds {seeds:?}");
}

#[test]
fn a_forgotten_outcome_is_found_out() {
    found_out(Control::ForgottenOutcome, 1..=20, "times at", 5);
}

#[test]
fn a_retry_without_back_off_is_found_out() {
    found_out(Control::NoBackOff, 1..=10, "asked for again", 2);
}

#[test]
fn an_ignored_null_mx_is_found_out() {
    found_out(Control::IgnoredNullMx, 1..=20, "null MX got mail", 3);
}

#[test]
fn syncs_that_do_nothing_are_found_out() {
    found_out(Control::NoSyncs, 1..=20, "is lost on its way", 3);
}

#[test]
fn a_seed_repeats_itself() {
    for seed in 1..=8 {
        let [first, second] = [(); 2].map(|()| simulate(run_seed(seed, Control::None)));
        assert_eq!(first, second, "seed {seed}");
    }
}
