//! DELETE (RFC 3501 section 6.3.4). Deleting the selected mailbox unselects it; other sessions that have it open end with BYE.

use super::{Failure, NO_SUCH_MAILBOX, Operation};
use crate::machine::{NewState, Ran};

impl Operation<'_, '_> {
    pub(super) async fn delete(&mut self, name: &str) -> Result<Ran, Failure> {
        let state = self.user.account.state();
        let mailbox = state.by_name(name).ok_or(Failure::no("NONEXISTENT", NO_SUCH_MAILBOX))?.id;
        self.user.account.delete_mailbox(mailbox).await?;
        let ran = Ran::ok("deleted");
        match self.user.selected.take_if(|selected| selected.view.state().id == mailbox) {
            Some(_) => Ok(ran.with_state(NewState::Authenticated)),
            None => Ok(ran),
        }
    }
}
