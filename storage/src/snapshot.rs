//! Snapshots: the whole state of an account, of the directory or of the queue as records of its stream, so that the records before it can go.
//!
//! ```text
//! … records ≤ of … │ part, part, (others' records), part, closed │ … records …
//!                    all of the state after record `of`, in parts of some 48 KiB; `closed` tells their number and digest
//! ```
//!
//! A snapshot is written beside the work of others, whose records stand between its parts. It changes nothing: what is
//! rebuilt from it and from the records behind `of` is what is rebuilt from all records. One that is not complete is none.

mod directory;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use minicbor::{Encode, bytes::ByteVec};
use waypost_mail::{AccountId, EmailId, MailboxId};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    annotation::KeptAnnotation,
    apply::{QueueState, rows},
    decide::snapshot::Parts,
    index::structures::Structures,
    journal::Stored,
    queue::pages::Slot,
    record::{
        self, AccountChange, AccountPart, AccountSnapshotPart, Change, DirectoryChange, EntryPart,
        MailboxPart, QueueChange, SnapshotClosed, cbor,
    },
    state::{AccountState, CHUNK_ROWS_MAX, Chunk, MailboxState, RETAINED},
};

/// Octets after which a part takes no more.
const PART_BYTES: usize = 48 * 1024;
/// Octets of parts after which an entry takes no more of them.
const ENTRY_BYTES: usize = 1024 * 1024;
/// Queue entries in one part; with many recipients a part is larger.
const PART_ENTRIES: usize = 64;

/// What the records of a snapshot are.
pub(crate) trait Snapshot: Sized {
    /// A part.
    type Part: Encode<()>;

    /// The part that a change is, with the snapshot it belongs to and its number there.
    fn part(change: Change) -> Option<(u64, u32, Self::Part)>;
    /// The state in all its parts; `None` where they contradict each other.
    fn assemble(of: u64, parts: Vec<Self::Part>) -> Option<Self>;
}

/// The digest of a part: a snapshot's is the sum of those of its parts.
pub(crate) fn digest(number: usize, part: &impl Encode<()>) -> u64 {
    xxh3_64(&cbor(part)).rotate_left(number as u32 % 64)
}

/// The end of a snapshot.
pub(crate) fn closing<P: Encode<()>>(of: u64, parts: &[P]) -> SnapshotClosed {
    let digests = parts.iter().enumerate().map(|(number, part)| digest(number, part));
    SnapshotClosed { of, parts: parts.len() as u32, digest: digests.fold(0, u64::wrapping_add) }
}

/// The newest complete snapshot among the records of a stream.
pub(crate) fn newest<S: Snapshot>(records: &[Stored]) -> Option<S> {
    let mut parts: HashMap<u64, BTreeMap<u32, S::Part>> = HashMap::new();
    let mut closed = Vec::new();
    for stored in records.iter().filter(|stored| record::is_of_snapshot(&stored.record)) {
        let Ok(Some(change)) = record::decode(&stored.record) else { continue };
        if let Some(end) = closed_by(&change) {
            closed.push(end);
        } else if let Some((of, number, part)) = S::part(change) {
            parts.entry(of).or_default().insert(number, part);
        }
    }
    let complete = |end: SnapshotClosed| {
        let parts = parts.remove(&end.of)?;
        let numbered = parts.keys().copied().eq(0..end.parts);
        let parts: Vec<S::Part> = parts.into_values().collect();
        (numbered && closing(end.of, &parts) == end).then(|| S::assemble(end.of, parts)).flatten()
    };
    closed.into_iter().rev().find_map(complete)
}

/// The end of a snapshot, if a change is one.
pub(crate) fn closed_by(change: &Change) -> Option<SnapshotClosed> {
    match change {
        Change::Account(AccountChange::AccountSnapshotClosed(closed)) => Some(closed.0),
        Change::Directory(DirectoryChange::DirectorySnapshotClosed(closed)) => Some(closed.0),
        Change::Queue(QueueChange::QueueSnapshotClosed(closed)) => Some(closed.0),
        _ => None,
    }
}

/// An account with the structures of its messages.
#[derive(Debug)]
pub(crate) struct WholeAccount {
    pub(crate) state: AccountState,
    pub(crate) structures: Structures,
}

impl Snapshot for WholeAccount {
    type Part = AccountPart;

    fn part(change: Change) -> Option<(u64, u32, AccountPart)> {
        match change {
            Change::Account(AccountChange::AccountSnapshotPart(AccountSnapshotPart { of, number, part })) => {
                Some((of, number, part))
            }
            _ => None,
        }
    }

