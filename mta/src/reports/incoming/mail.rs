//! Mail that brings reports: finds them in it, and says whose they are. Pure.
//!
//! A report is its provider's where the mail was signed by, or passed DMARC for, a domain of the organisation that From and the report name: what
//! Authentication-Results of ours say, which stand before the header of what was delivered.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use waypost_mail::{EntryId, Timestamp};
use waypost_message::{
    HeaderBlock, Part, Splitter, Structure,
    decode::{ContentDecoder, header_text},
    report::Incident,
};

use super::{
    aggregate::{Aggregate, is_aggregate},
    provider::{is_open_to_all, is_within, operator, organization},
    text::{bounded, domain_of},
    tls::{TlsReport, is_tls_report},
    unpack::unpack,
};
use crate::authenticity::results;

/// Largest mail that is looked at, in octets.
pub const MAIL_BYTES_MAX: u64 = 16 << 20;
/// Most parts of one mail that are looked at.
const PARTS_MAX: usize = 20;
/// How far back a report may lie.
const AGE_SECONDS_MAX: i64 = 60 * 86_400;
/// How far ahead the end of its time may lie: clocks differ, and some write the end of the day.
const AHEAD_SECONDS_MAX: i64 = 2 * 86_400;
/// Longest time that one may be about.
const SPAN_SECONDS_MAX: i64 = 32 * 86_400;

/// Who we are.
#[derive(Clone, Debug, Default)]
pub struct Ours {
    /// Our name: the identifier of our Authentication-Results.
    pub hostname: String,
    /// Our domains.
    pub domains: Vec<String>,
}

impl Ours {
    /// Whether a name is a domain of ours, or lies below one.
    pub fn holds(&self, name: &str) -> bool {
        self.domains.iter().any(|domain| is_within(name, domain))
    }
}

/// Who reports.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Reporter {
    /// The operator's domain: of who vouched for the mail, else of what the report says.
    pub provider: String,
    /// What it calls itself.
    pub name: String,
    /// The domain that vouched for the mail and is the reporter's; `None`: nobody did, anyone could have written this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
}

/// What a report says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Who sent in our name.
    Aggregate(Aggregate),
    /// How TLS went.
    Tls(TlsReport),
    /// One message.
    Incident(Box<Told>),
}

/// What is told of one message.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Told {
    /// `auth-failure`, `abuse`, …
    pub kind: String,
    /// What did not hold: `dmarc`, `spf`, `signature`, …
    pub failure: Option<String>,
    /// When the message came there.
    pub arrival: Option<String>,
    /// From which address.
    pub source: Option<IpAddr>,
    /// Whose it was taken for.
    pub domains: Vec<String>,
    /// What was done with it.
    pub delivery: Option<String>,
    /// Domain and selector of the signature that did not hold.
    pub signature: Option<(String, String)>,
    /// Its Message-ID, without brackets.
    pub message_id: Option<String>,
    /// Its From.
    pub from: Option<String>,
    /// Its subject.
    pub subject: Option<String>,
    /// The message of ours that it is, by the return path that the report came to, a trace field of ours, or a Message-ID of ours.
    pub about: Option<String>,
}

/// A report that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Whose it is.
    pub reporter: Reporter,
    /// What it says.
    pub content: Content,
}

/// What was found in a mail.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The id of the mail, by our trace field.
    pub id: Option<EntryId>,
    /// Reports.
    pub found: Vec<Found>,
    /// Why what looked like a report is none: by whom, and why.
    pub problems: Vec<(String, String)>,
}

/// Whether a mail may bring reports, by its structure.
pub fn may_bring_reports(structure: &Structure) -> bool {
    structure.root.content_type.is("multipart", "report") || !documents(&structure.root).is_empty()
}

/// Whether a mail is a feedback report.
pub fn is_feedback(structure: &Structure) -> bool {
    let is_feedback = |part: &Part| part.content_type.is("message", "feedback-report");
    structure.root.content_type.is("multipart", "report") && structure.root.children.iter().any(is_feedback)
}

/// Reads a mail as it was delivered: with the fields that stand before its header. `about`: the message whose own return path it came to.
pub fn read(octets: &[u8], about: Option<EntryId>, ours: &Ours, now: Timestamp) -> Reading {
    let structure = Splitter::split(octets);
    let end = usize::try_from(structure.root.header.end).unwrap_or(octets.len()).min(octets.len());
    let mail = Mail { octets, header: HeaderBlock::new(octets[..end].to_vec()), ours, now };
    let vouched = mail.vouched();
    let mut reading = Reading { id: mail.id(), ..Reading::default() };
    if let Some(incident) = Incident::read(&structure, end, &octets[end..]) {
        let author: Vec<String> = mail.author().into_iter().collect();
        let reporter = Reporter::new(&author.concat(), &author, &vouched);
        let content = Content::Incident(Box::new(Told::new(incident, about, &ours.hostname)));
        reading.found.push(Found { reporter, content });
        return reading;
    }
    for part in documents(&structure.root) {
        match mail.document(part, &vouched) {
            Ok(found) => reading.found.extend(found),
            Err((who, why)) => reading.problems.push((who, why)),
        }
    }
    reading
}

