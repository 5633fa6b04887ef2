//! LEB128: numbers of seven bits an octet, the lowest first, for what is only in memory or in the index.

/// Appends a number.
pub(crate) fn write(octets: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        octets.push(number as u8 | 0x80);
        number >>= 7;
    }
    octets.push(number as u8);
}

/// Takes a number from the front; `None`: none stands there.
pub(crate) fn read(octets: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0u64, 0);
    loop {
        let (octet, rest) = octets.split_first()?;
        *octets = rest;
        let part = u64::from(octet & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        number |= part << shift;
        if octet & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}
