//! ENVELOPE, BODY and BODYSTRUCTURE as text (RFC 3501 section 7.4.2, RFC 9051 section 7.5.2).
//!
//! What the grammar wants and a message may lack: a multipart without parts shows one empty text part, a message/rfc822 that
//! could not be taken apart shows an empty envelope and body, an address without domain an empty string (NIL would make it a
//! group). message/global is shown as a message to clients of IMAP4rev2 only: others know it as a basic type.

use waypost_message::Disposition;

use crate::wire::encode;

/// A structure as it is kept: its fields are octets of the store.
pub(crate) type Structure<'a> = waypost_message::Structure<&'a [u8]>;
/// A part of it.
pub(crate) type Part<'a> = waypost_message::Part<&'a [u8]>;
/// Its envelope.
pub(crate) type MessageEnvelope<'a> = waypost_message::MessageEnvelope<&'a [u8]>;
/// An address of that.
type EnvelopeAddress<'a> = waypost_message::EnvelopeAddress<&'a [u8]>;

/// Whether extension data is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// BODY
    Basic,
    /// BODYSTRUCTURE
    Extended,
}

/// What message/global is shown as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Global {
    /// `body-type-basic`: as RFC 3501 has it.
    Leaf,
    /// `body-type-msg`, as message/rfc822 (RFC 9051 section 9, media-message).
    Message,
}

type Parameters<'a> = [(&'a [u8], &'a [u8])];

/// `envelope = "(" env-date SP env-subject SP env-from SP … SP env-message-id ")"`
pub(crate) fn envelope(out: &mut Vec<u8>, envelope: &MessageEnvelope<'_>) {
    out.push(b'(');
    encode::nstring(out, envelope.date);
    out.push(b' ');
    encode::nstring(out, envelope.subject);
    for list in [&envelope.from, &envelope.sender, &envelope.reply_to] {
        out.push(b' ');
        addresses(out, if list.is_empty() { &envelope.from } else { list });
    }
    for list in [&envelope.to, &envelope.cc, &envelope.bcc] {
        out.push(b' ');
        addresses(out, list);
    }
    out.push(b' ');
    encode::nstring(out, envelope.in_reply_to);
    out.push(b' ');
    encode::nstring(out, envelope.message_id);
    out.push(b')');
}

/// `"(" 1*address ")" / nil`
fn addresses(out: &mut Vec<u8>, list: &[EnvelopeAddress<'_>]) {
    if list.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    out.push(b'(');
    for one in list {
        let (name, route, local, domain) = match *one {
            EnvelopeAddress::Mailbox { name, route, local, domain } => {
                (name, route, Some(local), Some(domain))
            }
            EnvelopeAddress::GroupStart(name) => (None, None, Some(name), None),
            EnvelopeAddress::GroupEnd => (None, None, None, None),
        };
        out.push(b'(');
        encode::nstring(out, name);
        for field in [route, local, domain] {
            out.push(b' ');
            encode::nstring(out, field);
        }
        out.push(b')');
    }
    out.push(b')');
}

/// `body = "(" (body-type-1part / body-type-mpart) ")"`
pub(crate) fn body(out: &mut Vec<u8>, part: &Part<'_>, form: Form, global: Global) {
    out.push(b'(');
    if part.is_multipart() {
        multipart(out, part, form, global);
    } else {
        single(out, part, form, global);
    }
    out.push(b')');
}

/// `body-type-mpart = 1*body SP media-subtype [SP body-ext-mpart]`
fn multipart(out: &mut Vec<u8>, part: &Part<'_>, form: Form, global: Global) {
    if part.children.is_empty() {
        body(out, &Part::default(), form, global);
    }
    for child in &part.children {
        body(out, child, form, global);
    }
    out.push(b' ');
    encode::string(out, part.content_type.subtype);
    if form == Form::Extended {
        out.push(b' ');
        parameters(out, &part.content_type.parameters);
        extension(out, part);
    }
}

/// `body-type-1part = (body-type-basic / body-type-msg / body-type-text) [SP body-ext-1part]`
fn single(out: &mut Vec<u8>, part: &Part<'_>, form: Form, global: Global) {
    let is = |kind: &str| part.content_type.kind.eq_ignore_ascii_case(kind.as_bytes());
    basic(out, part);
    let subtype = |name: &str| part.content_type.subtype.eq_ignore_ascii_case(name.as_bytes());
    if is("message") && (subtype("rfc822") || subtype("global") && global == Global::Message) {
        let empty = Structure::default();
        let message = part.message.as_deref().unwrap_or(&empty);
        out.push(b' ');
        envelope(out, &message.envelope);
        out.push(b' ');
        body(out, &message.root, form, global);
        out.push(b' ');
        encode::number(out, part.lines);
    } else if is("text") {
        out.push(b' ');
        encode::number(out, part.lines);
    }
    if form == Form::Extended {
        out.push(b' ');
        encode::nstring(out, part.md5);
        extension(out, part);
    }
}

/// Type, subtype and `body-fields`
fn basic(out: &mut Vec<u8>, part: &Part<'_>) {
    let kind = &part.content_type;
    encode::string(out, kind.kind);
    out.push(b' ');
    encode::string(out, kind.subtype);
    out.push(b' ');
    let plain = kind.kind.eq_ignore_ascii_case(b"text") && kind.subtype.eq_ignore_ascii_case(b"plain");
    if plain && !kind.parameters.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"charset")) {
        // RFC 2046 section 4.1.2: text/plain without charset is US-ASCII.
        let default: (&[u8], &[u8]) = (b"charset", b"us-ascii");
        parameters(out, &[&[default], kind.parameters.as_slice()].concat());
    } else {
        parameters(out, &kind.parameters);
    }
    for field in [part.id, part.description] {
        out.push(b' ');
        encode::nstring(out, field);
    }
    out.push(b' ');
    encode::string(out, part.encoding.unwrap_or(b"7BIT"));
    out.push(b' ');
    encode::number(out, part.body.end.saturating_sub(part.body.start));
}

