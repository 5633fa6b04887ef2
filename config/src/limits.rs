//! `[limits]`: bounds of messages, connections and rates.

use std::time::Duration;

use waypost_mail::Solicitation;

use crate::{
    reader::{Section, values},
    texts::{short, size},
};

/// `[limits]`
#[derive(Clone, Debug, PartialEq)]
pub struct LimitsConfig {
    /// Largest message in bytes; default 50 MiB.
    pub message_size: u64,
    /// Most recipients of one message; default 1,000.
    pub recipients: usize,
    /// Most connections; default 10,000.
    pub connections: usize,
    /// Most connections from one address before login, per account after it; default 50; 0 = no bound.
    pub connections_per_address: usize,
    /// Failed logins from one address in a minute; default 10; 0 = no bound.
    pub auth_failures_per_minute: u32,
    /// Wait before an error is answered; default 1 s; 0 = off.
    pub error_delay: Duration,
    /// The most urgent priority that a user may give a message, 0 to 9; default 4.
    pub priority: i8,
    /// Longest time for which a user may have a message held; default 30 days; 0 = not at all.
    pub future_release: Duration,
    /// Kinds of solicitations that are refused, as EHLO announces (RFC 3865); default: none, and nothing is announced.
    pub no_soliciting: Option<Solicitation>,
    /// What an address, or an account, may do in a time.
    pub rates: RatesConfig,
}

/// The rates of `[limits]`. The default is no bound at all, which is not that of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RatesConfig {
    /// Connections from one address in a minute; default 300; 0 = no bound.
    pub connections_per_minute: u32,
    /// Messages from one address in a minute; default 300; 0 = no bound.
    pub messages_per_minute: u32,
    /// Recipients that one address asks for in a minute; default 3,000; 0 = no bound.
    pub recipients_per_minute: u32,
    /// Unknown recipients of one address in 10 minutes before refusals come slowly; with twice as many it is sent away.
    /// Default 50; 0 = no bound.
    pub unknown_recipients: u32,
    /// How slowly; default 5 s.
    pub tarpit: Duration,
    /// Recipients that one account sends to in an hour; default 500; 0 = no bound.
    pub recipients_per_hour_per_account: u32,
    /// Recipients that one account sends to in a day; default 1,000; 0 = no bound.
    pub recipients_per_day_per_account: u32,
    /// Whether what goes beyond these two is held until the operator releases it, up to as many recipients again; default true. Else it
    /// is refused.
    pub holds_over_limit: bool,
}

/// Bounds of `limits.message_size`: every server takes 64 KiB (RFC 5321 section 4.5.3.1.7), and IMAP tells sizes in 32 bits
/// (RFC 3501 section 9, `number`).
const MESSAGE_SIZE: std::ops::RangeInclusive<u64> = 64 << 10..=u32::MAX as u64;

/// How long messages can be held by their senders: by default, and at most, which nine digits of seconds can say.
const FUTURE_RELEASE: Duration = Duration::from_secs(30 * 86_400);

const FUTURE_RELEASE_MAX: Duration = Duration::from_secs(999_999_999);

/// Whether what goes beyond the send limit of an account is held.
const OVER_SEND_LIMIT: [(&str, bool); 2] = [("hold", true), ("refuse", false)];

/// Most characters of all keywords of `no_soliciting`: they stand in one line of the reply to EHLO, which has 512 octets (RFC 5321 section
/// 4.5.3.1.5).
const NO_SOLICITING_CHARACTERS_MAX: usize = 480;

/// Most recipients of one message that can be announced: RCPTMAX has six digits (RFC 9422 section 6.2).
const RECIPIENTS_MAX: usize = 999_999;

fn message_size(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if MESSAGE_SIZE.contains(&bytes) { Ok(bytes) } else { Err("it lies between 64 KiB and 4 GiB".to_owned()) }
}

fn no_soliciting(section: &Section<'_, '_>) -> Option<Solicitation> {
    let one = |text: &str| match Solicitation::parse(text) {
        Some(_) if !text.contains(',') => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no solicitation class keyword, like \"org.example:ADV\"")),
    };
    let words = section.list("no_soliciting", one).filter(|words| !words.is_empty())?;
    let place = words.first().map(|word| word.place.clone());
    let all = Solicitation::parse(&values(words).join(","))
        .filter(|all| all.to_string().len() <= NO_SOLICITING_CHARACTERS_MAX);
    if all.is_none() {
        let most = NO_SOLICITING_CHARACTERS_MAX;
        section.problems().add(place, format!("limits.no_soliciting has at most {most} characters in all"));
    }
    all
}

pub(crate) fn read(root: &Section<'_, '_>) -> LimitsConfig {
    let section = root.table("limits");
    let number = |key: &str, least: u64, default: usize| {
        section
            .number(key, least..=1_000_000)
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(default)
    };
    let rate = |key, default| number(key, 0, default).try_into().unwrap_or(u32::MAX);
    let delay =
        |key, default| section.parsed(key, short).map_or(Duration::from_secs(default), |found| found.value);
    let limits = LimitsConfig {
        message_size: section.parsed("message_size", message_size).map_or(50 << 20, |found| found.value),
        recipients: number("recipients", 100, 1_000).min(RECIPIENTS_MAX),
        connections: number("connections", 1, 10_000),
        connections_per_address: number("connections_per_address", 0, 50),
        auth_failures_per_minute: number("auth_failures_per_minute", 0, 10).try_into().unwrap_or(u32::MAX),
        error_delay: delay("error_delay", 1),
        priority: section.number("priority", 0..=9).and_then(|most| i8::try_from(most).ok()).unwrap_or(4),
        future_release: section.duration("future_release").unwrap_or(FUTURE_RELEASE).min(FUTURE_RELEASE_MAX),
        no_soliciting: no_soliciting(&section),
        rates: RatesConfig {
            connections_per_minute: rate("connections_per_minute", 300),
            messages_per_minute: rate("messages_per_minute", 300),
            recipients_per_minute: rate("recipients_per_minute", 3_000),
            unknown_recipients: rate("unknown_recipients", 50),
            tarpit: delay("tarpit", 5),
            recipients_per_hour_per_account: rate("recipients_per_hour_per_account", 500),
            recipients_per_day_per_account: rate("recipients_per_day_per_account", 1_000),
            holds_over_limit: section.word("over_send_limit", &OVER_SEND_LIMIT).unwrap_or(true),
        },
    };
    section.end();
    limits
}
