//! MIME structure of a message, computed once while it arrives: what ENVELOPE, BODY, BODYSTRUCTURE and part fetches need
//! (RFC 9051 sections 6.4.5 and 7.5.2).

use crate::codec;

/// A run of octets; counts from the first octet of the header block.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Span {
    /// First octet.
    pub start: u64,
    /// The octet behind the last one.
    pub end: u64,
}

/// Structure of a message, or of a message inside a message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Structure {
    /// Its envelope fields.
    pub envelope: MessageEnvelope,
    /// Its body; `root.header` is the message's header block.
    pub root: Part,
    /// First message-id of References, without its angle brackets; only of the outermost message.
    pub references_root: Option<Vec<u8>>,
}

/// The envelope fields, unfolded but not decoded (RFC 2047 words stay as they are). `None`: the field is missing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MessageEnvelope {
    /// Date.
    pub date: Option<Vec<u8>>,
    /// Subject.
    pub subject: Option<Vec<u8>>,
    /// From.
    pub from: Vec<EnvelopeAddress>,
    /// Sender; empty where missing (IMAP shows From then).
    pub sender: Vec<EnvelopeAddress>,
    /// Reply-To; empty where missing (IMAP shows From then).
    pub reply_to: Vec<EnvelopeAddress>,
    /// To.
    pub to: Vec<EnvelopeAddress>,
    /// Cc.
    pub cc: Vec<EnvelopeAddress>,
    /// Bcc.
    pub bcc: Vec<EnvelopeAddress>,
    /// In-Reply-To.
    pub in_reply_to: Option<Vec<u8>>,
    /// Message-ID.
    pub message_id: Option<Vec<u8>>,
}

/// An address of an envelope field, or the mark of a group's begin or end (RFC 9051 section 7.5.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EnvelopeAddress {
    /// One mailbox.
    Mailbox {
        /// Display name, quotes removed, not decoded.
        name: Option<Vec<u8>>,
        /// Source route.
        route: Option<Vec<u8>>,
        /// Local part, quotes removed.
        local: Vec<u8>,
        /// Domain; empty where missing.
        domain: Vec<u8>,
    },
    /// A group begins.
    GroupStart(Vec<u8>),
    /// The group ends.
    GroupEnd,
}

/// Content-Type (RFC 2045 section 5).
///
/// The default, `text/plain; charset=us-ascii` (RFC 2045 section 5.2), stands where the field is missing or cannot be read;
/// in a multipart/digest a missing field means `message/rfc822` (RFC 2046 section 5.1.5). A field that can be read stays as
/// it is: no charset is added to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContentType {
    /// Type, as written.
    pub kind: Vec<u8>,
    /// Subtype, as written.
    pub subtype: Vec<u8>,
    /// Parameters in their order; values without quotes.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Content-Disposition (RFC 2183).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Disposition {
    /// `inline`, `attachment`, …
    pub kind: Vec<u8>,
    /// Parameters in their order; values without quotes.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

/// One body part.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Part {
    /// Its header, the empty line included (for the root: the message's header block).
    pub header: Span,
    /// Its body, without the CRLF that belongs to the boundary that ends it.
    pub body: Span,
    /// Lines in the body: line ends, plus one for a last line without one.
    pub lines: u64,
    /// What it is.
    pub content_type: ContentType,
    /// Content-ID.
    pub id: Option<Vec<u8>>,
    /// Content-Description.
    pub description: Option<Vec<u8>>,
    /// Content-Transfer-Encoding; `None`: 7BIT.
    pub encoding: Option<Vec<u8>>,
    /// Content-MD5.
    pub md5: Option<Vec<u8>>,
    /// Content-Disposition.
    pub disposition: Option<Disposition>,
    /// Content-Language.
    pub languages: Vec<Vec<u8>>,
    /// Content-Location.
    pub location: Option<Vec<u8>>,
    /// Parts of a multipart, in their order. A multipart in which no part was found (no boundary parameter, no boundary
    /// line, too deep) has one: empty, with default type, at the end of its body. So each multipart has at least one.
    pub children: Vec<Part>,
    /// The message inside a message/rfc822 or message/global; `None` for those, too, where it is in base 64 or
    /// quoted-printable (which RFC 2046 section 5.2.1 forbids) or too deep.
    pub message: Option<Box<Structure>>,
}

