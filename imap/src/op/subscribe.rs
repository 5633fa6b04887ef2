//! SUBSCRIBE and UNSUBSCRIBE (RFC 3501 sections 6.3.6 and 6.3.7). A name may be subscribed whether it exists or not.

use super::{Failure, Operation};
use crate::machine::Ran;

impl Operation<'_, '_> {
    pub(super) async fn subscribe(&mut self, name: &str, subscribed: bool) -> Result<Ran, Failure> {
        self.user.account.subscribe(name.strip_suffix('/').unwrap_or(name), subscribed).await?;
        Ok(Ran::ok(if subscribed { "subscribed" } else { "unsubscribed" }))
    }
}
