//! Runs every fuzz target over its corpus. A failure names the input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test")]

#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;

use std::{fs, path::Path};

use targets::TARGETS;

fn corpora() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

/// Octets of all corpora together at most: they are in the repository.
const CORPORA_BYTES_MAX: u64 = 300 * 1024;

#[test]
fn every_target_holds_over_its_corpus() {
    let mut octets = 0;
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpora().join(name)).unwrap_or_else(|error| panic!("{name}: {error}")) {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            (inputs, octets) = (inputs + 1, octets + input.len() as u64);
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                failed.push(path);
            }
        }
        assert!(inputs > 0, "{name} has no inputs");
        target(b"");
    }
    assert!(failed.is_empty(), "inputs for which a property does not hold: {failed:#?}");
    assert!(octets <= CORPORA_BYTES_MAX, "{octets} octets of corpora");
}

#[test]
fn every_corpus_has_a_target() {
    let mut folders: Vec<_> = fs::read_dir(corpora())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(folders, TARGETS.map(|(name, _)| name));
}
