//! CLOSE (RFC 3501 section 6.4.2): removes what is deleted without a word, then unselects.

use waypost_storage::Rights;

use super::{Failure, Operation, expunge::deleted};
use crate::{
    machine::{NewState, Ran},
    wire::Access,
};

impl Operation<'_, '_> {
    pub(super) async fn close(&mut self) -> Result<Ran, Failure> {
        let selected = self.selected()?;
        // RFC 4314 section 4: without the right nothing is removed, and nothing is said.
        if selected.access == Access::ReadWrite && selected.rights.contains(Rights::EXPUNGE) {
            let uids = deleted(&selected.view, 1..=selected.view.exists());
            let mailbox = selected.view.state().id;
            if !uids.is_empty() {
                selected.space.account.expunge_deleted(mailbox, uids).await?;
            }
        }
        self.user.selected = None;
        Ok(Ran::ok("closed").with_state(NewState::Authenticated))
    }
}
