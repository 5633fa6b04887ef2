//! Mail goes out: one file below this one a format. The target is new or empty, or an earlier export of the same account, which is then completed.

mod maildir;
mod mbox;

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use waypost_storage::{AccountState, Content, MailboxState, StoreError};

use super::{
    Ended, Format, Layout, Work,
    lines::{Quoting, ToLf},
    name,
    target::MBOX_SUBSCRIPTIONS,
};

/// What an export leaves in its folder, to know it again.
const NOTES: &str = ".waypost-export";

/// A line of the notes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Note {
    /// The first line: what is exported, and how.
    Export { account: u64, format: Format, layout: Layout, lf: bool },
    /// An mbox is complete up to a message.
    Mbox { file: String, uid_validity: u32, uid: u32, octets: u64 },
}

/// How octets are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Octets {
    Kept,
    Converted,
}

/// Exports all mailboxes.
pub(super) fn run(
    work: &mut Work,
    format: Format,
    path: &Path,
    layout: Layout,
    lf: bool,
) -> Result<(), Ended> {
    let note = Note::Export { account: work.account.id().0, format, layout, lf };
    let mut notes = Notes::open(path, &note)?;
    let octets = if lf { Octets::Converted } else { Octets::Kept };
    let state = work.account.state();
    let mut mailboxes: Vec<Arc<MailboxState>> = state.mailboxes.values().cloned().collect();
    mailboxes.sort_by(|a, b| a.name.cmp(&b.name));
    work.progress.messages_total = Some(mailboxes.iter().map(|mailbox| u64::from(mailbox.count)).sum());
    for mailbox in &mailboxes {
        let selection = match work.wait(work.account.select(mailbox.id)) {
            // It was deleted meanwhile.
            Err(StoreError::NoSuchMailbox) => continue,
            selection => selection?,
        };
        let Some(mailbox) = selection.state() else { continue };
        work.summary.mailboxes += 1;
        let done = match format {
            Format::Maildir => maildir::mailbox(work, path, layout, octets, &mailbox),
            Format::Mbox => {
                let below = format!("{}/", mailbox.name);
                let is_folder = mailboxes.iter().any(|other| other.name.starts_with(&below));
                let file = name::mbox_file(&mailbox.name, is_folder);
                mbox::mailbox(work, &mut notes, path, &file, octets, &mailbox)
            }
        };
        match done {
            // A name that is too long for the file system, and the like.
            Err(Ended::File(file, error)) if error.kind() == io::ErrorKind::InvalidFilename => {
                work.failed(format!("{} ({file})", mailbox.name), error.to_string())?;
            }
            done => done?,
        }
    }
    subscriptions(&state, format, layout, path)
}

fn subscriptions(state: &AccountState, format: Format, layout: Layout, path: &Path) -> Result<(), Ended> {
    let (file, lines): (&str, Vec<String>) = match format {
        Format::Mbox => (MBOX_SUBSCRIPTIONS, state.subscriptions.iter().cloned().collect()),
        Format::Maildir => {
            let folder = |name: &String| match layout.folder(name) {
                inbox if inbox.is_empty() => name.clone(),
                folder => folder.strip_prefix('.').map(str::to_owned).unwrap_or(folder),
            };
            ("subscriptions", state.subscriptions.iter().map(folder).collect())
        }
    };
    let path = path.join(file);
    let text: String = lines.into_iter().map(|line| line + "\n").collect();
    replace(&path, text.as_bytes()).map_err(Ended::file(&path))
}

