//! The queues of one destination: they share its connections and its rate, not its rests, as servers may refuse one kind of
//! message and take another.

use std::hash::Hash;

use waypost_mail::Timestamp;

use super::{Apart, SiteId, Sites};

impl<P: Apart + Clone + Eq + Hash + std::fmt::Display> Sites<P> {
    /// The other queues of a destination.
    pub(super) fn kin(&self, site_id: SiteId) -> Vec<SiteId> {
        let others = self.get(site_id).map(|site| site.place.others()).unwrap_or_default();
        others.iter().filter_map(|place| self.by_place.get(place).copied()).collect()
    }

    /// Connections of a queue and of the others of its destination.
    pub(super) fn running_at(&self, site_id: SiteId) -> usize {
        let all = self.kin(site_id).into_iter().chain([site_id]);
        all.filter_map(|site| self.get(site)).map(|site| site.running).sum()
    }

    /// Whether a destination has as many connections as it may.
    pub(super) fn is_full(&self, site_id: SiteId) -> bool {
        self.get(site_id).is_some_and(|site| self.running_at(site_id) >= site.bounds.connections)
    }

    /// Whether an idle connection ends, so that another queue of its destination gets one.
    pub(super) fn must_yield(&self, site_id: SiteId, now: Timestamp) -> bool {
        let wants = |kin: SiteId| self.get(kin).is_some_and(|site| site.wants(now));
        self.is_full(site_id) && self.kin(site_id).into_iter().any(wants)
    }

    /// Wakes an idle connection of another queue, where this one wants a connection and there is no room.
    pub(super) fn ask_for_room(&self, site_id: SiteId, now: Timestamp) {
        if !self.get(site_id).is_some_and(|site| site.wants(now)) || !self.is_full(site_id) {
            return;
        }
        let kin = self.kin(site_id).into_iter().filter_map(|kin| self.get(kin));
        kin.filter(|site| site.idle > 0).take(1).for_each(|site| site.bell.notify_one());
    }

    /// A message is being sent: the others keep the same distance from it.
    pub(super) fn share_rate(&mut self, site_id: SiteId, now: Timestamp) {
        let Some(pace) = self.get(site_id).map(|site| site.pace.clone()) else { return };
        for kin in self.kin(site_id) {
            if let Some(site) = self.site(kin) {
                site.pace.keep_distance(&pace);
            }
            self.consider(kin, now);
        }
    }

    /// A queue that is new goes on at the rate of the others.
    pub(super) fn take_rate(&mut self, site_id: SiteId) {
        for kin in self.kin(site_id) {
            let Some(pace) = self.get(kin).map(|site| site.pace.clone()) else { continue };
            if let Some(site) = self.site(site_id) {
                site.pace.keep_distance(&pace);
            }
        }
    }
}
