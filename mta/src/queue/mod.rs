//! The queue runner: wakes entries when they are due, groups recipients by destination, records what came of each try.
//!
//! ```text
//! store ──changes──► waiting (by due time) ──due──► lanes (jobs by destination) ──► couriers (one connection each)
//!                       ▲                                                              │ settle: outcomes, notification
//!                       └──────────────────── all jobs of the entry are done ◄─────────┘
//! ```
//! An entry waits, or has jobs; never both. What is durable is the store's; all here can be made anew from it.
//! Nothing is polled: the runner sleeps until the next entry is due, the store changes or a courier has done something.

mod courier;
mod lanes;
mod notification;
mod schedule;
mod waiting;

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, watch};
use waypost_auth::{Live, Srs};
use waypost_config::Config;
use waypost_mail::{EntryId, Timestamp};
use waypost_net::{Dialler, Shutdown};
use waypost_storage::{QueueEntry, QueuedRecipient, Store, StoreError};

use crate::{
    Random,
    dns::Resolver,
    route::{Destination, destination},
    tls_policy::Policies,
};
use courier::{Courier, Job};
use lanes::Lanes;
use waiting::Waiting;

pub use lanes::{CONNECTIONS_MAX, CONNECTIONS_PER_DESTINATION_MAX};

/// Most recipients in one transaction: what each server must take (RFC 5321 section 4.5.3.1.8).
pub const RECIPIENTS_PER_TRANSACTION_MAX: usize = 100;
/// Longest sleep without looking at the clock, which may have been set.
const SLEEP_MAX: Duration = Duration::from_secs(60 * 60);
/// Reports of couriers that the runner has not read yet.
const REPORTS_MAX: usize = 1024;

/// What the runner needs.
#[derive(Clone, Debug)]
pub struct Context {
    /// The queue.
    pub store: Store,
    /// Configuration and directory.
    pub live: watch::Receiver<Arc<Live>>,
    /// DNS.
    pub resolver: Resolver,
    /// Makes return paths for mail that is forwarded.
    pub srs: Srs,
    /// TLS towards other servers.
    pub tls: Policies,
    /// Makes connections.
    pub dialler: Dialler,
    /// Spreads waits and load.
    pub random: Random,
    /// Tells when to stop.
    pub shutdown: Shutdown,
}

impl Context {
    /// Configuration and directory of this moment.
    fn live(&self) -> Arc<Live> {
        self.live.borrow().clone()
    }
}

/// Runs the queue until shutdown; deliveries in flight end first, within the drain deadline.
pub async fn run(context: Context) {
    let (reports, from_couriers) = mpsc::channel(REPORTS_MAX);
    let shared = Arc::new(Shared { context, lanes: Mutex::default(), reports });
    Runner::new(shared).run(from_couriers).await;
}

/// Makes an entry due now, as `waypost queue retry` does. Errors as `Store::reschedule`.
pub async fn retry_now(store: &Store, id: EntryId) -> Result<(), StoreError> {
    store.reschedule(id, store.now()).await
}

/// What couriers tell the runner.
#[derive(Debug)]
enum Report {
    /// A job is done with.
    Job(EntryId, Recorded),
    /// A connection has ended.
    Ended,
}

/// Whether the outcomes of a job are durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Recorded {
    Yes,
    /// The store takes no more: to send again what may have arrived would be worse than to wait for a restart.
    No,
}

/// What runner and couriers share.
#[derive(Debug)]
struct Shared {
    context: Context,
    lanes: Mutex<Lanes<Destination, Job>>,
    reports: mpsc::Sender<Report>,
}

