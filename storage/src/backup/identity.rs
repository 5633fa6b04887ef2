//! Which store a backup is of: `STATE/id`, and `BACKUP/owner`.
//!
//! A store gets an id when it is backed up for the first time. A restored one gets a new id, as it goes another way than the one
//! that was backed up; it remembers the backup that it came from, and may go on with that one.

use std::{fmt, path::Path, str::FromStr};

use super::{read_whole, write_whole};
use crate::{disk::Disk, error::StoreError};

/// Names a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct StoreId(u128);

/// What a store knows of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Identity {
    pub(super) id: StoreId,
    /// The hash of the manifest that it was restored by.
    pub(super) restored_by: Option<u64>,
}

impl StoreId {
    fn random() -> Result<Self, StoreError> {
        let mut octets = [0; 16];
        getrandom::fill(&mut octets).map_err(|error| StoreError::Io(format!("no randomness: {error}")))?;
        Ok(Self(u128::from_be_bytes(octets)))
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for StoreId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let id = u128::from_str_radix(text, 16).map(Self).map_err(|_| ())?;
        if id.to_string() == text { Ok(id) } else { Err(()) }
    }
}

impl Identity {
    /// Reads the identity of a state directory; one that has none gets one.
    pub(super) fn of_state(disk: &dyn Disk, state: &Path) -> Result<Self, StoreError> {
        match read_whole(disk, &state.join("id"))?.as_deref().and_then(Self::decode) {
            Some(identity) => Ok(identity),
            // One that cannot be read is lost: earlier backups are of another store.
            None => Self::begin(disk, state, None),
        }
    }

    /// Gives a state directory a new identity.
    pub(super) fn begin(disk: &dyn Disk, state: &Path, restored_by: Option<u64>) -> Result<Self, StoreError> {
        let identity = Self { id: StoreId::random()?, restored_by };
        write_whole(disk, &state.join("id"), identity.encode().as_bytes())?;
        Ok(identity)
    }

    fn encode(&self) -> String {
        let restored = self.restored_by.map(|hash| format!("restored {hash:016x}\n"));
        format!("store {}\n{}", self.id, restored.unwrap_or_default())
    }

    fn decode(octets: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(octets).ok()?;
        let mut lines = text.lines();
        let id = lines.next()?.strip_prefix("store ")?.parse().ok()?;
        let restored_by = match lines.next() {
            Some(line) => Some(u64::from_str_radix(line.strip_prefix("restored ")?, 16).ok()?),
            None => None,
        };
        let identity = Self { id, restored_by };
        (identity.encode() == text).then_some(identity)
    }
}

/// Makes sure that a directory is for backups of a store. `manifest`: the hash of the manifest in it.
pub(super) fn claim(
    disk: &dyn Disk,
    backup: &Path,
    identity: &Identity,
    manifest: Option<u64>,
) -> Result<(), StoreError> {
    let path = backup.join("owner");
    let refused = |why: &str| Err(StoreError::Open(format!("{} {why}", backup.display())));
    let Some(owner) = read_whole(disk, &path)? else {
        let leftover = path.with_added_extension("tmp");
        if disk.list(backup)?.iter().any(|found| *found != leftover) {
            return refused("holds something else than backups; choose an empty directory");
        }
        return write_whole(disk, &path, format!("store {}\n", identity.id).as_bytes());
    };
    match Identity::decode(&owner) {
        Some(owner) if owner.id == identity.id => Ok(()),
        // It goes on where that backup ended.
        Some(_) if manifest.is_some() && manifest == identity.restored_by => {
            write_whole(disk, &path, format!("store {}\n", identity.id).as_bytes())
        }
        Some(_) => refused("holds backups of another store; choose an empty directory"),
        None => refused("has a damaged file `owner`; choose an empty directory"),
    }
}
