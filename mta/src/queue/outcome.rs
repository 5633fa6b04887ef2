//! Recording what came of a try, with what its sender is told of it.

use std::{sync::Arc, time::Duration};

use waypost_auth::Live;
use waypost_mail::{EnhancedStatus, Reply, Timestamp};
use waypost_storage::{
    Acceptance, Attempt, Dialogue, Outcome, QueueEntry, QueuedRecipient, RecipientOutcome, StoreError,
};

use super::{
    Place, Shared, notification,
    part::Part,
    schedule::{self, Span},
    sites::{Resting, SiteId},
};
use crate::smtp::client::Tells;

/// Wait before outcomes are offered to a full store again.
const STORE_RETRY_WAIT: Duration = Duration::from_secs(10);

/// What came of a try for some recipients of an entry.
pub(super) struct Settlement<'a> {
    pub(super) entry: &'a QueueEntry,
    pub(super) outcomes: Vec<RecipientOutcome>,
    /// What the server tells the sender itself.
    pub(super) tells: Tells,
    /// What was said with servers that did not take it.
    pub(super) dialogues: Vec<Dialogue>,
}

impl<'a> Settlement<'a> {
    /// Of what was decided here: no server said anything.
    pub(super) fn ours(entry: &'a QueueEntry, outcomes: Vec<RecipientOutcome>) -> Self {
        Self { entry, outcomes, tells: Tells::default(), dialogues: Vec::new() }
    }
}

/// A message whose destination rests, and whose sender is to be told.
pub(super) struct Touch {
    pub(super) site: SiteId,
    pub(super) place: Place,
    pub(super) entry: QueueEntry,
    pub(super) resting: Resting,
}

impl Shared {
    /// Settles a message without a connection: its destination rests, and its sender is to be told, or it is given up.
    pub(super) async fn touch(self: Arc<Self>, touch: Touch) {
        // never closed
        let _permit = self.touches.acquire().await;
        let Touch { site, place, entry, resting } = touch;
        let (peer, reply) = match resting {
            Resting::Down(rest) => (rest.peer, rest.reply),
            Resting::Paused => {
                let reply =
                    Reply::new(451, EnhancedStatus(4, 3, 2), "sending to this destination is paused here");
                (String::new(), reply)
            }
        };
        let (live, now) = (self.context.live(), self.now());
        let part = Part::at(&live, &entry, &place);
        let queue = &live.config.queue;
        let overdue = part.into_iter().flat_map(|part| part.overdue_by(queue, &entry, now));
        let overdue: Vec<usize> = overdue.map(|(recipient, _)| recipient).collect();
        if overdue.is_empty() {
            return self.done(site, entry.id);
        }
        let outcomes = outcomes(&live, &entry, &overdue, (&peer, None), vec![reply; overdue.len()], now);
        if self.record(Settlement::ours(&entry, outcomes)).await.is_ok() {
            self.done(site, entry.id);
        }
    }

    /// Records outcomes with the notification that they cause; durable when it resolves. A store that is full is asked again until it
    /// is not. Errors: the store takes no more. To send again what may have arrived would be worse than to wait for a restart.
    pub(super) async fn record(&self, settlement: Settlement<'_>) -> Result<(), StoreError> {
        let entry = settlement.entry;
        let (live, now) = (self.context.live(), self.now());
        let (attempt, told) = self.attempt(&live, settlement, now);
        self.record_attempt(&live, entry, attempt, told).await
    }

    /// The same of what [`Shared::attempt`] gave.
    pub(super) async fn record_attempt(
        &self,
        live: &Live,
        entry: &QueueEntry,
        mut attempt: Attempt,
        mut told: notification::Told,
    ) -> Result<(), StoreError> {
        let (store, id) = (&self.context.store, attempt.id);
        loop {
            let notification = self.notification(live, entry, &attempt.outcomes, &told, attempt.at).await;
            let settled = match notification {
                Ok(notification) => store.settle(attempt.clone(), notification).await,
                Err(error) => Err(error),
            };
            match settled {
                Ok(()) => {
                    self.count_bounces(live, entry, &attempt.outcomes).await;
                    return Ok(());
                }
                Err(StoreError::NoSuchEntry) => return Ok(()),
                Err(error) if self.must_wait(&error) => self.wait_for_room().await,
                // it is the notification that cannot be placed: the sender's mailbox is full or gone
                Err(error) if !told.is_empty() && is_of_notification(&error) => {
                    tracing::warn!(%id, sender = %entry.reverse_path, %error, "the notification is dropped");
                    told = notification::Told::default();
                    attempt.warned = false;
                }
                Err(error) => {
                    tracing::error!(%id, %error, "the outcome of a delivery is not recorded");
                    return Err(error);
                }
            }
        }
    }

