//! Opening a store: the lock, the journal, directory and queue, what lies behind the index, and the threads.

use std::{
    collections::HashMap,
    fs::File,
    path::Path,
    sync::{Arc, Mutex, RwLock, atomic::AtomicU64, mpsc as std_mpsc},
    thread,
};

use rustix::fs::{FlockOperation, flock};
use tokio::{
    runtime,
    sync::{Notify, mpsc, watch},
    task,
};
use waypost_mail::{AccountId, EntryId, Timestamp};

use crate::{
    apply::{QueueState, State, apply},
    backup, checkpoint,
    decide::directory::restored,
    directory,
    error::StoreError,
    index::{Index, heads::Heads},
    journal::{Files, Journal, NewEntry, Stored, Stream, Syncer},
    queue::{
        changes::Changes,
        entries::{Durable, Entries},
        replay::{Met, replay},
    },
    record::Record,
    shared::Shared,
    state::DirectoryState,
    store::Options,
    writer::{Custom, Desk, Group, Message, Progress, Run, Writer},
};

/// Commands that wait for the writer before their callers have to wait.
const MESSAGES_MAX: usize = 4096;

/// Most octets of deleted messages that are retained of one account; its quota bounds them, too.
const RETAINED_BYTES_MAX: u64 = 8 << 30;

/// A store that runs.
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) messages: mpsc::Sender<Message>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) work: Work,
}

/// Where the writer runs.
#[derive(Debug)]
pub(crate) enum Work {
    /// On a thread.
    Thread(thread::JoinHandle<()>),
    /// In a task, as the disk is in memory.
    Task(task::JoinHandle<()>),
}

impl Work {
    /// Waits for its end; `false`: it panicked.
    pub(crate) async fn ended(self) -> bool {
        match self {
            Self::Thread(thread) => task::spawn_blocking(|| thread.join().is_ok()).await.unwrap_or(false),
            Self::Task(task) => task.await.is_ok(),
        }
    }
}

/// Opens or creates a store.
pub(crate) fn open(options: &Options) -> Result<Opened, StoreError> {
    let has_files = !options.disk.is_memory();
    if has_files {
        std::fs::create_dir_all(&options.directory)?;
    }
    options.disk.create_directory(&options.directory)?;
    let lock = has_files.then(|| lock(&options.directory)).transpose()?;
    let restored = backup::is_restored(options.disk.as_ref(), &options.directory)?;
    let mut journal = Journal::open(Arc::clone(&options.disk), &options.directory, options.segment_bytes)?;
    let mut found = Found::default();
    found.directory(&journal.files())?;
    found.queue(&journal)?;
    let heads = Heads::read(options.disk.as_ref(), &options.directory);
    let promised = heads.as_ref().map(|heads| found.promised(heads)).unwrap_or_default();
    let heads = heads.filter(|heads| heads.position <= journal.end());
    found.behind(&journal, heads.as_ref())?;
    if restored {
        found.begin_behind(&mut journal, (options.clock)())?;
        backup::forget_restore(options.disk.as_ref(), &options.directory)?;
    }
    // Older folders were swept when the position of the heads was there.
    journal.sweep_bodies(heads.as_ref().map(|heads| heads.position).unwrap_or_default());
    let heads_segment = heads.as_ref().map_or(0, |heads| heads.position.segment);
    let queue_changed = Changes::all(&found.queue.read());
    let shared = Arc::new(Shared {
        state_directory: options.directory.clone(),
        disk: Arc::clone(&options.disk),
        clock: Arc::clone(&options.clock),
        files: journal.files(),
        index: if has_files { Index::open(&options.directory) } else { Index::none() },
        accounts: RwLock::default(),
        directory: watch::Sender::new(Arc::clone(&found.state.directory)),
        queue_changed: Mutex::new(queue_changed),
        queue: found.queue,
        queue_notify: Notify::new(),
        structures: RwLock::default(),
        pins: Mutex::default(),
        heads,
        promised,
        pending: Mutex::new(found.pending),
        written: Mutex::default(),
        damage: Mutex::default(),
        last_entry: AtomicU64::new(found.last_entry),
        segment_bytes: options.segment_bytes,
        heads_segment: AtomicU64::new(heads_segment),
        dead_bytes: AtomicU64::new(0),
        crossings: crate::crossing::Crossings::default(),
        maintenance: tokio::sync::Mutex::new(()),
        retention_ms: AtomicU64::new(u64::try_from(options.retention.as_millis()).unwrap_or(u64::MAX)),
    });
    found.state.retention.bytes_max = RETAINED_BYTES_MAX;
    found.damage.into_iter().for_each(|sentence| shared.note_damage(sentence));
    let progress = Progress::after_start(found.records_behind);
    start(options, shared, journal, found.state, progress, lock)
}

