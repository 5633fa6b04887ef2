//! What we say no with. Texts are constants or built here, and nowhere else; errors of the store become answers in one
//! function.

use waypost_auth::LoginError;
use waypost_mail::{Address, EnhancedStatus as S, Refusal, ReversePath};
use waypost_storage::StoreError;

use crate::authenticity::keys::KeyError;

/// A refusal that is always the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixed(u16, S, &'static str);

impl From<Fixed> for Refusal {
    fn from(Fixed(code, status, text): Fixed) -> Self {
        Self::new(code, status, text)
    }
}

pub(super) const ACCOUNT_GONE: Fixed =
    Fixed(421, S(4, 7, 0), "The account that logged in here exists no more");
pub(super) const OUT_OF_STEP: Fixed = Fixed(421, S(4, 3, 0), "Internal error, try again later");
/// The status of a recipient that does not exist.
pub(super) const UNKNOWN_USER: S = S(5, 1, 1);
pub(super) const NO_SUCH_LOGIN: Fixed = Fixed(550, S(5, 7, 8), "LOGIN: there is no such account");
pub(super) const HARVEST: Fixed =
    Fixed(421, S(4, 7, 0), "Too many unknown recipients from your address, try again later");
pub(super) const TOO_MANY_MESSAGES: Fixed =
    Fixed(450, S(4, 7, 0), "Too many messages from your address, try again later");
pub(super) const TOO_MANY_RECIPIENTS: Fixed =
    Fixed(450, S(4, 7, 0), "Too many recipients from your address, try again later");
pub(super) const STORE_FAILED: Fixed =
    Fixed(451, S(4, 3, 0), "The message cannot be stored now, try again later");
pub(super) const NOT_SIGNED: Fixed =
    Fixed(451, S(4, 3, 0), "The message cannot be signed now, try again later");
pub(super) const DISK_FULL: Fixed = Fixed(452, S(4, 3, 1), "No space left, try again later");
pub(super) const OVER_QUOTA: Fixed = Fixed(452, S(4, 2, 2), "The mailbox is full, try again later");
pub(super) const TOO_MANY_EXPANDED: Fixed =
    Fixed(452, S(4, 5, 3), "Too many recipients behind aliases, send the rest in another transaction");
pub(super) const THROTTLED: Fixed = Fixed(454, S(4, 7, 0), "Too many failed logins, try again later");
pub(super) const TOO_MANY_SESSIONS: Fixed =
    Fixed(454, S(4, 7, 0), "Too many sessions of this account, try again later");
pub(super) const LOGIN_BUSY: Fixed =
    Fixed(454, S(4, 7, 0), "The password cannot be checked now, try again later");
pub(super) const ANOTHER_USER: Fixed = Fixed(535, S(5, 7, 8), "Acting as another user is not possible");
/// RFC 4954 section 6.
pub(super) const CODE_MISSING: Fixed =
    Fixed(534, S(5, 7, 9), "This account needs an app password, or a code behind its password");
pub(super) const BAD_LOGIN: Fixed = Fixed(535, S(5, 7, 8), "Wrong user name or password");
pub(super) const NO_POSTMASTER: Fixed = Fixed(550, S(5, 1, 1), "There is no postmaster here");
pub(super) const HEADER_TOO_LARGE: Fixed = Fixed(552, S(5, 3, 4), "The header of the message is too large");
pub(super) const SEVERAL_FROM: Fixed = Fixed(554, S(5, 6, 0), "The message has more than one From field");
pub(super) const SEVERAL_SENDERS: Fixed =
    Fixed(554, S(5, 6, 0), "The message has more than one Sender field");
pub(super) const NO_FROM_ADDRESS: Fixed =
    Fixed(554, S(5, 6, 0), "The From field of the message holds no address");
pub(super) const BEGINS_FOLDED: Fixed = Fixed(
    554,
    S(5, 6, 0),
    "The first line of the message begins with white space, as if it went on with a field before it",
);
pub(super) const TOO_MANY_HOPS: Fixed = Fixed(554, S(5, 4, 6), "Too many hops: the message goes in a circle");

pub(super) fn unknown_user(address: &Address) -> Refusal {
    Refusal::new(550, UNKNOWN_USER, format!("<{address}>: there is no such user here"))
}

pub(super) fn no_return(address: &Address) -> Refusal {
    Refusal::new(550, UNKNOWN_USER, format!("<{address}>: no return path of this server, or too old a one"))
}

