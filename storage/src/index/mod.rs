//! The index: what sled keeps of the accounts, so that they need not be read from the journal at every start.
//!
//! The only place that names sled, and nothing is believed on its word: each value carries a version, the account's seq
//! when it was written and a check over its key and itself; rows are compared with the digest of their mailbox, and the
//! account's meta with `heads`. What disagrees is made anew from the journal. A sled that fails or panics is set aside.
//!
//! | key (big endian) | value |
//! |---|---|
//! | `a` account page | the account's meta: its mailboxes with counts and digests, in pages |
//! | `m` account mailbox first-uid | up to 256 rows |
//! | `s` account first-emailid | up to 32 structures, compressed; their previews, compressed apart |
//!
//! `flush()` of sled 0.34 does not reach the disk: [`Index::sync`] syncs sled's file itself. Never used: `flush_async`
//! (deadlocks), `watch_prefix` (blocks at 1,024 events), transactions, `len()` (scans). Batches have at most 500 operations.

mod blocks;
pub(crate) mod heads;
pub(crate) mod meta;
mod rows;
pub(crate) mod structures;
mod value;

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use waypost_mail::{AccountId, EmailId, MailboxId, Uid};
use zstd::bulk::Decompressor;

use self::{
    blocks::{Blocks, LATELY_MESSAGES_MAX},
    structures::Block,
    value::Value,
};
use crate::{
    error::StoreError,
    state::{AccountState, Chunk, MailboxState, Row},
    structure::{KeptStructure, Previews},
};

/// Most operations in one batch: larger ones take sled much memory.
const BATCH_OPERATIONS_MAX: usize = 500;
/// Largest value: larger ones than 128 KiB would become files that sled never syncs.
const VALUE_BYTES_MAX: usize = 100 * 1024;
/// Octets that sled may keep in memory; it takes two to three times as much.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// The index. Shared by all threads.
#[derive(Debug)]
pub(crate) struct Index {
    /// `None`: there is never one.
    directory: Option<PathBuf>,
    open: RwLock<Open>,
    /// Held for writing while the values of an account change, so that a reader sees all of them or none.
    changing: RwLock<()>,
    /// Blocks of structures that were read lately.
    lately: Blocks,
}

#[derive(Debug)]
struct Open {
    /// `None` only while a broken one is exchanged, or where no new one could be made: then nothing is indexed.
    sled: Option<sled::Db>,
    /// Counts exchanges: what was written before one is gone.
    generation: u64,
}

/// A key with its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);
/// One operation: a key with its new value, or with none.
pub(crate) type Operation = (Vec<u8>, Option<Vec<u8>>);

impl Index {
    /// Opens or creates the index in a directory; one that cannot be opened is set aside. Where none can be made at all
    /// (the disk is full), accounts are read from the journal until one can.
    pub(crate) fn open(state: &Path) -> Self {
        let directory = state.join("index");
        let sled = open_sled(&directory).or_else(|failure| match failure.full {
            true => Err(failure),
            false => set_aside(&directory, &failure.reason).and_then(|()| open_sled(&directory)),
        });
        if let Err(failure) = &sled {
            tracing::error!(error = %failure.reason, "the index cannot be opened; accounts are read from the journal");
        }
        let open = RwLock::new(Open { sled: sled.ok(), generation: 0 });
        Self { directory: Some(directory), open, changing: RwLock::new(()), lately: Blocks::default() }
    }

    /// None at all: accounts are always read from the journal.
    pub(crate) fn none() -> Self {
        let open = RwLock::new(Open { sled: None, generation: 0 });
        Self { directory: None, open, changing: RwLock::new(()), lately: Blocks::default() }
    }

    /// Makes a new index where there is none, as before a checkpoint.
    pub(crate) fn revive(&self) {
        let Some(directory) = &self.directory else { return };
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.sled.is_none() {
            open.generation += 1;
            open.sled = open_sled(directory).ok();
        }
    }

    /// How often the index was exchanged for an empty one.
    pub(crate) fn generation(&self) -> u64 {
        self.read().generation
    }

    /// Keeps the values of accounts as they are while the guard lives.
    pub(crate) fn steady(&self) -> RwLockReadGuard<'_, ()> {
        self.changing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces changes of an account's values, which are seen when the guard is dropped.
    pub(crate) fn changing(&self) -> RwLockWriteGuard<'_, ()> {
        self.changing.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account as it was last written, its mailboxes without rows; with the digest of its meta. `None`: nothing that can be used.
    pub(crate) fn account(&self, account: AccountId) -> Option<(AccountState, u64)> {
        let pages = self.scan(&meta::prefix(account)).ok()?;
        meta::decode(account, &pages)
    }

