//! A courier: one connection to one destination, message after message. A few outcomes may be on their way to the store while the next
//! message is sent; the connection ends when all are recorded.

use std::{collections::VecDeque, hash::Hash, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::Instant,
};
use waypost_auth::Live;
use waypost_mail::{BodyType, Domain, EnhancedStatus, EntryId, Reply, ReversePath, Severity, Timestamp};
use waypost_storage::{Content, Dialogue, QueueEntry, QueuedRecipient, Reader};

use super::{
    Context, Place, RECIPIENTS_PER_TRANSACTION_MAX, Shared, TOUCHES_MAX,
    author::HeaderStart,
    outcome::{Settlement, outcomes},
    part::Part,
    recorder::Unrecorded,
    schedule,
    sites::{Next, SiteId, Sites, Stage},
};
use crate::{
    client::{Delivery, Outbox, WaitsFor, deliver},
    route::{Destination, RoutePlan, outgoing_path, resolve},
    smtp::{
        client::{Finished, Octets, Outgoing, OutgoingRecipient},
        parameters::RcptParameters,
    },
    tls_policy::{Towards, Wish},
};

/// Most messages of one connection that are begun and whose outcomes are not recorded: so many may arrive twice if the server is killed.
pub(super) const UNRECORDED_MAX: u32 = 8;
/// How long a connection is kept for the next message.
const LINGER: Duration = Duration::from_secs(1);
/// After which time a connection that no server takes stands in the way of others no more.
const HANG_AFTER: Duration = Duration::from_millis(500);
/// After which time it is given up where too many hang.
const CLOGGED_AFTER: Duration = Duration::from_secs(10);
/// How often it is looked whether that is so.
const CLOGGED_PAUSE: Duration = Duration::from_secs(2);
/// Status of a connection that was lost on the way.
const LOST: EnhancedStatus = EnhancedStatus(4, 4, 2);

/// Recipients of one entry that go to one destination in one transaction.
#[derive(Clone, Debug)]
struct Job {
    /// Indexes in its recipients.
    recipients: Vec<usize>,
    /// The domain of the alias that forwards to them, if one does.
    alias: Option<Domain>,
}

/// The message that is in flight.
struct Item {
    entry: Arc<QueueEntry>,
    jobs: VecDeque<Job>,
}

/// The job that is under way.
struct Current {
    entry: Arc<QueueEntry>,
    job: Job,
    reader: Reader,
    header: HeaderStart,
}

/// What was said where no server took the session.
struct Refusal {
    peer: String,
    reply: Reply,
    dialogues: Vec<Dialogue>,
}

/// For how long servers have let a connection wait, before one took the session. What is waited for before a server can be asked, its policy
/// of TLS, does not count.
#[derive(Clone, Copy, Debug)]
enum Asked {
    /// Nobody is asked now; so long somebody was.
    Before(Duration),
    /// A server is asked since then; so long others were before.
    Since(Instant, Duration),
    /// A server took the session.
    Taken,
}

impl Asked {
    /// What is waited for from `now` on.
    fn waits_for(self, what: WaitsFor, now: Instant) -> Self {
        let before = match self {
            Self::Before(before) => before,
            Self::Since(begun, before) => before + (now - begun),
            Self::Taken => return self,
        };
        match what {
            WaitsFor::Policy => Self::Before(before),
            WaitsFor::Server => Self::Since(now, before),
        }
    }
}

