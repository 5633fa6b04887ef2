//! The suite of ValiMail for ARC, as far as it is about validation. `WAYPOST_ARC_SUITE` names a folder with `arc-draft-validation-tests.yml`;
//! no package that can be fetched carries it, so without the variable that it was not run is said where `tests/run` shows it.

use std::{io::Write, path::Path};

use waypost_mail::{Domain, ReversePath};
use waypost_message::HeaderCollector;
use waypost_mta::{
    authenticity::{Check, Sender},
    dns::Resolver,
};
use yaml_rust2::Yaml;

use crate::{
    documents, members,
    zone::{Entry, Zone},
};

/// Tests that the suite has at least.
const TESTS_MIN: usize = 168;

#[tokio::test]
async fn chains_stand_and_fail_as_the_suite_says() {
    let Some(folder) = std::env::var_os("WAYPOST_ARC_SUITE") else {
        not_run(
            "chains_stand_and_fail_as_the_suite_says",
            "WAYPOST_ARC_SUITE, the folder of the ARC test suite",
        );
        return;
    };
    let (mut run, mut failed) = (0, Vec::new());
    for scenario in documents(&Path::new(&folder).join("arc-draft-validation-tests.yml")) {
        let mut zone = Zone::default();
        for (name, text) in members(&scenario["txt-records"]) {
            zone.add(name, Entry::Txt(text.as_str().unwrap().as_bytes().to_vec()));
        }
        let resolver = Resolver::answered_by(zone);
        for (name, test) in members(&scenario["tests"]) {
            run += 1;
            let (result, reason) = result(&resolver, &test["message"]).await;
            let expected = test["cv"].as_str().unwrap().to_ascii_lowercase();
            // Where the suite leaves it open, RFC 8617 section 5.2 does not: such chains failed before.
            let expected = if expected.trim().is_empty() { "fail" } else { expected.trim() };
            if result != expected {
                failed.push(format!("{name}: {result} ({reason:?}) instead of {expected}"));
            }
        }
    }
    println!("{run} tests of the ARC suite");
    assert!(failed.is_empty(), "{} of {run}:\n{}", failed.len(), failed.join("\n"));
    assert!(run >= TESTS_MIN, "only {run} tests");
}

/// Says it past the test runner, which keeps what a test that passes prints.
fn not_run(test: &str, needs: &str) {
    // Nobody to tell where standard error is closed.
    let _closed = writeln!(std::io::stderr(), "NOT RUN: {test} (needs {needs})");
}

async fn result(resolver: &Resolver, message: &Yaml) -> (&'static str, Option<String>) {
    let message = message.as_str().unwrap_or_default().replace('\n', "\r\n");
    let mut collector = HeaderCollector::default();
    let (header, used) = match collector.feed(message.as_bytes()).unwrap() {
        Some(both) => both,
        None => (collector.finish(), message.len()),
    };
    let mut check = Check::begin(&header, 0);
    check.feed(&message.as_bytes()[used..]);
    let receiver = Domain::new("receiver.example").unwrap();
    let sender = Sender {
        peer: "192.0.2.1".parse().unwrap(),
        helo: "sender.example",
        reverse_path: &ReversePath::Null,
        receiver: &receiver,
        now: 0,
    };
    let arc = check.finish(resolver, sender).await.arc;
    (arc.result.name(), arc.reason)
}
