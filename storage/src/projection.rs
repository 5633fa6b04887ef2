//! A mailbox as one sees it who does not own it: with their own `\Seen` in the rows.
//!
//! Only chunks in which that makes a difference are copied, and what was made of a chunk is used again as long as the chunk is the
//! same: who compares two states by their chunks ([`crate::state`]) finds few that differ. A change of what somebody has seen
//! changes the MODSEQ of the rows, so that their chunk is another one then.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use waypost_mail::{AccountId, SystemFlags};

use crate::{
    seen::UidSet,
    shared::locked,
    state::{Chunk, MailboxState, Row},
};

/// How one sees a mailbox.
#[derive(Debug)]
pub(crate) struct Projection {
    reader: AccountId,
    last: Mutex<Option<Projected>>,
}

/// A state and what was made of it.
#[derive(Debug)]
struct Projected {
    source: Arc<MailboxState>,
    made: Arc<MailboxState>,
}

impl Projection {
    /// For one reader.
    pub(crate) fn new(reader: AccountId) -> Self {
        Self { reader, last: Mutex::new(None) }
    }

    /// The state as the reader sees it.
    pub(crate) fn of(&self, source: Arc<MailboxState>) -> Arc<MailboxState> {
        let mut last = locked(&self.last);
        if let Some(last) = last.as_ref().filter(|last| Arc::ptr_eq(&last.source, &source)) {
            return Arc::clone(&last.made);
        }
        let known: HashMap<*const Chunk, &Arc<Chunk>> = match last.as_ref() {
            Some(last) => last.source.chunks.iter().map(Arc::as_ptr).zip(&last.made.chunks).collect(),
            None => HashMap::new(),
        };
        let none = UidSet::default();
        let seen = source.seen.by(self.reader).unwrap_or(&none);
        let chunk = |chunk: &Arc<Chunk>| match known.get(&Arc::as_ptr(chunk)) {
            Some(made) => Arc::clone(made),
            None => projected(chunk, seen),
        };
        let made = Arc::new(MailboxState {
            chunks: source.chunks.iter().map(chunk).collect(),
            unseen: source.unseen_by(Some(self.reader)),
            special_use: None,
            ..MailboxState::clone(&source)
        });
        *last = Some(Projected { source, made: Arc::clone(&made) });
        made
    }
}

fn projected(chunk: &Arc<Chunk>, seen: &UidSet) -> Arc<Chunk> {
    let own = |row: &Row| match seen.contains(row.uid) {
        true => row.flags.with(SystemFlags::SEEN),
        false => row.flags.without(SystemFlags::SEEN),
    };
    if chunk.rows.iter().all(|row| own(row) == row.flags) {
        return Arc::clone(chunk);
    }
    let rows = chunk.rows.iter().map(|row| Row { flags: own(row), ..row.clone() });
    Arc::new(Chunk { rows: rows.collect() })
}
