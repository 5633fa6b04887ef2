//! One destination: what waits there, and what is under way.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    sync::Arc,
};

use tokio::sync::Notify;
use waypost_config::SourceAddresses;
use waypost_mail::{EntryId, Reply, Timestamp};

use super::{
    super::{
        pace::{Bounds, Pace, Rest},
        ready::Ready,
        turns::Standing,
    },
    SiteId,
};

/// Items of one destination that are looked at in one go, so that no destination holds up the others.
const DUE_PER_SITE: usize = 64;
pub(super) type ByTime = BinaryHeap<Reverse<(Timestamp, EntryId)>>;

#[derive(Debug)]
pub(super) struct Site<P> {
    pub(super) place: P,
    pub(super) later: ByTime,
    pub(super) ready: Ready,
    pub(super) resting: ByTime,
    pub(super) pace: Pace,
    pub(super) bounds: Bounds,
    pub(super) is_paused: bool,
    /// Whether it took mail lately, as is remembered from before anything waited there.
    pub(super) is_known: bool,
    /// Connections.
    pub(super) running: usize,
    /// How many of those have not asked for a message yet.
    pub(super) connecting: usize,
    /// How many wait for one.
    pub(super) idle: usize,
    /// How many of those that run count as probes: they were begun before a server took a session.
    pub(super) probes: usize,
    /// Messages in flight, on connections and without.
    pub(super) in_flight: usize,
    /// How many did, and have hung for so long that others must not wait for them.
    pub(super) hanging: usize,
    pub(super) in_turn: bool,
    /// Whether a server closed a connection without a word while a message went along with its envelope.
    pub(super) hangs_up: bool,
    /// When the site is looked at next.
    pub(super) wake: Option<Timestamp>,
    /// Wakes connections that are idle.
    pub(super) bell: Arc<Notify>,
}

/// Why an item comes up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::queue) enum Because {
    /// It is due, at this time.
    Due(Timestamp),
    /// Its destination rests, and its sender is to be told, or it is given up.
    Deadline,
}

/// What a connection did when it ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::queue) enum Stage {
    /// It had not asked for a message yet.
    Connecting,
    /// It had asked.
    Busy,
    /// It waited for one.
    Idle,
}

/// How a destination is.
#[derive(Clone, Debug)]
pub struct SiteStatus<P> {
    /// Which one.
    pub place: P,
    /// Messages that wait there, those under way not counted.
    pub waiting: usize,
    /// How many of those are due.
    pub due: usize,
    /// Connections.
    pub connections: usize,
    /// Most connections now.
    pub window: usize,
    /// Whether it is paused by hand.
    pub is_paused: bool,
    /// When one that takes nothing is tried again, how often it was tried in vain, who said what.
    pub resting: Option<(Timestamp, u32, String, Reply)>,
}

impl<P: Clone> Site<P> {
    pub(super) fn status(&self, now: Timestamp) -> SiteStatus<P> {
        let rest = |rest: &Rest| (rest.until, rest.failures, rest.peer.clone(), rest.reply.clone());
        SiteStatus {
            place: self.place.clone(),
            waiting: self.later.len() + self.ready.len() + self.resting.len(),
            due: self.ready.len() + self.resting.len(),
            connections: self.running,
            window: self.limit(now),
            is_paused: self.is_paused,
            resting: self.pace.rest().map(rest),
        }
    }
}

impl<P> Site<P> {
    pub(super) fn new(place: P) -> Self {
        Self {
            place,
            later: ByTime::new(),
            ready: Ready::default(),
            resting: ByTime::new(),
            pace: Pace::default(),
            bounds: Bounds { connections: 1, messages_per_minute: 0, sources: SourceAddresses::default() },
            is_paused: false,
            is_known: false,
            running: 0,
            connecting: 0,
            idle: 0,
            probes: 0,
            in_flight: 0,
            hanging: 0,
            in_turn: false,
            hangs_up: false,
            wake: None,
            bell: Arc::default(),
        }
    }

    /// Most connections now: one until a server takes a session.
    pub(super) fn limit(&self, now: Timestamp) -> usize {
        let limit = self.pace.limit(self.bounds, now);
        if self.standing() == Standing::Proven { limit } else { limit.min(1) }
    }

