//! The rules of the house: which crate may know which, who owns an outside library, and what pure code may not name.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn manifest(folder: &str) -> toml::Table {
    fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap().parse().unwrap()
}

fn members() -> Vec<String> {
    let members = manifest(".")["workspace"]["members"].clone();
    members.as_array().unwrap().iter().map(|member| member.as_str().unwrap().to_owned()).collect()
}

fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest = manifest(folder);
    let names = |key: &str| {
        manifest.get(key).and_then(|table| table.as_table()).map(|table| table.keys().cloned().collect())
    };
    names("dependencies").unwrap_or_default()
}

/// `tests ─► server ─► { mta, imap, pop3, web } ─► { storage, auth, net } ─► { config, message } ─► mail`
const LEVELS: [&[&str]; 6] = [
    &["mail"],
    &["config", "message"],
    &["storage", "auth", "net"],
    &["mta", "imap", "pop3", "web"],
    &["server"],
    &["tests"],
];

#[test]
fn arrows_point_only_down() {
    let level = |folder: &str| LEVELS.iter().position(|level| level.contains(&folder));
    for folder in members() {
        let own = level(&folder).unwrap_or_else(|| panic!("{folder} has no level"));
        for dependency in dependencies(&folder) {
            let Some(known) = dependency.strip_prefix("waypost-") else { continue };
            let other = level(known).unwrap_or_else(|| panic!("{known} has no level"));
            assert!(other < own, "{folder} must not know {known}");
        }
    }
}

/// Outside libraries and the crates that may name them; what is not listed belongs to one crate.
const SHARED: [(&str, &[&str]); 16] = [
    ("tokio", &["storage", "auth", "net", "mta", "imap", "pop3", "web", "server", "tests"]),
    ("tracing", &["storage", "auth", "net", "mta", "imap", "pop3", "web", "server"]),
    ("nom", &["mta", "imap", "pop3"]),
    ("thiserror", &["mail", "message", "auth", "net", "storage", "mta", "imap", "server"]),
    ("bytes", &["net", "storage", "mta", "imap", "pop3", "tests"]),
    ("aws-lc-rs", &["auth", "net", "mta"]),
    ("icu_normalizer", &["auth", "imap"]),
    ("base64", &["auth", "imap", "mta", "server", "tests"]),
    ("memchr", &["message", "mta", "pop3"]),
    ("rustix", &["net", "storage"]),
    ("getrandom", &["storage", "mta", "server"]),
    ("encoding_rs", &["message", "imap"]),
    ("xxhash-rust", &["storage", "message"]),
    ("tempfile", &["server", "tests"]),
    ("serde", &["mta", "server"]),
    ("serde_json", &["auth", "mta", "server", "tests"]),
];
const TESTS_ONLY: [&str; 3] = ["toml", "hickory-server", "rcgen"];

#[test]
fn an_outside_library_has_one_owner() {
    let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for folder in members() {
        for dependency in dependencies(&folder).into_iter().filter(|name| !name.starts_with("waypost-")) {
            if folder != "tests" || !TESTS_ONLY.contains(&dependency.as_str()) {
                owners.entry(dependency).or_default().push(folder.clone());
            }
        }
    }
    for (library, folders) in owners {
        match SHARED.iter().find(|(name, _)| *name == library) {
            Some((_, allowed)) => {
                for folder in folders {
                    assert!(allowed.contains(&folder.as_str()), "{folder} must not name {library}");
                }
            }
            None => assert_eq!(folders.len(), 1, "{library} belongs to one crate, not to {folders:?}"),
        }
    }
    assert!(dependencies("storage").contains("sled") && dependencies("net").contains("rustls"));
}

#[test]
fn of_the_mta_only_authenticity_names_cryptography() {
    let files = rust_files(&root().join("mta/src"));
    let names = |file: &PathBuf| fs::read_to_string(file).unwrap().contains("aws_lc_rs");
    let naming: Vec<_> = files.into_iter().filter(names).collect();
    assert!(!naming.is_empty());
    for file in naming {
        assert!(file.starts_with(root().join("mta/src/authenticity")), "{} names aws_lc_rs", file.display());
    }
}

