//! What sections must know of the file, and the files that it names.

use std::path::{Path, PathBuf};

use crate::{
    next_hop::SOCKET_PATH_BYTES_MAX,
    reader::{Found, Section},
};

/// What is put behind `state_dir` for the administration socket.
const SOCKET_NAME: &str = "waypost.sock";

/// What sections must know of the file.
pub(crate) struct FileFacts<'a> {
    /// The folder that relative paths are relative to.
    pub(crate) folder: &'a Path,
    /// Whether only the file's owner can read it.
    pub(crate) is_private: bool,
}

impl FileFacts<'_> {
    pub(crate) fn path(&self, section: &Section<'_, '_>, key: &str) -> Option<PathBuf> {
        let found = section.string(key)?;
        if found.value.is_empty() {
            section.problems().add(Some(found.place), format!("{key} is empty"));
            return None;
        }
        Some(self.folder.join(found.value))
    }

    /// A file that must be there and readable.
    pub(crate) fn file(&self, section: &Section<'_, '_>, key: &str) -> Option<PathBuf> {
        let path = section.need(key, self.path(section, key))?;
        if let Err(error) = std::fs::File::open(&path) {
            let place = section.string(key).map(|found| found.place);
            section.problems().add(place, format!("{}: {error}", path.display()));
            return None;
        }
        Some(path)
    }

    /// A secret: `key`, or the first line of the file that `key_file` names.
    pub(crate) fn secret<'a>(&self, section: &Section<'a, '_>, key: &str) -> Option<Found<String>> {
        let file_key = format!("{key}_file");
        let inline = section.string(key);
        let Some(file) = section.string(&file_key) else {
            return inline.map(|found| Found { value: found.value.to_owned(), place: found.place });
        };
        if inline.is_some() {
            section.problems().add(Some(file.place), format!("{key} and {file_key} are both there"));
            return None;
        }
        if file.value.is_empty() {
            section.problems().add(Some(file.place), format!("{file_key} is empty"));
            return None;
        }
        match std::fs::read_to_string(self.folder.join(file.value)) {
            Ok(text) => {
                Some(Found { value: text.lines().next().unwrap_or("").to_owned(), place: file.place })
            }
            Err(error) => {
                section.problems().add(Some(file.place), format!("{}: {error}", file.value));
                None
            }
        }
    }

    pub(crate) fn state_dir(&self, root: &Section<'_, '_>) -> Option<PathBuf> {
        let path = root.need("state_dir", self.path(root, "state_dir"))?;
        let socket_bytes = path.join(SOCKET_NAME).as_os_str().len();
        if socket_bytes > SOCKET_PATH_BYTES_MAX {
            let place = root.string("state_dir").map(|found| found.place);
            let most = SOCKET_PATH_BYTES_MAX - SOCKET_NAME.len() - 1;
            root.problems().add(
                place,
                format!("state_dir is too long for its socket: its path has at most {most} octets"),
            );
            return None;
        }
        Some(path)
    }

    /// The text of a file.
    pub(crate) fn text(&self, section: &Section<'_, '_>, key: &str) -> Option<String> {
        let file = self.file(section, key)?;
        match std::fs::read_to_string(&file) {
            Ok(text) => Some(text),
            Err(error) => {
                let place = section.string(key).map(|found| found.place);
                section.problems().add(place, format!("{}: {error}", file.display()));
                None
            }
        }
    }

    /// A file of a list, which must be there and readable.
    pub(crate) fn readable(&self, file: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(file);
        match std::fs::File::open(&path) {
            Ok(_) if !file.is_empty() => Ok(path),
            Ok(_) => Err("an empty file name".to_owned()),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }
}