    pub(super) fn standing(&self) -> Standing {
        if self.is_known || self.pace.is_proven() {
            Standing::Proven
        } else if self.pace.rest().is_some() {
            Standing::Failed
        } else {
            Standing::Fresh
        }
    }

    /// Whether it wants one more connection.
    pub(super) fn wants(&self, now: Timestamp) -> bool {
        !self.is_paused
            && self.ready.len() > self.connecting + self.idle
            && self.running < self.limit(now)
            && self.pace.slot(now).is_none()
    }

    /// Takes the next message that is ready into flight.
    pub(super) fn take_ready(
        &mut self,
        site_id: SiteId,
        in_flight: &mut BTreeSet<(EntryId, SiteId)>,
    ) -> Option<EntryId> {
        let id = std::iter::from_fn(|| self.ready.pop()).find(|id| in_flight.insert((*id, site_id)))?;
        self.in_flight += 1;
        Some(id)
    }

    /// A connection does something else now.
    pub(super) fn leave(&mut self, stage: Stage) {
        match stage {
            Stage::Connecting => self.connecting = self.connecting.saturating_sub(1),
            Stage::Idle => self.idle = self.idle.saturating_sub(1),
            Stage::Busy => {}
        }
    }

    /// One connection has ended; how many fewer are probes, and hang.
    pub(super) fn one_less(&mut self, stage: Stage) -> (usize, usize) {
        let (probes, hanging) = (self.probes, self.hanging);
        self.running = self.running.saturating_sub(1);
        self.leave(stage);
        // the first that hung is the first to end
        self.hanging = hanging.saturating_sub(1).min(self.running);
        self.probes = probes.min(self.running - self.hanging);
        (probes - self.probes, hanging - self.hanging)
    }

    /// Items that come up now.
    pub(super) fn due(&mut self, now: Timestamp, id: SiteId) -> Vec<(SiteId, EntryId, Because)> {
        let mut due = Vec::new();
        while due.len() < DUE_PER_SITE
            && let Some(Reverse((at, _))) = self.later.peek()
            && *at <= now
            && let Some(Reverse((at, entry))) = self.later.pop()
        {
            due.push((id, entry, Because::Due(at)));
        }
        while due.len() < DUE_PER_SITE
            && let Some(Reverse((at, _))) = self.resting.peek()
            && *at <= now
            && let Some(Reverse((_, entry))) = self.resting.pop()
        {
            due.push((id, entry, Because::Deadline));
        }
        self.shrink();
        // the rest is over: one message is tried
        let is_over = !self.is_paused && self.pace.rest().is_some_and(|rest| rest.until <= now);
        if is_over
            && self.running == 0
            && self.ready.len() == 0
            && due.is_empty()
            && let Some(Reverse((_, entry))) = self.resting.pop()
        {
            due.push((id, entry, Because::Due(now)));
        }
        due
    }

    /// Gives memory back after a crowd.
    pub(super) fn shrink(&mut self) {
        for heap in [&mut self.later, &mut self.resting] {
            if heap.capacity() > DUE_PER_SITE && heap.len() < heap.capacity() / 4 {
                heap.shrink_to_fit();
            }
        }
    }

    /// What rested is looked at again.
    pub(super) fn wake_up(&mut self, now: Timestamp) {
        self.later.extend(self.resting.drain().map(|Reverse((_, id))| Reverse((now, id))));
    }

    /// When something comes up.
    pub(super) fn next_event(&self, now: Timestamp) -> Option<Timestamp> {
        let first = |heap: &ByTime| heap.peek().map(|Reverse((at, _))| *at);
        let rest = self.pace.rest().map(|rest| rest.until);
        let rest = rest.filter(|_| {
            !self.is_paused && self.running == 0 && self.ready.len() == 0 && !self.resting.is_empty()
        });
        let slot = self.pace.slot(now).filter(|_| self.running == 0 && self.ready.len() > 0);
        [first(&self.later), first(&self.resting), rest, slot].into_iter().flatten().min()
    }

    pub(super) fn is_over(&self) -> bool {
        self.running == 0
            && self.in_flight == 0
            && self.ready.len() == 0
            && self.later.is_empty()
            && self.resting.is_empty()
    }
}
