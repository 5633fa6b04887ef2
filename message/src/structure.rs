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

/// Structure of a message, or of a message inside a message. `O` are the octets of its fields: its own, or `&[u8]` of an encoded structure
/// that it was read from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Structure<O = Vec<u8>> {
    /// Its envelope fields.
    pub envelope: MessageEnvelope<O>,
    /// Its body; `root.header` is the message's header block.
    pub root: Part<O>,
    /// First message-id of References, without its angle brackets; only of the outermost message.
    pub references_root: Option<O>,
    /// What PREVIEW shows of it (RFC 8970), in UTF-8; only of the outermost message. `None`: not at hand, it is to be made of the octets.
    pub preview: Option<O>,
}

/// The envelope fields, unfolded but not decoded (RFC 2047 words stay as they are). `None`: the field is missing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MessageEnvelope<O = Vec<u8>> {
    /// Date.
    pub date: Option<O>,
    /// Subject.
    pub subject: Option<O>,
    /// From.
    pub from: Vec<EnvelopeAddress<O>>,
    /// Sender; empty where missing (IMAP shows From then).
    pub sender: Vec<EnvelopeAddress<O>>,
    /// Reply-To; empty where missing (IMAP shows From then).
    pub reply_to: Vec<EnvelopeAddress<O>>,
    /// To.
    pub to: Vec<EnvelopeAddress<O>>,
    /// Cc.
    pub cc: Vec<EnvelopeAddress<O>>,
    /// Bcc.
    pub bcc: Vec<EnvelopeAddress<O>>,
    /// In-Reply-To.
    pub in_reply_to: Option<O>,
    /// Message-ID.
    pub message_id: Option<O>,
}

/// An address of an envelope field, or the mark of a group's begin or end (RFC 9051 section 7.5.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EnvelopeAddress<O = Vec<u8>> {
    /// One mailbox.
    Mailbox {
        /// Display name, quotes removed, not decoded.
        name: Option<O>,
        /// Source route.
        route: Option<O>,
        /// Local part, quotes removed.
        local: O,
        /// Domain; empty where missing.
        domain: O,
    },
    /// A group begins.
    GroupStart(O),
    /// The group ends.
    GroupEnd,
}

/// Content-Type (RFC 2045 section 5).
///
/// The default, `text/plain; charset=us-ascii` (RFC 2045 section 5.2), stands where the field is missing or cannot be read;
/// in a multipart/digest a missing field means `message/rfc822` (RFC 2046 section 5.1.5). A field that can be read stays as
/// it is: no charset is added to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContentType<O = Vec<u8>> {
    /// Type, as written.
    pub kind: O,
    /// Subtype, as written.
    pub subtype: O,
    /// Parameters in their order; values without quotes.
    pub parameters: Vec<(O, O)>,
}

/// Content-Disposition (RFC 2183).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Disposition<O = Vec<u8>> {
    /// `inline`, `attachment`, …
    pub kind: O,
    /// Parameters in their order; values without quotes.
    pub parameters: Vec<(O, O)>,
}

/// One body part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part<O = Vec<u8>> {
    /// Its header, the empty line included (for the root: the message's header block).
    pub header: Span,
    /// Its body, without the CRLF that belongs to the boundary that ends it.
    pub body: Span,
    /// Lines in the body: line ends, plus one for a last line without one.
    pub lines: u64,
    /// What it is.
    pub content_type: ContentType<O>,
    /// Content-ID.
    pub id: Option<O>,
    /// Content-Description.
    pub description: Option<O>,
    /// Content-Transfer-Encoding; `None`: 7BIT.
    pub encoding: Option<O>,
    /// Content-MD5.
    pub md5: Option<O>,
    /// Content-Disposition.
    pub disposition: Option<Disposition<O>>,
    /// Content-Language.
    pub languages: Vec<O>,
    /// Content-Location.
    pub location: Option<O>,
    /// Parts of a multipart, in their order. A multipart in which no part was found (no boundary parameter, no boundary
    /// line, too deep) has one: empty, with default type, at the end of its body. So each multipart has at least one.
    pub children: Vec<Part<O>>,
    /// The message inside a message/rfc822 or message/global; `None` for those, too, where it is in base 64 or
    /// quoted-printable (which RFC 2046 section 5.2.1 forbids) or too deep.
    pub message: Option<Box<Structure<O>>>,
}

