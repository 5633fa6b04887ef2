//! A courier: one connection to one destination, job after job, each outcome recorded before the next message is sent.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use waypost_auth::{Live, srs};
use waypost_mail::{BodyType, DeliverBy, Domain, Overdue, Reply, ReversePath, Timestamp};
use waypost_storage::{
    Attempt, Deadline, Outcome, QueueEntry, QueuedRecipient, Reader, RecipientOutcome, StoreError,
};

use super::{
    Recorded, Report, Shared, notification,
    schedule::{self, Span},
};
use crate::{
    client::{Delivery, Outbox, deliver},
    route::{Destination, RoutePlan, resolve},
    smtp::{
        client::{Finished, Octets, Outgoing, Tells},
        parameters::RcptParameters,
    },
    tls_policy::{Towards, Wish},
};

/// Most messages over one connection: then another one is made, perhaps to another server of the destination.
const MESSAGES_PER_CONNECTION_MAX: usize = 100;
/// Wait before outcomes are offered to a full store again.
const STORE_RETRY_WAIT: Duration = Duration::from_secs(10);

/// Recipients of one entry that go to one destination in one transaction.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// The entry as it was when it came due.
    pub(super) entry: Arc<QueueEntry>,
    /// Indexes in its recipients.
    pub(super) recipients: Vec<usize>,
    /// The domain of the alias that forwards to them, if one does.
    pub(super) alias: Option<Domain>,
    /// How often it was tried before.
    pub(super) tries: u32,
}

/// The job that is under way.
struct Current {
    job: Job,
    reader: Reader,
}

/// A courier.
pub(super) struct Courier {
    shared: Arc<Shared>,
    destination: Destination,
    current: Option<Current>,
    taken: usize,
}

impl Courier {
    pub(super) fn new(shared: Arc<Shared>, destination: Destination) -> Self {
        Self { shared, destination, current: None, taken: 0 }
    }

    /// Serves the lane of the destination over one connection.
    pub(super) async fn run(self) {
        let shared = self.shared.clone();
        let context = &shared.context;
        let live = context.live();
        let seed = context.random.next();
        match resolve(&context.resolver, &live.config, &self.destination, seed).await {
            RoutePlan::Fail(refusal) => self.fail("", &refusal.into()).await,
            RoutePlan::Send(route) => {
                let destination = self.destination.clone();
                let towards = Towards {
                    policies: &context.tls,
                    config: &live.config.outbound_tls,
                    whose: destination.whose(),
                    wish: Wish::Usual,
                    now: context.store.now(),
                };
                let (hostname, dialler) = (&live.config.hostname, &context.dialler);
                let (courier, delivery) =
                    deliver(self, &route, &towards, hostname, dialler, &context.shutdown).await;
                match delivery {
                    Delivery::Done => shared.lanes().ended(&courier.destination),
                    Delivery::Refused { peer, reply } => courier.fail(&peer, &reply).await,
                    // what waits is still due when the server runs again
                    Delivery::Stopped => drop(shared.lanes().failed(&courier.destination)),
                }
            }
        }
        shared.report(Report::Ended).await;
    }

    /// No server took the connection: so it went for all that waits, unless other connections serve the lane.
    async fn fail(self, peer: &str, reply: &Reply) {
        let jobs = self.shared.lanes().failed(&self.destination);
        for job in jobs {
            let replies = vec![reply.clone(); job.recipients.len()];
            self.settle(&job, peer, Finished { replies, tls: None, tells: Tells::default() }).await;
        }
    }

    /// Records what came of a job, and tells the runner.
    async fn settle(&self, job: &Job, peer: &str, finished: Finished) {
        let Finished { replies, tls, tells } = finished;
        let (now, live) = (self.shared.context.store.now(), self.shared.context.live());
        let expired = schedule::is_expired(&live.config.queue, Span::of(&job.entry), now);
        let outcome = |(recipient, reply): (&usize, Reply)| RecipientOutcome {
            recipient: *recipient,
            outcome: schedule::outcome(peer.to_owned(), reply, expired),
        };
        let outcomes: Vec<_> = job.recipients.iter().zip(replies).map(outcome).collect();
        outcomes.iter().for_each(|outcome| log(&job.entry, outcome, tls.as_deref(), now));
        let recorded = self.record(job, &live, now, outcomes, tells).await;
        self.shared.report(Report::Job(job.entry.id, recorded)).await;
    }

