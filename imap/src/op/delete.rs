//! DELETE (RFC 3501 section 6.3.4). Deleting the selected mailbox unselects it; other sessions that have it open end with BYE.

use waypost_storage::AccountState;

use super::{Failure, NO_SUCH_MAILBOX, Operation, list::DELIMITER};
use crate::machine::{NewState, Ran};

const HAS_CHILDREN: &str = "there is no mailbox here, only others below it";

impl Operation<'_, '_> {
    pub(super) async fn delete(&mut self, name: &str) -> Result<Ran, Failure> {
        let state = self.user.account.state();
        let mailbox = match state.by_name(name) {
            Some(mailbox) => mailbox.id,
            // RFC 9051 section 6.3.5: a level that exists only because of what is below it.
            None if is_above_others(&state, name) => return Err(Failure::no("HASCHILDREN", HAS_CHILDREN)),
            None => return Err(Failure::no("NONEXISTENT", NO_SUCH_MAILBOX)),
        };
        self.user.account.delete_mailbox(mailbox).await?;
        let ran = Ran::ok("deleted");
        match self.user.selected.take_if(|selected| selected.view.state().id == mailbox) {
            Some(_) => Ok(ran.with_state(NewState::Authenticated)),
            None => Ok(ran),
        }
    }
}

/// Whether a mailbox lies below a name.
fn is_above_others(state: &AccountState, name: &str) -> bool {
    let is_below = |other: &str| other.strip_prefix(name).is_some_and(|rest| rest.starts_with(DELIMITER));
    state.mailboxes.values().any(|mailbox| is_below(&mailbox.name))
}
