use std::time::Duration;

use serde_json::json;

use super::*;
use crate::tls_policy::sts::{Mode, StsPolicy};

const DAY: i64 = 1_795_651_200; // 2026-11-26T00:00:00Z

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(DAY + second)
}

fn domain(text: &str) -> Domain {
    Domain::new(text).unwrap()
}

fn ends(host: &str) -> Ends {
    let (sender, receiver) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
    Ends { sender: Some(sender), host: host.into(), receiver }
}

fn failed(kind: ResultType) -> Failed {
    Failed { kind, reason: "because".into() }
}

fn sts() -> Basis {
    let max_age = Duration::from_secs(86_400);
    Basis::Sts(StsPolicy { mode: Mode::Testing, exchangers: vec!["*.b.test".into()], max_age })
}

#[test]
fn results_have_the_form_of_a_report() {
    let mut results = Results::default();
    let tlsa = Basis::Tlsa("mx.b.test".into(), vec!["3 1 1 07".into()]);
    let mut count = |basis: &Basis, failed: Option<Failed>| {
        assert_eq!(
            results.count(&domain("b.test"), basis, Some(&ends("mx.b.test")), failed.as_ref(), at(1)),
            None
        );
    };
    count(&sts(), None);
    count(&sts(), Some(failed(ResultType::CertificateExpired)));
    count(&sts(), Some(failed(ResultType::CertificateExpired)));
    count(&sts(), Some(failed(ResultType::StarttlsNotSupported)));
    count(&tlsa, Some(Failed { kind: ResultType::ValidationFailure, reason: String::new() }));
    count(&Basis::Nothing, None);
    results.count(&domain("b.test"), &sts(), None, Some(&failed(ResultType::StsPolicyFetchError)), at(2));
    let day = results.day("2026-11-26").unwrap();
    let ends = json!({"sending-mta-ip": "192.0.2.1", "receiving-mx-hostname": "mx.b.test", "receiving-ip": "192.0.2.2"});
    let details = |kind: &str, count: u64, reason: Option<&str>, ends: &serde_json::Value| {
        let mut details = json!({"result-type": kind, "failed-session-count": count});
        let object = details.as_object_mut().unwrap();
        object.extend(reason.map(|reason| ("failure-reason-code".to_owned(), reason.into())));
        object.extend(ends.as_object().unwrap().clone());
        details
    };
    let expected = json!([
        {
            "policy": {
                "policy-type": "sts",
                "policy-string": ["version: STSv1", "mode: testing", "mx: *.b.test", "max_age: 86400"],
                "policy-domain": "b.test",
                "mx-host": ["*.b.test"],
            },
            "summary": {"total-successful-session-count": 1, "total-failure-session-count": 4},
            "failure-details": [
                details("certificate-expired", 2, Some("because"), &ends),
                details("starttls-not-supported", 1, Some("because"), &ends),
                details("sts-policy-fetch-error", 1, Some("because"), &json!({})),
            ],
        },
        {
            "policy": {"policy-type": "tlsa", "policy-string": ["3 1 1 07"], "policy-domain": "mx.b.test"},
            "summary": {"total-successful-session-count": 0, "total-failure-session-count": 1},
            "failure-details": [details("validation-failure", 1, None, &ends)],
        },
        {
            "policy": {"policy-type": "no-policy-found", "policy-domain": "b.test"},
            "summary": {"total-successful-session-count": 1, "total-failure-session-count": 0},
        },
    ]);
    assert_eq!(serde_json::to_value(&day["b.test"]).unwrap(), expected);
    let back: Vec<PolicyResults> = serde_json::from_value(expected).unwrap();
    assert_eq!(back, day["b.test"]);
}

