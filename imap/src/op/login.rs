//! LOGIN and AUTHENTICATE: whether the credentials are right, and how many sessions an account has.

use std::net::IpAddr;

use waypost_auth::{LoginError, sasl::Credentials};

use super::{Enabled, Failure};
use crate::{
    machine::{NewState, Ran},
    session::{Context, User},
};

const LOGGED_IN: &str = "logged in";
const WRONG: &str = "wrong user name or password";
const THROTTLED: &str = "too many failed logins, try again later";
const BUSY: &str = "the password cannot be checked now, try again later";
const TOO_MANY: &str = "too many sessions of this account";
const OTHERS: &str = "acting as another user is not possible";

/// Checks credentials and loads the account. A refusal waits for `limits.error_delay`.
pub(crate) async fn login(
    context: &Context,
    peer: IpAddr,
    credentials: Credentials,
) -> Result<(User, Ran), Failure> {
    let live = context.live();
    let checked = context.authenticator.login(&live.directory, &credentials, peer).await;
    let refused = match checked {
        Ok(identity) => {
            let sessions_max = live.config.limits.connections_per_address;
            let seats = context.authenticator.seats();
            let seat = seats.take(identity.account, sessions_max).ok_or(Failure::no("LIMIT", TOO_MANY))?;
            let account = context.store.account(identity.account).await?;
            let enabled = Enabled::default();
            let user = User { identity, enabled, account, selected: None, appending: None, _seat: seat };
            return Ok((user, Ran::ok(LOGGED_IN).with_state(NewState::Authenticated)));
        }
        Err(LoginError::Invalid) => Failure::no("AUTHENTICATIONFAILED", WRONG),
        Err(LoginError::Throttled) => Failure::no("UNAVAILABLE", THROTTLED),
        Err(LoginError::AnotherUser) => Failure::no("AUTHORIZATIONFAILED", OTHERS),
        Err(LoginError::Busy) => Failure::no("UNAVAILABLE", BUSY),
    };
    tokio::time::sleep(live.config.limits.error_delay).await;
    Err(refused)
}
