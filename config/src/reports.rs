//! `[reports]`: those about DMARC and TLS, sent and received.

use std::time::Duration;

use waypost_mail::Address;

use crate::{
    domain::{DomainConfig, is_delivered_here},
    reader::{Found, Section, values},
    texts::{address, duration},
};

/// `[reports]`: what other domains are told of their mail and of TLS towards them, and what others say of ours. The default tells nothing,
/// which is not that of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportsConfig {
    /// Whether reports are sent; default true.
    pub send: bool,
    /// Name of the organization that reports; default: the domain of `from`.
    pub organization: Option<String>,
    /// The author of mail with reports; default: postmaster of the first domain.
    pub from: Option<Address>,
    /// Whom to ask about reports; default: `from`.
    pub contact: Option<String>,
    /// Most reports of each kind about one day.
    pub daily_max: usize,
    /// Addresses that reports of others come to, beside `postmaster@` each domain and those that our records name.
    pub addresses: Vec<Address>,
    /// The mailbox that mail goes to which may bring reports; `None`: INBOX.
    pub mailbox: Option<String>,
    /// How long what reports say, and what we sent, is kept; default 90 days.
    pub keep: Duration,
}

impl Default for ReportsConfig {
    fn default() -> Self {
        Self {
            send: false,
            organization: None,
            from: None,
            contact: None,
            daily_max: 0,
            addresses: Vec::new(),
            mailbox: None,
            keep: Duration::from_secs(90 * 86_400),
        }
    }
}

/// Most reports of a kind about one day.
const DAILY_REPORTS: std::ops::RangeInclusive<u64> = 1..=10_000;

/// Most characters of a name in reports.
const REPORT_NAME_CHARS_MAX: usize = 200;

/// The least and the most time for which reports are kept.
const REPORTS_KEPT: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(86_400)..=Duration::from_secs(3_650 * 86_400);

pub(crate) fn read(root: &Section<'_, '_>, domains: &[Found<DomainConfig>]) -> ReportsConfig {
    let section = root.table("reports");
    let name = |key| section.parsed(key, report_name).map(|found| found.value);
    let from = section.parsed("from", |text| {
        let from = address(text)?;
        if is_delivered_here(domains, &from.domain) && !from.needs_smtputf8() {
            Ok(from)
        } else {
            Err(format!("{text:?} is in no [[domain]] whose mail is delivered here"))
        }
    });
    let kept = |text: &str| match duration(text)? {
        keep if REPORTS_KEPT.contains(&keep) => Ok(keep),
        _ => Err("it is at least 1 day".to_owned()),
    };
    let keep = section.parsed("keep", kept).map(|found| found.value);
    let mailbox = section.string("mailbox").map(|found| found.value.to_owned());
    let config = ReportsConfig {
        addresses: section.list("addresses", address).map(values).unwrap_or_default(),
        mailbox: mailbox.filter(|name| !name.is_empty()),
        keep: keep.unwrap_or(ReportsConfig::default().keep),
        send: section.boolean("send").is_none_or(|send| send.value),
        organization: name("organization"),
        from: from.map(|found| found.value),
        contact: name("contact"),
        daily_max: section
            .number("daily_max", DAILY_REPORTS)
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(1000),
    };
    section.end();
    config
}

/// What stands in header fields and in XML.
fn report_name(text: &str) -> Result<String, String> {
    let is_name = !text.trim().is_empty()
        && !text.chars().any(char::is_control)
        && text.chars().count() <= REPORT_NAME_CHARS_MAX;
    if is_name { Ok(text.to_owned()) } else { Err("it is one line of at most 200 characters".to_owned()) }
}
