//! Octets of a [`Structure`] in the store.
//!
//! A version, then the fields in their order: numbers as LEB128, octet strings with their length before them, optional
//! ones with their length plus one (0: none), lists with their count. Spans are kept as differences, which are small.
//! In version 2 a preview stands behind the version, as a string, and then all that version 1 has: so both are taken apart and put
//! together without a look at the fields. What has no preview is written in version 1.
//! Reading allocates no more than the octets at hand can fill.

use crate::{
    splitter::NESTING_MAX,
    structure::{
        ContentType, Disposition, EnvelopeAddress, MessageEnvelope, Part, Span, Structure, StructureError,
    },
};

/// The version of a structure without a preview.
const PLAIN: u8 = 1;
/// The version of one with its preview.
const WITH_PREVIEW: u8 = 2;
/// The versions that are read.
pub(crate) const VERSIONS: [u8; 2] = [PLAIN, WITH_PREVIEW];
/// Deepest part that is read: what the splitter makes, and the empty part of an empty multipart.
const DEPTH_MAX: usize = NESTING_MAX + 1;
/// Room is made for so many items of a list at once; for more as they are read.
const LIST_ITEMS_EXPECTED: u64 = 4;

/// Room for so many octets is made at once.
const OCTETS_EXPECTED: usize = 512;

pub(crate) fn encode(structure: &Structure) -> Vec<u8> {
    let mut writer = Writer { octets: Vec::with_capacity(OCTETS_EXPECTED) };
    writer.head(structure.preview.as_deref());
    writer.structure(structure, 0);
    writer.octets
}

pub(crate) fn decode<'a, O: From<&'a [u8]>>(octets: &'a [u8]) -> Result<Structure<O>, StructureError> {
    let (preview, mut reader) = opened(octets)?;
    let structure = reader.structure(0, 0)?;
    let structure = Structure { preview: preview.map(O::from), ..structure };
    reader.rest.is_empty().then_some(structure).ok_or(StructureError)
}

/// The envelope alone: it stands before all else but the preview.
pub(crate) fn decode_envelope<'a, O: From<&'a [u8]>>(
    octets: &'a [u8],
) -> Result<MessageEnvelope<O>, StructureError> {
    let (_, mut reader) = opened(octets)?;
    Ok(reader.envelope()?.0)
}

/// The preview alone.
pub(crate) fn preview(octets: &[u8]) -> Option<&[u8]> {
    opened(octets).ok()?.0
}

/// The same without its preview, and that.
pub(crate) fn without_preview(octets: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (preview, reader) = opened(octets).ok()?;
    Some(([&[PLAIN], reader.rest].concat(), preview?))
}

/// The same with a preview, which it has not.
pub(crate) fn with_preview(octets: &[u8], preview: &[u8]) -> Vec<u8> {
    let Some(fields) = octets.strip_prefix(&[PLAIN]) else { return octets.to_vec() };
    let mut writer = Writer { octets: Vec::with_capacity(octets.len() + preview.len() + 2) };
    writer.head(Some(preview));
    writer.octets.extend_from_slice(fields);
    writer.octets
}

/// Reads what stands before the fields: the version, and a preview.
fn opened(octets: &[u8]) -> Result<(Option<&[u8]>, Reader<'_>), StructureError> {
    let (version, rest) = octets.split_first().ok_or(StructureError)?;
    let mut reader = Reader { rest };
    match *version {
        PLAIN => Ok((None, reader)),
        WITH_PREVIEW => Ok((Some(reader.string()?), reader)),
        _ => Err(StructureError),
    }
}

struct Writer {
    octets: Vec<u8>,
}

