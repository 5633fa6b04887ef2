//! A page of results (RFC 9394 section 4).

use std::{fmt, ops::Range};

use nom::{Parser, bytes::complete::tag, combinator::map, sequence::preceded};

use super::token::{Parsed, nz_number, or_refuse};

/// From where results are counted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PartialEnd {
    /// From the oldest: `1:500`
    First,
    /// From the newest: `-1:-500`
    Last,
}

/// Which of the results are wanted, as it was written; both numbers count from 1, in any order.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PartialRange {
    /// From where is counted.
    pub end: PartialEnd,
    /// The first number.
    pub one: u32,
    /// The second number.
    pub other: u32,
}

impl PartialRange {
    /// How many results are asked for.
    pub fn width(&self) -> u64 {
        u64::from(self.one.abs_diff(self.other)) + 1
    }

    /// Places, from 0, among so many results in ascending order; empty where there are none.
    pub fn of(&self, results: usize) -> Range<usize> {
        let (least, most) = (self.one.min(self.other) as usize, self.one.max(self.other) as usize);
        match self.end {
            PartialEnd::First => (least - 1).min(results)..most.min(results),
            PartialEnd::Last => results.saturating_sub(most)..results.saturating_sub(least - 1),
        }
    }
}

impl fmt::Display for PartialRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            PartialEnd::First => write!(f, "{}:{}", self.one, self.other),
            PartialEnd::Last => write!(f, "-{}:-{}", self.one, self.other),
        }
    }
}

/// `partial-range = partial-range-first / partial-range-last`, `partial-range-first = nz-number ":" nz-number`,
/// `partial-range-last = MINUS nz-number ":" MINUS nz-number`
pub(crate) fn partial_range(input: &[u8]) -> Parsed<'_, PartialRange> {
    let colon = || or_refuse(tag(":"), "expected a colon");
    if input.first() == Some(&b'-') {
        let number = || preceded(or_refuse(tag("-"), "both ends are counted from the same side"), nz_number);
        return map((number(), colon(), number()), |(one, _, other)| PartialRange {
            end: PartialEnd::Last,
            one,
            other,
        })
        .parse(input);
    }
    map((nz_number, colon(), nz_number), |(one, _, other)| PartialRange {
        end: PartialEnd::First,
        one,
        other,
    })
    .parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_printed_and_found() {
        for (text, results, expected) in [
            ("1:3", 9, 0..3),
            ("3:1", 9, 0..3),
            ("1:1", 1, 0..1),
            ("8:12", 9, 7..9),
            ("10:12", 9, 9..9),
            ("1:4294967295", 2, 0..2),
            ("-1:-3", 9, 6..9),
            ("-3:-1", 9, 6..9),
            ("-8:-12", 9, 0..2),
            ("-10:-12", 9, 0..0),
            ("-1:-1", 0, 0..0),
            ("1:5", 0, 0..0),
        ] {
            let (rest, page) = partial_range(text.as_bytes()).unwrap();
            assert_eq!((rest, page.of(results), page.to_string().as_str()), (&b""[..], expected, text));
        }
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for text in ["", "1", "0:1", "1:0", "1:-1", "-1:1", "-0:-1", "1:*", "-1", "--1:-1", "1:4294967296"] {
            assert!(partial_range(text.as_bytes()).is_err(), "{text}");
        }
    }
}
