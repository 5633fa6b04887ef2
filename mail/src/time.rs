//! Times: instants in UTC, and dates with the zone they were written in.

use std::fmt;

use jiff::{SignedDuration, civil};

/// An instant: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The instant of the given Unix time in seconds.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Whole seconds since the epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// An instant written as RFC 3339 has it: `2026-11-25T14:00:00Z`, `2026-11-25T15:00:00.5+01:00`.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|time| Self(time.as_millisecond()))
    }

    /// The instant `duration` later.
    #[must_use]
    pub fn after(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The instant `duration` earlier.
    #[must_use]
    pub fn before(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339, UTC, with milliseconds: `2026-11-21T04:05:06.789Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "@{}ms", self.0),
        }
    }
}

const EPOCH: civil::DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A date and time with its zone: an IMAP internal date, a Date field.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct DateTime {
    /// Seconds since the Unix epoch, UTC. Bounds: years 1 to 9999.
    pub seconds: i64,
    /// Zone: minutes east of UTC, within ±24 h.
    pub offset_minutes: i16,
}

impl DateTime {
    /// The instant in UTC.
    pub fn utc(instant: Timestamp) -> Self {
        Self { seconds: instant.seconds(), offset_minutes: 0 }
    }

    /// Builds a date from its parts as written; `None` where they name no date between the years 1 and 9999.
    /// A leap second (60) counts as the second before it.
    pub fn from_parts(date: (i16, i8, i8), time: (i8, i8, i8), offset_minutes: i16) -> Option<Self> {
        let second = time.2.min(59);
        if !(0..=60).contains(&time.2) || date.0 < 1 || offset_minutes.unsigned_abs() >= 24 * 60 {
            return None;
        }
        let civil = civil::DateTime::new(date.0, date.1, date.2, time.0, time.1, second, 0).ok()?;
        let seconds = civil.duration_since(EPOCH).as_secs();
        Some(Self { seconds: seconds - i64::from(offset_minutes) * 60, offset_minutes })
    }

    /// Reads `dd-Mon-yyyy hh:mm:ss ±zzzz` (RFC 9051 section 9, `date-time` without its quotes; the day may be ` d`).
    pub fn parse_imap(text: &str) -> Option<Self> {
        let text = text.trim_start();
        let (date, rest) = text.split_once(' ')?;
        let (time, zone) = rest.split_once(' ')?;
        let mut date = date.split('-');
        let (day, month, year) = (digits(date.next()?, 1..=2)?, date.next()?, digits(date.next()?, 4..=4)?);
        let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? + 1;
        let mut time = time.split(':');
        let mut part = || digits(time.next()?, 2..=2);
        let time_parts = (part()? as i8, part()? as i8, part()? as i8);
        if date.next().is_some() || time.next().is_some() {
            return None;
        }
        Self::from_parts((year, month as i8, day as i8), time_parts, zone_minutes(zone)?)
    }

    /// Year, month, day, hour, minute, second in the date's own zone.
    pub fn parts(&self) -> (i16, i8, i8, i8, i8, i8) {
        let civil = self.civil();
        (civil.year(), civil.month(), civil.day(), civil.hour(), civil.minute(), civil.second())
    }

    /// The day in the date's own zone, as a count of days that orders dates (days since 0000-03-01 or so; only compare).
    pub fn day_number(&self) -> i64 {
        (self.seconds + i64::from(self.offset_minutes) * 60).div_euclid(86_400)
    }

    /// `Sat, 21 Nov 2026 04:05:06 +0000` (RFC 5322 section 3.3).
    pub fn rfc5322(&self) -> String {
        let weekday = WEEKDAYS[self.civil().weekday().to_monday_zero_offset() as usize % 7];
        let mut text = String::with_capacity("Sat, 21 Nov 2026 04:05:06 +0000".len());
        text.push_str(weekday);
        text.push_str(", ");
        self.write(' ', &mut text);
        text
    }

    /// `21-Nov-2026 04:05:06 +0000` (RFC 9051 section 9, `date-time` without its quotes).
    pub fn imap(&self) -> String {
        let mut text = String::with_capacity("21-Nov-2026 04:05:06 +0000".len());
        self.write('-', &mut text);
        text
    }

    /// Day, month, year, time and zone, with this between the first three.
    fn write(&self, between: char, text: &mut String) {
        let (year, month, day, hour, minute, second) = self.parts();
        let zone = self.offset_minutes.unsigned_abs();
        push_two(text, day.unsigned_abs().into());
        text.push(between);
        text.push_str(MONTHS[(month as usize - 1) % 12]);
        text.push(between);
        push_two(text, year.unsigned_abs() / 100);
        push_two(text, year.unsigned_abs() % 100);
        for (before, number) in [(' ', hour), (':', minute), (':', second)] {
            text.push(before);
            push_two(text, number.unsigned_abs().into());
        }
        text.push_str(if self.offset_minutes < 0 { " -" } else { " +" });
        push_two(text, zone / 60);
        push_two(text, zone % 60);
    }

    fn civil(&self) -> civil::DateTime {
        let local =
            SignedDuration::from_secs(self.seconds.saturating_add(i64::from(self.offset_minutes) * 60));
        EPOCH.saturating_add(local)
    }
}

/// Two digits of a number below 100, without what a formatter does for any of them: each message has dates.
fn push_two(text: &mut String, number: u16) {
    for digit in [number / 10 % 10, number % 10] {
        text.push(char::from(b'0' + digit as u8));
    }
}

fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<i16> {
    (length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn zone_minutes(zone: &str) -> Option<i16> {
    let number = digits(zone.get(1..)?, 4..=4)?;
    let minutes = number / 100 * 60 + number % 100;
    match zone.as_bytes()[0] {
        b'+' => Some(minutes),
        b'-' => Some(-minutes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_print_and_parse() {
        let date = DateTime::from_parts((2026, 11, 21), (4, 5, 6), -90).unwrap();
        assert_eq!(date.rfc5322(), "Sat, 21 Nov 2026 04:05:06 -0130");
        assert_eq!(date.imap(), "21-Nov-2026 04:05:06 -0130");
        assert_eq!(DateTime::parse_imap("21-nov-2026 04:05:06 -0130"), Some(date));
        assert_eq!(DateTime::parse_imap(" 1-Jan-1970 00:00:00 +0000").unwrap().seconds, 0);
        assert_eq!(Timestamp(1_795_233_906_789).to_string(), "2026-11-21T04:05:06.789Z");
    }

    #[test]
    fn the_first_and_the_last_day_are_dates() {
        for text in ["31-Dec-9999 23:59:59 +0000", "31-Dec-9999 23:59:59 -2359", "01-Jan-0001 00:00:00 +2359"]
        {
            assert_eq!(DateTime::parse_imap(text).map(|date| date.imap()).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "32-Jan-2026 00:00:00 +0000",
            "1-Foo-2026 00:00:00 +0000",
            "1-Jan-26 00:00:00 +0000",
            "1-Jan-2026 24:00:00 +0000",
            "1-Jan-2026 00:00:61 +0000",
            "1-Jan-2026 00:00:00 0000",
            "1-Jan-2026 00:00:00 +9999",
            "30-Feb-2026 00:00:00 +0000",
            "31-Dec-0000 00:00:00 +0000",
            "1-Jan-2026",
        ] {
            assert_eq!(DateTime::parse_imap(text), None, "{text}");
        }
    }
}