impl Writer {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.octets.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.octets.push(value as u8);
    }

    fn string(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.octets.extend_from_slice(value);
    }

    fn optional(&mut self, value: Option<&[u8]>) {
        self.number(value.map_or(0, |value| value.len() as u64 + 1));
        self.octets.extend_from_slice(value.unwrap_or_default());
    }

    fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        items.iter().for_each(|value| item(self, value));
    }

    /// What stands before the fields.
    fn head(&mut self, preview: Option<&[u8]>) {
        self.octets.push(if preview.is_some() { WITH_PREVIEW } else { PLAIN });
        if let Some(preview) = preview {
            self.string(preview);
        }
    }

    fn structure(&mut self, structure: &Structure, base: u64) {
        let MessageEnvelope { date, subject, from, sender, reply_to, to, cc, bcc, in_reply_to, message_id } =
            &structure.envelope;
        for value in [date, subject, in_reply_to, message_id, &structure.references_root] {
            self.optional(value.as_deref());
        }
        for addresses in [from, sender, reply_to, to, cc, bcc] {
            self.list(addresses, Self::address);
        }
        self.part(&structure.root, base);
    }

    fn address(&mut self, address: &EnvelopeAddress) {
        match address {
            EnvelopeAddress::GroupEnd => self.number(0),
            EnvelopeAddress::GroupStart(name) => {
                self.number(1);
                self.string(name);
            }
            EnvelopeAddress::Mailbox { name, route, local, domain } => {
                self.number(2);
                self.optional(name.as_deref());
                self.optional(route.as_deref());
                self.string(local);
                self.string(domain);
            }
        }
    }

    fn part(&mut self, part: &Part, base: u64) {
        let Span { start, end } = part.header;
        for (value, from) in [
            (start, base),
            (end, start),
            (part.body.start, end),
            (part.body.end, part.body.start),
            (part.lines, 0),
        ] {
            self.number(value.wrapping_sub(from));
        }
        self.string(&part.content_type.kind);
        self.string(&part.content_type.subtype);
        self.list(&part.content_type.parameters, Self::parameter);
        for value in [&part.id, &part.description, &part.encoding, &part.md5, &part.location] {
            self.optional(value.as_deref());
        }
        self.list(part.disposition.as_slice(), |writer, disposition| {
            writer.string(&disposition.kind);
            writer.list(&disposition.parameters, Self::parameter);
        });
        self.list(&part.languages, |writer, language| writer.string(language));
        self.list(&part.children, |writer, child| writer.part(child, part.body.start));
        self.list(part.message.as_slice(), |writer, message| writer.structure(message, part.body.start));
    }

    fn parameter(&mut self, (name, value): &(Vec<u8>, Vec<u8>)) {
        self.string(name);
        self.string(value);
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn number(&mut self) -> Result<u64, StructureError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&octet, rest) = self.rest.split_first().ok_or(StructureError)?;
            self.rest = rest;
            let bits = u64::from(octet & 0x7f);
            if bits << shift >> shift != bits {
                return Err(StructureError);
            }
            value |= bits << shift;
            if octet < 0x80 {
                return Ok(value);
            }
        }
        Err(StructureError)
    }

    fn octets<O: From<&'a [u8]>>(&mut self, length: u64) -> Result<O, StructureError> {
        let length = usize::try_from(length).map_err(|_| StructureError)?;
        let (value, rest) = self.rest.split_at_checked(length).ok_or(StructureError)?;
        self.rest = rest;
        Ok(value.into())
    }

    fn string<O: From<&'a [u8]>>(&mut self) -> Result<O, StructureError> {
        let length = self.number()?;
        self.octets(length)
    }

    fn optional<O: From<&'a [u8]>>(&mut self) -> Result<Option<O>, StructureError> {
        let length = self.number()?;
        length.checked_sub(1).map(|length| self.octets(length)).transpose()
    }

    /// Each item takes at least one octet, so that a count without them ends at once.
    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, StructureError>,
    ) -> Result<Vec<T>, StructureError> {
        let count = self.number()?;
        let mut items = Vec::with_capacity(count.min(LIST_ITEMS_EXPECTED) as usize);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn at_most_one<T>(
        &mut self,
        item: impl FnMut(&mut Self) -> Result<T, StructureError>,
    ) -> Result<Option<T>, StructureError> {
        let mut items = self.list(item)?;
        let item = items.pop();
        items.is_empty().then_some(item).ok_or(StructureError)
    }

    fn structure<O: From<&'a [u8]>>(
        &mut self,
        base: u64,
        depth: usize,
    ) -> Result<Structure<O>, StructureError> {
        let (envelope, references_root) = self.envelope()?;
        Ok(Structure { envelope, root: self.part(base, depth)?, references_root, preview: None })
    }

    /// An envelope, and the root of References that stands in the middle of it.
    fn envelope<O: From<&'a [u8]>>(&mut self) -> Result<(MessageEnvelope<O>, Option<O>), StructureError> {
        let (date, subject) = (self.optional()?, self.optional()?);
        let (in_reply_to, message_id) = (self.optional()?, self.optional()?);
        let references_root = self.optional()?;
        let mut addresses = || self.list(Self::address);
        let (from, sender, reply_to) = (addresses()?, addresses()?, addresses()?);
        let (to, cc, bcc) = (addresses()?, addresses()?, addresses()?);
        let envelope =
            MessageEnvelope { date, subject, from, sender, reply_to, to, cc, bcc, in_reply_to, message_id };
        Ok((envelope, references_root))
    }

    fn address<O: From<&'a [u8]>>(&mut self) -> Result<EnvelopeAddress<O>, StructureError> {
        match self.number()? {
            0 => Ok(EnvelopeAddress::GroupEnd),
            1 => Ok(EnvelopeAddress::GroupStart(self.string()?)),
            2 => Ok(EnvelopeAddress::Mailbox {
                name: self.optional()?,
                route: self.optional()?,
                local: self.string()?,
                domain: self.string()?,
            }),
            _ => Err(StructureError),
        }
    }

    fn part<O: From<&'a [u8]>>(&mut self, base: u64, depth: usize) -> Result<Part<O>, StructureError> {
        if depth > DEPTH_MAX {
            return Err(StructureError);
        }
        let header = self.span(base)?;
        let body = self.span(header.end)?;
        let lines = self.number()?;
        let content_type = ContentType {
            kind: self.string()?,
            subtype: self.string()?,
            parameters: self.list(Self::parameter)?,
        };
        let (id, description, encoding) = (self.optional()?, self.optional()?, self.optional()?);
        let (md5, location) = (self.optional()?, self.optional()?);
        let disposition = self.at_most_one(|reader| {
            Ok(Disposition { kind: reader.string()?, parameters: reader.list(Self::parameter)? })
        })?;
        let languages = self.list(Self::string)?;
        let children = self.list(|reader| reader.part(body.start, depth + 1))?;
        let message = self.at_most_one(|reader| reader.structure(body.start, depth + 1).map(Box::new))?;
        Ok(Part {
            header,
            body,
            lines,
            content_type,
            id,
            description,
            encoding,
            md5,
            disposition,
            languages,
            location,
            children,
            message,
        })
    }

    fn span(&mut self, base: u64) -> Result<Span, StructureError> {
        let start = base.wrapping_add(self.number()?);
        Ok(Span { start, end: start.wrapping_add(self.number()?) })
    }

    fn parameter<O: From<&'a [u8]>>(&mut self) -> Result<(O, O), StructureError> {
        Ok((self.string()?, self.string()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn decode(octets: &[u8]) -> Result<Structure, StructureError> {
        Structure::decode(octets)
    }

    fn octets() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..6)
    }

    fn parameters() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
        vec((octets(), octets()), 0..3)
    }

    fn address() -> impl Strategy<Value = EnvelopeAddress> {
        prop_oneof![
            Just(EnvelopeAddress::GroupEnd),
            octets().prop_map(EnvelopeAddress::GroupStart),
            (option::of(octets()), option::of(octets()), octets(), octets()).prop_map(
                |(name, route, local, domain)| EnvelopeAddress::Mailbox { name, route, local, domain }
            ),
        ]
    }

    fn structure(part: impl Strategy<Value = Part> + 'static) -> impl Strategy<Value = Structure> {
        let addresses = || vec(address(), 0..3);
        let fields = [(); 5].map(|()| option::of(octets()));
        let lists = (addresses(), addresses(), addresses(), addresses(), addresses(), addresses());
        (fields, lists, part).prop_map(|(fields, (from, sender, reply_to, to, cc, bcc), root)| {
            let [date, subject, in_reply_to, message_id, references_root] = fields;
            let envelope = MessageEnvelope {
                date,
                subject,
                from,
                sender,
                reply_to,
                to,
                cc,
                bcc,
                in_reply_to,
                message_id,
            };
            Structure { envelope, root, references_root, preview: None }
        })
    }

    fn leaf() -> impl Strategy<Value = Part> {
        let spans = (any::<(u64, u64)>(), any::<(u64, u64)>(), any::<u64>());
        let content_type = (octets(), octets(), parameters());
        let fields = [(); 5].map(|()| option::of(octets()));
        let disposition = option::of((octets(), parameters()));
        (spans, content_type, fields, disposition, vec(octets(), 0..3)).prop_map(
            |((header, body, lines), (kind, subtype, parameters), fields, disposition, languages)| {
                let [id, description, encoding, md5, location] = fields;
                Part {
                    header: Span { start: header.0, end: header.1 },
                    body: Span { start: body.0, end: body.1 },
                    lines,
                    content_type: ContentType { kind, subtype, parameters },
                    id,
                    description,
                    encoding,
                    md5,
                    disposition: disposition.map(|(kind, parameters)| Disposition { kind, parameters }),
                    languages,
                    location,
                    children: Vec::new(),
                    message: None,
                }
            },
        )
    }

    fn part() -> impl Strategy<Value = Part> {
        leaf().prop_recursive(3, 12, 3, |inner| {
            (leaf(), vec(inner.clone(), 0..3), option::of(structure(inner).prop_map(Box::new)))
                .prop_map(|(part, children, message)| Part { children, message, ..part })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn structures_round_trip(structure in structure(part()), preview in vec(any::<u8>(), 0..300)) {
            let plain = structure.encode();
            prop_assert_eq!(decode(&plain), Ok(structure.clone()));
            prop_assert_eq!((super::preview(&plain), without_preview(&plain)), (None, None));
            let structure = Structure { preview: Some(preview.clone()), ..structure };
            let octets = structure.encode();
            prop_assert_eq!(MessageEnvelope::decode(&octets), Ok(structure.envelope.clone()));
            prop_assert_eq!(decode(&octets), Ok(structure));
            prop_assert_eq!(super::preview(&octets), Some(&preview[..]));
            prop_assert_eq!(without_preview(&octets), Some((plain.clone(), &preview[..])));
            prop_assert_eq!(with_preview(&plain, &preview), octets);
        }

        #[test]
        fn garbage_is_an_error_or_a_structure(mut octets in vec(any::<u8>(), 0..200)) {
            if let Some(version) = octets.first_mut() {
                *version = VERSIONS[usize::from(*version) % VERSIONS.len()];
            }
            if let Ok(structure) = decode(&octets) {
                prop_assert_eq!(decode(&structure.encode()), Ok(structure));
            }
        }
    }

    #[test]
    fn what_is_cut_or_too_long_is_refused() {
        for preview in [None, Some(b"words".to_vec())] {
            let structure = Structure { preview, ..Structure::default() };
            let octets = structure.encode();
            assert_eq!(decode(&octets), Ok(structure));
            for length in 0..octets.len() {
                assert_eq!(decode(&octets[..length]), Err(StructureError), "{length}");
            }
            assert_eq!(decode(&[&octets[..], b"\0"].concat()), Err(StructureError));
            let mut other = octets;
            other[0] = WITH_PREVIEW + 1;
            assert_eq!(decode(&other), Err(StructureError));
            assert!(!Structure::is_known(&other));
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| {
            let root = (0..depth)
                .fold(Part::default(), |child, _| Part { children: vec![child], ..Part::default() });
            Structure { root, ..Structure::default() }
        };
        assert_eq!(decode(&nested(DEPTH_MAX).encode()), Ok(nested(DEPTH_MAX)));
        assert_eq!(decode(&nested(DEPTH_MAX + 1).encode()), Err(StructureError));
    }

    #[test]
    fn numbers_have_bounds() {
        let read = |octets: &[u8]| Reader { rest: octets }.number();
        let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(read(&largest), Ok(u64::MAX));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), Err(StructureError));
        assert_eq!(read(&[0x80; 11]), Err(StructureError));
        assert_eq!(Reader { rest: &largest }.string::<Vec<u8>>(), Err(StructureError));
    }
}