/// Replaces a small file at once.
fn replace(path: &Path, octets: &[u8]) -> io::Result<()> {
    let new = path.with_extension("part");
    let mut file = create(&new)?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(new, path)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The notes of an export, open.
#[derive(Debug)]
struct Notes {
    file: File,
    path: PathBuf,
    /// UIDVALIDITY, last UID and octets, by file.
    mboxes: BTreeMap<String, (u32, u32, u64)>,
}

impl Notes {
    /// Opens those of an earlier export like this one, or begins them in an empty folder.
    fn open(folder: &Path, export: &Note) -> Result<Self, Ended> {
        create_folder(folder).map_err(Ended::file(folder))?;
        let path = folder.join(NOTES);
        let is_empty = fs::read_dir(folder).map_err(Ended::file(folder))?.next().is_none();
        let noted = read_notes(&path).map_err(Ended::file(&path))?;
        if noted.first().is_some_and(|first| first != export) {
            let folder = folder.display();
            return Err(Ended::Unfit(format!(
                "{folder} holds an export of another account or with other options: choose another folder"
            )));
        }
        if noted.is_empty() && !is_empty {
            let folder = folder.display();
            return Err(Ended::Unfit(format!(
                "{folder} is neither empty nor an earlier export: choose another folder"
            )));
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let mut notes = Self { file: file.map_err(Ended::file(&path))?, path, mboxes: BTreeMap::new() };
        for note in &noted {
            notes.take(note);
        }
        if noted.is_empty() {
            notes.add(export)?;
        }
        Ok(notes)
    }

    fn add(&mut self, note: &Note) -> Result<(), Ended> {
        self.take(note);
        let written = serde_json::to_string(note).map_err(io::Error::from).and_then(|text| {
            // A line that was torn before this one ends here, and counts for nothing.
            writeln!(self.file, "\n{text}")?;
            self.file.sync_data()
        });
        written.map_err(Ended::file(&self.path))
    }

    fn take(&mut self, note: &Note) {
        if let Note::Mbox { file, uid_validity, uid, octets } = note {
            self.mboxes.insert(file.clone(), (*uid_validity, *uid, *octets));
        }
    }
}

fn read_notes(path: &Path) -> io::Result<Vec<Note>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let lines = BufReader::new(file).lines().collect::<io::Result<Vec<_>>>()?;
    Ok(lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Why a message was not written.
#[derive(Debug)]
enum Unwritten {
    /// It is damaged.
    Message(String),
    /// Nothing can be.
    All(Ended),
}

impl Unwritten {
    /// A file cannot be written.
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let ended = Ended::file(path);
        |error| Self::All(ended(error))
    }
}

impl From<StoreError> for Unwritten {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged(_) => Self::Message(error.to_string()),
            error => Self::All(Ended::store(error)),
        }
    }
}

/// Octets on their way out.
struct Output {
    to_lf: Option<ToLf>,
    quoting: Option<Quoting>,
    converted: Vec<u8>,
    quoted: Vec<u8>,
    /// Octets that were written, and how many lines of them end with LF alone.
    written: u64,
    lone_lfs: u64,
    last: u8,
}

impl Output {
    fn new(octets: Octets, quoting: Option<Quoting>) -> Self {
        let to_lf = (octets == Octets::Converted).then(ToLf::default);
        let (converted, quoted) = (Vec::new(), Vec::new());
        Self { to_lf, quoting, converted, quoted, written: 0, lone_lfs: 0, last: 0 }
    }

    fn write(&mut self, octets: &[u8], file: &mut impl Write) -> io::Result<()> {
        self.converted.clear();
        match &mut self.to_lf {
            Some(to_lf) => to_lf.feed(octets, &mut self.converted),
            None => self.converted.extend_from_slice(octets),
        }
        self.emit(file)
    }

    fn finish(&mut self, file: &mut impl Write) -> io::Result<()> {
        self.converted.clear();
        if let Some(to_lf) = self.to_lf.take() {
            to_lf.finish(&mut self.converted);
        }
        self.emit(file)?;
        if let Some(quoting) = self.quoting.take() {
            self.converted.clear();
            quoting.finish(&mut self.converted);
            self.emit(file)?;
        }
        Ok(())
    }

    fn emit(&mut self, file: &mut impl Write) -> io::Result<()> {
        self.quoted.clear();
        let octets = match &mut self.quoting {
            Some(quoting) => {
                quoting.feed(&self.converted, &mut self.quoted);
                &self.quoted
            }
            None => &self.converted,
        };
        for &octet in octets {
            self.lone_lfs += u64::from(octet == b'\n' && self.last != b'\r');
            self.last = octet;
        }
        self.written += octets.len() as u64;
        file.write_all(octets)
    }
}

/// Writes a message as it was stored: prefix, header block, body.
fn copy(
    work: &Work,
    content: &Content,
    out: &mut Output,
    file: &mut impl Write,
    path: &Path,
) -> Result<(), Unwritten> {
    let mut reader = work.store.reader(content, 0, u64::MAX);
    loop {
        let octets = work.wait(reader.next())?;
        let written = match octets.is_empty() {
            true => out.finish(file),
            false => out.write(&octets, file),
        };
        written.map_err(Unwritten::at(path))?;
        if octets.is_empty() {
            return Ok(());
        }
    }
}