/// A courier.
pub(super) struct Courier {
    shared: Arc<Shared>,
    site: SiteId,
    place: Place,
    destination: Destination,
    wish: Wish,
    item: Option<Item>,
    current: Option<Current>,
    taken: usize,
    asked: watch::Sender<Asked>,
    is_connected: bool,
    /// Our address, where the connection is one by IP.
    source: Option<IpAddr>,
    stage: Stage,
    /// Places for messages that were begun and whose outcomes are not recorded yet, and that of the one under way.
    unrecorded: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Courier {
    pub(super) fn new(shared: Arc<Shared>, site: SiteId, destination: Destination, wish: Wish) -> Self {
        let place = Place::Elsewhere(destination.clone(), wish);
        let (item, current) = (None, None);
        Self {
            shared,
            site,
            place,
            destination,
            wish,
            item,
            current,
            taken: 0,
            asked: watch::Sender::new(Asked::Before(Duration::ZERO)),
            is_connected: false,
            source: None,
            stage: Stage::Connecting,
            unrecorded: Arc::new(Semaphore::new(UNRECORDED_MAX as usize)),
            permit: None,
        }
    }

    /// Serves the destination over one connection.
    pub(super) async fn run(self) {
        let shared = self.shared.clone();
        let context = &shared.context;
        let live = context.live();
        let seed = context.random.next();
        let (site, destination, wish) = (self.site, self.destination.clone(), self.wish);
        let asked = self.asked.subscribe();
        // in boxes: what is over, or rare, holds no room while a connection waits for its server
        match Box::pin(resolve(&context.resolver, &live.config, &self.destination, seed)).await {
            RoutePlan::Fail(refusal) => Box::pin(self.refused("", &refusal.into(), Vec::new())).await,
            RoutePlan::Send(route) => {
                let towards = Towards {
                    policies: &context.tls,
                    config: &live.config.outbound_tls,
                    whose: destination.whose(),
                    wish,
                    now: shared.now(),
                };
                let (hostname, dialler) = (&live.config.hostname, &context.dialler);
                let delivering =
                    Box::pin(deliver(self, &route, &towards, hostname, dialler, &context.shutdown));
                let delivered = tokio::select! {
                    biased;
                    delivered = delivering => delivered,
                    () = shared.clogged(site, asked) => {
                        // nothing was begun: the courier has no message before a server takes the session
                        let reply = Reply::new(451, LOST, "no server took the session, and others waited for their turn");
                        let courier = Self::new(shared.clone(), site, destination.clone(), wish);
                        return Box::pin(courier.refused("", &reply, Vec::new())).await;
                    }
                };
                let (courier, delivery) = delivered;
                match delivery {
                    Delivery::Refused { peer, reply, dialogues } => {
                        Box::pin(courier.refused(&peer, &reply, dialogues)).await;
                    }
                    // what waits is still due when the server runs again
                    Delivery::Done | Delivery::Stopped => courier.ended().await,
                }
            }
        }
    }

    /// The connection has ended. What is left of the message is due still. It counts until all outcomes are recorded: else those that a full
    /// store does not take would become more with each connection.
    async fn ended(mut self) {
        self.close();
        self.permit = None;
        self.shared.recorder.hurry();
        // never closed
        let _all = self.unrecorded.acquire_many(UNRECORDED_MAX).await;
        self.shared.ended(self.site, self.stage);
    }

    /// No server takes a session. What is refused for ever is refused for all that is due, also where the destination rests; else one
    /// message stands for the others, which wait until the destination is awake, and where other connections work, none does.
    async fn refused(mut self, peer: &str, reply: &Reply, dialogues: Vec<Dialogue>) {
        let shared = self.shared.clone();
        if reply.severity() == Severity::Permanent {
            let refusal = Arc::new(Refusal { peer: peer.to_owned(), reply: reply.clone(), dialogues });
            while self.come_back(&refusal).await {}
            return self.ended().await;
        }
        let is_open = self.open_next(Sites::take_ready);
        let (now, live) = (shared.now(), shared.context.live());
        let random = shared.context.random.next();
        let schedule = live.config.queue.times(self.destination.own(&live.config.queue));
        let wait = |failures| schedule::next_probe(schedule, now, failures, random);
        let rests = shared.sites().refused(self.site, peer, reply, now, wait);
        if is_open && rests {
            let refusal = Refusal { peer: peer.to_owned(), reply: reply.clone(), dialogues };
            if let Some(item) = self.item.take() {
                shared.refuse(self.site, item, &refusal).await;
            }
        }
        self.close();
        shared.bell.notify_one();
    }

    /// Sends some of what is due back, several messages at the same time; whether there may be more.
    async fn come_back(&mut self, refusal: &Arc<Refusal>) -> bool {
        let (mut refused, shared) = (JoinSet::new(), self.shared.clone());
        while refused.len() < TOUCHES_MAX
            && !shared.context.shutdown.is_stopping()
            && self.open_next(Sites::take_due)
            && let Some(item) = self.item.take()
        {
            let (shared, site, refusal) = (shared.clone(), self.site, refusal.clone());
            refused.spawn(async move {
                // never closed
                let _permit = shared.touches.acquire().await;
                shared.refuse(site, item, &refusal).await;
            });
        }
        let is_over = refused.is_empty();
        while refused.join_next().await.is_some() {}
        !is_over
    }

    /// Opens the next message of those that are taken like this; whether there is one.
    fn open_next(&mut self, take: fn(&mut Sites<Place>, SiteId) -> Option<EntryId>) -> bool {
        loop {
            let Some(id) = take(&mut self.shared.sites(), self.site) else { return false };
            if self.open(id) {
                return true;
            }
        }
    }

    /// Opens a message that was taken into flight; whether there is something to be sent of it.
    fn open(&mut self, id: EntryId) -> bool {
        let shared = self.shared.clone();
        let live = shared.context.live();
        let entry = shared.context.store.queue_entry(id).filter(|entry| entry.held.is_none());
        let jobs = entry.as_ref().map(|entry| jobs(&live, entry, &self.place, shared.now()));
        match (entry, jobs) {
            (Some(entry), Some(jobs)) if !jobs.is_empty() => {
                self.item = Some(Item { entry: Arc::new(entry), jobs });
                true
            }
            // taken out of the queue, held or settled by hand while it waited, or not due any more
            _ => {
                shared.done(self.site, id);
                false
            }
        }
    }

    /// The message is not in flight any more.
    fn close(&mut self) {
        if let Some(item) = self.item.take() {
            self.shared.done(self.site, item.entry.id);
        }
    }

    /// Records what came of a transaction: in the background where it was the last one of its message and nobody is to be told, so that the
    /// next message can go.
    async fn record(&mut self, settlement: Settlement<'_>) {
        let (shared, entry) = (self.shared.clone(), settlement.entry);
        let live = shared.context.live();
        let (attempt, told) = shared.attempt(&live, settlement, shared.now());
        let is_last = self.item.as_ref().is_none_or(|item| item.jobs.is_empty());
        if is_last
            && told.is_empty()
            && !shared.is_counting(&live, entry, &attempt.outcomes)
            && let Some(permit) = self.permit.take()
        {
            self.item = None;
            shared.record_soon(Unrecorded { site: self.site, attempt, permit });
        } else if shared.record_attempt(&live, entry, attempt, told).await.is_err() {
            self.item = None;
        }
    }

    /// Waits for the next message; whether there may be one.
    async fn wait(&self, bell: &tokio::sync::Notify, until: Option<Timestamp>) -> bool {
        let millis = |until: Timestamp| u64::try_from(until.0 - self.shared.now().0).unwrap_or(0);
        let slot = until.map(|until| Duration::from_millis(millis(until))).filter(|wait| *wait <= LINGER);
        tokio::select! {
            biased;
            () = self.shared.context.shutdown.stopping() => false,
            () = bell.notified() => true,
            () = tokio::time::sleep(slot.unwrap_or(LINGER)) => slot.is_some(),
        }
    }

    fn messages_max(&self, live: &Live) -> usize {
        let queue = &live.config.queue;
        let own = self.destination.own(queue);
        own.and_then(|own| own.messages_per_connection).unwrap_or(queue.messages_per_connection)
    }

    /// The next transaction of the message in flight, or of the next one.
    async fn next_job(&mut self) -> Option<(Arc<QueueEntry>, Job)> {
        loop {
            if let Some(item) = &mut self.item
                && let Some(job) = item.jobs.pop_front()
            {
                return Some((item.entry.clone(), job));
            }
            self.close();
            let next = self.shared.sites().next(self.site, self.stage, self.shared.now());
            self.stage = if matches!(next, Next::Wait(..)) { Stage::Idle } else { Stage::Busy };
            match next {
                Next::End => return None,
                Next::Message(id) => drop(self.open(id)),
                Next::Wait(bell, until) => {
                    if !self.wait(&bell, until).await {
                        return None;
                    }
                }
            }
        }
    }
}

impl Shared {
    /// Settles all that is left of a message: no server takes the session. Where that cannot be recorded, it stays in flight until a
    /// restart: to send it again now would be worse.
    async fn refuse(&self, site: SiteId, item: Item, refusal: &Refusal) {
        let Refusal { peer, reply, dialogues } = refusal;
        let recipients: Vec<usize> = item.jobs.into_iter().flat_map(|job| job.recipients).collect();
        let replies = vec![reply.clone(); recipients.len()];
        let finished = Finished { replies, ..Finished::default() };
        let settlement = self.settlement(&item.entry, &recipients, peer, finished, dialogues.clone());
        if self.record(settlement).await.is_ok() {
            self.done(site, item.entry.id);
        }
    }

