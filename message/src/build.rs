//! Building messages: notifications (RFC 3464), reports to domains, and the small user agent's mail.
//!
//! Date, message-id and boundary are inputs, so that the same input gives the same octets.

mod draft;
mod notification;
mod report_mail;

pub use draft::Draft;
pub use notification::{
    Action, Diagnostic, Form, Notification, Original, Reader, RecipientReport, is_seven_bit,
};
pub use report_mail::{Container, ReportMail};

/// A value for one line: control characters, which could begin another one, become spaces.
pub(crate) fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Text with CRLF as line ends.
fn crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace(['\r', '\n'], "\r\n")
}
