//! `STATE/heads`: how far the index is durable. It moves on only after the index was synced.
//!
//! All records before `position` are in the index, for each account up to its seq at least; records behind it are applied
//! when an account is loaded. An account without a head is read from the journal.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use minicbor::{Decode, Encode};
use waypost_mail::AccountId;

use super::value;
use crate::{disk::Disk, error::StoreError, journal::Position};

/// Largest file that is read.
const HEADS_BYTES_MAX: u64 = 1 << 30;
/// What the file's key is in the check of its value.
const KEY: &[u8] = b"heads";

/// How far the index is durable.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Heads {
    /// Where reading the journal begins.
    pub(crate) position: Position,
    /// The largest name that an entry before it has.
    pub(crate) last_entry: u64,
    /// The accounts that are in the index.
    pub(crate) accounts: BTreeMap<AccountId, Head>,
}

/// How far one account is in the index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Head {
    /// Its last record there.
    pub(crate) seq: u64,
    /// Digest of its meta.
    pub(crate) digest: u64,
}

#[derive(Decode, Encode)]
struct Stored {
    #[n(0)]
    segment: u64,
    #[n(1)]
    offset: u64,
    #[n(2)]
    last_entry: u64,
    #[n(3)]
    accounts: Vec<(u64, u64, u64)>,
}

impl Heads {
    /// Reads the file; `None` where there is none or it cannot be used.
    pub(crate) fn read(disk: &dyn Disk, state: &Path) -> Option<Self> {
        let file = disk.open(&path(state)).ok()?;
        let length = file.length().ok().filter(|length| *length <= HEADS_BYTES_MAX)?;
        let mut octets = vec![0; usize::try_from(length).ok()?];
        let read = file.read_at(0, &mut octets).ok()?;
        let stored: Stored = minicbor::decode(value::Value::open(KEY, &octets[..read])?.payload).ok()?;
        Some(Self {
            position: Position { segment: stored.segment, offset: stored.offset },
            last_entry: stored.last_entry,
            accounts: stored
                .accounts
                .into_iter()
                .map(|(account, seq, digest)| (AccountId(account), Head { seq, digest }))
                .collect(),
        })
    }

    /// Writes the file beside the old one and takes its place.
    pub(crate) fn write(&self, disk: &dyn Disk, state: &Path) -> Result<(), StoreError> {
        let stored = Stored {
            segment: self.position.segment,
            offset: self.position.offset,
            last_entry: self.last_entry,
            accounts: self
                .accounts
                .iter()
                .map(|(account, head)| (account.0, head.seq, head.digest))
                .collect(),
        };
        let new = state.join("heads.new");
        match disk.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let file = disk.create(&new)?;
        file.write_at(0, &value::seal(KEY, 0, &value::cbor(&stored)))?;
        file.sync()?;
        disk.rename(&new, &path(state))?;
        disk.sync_directory(state)?;
        Ok(())
    }
}

fn path(state: &Path) -> PathBuf {
    state.join("heads")
}
