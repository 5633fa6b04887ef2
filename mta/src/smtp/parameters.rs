//! Parameters of MAIL and RCPT: SIZE (RFC 1870), 8BITMIME (RFC 6152), BINARYMIME (RFC 3030 section 3), SMTPUTF8 (RFC 6531), AUTH= (RFC 4954 section 5), what DSN has the
//! sender ask for (RFC 3461 section 4), REQUIRETLS (RFC 8689 section 2), MT-PRIORITY (RFC 6710 section 3)
//! BY (RFC 2852 section 4), HOLDFOR and HOLDUNTIL (RFC 4865 section 4), SOLICIT (RFC 3865 section 2.3). Not here: the priority that a header field carries
//! (RFC 6758).

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag, take_while, take_while1},
    character::complete::{char, satisfy},
    combinator::{eof, opt, peek, recognize},
    sequence::{pair, preceded, terminated},
};
use waypost_mail::{
    BodyType, DeliverBy, EnvelopeId, FutureRelease, Notify, OriginalRecipient, ReturnContent, Solicitation,
    Wishes,
};

use super::command::CommandError;

/// Parameters of MAIL.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MailParameters {
    /// Size of the message as the client estimates it; more than 64 bits count as the largest number.
    pub size: Option<u64>,
    /// Which octets the message holds.
    pub body: BodyType,
    /// Whether addresses or header fields hold UTF-8.
    pub smtputf8: bool,
    /// When the message is sent at the earliest.
    pub release: Option<FutureRelease>,
    /// What travels with the message.
    pub wishes: Wishes<DeliverBy>,
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

/// A keyword, and what takes its value; `None`: the value is wrong.
type Keyword<T> = (&'static str, fn(&mut T, Option<&str>) -> Option<()>);

const MAIL_KEYWORDS: &[Keyword<MailParameters>] = &[
    ("SIZE", |mail, value| set(&mut mail.size, size_value(value?))),
    ("BODY", |mail, value| body_value(value?).map(|body| mail.body = body)),
    ("SMTPUTF8", |mail, value| value.is_none().then(|| mail.smtputf8 = true)),
    ("REQUIRETLS", |mail, value| value.is_none().then(|| mail.wishes.require_tls = true)),
    ("BY", |mail, value| set(&mut mail.wishes.deliver_by, DeliverBy::parse(value?))),
    ("MT-PRIORITY", |mail, value| priority_value(value?).map(|priority| mail.wishes.priority = priority)),
    ("HOLDFOR", |mail, value| set_once(&mut mail.release, FutureRelease::hold_for(value?))),
    ("HOLDUNTIL", |mail, value| set_once(&mut mail.release, FutureRelease::hold_until(value?))),
    ("SOLICIT", |mail, value| set(&mut mail.wishes.solicitation, Solicitation::parse(value?))),
    ("RET", |mail, value| set(&mut mail.wishes.return_content, ret_value(value?))),
    ("ENVID", |mail, value| set(&mut mail.wishes.envelope_id, EnvelopeId::new(value?))),
    // Nobody is trusted to say who the first sender was: read as `AUTH=<>` (RFC 4954 section 5).
    ("AUTH", |_, value| value.map(|_| ())),
];

const RCPT_KEYWORDS: &[Keyword<RcptParameters>] = &[
    ("NOTIFY", |rcpt, value| set(&mut rcpt.notify, Notify::parse(value?))),
    ("ORCPT", |rcpt, value| set(&mut rcpt.orcpt, OriginalRecipient::new(value?))),
];

fn set<T>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    *place = Some(value?);
    Some(())
}

/// The same where two keywords say it in different ways: only one of them may.
fn set_once<T>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    if place.is_some() { None } else { set(place, value) }
}

impl MailParameters {
    /// Reads all parameters of one command, `form`.
    pub(super) fn read(input: &str, form: &'static str) -> Result<Self, CommandError> {
        each_once(input, form, MAIL_KEYWORDS)
    }
}

impl RcptParameters {
    /// Reads all parameters of one command, `form`.
    pub(super) fn read(input: &str, form: &'static str) -> Result<Self, CommandError> {
        each_once(input, form, RCPT_KEYWORDS)
    }
}

/// `Mail-parameters = esmtp-param *(SP esmtp-param)`, with the space before them, or none. Each is known; none comes twice.
fn each_once<T: Default>(
    input: &str,
    form: &'static str,
    keywords: &[Keyword<T>],
) -> Result<T, CommandError> {
    let (mut parameters, mut rest, mut seen) = (T::default(), input, 0u32);
    while !rest.is_empty() {
        let parsed = terminated(preceded(char(' '), esmtp_param), peek(alt((tag(" "), eof)))).parse(rest);
        let (after, (keyword, value)) = parsed.map_err(|_| CommandError::Arguments(form))?;
        let known = keywords.iter().enumerate().find(|(_, (known, _))| known.eq_ignore_ascii_case(keyword));
        let unknown = || CommandError::UnknownParameter(keyword.to_ascii_uppercase());
        let (place, (known, take)) = known.ok_or_else(unknown)?;
        if take(&mut parameters, value).is_none() || seen >> place & 1 == 1 {
            return Err(CommandError::Parameter(known));
        }
        seen |= 1 << place;
        rest = after;
    }
    Ok(parameters)
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
fn size_value(value: &str) -> Option<u64> {
    let is_valid = (1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
    is_valid.then(|| value.parse().unwrap_or(u64::MAX))
}

/// `body-value = "7BIT" / "8BITMIME" / "BINARYMIME"` (RFC 3030 section 3)
fn body_value(value: &str) -> Option<BodyType> {
    one_of(
        value,
        [
            ("7BIT", BodyType::SevenBit),
            ("8BITMIME", BodyType::EightBitMime),
            ("BINARYMIME", BodyType::BinaryMime),
        ],
    )
}

/// `priority-value = (["-"] NZDIGIT) / "0"` (RFC 6710 section 3)
fn priority_value(value: &str) -> Option<i8> {
    let digit = value.strip_prefix('-').unwrap_or(value);
    let is_valid = digit.len() == 1 && digit.bytes().all(|b| b.is_ascii_digit()) && value != "-0";
    value.parse().ok().filter(|_| is_valid)
}

/// `ret-value = "FULL" / "HDRS"` (RFC 3461 section 4.3)
fn ret_value(value: &str) -> Option<ReturnContent> {
    one_of(value, [("FULL", ReturnContent::Full), ("HDRS", ReturnContent::Headers)])
}

/// What a word stands for, in any case.
fn one_of<T: Copy, const N: usize>(word: &str, known: [(&str, T); N]) -> Option<T> {
    known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, meaning)| meaning)
}
