//! What reports say, compared with what we sent: by domain, day and provider. Pure.
//!
//! Reports that nobody vouched for are listed and count for nothing. A report is of the day in which the middle of its time lies.
//!
//! Messages are told apart by where they came from. *Ours*: from an address that we send from, or one that SPF names for the domain (a smarthost,
//! an address behind NAT). *Passed on*: from elsewhere, and signed for the domain: forwarded, most often. *Others'*: neither.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};
use waypost_mail::Timestamp;

use super::{
    aggregate::{Aggregate, Row},
    archive::{Kept, Line},
    mail::{Content, Told},
    provider::{is_within, operator},
    sent::SentRow,
    tls::TlsReport,
    words,
};
use crate::tls_policy::results::day_name;

/// Most sources of others that are shown for one provider and day.
pub const SOURCES_MAX: usize = 20;
/// Most lines of each kind.
pub const LINES_MAX: usize = 5_000;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only this domain and those below it.
    pub domain: Option<String>,
    /// Only days from this one on (`2026-11-26`).
    pub first_day: String,
    /// Addresses that we send from, beside those that mail was counted for.
    pub own: HashSet<IpAddr>,
}

/// What came of it all; the newest days first.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Summary {
    /// Who sent in our name (DMARC).
    pub mail: Vec<MailLine>,
    /// How TLS went (TLSRPT).
    pub tls: Vec<TlsLine>,
    /// Single messages (ARF).
    pub incidents: Vec<IncidentLine>,
    /// Reports that nobody vouched for, and so count for nothing above.
    pub unverified: Vec<UnverifiedLine>,
    /// How much looked like a report in these days and was none.
    pub problems: usize,
    /// Whether there is more than is shown.
    pub more: bool,
}

/// What one provider saw of one domain on one day.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct MailLine {
    /// The domain in From.
    pub domain: String,
    /// The day, UTC.
    pub day: String,
    /// The provider.
    pub provider: String,
    /// The ids of the mails that brought the reports.
    pub reports: Vec<String>,
    /// What the domain's policy asks for.
    pub policy: String,
    /// Messages of ours that it saw.
    pub seen: u64,
    /// Messages of ours that its servers took; `None`: nothing was counted on that day.
    pub sent: Option<u64>,
    /// Recipients that they were for.
    pub sent_recipients: u64,
    /// Of those seen: without a signature that stands for the domain.
    pub failed_dkim: u64,
    /// Of those seen: without SPF that stands for it.
    pub failed_spf: u64,
    /// Of those seen: without both.
    pub failed: u64,
    /// Of those seen: put into Junk.
    pub quarantined: u64,
    /// Of those seen: refused.
    pub rejected: u64,
    /// Messages from elsewhere with a good signature.
    pub passed_on: u64,
    /// Messages in the domain's name from elsewhere for which nothing stands.
    pub others: u64,
    /// Where those came from, the busiest first; at most [`SOURCES_MAX`].
    pub sources: Vec<SourceLine>,
    /// Messages that reports counted in more rows than are kept of them.
    pub left_out: u64,
    /// What is wrong with our record, by their words.
    pub errors: Vec<String>,
    /// What to do.
    pub advice: Vec<String>,
}

/// Where others' messages came from.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SourceLine {
    /// The address; `None`: the report's could not be read.
    pub address: Option<IpAddr>,
    /// Its name, if it leads back to it.
    pub name: Option<String>,
    /// How many.
    pub messages: u64,
    /// Put into Junk.
    pub quarantined: u64,
    /// Refused.
    pub rejected: u64,
}

/// How TLS with our servers went for one provider on one day under one policy.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TlsLine {
    /// The domain, or the host that has TLSA records.
    pub domain: String,
    /// The day, UTC.
    pub day: String,
    /// The provider.
    pub provider: String,
    /// The ids of the mails that brought the reports.
    pub reports: Vec<String>,
    /// `tlsa`, `sts` or `no-policy-found`.
    pub policy: String,
    /// Sessions with TLS as it should be.
    pub successful: u64,
    /// Sessions without.
    pub failed: u64,
    /// In which ways.
    pub failures: Vec<FailureLine>,
}

/// Sessions that failed in one way.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FailureLine {
    /// Its name (RFC 8460 section 4.3).
    pub kind: String,
    /// What it means.
    pub words: String,
    /// What to do.
    pub advice: String,
    /// How many.
    pub sessions: u64,
    /// Our server, as the provider called it.
    pub host: String,
    /// What the provider adds.
    pub reason: String,
}

/// A report about one message.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct IncidentLine {
    /// The id of the mail that brought it.
    pub report: String,
    /// When it came.
    pub at: String,
    /// Who reports.
    pub provider: String,
    /// Whether that is sure.
    pub verified: bool,
    /// What it says.
    pub told: Told,
}

