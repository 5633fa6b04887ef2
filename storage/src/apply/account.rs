//! What records of an account's stream do. The record's seq is the MODSEQ of what it changes.

use std::{collections::BTreeSet, sync::Arc};

use waypost_mail::{MailboxId, ModSeq, Timestamp};

use super::{Inapplicable, rows};
use crate::{
    acl::KeptAclEntry,
    annotation::KeptAnnotation,
    journal::Placement,
    record::{
        AccountChange, Expunged, FlagsChanged, MailboxCreated, MailboxDeleted, MessageAdded, Released,
        SeenChanged, UidRange, UidValidityChanged,
    },
    state::{AccountState, Grave, MailboxState, Origin, RETAINED, Row},
    vanished::Vanished,
};

/// Applies one record.
pub(crate) fn apply(
    account: &mut AccountState,
    seq: u64,
    change: &AccountChange,
    placement: &Placement,
) -> Result<(), Inapplicable> {
    let modseq = ModSeq::new(seq).ok_or(Inapplicable::Contradiction("a record without a number"))?;
    match change {
        AccountChange::MailboxCreated(created) => create(account, created, modseq),
        AccountChange::MailboxDeleted(deleted) => delete(account, deleted, modseq)?,
        AccountChange::MailboxRenamed(renamed) => {
            mailbox(account, renamed.mailbox)?.name.clone_from(&renamed.name);
        }
        AccountChange::AccessKeyChanged(changed) => {
            mailbox(account, changed.mailbox)?.access_key.clone_from(&changed.key);
        }
        AccountChange::Subscribed(subscribed) => {
            let names = Arc::make_mut(&mut account.subscriptions);
            match subscribed.subscribed {
                true => names.insert(subscribed.name.clone()),
                false => names.remove(&subscribed.name),
            };
        }
        AccountChange::KeywordDefined(defined) => {
            let mailbox = mailbox(account, defined.mailbox)?;
            if mailbox.keywords.len() != usize::from(defined.bit) {
                return Err(Inapplicable::Contradiction("a keyword whose bit is not the next one"));
            }
            mailbox.keywords.push(defined.name.clone());
        }
        AccountChange::MessageAdded(added) => add(account, added, modseq, placement)?,
        AccountChange::FlagsChanged(changed) => change_flags(account, changed, modseq)?,
        AccountChange::Expunged(expunged) => expunge(account, expunged, modseq)?,
        AccountChange::UidValidityChanged(changed) => renew(account, changed, modseq)?,
        AccountChange::Released(released) => release(account, released, modseq)?,
        AccountChange::AclChanged(changed) => {
            let acl = KeptAclEntry::into_acl(changed.entries.clone());
            mailbox(account, changed.mailbox)?.acl = Arc::new(acl);
        }
        AccountChange::SeenChanged(changed) => change_seen(account, changed, modseq)?,
        AccountChange::Retrieved(retrieved) => {
            let mailbox = mailbox(account, retrieved.mailbox)?;
            Arc::make_mut(&mut mailbox.retrieved).add(retrieved.day, &retrieved.uids);
        }
        AccountChange::AnnotationsChanged(changed) => {
            let all = Arc::make_mut(&mut account.annotations);
            for (key, value) in changed.annotations.iter().cloned().map(KeptAnnotation::into_annotation) {
                all.set(key, value);
            }
        }
        AccountChange::SpecialUseChanged(changed) => {
            mailbox(account, changed.mailbox)?.special_use = changed.special_use;
        }
        // They repeat the state, and change nothing of it.
        AccountChange::AccountSnapshotPart(_) | AccountChange::AccountSnapshotClosed(_) => {}
    }
    account.seq = seq;
    Ok(())
}

fn mailbox(account: &mut AccountState, id: MailboxId) -> Result<&mut MailboxState, Inapplicable> {
    account.place_mut(id).map(Arc::make_mut).ok_or(Inapplicable::Mailbox(id))
}

fn complete(account: &mut AccountState, id: MailboxId) -> Result<&mut MailboxState, Inapplicable> {
    let mailbox = mailbox(account, id)?;
    if mailbox.partial { Err(Inapplicable::Rows(id)) } else { Ok(mailbox) }
}

fn create(account: &mut AccountState, created: &MailboxCreated, modseq: ModSeq) {
    let mailbox = MailboxState {
        highest_modseq: modseq,
        special_use: created.special_use,
        ..MailboxState::new(created.mailbox, created.name.clone(), created.uid_validity)
    };
    account.mailboxes.insert(created.mailbox, Arc::new(mailbox));
    account.next_mailbox = account.next_mailbox.max(MailboxId(created.mailbox.0 + 1));
    account.last_uid_validity = account.last_uid_validity.max(created.uid_validity.value());
}

fn add(
    account: &mut AccountState,
    added: &MessageAdded,
    modseq: ModSeq,
    placement: &Placement,
) -> Result<(), Inapplicable> {
    let mailbox = mailbox(account, added.mailbox)?;
    if added.uid < mailbox.uid_next {
        return Err(Inapplicable::Contradiction("a UID that was given before"));
    }
    let content = added.content.resolve(placement);
    let size = content.size();
    let row = Row {
        uid: added.uid,
        modseq,
        flags: added.flags,
        keywords: added.keywords,
        internal_date: added.internal_date,
        save_date: added.save_date,
        email: added.email,
        thread: added.thread,
        uidl: added.uidl,
        content,
        origin: None,
    };
    rows::push(mailbox, row);
    if !added.seen_by.is_empty() {
        let seen = Arc::make_mut(&mut mailbox.seen);
        let uids = [UidRange { first: added.uid, last: added.uid }];
        added.seen_by.iter().for_each(|reader| seen.add(*reader, &uids));
    }
    mailbox.uid_next = added.uid.next();
    mailbox.highest_modseq = modseq;
    account.bytes += size;
    Ok(())
}