impl Shared {
    /// The lanes. Each change of them is complete, so that a poisoned lock is no reason to stop.
    fn lanes(&self) -> MutexGuard<'_, Lanes<Destination, Job>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry with jobs.
#[derive(Debug)]
struct Round {
    jobs: usize,
    recorded: Recorded,
}

struct Runner {
    shared: Arc<Shared>,
    waiting: Waiting,
    jobs: HashMap<EntryId, Round>,
    /// How often each entry was tried. The store counts one try for each destination, the schedule one for all of them; so
    /// what was tried before the start is told by the time that has passed, and is no more than what the store counted.
    tries: HashMap<EntryId, u32>,
}

impl Runner {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, waiting: Waiting::default(), jobs: HashMap::new(), tries: HashMap::new() }
    }

    async fn run(mut self, mut reports: mpsc::Receiver<Report>) {
        let shared = self.shared.clone();
        let Context { store, shutdown, .. } = &shared.context;
        // kept over the turns of the loop: nothing says that it may be dropped half-way
        let mut changes = Box::pin(store.queue_changes());
        while !shutdown.is_stopping() {
            // all of these are cancel-safe or outlive the turn
            tokio::select! {
                biased;
                () = shutdown.stopping() => break,
                Some(report) = reports.recv() => self.heard(&report),
                ids = &mut changes => {
                    changes.set(store.queue_changes());
                    ids.into_iter().for_each(|id| self.schedule(id));
                }
                () = sleep_until(self.waiting.next(), store.now()) => {}
            }
            while let Ok(report) = reports.try_recv() {
                self.heard(&report);
            }
            self.wake();
        }
        while shared.lanes().running() > 0 && reports.recv().await.is_some() {}
    }

    fn heard(&mut self, report: &Report) {
        let Report::Job(id, recorded) = *report else { return };
        let Some(round) = self.jobs.get_mut(&id) else { return };
        round.jobs -= 1;
        if recorded == Recorded::No {
            round.recorded = Recorded::No;
        }
        if round.jobs > 0 {
            return;
        }
        if let Some(Round { recorded: Recorded::Yes, .. }) = self.jobs.remove(&id) {
            self.schedule(id);
        }
    }

    /// Notes when an entry is due, unless it has jobs.
    fn schedule(&mut self, id: EntryId) {
        if self.jobs.contains_key(&id) {
            return;
        }
        match self.shared.context.store.queue_entry(id) {
            Some(entry) => self.waiting.insert(id, entry.next_attempt),
            None => {
                self.waiting.remove(id);
                self.tries.remove(&id);
            }
        }
    }

    /// Makes jobs of what is due, and connections for what waits in the lanes.
    fn wake(&mut self) {
        let now = self.shared.context.store.now();
        let live = self.shared.context.live();
        while let Some(id) = self.waiting.pop_due(now) {
            let Some(entry) = self.shared.context.store.queue_entry(id) else { continue };
            let before = || {
                let by_time = schedule::tries_until(&live.config.queue, entry.accepted, entry.next_attempt);
                entry.attempts.min(by_time)
            };
            let tries = self.tries.entry(id).or_insert_with(before);
            let jobs = jobs(&entry, *tries, &live.config);
            *tries = tries.saturating_add(1);
            if !jobs.is_empty() {
                self.jobs.insert(id, Round { jobs: jobs.len(), recorded: Recorded::Yes });
            }
            let mut lanes = self.shared.lanes();
            jobs.into_iter().for_each(|(destination, job)| {
                lanes.push(destination, job, |job| job.entry.wishes.priority);
            });
        }
        loop {
            let Some(destination) = self.shared.lanes().start() else { return };
            let courier = Courier::new(self.shared.clone(), destination);
            self.shared.context.shutdown.spawn(courier.run());
        }
    }
}

/// The open recipients of an entry as jobs.
fn jobs(entry: &Arc<QueueEntry>, tries: u32, config: &Config) -> Vec<(Destination, Job)> {
    let open = entry.recipients.iter().enumerate().filter(|(_, queued)| queued.is_open());
    // What is forwarded has a reverse path of its own, so it goes in a transaction of its own.
    let open = open.map(|(index, QueuedRecipient { recipient, .. })| {
        let alias = recipient.original.as_ref().map(|alias| alias.domain.clone());
        (index, (destination(config, &recipient.address.domain), alias))
    });
    let job = |recipients, alias| Job { entry: entry.clone(), recipients, alias, tries };
    let jobs = transactions(open).into_iter();
    jobs.map(|((destination, alias), recipients)| (destination, job(recipients, alias))).collect()
}

/// Groups recipients by destination, in transactions of bounded size, in the order in which they came.
fn transactions<D: Clone + Eq + Hash>(recipients: impl Iterator<Item = (usize, D)>) -> Vec<(D, Vec<usize>)> {
    let mut transactions: Vec<(D, Vec<usize>)> = Vec::new();
    let mut open: HashMap<D, usize> = HashMap::new();
    for (recipient, destination) in recipients {
        let place = open.get(&destination).copied();
        match place.and_then(|place| transactions.get_mut(place)) {
            Some((_, group)) if group.len() < RECIPIENTS_PER_TRANSACTION_MAX => group.push(recipient),
            _ => {
                open.insert(destination.clone(), transactions.len());
                transactions.push((destination, vec![recipient]));
            }
        }
    }
    transactions
}

/// Sleeps until an instant; for ever where nothing waits.
async fn sleep_until(due: Option<Timestamp>, now: Timestamp) {
    match due {
        Some(due) => {
            let milliseconds = u64::try_from(due.0.saturating_sub(now.0)).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(milliseconds).min(SLEEP_MAX)).await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
