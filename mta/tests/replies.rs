//! Every reply that the server can give is told of by a test: the codes of the tables in `replies.rs` and `refusal.rs` are looked for in
//! transcripts and tests.
#![allow(clippy::unwrap_used, reason = "test")]

use std::{collections::BTreeSet, fs, path::Path};

const TABLES: [&str; 2] = ["src/smtp/server/replies.rs", "src/server/refusal.rs"];
/// Where a reply stands as it goes over the wire.
const TESTS: [&str; 7] = [
    "../tests/scripts/smtp",
    "../tests/scripts/submission",
    "../tests/scripts/lmtp",
    "src/smtp/server/tests.rs",
    "src/server/tests.rs",
    "../tests/tests/end_to_end/hostile",
    "../tests/tests/faults/full.rs",
];
/// Replies that stand in no transcript, because they need what no client can bring about, a disk that is full or fails, or a bound of the
/// store; and where the test of them is.
const ELSEWHERE: [(&str, &str); 4] = [
    ("534 5.7.9", "src/server/refusal.rs"),
    ("451 4.3.0", "src/server/refusal.rs"),
    ("452 4.3.1", "src/server/refusal.rs"),
    ("554 5.3.4", "src/server/refusal.rs"),
];

fn texts(place: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
    match path.is_dir() {
        true => fs::read_dir(path)
            .unwrap()
            .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
            .collect(),
        false => vec![fs::read_to_string(path).unwrap()],
    }
}

/// The codes of a table, as `550 5.1.1`: of `Fixed(550, S(5, 1, 1), …)`, and of `Refusal::new` and `Reply::new`.
fn codes(table: &str) -> BTreeSet<String> {
    // Tests stand last.
    let words: String = table.split("#[cfg(test)]").next().unwrap().split_whitespace().collect();
    let mut found = BTreeSet::new();
    for opening in ["Fixed(", "Refusal::new(", "Reply::new("] {
        for rest in words.split(opening).skip(1) {
            let Some((code, rest)) = rest.split_once(",S(") else { continue };
            let status = rest.split(')').next().unwrap().replace(',', ".");
            if code.parse::<u16>().is_ok() {
                found.insert(format!("{code} {status}"));
            }
        }
    }
    found
}

#[test]
fn codes_are_found_in_a_table() {
    let table = "const A: Fixed =\n    Fixed(550, S(5, 1, 1), \"x\");\nfn b() { Reply::new(\n 250,\n S(2, 3, 6), y) }\n\
                 #[cfg(test)] Fixed(999, S(9, 9, 9), \"\")";
    assert_eq!(codes(table), BTreeSet::from(["250 2.3.6".to_owned(), "550 5.1.1".to_owned()]));
}

#[test]
fn every_reply_of_the_server_is_in_a_test() {
    let tables = TABLES.iter().flat_map(|table| texts(table));
    let said: BTreeSet<String> = tables.flat_map(|table| codes(&table)).collect();
    assert!(said.len() > 40, "only {} codes were found", said.len());
    let tested: String = TESTS.iter().flat_map(|place| texts(place)).collect();
    let is_tested = |code: &String| {
        tested.contains(code.as_str()) || ELSEWHERE.iter().any(|(elsewhere, _)| elsewhere == code)
    };
    let missing: Vec<_> = said.iter().filter(|code| !is_tested(code)).collect();
    assert!(missing.is_empty(), "no test has {missing:?}");
    for (code, test) in ELSEWHERE {
        assert!(said.contains(code), "{code} is said nowhere");
        assert!(texts(test)[0].contains("#[test]"), "{test} has no test");
    }
}