    /// Records outcomes with the notification that they cause. A store that is full is asked again until it is not.
    async fn record(
        &self,
        job: &Job,
        live: &Live,
        now: Timestamp,
        outcomes: Vec<RecipientOutcome>,
        tells: Tells,
    ) -> Recorded {
        let (store, shutdown) = (&self.shared.context.store, &self.shared.context.shutdown);
        let (id, queue) = (job.entry.id, &live.config.queue);
        let random = self.shared.context.random.next();
        let next_attempt = schedule::next_attempt(queue, Span::of(&job.entry), now, job.tries, random);
        let late = !job.entry.warned && schedule::is_late(queue, Span::of(&job.entry), now);
        let mut told = notification::Told::new(
            &job.entry.recipients,
            job.entry.wishes.deliver_by,
            &outcomes,
            late,
            tells,
        );
        loop {
            let random = self.shared.context.random.next();
            let notification = match told.is_empty() {
                false => notification::build(store, live, &job.entry, &outcomes, &told, now, random).await,
                true => Ok(None),
            };
            let warned = told.of_delay();
            let attempt = Attempt { id, at: now, outcomes: outcomes.clone(), next_attempt, warned };
            let settled = match notification {
                Ok(notification) => store.settle(attempt, notification).await,
                Err(error) => Err(error),
            };
            match settled {
                Ok(()) | Err(StoreError::NoSuchEntry) => return Recorded::Yes,
                Err(StoreError::Full | StoreError::Io(_)) if !shutdown.is_stopping() => {
                    tracing::warn!(%id, "the store is full: the outcome of a delivery waits");
                    tokio::select! {
                        biased;
                        () = shutdown.stopping() => {}
                        () = tokio::time::sleep(STORE_RETRY_WAIT) => {}
                    }
                }
                // it is the notification that cannot be placed: the sender's mailbox is full or gone
                Err(error) if !told.is_empty() && is_of_notification(&error) => {
                    tracing::warn!(%id, sender = %job.entry.reverse_path, %error, "the notification is dropped");
                    told = notification::Told::default();
                }
                Err(error) => {
                    tracing::error!(%id, %error, "the outcome of a delivery is not recorded");
                    return Recorded::No;
                }
            }
        }
    }
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

impl Shared {
    async fn report(&self, report: Report) {
        // the runner is gone only when the server has stopped; then there is no one to tell
        self.reports.send(report).await.ok();
    }
}

impl Outbox for Courier {
    async fn next(&mut self) -> Option<Outgoing> {
        if self.taken == 0 {
            self.shared.lanes().connected(&self.destination);
        }
        if self.taken == MESSAGES_PER_CONNECTION_MAX || self.shared.context.shutdown.is_stopping() {
            return None;
        }
        loop {
            let job = self.shared.lanes().pop(&self.destination)?;
            // taken out of the queue, or settled by hand, while it waited
            if self.shared.context.store.queue_entry(job.entry.id).is_none() {
                self.shared.report(Report::Job(job.entry.id, Recorded::Yes)).await;
                continue;
            }
            self.taken += 1;
            let now = self.shared.context.store.now();
            let outgoing = Outgoing { reverse_path: self.reverse_path(&job), ..outgoing(&job, now) };
            self.current = Some(Current { reader: self.reader(&job.entry), job });
            return Some(outgoing);
        }
    }

    async fn octets(&mut self) -> Option<Octets> {
        let mut reader = self.reader(&self.current.as_ref()?.job.entry);
        let mut scan = Scan::default();
        loop {
            let octets = self.read(&mut reader).await?;
            if octets.is_empty() {
                return Some(scan.found);
            }
            scan.feed(&octets);
        }
    }

    async fn chunk(&mut self) -> Option<Bytes> {
        let mut current = self.current.take()?;
        let octets = self.read(&mut current.reader).await;
        self.current = Some(current);
        octets
    }

    async fn finish(&mut self, peer: &str, finished: Finished) {
        if let Some(Current { job, .. }) = self.current.take() {
            self.settle(&job, peer, finished).await;
        }
    }
}

impl Courier {
    /// The sender, or, where an alias forwards what comes from elsewhere, a path of ours that leads back to him.
    fn reverse_path(&self, job: &Job) -> ReversePath {
        let context = &self.shared.context;
        let live = context.live();
        let (sender, alias) = match (&job.entry.reverse_path, &job.alias) {
            (ReversePath::Address(sender), Some(alias)) if live.config.srs.enabled => (sender, alias),
            (unchanged, _) => return unchanged.clone(),
        };
        // Our own mail needs no other path.
        if live.directory.is_local(&sender.domain) {
            return job.entry.reverse_path.clone();
        }
        let domain = live.config.srs.domain.as_ref().unwrap_or(alias);
        let rewritten = context.srs.forward(sender, domain, srs::day(context.store.now()));
        if rewritten.is_none() {
            tracing::debug!(id = %job.entry.id, %sender, "the sender is too long to be rewritten");
        }
        ReversePath::Address(rewritten.unwrap_or_else(|| sender.clone()))
    }

