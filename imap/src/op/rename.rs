//! RENAME (RFC 3501 section 6.3.5).

use super::{Failure, NO_SUCH_MAILBOX, Operation};
use crate::machine::Ran;

impl Operation<'_, '_> {
    pub(super) async fn rename(&mut self, from: &str, to: &str) -> Result<Ran, Failure> {
        let state = self.user.account.state();
        let mailbox = state.by_name(from).ok_or(Failure::no("NONEXISTENT", NO_SUCH_MAILBOX))?.id;
        self.user.account.rename_mailbox(mailbox, to.strip_suffix('/').unwrap_or(to)).await?;
        Ok(Ran::ok("renamed"))
    }
}
