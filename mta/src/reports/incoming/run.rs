//! Looking at mail that may bring reports, when it is its turn.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{sync::watch, task::spawn_blocking, time::Instant};
use waypost_auth::{Live, Resolution};
use waypost_mail::{AccountId, Address, EntryId, Timestamp};
use waypost_net::Shutdown;
use waypost_storage::{Account, MailboxState, Placed, Row, SpecialUse, Store, StoreError};

use super::{
    Incoming, Job, Place,
    archive::{Added, Archive, Kept, Line, Problem},
    mail::{self, Content, Found, MAIL_BYTES_MAX, Ours, Reading},
};
use crate::{
    authenticity::iprev::{self, IprevOutcome},
    dns::Resolver,
};

/// Most mails that are looked at in a minute.
pub const PER_MINUTE_MAX: u32 = 60;
/// How often counts of what was sent are written.
pub const WRITE_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// How often it is asked to which addresses reports come.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);
/// How far back mail is looked for at the start, at most.
const LOOK_BACK_MAX: Duration = Duration::from_secs(8 * 86_400);
/// How far before the last report that was kept it is looked for: what was accepted before it may have waited.
const LOOK_BACK_SLACK: Duration = Duration::from_secs(60 * 60);
/// Most mails that are looked for at the start.
const LOOK_BACK_MAILS_MAX: usize = 2_000;
/// Most accounts whose mailboxes are looked through at the start.
const ACCOUNTS_MAX: usize = 100;
/// Most addresses of one report whose names are looked up, and how long that may take.
const NAMES_MAX: usize = 20;
const NAMES_TIMEOUT: Duration = Duration::from_secs(30);

/// What is needed to look at mail.
#[derive(Clone, Debug)]
pub struct Context {
    /// The mail.
    pub store: Store,
    /// The configuration.
    pub live: watch::Receiver<Arc<Live>>,
    /// Tells which addresses reports come to, and the names of addresses.
    pub resolver: Resolver,
    /// Tells when to stop.
    pub shutdown: Shutdown,
}

/// How many mails were looked at in this minute.
struct Pace {
    begun: Instant,
    count: u32,
}

impl Pace {
    /// Until when the next one has to wait, if it has to.
    fn next(&mut self, now: Instant) -> Option<Instant> {
        if now - self.begun >= MINUTE {
            (self.begun, self.count) = (now, 0);
        }
        if self.count >= PER_MINUTE_MAX {
            return Some(self.begun + MINUTE);
        }
        self.count += 1;
        None
    }
}

impl Incoming {
    /// Looks at mail as it comes, until shutdown.
    pub async fn run(self, mut context: Context) {
        let Some(folder) = self.received() else { return };
        self.configure(&context.live.borrow().config);
        let (keep, now) = (context.keep(), context.store.now());
        let opened = spawn_blocking(move || Archive::open(&folder, keep, now)).await;
        let Ok(archive) = opened else { return };
        let mut worker = Worker {
            incoming: self,
            since: archive.newest().unwrap_or(Timestamp(0)).before(LOOK_BACK_SLACK),
            archive: Arc::new(Mutex::new(archive)),
            pace: Pace { begun: Instant::now(), count: 0 },
        };
        let stopping = context.shutdown.clone();
        tokio::select! {
            biased;
            () = stopping.stopping() => {}
            () = worker.work(&mut context) => {}
        }
        worker.incoming.write(context.keep(), context.store.now()).await;
    }

    /// Writes what was counted of what was sent.
    pub async fn write(&self, keep: Duration, now: Timestamp) {
        let sent = self.0.sent.clone();
        let written = spawn_blocking(move || sent.write(keep, now)).await;
        if let Err(error) = written.map_err(io::Error::other).flatten() {
            tracing::warn!(%error, "counts of what was sent are not written");
        }
    }

    /// Asks DNS where reports come to, and for the addresses of our name.
    async fn refresh(&self, context: &Context) {
        let config = context.live.borrow().config.clone();
        self.0.addresses.refresh(&config, &context.resolver).await;
        if let Ok(addresses) = context.resolver.addresses(config.hostname.as_str()).await {
            let own: HashSet<IpAddr> = addresses.into_iter().collect();
            *self.0.own.write().unwrap_or_else(PoisonError::into_inner) = own;
        }
    }
}

impl Context {
    fn keep(&self) -> Duration {
        self.live.borrow().config.reports.keep
    }

    fn ours(&self) -> Ours {
        let config = self.live.borrow().config.clone();
        let domains = config.domains.iter().map(|domain| domain.name.to_string()).collect();
        Ours { hostname: config.hostname.to_string(), domains }
    }

