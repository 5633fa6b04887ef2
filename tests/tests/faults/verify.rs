//! What is shown after a cut against what must be: the ledger's other half.

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::{Effect, Folder, Found, FoundEntry, FoundMailbox, FoundRow, Ledger, Place, SILENT};

impl Ledger {
    /// Compares what is shown after a cut with what must be; what is wrong. Then what is shown is what is known.
    pub(crate) fn verify(&mut self, found: &Found) -> Vec<String> {
        let mut problems = found.complaints.clone();
        let names = self.match_mailboxes(found);
        let (shown, mut twice) = shown(found, &names);
        problems.append(&mut twice);
        let in_flight = std::mem::take(&mut self.in_flight);
        for effect in in_flight.values().flatten() {
            if let Effect::Removed(place) = effect
                && !shown.contains_key(place)
                && !self.copies.contains_key(place)
            {
                self.removed_early.insert(place.clone());
            }
        }
        for effects in in_flight.into_values() {
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
            // what was removed early may have been there
            Effect::Added(place, _) => {
                let is_shown = shown.contains_key(place);
                (is_shown || !self.removed_early.contains(place)).then_some(is_shown)
            }
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
