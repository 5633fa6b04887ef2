//! BINARY and BINARY.SIZE (RFC 3516, RFC 9051 section 6.4.5), and of URLs (RFC 5524): parts without their transfer encoding.
//!
//! Octets are decoded as they are read, twice: first to count them and to see whether NUL is among them, which decides between
//! `literal` and `literal8`, then to send them. A part that is a multipart or a message, and the whole message, have no encoding.

use waypost_message::{Span, decode::ContentDecoder};
use waypost_net::Disconnect;
use waypost_storage::{Reader, StoreError};

use super::{
    Message, Responder, section,
    structure::{self, Form, Part},
};
use crate::wire::{BodySection, FetchItem, SectionText, encode};

/// Whether the transfer encoding of the part that an item names is known.
pub(super) fn is_decodable(message: &Message<'_>, item: &FetchItem) -> bool {
    match item {
        FetchItem::Binary(section) => decoder(message, &section.part).is_some(),
        FetchItem::BinarySize(part) => decoder(message, part).is_some(),
        _ => true,
    }
}

/// What decodes a part; `None`: its encoding is not known.
fn decoder(message: &Message<'_>, part: &[u32]) -> Option<ContentDecoder> {
    let part = message.structure.as_ref().and_then(|structure| section::part_of(structure, part));
    let leaf = part.filter(|part| !part.is_multipart() && part.message.is_none());
    ContentDecoder::new(leaf.and_then(|part| part.encoding))
}

/// Where a part is.
fn locate(message: &Message<'_>, part: &[u32]) -> Option<Span> {
    let content = &message.row.content;
    let whole = BodySection { peek: true, part: part.to_vec(), text: SectionText::All, partial: None };
    match &message.structure {
        None => Some(Span { start: 0, end: content.size() }),
        Some(structure) => section::locate(structure, content.prefix_size(), content.size(), &whole),
    }
}

/// A decoded part as it comes.
struct Decoded {
    reader: Reader,
    /// `None`: all was given.
    decoder: Option<ContentDecoder>,
}

impl Decoded {
    /// The next octets; `None` at the end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(decoder) = &mut self.decoder else { return Ok(None) };
        let octets = self.reader.next().await?;
        let mut decoded = Vec::new();
        decoder.feed(&octets, &mut decoded);
        if octets.is_empty()
            && let Some(decoder) = self.decoder.take()
        {
            decoder.finish(&mut decoded);
        }
        Ok(Some(decoded))
    }
}

/// What is known of a decoded part once it was read.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    bytes: u64,
    /// Line ends, plus one for a last line without one.
    lines: u64,
    holds_nul: bool,
}

impl Responder<'_, '_> {
    /// `"BINARY" section-binary ["<" number ">"] SP (nstring / literal8)`
    pub(super) async fn binary(
        &mut self,
        message: &Message<'_>,
        section: &BodySection,
    ) -> Result<(), Disconnect> {
        let origin = section.partial.map(|(start, _)| format!("<{start}>")).unwrap_or_default();
        self.text.extend(format!("BINARY[{}]{origin} ", numbers(&section.part)).as_bytes());
        self.decoded_part(message, section).await
    }

    /// `"BINARY" SP (nstring / literal8)` of URLFETCH (RFC 5524 section 5): NIL where the encoding is not known. What is no part has no
    /// encoding.
    pub(super) async fn url_binary(
        &mut self,
        message: &Message<'_>,
        section: &BodySection,
    ) -> Result<(), Disconnect> {
        if section.text != SectionText::All {
            return self.section(message, "BINARY", section).await;
        }
        self.text.extend(b"BINARY ");
        if decoder(message, &section.part).is_none() {
            self.text.extend(b"NIL");
            return Ok(());
        }
        self.decoded_part(message, section).await
    }

