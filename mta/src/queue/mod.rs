//! The queue runner: looks at entries when they are due, hands them to their destinations, makes connections, records what came
//! of each try. docs/queue.md tells how it behaves.
//!
//! ```text
//! store ──changes──► sites (by destination: later, ready, resting) ──start──► couriers (one connection each)
//!                       ▲                                                         │ settle: outcomes, notification
//!                       └──────────── what is still open, due later ◄─────────────┘
//! ```
//! What is durable is the store's; all here can be made anew from it. Nothing is polled: the runner sleeps until something is
//! due, the store changes or a courier has done something.

mod author;
mod control;
mod courier;
mod local;
mod notification;
mod outcome;
mod pace;
mod part;
mod ready;
mod recorder;
mod schedule;
mod sites;
mod suppressed;
mod turns;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, watch};
use waypost_auth::{Live, Srs};
use waypost_config::{Config, SourceAddresses};
use waypost_mail::{EntryId, ReversePath, Timestamp};
use waypost_net::{Dialler, Shutdown};
use waypost_storage::{QueueEntry, RelayRecipient, Store};

use crate::{
    Random,
    authenticity::Signers,
    dns::Resolver,
    reports::incoming::sent::Sent,
    route::{Destination, destination, outgoing_domain},
    tls_policy::{Policies, Wish},
};
use courier::Courier;
use outcome::Touch;
use pace::Bounds;
use part::Part;
use recorder::Recorder;
use sites::{Apart, Because, SiteId, Sites};

pub use control::{Control, Handed, Unavailable};
pub use sites::{SiteStatus, connections_most};

/// Most recipients in one transaction: what each server must take (RFC 5321 section 4.5.3.1.8).
pub const RECIPIENTS_PER_TRANSACTION_MAX: usize = 100;
/// Longest sleep without looking at the clock, which may have been set.
const SLEEP_MAX: Duration = Duration::from_secs(60 * 60);
/// Most messages that are settled without a connection at the same time.
const TOUCHES_MAX: usize = 32;
/// Items that are looked at before connections are made and others have their turn.
const LOOKS_MAX: usize = 1024;
/// Entries that are looked at again in one go where routes have changed.
const REROUTED_PAGE: usize = 256;

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
    /// The keys that notifications are signed with.
    pub signers: Signers,
    /// Counts what others take, for their reports to be compared with.
    pub sent: Sent,
    /// Tells when to stop.
    pub shutdown: Shutdown,
}

impl Context {
    /// Configuration and directory of this moment.
    fn live(&self) -> Arc<Live> {
        self.live.borrow().clone()
    }
}

/// Where a message goes: what shares connections.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Place {
    /// Mailboxes here: of messages that were held, or were to be sent later.
    Here,
    /// Another server; messages with different wishes (RFC 8689) share no connection, for TLS is decided once for each.
    Elsewhere(Destination, Wish),
}

impl Place {
    /// Where a message goes for a recipient.
    pub fn of(live: &Live, entry: &QueueEntry, recipient: &RelayRecipient) -> Self {
        let domain = &recipient.address.domain;
        if live.directory.is_local(domain) {
            return Self::Here;
        }
        let alias = recipient.original.as_ref().map(|alias| &alias.domain);
        let sender = outgoing_domain(live, &entry.reverse_path, alias);
        Self::elsewhere(
            destination(&live.config, sender, domain),
            Wish::of(&entry.wishes, &entry.reverse_path),
        )
    }

    /// TLS towards servers that the operator names is by his word alone, whatever a sender wishes.
    fn elsewhere(destination: Destination, wish: Wish) -> Self {
        let wish = match &destination {
            Destination::Exchangers(_) => wish,
            Destination::NextHops(_) => Wish::Usual,
        };
        Self::Elsewhere(destination, wish)
    }

    /// What its messages wish of TLS.
    pub fn wish(&self) -> Wish {
        match self {
            Self::Here => Wish::Usual,
            Self::Elsewhere(_, wish) => *wish,
        }
    }

    fn bounds(&self, config: &Config) -> Bounds {
        let own = match self {
            Self::Elsewhere(destination, _) => destination.own(&config.queue),
            Self::Here => None,
        };
        Bounds {
            connections: own
                .and_then(|own| own.connections)
                .unwrap_or(config.queue.connections_per_destination),
            messages_per_minute: own.map_or(0, |own| own.messages_per_minute),
            sources: match self {
                Self::Here => SourceAddresses::default(),
                Self::Elsewhere(Destination::Exchangers(_), _) => config.queue.sources,
                Self::Elsewhere(Destination::NextHops(hops), _) => hops.sources,
            },
        }
    }
}

