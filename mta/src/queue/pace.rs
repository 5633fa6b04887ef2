//! How hard one destination is asked: the number of connections, the rate, and the rest that a dead one is given. Pure.
//!
//! ```text
//!            each message answered: + 1/window, up to the most
//!     ┌──────────────┐
//!     ▼              │       connection refused or lost, others work: window / 2
//!  Up(window) ───────┴──────────────────────────────────────────────┐
//!     ▲   │ refused or lost, and no other connection works ◄────────┘
//!     │   ▼
//!     │  Down(until): nothing is tried; then one message is
//!     └── a server took the session          ── refused again: a longer rest
//! ```

use std::time::Duration;

use waypost_config::{SourceAddresses, SourceConfig};
use waypost_mail::{Reply, Timestamp};

/// Connections that a destination gets before any was made.
const WINDOW_BEGIN: f32 = 5.0;
/// One minute in milliseconds.
const MINUTE: i64 = 60_000;

/// What a destination may be asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Bounds {
    /// Most connections at the same time.
    pub(super) connections: usize,
    /// Most messages in a minute; 0: any number.
    pub(super) messages_per_minute: u32,
    /// Where connections go out from.
    pub(super) sources: SourceAddresses,
}

/// What one of our addresses may do, and does.
#[derive(Clone, Debug)]
pub(super) struct Source {
    bounds: SourceConfig,
    running: usize,
    next_slot: Option<Timestamp>,
}

impl Source {
    pub(super) fn new(bounds: SourceConfig) -> Self {
        Self { bounds, running: 0, next_slot: None }
    }

    /// The same with other bounds.
    pub(super) fn with(self, bounds: SourceConfig) -> Self {
        Self { bounds, ..self }
    }

    /// Whether no more connections may go out from it.
    pub(super) fn is_full(&self) -> bool {
        self.bounds.connections.is_some_and(|most| self.running >= most)
    }

    pub(super) fn begin(&mut self) {
        self.running += 1;
    }

    pub(super) fn end(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// When its rate allows a message again; `None`: now.
    pub(super) fn slot(&self, now: Timestamp) -> Option<Timestamp> {
        self.next_slot.filter(|slot| *slot > now)
    }

    /// A message is being sent.
    pub(super) fn spend(&mut self, now: Timestamp) {
        self.next_slot = later(self.next_slot, self.bounds.messages_per_minute, now);
    }
}

/// The next time for a message at a rate, after one now.
fn later(slot: Option<Timestamp>, messages_per_minute: u32, now: Timestamp) -> Option<Timestamp> {
    if messages_per_minute == 0 {
        return slot;
    }
    let gap = MINUTE / i64::from(messages_per_minute).max(1);
    let from = slot.map_or(now, |slot| slot.max(now));
    Some(from.after(Duration::from_millis(gap.unsigned_abs())))
}

/// The pace of one destination.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    health: Health,
    /// Whether a server took a session since one refused, or the start.
    proven: bool,
    /// When the next message may be sent, by the rate.
    next_slot: Option<Timestamp>,
}

#[derive(Clone, Debug)]
enum Health {
    Up { window: f32 },
    Down(Rest),
}

/// A destination that takes nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rest {
    /// When it is tried again.
    pub(super) until: Timestamp,
    /// How often in a row it was tried in vain.
    pub(super) failures: u32,
    /// Who was asked last: name and address, or empty.
    pub(super) peer: String,
    /// What it said, or what happened.
    pub(super) reply: Reply,
}

impl Default for Pace {
    fn default() -> Self {
        Self { health: Health::Up { window: WINDOW_BEGIN }, proven: false, next_slot: None }
    }
}

impl Pace {
    /// Most connections now.
    pub(super) fn limit(&self, bounds: Bounds, now: Timestamp) -> usize {
        match &self.health {
            // the window is at least 1, so nothing is lost
            Health::Up { window } => (*window as usize).min(bounds.connections),
            Health::Down(rest) => usize::from(rest.until <= now),
        }
    }

    /// A server took a session; whether the destination was down.
    pub(super) fn connected(&mut self) -> bool {
        let was_down = self.rest().is_some();
        if was_down {
            self.health = Health::Up { window: 1.0 };
        }
        self.proven = true;
        was_down
    }

    /// A server answered for a message, whatever it said of it.
    pub(super) fn answered(&mut self, bounds: Bounds) {
        if let Health::Up { window } = &mut self.health {
            *window = (*window + 1.0 / *window).min(bounds.connections.max(1) as f32);
        }
    }

