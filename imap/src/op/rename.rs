//! RENAME (RFC 3501 section 6.3.5).

use waypost_mail::MailboxId;

use waypost_storage::Rights;

use super::{Failure, Operation, create::net_unicode, place::Space};
use crate::machine::Ran;

const STAYS_THERE: &str = "a mailbox stays with its owner; its messages can be moved";
const INBOX_STAYS: &str = "only its owner renames INBOX";

impl Operation<'_, '_> {
    pub(super) async fn rename(&mut self, from: &str, to: &str) -> Result<Ran, Failure> {
        let found = self.mailbox(from, Rights::DELETE).await?;
        net_unicode(to)?;
        let place = self.place_for_new(to.strip_suffix('/').unwrap_or(to)).await?;
        let account = &found.space.account;
        if place.space.account.id() != account.id() {
            return Err(Failure::no("CANNOT", STAYS_THERE));
        }
        if account.reader().is_some()
            && account.state().inbox().is_some_and(|inbox| inbox.id == found.mailbox.id)
        {
            return Err(Failure::no("CANNOT", INBOX_STAYS));
        }
        account.rename_mailbox(found.mailbox.id, &place.name).await?;
        self.tell_renamed(&found.space, found.mailbox.id, &found.space.name(&found.mailbox)).await?;
        Ok(Ran::ok("renamed"))
    }

    /// The new name with OLDNAME (RFC 9051 section 6.3.9.7), for clients that know it. INBOX keeps its name.
    pub(super) async fn tell_renamed(
        &mut self,
        space: &Space,
        mailbox: MailboxId,
        from: &str,
    ) -> Result<(), Failure> {
        let state = space.account.state();
        let renamed = state.mailboxes.get(&mailbox).filter(|renamed| space.name(renamed) != from);
        if let Some(renamed) = renamed.filter(|_| self.user.enabled.rev2) {
            let mut out = Vec::new();
            self.list_renamed(&mut out, space, renamed, from);
            self.output.write(&out).await?;
        }
        Ok(())
    }
}
