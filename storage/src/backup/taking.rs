//! Making a backup.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Told,
    copying::{copy, hash},
    identity::{Identity, claim},
    make_private,
    manifest::{Copied, Kind, Manifest},
    remove_if_there,
};
use crate::{
    disk::{Disk, DiskFile},
    error::StoreError,
    journal::{BODIES, JOURNAL, Pinned, Position, bodies_name},
    progress::Report,
    shared::Shared,
    store::Store,
};

/// What a copy is called until it is complete.
const ASIDE: &str = "copy.tmp";

/// What a backup came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BackedUp {
    /// Files that it holds.
    pub files: u64,
    /// Their octets.
    pub bytes: u64,
    /// Files that were copied; the others were there.
    pub files_copied: u64,
    /// Their octets.
    pub bytes_copied: u64,
    /// Files of earlier backups that were removed, as the store does not have them any more.
    pub files_removed: u64,
    /// What is damaged in the store, one sentence each: in the backup it is, too.
    pub damage: Vec<String>,
}

impl Store {
    /// Backs up all that is committed now, while the store goes on. `directory` is empty, or holds an earlier backup of this
    /// store: what it has is not copied again, and it stays whole until the new one is. A run that was interrupted is gone on with.
    /// Errors: `Open`: the directory is for something else; `Full`, `Io`, `Closed`.
    pub async fn backup(&self, directory: &Path, report: Report) -> Result<BackedUp, StoreError> {
        let _alone = self.shared().maintenance.lock().await;
        let directory = std::path::absolute(directory)?;
        let mut backup = self.blocking(move |shared| Backup::begin(shared, directory)).await?;
        let mut told = Told::new(report, "octets", backup.todo.iter().map(Wanted::bytes).sum());
        while let Some(wanted) = backup.todo.pop_front() {
            if self.is_closed() {
                return Err(StoreError::Closed);
            }
            let bytes = wanted.bytes();
            backup = self.blocking(move |shared| backup.take(shared, wanted)).await?;
            told.step(bytes);
        }
        let done = self.blocking(move |shared| backup.finish(shared)).await?;
        tracing::info!(
            event = "backed_up",
            files = done.files,
            bytes = done.bytes,
            copied = done.bytes_copied
        );
        Ok(done)
    }
}

/// A file that the backup must hold and perhaps does not.
#[derive(Debug)]
enum Wanted {
    /// The segment, with a mark behind it if it is the last one.
    Segment(Pinned, Vec<u8>),
    Footer(Pinned),
    /// With those that may be it.
    Body {
        segment: u64,
        number: u64,
        known: Vec<Copied>,
        bytes: u64,
    },
}

impl Wanted {
    fn bytes(&self) -> u64 {
        match self {
            Self::Segment(pinned, mark) => pinned.end + mark.len() as u64,
            Self::Footer(_) => 0,
            Self::Body { bytes, .. } => *bytes,
        }
    }
}

/// A backup that is being made.
#[derive(Debug)]
struct Backup {
    directory: PathBuf,
    manifest: Manifest,
    /// What the earlier one holds: all of it is durable.
    earlier: BTreeSet<Copied>,
    /// What else is there.
    found: BTreeSet<Copied>,
    todo: VecDeque<Wanted>,
    done: BackedUp,
}

