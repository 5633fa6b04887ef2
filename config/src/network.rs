//! Networks whose word is taken: `[[trust]]`, and lists of them in other sections.

use std::net::IpAddr;

use crate::reader::{Section, values};

/// A network: address and prefix length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    /// Its address, host bits zero.
    pub address: IpAddr,
    /// Length of the prefix in bits; at least 1.
    pub prefix: u8,
}

/// IPv4 networks that are larger are more than one site's.
const WIDE_PREFIX_V4: u8 = 16;

/// The same of IPv6: what a registry gives a provider for all its customers.
const WIDE_PREFIX_V6: u8 = 40;

impl Network {
    /// Whether it is very wide, and none of those that everybody may use for himself (private, loopback).
    pub fn is_wide(&self) -> bool {
        match self.address {
            IpAddr::V4(ip) => self.prefix < WIDE_PREFIX_V4 && !ip.is_private() && !ip.is_loopback(),
            IpAddr::V6(ip) => self.prefix < WIDE_PREFIX_V6 && !ip.is_unique_local(),
        }
    }

    /// Whether it is as wide, and one of those that everybody may use for himself (RFC 1918, RFC 4193).
    pub fn is_wide_private(&self) -> bool {
        match self.address {
            IpAddr::V4(ip) => self.prefix < WIDE_PREFIX_V4 && ip.is_private(),
            IpAddr::V6(ip) => self.prefix < WIDE_PREFIX_V6 && ip.is_unique_local(),
        }
    }

    /// Whether the address lies in it (IPv4-mapped IPv6 addresses count as IPv4). The unspecified address, which stands for a client
    /// that nobody knows, lies in none.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (_, unknown) if unknown.is_unspecified() => false,
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (u32::from(network) ^ u32::from(address))
                    .checked_shr(32 - u32::from(self.prefix))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (u128::from(network) ^ u128::from(address))
                    .checked_shr(128 - u32::from(self.prefix))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

/// The largest IPv4 network of one owner: 10.0.0.0/8 (RFC 1918 section 3), as the registries give none that is larger.
const TRUST_PREFIX_MIN_V4: u8 = 8;

/// The largest IPv6 network of one owner: fc00::/7, unique local addresses (RFC 4193 section 3.1).
const TRUST_PREFIX_MIN_V6: u8 = 7;

pub(crate) fn network(text: &str) -> Result<Network, String> {
    let problem = || format!("{text:?} is not a network, like 192.0.2.16/28 or 2001:db8::/32");
    let (address, prefix) = text.split_once('/').ok_or_else(problem)?;
    let address: IpAddr = address.parse().map_err(|_| problem())?;
    let prefix = Some(prefix).filter(|prefix| prefix.bytes().all(|b| b.is_ascii_digit()));
    let prefix: u8 = prefix.and_then(|prefix| prefix.parse().ok()).ok_or_else(problem)?;
    if prefix > if address.is_ipv4() { 32 } else { 128 } {
        return Err(problem());
    }
    if prefix == 0 {
        return Err(format!(
            "{text:?} is the whole Internet: a server that trusts it believes everyone and relays for everyone"
        ));
    }
    if prefix < if address.is_ipv4() { TRUST_PREFIX_MIN_V4 } else { TRUST_PREFIX_MIN_V6 } {
        return Err(format!(
            "{text:?} holds networks of strangers: a server that trusts it believes them and relays for them"
        ));
    }
    if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return Err(format!("{text:?}: write IPv4 networks as such, like 192.0.2.16/28"));
    }
    let network = Network { address, prefix };
    let host_bits = match address {
        IpAddr::V4(address) => u32::from(address).checked_shl(u32::from(prefix)).unwrap_or(0) != 0,
        IpAddr::V6(address) => u128::from(address).checked_shl(u32::from(prefix)).unwrap_or(0) != 0,
    };
    if host_bits { Err(format!("{text:?} has bits set behind its prefix")) } else { Ok(network) }
}

/// Networks whose word is taken for something; none where the key is missing.
pub(crate) fn networks(section: &Section<'_, '_>, key: &str) -> Vec<Network> {
    section.list(key, network).map(values).unwrap_or_default()
}

pub(crate) fn trust(root: &Section<'_, '_>) -> Vec<Network> {
    let mut networks = Vec::new();
    for section in root.tables("trust") {
        let listed = section.need("networks", section.list("networks", network));
        section.end();
        networks.extend(listed.map(values).unwrap_or_default());
    }
    networks
}
