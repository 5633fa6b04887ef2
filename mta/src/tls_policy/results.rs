//! What came of TLS, a UTC day and a domain at a time, in the form in which reports tell it (RFC 8460 section 4). Nothing is sent
//! here (`reports`).
//!
//! The counts of the day are in memory and written every few minutes: a crash loses those of the last minutes, which a report can do
//! without.

use std::{
    collections::BTreeMap,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use waypost_mail::{Domain, Timestamp};
use waypost_net::CertificateProblem;

use super::{
    decision::{Basis, Obstacle},
    durable,
};

/// Most domains of one day.
pub const DOMAINS_MAX: usize = 10_000;
/// Most policies of one domain on one day.
pub const POLICIES_MAX: usize = 50;
/// Most failures of one policy that are told apart.
pub const DETAILS_MAX: usize = 100;
/// Longest `failure-reason-code`, in characters.
const REASON_CHARS_MAX: usize = 200;
/// Most strings of one policy.
const STRINGS_MAX: usize = 50;
/// For how many days files are kept.
pub const DAYS_MAX: i64 = 8;
/// Largest file in octets.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What a failure is (RFC 8460 section 4.3, and the registry that it founds).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultType {
    /// The server offers no STARTTLS, or refuses it.
    StarttlsNotSupported,
    /// The certificate is for another name.
    CertificateHostMismatch,
    /// It has expired.
    CertificateExpired,
    /// Nobody who is trusted has signed it.
    CertificateNotTrusted,
    /// Anything else.
    ValidationFailure,
    /// No TLSA record can be used.
    TlsaInvalid,
    /// TLSA records cannot be validated.
    DnssecInvalid,
    /// The operator demands TLSA records, and there are none.
    DaneRequired,
    /// The policy cannot be fetched.
    StsPolicyFetchError,
    /// What was fetched is no policy.
    StsPolicyInvalid,
    /// The certificate of the host that has the policy is not good.
    StsWebpkiInvalid,
}

impl From<CertificateProblem> for ResultType {
    fn from(problem: CertificateProblem) -> Self {
        match problem {
            CertificateProblem::Name => Self::CertificateHostMismatch,
            CertificateProblem::Expired => Self::CertificateExpired,
            CertificateProblem::Untrusted => Self::CertificateNotTrusted,
            CertificateProblem::Tlsa => Self::ValidationFailure,
        }
    }
}

impl From<&Obstacle> for ResultType {
    fn from(obstacle: &Obstacle) -> Self {
        match obstacle {
            Obstacle::TlsaUnknown(_) | Obstacle::AddressesUnknown(_) => Self::DnssecInvalid,
            Obstacle::NoTlsa => Self::DaneRequired,
            Obstacle::NotNamed | Obstacle::NotSure => Self::ValidationFailure,
        }
    }
}

/// A failure: what it is, and its `failure-reason-code`, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failed {
    /// What it is.
    pub kind: ResultType,
    /// In words; may be empty.
    pub reason: String,
}

/// The two ends of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ends {
    /// Our address, where there was a connection.
    pub sender: Option<IpAddr>,
    /// The server's name.
    pub host: String,
    /// Its address.
    pub receiver: IpAddr,
}

/// Results under one policy: an item of `policies`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PolicyResults {
    /// The policy.
    pub policy: PolicyText,
    /// How many sessions.
    pub summary: Summary,
    /// How they failed.
    #[serde(rename = "failure-details", default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<FailureDetails>,
}

/// A policy as a report tells it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyText {
    /// `tlsa`, `sts` or `no-policy-found`.
    pub policy_type: String,
    /// TLSA records, or the lines of the policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_string: Vec<String>,
    /// The TLSA base domain, or the domain of the recipients.
    pub policy_domain: String,
    /// The exchangers that a policy of MTA-STS names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mx_host: Vec<String>,
}

/// Counts of sessions.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Summary {
    /// With TLS as the policy wants it.
    #[serde(rename = "total-successful-session-count")]
    pub successful: u64,
    /// Without.
    #[serde(rename = "total-failure-session-count")]
    pub failed: u64,
}

/// Sessions that failed in one way between the same ends.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FailureDetails {
    /// In which way.
    pub result_type: ResultType,
    /// Our address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending_mta_ip: Option<IpAddr>,
    /// The server's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving_mx_hostname: Option<String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving_ip: Option<IpAddr>,
    /// How many.
    pub failed_session_count: u64,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failure_reason_code: String,
}

/// The results of a day: `policies` by the domain of the recipients.
pub type Day = BTreeMap<String, Vec<PolicyResults>>;

/// The results of the days that are kept.
#[derive(Debug, Default)]
pub struct Results {
    folder: Option<PathBuf>,
    today: String,
    day: Day,
    is_changed: bool,
}

/// `2026-11-26`, UTC.
pub fn day_name(now: Timestamp) -> String {
    now.to_string().split('T').next().unwrap_or_default().to_owned()
}

impl Results {
    /// The results that a folder holds. What cannot be read of today's is told of and begun anew.
    pub fn open(folder: &Path, now: Timestamp) -> Self {
        let today = day_name(now);
        let day = read_day(folder, &today).unwrap_or_else(|error| {
            tracing::warn!(folder = %folder.display(), %error, "today's results of TLS are lost");
            Day::new()
        });
        Self { folder: Some(folder.to_owned()), today, day, is_changed: false }
    }

