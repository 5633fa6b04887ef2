//! Mail that may bring reports of others: where it goes, and to whom it is shown when it is accepted (`reports::incoming`).

use bytes::Bytes;
use waypost_auth::Live;
use waypost_mail::EntryId;
use waypost_message::Structure;
use waypost_storage::{Acceptance, Accepted, Store};

use super::{Context, recipient::Recipient, suspicion::Suspicion};
use crate::reports::incoming::{Incoming, Job, Place, mail};

/// A mail that may bring reports.
#[derive(Debug)]
pub(super) struct Brings {
    /// The message whose own return path it came to.
    about: Option<EntryId>,
    /// The accounts that addresses for reports lead to.
    accounts: Vec<waypost_mail::AccountId>,
    /// Its octets, where it is in no mailbox here.
    octets: Option<Bytes>,
}

impl Brings {
    /// Whether a mail to these recipients does: it came to an address for reports, or a complaint to the return path of one message.
    pub(super) fn new(context: &Context, recipients: &[Recipient], structure: &Structure) -> Option<Self> {
        let about = recipients.iter().find_map(|recipient| recipient.returned.as_ref().map(|(_, id)| *id));
        let about = about.filter(|_| mail::is_feedback(structure));
        if about.is_none() && !mail::may_bring_reports(structure) {
            return None;
        }
        let is_for_reports = |recipient: &&Recipient| context.reports.is_for_reports(&recipient.address);
        let addressed: Vec<&Recipient> = recipients.iter().filter(is_for_reports).collect();
        if about.is_none() && addressed.is_empty() {
            return None;
        }
        let accounts = addressed.iter().flat_map(|recipient| &recipient.accounts).copied().collect();
        Some(Self { about, accounts, octets: None })
    }

    /// The mailbox that the configuration names, in each account that has it; what is suspicious goes to Junk all the same.
    pub(super) async fn choose_mailboxes(&self, live: &Live, store: &Store, suspicion: &mut Suspicion) {
        let Some(name) = &live.config.reports.mailbox else { return };
        for account in &self.accounts {
            // what cannot be read now is told of by the delivery itself
            let Ok(loaded) = store.account(*account).await else { continue };
            if let Some(mailbox) = loaded.state().by_name(name) {
                suspicion.mailboxes.entry(*account).or_insert(mailbox.id);
            }
        }
    }

    /// Keeps the octets, as a mailbox would have them, where none here gets them; not those of a body too large to be held in memory.
    pub(super) fn noting(mut self, acceptance: &Acceptance, suspicion: &Suspicion) -> Self {
        if acceptance.local.is_empty()
            && let Some(body) = acceptance.body.memory()
        {
            self.octets = Some([suspicion.results.as_bytes(), &acceptance.header, &body].concat().into());
        }
        self
    }

    /// Has it looked at; it is accepted.
    pub(super) fn offer(self, reports: &Incoming, accepted: Accepted) {
        let Accepted { id, local } = accepted;
        let place = local.into_iter().next().map(Place::Mailbox).or(self.octets.map(Place::Octets));
        if let Some(place) = place {
            reports.offer(Job { id, place, about: self.about });
        }
    }
}