    /// The octets of a mail in a mailbox; `None`: it is not there any more. Errors: those of reading, and that it is too large.
    async fn octets(&self, placed: &Placed) -> Result<Option<Bytes>, StoreError> {
        let account = match self.store.account(placed.account).await {
            Err(StoreError::NoSuchAccount) => return Ok(None),
            account => account?,
        };
        let selection = match account.select(placed.mailbox).await {
            Err(StoreError::NoSuchMailbox) => return Ok(None),
            selection => selection?,
        };
        let state = selection.state().filter(|state| state.uid_validity == placed.uid_validity);
        let Some(row) = state.as_ref().and_then(|state| state.row(placed.uid)) else { return Ok(None) };
        self.read(row).await.map(Some)
    }

    async fn read(&self, row: &Row) -> Result<Bytes, StoreError> {
        let size = row.content.size();
        if size > MAIL_BYTES_MAX {
            return Err(StoreError::Limit("the mail is too large to be looked at"));
        }
        let mut reader = self.store.reader(&row.content, 0, size);
        let mut octets = BytesMut::new();
        loop {
            let piece = reader.next().await?;
            if piece.is_empty() {
                return Ok(octets.freeze());
            }
            octets.extend_from_slice(&piece);
        }
    }
}

/// Looks at one mail after the other.
struct Worker {
    incoming: Incoming,
    archive: Arc<Mutex<Archive>>,
    /// Mail that came before was looked at.
    since: Timestamp,
    pace: Pace,
}

impl Worker {
    async fn work(&mut self, context: &mut Context) {
        self.incoming.refresh(context).await;
        self.look_back(context).await;
        let (mut written, mut refreshed) = (Instant::now(), Instant::now());
        loop {
            let job = self.incoming.waiting().pop_front();
            match job {
                Some(job) => self.look_at(context, job).await,
                None => {
                    tokio::select! {
                        () = self.incoming.0.bell.notified() => {}
                        () = tokio::time::sleep_until(written + WRITE_INTERVAL) => {}
                        Ok(()) = context.live.changed() => {
                            self.incoming.configure(&context.live.borrow_and_update().config);
                            self.incoming.refresh(context).await;
                        }
                    }
                }
            }
            self.tell_missed(context).await;
            if written.elapsed() >= WRITE_INTERVAL {
                written = Instant::now();
                self.incoming.write(context.keep(), context.store.now()).await;
            }
            if refreshed.elapsed() >= REFRESH_INTERVAL {
                refreshed = Instant::now();
                self.incoming.refresh(context).await;
            }
        }
    }

    /// Looks at mail that came before the start and was not looked at.
    async fn look_back(&mut self, context: &Context) {
        let now = context.store.now();
        let since = self.since.max(now.before(LOOK_BACK_MAX));
        let mut left = LOOK_BACK_MAILS_MAX;
        for account in self.accounts(context) {
            let looked = self.look_through(context, account, since, &mut left).await;
            if let Err(error) = looked {
                tracing::warn!(%account, %error, "reports that came before the start are not looked for");
            }
        }
    }

    /// The accounts that addresses for reports lead to.
    fn accounts(&self, context: &Context) -> BTreeSet<AccountId> {
        let live = context.live.borrow().clone();
        let addresses = self.incoming.0.addresses.all();
        let mut accounts = BTreeSet::new();
        for address in addresses.iter().filter_map(|address| Address::parse(address).ok()) {
            if let Resolution::Deliver { accounts: found, .. } = live.directory.resolve(&address) {
                accounts.extend(found);
            }
        }
        accounts.into_iter().take(ACCOUNTS_MAX).collect()
    }

    async fn look_through(
        &mut self,
        context: &Context,
        account: AccountId,
        since: Timestamp,
        left: &mut usize,
    ) -> Result<(), StoreError> {
        let account = context.store.account(account).await?;
        let named = context.live.borrow().config.reports.mailbox.clone();
        for mailbox in where_reports_lie(&account, &named) {
            let selection = account.select(mailbox.id).await?;
            let Some(state) = selection.state() else { continue };
            // the newest are the last; what a client put there has no prefix of ours
            let rows = state.rows().rev().take_while(|row| row.save_date >= since);
            let rows: Vec<Row> =
                rows.filter(|row| row.content.prefix_size() > 0).take(*left).cloned().collect();
            *left -= rows.len();
            for row in rows.iter().rev() {
                let structure = context.store.structure(account.id(), row).await?;
                if !mail::may_bring_reports(&structure) {
                    continue;
                }
                self.wait_for_turn().await;
                match context.read(row).await {
                    Ok(octets) => self.read(context, octets, None, None).await,
                    Err(error) => tracing::warn!(uid = %row.uid, %error, "a mail with reports is not read"),
                }
            }
        }
        Ok(())
    }

    async fn wait_for_turn(&mut self) {
        while let Some(until) = self.pace.next(Instant::now()) {
            tokio::time::sleep_until(until).await;
        }
    }

    async fn look_at(&mut self, context: &Context, job: Job) {
        self.wait_for_turn().await;
        let Job { id, place, about } = job;
        let octets = match place {
            Place::Octets(octets) => Ok(Some(octets)),
            Place::Mailbox(placed) => context.octets(&placed).await,
        };
        match octets {
            Ok(Some(octets)) => self.read(context, octets, Some(id), about).await,
            Ok(None) => tracing::debug!(%id, "a mail that may have brought reports is gone already"),
            Err(error) => self.tell(context, id.to_string(), String::new(), error.to_string()).await,
        }
    }

