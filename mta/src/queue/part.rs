//! An entry by where it goes: its open recipients at each place.

use waypost_auth::Live;
use waypost_config::QueueConfig;
use waypost_mail::{Domain, Notify, ReversePath, Timestamp};
use waypost_storage::{QueueEntry, QueuedRecipient};

use super::{Place, schedule::Span};

/// The open recipients of an entry at one place, with their indexes; at least one.
pub(super) struct Part<'a> {
    pub(super) place: Place,
    recipients: Vec<(usize, &'a QueuedRecipient)>,
}

impl<'a> Part<'a> {
    /// The parts of an entry.
    pub(super) fn all(live: &Live, entry: &'a QueueEntry) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        for (index, queued) in entry.open() {
            if let Some(part) = parts.iter_mut().find(|part| part.takes(queued)) {
                part.recipients.push((index, queued));
                continue;
            }
            let place = Place::of(live, entry, &queued.recipient);
            match parts.iter_mut().find(|part| part.place == place) {
                Some(part) => part.recipients.push((index, queued)),
                None => parts.push(Self { place, recipients: vec![(index, queued)] }),
            }
        }
        parts
    }

    /// The part of an entry at a place; `None`: none of its open recipients is there.
    pub(super) fn at(live: &Live, entry: &'a QueueEntry, place: &Place) -> Option<Self> {
        Self::all(live, entry).into_iter().find(|part| part.place == *place)
    }

    /// Whether a recipient belongs here, as far as one look at the last one tells: one domain, by the same alias or none, is one place.
    fn takes(&self, queued: &QueuedRecipient) -> bool {
        self.recipients.last().is_some_and(|(_, last)| deciding(last) == deciding(queued))
    }

    /// When the first of its recipients is due.
    pub(super) fn due(&self) -> Timestamp {
        self.recipients.iter().map(|(_, queued)| queued.next_attempt).min().unwrap_or(Timestamp(i64::MAX))
    }

    /// Its recipients that are due by then, with their indexes.
    pub(super) fn due_by(self, by: Timestamp) -> impl Iterator<Item = (usize, &'a QueuedRecipient)> {
        self.recipients.into_iter().filter(move |(_, queued)| queued.next_attempt <= by)
    }

    /// When the sender of a message that waits is told of it, or it is given up.
    pub(super) fn deadline(&self, queue: &QueueConfig, entry: &QueueEntry) -> Timestamp {
        let next_words = self.recipients.iter().map(|(_, queued)| next_word(queue, entry, queued));
        next_words.min().unwrap_or(Timestamp(i64::MAX))
    }

    /// Its recipients that are due and of which the sender is told by then, or that are given up, with their indexes.
    pub(super) fn overdue_by(
        self,
        queue: &QueueConfig,
        entry: &QueueEntry,
        by: Timestamp,
    ) -> impl Iterator<Item = (usize, &'a QueuedRecipient)> {
        self.due_by(by).filter(move |(_, queued)| next_word(queue, entry, queued) <= by)
    }
}

/// When the sender of a message that waits is told of a recipient, where it wants to know of delays, or that is given up.
fn next_word(queue: &QueueConfig, entry: &QueueEntry, queued: &QueuedRecipient) -> Timestamp {
    let wants_delays = queued.recipient.notify.unwrap_or(Notify::UNASKED).delay;
    let knows = queued.warned || !wants_delays || entry.reverse_path == ReversePath::Null;
    Span::of(entry).next_word(queue.schedule(&queued.recipient.address.domain), knows)
}

/// What tells recipients of one entry apart that may go to different places.
fn deciding(queued: &QueuedRecipient) -> (&Domain, Option<&Domain>) {
    let recipient = &queued.recipient;
    (&recipient.address.domain, recipient.original.as_ref().map(|alias| &alias.domain))
}