impl Apart for Place {
    fn others(&self) -> Vec<Self> {
        match self {
            Self::Elsewhere(destination @ Destination::Exchangers(_), own) => {
                let others = Wish::ALL.into_iter().filter(|wish| wish != own);
                others.map(|wish| Self::Elsewhere(destination.clone(), wish)).collect()
            }
            Self::Here | Self::Elsewhere(..) => Vec::new(),
        }
    }
}

impl std::fmt::Display for Place {
    /// The domain whose exchangers are asked, the next hop, or `here`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Here => f.write_str("here"),
            Self::Elsewhere(destination, _) => destination.fmt(f),
        }
    }
}

/// Runs the queue until shutdown; deliveries in flight end first, within the drain deadline.
pub async fn run(context: Context) {
    run_with(context, &Control::default()).await;
}

/// The same, for one who looks at it and gives it orders.
pub async fn run_with(context: Context, control: &Control) {
    let connections = context.live().config.queue.connections;
    let shared = Arc::new(Shared {
        context,
        sites: Mutex::new(Sites::new(connections)),
        bell: Notify::new(),
        touches: tokio::sync::Semaphore::new(TOUCHES_MAX),
        recorder: Recorder::default(),
    });
    shared.sites().set_source_limits(&shared.context.live().config.queue.source_limits);
    control.begin(&shared);
    Runner { shared, routes: 0, rerouting: None }.run().await;
}

/// What runner and couriers share.
#[derive(Debug)]
struct Shared {
    context: Context,
    sites: Mutex<Sites<Place>>,
    /// Wakes the runner.
    bell: Notify,
    touches: tokio::sync::Semaphore,
    recorder: Recorder,
}

impl Shared {
    /// The sites. Each change of them is complete, so that a poisoned lock is no reason to stop.
    fn sites(&self) -> MutexGuard<'_, Sites<Place>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.context.store.now()
    }

    /// Notes where and when an entry is due.
    fn schedule(&self, live: &Live, entry: &QueueEntry) {
        if entry.held.is_some() {
            return;
        }
        let now = self.now();
        for part in Part::all(live, entry) {
            let bounds = part.place.bounds(&live.config);
            self.sites().add(&part.place, bounds, entry.id, part.due(), now);
        }
    }

    /// What was in flight at a site is over: what of it is open comes again.
    fn done(&self, site: SiteId, id: EntryId) {
        self.all_done([(site, id)]);
    }

    /// The same for several.
    fn all_done(&self, over: impl IntoIterator<Item = (SiteId, EntryId)>) {
        let (live, now) = (self.context.live(), self.now());
        let mut comes_again = false;
        let mut sites = self.sites();
        for (site, id) in over {
            // Read while the sites are locked: what is changed from here on comes up when this is not in flight any more.
            let entry = self.context.store.queue_entry(id).filter(|entry| entry.held.is_none());
            let open = entry.iter().flat_map(|entry| Part::all(&live, entry)).map(|part| {
                let (bounds, due) = (part.place.bounds(&live.config), part.due());
                (part.place, bounds, due)
            });
            let open: Vec<_> = open.collect();
            comes_again |= !open.is_empty();
            sites.done(site, id, open, now);
        }
        drop(sites);
        if comes_again {
            self.bell.notify_one();
        }
    }
}

struct Runner {
    shared: Arc<Shared>,
    /// Tells configurations apart that lead mail elsewhere.
    routes: u64,
    /// Routes have changed, and what waits is looked at again, a page at a time: from where on.
    rerouting: Option<Rerouting>,
}

/// From where on entries are looked at again.
#[derive(Clone, Copy, Debug)]
enum Rerouting {
    Start,
    Behind(EntryId),
}

impl Runner {
    async fn run(mut self) {
        let shared = self.shared.clone();
        let Context { store, shutdown, live, .. } = &shared.context;
        let (mut live, mut directory) = (live.clone(), store.directory());
        self.routes = routes(&live.borrow_and_update());
        self.pause(&directory.borrow_and_update().paused);
        while !shutdown.is_stopping() {
            // what cannot be recorded is not begun: it would be sent again after the restart
            let can_record = !store.is_poisoned();
            let wake = shared.sites().next_wake().filter(|_| can_record);
            // all of these are cancel-safe; the bell comes last but one, as it only says that something is to be done below
            tokio::select! {
                biased;
                () = shutdown.stopping() => break,
                Ok(()) = live.changed() => self.reconfigured(&live.borrow_and_update().clone()),
                Ok(()) = directory.changed() => self.pause(&directory.borrow_and_update().paused),
                ids = store.queue_changes() => self.changed(&ids),
                () = shared.bell.notified() => {}
                () = std::future::ready(()), if self.rerouting.is_some() => {}
                () = sleep_until(wake, store.now()) => {}
            }
            self.reroute();
            if !store.is_poisoned() {
                self.look();
                self.start();
            }
            if self.rerouting.is_some() {
                // others have their turn between pages
                tokio::task::yield_now().await;
            }
        }
        shared.sites().ring_all();
        while shared.sites().running() > 0 {
            shared.bell.notified().await;
        }
    }

