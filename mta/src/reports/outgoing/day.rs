//! A day that is reported of: from 00:00 to 24:00 UTC (RFC 9990 section 3.1.1.4, RFC 8460 section 4.1).

use std::fmt;

use waypost_mail::Timestamp;

use crate::tls_policy::results::day_name;

/// Seconds of a day.
const SECONDS: i64 = 86_400;

/// A day, UTC: how many days after 1970-01-01.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Day(i64);

impl Day {
    /// The day of an instant.
    pub fn of(now: Timestamp) -> Self {
        Self(now.seconds().div_euclid(SECONDS))
    }

    /// `2026-11-25`
    pub fn parse(text: &str) -> Option<Self> {
        let day = Self::of(Timestamp::parse(&format!("{text}T00:00:00Z"))?);
        (day.to_string() == text).then_some(day)
    }

    /// Its first second.
    pub fn begin(self) -> Timestamp {
        Timestamp::from_seconds(self.0 * SECONDS)
    }

    /// Its last second.
    pub fn last_second(self) -> Timestamp {
        Timestamp::from_seconds(self.0 * SECONDS + SECONDS - 1)
    }

    /// The first second after it.
    pub fn end(self) -> Timestamp {
        Timestamp::from_seconds((self.0 + 1) * SECONDS)
    }

    /// The day so many days before.
    #[must_use]
    pub fn earlier(self, days: i64) -> Self {
        Self(self.0 - days)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&day_name(self.begin()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_and_written() {
        let day = Day::parse("2026-11-25").unwrap();
        assert_eq!(day.to_string(), "2026-11-25");
        assert_eq!((day.begin().seconds(), day.last_second().seconds()), (1_795_564_800, 1_795_651_199));
        assert_eq!((Day::of(day.last_second()), Day::of(day.end()).earlier(1)), (day, day));
        for text in ["", "2026-11-31", "2026-1-1", "26-11-25", "2026-11-25T00", "../../x", "2026-11-25 "] {
            assert_eq!(Day::parse(text), None, "{text}");
        }
    }
}