    fn settlement<'a>(
        &self,
        entry: &'a QueueEntry,
        recipients: &[usize],
        peer: &str,
        finished: Finished,
        dialogues: Vec<Dialogue>,
    ) -> Settlement<'a> {
        let Finished { replies, tls, tells, .. } = finished;
        let (now, live) = (self.now(), self.context.live());
        let outcomes = outcomes(&live, entry, recipients, (peer, tls.as_deref()), replies, now);
        Settlement { entry, outcomes, tells, dialogues }
    }

    /// Waits until a connection that no server takes is given up, because too many hang.
    async fn clogged(&self, site: SiteId, mut asked: watch::Receiver<Asked>) {
        let (mut waited, mut is_counted) = (HANG_AFTER, false);
        loop {
            asked_for(&mut asked, waited).await;
            // once: a younger one of the destination is counted when it has hung as long
            if !is_counted && self.sites().hangs(site, self.now()) {
                is_counted = true;
                self.bell.notify_one();
            }
            if waited >= CLOGGED_AFTER && self.sites().is_clogged() {
                return;
            }
            waited += CLOGGED_PAUSE;
        }
    }
}

/// Waits until servers have let a connection wait for so long in all; for ever where one takes the session before.
async fn asked_for(asked: &mut watch::Receiver<Asked>, in_all: Duration) {
    loop {
        let end = match *asked.borrow_and_update() {
            Asked::Since(begun, before) => Some(begun + in_all.saturating_sub(before)),
            Asked::Before(_) | Asked::Taken => None,
        };
        let over = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = asked.changed() => if changed.is_err() { std::future::pending::<()>().await },
            () = over => return,
        }
    }
}

