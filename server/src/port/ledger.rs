//! What an import has done, so that it can be broken off and run again without doubling a message.
//!
//! A file `STATE/import/<name>` of JSON lines, synced after each. A group of messages is one entry of the store: all of it
//! is there, or nothing. The line that names a group is written before the store gets it, and implies that the group
//! before it is there. So only the last group can be in doubt; where its messages would have to be in the mailbox is
//! written with it.
//!
//! ```text
//! group 1 ──► group 2 ──► … ──► group n ──► settled | void
//!   there       there             in doubt, until one of these two follows
//! ```

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{Format, uids::Uids};

/// A line of the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    /// The first line.
    Import(Subject),
    /// A group that is about to be accepted.
    Group(Group),
    /// The group before is there.
    Settled,
    /// The group before is not there, and will not be.
    Void,
    /// A message of an mbox that cannot be imported.
    Failed(Failed),
    /// A folder of another server has other UIDs than before.
    Renumbered { folder: String, uid_validity: u32 },
    /// Messages of another server that were in the mailbox already, by ranges of UIDs.
    Held { folder: String, ranges: Vec<(u32, u32)> },
}

/// Where mail comes from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Maildir,
    Mbox,
    /// Another server.
    Imap,
}

impl From<Format> for Kind {
    fn from(format: Format) -> Self {
        match format {
            Format::Maildir => Self::Maildir,
            Format::Mbox => Self::Mbox,
        }
    }
}

/// What is imported, and into which account.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Subject {
    /// The account's id.
    pub(super) account: u64,
    pub(super) format: Kind,
    /// The path of the source, or user and host.
    pub(super) source: String,
    /// The mailbox that a single mbox goes to.
    pub(super) mailbox: Option<String>,
}

/// Messages that are accepted as one entry.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Group {
    /// Folder of a Maildir, or file of an mbox tree, below the source; folder of another server.
    pub(super) folder: String,
    /// The mailbox they go to, its UIDVALIDITY, and the UID that the first message there gets.
    pub(super) mailbox: u64,
    pub(super) uid_validity: u32,
    pub(super) uid_next: u32,
    /// Files of a Maildir, by their names without flags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) files: Vec<String>,
    /// How many they are.
    #[serde(default)]
    pub(super) messages: u64,
    /// Octets of an mbox.
    #[serde(default)]
    pub(super) from: u64,
    #[serde(default)]
    pub(super) to: u64,
    /// Messages of another server, by ranges of UIDs; what was not there in between counts, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ranges: Vec<(u32, u32)>,
    /// The UIDVALIDITY of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) source_validity: Option<u32>,
    /// What the first message is known by, where the source is not asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<Print>,
}

impl Group {
    /// The same, with its ranges joined where they touch.
    pub(super) fn joined(mut self) -> Self {
        let mut uids = Uids::default();
        uids.extend(self.ranges);
        self.ranges = uids.ranges().to_vec();
        self
    }
}

/// What a message is known by.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub(super) struct Print {
    /// Octets.
    pub(super) size: u64,
    /// Octets of its header block, and their hash (FNV-1a).
    pub(super) header_size: u64,
    pub(super) header: u64,
}

impl Print {
    pub(super) fn of(size: u64, header: &[u8]) -> Self {
        Self { size, header_size: header.len() as u64, header: fnv1a(header) }
    }
}

fn fnv1a(octets: &[u8]) -> u64 {
    octets.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// What is known of a folder of another server.
#[derive(Debug, Default)]
struct Numbered {
    uid_validity: u32,
    done: Uids,
    /// Its UIDs were others once.
    is_renumbered: bool,
}

/// A message of an mbox that cannot be imported, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Failed {
    pub(super) folder: String,
    pub(super) offset: u64,
    pub(super) why: String,
}

/// The file, held by a lock.
#[derive(Debug)]
pub(super) struct Ledger {
    file: File,
    known: Known,
}

/// What the lines say.
#[derive(Debug, Default)]
struct Known {
    /// Files that are there, by folder.
    files: HashMap<String, HashSet<String>>,
    /// How far mboxes are there, and how many messages that are.
    reached: HashMap<String, (u64, u64)>,
    /// By file and offset: a message may have been tried more than once.
    failed: BTreeMap<(String, u64), String>,
    /// By folder of another server.
    numbered: HashMap<String, Numbered>,
    in_doubt: Option<Group>,
}

impl Known {
    fn take(&mut self, line: Line) {
        match line {
            Line::Import(_) => {}
            Line::Group(group) => {
                self.settle();
                self.in_doubt = Some(group);
            }
            Line::Settled => self.settle(),
            Line::Void => self.in_doubt = None,
            Line::Failed(Failed { folder, offset, why }) => drop(self.failed.insert((folder, offset), why)),
            Line::Renumbered { folder, uid_validity } => {
                let numbered = Numbered { uid_validity, is_renumbered: true, ..Numbered::default() };
                self.numbered.insert(folder, numbered);
            }
            Line::Held { folder, ranges } => self.numbered.entry(folder).or_default().done.extend(ranges),
        }
    }

