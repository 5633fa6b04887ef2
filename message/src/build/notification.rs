//! Delivery status notifications (RFC 3464, in a multipart/report of RFC 6522; about internationalised mail RFC 6533).

mod meaning;
mod original;
mod status;
mod words;

use mail_builder::{
    MessageBuilder,
    encoders::quoted_printable::QuotedPrintableEncoder,
    headers::{content_type::ContentType, raw::Raw},
    mime::MimePart,
};
use waypost_mail::{Address, DateTime, Domain, EnhancedStatus, EnvelopeId, OriginalRecipient};

use super::{crlf, line};

/// Longest diagnostic text in octets: with its field name it stays within a line (RFC 5322 section 2.1.1).
const DIAGNOSTIC_BYTES_MAX: usize = 900;
/// Longest line in octets without its CRLF (RFC 5322 section 2.1.1).
const LINE_BYTES_MAX: usize = 998;

/// What was done for a recipient (RFC 3464 section 2.3.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Given up.
    Failed,
    /// Tried again later.
    Delayed,
    /// Placed in its mailbox.
    Delivered,
    /// Given to a server that does not tell what becomes of it.
    Relayed,
    /// Sent on to several addresses.
    Expanded,
}

impl Action {
    /// All there are.
    const ALL: [Self; 5] = [Self::Failed, Self::Delayed, Self::Delivered, Self::Relayed, Self::Expanded];

    /// Reads `action-value`, in any case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name().eq_ignore_ascii_case(text.trim()))
    }

    /// `action-value`
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }
}

/// Why, in one or more lines (RFC 3464 section 2.3.6).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Diagnostic {
    /// What an SMTP server replied: code, status and text.
    Smtp(String),
    /// What we found ourselves, also of the server that was asked: no such domain, no connection, …
    Local(String),
}

/// What happened to one recipient.
#[derive(Clone, Debug)]
pub struct RecipientReport {
    /// Its address as the sender gave it, where that is another one.
    pub original: Option<Address>,
    /// Whom the sender wrote to first, as it said itself.
    pub orcpt: Option<OriginalRecipient>,
    /// Its address.
    pub address: Address,
    /// What was done.
    pub action: Action,
    /// Status code.
    pub status: EnhancedStatus,
    /// Host name of the server that was asked; `None` where none was involved. Programs read of it only where the diagnostic is its own.
    pub remote_mta: Option<String>,
    /// Its IP address.
    pub remote_address: Option<String>,
    /// Why.
    pub diagnostic: Option<Diagnostic>,
    /// The last try.
    pub last_attempt: Option<DateTime>,
    /// When it will be given up; only shown where it is delayed.
    pub will_retry_until: Option<DateTime>,
}

/// Who reads a notification.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reader {
    /// The sender of the message.
    Sender,
    /// The local postmaster, as the message has no sender who could be told: it is a notification itself.
    Postmaster,
}

/// How internationalised addresses and header fields are shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Addresses in their 7-bit form (RFC 3464 with RFC 6533 section 3).
    Ascii,
    /// In UTF-8, in parts that are encoded, so that every server takes them (RFC 6533 section 4.5).
    Utf8Encoded,
    /// In UTF-8, as it is: for who is written to with SMTPUTF8 (RFC 6533 section 4.4).
    Utf8,
}

/// A notification.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Our host name.
    pub reporting_mta: Domain,
    /// Who is told.
    pub to: Address,
    /// Who that is.
    pub reader: Reader,
    /// How internationalised mail is shown.
    pub form: Form,
    /// Date of the notification.
    pub date: DateTime,
    /// Its message-id without angle brackets; unique.
    pub message_id: String,
    /// Boundary: random, of letters and digits, at most 70.
    pub boundary: String,
    /// When the message came.
    pub arrival: DateTime,
    /// What the sender calls the message.
    pub envelope_id: Option<EnvelopeId>,
    /// At least one recipient.
    pub recipients: Vec<RecipientReport>,
    /// What comes back of the message.
    pub original: Original,
}