impl Outbox for Courier {
    fn speaks_from(&mut self, source: Option<IpAddr>) {
        self.source = source;
    }

    fn waits_for(&mut self, what: WaitsFor) {
        self.asked.send_modify(|asked| *asked = asked.waits_for(what, Instant::now()));
    }

    async fn next(&mut self) -> Option<Outgoing> {
        if !std::mem::replace(&mut self.is_connected, true) {
            self.asked.send_replace(Asked::Taken);
            self.shared.sites().connected(self.site, self.shared.now());
            self.shared.bell.notify_one();
        }
        if self.permit.is_none() {
            if self.unrecorded.available_permits() == 0 {
                self.shared.recorder.hurry();
            }
            // never closed
            self.permit = Arc::clone(&self.unrecorded).acquire_owned().await.ok();
        }
        let live = self.shared.context.live();
        let Context { store, shutdown, .. } = &self.shared.context;
        if self.taken >= self.messages_max(&live) || shutdown.is_stopping() || store.is_poisoned() {
            return None;
        }
        let (entry, job) = self.next_job().await?;
        // while it waited; what cannot be recorded is not sent
        if self.shared.context.store.is_poisoned() {
            return None;
        }
        self.taken += 1;
        let now = self.shared.now();
        let outgoing = Outgoing {
            reverse_path: self.reverse_path(&entry, &job),
            may_go_along: !self.shared.sites().hangs_up(self.site),
            ..outgoing(&entry, &job, now)
        };
        self.current =
            Some(Current { reader: self.reader(&entry, &job), entry, job, header: HeaderStart::default() });
        Some(outgoing)
    }

