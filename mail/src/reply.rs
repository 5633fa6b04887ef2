//! SMTP replies: reply code, enhanced status code (RFC 3463) and text.

use std::fmt;

use crate::notify::{Characters, encode_unitext};

/// Class of a reply or status: what the sender of the command should do now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// It is done (2yz, 3yz).
    Success,
    /// Try again later (4yz).
    Transient,
    /// Do not try again (5yz).
    Permanent,
}

/// Enhanced mail system status code (RFC 3463 section 2): `class.subject.detail`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct EnhancedStatus(pub u8, pub u16, pub u16);

impl EnhancedStatus {
    /// Reads `5.1.1`; `None` unless the class is 2, 4 or 5 and both other numbers have 1 to 3 digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.');
        let mut number =
            || numbers.next().filter(|n| (1..=3).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()));
        let (class, subject, detail) = (number()?, number()?, number()?);
        let class = class.parse().ok().filter(|class| matches!(class, 2 | 4 | 5))?;
        numbers.next().is_none().then_some(Self(class, subject.parse().ok()?, detail.parse().ok()?))
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Who issued a reply.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Issuer {
    /// This server: to its peers, and in place of a reply that no server could give.
    #[default]
    Here,
    /// The peer: it came over the wire.
    Peer,
}

/// One reply, sent by us or received from a peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// Reply code, 200 to 599 (RFC 5321 section 4.2).
    pub code: u16,
    /// Enhanced status code, where the reply has one.
    pub status: Option<EnhancedStatus>,
    /// At least one line, without code, status and CRLF.
    pub lines: Vec<String>,
    /// Whose word it is.
    pub issuer: Issuer,
}

impl Reply {
    /// A reply of ours, of one line with an enhanced status code.
    pub fn new(code: u16, status: EnhancedStatus, text: impl Into<String>) -> Self {
        Self { code, status: Some(status), lines: vec![text.into()], issuer: Issuer::Here }
    }

    /// A reply of ours, of one line without enhanced status code (greeting, EHLO, 354, AUTH challenges).
    pub fn plain(code: u16, text: impl Into<String>) -> Self {
        Self { code, status: None, lines: vec![text.into()], issuer: Issuer::Here }
    }

    /// The same as the word of a peer.
    #[must_use]
    pub fn of_peer(self) -> Self {
        Self { issuer: Issuer::Peer, ..self }
    }

    /// What the receiver should do.
    pub fn severity(&self) -> Severity {
        match self.code {
            ..400 => Severity::Success,
            400..500 => Severity::Transient,
            _ => Severity::Permanent,
        }
    }

    /// The same for a client that takes no UTF-8 (RFC 6531 section 3.7.4): each character beyond ASCII as `\x{…}`, as addresses are
    /// written for such (RFC 6533 section 3).
    #[must_use]
    pub fn in_ascii(mut self) -> Self {
        for line in self.lines.iter_mut().filter(|line| !line.is_ascii()) {
            let encoded = |c: char| encode_unitext(c.encode_utf8(&mut [0; 4]), Characters::Ascii);
            let shown = |c: char| if c.is_ascii() { c.to_string() } else { encoded(c) };
            *line = line.chars().map(shown).collect();
        }
        self
    }

    /// The lines as one text, with single spaces between.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }
}

impl fmt::Display for Reply {
    /// As it goes over the wire, each line ended by CRLF (RFC 5321 section 4.2.1, RFC 2034 section 4).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.lines.len().saturating_sub(1);
        for (index, line) in self.lines.iter().enumerate() {
            write_line(f, self.code, self.status, line, index == last)?;
        }
        Ok(())
    }
}

/// One line of a reply as it goes over the wire, with its CRLF (RFC 5321 section 4.2.1, RFC 2034 section 4).
pub fn write_line(
    f: &mut (impl fmt::Write + ?Sized),
    code: u16,
    status: Option<EnhancedStatus>,
    text: &str,
    is_last: bool,
) -> fmt::Result {
    write_number(f, code)?;
    f.write_str(if is_last { " " } else { "-" })?;
    if let Some(EnhancedStatus(class, subject, detail)) = status {
        for (number, end) in [(class.into(), "."), (subject, "."), (detail, " ")] {
            write_number(f, number)?;
            f.write_str(end)?;
        }
    }
    f.write_str(text)?;
    f.write_str("\r\n")
}

/// A number in decimal digits, without what a formatter does for any of them: some six stand in the replies to each message.
fn write_number(f: &mut (impl fmt::Write + ?Sized), number: u16) -> fmt::Result {
    let digits = [10_000, 1_000, 100, 10, 1].map(|unit| b'0' + (number / unit % 10) as u8);
    let zeros = digits[..4].iter().take_while(|digit| **digit == b'0').count();
    f.write_str(std::str::from_utf8(&digits[zeros..]).unwrap_or_default())
}

/// Why something is not done for a peer: an answer, not an error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// 4yz or 5yz.
    pub code: u16,
    /// The matching enhanced status code.
    pub status: EnhancedStatus,
    /// A sentence that a person understands.
    pub text: String,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(code: u16, status: EnhancedStatus, text: impl Into<String>) -> Self {
        Self { code, status, text: text.into() }
    }

    /// Whether a later try may succeed.
    pub fn is_transient(&self) -> bool {
        self.code < 500
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.status, refusal.text)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.code, self.status, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_print_as_on_the_wire() {
        assert_eq!(Reply::new(250, EnhancedStatus(2, 1, 0), "Ok").to_string(), "250 2.1.0 Ok\r\n");
        let lines = vec!["mx.test".into(), "SIZE 100".into()];
        let ehlo = Reply { lines, ..Reply::plain(250, "") };
        assert_eq!(ehlo.to_string(), "250-mx.test\r\n250 SIZE 100\r\n");
    }

    #[test]
    fn a_reply_in_ascii_shows_what_is_beyond() {
        let lines = vec!["<j\u{f6}rg@xn--nda.test>".to_owned(), "\u{1f600} a\\b".to_owned()];
        let reply = Reply { lines, ..Reply::new(553, EnhancedStatus(5, 7, 1), "") };
        assert_eq!(
            reply.in_ascii().to_string(),
            "553-5.7.1 <j\\x{F6}rg@xn--nda.test>\r\n553 5.7.1 \\x{1F600} a\\b\r\n"
        );
    }

    #[test]
    fn status_codes_parse() {
        assert_eq!(EnhancedStatus::parse("5.1.10"), Some(EnhancedStatus(5, 1, 10)));
        for text in ["", "5", "5.1", "5.1.1.1", "3.1.1", "5.1.1000", "5.+1.1", "5..1"] {
            assert_eq!(EnhancedStatus::parse(text), None, "{text}");
        }
    }
}
