//! The fields that a [`Part`] and a [`MessageEnvelope`] keep (RFC 2045, RFC 2183, RFC 3282, RFC 2557, RFC 5322).
//!
//! Tolerant: parameters that cannot be read are passed over, those of RFC 2231 stay as written. Where a field that may
//! stand once stands twice, the first one counts; lists of recipients are joined (RFC 5322 section 4.5.3).

use crate::{
    address_list,
    header::{Field, HeaderBlock},
    lexer::Lexer,
    structure::{ContentType, Disposition, EnvelopeAddress, MessageEnvelope, Part, first_message_id},
};

/// Longest type or subtype in octets (RFC 6838 section 4.2).
const TYPE_NAME_BYTES_MAX: usize = 127;
/// Octets of field values that one structure keeps: what goes beyond is left out, as if it were not there.
pub(crate) const STRUCTURE_BYTES_MAX: usize = 256 * 1024;
/// Longest name of a field that is kept.
const NAME_BYTES_MAX: usize = "content-transfer-encoding".len();
/// What a parameter, a language or an address costs beside its octets.
const ITEM_BYTES: usize = 16;

/// What a structure may still hold.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(STRUCTURE_BYTES_MAX)
    }
}

impl Budget {
    fn afford(&mut self, cost: usize) -> bool {
        let left = self.0.checked_sub(cost);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }

    fn keep(&mut self, slot: &mut Option<Vec<u8>>, value: Vec<u8>) {
        if slot.is_none() && self.afford(value.len()) {
            *slot = Some(value);
        }
    }

    fn keep_addresses(&mut self, list: &mut Vec<EnvelopeAddress>, field: &Field<'_>) {
        let joined = list.len();
        let found = address_list::parse(&field.value());
        list.extend(found.into_iter().take_while(|address| self.afford(address_cost(address))));
        let marks = |mark: fn(&EnvelopeAddress) -> bool| list[joined..].iter().filter(|a| mark(a)).count();
        let starts = marks(|address| matches!(address, EnvelopeAddress::GroupStart(_)));
        let ends = marks(|address| matches!(address, EnvelopeAddress::GroupEnd));
        if starts > ends {
            list.push(EnvelopeAddress::GroupEnd);
        }
    }

    fn keep_parameters(&mut self, parameters: &mut Vec<(Vec<u8>, Vec<u8>)>) {
        parameters.retain(|(name, value)| self.afford(ITEM_BYTES + name.len() + value.len()));
    }
}

fn address_cost(address: &EnvelopeAddress) -> usize {
    let octets = match address {
        EnvelopeAddress::GroupEnd => 0,
        EnvelopeAddress::GroupStart(name) => name.len(),
        EnvelopeAddress::Mailbox { name, route, local, domain } => {
            let optional = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
            optional(name) + optional(route) + local.len() + domain.len()
        }
    };
    ITEM_BYTES + octets
}

/// A name in lower case; of one that is longer than all that are looked for, nothing.
fn lower_case<'a>(name: &[u8], buffer: &'a mut [u8; NAME_BYTES_MAX]) -> &'a [u8] {
    let Some(buffer) = buffer.get_mut(..name.len()) else { return b"" };
    buffer.copy_from_slice(name);
    buffer.make_ascii_lowercase();
    buffer
}

/// The envelope fields, and the first message-id of References.
pub(crate) fn envelope(block: &HeaderBlock, budget: &mut Budget) -> (MessageEnvelope, Option<Vec<u8>>) {
    let mut envelope = MessageEnvelope::default();
    let mut references_root = None;
    for field in block.fields() {
        match lower_case(field.name, &mut [0; NAME_BYTES_MAX]) {
            b"date" => budget.keep(&mut envelope.date, field.value()),
            b"subject" => budget.keep(&mut envelope.subject, field.value()),
            b"in-reply-to" => budget.keep(&mut envelope.in_reply_to, field.value()),
            b"message-id" => budget.keep(&mut envelope.message_id, field.value()),
            b"references" => {
                if let Some(root) = first_message_id(&field.value()) {
                    budget.keep(&mut references_root, root);
                }
            }
            b"from" if envelope.from.is_empty() => budget.keep_addresses(&mut envelope.from, &field),
            b"sender" if envelope.sender.is_empty() => budget.keep_addresses(&mut envelope.sender, &field),
            b"reply-to" if envelope.reply_to.is_empty() => {
                budget.keep_addresses(&mut envelope.reply_to, &field);
            }
            b"to" => budget.keep_addresses(&mut envelope.to, &field),
            b"cc" => budget.keep_addresses(&mut envelope.cc, &field),
            b"bcc" => budget.keep_addresses(&mut envelope.bcc, &field),
            _ => {}
        }
    }
    (envelope, references_root)
}

