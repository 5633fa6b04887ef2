//! What waits for each destination, and how many connections serve it. Pure.
//!
//! A connection takes job after job from its lane. A connection that no server takes gives the lane fewer connections as long
//! as others work; when it was the only one, all that waits in the lane has failed with it: a dead host is asked once, not
//! once for each message.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// Most connections at the same time.
pub const CONNECTIONS_MAX: usize = 20;
/// Most connections to one destination.
pub const CONNECTIONS_PER_DESTINATION_MAX: usize = 5;

#[derive(Debug)]
struct Lane<J> {
    /// How many lanes began before it.
    place: u64,
    waiting: VecDeque<J>,
    /// Connections that serve the lane.
    running: usize,
    /// How many of those have not asked for a job yet.
    connecting: usize,
    limit: usize,
}

/// All lanes.
#[derive(Debug)]
pub(super) struct Lanes<D, J> {
    lanes: HashMap<D, Lane<J>>,
    /// How many lanes have begun.
    begun: u64,
    running: usize,
}

impl<J> Lane<J> {
    fn new(place: u64) -> Self {
        let limit = CONNECTIONS_PER_DESTINATION_MAX;
        Self { place, waiting: VecDeque::new(), running: 0, connecting: 0, limit }
    }
}

impl<D, J> Default for Lanes<D, J> {
    fn default() -> Self {
        Self { lanes: HashMap::new(), begun: 0, running: 0 }
    }
}

impl<D: Clone + Eq + Hash, J> Lanes<D, J> {
    /// Puts a job into a lane, behind those that are as urgent: `urgency` tells of each how urgent it is.
    pub(super) fn push<U: Ord>(&mut self, destination: D, job: J, urgency: impl Fn(&J) -> U) {
        let begin = || {
            self.begun += 1;
            Lane::new(self.begun)
        };
        let waiting = &mut self.lanes.entry(destination).or_insert_with(begin).waiting;
        let of_this = urgency(&job);
        let behind = waiting.iter().rposition(|other| urgency(other) >= of_this);
        waiting.insert(behind.map_or(0, |place| place + 1), job);
    }

    /// Chooses a destination for a new connection, and counts that connection; `None` where all that waits is served or no
    /// more connections may be made.
    pub(super) fn start(&mut self) -> Option<D> {
        if self.running >= CONNECTIONS_MAX {
            return None;
        }
        let wants = |lane: &Lane<J>| lane.waiting.len() > lane.connecting && lane.running < lane.limit;
        // the one with the fewest connections first, so that a busy destination does not take them all; of equals the oldest
        let candidates = self.lanes.iter_mut().filter(|(_, lane)| wants(lane));
        let (destination, lane) = candidates.min_by_key(|(_, lane)| (lane.running, lane.place))?;
        lane.running += 1;
        lane.connecting += 1;
        self.running += 1;
        Some(destination.clone())
    }

    /// A connection is ready for jobs.
    pub(super) fn connected(&mut self, destination: &D) {
        if let Some(lane) = self.lanes.get_mut(destination) {
            lane.connecting = lane.connecting.saturating_sub(1);
        }
    }

    /// The next job for a connection.
    pub(super) fn pop(&mut self, destination: &D) -> Option<J> {
        self.lanes.get_mut(destination)?.waiting.pop_front()
    }

    /// A connection that was ready for jobs has ended.
    pub(super) fn ended(&mut self, destination: &D) {
        let Some(lane) = self.lanes.get_mut(destination) else { return };
        lane.running = lane.running.saturating_sub(1);
        // one that broke before it asked for a job connects no more
        lane.connecting = lane.connecting.min(lane.running);
        self.running = self.running.saturating_sub(1);
        if lane.running == 0 {
            // what made the limit lower is over
            lane.limit = CONNECTIONS_PER_DESTINATION_MAX;
            if lane.waiting.is_empty() {
                self.lanes.remove(destination);
            }
        }
    }

    /// A connection could not be made, or was refused; gives the jobs that failed with it.
    pub(super) fn failed(&mut self, destination: &D) -> Vec<J> {
        let Some(lane) = self.lanes.get_mut(destination) else { return Vec::new() };
        let others = lane.running.saturating_sub(1);
        let lost = if others == 0 { lane.waiting.drain(..).collect() } else { Vec::new() };
        self.connected(destination);
        self.ended(destination);
        if others > 0
            && let Some(lane) = self.lanes.get_mut(destination)
        {
            lane.limit = others;
        }
        lost
    }

