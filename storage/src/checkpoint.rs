//! Checkpoints: dirty rows go to the index, the index to the disk, and only then `STATE/heads` moves on.
//!
//! They run on a thread of their own, from snapshots that do not change. What is dirty is found by comparing chunks by
//! their address with those that were written last.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Weak, atomic::Ordering, mpsc},
};

use waypost_mail::{AccountId, MailboxId, Uid};

use crate::{
    error::StoreError,
    index::{
        self, Operation,
        heads::{Head, Heads},
        meta,
        structures::{self, Structures},
    },
    journal::Position,
    shared::{Shared, locked},
    state::{AccountState, Chunk},
    writer::Message,
};

/// What a checkpoint writes.
#[derive(Debug)]
pub(crate) struct Request {
    /// All records before it are in the snapshots or were written earlier; `None` while accounts with records behind their
    /// heads are not loaded: then the journal must be read from the old position.
    pub(crate) position: Option<Position>,
    pub(crate) last_entry: u64,
    /// Accounts that changed since the last one.
    pub(crate) accounts: Vec<Arc<AccountState>>,
    /// Their structures that are not in the index.
    pub(crate) structures: HashMap<AccountId, Structures>,
    /// Accounts that were removed since the last one.
    pub(crate) removed: Vec<AccountId>,
}

/// What the index holds of one account.
#[derive(Debug, Default)]
pub(crate) struct Written {
    mailboxes: BTreeSet<MailboxId>,
    /// Chunks that are known, by their keys. A chunk that is no longer in memory is written again when it comes back.
    chunks: BTreeMap<(MailboxId, Uid), Weak<Chunk>>,
}

impl Written {
    /// An account whose meta was read, but no rows.
    pub(crate) fn new(account: &AccountState) -> Self {
        Self { mailboxes: account.places().map(|mailbox| mailbox.id).collect(), chunks: BTreeMap::new() }
    }

    /// Chunks of a mailbox that were read.
    pub(crate) fn note_chunks(&mut self, mailbox: MailboxId, chunks: &[Arc<Chunk>]) {
        for chunk in chunks {
            if let Some(first) = chunk.rows.first() {
                self.chunks.insert((mailbox, first.uid), Arc::downgrade(chunk));
            }
        }
    }
}

/// The thread: one checkpoint after the other until the writer is gone.
pub(crate) fn run(
    shared: &Shared,
    requests: &mpsc::Receiver<Request>,
    writer: &tokio::sync::mpsc::WeakSender<Message>,
) {
    let mut checkpointer = Checkpointer {
        shared,
        heads: shared.heads.clone().unwrap_or_default(),
        generation: shared.index.generation(),
    };
    while let Ok(request) = requests.recv() {
        let accounts = request.accounts.iter().map(|account| (account.id, account.seq)).collect();
        let structures =
            request.structures.iter().map(|(id, new)| (*id, new.keys().copied().collect())).collect();
        let done = checkpointer.checkpoint(&request);
        if let Err(error) = &done {
            tracing::warn!(%error, "a checkpoint failed; the next start reads more of the journal");
        }
        if let Some(writer) = writer.upgrade() {
            let message = Message::Checkpointed { done: done.is_ok(), accounts, structures };
            // The writer may be closing: then it needs no answer.
            let _closing = writer.blocking_send(message);
        }
    }
}

struct Checkpointer<'a> {
    shared: &'a Shared,
    heads: Heads,
    /// Of the index that the heads speak of.
    generation: u64,
}

