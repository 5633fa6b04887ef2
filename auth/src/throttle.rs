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

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::Instant;
use waypost_mail::AccountId;

use crate::{bounded, locked};

/// The span in which failures are counted.
const FAILURE_SPAN: Duration = Duration::from_secs(60);
/// How many more failures an account may have than an address.
const ACCOUNT_FACTOR: u32 = 5;
/// How long an address that has logged in to an account is known there.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);
/// Most entries of each table.
const ENTRIES_MAX: usize = 100_000;

/// What stands for a name: as large for one that a client made up to be large as for an address.
type NameDigest = [u8; 32];

/// Counts failures.
#[derive(Debug)]
pub(crate) struct Throttle {
    failures_per_minute: u32,
    addresses: Mutex<Window<IpAddr>>,
    /// By folded address, whether or not there is such an account.
    accounts: Mutex<Window<NameDigest>>,
    /// When an address has last logged in to an account.
    known: Mutex<HashMap<(AccountId, IpAddr), Instant>>,
}

impl Throttle {
    /// 0: no bound.
    pub(crate) fn new(failures_per_minute: u32) -> Self {
        let (addresses, accounts) = (Mutex::new(Window::new()), Mutex::new(Window::new()));
        Self { failures_per_minute, addresses, accounts, known: Mutex::default() }
    }

    /// Whether a login from an address to a name, of an account if there is one, has to wait. An empty name is nobody's: a client that
    /// leaves it to a token whose login it is names none (RFC 7628 section 3.1).
    pub(crate) fn is_throttled(&self, peer: IpAddr, name: &str, account: Option<AccountId>) -> bool {
        let (bound, peer) = (self.failures_per_minute, network(peer));
        if bound == 0 {
            return false;
        }
        if locked(&self.addresses).count(&peer) >= bound {
            return true;
        }
        let Some(name) = digest_of(name) else { return false };
        let of_account = locked(&self.accounts).count(&name) >= bound.saturating_mul(ACCOUNT_FACTOR);
        of_account && !account.is_some_and(|account| self.is_known(account, peer))
    }

    /// Counts a failure for the address, and for the name, if it is not empty.
    pub(crate) fn note_failure(&self, peer: IpAddr, name: &str) {
        if self.failures_per_minute > 0 {
            locked(&self.addresses).note(network(peer));
            digest_of(name).into_iter().for_each(|name| locked(&self.accounts).note(name));
        }
    }

    pub(crate) fn note_success(&self, peer: IpAddr, account: AccountId) {
        let mut known = locked(&self.known);
        if known.len() >= ENTRIES_MAX {
            known.retain(|_, since| since.elapsed() < KNOWN_FOR);
        }
        if known.len() >= ENTRIES_MAX {
            bounded::keep_greater_half(&mut known);
        }
        known.insert((account, network(peer)), Instant::now());
    }

    fn is_known(&self, account: AccountId, network: IpAddr) -> bool {
        locked(&self.known).get(&(account, network)).is_some_and(|since| since.elapsed() < KNOWN_FOR)
    }
}

/// `None`: the name is empty.
fn digest_of(name: &str) -> Option<NameDigest> {
    let mut octets = NameDigest::default();
    octets.copy_from_slice(digest(&SHA256, name.as_bytes()).as_ref());
    (!name.is_empty()).then_some(octets)
}

/// Failures of one span. Those with more blame are greater, of the same those that are younger.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Failures {
    count: u32,
    since: Instant,
}

impl Failures {
    fn are_over(&self) -> bool {
        self.since.elapsed() >= FAILURE_SPAN
    }
}

/// Failures of the present span, by whatever they are counted.
#[derive(Debug)]
struct Window<K> {
    failures: HashMap<K, Failures>,
    swept: Instant,
}

impl<K: Eq + Hash> Window<K> {
    fn new() -> Self {
        Self { failures: HashMap::new(), swept: Instant::now() }
    }

    fn count(&mut self, key: &K) -> u32 {
        self.sweep();
        self.failures.get(key).filter(|failures| !failures.are_over()).map_or(0, |failures| failures.count)
    }

    fn note(&mut self, key: K) {
        self.sweep();
        if self.failures.len() >= ENTRIES_MAX && !self.failures.contains_key(&key) {
            self.failures.retain(|_, failures| !failures.are_over());
            // All within one minute: an attack from everywhere. Who is guessed at is not forgiven for it.
            if self.failures.len() >= ENTRIES_MAX {
                tracing::warn!("too many logins fail to be counted: the least of them are forgotten");
                bounded::keep_greater_half(&mut self.failures);
            }
        }
        let begun = Failures { count: 0, since: Instant::now() };
        let failures = self.failures.entry(key).or_insert(begun);
        if failures.are_over() {
            *failures = begun;
        }
        failures.count = failures.count.saturating_add(1);
    }

