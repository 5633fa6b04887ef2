//! How often somebody did something lately: counts by key within a window, bounded in number.
//!
//! A key's window begins with its first event and is forgotten as a whole, so that at most twice the bound falls into any stretch
//! of its length. All is kept in memory: a restart forgives.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Most keys that are counted at once. Beyond it new ones pass uncounted: to refuse them would let whoever has many addresses keep all
/// others out.
pub const KEYS_MAX: usize = 100_000;
/// Shortest time between two looks at all keys for those whose window is over.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Counts by key. Clones share the counts.
#[derive(Clone, Debug)]
pub struct Rates<K> {
    window: Duration,
    table: Arc<Mutex<Table<K>>>,
}

#[derive(Debug)]
struct Table<K> {
    counts: HashMap<K, Count>,
    swept: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    since: Instant,
    events: u32,
}

impl<K: Copy + Eq + Hash> Rates<K> {
    /// Nothing has happened yet.
    pub fn new(window: Duration) -> Self {
        let table = Table { counts: HashMap::new(), swept: None };
        Self { window, table: Arc::new(Mutex::new(table)) }
    }

    /// Counts one more, unless there are `most` already; whether it was counted or need not be. 0: no bound.
    pub fn take(&self, key: K, most: u32, now: Instant) -> bool {
        most == 0 || self.change(key, now, |events| (*events < most).then(|| *events += 1).is_some())
    }

    /// Takes events back that came to nothing.
    pub fn give_back(&self, key: K, events: u32, now: Instant) {
        self.change(key, now, |counted| {
            *counted = counted.saturating_sub(events);
            true
        });
    }

    /// Events of a key in its window.
    pub fn count(&self, key: K, now: Instant) -> u32 {
        let table = self.table();
        let count = table.counts.get(&key).filter(|count| self.is_open(count, now));
        count.map_or(0, |count| count.events)
    }

    fn change(&self, key: K, now: Instant, change: impl FnOnce(&mut u32) -> bool) -> bool {
        let mut table = self.table();
        if table.counts.len() >= KEYS_MAX && !table.counts.contains_key(&key) && !self.sweep(&mut table, now)
        {
            return true;
        }
        let count = table.counts.entry(key).or_insert(Count { since: now, events: 0 });
        if !self.is_open(count, now) {
            *count = Count { since: now, events: 0 };
        }
        change(&mut count.events)
    }

    /// Forgets what is over; whether there is room now.
    fn sweep(&self, table: &mut Table<K>, now: Instant) -> bool {
        if table.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_INTERVAL) {
            table.swept = Some(now);
            table.counts.retain(|_, count| self.is_open(count, now));
        }
        table.counts.len() < KEYS_MAX
    }

    fn is_open(&self, count: &Count, now: Instant) -> bool {
        now.saturating_duration_since(count.since) < self.window
    }

    fn table(&self) -> MutexGuard<'_, Table<K>> {
        // Each change is complete: a panic leaves nothing half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_window_has_a_bound_and_ends() {
        let (rates, now) = (Rates::new(MINUTE), Instant::now());
        let took = |key, seconds| rates.take(key, 2, now + Duration::from_secs(seconds));
        assert!(took(1, 0) && took(1, 59));
        assert!(!took(1, 59) && took(2, 59));
        assert_eq!(rates.count(1, now + Duration::from_secs(59)), 2);
        assert_eq!(rates.count(1, now + MINUTE), 0);
        assert!(took(1, 60) && took(1, 119) && !took(1, 119) && took(1, 120));
    }

    #[test]
    fn what_came_to_nothing_is_given_back() {
        let (rates, now) = (Rates::new(MINUTE), Instant::now());
        assert!(rates.take(1, 2, now) && rates.take(1, 2, now));
        rates.give_back(1, 1, now);
        assert!(rates.take(1, 2, now) && !rates.take(1, 2, now));
        rates.give_back(1, 9, now);
        rates.give_back(7, 1, now);
        assert_eq!((rates.count(1, now), rates.count(7, now)), (0, 0));
    }

    #[test]
    fn no_bound_counts_nothing() {
        let (rates, now) = (Rates::new(MINUTE), Instant::now());
        assert!((0..10).all(|_| rates.take(1, 0, now)));
        assert_eq!(rates.count(1, now), 0);
    }

    #[test]
    fn keys_are_bounded_and_forgotten() {
        let (rates, now) = (Rates::new(MINUTE), Instant::now());
        for key in 0..KEYS_MAX {
            assert!(rates.take(key, 1, now));
        }
        assert!(!rates.take(0, 1, now));
        // One too many is not counted, and not refused.
        assert!(rates.take(KEYS_MAX, 1, now) && rates.take(KEYS_MAX, 1, now));
        assert_eq!(rates.table().counts.len(), KEYS_MAX);
        assert!(rates.take(KEYS_MAX, 1, now + MINUTE) && !rates.take(KEYS_MAX, 1, now + MINUTE));
        assert_eq!(rates.table().counts.len(), 1);
    }
}
