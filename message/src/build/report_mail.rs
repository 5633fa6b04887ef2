//! A mail with a report for programs of a domain: a few words, and the report as an attachment.

use mail_builder::{
    MessageBuilder,
    headers::{content_type::ContentType, raw::Raw},
    mime::MimePart,
};
use waypost_mail::{Address, DateTime};

use super::{crlf, line};

/// What the parts are in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Container {
    /// `multipart/mixed`
    Mixed,
    /// `multipart/report` of this type (RFC 6522).
    Report(&'static str),
}

/// A mail that carries a report.
#[derive(Clone, Debug)]
pub struct ReportMail {
    /// Who reports: the name, and the address.
    pub from: (String, Address),
    /// To whom.
    pub to: Address,
    /// Subject.
    pub subject: String,
    /// Further fields, of this kind of report.
    pub fields: Vec<(&'static str, String)>,
    /// Date.
    pub date: DateTime,
    /// Message-id without angle brackets; unique.
    pub message_id: String,
    /// Boundary: random, of letters and digits, at most 70.
    pub boundary: String,
    /// What the parts are in.
    pub container: Container,
    /// Words, with any line ends.
    pub text: String,
    /// Media type of the report.
    pub media_type: &'static str,
    /// Its file name.
    pub file_name: String,
    /// Its octets.
    pub report: Vec<u8>,
}

impl ReportMail {
    /// The whole message: of 7 bits, with `Auto-Submitted: auto-generated` (RFC 3834 section 5).
    pub fn build(&self) -> Vec<u8> {
        let container = match self.container {
            Container::Mixed => ContentType::new("multipart/mixed"),
            Container::Report(kind) => ContentType::new("multipart/report").attribute("report-type", kind),
        };
        let parts = vec![
            MimePart::new("text/plain", crlf(&self.text)),
            MimePart::new(self.media_type, self.report.as_slice()).attachment(line(&self.file_name)),
        ];
        let (name, address) = &self.from;
        let name: String = line(name).chars().filter(|c| !"\"\\".contains(*c)).collect();
        let mut builder = MessageBuilder::new()
            .header(
                "From",
                mail_builder::headers::address::Address::new_address(Some(name), address.to_string()),
            )
            .header("To", Raw::new(format!("<{}>", self.to)))
            .subject(line(&self.subject))
            .header("Date", Raw::new(self.date.rfc5322()))
            .message_id(line(&self.message_id))
            .header("Auto-Submitted", Raw::new("auto-generated"));
        for (field, value) in &self.fields {
            builder = builder.header(*field, Raw::new(line(value)));
        }
        let mut octets = Vec::new();
        builder
            .body(MimePart::new(container.attribute("boundary", line(&self.boundary)), parts))
            .serialize(&mut octets);
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Splitter, build::is_seven_bit, decode};

    #[test]
    fn a_report_is_an_attachment_with_its_name() {
        for (container, kind) in [(Container::Mixed, "mixed"), (Container::Report("tlsrpt"), "report")] {
            let mail = ReportMail {
                from: ("B\u{fc}ro \"b\"\r\nX: y".into(), Address::parse("postmaster@b.test").unwrap()),
                to: Address::parse("d@a.test").unwrap(),
                subject: "Report Domain: a.test Submitter: b.test Report-ID: <20261125@b.test>\r\nBcc: x@y"
                    .into(),
                fields: vec![("TLS-Report-Domain", "a.test\r\nBcc: x@y".into())],
                date: DateTime { seconds: 0, offset_minutes: 0 },
                message_id: "1@b.test".into(),
                boundary: "b1".into(),
                container,
                text: "one\ntwo\n".into(),
                media_type: "application/gzip",
                file_name: "b.test!a.test!0!86399.xml.gz".into(),
                report: vec![0x1f, 0x8b, 0, 255],
            };
            let octets = mail.build();
            assert!(is_seven_bit(&octets));
            let structure = Splitter::split(&octets);
            assert!(structure.root.content_type.is("multipart", kind));
            assert_eq!((structure.envelope.from.len(), structure.envelope.bcc.len()), (1, 0));
            let subject = decode::header_text(&structure.envelope.subject.unwrap());
            assert_eq!(
                subject,
                "Report Domain: a.test Submitter: b.test Report-ID: <20261125@b.test>  Bcc: x@y"
            );
            let [text, report] = &structure.root.children[..] else { panic!("not two parts") };
            assert!(text.content_type.is("text", "plain") && report.content_type.is("application", "gzip"));
            assert_eq!(report.disposition.as_ref().unwrap().parameters[0].1, b"b.test!a.test!0!86399.xml.gz");
            let header = String::from_utf8(octets).unwrap();
            assert!(header.contains("\r\nAuto-Submitted: auto-generated\r\n"), "{header}");
            assert!(header.contains("\r\nTLS-Report-Domain: a.test  Bcc: x@y\r\n"), "{header}");
        }
    }
}
