//! A mailbox as one session sees it: message sequence numbers over immutable snapshots.
//!
//! What a client numbers and what the store holds drift apart while EXPUNGE may not be said (RFC 3501 section 7.4.1). A
//! [`View`] holds the newest snapshot that it was given and, beside it, the rows that are gone from the store but still have
//! a number. Together, in the order of UIDs, they are what the client knows:
//!
//! ```text
//! snapshot   u1 u2    u4    u6        advance(newer snapshot): rows move to `gone`, new ones are counted
//! gone             u3    u5           take_expunged(): `gone` is emptied, its numbers are said to the client
//! number      1  2  3  4  5  6
//! ```
//!
//! A command is run over the newest snapshot, but its numbers mean what the client was told before it: a message that nobody
//! announced is not in `1:*`, so that no client removes mail which it never saw.
//!
//! Two snapshots are compared chunk by chunk, by pointer first. `\Recent` is not stored: [`Recent`] remembers, as long as the
//! server runs, up to which UID some session has seen a mailbox.

use std::{
    collections::{BTreeSet, HashMap},
    ops::{Range, RangeInclusive},
    sync::{Arc, Mutex, PoisonError},
};

use waypost_mail::{AccountId, MailboxId, Uid, UidValidity};
use waypost_storage::{MailboxState, Row, state::Chunk};

/// A selected mailbox as its client knows it.
#[derive(Debug)]
pub struct View {
    state: Arc<MailboxState>,
    /// Number of rows before each chunk of `state`, and behind the last one.
    starts: Vec<u32>,
    /// Rows that the client still numbers though the store has them no more, ascending.
    gone: Vec<Gone>,
    /// Where some are gone: the highest modification sequence before the first of them went.
    before_gone: u64,
    /// Messages whose flags changed since the client was told.
    changed: BTreeSet<Uid>,
    /// UIDs that are `\Recent` in this session: ascending, disjoint.
    recent: Vec<Range<u32>>,
    told: Told,
}

#[derive(Debug)]
struct Gone {
    number: u32,
    row: Row,
}

/// What the client was told last.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    exists: u32,
    recent: u32,
    keywords: usize,
}

/// A message with the number that the client has for it.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Message sequence number.
    pub number: u32,
    /// Its row, from the newest snapshot that holds it.
    pub row: &'a Row,
    /// Whether the store has removed it.
    pub gone: bool,
}

impl View {
    /// The view of a mailbox that was just selected: its sizes count as told. `recent`: UIDs that are `\Recent` here.
    pub fn new(state: Arc<MailboxState>, recent: Range<u32>) -> Self {
        let mut view = Self {
            starts: starts(&state.chunks),
            state,
            gone: Vec::new(),
            before_gone: 0,
            changed: BTreeSet::new(),
            recent: Vec::new(),
            told: Told::default(),
        };
        view.add_recent(recent);
        view.told =
            Told { exists: view.exists(), recent: view.recent(), keywords: view.state.keywords.len() };
        view
    }

    /// Goes on to a newer snapshot of the same mailbox; more UIDs may be `\Recent` now.
    pub fn advance(&mut self, newest: Arc<MailboxState>, recent: Range<u32>) {
        self.add_recent(recent);
        if Arc::ptr_eq(&self.state, &newest) {
            return;
        }
        let difference = Difference::between(&self.state.chunks, &newest.chunks);
        self.changed.extend(difference.changed);
        for row in &difference.removed {
            self.changed.remove(&row.uid);
        }
        if self.gone.is_empty() {
            self.before_gone = self.state.highest_modseq.value();
        }
        self.starts = starts(&newest.chunks);
        self.state = newest;
        if !difference.removed.is_empty() {
            let mut rows: Vec<Row> =
                std::mem::take(&mut self.gone).into_iter().map(|gone| gone.row).collect();
            rows.extend(difference.removed);
            rows.sort_unstable_by_key(|row| row.uid);
            let number =
                |(index, row): (usize, Row)| Gone { number: self.rank(row.uid) + index as u32 + 1, row };
            self.gone = rows.into_iter().enumerate().map(number).collect();
            // What came and went before EXISTS was said never had a number for the client: it is at the end.
            let told = self.told.exists;
            self.gone.truncate(self.gone.partition_point(|gone| gone.number <= told));
        }
    }

