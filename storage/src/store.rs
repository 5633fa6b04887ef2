//! The store as a whole: opening, closing, the directory of accounts.

use std::{
    fmt::Debug,
    path::PathBuf,
    sync::{Arc, Mutex, Weak},
    time::{Duration, SystemTime},
};

use tokio::sync::{mpsc, oneshot, watch};
use waypost_mail::{
    AccountCertificate, AccountId, AccountSource, Address, ApopSecret, AppPassword, MailboxId, Timestamp,
    TotpSecret,
};

use crate::{
    decide::{
        Command, Undecided,
        accept::RECIPIENTS_MAX,
        directory::{
            AddAppPassword, AddCertificate, CreateAccount, RemoveAccount, RemoveAppPassword,
            RemoveCertificate, SetApop, SetPassword, SetQuota, SetTotp, UseCode,
        },
    },
    disk::{Disk, Real},
    error::StoreError,
    housekeeping,
    journal::Files,
    opening::{self, Work},
    progress::{self, Report},
    recovery,
    shared::{Pin, Shared, locked},
    state::DirectoryState,
    writer::{Desk, Merged, Message, Package, Rejected, Submission, Waiting},
};

/// Octets of a journal segment.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Records after which a checkpoint is made.
const CHECKPOINT_RECORDS: u64 = 80_000;
/// How long deleted messages are retained, if nothing else is said.
const RETENTION: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// How often rows are loaded for one command before it fails: they may be given up or change meanwhile.
const LOADS_MAX: usize = 16;

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// The state directory; created where it is missing.
    pub directory: PathBuf,
    /// The file system of the journal.
    pub disk: Arc<dyn Disk>,
    /// The time.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Octets of a journal segment; default 64 MiB, smaller in tests.
    pub segment_bytes: u64,
    /// Records after which a checkpoint is made; default 50,000.
    pub checkpoint_records: u64,
    /// How long deleted messages are retained; default 14 days, zero: not at all.
    pub retention: Duration,
}

/// The store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

/// Who writes a submission.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hand {
    /// The writer's thread.
    Writer,
    /// Its caller, where nobody else has anything to write: its thread is held up for one sync.
    Caller,
}

/// A store that is held by others.
#[derive(Debug)]
pub(crate) struct WeakStore(Weak<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    messages: mpsc::Sender<Message>,
    desk: Arc<Desk>,
    /// Where the writer runs, until someone waits for its end.
    work: Mutex<Option<Work>>,
}

/// An account to be created.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Its address.
    pub address: Address,
    /// Where it is declared.
    pub source: AccountSource,
    /// PHC string, for accounts of the store.
    pub password_hash: Option<String>,
    /// SCRAM verifiers of the same password, in their text form.
    pub scram_verifiers: Vec<String>,
    /// Bytes it may hold.
    pub quota_bytes: Option<u64>,
}

impl Options {
    /// The defaults on the real disk with the system's clock.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            disk: Arc::new(Real),
            clock: Arc::new(|| {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }),
            segment_bytes: SEGMENT_BYTES,
            checkpoint_records: CHECKPOINT_RECORDS,
            retention: RETENTION,
        }
    }
}

impl WeakStore {
    /// The store, as long as someone else holds it.
    pub(crate) fn upgrade(&self) -> Option<Store> {
        self.0.upgrade().map(|inner| Store { inner })
    }
}

impl Store {
    /// Opens or creates a store and recovers it. Errors: `Open`, `Io`, `Full`.
    pub async fn open(options: Options) -> Result<Self, StoreError> {
        let in_memory = options.disk.is_memory();
        let opened = match in_memory {
            true => opening::open(&options),
            false => tokio::task::spawn_blocking(move || opening::open(&options))
                .await
                .unwrap_or(Err(StoreError::Closed)),
        };
        let opening::Opened { shared, messages, desk, work } = opened?;
        let work = Mutex::new(Some(work));
        let store = Self { inner: Arc::new(Inner { shared, messages, desk, work }) };
        if in_memory {
            return Ok(store);
        }
        tokio::spawn(load_pending(store.clone()));
        tokio::spawn(housekeeping::run(WeakStore(Arc::downgrade(&store.inner))));
        Ok(store)
    }

