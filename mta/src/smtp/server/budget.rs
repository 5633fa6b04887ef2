//! What a client may use up between two accepted messages: errors, idle talk, time.

use std::time::{Duration, Instant};

use super::{
    Login, Role,
    replies::{self, Fixed},
};

/// So many 5yz replies between two accepted messages end a session. Postfix's smtpd_hard_error_limit is the same.
pub const ERRORS_MAX: u32 = 20;
/// So many commands between two accepted messages that send no mail (NOOP, RSET, EHLO, HELO, VRFY, HELP) end a session.
/// Postfix's smtpd_junk_command_limit is the same.
pub const JUNK_COMMANDS_MAX: u32 = 100;
/// So many refused recipients end a session. They are no errors where the transaction has good recipients, too: lists have
/// members that are gone. The bound keeps a client from trying a whole directory of names.
pub const REFUSED_RECIPIENTS_MAX: u32 = 200;
/// So many refusals between two accepted messages are noted for the log; most kinds end the session long before. Recipients beyond
/// `limits.recipients` do not: their client sends them again.
pub const REFUSALS_NOTED_MAX: u32 = 1_000;
/// Longest time without an accepted message in a session that is not logged in.
pub const ANONYMOUS_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Longest time until login in a session for submission.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// What was used up so far.
#[derive(Debug, Default)]
pub(super) struct Budget {
    errors: u32,
    junk: u32,
    noted: u32,
    /// Over the whole session.
    refused_recipients: u32,
    /// When the time began that an accepted message ends; `None`: now.
    since: Option<Instant>,
}

impl Budget {
    pub(super) fn error(&mut self) {
        self.errors = self.errors.saturating_add(1);
    }

    pub(super) fn junk(&mut self) {
        self.junk = self.junk.saturating_add(1);
    }

    /// How many more refusals are noted, before this one.
    pub(super) fn note(&mut self) -> u32 {
        let left = REFUSALS_NOTED_MAX - self.noted;
        self.noted += left.min(1);
        left
    }

    pub(super) fn refused_recipient(&mut self) {
        self.refused_recipients = self.refused_recipients.saturating_add(1);
    }

    /// A message was accepted, which forgives what came before.
    pub(super) fn accepted(&mut self) {
        (self.errors, self.junk, self.noted, self.since) = (0, 0, 0, None);
    }

    /// When the session must have come to something; `None`: it may last.
    pub(super) fn deadline(&mut self, role: Role, login: Login, now: Instant) -> Option<Instant> {
        let since = *self.since.get_or_insert(now);
        match (login, role) {
            (Login::Authenticated, _) => None,
            (Login::Anonymous, Role::Relay | Role::Lmtp) => since.checked_add(ANONYMOUS_TIMEOUT),
            (Login::Anonymous, Role::Submission) => since.checked_add(LOGIN_TIMEOUT),
        }
    }

    /// Why nothing more is obeyed, once something is used up.
    pub(super) fn spent(&self) -> Option<Fixed> {
        if self.errors >= ERRORS_MAX {
            Some(replies::TOO_MANY_ERRORS)
        } else if self.junk >= JUNK_COMMANDS_MAX {
            Some(replies::TOO_MUCH_JUNK)
        } else if self.refused_recipients >= REFUSED_RECIPIENTS_MAX {
            Some(replies::TOO_MANY_REFUSED)
        } else {
            None
        }
    }
}
