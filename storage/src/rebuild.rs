//! Making the index anew from the journal, on request. (What is wrong in it is found and made anew without being asked.)

use tokio::sync::oneshot;
use waypost_mail::AccountId;

use crate::{
    error::StoreError,
    progress::{Progress, Report},
    recovery,
    store::Store,
    writer::Message,
};

/// Messages after which what was made anew is written.
const CHECKPOINT_MESSAGES: u64 = 100_000;

impl Store {
    /// Reads all accounts from the journal again and writes all of the index anew, while the work of others goes on; how many
    /// messages there are. Durable when it resolves. Errors: `Io`, `Closed`.
    pub async fn rebuild(&self, report: Report) -> Result<u64, StoreError> {
        let accounts: Vec<AccountId> = self.directory().borrow().accounts.keys().copied().collect();
        let total = accounts.len() as u64;
        let (mut messages, mut written) = (0, 0);
        for (done, account) in (0..).zip(accounts) {
            report(Progress { step: "accounts", done, total });
            match self.rebuild_account(account).await {
                // Removed meanwhile.
                Err(StoreError::NoSuchAccount) => {}
                rebuilt => messages += rebuilt?,
            }
            // What is in the index need not stay in memory.
            if messages - written >= CHECKPOINT_MESSAGES {
                written = messages;
                self.checkpoint().await?;
            }
        }
        report(Progress { step: "accounts", done: total, total });
        self.checkpoint().await?;
        Ok(messages)
    }

    async fn rebuild_account(&self, account: AccountId) -> Result<u64, StoreError> {
        let known = self.shared().account(account).map_or(0, |state| state.seq);
        let loaded = self.blocking(move |shared| recovery::rebuild(shared, account, known)).await?;
        let messages = loaded.state.mailboxes.values().map(|mailbox| u64::from(mailbox.count)).sum();
        if self.shared().account(account).is_none() {
            let (caller, answer) = oneshot::channel();
            self.tell(Message::Provide(Box::new(loaded), caller)).await?;
            answer.await.map_err(|_| StoreError::Closed)??;
        } else {
            let (caller, answer) = oneshot::channel();
            self.tell(Message::Replace(Box::new(loaded), caller)).await?;
            // One that changed in between was caught up with.
            answer.await.map_err(|_| StoreError::Closed)??;
        }
        Ok(messages)
    }
}