/// Folders and files of pure code.
const PURE: [&str; 48] = [
    "mail/src",
    "message/src",
    "mta/src/authenticity/dkim/body.rs",
    "mta/src/authenticity/dkim/canonical.rs",
    "mta/src/authenticity/dkim/signature.rs",
    "mta/src/authenticity/dkim/tags.rs",
    "mta/src/authenticity/dmarc/record.rs",
    "mta/src/authenticity/policy.rs",
    "mta/src/authenticity/results.rs",
    "mta/src/authenticity/spf/macros.rs",
    "mta/src/authenticity/spf/record.rs",
    "mta/src/authenticity/seal.rs",
    "mta/src/authenticity/sign.rs",
    "mta/src/reports/incoming/aggregate.rs",
    "mta/src/reports/incoming/mail.rs",
    "mta/src/reports/incoming/provider.rs",
    "mta/src/reports/incoming/summary.rs",
    "mta/src/reports/incoming/text.rs",
    "mta/src/reports/incoming/tls.rs",
    "mta/src/reports/incoming/unpack.rs",
    "mta/src/reports/incoming/words.rs",
    "mta/src/reports/outgoing/sighting.rs",
    "mta/src/reports/outgoing/uri.rs",
    "mta/src/smtp",
    "mta/src/tls_policy/decision.rs",
    "mta/src/tls_policy/sts.rs",
    "imap/src/client",
    "imap/src/wire",
    "imap/src/machine.rs",
    "imap/src/machine",
    "pop3/src/wire.rs",
    "pop3/src/wire",
    "pop3/src/machine.rs",
    "pop3/src/machine",
    "pop3/src/body.rs",
    "pop3/src/listing.rs",
    "web/src/autoconfig.rs",
    "web/src/autodiscover.rs",
    "web/src/policy.rs",
    "web/src/services.rs",
    "web/src/site.rs",
    "auth/src/sasl",
    "storage/src/decide",
    "storage/src/apply",
    "server/src/port/lines.rs",
    "server/src/port/maildir.rs",
    "server/src/port/mbox.rs",
    "server/src/port/name.rs",
];
/// What pure code does not name: sockets, clocks, randomness, async, files.
const FORBIDDEN: [&str; 12] = [
    "Instant::now",
    "SystemTime",
    "tokio::",
    "std::net::Tcp",
    "std::net::Udp",
    "std::fs",
    "std::thread",
    "getrandom",
    "rand::",
    "async fn",
    ".await;",
    "Utc::now",
];

/// Libraries that one module of a crate names, and no other.
const OF_MODULES: [(&str, &str, &[&str]); 3] = [
    ("mail_auth::", "mta/src", &["mta/src/authenticity", "mta/src/reports"]),
    ("quick_xml::", "mta/src", &["mta/src/reports"]),
    ("flate2::", "mta/src", &["mta/src/reports"]),
];

#[test]
fn a_library_of_a_module_is_named_nowhere_else() {
    for (library, folder, modules) in OF_MODULES {
        let names = |file: &PathBuf| fs::read_to_string(file).unwrap().contains(library);
        let (inside, outside): (Vec<_>, Vec<_>) = rust_files(&root().join(folder))
            .into_iter()
            .filter(names)
            .partition(|file| modules.iter().any(|module| file.starts_with(root().join(module))));
        assert!(!inside.is_empty(), "{modules:?} do not name {library}");
        assert!(outside.is_empty(), "{library} belongs to {modules:?}, not to {outside:?}");
    }
}

#[test]
fn pure_code_is_pure() {
    let mut seen = 0;
    for place in PURE {
        for file in rust_files(&root().join(place)) {
            seen += 1;
            let text = fs::read_to_string(&file).unwrap();
            let product = text.split("#[cfg(test)]\nmod ").next().unwrap();
            for (number, line) in
                product.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
            {
                for word in FORBIDDEN {
                    assert!(
                        !line.contains(word),
                        "{}:{}: pure code names {word}",
                        file.display(),
                        number + 1
                    );
                }
            }
        }
    }
    assert!(seen >= 20, "only {seen} files of pure code were found");
}

#[test]
fn nobody_leaves_work_undone_in_the_code() {
    for folder in members() {
        for file in rust_files(&root().join(&folder).join("src")) {
            let text = fs::read_to_string(&file).unwrap();
            for word in [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME")] {
                assert!(!text.contains(word), "{}: {word}", file.display());
            }
        }
    }
}

fn rust_files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files
}

/// A row of `docs/rfc.md`.
struct Row {
    rfc: u32,
    status: String,
    modules: Vec<String>,
    tests: Vec<String>,
}