/// A report that nobody vouched for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UnverifiedLine {
    /// The id of the mail that brought it.
    pub report: String,
    /// When it came.
    pub at: String,
    /// Whose it says it is.
    pub provider: String,
    /// `aggregate` or `tls`.
    pub kind: String,
    /// How many messages or sessions it is about.
    pub count: u64,
}

/// Domain, day, provider.
type Place = (String, String, String);

/// Compares.
pub fn summary(lines: &[Line], sent: &BTreeMap<String, Vec<SentRow>>, wanted: &Wanted) -> Summary {
    let mut gathering = Gathering { wanted, own: own(sent, wanted), ..Gathering::new(wanted) };
    for line in lines {
        match line {
            Line::Report(kept) => gathering.take(kept),
            Line::Problem(_) => gathering.summary.problems += 1,
        }
    }
    gathering.finish(sent)
}

/// The addresses that mail went out from, and those that are known otherwise.
fn own(sent: &BTreeMap<String, Vec<SentRow>>, wanted: &Wanted) -> HashSet<IpAddr> {
    sent.values().flatten().filter_map(|row| row.source).chain(wanted.own.iter().copied()).collect()
}

struct Gathering<'a> {
    wanted: &'a Wanted,
    own: HashSet<IpAddr>,
    summary: Summary,
    mail: BTreeMap<Place, Seen<'a>>,
    tls: BTreeMap<(Place, String), TlsLine>,
}

/// What was seen at one place.
#[derive(Default)]
struct Seen<'a> {
    line: MailLine,
    others: BTreeMap<Option<IpAddr>, SourceLine>,
    /// Rows of ours that failed in some way.
    failing: Vec<&'a Row>,
    /// Domains of recipients that the reports name.
    recipients: BTreeSet<&'a str>,
}

impl<'a> Gathering<'a> {
    fn new(wanted: &'a Wanted) -> Self {
        Self {
            wanted,
            own: HashSet::new(),
            summary: Summary::default(),
            mail: BTreeMap::new(),
            tls: BTreeMap::new(),
        }
    }

    fn is_wanted(&self, domain: &str) -> bool {
        self.wanted.domain.as_ref().is_none_or(|wanted| is_within(domain, wanted))
    }

    fn take(&mut self, kept: &'a Kept) {
        match &kept.content {
            Content::Incident(told) => self.incident(kept, told),
            Content::Aggregate(report) => match kept.reporter.verified {
                Some(_) => self.aggregate(kept, report),
                None => {
                    let counts = report.rows.iter().map(|row| row.count);
                    let count = counts.fold(report.left_out, u64::saturating_add);
                    if self.is_wanted(&report.domain) {
                        self.unverified(kept, "aggregate", count);
                    }
                }
            },
            Content::Tls(report) => match kept.reporter.verified {
                Some(_) => self.tls_report(kept, report),
                None => {
                    let counts = report.policies.iter().flat_map(|policy| [policy.successful, policy.failed]);
                    self.unverified(kept, "tls", counts.fold(0, u64::saturating_add));
                }
            },
        }
    }

    fn unverified(&mut self, kept: &Kept, kind: &str, count: u64) {
        self.summary.unverified.push(UnverifiedLine {
            report: kept.mail.clone(),
            at: kept.at.clone(),
            provider: kept.reporter.provider.clone(),
            kind: kind.to_owned(),
            count,
        });
    }

    fn incident(&mut self, kept: &Kept, told: &Told) {
        if told.domains.is_empty() || told.domains.iter().any(|domain| self.is_wanted(domain)) {
            self.summary.incidents.push(IncidentLine {
                report: kept.mail.clone(),
                at: kept.at.clone(),
                provider: kept.reporter.provider.clone(),
                verified: kept.reporter.verified.is_some(),
                told: told.clone(),
            });
        }
    }

    fn aggregate(&mut self, kept: &'a Kept, report: &'a Aggregate) {
        let day = middle(report.begin, report.end);
        if day < self.wanted.first_day {
            return;
        }
        let domains = report.rows.iter().map(|row| row.from.as_str());
        let domains: BTreeSet<&str> = domains.filter(|domain| self.is_wanted(domain)).collect();
        for (number, domain) in domains.into_iter().enumerate() {
            let place = (domain.to_owned(), day.clone(), kept.reporter.provider.clone());
            let seen = self.mail.entry(place).or_default();
            add_once(&mut seen.line.reports, &kept.mail);
            seen.line.policy.clone_from(&report.policy);
            report.errors.iter().for_each(|error| add_once(&mut seen.line.errors, error));
            if number == 0 {
                seen.line.left_out = seen.line.left_out.saturating_add(report.left_out);
            }
            for row in report.rows.iter().filter(|row| row.from == domain) {
                seen.take(row, row.source.is_some_and(|source| self.own.contains(&source)), &kept.names);
            }
        }
    }