/// A mail that is being read.
struct Mail<'a> {
    octets: &'a [u8],
    header: HeaderBlock,
    ours: &'a Ours,
    now: Timestamp,
}

impl Mail<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.header.first(name).map(|value| bounded(&header_text(&value)))
    }

    /// The domain in From.
    fn author(&self) -> Option<String> {
        self.text("From").as_deref().and_then(domain_of)
    }

    /// The domains that stood behind the mail when it came in, and are its author's: our field stands before the trace fields. Where everybody
    /// can have a mailbox the domain stands behind its users, too, and says nothing of who runs it.
    fn vouched(&self) -> Vec<String> {
        let Some(author) = self.author().filter(|author| !is_open_to_all(author)) else { return Vec::new() };
        let before = self.header.fields().take_while(|field| !field.is("Received"));
        let ours = before.filter(|field| field.is(results::FIELD));
        let vouched = ours.flat_map(|field| results::vouched(field.raw, &self.ours.hostname));
        vouched.filter(|domain| organization(domain) == organization(&author)).collect()
    }

    fn id(&self) -> Option<EntryId> {
        own_id(&header_text(&self.header.first("Received")?), &self.ours.hostname)
    }

    /// Who says that he reports, beside what stands in the report.
    fn submitters(&self) -> Vec<String> {
        let subject = self.text("Subject").unwrap_or_default();
        let words: Vec<&str> = subject.split_ascii_whitespace().collect();
        let behind =
            |pair: &[&str]| pair[0].eq_ignore_ascii_case("Submitter:").then(|| domain_of(pair[1])).flatten();
        let of_field = self.text("TLS-Report-Submitter").as_deref().and_then(domain_of);
        of_field.into_iter().chain(words.windows(2).find_map(behind)).collect()
    }

    /// Reads the reports of a part. Errors: by whom, and why there is none though it looks so.
    fn document(&self, part: &Part, vouched: &[String]) -> Result<Vec<Found>, (String, String)> {
        let who = || self.text("From").unwrap_or_default();
        let claims = self.claims_to_report(part);
        let problem = |why: String| if claims { Err((who(), why)) } else { Ok(Vec::new()) };
        let Some(decoded) = self.decoded(part) else {
            return problem("its transfer encoding is not known".to_owned());
        };
        let documents = match unpack(&decoded) {
            Ok(documents) => documents,
            Err(error) => return problem(error.to_string()),
        };
        let mut found = Vec::new();
        for document in &documents {
            let content = if is_aggregate(document) {
                Aggregate::parse(document).and_then(|report| self.aggregate(report))
            } else if is_tls_report(document) && (claims || is_json(part)) {
                TlsReport::parse(document).and_then(|report| self.tls(report))
            } else {
                continue;
            };
            found.push(self.found(content.map_err(|why| (who(), why))?, vouched));
        }
        if found.is_empty() { problem("there is no report in it".to_owned()) } else { Ok(found) }
    }

    /// Whether a part says that it is a report: by its type, by the name that RFC 7489 section 7.2.1.1 gives it, or by the subject.
    fn claims_to_report(&self, part: &Part) -> bool {
        let subject = self.text("Subject").unwrap_or_default().to_ascii_lowercase();
        let is_named_so = name(part).matches('!').count() >= 3;
        is_named_so || is_tls_part(part) || subject.trim_start().starts_with("report domain:")
    }

    fn decoded(&self, part: &Part) -> Option<Vec<u8>> {
        let place = |at: u64| usize::try_from(at).ok();
        let octets = self.octets.get(place(part.body.start)?..place(part.body.end)?)?;
        let mut decoder = ContentDecoder::new(part.encoding.as_deref())?;
        let mut decoded = Vec::new();
        decoder.feed(octets, &mut decoded);
        decoder.finish(&mut decoded);
        Some(decoded)
    }

    fn aggregate(&self, report: Aggregate) -> Result<Content, String> {
        self.check_time(report.begin, report.end)?;
        match self.ours.holds(&report.domain) {
            true => Ok(Content::Aggregate(report)),
            false => Err(bounded(&format!("it is about {}, which is none of our domains", report.domain))),
        }
    }

    /// What it says of domains that are not ours is left out; TLSA records are those of our name.
    fn tls(&self, mut report: TlsReport) -> Result<Content, String> {
        self.check_time(report.begin, report.end)?;
        let domains: Vec<String> = report.policies.iter().map(|policy| policy.domain.clone()).collect();
        report
            .policies
            .retain(|policy| self.ours.holds(&policy.domain) || policy.domain == self.ours.hostname);
        match report.policies.is_empty() {
            false => Ok(Content::Tls(report)),
            true => Err(bounded(&format!("it is about {:?}, and none of that is ours", domains))),
        }
    }

    fn check_time(&self, begin: i64, end: i64) -> Result<(), String> {
        let now = self.now.seconds();
        let day = |seconds: i64| Timestamp::from_seconds(seconds).to_string();
        let is_near = (now - AGE_SECONDS_MAX..=now + AHEAD_SECONDS_MAX).contains(&end);
        let is_span = end.checked_sub(begin).is_some_and(|span| (0..=SPAN_SECONDS_MAX).contains(&span));
        match is_near && is_span {
            true => Ok(()),
            false => Err(format!("it is about a time from {} to {}", day(begin), day(end))),
        }
    }

    fn found(&self, content: Content, vouched: &[String]) -> Found {
        let claims = |name: &str, contact: &str| {
            let claimed = [domain_of(contact), domain_of(name)].into_iter().flatten();
            Reporter::new(name, &claimed.chain(self.submitters()).collect::<Vec<_>>(), vouched)
        };
        let reporter = match &content {
            Content::Aggregate(report) => claims(&report.organization, &report.email),
            Content::Tls(report) => claims(&report.organization, &report.contact),
            Content::Incident(_) => claims("", ""),
        };
        Found { reporter, content }
    }
}

