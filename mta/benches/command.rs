//! What the parser of SMTP commands costs: millions of commands a second, and allocations for each.
//!
//!     cargo bench -p waypost-mta --bench command
//!
//! The lines of one transaction, as servers send them, in turn; then each line for itself. Medians of several rounds. The allocator
//! counts all the time, which costs a little.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark")]

use std::{hint::black_box, time::Instant};

use allocation_counter::measure;
use waypost_mta::smtp::command::Command;

const ROUNDS: usize = 9;
const COMMANDS: usize = 1_000_000;
const LINES: [&str; 5] = [
    "EHLO mail-relay7.example.org",
    "MAIL FROM:<bounces+2481-alice=example.net@lists.example.org> SIZE=48213 BODY=8BITMIME",
    "RCPT TO:<alice.liddell@example.net>",
    "RCPT TO:<bob@example.net>",
    "DATA",
];

fn main() {
    rate("all of these", &LINES);
    for line in LINES {
        rate(line, &[line]);
    }
}

fn parse(lines: &[&str], count: usize) {
    for line in lines.iter().cycle().take(count) {
        black_box(Command::parse(black_box(line.as_bytes()))).unwrap();
    }
}

fn rate(name: &str, lines: &[&str]) {
    let allocations = measure(|| parse(lines, COMMANDS)).count_total as f64 / COMMANDS as f64;
    let mut nanos: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            parse(lines, COMMANDS);
            begun.elapsed().as_secs_f64() * 1e9 / COMMANDS as f64
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    let nanos = nanos[ROUNDS / 2];
    println!("{:6.2} million/s {nanos:5.0} ns {allocations:5.2} allocations each: {name}", 1000.0 / nanos);
}
