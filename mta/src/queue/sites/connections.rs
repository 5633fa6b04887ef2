//! Where the next connection goes, and how many there are.

use std::{cmp::Reverse, hash::Hash, net::IpAddr};

use waypost_config::SourceAddresses;
use waypost_mail::Timestamp;

use super::{
    super::{pace::Source, turns::Standing},
    Apart, SiteId, Sites, connections_most,
};

impl<P: Apart + Clone + Eq + Hash + std::fmt::Display> Sites<P> {
    /// Chooses a destination for a new connection, and counts that connection; `None` where none is wanted, or no more may be
    /// made. Half of them are kept from destinations that may be dead.
    pub(in crate::queue) fn start(&mut self, now: Timestamp) -> Option<(SiteId, P)> {
        let mut waiting = Vec::new();
        self.wanted.clear();
        let started = self.start_one(now, &mut waiting);
        // their turn comes first when an address of ours is free again
        for site_id in waiting.into_iter().rev() {
            if let Some(site) = self.site(site_id) {
                site.in_turn = true;
                let standing = site.standing();
                self.turns.push_front(site_id, standing);
            }
        }
        started
    }

    /// The same; those whose addresses have no room are put aside.
    pub(super) fn start_one(&mut self, now: Timestamp, waiting: &mut Vec<SiteId>) -> Option<(SiteId, P)> {
        while self.running - self.hanging < self.connections_max {
            let site_id = self.turn()?;
            let Some(site) = self.site(site_id) else { continue };
            site.in_turn = false;
            if !site.wants(now) || self.is_full(site_id) {
                continue;
            }
            let Some(site) = self.site(site_id) else { continue };
            let sources = site.bounds.sources;
            if self.has_no_room(sources, site_id, now) {
                waiting.push(site_id);
                continue;
            }
            self.of(sources, Source::begin);
            let site = self.site(site_id)?;
            let is_probe = !site.pace.is_proven();
            site.running += 1;
            site.connecting += 1;
            site.probes += usize::from(is_probe);
            let place = site.place.clone();
            self.running += 1;
            self.probes += usize::from(is_probe);
            self.consider(site_id, now);
            return Some((site_id, place));
        }
        None
    }

    /// Does something with those addresses of a destination that have bounds.
    pub(super) fn of(&mut self, sources: SourceAddresses, mut with: impl FnMut(&mut Source)) {
        if !self.sources.is_empty() {
            sources.all().for_each(|address| self.sources.get_mut(&address).into_iter().for_each(&mut with));
        }
    }

    /// When the rates of those addresses allow a message again; `None`: now.
    pub(super) fn source_slot(&self, sources: SourceAddresses, now: Timestamp) -> Option<Timestamp> {
        sources.all().filter_map(|address| self.sources.get(&address)?.slot(now)).max()
    }

    /// Whether no connection may go out from the addresses of a destination now; when a rate allows one, it is looked at again.
    pub(super) fn has_no_room(&mut self, sources: SourceAddresses, site_id: SiteId, now: Timestamp) -> bool {
        if self.sources.is_empty() {
            return false;
        }
        let is_full = |address: &IpAddr| self.sources.get(address).is_some_and(Source::is_full);
        let full: Vec<IpAddr> = sources.all().filter(is_full).collect();
        self.wanted.extend(&full);
        let slot = self.source_slot(sources, now);
        if let Some(at) = slot {
            self.wake_at(site_id, at);
        }
        !full.is_empty() || slot.is_some()
    }

    /// Looks at a destination then, if not earlier.
    pub(super) fn wake_at(&mut self, site_id: SiteId, at: Timestamp) {
        let Self { sites, wakes, .. } = self;
        if let Some(site) = sites.get_mut(site_id.0 as usize).and_then(Option::as_mut)
            && site.wake.is_none_or(|before| at < before)
        {
            site.wake = Some(at);
            wakes.push(Reverse((at, site_id)));
        }
    }

    /// Whose turn it is: that of destinations that are known to take mail, but some connections are for the others, and half of all
    /// at most.
    pub(super) fn turn(&mut self) -> Option<SiteId> {
        let Self { turns, probes, connections_max, .. } = self;
        let first = if *probes < *connections_max / 8 { turns.pop_unproven() } else { None };
        let next = first.or_else(|| turns.pop_proven());
        let is_allowed = *probes < (*connections_max / 2).max(1);
        next.or_else(|| is_allowed.then(|| turns.pop_unproven()).flatten())
    }

    /// Whether another destination needs the place of a connection that has nothing to do.
    pub(super) fn is_crowded(&mut self, now: Timestamp) -> bool {
        if self.running - self.hanging < self.connections_max {
            return false;
        }
        let is_allowed = self.probes < (self.connections_max / 2).max(1);
        let Self { sites, turns, .. } = self;
        turns.is_wanted(is_allowed, |id| match sites.get_mut(id.0 as usize).and_then(Option::as_mut) {
            Some(site) if site.wants(now) => true,
            Some(site) => {
                site.in_turn = false;
                false
            }
            None => false,
        })
    }

    /// A server took a session: the connection will ask for a message.
    pub(in crate::queue) fn connected(&mut self, site_id: SiteId, now: Timestamp) {
        let Some(site) = self.site(site_id) else { return };
        let (probes, hanging) = (std::mem::take(&mut site.probes), std::mem::take(&mut site.hanging));
        let (standing, place) = (site.standing(), site.place.clone());
        if site.pace.connected() {
            site.wake_up(now);
        }
        // it waits for no other that may be dead
        let is_promoted = site.in_turn && standing != Standing::Proven;
        self.known.remember(&place);
        self.probes -= probes;
        self.hanging -= hanging;
        if is_promoted {
            self.turns.push(site_id, Standing::Proven);
        }
        self.consider(site_id, now);
    }

    /// A probe hangs: from now on it stands in the way of others no more, unless too many do; whether that is so.
    pub(in crate::queue) fn hangs(&mut self, site_id: SiteId, now: Timestamp) -> bool {
        if self.hanging >= self.hanging_max() {
            return false;
        }
        let Some(site) = self.site(site_id).filter(|site| site.probes > 0) else { return false };
        site.probes -= 1;
        site.hanging += 1;
        self.probes -= 1;
        self.hanging += 1;
        self.consider(site_id, now);
        true
    }

    /// Whether probes that hang keep others from being made.
    pub(in crate::queue) fn is_clogged(&self) -> bool {
        self.hanging >= self.hanging_max() && self.turns.has_unproven()
    }

    pub(super) fn hanging_max(&self) -> usize {
        connections_most(self.connections_max) - self.connections_max
    }
}
