//! RENAME (RFC 3501 section 6.3.5).

use waypost_mail::MailboxId;

use super::{Failure, NO_SUCH_MAILBOX, Operation, create::net_unicode};
use crate::machine::Ran;

impl Operation<'_, '_> {
    pub(super) async fn rename(&mut self, from: &str, to: &str) -> Result<Ran, Failure> {
        let state = self.user.account.state();
        let mailbox = state.by_name(from).ok_or(Failure::no("NONEXISTENT", NO_SUCH_MAILBOX))?;
        net_unicode(to)?;
        self.user.account.rename_mailbox(mailbox.id, to.strip_suffix('/').unwrap_or(to)).await?;
        self.tell_renamed(mailbox.id, &mailbox.name).await?;
        Ok(Ran::ok("renamed"))
    }

    /// The new name with OLDNAME (RFC 9051 section 6.3.9.7), for clients that know it. INBOX keeps its name.
    pub(super) async fn tell_renamed(&mut self, mailbox: MailboxId, from: &str) -> Result<(), Failure> {
        let state = self.user.account.state();
        let renamed = state.mailboxes.get(&mailbox).filter(|renamed| renamed.name != from);
        if let Some(renamed) = renamed.filter(|_| self.user.enabled.rev2) {
            let mut out = Vec::new();
            self.list_renamed(&mut out, renamed, from);
            self.output.write(&out).await?;
        }
        Ok(())
    }
}
