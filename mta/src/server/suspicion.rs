//! What is done with a message after it was checked where it comes from: what its mailboxes show of that, and which they are.

use std::collections::HashMap;

use waypost_auth::Live;
use waypost_mail::{AccountId, Domain, MailboxId, Refusal};
use waypost_storage::{SpecialUse, Store};

use super::{Context, recipient::Recipient, refusal};
use crate::{
    authenticity::{
        Verdict,
        dmarc::Policy,
        policy::{Disposition, decide},
        results,
    },
    reports::outgoing::sighting::sightings,
};

/// What deliveries of a message are given. Nothing, where it was not checked.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// The field with the results, for the prefix of each delivery.
    pub(super) results: String,
    /// Where it goes but to INBOX.
    pub(super) mailboxes: HashMap<AccountId, MailboxId>,
    /// The set of ARC for copies that go on from here.
    pub(super) seal: String,
    /// All results in a line, for the log.
    pub(super) what: Option<String>,
}

impl Suspicion {
    /// Does what a verdict comes to for a message with these recipients and this header block, and counts it for reports. Errors: the
    /// message is not wanted.
    pub(super) async fn new(
        verdict: &Verdict,
        live: &Live,
        context: &Context,
        (recipients, header): (&[Recipient], &[u8]),
    ) -> Result<Self, Refusal> {
        let disposition = decide(&live.config.authenticity, verdict);
        // a report has the address of the client (RFC 7489 section 7.2), which a proxy may not know
        let is_counted = live.config.reports.send && !verdict.peer.is_unspecified();
        if let Some(applied) = applied(&disposition).filter(|_| is_counted) {
            let to = one_domain(recipients);
            let seen = sightings(&live.config.authenticity, verdict, applied, to, header);
            context.counts.note(seen, context.store.now());
        }
        let what = format!("{verdict} {}", disposition.name());
        let mailboxes = match &disposition {
            Disposition::Refuse(refusal) => {
                tracing::info!(authenticity = what, "the message is not from whom it says");
                return Err(refusal.clone());
            }
            Disposition::Quarantine(_) => junk(&context.store, recipients).await?,
            Disposition::Deliver(_) => HashMap::new(),
        };
        let results = results::field(verdict, &disposition, live.config.hostname.as_str());
        Ok(Self { results, mailboxes, seal: String::new(), what: Some(what) })
    }
}

/// What was done with a message; `None`: it will come again.
fn applied(disposition: &Disposition) -> Option<Policy> {
    match disposition {
        Disposition::Deliver(_) => Some(Policy::None),
        Disposition::Quarantine(_) => Some(Policy::Quarantine),
        Disposition::Refuse(refusal) => (refusal.code >= 500).then_some(Policy::Reject),
    }
}

/// The domain of all recipients, where it is one.
fn one_domain(recipients: &[Recipient]) -> Option<&Domain> {
    let (first, others) = recipients.split_first()?;
    let domain = &first.address.domain;
    others.iter().all(|other| other.address.domain == *domain).then_some(domain)
}

/// The mailbox for junk of each account; an account that has none gets it in INBOX.
async fn junk(store: &Store, recipients: &[Recipient]) -> Result<HashMap<AccountId, MailboxId>, Refusal> {
    let mut found = HashMap::new();
    for account in recipients.iter().flat_map(|recipient| &recipient.accounts) {
        let loaded = store.account(*account).await.map_err(|error| refusal::store_error(&error))?;
        let state = loaded.state();
        let junk = state.mailboxes.values().find(|mailbox| mailbox.special_use == Some(SpecialUse::Junk));
        found.extend(junk.map(|junk| (*account, junk.id)));
    }
    Ok(found)
}