/// The rows of all tables in `docs/rfc.md`: RFC | title | status | modules | tests.
fn rfc_rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join("docs/rfc.md")).unwrap();
    let paths = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [rfc, title, status, modules, tests] = cells[..] else { panic!("not five cells: {line}") };
        if rfc == "RFC" || rfc.starts_with("---") {
            continue;
        }
        assert!(!title.is_empty(), "RFC {rfc} has no title");
        let rfc = rfc.parse().unwrap_or_else(|_| panic!("not the number of an RFC: {line}"));
        rows.push(Row { rfc, status: status.into(), modules: paths(modules), tests: paths(tests) });
    }
    rows
}

/// The RFCs that a text cites as `RFC 5321`.
fn cited(text: &str) -> BTreeSet<u32> {
    let number = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().ok();
    // Comments are wrapped: the number may stand in the next line.
    let joined = text.replace("///", " ").replace("//!", " ").replace("//", " ");
    let words: Vec<&str> = joined.split_whitespace().collect();
    let pairs = words
        .windows(2)
        .filter(|pair| pair[0].trim_start_matches(|c: char| !c.is_ascii_alphanumeric()) == "RFC");
    pairs.filter_map(|pair| number(pair[1])).collect()
}

fn citations(place: &str) -> BTreeSet<u32> {
    let texts = rust_files(&root().join(place)).into_iter().map(|file| fs::read_to_string(file).unwrap());
    texts.flat_map(|text| cited(&text)).collect()
}

#[test]
fn citations_are_found() {
    let text = "/// As RFC 5321 section 4 (RFC 6531, RFC\n/// 8314), not RFC822 and no RFC";
    assert_eq!(cited(text), BTreeSet::from([5321, 6531, 8314]));
}

#[test]
fn every_rfc_that_the_code_cites_is_in_the_table() {
    let rows: BTreeSet<u32> = rfc_rows().iter().map(|row| row.rfc).collect();
    let mut all = BTreeSet::new();
    for folder in members().iter().filter(|folder| *folder != "tests") {
        let found = citations(&format!("{folder}/src"));
        let missing: Vec<_> = found.difference(&rows).collect();
        assert!(missing.is_empty(), "{folder} cites RFCs that docs/rfc.md has no row for: {missing:?}");
        all.extend(found);
    }
    assert!(all.len() > 50, "only {} RFCs were found in the code", all.len());
}

#[test]
fn the_table_of_rfcs_is_true() {
    let mut seen = BTreeSet::new();
    for Row { rfc, status, modules, tests } in rfc_rows() {
        assert!(seen.insert(rfc), "RFC {rfc} has two rows");
        let explained = |word: &str| status.strip_prefix(word).is_some_and(|what| what.len() > 3);
        let is_status =
            status == "complete" || ["complete: ", "partial: ", "not: "].into_iter().any(explained);
        assert!(is_status, "RFC {rfc} has the status {status:?}");
        assert!(!modules.is_empty() && !tests.is_empty(), "RFC {rfc} names no module or no test");
        for path in modules.iter().chain(&tests) {
            assert!(root().join(path).exists(), "RFC {rfc} names {path}, which does not exist");
        }
        for module in &modules {
            assert!(citations(module).contains(&rfc), "{module} does not cite RFC {rfc}");
        }
        for test in tests.iter().filter(|test| test.ends_with(".rs")) {
            let text = fs::read_to_string(root().join(test)).unwrap();
            assert!(
                text.contains("#[test]") || text.contains("#[tokio::test"),
                "{test} has no test (RFC {rfc})"
            );
        }
    }
}

/// A string of a source, and what stands before it in its statement.
struct Literal {
    text: String,
    before: String,
}

/// The strings of a source, without those in comments and in its tests.
fn literals(source: &str) -> Vec<Literal> {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let (mut found, mut before, mut chars) = (Vec::new(), String::new(), source.chars().peekable());
    while let Some(char) = chars.next() {
        match char {
            '/' if chars.peek() == Some(&'/') => while chars.next_if(|char| *char != '\n').is_some() {},
            // A character, or a lifetime.
            '\'' => {
                let first = chars.next();
                let escaped = if first == Some('\\') { chars.next() } else { None };
                if escaped.is_none() && chars.peek() != Some(&'\'') {
                    continue;
                }
                while chars.next().is_some_and(|char| char != '\'') {}
            }
            '"' => {
                let mut text = String::new();
                while let Some(char) = chars.next().filter(|char| *char != '"') {
                    text.push(char);
                    if char == '\\' {
                        text.extend(chars.next());
                    }
                }
                found.push(Literal { text, before: before.trim_end().to_owned() });
            }
            ';' | '{' | '}' => before.clear(),
            char => before.push(char),
        }
    }
    found
}

