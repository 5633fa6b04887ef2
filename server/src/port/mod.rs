//! Moving mail in and out: Maildir++ and mbox, to and from one account of the store; and in, from another server by IMAP.
//!
//! Messages stream: of each a chunk, its header block and its structure are in memory, of a mailbox the names or rows of
//! its messages. The work runs on a thread that may block; it ends early where nobody takes its events any more.
//!
//! ```text
//! lines, name, maildir, mbox: the formats, pure        split: an mbox as it is read
//! source ──► import ──► intake (groups) ──► store      ledger: what an import has done
//! server ──► imap ──► intake                           uids: sets of UIDs
//! store ──► export ──► maildir or mbox tree
//! ```

mod export;
mod imap;
mod import;
mod intake;
mod ledger;
mod lines;
mod maildir;
mod mbox;
mod name;
mod source;
mod split;
mod target;
mod uids;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{runtime::Handle, sync::mpsc};
use waypost_mta::dns::Resolver;
use waypost_storage::{Account, Store, StoreError};

pub use imap::{Foreign, ForeignTls, Password};
pub use name::Layout;

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How mail lies outside of the store.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One file a message.
    Maildir,
    /// One file a mailbox.
    Mbox,
}

/// What is to be done.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// Mail goes out.
    Export {
        /// As what.
        format: Format,
        /// The Maildir, or the folder of the mboxes.
        path: PathBuf,
        /// How folders of a Maildir lie.
        layout: Layout,
        /// Whether lines end with LF alone; else octets are kept.
        lf: bool,
    },
    /// Mail comes in.
    Import {
        /// What it is.
        format: Format,
        /// The Maildir, the mbox, or the folder of the mboxes.
        path: PathBuf,
        /// How folders of a Maildir lie.
        layout: Layout,
        /// The mailbox that a single mbox goes to.
        mailbox: Option<String>,
        /// Whether the first message that cannot be imported ends it.
        strict: bool,
        /// Whether what was imported before is imported again.
        again: bool,
    },
    /// Mail comes in from another server.
    Fetch {
        /// Which, and what of it.
        from: Foreign,
        /// Whether the first message that cannot be imported ends it.
        strict: bool,
        /// Whether what was imported before is imported again.
        again: bool,
    },
}

/// What is told while the work is done.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// How far it is.
    Progress(Progress),
    /// Something cannot be moved.
    Trouble(Trouble),
}

/// How far the work is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Progress {
    /// Messages that are behind us, however they fared.
    pub messages: u64,
    /// All messages, where their number is known.
    pub messages_total: Option<u64>,
    /// Octets that are behind us.
    pub octets: u64,
    /// All octets, where their number is known.
    pub octets_total: Option<u64>,
}

/// Something that cannot be moved.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Trouble {
    /// The file, the mailbox, or the message in it.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What was done.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Summary {
    /// Messages that were moved now.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// Mailboxes that were looked into.
    pub mailboxes: u64,
    /// Messages that an earlier run had moved.
    pub earlier: u64,
    /// Messages, files and folders that were not moved.
    pub failed: u64,
    /// Why, and how many for that reason.
    pub reasons: BTreeMap<String, u64>,
    /// What was moved and lost something.
    pub warnings: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

/// Why the work ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// Nobody takes its events.
    #[error("it was stopped; the same command goes on where it ended")]
    Stopped,
    /// A message could not be imported, and `--strict` was given.
    #[error("{what}: {why}; nothing after it was imported", what = .0.what, why = .0.why)]
    Strict(Trouble),
    /// The store.
    #[error("the store: {0}; once that is mended, the same command goes on where it ended")]
    Store(#[from] StoreError),
    /// The account has no room.
    #[error(
        "the account is over its quota: raise it (`waypost account quota`), and the same command goes on"
    )]
    OverQuota,
    /// A file or folder without which nothing goes on.
    #[error("{0}: {1}{hint}", hint = hint(.1))]
    File(String, io::Error),
    /// The server that mail comes from.
    #[error("{0}{again}", again = if *.1 { "" } else { "; the same command goes on where it ended" })]
    Foreign(String, bool),
    /// The source or the target is not what was said.
    #[error("{0}")]
    Unfit(String),
}

impl Ended {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        |error| Self::File(path, error)
    }

    fn store(error: StoreError) -> Self {
        match error {
            StoreError::OverQuota => Self::OverQuota,
            error => Self::Store(error),
        }
    }
}

/// What the user may not know: who does the work.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; where a server runs, it does the work, and the user whom it runs as must be allowed to"
        }
        _ => "",
    }
}

/// What the work needs all along, and what it tells.
struct Work {
    store: Store,
    account: Account,
    runtime: Handle,
    events: mpsc::Sender<Event>,
    progress: Progress,
    told: Instant,
    summary: Summary,
}

impl Work {
    /// Waits for the store.
    fn wait<T>(&self, task: impl Future<Output = T>) -> T {
        self.runtime.block_on(task)
    }

    /// Waits for what may take long; ends where nobody takes our events any more.
    fn wait_while_asked<T>(&self, task: impl Future<Output = T>) -> Result<T, Ended> {
        self.wait(async {
            // Both are cancel-safe: what was not waited for to its end is not used any more.
            tokio::select! {
                done = task => Ok(done),
                () = self.events.closed() => Err(Ended::Stopped),
            }
        })
    }

    /// A message is behind us.
    fn passed(&mut self, octets: u64) -> Result<(), Ended> {
        self.progress.messages += 1;
        self.progress.octets += octets;
        if self.told.elapsed() < PROGRESS_INTERVAL {
            return Ok(());
        }
        self.told = Instant::now();
        self.tell(Event::Progress(self.progress.clone()))
    }

    /// Something cannot be moved: it is named and counted.
    fn failed(&mut self, what: impl Into<String>, why: impl Into<String>) -> Result<Trouble, Ended> {
        let trouble = Trouble { what: what.into(), why: why.into() };
        self.summary.failed += 1;
        *self.summary.reasons.entry(trouble.why.clone()).or_default() += 1;
        self.tell(Event::Trouble(trouble.clone()))?;
        Ok(trouble)
    }

    fn tell(&self, event: Event) -> Result<(), Ended> {
        self.events.blocking_send(event).map_err(|_| Ended::Stopped)
    }
}

/// Does the work for an account. Errors, as text: why it ended early.
pub async fn run(
    store: &Store,
    account: Account,
    state_dir: &Path,
    resolver: &Resolver,
    job: Job,
    events: mpsc::Sender<Event>,
) -> Result<Summary, String> {
    let began = Instant::now();
    let mut work = Work {
        store: store.clone(),
        account,
        runtime: Handle::current(),
        events,
        progress: Progress::default(),
        told: began,
        summary: Summary::default(),
    };
    let (state_dir, resolver) = (state_dir.to_owned(), resolver.clone());
    let done = tokio::task::spawn_blocking(move || {
        match job {
            Job::Export { format, path, layout, lf } => export::run(&mut work, format, &path, layout, lf)?,
            Job::Import { .. } => import::run(&mut work, &state_dir, job)?,
            Job::Fetch { from, strict, again } => {
                imap::run(&mut work, &state_dir, resolver, from, strict, again)?;
            }
        }
        work.tell(Event::Progress(work.progress.clone()))?;
        Ok(work.summary)
    });
    let done: Result<Summary, Ended> = done.await.map_err(|error| error.to_string())?;
    done.map(|summary| Summary { seconds: began.elapsed().as_secs_f64(), ..summary })
        .map_err(|ended| ended.to_string())
}
