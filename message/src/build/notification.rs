//! Delivery status notifications (RFC 3464, in a multipart/report of RFC 6522).

use std::fmt::Write as _;

use mail_builder::{
    MessageBuilder,
    encoders::quoted_printable::QuotedPrintableEncoder,
    headers::{content_type::ContentType, raw::Raw},
    mime::MimePart,
};
use waypost_mail::{Address, DateTime, Domain, EnhancedStatus, EnvelopeId, OriginalRecipient};

use super::{crlf, line};

/// Most octets of the original header block that are returned; it is cut behind a line.
const ORIGINAL_HEADER_BYTES_MAX: usize = 32 * 1024;
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
    /// `action-value`
    fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }
}

/// Why (RFC 3464 section 2.3.6).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Diagnostic {
    /// What an SMTP server replied: code, status and text.
    Smtp(String),
    /// What we found ourselves: no such domain, no connection, …
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
    /// Host name of the server that said so; `None` where none was involved.
    pub remote_mta: Option<String>,
    /// Why.
    pub diagnostic: Option<Diagnostic>,
    /// The last try.
    pub last_attempt: Option<DateTime>,
    /// When it will be given up; only shown where it is delayed.
    pub will_retry_until: Option<DateTime>,
}

/// A notification to the sender of a message.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Our host name.
    pub reporting_mta: Domain,
    /// The sender, who is told.
    pub to: Address,
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
    /// All of it, which is 7bit ([`is_seven_bit`]).
    Message(Vec<u8>),
}

/// Whether octets are lines of US-ASCII of a length that every server takes (RFC 2045 section 2.7).
pub fn is_seven_bit(octets: &[u8]) -> bool {
    let lines = octets.split(|&octet| octet == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).all(is_seven_bit_line)
}

fn is_seven_bit_line(line: &[u8]) -> bool {
    line.len() <= LINE_BYTES_MAX && line.iter().all(|octet| octet.is_ascii() && !b"\0\r".contains(octet))
}

impl Notification {
    /// The whole message.
    pub fn build(&self) -> Vec<u8> {
        let parts = vec![
            MimePart::new("text/plain", crlf(&self.words())),
            MimePart::new(ContentType::new("message/delivery-status"), self.delivery_status().into_bytes())
                .transfer_encoding("7bit"),
            self.original(),
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
            .header("Auto-Submitted", Raw::new("auto-replied"))
            .body(MimePart::new(report, parts))
            .serialize(&mut octets);
        octets
    }

    /// The worst that happened.
    fn worst(&self) -> Action {
        let any = |action: &Action| self.recipients.iter().any(|recipient| recipient.action == *action);
        let order = [Action::Failed, Action::Delayed, Action::Relayed, Action::Expanded];
        order.into_iter().find(any).unwrap_or(Action::Delivered)
    }

    fn subject(&self) -> &'static str {
        match self.worst() {
            Action::Failed => "Your mail could not be delivered",
            Action::Delayed => "Your mail is delayed",
            Action::Relayed => "Your mail was handed on",
            Action::Expanded => "Your mail was sent on to several addresses",
            Action::Delivered => "Your mail was delivered",
        }
    }

    /// The part for people.
    fn words(&self) -> String {
        let mut text = format!("This is the mail system at {}.\n\n", self.reporting_mta);
        text += match self.worst() {
            Action::Failed => "Your mail could not be delivered to the recipients named below.\n",
            Action::Delayed => "Your mail could not be delivered yet. You need not send it again.\n",
            Action::Relayed | Action::Expanded | Action::Delivered => {
                "You asked to be told what becomes of your mail. All went well so far.\n"
            }
        };
        for recipient in &self.recipients {
            text += "\n";
            text += &recipient.words();
        }
        text += "\n";
        text += match self.worst() {
            Action::Failed => {
                "Check the address, or reach the recipient in another way.\n\
                 If you ask your postmaster for help, send this report along.\n"
            }
            Action::Delayed => {
                "You need do nothing. You will be told if the mail cannot be delivered in the end.\n"
            }
            Action::Relayed | Action::Expanded | Action::Delivered => "You need do nothing.\n",
        };
        text
    }

    /// `delivery-status-content` (RFC 3464 section 2.1)
    fn delivery_status(&self) -> String {
        let mut fields = Fields::default();
        if let Some(id) = &self.envelope_id {
            fields.push("Original-Envelope-Id", &id.decoded());
        }
        fields.push("Reporting-MTA", &format!("dns; {}", self.reporting_mta));
        fields.push("Arrival-Date", &self.arrival.rfc5322());
        for recipient in &self.recipients {
            fields.0 += "\r\n";
            recipient.write(&mut fields);
        }
        fields.0
    }

