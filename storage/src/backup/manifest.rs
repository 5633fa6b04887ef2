//! The manifest: the files of a backup. Their names say all that is known of them, so it is a list of names.
//!
//! ```text
//! waypost backup 1
//! store 0123456789abcdef0123456789abcdef
//! position 3 5824
//! taken 1800000000000
//! file journal/0000000000000001-<marker>-67108864-<hash>.segment
//! …
//! end <hash of all before this line>
//! ```

use std::{
    collections::BTreeSet,
    fmt::Write,
    path::{Path, PathBuf},
};

use waypost_mail::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use super::{identity::StoreId, read_whole, write_whole};
use crate::{
    disk::Disk,
    error::StoreError,
    journal::{BODIES, JOURNAL, Position, bodies_name, footer_name, segment_name},
};

/// The first line up to the version.
const TITLE: &str = "waypost backup ";
/// The version that is written, and the newest that is read.
const VERSION: &str = "1";
/// Its name.
const MANIFEST: &str = "manifest";

/// What a file of a store is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Kind {
    Segment { number: u64, marker: u128 },
    Footer { number: u64, marker: u128 },
    Body { segment: u64, number: u64 },
}

/// A file in a backup.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Copied {
    pub(super) kind: Kind,
    pub(super) length: u64,
    pub(super) hash: u64,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Manifest {
    /// Of which store.
    pub(super) store: StoreId,
    /// All before it was committed.
    pub(super) position: Position,
    pub(super) taken: Timestamp,
    pub(super) files: BTreeSet<Copied>,
}

impl Kind {
    /// The folder that it is in, in the state directory and in a backup.
    pub(super) fn folder(&self) -> PathBuf {
        match self {
            Self::Segment { .. } | Self::Footer { .. } => PathBuf::from(JOURNAL),
            Self::Body { segment, .. } => Path::new(BODIES).join(bodies_name(*segment)),
        }
    }

    /// Where it is in the state directory.
    pub(super) fn home(&self) -> PathBuf {
        self.folder().join(match self {
            Self::Segment { number, .. } => segment_name(*number),
            Self::Footer { number, .. } => footer_name(*number),
            Self::Body { number, .. } => number.to_string(),
        })
    }
}

impl Copied {
    /// Where it is in a backup.
    pub(super) fn path(&self) -> PathBuf {
        let Self { kind, length, hash } = self;
        kind.folder().join(match kind {
            Kind::Segment { number, marker } => {
                format!("{number:016x}-{marker:032x}-{length}-{hash:016x}.segment")
            }
            Kind::Footer { number, marker } => {
                format!("{number:016x}-{marker:032x}-{length}-{hash:016x}.footer")
            }
            Kind::Body { number, .. } => format!("{number}-{length}-{hash:016x}"),
        })
    }

    /// The file of that name; `None`: no file of a backup has it.
    pub(super) fn parse(path: &Path) -> Option<Self> {
        let (name, folder) = (path.file_name()?.to_str()?, path.parent()?);
        let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
        let fields: Vec<&str> = stem.split('-').collect();
        let (kind, length, hash) = match (extension, &fields[..]) {
            ("segment" | "footer", [number, marker, length, hash]) => {
                let number = u64::from_str_radix(number, 16).ok()?;
                let marker = u128::from_str_radix(marker, 16).ok()?;
                let segment = Kind::Segment { number, marker };
                let kind = if extension == "segment" { segment } else { Kind::Footer { number, marker } };
                (kind, length, hash)
            }
            ("", [number, length, hash]) => {
                let segment = u64::from_str_radix(folder.file_name()?.to_str()?, 16).ok()?;
                (Kind::Body { segment, number: number.parse().ok()? }, length, hash)
            }
            _ => return None,
        };
        let copied = Self { kind, length: length.parse().ok()?, hash: u64::from_str_radix(hash, 16).ok()? };
        // Only as it would be written: no other way out of the directory.
        (copied.path() == path).then_some(copied)
    }
}

impl Manifest {
    /// Reads the manifest of a backup, with its hash; `None` where there is none. `Damaged`; `Open`: of a newer version.
    pub(super) fn read(disk: &dyn Disk, backup: &Path) -> Result<Option<(Self, u64)>, StoreError> {
        let path = backup.join(MANIFEST);
        let Some(octets) = read_whole(disk, &path)? else { return Ok(None) };
        let damaged = || StoreError::Damaged(format!("{} is damaged", path.display()));
        let text = std::str::from_utf8(&octets).map_err(|_| damaged())?;
        let (content, end) =
            text.strip_suffix('\n').and_then(|text| text.rsplit_once('\n')).ok_or_else(damaged)?;
        let content = &text[..=content.len()];
        let hash = xxh3_64(content.as_bytes());
        if end != format!("end {hash:016x}") {
            return Err(damaged());
        }
        let version = content.lines().next().and_then(|line| line.strip_prefix(TITLE)).ok_or_else(damaged)?;
        if version != VERSION {
            let sentence = "was written by a newer version of Waypost";
            return Err(StoreError::Open(format!("{} {sentence}", path.display())));
        }
        let manifest = Self::parse(content).ok_or_else(damaged)?;
        Ok(Some((manifest, hash)))
    }

