//! The load of the benchmarks in `tests/bench`: sends mail, reads it, opens connections, does handshakes, and stands for the limits.
//!
//! ```text
//! waypost-load send smtp=ADDRESS [imap=ADDRESS] [sink=ADDRESS] mailboxes=N sessions=N octets=N seconds=N
//! waypost-load null [folder=PATH]            (an SMTP server that says 250, counts, and keeps nothing or a log; prints its address)
//! waypost-load journal folder=PATH writers=N octets=N seconds=N
//! waypost-load connections smtp=ADDRESS count=N sessions=N        (holds them until standard input ends)
//! waypost-load imap imap=ADDRESS mailboxes=N sessions=N seconds=N
//! waypost-load pop3 pop3=ADDRESS first=N sessions=N messages=N octets=N seconds=N
//! waypost-load null-pop3 messages=N octets=N                      (a POP3 server that says the same octets; prints its address)
//! waypost-load handshakes smtp=ADDRESS sessions=N seconds=N resume=0|1 certificate=PATH
//! ```
//!
//! Each prints what it measured as one line of JSON. Its own processor time is measured from outside, as the servers' is.
//! One thread, so that a server on a machine with two cores has one for itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

mod connections;
mod imap;
mod journal;
mod null;
mod pop3;
mod send;
mod smtp;

use std::{collections::BTreeMap, str::FromStr, time::Duration};

const KINDS: &str = "send, imap, pop3, null, null-pop3, journal, connections or handshakes";

/// `name=value` words.
struct Words(BTreeMap<String, String>);

impl Words {
    /// A value. Panics where it is missing or wrong.
    fn of<T: FromStr>(&self, name: &str) -> T {
        self.maybe(name).unwrap_or_else(|| panic!("{name}= is missing"))
    }

    fn maybe<T: FromStr>(&self, name: &str) -> Option<T> {
        let value = self.0.get(name)?;
        Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is wrong")))
    }

    fn seconds(&self) -> Duration {
        Duration::from_secs_f64(self.of("seconds"))
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().expect(KINDS);
    let words = arguments.map(|word| {
        let (name, value) = word.split_once('=').unwrap_or_else(|| panic!("{word} is not name=value"));
        (name.to_owned(), value.to_owned())
    });
    let words = Words(words.collect());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let measured = match what.as_str() {
        "send" => runtime.block_on(send::run(&words)),
        "imap" => runtime.block_on(imap::run(&words)),
        "pop3" => runtime.block_on(pop3::run(&words)),
        "null" => runtime.block_on(null::run(&words)),
        "null-pop3" => runtime.block_on(pop3::null(&words)),
        "journal" => runtime.block_on(journal::run(&words)),
        "connections" => runtime.block_on(connections::open(&words)),
        "handshakes" => runtime.block_on(connections::handshakes(&words)),
        other => panic!("{other}: {KINDS}"),
    };
    println!("{measured}");
}
