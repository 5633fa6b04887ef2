//! What waits for each destination, what is under way, and where the next connection goes. Pure.
//!
//! ```text
//!  add ──► later (by time) ──due──► runner looks at the entry ──► ready (fair) ──pop──► in flight ──done──► later, or gone
//!                                        │ destination rests          │ it comes to rest
//!                                        ▼                            ▼
//!                                     resting (by the time at which its sender is told, or it is given up) ──awake──► later
//! ```
//! An item is a message at one destination. Each that has open recipients there stands in one of these places, or is in
//! flight. One that stands in more (it was rescheduled) is dropped where it comes up and is not due, or in flight: then it comes
//! again when it is done.

mod connections;
mod kin;
mod site;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap},
    hash::Hash,
    net::IpAddr,
    sync::Arc,
};

use tokio::sync::Notify;
use waypost_config::SourceConfig;
use waypost_mail::{EntryId, Reply, Timestamp};

use super::{
    pace::{Bounds, Rest, Source},
    turns::{Known, Turns},
};

use site::Site;
pub use site::SiteStatus;
pub(super) use site::{Because, Stage};

/// So many times as many connections as there may be can hang beside them.
const HANGING_TIMES: usize = 4;

/// Most connections that the queue has where `queue.connections` is this, with those that hang (docs/queue.md).
pub fn connections_most(connections: usize) -> usize {
    connections.saturating_mul(1 + HANGING_TIMES)
}

/// A destination among [`Sites`]. Valid as long as something waits or is under way there.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct SiteId(pub(super) u32);

/// The next thing for a connection to do.
#[derive(Clone, Debug)]
pub(super) enum Next {
    /// Send this one; it is in flight.
    Message(EntryId),
    /// Wait until the bell rings, or until then at the latest.
    Wait(Arc<Notify>, Option<Timestamp>),
    /// End.
    End,
}

/// All destinations.
#[derive(Debug)]
pub(super) struct Sites<P> {
    by_place: HashMap<P, SiteId>,
    sites: Vec<Option<Site<P>>>,
    free: Vec<u32>,
    wakes: BinaryHeap<Reverse<(Timestamp, SiteId)>>,
    /// Destinations that want a connection.
    turns: Turns,
    known: Known,
    in_flight: BTreeSet<(EntryId, SiteId)>,
    /// Messages that were in flight when routes changed: where they go now they wait until they are done.
    rerouted: BTreeSet<EntryId>,
    /// Where items came up last: they are being looked at.
    looked_at: Option<SiteId>,
    running: usize,
    probes: usize,
    hanging: usize,
    connections_max: usize,
    /// Names of destinations to which nothing is sent.
    paused: BTreeSet<String>,
    /// Our addresses that have bounds.
    sources: HashMap<IpAddr, Source>,
    /// Those that are full while destinations want more connections from them.
    wanted: BTreeSet<IpAddr>,
}

/// Messages at one destination that share no connection, and each have a queue of their own, share its bounds.
pub(super) trait Apart: Sized {
    /// The other queues that there may be of the same destination.
    fn others(&self) -> Vec<Self>;
}

impl<P: Apart + Clone + Eq + Hash + std::fmt::Display> Sites<P> {
    pub(super) fn new(connections_max: usize) -> Self {
        Self {
            by_place: HashMap::new(),
            sites: Vec::new(),
            free: Vec::new(),
            wakes: BinaryHeap::new(),
            turns: Turns::default(),
            known: Known::default(),
            in_flight: BTreeSet::new(),
            rerouted: BTreeSet::new(),
            looked_at: None,
            running: 0,
            probes: 0,
            hanging: 0,
            connections_max,
            paused: BTreeSet::new(),
            sources: HashMap::new(),
            wanted: BTreeSet::new(),
        }
    }

    /// Most connections in all.
    pub(super) fn set_connections_max(&mut self, most: usize) {
        self.connections_max = most;
    }

    /// What our addresses may do.
    pub(super) fn set_source_limits(&mut self, limits: &[SourceConfig]) {
        let mut before = std::mem::take(&mut self.sources);
        for limit in limits {
            let source = before.remove(&limit.address).map(|source| source.with(*limit));
            self.sources.insert(limit.address, source.unwrap_or_else(|| Source::new(*limit)));
        }
    }

    /// Notes that a message is due at a destination.
    pub(super) fn add(&mut self, place: &P, bounds: Bounds, id: EntryId, due: Timestamp, now: Timestamp) {
        let site_id = self.site_of(place);
        if let Some(site) = self.site(site_id) {
            // connections that are there are counted where they were
            let sources = if site.running == 0 { bounds.sources } else { site.bounds.sources };
            site.bounds = Bounds { sources, ..bounds };
            site.later.push(Reverse((due, id)));
        }
        self.consider(site_id, now);
    }

