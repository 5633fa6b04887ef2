//! STATUS (RFC 3501 section 6.3.10; SIZE: RFC 8438; DELETED: RFC 9051 section 6.3.11; DELETED-STORAGE: RFC 9208; HIGHESTMODSEQ: RFC 7162
//! section 3.1.7; MAILBOXID: RFC 8474 section 4.3; APPENDLIMIT: RFC 7889 section 3).

use waypost_mail::SystemFlags;
use waypost_storage::{Account, MailboxState, Rights};

use super::{Failure, Operation, append, place::Space};
use crate::{
    fetch::owners_mark,
    machine::Ran,
    wire::{StatusItem, encode},
};

impl Operation<'_, '_> {
    pub(super) async fn status(&mut self, name: &str, items: &[StatusItem]) -> Result<Ran, Failure> {
        let found = self.mailbox(name, Rights::READ).await?;
        let mut out = Vec::new();
        self.status_line(&mut out, &found.space, &found.mailbox, items).await?;
        self.output.write(&out).await?;
        Ok(Ran::ok("done"))
    }

    /// `* STATUS mailbox (items)`
    pub(super) async fn status_line(
        &mut self,
        out: &mut Vec<u8>,
        space: &Space,
        mailbox: &MailboxState,
        items: &[StatusItem],
    ) -> Result<(), Failure> {
        out.extend(b"* STATUS ");
        encode::mailbox(out, &space.name(mailbox), self.user.enabled.spelling());
        for (index, item) in items.iter().enumerate() {
            out.extend(if index == 0 { b" (" } else { b" " as &[u8] });
            let (name, value) = match item {
                StatusItem::Messages => ("MESSAGES", u64::from(mailbox.count)),
                StatusItem::Recent => ("RECENT", self.recent(&space.account, mailbox)),
                StatusItem::UidNext => ("UIDNEXT", u64::from(mailbox.uid_next.value())),
                StatusItem::UidValidity => ("UIDVALIDITY", u64::from(mailbox.uid_validity.value())),
                StatusItem::Unseen => ("UNSEEN", u64::from(space.account.unseen(mailbox))),
                StatusItem::Deleted => ("DELETED", u64::from(mailbox.deleted)),
                StatusItem::DeletedStorage => {
                    ("DELETED-STORAGE", deleted_bytes(&space.account, mailbox).await?)
                }
                StatusItem::Size => ("SIZE", mailbox.bytes),
                StatusItem::HighestModSeq => ("HIGHESTMODSEQ", mailbox.highest_modseq.value()),
                StatusItem::AppendLimit => {
                    ("APPENDLIMIT", u64::from(append::limit(&self.context.live().config.limits)))
                }
                StatusItem::MailboxId => {
                    out.extend(format!("MAILBOXID ({})", mailbox_id(&space.account, mailbox)).as_bytes());
                    continue;
                }
            };
            out.extend(format!("{name} {value}").as_bytes());
        }
        out.extend(b")\r\n");
        Ok(())
    }

    /// Messages that no session has seen. The newest rows are in memory also where the oldest are not.
    fn recent(&self, account: &Account, mailbox: &MailboxState) -> u64 {
        if account.reader().is_some() {
            return 0;
        }
        let unclaimed = self.context.recent.unclaimed(account.id(), mailbox);
        if unclaimed.start == 1 {
            return u64::from(mailbox.count);
        }
        mailbox.rows().rev().take_while(|row| row.uid.value() >= unclaimed.start).count() as u64
    }
}

/// The octets that an EXPUNGE would give back (RFC 9208 section 4.1.4). Reads the rows only where there is something.
async fn deleted_bytes(account: &Account, mailbox: &MailboxState) -> Result<u64, Failure> {
    if mailbox.deleted == 0 {
        return Ok(0);
    }
    let state = account.select(mailbox.id).await?.state();
    let rows = state.iter().flat_map(|state| state.rows());
    let deleted = rows.filter(|row| row.flags.contains(SystemFlags::DELETED));
    Ok(deleted.map(|row| row.content.size()).sum())
}

/// `objectid` of a mailbox (RFC 8474 section 4): another one where the UIDVALIDITY is another one, the same after RENAME. Those of
/// others have their owner's number before them.
pub(super) fn mailbox_id(account: &Account, mailbox: &MailboxState) -> String {
    let owner = account.reader().map(|_| account.id());
    format!("F{}{}-{}", owners_mark(owner), mailbox.id, mailbox.uid_validity)
}