impl<O: From<&'static [u8]>> Default for Structure<O> {
    fn default() -> Self {
        Self {
            envelope: MessageEnvelope::default(),
            root: Part::default(),
            references_root: None,
            preview: None,
        }
    }
}

impl<O> Default for MessageEnvelope<O> {
    fn default() -> Self {
        Self {
            date: None,
            subject: None,
            from: Vec::new(),
            sender: Vec::new(),
            reply_to: Vec::new(),
            to: Vec::new(),
            cc: Vec::new(),
            bcc: Vec::new(),
            in_reply_to: None,
            message_id: None,
        }
    }
}

impl<O: From<&'static [u8]>> Default for ContentType<O> {
    fn default() -> Self {
        let octets = |text: &'static str| O::from(text.as_bytes());
        let parameters = vec![(octets("charset"), octets("us-ascii"))];
        Self { kind: octets("text"), subtype: octets("plain"), parameters }
    }
}

impl<O: From<&'static [u8]>> Default for Part<O> {
    fn default() -> Self {
        Self::of(ContentType::default())
    }
}

impl<O> Part<O> {
    /// An empty part of a type.
    pub(crate) fn of(content_type: ContentType<O>) -> Self {
        Self {
            header: Span::default(),
            body: Span::default(),
            lines: 0,
            content_type,
            id: None,
            description: None,
            encoding: None,
            md5: None,
            disposition: None,
            languages: Vec::new(),
            location: None,
            children: Vec::new(),
            message: None,
        }
    }
}

impl<O: AsRef<[u8]>> ContentType<O> {
    /// Whether it is this type and subtype, in any case.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.as_ref().eq_ignore_ascii_case(kind.as_bytes())
            && self.subtype.as_ref().eq_ignore_ascii_case(subtype.as_bytes())
    }

    /// The value of the first parameter of a name, in any case.
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        let found =
            self.parameters.iter().find(|(known, _)| known.as_ref().eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| value.as_ref())
    }
}

impl<O: AsRef<[u8]>> Part<O> {
    /// Whether it is a multipart.
    pub fn is_multipart(&self) -> bool {
        self.content_type.kind.as_ref().eq_ignore_ascii_case(b"multipart")
    }

    /// The parameter charset of its type.
    pub fn charset(&self) -> Option<&[u8]> {
        self.content_type.parameter("charset")
    }
}

/// The octets are no structure of a version that is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a message structure")]
pub struct StructureError;

impl<'a, O: From<&'a [u8]>> Structure<O> {
    /// Reads what [`Structure::encode`] wrote; fields that are `&[u8]` are not copied. Errors: the octets are none of a version that is known.
    pub fn decode(octets: &'a [u8]) -> Result<Self, StructureError> {
        codec::decode(octets)
    }
}

impl<'a, O: From<&'a [u8]>> MessageEnvelope<O> {
    /// Reads the envelope of what [`Structure::encode`] wrote, and nothing else of it. Errors: as [`Structure::decode`].
    pub fn decode(octets: &'a [u8]) -> Result<Self, StructureError> {
        codec::decode_envelope(octets)
    }
}

impl Structure {
    /// Compact octets for the store; they begin with a version.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Whether octets begin as an encoded structure of a version that is known.
    pub fn is_known(octets: &[u8]) -> bool {
        octets.first().is_some_and(|version| codec::VERSIONS.contains(version))
    }

    /// Takes the preview off an encoded structure: what is left as one without, and the preview. `None`: there is none.
    pub fn without_preview(octets: &[u8]) -> Option<(Vec<u8>, &[u8])> {
        codec::without_preview(octets)
    }

    /// The preview of an encoded structure; nothing else of it is read.
    pub fn encoded_preview(octets: &[u8]) -> Option<&[u8]> {
        codec::preview(octets)
    }

    /// An encoded structure that has no preview, with one.
    pub fn with_preview(octets: &[u8], preview: &[u8]) -> Vec<u8> {
        codec::with_preview(octets, preview)
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
    let mut id = id.to_vec();
    id.retain(|octet| !octet.is_ascii_whitespace());
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
