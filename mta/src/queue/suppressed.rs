//! Recipients on the suppression list: mail to them comes back at once, whatever their destination does.

use std::sync::Arc;

use waypost_auth::Live;
use waypost_mail::{Address, Timestamp};
use waypost_storage::{Outcome, QueueEntry, RecipientOutcome, Suppressions};

use super::{
    Place, Shared,
    outcome::{Settlement, log},
    part::Part,
    sites::SiteId,
};
use crate::suppression;

impl Shared {
    /// What comes of the recipients at a place that are due, and to whom nothing is sent.
    pub(super) fn suppressed(
        &self,
        live: &Live,
        entry: &QueueEntry,
        place: &Place,
        now: Timestamp,
    ) -> Vec<RecipientOutcome> {
        if !live.config.queue.suppression.enabled || *place == Place::Here {
            return Vec::new();
        }
        self.with_suppressions(|list| {
            let sender = entry.reverse_path.address();
            let failed = |(recipient, queued): (usize, &waypost_storage::QueuedRecipient)| {
                let reply = suppression::answer(list, &queued.recipient.address, sender, now)?;
                let outcome = Outcome::Failed { peer: String::new(), reply };
                Some(RecipientOutcome { recipient, outcome })
            };
            let part = Part::at(live, entry, place).into_iter();
            part.flat_map(|part| part.due_by(now)).filter_map(failed).collect()
        })
    }

    fn with_suppressions<T: Default>(&self, look: impl FnOnce(&Suppressions) -> T) -> T {
        let directory = self.context.store.directory();
        let directory = directory.borrow();
        if directory.suppressions.is_empty() { T::default() } else { look(&directory.suppressions) }
    }

    /// Sends a message back for recipients to whom nothing is sent; it was taken into flight. The others are due then.
    pub(super) async fn send_back(
        self: Arc<Self>,
        site: SiteId,
        entry: QueueEntry,
        outcomes: Vec<RecipientOutcome>,
    ) {
        // never closed
        let _permit = self.touches.acquire().await;
        for outcome in &outcomes {
            if let Some(queued) = entry.recipients.get(outcome.recipient) {
                log(&entry, queued, &outcome.outcome, None, self.now());
            }
        }
        if self.record(Settlement::ours(&entry, outcomes)).await.is_ok() {
            self.done(site, entry.id);
        }
    }

    /// Whether [`Shared::count_bounces`] has something to do for outcomes.
    pub(super) fn is_counting(&self, live: &Live, entry: &QueueEntry, outcomes: &[RecipientOutcome]) -> bool {
        let has_failed = |outcome: &RecipientOutcome| matches!(outcome.outcome, Outcome::Failed { .. });
        live.config.queue.suppression.enabled
            && (outcomes.iter().any(has_failed) || !self.counted(entry, outcomes).is_empty())
    }

    /// Recipients whose mail was taken, and whose bounces before are counted.
    fn counted(&self, entry: &QueueEntry, outcomes: &[RecipientOutcome]) -> Vec<Address> {
        self.with_suppressions(|list| {
            let delivered = outcomes.iter().filter(|o| matches!(o.outcome, Outcome::Delivered { .. }));
            let recipients = delivered.filter_map(|outcome| entry.recipients.get(outcome.recipient));
            let addresses = recipients.map(|queued| &queued.recipient.address);
            addresses.filter(|address| list.is_counted(address, self.now())).cloned().collect()
        })
    }

    /// Counts what servers said of recipients for good, and forgets it of those whose mail was taken. That a bounce is not counted where
    /// the store is full or closing does no harm: the next one is.
    pub(super) async fn count_bounces(&self, live: &Live, entry: &QueueEntry, outcomes: &[RecipientOutcome]) {
        let (config, store) = (&live.config.queue.suppression, &self.context.store);
        if !config.enabled {
            return;
        }
        for strike in suppression::bounces(config, entry, outcomes) {
            let recipient = strike.recipient.clone();
            if let Err(error) = suppression::count(store, strike).await {
                tracing::warn!(id = %entry.id, %recipient, %error, "a bounce is not counted");
            }
        }
        for address in self.counted(entry, outcomes) {
            if let Err(error) = store.forget_bounces(address.clone()).await {
                tracing::warn!(%address, %error, "bounces before a delivery are still counted");
            }
        }
    }
}
