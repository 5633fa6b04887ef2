//! Where the services of a configuration are to be found from outside.

use std::collections::BTreeMap;

use waypost_config::{Config, ListenerConfig, Service, TlsMode};

/// The port of the first listener for a service that others can reach: one below 1024 where there are several. `None`: there is none.
pub fn port(config: &Config, service: Service, tls: TlsMode) -> Option<u16> {
    let reachable = |listener: &&ListenerConfig| listener.service == service && listener.tls == tls;
    let sockets = config.listeners.iter().filter(reachable).filter_map(|listener| listener.address.socket());
    let ports: BTreeMap<bool, u16> = sockets
        .filter(|address| !address.ip().is_loopback() && address.port() != 0)
        .map(|address| (address.port() >= 1024, address.port()))
        .collect();
    ports.into_values().next()
}

/// A way to a service: its name in set-up documents, port and TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Way {
    pub(crate) service: Service,
    pub(crate) port: u16,
    pub(crate) tls: TlsMode,
}

/// The ways to a service that mail programs may take: implicit TLS first, never without TLS (RFC 8314 section 3).
pub(crate) fn ways(config: &Config, service: Service) -> impl Iterator<Item = Way> + '_ {
    let way = move |tls| port(config, service, tls).map(|port| Way { service, port, tls });
    [TlsMode::Implicit, TlsMode::StartTls].into_iter().filter_map(way)
}

/// Text as content of an element of XML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
