//! Reading a backup through.

use std::{io, path::Path};

use super::{
    Told,
    copying::hash,
    manifest::{Copied, Manifest},
};
use crate::{disk::Disk, error::StoreError, progress::Report};

/// Reads a whole backup; one sentence for each file that is missing or not as it was written. Blocks for as long as that takes.
/// Errors: `Open`: there is none, or one of a newer version; `Damaged`: its manifest is.
pub fn verify(disk: &dyn Disk, backup: &Path, report: Report) -> Result<Vec<String>, StoreError> {
    let (manifest, _) = Manifest::expect(disk, backup)?;
    let mut told = Told::new(report, "octets", manifest.bytes());
    let mut problems = Vec::new();
    for file in &manifest.files {
        problems.extend(problem(disk, backup, file));
        told.step(file.length);
    }
    Ok(problems)
}

fn problem(disk: &dyn Disk, backup: &Path, file: &Copied) -> Option<String> {
    let path = backup.join(file.path());
    let same = disk.open_to_read(&path).map_err(StoreError::from).and_then(|opened| {
        Ok(opened.length()? == file.length && hash(&*opened, file.length, &[])? == file.hash)
    });
    match same {
        Ok(true) => None,
        Ok(false) => Some(damaged(&path)),
        Err(_) if is_missing(disk, &path) => Some(missing(&path)),
        Err(error) => Some(format!("{} cannot be read: {error}", path.display())),
    }
}

fn is_missing(disk: &dyn Disk, path: &Path) -> bool {
    disk.open_to_read(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

pub(super) fn damaged(path: &Path) -> String {
    format!("{} is damaged", path.display())
}

pub(super) fn missing(path: &Path) -> String {
    format!("{} is missing", path.display())
}
