//! What the store does by itself from time to time: it ends the retention of deleted messages whose time is over, and gives
//! back the space of what nobody holds any more.

use std::{sync::atomic::Ordering, time::Duration};

use waypost_mail::AccountId;

use crate::{
    decide::retained::{Release, Which},
    error::StoreError,
    journal::Room,
    state::AccountState,
    store::{Store, WeakStore},
};

/// How often the room on the disk is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// Looks after which all else is done.
const LOOKS: u32 = 60;
/// By what the retention is divided, one after the other, until there is room on the disk.
const SHORTENED: [u32; 4] = [2, 4, 16, u32::MAX];

/// Octets held no more after which a compaction is worth its reading.
const DEAD_BYTES: u64 = 64 * 1024 * 1024;

/// Runs until the store is closed or nobody holds it any more.
pub(crate) async fn run(store: WeakStore) {
    // What earlier runs left is not known.
    let mut first = true;
    for look in (1..=LOOKS).cycle() {
        tokio::time::sleep(LOOK).await;
        let Some(store) = store.upgrade() else { return };
        if store.shared().room() != Room::Enough {
            match store.make_room().await {
                Err(StoreError::Closed) => return,
                Err(error) => tracing::warn!(%error, "room on the disk could not be made"),
                Ok(()) => {}
            }
        }
        if look < LOOKS {
            continue;
        }
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
        self.release(self.retention()).await
    }

    /// Gives room on a disk that is nearly full: what is held no more goes, then deleted messages before their time, the oldest
    /// first. Errors: those of compaction.
    pub async fn make_room(&self) -> Result<(), StoreError> {
        self.compact().await?;
        for divisor in SHORTENED {
            if self.shared().room() == Room::Enough {
                return Ok(());
            }
            let released = self.release(self.retention() / divisor).await?;
            if released > 0 {
                tracing::warn!(released, "deleted messages went before their time: the disk is full");
                self.compact().await?;
            }
        }
        Ok(())
    }

    fn retention(&self) -> Duration {
        Duration::from_millis(self.shared().retention_ms.load(Ordering::Relaxed))
    }

    /// Ends the retention of messages that were deleted longer ago than `window`.
    async fn release(&self, window: Duration) -> Result<u64, StoreError> {
        let before = (self.shared().clock)().before(window);
        let accounts: Vec<AccountId> = self.directory().borrow().accounts.keys().copied().collect();
        let mut released = 0;
        for account in accounts {
            let expired = |state: &AccountState| state.oldest_retained.is_some_and(|oldest| oldest < before);
            if self.may_be(account, expired).await {
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

    /// Whether an account may be so. Of one that is not loaded the index is asked, which has no rows, so that not all accounts come to
    /// memory by this; where it knows nothing: yes.
    pub(crate) async fn may_be(&self, account: AccountId, so: impl Fn(&AccountState) -> bool) -> bool {
        if let Some(state) = self.shared().account(account) {
            return so(&state);
        }
        let indexed = self.blocking(move |shared| Ok(shared.index.account(account))).await.ok().flatten();
        indexed.is_none_or(|(state, _)| so(&state))
    }

    /// How long deleted messages are retained from now on; zero: those that are deleted from now on go at once.
    pub fn set_retention(&self, window: Duration) {
        let milliseconds = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        self.shared().retention_ms.store(milliseconds, Ordering::Relaxed);
    }
}
