//! Replies of a server as a client reads them (RFC 5321 section 4.2), and what EHLO announced (section 4.1.1.1).
//!
//! The parser takes octets cut anywhere. Bounds protect us from a hostile server, not the other way round: a line may be
//! eight times as long as RFC 5321 section 4.5.3.1.5 allows.

use std::num::NonZeroU32;

use waypost_mail::{EnhancedStatus, Issuer, Reply};

/// Longest reply line in octets, its end included. RFC 5321 section 4.5.3.1.5 says 512; servers that quote URLs exceed it.
pub const REPLY_LINE_BYTES_MAX: usize = 4096;
/// Most lines in one reply (RFC 5321 has no bound).
pub const REPLY_LINES_MAX: usize = 100;

/// Why octets are no reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReplyError {
    /// A line without end.
    #[error("the server sent a reply line of more than {REPLY_LINE_BYTES_MAX} octets")]
    LineTooLong,
    /// A reply without end.
    #[error("the server sent a reply of more than {REPLY_LINES_MAX} lines")]
    TooManyLines,
    /// No code from 200 to 599, or something else than space and hyphen behind it.
    #[error("the server sent something that is no SMTP reply")]
    Malformed,
    /// RFC 5321 section 4.2.1: all lines of a reply have the same code.
    #[error("the server sent a reply whose lines have different codes")]
    CodesDiffer,
}

/// Gathers replies from a stream.
#[derive(Debug, Default)]
pub struct ReplyParser {
    octets: Vec<u8>,
    code: Option<u16>,
    lines: Vec<String>,
}

impl ReplyParser {
    /// Takes octets that arrived.
    pub fn receive(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// The next complete reply; `None` until more octets arrive.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, ReplyError> {
        while let Some(end) = self.octets.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.octets.drain(..=end).collect();
            if line.len() > REPLY_LINE_BYTES_MAX {
                return Err(ReplyError::LineTooLong);
            }
            if let Some(reply) = self.line(&line)? {
                return Ok(Some(reply));
            }
        }
        if self.octets.len() >= REPLY_LINE_BYTES_MAX { Err(ReplyError::LineTooLong) } else { Ok(None) }
    }

    /// Forgets what arrived (RFC 3207 section 4.2).
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether nothing arrived that is not read yet.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty() && self.code.is_none()
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (code, last, text) = reply_line(line).ok_or(ReplyError::Malformed)?;
        if self.code.is_some_and(|first| first != code) {
            return Err(ReplyError::CodesDiffer);
        }
        if self.lines.len() == REPLY_LINES_MAX {
            return Err(ReplyError::TooManyLines);
        }
        self.code = Some(code);
        self.lines.push(text);
        if !last {
            return Ok(None);
        }
        self.code = None;
        Ok(Some(with_status(code, std::mem::take(&mut self.lines))))
    }
}

/// `Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF`; one line of it: code, whether
/// it is the last, text. Octets that are no printable text are shown as `?`: replies end up in logs and notifications.
fn reply_line(line: &[u8]) -> Option<(u16, bool, String)> {
    let (code, rest) = line.split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let (last, text) = match rest.first() {
        None => (true, rest),
        Some(b' ') => (true, &rest[1..]),
        Some(b'-') => (false, &rest[1..]),
        Some(_) => return None,
    };
    let printable = |c: char| if c.is_control() { '?' } else { c };
    let text = String::from_utf8_lossy(text).chars().map(printable).collect();
    (200..600).contains(&code).then_some((code, last, text))
}

/// Takes the enhanced status code off the lines where all of them have the same one, of the reply's class
/// (RFC 2034 section 4).
fn with_status(code: u16, lines: Vec<String>) -> Reply {
    let split = |line: &String| {
        let (status, text) = line.split_once(' ').unwrap_or((line, ""));
        Some((EnhancedStatus::parse(status)?, text.trim_start().to_owned()))
    };
    let parts: Option<Vec<_>> = lines.iter().map(split).collect();
    let common = parts.filter(|parts| {
        let first = parts.first().map(|(status, _)| *status);
        first.is_some_and(|first| u16::from(first.0) == code / 100)
            && parts.iter().all(|(status, _)| Some(*status) == first)
    });
    match common {
        Some(parts) => {
            let status = parts.first().map(|(status, _)| *status);
            let lines = parts.into_iter().map(|(_, text)| text).collect();
            Reply { code, status, lines, issuer: Issuer::Peer }
        }
        None => Reply { code, status: None, lines, issuer: Issuer::Peer },
    }
}

/// The SIZE keyword (RFC 1870 section 4).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SizeLimit {
    /// The server does not know SIZE.
    #[default]
    NotOffered,
    /// It does, and announces no bound.
    Unbounded,
    /// Largest message in octets.
    Octets(u64),
}

