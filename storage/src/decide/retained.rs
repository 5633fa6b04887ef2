//! Commands on deleted messages: how long they are retained, and how they come back.
//!
//! Retained messages do not count to the quota. What an account may retain is bounded, too: the oldest go first.

use std::collections::{BTreeMap, BTreeSet};

use waypost_mail::{AccountId, MailboxId, SystemFlags, Timestamp, Uid, UidValidity};

use super::{Command, Draft, Undecided, mailboxes, messages::ranges, name::INBOX};
use crate::{
    account::Restored,
    record::{ContentPlace, MessageAdded, Released},
    state::{AccountState, MailboxState, RETAINED, Row},
};

/// Whether so many octets that are deleted now are retained; if so, since when. Makes room for them: what was deleted first goes.
pub(super) fn retain(
    draft: &mut Draft<'_>,
    account: AccountId,
    bytes: u64,
) -> Result<Option<Timestamp>, Undecided> {
    let retention = draft.state().retention;
    let quota = draft.state().directory.accounts.get(&account).and_then(|record| record.quota_bytes);
    let bytes_max = quota.map_or(retention.bytes_max, |quota| quota.min(retention.bytes_max));
    if retention.window.is_zero() || bytes > bytes_max {
        return Ok(None);
    }
    let held = draft.base(account)?.retained.bytes;
    if held + bytes > bytes_max {
        let retained = draft.complete(account, RETAINED)?;
        let mut excess = held + bytes - bytes_max;
        let oldest = retained.rows().take_while(|row| {
            let goes = excess > 0;
            excess = excess.saturating_sub(row.content.size());
            goes
        });
        let uids: Vec<Uid> = oldest.map(|row| row.uid).collect();
        draft.push(account, Released { uids: ranges(&uids) })?;
    }
    Ok(Some(draft.now()))
}

/// Ends the retention of messages for good.
pub(crate) struct Release {
    pub(crate) account: AccountId,
    pub(crate) which: Which,
}

/// Which retained messages go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Which {
    /// All.
    All,
    /// Those that were deleted before.
    DeletedBefore(Timestamp),
}

impl Command for Release {
    /// How many messages.
    type Outcome = u64;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<u64, Undecided> {
        let base = draft.base(self.account)?;
        let nothing = match self.which {
            Which::DeletedBefore(time) => base.oldest_retained.is_none_or(|oldest| oldest >= time),
            Which::All => base.oldest_retained.is_none(),
        };
        if nothing {
            return Ok(0);
        }
        let retained = draft.complete(self.account, RETAINED)?;
        let uids: Vec<Uid> = match self.which {
            Which::All => retained.rows().map(|row| row.uid).collect(),
            Which::DeletedBefore(time) => {
                retained.rows().take_while(|row| row.save_date < time).map(|row| row.uid).collect()
            }
        };
        if !uids.is_empty() {
            draft.push(self.account, Released { uids: ranges(&uids) })?;
        }
        Ok(uids.len() as u64)
    }
}

/// Brings retained messages back to the mailboxes they were in; a mailbox that is gone is made again. Those whose UIDs are not
/// retained any more are skipped. They keep all their ids, as if they had been moved.
pub(crate) struct Undelete {
    pub(crate) account: AccountId,
    /// Their UIDs among the retained ones.
    pub(crate) uids: BTreeSet<Uid>,
    /// Where they go instead.
    pub(crate) to: Option<MailboxId>,
}

impl Command for Undelete {
    type Outcome = Vec<Restored>;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Vec<Restored>, Undecided> {
        let base = draft.base(self.account)?;
        let retained = draft.complete(self.account, RETAINED)?;
        let rows: Vec<&Row> = self.uids.iter().filter_map(|uid| retained.row(*uid)).collect();
        draft.take_bytes(self.account, rows.iter().map(|row| row.content.size()).sum())?;
        let mut targets: BTreeMap<MailboxId, MailboxState> = BTreeMap::new();
        let mut restored = Vec::with_capacity(rows.len());
        for row in &rows {
            let from = row.origin.as_ref().map_or(RETAINED, |origin| origin.mailbox);
            if !targets.contains_key(&from) {
                let name = base.known(from).map_or(INBOX, |(name, _)| name);
                // Two mailboxes that are gone may have had one name.
                let made = targets.values().find(|made| made.name == name && base.by_name(name).is_none());
                let target = match made.cloned() {
                    Some(made) if self.to.is_none() => made,
                    _ => self.target(draft, &base, from, name)?,
                };
                targets.insert(from, target);
            }
            if let Some(target) = targets.get(&from) {
                restored.push(self.restore(draft, &base, row, target)?);
            }
        }
        let uids: Vec<Uid> = rows.iter().map(|row| row.uid).collect();
        if !uids.is_empty() {
            draft.push(self.account, Released { uids: ranges(&uids) })?;
        }
        Ok(restored)
    }
}

impl Undelete {
    /// Where the messages that were in a mailbox go: there, to the mailbox of that name, to a new one, else to INBOX.
    fn target(
        &self,
        draft: &mut Draft<'_>,
        base: &AccountState,
        from: MailboxId,
        name: &str,
    ) -> Result<MailboxState, Undecided> {
        let wanted = self.to.unwrap_or(from);
        if self.to.is_some() || base.mailboxes.contains_key(&wanted) {
            return Ok(MailboxState::clone(&*draft.mailbox(self.account, wanted)?));
        }
        if let Some(found) = base.by_name(name) {
            return Ok(MailboxState::clone(found));
        }
        let inherited = mailboxes::create_parents(draft, base, name)?;
        let id = mailboxes::create(draft, self.account, name, None)?;
        inherited.give(draft, self.account, id)?;
        // Its UIDVALIDITY is in the record that made it.
        Ok(MailboxState::new(id, name.to_owned(), UidValidity::FIRST))
    }

    fn restore(
        &self,
        draft: &mut Draft<'_>,
        base: &AccountState,
        row: &Row,
        target: &MailboxState,
    ) -> Result<Restored, Undecided> {
        let known = row.origin.as_ref().and_then(|origin| base.known(origin.mailbox));
        let flags = row.flags(known.map_or(&[], |(_, keywords)| keywords));
        let keywords = draft.keyword_bits(self.account, target, &flags)?;
        let uid = draft.take_uid(self.account, target)?;
        let added = MessageAdded {
            mailbox: target.id,
            uid,
            email: row.email,
            thread: row.thread,
            uidl: row.uidl,
            // Or the next EXPUNGE would take it again.
            flags: row.flags.without(SystemFlags::DELETED),
            keywords,
            internal_date: row.internal_date,
            save_date: draft.now(),
            content: ContentPlace::At(row.content.clone()),
            structure: None,
            seen_by: Vec::new(),
        };
        draft.push(self.account, added)?;
        Ok(Restored { was: row.uid, mailbox: target.name.clone(), uid })
    }
}
