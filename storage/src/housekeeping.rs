//! What the store does by itself from time to time: it ends the retention of deleted messages whose time is over, and gives
//! back the space of what nobody holds any more.

use std::{sync::atomic::Ordering, time::Duration};

use waypost_mail::{AccountId, Timestamp};

use crate::{
    decide::retained::{Release, Which},
    error::StoreError,
    state::AccountState,
    store::{Store, WeakStore},
};

/// How often.
const INTERVAL: Duration = Duration::from_secs(600);

/// Octets held no more after which a compaction is worth its reading.
const DEAD_BYTES: u64 = 64 * 1024 * 1024;

/// Runs until the store is closed or nobody holds it any more.
pub(crate) async fn run(store: WeakStore) {
    // What earlier runs left is not known.
    let mut first = true;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(store) = store.upgrade() else { return };
        match store.release_expired().await {
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "the retention of deleted messages was not ended everywhere");
            }
            Ok(0) => {}
            Ok(released) => tracing::info!(released, "deleted messages are retained no more"),
        }
        let dead = store.shared().dead_bytes.load(Ordering::Relaxed);
        if std::mem::take(&mut first) || dead >= DEAD_BYTES {
            match store.compact().await {
                Err(StoreError::Closed) => return,
                Err(error) => tracing::warn!(%error, "space was not given back"),
                Ok(_) => {}
            }
        }
    }
}

impl Store {
    /// Ends the retention of all deleted messages whose time is over; how many there were. Errors: those of writing.
    pub async fn release_expired(&self) -> Result<u64, StoreError> {
        let window = Duration::from_millis(self.shared().retention_ms.load(Ordering::Relaxed));
        let before = (self.shared().clock)().before(window);
        let accounts: Vec<AccountId> = self.directory().borrow().accounts.keys().copied().collect();
        let mut released = 0;
        for account in accounts {
            if self.may_hold_expired(account, before).await {
                let done = self.submit(Release { account, which: Which::DeletedBefore(before) }).await;
                match done {
                    // Removed meanwhile.
                    Err(StoreError::NoSuchAccount) => {}
                    other => released += other?,
                }
            }
        }
        Ok(released)
    }

    /// Whether an account may retain messages that were deleted before a time. Of one that is not loaded the index is asked,
    /// so that not all accounts come to memory by this; where it knows nothing, the account is loaded.
    async fn may_hold_expired(&self, account: AccountId, before: Timestamp) -> bool {
        let expired = |state: &AccountState| state.oldest_retained.is_some_and(|oldest| oldest < before);
        if let Some(state) = self.shared().account(account) {
            return expired(&state);
        }
        let indexed = self.blocking(move |shared| Ok(shared.index.account(account))).await.ok().flatten();
        indexed.is_none_or(|(state, _)| expired(&state))
    }

    /// How long deleted messages are retained from now on; zero: those that are deleted from now on go at once.
    pub fn set_retention(&self, window: Duration) {
        let milliseconds = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        self.shared().retention_ms.store(milliseconds, Ordering::Relaxed);
    }
}
