//! The servers of a destination: DNS is asked in between of what is decided.

use std::net::{IpAddr, SocketAddr};

use waypost_config::{Config, NextHop, QueueConfig, Service, SourceAddresses};
use waypost_mail::{Domain, EnhancedStatus, Refusal};

use super::{
    ADDRESSES_MAX, Destination, EXCHANGERS_MAX, NextHops, Route, RoutePlan, Target, Word, encryption,
    exchange::{self, Exchanger, Found, Listed},
    target,
};
use crate::{
    dns::{DnsError, Resolver, Security},
    smtp::client::Protocol,
    tls_policy::{Wish, counts_what_is_published},
};

/// What servers are found with.
#[derive(Clone, Copy)]
struct Finder<'a> {
    resolver: &'a Resolver,
    config: &'a Config,
    wish: Wish,
    seed: u64,
}

/// Finds the servers of a destination for mail whose sender wishes this. `seed` decides in which order equal mail exchangers are tried.
pub async fn resolve(
    resolver: &Resolver,
    config: &Config,
    destination: &Destination,
    wish: Wish,
    seed: u64,
) -> RoutePlan {
    let finder = Finder { resolver, config, wish, seed };
    let QueueConfig { mx_port, sources, .. } = &config.queue;
    let found = match destination {
        Destination::NextHops(hops) => finder.next_hops(hops).await,
        Destination::Exchangers(domain) => {
            let found = finder.exchangers(domain, *mx_port, sources).await;
            finder.with_fallback(found).await
        }
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

impl Finder<'_> {
    /// A configured server that is not found is the operator's mistake: where none is, mail waits until it is mended.
    async fn next_hops(self, hops: &NextHops) -> Result<Vec<Target>, Refusal> {
        let (mut targets, mut failure) = (Vec::new(), None);
        let named = hops.next_hops.iter().filter_map(|next_hop| match next_hop {
            NextHop::Server { host, .. } => host.parse::<IpAddr>().is_err().then_some(host.as_str()),
            NextHop::Exchangers { .. } | NextHop::Socket(_) => None,
        });
        let asked = self.resolver.addresses_of(&named.collect::<Vec<_>>(), ADDRESSES_MAX).await;
        let mut asked = asked.into_iter();
        for next_hop in &hops.next_hops {
            let found = match next_hop {
                NextHop::Socket(path) => Ok(vec![Target::socket(path)]),
                NextHop::Exchangers { domain, port } => self.exchangers_of_hop(hops, domain, *port).await,
                NextHop::Server { host, port } => {
                    let addresses = match host.parse::<IpAddr>() {
                        Ok(address) => Ok(vec![address]),
                        // where there are enough addresses, the last ones were not asked for
                        Err(_) => asked.next().unwrap_or(Ok(Vec::new())),
                    };
                    let target = |ip| Target::new(host, SocketAddr::new(ip, *port)).from(&hops.sources);
                    addresses
                        .map(|found| target::interleave(&found).map(target).collect())
                        .map_err(|error| error.to_string())
                }
            };
            match found {
                Ok(found) => targets.extend(found),
                Err(error) => failure = failure.or(Some(error)),
            }
            if targets.len() >= ADDRESSES_MAX {
                break;
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

    /// The exchangers of a domain that the operator names. Their certificates must be for the domain, where DNS may have lied of their names.
    async fn exchangers_of_hop(
        self,
        hops: &NextHops,
        domain: &Domain,
        port: u16,
    ) -> Result<Vec<Target>, String> {
        let found = self.exchangers(domain, port, &hops.sources).await.map_err(|refusal| refusal.text)?;
        let word = |target: &Target| {
            let host = (target.mx == Security::Secure).then(|| target.host.clone());
            Word {
                level: hops.encryption.into(),
                names: host.into_iter().chain([domain.to_string()]).collect(),
            }
        };
        Ok(found.items.into_iter().map(|target| Target { word: Some(word(&target)), ..target }).collect())
    }

    /// What of the domain's DNS is asked with DNSSEC is not asked without: the answer that names the exchangers is the one whose security
    /// counts (RFC 7672 section 2.2.1).
    async fn exchangers(
        self,
        domain: &Domain,
        port: u16,
        sources: &SourceAddresses,
    ) -> Result<Listed<Target>, Refusal> {
        let Self { resolver, config, wish, seed } = self;
        if let Some(address) = domain.as_ip() {
            let exchanger = Exchanger { preference: 0, host: domain.to_string() };
            let found = vec![Found { exchanger, addresses: Ok(vec![address]) }];
            let listed = exchange::targets(found, &|address| is_own(config, address), port, 0)?;
            return Ok(listed.map(|target| target.from(sources)));
        }
        let (answer, mx) = if counts_what_is_published(&config.outbound_tls, domain, wish) {
            resolver.secured_mx(domain).await
        } else {
            (resolver.mx(domain).await, Security::Insecure)
        };
        let Listed { items, has_us } =
            exchange::exchangers(domain, answer, &|host| is_own_name(config, host), seed)?;
        let unasked = items.len().saturating_sub(EXCHANGERS_MAX);
        let hosts: Vec<&str> =
            items.iter().take(EXCHANGERS_MAX).map(|exchanger| exchanger.host.as_str()).collect();
        let addresses = resolver.addresses_of(&hosts, ADDRESSES_MAX).await;
        let found = items.into_iter().zip(addresses);
        let found = found.map(|(exchanger, addresses)| Found { exchanger, addresses }).collect();
        let listed = exchange::targets(found, &|address| is_own(config, address), port, unasked)?;
        let listed = listed.map(|target| Target { mx, ..target.from(sources) });
        Ok(Listed { has_us: has_us || listed.has_us, ..listed })
    }

    /// Behind a domain's own servers the relays for where these take no session; not where we are one of them, as the mail would come back.
    async fn with_fallback(self, found: Result<Listed<Target>, Refusal>) -> Result<Vec<Target>, Refusal> {
        let QueueConfig { fallback_relays, fallback_tls, sources, .. } = &self.config.queue;
        let is_for_it = match &found {
            Ok(listed) => !listed.has_us,
            Err(refusal) => refusal.code < 500,
        };
        if fallback_relays.is_empty() || !is_for_it {
            return found.map(|listed| listed.items);
        }
        let hops = NextHops {
            next_hops: fallback_relays.clone(),
            protocol: Protocol::Smtp,
            encryption: encryption(*fallback_tls),
            login: None,
            sources: *sources,
        };
        let relays = self.next_hops(&hops).await.unwrap_or_else(|refusal| {
            tracing::warn!(%refusal, "queue.fallback_relay is not found");
            Vec::new()
        });
        let fallback = |target: Target| {
            let word = Word { level: hops.encryption.into(), names: vec![target.host.clone()] };
            Target { word: target.word.or(Some(word)), is_fallback: true, ..target }
        };
        match found {
            Err(refusal) if relays.is_empty() => Err(refusal),
            found => {
                let own = found.map_or_else(|_| Vec::new(), |listed| listed.items);
                Ok(own.into_iter().chain(relays.into_iter().map(fallback)).collect())
            }
        }
    }
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
pub(super) fn look_up_failure(error: &DnsError) -> Refusal {
    match error {
        DnsError::NoSuchDomain(_) => Refusal::new(550, EnhancedStatus(5, 1, 2), error.to_string()),
        DnsError::NoRecords(_) => Refusal::new(550, EnhancedStatus(5, 4, 4), error.to_string()),
        DnsError::Temporary(..) => Refusal::new(451, EnhancedStatus(4, 4, 3), error.to_string()),
    }
}
