//! What the parser of SMTP commands costs: millions of commands a second, and allocations for each, of which there are to be none.
//!
//!     cargo bench -p waypost-mta --bench command
//!
//! The lines of one transaction, as servers send them, in turn; then each line for itself, and some that need memory: domains in capitals or
//! with U-labels, and what DSN has the sender say. Medians of several rounds. The allocator counts all the time, which costs a little.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark")]

use std::{hint::black_box, time::Instant};

use allocation_counter::measure;
use waypost_mta::smtp::command::Command;

const ROUNDS: usize = 9;
const COMMANDS: usize = 1_000_000;
/// The lines of one transaction.
const LINES: [&str; 5] = [
    "EHLO mail-relay7.example.org",
    "MAIL FROM:<bounces+2481-alice=example.net@lists.example.org> SIZE=48213 BODY=8BITMIME",
    "RCPT TO:<alice.liddell@example.net>",
    "RCPT TO:<bob@example.net>",
    "DATA",
];
/// These take no memory either.
const MORE: [&str; 3] = [
    "RCPT TO:<bob@example.net> NOTIFY=SUCCESS,FAILURE",
    "RCPT TO:<\"carl e\"@example.net>",
    "BDAT 48213 LAST",
];
/// Of what these say there is a copy.
const RARE: [&str; 3] = [
    "RCPT TO:<alice.liddell@Example.NET>",
    "RCPT TO:<jörg@bücher.example>",
    "RCPT TO:<bob@example.net> ORCPT=rfc822;robert@example.net",
];

fn main() {
    assert_eq!(rate("all lines of one transaction", &LINES), 0, "the usual commands take memory");
    for line in LINES.into_iter().chain(MORE) {
        assert_eq!(rate(line, &[line]), 0, "{line} takes memory");
    }
    for line in RARE {
        rate(line, &[line]);
    }
}

fn parse(lines: &[&str], count: usize) {
    for line in lines.iter().cycle().take(count) {
        black_box(Command::parse(black_box(line.as_bytes()))).unwrap();
    }
}

/// Prints what the lines cost; gives the allocations of a million commands.
fn rate(name: &str, lines: &[&str]) -> u64 {
    let allocations = measure(|| parse(lines, COMMANDS)).count_total;
    let mut nanos: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            parse(lines, COMMANDS);
            begun.elapsed().as_secs_f64() * 1e9 / COMMANDS as f64
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    let nanos = nanos[ROUNDS / 2];
    let each = allocations as f64 / COMMANDS as f64;
    println!("{:6.2} million/s {nanos:5.0} ns {each:5.2} allocations each: {name}", 1000.0 / nanos);
    allocations
}