    /// The numbers of what is gone, in the order in which EXPUNGE says them: descending, so that none shifts another. The
    /// client knows these messages no more.
    pub fn take_expunged(&mut self) -> Vec<u32> {
        self.take_gone().iter().rev().map(|gone| gone.number).collect()
    }

    /// The UIDs of what is gone, ascending, as VANISHED says them. The client knows these messages no more.
    pub fn take_vanished(&mut self) -> Vec<u32> {
        self.take_gone().iter().map(|gone| gone.row.uid.value()).collect()
    }

    fn take_gone(&mut self) -> Vec<Gone> {
        let gone = std::mem::take(&mut self.gone);
        self.told.exists = self.told.exists.saturating_sub(gone.len() as u32);
        gone
    }

    /// The modification sequence up to which the client knows all once it was told of new messages and flags: less than that of
    /// the mailbox where messages are gone of which it may not be told yet (RFC 7162 section 3.2).
    pub fn known_modseq(&self) -> u64 {
        if self.gone.is_empty() { self.state.highest_modseq.value() } else { self.before_gone }
    }

    /// `"HIGHESTMODSEQ" SP mod-sequence-value` (RFC 7162 section 7)
    pub(crate) fn highest_modseq_code(&self) -> String {
        format!("HIGHESTMODSEQ {}", self.known_modseq())
    }

    /// UIDs without those of messages that are gone and still have numbers.
    pub(crate) fn without_gone(&self, uids: Vec<RangeInclusive<u32>>) -> Vec<RangeInclusive<u32>> {
        let mut gone = self.gone.iter().map(|gone| gone.row.uid.value()).peekable();
        let mut left = Vec::new();
        for range in uids {
            let (mut start, end) = range.into_inner();
            while gone.next_if(|uid| *uid < start).is_some() {}
            while let Some(uid) = gone.next_if(|uid| *uid <= end) {
                if start < uid {
                    left.push(start..=uid - 1);
                }
                start = uid + 1;
            }
            if start <= end {
                left.push(start..=end);
            }
        }
        left
    }

    /// The messages whose flags the client has not been told; they count as told now.
    pub fn take_changed(&mut self) -> BTreeSet<Uid> {
        std::mem::take(&mut self.changed)
    }

    /// Whether the client has not been told the newest flags of this message.
    pub fn is_changed(&self, uid: Uid) -> bool {
        self.changed.contains(&uid)
    }

    /// The client is told the flags of this message now, or knows them already.
    pub fn flags_told(&mut self, uid: Uid) {
        self.changed.remove(&uid);
    }

    /// The number of messages, where it is news to the client: EXISTS.
    pub fn take_exists(&mut self) -> Option<u32> {
        let exists = self.exists();
        (std::mem::replace(&mut self.told.exists, exists) != exists).then_some(exists)
    }

    /// The number of `\Recent` messages, where it is news to the client: RECENT.
    pub fn take_recent(&mut self) -> Option<u32> {
        let recent = self.recent();
        (std::mem::replace(&mut self.told.recent, recent) != recent).then_some(recent)
    }

    /// Whether the mailbox has keywords that the client has not been told: FLAGS.
    pub fn take_new_keywords(&mut self) -> bool {
        let keywords = self.state.keywords.len();
        std::mem::replace(&mut self.told.keywords, keywords) != keywords
    }

    /// The newest snapshot.
    pub fn state(&self) -> &Arc<MailboxState> {
        &self.state
    }

    /// How many messages the client numbers.
    pub fn exists(&self) -> u32 {
        self.rows() + self.gone.len() as u32
    }

