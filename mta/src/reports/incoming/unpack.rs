//! Reports as they are sent: plain, in gzip (RFC 1952), or in a ZIP archive; brought to octets of bounded number. Pure.
//!
//! What an archive says of its sizes is not believed: octets are counted as they come out. Of ZIP there is as much as reports need: archives
//! of a few members, stored or deflated, not encrypted, below 4 GiB.

use std::{borrow::Cow, io::Read};

use flate2::{
    Crc,
    read::{DeflateDecoder, MultiGzDecoder},
};

/// Most octets of all that one part of a message unpacks to.
pub const UNPACKED_BYTES_MAX: usize = 16 << 20;
/// Most members of an archive.
pub const MEMBERS_MAX: usize = 8;

/// How far from its end an archive's directory is told of: the record and the longest comment behind it.
const END_BYTES_MAX: usize = END_BYTES + 65_535;
/// Octets of `end of central directory record` without its comment.
const END_BYTES: usize = 22;
/// Octets of `central directory header` without names and comments.
const ENTRY_BYTES: usize = 46;
/// Octets of `local file header` without names.
const LOCAL_BYTES: usize = 30;
const GZIP: &[u8] = b"\x1f\x8b";
const ZIP: &[u8] = b"PK\x03\x04";
const ZIP_ENTRY: &[u8] = b"PK\x01\x02";
const ZIP_END: &[u8] = b"PK\x05\x06";

/// Why it cannot be unpacked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnpackError {
    /// A bomb, or a report of unusual size.
    #[error("it unpacks to more than {UNPACKED_BYTES_MAX} octets")]
    TooLarge,
    /// Damaged, or cut off.
    #[error("its gzip data cannot be read")]
    Gzip,
    /// Damaged, or cut off.
    #[error("its ZIP archive cannot be read")]
    Zip,
    /// More than a report has.
    #[error("its ZIP archive has more than {MEMBERS_MAX} members")]
    TooManyMembers,
    /// Another method than those that reports come by.
    #[error("its ZIP archive is encrypted, or packed by a method that is not read")]
    Method,
    /// An archive in an archive.
    #[error("it is packed more than once")]
    Nested,
}

/// Whether octets begin as something packed does.
pub fn is_packed(octets: &[u8]) -> bool {
    octets.starts_with(GZIP) || octets.starts_with(ZIP) || octets.starts_with(ZIP_END)
}

/// All that is packed in `octets`, or themselves where nothing is.
pub fn unpack(octets: &[u8]) -> Result<Vec<Cow<'_, [u8]>>, UnpackError> {
    if !is_packed(octets) {
        let is_too_large = octets.len() > UNPACKED_BYTES_MAX;
        return if is_too_large { Err(UnpackError::TooLarge) } else { Ok(vec![Cow::Borrowed(octets)]) };
    }
    let unpacked = match octets.starts_with(GZIP) {
        true => {
            vec![bounded(MultiGzDecoder::new(octets), UNPACKED_BYTES_MAX, UnpackError::Gzip)?]
        }
        false => archive(octets)?,
    };
    if unpacked.iter().any(|document| is_packed(document)) {
        return Err(UnpackError::Nested);
    }
    Ok(unpacked.into_iter().map(Cow::Owned).collect())
}

/// Reads to the end, but no more than `bytes_max`.
fn bounded(from: impl Read, bytes_max: usize, damaged: UnpackError) -> Result<Vec<u8>, UnpackError> {
    let mut octets = Vec::new();
    let most = bytes_max as u64 + 1;
    from.take(most).read_to_end(&mut octets).map_err(|_| damaged)?;
    if octets.len() > bytes_max { Err(UnpackError::TooLarge) } else { Ok(octets) }
}