/// Limits that a server announced (RFC 9422 section 4); `None`: not this one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// Transactions in one session.
    pub mail: Option<NonZeroU32>,
    /// Recipients in one transaction.
    pub recipients: Option<NonZeroU32>,
    /// Domains of the recipients of one transaction.
    pub recipient_domains: Option<NonZeroU32>,
}

impl Limits {
    /// `limits-param = limit-name-value 0*[SP limit-name-value]`; limits that we do not know, and values that are none, are passed over.
    fn parse(line: &str) -> Self {
        let mut limits = Self::default();
        for limit in line.split(' ').skip(1) {
            let Some((name, value)) = limit.split_once('=') else { continue };
            let value = value.parse().ok();
            match name.to_ascii_uppercase().as_str() {
                "MAILMAX" => limits.mail = value,
                "RCPTMAX" => limits.recipients = value,
                "RCPTDOMAINMAX" => limits.recipient_domains = value,
                _ => {}
            }
        }
        limits
    }
}

/// What a server announced in its reply to EHLO. After HELO: nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Capabilities {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 1870.
    pub size: SizeLimit,
    /// RFC 4954: mechanism PLAIN.
    pub auth_plain: bool,
    /// RFC 4954: mechanism LOGIN.
    pub auth_login: bool,
    /// RFC 4954: mechanism SCRAM-SHA-256 (RFC 7677).
    pub auth_scram: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 3030; only with CHUNKING.
    pub binary_mime: bool,
    /// RFC 9422.
    pub limits: Limits,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 8689.
    pub require_tls: bool,
    /// RFC 6710.
    pub mt_priority: bool,
    /// RFC 3865.
    pub no_soliciting: bool,
    /// RFC 2852: with the fewest seconds that it takes.
    pub deliver_by: Option<u64>,
}

impl Capabilities {
    /// Reads the reply to EHLO: the first line names the server, each other one is a keyword with parameters. Keywords that
    /// we do not use are passed over.
    pub fn from_ehlo(reply: &Reply) -> Self {
        let mut capabilities = Self::default();
        for line in reply.lines.iter().skip(1) {
            // `AUTH=LOGIN` is what servers older than RFC 2554 say, and some still do
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "PIPELINING" => capabilities.pipelining = true,
                "8BITMIME" => capabilities.eight_bit_mime = true,
                "SMTPUTF8" => capabilities.smtputf8 = true,
                "STARTTLS" => capabilities.starttls = true,
                "DSN" => capabilities.dsn = true,
                "REQUIRETLS" => capabilities.require_tls = true,
                "MT-PRIORITY" => capabilities.mt_priority = true,
                "NO-SOLICITING" => capabilities.no_soliciting = true,
                "CHUNKING" => capabilities.chunking = true,
                "BINARYMIME" => capabilities.binary_mime = true,
                "LIMITS" => capabilities.limits = Limits::parse(line),
                "DELIVERBY" => {
                    let fewest = words.next().and_then(|fewest| fewest.parse().ok());
                    capabilities.deliver_by = Some(fewest.unwrap_or(0));
                }
                "SIZE" => capabilities.size = size_limit(words.next()),
                "AUTH" => capabilities.mechanisms(words),
                _ => {}
            }
        }
        capabilities
    }

    fn mechanisms<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            self.auth_plain |= name.eq_ignore_ascii_case("PLAIN");
            self.auth_login |= name.eq_ignore_ascii_case("LOGIN");
            self.auth_scram |= name.eq_ignore_ascii_case("SCRAM-SHA-256");
        }
    }
}

