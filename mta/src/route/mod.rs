//! Where mail goes (RFC 5321 section 5): what the configuration says, else the mail exchangers that DNS names.
//!
//! Deciding is pure: [`destination`] over the configuration, `exchange` over DNS answers. [`plan`] asks DNS in between.
//!
//! A domain that became ours after its mail was queued is still routed: by its mail exchangers, which are we ourselves. The
//! mail comes back through our own port 25 into mailboxes, or ends as a loop (5.4.6) where DNS names us by our host name.

mod exchange;

use std::net::{IpAddr, SocketAddr};

use waypost_config::{Config, NextHop, RouteConfig, RouteTls, Service};
use waypost_mail::{Domain, EnhancedStatus, Refusal};

use crate::{
    dns::{DnsError, Resolver},
    smtp::client::{Encryption, Login},
};
use exchange::{Exchanger, Found};

/// Most addresses that are tried in one go (RFC 5321 section 5.1: at least two).
pub const ADDRESSES_MAX: usize = 10;

/// What decides where mail for a domain goes. Domains with one destination share connections and transactions.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Destination {
    /// The domain's mail exchangers.
    Exchangers(Domain),
    /// One server, by `[[route]]` or `relay_to`.
    NextHop {
        /// The server.
        next_hop: NextHop,
        /// TLS towards it.
        encryption: Encryption,
        /// Login there.
        login: Option<Login>,
    },
}

impl std::fmt::Display for Destination {
    /// The domain whose mail exchangers are asked, or the next hop: `example.org`, `192.0.2.7:25`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exchangers(domain) => domain.fmt(f),
            Self::NextHop { next_hop, .. } => write!(f, "{}:{}", next_hop.host, next_hop.port),
        }
    }
}

/// A server to try.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Its name, as TLS expects it.
    pub host: String,
    /// Where it is.
    pub address: SocketAddr,
}

impl std::fmt::Display for Target {
    /// `mx.example.org [192.0.2.1]`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}]", self.host, self.address.ip())
    }
}

/// The servers for a destination, and how to speak to them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// To be tried in this order; at least one.
    pub targets: Vec<Target>,
    /// TLS towards them.
    pub encryption: Encryption,
    /// Login there.
    pub login: Option<Login>,
}

/// What is to be done with mail for a destination.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RoutePlan {
    /// Send it there.
    Send(Route),
    /// It cannot be sent (now); what is recorded for its recipients.
    Fail(Refusal),
}

/// Where mail for a domain goes, by the configuration: its own `[[route]]`, else `relay_to` of a domain whose backup MX we
/// are, else the `[[route]]` for all others, else its mail exchangers.
pub fn destination(config: &Config, domain: &Domain) -> Destination {
    let route = |wanted: Option<&Domain>| config.routes.iter().find(|route| route.domain.as_ref() == wanted);
    if let Some(route) = route(Some(domain)) {
        return configured(route);
    }
    let backup =
        config.domains.iter().find(|ours| ours.name == *domain).and_then(|ours| ours.relay_to.clone());
    if let Some(next_hop) = backup {
        return Destination::NextHop { next_hop, encryption: Encryption::Offered, login: None };
    }
    route(None).map_or_else(|| Destination::Exchangers(domain.clone()), configured)
}

fn configured(route: &RouteConfig) -> Destination {
    let encryption = match route.tls {
        RouteTls::Opportunistic => Encryption::Offered,
        RouteTls::Required => Encryption::Required,
        RouteTls::None => Encryption::Never,
    };
    let login = route.login.clone().map(|(user, password)| Login { user, password });
    Destination::NextHop { next_hop: route.next_hop.clone(), encryption, login }
}

/// What is to be done with mail for a domain. `seed` decides in which order equal mail exchangers are tried.
pub async fn plan(resolver: &Resolver, config: &Config, domain: &Domain, seed: u64) -> RoutePlan {
    resolve(resolver, config, &destination(config, domain), seed).await
}

/// Finds the servers of a destination; `seed` as for [`plan`].
pub async fn resolve(
    resolver: &Resolver,
    config: &Config,
    destination: &Destination,
    seed: u64,
) -> RoutePlan {
    let found = match destination {
        Destination::NextHop { next_hop, .. } => next_hop_targets(resolver, next_hop).await,
        Destination::Exchangers(domain) => exchange_targets(resolver, config, domain, seed).await,
    };
    let (encryption, login) = match destination {
        Destination::NextHop { encryption, login, .. } => (*encryption, login.clone()),
        Destination::Exchangers(_) => (Encryption::Offered, None),
    };
    match found {
        Ok(targets) => RoutePlan::Send(Route { targets, encryption, login }),
        Err(refusal) => RoutePlan::Fail(refusal),
    }
}

/// A configured server that is not found is the operator's mistake: mail waits until it is mended.
async fn next_hop_targets(resolver: &Resolver, next_hop: &NextHop) -> Result<Vec<Target>, Refusal> {
    let addresses = match next_hop.host.parse::<IpAddr>() {
        Ok(address) => Ok(vec![address]),
        Err(_) => resolver.addresses(&next_hop.host).await,
    };
    let target = |ip| Target { host: next_hop.host.clone(), address: SocketAddr::new(ip, next_hop.port) };
    match addresses {
        Ok(addresses) => Ok(addresses.into_iter().take(ADDRESSES_MAX).map(target).collect()),
        Err(error) => Err(Refusal::new(451, EnhancedStatus(4, 4, 4), format!("next hop: {error}"))),
    }
}

async fn exchange_targets(
    resolver: &Resolver,
    config: &Config,
    domain: &Domain,
    seed: u64,
) -> Result<Vec<Target>, Refusal> {
    let (port, own) = (config.queue.mx_port, own_addresses(config));
    if let Some(address) = domain.as_ip() {
        let exchanger = Exchanger { preference: 0, host: domain.to_string() };
        return exchange::targets(vec![Found { exchanger, addresses: Ok(vec![address]) }], &own, port);
    }
    let exchangers = exchange::exchangers(domain, resolver.mx(domain).await, &config.hostname, seed)?;
    let (mut found, mut count) = (Vec::new(), 0);
    for exchanger in exchangers.into_iter().take(ADDRESSES_MAX) {
        let addresses = resolver.addresses(&exchanger.host).await;
        count += addresses.as_ref().map_or(0, Vec::len);
        found.push(Found { exchanger, addresses });
        if count >= ADDRESSES_MAX {
            break;
        }
    }
    exchange::targets(found, &own, port)
}

/// Addresses on which we receive mail ourselves.
fn own_addresses(config: &Config) -> Vec<SocketAddr> {
    let smtp = config.listeners.iter().filter(|listener| listener.service == Service::Smtp);
    smtp.map(|listener| listener.address).collect()
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
mod tests;
