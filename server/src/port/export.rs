//! Mail goes out. The target is new or empty, or an earlier export of the same account, which is then completed.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use waypost_message::HeaderCollector;
use waypost_storage::{AccountState, Content, MailboxState, Row, StoreError};

use super::{
    Ended, Format, Layout, Work,
    lines::{Direction, Quoting, ToLf},
    maildir::{self, FileName, Keywords},
    mbox::{self, Mark},
    name,
    target::MBOX_SUBSCRIPTIONS,
};

/// What an export leaves in its folder, to know it again.
const NOTES: &str = ".waypost-export";
/// After how many messages of an mbox it is synced and noted.
const NOTED_MESSAGES: usize = 1000;

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
            Format::Maildir => maildir(work, path, layout, octets, &mailbox),
            Format::Mbox => {
                let below = format!("{}/", mailbox.name);
                let is_folder = mailboxes.iter().any(|other| other.name.starts_with(&below));
                let file = name::mbox_file(&mailbox.name, is_folder);
                mbox_file(work, &mut notes, path, &file, octets, &mailbox)
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

/// Exports a mailbox as a folder of a Maildir.
fn maildir(
    work: &mut Work,
    root: &Path,
    layout: Layout,
    octets: Octets,
    mailbox: &MailboxState,
) -> Result<(), Ended> {
    let name = layout.folder(&mailbox.name);
    let folder = root.join(&name);
    for part in ["cur", "new", "tmp"] {
        let path = folder.join(part);
        create_folder(&path).map_err(Ended::file(&path))?;
    }
    if layout == Layout::MaildirPlusPlus && !name.is_empty() {
        let path = folder.join("maildirfolder");
        create(&path).map_err(Ended::file(&path))?;
    }
    let (keywords, left_out) = Keywords::assign(&mailbox.keywords);
    if left_out > 0 {
        let name = &mailbox.name;
        work.summary
            .warnings
            .push(format!("{name}: a Maildir has room for 26 keywords; {left_out} were left out"));
    }
    let path = folder.join("dovecot-keywords");
    replace(&path, keywords.text().as_bytes()).map_err(Ended::file(&path))?;
    let mut out = MaildirFolder::open(&folder, keywords, octets).map_err(Ended::file(&folder))?;
    let list = folder.join("dovecot-uidlist");
    let new_list = folder.join("dovecot-uidlist.part");
    let mut uids = BufWriter::new(create(&new_list).map_err(Ended::file(&new_list))?);
    let head = maildir::uid_list_head(mailbox.uid_validity.value(), mailbox.uid_next.value());
    uids.write_all(head.as_bytes()).map_err(Ended::file(&new_list))?;
    for row in mailbox.rows() {
        match out.message(work, mailbox, row) {
            Ok(base) => writeln!(uids, "{} :{base}", row.uid).map_err(Ended::file(&new_list))?,
            Err(Unwritten::Message(why)) => {
                drop(work.failed(format!("{}, UID {}", mailbox.name, row.uid), why)?);
            }
            Err(Unwritten::All(ended)) => return Err(ended),
        }
        work.passed(row.content.size())?;
    }
    uids.flush().and_then(|()| fs::rename(&new_list, &list)).map_err(Ended::file(&list))
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

/// A folder of a Maildir that is written.
struct MaildirFolder {
    path: PathBuf,
    keywords: Keywords,
    octets: Octets,
    /// Files that an earlier run wrote, by the part of their names that UID and date make.
    present: HashMap<String, String>,
}

impl MaildirFolder {
    fn open(path: &Path, keywords: Keywords, octets: Octets) -> io::Result<Self> {
        let mut present = HashMap::new();
        for entry in fs::read_dir(path.join("cur"))? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                let unique = name.split([',', ':']).next().unwrap_or_default().to_owned();
                let is_whole = FileName::parse(&name).size == Some(entry.metadata()?.len());
                if is_whole {
                    present.insert(unique, name);
                }
            }
        }
        Ok(Self { path: path.to_owned(), keywords, octets, present })
    }

    /// Writes a message, unless it is there; the part of its name before the flags.
    fn message(&mut self, work: &mut Work, mailbox: &MailboxState, row: &Row) -> Result<String, Unwritten> {
        let unique =
            format!("{}.V{}U{}.waypost", row.internal_date.seconds.max(0), mailbox.uid_validity, row.uid);
        let letters = self.keywords.letters(&mailbox.flags(row));
        let cur = self.path.join("cur");
        if let Some(name) = self.present.get(&unique) {
            let base = FileName::parse(name).base.to_owned();
            let now = format!("{base}:2,{letters}");
            if now != *name {
                fs::rename(cur.join(name), cur.join(now)).map_err(Unwritten::at(&cur))?;
            }
            work.summary.earlier += 1;
            return Ok(base);
        }
        let tmp = self.path.join("tmp").join(&unique);
        let mut file = BufWriter::new(create(&tmp).map_err(Unwritten::at(&tmp))?);
        let mut out = Output::new(self.octets, None);
        let copied = copy(work, &row.content, &mut out, &mut file, &tmp);
        if copied.is_err() {
            // What is left of it does no harm.
            drop(fs::remove_file(&tmp));
        }
        copied?;
        let seconds = Duration::from_secs(u64::try_from(row.internal_date.seconds).unwrap_or(0));
        let file = file.into_inner().map_err(|error| Unwritten::at(&tmp)(error.into_error()))?;
        file.set_modified(UNIX_EPOCH + seconds).map_err(Unwritten::at(&tmp))?;
        let kept = (self.octets == Octets::Kept).then_some(row.internal_date);
        let base = maildir::base(&unique, (out.written, out.written + out.lone_lfs), kept);
        fs::rename(&tmp, cur.join(format!("{base}:2,{letters}"))).map_err(Unwritten::at(&cur))?;
        work.summary.messages += 1;
        work.summary.octets += row.content.size();
        Ok(base)
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

/// Exports a mailbox as an mbox.
fn mbox_file(
    work: &mut Work,
    notes: &mut Notes,
    root: &Path,
    file: &str,
    octets: Octets,
    mailbox: &MailboxState,
) -> Result<(), Ended> {
    let path = root.join(file);
    if let Some(folder) = path.parent() {
        create_folder(folder).map_err(Ended::file(folder))?;
    }
    let uid_validity = mailbox.uid_validity.value();
    let noted = notes.mboxes.get(file).filter(|(validity, _, _)| *validity == uid_validity);
    let (last_uid, length) = noted.map_or((0, 0), |(_, uid, octets)| (*uid, *octets));
    let mut out = MboxFile::open(&path, length, octets).map_err(Ended::file(&path))?;
    let note = |out: &MboxFile, uid: u32| Note::Mbox {
        file: file.to_owned(),
        uid_validity,
        uid,
        octets: out.length,
    };
    let mut since_note = 0;
    let mut uid = last_uid;
    for row in mailbox.rows() {
        work.passed(row.content.size())?;
        if row.uid.value() <= last_uid {
            work.summary.earlier += 1;
            continue;
        }
        match out.message(work, mailbox, row, &path) {
            Ok(()) => {
                work.summary.messages += 1;
                work.summary.octets += row.content.size();
            }
            Err(Unwritten::Message(why)) => {
                out.cut().map_err(Ended::file(&path))?;
                work.failed(format!("{}, UID {}", mailbox.name, row.uid), why)?;
            }
            Err(Unwritten::All(ended)) => return Err(ended),
        }
        (uid, since_note) = (row.uid.value(), since_note + 1);
        if since_note == NOTED_MESSAGES {
            out.sync().map_err(Ended::file(&path))?;
            notes.add(&note(&out, uid))?;
            since_note = 0;
        }
    }
    out.sync().map_err(Ended::file(&path))?;
    if since_note > 0 || noted_is_new(length, last_uid) { notes.add(&note(&out, uid)) } else { Ok(()) }
}

/// Whether nothing was noted of a file so far.
fn noted_is_new(length: u64, last_uid: u32) -> bool {
    length == 0 && last_uid == 0
}

/// An mbox that is written.
struct MboxFile {
    file: BufWriter<File>,
    /// Octets up to the end of the last whole message.
    length: u64,
    octets: Octets,
}

impl MboxFile {
    /// Goes on behind what an earlier run noted.
    fn open(path: &Path, length: u64, octets: Octets) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut file = Self { file: BufWriter::new(file), length, octets };
        file.cut()?;
        Ok(file)
    }

    /// Removes what follows the last whole message.
    fn cut(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let file = self.file.get_mut();
        if file.metadata()?.len() < self.length {
            return Err(io::Error::other("it is shorter than it was: remove the export and begin anew"));
        }
        file.set_len(self.length)?;
        file.seek(SeekFrom::Start(self.length)).map(drop)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_data()
    }

    fn message(
        &mut self,
        work: &Work,
        mailbox: &MailboxState,
        row: &Row,
        path: &Path,
    ) -> Result<(), Unwritten> {
        let (header, sender) = look_ahead(work, &row.content)?;
        let mark = Mark { header, size: row.content.size(), zone: row.internal_date.offset_minutes };
        let (mark, line_end) = match self.octets {
            Octets::Kept => (Some(mark), "\r\n"),
            Octets::Converted => (None, "\n"),
        };
        let begin = mbox::from_line(&sender, row.internal_date)
            + &mbox::metadata(mark, &mailbox.flags(row), line_end);
        self.file.write_all(begin.as_bytes()).map_err(Unwritten::at(path))?;
        let mut out = Output::new(self.octets, Some(Quoting::new(Direction::Quote)));
        copy(work, &row.content, &mut out, &mut self.file, path)?;
        let end: &[u8] = if out.last == b'\n' { b"\n" } else { b"\n\n" };
        self.file.write_all(end).map_err(Unwritten::at(path))?;
        self.length += begin.len() as u64 + out.written + end.len() as u64;
        Ok(())
    }
}

/// Octets of the header block, and whom Return-Path names. Of a header that is too large neither is known.
fn look_ahead(work: &Work, content: &Content) -> Result<(u64, Vec<u8>), StoreError> {
    let mut collector = HeaderCollector::default();
    let mut reader = work.store.reader(content, 0, u64::MAX);
    let block = loop {
        let octets = work.wait(reader.next())?;
        if octets.is_empty() {
            break collector.finish();
        }
        match collector.feed(&octets) {
            Ok(Some((block, _))) => break block,
            Ok(None) => {}
            Err(_too_large) => return Ok((0, Vec::new())),
        }
    };
    let sender = block.first("Return-Path").unwrap_or_default();
    Ok((block.octets().len() as u64, sender))
}
