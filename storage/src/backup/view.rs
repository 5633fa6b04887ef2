//! A backup as a state directory that is only read: the files of its manifest under the names that they had.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::manifest::Manifest;
use crate::{
    disk::{Disk, DiskFile},
    error::StoreError,
    journal::Files,
};

/// Its root.
const ROOT: &str = "/";

/// The disk that such a directory is on.
#[derive(Debug)]
struct View {
    disk: Arc<dyn Disk>,
    /// Where each file is.
    paths: BTreeMap<PathBuf, PathBuf>,
}

/// The journal of a backup.
pub(super) fn journal(
    disk: Arc<dyn Disk>,
    backup: &Path,
    manifest: &Manifest,
) -> Result<Arc<Files>, StoreError> {
    let root = Path::new(ROOT);
    let paths = manifest.files.iter().map(|file| (root.join(file.kind.home()), backup.join(file.path())));
    Files::view(Arc::new(View { disk, paths: paths.collect() }), root)
}

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for View {
    fn create_directory(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        read_only()
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open_to_read(self.paths.get(path).ok_or(io::ErrorKind::NotFound)?)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.paths.keys().filter(|name| name.parent() == Some(path)).cloned().collect())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(0)
    }

    fn writes_in_place(&self, _: &Path) -> bool {
        false
    }
}
