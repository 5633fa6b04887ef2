//! Reports of others: packed, and in mail.

use waypost_mail::Timestamp;
use waypost_mta::reports::incoming::{
    aggregate::{Aggregate, ROWS_MAX, SIGNATURES_MAX, is_aggregate},
    mail::{Content, Ours, Reading, read},
    tls::{FAILURES_MAX, POLICIES_MAX, TlsReport, is_tls_report},
    unpack::{MEMBERS_MAX, UNPACKED_BYTES_MAX, is_packed, unpack},
};

/// Longest text that is kept.
const TEXT_BYTES_MAX: usize = 255;

/// A report as it is attached: what comes out of it is bounded, and so is what is kept of that.
pub(crate) fn attached(octets: &[u8]) {
    let Ok(documents) = unpack(octets) else { return };
    assert!(documents.len() <= MEMBERS_MAX);
    assert!(documents.iter().map(|document| document.len()).sum::<usize>() <= UNPACKED_BYTES_MAX);
    for document in &documents {
        assert!(!is_packed(document));
        if let Ok(report) = Aggregate::parse(document) {
            aggregate(&report);
        }
        if let Ok(report) = TlsReport::parse(document) {
            assert!(is_tls_report(document));
            tls(&report);
        }
        let _ = is_aggregate(document);
    }
}

/// A mail with reports: they are about us, and bounded.
pub(crate) fn in_mail(octets: &[u8]) {
    let ours = Ours { hostname: "mx.a.test".to_owned(), domains: vec!["a.test".to_owned()] };
    // 2026-11-26T01:02:03Z
    let Reading { found, problems, .. } = read(octets, None, &ours, Timestamp(1_795_654_923_000));
    for (who, why) in &problems {
        assert!(who.len() <= TEXT_BYTES_MAX && !why.is_empty() && why.len() <= 1024, "{why}");
    }
    for found in found {
        bounded([&found.reporter.provider, &found.reporter.name]);
        match found.content {
            Content::Aggregate(report) => {
                assert!(ours.holds(&report.domain));
                aggregate(&report);
            }
            Content::Tls(report) => {
                let is_ours = |domain: &str| ours.holds(domain) || domain == ours.hostname;
                assert!(
                    !report.policies.is_empty()
                        && report.policies.iter().all(|policy| is_ours(&policy.domain))
                );
                tls(&report);
            }
            Content::Incident(told) => assert!(!told.kind.is_empty()),
        }
    }
}

fn aggregate(report: &Aggregate) {
    assert!(report.rows.len() <= ROWS_MAX && !report.domain.is_empty() && !report.id.is_empty());
    bounded([&report.organization, &report.email, &report.id, &report.domain]);
    for row in &report.rows {
        assert!(row.signatures.len() <= SIGNATURES_MAX);
        bounded([&row.from, &row.disposition]);
    }
}

fn tls(report: &TlsReport) {
    assert!(report.policies.len() <= POLICIES_MAX && !report.id.is_empty());
    for policy in &report.policies {
        assert!(policy.failures.len() <= FAILURES_MAX);
        bounded([&policy.domain, &policy.kind]);
    }
}

fn bounded<'a>(texts: impl IntoIterator<Item = &'a String>) {
    for text in texts {
        assert!(text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control), "{text:?}");
    }
}
