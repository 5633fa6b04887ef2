//! Text of messages as UTF-8, for searching and previews: header fields with RFC 2047 words, bodies as they stream.
//!
//! Never fails: what is malformed stays as it is, or becomes U+FFFD. UTF-7 is not decoded.

mod html;
mod transfer;
mod words;

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8};

pub use html::HtmlText;
use transfer::TransferDecoder;
pub use words::header_text;

/// Takes the transfer encoding off a body (RFC 2045 section 6).
#[derive(Debug)]
pub struct ContentDecoder(TransferDecoder);

impl ContentDecoder {
    /// `encoding` as in [`Part::encoding`](crate::Part::encoding). `None`: the encoding is not known.
    pub fn new(encoding: Option<&[u8]>) -> Option<Self> {
        const KNOWN: [&[u8]; 6] = [b"", b"7bit", b"8bit", b"binary", b"quoted-printable", b"base64"];
        let encoding = encoding.unwrap_or_default().trim_ascii();
        let known = KNOWN.iter().any(|known| known.eq_ignore_ascii_case(encoding));
        known.then(|| Self(TransferDecoder::new(Some(encoding))))
    }

    /// Takes the next octets of the body, cut anywhere; appends what they mean.
    pub fn feed(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        self.0.feed(octets, out);
    }

    /// Ends the body; appends what was held back.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.0.finish(out);
    }
}

/// Decodes a body: transfer encoding, then charset.
#[derive(Debug)]
pub struct BodyDecoder {
    transfer: TransferDecoder,
    charset: Decoder,
}

impl BodyDecoder {
    /// `encoding` as in [`Part::encoding`](crate::Part::encoding), `charset` as in its parameter. Without charset, with an unknown one
    /// and with US-ASCII the text is taken for UTF-8.
    pub fn new(encoding: Option<&[u8]>, charset: Option<&[u8]>) -> Self {
        Self {
            transfer: TransferDecoder::new(encoding),
            charset: charset_of(charset).new_decoder_with_bom_removal(),
        }
    }

    /// Takes the next octets of the body, cut anywhere; the text that is complete with them.
    pub fn feed(&mut self, octets: &[u8]) -> String {
        let mut decoded = Vec::with_capacity(octets.len());
        self.transfer.feed(octets, &mut decoded);
        self.text(&decoded, false)
    }

    /// Ends the body; the text that was held back.
    pub fn finish(mut self) -> String {
        let mut decoded = Vec::new();
        self.transfer.finish(&mut decoded);
        self.text(&decoded, true)
    }

    fn text(&mut self, octets: &[u8], last: bool) -> String {
        let bound = self.charset.max_utf8_buffer_length(octets.len()).unwrap_or(octets.len() * 3 + 16);
        let mut text = String::with_capacity(bound);
        let (result, ..) = self.charset.decode_to_string(octets, &mut text, last);
        debug_assert_eq!(result, CoderResult::InputEmpty, "the capacity is enough for all");
        text
    }
}

/// The encoding of a charset's name.
fn charset_of(name: Option<&[u8]>) -> &'static Encoding {
    match name.map(<[u8]>::trim_ascii) {
        // Not the "replacement" of the WHATWG, which hides ISO-2022-KR and others altogether: their US-ASCII is readable.
        Some(name) if !name.eq_ignore_ascii_case(b"us-ascii") => {
            Encoding::for_label_no_replacement(name).unwrap_or(UTF_8)
        }
        _ => UTF_8,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    proptest! {
        #[test]
        fn any_body_decodes_alike_wherever_it_is_cut(
            octets in vec(select(b"=?qb \t\r\n4Aa_\x1b$\xe2\x82\xff".to_vec()), 0..60),
            encoding in select(vec!["base64", "quoted-printable", "8bit"]),
            charset in select(vec!["utf-8", "iso-2022-jp", "gb18030", "utf-16"]),
            size in 1usize..5,
        ) {
            let decode = |size: usize| {
                let mut decoder = BodyDecoder::new(Some(encoding.as_bytes()), Some(charset.as_bytes()));
                let text: String = octets.chunks(size).map(|piece| decoder.feed(piece)).collect();
                text + &decoder.finish()
            };
            prop_assert_eq!(decode(size), decode(4096));
            header_text(&octets);
        }
    }

    #[test]
    fn content_decodes_where_the_encoding_is_known() {
        for (encoding, octets, content) in [
            (None, &b"a=20b"[..], Some(&b"a=20b"[..])),
            (Some(&b"8BIT"[..]), b"\xff", Some(b"\xff")),
            (Some(b" Base64 "), b"AP8K", Some(b"\x00\xff\n")),
            (Some(b"quoted-printable"), b"a=00=", Some(b"a\0")),
            (Some(b"x-uuencode"), b"x", None),
        ] {
            let decoded = ContentDecoder::new(encoding).map(|mut decoder| {
                let mut out = Vec::new();
                octets.chunks(1).for_each(|chunk| decoder.feed(chunk, &mut out));
                decoder.finish(&mut out);
                out
            });
            assert_eq!(decoded.as_deref(), content);
        }
    }

    #[test]
    fn bodies_decode_wherever_they_are_cut() {
        let cases: &[(&str, &str, &[u8], &str)] = &[
            ("", "", b"plain =C3=BC", "plain =C3=BC"),
            ("7bit", "utf-8", "\u{20ac} x".as_bytes(), "\u{20ac} x"),
            ("8BIT", "us-ascii", "\u{fc}".as_bytes(), "\u{fc}"),
            ("binary", "iso-8859-1", b"\xfc", "\u{fc}"),
            ("x-odd", "x-odd", b"\xff", "\u{fffd}"),
            ("Quoted-Printable", "utf-8", b"a=20=C3=\r\n=BC b \t\r\nc", "a \u{fc} b\r\nc"),
            ("base64", "utf-8", b"4oKs\r\n IHg=", "\u{20ac} x"),
            ("BASE64", "shift_jis", b"k/qWew==", "\u{65e5}\u{672c}"),
            ("base64", "iso-2022-jp", b"GyRCRnxLXBsoQg==", "\u{65e5}\u{672c}"),
            ("base64", "utf-8", b"77u/eA==", "x"),
            ("7bit", "iso-2022-kr", b"hello", "hello"),
            ("", "utf-8", b"x\xe2\x82", "x\u{fffd}"),
        ];
        for (encoding, charset, octets, text) in cases {
            let some = |name: &'static str| Some(name.as_bytes()).filter(|name| !name.is_empty());
            for size in [1, 3, 4096] {
                let mut decoder = BodyDecoder::new(some(encoding), some(charset));
                let mut found: String = octets.chunks(size).map(|piece| decoder.feed(piece)).collect();
                found += &decoder.finish();
                assert_eq!(found, *text, "{encoding} {charset} {size}");
            }
        }
    }
}