    fn reader(&self, entry: &QueueEntry) -> Reader {
        let content = entry.content.without_prefix();
        self.shared.context.store.reader(&content, 0, content.size())
    }

    async fn read(&self, reader: &mut Reader) -> Option<Bytes> {
        let read = reader.next().await;
        read.inspect_err(|error| tracing::error!(%error, "a queued message cannot be read")).ok()
    }
}

fn outgoing(job: &Job, now: Timestamp) -> Outgoing {
    let entry = &job.entry;
    let queued = || job.recipients.iter().filter_map(|index| entry.recipients.get(*index));
    let parameters = |queued: &QueuedRecipient| RcptParameters {
        notify: queued.recipient.notify,
        orcpt: queued.recipient.orcpt.clone(),
    };
    Outgoing {
        reverse_path: entry.reverse_path.clone(),
        recipients: queued().map(|queued| queued.recipient.address.clone()).collect(),
        size: entry.content.without_prefix().size(),
        body: entry.body,
        smtputf8: entry.smtputf8,
        return_content: entry.wishes.return_content,
        envelope_id: entry.wishes.envelope_id.clone(),
        require_tls: entry.wishes.require_tls,
        priority: entry.wishes.priority,
        deliver_by: entry.wishes.deliver_by.map(|deadline| left(deadline, now)),
        parameters: queued().map(parameters).collect(),
    }
}

/// How long a message has until its deadline.
fn left(deadline: Deadline, now: Timestamp) -> DeliverBy {
    let seconds = deadline.at.0.saturating_sub(now.0).div_euclid(1000);
    // With none left it is given up, or told of, before it is sent.
    let seconds = if deadline.overdue == Overdue::Return { seconds.max(1) } else { seconds };
    DeliverBy { seconds, overdue: deadline.overdue, trace: deadline.trace }
}

fn log(entry: &QueueEntry, outcome: &RecipientOutcome, tls: Option<&str>, now: Timestamp) {
    let Some(to) = entry.recipients.get(outcome.recipient).map(|queued| &queued.recipient.address) else {
        return;
    };
    let (name, peer, reply) = match &outcome.outcome {
        Outcome::Delivered { peer, reply } => ("delivered", peer, reply),
        Outcome::Deferred { peer, reply } => ("deferred", peer, reply),
        Outcome::Failed { peer, reply } => ("failed", peer, reply),
    };
    let status = reply.status.map_or_else(String::new, |status| format!("{status} "));
    tracing::info!(
        id = %entry.id,
        %to,
        peer,
        tls = tls.unwrap_or("none"),
        outcome = name,
        reply = %format_args!("{} {status}{}", reply.code, reply.text()),
        delay_seconds = now.seconds().saturating_sub(entry.accepted.seconds()),
        "delivery attempt"
    );
}

/// Looks for octets above 127, before and behind the empty line.
#[derive(Default)]
struct Scan {
    found: Octets,
    /// How much of the CRLF CRLF that ends the header block the last octets were; 4 behind it.
    matched: usize,
}

impl Scan {
    fn feed(&mut self, octets: &[u8]) {
        const END: &[u8; 4] = b"\r\n\r\n";
        let mut rest = octets;
        while self.matched < END.len() {
            let [first, others @ ..] = rest else { return };
            if *first >= 0x80 {
                self.found.header = BodyType::EightBitMime;
            }
            self.matched =
                if *first == END[self.matched] { self.matched + 1 } else { usize::from(*first == b'\r') };
            rest = others;
        }
        if !rest.is_ascii() {
            self.found.body = BodyType::EightBitMime;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_found_where_they_are() {
        let (seven, eight) = (BodyType::SevenBit, BodyType::EightBitMime);
        for (message, header, body) in [
            ("", seven, seven),
            ("A: b\r\n\r\nc\r\n", seven, seven),
            ("A: ü\r\n\r\nc\r\n", eight, seven),
            ("A: b\r\n\r\nü\r\n", seven, eight),
            ("A: ü\r\n\r\nü\r\n", eight, eight),
            ("A: b\r\n\rü\r\n", eight, seven),
            ("A: b\r\r\n\r\nü", seven, eight),
        ] {
            for chunk in [1, 3, 4096] {
                let mut scan = Scan::default();
                message.as_bytes().chunks(chunk).for_each(|octets| scan.feed(octets));
                assert_eq!(scan.found, Octets { header, body }, "{message:?}");
            }
        }
    }
}
