//! `[[route]]`: where mail goes instead of to the MX hosts of its domain.

use waypost_mail::Domain;

use crate::{
    facts::FileFacts,
    next_hop::{NextHop, SourceAddresses, next_hop, source_addresses},
    reader::{Found, Section, values},
    texts::domain,
};

/// TLS towards a next hop.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RouteTls {
    /// Where offered, unverified.
    #[default]
    Opportunistic,
    /// Verified, or not at all.
    Required,
    /// Never.
    None,
}

/// What is spoken to a next hop.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum RouteProtocol {
    /// SMTP.
    #[default]
    Smtp,
    /// LMTP: one answer for each recipient (RFC 2033).
    Lmtp,
}

/// `[[route]]`
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    /// Destination; `None`: `"*"`, all others.
    pub domain: Option<Domain>,
    /// Only for senders of this domain.
    pub sender: Option<Domain>,
    /// Where its mail goes: these in their order; at least one.
    pub next_hops: Vec<NextHop>,
    /// What is spoken there.
    pub protocol: RouteProtocol,
    /// TLS towards it.
    pub tls: RouteTls,
    /// Login there.
    pub login: Option<(String, String)>,
    /// Where connections go out from.
    pub sources: SourceAddresses,
}

impl RouteConfig {
    /// To one server by SMTP with opportunistic TLS, without login.
    pub fn new(domain: Option<Domain>, next_hop: NextHop) -> Self {
        Self {
            domain,
            sender: None,
            next_hops: vec![next_hop],
            protocol: RouteProtocol::Smtp,
            tls: RouteTls::Opportunistic,
            login: None,
            sources: SourceAddresses::default(),
        }
    }
}

pub(crate) const ROUTE_TLS: [(&str, RouteTls); 3] =
    [("opportunistic", RouteTls::Opportunistic), ("required", RouteTls::Required), ("none", RouteTls::None)];

const ROUTE_PROTOCOLS: [(&str, RouteProtocol); 2] =
    [("smtp", RouteProtocol::Smtp), ("lmtp", RouteProtocol::Lmtp)];

impl FileFacts<'_> {
    pub(crate) fn route(&self, section: Section<'_, '_>) -> Option<Found<RouteConfig>> {
        let any_domain = |text: &str| if text == "*" { Ok(None) } else { domain(text).map(Some) };
        let destination = section.need("domain", section.parsed("domain", any_domain));
        let sender = section.parsed("sender", domain).map(|found| found.value);
        let hops = section.need("next_hop", section.one_or_more("next_hop", next_hop));
        section.refuse_empty_list("next_hop");
        let hops = hops.map(values).filter(|hops| !hops.is_empty());
        let protocol = section.word("protocol", &ROUTE_PROTOCOLS);
        let tls = section.word("tls", &ROUTE_TLS);
        let (username, password) = (section.string("username"), self.secret(&section, "password"));
        if username.is_some() != password.is_some() {
            section.wrong("route.username and route.password_file go together");
        }
        let sources = source_addresses(&section);
        let login = username.zip(password).map(|(name, password)| (name.value.to_owned(), password.value));
        let route = hops.map(|next_hops| {
            // What has a socket here has no port 25, and is no server on the Internet.
            let sockets = next_hops.iter().all(|hop| matches!(hop, NextHop::Socket(_)));
            let protocol =
                protocol.unwrap_or(if sockets { RouteProtocol::Lmtp } else { RouteProtocol::Smtp });
            // A login without a word about TLS is not sent over a connection that was not verified.
            let tls = tls.unwrap_or(if login.is_some() && !sockets {
                RouteTls::Required
            } else {
                RouteTls::default()
            });
            RouteConfig { domain: None, sender, next_hops, protocol, tls, login, sources }
        });
        route.iter().for_each(|route| check_route(&section, route));
        section.end();
        let Found { value: domain, place } = destination?;
        Some(Found { value: RouteConfig { domain, ..route? }, place })
    }
}

/// What of a route does not go together.
fn check_route(section: &Section<'_, '_>, route: &RouteConfig) {
    let RouteConfig { next_hops, protocol, tls, login, .. } = route;
    if login.is_some() && *tls == RouteTls::None && !next_hops.iter().all(NextHop::is_local) {
        section.wrong("route.tls is \"none\", but there is a username: the password would cross the network in the clear");
    }
    if *tls == RouteTls::Required && next_hops.iter().any(|hop| matches!(hop, NextHop::Socket(_))) {
        section.wrong("route.tls is \"required\", but a Unix socket has no TLS");
    }
    let is_smtp_port = |hop: &NextHop| {
        matches!(hop, NextHop::Server { port: 25, .. } | NextHop::Exchangers { port: 25, .. })
    };
    if *protocol == RouteProtocol::Lmtp && next_hops.iter().any(is_smtp_port) {
        section.wrong("route.protocol is \"lmtp\", which is never spoken on port 25 (RFC 2033 section 5): name another port");
    }
}
