//! Backup and restore.
//!
//! ```text
//! STATE ──backup──► BACKUP ──restore──► an empty STATE, whose first start begins new UIDVALIDITYs
//!                     └──restore_from──► messages of one account of a store that runs
//!
//! BACKUP/manifest                                                        what belongs to the backup; swapped at its end
//! BACKUP/owner                                                           the store that it is of
//! BACKUP/journal/<number>-<marker>-<length>-<hash>.segment, .footer     named by what they hold,
//! BACKUP/bodies/<segment>/<number>-<length>-<hash>                       so a new backup never changes an older one's files
//! ```
//!
//! A backup is the journal up to one committed position: sealed segments with their footers, the last one up to its committed
//! end with a mark behind it, and the bodies. The index is not in it: it is made anew. What an earlier backup in the same
//! directory holds is not copied again. While it runs, nothing is compacted.
//!
//! Not here: what begins anew after a restore (`decide::directory::restored`, `Mend`).

mod copying;
mod identity;
mod manifest;
mod restoring;
mod returning;
mod taking;
mod verifying;
mod view;

use std::{
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};

pub(crate) use self::restoring::{forget_restore, is_restored};
pub use self::{
    restoring::{Damaged, Recovered, restore},
    returning::{Found, Returned, Wanted},
    taking::BackedUp,
    verifying::verify,
};
use crate::{
    disk::{Disk, DiskFile},
    error::StoreError,
    progress::{Progress, Report},
};

/// Tells how far the work is, in octets or messages.
struct Told {
    report: Report,
    progress: Progress,
}

impl Told {
    fn new(report: Report, step: &'static str, total: u64) -> Self {
        let progress = Progress { step, done: 0, total };
        report(progress.clone());
        Self { report, progress }
    }

    fn step(&mut self, by: u64) {
        self.progress.done += by;
        (self.report)(self.progress.clone());
    }
}

/// Makes a directory that holds mail and password hashes: for its owner only. One that is there stays as it is.
fn make_private(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    if std::fs::metadata(path)?.permissions().mode() & 0o007 != 0 {
        tracing::warn!("everyone on this machine can look into {}: chmod o= it", path.display());
    }
    Ok(())
}

/// Largest manifest that is read: some ten million files.
const SMALL_FILE_BYTES_MAX: u64 = 1 << 30;

/// A file as a whole; `None` where there is none.
fn read_whole(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match disk.open_to_read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let length = file.length()?;
    if length > SMALL_FILE_BYTES_MAX {
        return Err(StoreError::Open(format!("{} is too large", path.display())));
    }
    let mut octets = vec![0; length as usize];
    let read = file.read_at(0, &mut octets)?;
    octets.truncate(read);
    Ok(Some(octets))
}

/// Writes a file beside `path` and gives it that name, durably.
fn write_whole(disk: &dyn Disk, path: &Path, octets: &[u8]) -> Result<(), StoreError> {
    let aside = path.with_added_extension("tmp");
    let file = create_anew(disk, &aside)?;
    file.write_at(0, octets)?;
    file.sync()?;
    disk.rename(&aside, path)?;
    Ok(disk.sync_directory(path.parent().unwrap_or(path))?)
}

/// Creates a file; what an interrupted run left in its place goes.
fn create_anew(disk: &dyn Disk, path: &Path) -> io::Result<std::sync::Arc<dyn DiskFile>> {
    match disk.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(path)?;
            disk.create(path)
        }
        other => other,
    }
}

/// Removes a file, if there is one.
fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
