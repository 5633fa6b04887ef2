//! STATUS (RFC 3501 section 6.3.10; SIZE: RFC 8438; DELETED: RFC 9051 section 6.3.11; HIGHESTMODSEQ: RFC 7162
//! section 3.1.7; MAILBOXID: RFC 8474 section 4.3; APPENDLIMIT: RFC 7889 section 3).

use waypost_storage::MailboxState;

use super::{Failure, NO_SUCH_MAILBOX, Operation, append};
use crate::{
    machine::Ran,
    wire::{StatusItem, encode},
};

impl Operation<'_, '_> {
    pub(super) async fn status(&mut self, name: &str, items: &[StatusItem]) -> Result<Ran, Failure> {
        let state = self.user.account.state();
        let mailbox = state.by_name(name).ok_or(Failure::no("NONEXISTENT", NO_SUCH_MAILBOX))?;
        let mut out = Vec::new();
        self.status_line(&mut out, mailbox, items);
        self.output.write(&out).await?;
        Ok(Ran::ok("done"))
    }

    /// `* STATUS mailbox (items)`
    pub(super) fn status_line(&self, out: &mut Vec<u8>, mailbox: &MailboxState, items: &[StatusItem]) {
        out.extend(b"* STATUS ");
        encode::mailbox(out, &mailbox.name, self.user.enabled.spelling());
        for (index, item) in items.iter().enumerate() {
            out.extend(if index == 0 { b" (" } else { b" " as &[u8] });
            let (name, value) = match item {
                StatusItem::Messages => ("MESSAGES", u64::from(mailbox.count)),
                StatusItem::Recent => ("RECENT", self.recent(mailbox)),
                StatusItem::UidNext => ("UIDNEXT", u64::from(mailbox.uid_next.value())),
                StatusItem::UidValidity => ("UIDVALIDITY", u64::from(mailbox.uid_validity.value())),
                StatusItem::Unseen => ("UNSEEN", u64::from(mailbox.unseen)),
                StatusItem::Deleted => ("DELETED", u64::from(mailbox.deleted)),
                StatusItem::Size => ("SIZE", mailbox.bytes),
                StatusItem::HighestModSeq => ("HIGHESTMODSEQ", mailbox.highest_modseq.value()),
                StatusItem::AppendLimit => {
                    ("APPENDLIMIT", u64::from(append::limit(&self.context.live().config.limits)))
                }
                StatusItem::MailboxId => {
                    out.extend(format!("MAILBOXID ({})", mailbox_id(mailbox)).as_bytes());
                    continue;
                }
            };
            out.extend(format!("{name} {value}").as_bytes());
        }
        out.extend(b")\r\n");
    }

    /// Messages that no session has seen. The newest rows are in memory also where the oldest are not.
    fn recent(&self, mailbox: &MailboxState) -> u64 {
        let unclaimed = self.context.recent.unclaimed(self.user.identity.account, mailbox);
        if unclaimed.start == 1 {
            return u64::from(mailbox.count);
        }
        mailbox.rows().rev().take_while(|row| row.uid.value() >= unclaimed.start).count() as u64
    }
}

/// `objectid` of a mailbox (RFC 8474 section 4): another one where the UIDVALIDITY is another one, the same after RENAME.
pub(super) fn mailbox_id(mailbox: &MailboxState) -> String {
    format!("F{}-{}", mailbox.id, mailbox.uid_validity)
}
