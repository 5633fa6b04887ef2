//! iprev: whether an address has a name that leads back to it (RFC 8601 section 3).

use std::{net::IpAddr, time::Duration};

use crate::dns::{DnsError, Family, Resolver};

/// Most names of one address that are tried.
const NAMES_MAX: usize = 10;

/// Longest time of one check.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(20);

/// What came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IprevOutcome {
    /// This name leads back.
    Pass(String),
    /// No name does.
    Fail,
    /// DNS did not answer.
    TempError,
    /// There is no name.
    PermError,
}

impl IprevOutcome {
    /// As it stands in Authentication-Results.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// Checks an address. The unspecified one, of a client that nobody knows, has no name.
pub(crate) async fn check(resolver: &Resolver, address: IpAddr) -> IprevOutcome {
    if address.is_unspecified() {
        return IprevOutcome::PermError;
    }
    let found = tokio::time::timeout(CHECK_TIMEOUT, find(resolver, address.to_canonical())).await;
    found.unwrap_or(IprevOutcome::TempError)
}

async fn find(resolver: &Resolver, address: IpAddr) -> IprevOutcome {
    let names = match resolver.names(address).await {
        Ok(names) => names,
        Err(DnsError::Temporary(..)) => return IprevOutcome::TempError,
        Err(DnsError::NoSuchDomain(_) | DnsError::NoRecords(_)) => return IprevOutcome::PermError,
    };
    let mut outcome = IprevOutcome::Fail;
    for name in names.into_iter().take(NAMES_MAX) {
        match resolver.addresses_in(Family::of(address), &name).await {
            Ok(addresses) if addresses.contains(&address) => return IprevOutcome::Pass(name),
            Err(DnsError::Temporary(..)) => outcome = IprevOutcome::TempError,
            Ok(_) | Err(_) => {}
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authenticity::testing::Zone;

    #[tokio::test]
    async fn a_name_must_lead_back() {
        let zone = Zone::default()
            .name("192.0.2.1", "other.test")
            .name("192.0.2.1", "mx.test")
            .name("192.0.2.2", "mx.test")
            .name("2001:db8::1", "mx.test")
            .address("mx.test", "192.0.2.1")
            .address("mx.test", "2001:db8::1");
        let resolver = zone.resolver();
        for (address, expected) in [
            ("192.0.2.1", IprevOutcome::Pass("mx.test".into())),
            ("::ffff:192.0.2.1", IprevOutcome::Pass("mx.test".into())),
            ("192.0.2.2", IprevOutcome::Fail),
            ("192.0.2.3", IprevOutcome::PermError),
            ("2001:db8::1", IprevOutcome::Pass("mx.test".into())),
        ] {
            assert_eq!(check(&resolver, address.parse().unwrap()).await, expected, "{address}");
        }
    }
}
