//! `[dns]`: resolvers, and who validates what they say.

use std::{net::SocketAddr, path::PathBuf};

use crate::{
    facts::FileFacts,
    reader::{Section, values},
    texts::socket,
};

/// `dns.dnssec`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Dnssec {
    /// Validated here.
    Validate,
    /// The resolver's AD bit is believed.
    TrustAd,
    /// Not used.
    Off,
    /// What fits the resolvers: `TrustAd` where all of them are on this machine, else `Validate`.
    #[default]
    Auto,
}

/// `[dns]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DnsConfig {
    /// Resolvers; empty: the system's.
    pub servers: Vec<SocketAddr>,
    /// DNSSEC.
    pub dnssec: Dnssec,
    /// DNSKEY records in zone form that validation begins with; default: the root's.
    pub trust_anchors: Option<PathBuf>,
}

const DNSSEC: [(&str, Dnssec); 4] = [
    ("validate", Dnssec::Validate),
    ("trust-ad", Dnssec::TrustAd),
    ("off", Dnssec::Off),
    ("auto", Dnssec::Auto),
];

impl FileFacts<'_> {
    pub(crate) fn dns(&self, root: &Section<'_, '_>) -> DnsConfig {
        let section = root.table("dns");
        let servers = section.list("servers", socket).map(values).unwrap_or_default();
        let dnssec = section.word("dnssec", &DNSSEC).unwrap_or_default();
        let trust_anchors =
            if section.has("trust_anchors") { self.file(&section, "trust_anchors") } else { None };
        section.end();
        DnsConfig { servers, dnssec, trust_anchors }
    }
}