    /// Counts a session under a policy. Gives what is to be written where a day has ended.
    pub fn count(
        &mut self,
        domain: &Domain,
        basis: &Basis,
        ends: Option<&Ends>,
        failed: Option<&Failed>,
        now: Timestamp,
    ) -> Option<(PathBuf, Vec<u8>)> {
        let (today, mut ended) = (day_name(now), None);
        if today != self.today {
            ended = self.take_changes();
            (self.today, self.day) = (today, Day::new());
        }
        if self.day.len() >= DOMAINS_MAX && !self.day.contains_key(domain.as_str()) {
            return ended;
        }
        self.is_changed = true;
        let policies = self.day.entry(domain.to_string()).or_default();
        let policy = PolicyText::new(domain, basis);
        let place = policies.iter().position(|results| results.policy == policy);
        if place.is_none() && policies.len() < POLICIES_MAX {
            policies.push(PolicyResults { policy, summary: Summary::default(), details: Vec::new() });
        }
        let place = place.unwrap_or(policies.len().saturating_sub(1));
        if let Some(results) = policies.get_mut(place) {
            results.count(ends, failed);
        }
        ended
    }

    /// The results of a day (`2026-11-26`). Errors: a file that cannot be read.
    pub fn day(&self, name: &str) -> io::Result<Day> {
        match &self.folder {
            _ if name == self.today => Ok(self.day.clone()),
            Some(folder) => read_day(folder, name),
            None => Ok(Day::new()),
        }
    }

    /// The days of which there are results, the oldest first.
    pub fn days(&self) -> Vec<String> {
        let files = self.folder.as_deref().map(files).unwrap_or_default();
        let mut days: Vec<_> =
            files.into_iter().map(|(day, _)| day).filter(|day| *day != self.today).collect();
        days.sort();
        days.extend((!self.day.is_empty()).then(|| self.today.clone()));
        days
    }

    /// What is to be written, and where, if anything was counted since the last call.
    pub(super) fn take_changes(&mut self) -> Option<(PathBuf, Vec<u8>)> {
        let folder = self.folder.as_ref()?;
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        let octets = serde_json::to_vec(&self.day).ok()?;
        Some((folder.join(format!("{}.json", self.today)), octets))
    }

    /// Files that are older than [`DAYS_MAX`] days.
    pub(super) fn outdated(&self, now: Timestamp) -> Vec<PathBuf> {
        let oldest = Timestamp::from_seconds(now.seconds().saturating_sub(DAYS_MAX * 86_400));
        let oldest = day_name(oldest);
        let files = self.folder.as_deref().map(files).unwrap_or_default();
        files.into_iter().filter(|(day, _)| *day < oldest).map(|(_, file)| file).collect()
    }
}

/// The files of days that hold JSON.
pub(crate) fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    day_files(folder, ".json")
}

/// The files of days in a folder, with their days, in no order; none where it cannot be read.
pub(crate) fn day_files(folder: &Path, suffix: &str) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let day = |file: PathBuf| {
        let name = file.file_name()?.to_str()?.strip_suffix(suffix)?.to_owned();
        let is_day = name.len() == 10 && name.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        is_day.then_some((name, file))
    };
    entries.filter_map(|entry| day(entry.ok()?.path())).collect()
}

fn read_day(folder: &Path, name: &str) -> io::Result<Day> {
    match durable::read(&folder.join(format!("{name}.json")), FILE_BYTES_MAX)? {
        Some(octets) => serde_json::from_slice(&octets).map_err(io::Error::other),
        None => Ok(Day::new()),
    }
}

impl PolicyText {
    fn new(domain: &Domain, basis: &Basis) -> Self {
        let (policy_type, policy_string, policy_domain, mx_host) = match basis {
            Basis::Nothing => ("no-policy-found", Vec::new(), domain.to_string(), Vec::new()),
            Basis::Tlsa(base, records) => ("tlsa", records.clone(), base.clone(), Vec::new()),
            Basis::Sts(policy) => ("sts", policy.lines(), domain.to_string(), policy.exchangers.clone()),
        };
        let some = |strings: Vec<String>| strings.into_iter().take(STRINGS_MAX).collect();
        Self {
            policy_type: policy_type.to_owned(),
            policy_string: some(policy_string),
            policy_domain,
            mx_host: some(mx_host),
        }
    }
}

impl PolicyResults {
    fn count(&mut self, ends: Option<&Ends>, failed: Option<&Failed>) {
        let Some(failed) = failed else {
            self.summary.successful += 1;
            return;
        };
        self.summary.failed += 1;
        let details = FailureDetails {
            result_type: failed.kind,
            sending_mta_ip: ends.and_then(|ends| ends.sender),
            receiving_mx_hostname: ends.map(|ends| ends.host.clone()),
            receiving_ip: ends.map(|ends| ends.receiver),
            failed_session_count: 0,
            failure_reason_code: failed.reason.chars().take(REASON_CHARS_MAX).collect(),
        };
        let same =
            |known: &FailureDetails| FailureDetails { failed_session_count: 0, ..known.clone() } == details;
        let place = self.details.iter().position(same).unwrap_or(self.details.len());
        if place == self.details.len() && place < DETAILS_MAX {
            self.details.push(details);
        }
        if let Some(known) = self.details.get_mut(place) {
            known.failed_session_count += 1;
        }
    }
}

#[cfg(test)]
mod tests;
