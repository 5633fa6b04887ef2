//! What is done with a message after it was checked where it comes from: what its mailboxes show of that, and which they are.

use std::collections::HashMap;

use waypost_auth::Live;
use waypost_mail::{AccountId, MailboxId, Refusal};
use waypost_storage::{SpecialUse, Store};

use super::{recipient::Recipient, refusal};
use crate::authenticity::{
    Verdict,
    policy::{Disposition, decide},
    results,
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
    /// Does what a verdict comes to. Errors: the message is not wanted.
    pub(super) async fn new(
        verdict: &Verdict,
        live: &Live,
        store: &Store,
        recipients: &[Recipient],
    ) -> Result<Self, Refusal> {
        let disposition = decide(&live.config.authenticity, verdict);
        let what = format!("{verdict} {}", disposition.name());
        let mailboxes = match &disposition {
            Disposition::Refuse(refusal) => {
                tracing::info!(authenticity = what, "the message is not from whom it says");
                return Err(refusal.clone());
            }
            Disposition::Quarantine(_) => junk(store, recipients).await?,
            Disposition::Deliver(_) => HashMap::new(),
        };
        let results = results::field(verdict, &disposition, live.config.hostname.as_str());
        Ok(Self { results, mailboxes, seal: String::new(), what: Some(what) })
    }
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
