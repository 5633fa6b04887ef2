//! Body files that no entry names: left behind by a kill while they were written, or by an entry that was cut off.
//!
//! They are found by the journal alone. A body lies in the folder of the segment that was the last one when it began to
//! arrive, so entries that name it are in that segment or behind it: from one segment on, all folders are compared with all
//! entries. Where anything there is damaged or missing, an entry that cannot be read may name any of them: nothing is removed.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use super::{
    files::Files,
    fresh::TEMPORARY_SUFFIX,
    walk::{Areas, Step},
};
use crate::error::StoreError;

impl Files {
    /// Removes body files of the folders from segment `from` on that no entry names; how many. Only while nobody else writes.
    pub(super) fn sweep_bodies(&self, from: u64) -> Result<usize, StoreError> {
        let folders = self.body_folders(from)?;
        if folders.is_empty() || !self.damage().is_empty() {
            return Ok(0);
        }
        let Some(named) = self.named_bodies(from)? else { return Ok(0) };
        let mut removed = 0;
        for (segment, folder) in folders {
            for path in self.disk.list(&folder)? {
                if is_orphan(segment, &path, &named) {
                    self.disk.remove(&path)?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    pub(super) fn body_folders(&self, from: u64) -> Result<Vec<(u64, PathBuf)>, StoreError> {
        let paths = self.disk.list(self.bodies_directory())?.into_iter();
        let number = |path: &Path| u64::from_str_radix(path.file_name()?.to_str()?, 16).ok();
        let folders = paths.filter_map(|path| Some((number(&path)?, path)));
        Ok(folders
            .filter(|(number, path)| *number >= from && *path == self.body_directory(*number))
            .collect())
    }

    /// The bodies that entries name from a segment on; `None` where not all entries can be read.
    fn named_bodies(&self, from: u64) -> Result<Option<HashSet<(u64, u64)>>, StoreError> {
        let segments: Vec<u64> = self.catalog().range(from..).map(|(number, _)| *number).collect();
        let complete = segments.iter().zip(from..).all(|(number, expected)| *number == expected);
        let mut named = HashSet::new();
        for number in segments {
            let mut walk = self.walk(number, Areas::Skip)?;
            while let Some(step) = walk.step()? {
                let Step::Frame(frame) = step else { return Ok(None) };
                named.extend(frame.block.body_files);
            }
        }
        Ok(complete.then_some(named))
    }
}

/// A body that no entry names, or a copy that was not completed.
fn is_orphan(segment: u64, path: &Path, named: &HashSet<(u64, u64)>) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    match name.parse::<u64>() {
        Ok(number) => number.to_string() == name && !named.contains(&(segment, number)),
        Err(_) => name.ends_with(TEMPORARY_SUFFIX),
    }
}
