//! Where mail goes (RFC 5321 section 5): what the configuration says, else the mail exchangers that DNS names.
//!
//! Deciding is pure: [`decide`] over the configuration, `exchange` over DNS answers. [`resolve`] asks DNS in between.
//!
//! A domain that became ours after its mail was queued is still routed: by its mail exchangers, which are we ourselves. The
//! mail comes back through our own port 25 into mailboxes, or ends as a loop (5.4.6) where DNS names us by our host name.

mod exchange;
mod path;
mod target;

use std::net::{IpAddr, SocketAddr};

use waypost_config::{
    Config, DestinationConfig, NextHop, QueueConfig, RouteConfig, RouteProtocol, RouteTls, Service,
    SourceAddresses, TlsLevel,
};
use waypost_mail::{Domain, EnhancedStatus, Refusal};

use crate::{
    dns::{DnsError, Resolver, Security},
    smtp::client::{Encryption, Login, Protocol},
    tls_policy::{Whose, Wish, counts_what_is_published},
};
use exchange::{Exchanger, Found};

pub use path::{outgoing_domain, outgoing_path};
pub use target::{Place, Target};

/// Most addresses that are tried in one go (RFC 5321 section 5.1: at least two).
pub const ADDRESSES_MAX: usize = 10;
/// Most mail exchangers of a domain whose addresses are asked for: more than [`ADDRESSES_MAX`] only where the first ones have none.
pub const EXCHANGERS_MAX: usize = 50;

/// What decides where mail for a domain goes. Domains with one destination share connections and transactions.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Destination {
    /// The domain's mail exchangers.
    Exchangers(Domain),
    /// Servers by `[[route]]` or `relay_to`.
    NextHops(NextHops),
}

impl Destination {
    /// What differs for it: `[[queue.destination]]` is about mail exchangers.
    pub fn own<'a>(&self, queue: &'a QueueConfig) -> Option<&'a DestinationConfig> {
        match self {
            Self::Exchangers(domain) => queue.destination(domain),
            Self::NextHops(_) => None,
        }
    }

    /// Who says what is demanded of TLS towards it.
    pub fn whose(&self) -> Whose<'_> {
        match self {
            Self::Exchangers(domain) => Whose::Domain(domain),
            Self::NextHops(NextHops { encryption, .. }) => Whose::NextHop((*encryption).into()),
        }
    }
}

impl From<Encryption> for TlsLevel {
    /// The operator's word on a server that he names.
    fn from(encryption: Encryption) -> Self {
        match encryption {
            Encryption::Never => Self::None,
            Encryption::Offered => Self::Opportunistic,
            Encryption::Required => Self::Verify,
        }
    }
}

impl std::fmt::Display for Destination {
    /// The domain whose mail exchangers are asked, or the next hops: `example.org`, `192.0.2.7:25`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exchangers(domain) => domain.fmt(f),
            Self::NextHops(hops) => {
                for (at, next_hop) in hops.next_hops.iter().enumerate() {
                    write!(f, "{}{next_hop}", if at == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

/// Servers that the configuration names, and how to speak to them.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct NextHops {
    /// To be tried in this order; at least one.
    pub next_hops: Vec<NextHop>,
    /// What is spoken.
    pub protocol: Protocol,
    /// TLS towards them.
    pub encryption: Encryption,
    /// Login there.
    pub login: Option<Login>,
    /// Where connections go out from.
    pub sources: SourceAddresses,
}

/// Why mail for a domain goes where it goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reason {
    /// No route names the domain: DNS does.
    Dns,
    /// A `[[route]]`; `None`: its key is `"*"`, or not there.
    Route {
        /// Its `domain`.
        domain: Option<Domain>,
        /// Its `sender`.
        sender: Option<Domain>,
    },
    /// `relay_to` of a domain whose backup MX we are.
    BackupMx,
}

impl std::fmt::Display for Reason {
    /// `[[route]] domain = "*"`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dns => f.write_str("no [[route]]: by DNS"),
            Self::BackupMx => f.write_str("relay_to of the [[domain]]"),
            Self::Route { domain, sender } => {
                write!(f, "[[route]] domain = \"{}\"", domain.as_ref().map_or("*", Domain::as_str))?;
                sender.as_ref().map_or(Ok(()), |sender| write!(f, ", sender = \"{sender}\""))
            }
        }
    }
}