fn change_flags(
    account: &mut AccountState,
    changed: &FlagsChanged,
    modseq: ModSeq,
) -> Result<(), Inapplicable> {
    let mailbox = complete(account, changed.mailbox)?;
    for group in &changed.groups {
        rows::change(mailbox, &group.uids, |row| {
            row.flags = group.flags;
            row.keywords = group.keywords;
            row.modseq = modseq;
        });
    }
    mailbox.highest_modseq = modseq;
    Ok(())
}

/// The rows stay as they are but for their MODSEQs: sessions of all see that something changed.
fn change_seen(
    account: &mut AccountState,
    changed: &SeenChanged,
    modseq: ModSeq,
) -> Result<(), Inapplicable> {
    let mailbox = complete(account, changed.mailbox)?;
    rows::change(mailbox, &changed.uids, |row| row.modseq = modseq);
    mailbox.highest_modseq = modseq;
    let seen = Arc::make_mut(&mut mailbox.seen);
    match changed.seen {
        true => seen.add(changed.reader, &changed.uids),
        false => seen.remove(changed.reader, &changed.uids),
    }
    Ok(())
}

fn expunge(account: &mut AccountState, expunged: &Expunged, modseq: ModSeq) -> Result<(), Inapplicable> {
    let mailbox = complete(account, expunged.mailbox)?;
    let before = mailbox.bytes;
    let gone = rows::remove(mailbox, &expunged.uids);
    mailbox.highest_modseq = modseq;
    Arc::make_mut(&mut mailbox.vanished).add(gone.iter().map(|row| row.uid), modseq);
    if !mailbox.seen.is_empty() {
        Arc::make_mut(&mut mailbox.seen).forget(&expunged.uids);
    }
    if !mailbox.retrieved.is_empty() {
        Arc::make_mut(&mut mailbox.retrieved).forget(&expunged.uids);
    }
    let freed = before - mailbox.bytes;
    account.bytes -= freed;
    if let Some(at) = expunged.retained {
        retain(account, expunged.mailbox, gone, at, modseq);
    }
    Ok(())
}

fn delete(account: &mut AccountState, deleted: &MailboxDeleted, modseq: ModSeq) -> Result<(), Inapplicable> {
    if deleted.retained.is_some() {
        complete(account, deleted.mailbox)?;
    }
    let mailbox = account.mailboxes.remove(&deleted.mailbox).ok_or(Inapplicable::Mailbox(deleted.mailbox))?;
    account.bytes -= mailbox.bytes;
    if account.annotations.has(mailbox.id) {
        Arc::make_mut(&mut account.annotations).forget(mailbox.id);
    }
    if let Some(at) = deleted.retained {
        retain(account, mailbox.id, mailbox.rows().cloned().collect(), at, modseq);
    }
    // Not every retained row is in memory, so it is not asked whether one was in this mailbox.
    if account.retained.count > 0 {
        let grave = Grave { name: mailbox.name.clone(), keywords: mailbox.keywords.clone() };
        Arc::make_mut(&mut account.graves).insert(mailbox.id, grave);
    }
    Ok(())
}

/// Keeps rows that were deleted behind those that were deleted before.
fn retain(account: &mut AccountState, mailbox: MailboxId, gone: Vec<Row>, at: Timestamp, modseq: ModSeq) {
    if gone.is_empty() {
        return;
    }
    let retained = Arc::make_mut(&mut account.retained);
    for row in gone {
        let origin = Origin { mailbox, uid: row.uid, save_date: row.save_date };
        let uid = retained.uid_next;
        let row = Row { uid, modseq, save_date: at, origin: Some(Box::new(origin)), ..row };
        rows::push(retained, row);
        retained.uid_next = uid.next();
    }
    retained.highest_modseq = modseq;
    account.oldest_retained.get_or_insert(at);
}

fn release(account: &mut AccountState, released: &Released, modseq: ModSeq) -> Result<(), Inapplicable> {
    let retained = complete(account, RETAINED)?;
    rows::remove(retained, &released.uids);
    retained.highest_modseq = modseq;
    account.oldest_retained = account.retained.rows().next().map(|row| row.save_date);
    let origin = |row: &Row| row.origin.as_ref().map(|origin| origin.mailbox);
    let needed: BTreeSet<MailboxId> = account.retained.rows().filter_map(origin).collect();
    if account.graves.keys().any(|grave| !needed.contains(grave)) {
        Arc::make_mut(&mut account.graves).retain(|grave, _| needed.contains(grave));
    }
    Ok(())
}

fn renew(
    account: &mut AccountState,
    changed: &UidValidityChanged,
    modseq: ModSeq,
) -> Result<(), Inapplicable> {
    for new in &changed.mailboxes {
        let mailbox = mailbox(account, new.mailbox)?;
        mailbox.uid_validity = new.uid_validity;
        mailbox.highest_modseq = modseq;
        // Records may be missing, and no client asks for what was before (RFC 7162 section 5.3).
        mailbox.vanished = Arc::new(Vanished::unknown_up_to(modseq));
        account.last_uid_validity = account.last_uid_validity.max(new.uid_validity.value());
    }
    if let Some(next) = changed.next_mailbox {
        account.next_mailbox = account.next_mailbox.max(MailboxId(next));
    }
    Ok(())
}
