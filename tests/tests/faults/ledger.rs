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
struct Mailbox {
    name: String,
    validity: Option<u32>,
    modseq: u64,
}

/// What a message must show.
#[derive(Clone, Debug)]
struct Copy {
    flags: Flags,
    uid: Option<u32>,
    modseq: u64,
}

/// A message on its way.
#[derive(Clone, Debug)]
struct Queued {
    domain: &'static str,
    entry: Option<String>,
    /// How often the sink had taken it when it was seen that the queue holds it no more: it is never sent again.
    settled: Option<u32>,
    /// At which start of the server it was queued.
    begun: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    mailboxes: BTreeMap<Folder, Mailbox>,
    copies: BTreeMap<Place, Copy>,
    queue: BTreeMap<String, Queued>,
    /// Who ever had a UID: account, UIDVALIDITY, UID.
    uids: BTreeMap<(String, u32, u32), String>,
    /// Who ever had a unique-id in a maildrop.
    uidls: BTreeMap<String, String>,
    in_flight: BTreeMap<u64, Vec<Effect>>,
    refused: Vec<Vec<Effect>>,
    operations: u64,
    /// Starts of the server, and how many there were when the load began.
    starts: u32,
    begun: u32,
    acknowledged: Vec<SystemTime>,
    /// Answers that nobody wanted.
    pub(crate) refusals: Vec<String>,
    /// Accepted messages that nobody moved yet.
    unclaimed: BTreeMap<String, Vec<String>>,
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

    /// Adds what was acknowledged in all cycles.
    pub(crate) fn add_to(&self, all: &mut Acknowledged) {
        for (kind, count) in &self.done {
            *all.entry(kind).or_default() += count;
        }
        *all.entry("settled").or_default() +=
            self.queue.values().filter(|queued| queued.settled.is_some()).count() as u64;
    }