    fn tls_report(&mut self, kept: &Kept, report: &TlsReport) {
        let day = middle(report.begin, report.end);
        if day < self.wanted.first_day {
            return;
        }
        for policy in &report.policies {
            if !self.is_wanted(&policy.domain) {
                continue;
            }
            let place = (policy.domain.clone(), day.clone(), kept.reporter.provider.clone());
            let line = self.tls.entry((place, policy.kind.clone())).or_default();
            add_once(&mut line.reports, &kept.mail);
            line.successful = line.successful.saturating_add(policy.successful);
            line.failed = line.failed.saturating_add(policy.failed);
            for failure in &policy.failures {
                let (words, advice) = words::of_tls(&failure.kind);
                line.failures.push(FailureLine {
                    kind: failure.kind.clone(),
                    words: words.to_owned(),
                    advice: advice.to_owned(),
                    sessions: failure.count,
                    host: failure.host.clone(),
                    reason: failure.reason.clone(),
                });
            }
        }
    }

    fn finish(self, sent: &BTreeMap<String, Vec<SentRow>>) -> Summary {
        let Self { mut summary, mail, tls, .. } = self;
        summary.mail = mail.into_iter().map(|(place, seen)| seen.finish(place, sent)).collect();
        summary.tls = tls
            .into_iter()
            .map(|(((domain, day, provider), policy), line)| TlsLine {
                domain,
                day,
                provider,
                policy,
                ..line
            })
            .collect();
        summary.mail.sort_by(|a, b| b.day.cmp(&a.day).then_with(|| a.domain.cmp(&b.domain)));
        summary.tls.sort_by(|a, b| b.day.cmp(&a.day).then_with(|| a.domain.cmp(&b.domain)));
        summary.incidents.reverse();
        summary.unverified.reverse();
        let longest =
            [summary.mail.len(), summary.tls.len(), summary.incidents.len(), summary.unverified.len()];
        summary.more = longest.iter().any(|lines| *lines > LINES_MAX);
        summary.mail.truncate(LINES_MAX);
        summary.tls.truncate(LINES_MAX);
        summary.incidents.truncate(LINES_MAX);
        summary.unverified.truncate(LINES_MAX);
        summary
    }
}

impl<'a> Seen<'a> {
    fn take(&mut self, row: &'a Row, is_own: bool, names: &BTreeMap<IpAddr, String>) {
        let add = |to: &mut u64| *to = to.saturating_add(row.count);
        let (is_quarantined, is_rejected) = (row.disposition == "quarantine", row.disposition == "reject");
        self.recipients.extend(row.to.as_deref());
        let line = &mut self.line;
        if is_own || row.spf {
            add(&mut line.seen);
            for (is_so, to) in [
                (!row.dkim, &mut line.failed_dkim),
                (!row.spf, &mut line.failed_spf),
                (!row.passes(), &mut line.failed),
                (is_quarantined, &mut line.quarantined),
                (is_rejected, &mut line.rejected),
            ] {
                if is_so {
                    add(to);
                }
            }
            if !(row.dkim && row.spf) {
                self.failing.push(row);
            }
        } else if row.dkim {
            add(&mut line.passed_on);
        } else {
            add(&mut line.others);
            let source = self.others.entry(row.source).or_default();
            source.address = row.source;
            source.name = row.source.and_then(|source| names.get(&source).cloned());
            add(&mut source.messages);
            if is_quarantined {
                add(&mut source.quarantined);
            }
            if is_rejected {
                add(&mut source.rejected);
            }
        }
    }

    fn finish(self, (domain, day, provider): Place, sent: &BTreeMap<String, Vec<SentRow>>) -> MailLine {
        let Self { mut line, others, failing, recipients } = self;
        line.sources = others.into_values().collect();
        line.sources.sort_by_key(|source| std::cmp::Reverse(source.messages));
        line.sources.truncate(SOURCES_MAX);
        if let Some(rows) = sent.get(&day) {
            let is_his = |row: &&SentRow| {
                row.from == domain
                    && (operator(&row.provider) == provider
                        || operator(&row.to) == provider
                        || recipients.contains(row.to.as_str()))
            };
            let (mut messages, mut all) = (0_u64, 0_u64);
            for row in rows.iter().filter(is_his) {
                (messages, all) = (messages.saturating_add(row.messages), all.saturating_add(row.recipients));
            }
            (line.sent, line.sent_recipients) = (Some(messages), all);
        }
        line = MailLine { domain, day, provider, ..line };
        line.advice = words::of_mail(&line, &failing);
        line
    }
}

fn add_once(to: &mut Vec<String>, text: &str) {
    if !to.iter().any(|known| known == text) {
        to.push(text.to_owned());
    }
}

/// The day in which the middle of a time lies.
fn middle(begin: i64, end: i64) -> String {
    day_name(Timestamp::from_seconds(begin.midpoint(end)))
}

#[cfg(test)]
mod tests;