impl Backup {
    /// Pins what is committed, and compares it with what is there.
    fn begin(shared: &Shared, directory: PathBuf) -> Result<Self, StoreError> {
        let disk = shared.disk.as_ref();
        let state = std::path::absolute(&shared.state_directory)?;
        if directory.starts_with(&state) || state.starts_with(&directory) {
            return Err(StoreError::Open(
                "a backup must not lie in the state directory, nor around it".into(),
            ));
        }
        make_private(&directory)?;
        disk.create_directory(&directory)?;
        let earlier = match Manifest::read(disk, &directory) {
            Err(StoreError::Damaged(sentence)) => {
                tracing::warn!(%sentence, "the earlier backup cannot be used; its files are compared");
                None
            }
            other => other?,
        };
        let identity = Identity::of_state(disk, &state)?;
        claim(disk, &directory, &identity, earlier.as_ref().map(|(_, hash)| *hash))?;
        let segments = shared.files.pin();
        let end = segments.last();
        let manifest = Manifest {
            store: identity.id,
            position: end
                .map(|last| Position { segment: last.number(), offset: last.end })
                .unwrap_or_default(),
            taken: (shared.clock)(),
            files: BTreeSet::new(),
        };
        let found = found(disk, &directory)?;
        let closed_below = earlier.as_ref().map_or(0, |(manifest, _)| manifest.position.segment);
        let earlier = earlier.map(|(manifest, _)| manifest.files).unwrap_or_default();
        let todo = VecDeque::new();
        let mut backup = Self { directory, manifest, earlier, found, todo, done: BackedUp::default() };
        backup.want_segments(&segments);
        backup.want_bodies(shared, closed_below)?;
        Ok(backup)
    }

    fn want_segments(&mut self, segments: &[Pinned]) {
        let known: HashMap<Kind, Vec<Copied>> = by_kind(&self.found);
        let last = segments.last().map(Pinned::number);
        for pinned in segments {
            let (number, marker) = (pinned.number(), pinned.marker());
            let is_last = Some(number) == last;
            let mark = if is_last { pinned.mark() } else { Vec::new() };
            let length = pinned.end + mark.len() as u64;
            let there = known.get(&Kind::Segment { number, marker }).into_iter().flatten();
            match there.copied().find(|copied| copied.length == length) {
                Some(copied) => drop(self.manifest.files.insert(copied)),
                None => self.todo.push_back(Wanted::Segment(*pinned, mark)),
            }
            // The last segment is to be found without a footer, so that nobody looks for one behind it.
            if is_last || !pinned.sealed {
                continue;
            }
            // A footer says again what its segment says.
            match known.get(&Kind::Footer { number, marker }).and_then(|known| known.first()) {
                Some(copied) => drop(self.manifest.files.insert(*copied)),
                None => self.todo.push_back(Wanted::Footer(*pinned)),
            }
        }
    }

    /// `closed_below`: no body began in the folders of lower segments since the earlier backup, so none that it holds can be
    /// another one of the same name.
    fn want_bodies(&mut self, shared: &Shared, closed_below: u64) -> Result<(), StoreError> {
        let known: HashMap<Kind, Vec<Copied>> = by_kind(&self.found);
        for (segment, number) in shared.files.complete_bodies()? {
            let known = known.get(&Kind::Body { segment, number }).cloned().unwrap_or_default();
            let sure = known.iter().find(|copied| segment < closed_below && self.earlier.contains(copied));
            if let Some(copied) = sure {
                self.manifest.files.insert(*copied);
                continue;
            }
            if let Some(file) = there(shared.files.body_file_once(segment, number))? {
                let bytes = file.length()?;
                self.todo.push_back(Wanted::Body { segment, number, known, bytes });
            }
        }
        Ok(())
    }

    /// Copies one file, if it is still there.
    fn take(mut self, shared: &Shared, wanted: Wanted) -> Result<Self, StoreError> {
        let files = &shared.files;
        match wanted {
            Wanted::Segment(pinned, mark) => {
                let kind = Kind::Segment { number: pinned.number(), marker: pinned.marker() };
                if let Some(file) = there(files.segment_file(pinned.number()))? {
                    files.verify_segment(pinned.number())?;
                    self.copy(shared, kind, &*file, pinned.end, &mark)?;
                }
            }
            Wanted::Footer(pinned) => {
                let kind = Kind::Footer { number: pinned.number(), marker: pinned.marker() };
                if let Some(file) = there(files.footer_file(pinned.number()))? {
                    self.copy(shared, kind, &*file, file.length()?, &[])?;
                }
            }
            Wanted::Body { segment, number, known, .. } => {
                if let Some(file) = there(files.body_file_once(segment, number))? {
                    files.verify_body(segment, number, &*file)?;
                    self.body(shared, Kind::Body { segment, number }, &file, &known)?;
                }
            }
        }
        Ok(self)
    }

