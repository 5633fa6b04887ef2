//! The file system of the machine.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{FallocateFlags, FsWord, fallocate, statfs, statvfs},
    io::Errno,
};

use super::{Disk, DiskFile};

/// File systems that write in place, by `f_type` of `statfs(2)`: ext2 to ext4, XFS.
const IN_PLACE: [FsWord; 2] = [0xEF53, 0x5846_5342];

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

impl Disk for Real {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if !parent.is_dir() {
            self.create_directory(parent)?;
        }
        let made = match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => false,
            other => other.map(|()| true)?,
        };
        match self.sync_directory(parent) {
            // A directory that was there and whose parent we may not read was made by someone else, long ago.
            Err(error) if !made && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            other => other,
        }
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(File::open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut paths =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let found = statvfs(path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn writes_in_place(&self, path: &Path) -> bool {
        statfs(path).is_ok_and(|found| IN_PLACE.contains(&found.f_type))
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.0.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        self.0.write_all_at(octets, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        match fallocate(&self.0, FallocateFlags::empty(), 0, length) {
            Err(Errno::OPNOTSUPP) => self.write_zeros(self.length()?, length),
            other => Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_created_once_allocated_renamed_and_listed() {
        let state = tempfile::tempdir().unwrap();
        let directory = state.path().join("a/b");
        Real.create_directory(&directory).unwrap();
        Real.create_directory(&directory).unwrap();
        let (one, two) = (directory.join("1"), directory.join("2"));
        let file = Real.create(&one).unwrap();
        assert_eq!(Real.create(&one).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        file.write_at(2, b"text").unwrap();
        file.allocate(1000).unwrap();
        file.allocate(10).unwrap();
        file.sync().unwrap();
        assert_eq!(file.length().unwrap(), 1000);
        let mut buffer = [1; 8];
        assert_eq!(file.read_at(0, &mut buffer).unwrap(), 8);
        assert_eq!(&buffer, b"\0\0text\0\0");
        assert_eq!(file.read_at(996, &mut buffer).unwrap(), 4);
        Real.rename(&one, &two).unwrap();
        Real.sync_directory(&directory).unwrap();
        assert_eq!(Real.list(&directory).unwrap(), std::slice::from_ref(&two));
        Real.remove(&two).unwrap();
        assert!(Real.list(&directory).unwrap().is_empty() && Real.list(&one).unwrap().is_empty());
        assert!(Real.free_bytes(&directory).unwrap() > 0);
    }

    #[test]
    fn nothing_is_known_to_be_written_in_place_where_nothing_is() {
        let state = tempfile::tempdir().unwrap();
        assert!(!Real.writes_in_place(&state.path().join("missing")));
        // The kernel's own files are on none of those file systems.
        assert!(!Real.writes_in_place(Path::new("/proc")));
    }
}
