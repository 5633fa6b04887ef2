//! Where the sections of a message are (RFC 3501 section 6.4.5): part numbers, HEADER, TEXT and MIME as spans of octets.
//!
//! Structures count from the header block. A stored message begins with its prefix, which belongs to the header of the whole
//! message: spans here count from the first octet of the prefix, as [`waypost_storage::Store::reader`] does.
//!
//! A part that does not exist, and HEADER or TEXT of a part that is no message, has no span: FETCH answers NIL.

use std::collections::HashSet;

use waypost_message::{HeaderBlock, Span};

use super::structure::{Part, Structure};
use crate::wire::{BodySection, SectionText};

/// The octets of a section before HEADER.FIELDS and partial cut it down. `prefix`: octets of the prefix; `size`: of all.
pub(crate) fn locate(
    structure: &Structure<'_>,
    prefix: u64,
    size: u64,
    section: &BodySection,
) -> Option<Span> {
    let shifted = |span: Span| Span { start: span.start + prefix, end: span.end + prefix };
    let header_end = structure.root.header.end + prefix;
    if section.part.is_empty() {
        return match section.text {
            SectionText::All => Some(Span { start: 0, end: size }),
            SectionText::Header | SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_) => {
                Some(Span { start: 0, end: header_end })
            }
            SectionText::Text => Some(Span { start: header_end, end: size }),
            SectionText::Mime => None,
        };
    }
    let part =
        section.part.iter().try_fold(Place::root(structure), |place, number| place.step(*number))?.part;
    // Part 1 of a message that is no multipart has the message's own header, with its prefix.
    let whole = std::ptr::eq(part, &structure.root);
    match section.text {
        SectionText::All => Some(shifted(part.body)),
        SectionText::Mime if whole => Some(Span { start: 0, end: header_end }),
        SectionText::Mime => Some(shifted(part.header)),
        SectionText::Header | SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_) => {
            part.message.as_deref().map(|message| shifted(message.root.header))
        }
        SectionText::Text => part.message.as_deref().map(|message| shifted(message.root.body)),
    }
}

/// The part that numbers name; of a message without numbers, nothing.
pub(crate) fn part_of<'a>(structure: &'a Structure<'a>, numbers: &[u32]) -> Option<&'a Part<'a>> {
    let place = numbers.iter().try_fold(Place::root(structure), |place, number| place.step(*number))?;
    (!numbers.is_empty()).then_some(place.part)
}

/// Where a walk along part numbers stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    part: &'a Part<'a>,
    /// Whether it was reached as a message, whose own body is part 1 if it is no multipart.
    as_message: bool,
}

impl<'a> Place<'a> {
    fn root(structure: &'a Structure<'a>) -> Self {
        Self { part: &structure.root, as_message: true }
    }

    fn step(self, number: u32) -> Option<Self> {
        if self.part.is_multipart() {
            let index = usize::try_from(number).ok()?.checked_sub(1)?;
            return self.part.children.get(index).map(|part| Self { part, as_message: false });
        }
        match &self.part.message {
            _ if self.as_message => (number == 1).then_some(Self { part: self.part, as_message: false }),
            Some(message) => Self::root(message).step(number),
            None => None,
        }
    }
}

/// The octets of a header that HEADER.FIELDS and HEADER.FIELDS.NOT leave, with the empty line.
pub(crate) fn subset(header: &HeaderBlock, text: &SectionText) -> Vec<u8> {
    let (names, wanted) = match text {
        SectionText::HeaderFields(names) => (names.as_slice(), true),
        SectionText::HeaderFieldsNot(names) => (names.as_slice(), false),
        _ => (&[][..], false),
    };
    let names: HashSet<Vec<u8>> = names.iter().map(|name| name.to_ascii_lowercase().into_bytes()).collect();
    let fields = header.fields().filter(|field| names.contains(&field.name.to_ascii_lowercase()) == wanted);
    let mut octets: Vec<u8> = fields.flat_map(|field| field.octets.iter().copied()).collect();
    octets.extend_from_slice(b"\r\n");
    octets
}

/// What a partial `<start.length>` leaves of a span.
pub(crate) fn cut(span: Span, partial: Option<(u64, u64)>) -> Span {
    let Some((start, length)) = partial else { return span };
    let start = span.start.saturating_add(start).min(span.end);
    Span { start, end: start.saturating_add(length).min(span.end) }
}

