//! The fuzzer: libFuzzer runs the target that `WAYPOST_FUZZ_TARGET` names. `fuzz/run` starts it.
//!
//! One binary holds all targets, so that it is linked once; `tests/tests/corpus.rs` runs the same targets over the corpora
//! without libFuzzer.
#![no_main]

mod targets;

use std::sync::LazyLock;

use targets::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("WAYPOST_FUZZ_TARGET").expect("WAYPOST_FUZZ_TARGET names a target");
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no target {name}; there are: {:?}", TARGETS.map(|(known, _)| known))).1
});

libfuzzer_sys::fuzz_target!(|octets: &[u8]| TARGET(octets));