    /// The same where there must be one.
    pub(super) fn expect(disk: &dyn Disk, backup: &Path) -> Result<(Self, u64), StoreError> {
        let none = || StoreError::Open(format!("{} holds no complete backup", backup.display()));
        Self::read(disk, backup)?.ok_or_else(none)
    }

    /// Puts it in the place of the one before.
    pub(super) fn write(&self, disk: &dyn Disk, backup: &Path) -> Result<(), StoreError> {
        write_whole(disk, &backup.join(MANIFEST), self.encode().as_bytes())
    }

    /// Octets of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.length).sum()
    }

    fn encode(&self) -> String {
        let Self { store, position: Position { segment, offset }, taken, files } = self;
        let mut text =
            format!("{TITLE}{VERSION}\nstore {store}\nposition {segment} {offset}\ntaken {}\n", taken.0);
        for file in files {
            let written = writeln!(text, "file {}", file.path().display());
            debug_assert!(written.is_ok(), "a String takes every write");
        }
        let end = format!("end {:016x}\n", xxh3_64(text.as_bytes()));
        text + &end
    }

    fn parse(content: &str) -> Option<Self> {
        let mut lines = content.lines().skip(1);
        let store = lines.next()?.strip_prefix("store ")?.parse().ok()?;
        let (segment, offset) = lines.next()?.strip_prefix("position ")?.split_once(' ')?;
        let position = Position { segment: segment.parse().ok()?, offset: offset.parse().ok()? };
        let taken = Timestamp(lines.next()?.strip_prefix("taken ")?.parse().ok()?);
        let file = |line: &str| Copied::parse(Path::new(line.strip_prefix("file ")?));
        Some(Self { store, position, taken, files: lines.map(file).collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Simulated;

    fn manifest() -> Manifest {
        let (number, marker, hash) = (7, u128::MAX / 3, 0x0123);
        let kinds = [
            Kind::Segment { number, marker },
            Kind::Footer { number, marker },
            Kind::Body { segment: 16, number },
        ];
        Manifest {
            store: "00000000000000000000000000000001".parse().unwrap(),
            position: Position { segment: 7, offset: 64 },
            taken: Timestamp(-1),
            files: kinds.map(|kind| Copied { kind, length: 5, hash }).into(),
        }
    }

    #[test]
    fn a_manifest_comes_back_or_is_refused() {
        let (disk, backup) = (Simulated::new(1), Path::new("/backup"));
        disk.create_directory(backup).unwrap();
        assert_eq!(Manifest::read(&disk, backup), Ok(None));
        manifest().write(&disk, backup).unwrap();
        let (read, hash) = Manifest::read(&disk, backup).unwrap().unwrap();
        assert_eq!(read, manifest());
        let length = manifest().encode().len();
        for offset in 0..length {
            assert!(disk.flip(&backup.join(MANIFEST), offset, 1));
            let read = Manifest::read(&disk, backup);
            assert!(matches!(read, Err(StoreError::Damaged(_))), "{offset}: {read:?}");
            assert!(disk.flip(&backup.join(MANIFEST), offset, 1));
        }
        assert_eq!(Manifest::expect(&disk, backup).unwrap().1, hash);
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let (disk, backup) = (Simulated::new(1), Path::new("/backup"));
        disk.create_directory(backup).unwrap();
        let text = format!("{TITLE}2\nanything\n");
        let text = format!("{text}end {:016x}\n", xxh3_64(text.as_bytes()));
        write_whole(&disk, &backup.join(MANIFEST), text.as_bytes()).unwrap();
        assert!(matches!(Manifest::read(&disk, backup), Err(StoreError::Open(_))));
    }

    #[test]
    fn only_names_as_they_are_written_are_files() {
        for file in manifest().files {
            assert_eq!(Copied::parse(&file.path()), Some(file));
        }
        for name in [
            "journal/7-1-5-0.segment",
            "journal/copy.tmp",
            "../journal/0000000000000007-00000000000000000000000000000001-5-0000000000000001.segment",
            "bodies/0000000000000010/7-5-0000000000000001.tmp",
            "bodies/../7-5-0000000000000001",
            "bodies/0000000000000010/07-5-0000000000000001",
            "bodies/0000000000000010/+7-5-0000000000000001",
        ] {
            assert_eq!(Copied::parse(Path::new(name)), None, "{name}");
        }
    }
}