fn start(
    options: &Options,
    shared: Arc<Shared>,
    journal: Journal,
    state: State,
    progress: Progress,
    lock: Option<File>,
) -> Result<Opened, StoreError> {
    let (messages, receiver) = mpsc::channel(MESSAGES_MAX);
    let (requests, checkpoints) = std_mpsc::sync_channel(1);
    let (weak, at_checkpoints) = (messages.downgrade(), Arc::clone(&shared));
    let in_memory = shared.disk.is_memory();
    // Without an index there is nothing to write: who asks for a checkpoint is refused.
    let checkpointer = (!in_memory)
        .then(|| {
            thread::Builder::new()
                .name("waypost-checkpoint".to_owned())
                .spawn(move || checkpoint::run(&at_checkpoints, &checkpoints, &weak))
        })
        .transpose()?;
    let writer = Writer {
        shared: Arc::clone(&shared),
        journal,
        state,
        checkpoints: requests,
        checkpoint_records: options.checkpoint_records,
        syncer: if in_memory { Syncer::in_place() } else { Syncer::start()? },
        progress,
        group: Group::default(),
        flight: None,
        custom: Custom::default(),
    };
    let desk = Arc::new(Desk::default());
    desk.put(Box::new(writer));
    let run = Run { desk: Arc::clone(&desk), messages: receiver };
    if in_memory {
        let work = async move {
            if let Some(Err(error)) = run.run().await.map(Journal::close) {
                tracing::warn!(%error, "the journal was not closed cleanly");
            }
        };
        let work = Work::Task(tokio::spawn(task::unconstrained(work)));
        return Ok(Opened { shared, messages, desk, work });
    }
    let at_writer = Arc::clone(&shared);
    // It only waits for what it is told and for what is synced.
    let runtime = runtime::Builder::new_current_thread().build()?;
    let thread = thread::Builder::new().name("waypost-writer".to_owned()).spawn(move || {
        let journal = runtime.block_on(task::unconstrained(run.run()));
        if checkpointer.is_some_and(|checkpointer| checkpointer.join().is_err()) {
            tracing::error!("the checkpoint thread panicked");
        }
        at_writer.index.close();
        if let Some(Err(error)) = journal.map(Journal::close) {
            tracing::warn!(%error, "the journal was not closed cleanly; the next start reads its tail again");
        }
        drop(lock);
    })?;
    Ok(Opened { shared, messages, desk, work: Work::Thread(thread) })
}

/// Takes `STATE/lock` until the file is dropped.
pub(crate) fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| StoreError::Open(format!("{} is held by another process", directory.display())))?;
    Ok(file)
}

/// The accounts of a journal that is only read.
pub(crate) fn read_directory(files: &Files) -> Result<Arc<DirectoryState>, StoreError> {
    Ok(Arc::new(directory::replay(files, |_| {})?))
}

/// What the journal holds.
#[derive(Default)]
struct Found {
    state: State,
    queue: Durable,
    /// Records behind the heads.
    pending: HashMap<AccountId, Vec<Stored>>,
    /// How many of all streams are behind them.
    records_behind: u64,
    last_entry: u64,
    damage: Vec<String>,
}

impl Found {
    fn directory(&mut self, files: &Files) -> Result<(), StoreError> {
        let directory = directory::replay(files, |met| self.meet("directory", met))?;
        self.state.directory = Arc::new(directory);
        Ok(())
    }

    fn queue(&mut self, journal: &Journal) -> Result<(), StoreError> {
        let QueueState { seq, entries } = replay(&journal.files(), |met| self.meet("queue", met))?;
        self.queue = Durable::new(entries.into_all());
        self.state.queue = QueueState { seq, entries: Entries::over(self.queue.clone()) };
        Ok(())
    }

    fn meet(&mut self, stream: &str, met: Met<'_>) {
        let sentence = match met {
            Met::Record(stored) => return self.last_entry = self.last_entry.max(stored.entry.0),
            Met::Missing(count) => format!("{count} records of the {stream} are missing in the journal"),
            Met::Damaged(sentence) => sentence,
            Met::Inapplicable(seq, error) => format!("record {seq} of the {stream}: {error}"),
        };
        self.damage.push(sentence);
    }

    /// What the heads know of numbers that were given, whether their index can be used or not: up to which seq each
    /// account was durable.
    fn promised(&mut self, heads: &Heads) -> HashMap<AccountId, u64> {
        self.last_entry = self.last_entry.max(heads.last_entry);
        heads.accounts.keys().for_each(|account| self.account_was_given(*account));
        heads.accounts.iter().map(|(account, head)| (*account, head.seq)).collect()
    }

    /// Reads what is behind the position of the heads, all of the journal where there are none: names and ids that were
    /// given, and the records of accounts that the index lacks.
    fn behind(&mut self, journal: &Journal, heads: Option<&Heads>) -> Result<(), StoreError> {
        for stored in journal.records_from(heads.map(|heads| heads.position).unwrap_or_default())? {
            let stored = stored?;
            self.records_behind += 1;
            self.last_entry = self.last_entry.max(stored.entry.0);
            let Stream::Account(account) = stored.record.stream else { continue };
            self.account_was_given(account);
            if heads.is_some() && self.state.directory.accounts.contains_key(&account) {
                self.pending.entry(account).or_default().push(stored);
            }
        }
        Ok(())
    }

    /// Notes in the journal that the state came out of a backup, so that numbers which were given after it are not given again.
    fn begin_behind(&mut self, journal: &mut Journal, now: Timestamp) -> Result<(), StoreError> {
        self.last_entry += 1;
        let (id, seq) = (EntryId(self.last_entry), self.state.directory.seq + 1);
        let change = restored(&self.state.directory, now).into();
        let record = Record { stream: Stream::Directory, seq, change };
        let records = vec![record.encode()];
        let placement = journal.stage(NewEntry { id, records, area: Vec::new(), body_files: Vec::new() })?;
        journal.commit()?;
        if let Err(error) = apply(&mut self.state, &record, &placement) {
            self.damage.push(format!("record {seq} of the directory: {error}"));
        }
        let queued = self.queue.read().len();
        if queued > 0 {
            tracing::warn!(
                event = "restored_queue",
                queued,
                "the queue is as it was in the backup: what was relayed since is relayed again"
            );
        }
        Ok(())
    }

    /// An id is never given again, not even where the record that gave it is lost: its stream has records already.
    fn account_was_given(&mut self, account: AccountId) {
        if self.state.directory.next_account <= account.0 {
            Arc::make_mut(&mut self.state.directory).next_account = account.0.saturating_add(1);
        }
    }
}