impl Checkpointer<'_> {
    fn checkpoint(&mut self, request: &Request) -> Result<(), StoreError> {
        let index = &self.shared.index;
        index.revive();
        let mut heads = Vec::with_capacity(request.accounts.len());
        let result = (|| {
            for account in &request.removed {
                self.remove(*account)?;
            }
            for account in &request.accounts {
                let structures = request.structures.get(&account.id);
                match account.places().any(|mailbox| mailbox.partial) && !self.knows(account.id) {
                    // What was only in the index is gone with it: the account is rebuilt when its rows are asked for.
                    true => self.remove(account.id)?,
                    false => heads.push((account.id, self.write(account, structures)?)),
                }
            }
            index.sync()
        })();
        if index.generation() != self.generation {
            // The index was exchanged for an empty one: what was written is gone.
            self.generation = index.generation();
            self.heads.accounts.clear();
            locked(&self.shared.written).clear();
        }
        result?;
        self.move_heads(request, heads)
    }

    fn knows(&self, account: AccountId) -> bool {
        locked(&self.shared.written).contains_key(&account)
    }

    /// Writes what changed of an account; its head.
    fn write(&self, account: &AccountState, new: Option<&Structures>) -> Result<Head, StoreError> {
        let index = &self.shared.index;
        let mut all_written = locked(&self.shared.written);
        let old = all_written.remove(&account.id);
        let (mut operations, written) = match &old {
            Some(old) => self.changes(account, old)?,
            None => self.everything(account)?,
        };
        if let Some(new) = new {
            let first = new.keys().next().filter(|_| old.is_some());
            let last_block = first.and_then(|first| index.structures_until(account.id, *first));
            operations.extend(structures::put(last_block, account.id, account.seq, new));
        }
        let (pages, digest) = meta::put(account, &index.keys(&meta::prefix(account.id))?);
        operations.extend(pages);
        let changing = index.changing();
        index.apply(&operations)?;
        drop(changing);
        all_written.insert(account.id, written);
        Ok(Head { seq: account.seq, digest })
    }

    /// Chunks that are not as they were written, and keys that are no chunk's any more.
    fn changes(
        &self,
        account: &AccountState,
        old: &Written,
    ) -> Result<(Vec<Operation>, Written), StoreError> {
        let mut operations = Vec::new();
        for gone in old.mailboxes.iter().filter(|id| account.place(**id).is_none()) {
            let keys = self.shared.index.keys(&index::rows_prefix(account.id, *gone))?;
            operations.extend(keys.into_iter().map(|key| (key, None)));
        }
        let mut written = Written::new(account);
        for mailbox in account.places() {
            written.note_chunks(mailbox.id, &mailbox.chunks);
            let start = mailbox.chunks.first().and_then(|chunk| chunk.rows.first()).map(|row| row.uid);
            let known =
                old.chunks.range((mailbox.id, Uid::FIRST)..).take_while(|((id, _), _)| *id == mailbox.id);
            for ((id, first), chunk) in known {
                // Before the rows that are in memory, the index keeps what it has.
                if mailbox.partial && start.is_none_or(|start| *first < start) {
                    written.chunks.insert((*id, *first), Weak::clone(chunk));
                } else if !written.chunks.contains_key(&(*id, *first)) {
                    operations.push((index::chunk_key(account.id, *id, *first), None));
                }
            }
            for chunk in &mailbox.chunks {
                let Some(first) = chunk.rows.first().map(|row| row.uid) else { continue };
                let known = old.chunks.get(&(mailbox.id, first));
                if !known.is_some_and(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(chunk))) {
                    operations.push(index::put_chunk(account, mailbox, first, chunk));
                }
            }
        }
        Ok((operations, written))
    }

    /// All of an account of which the index holds nothing that can be used.
    fn everything(&self, account: &AccountState) -> Result<(Vec<Operation>, Written), StoreError> {
        let mut operations = Vec::new();
        for kind in [b'm', b's'] {
            let keys = self.shared.index.keys(&index::prefix(kind, account.id))?;
            operations.extend(keys.into_iter().map(|key| (key, None)));
        }
        let mut written = Written::new(account);
        for mailbox in account.places() {
            written.note_chunks(mailbox.id, &mailbox.chunks);
            for chunk in &mailbox.chunks {
                if let Some(row) = chunk.rows.first() {
                    operations.push(index::put_chunk(account, mailbox, row.uid, chunk));
                }
            }
        }
        Ok((operations, written))
    }

    fn remove(&mut self, account: AccountId) -> Result<(), StoreError> {
        for kind in [b'a', b'm', b's'] {
            let keys = self.shared.index.keys(&index::prefix(kind, account))?;
            let gone: Vec<Operation> = keys.into_iter().map(|key| (key, None)).collect();
            self.shared.index.apply(&gone)?;
        }
        locked(&self.shared.written).remove(&account);
        self.heads.accounts.remove(&account);
        Ok(())
    }

    fn move_heads(&mut self, request: &Request, heads: Vec<(AccountId, Head)>) -> Result<(), StoreError> {
        self.heads.accounts.extend(heads);
        if let Some(position) = request.position {
            self.heads.position = position;
        }
        self.heads.last_entry = request.last_entry;
        self.heads.write(self.shared.disk.as_ref(), &self.shared.state_directory)?;
        self.shared.heads_segment.store(self.heads.position.segment, Ordering::Relaxed);
        Ok(())
    }
}
