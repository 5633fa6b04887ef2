//! Where a route leads and from where: next hops and source addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use waypost_mail::Domain;

use crate::reader::{Found, Section};

/// Longest path of a Unix socket in octets (unix(7): 108 with the closing zero).
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Port of a next hop that names none.
const PORT: u16 = 25;

/// A server.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum NextHop {
    /// Over TCP.
    Server {
        /// Host name or address literal without brackets.
        host: String,
        /// Port; default 25.
        port: u16,
    },
    /// Over TCP, whichever MX records of a domain name.
    Exchangers {
        /// The domain.
        domain: Domain,
        /// Port; default 25.
        port: u16,
    },
    /// A Unix socket of this machine; an absolute path.
    Socket(PathBuf),
}

impl NextHop {
    /// One over TCP.
    pub fn server(host: impl Into<String>, port: u16) -> Self {
        Self::Server { host: host.into(), port }
    }

    /// Whether nothing that is said to it leaves this machine.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Server { host, .. } => host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
            Self::Exchangers { .. } => false,
            Self::Socket(_) => true,
        }
    }
}

impl fmt::Display for NextHop {
    /// As it is written in the file: `mail.example.org:25`, `[2001:db8::1]:25`, `mx:example.org:25`, `unix:/run/lmtp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Server { host, port } => write!(f, "{host}:{port}"),
            Self::Exchangers { domain, port } => write!(f, "mx:{domain}:{port}"),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The addresses of ours that connections go out from; `None`: the system chooses.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct SourceAddresses {
    /// Towards IPv4 addresses.
    pub v4: Option<Ipv4Addr>,
    /// Towards IPv6 addresses.
    pub v6: Option<Ipv6Addr>,
}

impl SourceAddresses {
    /// The one of the same family.
    pub fn towards(&self, peer: IpAddr) -> Option<IpAddr> {
        match peer {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    /// Those that are named here, and for the other family those named there.
    pub fn or(self, other: Self) -> Self {
        Self { v4: self.v4.or(other.v4), v6: self.v6.or(other.v6) }
    }
}

/// A next hop as it is written.
pub(crate) fn next_hop(text: &str) -> Result<NextHop, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket(path);
    }
    // a host of that name, and its port
    let is_port = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    if let Some(exchangers) = text.strip_prefix("mx:").filter(|text| !is_port(text)) {
        let (domain, port) = host_and_port(exchangers)
            .ok_or_else(|| format!("{text:?} is not \"mx:\" and a domain, like mx:example.org"))?;
        return Ok(NextHop::Exchangers { domain, port });
    }
    if let Some(socket) = text.parse::<SocketAddr>().ok().filter(|socket| socket.port() != 0) {
        return Ok(NextHop::server(socket.ip().to_string(), socket.port()));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(NextHop::server(ip.to_string(), PORT));
    }
    // in brackets, as Postfix has it: no MX records, which are not asked for without them, either
    let bare = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    let bare = bare.filter(|(_, port)| port.is_empty() || port.starts_with(':'));
    let bare = bare.map_or_else(|| text.to_owned(), |(host, port)| format!("{host}{port}"));
    match host_and_port(&bare) {
        Some((host, port)) => Ok(NextHop::server(host.as_str(), port)),
        None => Err(format!("{text:?} is not a host with a port, like mail.example.org:25 or 192.0.2.7:25")),
    }
}

fn host_and_port(text: &str) -> Option<(Domain, u16)> {
    let (host, port) = text
        .rsplit_once(':')
        .map_or((text, Some(PORT)), |(host, port)| (host, port.parse().ok().filter(|port| *port != 0)));
    let is_ip = |host: &Domain| host.as_ip().is_some() || host.as_str().parse::<IpAddr>().is_ok();
    Domain::new(host).ok().filter(|host| !is_ip(host)).zip(port)
}

fn socket(path: &str) -> Result<NextHop, String> {
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(format!("unix:{path} is not the absolute path of a socket, like unix:/run/dovecot/lmtp"));
    }
    if path.len() > SOCKET_PATH_BYTES_MAX {
        return Err(format!(
            "unix:{path} is longer than a socket's path may be ({SOCKET_PATH_BYTES_MAX} octets)"
        ));
    }
    Ok(NextHop::Socket(path.into()))
}