#[test]
fn each_day_has_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |changes: Option<(PathBuf, Vec<u8>)>| {
        let (file, octets) = changes.expect("changes");
        durable::write(&file, &octets).unwrap();
    };
    let count = |results: &mut Results, name: &str, second| {
        results.count(&domain(name), &Basis::Nothing, Some(&ends("mx")), None, at(second))
    };
    let mut results = Results::open(folder.path(), at(0));
    assert_eq!((results.take_changes(), results.days()), (None, Vec::new()));
    assert_eq!(count(&mut results, "a.test", 1), None);
    write(results.take_changes());
    assert_eq!(results.take_changes(), None);
    // another start on the same day goes on
    let mut results = Results::open(folder.path(), at(2));
    assert_eq!(count(&mut results, "b.test", 3), None);
    write(count(&mut results, "c.test", 86_400));
    let names = |day: &str| results.day(day).unwrap().into_keys().collect::<Vec<_>>();
    assert_eq!(names("2026-11-26"), ["a.test", "b.test"]);
    assert_eq!(names("2026-11-27"), ["c.test"]);
    assert_eq!(names("2026-11-25"), [""; 0]);
    assert_eq!(results.days(), ["2026-11-26", "2026-11-27"]);
    fs::write(folder.path().join("2026-11-27.new"), "half").unwrap();
    fs::write(folder.path().join("other.json"), "{}").unwrap();
    assert!(results.outdated(at(DAYS_MAX * 86_400)).is_empty());
    assert_eq!(results.outdated(at((DAYS_MAX + 1) * 86_400)), [folder.path().join("2026-11-26.json")]);
    fs::write(folder.path().join("2026-11-26.json"), "nonsense").unwrap();
    assert!(results.day("2026-11-26").is_err());
    assert!(Results::open(folder.path(), at(0)).day.is_empty());
}

#[test]
fn what_others_can_make_grow_is_bounded() {
    let mut results = Results::default();
    let mut count = |domain: &Domain, basis: &Basis, failed: Option<&Failed>, host: &str| {
        results.count(domain, basis, Some(&ends(host)), failed, at(1));
    };
    for number in 0..=DETAILS_MAX {
        count(
            &domain("a.test"),
            &Basis::Nothing,
            Some(&failed(ResultType::CertificateExpired)),
            &number.to_string(),
        );
    }
    for number in 0..=POLICIES_MAX {
        count(&domain("b.test"), &Basis::Tlsa(number.to_string(), Vec::new()), None, "mx");
    }
    for number in 0..DOMAINS_MAX {
        count(&domain(&format!("d{number}.test")), &Basis::Nothing, None, "mx");
    }
    let long = Failed { kind: ResultType::ValidationFailure, reason: "x".repeat(REASON_CHARS_MAX + 1) };
    count(&domain("d1.test"), &Basis::Nothing, Some(&long), "mx");
    let day = results.day(&results.today.clone()).unwrap();
    assert_eq!(day.len(), DOMAINS_MAX);
    assert_eq!(day["a.test"][0].details.len(), DETAILS_MAX);
    assert_eq!(day["a.test"][0].summary.failed, DETAILS_MAX as u64 + 1, "all are counted");
    assert_eq!(day["b.test"].len(), POLICIES_MAX);
    assert_eq!(day["d1.test"][0].details[0].failure_reason_code.len(), REASON_CHARS_MAX);
}

#[test]
fn problems_have_their_names() {
    for (kind, name) in [
        (ResultType::from(CertificateProblem::Name), "certificate-host-mismatch"),
        (ResultType::from(CertificateProblem::Expired), "certificate-expired"),
        (ResultType::from(CertificateProblem::Untrusted), "certificate-not-trusted"),
        (ResultType::from(CertificateProblem::Tlsa), "validation-failure"),
        (ResultType::from(&Obstacle::TlsaUnknown(String::new())), "dnssec-invalid"),
        (ResultType::from(&Obstacle::AddressesUnknown(String::new())), "dnssec-invalid"),
        (ResultType::from(&Obstacle::NoTlsa), "dane-required"),
        (ResultType::from(&Obstacle::NotNamed), "validation-failure"),
        (ResultType::StarttlsNotSupported, "starttls-not-supported"),
        (ResultType::TlsaInvalid, "tlsa-invalid"),
        (ResultType::StsPolicyFetchError, "sts-policy-fetch-error"),
        (ResultType::StsPolicyInvalid, "sts-policy-invalid"),
        (ResultType::StsWebpkiInvalid, "sts-webpki-invalid"),
    ] {
        assert_eq!(serde_json::to_value(kind).unwrap(), name);
    }
}
