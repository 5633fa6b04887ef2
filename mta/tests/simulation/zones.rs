//! DNS: what is true of the world, and how often nobody says so.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use waypost_mta::dns::{Answering, Answers, DnsError};

use crate::{
    chance::Chance,
    network::{Host, address, address_v6, dead_address},
};

/// What a domain says.
#[derive(Clone, Debug)]
pub(crate) enum Zone {
    /// Its mail exchangers.
    Mx(Vec<(u16, Host)>),
    /// It takes no mail (RFC 7505); there is a host of its name.
    Null(Host),
    /// It has no MX records; there is a host of its name.
    Address(Host),
    /// Its servers never answer.
    Fails,
}

/// DNS. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Zones {
    pub(crate) chance: Chance,
    /// Of a thousand questions so many are not answered, until then.
    pub(crate) fails: (u64, Instant),
    pub(crate) zones: Arc<BTreeMap<&'static str, Zone>>,
    /// A control: null MX is not seen.
    pub(crate) hides_null: Arc<AtomicBool>,
}

impl Zones {
    async fn ask(&self, name: &str) -> Result<(), DnsError> {
        tokio::time::sleep(Duration::from_millis(1 + self.chance.below(50))).await;
        let (permille, until) = self.fails;
        if Instant::now() < until && self.chance.permille(permille) {
            tokio::time::sleep(Duration::from_secs(self.chance.below(11))).await;
            return Err(DnsError::Temporary(name.to_owned(), "no answer".to_owned()));
        }
        Ok(())
    }
}

/// A third of all hosts has IPv4 alone, a third IPv6 as well, and a third IPv6 that leads nowhere; IPv6 comes first.
fn addresses(host: Host) -> Vec<IpAddr> {
    let v6 = match host % 3 {
        0 => None,
        1 => Some(address_v6(host)),
        _ => Some(dead_address(host)),
    };
    v6.map(IpAddr::V6).into_iter().chain([address(host).ip()]).collect()
}

fn host_name(host: Host) -> String {
    format!("mx{host}.hosts.test")
}

impl Answers for Zones {
    fn mx<'a>(&'a self, name: &'a str) -> Answering<'a, (u16, String)> {
        Box::pin(async move {
            self.ask(name).await?;
            match self.zones.get(name) {
                None => Err(DnsError::NoSuchDomain(name.to_owned())),
                Some(Zone::Fails) => Err(DnsError::Temporary(name.to_owned(), "SERVFAIL".to_owned())),
                Some(Zone::Null(_)) if !self.hides_null.load(Ordering::Relaxed) => {
                    Ok(vec![(0, ".".to_owned())])
                }
                Some(Zone::Address(_) | Zone::Null(_)) => Err(DnsError::NoRecords(name.to_owned())),
                Some(Zone::Mx(all)) => {
                    Ok(all.iter().map(|(preference, host)| (*preference, host_name(*host))).collect())
                }
            }
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Answering<'a, IpAddr> {
        Box::pin(async move {
            self.ask(host).await?;
            let place = host.strip_prefix("mx").and_then(|rest| rest.strip_suffix(".hosts.test"));
            let place = place.and_then(|digits| digits.parse().ok());
            let own = self.zones.get(host).and_then(|zone| match zone {
                Zone::Null(host) | Zone::Address(host) => Some(*host),
                Zone::Mx(_) | Zone::Fails => None,
            });
            let found = place.or(own).ok_or_else(|| DnsError::NoSuchDomain(host.to_owned()))?;
            Ok(addresses(found))
        })
    }
}
