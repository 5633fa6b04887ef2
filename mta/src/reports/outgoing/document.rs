//! The reports themselves: of DMARC in XML (RFC 9990 appendix A), of TLS in JSON (RFC 8460 section 4.4), both compressed; and the mail that
//! carries them.

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use mail_auth::report as wire;
use serde::{Deserialize, Serialize};
use waypost_auth::Live;
use waypost_mail::{Address, DateTime, Domain, Timestamp};
use waypost_message::build::{Container, ReportMail};

use super::{counts::DomainCounts, day::Day};
use crate::{notification::postmaster, tls_policy::results::PolicyResults};

/// What a report is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Mail in the name of a domain.
    Dmarc,
    /// TLS towards a domain.
    Tls,
}

impl Kind {
    /// A word for logs and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dmarc => "DMARC",
            Self::Tls => "TLS",
        }
    }

    /// The media type of a compressed report (RFC 9990 section 3.5.2, RFC 8460 section 5.3).
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Dmarc => "application/gzip",
            Self::Tls => "application/tlsrpt+gzip",
        }
    }
}

/// Who reports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    /// Name of the organization.
    pub(crate) organization: String,
    /// The author of mail with reports, whose domain is the submitter.
    pub(crate) from: Address,
    /// Whom to ask about reports.
    pub(crate) contact: String,
    /// This server.
    pub(crate) hostname: Domain,
}

impl Identity {
    /// As the configuration has it; `None`: no domain is ours.
    pub(crate) fn of(live: &Live) -> Option<Self> {
        let config = &live.config.reports;
        let from = config.from.clone().or_else(|| postmaster(&live.directory))?;
        Some(Self {
            organization: config.organization.clone().unwrap_or_else(|| from.domain.to_string()),
            contact: config.contact.clone().unwrap_or_else(|| from.to_string()),
            hostname: live.config.hostname.clone(),
            from,
        })
    }
}

/// A report, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    kind: Kind,
    by: Identity,
    /// The domain that it is about.
    domain: String,
    day: Day,
    /// Compressed.
    pub(crate) octets: Vec<u8>,
}

impl Document {
    /// What it is about.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// A report of DMARC. Errors: it cannot be compressed.
    pub(crate) fn dmarc(by: &Identity, domain: &str, day: Day, counts: DomainCounts) -> io::Result<Self> {
        let second = |at: Timestamp| at.seconds().unsigned_abs();
        let report = wire::Report {
            version: 1.0,
            report_metadata: wire::ReportMetadata {
                org_name: by.organization.clone(),
                email: by.from.to_string(),
                extra_contact_info: Some(by.contact.clone())
                    .filter(|contact| *contact != by.from.to_string()),
                report_id: report_id(by, day),
                date_range: wire::DateRange { begin: second(day.begin()), end: second(day.last_second()) },
                error: unlisted(counts.unlisted).into_iter().collect(),
                generator: Some(format!("Waypost {}", env!("CARGO_PKG_VERSION"))),
            },
            policy_published: counts.policy,
            record: counts.records,
            extensions: Vec::new(),
        };
        Self::new(Kind::Dmarc, by, domain, day, report.to_xml().as_bytes())
    }

    /// A report of TLS. Errors: it cannot be compressed.
    pub(crate) fn tls(by: &Identity, domain: &str, day: Day, policies: &[PolicyResults]) -> io::Result<Self> {
        let whole = |at: Timestamp| at.to_string().replace(".000", "");
        let report = TlsReport {
            organization_name: &by.organization,
            date_range: DateRange {
                start_datetime: whole(day.begin()),
                end_datetime: whole(day.last_second()),
            },
            contact_info: &by.contact,
            report_id: format!("{}@{}", report_id(by, day), by.hostname),
            policies,
        };
        Self::new(Kind::Tls, by, domain, day, &serde_json::to_vec(&report)?)
    }

    fn new(kind: Kind, by: &Identity, domain: &str, day: Day, text: &[u8]) -> io::Result<Self> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text)?;
        let octets = encoder.finish()?;
        Ok(Self { kind, by: by.clone(), domain: domain.to_owned(), day, octets })
    }

    /// `sender "!" policy-domain "!" begin "!" end "!" unique-id "." extension` (RFC 9990 section 3.5.2, RFC 8460 section 5.1): the same
    /// each time that a report is sent.
    pub(crate) fn file_name(&self) -> String {
        let extension = match self.kind {
            Kind::Dmarc => "xml.gz",
            Kind::Tls => "json.gz",
        };
        format!(
            "{}!{}!{}!{}!{}.{extension}",
            self.by.from.domain,
            self.domain,
            self.day.begin().seconds(),
            self.day.last_second().seconds(),
            report_id(&self.by, self.day),
        )
    }

    /// The mail that carries it. `unique`: for its message-id; `boundary`: what nobody foresees.
    pub(crate) fn mail(&self, to: &Address, now: Timestamp, unique: &str, boundary: String) -> ReportMail {
        let Self { kind, by, domain, day, octets } = self;
        let submitter = &by.from.domain;
        let id = match kind {
            Kind::Dmarc => report_id(by, *day),
            Kind::Tls => format!("{}@{}", report_id(by, *day), by.hostname),
        };
        let fields = match kind {
            Kind::Dmarc => Vec::new(),
            Kind::Tls => vec![
                ("TLS-Report-Domain", domain.clone()),
                ("TLS-Report-Submitter", submitter.to_string()),
                // it is about TLS that fails (RFC 8460 section 3, RFC 8689 section 3)
                ("TLS-Required", "No".to_owned()),
            ],
        };
        ReportMail {
            from: (by.organization.clone(), by.from.clone()),
            to: to.clone(),
            subject: format!("Report Domain: {domain} Submitter: {submitter} Report-ID: <{id}>"),
            fields,
            date: DateTime::utc(now),
            message_id: format!("{unique}@{}", by.hostname),
            boundary,
            container: match kind {
                Kind::Dmarc => Container::Mixed,
                Kind::Tls => Container::Report("tlsrpt"),
            },
            text: self.words(),
            media_type: kind.media_type(),
            file_name: self.file_name(),
            report: octets.clone(),
        }
    }

    /// For a person who comes by.
    fn words(&self) -> String {
        let Self { kind, by, domain, day, .. } = self;
        let (what, record) = match kind {
            Kind::Dmarc => (format!("mail in the name of {domain}"), format!("_dmarc.{domain}")),
            Kind::Tls => {
                (format!("TLS towards the mail servers of {domain}"), format!("_smtp._tls.{domain}"))
            }
        };
        format!(
            "This is a report by {} of {what} on {day} (UTC).\nIt is sent as the record at {record} asks for it (rua).\n\
             Contact: {}\n",
            by.organization, by.contact
        )
    }
}

/// Unique for a domain, and the same each time: the day, and the server that saw it. Of letters and digits, so that it can be the
/// `unique-id` of a file name (RFC 9990 section 3.1.4).
fn report_id(by: &Identity, day: Day) -> String {
    format!("{day}{}", by.hostname).chars().filter(char::is_ascii_alphanumeric).collect()
}

fn unlisted(messages: u64) -> Option<String> {
    (messages > 0)
        .then(|| format!("{messages} more messages were seen and are in no record, for want of room"))
}

/// RFC 8460 section 4.4
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct TlsReport<'a> {
    organization_name: &'a str,
    date_range: DateRange,
    contact_info: &'a str,
    report_id: String,
    policies: &'a [PolicyResults],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct DateRange {
    start_datetime: String,
    end_datetime: String,
}

#[cfg(test)]
mod tests;