    async fn octets(&mut self) -> Option<Octets> {
        let Current { entry, job, .. } = self.current.as_ref()?;
        let mut reader = self.reader(entry, job);
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
        octets.iter().for_each(|octets| current.header.feed(octets));
        self.current = Some(current);
        octets
    }

    async fn finish(&mut self, peer: &str, finished: Finished, dialogues: Vec<Dialogue>) {
        let Some(Current { entry, job, header, .. }) = self.current.take() else { return };
        if finished.hung_up {
            self.shared.sites().hung_up(self.site);
        }
        let (finished, tried, left) = job.split(finished);
        if let Some(item) = &mut self.item {
            item.jobs.extend(left.filter(|left| !left.recipients.is_empty()));
        }
        if tried.is_empty() {
            return;
        }
        let is_lost = finished.replies.iter().all(|reply| reply.code == 421 || reply.status == Some(LOST));
        match is_lost {
            true => self.shared.sites().troubled(self.site),
            false => {
                if self.shared.sites().answered(self.site, self.shared.now()) {
                    self.shared.bell.notify_one();
                }
            }
        }
        let settlement = self.shared.settlement(&entry, &tried, peer, finished, dialogues);
        self.shared.count_sent(&settlement, header, self.source);
        self.record(settlement).await;
    }

    fn now(&self) -> Timestamp {
        self.shared.now()
    }
}

impl Job {
    /// What is sent: the prefix is for copies that an alias forwards.
    fn content(&self, entry: &QueueEntry) -> Content {
        if self.alias.is_some() { entry.content.clone() } else { entry.content.without_prefix() }
    }

    /// What was tried, with its replies; and what is left for a further transaction, or for another connection.
    fn split(self, finished: Finished) -> (Finished, Vec<usize>, Option<Self>) {
        if finished.unsent.is_empty() {
            return (finished, self.recipients, None);
        }
        let (mut tried, mut left, mut replies) = (Vec::new(), Vec::new(), Vec::new());
        let places = self.recipients.into_iter().zip(&finished.replies).enumerate();
        for (place, (recipient, reply)) in places {
            if finished.unsent.contains(&place) {
                left.push(recipient);
            } else {
                tried.push(recipient);
                replies.push(reply.clone());
            }
        }
        (Finished { replies, ..finished }, tried, Some(Self { recipients: left, alias: self.alias }))
    }
}

/// The open recipients of an entry at a place that are due, in transactions. What is forwarded has a reverse path of its own, so it goes
/// in a transaction of its own.
fn jobs(live: &Live, entry: &QueueEntry, place: &Place, now: Timestamp) -> VecDeque<Job> {
    let part = Part::at(live, entry, place);
    let due = part.into_iter().flat_map(|part| part.due_by(now)).map(|(recipient, queued)| {
        (recipient, queued.recipient.original.as_ref().map(|alias| alias.domain.clone()))
    });
    transactions(due).into_iter().map(|(alias, recipients)| Job { recipients, alias }).collect()
}

/// Groups recipients, in transactions of bounded size, in the order in which they came.
fn transactions<D: Clone + Eq + Hash>(recipients: impl Iterator<Item = (usize, D)>) -> Vec<(D, Vec<usize>)> {
    let mut transactions: Vec<(D, Vec<usize>)> = Vec::new();
    let mut open: std::collections::HashMap<D, usize> = std::collections::HashMap::new();
    for (recipient, group) in recipients {
        let place = open.get(&group).copied();
        match place.and_then(|place| transactions.get_mut(place)) {
            Some((_, members)) if members.len() < RECIPIENTS_PER_TRANSACTION_MAX => members.push(recipient),
            _ => {
                open.insert(group.clone(), transactions.len());
                transactions.push((group, vec![recipient]));
            }
        }
    }
    transactions
}

