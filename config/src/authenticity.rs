//! `[authenticity]`: SPF, DKIM, DMARC and ARC of what comes in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use waypost_mail::Domain;

use crate::{
    network::{Network, network},
    reader::{Section, values},
    texts::domain,
};

/// `[authenticity]`: how mail of strangers is checked. The default checks nothing, which is not that of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuthenticityConfig {
    /// Whether it is checked at all; default true.
    pub enabled: bool,
    /// What is done where an author's domain does not stand behind a message; default: what it asks for.
    pub dmarc: DmarcMode,
    /// The same by domain of the author, or of one above it; the longest counts.
    pub domains: Vec<(Domain, DmarcMode)>,
    /// Networks whose mail is not checked; default: loopback. Those of `[[trust]]` are not checked either.
    pub exempt: Vec<Network>,
    /// Who is believed that a message passed when it came to him (ARC); default: nobody.
    pub trusted_sealers: Vec<Domain>,
}

/// What of the wishes of an author's domain is honoured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DmarcMode {
    /// All.
    #[default]
    Enforce,
    /// What would be refused goes to Junk.
    Quarantine,
    /// None; results are written down.
    Observe,
}

impl AuthenticityConfig {
    /// What of the wishes of a domain is honoured.
    pub fn dmarc_for(&self, domain: &str) -> DmarcMode {
        let is_of = |name: &Domain| {
            domain.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let own =
            self.domains.iter().filter(|(name, _)| is_of(name)).max_by_key(|(name, _)| name.as_str().len());
        own.map_or(self.dmarc, |(_, mode)| *mode)
    }

    /// Whether mail from an address is checked.
    pub fn checks(&self, address: IpAddr) -> bool {
        self.enabled && !self.exempt.iter().any(|network| network.contains(address))
    }
}

const DMARC_MODES: [(&str, DmarcMode); 3] =
    [("enforce", DmarcMode::Enforce), ("quarantine", DmarcMode::Quarantine), ("observe", DmarcMode::Observe)];

pub(crate) fn read(root: &Section<'_, '_>) -> AuthenticityConfig {
    let section = root.table("authenticity");
    let loopback = [(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];
    let loopback = || loopback.map(|(address, prefix)| Network { address, prefix }).to_vec();
    let exempt = section.list("exempt", network).map(values).unwrap_or_else(loopback);
    let config = AuthenticityConfig {
        enabled: section.boolean("enabled").is_none_or(|enabled| enabled.value),
        dmarc: section.word("dmarc", &DMARC_MODES).unwrap_or_default(),
        domains: section.tables("domain").into_iter().filter_map(dmarc_domain).collect(),
        exempt,
        trusted_sealers: section.list("trusted_sealers", domain).map(values).unwrap_or_default(),
    };
    section.end();
    config
}

fn dmarc_domain(section: Section<'_, '_>) -> Option<(Domain, DmarcMode)> {
    let name = section.need("name", section.parsed("name", domain));
    let mode = section.need("dmarc", section.word("dmarc", &DMARC_MODES));
    section.end();
    Some((name?.value, mode?))
}
