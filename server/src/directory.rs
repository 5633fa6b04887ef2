//! Keeps the directory snapshot in step with the configuration file and with the store's accounts.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use waypost_auth::{Directory, DirectoryError, Live, totp::UseCode};
use waypost_config::Config;
use waypost_mail::{AccountRecord, AccountSource};
use waypost_storage::{NewAccount, Store, StoreError};

use crate::precaution;

/// Why there is no directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryProblem {
    /// The store.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    /// File and store do not fit together.
    #[error("{0}")]
    Directory(#[from] DirectoryError),
}

/// Gives each account of the file an id in the store, and the store its quota.
pub async fn adopt_file_accounts(store: &Store, config: &Config) -> Result<(), DirectoryProblem> {
    let records = records(store);
    // Before anything is written: an address that is in both places must not become an account.
    Directory::new(config, &records)?;
    for account in &config.accounts {
        let known = records.iter().find(|record| record.address.same_mailbox(&account.address));
        match known {
            None => {
                let (address, quota_bytes) = (account.address.clone(), account.quota_bytes);
                store
                    .create_account(NewAccount {
                        address,
                        source: AccountSource::File,
                        password_hash: None,
                        scram_verifiers: Vec::new(),
                        quota_bytes,
                    })
                    .await?;
            }
            Some(record) if record.quota_bytes != account.quota_bytes => {
                store.set_quota(record.id, account.quota_bytes).await?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The snapshot of this moment.
pub fn live(store: &Store, config: Arc<Config>) -> Result<Arc<Live>, DirectoryProblem> {
    let directory = Directory::new(&config, &records(store))?;
    Ok(Arc::new(Live { config, directory }))
}

/// Keeps in the store which codes were used: they are not good again after a restart.
pub(crate) fn use_code(store: &Store) -> UseCode {
    let store = store.clone();
    Arc::new(move |account, step| {
        let store = store.clone();
        Box::pin(async move { store.use_code(account, step).await.map_err(|error| error.to_string()) })
    })
}

/// Makes a new snapshot whenever an account of the store changes; for ever.
pub async fn follow(store: Store, sender: Arc<watch::Sender<Arc<Live>>>, changing: Arc<Mutex<()>>) {
    let mut directory = store.directory();
    let mut seen = None;
    while directory.changed().await.is_ok() {
        let accounts = Arc::clone(&directory.borrow_and_update().accounts);
        // A code was used, or a destination paused: nothing here.
        if seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &accounts)) {
            continue;
        }
        seen = Some(accounts);
        let _changing = changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = sender.borrow().clone();
        match live(&store, before.config.clone()) {
            Ok(live) => {
                precaution::warn_of_addresses(Some(&before), &live);
                sender.send_replace(live);
            }
            Err(problem) => tracing::error!(%problem, "the directory stays as it was"),
        }
    }
}

fn records(store: &Store) -> Vec<AccountRecord> {
    store.directory().borrow().accounts.values().cloned().collect()
}
