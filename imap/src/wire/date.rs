//! Dates.

use nom::{
    Parser,
    branch::alt,
    bytes::complete::{tag, take_while_m_n},
    combinator::map,
    sequence::delimited,
};
use waypost_mail::DateTime;

use super::{
    Day,
    token::{Parsed, ascii, or_refuse, quoted, refuse},
};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `date = date-text / DQUOTE date-text DQUOTE`
pub(crate) fn date(input: &[u8]) -> Parsed<'_, Day> {
    alt((delimited(tag("\""), date_text, tag("\"")), date_text)).parse(input)
}

/// `date-text = date-day "-" date-month "-" date-year`
fn date_text(input: &[u8]) -> Parsed<'_, Day> {
    let parts = (digits(1, 2), tag("-"), date_month, tag("-"), digits(4, 4));
    let (rest, (day, _, month, _, year)) = or_refuse(parts, "expected a date")(input)?;
    let (Ok(year), Ok(day)) = (i16::try_from(year), i8::try_from(day)) else {
        return refuse(input, "no such date");
    };
    match DateTime::from_parts((year, month, day), (0, 0, 0), 0) {
        Some(_) => Ok((rest, Day(year, month, day))),
        None => refuse(input, "no such date"),
    }
}

/// `date-month = "Jan" / "Feb" / …`
fn date_month(input: &[u8]) -> Parsed<'_, i8> {
    let (rest, octets) = take_while_m_n(3, 3, |octet: u8| octet.is_ascii_alphabetic()).parse(input)?;
    match (1..).zip(MONTHS).find(|(_, name)| name.as_bytes().eq_ignore_ascii_case(octets)) {
        Some((month, _)) => Ok((rest, month)),
        None => refuse(input, "no such month"),
    }
}

/// `2DIGIT`, `4DIGIT`, …
fn digits<'a>(
    least: usize,
    most: usize,
) -> impl Parser<&'a [u8], Output = u16, Error = super::token::Problem> {
    let digits = take_while_m_n(least, most, |octet: u8| octet.is_ascii_digit());
    map(digits, |octets: &[u8]| octets.iter().fold(0, |number, octet| number * 10 + u16::from(octet - b'0')))
}

/// `date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE`
pub(crate) fn date_time(input: &[u8]) -> Parsed<'_, DateTime> {
    let (rest, octets) = quoted(input)?;
    match DateTime::parse_imap(&ascii(&octets)) {
        Some(date) => Ok((rest, date)),
        None => refuse(input, "no such date and time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (input, day) in [
            ("1-Feb-1994", Day(1994, 2, 1)),
            ("01-feb-1994", Day(1994, 2, 1)),
            ("\"29-FEB-2024\"", Day(2024, 2, 29)),
            ("31-Dec-9999", Day(9999, 12, 31)),
        ] {
            assert_eq!(date(input.as_bytes()), Ok((&b""[..], day)), "{input}");
        }
        for input in [
            "",
            "0-Feb-1994",
            "30-Feb-1994",
            "1-Foo-1994",
            "1-Feb-94",
            "\"1-Feb-1994",
            "1 Feb 1994",
            "111-Feb-1994",
            "1-Febr-1994",
        ] {
            assert!(date(input.as_bytes()).is_err(), "{input}");
        }
    }

    #[test]
    fn date_times() {
        let (rest, date) = date_time(b"\" 7-Feb-1994 21:52:25 -0800\" {3}").unwrap();
        assert_eq!((rest, date.imap().as_str()), (&b" {3}"[..], "07-Feb-1994 21:52:25 -0800"));
        for input in ["", "\"\"", "07-Feb-1994", "\"07-Feb-1994 21:52:25\"", "\"07-Feb-1994 25:52:25 -0800\""]
        {
            assert!(date_time(input.as_bytes()).is_err(), "{input}");
        }
    }
}
