//! Mail exchangers, decided over DNS answers (RFC 5321 section 5.1, RFC 7505).

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use waypost_mail::{Domain, EnhancedStatus, Refusal};

use super::{ADDRESSES_MAX, Target, resolve::look_up_failure, target::interleave};
use crate::dns::DnsError;

/// A mail exchanger: a host with its preference; lower is better.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Exchanger {
    pub(super) preference: u16,
    pub(super) host: String,
}

/// A mail exchanger with what DNS says of its addresses.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) exchanger: Exchanger,
    pub(super) addresses: Result<Vec<IpAddr>, DnsError>,
}

/// Exchangers, or their addresses, of a domain, best first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Listed<T> {
    pub(super) items: Vec<T>,
    /// We are one, which is left out with what is not better.
    pub(super) has_us: bool,
}

impl<T> Listed<T> {
    pub(super) fn map<U>(self, change: impl FnMut(T) -> U) -> Listed<U> {
        Listed { items: self.items.into_iter().map(change).collect(), has_us: self.has_us }
    }
}

/// The usable exchangers of a domain, equals in an order that `seed` decides. `is_own` tells of a name whether it is ours.
pub(super) fn exchangers(
    domain: &Domain,
    answer: Result<Vec<(u16, String)>, DnsError>,
    is_own: &dyn Fn(&str) -> bool,
    seed: u64,
) -> Result<Listed<Exchanger>, Refusal> {
    let records = match answer {
        Ok(records) => records,
        // the implicit MX
        Err(DnsError::NoRecords(_)) => vec![(0, domain.to_string())],
        Err(error) => return Err(look_up_failure(&error)),
    };
    let mut exchangers: Vec<_> = records
        .into_iter()
        .filter(|(_, host)| host != ".")
        .map(|(preference, host)| Exchanger { preference, host: host.to_ascii_lowercase() })
        .collect();
    if exchangers.is_empty() {
        return Err(null_mx(domain));
    }
    shuffle(&mut exchangers, seed);
    // stable: equals stay as they were shuffled
    exchangers.sort_by_key(|exchanger| exchanger.preference);
    // we are one of them: only better ones are used, or the mail runs in circles
    let ourselves = exchangers.iter().find(|exchanger| is_own(&exchanger.host));
    let ourselves = ourselves.map(|exchanger| exchanger.preference);
    if let Some(preference) = ourselves {
        exchangers.retain(|exchanger| exchanger.preference < preference);
    }
    if exchangers.is_empty() {
        Err(circle())
    } else {
        Ok(Listed { items: exchangers, has_us: ourselves.is_some() })
    }
}

/// The addresses to be tried. `is_own` tells of an address whether it leads to us: what is not better than
/// such a one is left out, too. `unasked`: exchangers behind these whose addresses were not asked for.
pub(super) fn targets(
    found: Vec<Found>,
    is_own: &dyn Fn(SocketAddr) -> bool,
    port: u16,
    unasked: usize,
) -> Result<Listed<Target>, Refusal> {
    let address = |ip: IpAddr| SocketAddr::new(ip, port);
    let is_own =
        |found: &&Found| found.addresses.as_ref().is_ok_and(|ips| ips.iter().any(|ip| is_own(address(*ip))));
    let ourselves = found.iter().filter(is_own).map(|found| found.exchanger.preference).min();
    let (mut targets, mut seen, mut failures) = (Vec::new(), HashSet::new(), Vec::new());
    for Found { exchanger, addresses } in found {
        if ourselves.is_some_and(|preference| exchanger.preference >= preference) {
            continue;
        }
        match addresses {
            Ok(ips) => {
                let new = interleave(&ips).map(address).filter(|address| seen.insert(*address));
                let preference = Some(exchanger.preference);
                targets.extend(
                    new.map(|address| Target { preference, ..Target::new(&exchanger.host, address) }),
                );
            }
            Err(error) => failures.push(error),
        }
    }
    targets.truncate(ADDRESSES_MAX);
    if !targets.is_empty() {
        return Ok(Listed { items: targets, has_us: ourselves.is_some() });
    }
    // one that may be there later is worth waiting for
    let temporary = failures.iter().find(|error| matches!(error, DnsError::Temporary(..)));
    match (temporary, failures.first()) {
        (Some(error), _) => Err(look_up_failure(error)),
        // one of those may have an address
        (None, Some(error)) if unasked > 0 && ourselves.is_none() => Err(Refusal::new(
            451,
            EnhancedStatus(4, 4, 4),
            format!("no mail exchanger has an address, and {unasked} more were not asked for: {error}"),
        )),
        (None, Some(error)) => Err(Refusal::new(
            550,
            EnhancedStatus(5, 4, 4),
            format!("no mail exchanger has an address: {error}"),
        )),
        (None, None) => Err(circle()),
    }
}

/// RFC 7505 section 4.2 gives 556 with 5.1.10.
fn null_mx(domain: &Domain) -> Refusal {
    Refusal::new(556, EnhancedStatus(5, 1, 10), format!("the domain {domain} accepts no mail (null MX)"))
}

fn circle() -> Refusal {
    Refusal::new(554, EnhancedStatus(5, 4, 6), "mail for this domain would come back to us (MX loop)")
}

/// Fisher and Yates with xorshift64*: RFC 5321 section 5.1 asks for spreading the load, not for secrecy.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for last in (1..items.len()).rev() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let random = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        items.swap(last, random as usize % (last + 1));
    }
}
