//! Which mailbox of the account a folder goes to; missing ones are created.

use std::collections::BTreeSet;

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
}

impl Targets {
    pub(super) fn new(source: BTreeSet<String>, subscriptions: Option<Vec<String>>) -> Self {
        Self { source, subscriptions }
    }

    /// The mailbox that a folder goes to. The inner error says why it cannot be.
    pub(super) fn mailbox(&self, work: &Work, name: &str) -> Result<Result<MailboxId, String>, Ended> {
        let state = work.account.state();
        let name = self.mapped(&state, name);
        if let Some(mailbox) = state.by_name(&name) {
            return Ok(Ok(mailbox.id));
        }
        let special_use = special_use(&name).filter(|wanted| with_use(&state, *wanted).is_none());
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
        let own = || special_use(name).and_then(|wanted| with_use(state, wanted));
        let found = if state.by_name(name).is_none() { own() } else { None };
        match found.filter(|own| !self.source.contains(own)) {
            Some(own) => own,
            None => name.to_owned(),
        }
    }
}

/// The use that a name says, whether on the first level or, as Courier has it, below INBOX.
fn special_use(name: &str) -> Option<SpecialUse> {
    let name = name.strip_prefix("INBOX/").unwrap_or(name).to_lowercase();
    NAMES.iter().find(|(_, names)| names.contains(&name.as_str())).map(|(wanted, _)| *wanted)
}

fn with_use(state: &AccountState, wanted: SpecialUse) -> Option<String> {
    let mut mailboxes = state.mailboxes.values();
    mailboxes.find(|mailbox| mailbox.special_use == Some(wanted)).map(|mailbox| mailbox.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(special_use(name), wanted, "{name}");
        }
    }
}
