//! BINARY and BINARY.SIZE (RFC 3516, RFC 9051 section 6.4.5): parts without their transfer encoding.
//!
//! Octets are decoded as they are read, twice: first to count them and to see whether NUL is among them, which decides between
//! `literal` and `literal8`, then to send them. A part that is a multipart or a message, and the whole message, have no encoding.

use waypost_message::{Span, decode::ContentDecoder};
use waypost_net::Disconnect;
use waypost_storage::{Reader, StoreError};

use super::{Message, Responder, section};
use crate::wire::{BodySection, FetchItem, SectionText, encode};

/// Whether the transfer encoding of the part that an item names is known.
pub(super) fn is_decodable(message: &Message, item: &FetchItem) -> bool {
    match item {
        FetchItem::Binary(section) => decoder(message, &section.part).is_some(),
        FetchItem::BinarySize(part) => decoder(message, part).is_some(),
        _ => true,
    }
}

/// What decodes a part; `None`: its encoding is not known.
fn decoder(message: &Message, part: &[u32]) -> Option<ContentDecoder> {
    let part = message.structure.as_deref().and_then(|structure| section::part_of(structure, part));
    let leaf = part.filter(|part| !part.is_multipart() && part.message.is_none());
    ContentDecoder::new(leaf.and_then(|part| part.encoding.as_deref()))
}

/// Where a part is.
fn locate(message: &Message, part: &[u32]) -> Option<Span> {
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
    holds_nul: bool,
}

impl Responder<'_, '_> {
    /// `"BINARY" section-binary ["<" number ">"] SP (nstring / literal8)`
    pub(super) async fn binary(
        &mut self,
        message: &Message,
        section: &BodySection,
    ) -> Result<(), Disconnect> {
        let origin = section.partial.map(|(start, _)| format!("<{start}>")).unwrap_or_default();
        self.text.extend(format!("BINARY[{}]{origin} ", numbers(&section.part)).as_bytes());
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
    pub(super) async fn binary_size(&mut self, message: &Message, part: &[u32]) -> Result<(), Disconnect> {
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

    fn decoded(&self, message: &Message, part: &[u32]) -> Option<Decoded> {
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
    let mut measured = Measured::default();
    while let Some(octets) = decoded.next().await? {
        measured.bytes += octets.len() as u64;
        measured.holds_nul |= octets.contains(&0);
    }
    Ok(measured)
}

/// `section-part = nz-number *("." nz-number)`
fn numbers(part: &[u32]) -> String {
    part.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}