    /// How many of them are `\Recent`.
    pub fn recent(&self) -> u32 {
        let merged = |uid: u32| self.numbered_below(uid);
        self.recent.iter().map(|uids| merged(uids.end) - merged(uids.start)).sum()
    }

    /// Whether a message is `\Recent` in this session.
    pub fn is_recent(&self, uid: Uid) -> bool {
        let at = self.recent.partition_point(|uids| uids.end <= uid.value());
        self.recent.get(at).is_some_and(|uids| uids.contains(&uid.value()))
    }

    /// The message of a number.
    pub fn by_number(&self, number: u32) -> Option<Known<'_>> {
        let before = self.gone.partition_point(|gone| gone.number < number);
        if let Some(gone) = self.gone.get(before).filter(|gone| gone.number == number) {
            return Some(Known { number, row: &gone.row, gone: true });
        }
        let index = number.checked_sub(1 + before as u32)?;
        let chunk = self.starts.partition_point(|start| *start <= index).checked_sub(1)?;
        let row = self.state.chunks.get(chunk)?.rows.get((index - self.starts[chunk]) as usize)?;
        Some(Known { number, row, gone: false })
    }

    /// The message of a UID.
    pub fn by_uid(&self, uid: Uid) -> Option<Known<'_>> {
        self.by_number(self.numbered_below(uid.value()) + 1).filter(|known| known.row.uid == uid)
    }

    /// How many messages the client was told of: those that it can name.
    pub fn told(&self) -> u32 {
        self.told.exists
    }

    /// Whether messages are gone that the client still numbers.
    pub fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// The largest UID that the client can name; 0 where there is no message.
    pub fn largest_uid(&self) -> u32 {
        self.by_number(self.told()).map_or(0, |known| known.row.uid.value())
    }

    /// The numbers of the messages whose UIDs lie in a range, of those that the client was told of.
    pub fn numbers_of_uids(&self, uids: RangeInclusive<u32>) -> Range<u32> {
        let above = match uids.end().checked_add(1) {
            Some(end) => self.numbered_below(end).min(self.told()),
            None => self.told(),
        };
        self.numbered_below(*uids.start()) + 1..above + 1
    }

    fn add_recent(&mut self, uids: Range<u32>) {
        let start = self.recent.last().map_or(uids.start, |last| last.end.max(uids.start));
        match self.recent.last_mut() {
            _ if start >= uids.end => {}
            Some(last) if last.end == start => last.end = uids.end,
            _ => self.recent.push(start..uids.end),
        }
    }

    /// Rows in the snapshot.
    fn rows(&self) -> u32 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// How many rows of the snapshot have smaller UIDs.
    fn rank(&self, uid: Uid) -> u32 {
        let chunks = &self.state.chunks;
        let at = chunks.partition_point(|chunk| chunk.rows.last().is_some_and(|row| row.uid < uid));
        let within = chunks.get(at).map_or(0, |chunk| chunk.rows.partition_point(|row| row.uid < uid));
        self.starts[at] + within as u32
    }

    /// How many messages with smaller UIDs the client numbers.
    fn numbered_below(&self, uid: u32) -> u32 {
        let Some(uid) = Uid::new(uid) else { return 0 };
        self.rank(uid) + self.gone.partition_point(|gone| gone.row.uid < uid) as u32
    }
}

/// Number of rows before each chunk, and behind the last one.
fn starts(chunks: &[Arc<Chunk>]) -> Vec<u32> {
    let mut rows = 0;
    let behind = chunks.iter().map(|chunk| {
        rows += chunk.rows.len() as u32;
        rows
    });
    std::iter::once(0).chain(behind).collect()
}

/// What is different in a newer snapshot, new rows apart.
#[derive(Debug, Default)]
struct Difference {
    /// Rows that it has no more, ascending.
    removed: Vec<Row>,
    /// Messages with other flags, or whose flags changed and changed back.
    changed: Vec<Uid>,
}