    /// A connection was lost or refused, while others work.
    pub(super) fn troubled(&mut self) {
        if let Health::Up { window } = &mut self.health {
            *window = (*window / 2.0).max(1.0);
        }
    }

    /// No server takes a session; the destination rests, by the waits of its schedule.
    pub(super) fn refused(&mut self, peer: String, reply: Reply, wait: impl Fn(u32) -> Timestamp) {
        let failures = self.rest().map_or(0, |rest| rest.failures);
        let until = wait(failures);
        self.health = Health::Down(Rest { until, failures: failures.saturating_add(1), peer, reply });
        self.proven = false;
    }

    /// The rest that it has.
    pub(super) fn rest(&self) -> Option<&Rest> {
        match &self.health {
            Health::Up { .. } => None,
            Health::Down(rest) => Some(rest),
        }
    }

    /// Ends the rest: it is tried at once.
    pub(super) fn wake(&mut self, now: Timestamp) {
        if let Health::Down(rest) = &mut self.health {
            rest.until = rest.until.min(now);
        }
    }

    /// Whether it takes mail, as far as is known: connections to others may hang.
    pub(super) fn is_proven(&self) -> bool {
        self.proven
    }

    /// When the rate allows a message again; `None`: now.
    pub(super) fn slot(&self, now: Timestamp) -> Option<Timestamp> {
        self.next_slot.filter(|slot| *slot > now)
    }

    /// A message is being sent.
    pub(super) fn spend(&mut self, bounds: Bounds, now: Timestamp) {
        self.next_slot = later(self.next_slot, bounds.messages_per_minute, now);
    }

    /// Goes on at the rate of another one.
    pub(super) fn keep_distance(&mut self, other: &Self) {
        self.next_slot = self.next_slot.max(other.next_slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { connections: 8, messages_per_minute: 0, sources: SourceAddresses { v4: None, v6: None } };
    const NOW: Timestamp = Timestamp(1000);

    fn down(pace: &mut Pace) {
        pace.refused("mx".into(), Reply::plain(451, "no"), |failures| Timestamp(2000 + i64::from(failures)));
    }

    #[test]
    fn connections_grow_with_answers_and_shrink_with_trouble() {
        let mut pace = Pace::default();
        assert_eq!((pace.limit(BOUNDS, NOW), pace.is_proven()), (5, false));
        assert!(!pace.connected() && pace.is_proven());
        let mut limits = Vec::new();
        for _ in 0..25 {
            pace.answered(BOUNDS);
            limits.push(pace.limit(BOUNDS, NOW));
        }
        assert_eq!((limits[4], limits[5], limits[24]), (5, 6, 8), "{limits:?}");
        let narrow = Bounds { connections: 3, ..BOUNDS };
        assert_eq!(pace.limit(narrow, NOW), 3);
        let halves: Vec<usize> = (0..5)
            .map(|_| {
                pace.troubled();
                pace.limit(BOUNDS, NOW)
            })
            .collect();
        assert_eq!(halves, [4, 2, 1, 1, 1]);
    }

    #[test]
    fn a_dead_destination_rests_longer_each_time_and_then_is_tried_once() {
        let mut pace = Pace::default();
        for failures in 0..3 {
            down(&mut pace);
            let rest = pace.rest().unwrap().clone();
            assert_eq!((rest.failures, rest.until), (failures + 1, Timestamp(2000 + i64::from(failures))));
            assert_eq!((pace.limit(BOUNDS, NOW), pace.limit(BOUNDS, rest.until)), (0, 1));
            // what others do meanwhile does not wake it
            pace.answered(BOUNDS);
            pace.troubled();
            assert!(pace.rest().is_some() && !pace.is_proven());
        }
        pace.wake(NOW);
        assert_eq!(pace.limit(BOUNDS, NOW), 1);
        assert!(pace.connected() && pace.rest().is_none());
        assert_eq!(pace.limit(BOUNDS, NOW), 1, "it begins slowly");
        down(&mut pace);
        assert_eq!(pace.rest().unwrap().failures, 1, "the schedule begins anew");
    }

    #[test]
    fn messages_keep_a_distance() {
        let mut pace = Pace::default();
        let bounds = Bounds { messages_per_minute: 60, ..BOUNDS };
        assert_eq!(pace.slot(NOW), None);
        pace.spend(bounds, NOW);
        assert_eq!(pace.slot(NOW), Some(Timestamp(2000)));
        assert_eq!((pace.slot(Timestamp(1999)).is_some(), pace.slot(Timestamp(2000))), (true, None));
        pace.spend(BOUNDS, Timestamp(5000));
        assert_eq!(pace.slot(Timestamp(5000)), None);
    }
}