/// What is answered with a text for people.
const SAYS: [&str; 6] =
    ["Ran::ok(", "Ran::no(", "Ran::bad(", "Failure::bad(", "language.text(", "StoreError::Limit("];
/// What is said before a client can have asked for a language, or goes on in the same line.
const IN_NO_LANGUAGE: [&str; 1] = ["go on"];

impl Literal {
    /// Whether it is said to people: what is answered, and sentences that are not logged.
    fn is_said(&self) -> bool {
        let Self { text, before } = self;
        let is_word = |word: &str| word.len() > 1 && word.bytes().all(|octet| octet.is_ascii_lowercase());
        let is_sentence = text.contains(' ')
            && text.trim() == text
            && text.split(' ').any(is_word)
            && !text.contains(['{', '\\', '*']);
        let is_other = before.contains("tracing::")
            || before.contains("Disconnect::")
            || before.contains("#[")
            || before.ends_with('b');
        let says = SAYS.iter().any(|call| before.ends_with(call));
        (says || is_sentence) && !is_other && !IN_NO_LANGUAGE.contains(&text.as_str())
    }
}

#[test]
fn strings_of_a_source_are_found() {
    let source = "fn a<'a>() { // \"no\"\n x('\"', b'\\'', \"one \\\" two\"); Ran::ok(\"done\"); tracing::info!(\"not said here\") }\n#[cfg(test)]\nmod tests {\"no\"";
    let literals = literals(source);
    let texts: Vec<(&str, bool)> =
        literals.iter().map(|literal| (literal.text.as_str(), literal.is_said())).collect();
    assert_eq!(texts, [("one \\\" two", false), ("done", true), ("not said here", false)]);
}

/// What the store says of commands that IMAP does not have.
const NOT_BY_IMAP: [&str; 9] = [
    "storage/src/decide/accept.rs",
    "storage/src/decide/directory.rs",
    "storage/src/decide/dkim.rs",
    "storage/src/decide/queue.rs",
    "app password",
    "certificate",
    "codes already",
    "DKIM key",
    "queue entry",
];

#[test]
fn what_imap_says_has_a_translation() {
    let mut said = BTreeSet::new();
    for file in rust_files(&root().join("imap/src")) {
        let place = file.strip_prefix(root()).unwrap().display().to_string();
        if ["/tests", "/client/", "testing.rs", "wire/language.rs"].iter().any(|not| place.contains(not)) {
            continue;
        }
        let literals = literals(&fs::read_to_string(&file).unwrap());
        said.extend(literals.into_iter().filter(Literal::is_said).map(|literal| literal.text));
    }
    assert!(said.len() > 150, "{said:?}");
    for file in rust_files(&root().join("storage/src")) {
        let place = file.strip_prefix(root()).unwrap().display().to_string();
        if place.contains("/tests") || NOT_BY_IMAP.contains(&place.as_str()) {
            continue;
        }
        let of_errors = place == "storage/src/error.rs";
        let told = |literal: &Literal| {
            let before = &literal.before;
            before.ends_with("Limit(")
                || before.ends_with("MailboxName(")
                || of_errors && before.ends_with("#[error(")
        };
        let literals = literals(&fs::read_to_string(&file).unwrap());
        let texts = literals.into_iter().filter(told).map(|literal| literal.text.replace("{0}", "7"));
        said.extend(texts.filter(|text| text.len() > 1 && !text.starts_with("damaged: ")));
    }
    said.retain(|text| !NOT_BY_IMAP.iter().any(|not| text.contains(not)));
    let german =
        |text: &str| waypost_imap::wire::spoken(waypost_imap::wire::Language::German, text).into_owned();
    let forgotten: Vec<&String> = said.iter().filter(|text| german(text) == **text).collect();
    assert!(forgotten.is_empty(), "without a translation in imap/src/wire/language.rs: {forgotten:#?}");
}
