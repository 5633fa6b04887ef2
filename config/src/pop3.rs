//! `[pop3]`: maildrops.

use std::time::Duration;

use crate::{reader::Section, texts::duration};

/// `[pop3]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pop3Config {
    /// How long a session is silent before another one may take its maildrop over; zero: however long it is.
    pub take_over_after: Duration,
    /// What a client without UTF-8 mode gets of a message that needs it.
    pub without_utf8: WithoutUtf8,
}

impl Default for Pop3Config {
    fn default() -> Self {
        Self { take_over_after: Duration::from_secs(60), without_utf8: WithoutUtf8::Surrogate }
    }
}

/// What a client without UTF-8 mode gets of a message with UTF-8 in its header (RFC 6856 section 2.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WithoutUtf8 {
    /// A surrogate of it (RFC 6858).
    Surrogate,
    /// A refusal (RFC 6856 section 5).
    Refuse,
}

/// The least silence after which a maildrop is taken over: a client may be busy between two commands.
const TAKE_OVER_MIN: Duration = Duration::from_secs(10);

const WITHOUT_UTF8: [(&str, WithoutUtf8); 2] =
    [("surrogate", WithoutUtf8::Surrogate), ("refuse", WithoutUtf8::Refuse)];

pub(crate) fn read(root: &Section<'_, '_>) -> Pop3Config {
    let section = root.table("pop3");
    let silence = |text: &str| match duration(text)? {
        silence if silence.is_zero() || silence >= TAKE_OVER_MIN => Ok(silence),
        _ => Err("it is at least 10 seconds, or 0".to_owned()),
    };
    let take_over_after = section.parsed("take_over_after", silence).map(|found| found.value);
    let without_utf8 = section.word("without_utf8", &WITHOUT_UTF8);
    section.end();
    let default = Pop3Config::default();
    Pop3Config {
        take_over_after: take_over_after.unwrap_or(default.take_over_after),
        without_utf8: without_utf8.unwrap_or(default.without_utf8),
    }
}
