//! A new mail, as `waypost send` writes it.

use mail_builder::{
    MessageBuilder,
    headers::{content_type::ContentType, raw::Raw},
    mime::MimePart,
};
use waypost_mail::{Address, DateTime};

use super::{crlf, line};

/// A mail that is to be written.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Who writes.
    pub from: Address,
    /// Whom it is for.
    pub to: Vec<Address>,
    /// Subject.
    pub subject: String,
    /// Text, with any line ends.
    pub text: String,
    /// Names and octets of attached files.
    pub attachments: Vec<(String, Vec<u8>)>,
    /// Date.
    pub date: DateTime,
    /// Message-id without angle brackets; unique.
    pub message_id: String,
    /// Boundary: random, of letters and digits, at most 70.
    pub boundary: String,
}

impl Draft {
    /// The whole message.
    pub fn build(&self) -> Vec<u8> {
        let to: Vec<String> = self.to.iter().map(|address| format!("<{address}>")).collect();
        let builder = MessageBuilder::new()
            .header("From", Raw::new(format!("<{}>", self.from)))
            .header("To", Raw::new(to.join(", ")))
            .subject(line(&self.subject))
            .header("Date", Raw::new(self.date.rfc5322()))
            .message_id(line(&self.message_id));
        let text = MimePart::new("text/plain", crlf(&self.text));
        let body = if self.attachments.is_empty() { text } else { self.mixed(text) };
        let mut octets = Vec::new();
        builder.body(body).serialize(&mut octets);
        octets
    }

    fn mixed<'x>(&'x self, text: MimePart<'x>) -> MimePart<'x> {
        let mut parts = vec![text];
        for (name, octets) in &self.attachments {
            parts.push(MimePart::new("application/octet-stream", octets.as_slice()).attachment(line(name)));
        }
        MimePart::new(ContentType::new("multipart/mixed").attribute("boundary", line(&self.boundary)), parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Splitter, decode};

    fn draft() -> Draft {
        Draft {
            from: Address::parse("anna@a.test").unwrap(),
            to: vec![Address::parse("bert@b.test").unwrap(), Address::parse("\"c d\"@b.test").unwrap()],
            subject: "Gr\u{fc}\u{df}e\r\nBcc: x@y".into(),
            text: "Hello,\nthis is \u{fc}.\r\n".into(),
            attachments: Vec::new(),
            date: DateTime { seconds: 0, offset_minutes: 60 },
            message_id: "1@a.test".into(),
            boundary: "b1".into(),
        }
    }

    #[test]
    fn a_draft_is_one_text() {
        let octets = draft().build();
        let structure = Splitter::split(&octets);
        assert_eq!(decode::header_text(&structure.envelope.subject.unwrap()), "Gr\u{fc}\u{df}e  Bcc: x@y");
        assert_eq!((structure.envelope.from.len(), structure.envelope.to.len()), (1, 2));
        assert_eq!(structure.envelope.bcc, []);
        assert_eq!(structure.envelope.date.unwrap(), b"Thu, 01 Jan 1970 01:00:00 +0100");
        assert_eq!(structure.envelope.message_id.unwrap(), b"<1@a.test>");
        let root = structure.root;
        let mut decoder =
            decode::BodyDecoder::new(root.encoding.as_deref(), root.content_type.parameter("charset"));
        let text = decoder.feed(&octets[root.body.start as usize..]);
        assert_eq!(text.trim_end(), "Hello,\r\nthis is \u{fc}.");
        assert_eq!(draft().build(), octets);
    }

    #[test]
    fn attachments_are_parts() {
        let attachments = vec![("a\r\n.txt".into(), b"\x00\xff\n".to_vec()), ("b".into(), Vec::new())];
        let structure = Splitter::split(&Draft { attachments, ..draft() }.build());
        assert!(structure.root.content_type.is("multipart", "mixed"));
        let children = structure.root.children;
        assert_eq!(children.len(), 3);
        assert_eq!(children[1].disposition.as_ref().unwrap().parameters[0].1, b"a  .txt");
        assert_eq!(children[1].encoding.as_deref(), Some(b"base64".as_slice()));
    }
}
