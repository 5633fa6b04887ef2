//! What the writer holds in memory: accounts and rows that come, and rows that go.

use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;
use waypost_mail::{AccountId, MailboxId};

use super::{Merged, Package, ROWS_KEPT_MAX, Rejected, Waiting, Writer};
use crate::{
    apply::rows,
    decide::directory::Mend,
    error::StoreError,
    recovery::{Loaded, agrees, catch_up},
    shared::locked,
    state::{AccountState, Chunk, MailboxState},
};

impl Writer {
    /// Takes an account that was loaded. Nobody could change it meanwhile; it may have been removed or loaded twice.
    pub(super) fn provide(&mut self, loaded: Loaded) -> Result<(), StoreError> {
        let id = loaded.state.id;
        if !self.state.directory.accounts.contains_key(&id) {
            return Err(StoreError::NoSuchAccount);
        }
        if self.state.accounts.contains_key(&id) {
            return Ok(());
        }
        self.adopt(loaded)
    }

    pub(super) fn replace(&mut self, mut loaded: Loaded) -> Result<Merged, StoreError> {
        match self.state.accounts.get(&loaded.state.id) {
            None => return Ok(Merged::Yes),
            // A busy account would never be rebuilt in time.
            Some(account) if account.seq > loaded.state.seq => catch_up(&self.shared, &mut loaded)?,
            Some(_) => {}
        }
        match self.state.accounts.get(&loaded.state.id) {
            None => Ok(Merged::Yes),
            Some(account) if account.seq != loaded.state.seq => Ok(Merged::Stale),
            Some(_) => self.adopt(loaded).map(|()| Merged::Yes),
        }
    }

    fn adopt(&mut self, loaded: Loaded) -> Result<(), StoreError> {
        let (id, seq) = (loaded.state.id, loaded.state.seq);
        // It comes out of a backup and was not loaded since.
        let restored = seq < self.state.directory.floor(id);
        let earlier = self.state.accounts.insert(id, Arc::new(loaded.state));
        if (loaded.gap || restored)
            && let Err(error) = self.mend(id)
        {
            match earlier {
                Some(earlier) => self.state.accounts.insert(id, earlier),
                None => self.state.accounts.remove(&id),
            };
            return Err(error);
        }
        let mut structures = self.shared.structures.write().unwrap_or_else(PoisonError::into_inner);
        structures.entry(id).or_default().extend(loaded.structures);
        drop(structures);
        if loaded.dirty {
            self.progress.indexed.remove(&id);
            self.progress.dirty.insert(id);
        } else {
            self.progress.indexed.insert(id, seq);
        }
        let mut written = locked(&self.shared.written);
        match loaded.written {
            Some(known) => written.insert(id, known),
            None => written.remove(&id),
        };
        drop(written);
        if let Some(account) = self.state.accounts.get(&id) {
            self.shared.publish(Arc::clone(account));
        }
        locked(&self.shared.pending).remove(&id);
        Ok(())
    }

    /// Gives the mailboxes of an account new UIDVALIDITYs before anyone sees it.
    fn mend(&mut self, id: AccountId) -> Result<(), StoreError> {
        let (caller, mut answer) = oneshot::channel();
        let package = Package {
            command: Mend(id),
            id: self.shared.new_entry_id(),
            area: Vec::new(),
            bodies: Vec::new(),
        };
        // Nothing is in flight or in the group here, so it is answered when it is sent.
        self.add(Box::new(Waiting { package, outcome: None, caller }));
        self.send();
        match answer.try_recv() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Rejected::Refused(error))) => Err(error),
            _ => Err(StoreError::Closed),
        }
    }

    /// Puts loaded rows in front of those that are in memory.
    pub(super) fn merge(&mut self, id: AccountId, mailbox: MailboxId, chunks: Vec<Arc<Chunk>>) -> Merged {
        let Some(account) = self.state.accounts.get_mut(&id) else { return Merged::Yes };
        let Some(found) = account.place(mailbox).filter(|mailbox| mailbox.partial) else {
            return Merged::Yes;
        };
        if !agrees(found, &chunks) {
            return Merged::Stale;
        }
        let mut complete = MailboxState { partial: false, chunks, ..MailboxState::clone(found) };
        complete.chunks.extend(found.chunks.iter().cloned());
        Arc::make_mut(account).put_place(complete);
        self.shared.publish(Arc::clone(account));
        // Reading alone causes no checkpoint: what was read makes room here as well.
        self.evict(ROWS_KEPT_MAX);
        Merged::Yes
    }

    /// Gives up rows that the index holds and nobody needs, until few enough are left.
    pub(super) fn evict(&mut self, rows_max: usize) {
        let kept = |account: &AccountState| account.places().map(|m| rows_in_memory(m)).sum::<usize>();
        let mut rows: usize = self.state.accounts.values().map(|account| kept(account)).sum();
        let pins = locked(&self.shared.pins);
        for (id, account) in &mut self.state.accounts {
            if rows <= rows_max {
                break;
            }
            let Some(seq) = self.progress.indexed.get(id) else { continue };
            let spare = |m: &&Arc<MailboxState>| {
                m.highest_modseq.value() <= *seq && rows_in_memory(m) > 0 && !pins.contains_key(&(*id, m.id))
            };
            let evicted: Vec<_> = account.places().filter(spare).map(|m| without_rows(m)).collect();
            if evicted.is_empty() {
                continue;
            }
            for mailbox in evicted {
                rows = rows.saturating_sub(account.place(mailbox.id).map_or(0, |m| rows_in_memory(m)));
                Arc::make_mut(account).put_place(mailbox);
            }
            self.shared.publish(Arc::clone(account));
        }
    }
}

fn rows_in_memory(mailbox: &MailboxState) -> usize {
    mailbox.chunks.iter().map(|chunk| chunk.rows.len()).sum()
}

/// The mailbox with its tail only, so that deliveries go on filling it.
fn without_rows(mailbox: &MailboxState) -> MailboxState {
    let tail = mailbox.chunks.last().filter(|tail| tail.rows.len() < rows::TAIL_ROWS_MAX);
    let chunks: Vec<_> = tail.into_iter().cloned().collect();
    let partial = mailbox.partial || mailbox.chunks.len() > chunks.len();
    MailboxState { partial, chunks, ..mailbox.clone() }
}
