//! The least time between two logins of an account (RFC 2449 section 6.5).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;
use waypost_mail::AccountId;

use crate::locked;

/// Entries after which those are looked for that mean nothing any more.
const ENTRIES_SWEPT: usize = 1024;

/// When accounts may log in again. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct LoginDelays {
    /// Of those that have to wait, until when.
    waiting: Arc<Mutex<HashMap<AccountId, Instant>>>,
}

impl LoginDelays {
    /// Whether an account must still wait.
    pub fn must_wait(&self, account: AccountId) -> bool {
        locked(&self.waiting).get(&account).is_some_and(|until| *until > Instant::now())
    }

    /// An account has logged in, and must wait for so long before it does so again.
    pub fn note(&self, account: AccountId, delay: Duration) {
        let mut waiting = locked(&self.waiting);
        if delay.is_zero() {
            waiting.remove(&account);
            return;
        }
        let now = Instant::now();
        if waiting.len() >= ENTRIES_SWEPT && waiting.len().is_power_of_two() {
            waiting.retain(|_, until| *until > now);
        }
        waiting.insert(account, now + delay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_account_waits_for_its_time() {
        let delays = LoginDelays::default();
        assert!(!delays.must_wait(AccountId(1)));
        delays.note(AccountId(1), Duration::from_secs(60));
        assert!(delays.clone().must_wait(AccountId(1)) && !delays.must_wait(AccountId(2)));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(delays.must_wait(AccountId(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!delays.must_wait(AccountId(1)));
        delays.note(AccountId(1), Duration::from_secs(60));
        delays.note(AccountId(1), Duration::ZERO);
        assert!(!delays.must_wait(AccountId(1)), "there is no delay any more");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_forgotten() {
        let delays = LoginDelays::default();
        for id in 0..3000 {
            delays.note(AccountId(id), Duration::from_secs(1));
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert!(locked(&delays.waiting).len() <= 2048);
    }
}
