//! Restoring a whole backup into an empty state directory.
//!
//! ```text
//! empty ──restoring──► files, each compared with its hash ──restored──► the first start begins new numbers ──► a store
//! ```
//!
//! While `STATE/restoring` is there no store opens, and the same restore goes on where it was interrupted. `STATE/restored`
//! stays until the journal itself says that the state came out of a backup.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use waypost_mail::Timestamp;

use super::{
    Told,
    copying::{copy, hash},
    identity::Identity,
    make_private,
    manifest::{Copied, Manifest},
    read_whole, remove_if_there,
    verifying::{damaged, missing},
    write_whole,
};
use crate::{disk::Disk, error::StoreError, opening, progress::Report};

/// There while a restore is not complete: the hash of the manifest.
const RESTORING: &str = "restoring";
/// There until the first start after a restore.
const RESTORED: &str = "restored";
/// Most problems that an error names.
const PROBLEMS_MAX: usize = 10;

/// What is done about files that are missing in the backup or damaged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Damaged {
    /// Nothing is restored.
    Refuse,
    /// They are restored as they are: the store finds what is lost by its own checks.
    Take,
}

/// What a restore came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recovered {
    /// Files.
    pub files: u64,
    /// Their octets.
    pub bytes: u64,
    /// When the backup was made.
    pub taken: Timestamp,
    /// Files that were taken though they are missing or damaged, one sentence each.
    pub damage: Vec<String>,
}

/// Restores a backup into a state directory that is empty or missing. At its first start the store gives all mailboxes new
/// UIDVALIDITYs. Interrupted, it is called again. Blocks for as long as that takes.
/// Errors: `Open`: the directory is not empty, or there is no backup; `Damaged`: files of the backup are; `Full`, `Io`.
pub fn restore(
    disk: &dyn Disk,
    backup: &Path,
    state: &Path,
    on_damage: Damaged,
    report: Report,
) -> Result<Recovered, StoreError> {
    let (manifest, by) = Manifest::expect(disk, backup)?;
    make_private(state)?;
    disk.create_directory(state)?;
    let _alone = opening::lock(state)?;
    begin(disk, state, by)?;
    let mut told = Told::new(report, "octets", manifest.bytes());
    let mut problems = Vec::new();
    for file in &manifest.files {
        problems.extend(restore_file(disk, backup, state, file, on_damage)?);
        told.step(file.length);
    }
    if on_damage == Damaged::Refuse && !problems.is_empty() {
        problems.truncate(PROBLEMS_MAX);
        return Err(StoreError::Damaged(format!("nothing is restored: {}", problems.join("; "))));
    }
    let folders: BTreeSet<PathBuf> =
        manifest.files.iter().map(|file| state.join(file.kind.folder())).collect();
    folders.iter().try_for_each(|folder| disk.sync_directory(folder))?;
    Identity::begin(disk, state, Some(by))?;
    disk.rename(&state.join(RESTORING), &state.join(RESTORED))?;
    disk.sync_directory(state)?;
    let (files, bytes) = (manifest.files.len() as u64, manifest.bytes());
    Ok(Recovered { files, bytes, taken: manifest.taken, damage: problems })
}

/// Marks an empty directory, or finds the mark of the same restore.
fn begin(disk: &dyn Disk, state: &Path, by: u64) -> Result<(), StoreError> {
    let (path, mark) = (state.join(RESTORING), format!("{by:016x}\n"));
    let refused = |why: &str| Err(StoreError::Open(format!("{} {why}", state.display())));
    match read_whole(disk, &path)? {
        Some(found) if found == mark.as_bytes() => Ok(()),
        Some(_) => refused("holds a part of another backup; empty it"),
        None => {
            let ours = [state.join("lock"), path.with_added_extension("tmp")];
            if disk.list(state)?.iter().any(|found| !ours.contains(found)) {
                return refused("is not empty; a backup is restored into an empty directory");
            }
            write_whole(disk, &path, mark.as_bytes())
        }
    }
}

/// Restores one file, unless it is there; a sentence where it is missing or not as it was written.
fn restore_file(
    disk: &dyn Disk,
    backup: &Path,
    state: &Path,
    file: &Copied,
    on_damage: Damaged,
) -> Result<Option<String>, StoreError> {
    let (from, to) = (backup.join(file.path()), state.join(file.kind.home()));
    if is_there(disk, &to, file)? {
        return Ok(None);
    }
    let opened = match disk.open_to_read(&from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(missing(&from))),
        other => other?,
    };
    let length = opened.length()?;
    if length != file.length && on_damage == Damaged::Refuse {
        return Ok(Some(damaged(&from)));
    }
    disk.create_directory(&state.join(file.kind.folder()))?;
    // Whatever ends so is removed at a start.
    let aside = to.with_added_extension("tmp");
    let same = copy(disk, &*opened, length, &[], &aside)? == file.hash && length == file.length;
    if same || on_damage == Damaged::Take {
        disk.rename(&aside, &to)?;
    } else {
        disk.remove(&aside)?;
    }
    Ok((!same).then(|| damaged(&from)))
}

/// Whether an interrupted run restored a file.
fn is_there(disk: &dyn Disk, path: &Path, file: &Copied) -> Result<bool, StoreError> {
    match disk.open_to_read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
        Ok(found) => Ok(found.length()? == file.length && hash(&*found, file.length, &[])? == file.hash),
    }
}

/// Whether a state was restored and not opened since. What a start would believe of the index is removed then: a backup has none,
/// so that what is there is of another time. Errors: `Open`: the restore is not complete.
pub(crate) fn is_restored(disk: &dyn Disk, state: &Path) -> Result<bool, StoreError> {
    if read_whole(disk, &state.join(RESTORING))?.is_some() {
        let sentence = "holds a restore that was not completed; run it again";
        return Err(StoreError::Open(format!("{} {sentence}", state.display())));
    }
    if read_whole(disk, &state.join(RESTORED))?.is_none() {
        return Ok(false);
    }
    remove_if_there(disk, &state.join("heads"))?;
    disk.sync_directory(state)?;
    match std::fs::remove_dir_all(state.join("index")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(true),
    }
}

/// The journal knows of the restore.
pub(crate) fn forget_restore(disk: &dyn Disk, state: &Path) -> Result<(), StoreError> {
    disk.remove(&state.join(RESTORED))?;
    Ok(disk.sync_directory(state)?)
}