    /// Gives back what is over, once in a span: its cost is that of the failures since.
    fn sweep(&mut self) {
        if self.swept.elapsed() >= FAILURE_SPAN {
            self.swept = Instant::now();
            self.failures.retain(|_, failures| !failures.are_over());
            self.failures.shrink_to(2 * self.failures.len());
        }
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
        throttle.note_failure(peer, "bob@a.test");
        assert!(!throttle.is_throttled(peer, "alice@a.test", ALICE));
        throttle.note_failure(neighbour, "eve@a.test");
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
            throttle.note_failure(address(last), "alice@a.test");
        }
        assert!(throttle.is_throttled(address(100), "alice@a.test", ALICE));
        assert!(throttle.is_throttled(address(100), "alice@a.test", None));
        assert!(!throttle.is_throttled(address(100), "bob@a.test", Some(AccountId(2))));
        assert!(!throttle.is_throttled(address(200), "alice@a.test", ALICE), "the owner");
        // Who is known is still bound by the failures of the own address.
        throttle.note_failure(address(200), "alice@a.test");
        throttle.note_failure(address(200), "alice@a.test");
        assert!(throttle.is_throttled(address(200), "alice@a.test", ALICE));
        tokio::time::advance(FAILURE_SPAN).await;
        assert!(!throttle.is_throttled(address(100), "alice@a.test", ALICE));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_bound_nobody_waits() {
        let throttle = Throttle::new(0);
        (0..200).for_each(|_| throttle.note_failure(address(1), "alice@a.test"));
        assert!(!throttle.is_throttled(address(1), "alice@a.test", ALICE));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_name_costs_does_not_depend_on_its_length() {
        let throttle = Throttle::new(2);
        let long = "x".repeat(9_000);
        (0..10).for_each(|last| throttle.note_failure(address(last), &long));
        assert!(throttle.is_throttled(address(100), &long, None));
        assert!(!throttle.is_throttled(address(100), &format!("{long}x"), None));
        let keys: Vec<[u8; 32]> = locked(&throttle.accounts).failures.keys().copied().collect();
        assert_eq!(keys.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_in_particular_is_not_an_account() {
        let throttle = Throttle::new(2);
        (0..100).for_each(|last| throttle.note_failure(address(last), ""));
        assert!(!throttle.is_throttled(address(100), "", None));
        throttle.note_failure(address(1), "");
        assert!(throttle.is_throttled(address(1), "", None), "its address is counted");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_given_back() {
        let throttle = Throttle::new(2);
        let sizes = || {
            let (addresses, accounts) = (locked(&throttle.addresses), locked(&throttle.accounts));
            (addresses.failures.len(), accounts.failures.len(), accounts.failures.capacity() < 100)
        };
        let fail =
            |number: u32| throttle.note_failure(IpAddr::from(number.to_be_bytes()), &number.to_string());
        (0..1_000).for_each(fail);
        tokio::time::advance(FAILURE_SPAN / 2).await;
        (1_000..1_010).for_each(fail);
        assert_eq!(sizes(), (1_010, 1_010, false));
        tokio::time::advance(FAILURE_SPAN / 2).await;
        fail(2_000);
        assert_eq!(sizes(), (11, 11, true));
        tokio::time::advance(FAILURE_SPAN).await;
        assert!(!throttle.is_throttled(address(1), "2000", None));
        assert_eq!(sizes(), (0, 0, true), "a look is enough");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_guessed_at_is_not_forgiven_for_a_flood_of_names() {
        let mut window = Window::new();
        (0..50).for_each(|_| window.note(0));
        for number in 1..3 * ENTRIES_MAX {
            window.note(number);
            assert!(window.failures.len() <= ENTRIES_MAX);
            if number % 10_000 == 0 {
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        }
        assert_eq!((window.count(&0), window.count(&1)), (50, 0));
        assert_eq!(window.count(&(3 * ENTRIES_MAX - 1)), 1, "of the same blame the youngest stay");
    }

    #[tokio::test(start_paused = true)]
    async fn owners_who_logged_in_last_stay_known() {
        let throttle = Throttle::new(2);
        let home = |number: usize| IpAddr::from((number as u32).to_be_bytes());
        for number in 0..=ENTRIES_MAX {
            throttle.note_success(home(number), AccountId(1));
            if number % 10_000 == 0 {
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        }
        assert!(locked(&throttle.known).len() <= ENTRIES_MAX);
        assert!(throttle.is_known(AccountId(1), home(ENTRIES_MAX - 1)));
        assert!(!throttle.is_known(AccountId(1), home(1)));
    }
}