    fn assemble(of: u64, parts: Vec<AccountPart>) -> Option<Self> {
        let mut whole = Self { state: AccountState::empty(AccountId(0)), structures: Structures::new() };
        let mut mailboxes: BTreeMap<MailboxId, MailboxState> = BTreeMap::new();
        let mut subscriptions = BTreeSet::new();
        let mut graves = BTreeMap::new();
        let mut annotations = Vec::new();
        for part in parts {
            match part {
                AccountPart::Account { id, next_mailbox, last_uid_validity, oldest_retained } => {
                    whole.state = AccountState {
                        seq: of,
                        next_mailbox,
                        last_uid_validity,
                        oldest_retained,
                        ..AccountState::empty(id)
                    };
                }
                AccountPart::Subscriptions(names) => subscriptions.extend(names),
                AccountPart::Graves(some) => {
                    graves.extend(some.into_iter().map(|(id, grave)| (MailboxId(id), grave)));
                }
                AccountPart::Annotations(some) => annotations.extend(some),
                AccountPart::Mailboxes(some) => {
                    mailboxes.extend(some.into_iter().map(|mailbox| (mailbox.id, mailbox.into_state())));
                }
                AccountPart::Rows(mailbox, rows) => {
                    mailboxes.get_mut(&mailbox)?.chunks.push(Arc::new(Chunk { rows }));
                }
                AccountPart::Structures(some) => {
                    let structures = some.into_iter();
                    whole
                        .structures
                        .extend(structures.map(|(id, octets)| (EmailId(id), Arc::from(octets.to_vec()))));
                }
            }
        }
        let consistent = mailboxes.values().all(|mailbox| {
            let rows = || mailbox.rows();
            rows().count() == mailbox.count as usize && rows::digest(rows()) == mailbox.digest
        });
        whole.state.retained = Arc::new(mailboxes.remove(&RETAINED)?);
        whole.state.bytes = mailboxes.values().map(|mailbox| mailbox.bytes).sum();
        whole.state.mailboxes = mailboxes.into_iter().map(|(id, mailbox)| (id, Arc::new(mailbox))).collect();
        whole.state.subscriptions = Arc::new(subscriptions);
        whole.state.graves = Arc::new(graves);
        whole.state.annotations = Arc::new(KeptAnnotation::into_annotations(annotations));
        (consistent && whole.state.seq == of).then_some(whole)
    }
}

impl WholeAccount {
    /// Its parts. Structures of messages that are gone are left out.
    pub(crate) fn parts(&self) -> Vec<AccountPart> {
        let state = &self.state;
        let mut parts = vec![AccountPart::Account {
            id: state.id,
            next_mailbox: state.next_mailbox,
            last_uid_validity: state.last_uid_validity,
            oldest_retained: state.oldest_retained,
        }];
        let subscriptions = state.subscriptions.iter().cloned();
        parts.extend(grouped(subscriptions).into_iter().map(AccountPart::Subscriptions));
        let graves = state.graves.iter().map(|(id, grave)| (id.0, grave.clone()));
        parts.extend(grouped(graves).into_iter().map(AccountPart::Graves));
        let annotations = grouped(KeptAnnotation::all(&state.annotations));
        parts.extend(annotations.into_iter().map(AccountPart::Annotations));
        let mailboxes = state.places().map(|mailbox| MailboxPart::new(mailbox));
        parts.extend(grouped(mailboxes).into_iter().map(AccountPart::Mailboxes));
        for mailbox in state.places() {
            let rows: Vec<_> = mailbox.rows().cloned().collect();
            let rows = rows.chunks(CHUNK_ROWS_MAX).map(<[_]>::to_vec);
            parts.extend(rows.map(|rows| AccountPart::Rows(mailbox.id, rows)));
        }
        let held: BTreeSet<EmailId> =
            state.places().flat_map(|mailbox| mailbox.rows().map(|row| row.email)).collect();
        let structures = self.structures.iter().filter(|(email, _)| held.contains(email));
        let structures = structures.map(|(email, octets)| (email.0, ByteVec::from(octets.to_vec())));
        parts.extend(grouped(structures).into_iter().map(AccountPart::Structures));
        parts
    }
}

/// The queue in groups of parts that are written as one entry each, made one after the other.
pub(crate) fn of_queue(queue: QueueState) -> impl Iterator<Item = Parts<Vec<EntryPart>>> {
    let of = queue.seq;
    let (all, mut reached) = (queue.entries.into_all(), None);
    let (mut number, mut sum, mut is_closed) = (0, 0_u64, false);
    std::iter::from_fn(move || {
        let (mut parts, mut bytes) = (Vec::new(), 0);
        while !is_closed && bytes <= ENTRY_BYTES {
            let slots: Vec<_> = all.behind(reached).take(PART_ENTRIES).collect();
            reached = slots.last().map(|slot| slot.id).or(reached);
            let part: Vec<EntryPart> = slots.iter().map(Slot::part).collect();
            if part.is_empty() {
                is_closed = true;
                let end = Some(SnapshotClosed { of, parts: number, digest: sum });
                return Some(Parts { of, parts, end });
            }
            bytes += cbor(&part).len();
            sum = sum.wrapping_add(digest(number as usize, &part));
            parts.push((number, part));
            number += 1;
        }
        (!parts.is_empty()).then_some(Parts { of, parts, end: None })
    })
}

/// Parts in groups that are written as one entry each.
pub(crate) fn written<P: Encode<()>>(of: u64, parts: Vec<P>) -> Vec<Parts<P>> {
    let end = closing(of, &parts);
    let (mut groups, mut bytes) = (vec![Parts { of, parts: Vec::new(), end: None }], 0);
    for (number, part) in (0..).zip(parts) {
        if bytes > ENTRY_BYTES {
            groups.push(Parts { of, parts: Vec::new(), end: None });
            bytes = 0;
        }
        bytes += cbor(&part).len();
        if let Some(group) = groups.last_mut() {
            group.parts.push((number, part));
        }
    }
    if let Some(last) = groups.last_mut() {
        last.end = Some(end);
    }
    groups
}

/// Items in groups of some [`PART_BYTES`].
fn grouped<T: Encode<()>>(items: impl Iterator<Item = T>) -> Vec<Vec<T>> {
    let (mut groups, mut bytes) = (Vec::new(), PART_BYTES);
    for item in items {
        let length = cbor(&item).len();
        if bytes + length > PART_BYTES {
            groups.push(Vec::new());
            bytes = 0;
        }
        bytes += length;
        if let Some(group) = groups.last_mut() {
            group.push(item);
        }
    }
    groups
}
