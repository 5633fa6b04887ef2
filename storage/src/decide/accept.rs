//! The command that takes new mail: into mailboxes, into the queue, or both.

use minicbor::bytes::ByteVec;
use waypost_mail::{AccountId, DateTime, EmailId, EntryId, Flags, MailboxId, ThreadId, UidlId};

use super::{Command, Draft, Need, Undecided, messages::ranges, retained::retain};
use crate::{
    accept::{Accepted, Placed, Relay, Replaced},
    content::BodyPlace,
    error::StoreError,
    queue::Held,
    record::{ContentPlace, Expunged, KeptWishes, MessageAdded, Queued},
};

/// Most recipients, local and remote, of one message.
pub(crate) const RECIPIENTS_MAX: usize = 100_000;

/// Messages that are taken as one entry or not at all. Their octets lie in the entry's area, or in files of their own.
pub(crate) struct Accept(pub(crate) Vec<Incoming>);

/// One message whose recipients were let in before it was known: quotas were looked at then.
pub(crate) struct Deliver {
    pub(crate) message: Incoming,
    /// What its sender asked to be told.
    pub(crate) notification: Option<Incoming>,
}

/// One message that takes the place of another.
pub(crate) struct Replace {
    pub(crate) message: Incoming,
    pub(crate) replaced: Replaced,
}

/// One message on its way in.
pub(crate) struct Incoming {
    pub(crate) id: EntryId,
    /// Start in the entry's area and length.
    pub(crate) header: (u32, u32),
    pub(crate) body: BodyPlace,
    pub(crate) body_bytes: u64,
    /// Encoded.
    pub(crate) structure: Vec<u8>,
    pub(crate) thread_key: Option<u64>,
    pub(crate) local: Vec<Local>,
    pub(crate) relay: Option<Relay>,
    /// Start in the entry's area and length of the relay's prefix.
    pub(crate) relay_prefix: (u32, u32),
}

/// One mailbox that gets it.
pub(crate) struct Local {
    pub(crate) account: AccountId,
    pub(crate) mailbox: Option<MailboxId>,
    /// Start in the entry's area and length.
    pub(crate) prefix: (u32, u32),
    pub(crate) flags: Flags,
    pub(crate) internal_date: DateTime,
}

impl Command for Accept {
    type Outcome = Vec<Accepted>;

    const NEED: Need = Need::Mail;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Vec<Accepted>, Undecided> {
        self.0.iter().map(|incoming| incoming.decide(draft)).collect()
    }
}

impl Command for Deliver {
    type Outcome = Accepted;

    const NEED: Need = Need::Mail;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Accepted, Undecided> {
        draft.waive_quota();
        let accepted = self.message.decide(draft)?;
        self.notification.iter().try_for_each(|notification| notification.decide(draft).map(drop))?;
        Ok(accepted)
    }
}

impl Command for Replace {
    type Outcome = Accepted;

    const NEED: Need = Need::Mail;

    /// The quota holds for what is more than before, as where the old message went first (RFC 8508 section 3.4).
    fn decide(&self, draft: &mut Draft<'_>) -> Result<Accepted, Undecided> {
        let Replaced { account, mailbox, uid } = self.replaced;
        let from = draft.complete(account, mailbox)?;
        let bytes = from.row(uid).ok_or(StoreError::NoSuchMessage)?.content.size();
        draft.give_bytes(account, bytes)?;
        let accepted = self.message.decide(draft).map_err(|undecided| match undecided {
            Undecided::Refused(StoreError::NoSuchMailbox) => StoreError::NoSuchDestination.into(),
            other => other,
        })?;
        let retained = retain(draft, account, bytes)?;
        draft.push(account, Expunged { mailbox, uids: ranges(&[uid]), retained })?;
        Ok(accepted)
    }
}

impl Incoming {
    /// The records of one message; also used for the notification that comes with a settled entry.
    pub(super) fn decide(&self, draft: &mut Draft<'_>) -> Result<Accepted, Undecided> {
        let recipients = self.local.len() + self.relay.as_ref().map_or(0, |relay| relay.recipients.len());
        if recipients > RECIPIENTS_MAX {
            return Err(StoreError::Limit("a message has too many recipients").into());
        }
        let local = self.local.iter().map(|local| self.deliver(draft, local)).collect::<Result<_, _>>()?;
        if let Some(relay) = &self.relay {
            self.queue(draft, relay)?;
        }
        Ok(Accepted { id: self.id, local })
    }

    fn deliver(&self, draft: &mut Draft<'_>, local: &Local) -> Result<Placed, Undecided> {
        let account = local.account;
        let mailbox = match local.mailbox {
            Some(id) => draft.mailbox(account, id)?,
            None => draft.base(account)?.inbox().cloned().ok_or(StoreError::NoSuchMailbox)?,
        };
        let size = u64::from(local.prefix.1) + u64::from(self.header.1) + self.body_bytes;
        draft.take_bytes(account, size)?;
        let keywords = draft.keyword_bits(account, &mailbox, &local.flags)?;
        let uid = draft.take_uid(account, &mailbox)?;
        let seq = draft.next_seq(account)?;
        let added = MessageAdded {
            mailbox: mailbox.id,
            uid,
            email: EmailId(seq),
            thread: ThreadId(self.thread_key.unwrap_or(seq)),
            uidl: UidlId(seq),
            flags: local.flags.system,
            keywords,
            internal_date: local.internal_date,
            save_date: draft.now(),
            content: self.content(local.prefix),
            structure: Some(ByteVec::from(self.structure.clone())),
            seen_by: Vec::new(),
        };
        draft.push(account, added)?;
        Ok(Placed {
            account,
            mailbox: mailbox.id,
            uid_validity: mailbox.uid_validity,
            uid,
            uidl: UidlId(seq),
        })
    }

    fn queue(&self, draft: &mut Draft<'_>, relay: &Relay) -> Result<(), Undecided> {
        if relay.recipients.is_empty() {
            return Err(StoreError::Limit("a message for the queue needs a recipient").into());
        }
        if draft.state().queue.entries.contains(self.id) {
            return Err(StoreError::Limit("the queue holds an entry of that name").into());
        }
        let now = draft.now();
        let held = |why: &String| Held { at: now, why: why.clone() };
        draft.queue(Queued {
            id: self.id,
            accepted: now,
            reverse_path: relay.reverse_path.clone(),
            recipients: relay.recipients.clone(),
            body: relay.body,
            smtputf8: relay.smtputf8,
            content: self.content(self.relay_prefix),
            next_attempt: relay.not_before.map_or(now, |earliest| earliest.max(now)),
            wishes: KeptWishes::some(&relay.wishes).map(Box::new),
            not_before: relay.not_before,
            held: relay.held.as_ref().map(held),
        });
        Ok(())
    }

    fn content(&self, prefix: (u32, u32)) -> ContentPlace {
        ContentPlace::ThisEntry { prefix, header: self.header, body: self.body, body_bytes: self.body_bytes }
    }
}
