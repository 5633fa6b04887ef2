//! What comes back of a message (RFC 6522 section 4, RFC 6533 sections 4.2 and 4.3).

use mail_builder::{headers::content_type::ContentType, mime::MimePart};

use super::{Form, Original, is_eight_bit, part_of_lines};

/// Most octets of the original header block that are returned; it is cut behind a line.
pub(super) const HEADER_BYTES_MAX: usize = 32 * 1024;

/// The part. A message or header block of US-ASCII has the type that every user agent knows.
pub(super) fn part(original: &Original, form: Form) -> MimePart<'_> {
    match original {
        Original::Message(message) => whole(message, form),
        Original::Header(header) => {
            let lines = lines(header);
            let is_global = form != Form::Ascii && !lines.is_ascii() && std::str::from_utf8(&lines).is_ok();
            let kind = if is_global { "message/global-headers" } else { "text/rfc822-headers" };
            part_of_lines(kind, lines, form)
        }
    }
}

fn whole(message: &[u8], form: Form) -> MimePart<'_> {
    let (kind, encoding) = match form {
        _ if super::is_seven_bit(message) => ("message/rfc822", Some("7bit")),
        Form::Utf8 if is_eight_bit(message) => ("message/global", Some("8bit")),
        // message/rfc822 could not be encoded (RFC 2046 section 5.2.1), message/global can (RFC 6532 section 3.7)
        Form::Utf8 | Form::Utf8Encoded | Form::Ascii => ("message/global", None),
    };
    let part = MimePart::new(ContentType::new(kind), message);
    match encoding {
        Some(encoding) => part.transfer_encoding(encoding),
        // in base64
        None => part,
    }
}

/// The lines of a header block, as far as they are returned, each ended by CRLF.
fn lines(header: &[u8]) -> Vec<u8> {
    let kept = match header.get(..HEADER_BYTES_MAX) {
        Some(start) if header.len() > start.len() => {
            &start[..start.iter().rposition(|&octet| octet == b'\n').map_or(0, |lf| lf + 1)]
        }
        _ => header,
    };
    let lines = kept.trim_ascii_end().split(|&octet| octet == b'\n');
    let lines: Vec<&[u8]> = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    let mut octets = lines.join(b"\r\n".as_slice());
    octets.extend_from_slice(b"\r\n");
    octets
}