/// The servers for a destination, and how to speak to them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// To be tried in this order; at least one. Addresses of one host stand side by side, and are tried as RFC 8305 has it.
    pub targets: Vec<Target>,
    /// What is spoken.
    pub protocol: Protocol,
    /// Login there.
    pub login: Option<Login>,
}

/// What is to be done with mail for a destination: the client carries it out, `waypost route` shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RoutePlan {
    /// Send it there.
    Send(Route),
    /// It cannot be sent (now); what is recorded for its recipients.
    Fail(Refusal),
}

/// Where mail from a domain (`None`: the null reverse path) to a domain goes, as [`decide`] has it.
pub fn destination(config: &Config, sender: Option<&Domain>, domain: &Domain) -> Destination {
    decide(config, sender, domain).1
}

/// Where mail from a domain (`None`: the null reverse path) to a domain goes, by the configuration, and why: the domain's own
/// `[[route]]`, else `relay_to` of a domain whose backup MX we are, else the `[[route]]` for all others, else its mail
/// exchangers. Of two routes that fit, the one for the sender is taken.
pub fn decide(config: &Config, sender: Option<&Domain>, domain: &Domain) -> (Reason, Destination) {
    if let Some(route) = route(config, sender, Some(domain)) {
        return configured(config, route);
    }
    let ours = config.domains.iter().find(|ours| ours.name == *domain);
    if let Some(next_hop) = ours.and_then(|ours| ours.relay_to.clone()) {
        let next_hops = NextHops {
            next_hops: vec![next_hop],
            protocol: Protocol::Smtp,
            encryption: Encryption::Offered,
            login: None,
            sources: config.queue.sources,
        };
        return (Reason::BackupMx, Destination::NextHops(next_hops));
    }
    let by_dns = || (Reason::Dns, Destination::Exchangers(domain.clone()));
    route(config, sender, None).map_or_else(by_dns, |route| configured(config, route))
}

/// The route for a destination (`None`: all others).
fn route<'a>(
    config: &'a Config,
    sender: Option<&Domain>,
    domain: Option<&Domain>,
) -> Option<&'a RouteConfig> {
    let mut routes = config.routes.iter().filter(|route| route.domain.as_ref() == domain);
    let for_all = routes.clone().find(|route| route.sender.is_none());
    routes.find(|route| route.sender.is_some() && route.sender.as_ref() == sender).or(for_all)
}

fn configured(config: &Config, route: &RouteConfig) -> (Reason, Destination) {
    let encryption = match route.tls {
        RouteTls::Opportunistic => Encryption::Offered,
        RouteTls::Required => Encryption::Required,
        RouteTls::None => Encryption::Never,
    };
    let protocol = match route.protocol {
        RouteProtocol::Smtp => Protocol::Smtp,
        RouteProtocol::Lmtp => Protocol::Lmtp,
    };
    let login = route.login.clone().map(|(user, password)| Login { user, password });
    let sources = route.sources.or(config.queue.sources);
    let next_hops = NextHops { next_hops: route.next_hops.clone(), protocol, encryption, login, sources };
    let reason = Reason::Route { domain: route.domain.clone(), sender: route.sender.clone() };
    (reason, Destination::NextHops(next_hops))
}

/// Finds the servers of a destination for mail whose sender wishes this. `seed` decides in which order equal mail exchangers are tried.
pub async fn resolve(
    resolver: &Resolver,
    config: &Config,
    destination: &Destination,
    wish: Wish,
    seed: u64,
) -> RoutePlan {
    let found = match destination {
        Destination::NextHops(hops) => next_hop_targets(resolver, hops).await,
        Destination::Exchangers(domain) => exchange_targets(resolver, config, domain, wish, seed).await,
    };
    let targets = match found {
        Ok(targets) => targets,
        Err(refusal) => return RoutePlan::Fail(refusal),
    };
    RoutePlan::Send(match destination {
        Destination::NextHops(NextHops { protocol, login, .. }) => {
            Route { targets, protocol: *protocol, login: login.clone() }
        }
        Destination::Exchangers(_) => Route { targets, protocol: Protocol::Smtp, login: None },
    })
}

