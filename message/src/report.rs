//! Reports of other servers: delivery status (RFC 3464, RFC 6533) and feedback (RFC 5965), in a multipart/report (RFC 6522).
//!
//! Only parts of the outermost multipart are looked at. What a report says is what its writer says.

mod incident;

use waypost_mail::{EnhancedStatus, notify::decode_unitext};

use crate::{
    HeaderBlock, Part, Structure,
    build::Action,
    decode::{ContentDecoder, header_text},
};

pub use incident::{DOMAINS_MAX, Incident, RECEIVED_MAX, ReturnedHeader};

/// Most octets of a report's part for programs that are read; what stands behind them is not looked at.
pub const PART_BYTES_MAX: usize = 64 * 1024;
/// Most recipients of one report that are kept.
pub const RECIPIENTS_MAX: usize = 50;
/// Most octets of each text that is kept.
pub const TEXT_BYTES_MAX: usize = 320;

/// What a report says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Report {
    /// What became of the message for recipients; at least one.
    Delivery(Vec<RecipientStatus>),
    /// Somebody complains.
    Feedback(Feedback),
}

/// What became of a message for one recipient.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecipientStatus {
    /// Its address: as the sender wrote it where the report says so, else the last one.
    pub recipient: String,
    /// What was done.
    pub action: Action,
    /// Why; `None` where that cannot be read.
    pub status: Option<EnhancedStatus>,
    /// What was said.
    pub diagnostic: Option<String>,
}

/// A complaint (RFC 5965 section 3). Providers leave out, or make unreadable, who complains (RFC 6590): then only the path that the report came
/// to says which message it is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Feedback {
    /// `abuse`, `fraud`, `virus`, `other` (RFC 5965 section 7.3), `not-spam` (RFC 6430), `auth-failure` (RFC 6591), …; in lower case.
    pub kind: String,
    /// To whom the message went, where the report says so; at most [`RECIPIENTS_MAX`].
    pub recipients: Vec<String>,
}

impl Report {
    /// Reads a message of this structure, whose header block with its empty line has so many octets. `None`: it is no report that could be read.
    pub fn read(structure: &Structure, header_bytes: usize, body: &[u8]) -> Option<Self> {
        let root = &structure.root;
        if !root.content_type.is("multipart", "report") {
            return None;
        }
        root.children.iter().find_map(|part| {
            let is = |subtype: &str| part.content_type.is("message", subtype);
            if is("delivery-status") || is("global-delivery-status") {
                return delivery(&decoded(part, header_bytes, body)?);
            }
            is("feedback-report").then(|| feedback(&decoded(part, header_bytes, body)?)).flatten()
        })
    }
}

/// The octets of a part without transfer encoding, with CRLF or LF as line ends.
fn decoded(part: &Part, header_bytes: usize, body: &[u8]) -> Option<Vec<u8>> {
    let place = |at: u64| usize::try_from(at).ok()?.checked_sub(header_bytes);
    let octets = body.get(place(part.body.start)?..place(part.body.end)?)?;
    let mut decoder = ContentDecoder::new(part.encoding.as_deref())?;
    let mut decoded = Vec::new();
    decoder.feed(octets.get(..PART_BYTES_MAX).unwrap_or(octets), &mut decoded);
    decoder.finish(&mut decoded);
    Some(decoded)
}

/// `per-recipient-fields` behind `per-message-fields` (RFC 3464 section 2.1)
fn delivery(octets: &[u8]) -> Option<Report> {
    let recipients: Vec<_> = groups(octets).iter().filter_map(recipient).take(RECIPIENTS_MAX).collect();
    (!recipients.is_empty()).then_some(Report::Delivery(recipients))
}

fn recipient(fields: &HeaderBlock) -> Option<RecipientStatus> {
    let last = value(fields, "Final-Recipient")?;
    let recipient = value(fields, "Original-Recipient").unwrap_or(last);
    let status = value(fields, "Status");
    let status = status.as_deref().and_then(|status| status.split_ascii_whitespace().next());
    Some(RecipientStatus {
        recipient: address(&recipient)?,
        action: Action::parse(&value(fields, "Action")?)?,
        status: status.and_then(EnhancedStatus::parse),
        diagnostic: value(fields, "Diagnostic-Code").map(|text| cut(untyped(&text).1)),
    })
}

/// `"Feedback-Type:" [CFWS] token [CFWS]` is required, `Original-Rcpt-To` may stand there more than once (RFC 5965 sections 3.1, 3.3 and 3.5).
/// Version and User-Agent are required, too, but some programs leave them out, and they change nothing.
fn feedback(octets: &[u8]) -> Option<Report> {
    let fields = groups(octets).into_iter().next()?;
    let kind = without_comments(&value(&fields, "Feedback-Type")?).to_ascii_lowercase();
    let all = fields.fields().filter(|field| field.is("Original-Rcpt-To"));
    let recipients = all.take(RECIPIENTS_MAX).filter_map(|field| {
        let text = header_text(&field.value());
        let text = untyped_path(text.trim());
        (!text.is_empty()).then(|| cut(text))
    });
    let recipients = recipients.collect();
    (!kind.is_empty()).then(|| Report::Feedback(Feedback { kind: cut(&kind), recipients }))
}

/// What stands outside of parentheses (RFC 5322 section 3.2.2), without white space around it.
fn without_comments(text: &str) -> String {
    let (mut kept, mut depth) = (String::new(), 0_usize);
    for character in text.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => kept.push(character),
            _ => {}
        }
    }
    kept.trim().to_owned()
}

/// A path as SMTP has it, or an address with its type, as some write it.
fn untyped_path(text: &str) -> &str {
    let address = text.split_once(';').map_or(text, |(_, address)| address.trim());
    address.trim_matches(['<', '>'])
}

/// Fields between empty lines.
fn groups(octets: &[u8]) -> Vec<HeaderBlock> {
    let (mut groups, mut group) = (Vec::new(), Vec::new());
    for line in octets.split_inclusive(|&octet| octet == b'\n') {
        if line.trim_ascii().is_empty() {
            groups.push(std::mem::take(&mut group));
        } else {
            group.extend_from_slice(line);
        }
    }
    groups.push(group);
    groups.into_iter().filter(|group| !group.is_empty()).map(HeaderBlock::new).collect()
}

fn value(fields: &HeaderBlock, name: &str) -> Option<String> {
    fields.first(name).map(|value| header_text(&value)).filter(|text| !text.is_empty())
}

/// `address-type ";" generic-address`
fn address(text: &str) -> Option<String> {
    let (kind, address) = untyped(text);
    let is_utf8 = kind.eq_ignore_ascii_case("utf-8");
    let address = if is_utf8 { decode_unitext(address) } else { None }.unwrap_or_else(|| address.to_owned());
    let address = cut(address.trim_matches(['<', '>']));
    (!address.is_empty()).then_some(address)
}

/// What stands before and behind the type.
fn untyped(text: &str) -> (&str, &str) {
    let (kind, rest) = text.split_once(';').unwrap_or(("", text));
    (kind.trim(), rest.trim())
}

fn cut(text: &str) -> String {
    let mut text = crate::build::line(text);
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests;
