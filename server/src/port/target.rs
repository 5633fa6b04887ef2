//! Which mailbox of the account a folder goes to; missing ones are created.

use std::collections::{BTreeMap, BTreeSet};

use waypost_mail::MailboxId;
use waypost_storage::{AccountState, SpecialUse, StoreError};

use super::{Ended, Work};

/// The names that an mbox tree is subscribed to, one a line.
pub(super) const MBOX_SUBSCRIPTIONS: &str = ".subscriptions";

/// Names under which other programs keep mail of a special use, in lower case.
const NAMES: [(SpecialUse, &[&str]); 5] = [
    (SpecialUse::Sent, &["sent", "sent items", "sent messages", "sent mail", "sent-mail"]),
    (SpecialUse::Drafts, &["drafts", "draft"]),
    (SpecialUse::Junk, &["junk", "spam", "junk e-mail", "junk email", "junk mail", "bulk mail"]),
    (SpecialUse::Trash, &["trash", "deleted items", "deleted messages", "deleted"]),
    (SpecialUse::Archive, &["archive", "archives"]),
];

/// Finds and creates the mailboxes of an import.
#[derive(Debug)]
pub(super) struct Targets {
    /// What the source calls its folders.
    source: BTreeSet<String>,
    /// What the source is subscribed to, if it says so.
    subscriptions: Option<Vec<String>>,
    /// What its folders are for: what it says, and what their names say where it does not; one folder for each use.
    uses: BTreeMap<String, SpecialUse>,
}

impl Targets {
    pub(super) fn new(source: BTreeSet<String>, subscriptions: Option<Vec<String>>) -> Self {
        Self::with_uses(source, subscriptions, BTreeMap::new())
    }

    /// For a source that says what its folders are for.
    pub(super) fn with_uses(
        source: BTreeSet<String>,
        subscriptions: Option<Vec<String>>,
        said: BTreeMap<String, SpecialUse>,
    ) -> Self {
        let mut uses: BTreeMap<String, SpecialUse> = BTreeMap::new();
        let named = NAMES.iter().flat_map(|(special_use, names)| {
            let of = |wanted: &&'static str| {
                let wanted = *wanted;
                source.iter().filter(move |name| plain(name) == wanted)
            };
            names.iter().flat_map(of).map(|name| (name.clone(), *special_use))
        });
        for (name, special_use) in said.into_iter().chain(named) {
            if !uses.values().any(|taken| *taken == special_use) {
                uses.entry(name).or_insert(special_use);
            }
        }
        Self { source, subscriptions, uses }
    }

    /// The mailbox that a folder goes to. The inner error says why it cannot be.
    pub(super) fn mailbox(&self, work: &Work, name: &str) -> Result<Result<MailboxId, String>, Ended> {
        let state = work.account.state();
        let name = self.mapped(&state, name);
        if let Some(mailbox) = state.by_name(&name) {
            return Ok(Ok(mailbox.id));
        }
        let special_use = self.special_use(&name).filter(|wanted| with_use(&state, *wanted).is_none());
        match work.wait(work.account.create_mailbox(&name, special_use)) {
            Ok(mailbox) => {
                if self.subscriptions.is_none() {
                    work.wait(work.account.subscribe(&name, true))?;
                }
                Ok(Ok(mailbox))
            }
            Err(error @ (StoreError::MailboxName(_) | StoreError::Limit(_))) => Ok(Err(error.to_string())),
            Err(error) => Err(Ended::store(error)),
        }
    }

    /// Subscribes what the source is subscribed to.
    pub(super) fn subscribe(&self, work: &mut Work) -> Result<(), Ended> {
        for name in self.subscriptions.iter().flatten() {
            let name = self.mapped(&work.account.state(), name);
            match work.wait(work.account.subscribe(&name, true)) {
                Ok(()) => {}
                Err(error @ (StoreError::MailboxName(_) | StoreError::Limit(_))) => {
                    work.summary.warnings.push(format!("the subscription of {name:?}: {error}"));
                }
                Err(error) => return Err(Ended::store(error)),
            }
        }
        Ok(())
    }

    /// The name as it is, or that of the account's mailbox for the same use. Two folders of the source never become one.
    fn mapped(&self, state: &AccountState, name: &str) -> String {
        let own = || self.special_use(name).and_then(|wanted| with_use(state, wanted));
        let found = if state.by_name(name).is_none() { own() } else { None };
        match found.filter(|own| !self.source.contains(own)) {
            Some(own) => own,
            None => name.to_owned(),
        }
    }

    fn special_use(&self, name: &str) -> Option<SpecialUse> {
        self.uses.get(name).copied()
    }
}

/// A name whose use is looked up: on the first level or, as Courier has it, below INBOX.
fn plain(name: &str) -> String {
    name.strip_prefix("INBOX/").unwrap_or(name).to_lowercase()
}

fn with_use(state: &AccountState, wanted: SpecialUse) -> Option<String> {
    let mut mailboxes = state.mailboxes.values();
    mailboxes.find(|mailbox| mailbox.special_use == Some(wanted)).map(|mailbox| mailbox.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(source: &[&str], said: &[(&str, SpecialUse)]) -> Vec<(String, SpecialUse)> {
        let source = source.iter().map(|name| (*name).to_owned()).collect();
        let said = said.iter().map(|(name, special_use)| ((*name).to_owned(), *special_use)).collect();
        Targets::with_uses(source, None, said).uses.into_iter().collect()
    }

    #[test]
    fn uses_are_known_by_name() {
        for (name, wanted) in [
            ("Sent Items", Some(SpecialUse::Sent)),
            ("SPAM", Some(SpecialUse::Junk)),
            ("INBOX/Trash", Some(SpecialUse::Trash)),
            ("Work/Sent", None),
            ("INBOX", None),
            ("Sentences", None),
        ] {
            assert_eq!(uses(&[name], &[]).first().map(|(_, found)| *found), wanted, "{name}");
        }
    }

    #[test]
    fn one_folder_is_for_each_use() {
        let sent = |name: &str| vec![(name.to_owned(), SpecialUse::Sent)];
        assert_eq!(uses(&["Sent Messages", "Sent Items", "Sent"], &[]), sent("Sent"));
        assert_eq!(uses(&["Sent Messages", "Sent Items"], &[]), sent("Sent Items"));
        assert_eq!(uses(&["Sent", "Gesendet"], &[("Gesendet", SpecialUse::Sent)]), sent("Gesendet"));
        let twice = [("A", SpecialUse::Sent), ("B", SpecialUse::Sent)];
        assert_eq!(uses(&["A", "B"], &twice), sent("A"));
    }
}
