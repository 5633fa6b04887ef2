//! Signing a message while it passes (RFC 6376 section 5; RFC 8301, RFC 8463). Pure.
//!
//! The fields are put before the header block with room for the two hashes when the header is complete, so that offsets behind them
//! stay; what stands there is known only at the end of the body.
//!
//! ```text
//! header complete ──Signing::begin──► feed, feed, … (body) ──Signing::finish──► hashes stand in the header block
//! ```

use std::{collections::HashMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use waypost_mail::{Address, Domain, LocalPart, Timestamp};
use waypost_message::{EnvelopeAddress, Field, HeaderBlock, Splitter};

use super::{
    canonical::{self, BodyHash},
    keys::{KeyError, SigningKey},
};

/// Fields that are signed whether they are there or not, and once more than they are there, so that nobody can add another one (RFC 6376
/// sections 5.4.2 and 8.15).
const OVERSIGNED: [&str; 12] = [
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];
/// Fields that are so only where they are there: those that mailing lists add to messages which they leave as they are.
const OVERSIGNED_IF_THERE: [&str; 19] = [
    "Sender",
    "Resent-From",
    "Resent-Sender",
    "Resent-Date",
    "Resent-To",
    "Resent-Cc",
    "Resent-Message-ID",
    "Content-ID",
    "Content-Description",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Auto-Submitted",
    "Autocrypt",
];
/// Most names in tag `h=`: no message that people or programs write comes near it, and each costs every verifier work.
const NAMES_MAX: usize = 200;
/// Where lines of a signature are folded, in octets.
const FOLD_BYTES: usize = 76;
/// What lines go on with.
const FOLD: &str = "\r\n\t";
/// SHA-256 in base64, in octets.
const BODY_HASH_BYTES: usize = 44;

/// A message that is being signed.
#[derive(Debug)]
pub struct Signing {
    body: BodyHash,
    names: Vec<&'static str>,
    /// In the order in which their fields stand before the header block.
    open: Vec<Open>,
}

/// A signature whose hashes are missing; its places count from the start of the header block.
#[derive(Debug)]
struct Open {
    key: Arc<SigningKey>,
    start: usize,
    body_hash: usize,
    signature: usize,
    end: usize,
}

impl Signing {
    /// Puts fields for these keys before a header block that is otherwise complete. `None`: there is no key, or the header has so many
    /// fields of one name that nothing sane would come of it.
    pub fn begin(keys: &[Arc<SigningKey>], header: &mut HeaderBlock, now: Timestamp) -> Option<Self> {
        if keys.is_empty() {
            return None;
        }
        let names = names(header);
        if names.len() > NAMES_MAX {
            return None;
        }
        let (mut text, mut open) = (String::new(), Vec::with_capacity(keys.len()));
        for key in keys {
            open.push(template(key, &names, now, &mut text));
        }
        header.prepend(&text);
        Some(Self { body: BodyHash::default(), names, open })
    }

    /// Takes octets of the body.
    pub fn feed(&mut self, octets: &[u8]) {
        self.body.feed(octets);
    }

    /// Completes the fields at the start of the header block. Errors: a key that does not sign.
    pub fn finish(self, header: &mut [u8]) -> Result<(), KeyError> {
        let body_hash = STANDARD.encode(self.body.finish());
        let data = {
            let end = self.open.last().map_or(0, |open| open.end);
            signed_fields(&self.names, &HeaderBlock::new(header[end..].to_vec()))
        };
        for Open { key, start, body_hash: at, signature, end } in self.open {
            put(header, at, body_hash.as_bytes());
            let mut data = data.clone();
            signature_field(&header[start..signature], &mut data);
            let value = folded(&STANDARD.encode(key.sign(&data)?));
            debug_assert_eq!(signature + value.len() + 2, end);
            put(header, signature, value.as_bytes());
        }
        Ok(())
    }
}

/// Writes octets over those that hold their place.
fn put(header: &mut [u8], at: usize, octets: &[u8]) {
    if let Some(place) = header.get_mut(at..at + octets.len()) {
        place.copy_from_slice(octets);
    }
}

/// Tag `h=`: each name as often as its field is there, and once more.
fn names(header: &HeaderBlock) -> Vec<&'static str> {
    let mut counts: HashMap<&'static str, usize> = HashMap::new();
    let all = || OVERSIGNED.into_iter().chain(OVERSIGNED_IF_THERE);
    for field in header.fields() {
        if let Some(name) = all().find(|name| field.is(name)) {
            *counts.entry(name).or_default() += 1;
        }
    }
    let mut names = Vec::new();
    for name in all() {
        let count = counts.get(name).copied().unwrap_or(0);
        let is_signed = count > 0 || OVERSIGNED.contains(&name);
        names.extend(std::iter::repeat_n(name, if is_signed { count + 1 } else { 0 }));
    }
    names
}

