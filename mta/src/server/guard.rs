//! What all sessions of an address, and of an account, may do together: rates, unknown recipients, and who hides behind whom.
//!
//! Loopback and the networks of `[[trust]]` are not counted by address; who has logged in is counted by account.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use waypost_config::RatesConfig;
use waypost_mail::{AccountId, Address, Refusal};
use waypost_net::{Rates, network};

use super::refusal;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Unknown recipients are counted so long.
const UNKNOWN_WINDOW: Duration = Duration::from_secs(10 * 60);
/// So many connections of one private address and no other are no chance.
const SIGHTINGS_MAX: u32 = 50;

/// The counts. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Guard(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    messages: Rates<IpAddr>,
    recipients: Rates<IpAddr>,
    unknown: Rates<IpAddr>,
    hourly: Rates<AccountId>,
    daily: Rates<AccountId>,
    warned: Rates<AccountId>,
    /// Recipients of mail that is held because it is beyond the limits.
    held: Rates<AccountId>,
    sightings: Mutex<Sightings>,
}

impl Default for Counts {
    fn default() -> Self {
        let (messages, recipients, unknown) =
            (Rates::new(MINUTE), Rates::new(MINUTE), Rates::new(UNKNOWN_WINDOW));
        let (hourly, daily, warned) = (Rates::new(HOUR), Rates::new(DAY), Rates::new(DAY));
        let held = Rates::new(DAY);
        Self { messages, recipients, unknown, hourly, daily, warned, held, sightings: Mutex::default() }
    }
}

/// What an address that asks for recipients without end gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Harvest {
    /// It may go on.
    No,
    /// Refusals come slowly.
    Slow,
    /// It is sent away.
    Over,
}

impl Guard {
    /// Counts a message of an address.
    pub(super) fn message(&self, peer: IpAddr, rates: &RatesConfig, now: Instant) -> Result<(), Refusal> {
        let in_time = self.0.messages.take(network(peer), rates.messages_per_minute, now);
        if in_time { Ok(()) } else { Err(refusal::TOO_MANY_MESSAGES.into()) }
    }

    /// Counts a recipient that an address asks for.
    pub(super) fn recipient(&self, peer: IpAddr, rates: &RatesConfig, now: Instant) -> Result<(), Refusal> {
        if self.harvest(peer, rates, now) == Harvest::Over {
            return Err(refusal::HARVEST.into());
        }
        let in_time = self.0.recipients.take(network(peer), rates.recipients_per_minute, now);
        if in_time { Ok(()) } else { Err(refusal::TOO_MANY_RECIPIENTS.into()) }
    }

    /// Counts a recipient that does not exist.
    pub(super) fn unknown_recipient(&self, peer: IpAddr, rates: &RatesConfig, now: Instant) {
        let end = rates.unknown_recipients.saturating_mul(2);
        if self.0.unknown.take(network(peer), end, now) && self.harvest(peer, rates, now) == Harvest::Over {
            tracing::warn!(%peer, unknown = end, "this address tries out recipients: it is sent away for a while");
        }
    }

    /// Whether an address tries out recipients.
    pub(super) fn harvest(&self, peer: IpAddr, rates: &RatesConfig, now: Instant) -> Harvest {
        let (most, unknown) = (rates.unknown_recipients, self.0.unknown.count(network(peer), now));
        match unknown {
            _ if most == 0 || unknown < most => Harvest::No,
            _ if unknown < most.saturating_mul(2) => Harvest::Slow,
            _ => Harvest::Over,
        }
    }

    /// Counts a recipient of mail that a user submits, in its allowance; why the mail is held, if it is beyond that.
    pub(super) fn submit(
        &self,
        allowance: &mut Allowance,
        login: &Address,
        rates: &RatesConfig,
        now: Instant,
    ) -> Result<Option<String>, Refusal> {
        let account = allowance.account;
        if !self.0.daily.take(account, rates.recipients_per_day_per_account, now) {
            return self.over(allowance, login, rates, (rates.recipients_per_day_per_account, "day"), now);
        }
        if !self.0.hourly.take(account, rates.recipients_per_hour_per_account, now) {
            self.0.daily.give_back(account, 1, now);
            return self.over(allowance, login, rates, (rates.recipients_per_hour_per_account, "hour"), now);
        }
        allowance.recipients += 1;
        Ok(None)
    }

    /// What is beyond an account's limit is held, up to as many recipients again in a day, or refused; the operator hears of it once a
    /// day.
    fn over(
        &self,
        allowance: &mut Allowance,
        login: &Address,
        rates: &RatesConfig,
        (most, window): (u32, &'static str),
        now: Instant,
    ) -> Result<Option<String>, Refusal> {
        if self.0.warned.take(allowance.account, 1, now) {
            tracing::warn!(
                alert = "send_limit",
                account = %login,
                recipients = most,
                window,
                "this account sends to more recipients than it may; its password may be known to others"
            );
        }
        if rates.holds_over_limit && self.0.held.take(allowance.account, most, now) {
            allowance.held += 1;
            return Ok(Some(format!("<{login}> has sent to {most} recipients within a {window}")));
        }
        Err(refusal::send_limit(login, most, window))
    }

    /// Looks whether all clients of port 25 come from one private address; says so once, and louder where that may relay.
    pub(super) fn sighted(&self, peer: IpAddr, is_trusted: impl FnOnce() -> bool) {
        let mut sightings = self.0.sightings.lock().unwrap_or_else(PoisonError::into_inner);
        if !sightings.see(peer) {
            return;
        }
        if is_trusted() {
            tracing::error!(
                alert = "open_relay",
                %peer,
                "every client of port 25 so far has this one private address, and [[trust]] lets it send to anyone: if a proxy, a NAT or the \
                 bridge of containers hides them, this server is an OPEN RELAY; take the address out of [[trust]], or let the proxy speak the \
                 PROXY protocol (listener.proxy_protocol)"
            );
        } else {
            tracing::warn!(
                %peer,
                "every client of port 25 so far has this one private address: a proxy or NAT hides them, so that limits by address and \
                 [[trust]] mean nothing; let it speak the PROXY protocol (listener.proxy_protocol)"
            );
        }
    }
}

/// Recipients that a transaction has taken from its account's limits. They are given back if it comes to nothing.
#[derive(Debug)]
pub(super) struct Allowance {
    guard: Guard,
    account: AccountId,
    /// Those within the limits.
    recipients: u32,
    /// Those beyond them, whose mail is held.
    held: u32,
}

impl Allowance {
    pub(super) fn new(guard: &Guard, account: AccountId) -> Self {
        Self { guard: guard.clone(), account, recipients: 0, held: 0 }
    }