/// The members of a ZIP archive, as its central directory names them.
fn archive(octets: &[u8]) -> Result<Vec<Vec<u8>>, UnpackError> {
    let end = octets
        .windows(ZIP_END.len())
        .rposition(|found| found == ZIP_END)
        .filter(|end| octets.len() - end <= END_BYTES_MAX && octets.len() - end >= END_BYTES)
        .ok_or(UnpackError::Zip)?;
    let (members, start) = (u16_at(octets, end + 10)?, u32_at(octets, end + 16)?);
    if usize::from(members) > MEMBERS_MAX {
        return Err(UnpackError::TooManyMembers);
    }
    let (mut at, mut room, mut unpacked) = (place(start)?, UNPACKED_BYTES_MAX, Vec::new());
    for _ in 0..members {
        let entry = Entry::read(octets, at)?;
        at = entry.next;
        // a folder has no octets
        if entry.packed_bytes > 0 {
            let member = entry.unpack(octets, room)?;
            room -= member.len();
            unpacked.push(member);
        }
    }
    Ok(unpacked)
}

/// What the directory says of a member.
struct Entry {
    flags: u16,
    method: u16,
    crc: u32,
    packed_bytes: usize,
    local: usize,
    /// Where the next entry begins.
    next: usize,
}

impl Entry {
    fn read(octets: &[u8], at: usize) -> Result<Self, UnpackError> {
        if octets.get(at..).is_none_or(|rest| !rest.starts_with(ZIP_ENTRY)) {
            return Err(UnpackError::Zip);
        }
        let field = |offset: usize| u16_at(octets, at + offset);
        let behind = usize::from(field(28)?) + usize::from(field(30)?) + usize::from(field(32)?);
        Ok(Self {
            flags: field(8)?,
            method: field(10)?,
            crc: u32_at(octets, at + 16)?,
            packed_bytes: place(u32_at(octets, at + 20)?)?,
            local: place(u32_at(octets, at + 42)?)?,
            next: at + ENTRY_BYTES + behind,
        })
    }

    fn unpack(&self, octets: &[u8], room: usize) -> Result<Vec<u8>, UnpackError> {
        if octets.get(self.local..).is_none_or(|rest| !rest.starts_with(ZIP)) {
            return Err(UnpackError::Zip);
        }
        let names = |offset: usize| u16_at(octets, self.local + offset).map(usize::from);
        let start = self.local + LOCAL_BYTES + names(26)? + names(28)?;
        let packed = start.checked_add(self.packed_bytes).and_then(|end| octets.get(start..end));
        let packed = packed.ok_or(UnpackError::Zip)?;
        let unpacked = match self.method {
            _ if self.flags & 1 == 1 => return Err(UnpackError::Method),
            0 => bounded(packed, room, UnpackError::Zip)?,
            8 => bounded(DeflateDecoder::new(packed), room, UnpackError::Zip)?,
            _ => return Err(UnpackError::Method),
        };
        let mut crc = Crc::new();
        crc.update(&unpacked);
        if crc.sum() == self.crc { Ok(unpacked) } else { Err(UnpackError::Zip) }
    }
}

fn place(offset: u32) -> Result<usize, UnpackError> {
    usize::try_from(offset).map_err(|_| UnpackError::Zip)
}

fn u16_at(octets: &[u8], at: usize) -> Result<u16, UnpackError> {
    let found = octets.get(at..at + 2).and_then(|found| found.try_into().ok());
    found.map(u16::from_le_bytes).ok_or(UnpackError::Zip)
}

