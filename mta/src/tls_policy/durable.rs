//! Small files that are either the old ones or the new ones.
//!
//! They are not in the journal, which is for mail: what stands in them can be had again, from other servers or with time, and nothing
//! that was answered `250` rests on it.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Writes a file as a whole: beside it first, synced, then in its place, and the folder synced. Blocks.
pub(crate) fn write(file: &Path, octets: &[u8]) -> io::Result<()> {
    let folder = file.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let beside = file.with_extension("new");
    let mut new = File::create(&beside)?;
    new.write_all(octets)?;
    new.sync_all()?;
    fs::rename(&beside, file)?;
    File::open(folder)?.sync_all()
}

/// Reads a file of at most so many octets; `None`: it is not there. Blocks.
pub(crate) fn read(file: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    match fs::metadata(file) {
        Ok(found) if found.len() > bytes_max => Err(io::Error::other("too large")),
        Ok(_) => fs::read(file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_as_a_whole_and_read_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("below/file.json");
        assert_eq!(read(&file, 3).unwrap(), None);
        write(&file, b"one").unwrap();
        write(&file, b"two").unwrap();
        assert_eq!(read(&file, 3).unwrap().as_deref(), Some(&b"two"[..]));
        assert!(read(&file, 2).is_err());
        assert_eq!(fs::read_dir(folder.path().join("below")).unwrap().count(), 1);
        // what a crash left beside it does not matter
        fs::write(folder.path().join("below/file.new"), "half").unwrap();
        write(&file, b"three").unwrap();
        assert_eq!(read(&file, 9).unwrap().as_deref(), Some(&b"three"[..]));
    }
}