impl Default for ContentType {
    fn default() -> Self {
        let charset = (b"charset".to_vec(), b"us-ascii".to_vec());
        Self { kind: b"text".to_vec(), subtype: b"plain".to_vec(), parameters: vec![charset] }
    }
}

impl ContentType {
    /// Whether it is this type and subtype, in any case.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind.as_bytes())
            && self.subtype.eq_ignore_ascii_case(subtype.as_bytes())
    }

    /// The value of the first parameter of a name, in any case.
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        let found = self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| value.as_slice())
    }
}

impl Part {
    /// Whether it is a multipart.
    pub fn is_multipart(&self) -> bool {
        self.content_type.kind.eq_ignore_ascii_case(b"multipart")
    }

    /// The parameter charset of its type.
    pub fn charset(&self) -> Option<&[u8]> {
        let parameters = &self.content_type.parameters;
        let found = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"charset"));
        found.map(|(_, value)| value.as_slice())
    }
}

/// The octets are no structure of a version that is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a message structure")]
pub struct StructureError;

impl Structure {
    /// Compact octets for the store; they begin with a version.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads what [`Structure::encode`] wrote.
    pub fn decode(octets: &[u8]) -> Result<Self, StructureError> {
        codec::decode(octets)
    }

    /// Key of the conversation (first of References, else In-Reply-To, else Message-ID; 0 is never returned):
    /// a stable 64-bit hash (XXH3). `None` where the message names none.
    pub fn thread_key(&self) -> Option<u64> {
        let named = |field: &Option<Vec<u8>>| field.as_deref().and_then(first_message_id);
        let root = self.references_root.clone();
        let root = root
            .or_else(|| named(&self.envelope.in_reply_to))
            .or_else(|| named(&self.envelope.message_id))?;
        Some(xxhash_rust::xxh3::xxh3_64(&root).max(1))
    }
}

/// The first message-id of a field, without its angle brackets; without brackets, the first word.
pub(crate) fn first_message_id(value: &[u8]) -> Option<Vec<u8>> {
    let bracketed = value.iter().position(|&octet| octet == b'<').and_then(|start| {
        let inner = &value[start + 1..];
        inner.iter().position(|&octet| octet == b'>').map(|end| &inner[..end])
    });
    let id = bracketed.or_else(|| value.split(u8::is_ascii_whitespace).find(|word| !word.is_empty()))?;
    let id: Vec<u8> = id.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_id_is_found() {
        for (value, id) in [
            ("", None),
            ("  ", None),
            ("<>", None),
            ("<a@b>", Some("a@b")),
            ("junk <a@b> <c@d>", Some("a@b")),
            ("< a@b >", Some("a@b")),
            ("a@b c@d", Some("a@b")),
            ("<a@b", Some("<a@b")),
            (">x <a@b>", Some("a@b")),
        ] {
            assert_eq!(first_message_id(value.as_bytes()), id.map(Into::into), "{value}");
        }
    }

    #[test]
    fn a_conversation_has_one_key() {
        let key = |references: Option<&str>, in_reply_to: Option<&str>, message_id: Option<&str>| {
            let octets = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
            let envelope = MessageEnvelope {
                in_reply_to: octets(in_reply_to),
                message_id: octets(message_id),
                ..MessageEnvelope::default()
            };
            Structure { envelope, references_root: octets(references), ..Structure::default() }.thread_key()
        };
        let first = key(None, None, Some("<a@b>"));
        assert!(first.is_some());
        assert_eq!(key(None, Some("<a@b> (yours)"), Some("<c@d>")), first);
        assert_eq!(key(Some("a@b"), Some("<c@d>"), Some("<e@f>")), first);
        assert_ne!(key(None, None, Some("<c@d>")), first);
        assert_eq!(key(None, None, None), None);
        assert_eq!(key(None, Some("<>"), Some("<a@b>")), first);
        // On disk for ever: the hash must never change.
        assert_eq!(first, Some(xxhash_rust::xxh3::xxh3_64(b"a@b")));
    }
}