/// A host.
pub(crate) fn server(text: &str) -> Result<NextHop, String> {
    match relay(text)? {
        NextHop::Exchangers { .. } => Err(format!("{text:?}: what MX records name is not asked for here")),
        server => Ok(server),
    }
}

/// A next hop over TCP.
pub(crate) fn relay(text: &str) -> Result<NextHop, String> {
    match next_hop(text)? {
        NextHop::Socket(_) => Err(format!("{text:?}: a socket of this machine is no other server")),
        relay => Ok(relay),
    }
}

/// An address of ours.
pub(crate) fn source_address(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
            Err(format!("{text:?} is the address of no host"))
        }
        Ok(ip) => Ok(ip),
        Err(_) => Err(format!("{text:?} is not an IP address, like 192.0.2.1 or 2001:db8::1")),
    }
}

/// `source_addresses`: at most one of each family.
pub(crate) fn source_addresses(section: &Section<'_, '_>) -> SourceAddresses {
    let mut sources = SourceAddresses::default();
    for Found { value, place } in section.list("source_addresses", source_address).unwrap_or_default() {
        let before = match value {
            IpAddr::V4(ip) => sources.v4.replace(ip).is_some(),
            IpAddr::V6(ip) => sources.v6.replace(ip).is_some(),
        };
        if before {
            section.problems().add(Some(place), "source_addresses holds two addresses of one family");
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops_are_read_and_written() {
        let long = format!("unix:/{}", "x".repeat(SOCKET_PATH_BYTES_MAX));
        for (text, written) in [
            ("192.0.2.7:25", Some("192.0.2.7:25")),
            ("192.0.2.7", Some("192.0.2.7:25")),
            ("[2001:db8::1]:24", Some("[2001:db8::1]:24")),
            ("2001:db8::1", Some("[2001:db8::1]:25")),
            ("Mail.Example.org", Some("mail.example.org:25")),
            ("mail.example.org:587", Some("mail.example.org:587")),
            ("[mail.example.org]", Some("mail.example.org:25")),
            ("[mail.example.org]:587", Some("mail.example.org:587")),
            ("mx:Example.org", Some("mx:example.org:25")),
            ("mx:example.org:587", Some("mx:example.org:587")),
            // a host that is called so
            ("mx:25", Some("mx:25")),
            ("mx", Some("mx:25")),
            ("mx:192.0.2.7", None),
            ("mx:[192.0.2.7]", None),
            ("mx:example.org:0", None),
            ("mx:", None),
            ("[mail.example.org]587", None),
            ("[mail.example.org", None),
            ("unix:/run/dovecot/lmtp", Some("unix:/run/dovecot/lmtp")),
            (&long[..long.len() - 1], Some(&long[..long.len() - 1])),
            (&long, None),
            ("unix:run/lmtp", None),
            ("unix:", None),
            ("unix:/", None),
            ("192.0.2.7:0", None),
            ("mail.example.org:x", None),
            ("[::1", None),
            ("", None),
        ] {
            assert_eq!(next_hop(text).ok().map(|hop| hop.to_string()).as_deref(), written, "{text:?}");
        }
        assert!(server("unix:/run/lmtp").is_err() && server("mx.test").is_ok());
        assert!(server("mx:b.test").is_err() && relay("mx:b.test").is_ok() && relay("unix:/run/x").is_err());
    }

    #[test]
    fn sources_are_of_the_family_of_the_peer() {
        let sources = SourceAddresses { v4: Some(Ipv4Addr::new(192, 0, 2, 1)), v6: None };
        let other = SourceAddresses { v4: None, v6: Some(Ipv6Addr::LOCALHOST) };
        assert_eq!(sources.towards("192.0.2.9".parse().unwrap()), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(sources.towards("2001:db8::9".parse().unwrap()), None);
        assert_eq!(sources.or(other).towards("2001:db8::9".parse().unwrap()), Some("::1".parse().unwrap()));
        assert_eq!(other.or(sources).v4, sources.v4);
    }
}
