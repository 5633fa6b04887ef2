//! `[[domain]]`: a domain whose mail comes here.

use std::time::Duration;

use waypost_mail::{Address, Domain};

use crate::{
    next_hop::{NextHop, server},
    reader::{Found, Section},
    texts::{address, domain, duration},
};

/// `[[domain]]`
#[derive(Clone, Debug, PartialEq)]
pub struct DomainConfig {
    /// Its name.
    pub name: Domain,
    /// Who gets what no one else gets.
    pub catch_all: Option<Address>,
    /// What separates the detail of a local part; default `+`; `None`: no detail.
    pub separator: Option<char>,
    /// Where a backup MX hands the domain's mail on.
    pub relay_to: Option<NextHop>,
    /// Whether mail of its authors is signed (DKIM); default yes, once there are keys.
    pub dkim: bool,
    /// What its policy of MTA-STS asks of senders.
    pub mta_sts: StsMode,
    /// What holds for its accounts over POP3.
    pub pop3: Pop3Policy,
}

/// What holds for POP3 sessions of a domain's accounts; by default nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pop3Policy {
    /// After how many days a message goes that was retrieved (RFC 2449 section 6.7); 0: at the end of the session. `None`: never.
    pub expire_days: Option<u32>,
    /// The least time between two logins (RFC 2449 section 6.5).
    pub login_delay: Duration,
}

/// What a policy of MTA-STS asks of senders (RFC 8461 section 5).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StsMode {
    /// To report where TLS fails, and to deliver all the same.
    #[default]
    Testing,
    /// To deliver by verified TLS only.
    Enforce,
    /// Nothing: an earlier policy is taken back (section 8.3).
    None,
}

impl StsMode {
    /// Its name in policies and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Testing => "testing",
            Self::Enforce => "enforce",
            Self::None => "none",
        }
    }
}

const STS_MODES: [(&str, StsMode); 3] =
    [("testing", StsMode::Testing), ("enforce", StsMode::Enforce), ("none", StsMode::None)];

/// Whether it is one of ours, and not one whose mail goes on to its own server.
pub(crate) fn is_delivered_here(domains: &[Found<DomainConfig>], name: &Domain) -> bool {
    domains.iter().any(|ours| ours.value.name == *name && ours.value.relay_to.is_none())
}

/// Seconds of a day.
const DAY: u64 = 86_400;

pub(crate) fn read(section: Section<'_, '_>) -> Option<Found<DomainConfig>> {
    let name = section.need("name", section.parsed("name", domain));
    let catch_all = section.parsed("catch_all", address).map(|found| found.value);
    let separator = section.parsed("separator", |text| {
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (None, _) => Ok(None),
            (Some(c), None) if "+-_=#~!$%&*".contains(c) => Ok(Some(c)),
            _ => Err(format!("{text:?} is not one of + - _ = # ~ ! $ % & *, nor empty for no separator")),
        }
    });
    let relay_to = section.parsed("relay_to", server).map(|found| found.value);
    let dkim = section.boolean("dkim").is_none_or(|dkim| dkim.value);
    let mta_sts = section.word("mta_sts", &STS_MODES).unwrap_or_default();
    let pop3 = Pop3Policy {
        expire_days: section.parsed("pop3_expire", expire_days).and_then(|found| found.value),
        login_delay: section
            .parsed("pop3_login_delay", login_delay)
            .map(|found| found.value)
            .unwrap_or_default(),
    };
    section.end();
    let Found { value: name, place } = name?;
    let separator = separator.map_or(Some('+'), |found| found.value);
    Some(Found { value: DomainConfig { name, catch_all, separator, relay_to, dkim, mta_sts, pop3 }, place })
}

/// Whole days, or never.
fn expire_days(text: &str) -> Result<Option<u32>, String> {
    if text == "never" {
        return Ok(None);
    }
    let problem = || format!("{text:?} is neither \"never\" nor a number of days, like \"30d\"");
    let seconds = duration(text).map_err(|_| problem())?.as_secs();
    let days = Some(seconds / DAY).filter(|_| seconds.is_multiple_of(DAY));
    days.and_then(|days| u32::try_from(days).ok()).map(Some).ok_or_else(problem)
}

/// One that is longer would lock users out.
fn login_delay(text: &str) -> Result<Duration, String> {
    let delay = duration(text)?;
    if delay <= Duration::from_secs(DAY) { Ok(delay) } else { Err("it is at most 1 day".to_owned()) }
}
