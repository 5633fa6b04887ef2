//! The ledger: what was asked of a server, what it acknowledged, what was in flight at a cut; and what it must therefore
//! show after it.
//!
//! Each command is an operation with effects. Acknowledged, they are part of what must be shown; refused, they are not; in
//! flight at a cut, all of them happened or none. When those are resolved, what is shown must be what is known: each
//! message once where it belongs, with its octets, its UID and its flags, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

/// Flags by their names, without `\Recent`.
pub(crate) type Flags = BTreeSet<String>;

/// A mailbox: its account, and the name under which it was created. Renames do not change this.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Folder(pub(crate) String, pub(crate) String);

/// One message in one mailbox.
pub(crate) type Place = (Folder, String);

/// What a command does.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Created(Folder),
    Renamed(Folder, String),
    Added(Place, Flags),
    Removed(Place),
    Flagged(Place, Flags),
    /// A message, and the domain where it goes: once in the queue, with the recipient `message@domain`.
    Queued(String, &'static str),
}

impl Effect {
    fn kind(&self) -> &'static str {
        match self {
            Self::Created(_) => "created",
            Self::Renamed(..) => "renamed",
            Self::Added((_, message), _) if message.starts_with('a') => "appended or copied",
            Self::Added(..) => "delivered, copied",
            Self::Removed(_) => "removed",
            Self::Flagged(..) => "flagged",
            Self::Queued(..) => "queued",
        }
    }
}

/// Domain whose next hop takes mail.
pub(crate) const SINK: &str = "sink.test";
/// Domain whose next hop never answers.
pub(crate) const SILENT: &str = "silent.test";

/// What a mailbox must show.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    pub(crate) name: String,
    pub(crate) validity: Option<u32>,
    pub(crate) modseq: u64,
}

/// What a message must show.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) flags: Flags,
    pub(crate) uid: Option<u32>,
    pub(crate) modseq: u64,
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) domain: &'static str,
    pub(crate) entry: Option<String>,
    /// How often the sink had taken it when it was seen that the queue holds it no more: it is never sent again.
    pub(crate) settled: Option<u32>,
    /// At which start of the server it was queued.
    pub(crate) begun: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) mailboxes: BTreeMap<Folder, Mailbox>,
    pub(crate) copies: BTreeMap<Place, Copy>,
    pub(crate) queue: BTreeMap<String, Queued>,
    /// Who ever had a UID: account, UIDVALIDITY, UID.
    pub(crate) uids: BTreeMap<(String, u32, u32), String>,
    /// Who ever had a unique-id in a maildrop.
    uidls: BTreeMap<String, String>,
    pub(crate) in_flight: BTreeMap<u64, Vec<Effect>>,
    /// Copies that one session removed before another had read that they were there.
    pub(crate) removed_early: BTreeSet<Place>,
    refused: Vec<Vec<Effect>>,
    operations: u64,
    /// Starts of the server, and how many there were when the load began.
    pub(crate) starts: u32,
    begun: u32,
    acknowledged: Vec<SystemTime>,
    /// Answers that nobody wanted.
    pub(crate) refusals: Vec<String>,
    /// Accepted messages that nobody moved yet.
    unclaimed: BTreeMap<String, Vec<String>>,
    /// Messages that were accepted for an INBOX, with the account.
    delivered: BTreeSet<(String, String)>,
    done: Acknowledged,
}

/// How many effects of each kind were acknowledged.
pub(crate) type Acknowledged = BTreeMap<&'static str, u64>;

/// What a server shows.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) mailboxes: Vec<FoundMailbox>,
    pub(crate) queue: Vec<FoundEntry>,
    /// How often the sink took each message.
    pub(crate) taken: BTreeMap<String, u32>,
    /// What the store says of itself: damage, and what its check found.
    pub(crate) complaints: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct FoundMailbox {
    pub(crate) account: String,
    pub(crate) name: String,
    pub(crate) validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) modseq: u64,
    pub(crate) rows: Vec<FoundRow>,
}

#[derive(Clone, Debug)]
pub(crate) struct FoundRow {
    pub(crate) uid: u32,
    pub(crate) modseq: u64,
    pub(crate) flags: Flags,
    /// Which message it is, or what is wrong with its octets.
    pub(crate) message: Result<String, String>,
}

#[derive(Debug)]
pub(crate) struct FoundEntry {
    pub(crate) entry: String,
    /// Its recipients; over the administration socket only those that are open.
    pub(crate) to: Vec<String>,
    pub(crate) open: Vec<String>,
    /// What is wrong with its octets, where they were read.
    pub(crate) wrong: Option<String>,
}

impl Ledger {
    /// Takes what a new server has as what must be shown.
    pub(crate) fn begin_with(&mut self, found: &Found) {
        for mailbox in &found.mailboxes {
            let folder = Folder(mailbox.account.clone(), mailbox.name.clone());
            let known = Mailbox {
                name: mailbox.name.clone(),
                validity: Some(mailbox.validity),
                modseq: mailbox.modseq,
            };
            self.mailboxes.insert(folder, known);
        }
    }

    /// A server starts: what is acknowledged and in flight is counted from here.
    pub(crate) fn start(&mut self) {
        self.acknowledged.clear();
        self.in_flight.clear();
        self.started();
        self.begun = self.starts;
    }

    /// A server starts to be looked at.
    pub(crate) fn started(&mut self) {
        self.starts += 1;
    }

