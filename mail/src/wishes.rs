//! What a sender asks for with a message: parameters of MAIL that travel with it, from the server that takes it to the one that it is
//! sent to.

use crate::{DeliverBy, EnvelopeId, Overdue, ReturnContent, Solicitation, Timestamp};

/// What a sender asks for. `T` tells a time: [`DeliverBy`] on the way, in seconds from when it is said, and a [`Deadline`] while the message
/// is here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wishes<T = Deadline> {
    /// How much of it comes back (RFC 3461 section 4.3).
    pub return_content: Option<ReturnContent>,
    /// What the sender calls it (RFC 3461 section 4.4).
    pub envelope_id: Option<EnvelopeId>,
    /// Whether it goes only where TLS is sure, all the way (RFC 8689).
    pub require_tls: bool,
    /// Whether it goes also where TLS fails, whatever the recipient's domain asks for: `TLS-Required: No` (RFC 8689 section 3). Never with
    /// `require_tls`.
    pub tls_optional: bool,
    /// How urgent it is, from -9 to 9; 0 where the sender did not say (RFC 6710).
    pub priority: i8,
    /// By when it is to be delivered (RFC 2852).
    pub deliver_by: Option<T>,
    /// Which kind of solicitation it is (RFC 3865 section 2.3).
    pub solicitation: Option<Solicitation>,
}

// Not derived: whatever a time is, by default there is none.
impl<T> Default for Wishes<T> {
    fn default() -> Self {
        Self {
            return_content: None,
            envelope_id: None,
            require_tls: false,
            tls_optional: false,
            priority: 0,
            deliver_by: None,
            solicitation: None,
        }
    }
}

impl<T: Copy> Wishes<T> {
    /// The same, with times told in another way.
    pub fn with_times<U>(&self, tell: impl FnOnce(T) -> U) -> Wishes<U> {
        Wishes {
            return_content: self.return_content,
            envelope_id: self.envelope_id.clone(),
            require_tls: self.require_tls,
            tls_optional: self.tls_optional,
            priority: self.priority,
            deliver_by: self.deliver_by.map(tell),
            solicitation: self.solicitation.clone(),
        }
    }
}

/// When a message is sent at the earliest (RFC 4865 section 4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FutureRelease {
    /// After so many seconds.
    For(u32),
    /// Then.
    Until(Timestamp),
}

impl FutureRelease {
    /// The value of HOLDFOR: one to nine digits.
    pub fn hold_for(text: &str) -> Option<Self> {
        let is_interval = (1..=9).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
        if is_interval { text.parse().ok().map(Self::For) } else { None }
    }

    /// The value of HOLDUNTIL: a date and time as RFC 3339 has it.
    pub fn hold_until(text: &str) -> Option<Self> {
        Timestamp::parse(text).map(Self::Until)
    }

    /// The moment, of what is said now.
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::For(seconds) => now.after(std::time::Duration::from_secs(seconds.into())),
            Self::Until(at) => at,
        }
    }
}

/// By when a message is to be delivered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deadline {
    /// The moment.
    pub at: Timestamp,
    /// What is done then.
    pub overdue: Overdue,
    /// Whether the sender is told of each server on the way.
    pub trace: bool,
}

impl Deadline {
    /// What the seconds of `by`, said at this moment, come to.
    pub fn new(by: DeliverBy, now: Timestamp) -> Self {
        let at = Timestamp(now.0.saturating_add(by.seconds.saturating_mul(1000)));
        Self { at, overdue: by.overdue, trace: by.trace }
    }

    /// How long is left at this moment. A message that is to come back then has 1 second at least: with none left it is given up, not sent.
    pub fn left(&self, now: Timestamp) -> DeliverBy {
        let seconds = self.at.0.saturating_sub(now.0).div_euclid(1000);
        let seconds = if self.overdue == Overdue::Return { seconds.max(1) } else { seconds };
        DeliverBy { seconds, overdue: self.overdue, trace: self.trace }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_a_moment_and_seconds_again() {
        for (by, later, left) in [
            ("120;R", 0, "120;R"),
            ("120;RT", 60_001, "59;RT"),
            ("120;R", 500_000, "1;R"),
            ("120;N", 500_000, "-380;N"),
            ("-10;NT", 500, "-11;NT"),
        ] {
            let now = Timestamp(1_800_000_000_000);
            let deadline = Deadline::new(DeliverBy::parse(by).unwrap(), now);
            assert_eq!(deadline.left(Timestamp(now.0 + later)).to_string(), left, "{by} after {later}");
        }
    }

    #[test]
    fn all_wishes_stay_where_times_are_told_in_another_way() {
        let wishes = Wishes {
            return_content: Some(ReturnContent::Full),
            envelope_id: EnvelopeId::new("QQ"),
            require_tls: true,
            tls_optional: true,
            priority: -3,
            deliver_by: DeliverBy::parse("120;R"),
            solicitation: Solicitation::parse("org.example:ADV"),
        };
        let now = Timestamp(5);
        let kept = wishes.with_times(|by| Deadline::new(by, now));
        assert_eq!(kept.with_times(|deadline| deadline.left(now)), wishes);
        assert_eq!(Wishes::<Deadline>::default().with_times(|deadline| deadline), Wishes::default());
    }

    #[test]
    fn a_release_is_an_interval_or_a_moment() {
        for (text, expected) in [
            ("0", Some(FutureRelease::For(0))),
            ("999999999", Some(FutureRelease::For(999_999_999))),
            ("1000000000", None),
            ("", None),
            ("+5", None),
            ("1d", None),
        ] {
            assert_eq!(FutureRelease::hold_for(text), expected, "{text:?}");
        }
        for (text, expected) in [
            ("1970-01-01T00:01:00Z", Some(FutureRelease::Until(Timestamp(60_000)))),
            ("1970-01-01T01:01:00.5+01:00", Some(FutureRelease::Until(Timestamp(60_500)))),
            ("1970-01-01", None),
            ("1970-13-01T00:00:00Z", None),
            ("60", None),
        ] {
            assert_eq!(FutureRelease::hold_until(text), expected, "{text:?}");
        }
        assert_eq!(FutureRelease::For(2).at(Timestamp(5)), Timestamp(2005));
        assert_eq!(FutureRelease::Until(Timestamp(3)).at(Timestamp(5)), Timestamp(3));
    }
}