/// A part as its header describes it, not yet placed. `default`: what it is where it does not say.
pub(crate) fn part(block: &HeaderBlock, default: ContentType, budget: &mut Budget) -> Part {
    let mut part = Part::of(default);
    let mut written = None;
    for field in block.fields() {
        match lower_case(field.name, &mut [0; NAME_BYTES_MAX]) {
            b"content-type" if written.is_none() => written = Some(content_type(&field.value())),
            b"content-transfer-encoding" if part.encoding.is_none() => {
                part.encoding = encoding(&field.value());
            }
            b"content-id" => budget.keep(&mut part.id, field.value()),
            b"content-description" => budget.keep(&mut part.description, field.value()),
            b"content-md5" => budget.keep(&mut part.md5, field.value()),
            b"content-location" => budget.keep(&mut part.location, field.value()),
            b"content-disposition" if part.disposition.is_none() => {
                part.disposition = disposition(&field.value());
            }
            b"content-language" if part.languages.is_empty() => {
                part.languages = languages(&field.value());
                part.languages.retain(|language| budget.afford(ITEM_BYTES + language.len()));
            }
            _ => {}
        }
    }
    if let Some(written) = written {
        part.content_type = written.unwrap_or_default();
    }
    budget.keep_parameters(&mut part.content_type.parameters);
    if let Some(disposition) = &mut part.disposition {
        budget.keep_parameters(&mut disposition.parameters);
    }
    part
}

/// `"Content-Type" ":" type "/" subtype *(";" parameter)` (RFC 2045 section 5.1); `None` where that cannot be read.
pub(crate) fn content_type(value: &[u8]) -> Option<ContentType> {
    let mut lexer = Lexer::new(value);
    lexer.skip_gap();
    let kind = type_name(&mut lexer)?;
    lexer.skip_gap();
    if !lexer.accept(b'/') {
        return None;
    }
    lexer.skip_gap();
    let subtype = type_name(&mut lexer)?;
    Some(ContentType { kind, subtype, parameters: parameters(&mut lexer) })
}

/// `disposition-type *(";" disposition-parm)` (RFC 2183 section 2)
pub(crate) fn disposition(value: &[u8]) -> Option<Disposition> {
    let mut lexer = Lexer::new(value);
    lexer.skip_gap();
    let kind = type_name(&mut lexer)?;
    Some(Disposition { kind, parameters: parameters(&mut lexer) })
}

/// `mechanism` (RFC 2045 section 6.1), as written.
fn encoding(value: &[u8]) -> Option<Vec<u8>> {
    let mut lexer = Lexer::new(value);
    lexer.skip_gap();
    type_name(&mut lexer)
}

/// `Language-Tag *("," Language-Tag)` (RFC 3282 section 2)
fn languages(value: &[u8]) -> Vec<Vec<u8>> {
    let mut lexer = Lexer::new(value);
    let mut languages = Vec::new();
    while lexer.peek().is_some() {
        lexer.skip_gap();
        languages.extend(type_name(&mut lexer));
        lexer.skip_to(b",");
        lexer.accept(b',');
    }
    languages
}

/// `token` (RFC 2045 section 5.1) of a length that names have.
fn type_name(lexer: &mut Lexer<'_>) -> Option<Vec<u8>> {
    let name = lexer.run(|octet| !octet.is_ascii_graphic() || b"()<>@,;:\\\"/[]?=".contains(&octet));
    (1..=TYPE_NAME_BYTES_MAX).contains(&name.len()).then(|| name.to_vec())
}

/// `*(";" parameter)`, with what stands before the first semicolon passed over.
fn parameters(lexer: &mut Lexer<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut parameters = Vec::new();
    loop {
        lexer.skip_to(b";");
        if !lexer.accept(b';') {
            return parameters;
        }
        parameters.extend(parameter(lexer));
    }
}