    /// `"BODYPARTSTRUCTURE" SP body` of URLFETCH (RFC 5524 section 5): of the data as it is told, decoded or not. What is no part is
    /// plain text.
    pub(super) async fn url_structure(
        &mut self,
        message: &Message<'_>,
        section: &BodySection,
        is_decoded: bool,
    ) {
        let Some(structure) = message.structure.as_ref() else { return };
        let named = match section.part.as_slice() {
            [] => Some(&structure.root),
            numbers => section::part_of(structure, numbers),
        };
        let mut part = match (&section.text, named) {
            (SectionText::All, Some(part)) => part.clone(),
            _ => Part::default(),
        };
        let content = &message.row.content;
        let is_leaf = !part.is_multipart() && part.message.is_none();
        let decoded = match section.text {
            SectionText::All if is_decoded && is_leaf && !section.part.is_empty() => {
                decoder(message, &section.part).and_then(|_| self.decoded(message, &section.part))
            }
            SectionText::All => None,
            _ => section::locate(structure, content.prefix_size(), content.size(), section).map(|span| {
                let reader = self.store.reader(content, span.start, span.end - span.start);
                Decoded { reader, decoder: ContentDecoder::new(None) }
            }),
        };
        if let Some(mut decoded) = decoded {
            match measure(&mut decoded).await {
                Ok(measured) => {
                    part.body = Span { start: 0, end: measured.bytes };
                    part.lines = measured.lines;
                    if section.text == SectionText::All {
                        part.encoding = Some(b"BINARY");
                    }
                }
                Err(error) => self.damaged(message, &error),
            }
        }
        self.text.extend(b"BODYPARTSTRUCTURE ");
        structure::body(&mut self.text, &part, Form::Basic, message.global);
    }

    async fn decoded_part(&mut self, message: &Message<'_>, section: &BodySection) -> Result<(), Disconnect> {
        let Some(mut decoded) = self.decoded(message, &section.part) else {
            self.text.extend(b"NIL");
            return Ok(());
        };
        let measured = match measure(&mut decoded).await {
            Ok(measured) => measured,
            Err(error) => {
                self.unreadable(message, &error);
                return Ok(());
            }
        };
        let cut = section::cut(Span { start: 0, end: measured.bytes }, section.partial);
        let bytes = cut.end - cut.start;
        if measured.holds_nul {
            encode::literal8_head(&mut self.text, bytes);
        } else {
            encode::literal_head(&mut self.text, bytes);
        }
        self.send().await?;
        match self.decoded(message, &section.part) {
            Some(decoded) => self.send_decoded(decoded, cut).await,
            None => Ok(()),
        }
    }

    /// `"BINARY.SIZE" section-binary SP number`; of a part that is not there, 0: as long as NIL.
    pub(super) async fn binary_size(
        &mut self,
        message: &Message<'_>,
        part: &[u32],
    ) -> Result<(), Disconnect> {
        let measured = match self.decoded(message, part) {
            Some(mut decoded) => measure(&mut decoded).await,
            None => Ok(Measured::default()),
        };
        self.text.extend(format!("BINARY.SIZE[{}] ", numbers(part)).as_bytes());
        let bytes = measured.map_or_else(
            |error| {
                self.damaged(message, &error);
                0
            },
            |measured| measured.bytes,
        );
        self.text.extend(bytes.to_string().as_bytes());
        Ok(())
    }

    fn decoded(&self, message: &Message<'_>, part: &[u32]) -> Option<Decoded> {
        let span = locate(message, part)?;
        let reader = self.store.reader(&message.row.content, span.start, span.end.saturating_sub(span.start));
        Some(Decoded { reader, decoder: decoder(message, part) })
    }

    /// Sends the octets in `cut` of those that are decoded.
    async fn send_decoded(&mut self, mut decoded: Decoded, cut: Span) -> Result<(), Disconnect> {
        let mut at = 0;
        while at < cut.end {
            let octets = decoded.next().await.map_err(|error| Disconnect::Handler(error.to_string()))?;
            let Some(octets) = octets else {
                return Err(Disconnect::Handler("a part is shorter than when it was measured".to_owned()));
            };
            let within = |place: u64| (place.saturating_sub(at) as usize).min(octets.len());
            self.output.write(&octets[within(cut.start)..within(cut.end)]).await?;
            at += octets.len() as u64;
        }
        Ok(())
    }
}

async fn measure(decoded: &mut Decoded) -> Result<Measured, StoreError> {
    let (mut measured, mut last) = (Measured::default(), b'\n');
    while let Some(octets) = decoded.next().await? {
        measured.lines += octets.iter().filter(|octet| **octet == b'\n').count() as u64;
        last = octets.last().copied().unwrap_or(last);
        measured.bytes += octets.len() as u64;
        measured.holds_nul |= octets.contains(&0);
    }
    measured.lines += u64::from(last != b'\n');
    Ok(measured)
}

/// `section-part = nz-number *("." nz-number)`
fn numbers(part: &[u32]) -> String {
    part.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}
