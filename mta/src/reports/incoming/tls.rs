//! Reports of TLS towards our servers (RFC 8460 section 4). Pure.
//!
//! What is not understood is passed over, as section 4.1 has it, but counts and times must be such. Kinds of failure that are not registered
//! stay as they are.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use waypost_mail::Timestamp;

use super::text::bounded;

/// Most policies that are kept of one report.
pub const POLICIES_MAX: usize = 100;
/// Most kinds of failure that are kept of one policy.
pub const FAILURES_MAX: usize = 100;

/// What a provider's servers met with when they sent to us.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TlsReport {
    /// Who reports, by its own name.
    pub organization: String,
    /// Whom to ask.
    pub contact: String,
    /// The name of the report.
    pub id: String,
    /// Begin of its time, in seconds since 1970.
    pub begin: i64,
    /// Its end.
    pub end: i64,
    /// What came of each policy; at most [`POLICIES_MAX`].
    pub policies: Vec<TlsPolicyResult>,
}

/// What came of one policy.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TlsPolicyResult {
    /// The domain that has the policy; with TLSA records the name of the host.
    pub domain: String,
    /// `tlsa`, `sts` or `no-policy-found`.
    pub kind: String,
    /// Sessions with TLS as the policy wants it.
    pub successful: u64,
    /// Sessions without.
    pub failed: u64,
    /// How they failed; at most [`FAILURES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<TlsFailure>,
}

/// Sessions that failed in one way.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TlsFailure {
    /// In which way (RFC 8460 section 4.3).
    pub kind: String,
    /// How many.
    pub count: u64,
    /// Our server, as the other one called it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// What the other one adds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Whether this may be such a report.
pub fn is_tls_report(document: &[u8]) -> bool {
    start(document).starts_with(b"{")
}

/// A document without what may stand before its first character.
fn start(document: &[u8]) -> &[u8] {
    document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document).trim_ascii_start()
}

impl TlsReport {
    /// Reads a report. Errors: why it is none, in words.
    pub fn parse(document: &[u8]) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(start(document))
            .map_err(|error| bounded(&format!("its JSON is no report of TLS: {error}")))?;
        let seconds = |text: &str| {
            let found = Timestamp::parse(text.trim()).map(Timestamp::seconds);
            found.ok_or_else(|| format!("a time of it is {:?}", bounded(text)))
        };
        if written.report_id.trim().is_empty() {
            return Err("it lacks report-id".to_owned());
        }
        Ok(Self {
            organization: bounded(&written.organization_name.unwrap_or_default()),
            contact: bounded(&written.contact_info.unwrap_or_default()),
            id: bounded(written.report_id.trim()),
            begin: seconds(&written.date_range.start_datetime)?,
            end: seconds(&written.date_range.end_datetime)?,
            policies: written.policies.0.into_iter().map(TlsPolicyResult::from).collect(),
        })
    }
}

/// The report as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Written {
    organization_name: Option<String>,
    date_range: WrittenRange,
    contact_info: Option<String>,
    #[serde(default)]
    report_id: String,
    policies: First<WrittenPolicy, POLICIES_MAX>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WrittenRange {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WrittenPolicy {
    policy: WrittenText,
    summary: WrittenSummary,
    #[serde(default)]
    failure_details: First<WrittenFailure, FAILURES_MAX>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WrittenText {
    #[serde(default)]
    policy_type: String,
    #[serde(default)]
    policy_domain: String,
}

#[derive(Deserialize)]
struct WrittenSummary {
    #[serde(rename = "total-successful-session-count", default)]
    successful: u64,
    #[serde(rename = "total-failure-session-count", default)]
    failed: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WrittenFailure {
    result_type: String,
    #[serde(default)]
    failed_session_count: u64,
    receiving_mx_hostname: Option<String>,
    failure_reason_code: Option<String>,
    additional_information: Option<String>,
}

impl From<WrittenPolicy> for TlsPolicyResult {
    fn from(written: WrittenPolicy) -> Self {
        let WrittenPolicy { policy, summary, failure_details } = written;
        Self {
            domain: bounded(policy.policy_domain.trim_end_matches('.')).to_ascii_lowercase(),
            kind: bounded(&policy.policy_type),
            successful: summary.successful,
            failed: summary.failed,
            failures: failure_details.0.into_iter().map(TlsFailure::from).collect(),
        }
    }
}

impl From<WrittenFailure> for TlsFailure {
    fn from(written: WrittenFailure) -> Self {
        let reason = written.failure_reason_code.or(written.additional_information).unwrap_or_default();
        Self {
            kind: bounded(&written.result_type),
            count: written.failed_session_count,
            host: bounded(&written.receiving_mx_hostname.unwrap_or_default()),
            reason: bounded(&reason),
        }
    }
}

/// The first items of a list, at most so many; the rest is read and dropped. `null` is an empty list.
struct First<T, const MOST: usize>(Vec<T>);

impl<T, const MOST: usize> Default for First<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for First<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Items::<T, MOST>(PhantomData)).map(Self)
    }
}