    fn apply(&mut self, effect: Effect) {
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
                self.copies.insert(place, Copy { flags, uid: None, modseq: 0 });
            }
            Effect::Removed(place) => {
                self.copies.remove(&place);
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

    /// Compares what is shown after a cut with what must be; what is wrong. Then what is shown is what is known.
    pub(crate) fn verify(&mut self, found: &Found) -> Vec<String> {
        let mut problems = found.complaints.clone();
        let names = self.match_mailboxes(found);
        let (shown, mut twice) = shown(found, &names);
        problems.append(&mut twice);
        for effects in std::mem::take(&mut self.in_flight).into_values() {
            match self.happened(&effects, found, &names, &shown) {
                Ok(true) => effects.into_iter().for_each(|effect| self.apply(effect)),
                Ok(false) => {}
                Err(()) => problems.push(format!("half of it happened: {effects:?}")),
            }
        }
        self.compare_mailboxes(found, &names, &mut problems);
        self.compare_copies(&shown, &mut problems);
        self.compare_queue(found, &mut problems);
        self.adopt(found, &names);
        problems
    }

    /// Which mailboxes those are that were found: by UIDVALIDITY, which a rename keeps and nobody else in the account has;
    /// else by name.
    fn match_mailboxes(&self, found: &Found) -> Vec<Folder> {
        let of = |mailbox: &FoundMailbox| {
            let own = || self.mailboxes.iter().filter(|(folder, _)| folder.0 == mailbox.account);
            own()
                .find(|(_, known)| known.validity == Some(mailbox.validity))
                .or_else(|| own().find(|(_, known)| known.name == mailbox.name))
                .map(|(folder, _)| folder.clone())
                .or_else(|| self.renamed(mailbox))
                .unwrap_or_else(|| Folder(mailbox.account.clone(), mailbox.name.clone()))
        };
        found.mailboxes.iter().map(of).collect()
    }

    /// A mailbox whose UIDVALIDITY nobody knew before its rename was in flight.
    fn renamed(&self, mailbox: &FoundMailbox) -> Option<Folder> {
        self.in_flight.values().flatten().find_map(|effect| match effect {
            Effect::Renamed(folder, name) if folder.0 == mailbox.account && *name == mailbox.name => {
                Some(folder.clone())
            }
            _ => None,
        })
    }

    /// Whether effects happened: all or none. Where one cannot be told, the others decide.
    fn happened(
        &self,
        effects: &[Effect],
        found: &Found,
        names: &[Folder],
        shown: &BTreeMap<Place, FoundRow>,
    ) -> Result<bool, ()> {
        let visible = |effect: &Effect| match effect {
            Effect::Created(folder) => Some(names.contains(folder)),
            Effect::Renamed(folder, name) => {
                let at = names.iter().position(|other| other == folder);
                Some(at.is_some_and(|at| found.mailboxes[at].name == *name))
            }
            Effect::Added(place, _) => Some(shown.contains_key(place)),
            Effect::Removed(place) => Some(!shown.contains_key(place)),
            Effect::Flagged(place, flags) => {
                let before = self.copies.get(place).map(|copy| &copy.flags);
                (before != Some(flags)).then(|| shown.get(place).is_some_and(|row| row.flags == *flags))
            }
            Effect::Queued(message, _) => {
                let queued = found.queue.iter().any(|entry| entry.is_of(message));
                Some(queued || found.taken.contains_key(message))
            }
        };
        let visible: BTreeSet<bool> = effects.iter().filter_map(visible).collect();
        match visible.len() {
            2 => Err(()),
            _ => Ok(visible.contains(&true)),
        }
    }

    fn compare_mailboxes(&self, found: &Found, names: &[Folder], problems: &mut Vec<String>) {
        for (folder, known) in &self.mailboxes {
            let Some(at) = names.iter().position(|other| other == folder) else {
                problems.push(format!("{folder:?} is lost"));
                continue;
            };
            let mailbox = &found.mailboxes[at];
            if mailbox.name != known.name {
                problems.push(format!("{folder:?} is called {} and not {}", mailbox.name, known.name));
            }
            if known.validity.is_some_and(|validity| validity != mailbox.validity) {
                problems.push(format!("{folder:?} has another UIDVALIDITY"));
            }
            if mailbox.modseq < known.modseq {
                problems.push(format!(
                    "HIGHESTMODSEQ of {folder:?} went from {} to {}",
                    known.modseq, mailbox.modseq
                ));
            }
        }
        for (mailbox, folder) in found.mailboxes.iter().zip(names) {
            if !self.mailboxes.contains_key(folder) {
                problems.push(format!("{folder:?} comes from nowhere"));
            }
            self.compare_uids(mailbox, problems);
        }
    }

    /// No UID was given to someone else, and none will be.
    fn compare_uids(&self, mailbox: &FoundMailbox, problems: &mut Vec<String>) {
        let key = |uid| (mailbox.account.clone(), mailbox.validity, uid);
        for row in &mailbox.rows {
            if let (Some(before), Ok(now)) = (self.uids.get(&key(row.uid)), &row.message)
                && before != now
            {
                problems.push(format!("UID {} of {} was given to {before}, too", row.uid, mailbox.name));
            }
        }
        if let Some(((_, _, uid), _)) = self.uids.range(key(0)..=key(u32::MAX)).next_back()
            && mailbox.uid_next <= *uid
        {
            problems.push(format!("UID {uid} of {} can be given again", mailbox.name));
        }
    }

    fn compare_copies(&self, shown: &BTreeMap<Place, FoundRow>, problems: &mut Vec<String>) {
        for (place, known) in &self.copies {
            let Some(row) = shown.get(place) else {
                problems.push(format!("{place:?} was acknowledged and is lost"));
                continue;
            };
            if row.flags != known.flags {
                problems.push(format!("{place:?} has {:?} and not {:?}", row.flags, known.flags));
            }
            if known.uid.is_some_and(|uid| uid != row.uid) {
                problems.push(format!("{place:?} has another UID"));
            }
            if row.modseq < known.modseq {
                problems.push(format!("MODSEQ of {place:?} went back"));
            }
        }
        let gone = shown.keys().filter(|place| !self.copies.contains_key(*place));
        problems.extend(gone.map(|place| format!("{place:?} is there and must not be")));
    }

    fn compare_queue(&self, found: &Found, problems: &mut Vec<String>) {
        problems.extend(found.queue.iter().filter_map(|entry| entry.wrong.clone()));
        for (message, known) in &self.queue {
            let entries: Vec<_> = found.queue.iter().filter(|entry| entry.is_of(message)).collect();
            let taken = found.taken.get(message).copied().unwrap_or(0);
            let mut wrong = |what: &str| problems.push(format!("the queue, {message}: {what}"));
            if entries.len() > 1 {
                wrong("it is there twice");
            }
            if entries.is_empty() && (known.domain == SILENT || taken == 0) {
                wrong("it was acknowledged and is forgotten");
            }
            if known.domain == SILENT && entries.iter().any(|entry| entry.open.is_empty()) {
                wrong("it is nobody's any more");
            }
            if !entries.is_empty() && known.settled.is_some() {
                wrong("it was settled and is back");
            }
            if entries.iter().any(|entry| known.entry.as_ref().is_some_and(|name| *name != entry.entry)) {
                wrong("it has another name");
            }
            // Each server may have delivered it without recording that.
            if taken > known.settled.unwrap_or(self.starts + 1 - known.begun) {
                wrong("it was sent again");
            }
        }
        for entry in &found.queue {
            if !self.queue.keys().any(|message| entry.is_of(message)) {
                problems.push(format!("the queue: {} to {:?} comes from nowhere", entry.entry, entry.to));
            }
        }
    }

    fn adopt(&mut self, found: &Found, names: &[Folder]) {
        for (mailbox, folder) in found.mailboxes.iter().zip(names) {
            if let Some(known) = self.mailboxes.get_mut(folder) {
                known.validity = Some(mailbox.validity);
                known.modseq = known.modseq.max(mailbox.modseq);
            }
            for row in &mailbox.rows {
                let Ok(message) = &row.message else { continue };
                let place = (folder.clone(), message.clone());
                self.learn_uid(&place, mailbox.validity, row.uid);
                if let Some(copy) = self.copies.get_mut(&place) {
                    copy.modseq = row.modseq;
                }
            }
        }
        for (message, queued) in &mut self.queue {
            let entry = found.queue.iter().find(|entry| entry.is_of(message));
            if entry.is_none() {
                queued.settled.get_or_insert(found.taken.get(message).copied().unwrap_or(0));
            }
            queued.entry = queued.entry.take().or_else(|| entry.map(|entry| entry.entry.clone()));
        }
    }
}

impl FoundEntry {
    fn is_of(&self, message: &str) -> bool {
        self.to.iter().any(|address| address.split('@').next() == Some(message))
    }
}

/// All messages by their places; what is there twice or is not whole.
fn shown(found: &Found, names: &[Folder]) -> (BTreeMap<Place, FoundRow>, Vec<String>) {
    let (mut shown, mut problems) = (BTreeMap::new(), Vec::new());
    for (mailbox, folder) in found.mailboxes.iter().zip(names) {
        for row in &mailbox.rows {
            match &row.message {
                Ok(message) => {
                    if shown.insert((folder.clone(), message.clone()), row.clone()).is_some() {
                        problems.push(format!("{message} is twice in {folder:?}"));
                    }
                }
                Err(wrong) => problems.push(format!("UID {} of {folder:?}: {wrong}", row.uid)),
            }
        }
    }
    (shown, problems)
}
