//! The part for programs: message/delivery-status (RFC 3464 section 2), message/global-delivery-status (RFC 6533 section 4.1).

use mail_builder::mime::MimePart;
use waypost_mail::{
    Address,
    notify::{Characters, encode_unitext},
};

use super::{Action, Diagnostic, Form, Notification, RecipientReport, cut, line, part_of_lines};

impl Notification {
    /// The part. What can be said in US-ASCII without loss has the type that every user agent knows (RFC 6533 section 4.4).
    pub(super) fn delivery_status(&self) -> MimePart<'static> {
        let status = self.fields().into_bytes();
        let kind =
            if status.is_ascii() { "message/delivery-status" } else { "message/global-delivery-status" };
        part_of_lines(kind, status, self.form)
    }

    /// `delivery-status-content` (RFC 3464 section 2.1), `utf-8-delivery-status-content` (RFC 6533 section 4.1)
    fn fields(&self) -> String {
        let mut fields = Fields { text: String::new(), form: self.form };
        if let Some(id) = &self.envelope_id {
            fields.push("Original-Envelope-Id", &id.decoded());
        }
        fields.push("Reporting-MTA", &format!("dns; {}", self.reporting_mta));
        fields.push("Arrival-Date", &self.arrival.rfc5322());
        for recipient in &self.recipients {
            fields.text += "\r\n";
            recipient.write(&mut fields);
        }
        fields.text
    }
}

impl RecipientReport {
    /// `per-recipient-fields` (RFC 3464 section 2.3)
    fn write(&self, fields: &mut Fields) {
        match (&self.orcpt, &self.original) {
            (Some(orcpt), _) => {
                let (kind, address) = orcpt.decoded();
                fields.address("Original-Recipient", kind, &address);
            }
            (None, Some(original)) => fields.recipient("Original-Recipient", original),
            (None, None) => {}
        }
        fields.recipient("Final-Recipient", &self.address);
        let delayed = self.action == Action::Delayed;
        fields.push("Action", self.action.name());
        fields.push("Status", &self.status.to_string());
        // beside a diagnostic it says that the diagnostic is the remote server's (RFC 3464 section 2.3.6)
        let is_ours = matches!(self.diagnostic, Some(Diagnostic::Local(_)));
        if let Some(host) = self.remote_mta.as_ref().filter(|_| !is_ours) {
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

/// Fields, each a line.
struct Fields {
    text: String,
    form: Form,
}

impl Fields {
    fn recipient(&mut self, name: &str, address: &Address) {
        let text = address.to_string();
        self.address(name, if text.is_ascii() { "rfc822" } else { "utf-8" }, &text);
    }

    /// `address-type ";" generic-address`: `utf-8-address` or, where the form is US-ASCII, `utf-8-addr-xtext` (RFC 6533 section 3).
    fn address(&mut self, name: &str, kind: &str, address: &str) {
        if address.is_ascii() || self.form != Form::Ascii {
            self.push(name, &format!("{kind}; {address}"));
        } else {
            self.push(name, &format!("{kind}; {}", encode_unitext(address, Characters::Ascii)));
        }
    }

    fn push(&mut self, name: &str, value: &str) {
        let keeps = |c: char| c.is_ascii() || self.form != Form::Ascii;
        let value: String = line(value).chars().map(|c| if keeps(c) { c } else { '?' }).collect();
        self.text += &format!("{name}: {}\r\n", value.trim());
    }
}
