//! `[queue]`: when and how fast mail goes out, and to whom it does no more.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use waypost_mail::{Domain, EnhancedStatus};

use crate::{
    next_hop::{NextHop, SourceAddresses, relay, source_address, source_addresses},
    reader::{Section, values},
    route::{ROUTE_TLS, RouteTls},
    texts::{domain, duration},
};

/// `[queue]`
#[derive(Clone, Debug, PartialEq)]
pub struct QueueConfig {
    /// Waits between tries; the last one repeats. Default 5m, 15m, 1h, 4h.
    pub retry: Vec<Duration>,
    /// When a message is given up; default 5d.
    pub lifetime: Duration,
    /// When its sender is told that it waits; default 4h.
    pub warn_after: Duration,
    /// Port of the hosts that MX records name; 25 but in tests.
    pub mx_port: u16,
    /// Names beside the hostname that MX records have for this server.
    pub own_names: Vec<Domain>,
    /// Addresses, not of this machine, that lead to this server.
    pub own_addresses: Vec<IpAddr>,
    /// Who gets mail whose mail exchangers take no session; none but over TCP.
    pub fallback_relays: Vec<NextHop>,
    /// TLS towards these; default required.
    pub fallback_tls: RouteTls,
    /// Most connections to other servers at the same time; default 500.
    pub connections: usize,
    /// Most of them to one destination; default 20.
    pub connections_per_destination: usize,
    /// Most messages over one connection; default 100.
    pub messages_per_connection: usize,
    /// Whether the postmaster is told of notifications that cannot be delivered; default yes.
    pub double_bounces: bool,
    /// Whether mail of our users goes on with a reverse path that names the message (VERP); default no.
    pub verp: bool,
    /// Which addresses are sent no mail any more.
    pub suppression: SuppressionConfig,
    /// Where connections go out from, unless a route says otherwise.
    pub sources: SourceAddresses,
    /// What some of our addresses may do.
    pub source_limits: Vec<SourceConfig>,
    /// What differs for some domains.
    pub destinations: Vec<DestinationConfig>,
}

/// `[[queue.source]]`: what goes out from one of our addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SourceConfig {
    /// The address: one of some `source_addresses`.
    pub address: IpAddr,
    /// Most connections from it at the same time; `None`: any number.
    pub connections: Option<usize>,
    /// Most messages from it in a minute; 0: any number, the default.
    pub messages_per_minute: u32,
}

/// `[queue.suppression]`: addresses that are sent no mail any more, as it came back or was complained of.
#[derive(Clone, Debug, PartialEq)]
pub struct SuppressionConfig {
    /// Whether there are any; default no.
    pub enabled: bool,
    /// What servers say of mailboxes that do not exist; default 5.1.1 and 5.1.6.
    pub statuses: Vec<EnhancedStatus>,
    /// How often they say it before mail is suppressed; default 2; 0: it never is.
    pub bounces: u32,
    /// How many complaints of a user's mail suppress further mail of that user; default 1; 0: none do.
    pub complaints: u32,
    /// How long that is counted, and how long mail is suppressed; default 30 days.
    pub expires: Duration,
}

impl Default for SuppressionConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            statuses: vec![EnhancedStatus(5, 1, 1), EnhancedStatus(5, 1, 6)],
            bounces: 2,
            complaints: 1,
            expires: Duration::from_secs(30 * 86_400),
        }
    }
}

/// `[[queue.destination]]`: what differs for mail to one domain.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationConfig {
    /// The domain.
    pub domain: Domain,
    /// See [`QueueConfig::retry`].
    pub retry: Option<Vec<Duration>>,
    /// See [`QueueConfig::lifetime`].
    pub lifetime: Option<Duration>,
    /// See [`QueueConfig::warn_after`].
    pub warn_after: Option<Duration>,
    /// Most connections to its mail exchangers at the same time.
    pub connections: Option<usize>,
    /// Most messages over one of them.
    pub messages_per_connection: Option<usize>,
    /// Most messages to them in a minute; 0: any number, the default.
    pub messages_per_minute: u32,
}

/// When messages to one domain are tried again, their senders told, and given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Schedule<'a> {
    /// Waits between tries; the last one repeats.
    pub retry: &'a [Duration],
    /// After which time a message is given up.
    pub lifetime: Duration,
    /// After which time its sender is told that it waits.
    pub warn_after: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            retry: [5, 15, 60, 240].map(|minutes| Duration::from_secs(60 * minutes)).to_vec(),
            lifetime: Duration::from_secs(5 * 86_400),
            warn_after: Duration::from_secs(4 * 3_600),
            mx_port: 25,
            own_names: Vec::new(),
            own_addresses: Vec::new(),
            fallback_relays: Vec::new(),
            fallback_tls: RouteTls::Required,
            connections: 500,
            connections_per_destination: 20,
            messages_per_connection: 100,
            double_bounces: true,
            verp: false,
            suppression: SuppressionConfig::default(),
            sources: SourceAddresses::default(),
            source_limits: Vec::new(),
            destinations: Vec::new(),
        }
    }
}

impl QueueConfig {
    /// What differs for a domain, if anything does.
    pub fn destination(&self, domain: &Domain) -> Option<&DestinationConfig> {
        self.destinations.iter().find(|destination| destination.domain == *domain)
    }