/// `parameter = attribute "=" value`. An unquoted value ends only at white space or a semicolon: boundaries with `=` or
/// `?` in them are common, quoted or not.
fn parameter(lexer: &mut Lexer<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    lexer.skip_gap();
    let name = lexer.run(|octet| octet.is_ascii_whitespace() || b"=;(\"".contains(&octet));
    lexer.skip_gap();
    if name.is_empty() || !lexer.accept(b'=') {
        return None;
    }
    lexer.skip_gap();
    let value = match lexer.peek() {
        Some(b'"') => lexer.quoted(),
        _ => lexer.run(|octet| octet.is_ascii_whitespace() || octet == b';').to_vec(),
    };
    Some((name.to_vec(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(content_type: &ContentType) -> String {
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        let mut shown = format!("{}/{}", text(&content_type.kind), text(&content_type.subtype));
        for (name, value) in &content_type.parameters {
            shown += &format!(";{}={}", text(name), text(value));
        }
        shown
    }

    #[test]
    fn content_types_parse() {
        for (value, expected) in [
            ("text/plain", Some("text/plain")),
            ("TEXT/Plain; charset=UTF-8", Some("TEXT/Plain;charset=UTF-8")),
            ("text / plain ;charset = \"a\\\"b\" ; x=y", Some("text/plain;charset=a\"b;x=y")),
            ("(a) text (b) / (c) plain (d); (e) x (f) = (g) y (h)", Some("text/plain;x=y")),
            ("multipart/mixed; boundary=----=_Part?1", Some("multipart/mixed;boundary=----=_Part?1")),
            ("a/b; n*0*=utf-8''x%20; n*1=\"y;z\"", Some("a/b;n*0*=utf-8''x%20;n*1=y;z")),
            ("a/b; junk; ; =x; c=d;", Some("a/b;c=d")),
            ("a/b; c=d e=f; g=h", Some("a/b;c=d;g=h")),
            ("a/b; c=; d=\"\"", Some("a/b;c=;d=")),
            ("a/b; name=foo(1).pdf", Some("a/b;name=foo(1).pdf")),
            ("a/b; c=\"d", Some("a/b;c=d")),
            ("a/b charset=x; c=d", Some("a/b;c=d")),
            ("application/vnd.a+b; q=\"\u{e9}\"", Some("application/vnd.a+b;q=\u{e9}")),
            ("", None),
            ("text", None),
            ("text/", None),
            ("/plain", None),
            ("; charset=x", None),
            ("text;plain", None),
        ] {
            assert_eq!(content_type(value.as_bytes()).as_ref().map(shown).as_deref(), expected, "{value:?}");
        }
        let long = "x".repeat(TYPE_NAME_BYTES_MAX);
        assert!(content_type(format!("{long}/{long}").as_bytes()).is_some());
        assert!(content_type(format!("{long}x/{long}").as_bytes()).is_none());
        assert!(content_type(format!("{long}/{long}x").as_bytes()).is_none());
    }

    #[test]
    fn part_fields_are_read() {
        let block = "Content-Type: text/html\r\nContent-type: text/plain\r\nContent-Transfer-Encoding: (x) Base64 (y)\r\n\
            Content-ID: <a@b>\r\nContent-Description: some\r\n thing\r\nContent-MD5: abc=\r\n\
            Content-Disposition: attachment; filename=\"a b\"\r\nContent-Language: de, (x) en-GB\r\n\
            Content-Location: http://x/\r\n\r\n";
        let part = part(&HeaderBlock::new(block.into()), ContentType::default(), &mut Budget::default());
        assert_eq!(shown(&part.content_type), "text/html");
        assert_eq!(part.encoding.unwrap(), b"Base64");
        assert_eq!(part.id.unwrap(), b"<a@b>");
        assert_eq!(part.description.unwrap(), b"some thing");
        assert_eq!(part.md5.unwrap(), b"abc=");
        assert_eq!(part.location.unwrap(), b"http://x/");
        assert_eq!(part.languages, [b"de".to_vec(), b"en-GB".to_vec()]);
        let parameters = vec![(b"filename".to_vec(), b"a b".to_vec())];
        assert_eq!(part.disposition.unwrap(), Disposition { kind: b"attachment".to_vec(), parameters });
    }

    #[test]
    fn envelope_fields_are_read() {
        let block = "Date: d\r\nSubject:\r\nFROM: a@b\r\nFrom: c@d\r\nTo: e@f\r\nTo: g@h\r\nMessage-ID: <i@j>\r\n\
            References: <k@l>\r\n <m@n>\r\n\r\n";
        let (envelope, root) = envelope(&HeaderBlock::new(block.into()), &mut Budget::default());
        assert_eq!(envelope.date, Some(b"d".to_vec()));
        assert_eq!(envelope.subject, Some(Vec::new()));
        assert_eq!((envelope.from.len(), envelope.to.len(), envelope.cc.len()), (1, 2, 0));
        assert_eq!(envelope.message_id, Some(b"<i@j>".to_vec()));
        assert_eq!(envelope.in_reply_to, None);
        assert_eq!(root, Some(b"k@l".to_vec()));
    }

    #[test]
    fn what_a_structure_keeps_is_bounded() {
        let subject = |length: usize| {
            let block = format!("Subject: {}\r\nDate: d\r\n\r\n", "x".repeat(length));
            let (envelope, _) = envelope(&HeaderBlock::new(block.into()), &mut Budget::default());
            (envelope.subject.is_some(), envelope.date.is_some())
        };
        assert_eq!(subject(STRUCTURE_BYTES_MAX - 1), (true, true));
        assert_eq!(subject(STRUCTURE_BYTES_MAX), (true, false));
        assert_eq!(subject(STRUCTURE_BYTES_MAX + 1), (false, true));
        let mut list = Vec::new();
        let field = HeaderBlock::new(b"To: g:a@b,c@d;\r\n".to_vec());
        Budget(ITEM_BYTES * 2 + 3).keep_addresses(&mut list, &field.fields().next().unwrap());
        assert_eq!((list.len(), list.last()), (3, Some(&EnvelopeAddress::GroupEnd)));
    }
}