    /// The message, or its header block (RFC 6522 section 4): as it is, or in quoted-printable where it is not 7bit.
    fn original(&self) -> MimePart<'_> {
        let header = match &self.original {
            Original::Header(header) => header,
            Original::Message(message) => {
                let part = MimePart::new(ContentType::new("message/rfc822"), message.clone());
                return part.transfer_encoding("7bit");
            }
        };
        let kept = match header.get(..ORIGINAL_HEADER_BYTES_MAX) {
            Some(start) if header.len() > start.len() => {
                &start[..start.iter().rposition(|&octet| octet == b'\n').map_or(0, |lf| lf + 1)]
            }
            _ => header,
        };
        let lines = kept.trim_ascii_end().split(|&octet| octet == b'\n');
        let lines: Vec<&[u8]> = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
        let part = |octets: Vec<u8>, encoding| {
            MimePart::new(ContentType::new("text/rfc822-headers"), octets).transfer_encoding(encoding)
        };
        let mut octets = lines.join(b"\r\n".as_slice());
        octets.extend_from_slice(b"\r\n");
        if lines.iter().all(|line| is_seven_bit_line(line)) {
            return part(octets, "7bit");
        }
        let mut encoded = Vec::new();
        QuotedPrintableEncoder::new().preserve_line_breaks().encode_into(&octets, &mut encoded);
        part(encoded, "quoted-printable")
    }
}

impl RecipientReport {
    fn words(&self) -> String {
        let mut text = format!("<{}>\n", self.address);
        let said = match (&self.diagnostic, &self.remote_mta) {
            (Some(Diagnostic::Smtp(said)), Some(host)) => {
                format!("The server {} said: {}", line(host), cut(said))
            }
            (Some(Diagnostic::Smtp(said)), None) => format!("The server said: {}", cut(said)),
            (Some(Diagnostic::Local(why)), _) => cut(why),
            (None, _) => format!("The status is {}.", self.status),
        };
        text += &format!("    {said}\n");
        match (self.action, &self.will_retry_until) {
            (Action::Failed, _) => text += "    The mail was given up for this recipient.\n",
            (Action::Delayed, Some(until)) => {
                text += &format!("    It will be tried again until {}.\n", until.rfc5322());
            }
            (Action::Delayed, None) => text += "    It will be tried again.\n",
            (Action::Delivered, _) => text += "    The mail is in the recipient's mailbox.\n",
            (Action::Relayed, _) => {
                text += "    The mail was taken by a server that does not tell what becomes of it.\n";
            }
            (Action::Expanded, _) => text += "    The mail goes on to several addresses.\n",
        }
        text
    }

    /// `per-recipient-fields` (RFC 3464 section 2.3)
    fn write(&self, fields: &mut Fields) {
        match (&self.orcpt, &self.original) {
            (Some(orcpt), _) => {
                let (kind, address) = orcpt.decoded();
                fields.push("Original-Recipient", &format!("{kind}; {}", in_seven_bit(&address)));
            }
            (None, Some(original)) => fields.push("Original-Recipient", &typed(original)),
            (None, None) => {}
        }
        fields.push("Final-Recipient", &typed(&self.address));
        let delayed = self.action == Action::Delayed;
        fields.push("Action", self.action.name());
        fields.push("Status", &self.status.to_string());
        if let Some(host) = &self.remote_mta {
            fields.push("Remote-MTA", &format!("dns; {}", cut(host)));
        }
        match &self.diagnostic {
            Some(Diagnostic::Smtp(said)) => fields.push("Diagnostic-Code", &format!("smtp; {}", cut(said))),
            Some(Diagnostic::Local(why)) => {
                fields.push("Diagnostic-Code", &format!("x-waypost; {}", cut(why)));
            }
            None => {}
        }
        if let Some(last) = &self.last_attempt {
            fields.push("Last-Attempt-Date", &last.rfc5322());
        }
        if let Some(until) = self.will_retry_until.as_ref().filter(|_| delayed) {
            fields.push("Will-Retry-Until", &until.rfc5322());
        }
    }
}

/// `address-type ";" generic-address`; beyond US-ASCII in the 7bit form of RFC 6533 section 3 (`utf-8-addr-xtext`).
fn typed(address: &Address) -> String {
    let text = address.to_string();
    if text.is_ascii() { format!("rfc822; {text}") } else { format!("utf-8; {}", in_seven_bit(&text)) }
}

fn in_seven_bit(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut encoded = String::new();
    for c in text.chars() {
        match c {
            '!'..='~' if !"\\+=".contains(c) => encoded.push(c),
            // Writing to a string does not fail.
            _ => _ = write!(encoded, "\\x{{{:02X}}}", u32::from(c)),
        }
    }
    encoded
}

/// A text of one line within its bound.
fn cut(text: &str) -> String {
    let mut text = line(text);
    text.truncate(text.floor_char_boundary(DIAGNOSTIC_BYTES_MAX));
    text
}