    /// Ends the writer: what was submitted is written, a checkpoint is made, the lock is given up.
    pub async fn close(&self) {
        // Fails where it was closed before.
        let _closed = self.inner.messages.send(Message::Close).await;
        let work = locked(&self.inner.work).take();
        if let Some(work) = work
            && !work.ended().await
        {
            tracing::error!("the writer panicked");
        }
    }

    /// All accounts; the receiver is told of changes.
    pub fn directory(&self) -> watch::Receiver<Arc<DirectoryState>> {
        self.shared().directory.subscribe()
    }

    /// Creates an account with INBOX, Drafts, Sent, Junk, Trash and Archive (subscribed, with their special use).
    /// Errors: `AccountExists` and those of writing.
    pub async fn create_account(&self, account: NewAccount) -> Result<AccountId, StoreError> {
        self.submit(CreateAccount(account)).await
    }

    /// Changes an account's password: its hash, and the SCRAM verifiers that go with it. Errors: `NoSuchAccount` and those of writing.
    pub async fn set_password(
        &self,
        account: AccountId,
        password_hash: Option<String>,
        scram_verifiers: Vec<String>,
    ) -> Result<(), StoreError> {
        self.submit(SetPassword { account, password_hash, scram_verifiers }).await
    }

    /// Gives an account another app password. Errors: `NoSuchAccount`, `AppPasswordExists`, `Limit` and those of writing.
    pub async fn add_app_password(
        &self,
        account: AccountId,
        app_password: AppPassword,
    ) -> Result<(), StoreError> {
        self.submit(AddAppPassword { account, app_password }).await
    }

    /// Takes an app password away from an account. Errors: `NoSuchAccount`, `NoSuchAppPassword` and those of writing.
    pub async fn remove_app_password(&self, account: AccountId, name: String) -> Result<(), StoreError> {
        self.submit(RemoveAppPassword { account, name }).await
    }

    /// Lets another certificate log in to an account. Errors: `NoSuchAccount`, `CertificateExists`, `Limit` and those of writing.
    pub async fn add_certificate(
        &self,
        account: AccountId,
        certificate: AccountCertificate,
    ) -> Result<(), StoreError> {
        self.submit(AddCertificate { account, certificate }).await
    }

    /// Lets a certificate log in to an account no longer. Errors: `NoSuchAccount`, `NoSuchCertificate` and those of writing.
    pub async fn remove_certificate(&self, account: AccountId, name: String) -> Result<(), StoreError> {
        self.submit(RemoveCertificate { account, name }).await
    }

    /// Protects an account's password by codes, or (`None`) no longer. Errors: `NoSuchAccount`, `TotpExists` and those of writing.
    pub async fn set_totp(&self, account: AccountId, secret: Option<TotpSecret>) -> Result<(), StoreError> {
        self.submit(SetTotp { account, secret }).await
    }

    /// Gives an account a secret for APOP, or (`None`) takes it away. Errors: `NoSuchAccount` and those of writing.
    pub async fn set_apop(&self, account: AccountId, secret: Option<ApopSecret>) -> Result<(), StoreError> {
        self.submit(SetApop { account, secret }).await
    }

    /// Uses the code of a time step (RFC 6238 section 5.2), durably; `false` where it, or a later one, is used already, or the account
    /// has no codes. Errors: `NoSuchAccount` and those of writing: it is not used then.
    pub async fn use_code(&self, account: AccountId, step: u64) -> Result<bool, StoreError> {
        self.submit(UseCode { account, step }).await
    }

