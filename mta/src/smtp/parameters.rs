//! Parameters of MAIL and RCPT: SIZE (RFC 1870), 8BITMIME (RFC 6152), BINARYMIME (RFC 3030 section 3), SMTPUTF8 (RFC 6531), AUTH= (RFC 4954 section 5), what DSN has the
//! sender ask for (RFC 3461 section 4), REQUIRETLS (RFC 8689 section 2), MT-PRIORITY (RFC 6710 section 3)
//! and BY (RFC 2852 section 4). Not here: SOLICIT (RFC 3865), as NO-SOLICITING is not announced, and the priority that a header field
//! carries (RFC 6758).

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag, take_while, take_while1},
    character::complete::{char, satisfy},
    combinator::{eof, map, opt, peek, recognize, verify},
    sequence::{pair, preceded, terminated},
};
use waypost_mail::{BodyType, DeliverBy, EnvelopeId, Notify, OriginalRecipient, ReturnContent};

use super::command::{CommandError, complete};

/// Parameters of MAIL.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MailParameters {
    /// Size of the message as the client estimates it; more than 64 bits count as the largest number.
    pub size: Option<u64>,
    /// Which octets the message holds.
    pub body: BodyType,
    /// Whether addresses or header fields hold UTF-8.
    pub smtputf8: bool,
    /// How much of the message a notification returns.
    pub return_content: Option<ReturnContent>,
    /// What the sender calls the message.
    pub envelope_id: Option<EnvelopeId>,
    /// Whether it goes only where TLS is sure.
    pub require_tls: bool,
    /// How urgent it is, from -9 to 9.
    pub priority: Option<i8>,
    /// By when it is to be delivered.
    pub deliver_by: Option<DeliverBy>,
}

/// Parameters of RCPT.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RcptParameters {
    /// When the sender is told.
    pub notify: Option<Notify>,
    /// Whom the sender wrote to first.
    pub orcpt: Option<OriginalRecipient>,
}

/// Keyword and value of a parameter, as they came.
type EsmtpParam<'a> = (&'a str, Option<&'a str>);

impl MailParameters {
    /// Those that there are.
    const KEYWORDS: [&'static str; 9] =
        ["SIZE", "BODY", "SMTPUTF8", "AUTH", "RET", "ENVID", "REQUIRETLS", "MT-PRIORITY", "BY"];

    /// Reads all parameters of one command, `form`.
    pub(super) fn read(input: &str, form: &'static str) -> Result<Self, CommandError> {
        let mut parameters = Self::default();
        each_once(input, form, &Self::KEYWORDS, |keyword, value| parameters.set(keyword, value))?;
        Ok(parameters)
    }

    fn set(&mut self, keyword: &str, value: Option<&str>) -> Result<(), CommandError> {
        let bad = || CommandError::Parameter(keyword.to_owned());
        match (keyword, value) {
            ("SIZE", Some(value)) => self.size = Some(complete(size_value, value, "").map_err(|_| bad())?),
            ("BODY", Some(value)) => self.body = body_value(value).ok_or_else(bad)?,
            ("SMTPUTF8", None) => self.smtputf8 = true,
            ("REQUIRETLS", None) => self.require_tls = true,
            ("BY", Some(value)) => self.deliver_by = Some(DeliverBy::parse(value).ok_or_else(bad)?),
            ("MT-PRIORITY", Some(value)) => self.priority = Some(priority_value(value).ok_or_else(bad)?),
            ("RET", Some(value)) => self.return_content = Some(ret_value(value).ok_or_else(bad)?),
            ("ENVID", Some(value)) => self.envelope_id = Some(EnvelopeId::new(value).ok_or_else(bad)?),
            // Nobody is trusted to say who the first sender was: read as `AUTH=<>` (RFC 4954 section 5).
            ("AUTH", Some(_)) => (),
            _ => return Err(bad()),
        }
        Ok(())
    }
}

impl RcptParameters {
    /// Reads all parameters of one command, `form`.
    pub(super) fn read(input: &str, form: &'static str) -> Result<Self, CommandError> {
        let mut parameters = Self::default();
        each_once(input, form, &["NOTIFY", "ORCPT"], |keyword, value| parameters.set(keyword, value))?;
        Ok(parameters)
    }