    /// Connections at present.
    pub(super) fn running(&self) -> usize {
        self.running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alike(_: &u32) -> u32 {
        0
    }

    #[test]
    fn urgent_jobs_go_first_and_equal_ones_in_their_order() {
        let mut lanes = Lanes::default();
        for job in [10, 11, 30, 12, 20, 31] {
            lanes.push(1, job, |job| job / 10);
        }
        let order: Vec<u32> = std::iter::from_fn(|| lanes.pop(&1)).collect();
        assert_eq!(order, [30, 31, 20, 10, 11, 12]);
    }

    fn starts(lanes: &mut Lanes<u32, u32>) -> Vec<u32> {
        std::iter::from_fn(|| lanes.start()).collect()
    }

    #[test]
    fn connections_are_bounded_and_only_made_for_what_waits() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.start(), None);
        lanes.push(1, 10, alike);
        lanes.push(1, 11, alike);
        assert_eq!(starts(&mut lanes), [1, 1]);
        (0..10).for_each(|job| lanes.push(1, job, alike));
        assert_eq!(starts(&mut lanes).len(), CONNECTIONS_PER_DESTINATION_MAX - 2);
        (2..100).for_each(|destination| lanes.push(destination, 0, alike));
        assert_eq!(starts(&mut lanes).len(), CONNECTIONS_MAX - CONNECTIONS_PER_DESTINATION_MAX);
        assert_eq!(lanes.running(), CONNECTIONS_MAX);
        lanes.ended(&1);
        // 1 still has more connections than those without any
        assert!(lanes.start().is_some_and(|destination| destination != 1));
    }

    #[test]
    fn of_lanes_with_as_many_connections_the_oldest_is_served_first() {
        let mut lanes = Lanes::default();
        let order = [7, 3, 9, 1, 8, 2];
        order.into_iter().for_each(|destination| lanes.push(destination, 0, alike));
        assert_eq!(starts(&mut lanes), order);
    }

    #[test]
    fn a_connection_takes_job_after_job() {
        let mut lanes = Lanes::default();
        lanes.push(1, 10, alike);
        assert_eq!(starts(&mut lanes), [1]);
        lanes.connected(&1);
        assert_eq!(lanes.pop(&1), Some(10));
        lanes.push(1, 11, alike);
        // the first one may be busy for long
        assert_eq!(starts(&mut lanes), [1]);
        assert_eq!((lanes.pop(&1), lanes.pop(&1)), (Some(11), None));
        lanes.ended(&1);
        lanes.ended(&1);
        assert!(lanes.lanes.is_empty() && lanes.running() == 0);
    }

    #[test]
    fn a_connection_that_ends_unasked_leaves_no_job_behind() {
        let mut lanes = Lanes::default();
        lanes.push(1, 10, alike);
        assert_eq!(starts(&mut lanes), [1]);
        lanes.ended(&1);
        assert_eq!(starts(&mut lanes), [1], "the job still waits for a connection");
    }

    #[test]
    fn a_dead_host_fails_all_that_waits() {
        let mut lanes = Lanes::default();
        (0..7).for_each(|job| lanes.push(1, job, alike));
        assert_eq!(starts(&mut lanes).len(), 5);
        for others in (1..5).rev() {
            assert_eq!(lanes.failed(&1), [0_u32; 0], "{others} others may still come through");
            assert_eq!(lanes.start(), None, "no new connection for one that failed");
        }
        assert_eq!(lanes.failed(&1), [0, 1, 2, 3, 4, 5, 6]);
        assert!(lanes.lanes.is_empty());
    }

    #[test]
    fn a_host_that_takes_few_connections_is_served_by_those() {
        let mut lanes = Lanes::default();
        (0..9).for_each(|job| lanes.push(1, job, alike));
        assert_eq!(starts(&mut lanes).len(), 5);
        lanes.connected(&1);
        assert_eq!(lanes.pop(&1), Some(0));
        for _ in 0..4 {
            assert_eq!(lanes.failed(&1), [0_u32; 0]);
        }
        assert_eq!(lanes.start(), None);
        lanes.ended(&1);
        assert_eq!(starts(&mut lanes).len(), 5, "forgotten once the lane is idle");
    }
}