/// Writes a field with room for its hashes behind `text`.
fn template(key: &Arc<SigningKey>, names: &[&str], now: Timestamp, text: &mut String) -> Open {
    let start = text.len();
    text.push_str(&format!("DKIM-Signature: v=1; a={}; c=relaxed/relaxed;{FOLD}", key.tag()));
    text.push_str(&format!("d={}; s={};{FOLD}t={}; h=", key.domain(), key.selector(), now.seconds()));
    let mut line = 24;
    for (place, name) in names.iter().enumerate() {
        if line + name.len() > FOLD_BYTES {
            text.push_str(FOLD);
            line = 8;
        }
        text.push_str(name);
        text.push(if place + 1 < names.len() { ':' } else { ';' });
        line += name.len() + 1;
    }
    text.push_str(FOLD);
    text.push_str("bh=");
    let body_hash = text.len();
    text.push_str(&"A".repeat(BODY_HASH_BYTES));
    text.push_str(&format!(";{FOLD}b="));
    let signature = text.len();
    text.push_str(&folded(&"A".repeat(key.signature_bytes().div_ceil(3) * 4)));
    text.push_str("\r\n");
    Open { key: Arc::clone(key), start, body_hash, signature, end: text.len() }
}

/// Base64 in lines.
fn folded(text: &str) -> String {
    let mut lines = String::with_capacity(text.len() + text.len() / 16);
    for (place, letter) in text.chars().enumerate() {
        if place > 0 && place % (FOLD_BYTES - 8) == 0 {
            lines.push_str(FOLD);
        }
        lines.push(letter);
    }
    lines
}

/// The fields that `h=` names in their order, from the last of each name upwards (RFC 6376 section 5.4.2), each with CRLF.
fn signed_fields(names: &[&str], header: &HeaderBlock) -> Vec<u8> {
    let mut left: HashMap<&str, Vec<Field<'_>>> = HashMap::new();
    for field in header.fields() {
        if let Some(name) = names.iter().find(|name| field.is(name)) {
            left.entry(name).or_default().push(field);
        }
    }
    let mut data = Vec::new();
    for name in names {
        if let Some(field) = left.get_mut(name).and_then(Vec::pop) {
            canonical::field(field.name, field.raw, &mut data);
            data.extend_from_slice(b"\r\n");
        }
    }
    data
}

/// The signature's own field up to its tag `b=`, which is the last one, without CRLF (RFC 6376 section 3.7).
fn signature_field(octets: &[u8], data: &mut Vec<u8>) {
    let colon = octets.iter().position(|octet| *octet == b':').unwrap_or(octets.len());
    let (name, raw) = octets.split_at(colon);
    canonical::field(name, raw.get(1..).unwrap_or_default(), data);
}

/// The domain of the first author that a message names.
pub fn author_domain(header: &HeaderBlock) -> Option<Domain> {
    authors(header).next().map(|author| author.domain)
}

/// The addresses in field From.
pub fn authors(header: &HeaderBlock) -> impl Iterator<Item = Address> {
    // only this field, so that others cannot use up what the splitter may keep
    let from: Vec<u8> =
        header.fields().filter(|field| field.is("From")).flat_map(|field| field.octets).copied().collect();
    let envelope = Splitter::split(&from).envelope;
    envelope.from.into_iter().filter_map(|author| match author {
        EnvelopeAddress::Mailbox { local, domain, .. } => {
            let local = LocalPart::new(std::str::from_utf8(&local).ok()?).ok()?;
            let domain = Domain::new(std::str::from_utf8(&domain).ok()?).ok()?;
            Some(Address { local, domain })
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests;
