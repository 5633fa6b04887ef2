//! CLOSE (RFC 3501 section 6.4.2): removes what is deleted without a word, then unselects.

use super::{Failure, Operation, expunge::deleted};
use crate::{
    machine::{NewState, Ran},
    wire::Access,
};

impl Operation<'_, '_> {
    pub(super) async fn close(&mut self) -> Result<Ran, Failure> {
        let selected = self.selected()?;
        if selected.access == Access::ReadWrite {
            let uids = deleted(&selected.view, 1..=selected.view.exists());
            let mailbox = selected.view.state().id;
            if !uids.is_empty() {
                self.user.account.expunge_deleted(mailbox, uids).await?;
            }
        }
        self.user.selected = None;
        Ok(Ran::ok("closed").with_state(NewState::Authenticated))
    }
}