    fn settle(&mut self) {
        let Some(group) = self.in_doubt.take() else { return };
        if let Some(uid_validity) = group.source_validity {
            let numbered = self.numbered.entry(group.folder).or_default();
            numbered.uid_validity = uid_validity;
            numbered.done.extend(group.ranges);
        } else if !group.files.is_empty() {
            self.files.entry(group.folder).or_default().extend(group.files);
        } else {
            let (reached, messages) = self.reached.entry(group.folder).or_default();
            *reached = group.to.max(*reached);
            *messages += group.messages;
        }
    }
}

impl Ledger {
    /// Opens or begins the file. `forget`: what earlier imports did counts no more.
    /// Errors: `WouldBlock`, where the same import runs.
    pub(super) fn open(state_dir: &Path, subject: &Subject, forget: bool) -> io::Result<Self> {
        let folder = state_dir.join("import");
        match DirBuilder::new().mode(0o750).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let path = folder.join(subject.file_name());
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(&path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::WouldBlock, "the same import runs already")
            }
            TryLockError::Error(error) => error,
        })?;
        if forget {
            file.set_len(0)?;
        }
        let known = load(&mut file, subject)?;
        let mut ledger = Self { file, known: known.unwrap_or_default() };
        if ledger.file.stream_position()? == 0 {
            ledger.append(&Line::Import(subject.clone()))?;
            File::open(&folder)?.sync_all()?;
        }
        Ok(ledger)
    }

    /// The group that may be there or not.
    pub(super) fn in_doubt(&self) -> Option<&Group> {
        self.known.in_doubt.as_ref()
    }

    /// Whether a file was imported.
    pub(super) fn holds(&self, folder: &str, file: &str) -> bool {
        self.known.files.get(folder).is_some_and(|files| files.contains(file))
    }

    /// What was imported of a folder of another server, and under which UIDVALIDITY; `None`: nothing.
    pub(super) fn done(&self, folder: &str) -> Option<(u32, &Uids)> {
        self.known.numbered.get(folder).map(|numbered| (numbered.uid_validity, &numbered.done))
    }

    /// Whether a folder of another server had other UIDs when a part of it was imported.
    pub(super) fn is_renumbered(&self, folder: &str) -> bool {
        self.known.numbered.get(folder).is_some_and(|numbered| numbered.is_renumbered)
    }

    /// A folder of another server has other UIDs than before: what was noted of it counts no more.
    pub(super) fn renumber(&mut self, folder: &str, uid_validity: u32) -> io::Result<()> {
        self.add(Line::Renumbered { folder: folder.to_owned(), uid_validity })
    }

    /// Messages of another server are in the mailbox already.
    pub(super) fn hold(&mut self, folder: &str, held: &Uids) -> io::Result<()> {
        self.add(Line::Held { folder: folder.to_owned(), ranges: held.ranges().to_vec() })
    }

    /// Notes a line, and knows it.
    fn add(&mut self, line: Line) -> io::Result<()> {
        self.append(&line)?;
        self.known.take(line);
        Ok(())
    }

    /// How far an mbox was imported, and how many messages that are.
    pub(super) fn reached(&self, folder: &str) -> (u64, u64) {
        self.known.reached.get(folder).copied().unwrap_or_default()
    }

    /// Messages before a place that could not be imported.
    pub(super) fn failed(&self, folder: &str, before: u64) -> Vec<(u64, String)> {
        let range = (folder.to_owned(), 0)..(folder.to_owned(), before);
        self.known.failed.range(range).map(|((_, offset), why)| (*offset, why.clone())).collect()
    }

    /// Names the group that the store gets next. What was imported before is kept on disk only.
    pub(super) fn begin(&mut self, group: Group) -> io::Result<()> {
        self.append(&Line::Group(group))
    }

    /// The last group is there.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.known.settle();
        self.append(&Line::Settled)
    }

    /// The last group is not there.
    pub(super) fn void(&mut self) -> io::Result<()> {
        self.known.in_doubt = None;
        self.append(&Line::Void)
    }

    /// A message of an mbox cannot be imported.
    pub(super) fn fail(&mut self, failed: Failed) -> io::Result<()> {
        self.append(&Line::Failed(failed))
    }

    fn append(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()
    }
}

impl Subject {
    /// A name for the file: a hash of what is imported (FNV-1a), as paths may be longer than names.
    fn file_name(&self) -> String {
        let Self { account, format, source, mailbox } = self;
        let text = format!("{account}\0{format:?}\0{source}\0{}", mailbox.as_deref().unwrap_or_default());
        format!("{:016x}", fnv1a(text.as_bytes()))
    }
}

