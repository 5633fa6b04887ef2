//! How many sessions each account has, over all protocols.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use waypost_mail::AccountId;

/// Counts the sessions of each account (`limits.connections_per_address`, which counts per account after login).
/// Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Seats {
    taken: Arc<Mutex<HashMap<AccountId, usize>>>,
}

/// One session of an account; given back when dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    account: AccountId,
}

impl Seats {
    /// `None` where an account has `sessions_max` sessions already; 0: no bound.
    pub fn take(&self, account: AccountId, sessions_max: usize) -> Option<Seat> {
        let mut taken = self.taken();
        let sessions = taken.get(&account).copied().unwrap_or(0);
        if sessions_max != 0 && sessions >= sessions_max {
            tracing::info!(%account, sessions, "login refused: too many sessions of this account");
            return None;
        }
        taken.insert(account, sessions + 1);
        Some(Seat { seats: self.clone(), account })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<AccountId, usize>> {
        // Each change is one assignment: a panic leaves nothing half done.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        match taken.get_mut(&self.account) {
            Some(sessions) if *sessions > 1 => *sessions -= 1,
            _ => drop(taken.remove(&self.account)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_and_given_back() {
        let seats = Seats::default();
        let first = seats.take(AccountId(1), 2).unwrap();
        let second = seats.clone().take(AccountId(1), 2).unwrap();
        assert!(seats.take(AccountId(1), 2).is_none());
        assert!(seats.take(AccountId(2), 2).is_some());
        drop(first);
        let third = seats.take(AccountId(1), 2).unwrap();
        assert!(seats.take(AccountId(1), 0).is_some());
        drop((second, third));
        assert!(seats.taken().is_empty());
    }
}