    /// Some items that come up, with why: each is to be made ready, put to rest, or dropped, before this is asked again. Empty: none
    /// is due.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<(SiteId, EntryId, Because)> {
        if let Some(before) = self.looked_at.take() {
            self.tidy(before);
        }
        while let Some(Reverse((at, site_id))) = self.wakes.peek().copied() {
            if at > now {
                return Vec::new();
            }
            self.wakes.pop();
            let Some(site) = self.site(site_id).filter(|site| site.wake == Some(at)) else { continue };
            site.wake = None;
            let due = site.due(now, site_id);
            self.consider(site_id, now);
            if !due.is_empty() {
                self.looked_at = Some(site_id);
                return due;
            }
        }
        Vec::new()
    }

    /// When something comes up next.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.wakes.peek().map(|Reverse((at, _))| *at)
    }

    /// What a destination is; `None` where it is no more.
    pub(super) fn place(&self, site: SiteId) -> Option<&P> {
        self.get(site).map(|site| &site.place)
    }

    /// What a destination that takes nothing said last, whether it rests now, or is paused: then what is due must wait.
    pub(super) fn resting(&self, site: SiteId, now: Timestamp) -> Option<Resting> {
        let site = self.get(site)?;
        if site.is_paused {
            return Some(Resting::Paused);
        }
        let rest = site.pace.rest()?;
        // one message is let through when the rest is over
        let is_over = rest.until <= now && site.ready.len() == 0 && site.running == 0;
        (!is_over).then(|| Resting::Down(rest.clone()))
    }

    /// A message can be sent.
    pub(super) fn make_ready(
        &mut self,
        site_id: SiteId,
        id: EntryId,
        priority: i8,
        sender: u64,
        now: Timestamp,
    ) {
        if self.in_flight.contains(&(id, site_id)) || self.rerouted.contains(&id) {
            return;
        }
        if let Some(site) = self.site(site_id) {
            site.ready.push(id, priority, sender);
            if site.idle > 0 {
                site.bell.notify_one();
            }
        }
        self.ask_for_room(site_id, now);
        self.consider(site_id, now);
    }

    /// A message waits until its destination is awake, or until this deadline.
    pub(super) fn rest(&mut self, site_id: SiteId, id: EntryId, deadline: Timestamp, now: Timestamp) {
        if let Some(site) = self.site(site_id) {
            site.resting.push(Reverse((deadline, id)));
        }
        self.consider(site_id, now);
    }

    /// Takes an item that came up into flight, to settle it without a connection; whether it was not there already.
    pub(super) fn take(&mut self, site_id: SiteId, id: EntryId) -> bool {
        if self.rerouted.contains(&id) || !self.in_flight.insert((id, site_id)) {
            return false;
        }
        if let Some(site) = self.site(site_id) {
            site.in_flight += 1;
        }
        true
    }

    /// Takes a message into flight at all these destinations, to settle it by hand; `None`: it is in flight already.
    pub(super) fn take_all(&mut self, id: EntryId, places: &[P]) -> Option<Vec<SiteId>> {
        if self.is_in_flight(id) {
            return None;
        }
        let sites: Vec<SiteId> = places.iter().map(|place| self.site_of(place)).collect();
        Some(sites.into_iter().filter(|site| self.take(*site, id)).collect())
    }

    /// What a connection does next; `stage`: what it did before.
    pub(super) fn next(&mut self, site_id: SiteId, stage: Stage, now: Timestamp) -> Next {
        let Some(sources) = self.get(site_id).map(|site| site.bounds.sources) else { return Next::End };
        let is_wanted = sources.all().any(|address| self.wanted.contains(&address));
        let crowded = self.is_crowded(now) || is_wanted || self.must_yield(site_id, now);
        let running = self.running_at(site_id);
        let source_slot = self.source_slot(sources, now);
        let Self { sites, in_flight, .. } = self;
        let Some(site) = sites.get_mut(site_id.0 as usize).and_then(Option::as_mut) else { return Next::End };
        site.leave(stage);
        if site.is_paused || running > site.bounds.connections {
            return Next::End;
        }
        let slot = site.pace.slot(now).max(source_slot);
        if slot.is_none()
            && let Some(id) = site.take_ready(site_id, in_flight)
        {
            site.pace.spend(site.bounds, now);
            self.share_rate(site_id, now);
            self.of(sources, |source| source.spend(now));
            return Next::Message(id);
        }
        if crowded {
            return Next::End;
        }
        site.idle += 1;
        Next::Wait(Arc::clone(&site.bell), slot.filter(|_| site.ready.len() > 0))
    }

    /// Takes the next message that is ready into flight, whatever the pace.
    pub(super) fn take_ready(&mut self, site_id: SiteId) -> Option<EntryId> {
        let Self { sites, in_flight, .. } = self;
        sites.get_mut(site_id.0 as usize)?.as_mut()?.take_ready(site_id, in_flight)
    }

    /// Takes the next message that is due into flight, also one that rests, whatever the pace: it comes back. None where it is paused.
    pub(super) fn take_due(&mut self, site_id: SiteId) -> Option<EntryId> {
        let Self { sites, in_flight, rerouted, .. } = self;
        let site = sites.get_mut(site_id.0 as usize)?.as_mut().filter(|site| !site.is_paused)?;
        let next = || site.ready.pop().or_else(|| site.resting.pop().map(|Reverse((_, id))| id));
        let id =
            std::iter::from_fn(next).find(|id| !rerouted.contains(id) && in_flight.insert((*id, site_id)))?;
        site.in_flight += 1;
        Some(id)
    }

    /// A message is in flight no more at a destination. `open`: where its open recipients are, and when they are due.
    pub(super) fn done(
        &mut self,
        site_id: SiteId,
        id: EntryId,
        open: Vec<(P, Bounds, Timestamp)>,
        now: Timestamp,
    ) {
        if self.in_flight.remove(&(id, site_id))
            && let Some(site) = self.site(site_id)
        {
            site.in_flight -= 1;
        }
        if self.rerouted.contains(&id) && self.is_in_flight(id) {
            // it comes again everywhere when the last one is done
            return self.tidy(site_id);
        }
        let was_rerouted = self.rerouted.remove(&id);
        for (place, bounds, due) in open {
            if was_rerouted || self.by_place.get(&place) == Some(&site_id) {
                self.add(&place, bounds, id, due, now);
            }
        }
        self.tidy(site_id);
    }

    /// A server answered for a message; whether its destination waits for one more connection.
    pub(super) fn answered(&mut self, site_id: SiteId, now: Timestamp) -> bool {
        if let Some(site) = self.site(site_id) {
            site.pace.answered(site.bounds);
        }
        self.consider(site_id, now);
        self.get(site_id).is_some_and(|site| site.in_turn)
    }

    /// A connection was lost on the way.
    pub(super) fn troubled(&mut self, site_id: SiteId) {
        if let Some(site) = self.site(site_id) {
            site.pace.troubled();
        }
    }

    /// A server that had taken messages closed the connection without a word when the next one was on its way with its envelope.
    pub(super) fn hung_up(&mut self, site_id: SiteId) {
        if let Some(site) = self.site(site_id) {
            site.hangs_up = true;
        }
    }

    /// Whether one of its servers did: messages go to them when their envelope is answered.
    pub(super) fn hangs_up(&self, site_id: SiteId) -> bool {
        self.get(site_id).is_some_and(|site| site.hangs_up)
    }

    /// A connection has ended.
    pub(super) fn ended(&mut self, site_id: SiteId, stage: Stage, now: Timestamp) {
        if let Some(site) = self.site(site_id) {
            let ((probes, hanging), sources) = (site.one_less(stage), site.bounds.sources);
            self.probes -= probes;
            self.hanging -= hanging;
            self.of(sources, Source::end);
        }
        self.ended_one(now, site_id);
    }

    /// No server took a session. Where no other connection works, the destination rests until `wait(failures)`, and what is due
    /// there with it; whether it does.
    pub(super) fn refused(
        &mut self,
        site_id: SiteId,
        peer: &str,
        reply: &Reply,
        now: Timestamp,
        wait: impl Fn(u32) -> Timestamp,
    ) -> bool {
        let mut rests = false;
        if let Some(site) = self.site(site_id) {
            let ((probes, hanging), sources) = (site.one_less(Stage::Connecting), site.bounds.sources);
            rests = site.running == 0;
            if rests {
                site.is_known = false;
                site.pace.refused(peer.to_owned(), reply.clone(), wait);
                let all = site.ready.drain();
                site.later.extend(all.map(|id| Reverse((now, id))));
            } else {
                site.pace.troubled();
            }
            self.probes -= probes;
            self.hanging -= hanging;
            self.of(sources, Source::end);
        }
        if rests && let Some(site) = self.get(site_id) {
            let place = site.place.clone();
            self.known.forget(&place);
        }
        self.ended_one(now, site_id);
        rests
    }

    /// Ends the rest of a destination, as an operator asks who wants to have it tried now.
    pub(super) fn wake_up(&mut self, place: &P, now: Timestamp) {
        let Some(site_id) = self.by_place.get(place).copied() else { return };
        if let Some(site) = self.site(site_id) {
            site.pace.wake(now);
            site.wake_up(now);
        }
        self.consider(site_id, now);
    }

    /// Pauses destinations, and lets go on those that are no longer paused.
    pub(super) fn pause(&mut self, paused: &BTreeSet<String>, now: Timestamp) {
        self.paused.clone_from(paused);
        for site_id in self.all() {
            let Some(site) = self.site(site_id) else { continue };
            let paused = paused.contains(&site.place.to_string());
            if paused == site.is_paused {
                continue;
            }
            site.is_paused = paused;
            if paused {
                let all = site.ready.drain();
                site.later.extend(all.map(|id| Reverse((now, id))));
                site.bell.notify_waiters();
            } else {
                site.wake_up(now);
            }
            self.consider(site_id, now);
        }
    }

    /// Forgets all that waits, as routes have changed: it is added again where it goes now.
    pub(super) fn clear(&mut self, now: Timestamp) {
        self.rerouted = self.in_flight.iter().map(|(id, _)| *id).collect();
        for site_id in self.all() {
            if let Some(site) = self.site(site_id) {
                drop(site.ready.drain());
                site.later.clear();
                site.resting.clear();
            }
            self.consider(site_id, now);
            self.tidy(site_id);
        }
    }

    /// Connections at present.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Whether a message is in flight at any destination.
    pub(super) fn is_in_flight(&self, id: EntryId) -> bool {
        self.in_flight.range((id, SiteId(0))..=(id, SiteId(u32::MAX))).next().is_some()
    }

    /// Wakes connections that wait for messages, so that they see that the server stops.
    pub(super) fn ring_all(&self) {
        self.sites.iter().flatten().for_each(|site| site.bell.notify_waiters());
    }

    /// How all destinations are.
    pub(super) fn statuses(&self, now: Timestamp) -> Vec<SiteStatus<P>> {
        self.sites.iter().flatten().map(|site| site.status(now)).collect()
    }

    /// How one is; `None`: nothing waits or is under way there.
    pub(super) fn status(&self, place: &P, now: Timestamp) -> Option<SiteStatus<P>> {
        self.by_place.get(place).and_then(|id| self.get(*id)).map(|site| site.status(now))
    }

    fn all(&self) -> Vec<SiteId> {
        let used = self.sites.iter().zip(0..).filter(|(site, _)| site.is_some());
        used.map(|(_, number)| SiteId(number)).collect()
    }

    fn site_of(&mut self, place: &P) -> SiteId {
        if let Some(site_id) = self.by_place.get(place) {
            return *site_id;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.sites.push(None);
            u32::try_from(self.sites.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(slot) = self.sites.get_mut(number as usize) {
            let is_paused = !self.paused.is_empty() && self.paused.contains(&place.to_string());
            let is_known = self.known.holds(place);
            *slot = Some(Site { is_paused, is_known, ..Site::new(place.clone()) });
        }
        self.by_place.insert(place.clone(), SiteId(number));
        self.take_rate(SiteId(number));
        SiteId(number)
    }

    fn site(&mut self, id: SiteId) -> Option<&mut Site<P>> {
        self.sites.get_mut(id.0 as usize).and_then(Option::as_mut)
    }

    fn get(&self, id: SiteId) -> Option<&Site<P>> {
        self.sites.get(id.0 as usize).and_then(Option::as_ref)
    }

    /// Gives a destination its turn and its time, as it is now.
    fn consider(&mut self, site_id: SiteId, now: Timestamp) {
        let wants = self.get(site_id).is_some_and(|site| !site.in_turn && site.wants(now));
        let wants = wants && !self.is_full(site_id);
        let Self { sites, turns, .. } = self;
        let Some(site) = sites.get_mut(site_id.0 as usize).and_then(Option::as_mut) else { return };
        if wants {
            site.in_turn = true;
            turns.push(site_id, site.standing());
        }
        let next = site.next_event(now);
        if let Some(at) = next {
            self.wake_at(site_id, at);
        }
    }

    fn ended_one(&mut self, now: Timestamp, site_id: SiteId) {
        self.running = self.running.saturating_sub(1);
        // those of the same destination that had no room come first
        self.kin(site_id).into_iter().for_each(|kin| self.consider(kin, now));
        self.consider(site_id, now);
        self.tidy(site_id);
    }

    /// Forgets a destination where nothing waits and nothing is under way.
    fn tidy(&mut self, site_id: SiteId) {
        if self.looked_at == Some(site_id) || !self.get(site_id).is_some_and(Site::is_over) {
            return;
        }
        if let Some(site) = self.sites.get_mut(site_id.0 as usize).and_then(Option::take) {
            self.by_place.remove(&site.place);
            self.free.push(site_id.0);
        }
    }
}

/// Why a message that is due must wait.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Resting {
    /// The destination takes nothing.
    Down(Rest),
    /// It is paused by hand.
    Paused,
}

#[cfg(test)]
mod tests;
