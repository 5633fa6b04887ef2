//! What a session can do: CAPA (RFC 2449 section 5, RFC 6856).

use std::time::Duration;

use waypost_config::Pop3Policy;

use super::{Session, State, Tls};
use crate::wire::Encode;

/// What is announced of the policies of accounts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Announced {
    policy: Pop3Policy,
    /// Whether an account may have another one: expiry, delay.
    differs: (bool, bool),
}

impl Announced {
    /// After login: what holds for the account.
    pub(crate) fn of_account(policy: Pop3Policy) -> Self {
        Self { policy, differs: (false, false) }
    }

    /// Before login: the shortest time until messages go, and the longest between two logins, that there are (RFC 2449 sections 6.5
    /// and 6.7).
    pub(crate) fn of_all(policies: impl Iterator<Item = Pop3Policy>) -> Self {
        policies.map(Self::of_account).reduce(Self::with).unwrap_or(Self::of_account(Pop3Policy::default()))
    }

    fn with(self, other: Self) -> Self {
        let (one, two) = (self.policy, other.policy);
        let expire_days = one.expire_days.into_iter().chain(two.expire_days).min();
        let login_delay = one.login_delay.max(two.login_delay);
        let differs = (
            self.differs.0 || one.expire_days != two.expire_days,
            self.differs.1 || one.login_delay != two.login_delay,
        );
        Self { policy: Pop3Policy { expire_days, login_delay }, differs }
    }
}

impl Session {
    /// What is there before the login is announced after it, too; but STLS is not to be had then (RFC 2595 section 4).
    pub(super) fn capabilities(&mut self) {
        self.ok("capabilities follow");
        if self.may_login() {
            let names = self.terms.offer.names();
            self.output.line(format_args!("USER"));
            self.output.line(format_args!("SASL {names}"));
        }
        if self.terms.tls == Tls::Offered && matches!(self.state, State::Authorization { .. }) {
            self.output.line(format_args!("STLS"));
        }
        for capability in ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UTF8 USER", "LANG"] {
            self.output.line(format_args!("{capability}"));
        }
        let Announced { policy, differs } = self.terms.announced;
        let user = |differs| if differs { " USER" } else { "" };
        match policy.expire_days {
            Some(days) => self.output.line(format_args!("EXPIRE {days}{}", user(differs.0))),
            None => self.output.line(format_args!("EXPIRE NEVER")),
        }
        if policy.login_delay > Duration::ZERO {
            let seconds = policy.login_delay.as_secs();
            self.output.line(format_args!("LOGIN-DELAY {seconds}{}", user(differs.1)));
        }
        self.output.line(format_args!("IMPLEMENTATION Waypost"));
        self.output.line(format_args!("."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_said_to() {
        let policy = |expire_days, delay| Pop3Policy { expire_days, login_delay: Duration::from_secs(delay) };
        for (policies, expected, differs) in [
            (vec![], policy(None, 0), (false, false)),
            (vec![policy(Some(7), 60)], policy(Some(7), 60), (false, false)),
            (vec![policy(Some(7), 60), policy(Some(7), 60)], policy(Some(7), 60), (false, false)),
            (vec![policy(Some(7), 60), policy(None, 60)], policy(Some(7), 60), (true, false)),
            (
                vec![policy(None, 0), policy(Some(3), 60), policy(Some(7), 0)],
                policy(Some(3), 60),
                (true, true),
            ),
            (vec![policy(None, 0), policy(None, 9), policy(None, 0)], policy(None, 9), (false, true)),
        ] {
            assert_eq!(Announced::of_all(policies.into_iter()), Announced { policy: expected, differs });
        }
    }
}
