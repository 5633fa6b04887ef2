//! The expiry of messages that were retrieved (RFC 2449 section 6.7), where the domain has it so.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use waypost_auth::{Directory, Live};
use waypost_storage::{Store, StoreError, retrieved::day};

/// How often it is looked for; what goes goes by the day.
const LOOK: Duration = Duration::from_secs(60 * 60);

/// Removes what was retrieved long enough ago, now and then again, for ever. Only accounts of domains that have it so are looked at, and
/// none comes to memory by it.
pub async fn expire(store: Store, live: watch::Receiver<Arc<Live>>) {
    loop {
        let directory = live.borrow().directory.clone();
        if let Err(error) = look(&store, &directory, day(store.now())).await {
            tracing::warn!(%error, "retrieved messages were not removed everywhere");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Removes what is over its time today.
pub(crate) async fn look(store: &Store, directory: &Directory, today: u32) -> Result<(), StoreError> {
    for account in directory.accounts() {
        // With 0 they went at the end of the session.
        let Some(days @ 1..) = directory.pop3_policy(account).expire_days else { continue };
        match store.expire_retrieved(account, today.saturating_sub(days)).await {
            Ok(0) | Err(StoreError::NoSuchAccount) => {}
            Ok(expired) => tracing::info!(%account, expired, "retrieved messages are over their time"),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
