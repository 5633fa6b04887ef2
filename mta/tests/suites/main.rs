//! Test suites that others made of RFCs, which are not in the repository. `tests/suites` fetches what packages carry.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

mod arc;
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

/// The documents of a file. Names of tests that stand there twice are told apart by their lines.
fn documents(path: &Path) -> Vec<Yaml> {
    let text = std::fs::read_to_string(path).unwrap();
    let is_test =
        |line: &str| line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')).is_some_and(is_name);
    let line = |(number, line): (usize, &str)| match is_test(line) {
        true => format!("{}-{}:\n", &line[..line.len() - 1], number + 1),
        false => format!("{line}\n"),
    };
    YamlLoader::load_from_str(&text.lines().enumerate().map(line).collect::<String>()).unwrap()
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.contains([' ', '.'])
}

/// The members of a mapping.
fn members(of: &Yaml) -> impl Iterator<Item = (&str, &Yaml)> {
    let members = of.as_hash().unwrap_or_else(|| panic!("no mapping: {of:?}"));
    members.iter().map(|(key, value)| (key.as_str().unwrap(), value))
}
