//! Policies of MTA-STS (RFC 8461): the TXT record, the file, and which exchangers a policy allows. Pure; [`super::policies`]
//! fetches and keeps them.

use std::time::Duration;

use nom::{
    IResult, Parser,
    bytes::complete::{tag, take_while, take_while_m_n, take_while1},
    character::complete::{char, space0},
    combinator::{all_consuming, opt},
    multi::many0,
    sequence::{delimited, preceded, separated_pair, terminated},
};
use waypost_mail::Domain;

/// Largest policy file in octets (RFC 8461 section 3.3 proposes as much).
pub const POLICY_BYTES_MAX: usize = 64 * 1024;
/// Longest time for which a policy holds (RFC 8461 section 3.2).
pub const MAX_AGE_MAX: Duration = Duration::from_secs(31_557_600);
/// Most exchangers of a policy that are looked at.
pub const EXCHANGERS_MAX: usize = 1000;
/// Longest `id` (RFC 8461 section 3.1).
const ID_CHARS_MAX: usize = 32;

/// What is done with a server that does not keep the policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// It gets no mail.
    Enforce,
    /// It does, and a report tells of it.
    Testing,
    /// Nothing: the domain has no policy any more.
    None,
}

impl Mode {
    /// Its word in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        }
    }
}

/// A policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StsPolicy {
    /// What it is good for.
    pub mode: Mode,
    /// Host names in lower case, `*.` in front stands for one label; none only with [`Mode::None`].
    pub exchangers: Vec<String>,
    /// How long it holds after it was fetched; at most [`MAX_AGE_MAX`].
    pub max_age: Duration,
}

/// Why a file is no policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StsError {
    /// Not lines of `key: value`.
    #[error("the policy is not made of lines `key: value`")]
    Syntax,
    /// Too long.
    #[error("the policy is larger than 64 KiB")]
    TooLarge,
    /// No `version: STSv1`.
    #[error("the policy is not of version STSv1")]
    Version,
    /// No `mode`, or an unknown one.
    #[error("the policy has no mode that is known")]
    Mode,
    /// No `max_age`, or no number.
    #[error("the policy has no max_age")]
    MaxAge,
    /// No `mx`.
    #[error("the policy names no mail exchanger")]
    NoExchanger,
}

/// The `id` of a domain's policy, from the TXT records of `_mta-sts.DOMAIN`; `None`: it has none, as where there are several
/// records (RFC 8461 section 3.1).
pub fn policy_id(records: &[String]) -> Option<String> {
    let mut found = records.iter().filter_map(|record| text_record(record));
    match (found.next(), found.next()) {
        (Some(id), None) => id,
        _ => None,
    }
}

/// `sts-text-record = sts-version 1*(sts-field-delim sts-field) [sts-field-delim]`; `None`: another record. Inside: its `id`,
/// where it is well formed.
fn text_record(record: &str) -> Option<Option<String>> {
    let (fields, _) = terminated(tag("v=STSv1"), delimiter).parse(record).ok()?;
    let field = || {
        separated_pair(
            field_name,
            char('='),
            take_while1(|c: char| c.is_ascii_graphic() && c != ';' && c != '='),
        )
    };
    let mut all = all_consuming(preceded(
        space0,
        (field(), many0(preceded(delimiter, field())), opt(delimiter), space0),
    ));
    let Ok((_, (first, rest, _, _))) = all.parse(fields) else { return Some(None) };
    let id = [first].into_iter().chain(rest).find(|(name, _)| *name == "id").map(|(_, value)| value);
    let is_id = |id: &&str| id.len() <= ID_CHARS_MAX && id.bytes().all(|b| b.is_ascii_alphanumeric());
    Some(id.filter(is_id).map(str::to_owned))
}

/// `sts-field-delim = *WSP ";" *WSP`
fn delimiter(input: &str) -> IResult<&str, char> {
    delimited(space0, char(';'), space0).parse(input)
}

/// `sts-ext-name = (ALPHA / DIGIT) *31(ALPHA / DIGIT / "_" / "-" / ".")`
fn field_name(input: &str) -> IResult<&str, &str> {
    take_while_m_n(1, 32, |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c)).parse(input)
}

/// `sts-policy-field`: a name, a colon, a value without the blanks around it.
fn policy_field(input: &str) -> IResult<&str, (&str, &str)> {
    let value =
        take_while(|c: char| !c.is_control() || c == '\t').map(|value: &str| value.trim_matches([' ', '\t']));
    separated_pair(field_name, (space0, char(':'), space0), value).parse(input)
}

impl StsPolicy {
    /// Reads a policy file (RFC 8461 section 3.2). Of a field that is there twice the first counts, but for `mx`; unknown ones are
    /// skipped.
    pub fn parse(text: &str) -> Result<Self, StsError> {
        if text.len() > POLICY_BYTES_MAX {
            return Err(StsError::TooLarge);
        }
        let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let field = |line| all_consuming(policy_field).parse(line).map(|(_, field)| field);
        let fields = lines.filter(|line| !line.is_empty()).map(field).collect::<Result<Vec<_>, _>>();
        let fields = fields.map_err(|_| StsError::Syntax)?;
        let first = |name| fields.iter().find(|(found, _)| *found == name).map(|(_, value)| *value);
        if first("version") != Some("STSv1") {
            return Err(StsError::Version);
        }
        let modes = [Mode::Enforce, Mode::Testing, Mode::None];
        let mode = modes.into_iter().find(|mode| first("mode") == Some(mode.name())).ok_or(StsError::Mode)?;
        let max_age = first("max_age").and_then(seconds).ok_or(StsError::MaxAge)?.min(MAX_AGE_MAX);
        let exchangers =
            fields.iter().filter(|(name, _)| *name == "mx").filter_map(|(_, value)| pattern(value));
        let exchangers: Vec<_> = exchangers.take(EXCHANGERS_MAX).collect();
        if exchangers.is_empty() && mode != Mode::None {
            return Err(StsError::NoExchanger);
        }
        Ok(Self { mode, exchangers, max_age })
    }

    /// Whether a host is one of the exchangers (RFC 8461 section 4.1).
    pub fn allows(&self, host: &str) -> bool {
        self.exchangers.iter().any(|pattern| matches(pattern, host))
    }

    /// The file that says the same, a field a line without line ends.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec!["version: STSv1".to_owned(), format!("mode: {}", self.mode.name())];
        lines.extend(self.exchangers.iter().map(|pattern| format!("mx: {pattern}")));
        lines.push(format!("max_age: {}", self.max_age.as_secs()));
        lines
    }
}

/// `sts-policy-max-age-value = 1*10(DIGIT)`
fn seconds(text: &str) -> Option<Duration> {
    let is_number = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok().map(Duration::from_secs))?
}

/// `sts-policy-mx-value`: a host name, or `*.` and one.
fn pattern(text: &str) -> Option<String> {
    let host =
        Domain::new(text.strip_prefix("*.").unwrap_or(text)).ok().filter(|host| host.as_ip().is_none())?;
    Some(if text.starts_with("*.") { format!("*.{host}") } else { host.to_string() })
}

/// Whether a host name is what a pattern names; a wildcard is the leftmost label as a whole (RFC 6125 section 6.4.3).
pub(super) fn matches(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    match pattern.strip_prefix("*.") {
        Some(parent) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
        None => host.eq_ignore_ascii_case(pattern),
    }
}

#[cfg(test)]
mod tests;