/// `SP body-fld-dsp SP body-fld-lang SP body-fld-loc`
fn extension(out: &mut Vec<u8>, part: &Part<'_>) {
    out.push(b' ');
    match &part.disposition {
        None => out.extend_from_slice(b"NIL"),
        Some(Disposition { kind, parameters: list }) => {
            out.push(b'(');
            encode::string(out, kind);
            out.push(b' ');
            parameters(out, list);
            out.push(b')');
        }
    }
    out.push(b' ');
    match part.languages.as_slice() {
        [] => out.extend_from_slice(b"NIL"),
        [one] => encode::string(out, one),
        several => {
            for (index, language) in several.iter().enumerate() {
                out.push(if index == 0 { b'(' } else { b' ' });
                encode::string(out, language);
            }
            out.push(b')');
        }
    }
    out.push(b' ');
    encode::nstring(out, part.location);
}

/// `body-fld-param = "(" string SP string *(SP string SP string) ")" / nil`
fn parameters(out: &mut Vec<u8>, list: &Parameters<'_>) {
    if list.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    for (index, (name, value)) in list.iter().enumerate() {
        out.push(if index == 0 { b'(' } else { b' ' });
        encode::string(out, name);
        out.push(b' ');
        encode::string(out, value);
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use waypost_message::{ContentType, Span};

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn mailbox<'a>(name: Option<&'a str>, local: &'a str, domain: &'a str) -> EnvelopeAddress<'a> {
        EnvelopeAddress::Mailbox {
            name: name.map(str::as_bytes),
            route: None,
            local: local.as_bytes(),
            domain: domain.as_bytes(),
        }
    }

    fn part<'a>(kind: &'a str, subtype: &'a str) -> Part<'a> {
        let (kind, subtype) = (kind.as_bytes(), subtype.as_bytes());
        let content_type = ContentType { kind, subtype, parameters: Vec::new() };
        Part { content_type, body: Span { start: 10, end: 30 }, lines: 2, ..Part::default() }
    }

    #[test]
    fn envelopes_default_sender_and_reply_to() {
        let empty = MessageEnvelope::default();
        assert_eq!(text(|out| envelope(out, &empty)), "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
        let full = MessageEnvelope {
            date: Some(b"Sat, 21 Nov 2026 04:05:06 +0000"),
            subject: Some(b""),
            from: vec![mailbox(Some("A \"B\""), "a", "x.test")],
            reply_to: vec![mailbox(None, "r", "")],
            to: vec![
                EnvelopeAddress::GroupStart(b"friends"),
                mailbox(None, "b", "x.test"),
                EnvelopeAddress::GroupEnd,
            ],
            message_id: Some(b"<1@x.test>"),
            ..MessageEnvelope::default()
        };
        let from = "((\"A \\\"B\\\"\" NIL \"a\" \"x.test\"))";
        let to = "((NIL NIL \"friends\" NIL)(NIL NIL \"b\" \"x.test\")(NIL NIL NIL NIL))";
        let expected = format!(
            "(\"Sat, 21 Nov 2026 04:05:06 +0000\" \"\" {from} {from} ((NIL NIL \"r\" \"\")) {to} NIL NIL NIL \"<1@x.test>\")"
        );
        assert_eq!(text(|out| envelope(out, &full)), expected);
    }

    #[test]
    fn eight_bit_text_is_a_literal() {
        let envelope_of =
            MessageEnvelope { subject: Some("Grüße".as_bytes()), ..MessageEnvelope::default() };
        assert!(text(|out| envelope(out, &envelope_of)).starts_with("(NIL {7}\r\nGrüße NIL"));
    }

    #[test]
    fn nul_in_a_field_of_a_binary_message_is_shown_as_0x80() {
        let envelope_of = MessageEnvelope { subject: Some(b"a\0b"), ..MessageEnvelope::default() };
        let mut shown = Vec::new();
        envelope(&mut shown, &envelope_of);
        assert!(shown.starts_with(b"(NIL {3}\r\na\x80b NIL"), "{}", shown.escape_ascii());
    }

    #[test]
    fn bodies_of_each_kind() {
        let plain = "\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7BIT\"";
        assert_eq!(
            text(|out| body(out, &part("text", "plain"), Form::Basic, Global::Leaf)),
            format!("({plain} 20 2)")
        );
        let extended = text(|out| body(out, &part("text", "plain"), Form::Extended, Global::Leaf));
        assert_eq!(extended, format!("({plain} 20 2 NIL NIL NIL NIL)"));
        let image = Part {
            id: Some(b"<i>"),
            encoding: Some(b"base64"),
            disposition: Some(Disposition {
                kind: b"attachment".as_slice(),
                parameters: vec![(b"filename".as_slice(), b"a.png".as_slice())],
            }),
            languages: vec![b"de", b"en"],
            location: Some(b"x"),
            ..part("image", "png")
        };
        let shown = "(\"image\" \"png\" NIL \"<i>\" NIL \"base64\" 20 NIL (\"attachment\" (\"filename\" \"a.png\")) (\"de\" \"en\") \"x\")";
        assert_eq!(text(|out| body(out, &image, Form::Extended, Global::Leaf)), shown);
        let mixed = Part { children: vec![part("text", "plain"), image], ..part("multipart", "mixed") };
        let shown = format!("(({plain} 20 2)(\"image\" \"png\" NIL \"<i>\" NIL \"base64\" 20) \"mixed\")");
        assert_eq!(text(|out| body(out, &mixed, Form::Basic, Global::Leaf)), shown);
        let empty = part("multipart", "mixed");
        assert_eq!(
            text(|out| body(out, &empty, Form::Extended, Global::Leaf)),
            format!("(({plain} 0 0 NIL NIL NIL NIL) \"mixed\" NIL NIL NIL NIL)")
        );
        let message = Part { message: Some(Box::default()), ..part("message", "rfc822") };
        let nothing = "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)";
        let shown = format!("(\"message\" \"rfc822\" NIL NIL NIL \"7BIT\" 20 {nothing} ({plain} 0 0) 2)");
        assert_eq!(text(|out| body(out, &message, Form::Basic, Global::Leaf)), shown);
        assert_eq!(text(|out| body(out, &part("message", "rfc822"), Form::Basic, Global::Leaf)), shown);
        let message = Part { message: Some(Box::default()), ..part("message", "global") };
        let global = shown.replace("rfc822", "global");
        assert_eq!(text(|out| body(out, &message, Form::Basic, Global::Message)), global);
        let leaf = "(\"message\" \"global\" NIL NIL NIL \"7BIT\" 20)";
        assert_eq!(text(|out| body(out, &message, Form::Basic, Global::Leaf)), leaf);
    }
}
