//! The suite of openspf.org for RFC 7208. `WAYPOST_SPF_SUITE` names a folder with `rfc7208-tests.yml`.

use waypost_mta::{
    authenticity::spf::{Client, check},
    dns::Resolver,
};
use yaml_rust2::Yaml;

use crate::{
    documents, members, suite,
    zone::{Entry, Zone},
};

/// Tests that the suite of 2014.04, with what pyspf added, has at least.
const TESTS_MIN: usize = 203;

#[tokio::test]
async fn spf_results_are_those_of_the_suite() {
    let (mut run, mut failed) = (0, Vec::new());
    for scenario in documents(&suite("WAYPOST_SPF_SUITE", "spf", "rfc7208-tests.yml")) {
        let resolver = Resolver::answered_by(zone(&scenario["zonedata"]));
        for (name, test) in members(&scenario["tests"]) {
            run += 1;
            if let Some(problem) = problem(&resolver, test).await {
                failed.push(format!("{name}: {problem}"));
            }
        }
    }
    println!("{run} tests of the SPF suite");
    assert!(failed.is_empty(), "{} of {run}:\n{}", failed.len(), failed.join("\n"));
    assert!(run >= TESTS_MIN, "only {run} tests");
}

/// What went wrong in a test.
async fn problem(resolver: &Resolver, test: &Yaml) -> Option<String> {
    let text = |key: &str| test[key].as_str().unwrap_or_default();
    let (sender, helo) = (text("mailfrom"), text("helo"));
    let (local, domain) =
        sender.rsplit_once('@').unwrap_or(("", if sender.is_empty() { helo } else { sender }));
    let client = Client {
        ip: text("host").parse().unwrap(),
        helo,
        local,
        domain,
        receiver: "receiver.example",
        now: 0,
    };
    let outcome = check(resolver, client).await;
    let expected: Vec<&str> = match &test["result"] {
        Yaml::Array(all) => all.iter().filter_map(Yaml::as_str).collect(),
        one => vec![one.as_str().unwrap()],
    };
    if !expected.contains(&outcome.result.name()) {
        return Some(format!("{outcome:?} instead of {expected:?}"));
    }
    // DEFAULT: what a receiver says where the domain explains nothing.
    match (test["explanation"].as_str(), outcome.explanation.as_deref()) {
        (None, _) | (Some("DEFAULT"), None) => None,
        (Some(expected), explained) if Some(expected) == explained => None,
        (expected, explained) => Some(format!("explained by {explained:?} instead of {expected:?}")),
    }
}

fn zone(data: &Yaml) -> Zone {
    let mut zone = Zone::default();
    for (name, entries) in members(data) {
        let entries = entries.as_vec().unwrap();
        // Records of type SPF stand for TXT, too, where none is given.
        let has_text = entries.iter().any(|entry| !entry["TXT"].is_badvalue());
        for entry in entries {
            if entry.as_str() == Some("TIMEOUT") {
                zone.add(name, Entry::Timeout);
                continue;
            }
            let (kind, value) = members(entry).next().unwrap();
            let word = || value.as_str().unwrap();
            match kind {
                "SPF" if has_text => {}
                "TXT" if value.as_str() == Some("NONE") => {}
                "SPF" | "TXT" => zone.add(name, Entry::Txt(octets(value))),
                "A" | "AAAA" => zone.add(name, Entry::Address(word().parse().unwrap())),
                "PTR" => zone.add(name, Entry::Ptr(word().to_owned())),
                "CNAME" => zone.add(name, Entry::Alias(word().to_owned())),
                "MX" => {
                    let preference = value[0].as_i64().unwrap().try_into().unwrap();
                    zone.add(name, Entry::Mx(preference, value[1].as_str().unwrap().to_owned()));
                }
                other => panic!("{name} has records of type {other}"),
            }
        }
    }
    zone
}

/// The strings of a record, joined; each character stands for an octet.
fn octets(value: &Yaml) -> Vec<u8> {
    let text = match value {
        Yaml::Array(strings) => strings.iter().filter_map(Yaml::as_str).collect(),
        one => one.as_str().unwrap().to_owned(),
    };
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}