    /// Changes an account's quota.
    pub async fn set_quota(&self, account: AccountId, quota_bytes: Option<u64>) -> Result<(), StoreError> {
        self.submit(SetQuota { account, quota_bytes }).await
    }

    /// Removes an account with its mail.
    pub async fn remove_account(&self, account: AccountId) -> Result<(), StoreError> {
        self.submit(RemoveAccount(account)).await
    }

    /// Damage found so far, one sentence each.
    pub fn damage(&self) -> Vec<String> {
        let mut all = self.shared().files.damage();
        all.extend(locked(&self.shared().damage).iter().cloned());
        all
    }

    /// Compares live state and index with a rebuild from the journal, and the journal and all messages with their checks; one
    /// sentence for each problem. The work of others goes on meanwhile.
    pub async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.check_reporting(progress::silent()).await
    }

    /// The same, telling how far it has come.
    pub async fn check_reporting(&self, report: Report) -> Result<Vec<String>, StoreError> {
        crate::check::check(self, report).await
    }

    /// The time by the store's clock, for what is recorded: server and queue have no other one.
    pub fn now(&self) -> Timestamp {
        (self.shared().clock)()
    }

    /// Whether a write has failed: nothing is written until the next start.
    pub fn is_poisoned(&self) -> bool {
        self.files().is_poisoned()
    }

    /// Whether the writer ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.messages.is_closed()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Has what changed written to the index; returns when that is durable, so that the next start reads no more of the journal
    /// than what came since. Errors: `Io`: it could not be written; `Closed`.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        let (caller, answer) = oneshot::channel();
        self.tell(Message::Checkpoint(caller)).await?;
        let done = answer.await.map_err(|_| StoreError::Closed)?;
        if done { Ok(()) } else { Err(StoreError::Io("the index could not be written".to_owned())) }
    }

    /// Where the writer lies.
    #[cfg(test)]
    pub(crate) fn desk(&self) -> &Desk {
        &self.inner.desk
    }

    /// The journal's files, for readers and body writers.
    pub(crate) fn files(&self) -> &Arc<Files> {
        &self.shared().files
    }

    /// Has a command without octets decided and made durable.
    pub(crate) async fn submit<C: Command>(&self, command: C) -> Result<C::Outcome, StoreError> {
        let id = self.shared().new_entry_id();
        self.submit_package(Package { command, id, area: Vec::new(), bodies: Vec::new() }).await
    }

    /// Has a command decided and made durable; loads what it needs.
    pub(crate) async fn submit_package<C: Command>(
        &self,
        package: Package<C>,
    ) -> Result<C::Outcome, StoreError> {
        self.submit_by(Hand::Writer, package).await
    }

    /// The same, by the hand that writes it.
    pub(crate) async fn submit_by<C: Command>(
        &self,
        hand: Hand,
        mut package: Package<C>,
    ) -> Result<C::Outcome, StoreError> {
        let mut pins: Vec<Pin> = Vec::new();
        // Accounts stay once they are loaded, so each of those that a message goes to is loaded once.
        let mut accounts_left = RECIPIENTS_MAX;
        while pins.len() < LOADS_MAX && accounts_left > 0 {
            let (caller, answer) = oneshot::channel();
            let waiting = Waiting { package, outcome: None, caller };
            self.hand_over(hand, Box::new(waiting)).await?;
            let missing = match answer.await.map_err(|_| StoreError::Closed)? {
                Ok(outcome) => return Ok(outcome),
                Err(Rejected::Refused(error)) => return Err(error),
                Err(Rejected::NotLoaded(missing, back)) => {
                    package = back;
                    missing
                }
            };
            match missing {
                Undecided::Refused(error) => return Err(error),
                Undecided::Account(account) => {
                    accounts_left -= 1;
                    self.load_account(account).await?;
                }
                Undecided::Rows(account, mailbox) => {
                    pins.push(self.shared().pin(account, mailbox));
                    self.load_rows(account, mailbox).await?;
                }
            }
        }
        Err(StoreError::Io("what the command needs could not be loaded".to_owned()))
    }

    /// Gives a submission to who writes it.
    async fn hand_over(&self, hand: Hand, submission: Box<dyn Submission>) -> Result<(), StoreError> {
        let nothing_waits = || self.inner.messages.capacity() == self.inner.messages.max_capacity();
        let left = match hand {
            // On a disk in memory all is done in the tasks of those who ask anyway.
            Hand::Caller if nothing_waits() && !self.shared().disk.is_memory() => {
                self.inner.desk.serve(submission).err()
            }
            Hand::Caller | Hand::Writer => Some(submission),
        };
        match left {
            Some(submission) => self.tell(Message::Submit(submission)).await,
            None => Ok(()),
        }
    }

    /// Sends a message to the writer.
    pub(crate) async fn tell(&self, message: Message) -> Result<(), StoreError> {
        self.inner.messages.send(message).await.map_err(|_| StoreError::Closed)
    }

    /// Loads an account, where it is not loaded yet.
    pub(crate) async fn load_account(&self, id: AccountId) -> Result<(), StoreError> {
        if self.shared().account(id).is_some() {
            return Ok(());
        }
        if !self.shared().directory.borrow().accounts.contains_key(&id) {
            return Err(StoreError::NoSuchAccount);
        }
        let loaded = self.blocking(move |shared| recovery::load(shared, id)).await?;
        let (caller, answer) = oneshot::channel();
        self.tell(Message::Provide(Box::new(loaded), caller)).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Loads the rows of a mailbox that only the index holds. The caller has pinned them.
    pub(crate) async fn load_rows(&self, account: AccountId, mailbox: MailboxId) -> Result<(), StoreError> {
        for look in 0..LOADS_MAX {
            let Some(state) = self.shared().account(account) else { return Err(StoreError::NoSuchAccount) };
            let Some(found) = state.place(mailbox).filter(|found| found.partial).cloned() else {
                return Ok(());
            };
            let seq = state.seq;
            let rows = self.blocking(move |shared| Ok(recovery::load_rows(shared, account, &found))).await?;
            let merged = match rows {
                // Perhaps a checkpoint wrote rows meanwhile that came after `found`.
                None if look == 0 && self.shared().account(account).is_none_or(|now| now.seq != seq) => {
                    Merged::Stale
                }
                Some(chunks) => {
                    let (caller, answer) = oneshot::channel();
                    self.tell(Message::Rows(account, mailbox, chunks, caller)).await?;
                    answer.await.map_err(|_| StoreError::Closed)?
                }
                None => {
                    tracing::warn!(%account, %mailbox, "rows in the index are wrong; the account is rebuilt");
                    let loaded = self.blocking(move |shared| recovery::rebuild(shared, account, seq)).await?;
                    let (caller, answer) = oneshot::channel();
                    self.tell(Message::Replace(Box::new(loaded), caller)).await?;
                    answer.await.map_err(|_| StoreError::Closed)??
                }
            };
            if merged == Merged::Yes {
                return Ok(());
            }
        }
        Err(StoreError::Io("the account changes too fast to be loaded".to_owned()))
    }

    /// Does what reads from the disk on a thread that may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(self.shared());
        if shared.disk.is_memory() {
            return work(&shared);
        }
        // A task that does not end properly panicked, or the runtime is going down.
        tokio::task::spawn_blocking(move || work(&shared)).await.unwrap_or(Err(StoreError::Closed))
    }
}

/// Loads the accounts that have records behind their heads, so that the position of the heads can move on.
async fn load_pending(store: Store) {
    let pending: Vec<AccountId> = locked(&store.shared().pending).keys().copied().collect();
    for account in pending {
        match store.load_account(account).await {
            Ok(()) | Err(StoreError::NoSuchAccount) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%account, %error, "an account could not be loaded"),
        }
    }
}

impl Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("directory", &self.directory).finish_non_exhaustive()
    }
}