    /// The times of messages to a domain.
    pub fn schedule(&self, domain: &Domain) -> Schedule<'_> {
        self.times(self.destination(domain))
    }

    /// The times that hold beside what differs for a destination.
    pub fn times<'a>(&'a self, own: Option<&'a DestinationConfig>) -> Schedule<'a> {
        Schedule {
            retry: own.and_then(|own| own.retry.as_deref()).unwrap_or(&self.retry),
            lifetime: own.and_then(|own| own.lifetime).unwrap_or(self.lifetime),
            warn_after: own.and_then(|own| own.warn_after).unwrap_or(self.warn_after),
        }
    }
}

/// Bounds of what the queue makes at the same time.
const CONNECTIONS: std::ops::RangeInclusive<u64> = 1..=100_000;

pub(crate) fn read(root: &Section<'_, '_>) -> QueueConfig {
    let section = root.table("queue");
    let default = QueueConfig::default();
    let mx_port = section.number("mx_port", 1..=65_535).and_then(|port| u16::try_from(port).ok());
    let destinations = section.tables("destination").into_iter().filter_map(destination);
    let config = QueueConfig {
        retry: waits(&section).unwrap_or(default.retry),
        lifetime: section.duration("lifetime").unwrap_or(default.lifetime),
        warn_after: section.duration("warn_after").unwrap_or(default.warn_after),
        mx_port: mx_port.unwrap_or(default.mx_port),
        own_names: values(section.list("own_names", domain).unwrap_or_default()),
        own_addresses: values(section.list("own_addresses", source_address).unwrap_or_default()),
        fallback_relays: values(section.one_or_more("fallback_relay", relay).unwrap_or_default()),
        fallback_tls: section.word("fallback_tls", &ROUTE_TLS).unwrap_or(default.fallback_tls),
        connections: count(&section, "connections").unwrap_or(default.connections),
        connections_per_destination: count(&section, "connections_per_destination")
            .unwrap_or(default.connections_per_destination),
        messages_per_connection: count(&section, "messages_per_connection")
            .unwrap_or(default.messages_per_connection),
        verp: section.boolean("verp").map_or(default.verp, |found| found.value),
        double_bounces: section.boolean("double_bounces").map_or(default.double_bounces, |found| found.value),
        destinations: destinations.collect(),
        suppression: suppression(section.table("suppression")),
        sources: source_addresses(&section),
        source_limits: section.tables("source").into_iter().filter_map(source).collect(),
    };
    let mut limited = BTreeSet::new();
    for source in &config.source_limits {
        if !limited.insert(source.address) {
            section.wrong(format!("two [[queue.source]] have the address {}", source.address));
        }
    }
    let mut seen = BTreeSet::new();
    for destination in &config.destinations {
        if !seen.insert(&destination.domain) {
            section.wrong(format!("two [[queue.destination]] have the domain {}", destination.domain));
        }
    }
    section.end();
    config
}

fn source(section: Section<'_, '_>) -> Option<SourceConfig> {
    let address = section.need("address", section.parsed("address", source_address));
    let per_minute = section.number("messages_per_minute", 0..=1_000_000);
    let connections = count(&section, "connections");
    section.end();
    let messages_per_minute = per_minute.and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    Some(SourceConfig { address: address?.value, connections, messages_per_minute })
}

fn suppression(section: Section<'_, '_>) -> SuppressionConfig {
    let default = SuppressionConfig::default();
    let status = |text: &str| {
        EnhancedStatus::parse(text)
            .filter(|status| status.0 == 5)
            .ok_or_else(|| format!("{text:?} is no status that is for good, like \"5.1.1\""))
    };
    let often = |key| section.number(key, 0..=1_000).and_then(|number| u32::try_from(number).ok());
    let expires = |text: &str| match duration(text)? {
        Duration::ZERO => Err("addresses are suppressed for some time".to_owned()),
        expires => Ok(expires),
    };
    let statuses = section.list("statuses", status);
    let config = SuppressionConfig {
        enabled: section.boolean("enabled").map_or(default.enabled, |found| found.value),
        statuses: statuses.map_or(default.statuses, values),
        bounces: often("bounces").unwrap_or(default.bounces),
        complaints: often("complaints").unwrap_or(default.complaints),
        expires: section.parsed("expires", expires).map_or(default.expires, |found| found.value),
    };
    section.end();
    config
}

fn destination(section: Section<'_, '_>) -> Option<DestinationConfig> {
    let name = section.need("domain", section.parsed("domain", domain));
    let per_minute = section.number("messages_per_minute", 0..=1_000_000);
    let config = DestinationConfig {
        retry: waits(&section),
        lifetime: section.duration("lifetime"),
        warn_after: section.duration("warn_after"),
        connections: count(&section, "connections"),
        messages_per_connection: count(&section, "messages_per_connection"),
        messages_per_minute: per_minute.and_then(|number| u32::try_from(number).ok()).unwrap_or(0),
        domain: name?.value,
    };
    section.end();
    Some(config)
}

/// Waits between tries, at least one.
fn waits(section: &Section<'_, '_>) -> Option<Vec<Duration>> {
    let wait = |text: &str| {
        duration(text).and_then(|wait| if wait.is_zero() { Err("a wait of 0".to_owned()) } else { Ok(wait) })
    };
    let waits = section.list("retry", wait);
    section.refuse_empty_list("retry");
    waits.map(values).filter(|waits| !waits.is_empty())
}

fn count(section: &Section<'_, '_>, key: &str) -> Option<usize> {
    section.number(key, CONNECTIONS).and_then(|number| usize::try_from(number).ok())
}
