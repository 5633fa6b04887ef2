//! Where mail goes (RFC 5321 section 5): what the configuration says, else the mail exchangers that DNS names.
//!
//! Deciding is pure: [`decide`] over the configuration, `exchange` over DNS answers. [`resolve()`] asks DNS in between.
//!
//! A domain that became ours after its mail was queued is still routed: by its mail exchangers, which are we ourselves. The
//! mail comes back through our own port 25 into mailboxes, or ends as a loop (5.4.6) where DNS names us by our host name.

mod exchange;
mod path;
mod resolve;
mod target;

use waypost_config::{
    Config, DestinationConfig, NextHop, QueueConfig, RouteConfig, RouteProtocol, RouteTls, SourceAddresses,
    TlsLevel,
};
use waypost_mail::{Domain, Refusal};

use crate::{
    smtp::client::{Encryption, Login, Protocol},
    tls_policy::Whose,
};

pub use path::{outgoing_domain, outgoing_path};
pub use resolve::resolve;
pub use target::{Place, Target, Word};

/// Most addresses of mail exchangers or next hops that are tried in one go (RFC 5321 section 5.1: at least two).
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

fn encryption(tls: RouteTls) -> Encryption {
    match tls {
        RouteTls::Opportunistic => Encryption::Offered,
        RouteTls::Required => Encryption::Required,
        RouteTls::None => Encryption::Never,
    }
}

fn configured(config: &Config, route: &RouteConfig) -> (Reason, Destination) {
    let encryption = encryption(route.tls);
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

#[cfg(test)]
mod resolve_tests;
#[cfg(test)]
mod tests;