impl Courier {
    /// The path that the next server is told; of our users one for each message, where that is wanted.
    fn reverse_path(&self, entry: &QueueEntry, job: &Job) -> ReversePath {
        let context = &self.shared.context;
        let live = context.live();
        let sender = entry.reverse_path.address();
        let ours = sender.filter(|sender| live.config.queue.verp && live.directory.is_local(&sender.domain));
        let day = waypost_auth::srs::day(entry.begun());
        if let Some(path) = ours.and_then(|sender| context.srs.bounce_path(sender, entry.id, day)) {
            return ReversePath::Address(path);
        }
        outgoing_path(&live, &context.srs, &entry.reverse_path, job.alias.as_ref(), self.now())
    }

    fn reader(&self, entry: &QueueEntry, job: &Job) -> Reader {
        let content = job.content(entry);
        self.shared.context.store.reader(&content, 0, content.size())
    }

    async fn read(&self, reader: &mut Reader) -> Option<Bytes> {
        let read = reader.next().await;
        read.inspect_err(|error| tracing::error!(%error, "a queued message cannot be read")).ok()
    }
}

fn outgoing(entry: &QueueEntry, job: &Job, now: Timestamp) -> Outgoing {
    let queued = || job.recipients.iter().filter_map(|index| entry.recipients.get(*index));
    let recipient = |queued: &QueuedRecipient| OutgoingRecipient {
        address: queued.recipient.address.clone(),
        parameters: RcptParameters { notify: queued.recipient.notify, orcpt: queued.recipient.orcpt.clone() },
    };
    Outgoing {
        reverse_path: entry.reverse_path.clone(),
        recipients: queued().map(recipient).collect(),
        size: job.content(entry).size(),
        body: entry.body,
        smtputf8: entry.smtputf8,
        wishes: entry.wishes.with_times(|deadline| deadline.left(now)),
        may_go_along: true,
    }
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
    fn recipients_are_grouped() {
        let group = |all: &str| transactions(all.chars().enumerate());
        assert_eq!(group(""), []);
        assert_eq!(group("abac"), [('a', vec![0, 2]), ('b', vec![1]), ('c', vec![3])]);
        let sizes =
            |count| group(&"a".repeat(count)).iter().map(|(_, group)| group.len()).collect::<Vec<_>>();
        assert_eq!(sizes(RECIPIENTS_PER_TRANSACTION_MAX), [100]);
        assert_eq!(sizes(RECIPIENTS_PER_TRANSACTION_MAX + 1), [100, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_servers_make_a_connection_hang() {
        let second = Duration::from_secs(1);
        let (asked, mut heard) = watch::channel(Asked::Before(Duration::ZERO));
        let begun = Instant::now();
        let waits_for = |what| asked.send_modify(|asked| *asked = asked.waits_for(what, Instant::now()));
        let telling = async {
            // a policy of a minute, a server of a second, another policy, and a server that says nothing
            for (what, seconds) in [
                (WaitsFor::Policy, 60),
                (WaitsFor::Server, 1),
                (WaitsFor::Policy, 30),
                (WaitsFor::Server, 600),
            ] {
                waits_for(what);
                tokio::time::sleep(seconds * second).await;
            }
        };
        let hearing = async {
            asked_for(&mut heard, 2 * second).await;
            assert_eq!(begun.elapsed().as_secs(), 60 + 1 + 30 + 1);
            asked_for(&mut heard, 4 * second).await;
            assert_eq!(begun.elapsed().as_secs(), 60 + 1 + 30 + 3);
        };
        tokio::join!(telling, hearing);
        asked.send_replace(Asked::Taken);
        waits_for(WaitsFor::Server);
        assert!(tokio::time::timeout(600 * second, asked_for(&mut heard, second)).await.is_err());
    }

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
