//! The part for people: what happened to which message, who said so, and what can be done.

use waypost_mail::{Address, DateTime, EnhancedStatus, text::shortened};

use super::{Action, Diagnostic, Notification, Original, Reader, RecipientReport, cut, line, meaning};
use crate::{HeaderBlock, decode::header_text};

/// Most octets that are shown of a field of the message.
const FIELD_BYTES_MAX: usize = 200;

impl Notification {
    pub(super) fn words(&self) -> String {
        let mut text = self.summary().to_owned() + "\n";
        text += &self.message();
        for recipient in &self.recipients {
            text += &recipient.words();
        }
        text += &format!("\nThis report was written by the mail server {}.\n", self.reporting_mta);
        if self.worst() == Action::Failed {
            text += "If you ask somebody for help, send it along.\n";
        }
        text
    }

    fn summary(&self) -> &'static str {
        match (self.reader, self.worst()) {
            (Reader::Postmaster, _) => {
                "A notification of this server could not be delivered. It has no sender who could be told,\n\
                 so it comes to you, once. What it was about stands at the end of this mail."
            }
            (Reader::Sender, Action::Failed) if self.recipients.len() == 1 => {
                "Your mail could not be delivered."
            }
            (Reader::Sender, Action::Failed) => "Your mail could not be delivered to each of its recipients.",
            (Reader::Sender, Action::Delayed) => {
                "Your mail could not be delivered yet. It is being tried: you need not send it again."
            }
            (Reader::Sender, Action::Relayed | Action::Expanded | Action::Delivered) => {
                "You asked to be told what becomes of your mail. All went well; you need do nothing."
            }
        }
    }

    /// Which message it is: as its sender knows it.
    fn message(&self) -> String {
        let (Original::Header(octets) | Original::Message(octets)) = &self.original;
        let header = HeaderBlock::new(header_of(octets).to_vec());
        let shown = |name: &str| {
            let text = line(&header_text(&header.first(name)?));
            (!text.is_empty()).then(|| shortened(&text, FIELD_BYTES_MAX).into_owned())
        };
        let date = shown("Date").unwrap_or_else(|| self.arrival.rfc5322());
        let fields =
            [("Subject", shown("Subject")), ("Date", Some(date)), ("Message-ID", shown("Message-ID"))];
        let mut text = String::from("\n");
        for (name, value) in fields {
            if let Some(value) = value {
                text += &format!("    {name}: {value}\n");
            }
        }
        text
    }
}

impl RecipientReport {
    fn words(&self) -> String {
        let mut text = format!("\nTo {}:\n", for_people(&self.address));
        if let Some(original) = &self.original {
            text += &format!("    (which {} leads to)\n", for_people(original));
        }
        text += &self.happened();
        text += &self.said();
        text
    }

    /// What it means, what comes next, and what can be done.
    fn happened(&self) -> String {
        let meaning = meaning::of(self.status);
        match (self.action, &self.will_retry_until) {
            (Action::Failed, _) => {
                format!("    {} It will not be tried again.\n    {}\n", meaning.what, meaning.advice)
            }
            (Action::Delayed, Some(until)) => format!(
                "    {}\n    It will be tried again until {}.\n    You will be told if it cannot be delivered by then.\n",
                meaning.what,
                until.rfc5322()
            ),
            (Action::Delayed, None) => format!("    {}\n    It will be tried again.\n", meaning.what),
            (Action::Delivered, _) => "    The mail is in the recipient's mailbox.\n".to_owned(),
            (Action::Relayed, _) => {
                "    The next mail server took it. That server does not tell what becomes of it.\n".to_owned()
            }
            (Action::Expanded, _) => "    The mail goes on to several addresses.\n".to_owned(),
        }
    }

    /// Who said what, and when.
    fn said(&self) -> String {
        let Some(diagnostic) = &self.diagnostic else {
            return if self.status.0 == 2 {
                String::new()
            } else {
                format!("    The status is {}.\n", self.status)
            };
        };
        let who = match (diagnostic, self.server()) {
            (Diagnostic::Smtp(_), Some(server)) => format!("The server {server} answered"),
            (Diagnostic::Smtp(_), None) => "The next server answered".to_owned(),
            (Diagnostic::Local(_), Some(server)) if self.is_unreached() => {
                format!("The server {server} could not be reached")
            }
            (Diagnostic::Local(_), Some(server)) => format!("Of the server {server} we noted"),
            (Diagnostic::Local(_), None) => "Our server noted".to_owned(),
        };
        let at = self.last_attempt.as_ref().map(DateTime::rfc5322);
        let at = at.map_or_else(String::new, |at| format!(" on {at}"));
        let (Diagnostic::Smtp(said) | Diagnostic::Local(said)) = diagnostic;
        let mut text = format!("    {who}{at}:\n");
        for said in cut_lines(said) {
            text += &format!("        {said}\n");
        }
        text
    }

    /// Whether the server did not answer at all (RFC 3463 section 3.5: X.4.1).
    fn is_unreached(&self) -> bool {
        matches!(self.status, EnhancedStatus(_, 4, 1))
    }

    /// Its name and address.
    fn server(&self) -> Option<String> {
        let host = cut(self.remote_mta.as_ref()?);
        Some(match &self.remote_address {
            Some(address) => format!("{host} [{}]", cut(address)),
            None => host,
        })
    }
}

/// What stands before the empty line.
fn header_of(octets: &[u8]) -> &[u8] {
    octets.windows(4).position(|window| window == b"\r\n\r\n").map_or(octets, |at| &octets[..at + 2])
}

/// An address with its domain in Unicode.
fn for_people(address: &Address) -> String {
    line(&format!("{}@{}", address.local, address.domain.to_unicode()))
}

/// The lines of a text within its bound.
fn cut_lines(text: &str) -> Vec<String> {
    let end = text.floor_char_boundary(super::DIAGNOSTIC_BYTES_MAX);
    text[..end].split('\n').map(line).collect()
}