    /// Before a command is sent.
    pub(crate) fn begin(&mut self, effects: Vec<Effect>) -> u64 {
        self.operations += 1;
        self.in_flight.insert(self.operations, effects);
        self.operations
    }

    /// Its completion was read.
    pub(crate) fn acknowledge(&mut self, operation: u64) {
        let effects = self.in_flight.remove(&operation).unwrap_or_default();
        for effect in effects {
            if let Effect::Added((folder, message), _) = &effect
                && folder.1 == "INBOX"
                && message.starts_with('m')
                // Who has it in care may move it away and back.
                && self.delivered.insert((folder.0.clone(), message.clone()))
            {
                self.unclaimed.entry(folder.0.clone()).or_default().push(message.clone());
            }
            self.apply(effect);
        }
        self.acknowledged.push(SystemTime::now());
    }

    /// It was refused: nothing of it may be shown.
    pub(crate) fn refuse(&mut self, operation: u64, answer: &str) {
        let effects = self.in_flight.remove(&operation).unwrap_or_default();
        self.refusals.push(format!("{answer}; to {effects:?}"));
        self.refused.push(effects);
    }

    /// What was refused because a sync failed may be shown by the next server: all of it, or nothing.
    pub(crate) fn reconsider_refused(&mut self) {
        for effects in std::mem::take(&mut self.refused) {
            self.begin(effects);
        }
    }

    pub(crate) fn learn_uid(&mut self, place: &Place, validity: u32, uid: u32) {
        if let Some(mailbox) = self.mailboxes.get_mut(&place.0) {
            mailbox.validity.get_or_insert(validity);
        }
        if let Some(copy) = self.copies.get_mut(place) {
            copy.uid = Some(uid);
        }
        let account = place.0.0.clone();
        self.uids.entry((account, validity, uid)).or_insert_with(|| place.1.clone());
    }

    pub(crate) fn learn_modseq(&mut self, folder: &Folder, modseq: u64) {
        if let Some(mailbox) = self.mailboxes.get_mut(folder) {
            mailbox.modseq = mailbox.modseq.max(modseq);
        }
    }

    /// A unique-id that a maildrop showed; what is wrong with it.
    pub(crate) fn learn_uidl(&mut self, uidl: &str, message: &str) -> Option<String> {
        let known = self.uidls.entry(uidl.to_owned()).or_insert_with(|| message.to_owned());
        (known != message).then(|| format!("the unique-id {uidl} of {known} is also that of {message}"))
    }

    pub(crate) fn learn_entry(&mut self, message: &str, entry: &str) {
        if let Some(queued) = self.queue.get_mut(message) {
            queued.entry = Some(entry.to_owned());
        }
    }

    /// Entries that may settle; asked before the queue is listed.
    pub(crate) fn unsettled(&self) -> Vec<(String, String)> {
        let open = self.queue.iter().filter(|(_, queued)| queued.domain == SINK && queued.settled.is_none());
        open.filter_map(|(message, queued)| Some((message.clone(), queued.entry.clone()?))).collect()
    }

    /// The queue was listed without it: that it is settled was shown, so it holds. `taken`: how often the sink has it now.
    pub(crate) fn settled(&mut self, message: &str, taken: u32) {
        if let Some(queued) = self.queue.get_mut(message) {
            queued.settled.get_or_insert(taken);
        }
    }

    /// A message that was accepted for an INBOX and that no one else moves.
    pub(crate) fn claim(&mut self, account: &str) -> Option<String> {
        self.unclaimed.get_mut(account)?.pop()
    }

    /// How many commands were acknowledged since a moment.
    pub(crate) fn acknowledged_since(&self, moment: Option<SystemTime>) -> usize {
        self.acknowledged.iter().filter(|at| moment.is_none_or(|moment| **at > moment)).count()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Something else that happened, so many times.
    pub(crate) fn note(&mut self, kind: &'static str, count: usize) {
        *self.done.entry(kind).or_default() += count as u64;
    }

    /// Adds what was acknowledged in all cycles.
    pub(crate) fn add_to(&self, all: &mut Acknowledged) {
        for (kind, count) in &self.done {
            *all.entry(kind).or_default() += count;
        }
        *all.entry("settled").or_default() +=
            self.queue.values().filter(|queued| queued.settled.is_some()).count() as u64;
    }

    pub(crate) fn apply(&mut self, effect: Effect) {
        *self.done.entry(effect.kind()).or_default() += 1;
        match effect {
            Effect::Created(folder) => {
                let name = folder.1.clone();
                self.mailboxes.insert(folder, Mailbox { name, validity: None, modseq: 0 });
            }
            Effect::Renamed(folder, name) => {
                if let Some(mailbox) = self.mailboxes.get_mut(&folder) {
                    mailbox.name = name;
                }
            }
            Effect::Added(place, flags) => {
                if !self.removed_early.remove(&place) {
                    self.copies.insert(place, Copy { flags, uid: None, modseq: 0 });
                }
            }
            Effect::Removed(place) => {
                if self.copies.remove(&place).is_none() {
                    self.removed_early.insert(place);
                }
            }
            Effect::Flagged(place, flags) => {
                if let Some(copy) = self.copies.get_mut(&place) {
                    copy.flags = flags;
                }
            }
            Effect::Queued(message, domain) => {
                self.queue.insert(message, Queued { domain, entry: None, settled: None, begun: self.begun });
            }
        }
    }
}