/// Reads all whole lines and leaves the file behind them; a last line that was torn is cut. `None`: there is none.
fn load(file: &mut File, subject: &Subject) -> io::Result<Option<Known>> {
    let mut known = None;
    let mut end = 0;
    let mut reader = BufReader::new(&*file);
    let mut text = String::new();
    while reader.read_line(&mut text)? > 0 {
        let Some(line) = text.strip_suffix('\n').and_then(|line| serde_json::from_str(line).ok()) else {
            break;
        };
        if let Line::Import(found) = &line
            && found != subject
        {
            return Err(io::Error::other(format!(
                "the notes of another import have the same name: {found:?}"
            )));
        }
        known.get_or_insert_with(Known::default).take(line);
        end += text.len() as u64;
        text.clear();
    }
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject { account: 1, format: Kind::Maildir, source: "/x".to_owned(), mailbox: None }
    }

    fn group(files: &[&str]) -> Group {
        Group {
            folder: ".A".into(),
            files: files.iter().map(|f| (*f).to_owned()).collect(),
            ..Group::default()
        }
    }

    #[test]
    fn only_the_last_group_is_in_doubt() {
        let folder = tempfile::tempdir().unwrap();
        let open = |forget| Ledger::open(folder.path(), &subject(), forget).unwrap();
        let mut ledger = open(false);
        assert!(Ledger::open(folder.path(), &subject(), false).is_err(), "it is locked");
        ledger.begin(group(&["1", "2"])).unwrap();
        ledger.begin(group(&["3"])).unwrap();
        drop(ledger);
        let mut ledger = open(false);
        assert_eq!(ledger.in_doubt(), Some(&group(&["3"])));
        assert_eq!(["1", "2", "3"].map(|file| ledger.holds(".A", file)), [true, true, false]);
        assert!(!ledger.holds(".B", "1"));
        ledger.void().unwrap();
        assert_eq!(ledger.in_doubt(), None);
        let mbox = |messages, from, to| Group { folder: "m".into(), messages, from, to, ..Group::default() };
        ledger.begin(mbox(1, 0, 10)).unwrap();
        ledger.fail(Failed { folder: "m".into(), offset: 12, why: "x".into() }).unwrap();
        ledger.begin(mbox(2, 10, 30)).unwrap();
        ledger.settle().unwrap();
        drop(ledger);
        let ledger = open(false);
        assert_eq!((ledger.in_doubt(), ledger.holds(".A", "3"), ledger.reached("m")), (None, false, (30, 3)));
        assert_eq!((ledger.failed("m", 30).len(), ledger.failed("m", 12).len()), (1, 0));
        drop(ledger);
        assert_eq!(open(true).reached("m"), (0, 0));
    }

    #[test]
    fn uids_count_under_one_uid_validity() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Ledger::open(folder.path(), &subject(), false).unwrap();
        let group = |ranges: &[(u32, u32)]| Group {
            folder: "A".into(),
            ranges: ranges.to_vec(),
            source_validity: Some(7),
            ..Group::default()
        };
        let done =
            |ledger: &Ledger| ledger.done("A").map(|(validity, uids)| (validity, uids.ranges().to_vec()));
        let mut ledger = open();
        assert_eq!(done(&ledger), None);
        ledger.begin(group(&[(1, 4)])).unwrap();
        ledger.begin(group(&[(5, 5), (7, 9)])).unwrap();
        drop(ledger);
        let mut ledger = open();
        assert_eq!((done(&ledger), ledger.is_renumbered("A")), (Some((7, vec![(1, 4)])), false));
        ledger.settle().unwrap();
        assert_eq!(done(&ledger), Some((7, vec![(1, 5), (7, 9)])));
        ledger.renumber("A", 8).unwrap();
        let mut held = Uids::default();
        held.add(2, 3);
        ledger.hold("A", &held).unwrap();
        assert_eq!(done(&ledger), Some((8, vec![(2, 3)])));
        drop(ledger);
        let ledger = open();
        assert_eq!((done(&ledger), ledger.is_renumbered("A")), (Some((8, vec![(2, 3)])), true));
    }

    #[test]
    fn a_torn_line_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path(), &subject(), false).unwrap();
        ledger.begin(group(&["1"])).unwrap();
        ledger.file.write_all(b"{\"group\":{\"fol").unwrap();
        drop(ledger);
        let mut ledger = Ledger::open(folder.path(), &subject(), false).unwrap();
        assert_eq!(ledger.in_doubt(), Some(&group(&["1"])));
        ledger.settle().unwrap();
        drop(ledger);
        assert!(Ledger::open(folder.path(), &subject(), false).unwrap().holds(".A", "1"));
    }
}
