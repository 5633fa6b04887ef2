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
use waypost_message::{EnvelopeAddress, HeaderBlock, Splitter};

use super::{
    dkim::{
        body::{Bodies, BodyId},
        canonical::Canonicalization,
        signature::{add_fields, add_unsigned},
    },
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
pub(super) const NAMES_MAX: usize = 200;
/// How header and body are signed: mail is often folded anew, or loses white space, on its way.
pub(super) const FORM: Canonicalization = Canonicalization::Relaxed;
/// Where lines of a signature are folded, in octets.
const FOLD_BYTES: usize = 76;
/// What lines go on with.
pub(super) const FOLD: &str = "\r\n\t";
/// SHA-256 in base64, in octets.
const BODY_HASH_BYTES: usize = 44;

/// A message that is being signed.
#[derive(Debug)]
pub struct Signing {
    bodies: Bodies,
    body: BodyId,
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
        let mut bodies = Bodies::default();
        let body = bodies.add(FORM, None);
        Some(Self { bodies, body, names, open })
    }

    /// Takes octets of the body.
    pub fn feed(&mut self, octets: &[u8]) {
        self.bodies.feed(octets);
    }

    /// Completes the fields at the start of the header block. Errors: a key that does not sign.
    pub fn finish(self, header: &mut [u8]) -> Result<(), KeyError> {
        let body_hash = STANDARD.encode(self.bodies.finish().digest(self.body));
        let end = self.open.last().map_or(0, |open| open.end);
        let mut fields = Vec::new();
        add_fields(FORM, self.names.iter().copied(), &HeaderBlock::new(header[end..].to_vec()), &mut fields);
        for Open { key, start, body_hash: at, signature, end } in self.open {
            put(header, at, body_hash.as_bytes());
            let value = folded(&STANDARD.encode(signed(&key, &header[start..end], fields.clone())?));
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
pub(super) fn names(header: &HeaderBlock) -> Vec<&'static str> {
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
    write_signer(key, now, text);
    text.push_str(" h=");
    write_names(names, text);
    text.push_str("bh=");
    let body_hash = text.len();
    text.push_str(&"A".repeat(BODY_HASH_BYTES));
    text.push_str(&format!(";{FOLD}b="));
    let signature = text.len();
    text.push_str(&folded(&"A".repeat(key.signature_bytes().div_ceil(3) * 4)));
    text.push_str("\r\n");
    Open { key: Arc::clone(key), start, body_hash, signature, end: text.len() }
}

/// Writes who signs, and when: a line, and what the next one begins with.
pub(super) fn write_signer(key: &SigningKey, now: Timestamp, text: &mut String) {
    text.push_str(&format!("d={}; s={};{FOLD}t={};", key.domain(), key.selector(), now.seconds()));
}

/// Writes the value of `h=` behind ` t=…; h=`, and begins the next line.
pub(super) fn write_names(names: &[&str], text: &mut String) {
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
}

/// Base64 in lines.
pub(super) fn folded(text: &str) -> String {
    let mut lines = String::with_capacity(text.len() + text.len() / 16);
    for (place, letter) in text.chars().enumerate() {
        if place > 0 && place % (FOLD_BYTES - 8) == 0 {
            lines.push_str(FOLD);
        }
        lines.push(letter);
    }
    lines
}

/// Signs octets and the field that is to hold the signature, but for what stands in its tag `b=` (RFC 6376 section 3.7).
pub(super) fn signed(key: &SigningKey, own: &[u8], mut octets: Vec<u8>) -> Result<Vec<u8>, KeyError> {
    let own = HeaderBlock::new(own.to_vec());
    if let Some(own) = own.fields().next() {
        add_unsigned(FORM, &own, &mut octets);
    }
    key.sign(&octets)
}

/// The domain of the first author that a message names.
pub fn author_domain(header: &HeaderBlock) -> Option<Domain> {
    authors(header).next().map(|author| author.domain)
}

/// The addresses in field From.
pub fn authors(header: &HeaderBlock) -> impl Iterator<Item = Address> {
    // only this field, so that others cannot use up what the splitter may keep
    let from: Vec<u8> = header.named("From").flat_map(|field| field.octets).copied().collect();
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
