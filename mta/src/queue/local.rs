//! Delivering what waits for mailboxes here: messages that were held, or were to be sent later (RFC 4865). An address that an alias leads to
//! and nobody has comes by here, too, and fails.

use std::{sync::Arc, time::Duration};

use waypost_auth::{Live, Resolution};
use waypost_mail::{DateTime, EnhancedStatus, Flags, Refusal, Reply, Timestamp};
use waypost_storage::{
    Acceptance, Attempt, Body, Delivery, Outcome, QueueEntry, QueuedRecipient, Relay, RelayRecipient,
    StoreError,
};

use super::{
    Place, Shared, notification,
    outcome::{self, Settlement},
    part::Part,
    sites::{Next, SiteId, Stage},
};
use crate::smtp::client::Tells;

/// Wait after a store that takes nothing now.
const REST: Duration = Duration::from_secs(10);

/// Delivers one message after the other.
pub(super) async fn run(shared: Arc<Shared>, site: SiteId) {
    shared.sites().connected(site, shared.now());
    let mut stage = Stage::Connecting;
    while !shared.context.shutdown.is_stopping() {
        let next = shared.sites().next(site, stage, shared.now());
        stage = Stage::Busy;
        let Next::Message(id) = next else {
            return shared.ended(site, if matches!(next, Next::Wait(..)) { Stage::Idle } else { stage });
        };
        if let Some(entry) = shared.context.store.queue_entry(id).filter(|entry| entry.held.is_none())
            && let Err(error) = shared.deliver(&entry).await
        {
            tracing::warn!(%id, %error, "a message for mailboxes here waits");
            tokio::select! {
                biased;
                () = shared.context.shutdown.stopping() => {}
                () = tokio::time::sleep(REST) => {}
            }
        }
        shared.done(site, id);
    }
    shared.ended(site, stage);
}

impl Shared {
    /// Delivers a message to all recipients here that are due, in one entry of the journal.
    async fn deliver(&self, entry: &QueueEntry) -> Result<(), StoreError> {
        let (live, now) = (self.context.live(), self.now());
        let part = Part::at(&live, entry, &Place::Here);
        let due: Vec<_> = part.into_iter().flat_map(|part| part.due_by(now)).collect();
        let (mut local, mut relay, mut replies) = (Vec::new(), Vec::new(), Vec::new());
        for (_, queued) in &due {
            replies.push(self.place(&live, entry, queued, now, &mut local, &mut relay));
        }
        let recipients: Vec<usize> = due.iter().map(|(recipient, _)| *recipient).collect();
        let outcomes = outcome::outcomes(&live, entry, &recipients, ("", None), replies, now);
        if local.is_empty() && relay.is_empty() {
            return self.record(Settlement::ours(entry, outcomes)).await;
        }
        // who fails is told of with those; a message has one settlement or the other
        let (failed, outcomes): (Vec<_>, Vec<_>) =
            outcomes.into_iter().partition(|outcome| matches!(outcome.outcome, Outcome::Failed { .. }));
        let acceptance = self.copy(entry, local, relay).await?;
        let attempt = Attempt {
            id: entry.id,
            at: now,
            outcomes,
            next_attempt: now,
            warned: false,
            dialogues: Vec::new(),
        };
        let told = notification::Told::new(entry, &attempt.outcomes, |_| false, Tells::default());
        let notification = self.notification(&live, entry, &attempt.outcomes, &told, now).await?;
        self.context.store.settle(attempt, [acceptance].into_iter().chain(notification)).await?;
        if failed.is_empty() {
            return Ok(());
        }
        self.record(Settlement::ours(entry, failed)).await
    }

    /// Where a recipient's mail goes now, and what is said of it.
    fn place(
        &self,
        live: &Live,
        entry: &QueueEntry,
        queued: &QueuedRecipient,
        now: Timestamp,
        local: &mut Vec<Delivery>,
        relay: &mut Vec<RelayRecipient>,
    ) -> Reply {
        let address = &queued.recipient.address;
        let to = queued.recipient.original.as_ref().unwrap_or(address);
        let Resolution::Deliver { accounts, remote, missing } = live.directory.resolve(address) else {
            tracing::warn!(id = %entry.id, alias = %to, target = %address, "mail is led to an address that nobody has");
            return Refusal::new(550, EnhancedStatus(5, 1, 1), "there is no such user here").into();
        };
        local.extend(accounts.into_iter().map(|account| Delivery {
            account,
            mailbox: None,
            prefix: format!("Return-Path: <{}>\r\nDelivered-To: {to}\r\n", entry.reverse_path).into_bytes(),
            flags: Flags::default(),
            internal_date: DateTime::utc(now),
        }));
        let original = Some(to.clone());
        // those that are missing fail when it is their turn
        relay.extend(remote.into_iter().chain(missing).map(|address| RelayRecipient {
            address,
            original: original.clone(),
            ..queued.recipient.clone()
        }));
        Reply::new(250, EnhancedStatus(2, 1, 5), "delivered here")
    }

    /// The message once more, as it is accepted for mailboxes, and for those whom an alias leads elsewhere.
    async fn copy(
        &self,
        entry: &QueueEntry,
        local: Vec<Delivery>,
        relay: Vec<RelayRecipient>,
    ) -> Result<Acceptance, StoreError> {
        let store = &self.context.store;
        let (body, structure) = self.body(entry).await?;
        let relay = (!relay.is_empty()).then(|| Relay {
            body: entry.body,
            smtputf8: entry.smtputf8,
            wishes: entry.wishes.clone(),
            ..Relay::new(entry.reverse_path.clone(), relay)
        });
        // header block and body are not told apart: they are one text
        Ok(Acceptance {
            id: store.new_entry_id(),
            header: bytes::Bytes::new(),
            body,
            structure,
            local,
            relay,
        })
    }

    async fn body(&self, entry: &QueueEntry) -> Result<(Body, waypost_message::Structure), StoreError> {
        let content = entry.content.without_prefix();
        let mut reader = self.context.store.reader(&content, 0, content.size());
        let (mut writer, mut splitter) = (self.context.store.body_writer(), waypost_message::Splitter::new());
        loop {
            let octets = reader.next().await?;
            if octets.is_empty() {
                return Ok((writer.finish().await?, splitter.finish()));
            }
            splitter.feed(&octets);
            writer.write(&octets).await?;
        }
    }

    /// A connection, or what stands for one, has ended.
    pub(super) fn ended(&self, site: SiteId, stage: Stage) {
        let now = self.now();
        self.sites().ended(site, stage, now);
        self.bell.notify_one();
    }
}
