//! PREVIEW (RFC 8970): the first words of a message, of the first part that a reader would see.
//!
//! [`Splitter`](crate::Splitter) gathers them while the octets pass ([`gathering`]). What it could not find in what it may look at, and
//! what was not asked for when a message came, is found by the same functions when it is asked for: [`part`] says which part is read,
//! [`PreviewWriter`] takes its octets.

mod gathering;
mod words;

use crate::{decode::BodyDecoder, structure::Part};

pub(crate) use gathering::Gathering;
use words::Words;

/// Most characters of a preview (RFC 8970 section 3.3 wants 200, and never more than 256).
pub const PREVIEW_CHARS_MAX: usize = 200;
/// Most octets of a part that are looked at for it, before its transfer encoding is taken off.
pub const PREVIEW_PART_BYTES_MAX: u64 = 64 * 1024;
/// Deepest part that is looked for text.
const DEPTH_MAX: usize = 20;
/// Octets that are decoded at a time: most previews need no more.
const STEP_BYTES: usize = 512;

/// What the text of a part is written in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Markup {
    Plain,
    Html,
}

/// The part of a message that its preview is made of: the first one that is text to be read; of alternatives the plain one.
pub fn part<O: AsRef<[u8]>>(root: &Part<O>) -> Option<&Part<O>> {
    text_part(root, DEPTH_MAX).map(|(part, _)| part)
}

fn text_part<O: AsRef<[u8]>>(part: &Part<O>, depth: usize) -> Option<(&Part<O>, Markup)> {
    let below = depth.checked_sub(1)?;
    if part.is_multipart() {
        let mut found = part.children.iter().filter_map(|child| text_part(child, below));
        let first = found.next()?;
        let alternative = is_alternative(part) && first.1 == Markup::Html;
        return if alternative {
            found.find(|(_, markup)| *markup == Markup::Plain).or(Some(first))
        } else {
            Some(first)
        };
    }
    markup(part).map(|markup| (part, markup))
}

fn is_alternative<O: AsRef<[u8]>>(part: &Part<O>) -> bool {
    part.content_type.is("multipart", "alternative")
}

/// What is written in a part that is no multipart; `None`: nothing that is shown as text.
fn markup<O: AsRef<[u8]>>(part: &Part<O>) -> Option<Markup> {
    let disposition = part.disposition.as_ref().map(|disposition| disposition.kind.as_ref());
    if disposition.is_some_and(|kind| kind.eq_ignore_ascii_case(b"attachment")) {
        return None;
    }
    match &part.content_type {
        kind if kind.is("text", "plain") => Some(Markup::Plain),
        kind if kind.is("text", "html") => Some(Markup::Html),
        _ => None,
    }
}

/// Makes a preview of the body of a part.
#[derive(Debug)]
pub struct PreviewWriter {
    decoder: BodyDecoder,
    words: Words,
}

impl PreviewWriter {
    /// Of a part that [`part`] found.
    pub fn new<O: AsRef<[u8]>>(part: &Part<O>) -> Self {
        let encoding = part.encoding.as_ref().map(AsRef::as_ref);
        let decoder = BodyDecoder::new(encoding, part.charset());
        Self { decoder, words: Words::new(markup(part).unwrap_or(Markup::Plain)) }
    }

    /// Takes the next octets of the body, cut anywhere; those behind [`PREVIEW_PART_BYTES_MAX`] are not to be given.
    pub fn feed(&mut self, octets: &[u8]) {
        for step in octets.chunks(STEP_BYTES) {
            if self.is_full() {
                return;
            }
            self.words.feed(&self.decoder.feed(step));
        }
    }

    /// Whether no octet that follows can change it.
    pub fn is_full(&self) -> bool {
        self.words.is_full()
    }

    /// The preview; empty where there are no words.
    pub fn finish(mut self) -> String {
        self.words.feed(&self.decoder.finish());
        self.words.finish()
    }
}

#[cfg(test)]
mod tests;