#[cfg(test)]
mod tests {
    use waypost_message::ContentType;

    use super::*;

    fn span(start: u64, end: u64) -> Span {
        Span { start, end }
    }

    fn leaf(header: Span, body: Span) -> Part<'static> {
        Part { header, body, ..Part::default() }
    }

    fn typed<'a>(kind: &'a str, subtype: &'a str, part: Part<'a>) -> Part<'a> {
        let content_type =
            ContentType { kind: kind.as_bytes(), subtype: subtype.as_bytes(), parameters: Vec::new() };
        Part { content_type, ..part }
    }

    fn of(root: Part<'_>) -> Structure<'_> {
        Structure { root, ..Structure::default() }
    }

    /// multipart (header 0..100) of text (110..120, 120..200), message (210..220, 220..400) with a text inside
    /// (220..250, 250..400), message (410..420, 420..600) with a multipart inside (420..450, 450..600) of one text.
    fn sample() -> Structure<'static> {
        let plain = of(leaf(span(220, 250), span(250, 400)));
        let inner = Part {
            children: vec![leaf(span(460, 470), span(470, 590))],
            ..leaf(span(420, 450), span(450, 600))
        };
        let message = |part: Part<'static>, inside| {
            typed("message", "rfc822", Part { message: Some(Box::new(inside)), ..part })
        };
        let children = vec![
            leaf(span(110, 120), span(120, 200)),
            message(leaf(span(210, 220), span(220, 400)), plain),
            message(leaf(span(410, 420), span(420, 600)), of(typed("multipart", "mixed", inner))),
        ];
        of(typed("multipart", "mixed", Part { children, ..leaf(span(0, 100), span(100, 700)) }))
    }

    fn found(structure: &Structure<'_>, part: &[u32], text: SectionText) -> Option<(u64, u64)> {
        let section = BodySection { peek: true, part: part.to_vec(), text, partial: None };
        locate(structure, 10, 710, &section).map(|span| (span.start, span.end))
    }

    #[test]
    fn sections_are_found() {
        use SectionText::{All, Header, Mime, Text};
        let sample = sample();
        for (part, text, expected) in [
            (&[][..], All, Some((0, 710))),
            (&[], Header, Some((0, 110))),
            (&[], Text, Some((110, 710))),
            (&[1], All, Some((130, 210))),
            (&[1], Mime, Some((120, 130))),
            (&[1], Header, None),
            (&[1], Text, None),
            (&[1, 1], All, None),
            (&[2], All, Some((230, 410))),
            (&[2], Header, Some((230, 260))),
            (&[2], SectionText::HeaderFields(vec!["To".into()]), Some((230, 260))),
            (&[2], Text, Some((260, 410))),
            (&[2, 1], All, Some((260, 410))),
            (&[2, 1], Mime, Some((230, 260))),
            (&[2, 2], All, None),
            (&[2, 1, 1], All, None),
            (&[3, 1], All, Some((480, 600))),
            (&[3, 1], Mime, Some((470, 480))),
            (&[3, 2], All, None),
            (&[0], All, None),
            (&[4], All, None),
            (&[u32::MAX], All, None),
        ] {
            assert_eq!(found(&sample, part, text.clone()), expected, "{part:?} {text:?}");
        }
    }

    #[test]
    fn a_message_without_parts_is_its_own_part_1() {
        let plain = of(leaf(span(0, 100), span(100, 700)));
        assert_eq!(found(&plain, &[1], SectionText::All), Some((110, 710)));
        assert_eq!(found(&plain, &[1], SectionText::Mime), Some((0, 110)));
        assert_eq!(found(&plain, &[2], SectionText::All), None);
        assert_eq!(found(&plain, &[1, 1], SectionText::All), None);
        assert_eq!(found(&plain, &[], SectionText::Mime), None);
    }

    #[test]
    fn a_partial_is_cut_at_the_end() {
        let whole = span(10, 20);
        for (partial, expected) in [
            (None, whole),
            (Some((0, 4)), span(10, 14)),
            (Some((9, 4)), span(19, 20)),
            (Some((10, 4)), span(20, 20)),
            (Some((u64::MAX, u64::MAX)), span(20, 20)),
        ] {
            assert_eq!(cut(whole, partial), expected);
        }
    }
}