/// Fields of message/delivery-status, which is 7bit (RFC 3464 section 2.1).
#[derive(Default)]
struct Fields(String);

impl Fields {
    fn push(&mut self, name: &str, value: &str) {
        let value: String = line(value).chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
        self.0 += &format!("{name}: {}\r\n", value.trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HeaderBlock, Splitter};

    fn report() -> RecipientReport {
        RecipientReport {
            original: None,
            orcpt: None,
            address: Address::parse("nobody@b.test").unwrap(),
            action: Action::Failed,
            status: EnhancedStatus(5, 1, 1),
            remote_mta: Some("mx.b.test".into()),
            diagnostic: Some(Diagnostic::Smtp("550 5.1.1 no such user".into())),
            last_attempt: Some(DateTime { seconds: 60, offset_minutes: 0 }),
            will_retry_until: Some(DateTime { seconds: 90, offset_minutes: 0 }),
        }
    }

    fn notification(recipients: Vec<RecipientReport>) -> Notification {
        Notification {
            reporting_mta: Domain::new("mx.a.test").unwrap(),
            to: Address::parse("anna@a.test").unwrap(),
            date: DateTime { seconds: 120, offset_minutes: 0 },
            message_id: "1@mx.a.test".into(),
            boundary: "b1".into(),
            arrival: DateTime { seconds: 0, offset_minutes: 0 },
            recipients,
            envelope_id: None,
            original: Original::Header(b"From: anna@a.test\r\nSubject: s\r\n\r\n".to_vec()),
        }
    }

    /// The parts' bodies.
    fn parts(octets: &[u8]) -> Vec<String> {
        let structure = Splitter::split(octets);
        let text =
            |span: crate::Span| String::from_utf8(octets[span.start as usize..span.end as usize].to_vec());
        structure.root.children.iter().map(|part| text(part.body).unwrap()).collect()
    }

    #[test]
    fn a_failure_is_reported() {
        let delayed = RecipientReport {
            original: Some(Address::parse("j\u{f6}+rg@b.test").unwrap()),
            address: Address::parse("\"a b\"@b.test").unwrap(),
            action: Action::Delayed,
            status: EnhancedStatus(4, 4, 1),
            remote_mta: None,
            diagnostic: Some(Diagnostic::Local("no connection \u{2013} twice".into())),
            last_attempt: None,
            ..report()
        };
        let octets = notification(vec![report(), delayed]).build();
        insta::assert_snapshot!(String::from_utf8(octets).unwrap().replace("\r\n", "\n"));
    }

    #[test]
    fn a_delay_is_reported() {
        let octets = notification(vec![RecipientReport { action: Action::Delayed, ..report() }]).build();
        let structure = Splitter::split(&octets);
        assert_eq!(structure.envelope.subject.unwrap(), b"Your mail is delayed");
        assert!(parts(&octets)[1].contains("Will-Retry-Until: Thu, 01 Jan 1970 00:01:30 +0000\r\n"));
    }

    #[test]
    fn inputs_begin_no_fields() {
        let evil = "x\r\nEvil: y\n\r\nEvil: z";
        let mut recipient = report();
        recipient.remote_mta = Some(evil.into());
        recipient.diagnostic = Some(Diagnostic::Smtp(evil.into()));
        let mut notification = notification(vec![recipient]);
        notification.message_id = evil.into();
        let octets = notification.build();
        assert_eq!(HeaderBlock::new(octets.clone()).count("Evil"), 0);
        let parts = parts(&octets);
        assert_eq!(parts.len(), 3);
        assert_eq!(HeaderBlock::new(parts[1].split_once("\r\n\r\n").unwrap().1.into()).count("Evil"), 0);
        assert!(octets.split(|&octet| octet == b'\n').all(|line| !line.starts_with(b"Evil")));
    }

    #[test]
    fn lines_are_bounded_and_end_with_crlf() {
        let mut recipient = report();
        recipient.diagnostic = Some(Diagnostic::Smtp("\u{20ac}".repeat(2000)));
        let mut notification = notification(vec![recipient]);
        let long = format!("Subject: {}\nX: \u{fc}\n\n", "x".repeat(2000));
        notification.original = Original::Header(long.into_bytes());
        let octets = notification.build();
        assert!(octets.is_ascii());
        for line in octets.split_inclusive(|&octet| octet == b'\n') {
            assert!(line.ends_with(b"\r\n") && line.len() <= LINE_BYTES_MAX + 2, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn the_original_header_is_bounded() {
        let returned = |lines: usize| {
            let mut notification = notification(vec![report()]);
            notification.original = Original::Header("X: 0123456789ab\n".repeat(lines).into_bytes());
            parts(&notification.build())[2].lines().count()
        };
        let most = ORIGINAL_HEADER_BYTES_MAX / 16;
        assert_eq!(returned(most), most);
        assert_eq!(returned(most + 1), most);
    }
}