    /// The chunks of a mailbox, or those whose rows lie below a UID. They are not compared with its digest here.
    pub(crate) fn chunks(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        below: Option<Uid>,
    ) -> Option<Vec<Arc<Chunk>>> {
        let mut chunks = Vec::new();
        for (key, octets) in self.scan(&rows_prefix(account, mailbox)).ok()? {
            let rows = rows::decode(Value::open(&key, &octets)?.payload)?;
            chunks.push(Arc::new(Chunk { rows }));
        }
        if let Some(below) = below {
            chunks.retain(|chunk: &Arc<Chunk>| chunk.rows.last().is_some_and(|row| row.uid < below));
        }
        Some(chunks)
    }

    /// Shows the rows of a mailbox, or those below a UID, to `look`, and keeps none. They are not compared with its digest
    /// here. `None`: they cannot be read.
    pub(crate) fn each_row(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        below: Option<Uid>,
        mut look: impl FnMut(&Row),
    ) -> Option<()> {
        let prefix = rows_prefix(account, mailbox);
        let mut look = |row: &Row| {
            if below.is_none_or(|below| row.uid < below) {
                look(row);
            }
        };
        let read = self.run(|sled| {
            for pair in sled.scan_prefix(&prefix) {
                let (key, octets) = pair?;
                let value = Value::open(&key, &octets);
                if value.and_then(|value| rows::each(value.payload, &mut look)).is_none() {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        });
        read.ok().flatten()
    }

    /// Rows of one chunk from a UID on, as they were last written, ascending; at most so many. `None`: they cannot be read.
    pub(crate) fn rows_from(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        uid: Uid,
        count: usize,
    ) -> Option<Vec<Row>> {
        let (first, last) = (rows_prefix(account, mailbox), chunk_key(account, mailbox, uid));
        let found = self.run(|sled| sled.range(first..=last).next_back().transpose()).ok()??;
        let rows = rows::decode(Value::open(&found.0, &found.1)?.payload)?;
        Some(rows.into_iter().skip_while(|row| row.uid < uid).take(count).collect())
    }

    /// The structure of a message, where it was read lately: never waits for the disk.
    pub(crate) fn structure_of_late(
        &self,
        account: AccountId,
        email: EmailId,
        previews: Previews,
    ) -> Option<KeptStructure> {
        self.lately.find(account, email, previews)
    }

    /// The structures of messages. Messages that follow each other most often share a block.
    pub(crate) fn structures(
        &self,
        account: AccountId,
        emails: &[EmailId],
        previews: Previews,
    ) -> Vec<Option<KeptStructure>> {
        let mut block: Option<Arc<Block>> = None;
        let mut zstd: Option<Decompressor> = None;
        let find = |email: &EmailId| {
            if let Some(found) = block.as_ref().and_then(|block| block.find(*email, previews)) {
                return Some(found);
            }
            let (key, octets) = self.structures_until(account, *email)?;
            zstd = zstd.take().or_else(|| Decompressor::new().ok());
            block = zstd.as_mut().and_then(|zstd| Block::open(&key, &octets, previews, zstd)).map(Arc::new);
            if let Some(block) = block.as_ref().filter(|_| emails.len() <= LATELY_MESSAGES_MAX) {
                self.lately.keep(account, Arc::clone(block));
            }
            block.as_ref()?.find(*email, previews)
        };
        emails.iter().map(find).collect()
    }

    /// The block of structures that begins at or before an EmailId.
    pub(crate) fn structures_until(&self, account: AccountId, email: EmailId) -> Option<Pair> {
        let (first, last) = (structures::key(account, EmailId(0)), structures::key(account, email));
        let found = self.run(|sled| sled.range(first..=last).next_back().transpose()).ok()??;
        Some((found.0.to_vec(), found.1.to_vec()))
    }

    /// All keys that begin so.
    pub(crate) fn keys(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
        self.run(|sled| sled.scan_prefix(prefix).keys().map(|key| key.map(|key| key.to_vec())).collect())
    }

    /// Applies operations in their order, in batches.
    pub(crate) fn apply(&self, operations: &[Operation]) -> Result<(), StoreError> {
        for part in operations.chunks(BATCH_OPERATIONS_MAX) {
            let mut batch = sled::Batch::default();
            for (key, value) in part {
                match value {
                    Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                    None => batch.remove(key.as_slice()),
                }
            }
            self.run(|sled| sled.apply_batch(batch))?;
        }
        Ok(())
    }

    /// Makes all that was applied durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.run(|sled| sled.flush())?;
        if let Some(directory) = &self.directory {
            File::open(directory.join("db"))?.sync_data()?;
        }
        Ok(())
    }

    /// Gives the index up; nothing can be read any more.
    pub(crate) fn close(&self) {
        let sled = self.open.write().unwrap_or_else(PoisonError::into_inner).sled.take();
        if catch_unwind(AssertUnwindSafe(|| drop(sled))).is_err() {
            tracing::warn!("the index panicked while it was closed");
        }
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, StoreError> {
        self.run(|sled| {
            sled.scan_prefix(prefix).map(|pair| pair.map(|(k, v)| (k.to_vec(), v.to_vec()))).collect()
        })
    }

    /// Runs something on sled; where it fails or panics, the index is exchanged for an empty one.
    fn run<T>(&self, with: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, StoreError> {
        let (failure, generation) = {
            let open = self.read();
            let sled = open.sled.as_ref().ok_or_else(|| StoreError::Io("there is no index".to_owned()))?;
            match catch_unwind(AssertUnwindSafe(|| with(sled))) {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => (error.to_string(), open.generation),
                Err(_) => ("it panicked".to_owned(), open.generation),
            }
        };
        self.exchange(generation, &failure);
        Err(StoreError::Io(format!("the index failed: {failure}")))
    }

    fn exchange(&self, generation: u64, reason: &str) {
        let Some(directory) = &self.directory else { return };
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.generation != generation {
            return;
        }
        // Dropping a sled that failed would flush it, which may block or panic: it is leaked instead.
        std::mem::forget(open.sled.take());
        open.generation += 1;
        match set_aside(directory, reason).and_then(|()| open_sled(directory)) {
            Ok(sled) => open.sled = Some(sled),
            Err(failure) => tracing::error!(error = %failure.reason, "no new index could be made"),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Open> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of the chunk that begins with a UID.
pub(crate) fn chunk_key(account: AccountId, mailbox: MailboxId, first: Uid) -> Vec<u8> {
    let mut key = rows_prefix(account, mailbox);
    key.extend_from_slice(&first.value().to_be_bytes());
    key
}

/// What the keys of all chunks of a mailbox begin with.
pub(crate) fn rows_prefix(account: AccountId, mailbox: MailboxId) -> Vec<u8> {
    let mut key = prefix(b'm', account);
    key.extend_from_slice(&mailbox.0.to_be_bytes());
    key
}

/// What the keys of one kind of an account begin with.
pub(crate) fn prefix(kind: u8, account: AccountId) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&account.0.to_be_bytes());
    key
}

/// The operation that writes a chunk.
pub(crate) fn put_chunk(
    account: &AccountState,
    mailbox: &MailboxState,
    first: Uid,
    chunk: &Chunk,
) -> Operation {
    let key = chunk_key(account.id, mailbox.id, first);
    let value = value::seal(&key, account.seq, &rows::encode(&chunk.rows));
    (key, Some(value))
}

/// Why the index could not be opened.
struct Failure {
    reason: String,
    /// The disk is full: the index itself may be sound.
    full: bool,
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self { full: error.kind() == std::io::ErrorKind::StorageFull, reason: error.to_string() }
    }
}

fn open_sled(directory: &Path) -> Result<sled::Db, Failure> {
    let open = || sled::Config::new().path(directory).cache_capacity(CACHE_BYTES).flush_every_ms(None).open();
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(sled)) => {
            // The names of sled's files and of its directory: sled syncs neither.
            for path in directory.parent().into_iter().chain([directory]) {
                File::open(path)?.sync_all()?;
            }
            Ok(sled)
        }
        Ok(Err(sled::Error::Io(error))) => Err(error.into()),
        Ok(Err(error)) => Err(Failure { reason: error.to_string(), full: false }),
        Err(_) => Err(Failure { reason: "it panicked".to_owned(), full: false }),
    }
}

/// Renames a directory that cannot be used to `index.broken-1`, for whoever wants to know why; an earlier one goes, so that
/// they do not fill the disk.
fn set_aside(directory: &Path, reason: &str) -> Result<(), Failure> {
    let aside = directory.with_extension("broken-1");
    tracing::warn!(%reason, aside = %aside.display(), "the index cannot be used and is set aside");
    if directory.exists() {
        remove_all(&aside)?;
    }
    match std::fs::rename(directory, aside) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => Ok(other?),
    }
}

fn remove_all(path: &Path) -> std::io::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
