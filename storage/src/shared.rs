//! What all threads of a store share: the published state, the index, the clock, and where the journal is read.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, watch};
use waypost_mail::{AccountId, EntryId, MailboxId, Timestamp};

use crate::{
    checkpoint::Written,
    crossing::Crossings,
    disk::Disk,
    index::{Index, heads::Heads, structures::Structures},
    journal::{Files, Room, Stored},
    queue::{changes::Changes, entries::Durable},
    state::{AccountState, DirectoryState},
};

/// Milliseconds stand above these bits of an entry's name, a counter within them.
const ENTRY_COUNTER_BITS: u32 = 22;

/// When a name was given, if the clock stood right.
pub(crate) fn time_of(id: EntryId) -> Timestamp {
    Timestamp((id.0 >> ENTRY_COUNTER_BITS) as i64)
}

/// What all threads share.
pub(crate) struct Shared {
    pub(crate) state_directory: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub(crate) files: Arc<Files>,
    pub(crate) index: Index,
    /// Accounts that are loaded, as last published.
    pub(crate) accounts: RwLock<HashMap<AccountId, watch::Sender<Arc<AccountState>>>>,
    pub(crate) directory: watch::Sender<Arc<DirectoryState>>,
    pub(crate) queue: Durable,
    /// What of the queue the runner was not yet told of.
    pub(crate) queue_changed: Mutex<Changes>,
    pub(crate) queue_notify: Notify,
    /// Structures that are not in the index yet.
    pub(crate) structures: RwLock<HashMap<AccountId, Structures>>,
    /// Mailboxes whose rows must stay in memory, with how many want it.
    pub(crate) pins: Mutex<HashMap<(AccountId, MailboxId), usize>>,
    /// Where the index was durable when the store was opened; `None`: nothing of it can be used.
    pub(crate) heads: Option<Heads>,
    /// Up to which seq accounts were durable by the heads file, even where its index cannot be used: a stream that ends
    /// earlier has lost records.
    pub(crate) promised: HashMap<AccountId, u64>,
    /// Records behind the heads of accounts that are not loaded yet.
    pub(crate) pending: Mutex<HashMap<AccountId, Vec<Stored>>>,
    /// What the index holds of the accounts that are loaded.
    pub(crate) written: Mutex<HashMap<AccountId, Written>>,
    pub(crate) damage: Mutex<Vec<String>>,
    pub(crate) last_entry: AtomicU64,
    /// Octets of a segment.
    pub(crate) segment_bytes: u64,
    /// The segment where reading the journal begins at the next start.
    pub(crate) heads_segment: AtomicU64,
    /// Octets of messages that nobody holds any more, since the last compaction.
    pub(crate) dead_bytes: AtomicU64,
    /// Messages that go from account to account.
    pub(crate) crossings: Crossings,
    /// Held while files of the journal are removed or exchanged, or must not be.
    pub(crate) maintenance: tokio::sync::Mutex<()>,
    /// How long deleted messages are retained, in milliseconds.
    pub(crate) retention_ms: AtomicU64,
}

impl Shared {
    /// A name for an entry: above all that were given or seen before.
    pub(crate) fn new_entry_id(&self) -> EntryId {
        let milliseconds = u64::try_from((self.clock)().0).unwrap_or(0);
        let floor = milliseconds.min(u64::MAX >> ENTRY_COUNTER_BITS) << ENTRY_COUNTER_BITS;
        let next = |last: u64| last.saturating_add(1).max(floor);
        let update = |last| Some(next(last));
        match self.last_entry.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update) {
            Ok(last) | Err(last) => EntryId(next(last)),
        }
    }

    /// The room on the disk.
    pub(crate) fn room(&self) -> Room {
        self.files.room()
    }

    /// The newest published state of an account that is loaded.
    pub(crate) fn account(&self, id: AccountId) -> Option<Arc<AccountState>> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts.get(&id).map(|published| Arc::clone(&published.borrow()))
    }

    /// Publishes the state of an account.
    pub(crate) fn publish(&self, account: Arc<AccountState>) {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(published) = accounts.get(&account.id) {
            debug_assert!(published.borrow().seq <= account.seq, "what is published never goes back");
            published.send_replace(account);
            return;
        }
        drop(accounts);
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        accounts.insert(account.id, watch::Sender::new(account));
    }

    /// Adds a sentence to what is known of damage.
    pub(crate) fn note_damage(&self, sentence: String) {
        tracing::error!(damage = %sentence);
        let mut damage = locked(&self.damage);
        if !damage.contains(&sentence) {
            damage.push(sentence);
        }
    }

    /// Keeps the rows of a mailbox in memory while the pin lives, once they are there.
    pub(crate) fn pin(self: &Arc<Self>, account: AccountId, mailbox: MailboxId) -> Pin {
        *locked(&self.pins).entry((account, mailbox)).or_default() += 1;
        Pin { shared: Arc::clone(self), key: (account, mailbox) }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("state_directory", &self.state_directory).finish_non_exhaustive()
    }
}

/// Keeps the rows of a mailbox in memory.
#[derive(Debug)]
pub(crate) struct Pin {
    shared: Arc<Shared>,
    key: (AccountId, MailboxId),
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = locked(&self.shared.pins);
        if let Some(count) = pins.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.key);
            }
        }
    }
}

/// Locks; a thread that panicked while it held the lock left nothing half done, as all that is kept under locks here is
/// replaced by single assignments.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
