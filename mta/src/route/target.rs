//! One place to try, and the order of the addresses of one host.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use waypost_config::{SourceAddresses, TlsLevel};

use crate::dns::Security;

/// A server to try.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Its name, as TLS expects it.
    pub host: String,
    /// Where it is.
    pub place: Place,
    /// Preference of its MX record; lower is better. `None`: DNS was not asked for it.
    pub preference: Option<u16>,
    /// The address of ours that the connection goes out from; `None`: the system chooses.
    pub source: Option<IpAddr>,
    /// What DNSSEC says of the answer that named it for the domain.
    pub mx: Security,
    /// The operator's word on TLS with it, where that is not the same for all servers of the destination.
    pub word: Option<Word>,
    /// Whether it is there only for where the domain's own servers take no session.
    pub is_fallback: bool,
}

/// The operator's word on TLS with a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Word {
    /// What is demanded.
    pub level: TlsLevel,
    /// The names of which one must stand in its certificate, where that is verified.
    pub names: Vec<String>,
}

/// Where a server is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// At an address.
    Tcp(SocketAddr),
    /// Behind a Unix socket of this machine.
    Socket(PathBuf),
}

impl Target {
    /// At an address.
    pub fn new(host: impl Into<String>, address: SocketAddr) -> Self {
        Self::at(host.into(), Place::Tcp(address))
    }

    /// Behind a Unix socket.
    pub fn socket(path: &Path) -> Self {
        Self::at(format!("unix:{}", path.display()), Place::Socket(path.to_owned()))
    }

    fn at(host: String, place: Place) -> Self {
        let (preference, source, word) = (None, None, None);
        Self { host, place, preference, source, mx: Security::Insecure, word, is_fallback: false }
    }

    /// With the source address of its family.
    pub(super) fn from(self, sources: &SourceAddresses) -> Self {
        let source = self.ip().and_then(|ip| sources.towards(ip));
        Self { source, ..self }
    }

    /// Its IP address, if it is at one.
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.place {
            Place::Tcp(address) => Some(address.ip()),
            Place::Socket(_) => None,
        }
    }

    /// Whether what is said to it does not leave this machine.
    pub fn is_local(&self) -> bool {
        self.ip().is_none_or(|ip| ip.is_loopback())
    }

    /// Whether both are addresses of one host, and so tried side by side (RFC 8305).
    pub fn is_same_host(&self, other: &Self) -> bool {
        self.host == other.host && self.ip().is_some() && other.ip().is_some()
    }
}

impl fmt::Display for Target {
    /// `mx.example.org [192.0.2.1]`, `unix:/run/lmtp`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp(address) => write!(f, "{} [{}]", self.host, address.ip()),
            Place::Socket(_) => f.write_str(&self.host),
        }
    }
}

/// Addresses in the order of RFC 8305 section 4: the first is IPv6 where there is one, then the families take turns.
pub(super) fn interleave(addresses: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let (mut v6, mut v4): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|ip| ip.is_ipv6());
    v6.reverse();
    v4.reverse();
    let mut turn = false;
    std::iter::from_fn(move || {
        turn = !turn;
        if turn { v6.pop().or_else(|| v4.pop()) } else { v4.pop().or_else(|| v6.pop()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        for (given, expected) in [
            ("", ""),
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1 192.0.2.2 ::1", "::1 192.0.2.1 192.0.2.2"),
            ("::1 ::2 ::3 192.0.2.1", "::1 192.0.2.1 ::2 ::3"),
            ("::1 192.0.2.1 ::2 192.0.2.2 192.0.2.3", "::1 192.0.2.1 ::2 192.0.2.2 192.0.2.3"),
        ] {
            let ips: Vec<IpAddr> = given.split_whitespace().map(|ip| ip.parse().unwrap()).collect();
            let order: Vec<String> = interleave(&ips).map(|ip| ip.to_string()).collect();
            assert_eq!(order.join(" "), expected, "{given}");
        }
    }
}