    /// Copies a body, unless one of those that are there is the same.
    fn body(
        &mut self,
        shared: &Shared,
        kind: Kind,
        file: &Arc<dyn DiskFile>,
        known: &[Copied],
    ) -> Result<(), StoreError> {
        let length = file.length()?;
        if known.iter().any(|copied| copied.length == length) {
            let copied = Copied { kind, length, hash: hash(&**file, length, &[])? };
            if known.contains(&copied) {
                self.manifest.files.insert(copied);
                return Ok(());
            }
        }
        self.copy(shared, kind, &**file, length, &[])
    }

    fn copy(
        &mut self,
        shared: &Shared,
        kind: Kind,
        file: &dyn DiskFile,
        length: u64,
        tail: &[u8],
    ) -> Result<(), StoreError> {
        let disk = shared.disk.as_ref();
        let folder = self.directory.join(kind.folder());
        disk.create_directory(&folder)?;
        let aside = folder.join(ASIDE);
        let hash = copy(disk, file, length, tail, &aside)?;
        let copied = Copied { kind, length: length + tail.len() as u64, hash };
        // Its name is made durable at the end; what has it is complete.
        disk.rename(&aside, &self.directory.join(copied.path()))?;
        self.manifest.files.insert(copied);
        self.done.files_copied += 1;
        self.done.bytes_copied += copied.length;
        Ok(())
    }

    /// Makes the names durable, swaps the manifest, and removes what no manifest lists any more.
    fn finish(mut self, shared: &Shared) -> Result<BackedUp, StoreError> {
        let disk = shared.disk.as_ref();
        let new = self.manifest.files.difference(&self.earlier);
        let folders: BTreeSet<PathBuf> = new.map(|file| self.directory.join(file.kind.folder())).collect();
        folders.iter().try_for_each(|folder| disk.sync_directory(folder))?;
        self.manifest.write(disk, &self.directory)?;
        self.done.files_removed = self.clear(disk);
        self.done.files = self.manifest.files.len() as u64;
        self.done.bytes = self.manifest.bytes();
        self.done.damage = shared.files.damage();
        Ok(self.done)
    }

    /// The backup is complete: what cannot be removed now is removed after the next one.
    fn clear(&self, disk: &dyn Disk) -> u64 {
        let mut removed = 0;
        for file in self.found.difference(&self.manifest.files) {
            let path = self.directory.join(file.path());
            match disk.remove(&path) {
                Ok(()) => removed += 1,
                Err(error) => tracing::warn!(path = %path.display(), %error, "not removed from the backup"),
            }
        }
        let kinds = self.manifest.files.iter().chain(&self.found).map(|file| file.kind.folder());
        for folder in kinds.collect::<BTreeSet<_>>() {
            let aside = self.directory.join(folder).join(ASIDE);
            if let Err(error) = remove_if_there(disk, &aside) {
                tracing::warn!(path = %aside.display(), %error, "not removed from the backup");
            }
        }
        removed
    }
}

/// The complete files of all backups in a directory.
fn found(disk: &dyn Disk, directory: &Path) -> Result<BTreeSet<Copied>, StoreError> {
    let mut folders = vec![directory.join(JOURNAL)];
    let is_folder = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == bodies_name(0).len());
    folders.extend(disk.list(&directory.join(BODIES))?.into_iter().filter(is_folder));
    let mut found = BTreeSet::new();
    for folder in folders {
        let paths = disk.list(&folder)?;
        let names = paths.iter().filter_map(|path| path.strip_prefix(directory).ok());
        found.extend(names.filter_map(Copied::parse));
    }
    Ok(found)
}

fn by_kind(files: &BTreeSet<Copied>) -> HashMap<Kind, Vec<Copied>> {
    let mut kinds: HashMap<Kind, Vec<Copied>> = HashMap::new();
    files.iter().for_each(|file| kinds.entry(file.kind).or_default().push(*file));
    kinds
}

/// What was opened; `None` where it is not there: bodies that were given up, and what is known to be lost.
fn there(opened: io::Result<Arc<dyn DiskFile>>) -> Result<Option<Arc<dyn DiskFile>>, StoreError> {
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => Ok(Some(other?)),
    }
}
