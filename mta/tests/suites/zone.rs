//! The zone of a suite, which answers in place of DNS.

use std::{collections::HashMap, net::IpAddr};

use waypost_mta::dns::{Answering, Answers, DnsError};

/// Longest chain of aliases that is followed.
const ALIASES_MAX: usize = 8;

/// A record of a name.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Txt(Vec<u8>),
    Address(IpAddr),
    Mx(u16, String),
    Ptr(String),
    Alias(String),
    /// What is not found before it is not answered.
    Timeout,
}

/// Entries by name, in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zone(HashMap<String, Vec<Entry>>);

impl Zone {
    /// Adds an entry.
    pub(crate) fn add(&mut self, name: &str, entry: Entry) {
        self.0.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default().push(entry);
    }

    /// The entries of a name that are of a kind.
    fn find<T>(&self, name: &str, kind: impl Fn(&Entry) -> Option<T>) -> Result<Vec<T>, DnsError> {
        let mut owner = name.trim_end_matches('.').to_ascii_lowercase();
        for _ in 0..ALIASES_MAX {
            let entries = self.0.get(&owner).ok_or_else(|| DnsError::NoSuchDomain(name.to_owned()))?;
            let found: Vec<T> = entries.iter().filter_map(&kind).collect();
            if !found.is_empty() {
                return Ok(found);
            }
            if entries.iter().any(|entry| matches!(entry, Entry::Timeout)) {
                return Err(DnsError::Temporary(name.to_owned(), "no answer".to_owned()));
            }
            let alias = entries.iter().find_map(|entry| match entry {
                Entry::Alias(target) => Some(target.trim_end_matches('.').to_ascii_lowercase()),
                _ => None,
            });
            owner = alias.ok_or_else(|| DnsError::NoRecords(name.to_owned()))?;
        }
        Err(DnsError::Temporary(name.to_owned(), "a loop of aliases".to_owned()))
    }
}

impl Answers for Zone {
    fn mx<'a>(&'a self, owner: &'a str) -> Answering<'a, (u16, String)> {
        let mx = |entry: &Entry| match entry {
            Entry::Mx(preference, host) => Some((*preference, host.clone())),
            _ => None,
        };
        Box::pin(async move { self.find(owner, mx) })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Answering<'a, IpAddr> {
        let address = |entry: &Entry| match entry {
            Entry::Address(address) => Some(*address),
            _ => None,
        };
        Box::pin(async move { self.find(host, address) })
    }

    fn texts<'a>(&'a self, owner: &'a str) -> Answering<'a, Vec<u8>> {
        let text = |entry: &Entry| match entry {
            Entry::Txt(text) => Some(text.clone()),
            _ => None,
        };
        Box::pin(async move { self.find(owner, text) })
    }

    fn names(&self, address: IpAddr) -> Answering<'_, String> {
        let name = |entry: &Entry| match entry {
            Entry::Ptr(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
            _ => None,
        };
        Box::pin(async move { self.find(&reverse(address), name) })
    }
}

/// The name under which an address has its names.
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}
