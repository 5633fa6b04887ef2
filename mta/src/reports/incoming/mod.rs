//! Reports of others about our mail, as they come by mail: found, read, kept, and compared with what we sent.
//!
//! ```text
//! server: a mail is accepted ──► waiting ──► run: mail (pure), names ──► archive ──┐
//! queue:  a message is taken ──────────────────────────────────────────► sent ─────┴──► summary (pure)
//! ```
//! What the mail says is looked at when it is durable and answered, one mail at a time, so many a minute: whatever comes here, mail does not
//! wait for it. The mail is delivered as all other mail. After a restart mail that lies in a mailbox here and was not read is read; a report
//! counts once, so reading one again does no harm.
//!
//! Not here: reports that we send (`outgoing`), reports to the return path of one message (`message::report`, noted by `server`).

mod addresses;
pub mod aggregate;
pub mod archive;
pub mod mail;
pub mod provider;
mod run;
pub mod sent;
pub mod summary;
#[cfg(test)]
pub(crate) mod testing;
mod text;
pub mod tls;
pub mod unpack;
mod words;

use std::{
    collections::{HashSet, VecDeque},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::Notify;
use waypost_config::Config;
use waypost_mail::{Address, EntryId, Timestamp};
use waypost_storage::Placed;

use self::{
    addresses::Addresses,
    archive::{Line, lines_since},
    sent::Sent,
    summary::{Summary, Wanted},
};
use crate::tls_policy::results::day_name;
pub use run::{Context, PER_MINUTE_MAX, WRITE_INTERVAL};

/// Most mails that wait to be looked at; those beyond are not looked at before a restart, and that is said.
pub const WAITING_MAX: usize = 256;
/// Most octets of those that are in no mailbox here.
const WAITING_BYTES_MAX: usize = 8 << 20;

/// Takes mail that may bring reports. Cheap to clone. The default keeps nothing.
#[derive(Clone, Debug, Default)]
pub struct Incoming(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    folder: Option<PathBuf>,
    addresses: Addresses,
    sent: Sent,
    waiting: Mutex<VecDeque<Job>>,
    bell: Notify,
    /// Mails that were not taken.
    missed: AtomicU64,
    /// The addresses of our name, as DNS has them.
    own: RwLock<HashSet<IpAddr>>,
}

/// A mail that is to be looked at.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Its id.
    pub(crate) id: EntryId,
    /// Where it is.
    pub(crate) place: Place,
    /// The message whose own return path it came to.
    pub(crate) about: Option<EntryId>,
}

/// Where a mail is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In a mailbox here.
    Mailbox(Placed),
    /// It goes elsewhere: its octets.
    Octets(Bytes),
}

impl Place {
    fn bytes(&self) -> usize {
        match self {
            Self::Mailbox(_) => 0,
            Self::Octets(octets) => octets.len(),
        }
    }
}

impl Incoming {
    /// With what a state directory holds. Blocks.
    pub fn open(state_dir: &Path, now: Timestamp) -> Self {
        let folder = state_dir.join("reports");
        let sent = Sent::open(&folder.join("sent"), now);
        Self(Arc::new(Shared { folder: Some(folder), sent, ..Shared::default() }))
    }

    /// Takes the addresses for reports that are known without asking DNS.
    pub fn configure(&self, config: &Config) {
        self.0.addresses.configure(config);
    }

    /// What counts the messages that others take.
    pub fn sent(&self) -> &Sent {
        &self.0.sent
    }

    /// Whether reports may come to this address.
    pub(crate) fn is_for_reports(&self, address: &Address) -> bool {
        self.0.addresses.holds(address)
    }

    /// Takes a mail that was accepted, to be looked at when it is its turn.
    pub(crate) fn offer(&self, job: Job) {
        if self.0.folder.is_none() {
            return;
        }
        let mut waiting = self.waiting();
        let bytes = waiting.iter().map(|job| job.place.bytes()).sum::<usize>() + job.place.bytes();
        if waiting.len() < WAITING_MAX && bytes <= WAITING_BYTES_MAX {
            waiting.push_back(job);
            self.0.bell.notify_one();
        } else {
            self.0.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What reports of the last `days` days say, today's included, and what was sent. Errors: files that cannot be read. Blocks.
    pub fn summary(&self, days: u32, wanted: Wanted, now: Timestamp) -> io::Result<Summary> {
        let first_day = first_day(days, now);
        let lines = self.lines(&first_day)?;
        let sent = self.0.sent.days_since(&first_day)?;
        let own = self.0.own.read().unwrap_or_else(PoisonError::into_inner);
        let own = wanted.own.iter().chain(own.iter()).copied().collect();
        Ok(summary::summary(&lines, &sent, &Wanted { first_day, own, ..wanted }))
    }

    /// All lines that were kept in the last `days` days, today included, in their order. Errors: files that cannot be read. Blocks.
    pub fn lines_of(&self, days: u32, now: Timestamp) -> io::Result<Vec<Line>> {
        self.lines(&first_day(days, now))
    }

    fn lines(&self, first_day: &str) -> io::Result<Vec<Line>> {
        self.received().map_or_else(|| Ok(Vec::new()), |folder| lines_since(&folder, first_day))
    }

    fn received(&self) -> Option<PathBuf> {
        self.0.folder.as_ref().map(|folder| folder.join("received"))
    }

    /// The mails that wait. Each change of them is complete, so that a poisoned lock is no reason to stop.
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first of the last so many days.
fn first_day(days: u32, now: Timestamp) -> String {
    let before = i64::from(days.max(1) - 1).saturating_mul(86_400);
    day_name(Timestamp::from_seconds(now.seconds().saturating_sub(before)))
}
