//! Failed logins: who fails too often waits, by address and by account.
//!
//! An address (of IPv6: the /64 it is in) has `limits.auth_failures_per_minute`. An account has [`ACCOUNT_FACTOR`] times as many,
//! from all addresses that have not logged in to it in the last day: guessing from many addresses is slowed down, and the owner is
//! not locked out by it.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::Mutex,
    time::Duration,
};

use tokio::time::Instant;
use waypost_mail::AccountId;

use crate::locked;

/// The span in which failures are counted.
const FAILURE_SPAN: Duration = Duration::from_secs(60);
/// How many more failures an account may have than an address.
const ACCOUNT_FACTOR: u32 = 5;
/// How long an address that has logged in to an account is known there.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);
/// Most entries of each table.
const ENTRIES_MAX: usize = 100_000;

/// Counts failures.
#[derive(Debug)]
pub(crate) struct Throttle {
    failures_per_minute: u32,
    addresses: Mutex<Window<IpAddr>>,
    /// By folded address, whether or not there is such an account.
    accounts: Mutex<Window<String>>,
    /// When an address has last logged in to an account.
    known: Mutex<HashMap<(AccountId, IpAddr), Instant>>,
}

impl Throttle {
    /// 0: no bound.
    pub(crate) fn new(failures_per_minute: u32) -> Self {
        let (addresses, accounts, known) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { failures_per_minute, addresses, accounts, known }
    }

    /// Whether a login from an address to a name, of an account if there is one, has to wait.
    pub(crate) fn is_throttled(&self, peer: IpAddr, name: &str, account: Option<AccountId>) -> bool {
        let (bound, peer) = (self.failures_per_minute, network(peer));
        if bound == 0 {
            return false;
        }
        if locked(&self.addresses).count(&peer) >= bound {
            return true;
        }
        let of_account = locked(&self.accounts).count(name) >= bound.saturating_mul(ACCOUNT_FACTOR);
        of_account && !account.is_some_and(|account| self.is_known(account, peer))
    }

    pub(crate) fn note_failure(&self, peer: IpAddr, name: String) {
        if self.failures_per_minute > 0 {
            locked(&self.addresses).note(network(peer));
            locked(&self.accounts).note(name);
        }
    }

    pub(crate) fn note_success(&self, peer: IpAddr, account: AccountId) {
        let mut known = locked(&self.known);
        if known.len() >= ENTRIES_MAX {
            known.retain(|_, since| since.elapsed() < KNOWN_FOR);
        }
        if known.len() >= ENTRIES_MAX {
            known.clear();
        }
        known.insert((account, network(peer)), Instant::now());
    }

    fn is_known(&self, account: AccountId, network: IpAddr) -> bool {
        locked(&self.known).get(&(account, network)).is_some_and(|since| since.elapsed() < KNOWN_FOR)
    }
}

/// Failures of the present span, by whatever they are counted.
#[derive(Debug)]
struct Window<K>(HashMap<K, (Instant, u32)>);

impl<K> Default for Window<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Window<K> {
    fn count<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> u32
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.get(key).filter(|(since, _)| since.elapsed() < FAILURE_SPAN).map_or(0, |(_, count)| *count)
    }

    fn note(&mut self, key: K) {
        if self.0.len() >= ENTRIES_MAX && !self.0.contains_key(&key) {
            self.0.retain(|_, (since, _)| since.elapsed() < FAILURE_SPAN);
            // All within one minute: an attack from everywhere, of which the next minute counts anew.
            if self.0.len() >= ENTRIES_MAX {
                tracing::warn!("logins fail from too many addresses to be counted");
                self.0.clear();
            }
        }
        let (since, count) = self.0.entry(key).or_insert((Instant::now(), 0));
        if since.elapsed() >= FAILURE_SPAN {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
    }
}

/// The address, or the /64 of an IPv6 address.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Option<AccountId> = Some(AccountId(1));

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_fails_too_often_waits() {
        let throttle = Throttle::new(2);
        let (peer, neighbour) = ("2001:db8:1:2:3::4".parse().unwrap(), "2001:db8:1:2:9::9".parse().unwrap());
        throttle.note_failure(peer, "bob@a.test".into());
        assert!(!throttle.is_throttled(peer, "alice@a.test", ALICE));
        throttle.note_failure(neighbour, "eve@a.test".into());
        assert!(throttle.is_throttled(peer, "alice@a.test", ALICE));
        assert!(!throttle.is_throttled("2001:db8:1:3::4".parse().unwrap(), "alice@a.test", ALICE));
        tokio::time::advance(FAILURE_SPAN).await;
        assert!(!throttle.is_throttled(peer, "alice@a.test", ALICE));
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_is_guessed_at_from_everywhere_waits_but_for_its_owner() {
        let throttle = Throttle::new(2);
        throttle.note_success(address(200), AccountId(1));
        for last in 0..10 {
            assert!(!throttle.is_throttled(address(100), "alice@a.test", ALICE));
            throttle.note_failure(address(last), "alice@a.test".into());
        }
        assert!(throttle.is_throttled(address(100), "alice@a.test", ALICE));
        assert!(throttle.is_throttled(address(100), "alice@a.test", None));
        assert!(!throttle.is_throttled(address(100), "bob@a.test", Some(AccountId(2))));
        assert!(!throttle.is_throttled(address(200), "alice@a.test", ALICE), "the owner");
        // Who is known is still bound by the failures of the own address.
        throttle.note_failure(address(200), "alice@a.test".into());
        throttle.note_failure(address(200), "alice@a.test".into());
        assert!(throttle.is_throttled(address(200), "alice@a.test", ALICE));
        tokio::time::advance(FAILURE_SPAN).await;
        assert!(!throttle.is_throttled(address(100), "alice@a.test", ALICE));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_bound_nobody_waits() {
        let throttle = Throttle::new(0);
        (0..200).for_each(|_| throttle.note_failure(address(1), "alice@a.test".into()));
        assert!(!throttle.is_throttled(address(1), "alice@a.test", ALICE));
        let mut window = Window::default();
        (0..ENTRIES_MAX + 10).for_each(|number| window.note(number));
        assert!(window.0.len() <= ENTRIES_MAX);
    }
}