/// A configured server that is not found is the operator's mistake: where none is, mail waits until it is mended.
async fn next_hop_targets(resolver: &Resolver, hops: &NextHops) -> Result<Vec<Target>, Refusal> {
    let (mut targets, mut failure) = (Vec::new(), None);
    let named = hops.next_hops.iter().filter_map(|next_hop| match next_hop {
        NextHop::Server { host, .. } => host.parse::<IpAddr>().is_err().then_some(host.as_str()),
        NextHop::Socket(_) => None,
    });
    let mut asked = resolver.addresses_of(&named.collect::<Vec<_>>(), ADDRESSES_MAX).await.into_iter();
    for next_hop in &hops.next_hops {
        let (host, port) = match next_hop {
            NextHop::Socket(path) => {
                targets.push(Target::socket(path));
                continue;
            }
            NextHop::Server { host, port } => (host, *port),
        };
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => Ok(vec![address]),
            // where there are enough addresses, the last ones were not asked for
            Err(_) => asked.next().unwrap_or(Ok(Vec::new())),
        };
        match addresses {
            Ok(found) => targets.extend(
                target::interleave(&found)
                    .map(|ip| Target::new(host, SocketAddr::new(ip, port)).from(&hops.sources)),
            ),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    targets.truncate(ADDRESSES_MAX);
    match failure {
        Some(error) if targets.is_empty() => {
            Err(Refusal::new(451, EnhancedStatus(4, 4, 4), format!("next hop: {error}")))
        }
        _ => Ok(targets),
    }
}

/// What of the domain's DNS is asked with DNSSEC is not asked without: the answer that names the exchangers is the one whose security
/// counts.
async fn exchange_targets(
    resolver: &Resolver,
    config: &Config,
    domain: &Domain,
    wish: Wish,
    seed: u64,
) -> Result<Vec<Target>, Refusal> {
    if let Some(address) = domain.as_ip() {
        let exchanger = Exchanger { preference: 0, host: domain.to_string() };
        let found = vec![Found { exchanger, addresses: Ok(vec![address]) }];
        return listed(config, found, 0, Security::Insecure);
    }
    let (answer, security) = if counts_what_is_published(&config.outbound_tls, domain, wish) {
        resolver.secured_mx(domain).await
    } else {
        (resolver.mx(domain).await, Security::Insecure)
    };
    let exchangers = exchange::exchangers(domain, answer, &|host| is_own_name(config, host), seed)?;
    let unasked = exchangers.len().saturating_sub(EXCHANGERS_MAX);
    let hosts: Vec<&str> =
        exchangers.iter().take(EXCHANGERS_MAX).map(|exchanger| exchanger.host.as_str()).collect();
    let addresses = resolver.addresses_of(&hosts, ADDRESSES_MAX).await;
    let found = exchangers.into_iter().zip(addresses);
    let found = found.map(|(exchanger, addresses)| Found { exchanger, addresses }).collect();
    listed(config, found, unasked, security)
}

fn listed(
    config: &Config,
    found: Vec<Found>,
    unasked: usize,
    security: Security,
) -> Result<Vec<Target>, Refusal> {
    let QueueConfig { mx_port, sources, .. } = &config.queue;
    let targets = exchange::targets(found, &|address| is_own(config, address), *mx_port, unasked)?;
    Ok(targets.into_iter().map(|target| Target { mx: security, ..target.from(sources) }).collect())
}

/// Whether a name in an MX record is ours.
fn is_own_name(config: &Config, host: &str) -> bool {
    let mut names = std::iter::once(&config.hostname).chain(&config.queue.own_names);
    names.any(|name| name.as_str() == host)
}

/// Whether we receive mail there ourselves: on the address, on all of this machine's, or by way of one that the configuration names.
fn is_own(config: &Config, address: SocketAddr) -> bool {
    if config.queue.own_addresses.contains(&address.ip()) {
        return true;
    }
    let smtp = config.listeners.iter().filter(|listener| listener.service == Service::Smtp);
    smtp.filter_map(|listener| listener.address.socket()).any(|ours| {
        let all = ours.ip().is_unspecified()
            && ours.port() == address.port()
            && ours.is_ipv4() == address.is_ipv4();
        ours == address || (all && waypost_net::is_local(address.ip()))
    })
}

/// The reply for mail whose look-up failed.
fn look_up_failure(error: &DnsError) -> Refusal {
    match error {
        DnsError::NoSuchDomain(_) => Refusal::new(550, EnhancedStatus(5, 1, 2), error.to_string()),
        DnsError::NoRecords(_) => Refusal::new(550, EnhancedStatus(5, 4, 4), error.to_string()),
        DnsError::Temporary(..) => Refusal::new(451, EnhancedStatus(4, 4, 3), error.to_string()),
    }
}

#[cfg(test)]
mod resolve_tests;
#[cfg(test)]
mod tests;