    fn set(&mut self, keyword: &str, value: Option<&str>) -> Result<(), CommandError> {
        let bad = || CommandError::Parameter(keyword.to_owned());
        match (keyword, value) {
            ("NOTIFY", Some(value)) => self.notify = Some(Notify::parse(value).ok_or_else(bad)?),
            ("ORCPT", Some(value)) => self.orcpt = Some(OriginalRecipient::new(value).ok_or_else(bad)?),
            _ => return Err(bad()),
        }
        Ok(())
    }
}

/// `Mail-parameters = esmtp-param *(SP esmtp-param)`, with the space before them, or none. Sets each that is known; none may come twice.
fn each_once(
    input: &str,
    form: &'static str,
    known: &[&'static str],
    mut set: impl FnMut(&str, Option<&str>) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let (mut rest, mut seen) = (input, 0u32);
    while !rest.is_empty() {
        let parsed = terminated(preceded(char(' '), esmtp_param), peek(alt((tag(" "), eof)))).parse(rest);
        let (after, (keyword, value)) = parsed.map_err(|_| CommandError::Arguments(form))?;
        let place = known.iter().position(|known| known.eq_ignore_ascii_case(keyword));
        let unknown = || CommandError::UnknownParameter(keyword.to_ascii_uppercase());
        let place = place.ok_or_else(unknown)?;
        set(known[place], value)?;
        if seen >> place & 1 == 1 {
            return Err(CommandError::Parameter(known[place].to_owned()));
        }
        seen |= 1 << place;
        rest = after;
    }
    Ok(())
}

/// `esmtp-param = esmtp-keyword ["=" esmtp-value]`
fn esmtp_param(input: &str) -> IResult<&str, EsmtpParam<'_>> {
    pair(esmtp_keyword, opt(preceded(char('='), esmtp_value))).parse(input)
}

/// `esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")`
fn esmtp_keyword(input: &str) -> IResult<&str, &str> {
    let first = |c: char| c.is_ascii_alphanumeric();
    recognize(pair(satisfy(first), take_while(move |c| first(c) || c == '-'))).parse(input)
}

/// `esmtp-value = 1*(%d33-60 / %d62-126)`, or UTF-8 (RFC 6531 section 3.3)
fn esmtp_value(input: &str) -> IResult<&str, &str> {
    take_while1(|c| matches!(c, '!'..='<' | '>'..='~') || !c.is_ascii()).parse(input)
}

/// `size-value = 1*20DIGIT` (RFC 1870 section 5)
fn size_value(input: &str) -> IResult<&str, u64> {
    let digits = verify(take_while1(|c: char| c.is_ascii_digit()), |digits: &str| digits.len() <= 20);
    map(digits, |digits: &str| digits.parse().unwrap_or(u64::MAX)).parse(input)
}

/// `body-value = "7BIT" / "8BITMIME" / "BINARYMIME"` (RFC 3030 section 3)
fn body_value(value: &str) -> Option<BodyType> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Some(BodyType::SevenBit),
        "8BITMIME" => Some(BodyType::EightBitMime),
        "BINARYMIME" => Some(BodyType::BinaryMime),
        _ => None,
    }
}

/// `priority-value = (["-"] NZDIGIT) / "0"` (RFC 6710 section 3)
fn priority_value(value: &str) -> Option<i8> {
    let digit = value.strip_prefix('-').unwrap_or(value);
    let is_valid = digit.len() == 1 && digit.bytes().all(|b| b.is_ascii_digit()) && value != "-0";
    value.parse().ok().filter(|_| is_valid)
}

/// `ret-value = "FULL" / "HDRS"` (RFC 3461 section 4.3)
fn ret_value(value: &str) -> Option<ReturnContent> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Some(ReturnContent::Full),
        "HDRS" => Some(ReturnContent::Headers),
        _ => None,
    }
}