fn u32_at(octets: &[u8], at: usize) -> Result<u32, UnpackError> {
    let found = octets.get(at..at + 4).and_then(|found| found.try_into().ok());
    found.map(u32::from_le_bytes).ok_or(UnpackError::Zip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::incoming::testing::{gzip, zip};

    fn unpacked(octets: &[u8]) -> Vec<Vec<u8>> {
        unpack(octets).unwrap().into_iter().map(Cow::into_owned).collect()
    }

    #[test]
    fn what_is_packed_comes_out_and_what_is_not_stays() {
        assert_eq!(unpacked(b"<feedback>"), [b"<feedback>"]);
        assert_eq!(unpacked(&gzip(b"one")), [b"one"]);
        assert_eq!(unpacked(&[gzip(b"one"), gzip(b"two")].concat()), [b"onetwo"]);
        for method in [0, 8] {
            let archive = zip(&[("a.xml", b"one"), ("folder/", b""), ("b.xml", b"two")], method);
            assert_eq!(unpacked(&archive), [b"one", b"two"]);
            // a comment behind the end, and octets in front, which tools leave alone
            let commented = [archive.as_slice(), b" PK comment"].concat();
            assert_eq!(unpacked(&commented), [b"one", b"two"]);
        }
        assert_eq!(unpacked(&zip(&[], 8)), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn bombs_are_cut_off() {
        let (most, more) = (vec![b' '; UNPACKED_BYTES_MAX], vec![b' '; UNPACKED_BYTES_MAX + 1]);
        let half = &most[..UNPACKED_BYTES_MAX / 2 + 1];
        assert_eq!(unpacked(&gzip(&most))[0].len(), UNPACKED_BYTES_MAX);
        assert_eq!(unpacked(&zip(&[("a", &most)], 8))[0].len(), UNPACKED_BYTES_MAX);
        for bomb in [
            more.clone(),
            gzip(&more),
            [gzip(half), gzip(half)].concat(),
            zip(&[("a", &more)], 8),
            zip(&[("a", half), ("b", half)], 8),
        ] {
            assert_eq!(unpack(&bomb).unwrap_err(), UnpackError::TooLarge);
        }
        for nested in [
            gzip(&gzip(b"one")),
            gzip(&zip(&[("a", b"one")], 8)),
            zip(&[("a", &gzip(b"one"))], 8),
            zip(&[("a", &zip(&[("b", b"one")], 0))], 0),
        ] {
            assert_eq!(unpack(&nested).unwrap_err(), UnpackError::Nested);
        }
        let members: Vec<_> = (0..1000).map(|_| ("a", &b"x"[..])).collect();
        assert_eq!(unpack(&zip(&members, 8)).unwrap_err(), UnpackError::TooManyMembers);
        assert_eq!(unpacked(&zip(&members[..MEMBERS_MAX], 8)).len(), MEMBERS_MAX);
        // a directory that names one member again and again
        let mut again = zip(&[("a", half)], 8);
        let entry = again.windows(4).position(|found| found == ZIP_ENTRY).unwrap();
        let end = again.windows(4).position(|found| found == ZIP_END).unwrap();
        let copies = again[entry..end].repeat(7);
        again.splice(entry..entry, copies);
        let end = again.len() - END_BYTES;
        again[end + 10] = 8;
        assert_eq!(unpack(&again).unwrap_err(), UnpackError::TooLarge);
    }

    #[test]
    fn damage_is_found_wherever_it_is() {
        for whole in [gzip(b"some words of a report"), zip(&[("a", b"some words of a report")], 8)] {
            for cut in 4..whole.len() {
                assert!(unpack(&whole[..cut]).is_err(), "{cut}");
            }
        }
        let archive = zip(&[("a", b"some words of a report")], 8);
        for at in 4..archive.len() {
            for bit in [1, 0x80] {
                let mut damaged = archive.clone();
                damaged[at] ^= bit;
                // sizes and times that are not believed, and names, may be anything
                if let Ok(unpacked) = unpack(&damaged) {
                    assert!(unpacked.is_empty() || unpacked[0].as_ref() == b"some words of a report", "{at}");
                }
            }
        }
        let entry = archive.windows(4).position(|found| found == ZIP_ENTRY).unwrap();
        for (at, octet) in [(8, 1), (10, 12)] {
            let mut other = archive.clone();
            other[entry + at] = octet;
            assert_eq!(unpack(&other).unwrap_err(), UnpackError::Method);
        }
        // a directory that stands nowhere
        let mut far = archive.clone();
        let end = far.len() - END_BYTES;
        far[end + 16..end + 20].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(unpack(&far).unwrap_err(), UnpackError::Zip);
    }
}
