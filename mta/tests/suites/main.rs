//! Test suites that others made of RFCs, which are not in the repository: `tests/run` fetches them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

mod spf;
mod zone;

use std::path::{Path, PathBuf};

use yaml_rust2::{Yaml, YamlLoader};

/// The file of a suite: in the folder that the variable names, or where `tests/run` puts it.
fn suite(variable: &str, fetched: &str, file: &str) -> PathBuf {
    let folder = std::env::var_os(variable).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/suites").join(fetched),
        PathBuf::from,
    );
    let path = folder.join(file);
    assert!(
        path.exists(),
        "{}: run tests/suites, or say in {variable} which folder holds it",
        path.display()
    );
    path
}

/// The documents of a file.
fn documents(path: &Path) -> Vec<Yaml> {
    YamlLoader::load_from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The members of a mapping.
fn members(of: &Yaml) -> impl Iterator<Item = (&str, &Yaml)> {
    let members = of.as_hash().unwrap_or_else(|| panic!("no mapping: {of:?}"));
    members.iter().map(|(key, value)| (key.as_str().unwrap(), value))
}