    /// What is recorded of a try, and what its sender is told of it.
    pub(super) fn attempt(
        &self,
        live: &Live,
        settlement: Settlement<'_>,
        now: Timestamp,
    ) -> (Attempt, notification::Told) {
        let Settlement { entry, outcomes, tells, dialogues } = settlement;
        let late = |queued: &QueuedRecipient| {
            let schedule = live.config.queue.schedule(&queued.recipient.address.domain);
            !queued.warned && schedule::is_late(schedule, Span::of(entry), now)
        };
        let told = notification::Told::new(entry, &outcomes, late, tells);
        let next_attempt = self.next_attempt(live, entry, &outcomes, now);
        let warned = told.of_delay();
        (Attempt { id: entry.id, at: now, outcomes, next_attempt, warned, dialogues }, told)
    }

    /// Whether a store that refused will take what it is offered later.
    pub(super) fn must_wait(&self, error: &StoreError) -> bool {
        matches!(error, StoreError::Full | StoreError::Io(_)) && !self.context.shutdown.is_stopping()
    }

    /// The store is full: waits a while, or until the server stops.
    pub(super) async fn wait_for_room(&self) {
        tracing::warn!("the store is full: outcomes of deliveries wait");
        tokio::select! {
            biased;
            () = self.context.shutdown.stopping() => {}
            () = tokio::time::sleep(STORE_RETRY_WAIT) => {}
        }
    }

    pub(super) async fn notification(
        &self,
        live: &Live,
        entry: &QueueEntry,
        outcomes: &[RecipientOutcome],
        told: &notification::Told,
        now: Timestamp,
    ) -> Result<Option<Acceptance>, StoreError> {
        if told.is_empty() {
            return Ok(None);
        }
        let random = self.context.random.next();
        let context = (&self.context.store, &self.context.signers);
        notification::build(context, live, entry, outcomes, told, now, random).await
    }

    /// When those that are deferred are tried next: as it is due for the one of them that was tried least.
    fn next_attempt(
        &self,
        live: &Live,
        entry: &QueueEntry,
        outcomes: &[RecipientOutcome],
        now: Timestamp,
    ) -> Timestamp {
        let deferred = outcomes.iter().filter(|outcome| matches!(outcome.outcome, Outcome::Deferred { .. }));
        let deferred = deferred.filter_map(|outcome| entry.recipients.get(outcome.recipient));
        let Some(queued) = deferred.min_by_key(|queued| queued.tries) else { return now };
        let schedule = live.config.queue.schedule(&queued.recipient.address.domain);
        let random = self.context.random.next();
        schedule::next_attempt(schedule, Span::of(entry), now, queued.tries, random)
    }
}

/// What replies mean for recipients.
pub(super) fn outcomes(
    live: &Live,
    entry: &QueueEntry,
    recipients: &[usize],
    (peer, tls): (&str, Option<&str>),
    replies: Vec<Reply>,
    now: Timestamp,
) -> Vec<RecipientOutcome> {
    let outcome = |(recipient, reply): (&usize, Reply)| {
        let queued = entry.recipients.get(*recipient)?;
        let schedule = live.config.queue.schedule(&queued.recipient.address.domain);
        let expired = schedule::is_expired(schedule, Span::of(entry), now);
        let outcome = schedule::outcome(peer.to_owned(), reply, expired);
        log(entry, queued, &outcome, tls, now);
        Some(RecipientOutcome { recipient: *recipient, outcome })
    };
    recipients.iter().zip(replies).filter_map(outcome).collect()
}

/// Whether the store refused the notification, and not the record of the outcomes.
fn is_of_notification(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::OverQuota
            | StoreError::NoSuchAccount
            | StoreError::NoSuchMailbox
            | StoreError::Limit(_)
            | StoreError::Damaged(_)
    )
}

pub(super) fn log(
    entry: &QueueEntry,
    queued: &QueuedRecipient,
    outcome: &Outcome,
    tls: Option<&str>,
    now: Timestamp,
) {
    let (name, peer, reply) = match outcome {
        Outcome::Delivered { peer, reply } => ("delivered", peer, reply),
        Outcome::Deferred { peer, reply } => ("deferred", peer, reply),
        Outcome::Failed { peer, reply } => ("failed", peer, reply),
    };
    let status = reply.status.map_or_else(String::new, |status| format!("{status} "));
    tracing::info!(
        id = %entry.id,
        to = %queued.recipient.address,
        peer,
        tls = tls.unwrap_or("none"),
        outcome = name,
        reply = %format_args!("{} {status}{}", reply.code, reply.text()),
        delay_seconds = now.seconds().saturating_sub(entry.accepted.seconds()),
        "delivery attempt"
    );
}