impl Difference {
    fn between(older: &[Arc<Chunk>], newer: &[Arc<Chunk>]) -> Self {
        let mut difference = Self::default();
        let (mut old, mut new) = (Cursor { chunks: older, row: 0 }, Cursor { chunks: newer, row: 0 });
        loop {
            if old.at_same_chunk(&new) {
                old.skip_chunk();
                new.skip_chunk();
                continue;
            }
            match (old.peek(), new.peek()) {
                (None, _) => return difference,
                (Some(gone), Some(row)) if gone.uid == row.uid => {
                    if (gone.flags, gone.keywords, gone.modseq) != (row.flags, row.keywords, row.modseq) {
                        difference.changed.push(row.uid);
                    }
                    old.step();
                    new.step();
                }
                (Some(gone), Some(row)) if row.uid < gone.uid => new.step(),
                (Some(gone), _) => {
                    difference.removed.push(gone.clone());
                    old.step();
                }
            }
        }
    }
}

/// A place in a list of chunks.
#[derive(Debug)]
struct Cursor<'a> {
    chunks: &'a [Arc<Chunk>],
    row: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<&'a Row> {
        self.chunks.first()?.rows.get(self.row)
    }

    fn step(&mut self) {
        self.row += 1;
        if self.chunks.first().is_some_and(|chunk| self.row >= chunk.rows.len()) {
            self.skip_chunk();
        }
    }

    fn skip_chunk(&mut self) {
        self.chunks = self.chunks.get(1..).unwrap_or_default();
        self.row = 0;
    }

    fn at_same_chunk(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<Chunk>, &Arc<Chunk>)| Arc::ptr_eq(a, b);
        self.row == 0 && other.row == 0 && self.chunks.first().zip(other.chunks.first()).is_some_and(same)
    }
}

/// Which messages no session has seen yet: in memory, for all sessions of a server.
///
/// After a start nothing is known of a mailbox, so all its messages count as recent (RFC 3501 section 2.3.2: where it cannot
/// be determined, a message SHOULD be considered recent).
///
/// Of mailboxes beyond [`RECENT_MAILBOXES_MAX`] those that were opened longest ago are forgotten.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Seen>);

/// Most mailboxes that [`Recent`] knows.
pub const RECENT_MAILBOXES_MAX: usize = 100_000;

#[derive(Debug, Default)]
struct Seen {
    /// First UID that no session has seen, and the clock when it was used last.
    first_unseen: HashMap<(AccountId, MailboxId, UidValidity), (u32, u64)>,
    clock: u64,
}

impl Seen {
    /// Makes room: forgets the half that was used longest ago.
    fn shrink(&mut self) {
        if self.first_unseen.len() < RECENT_MAILBOXES_MAX {
            return;
        }
        let mut used: Vec<u64> = self.first_unseen.values().map(|(_, used)| *used).collect();
        let middle = used.len() / 2;
        let (_, median, _) = used.select_nth_unstable(middle);
        self.first_unseen.retain(|_, (_, used)| *used >= *median);
    }
}

impl Recent {
    /// The UIDs that are `\Recent` in a read-write session which sees this snapshot: they are so in no other one.
    pub fn claim(&self, account: AccountId, mailbox: &MailboxState) -> Range<u32> {
        let uid_next = mailbox.uid_next.value();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (account, mailbox.id, mailbox.uid_validity);
        seen.clock += 1;
        let clock = seen.clock;
        let first = match seen.first_unseen.get(&key) {
            Some((first, _)) => *first,
            None => {
                seen.shrink();
                1
            }
        };
        let claimed = first..uid_next.max(first);
        seen.first_unseen.insert(key, (claimed.end, clock));
        claimed
    }

    /// The UIDs that would be `\Recent` now; they stay so (EXAMINE, STATUS).
    pub fn unclaimed(&self, account: AccountId, mailbox: &MailboxState) -> Range<u32> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = seen.first_unseen.get(&(account, mailbox.id, mailbox.uid_validity));
        let first = first.map_or(1, |(first, _)| *first);
        first..mailbox.uid_next.value().max(first)
    }
}

#[cfg(test)]
mod tests;