    /// The message was accepted.
    pub(super) fn spend(&mut self) {
        (self.recipients, self.held) = (0, 0);
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        let Self { ref guard, account, recipients, held } = *self;
        let now = instant();
        for (rates, events) in
            [(&guard.0.daily, recipients), (&guard.0.hourly, recipients), (&guard.0.held, held)]
        {
            if events > 0 {
                rates.give_back(account, events, now);
            }
        }
    }
}

/// The time that windows go by.
pub(super) fn instant() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The clients of port 25 since the start, as long as they may all be one.
#[derive(Debug, Default)]
enum Sightings {
    #[default]
    None,
    /// One private address, so often.
    One(IpAddr, u32),
    /// It is clear: others came, or it was said.
    Over,
}

impl Sightings {
    /// Takes notice of a client; whether it is time to speak.
    fn see(&mut self, peer: IpAddr) -> bool {
        let count = match self {
            Self::None => 1,
            Self::One(first, count) if *first == peer => *count + 1,
            Self::One(..) | Self::Over => 0,
        };
        let speaks = count >= SIGHTINGS_MAX;
        *self = if count == 0 || speaks || !is_private(peer) { Self::Over } else { Self::One(peer, count) };
        speaks
    }
}

/// Whether an address is one of a network of its own: RFC 1918, RFC 4193, link-local, 100.64.0.0/10.
fn is_private(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(ip) => {
            ip.is_private() || ip.is_link_local() || (ip.to_bits() >> 22) == (0x6440_0000 >> 22)
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_private_address_is_told_of_once_and_no_other() {
        for (peers, tells) in [
            (&["172.17.0.1"][..], true),
            (&["fd00::1"], true),
            (&["100.64.0.1"], true),
            (&["100.63.255.255"], false),
            (&["198.51.100.7"], false),
            (&["127.0.0.1"], false),
            (&["172.17.0.1", "172.17.0.2"], false),
        ] {
            let mut sightings = Sightings::default();
            let peers = peers.iter().cycle().take(3 * SIGHTINGS_MAX as usize);
            let told: Vec<_> = peers.enumerate().filter(|(_, peer)| sightings.see(ip(peer))).collect();
            assert_eq!(told.len(), usize::from(tells), "{told:?}");
            assert!(told.iter().all(|(number, _)| *number as u32 == SIGHTINGS_MAX - 1), "{told:?}");
        }
    }

    #[test]
    fn who_tries_out_recipients_is_slowed_down_and_sent_away() {
        let (guard, now, peer) = (Guard::default(), Instant::now(), ip("2001:db8::1"));
        let rates = RatesConfig { unknown_recipients: 2, ..RatesConfig::default() };
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(guard.harvest(peer, &rates, now));
            guard.unknown_recipient(peer, &rates, now);
        }
        assert_eq!(seen, [Harvest::No, Harvest::No, Harvest::Slow, Harvest::Slow, Harvest::Over]);
        // The same /64, another one, and the end of the window.
        let refused = guard.recipient(ip("2001:db8::ffff"), &rates, now).unwrap_err();
        assert_eq!(refused.code, 421);
        assert!(guard.recipient(ip("2001:db8:0:1::1"), &rates, now).is_ok());
        assert!(guard.recipient(peer, &rates, now + UNKNOWN_WINDOW).is_ok());
        assert_eq!(guard.harvest(peer, &RatesConfig::default(), now), Harvest::No, "0 is off");
    }

    #[test]
    fn what_an_account_sends_is_bounded_by_hour_and_day() {
        let (guard, now, account) = (Guard::default(), Instant::now(), AccountId(1));
        let rates = RatesConfig {
            recipients_per_hour_per_account: 2,
            recipients_per_day_per_account: 3,
            ..RatesConfig::default()
        };
        let login = Address::parse("alice@a.test").unwrap();
        let mut allowance = Allowance::new(&guard, account);
        let mut submit =
            |now| guard.submit(&mut allowance, &login, &rates, now).map_err(|refusal| refusal.text);
        assert!(submit(now).is_ok() && submit(now).is_ok());
        assert!(submit(now).unwrap_err().contains("2 recipients an hour"));
        assert!(submit(now + HOUR).is_ok());
        assert!(submit(now + HOUR).unwrap_err().contains("3 recipients a day"));
        assert!(submit(now + DAY).is_ok());
        allowance.spend();
        drop(allowance);
        assert_eq!(
            (guard.0.daily.count(account, now + DAY), guard.0.hourly.count(account, now + DAY)),
            (1, 1)
        );
    }
}