    /// Reads a mail, and keeps what it says.
    async fn read(&self, context: &Context, octets: Bytes, id: Option<EntryId>, about: Option<EntryId>) {
        let (ours, now) = (context.ours(), context.store.now());
        let reading = spawn_blocking(move || mail::read(&octets, about, &ours, now)).await;
        let Ok(Reading { id: own, found, problems }) = reading else {
            tracing::error!(id = id.map(|id| id.to_string()), "reading a report failed: this is a bug");
            return;
        };
        let mail = id.or(own).map_or_else(|| "unknown".to_owned(), |id| id.to_string());
        for (from, why) in problems {
            self.tell(context, mail.clone(), from, why).await;
        }
        for found in found {
            let kept = self.kept(context, mail.clone(), found, about).await;
            self.keep(context, Line::Report(Box::new(kept))).await;
        }
    }

    /// A report with what is found out about it.
    async fn kept(&self, context: &Context, mail: String, mut found: Found, about: Option<EntryId>) -> Kept {
        // what the report itself says may be forged, the return path may not
        if let Content::Incident(told) = &mut found.content
            && about.is_none()
        {
            told.about = known(&context.store, told.about.take()).await;
        }
        let names = names(&context.resolver, &found.content).await;
        let Found { reporter, content } = found;
        Kept { mail, at: context.store.now().to_string(), reporter, names, content }
    }

    /// Says that something looked like a report and was none.
    async fn tell(&self, context: &Context, mail: String, from: String, why: String) {
        tracing::warn!(mail, from, why, "what looked like a report is none");
        let at = context.store.now().to_string();
        self.keep(context, Line::Problem(Problem { mail, at, from, why })).await;
    }

    async fn tell_missed(&self, context: &Context) {
        let missed = self.incoming.0.missed.swap(0, Ordering::Relaxed);
        if missed > 0 {
            let why = format!("{missed} mails were not looked at: too many came at once");
            self.tell(context, String::new(), String::new(), why).await;
        }
    }

    async fn keep(&self, context: &Context, line: Line) {
        let (archive, keep, now) = (self.archive.clone(), context.keep(), context.store.now());
        let adding = spawn_blocking(move || {
            let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
            let added = archive.add(&line, keep, now);
            (line, added)
        });
        let (line, added) = match adding.await {
            Ok(done) => done,
            Err(error) => return tracing::error!(%error, "keeping a report failed: this is a bug"),
        };
        let Line::Report(kept) = &line else { return };
        let Kept { mail, reporter, .. } = &**kept;
        let (provider, is_verified) = (&reporter.provider, reporter.verified.is_some());
        match added {
            Ok(Added::Kept) => tracing::info!(mail, provider, is_verified, "a report came"),
            Ok(Added::Known) => tracing::debug!(mail, provider, "a report came that is known"),
            Ok(Added::NoRoom) => {
                tracing::warn!(mail, provider, "a report is not kept: there are too many today");
            }
            Err(error) => tracing::warn!(mail, provider, %error, "a report is not kept"),
        }
    }
}

/// The mailboxes that mail with reports is delivered to.
fn where_reports_lie(account: &Account, mailbox: &Option<String>) -> Vec<Arc<MailboxState>> {
    let state = account.state();
    let named = mailbox.as_ref().and_then(|name| state.by_name(name));
    let junk = state.mailboxes.values().find(|mailbox| mailbox.special_use == Some(SpecialUse::Junk));
    state.inbox().into_iter().chain(junk).chain(named).cloned().collect()
}

/// The id of a message, if it is one that went out from here.
async fn known(store: &Store, id: Option<String>) -> Option<String> {
    let text = id?;
    let history = store.queue_history(text.parse().ok()?).await;
    history.is_ok_and(|events| !events.is_empty()).then_some(text)
}

/// The names of addresses that sent in our name without anything to stand for it.
async fn names(resolver: &Resolver, content: &Content) -> BTreeMap<IpAddr, String> {
    let addresses: BTreeSet<IpAddr> = match content {
        Content::Aggregate(report) => report
            .rows
            .iter()
            .filter(|row| !row.passes())
            .filter_map(|row| row.source)
            .take(NAMES_MAX)
            .collect(),
        Content::Incident(told) => told.source.into_iter().collect(),
        Content::Tls(_) => BTreeSet::new(),
    };
    let deadline = Instant::now() + NAMES_TIMEOUT;
    let mut names = BTreeMap::new();
    for address in addresses {
        let looked = tokio::time::timeout_at(deadline, iprev::check(resolver, address)).await;
        match looked {
            Ok(IprevOutcome::Pass(name)) => drop(names.insert(address, super::text::bounded(&name))),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    names
}

#[cfg(test)]
mod tests;
