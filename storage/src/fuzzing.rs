//! Entrances for the fuzz targets to what is private here: the octets of the journal, and the payloads of its records.

use waypost_mail::AccountId;

use crate::{
    journal::{self, RawRecord, Stream},
    record::{self, Record},
};

/// A payload of any kind is refused, or is a change that comes back from its own octets.
pub fn record(octets: &[u8]) {
    let Some(([stream, kind], payload)) = octets.split_first_chunk() else { return };
    let stream = match stream % 3 {
        0 => Stream::Directory,
        1 => Stream::Queue(0),
        _ => Stream::Account(AccountId(1)),
    };
    let ignorable = kind & 0x80 != 0;
    let kind = u16::from(kind & 0x7f);
    let raw = RawRecord { stream, seq: 1, kind, version: 1, ignorable, payload: payload.to_vec() };
    if let Ok(Some(change)) = record::decode(&raw) {
        let again = Record { stream, seq: 1, change }.encode();
        assert_eq!(again.kind, kind);
        let read = record::decode(&again).ok().flatten();
        let written = read.map(|change| Record { stream, seq: 1, change }.encode());
        assert_eq!(written.as_ref(), Some(&again), "what we wrote is read otherwise");
    }
}

/// Headers and blocks that are not whole are refused; what is read comes back from its own octets.
pub fn frame(octets: &[u8]) {
    journal::fuzzing::frame(octets);
}

/// A footer is refused or gives records, whatever it says of itself.
pub fn footer(octets: &[u8]) {
    journal::fuzzing::footer(octets);
}

/// A journal whose octets were changed opens or says why not, and never shows what was not written.
pub fn journal(octets: &[u8]) {
    journal::fuzzing::journal(octets);
}