/// What comes back of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Original {
    /// Its header block.
    Header(Vec<u8>),
    /// All of it: 7bit ([`is_seven_bit`]), where the form is [`Form::Ascii`].
    Message(Vec<u8>),
}

/// Whether octets are lines of US-ASCII of a length that every server takes (RFC 2045 section 2.7).
pub fn is_seven_bit(octets: &[u8]) -> bool {
    let lines = octets.split(|&octet| octet == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).all(is_seven_bit_line)
}

fn is_seven_bit_line(line: &[u8]) -> bool {
    line.is_ascii() && is_eight_bit_line(line)
}

/// Whether octets are lines of a length that every server with 8BITMIME takes (RFC 2045 section 2.8).
fn is_eight_bit(octets: &[u8]) -> bool {
    let lines = octets.split(|&octet| octet == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).all(is_eight_bit_line)
}

fn is_eight_bit_line(line: &[u8]) -> bool {
    line.len() <= LINE_BYTES_MAX && !line.iter().any(|octet| b"\0\r".contains(octet))
}

impl Notification {
    /// The whole message.
    pub fn build(&self) -> Vec<u8> {
        let parts = vec![
            MimePart::new("text/plain", crlf(&self.words())),
            self.delivery_status(),
            original::part(&self.original, self.form),
        ];
        let report = ContentType::new("multipart/report")
            .attribute("report-type", "delivery-status")
            .attribute("boundary", line(&self.boundary));
        let from = format!("Mail Delivery System <MAILER-DAEMON@{}>", self.reporting_mta);
        let mut octets = Vec::new();
        MessageBuilder::new()
            .header("From", Raw::new(from))
            .header("To", Raw::new(format!("<{}>", self.to)))
            .subject(self.subject())
            .header("Date", Raw::new(self.date.rfc5322()))
            .message_id(line(&self.message_id))
            .header("Auto-Submitted", Raw::new(self.auto_submitted()))
            .body(MimePart::new(report, parts))
            .serialize(&mut octets);
        octets
    }

    /// `auto-submitted-value` (RFC 3834 section 5): the postmaster did not send what this is about.
    fn auto_submitted(&self) -> &'static str {
        match self.reader {
            Reader::Sender => "auto-replied",
            Reader::Postmaster => "auto-generated",
        }
    }

    /// The worst that happened.
    fn worst(&self) -> Action {
        let any = |action: &Action| self.recipients.iter().any(|recipient| recipient.action == *action);
        let order = [Action::Failed, Action::Delayed, Action::Relayed, Action::Expanded];
        order.into_iter().find(any).unwrap_or(Action::Delivered)
    }

    fn subject(&self) -> &'static str {
        match (self.reader, self.worst()) {
            (Reader::Postmaster, _) => "A notification could not be delivered",
            (Reader::Sender, Action::Failed) => "Your mail could not be delivered",
            (Reader::Sender, Action::Delayed) => "Your mail is delayed",
            (Reader::Sender, Action::Relayed) => "Your mail was handed on",
            (Reader::Sender, Action::Expanded) => "Your mail was sent on to several addresses",
            (Reader::Sender, Action::Delivered) => "Your mail was delivered",
        }
    }
}

/// A text of one line within its bound.
fn cut(text: &str) -> String {
    let mut text = line(text);
    text.truncate(text.floor_char_boundary(DIAGNOSTIC_BYTES_MAX));
    text
}

/// A part whose octets are lines: as they are, or in quoted-printable where neither they nor the form of the notification are such that they can go so.
fn part_of_lines(kind: &'static str, octets: Vec<u8>, form: Form) -> MimePart<'static> {
    let part =
        |octets: Vec<u8>, encoding| MimePart::new(ContentType::new(kind), octets).transfer_encoding(encoding);
    if is_seven_bit(&octets) {
        return part(octets, "7bit");
    }
    if form == Form::Utf8 && is_eight_bit(&octets) {
        return part(octets, "8bit");
    }
    let mut encoded = Vec::new();
    QuotedPrintableEncoder::new().preserve_line_breaks().encode_into(&octets, &mut encoded);
    part(encoded, "quoted-printable")
}

#[cfg(test)]
mod tests;