    fn changed(&self, ids: &[EntryId]) {
        let live = self.shared.context.live();
        for id in ids {
            if let Some(entry) = self.shared.context.store.queue_entry(*id) {
                self.shared.schedule(&live, &entry);
            }
        }
    }

    /// Where routes or our domains are others now, all is looked at again, page by page.
    fn reconfigured(&mut self, live: &Live) {
        self.shared.sites().set_connections_max(live.config.queue.connections);
        self.shared.sites().set_source_limits(&live.config.queue.source_limits);
        let routes = routes(live);
        if routes == self.routes {
            return;
        }
        self.routes = routes;
        let now = self.shared.now();
        self.shared.sites().clear(now);
        self.rerouting = Some(Rerouting::Start);
    }

    /// Puts the next page of what waits where it goes now. An entry that is put there twice, as it came or was changed meanwhile, comes up
    /// once.
    fn reroute(&mut self) {
        let Some(from) = self.rerouting else { return };
        let after = match from {
            Rerouting::Start => None,
            Rerouting::Behind(id) => Some(id),
        };
        let live = self.shared.context.live();
        let page = self.shared.context.store.queue_page(after, REROUTED_PAGE);
        page.iter().for_each(|entry| self.shared.schedule(&live, entry));
        self.rerouting = page.last().map(|last| Rerouting::Behind(last.id));
    }

    fn pause(&self, paused: &std::collections::BTreeSet<String>) {
        let now = self.shared.now();
        self.shared.sites().pause(paused, now);
    }

    /// Looks at what comes up: makes it ready, puts it to rest, or drops it.
    fn look(&self) {
        let shared = &self.shared;
        let live = shared.context.live();
        let mut looks = 0;
        while looks < LOOKS_MAX {
            let now = shared.now();
            let due = shared.sites().due(now);
            if due.is_empty() {
                return;
            }
            looks += due.len();
            due.into_iter().for_each(|(site, id, because)| self.look_at(&live, site, id, because, now));
        }
        shared.bell.notify_one();
    }

    fn look_at(&self, live: &Live, site: SiteId, id: EntryId, because: Because, now: Timestamp) {
        let shared = &self.shared;
        let Some(place) = shared.sites().place(site).cloned() else { return };
        let entry = shared.context.store.queue_entry(id).filter(|entry| entry.held.is_none());
        let Some(entry) = entry else { return };
        let Some(part) = Part::at(live, &entry, &place) else { return };
        let due = part.due();
        if due > now {
            // one that was rescheduled stands there for its new time, too; but a clock may have been set back
            if because == Because::Due(due) {
                shared.sites().add(&place, place.bounds(&live.config), id, due, now);
            }
            return;
        }
        let suppressed = shared.suppressed(live, &entry, &place, now);
        if !suppressed.is_empty() {
            if shared.sites().take(site, id) {
                shared.context.shutdown.spawn(shared.clone().send_back(site, entry, suppressed));
            }
            return;
        }
        let resting = shared.sites().resting(site, now);
        let Some(resting) = resting else {
            let mut sites = shared.sites();
            return sites.make_ready(site, id, entry.wishes.priority, sender(&entry.reverse_path), now);
        };
        let deadline = part.deadline(&live.config.queue, &entry);
        drop(part);
        match deadline > now {
            true => shared.sites().rest(site, id, deadline, now),
            false if shared.sites().take(site, id) => {
                let touch = Touch { site, place, entry, resting };
                shared.context.shutdown.spawn(shared.clone().touch(touch));
            }
            false => {}
        }
    }

    /// Makes connections for what is ready.
    fn start(&self) {
        let shared = &self.shared;
        loop {
            let now = shared.now();
            let Some((site, place)) = shared.sites().start(now) else { return };
            match place {
                Place::Here => shared.context.shutdown.spawn(local::run(shared.clone(), site)),
                Place::Elsewhere(destination, wish) => {
                    let courier = Courier::new(shared.clone(), site, destination, wish);
                    shared.context.shutdown.spawn(courier.run());
                }
            }
        }
    }
}

/// Tells senders apart.
fn sender(reverse_path: &ReversePath) -> u64 {
    let mut hasher = DefaultHasher::new();
    reverse_path.to_string().hash(&mut hasher);
    hasher.finish()
}

/// Tells configurations apart that lead mail elsewhere.
fn routes(live: &Live) -> u64 {
    let Config { routes, domains, srs, queue, .. } = &*live.config;
    let mut hasher = DefaultHasher::new();
    format!("{routes:?}{domains:?}{srs:?}{:?}", queue.sources).hash(&mut hasher);
    hasher.finish()
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
