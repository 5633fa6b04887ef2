//! LOGIN and AUTHENTICATE: whether the credentials are right, and how many sessions an account has.

use waypost_auth::{
    LoginError, Origin,
    sasl::{Claim, Found, Lookup},
};

use super::{Comparator, Enabled, Failure};
use crate::{
    machine::{NewState, Ran},
    session::{Context, User},
};

const LOGGED_IN: &str = "logged in";
const WRONG: &str = "wrong user name or password";
const CODE_MISSING: &str = "this account needs an app password, or a code behind its password";
const THROTTLED: &str = "too many failed logins, try again later";
const BUSY: &str = "the password cannot be checked now, try again later";
const TOO_MANY: &str = "too many sessions of this account";
const OTHERS: &str = "acting as another user is not possible";

/// What an exchange goes on with.
pub(crate) async fn look_up(context: &Context, origin: Origin, lookup: &Lookup) -> Result<Found, Failure> {
    let live = context.live();
    match context.authenticator.look_up(&live.directory, lookup, origin).await {
        Ok(found) => Ok(found),
        Err(error) => Err(refused(context, error).await),
    }
}

/// Judges a claim and loads the account. A refusal waits for `limits.error_delay`.
pub(crate) async fn login(context: &Context, origin: Origin, claim: &Claim) -> Result<(User, Ran), Failure> {
    let live = context.live();
    let identity = match context.authenticator.login(&live.directory, claim, origin).await {
        Ok(identity) => identity,
        Err(error) => return Err(refused(context, error).await),
    };
    let sessions_max = live.config.limits.connections_per_address;
    let seats = context.authenticator.seats();
    let seat = seats.take(identity.account, sessions_max).ok_or(Failure::no("LIMIT", TOO_MANY))?;
    let account = context.store.account(identity.account).await?;
    let enabled = Enabled::default();
    let user = User {
        identity,
        enabled,
        message_limit: None,
        comparator: Comparator::default(),
        account,
        selected: None,
        appending: None,
        _seat: seat,
    };
    Ok((user, Ran::ok(LOGGED_IN).with_state(NewState::Authenticated)))
}

async fn refused(context: &Context, error: LoginError) -> Failure {
    tokio::time::sleep(context.live().config.limits.error_delay).await;
    match error {
        LoginError::CodeMissing => Failure::no("AUTHENTICATIONFAILED", CODE_MISSING),
        LoginError::Invalid => Failure::no("AUTHENTICATIONFAILED", WRONG),
        LoginError::Throttled => Failure::no("UNAVAILABLE", THROTTLED),
        LoginError::AnotherUser => Failure::no("AUTHORIZATIONFAILED", OTHERS),
        LoginError::Busy => Failure::no("UNAVAILABLE", BUSY),
    }
}
