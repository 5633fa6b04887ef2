//! DELETE (RFC 3501 section 6.3.4). Deleting the selected mailbox unselects it; other sessions that have it open end with BYE.

use waypost_storage::{AccountState, Rights};

use super::{Failure, NO_SUCH_MAILBOX, Operation, list::DELIMITER};
use crate::{
    machine::{NewState, Ran},
    session::Selected,
};

const HAS_CHILDREN: &str = "there is no mailbox here, only others below it";

impl Operation<'_, '_> {
    pub(super) async fn delete(&mut self, name: &str) -> Result<Ran, Failure> {
        let state = self.user.account.state();
        // RFC 9051 section 6.3.5: a level that exists only because of what is below it. Of others' levels nothing is told.
        let is_level = state.by_name(name).is_none() && is_above_others(&state, name);
        let gone = || match is_level {
            true => Failure::no("HASCHILDREN", HAS_CHILDREN),
            false => Failure::no("NONEXISTENT", NO_SUCH_MAILBOX),
        };
        let found = self.find_or(name, Rights::DELETE, gone).await?;
        let (account, mailbox) = (found.space.account.id(), found.mailbox.id);
        found.space.account.delete_mailbox(mailbox).await?;
        let ran = Ran::ok("deleted");
        let is_it = |selected: &Selected| {
            (selected.space.account.id(), selected.view.state().id) == (account, mailbox)
        };
        match self.user.selected.take_if(|selected| is_it(selected)) {
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