impl Reporter {
    fn new(name: &str, claimed: &[String], vouched: &[String]) -> Self {
        let is_his =
            |domain: &&String| claimed.iter().any(|claimed| organization(claimed) == organization(domain));
        let verified = vouched.iter().find(is_his).cloned();
        let says = verified.as_ref().or(claimed.first());
        Self {
            provider: says.map_or_else(|| "unknown".to_owned(), |domain| operator(domain)),
            name: bounded(name),
            verified,
        }
    }
}

impl Told {
    fn new(incident: Incident, about: Option<EntryId>, hostname: &str) -> Self {
        let Incident { feedback, arrival, source, domains, failure, delivery, signature, original } =
            incident;
        let by_trace = original.received.iter().find_map(|field| own_id(field, hostname));
        let by_id = original.message_id.as_deref().and_then(|id| {
            let (local, domain) = id.split_once('@')?;
            domain.eq_ignore_ascii_case(hostname).then(|| local.parse().ok()).flatten()
        });
        Self {
            kind: feedback.kind,
            failure,
            arrival,
            source: source.and_then(|source| source.trim_matches(['[', ']']).parse().ok()),
            domains,
            delivery,
            signature,
            message_id: original.message_id,
            from: original.from,
            subject: original.subject,
            about: about.or(by_trace).or(by_id).map(|id| id.to_string()),
        }
    }
}

/// The id in a trace field that we wrote (RFC 5321 section 4.4): `by HOSTNAME … id ID`.
fn own_id(received: &str, hostname: &str) -> Option<EntryId> {
    let mut words = received.split_ascii_whitespace();
    words.find(|word| word.eq_ignore_ascii_case("by"))?;
    words.next().filter(|by| by.eq_ignore_ascii_case(hostname))?;
    words.find(|word| word.eq_ignore_ascii_case("id"))?;
    words.next()?.trim_end_matches(';').parse().ok()
}

/// The parts that may be reports, or hold some.
fn documents(root: &Part) -> Vec<&Part> {
    let (mut waiting, mut found) = (vec![root], Vec::new());
    while let Some(part) = waiting.pop() {
        if found.len() < PARTS_MAX && is_document(part) {
            found.push(part);
        }
        waiting.extend(part.children.iter().rev());
    }
    found
}

/// By its type, or, where that says nothing, by its name.
fn is_document(part: &Part) -> bool {
    const TYPES: [(&str, &str); 8] = [
        ("application", "gzip"),
        ("application", "x-gzip"),
        ("application", "zip"),
        ("application", "x-zip"),
        ("application", "x-zip-compressed"),
        ("application", "xml"),
        ("text", "xml"),
        ("application", "json"),
    ];
    const ENDS: [&str; 5] = [".gz", ".gzip", ".zip", ".xml", ".json"];
    let is_named_so = || {
        let name = name(part).to_ascii_lowercase();
        !part.is_multipart() && ENDS.iter().any(|end| name.ends_with(end))
    };
    TYPES.iter().any(|(kind, subtype)| part.content_type.is(kind, subtype))
        || is_tls_part(part)
        || is_named_so()
}

/// Types of RFC 8460 section 6.4 and 6.5, and one that is not registered and is seen.
fn is_tls_part(part: &Part) -> bool {
    ["tlsrpt+gzip", "tlsrpt+json", "tlsrpt+zip"].iter().any(|kind| part.content_type.is("application", kind))
}

fn is_json(part: &Part) -> bool {
    let name = name(part).to_ascii_lowercase();
    part.content_type.is("application", "json") || name.contains(".json")
}

fn name(part: &Part) -> String {
    let given = part.disposition.as_ref().and_then(|disposition| {
        disposition.parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"filename"))
    });
    let name = given.map(|(_, value)| value.as_slice()).or_else(|| part.content_type.parameter("name"));
    header_text(name.unwrap_or_default())
}

#[cfg(test)]
mod tests;
