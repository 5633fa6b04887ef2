//! What the octets of a message are, whatever was declared: what the next server is told (RFC 6152 section 3, RFC 3030 section 3).

use waypost_mail::BodyType;
use waypost_message::{Part, Structure};

/// Longest line in octets without CRLF that every server takes (RFC 5321 section 4.5.3.1.6).
const LINE_BYTES_MAX: usize = 998;

/// Looks at the octets of a message as they pass.
#[derive(Debug)]
pub(super) struct Scan {
    declared: BodyType,
    eight_bit: bool,
    /// Not lines that end with CRLF, or longer ones, or with NUL; looked for only where binary is declared.
    binary: bool,
    line_bytes: usize,
    behind_cr: bool,
}

impl Scan {
    /// Before the first octet of a message that was declared so.
    pub(super) fn new(declared: BodyType) -> Self {
        Self { declared, eight_bit: false, binary: false, line_bytes: 0, behind_cr: false }
    }

    /// Takes octets.
    pub(super) fn feed(&mut self, octets: &[u8]) {
        self.eight_bit = self.eight_bit || !octets.is_ascii();
        if self.declared == BodyType::BinaryMime && !self.binary {
            octets.iter().for_each(|octet| self.octet(*octet));
        }
    }

    fn octet(&mut self, octet: u8) {
        let ends_line = (self.behind_cr, octet) == (true, b'\n');
        self.binary |= octet == 0 || (self.behind_cr || octet == b'\n') && !ends_line;
        self.behind_cr = octet == b'\r';
        self.line_bytes = if ends_line || self.behind_cr { self.line_bytes } else { self.line_bytes + 1 };
        self.binary |= self.line_bytes > LINE_BYTES_MAX;
        if ends_line {
            self.line_bytes = 0;
        }
    }

    /// What the message is. Some servers declare all that they send to be binary: what is text goes on as such, or it would come back
    /// from each server that takes text only. A part that says of itself that it is binary stays so.
    pub(super) fn finish(&self, structure: &Structure) -> BodyType {
        let text = if self.eight_bit { BodyType::EightBitMime } else { BodyType::SevenBit };
        match self.declared {
            BodyType::BinaryMime if self.binary || self.behind_cr || holds_binary(&structure.root) => {
                BodyType::BinaryMime
            }
            BodyType::BinaryMime => text,
            declared => declared.max(text),
        }
    }
}

/// Whether a part, or one inside it, is labelled as binary (RFC 2045 section 6.2).
fn holds_binary(part: &Part) -> bool {
    let is_binary = |encoding: &Vec<u8>| encoding.eq_ignore_ascii_case(b"binary");
    let inside = part.message.as_ref().map(|message| &message.root);
    part.encoding.as_ref().is_some_and(is_binary) || part.children.iter().chain(inside).any(holds_binary)
}

#[cfg(test)]
mod tests {
    use waypost_message::Splitter;

    use super::*;

    #[test]
    fn what_is_text_is_declared_as_text() {
        use BodyType::{BinaryMime, EightBitMime, SevenBit};
        let (longest, longer) =
            (format!("\r\n{}\r\n", "x".repeat(998)), format!("\r\n{}\r\n", "x".repeat(999)));
        let nested = "Content-Type: message/rfc822\r\n\r\nContent-Transfer-Encoding: binary\r\n\r\nx\r\n";
        for (declared, message, expected) in [
            (SevenBit, "A: b\r\n\r\nx\r\n", SevenBit),
            (SevenBit, "A: b\r\n\r\nü\r\n", EightBitMime),
            (EightBitMime, "A: b\r\n\r\nx\r\n", EightBitMime),
            (EightBitMime, &longer, EightBitMime),
            (BinaryMime, "A: b\r\n\r\nx\r\n", SevenBit),
            (BinaryMime, "A: b\r\n\r\nx", SevenBit),
            (BinaryMime, "A: b\r\n\r\nü\r\n", EightBitMime),
            (BinaryMime, "A: b\r\n\r\nx\n", BinaryMime),
            (BinaryMime, "\r\nx\ry\r\n", BinaryMime),
            (BinaryMime, "\r\nx\r\r\n", BinaryMime),
            (BinaryMime, "\r\nx\r", BinaryMime),
            (BinaryMime, "\r\nx\0\r\n", BinaryMime),
            (BinaryMime, &longest, SevenBit),
            (BinaryMime, &longer, BinaryMime),
            (BinaryMime, "Content-Transfer-Encoding: Binary\r\n\r\nx\r\n", BinaryMime),
            (BinaryMime, nested, BinaryMime),
            (EightBitMime, nested, EightBitMime),
        ] {
            for piece in [1, 3, 4096] {
                let mut scan = Scan::new(declared);
                message.as_bytes().chunks(piece).for_each(|octets| scan.feed(octets));
                let structure = Splitter::split(message.as_bytes());
                assert_eq!(scan.finish(&structure), expected, "{declared:?} {message:?} by {piece}");
            }
        }
    }
}