struct Items<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Items<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while items.len() < MOST {
            let Some(item) = list.next_element()? else { return Ok(items) };
            items.push(item);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::incoming::testing::tls_report;

    #[test]
    fn a_report_is_read() {
        let report = TlsReport::parse(tls_report().as_bytes()).unwrap();
        assert_eq!(report.organization, "Big Mail Inc.");
        assert_eq!(
            (report.contact.as_str(), report.id.as_str()),
            ("smtp-tls@big.test", "2026-11-25T00:00:00Z_a.test")
        );
        assert_eq!((report.begin, report.end), (1_795_564_800, 1_795_651_199));
        let failure = |kind: &str, count, host: &str, reason: &str| TlsFailure {
            kind: kind.into(),
            count,
            host: host.into(),
            reason: reason.into(),
        };
        let expected = [
            TlsPolicyResult {
                domain: "a.test".into(),
                kind: "sts".into(),
                successful: 120,
                failed: 5,
                failures: vec![
                    failure("certificate-expired", 3, "mx.a.test", ""),
                    failure("something-new", 2, "", "X-AGAIN"),
                ],
            },
            TlsPolicyResult {
                domain: "mx.a.test".into(),
                kind: "tlsa".into(),
                successful: 7,
                ..Default::default()
            },
        ];
        assert_eq!(report.policies, expected);
        assert!(is_tls_report(tls_report().as_bytes()) && is_tls_report(b"\xef\xbb\xbf {}"));
        assert!(!is_tls_report(b"[1]") && !is_tls_report(b""));
    }

    #[test]
    fn what_is_no_report_is_told_why() {
        let whole = tls_report();
        for (document, expected) in [
            (whole.replace("\"report-id\"", "\"id\""), "it lacks report-id"),
            (whole.replace("2026-11-25T23:59:59Z", "tomorrow"), "a time of it is \"tomorrow\""),
            (
                whole.replace("2026-11-25T23:59:59Z", "99999-11-25T23:59:59Z"),
                "a time of it is \"99999-11-25T23:59:59Z\"",
            ),
        ] {
            assert_eq!(TlsReport::parse(document.as_bytes()).unwrap_err(), expected);
        }
        for document in [
            String::new(),
            "{}".into(),
            "[]".into(),
            "hello".into(),
            whole[..whole.len() - 2].to_owned(),
            format!("{whole}{whole}"),
            whole.replace(": 120", ": -120"),
            whole.replace(": 120", ": 1.5"),
            whole.replace(": 120", ": 18446744073709551616"),
            whole.replace(": 120", ": \"120\""),
            whole.replace("\"date-range\"", "\"dates\""),
            "[".repeat(1_000_000),
            format!("{{\"x\":{}", "[".repeat(1_000_000)),
            format!("{{\"policies\":{}", "[".repeat(1_000_000)),
        ] {
            let problem = TlsReport::parse(document.as_bytes()).unwrap_err();
            assert!(problem.starts_with("its JSON is no report of TLS: "), "{problem}");
        }
    }

    #[test]
    fn lists_are_bounded() {
        let failure = r#"{"result-type":"x","failed-session-count":1}"#;
        let failures = vec![failure; FAILURES_MAX + 1].join(",");
        let policy = format!(r#"{{"policy":{{}},"summary":{{}},"failure-details":[{failures}]}}"#);
        let policies = vec![policy; POLICIES_MAX + 1].join(",");
        let range = r#"{"start-datetime":"2026-11-25T00:00:00Z","end-datetime":"2026-11-25T23:59:59Z"}"#;
        let document =
            |policies: &str| format!(r#"{{"report-id":"1","date-range":{range},"policies":{policies}}}"#);
        let report = TlsReport::parse(document(&format!("[{policies}]")).as_bytes()).unwrap();
        assert_eq!((report.policies.len(), report.policies[0].failures.len()), (POLICIES_MAX, FAILURES_MAX));
        assert_eq!(TlsReport::parse(document("null").as_bytes()).unwrap().policies, []);
        assert!(TlsReport::parse(document("7").as_bytes()).is_err());
    }
}
