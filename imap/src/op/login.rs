//! LOGIN and AUTHENTICATE: whether the credentials are right, and how many sessions an account has.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use waypost_auth::{LoginError, sasl::Credentials};
use waypost_mail::AccountId;

use super::{Enabled, Failure};
use crate::{
    machine::{NewState, Ran},
    session::{Context, User},
};

const LOGGED_IN: &str = "logged in";
const WRONG: &str = "wrong user name or password";
const THROTTLED: &str = "too many failed logins, try again later";
const TOO_MANY: &str = "too many sessions of this account";
const OTHERS: &str = "acting as another user is not possible";

/// Checks credentials and loads the account. A refusal waits for `limits.error_delay`.
pub(crate) async fn login(
    context: &Context,
    peer: IpAddr,
    credentials: Credentials,
) -> Result<(User, Ran), Failure> {
    let live = context.live();
    let Credentials { authorization, login, password } = credentials;
    let checked = context.authenticator.login(&live.directory, &login, &password, peer).await;
    let refused = match checked {
        Ok(_) if !authorization.is_empty() && !authorization.eq_ignore_ascii_case(&login) => {
            Failure::no("AUTHORIZATIONFAILED", OTHERS)
        }
        Ok(identity) => {
            let sessions_max = live.config.limits.connections_per_address;
            let seat =
                context.seats.take(identity.account, sessions_max).ok_or(Failure::no("LIMIT", TOO_MANY))?;
            let account = context.store.account(identity.account).await?;
            let enabled = Enabled::default();
            let user = User { identity, enabled, account, selected: None, appending: None, _seat: seat };
            return Ok((user, Ran::ok(LOGGED_IN).with_state(NewState::Authenticated)));
        }
        Err(LoginError::Invalid) => Failure::no("AUTHENTICATIONFAILED", WRONG),
        Err(LoginError::Throttled) => Failure::no("UNAVAILABLE", THROTTLED),
    };
    tokio::time::sleep(live.config.limits.error_delay).await;
    Err(refused)
}

/// How many sessions each account has (`limits.connections_per_address`, which counts per account after login).
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: Mutex<HashMap<AccountId, usize>>,
}

/// One session of an account; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    account: AccountId,
}

impl Seats {
    /// `None` where an account has `sessions_max` sessions already; 0: no bound.
    fn take(self: &Arc<Self>, account: AccountId, sessions_max: usize) -> Option<Seat> {
        let mut taken = self.taken();
        let sessions = taken.get(&account).copied().unwrap_or(0);
        if sessions_max != 0 && sessions >= sessions_max {
            return None;
        }
        taken.insert(account, sessions + 1);
        Some(Seat { seats: self.clone(), account })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<AccountId, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        match taken.get_mut(&self.account) {
            Some(sessions) if *sessions > 1 => *sessions -= 1,
            _ => drop(taken.remove(&self.account)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_and_given_back() {
        let seats = Arc::new(Seats::default());
        let first = seats.take(AccountId(1), 2).unwrap();
        let second = seats.take(AccountId(1), 2).unwrap();
        assert!(seats.take(AccountId(1), 2).is_none());
        assert!(seats.take(AccountId(2), 2).is_some());
        drop(first);
        let third = seats.take(AccountId(1), 2).unwrap();
        assert!(seats.take(AccountId(1), 0).is_some());
        drop((second, third));
        assert!(seats.taken().is_empty());
    }
}