pub(super) fn mailbox_full(address: &Address) -> Refusal {
    Refusal::new(452, S(4, 2, 2), format!("<{address}>: the mailbox is full, try again later"))
}

pub(super) fn held_too_long(most: std::time::Duration) -> Refusal {
    let (days, hours) = (most.as_secs() / 86_400, most.as_secs() / 3_600);
    let most = if days > 1 { format!("{days} days") } else { format!("{hours} hours") };
    let text = format!("messages are held for {most} at most, and this one asks for more");
    Refusal::new(501, S(5, 5, 4), text)
}

pub(super) fn send_limit(login: &Address, most: u32, window: &str) -> Refusal {
    Refusal::new(
        452,
        S(4, 7, 0),
        format!(
            "<{login}> may send to {most} recipients {article} {window}, try again later",
            article = if window == "hour" { "an" } else { "a" }
        ),
    )
}

pub(super) fn relaying_denied(address: &Address) -> Refusal {
    Refusal::new(550, S(5, 7, 1), format!("<{address}>: Relaying denied, log in first"))
}

pub(super) fn not_your_sender(path: &ReversePath, login: &Address) -> Refusal {
    Refusal::new(553, S(5, 7, 1), format!("<{path}>: not an address of {login}"))
}

pub(super) fn not_your_author(author: &str, login: &Address) -> Refusal {
    Refusal::new(550, S(5, 7, 1), format!("<{author}> in From or Sender is not an address of {login}"))
}

pub(super) fn delivered_before(address: &Address) -> Refusal {
    Refusal::new(
        554,
        S(5, 4, 6),
        format!("<{address}>: the message was delivered to it before, it goes in a circle"),
    )
}

/// The answer to a failed login.
pub(super) fn login_error(error: LoginError) -> Refusal {
    match error {
        LoginError::Invalid => BAD_LOGIN.into(),
        LoginError::CodeMissing => CODE_MISSING.into(),
        LoginError::Throttled => THROTTLED.into(),
        LoginError::AnotherUser => ANOTHER_USER.into(),
        LoginError::Busy => LOGIN_BUSY.into(),
    }
}

/// The answer where a key does not sign.
pub(super) fn not_signed(error: &KeyError) -> Refusal {
    tracing::error!(%error, "a message is not accepted");
    NOT_SIGNED.into()
}

/// The answer to a solicitation that nobody here wants (RFC 3865 section 2.4).
pub(super) fn solicitation(keyword: &str) -> Refusal {
    Refusal::new(550, S(5, 7, 1), format!("SOLICIT={keyword} is not wanted here"))
}

/// The answer when the store does not do what the peer needs.
pub(super) fn store_error(error: &StoreError) -> Refusal {
    match error {
        StoreError::OverQuota => OVER_QUOTA.into(),
        StoreError::Full => DISK_FULL.into(),
        StoreError::Limit(bound) => {
            Refusal::new(554, S(5, 3, 4), format!("The message is beyond a bound of the store: {bound}"))
        }
        // An account that went since RCPT, too: the next try is told so there.
        _ => {
            tracing::error!(%error, "the store refuses mail");
            STORE_FAILED.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_login_says_what_can_be_done() {
        for (error, reply) in [
            (LoginError::Invalid, "535 5.7.8 Wrong user name or password"),
            (
                LoginError::CodeMissing,
                "534 5.7.9 This account needs an app password, or a code behind its password",
            ),
            (LoginError::Throttled, "454 4.7.0 Too many failed logins, try again later"),
            (LoginError::AnotherUser, "535 5.7.8 Acting as another user is not possible"),
            (LoginError::Busy, "454 4.7.0 The password cannot be checked now, try again later"),
        ] {
            let refusal = login_error(error);
            assert_eq!(format!("{} {} {}", refusal.code, refusal.status, refusal.text), reply);
        }
    }

    #[test]
    fn only_bounds_of_the_store_are_permanent() {
        for (error, code, status) in [
            (StoreError::OverQuota, 452, S(4, 2, 2)),
            (StoreError::Full, 452, S(4, 3, 1)),
            (StoreError::Poisoned, 451, S(4, 3, 0)),
            (StoreError::Io("x".into()), 451, S(4, 3, 0)),
            (StoreError::NoSuchAccount, 451, S(4, 3, 0)),
            (StoreError::Closed, 451, S(4, 3, 0)),
            (StoreError::Limit("x"), 554, S(5, 3, 4)),
        ] {
            let refusal = store_error(&error);
            assert_eq!((refusal.code, refusal.status), (code, status), "{error}");
        }
    }
}
