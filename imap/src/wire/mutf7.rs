//! Modified UTF-7, the spelling of mailbox names in IMAP4rev1 (RFC 3501 section 5.1.3).

use base64::{
    Engine,
    alphabet::IMAP_MUTF7,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// Base 64 with `,` for `/`, never padded, its spare bits zero.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &IMAP_MUTF7,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// The octets are no mailbox name in modified UTF-7.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the mailbox name is not valid modified UTF-7")]
pub struct Mutf7Error;

/// The name as the client means it. One name has one spelling: printable US-ASCII in base 64, an empty shift, two shifts in a
/// row and unpaired surrogates are refused, so that decoding and encoding again gives the same octets.
pub fn decode(octets: &[u8]) -> Result<String, Mutf7Error> {
    let mut name = String::with_capacity(octets.len());
    let mut rest = octets;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        match octet {
            b'&' => rest = shifted(after, &mut name)?,
            0x20..=0x7e => name.push(char::from(octet)),
            _ => return Err(Mutf7Error),
        }
    }
    if encode(&name).as_bytes() == octets { Ok(name) } else { Err(Mutf7Error) }
}

/// What stands between `&` and `-`; the octets after it.
fn shifted<'a>(octets: &'a [u8], name: &mut String) -> Result<&'a [u8], Mutf7Error> {
    let end = octets.iter().position(|octet| *octet == b'-').ok_or(Mutf7Error)?;
    if end == 0 {
        name.push('&');
        return Ok(&octets[1..]);
    }
    let bytes = BASE64.decode(&octets[..end]).map_err(|_| Mutf7Error)?;
    let (units, odd) = bytes.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(Mutf7Error);
    }
    for char in char::decode_utf16(units.iter().map(|unit| u16::from_be_bytes(*unit))) {
        name.push(char.map_err(|_| Mutf7Error)?);
    }
    Ok(&octets[end + 1..])
}

/// The spelling of a name.
pub fn encode(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut shifted: Vec<u8> = Vec::new();
    for char in name.chars() {
        if !(' '..='~').contains(&char) {
            char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| shifted.extend(unit.to_be_bytes()));
            continue;
        }
        flush(&mut shifted, &mut text);
        text.push(char);
        if char == '&' {
            text.push('-');
        }
    }
    flush(&mut shifted, &mut text);
    text
}

fn flush(shifted: &mut Vec<u8>, text: &mut String) {
    if !shifted.is_empty() {
        text.push('&');
        BASE64.encode_string(&*shifted, text);
        text.push('-');
        shifted.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_spelled_one_way() {
        for (name, spelled) in [
            ("INBOX", "INBOX"),
            ("", ""),
            ("a&b", "a&-b"),
            ("&", "&-"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("ü&ü", "&APw-&-&APw-"),
            ("😀", "&2D3eAA-"),
            ("\u{7f}", "&AH8-"),
            ("a\tb", "a&AAk-b"),
        ] {
            assert_eq!(encode(name), spelled);
            assert_eq!(decode(spelled.as_bytes()), Ok(name.to_owned()), "{spelled}");
        }
    }

    #[test]
    fn what_is_no_spelling_is_refused() {
        for octets in [
            &b"&"[..],
            b"a&APw",
            b"&A-",
            b"&AA-",
            b"&APw=-",
            b"&APx-",
            b"&AGE-",
            b"&APw-&APw-",
            b"&2D0-",
            b"&3gA-",
            b"&U/BTFw-",
            b"\xc3\xbc",
            b"a\x00",
            b"a\x7f",
            b"&AP w-",
        ] {
            assert_eq!(decode(octets), Err(Mutf7Error), "{}", octets.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in any::<String>()) {
            let spelled = encode(&name);
            prop_assert!(spelled.bytes().all(|b| (0x20..=0x7e).contains(&b)));
            prop_assert_eq!(decode(spelled.as_bytes()), Ok(name));
        }

        #[test]
        fn what_decodes_encodes_to_the_same(octets in "[&a-c,A-D/+-]{0,12}") {
            if let Ok(name) = decode(octets.as_bytes()) {
                prop_assert_eq!(encode(&name), octets);
            }
        }
    }
}
