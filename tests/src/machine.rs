//! What a machine does not allow, said plainly.

use std::io::Write;

/// Says on standard error what also a test that passes must say.
pub fn say(line: &str) {
    // Nobody to tell where standard error is closed.
    let _closed = writeln!(std::io::stderr(), "{line}");
}

/// A test that needs something which this machine does not give. `WAYPOST_FAULTS=required` makes it a failure.
///
/// # Panics
/// Where it is required.
pub fn not_run(test: &str, needs: &str, why: &str) {
    assert!(std::env::var("WAYPOST_FAULTS").as_deref() != Ok("required"), "{test} could not be run: {why}");
    let why = why.lines().next().unwrap_or("");
    say(&format!("NOT RUN: {test} (needs {needs}): {why}"));
}
