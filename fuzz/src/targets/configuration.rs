//! The configuration file.

use std::path::Path;

use waypost_config::{explain, parse, parse_size};

/// A text is a configuration or has problems that say where they are; the same each time.
pub(crate) fn config(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    // Keys that name files are left to the tests beside the code: here any file of the machine would be opened.
    if ["_file", "certificate", "key", "\\"].iter().any(|word| text.contains(word)) {
        return;
    }
    let file = Path::new("/nowhere/waypost.toml");
    match (parse(file, text), parse(file, text)) {
        (Ok(one), Ok(other)) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
        (Err(error), Err(other)) => {
            assert_eq!(error.problems, other.problems);
            assert!(!error.problems.is_empty());
            for problem in error.problems {
                assert!(problem.starts_with("/nowhere/waypost.toml:"), "{problem}");
            }
        }
        (one, other) => panic!("{one:?} and then {other:?}"),
    }
}

/// Single values, and keys that are explained.
pub(crate) fn values(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    if let Ok(size) = parse_size(text) {
        assert_eq!(parse_size(&size.to_string()), Ok(size));
    }
    match explain(text) {
        Ok(explanation) => assert!(!explanation.is_empty()),
        Err(nearest) => assert!(nearest.is_none_or(|key| explain(&key).is_ok())),
    }
}
