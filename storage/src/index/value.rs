//! The frame of every value: version, seq, check over key and content.

use minicbor::Encode;

/// The version that is written; others are not read, but made anew from the journal.
const VERSION: u8 = 2;
const HEAD_BYTES: usize = 13;

/// A value whose check is right.
#[derive(Debug)]
pub(super) struct Value<'a> {
    /// The account's seq when it was written.
    pub(super) seq: u64,
    pub(super) payload: &'a [u8],
}

impl<'a> Value<'a> {
    /// Takes off the frame; `None` for another version and for damage.
    pub(super) fn open(key: &[u8], octets: &'a [u8]) -> Option<Self> {
        let (head, payload) = octets.split_at_checked(HEAD_BYTES)?;
        let seq = u64::from_le_bytes(head[1..9].try_into().ok()?);
        let check = u32::from_le_bytes(head[9..].try_into().ok()?);
        (head[0] == VERSION && check == checksum(key, seq, payload)).then_some(Self { seq, payload })
    }
}

/// Puts the frame around a payload.
pub(super) fn seal(key: &[u8], seq: u64, payload: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(HEAD_BYTES + payload.len());
    octets.push(VERSION);
    octets.extend_from_slice(&seq.to_le_bytes());
    octets.extend_from_slice(&checksum(key, seq, payload).to_le_bytes());
    octets.extend_from_slice(payload);
    octets
}

/// Encodes what goes into a payload.
pub(super) fn cbor(value: &impl Encode<()>) -> Vec<u8> {
    let mut octets = Vec::new();
    match minicbor::encode(value, &mut octets) {
        Ok(()) => octets,
        // A Vec takes every write, and no value reports an error of its own.
        Err(error) => unreachable!("{error}"),
    }
}

fn checksum(key: &[u8], seq: u64, payload: &[u8]) -> u32 {
    let check = crc32c::crc32c(key);
    let check = crc32c::crc32c_append(check, &[VERSION]);
    let check = crc32c::crc32c_append(check, &seq.to_le_bytes());
    crc32c::crc32c_append(check, payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_only_as_it_was_written() {
        let octets = seal(b"key", 7, b"payload");
        let value = Value::open(b"key", &octets).unwrap();
        assert_eq!((value.seq, value.payload), (7, b"payload".as_slice()));
        assert!(Value::open(b"kex", &octets).is_none(), "under another key");
        for at in 0..octets.len() {
            let mut damaged = octets.clone();
            damaged[at] ^= 1;
            assert!(Value::open(b"key", &damaged).is_none(), "octet {at}");
            assert!(Value::open(b"key", &octets[..at]).is_none(), "cut at {at}");
        }
    }
}