/// `size-param = [1*DIGIT]`; 0 says that there is no bound. A number that we cannot count to is none, either.
fn size_limit(parameter: Option<&str>) -> SizeLimit {
    match parameter.and_then(|number| number.parse().ok()) {
        Some(0) | None => SizeLimit::Unbounded,
        Some(octets) => SizeLimit::Octets(octets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8], chunk: usize) -> Result<Vec<Reply>, ReplyError> {
        let mut parser = ReplyParser::default();
        let mut replies = Vec::new();
        for octets in text.chunks(chunk) {
            parser.receive(octets);
            while let Some(reply) = parser.next_reply()? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    fn reply(code: u16, status: Option<(u8, u16, u16)>, lines: &[&str]) -> Reply {
        let status = status.map(|(class, subject, detail)| EnhancedStatus(class, subject, detail));
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Reply { code, status, lines, issuer: Issuer::Peer }
    }

    #[test]
    fn replies_are_read_however_they_are_cut() {
        let table: &[(&str, Reply)] = &[
            ("220 mx.test ESMTP\r\n", reply(220, None, &["mx.test ESMTP"])),
            ("250\r\n", reply(250, None, &[""])),
            ("250 \r\n", reply(250, None, &[""])),
            ("250 ok\n", reply(250, None, &["ok"])),
            ("250-a\r\n250-\r\n250 b\r\n", reply(250, None, &["a", "", "b"])),
            ("250 2.1.5 Ok\r\n", reply(250, Some((2, 1, 5)), &["Ok"])),
            ("550 5.1.1\r\n", reply(550, Some((5, 1, 1)), &[""])),
            ("551-5.7.1 a\r\n551 5.7.1  b\r\n", reply(551, Some((5, 7, 1)), &["a", "b"])),
            // inconsistent codes stay text
            ("551-5.7.1 a\r\n551 5.7.2 b\r\n", reply(551, None, &["5.7.1 a", "5.7.2 b"])),
            ("551-5.7.1 a\r\n551 b\r\n", reply(551, None, &["5.7.1 a", "b"])),
            ("450 5.7.1 a\r\n", reply(450, None, &["5.7.1 a"])),
            ("354 2.0.0 go\r\n", reply(354, None, &["2.0.0 go"])),
            ("250 a\0b\x1b[1m\r\n", reply(250, None, &["a?b?[1m"])),
        ];
        for (text, expected) in table {
            for chunk in [1, 3, 4096] {
                assert_eq!(parse(text.as_bytes(), chunk), Ok(vec![expected.clone()]), "{text:?} by {chunk}");
            }
        }
        assert_eq!(parse(b"250 a\r\n250 b\r\n25", 5).unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for text in ["\r\n", "2\r\n", "25x a\r\n", "199 a\r\n", "600 a\r\n", "250+a\r\n", "+OK\r\n"] {
            assert_eq!(parse(text.as_bytes(), 4096), Err(ReplyError::Malformed), "{text:?}");
        }
        assert_eq!(parse(b"250-a\r\n251 b\r\n", 3), Err(ReplyError::CodesDiffer));
    }

    #[test]
    fn lines_and_replies_have_bounds() {
        let line = |octets: usize| format!("250 {}\r\n", "x".repeat(octets - 6));
        for chunk in [1000, 100_000] {
            assert!(parse(line(REPLY_LINE_BYTES_MAX).as_bytes(), chunk).is_ok());
            assert_eq!(parse(line(REPLY_LINE_BYTES_MAX + 1).as_bytes(), chunk), Err(ReplyError::LineTooLong));
        }
        let lines = |count: usize| "250-x\r\n".repeat(count - 1) + "250 x\r\n";
        assert!(parse(lines(REPLY_LINES_MAX).as_bytes(), 64).is_ok());
        assert_eq!(parse(lines(REPLY_LINES_MAX + 1).as_bytes(), 64), Err(ReplyError::TooManyLines));
    }

    #[test]
    fn capabilities_are_read() {
        let ehlo = |lines: &[&str]| Capabilities::from_ehlo(&reply(250, None, lines));
        assert_eq!(ehlo(&["PIPELINING STARTTLS"]), Capabilities::default());
        let all = ehlo(&[
            "mx.test",
            "pipelining",
            "SIZE 1000",
            "8BITMIME",
            "SMTPUTF8",
            "STARTTLS",
            "AUTH CRAM-MD5 plain SCRAM-SHA-256 SCRAM-SHA-256-PLUS",
            "CHUNKING",
            "binarymime",
            "LIMITS MAILMAX=5 RCPTMAX=0 rcptdomainmax=1 OTHER=9 RCPTMAX",
            "AUTH=LOGIN",
            "X-OTHER",
            "dsn",
            "RequireTLS",
            "MT-PRIORITY MIXER",
            "No-Soliciting org.example:ADV",
            "DELIVERBY 240",
            "",
        ]);
        let expected = Capabilities {
            pipelining: true,
            eight_bit_mime: true,
            smtputf8: true,
            starttls: true,
            size: SizeLimit::Octets(1000),
            auth_plain: true,
            auth_login: true,
            auth_scram: true,
            chunking: true,
            binary_mime: true,
            limits: Limits {
                mail: NonZeroU32::new(5),
                recipients: None,
                recipient_domains: NonZeroU32::new(1),
            },
            dsn: true,
            require_tls: true,
            mt_priority: true,
            no_soliciting: true,
            deliver_by: Some(240),
        };
        assert_eq!(all, expected);
        assert_eq!(ehlo(&["mx", "SIZE"]).size, SizeLimit::Unbounded);
        assert_eq!(ehlo(&["mx", "SIZE 0"]).size, SizeLimit::Unbounded);
        assert_eq!(ehlo(&["mx"]).size, SizeLimit::NotOffered);
    }
}
