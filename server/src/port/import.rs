//! Mail comes in.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
    time::UNIX_EPOCH,
};

use waypost_mail::{DateTime, Flags, Timestamp};
use waypost_message::HeaderCollector;
use waypost_storage::Written;

use super::{
    Ended, Format, Job, Work,
    intake::{Arrived, Intake, Origin, Reading, Refused, noting},
    ledger::{Failed, Group, Ledger, Subject},
    lines::{Direction, Quoting, ToCrlf},
    maildir::FileName,
    mbox::{self, Mark},
    source::{self, Folder, Found, MessageFile},
    split::{Begin, Splitter},
    target::Targets,
};

/// Octets of a file that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// What is said of an mbox that is not what it was.
const CHANGED: &str = "it changed since a part of it was imported: --again imports all of it";

/// Imports.
pub(super) fn run(work: &mut Work, state_dir: &Path, job: Job) -> Result<(), Ended> {
    let Job::Import { format, path, layout, mailbox, strict, again } = job else { return Ok(()) };
    let root = path.canonicalize().map_err(Ended::file(&path))?;
    let found = match format {
        Format::Maildir => source::maildir(&root, layout)?,
        Format::Mbox => source::mboxes(&root, mailbox.as_deref())?,
    };
    let total = Some(found.folders.iter().map(|folder| folder.size).sum());
    match format {
        Format::Maildir => work.progress.messages_total = total,
        Format::Mbox => work.progress.octets_total = total,
    }
    let source = root.display().to_string();
    let subject = Subject { account: work.account.id().0, format: format.into(), source, mailbox };
    let ledger = Ledger::open(state_dir, &subject, again).map_err(noting)?;
    let subscriptions = source::subscriptions(&root, (format == Format::Maildir).then_some(layout));
    let names = found.folders.iter().filter_map(|folder| folder.mailbox.clone()).collect();
    let targets = Targets::new(names, subscriptions);
    let mut import = Import { work, intake: Intake::new(ledger), targets, strict };
    import.all(found, format)
}

struct Import<'a> {
    work: &'a mut Work,
    intake: Intake,
    targets: Targets,
    strict: bool,
}

/// A message that was read.
struct Message {
    written: Written,
    flags: Flags,
    date: DateTime,
}

impl Import<'_> {
    fn all(&mut self, found: Found, format: Format) -> Result<(), Ended> {
        self.resolve_doubt(&found.folders, format)?;
        for (path, why) in found.failed {
            self.refuse(path.display().to_string(), why)?;
        }
        for folder in &found.folders {
            let Some(name) = &folder.mailbox else {
                self.refuse(folder.path.display().to_string(), "its name cannot be the name of a mailbox")?;
                continue;
            };
            match self.targets.mailbox(self.work, name)? {
                Ok(mailbox) => self.intake.turn_to(self.work, &folder.name, mailbox)?,
                Err(why) => {
                    self.refuse(folder.path.display().to_string(), why)?;
                    continue;
                }
            }
            self.work.summary.mailboxes += 1;
            match format {
                Format::Maildir => self.maildir(folder)?,
                Format::Mbox => self.mbox(folder)?,
            }
        }
        self.intake.finish(self.work)?;
        self.targets.subscribe(self.work)
    }

    /// Something is not imported.
    fn refuse(&mut self, what: impl Into<String>, why: impl Into<String>) -> Result<(), Ended> {
        self.intake.refuse(self.work, what, why, self.strict)
    }

    fn maildir(&mut self, folder: &Folder) -> Result<(), Ended> {
        let messages = match folder.messages() {
            Ok(messages) => messages,
            Err(error) => return self.refuse(folder.path.display().to_string(), source::why(&error)),
        };
        let keywords = folder.keywords();
        for file in messages {
            let name = FileName::parse(&file.name);
            if self.intake.ledger.holds(&folder.name, name.base) {
                self.work.summary.earlier += 1;
                self.work.passed(0)?;
                continue;
            }
            let path = file.path(folder);
            match read_file(self.work, &path, &name) {
                Ok((written, date)) => {
                    let size = written.size();
                    let (flags, origin) = (name.flags(&keywords), Origin::File(name.base.to_owned()));
                    self.intake.add(self.work, written, flags, date, origin)?;
                    self.work.passed(size)?;
                }
                Err(Refused::Message(why)) => {
                    self.refuse(path.display().to_string(), why)?;
                    self.work.passed(0)?;
                }
                Err(Refused::All(ended)) => return Err(ended),
            }
        }
        Ok(())
    }

    fn mbox(&mut self, folder: &Folder) -> Result<(), Ended> {
        let (reached, messages) = self.intake.ledger.reached(&folder.name);
        for (offset, why) in self.intake.ledger.failed(&folder.name, reached) {
            self.refuse(at(folder, offset), why)?;
        }
        self.work.progress.octets += reached;
        self.work.progress.messages += messages;
        self.work.summary.earlier += messages;
        let read =
            open_mbox(&folder.path, reached).and_then(|mbox| self.mbox_messages(folder, mbox, reached));
        match read {
            Ok(()) => Ok(()),
            Err(Refused::Message(why)) => self.refuse(folder.path.display().to_string(), why),
            Err(Refused::All(ended)) => Err(ended),
        }
    }

    fn mbox_messages(&mut self, folder: &Folder, mut mbox: Mbox, reached: u64) -> Result<(), Refused> {
        let modified = modified(&fs::metadata(&folder.path)?);
        let fatal = Refused::All;
        while let Some(begin) = begin(&mut mbox, reached)? {
            let read = read_mbox_message(self.work, &mut mbox, begin, modified);
            // What was not read of it, if it was refused.
            while mbox.octets()?.is_some() {}
            let (from, to) = (begin.offset, mbox.offset());
            match read {
                Ok(Some(Message { written, flags, date })) => {
                    let origin = Origin::Range(from, to);
                    self.intake.add(self.work, written, flags, date, origin).map_err(fatal)?;
                }
                Ok(None) => {}
                Err(Refused::Message(why)) => {
                    let (name, offset) = (folder.name.clone(), begin.offset);
                    let failed = Failed { folder: name, offset, why: why.clone() };
                    self.intake.ledger.fail(failed).map_err(noting).map_err(fatal)?;
                    self.refuse(at(folder, offset), why).map_err(fatal)?;
                }
                Err(all) => return Err(all),
            }
            self.work.passed(to - from).map_err(fatal)?;
        }
        Ok(())
    }

    /// Finds out whether the last group of a run that was broken off is in the store.
    fn resolve_doubt(&mut self, folders: &[Folder], format: Format) -> Result<(), Ended> {
        let Some(group) = self.intake.ledger.in_doubt().cloned() else { return Ok(()) };
        let arrived = Arrived::since(self.work, &group)?;
        let folder = folders.iter().find(|folder| folder.name == group.folder);
        let is_there = match folder {
            Some(folder) if !arrived.is_empty() => match format {
                Format::Maildir => self.any_file_arrived(folder, &group, &arrived)?,
                Format::Mbox => self.any_message_arrived(folder, &group, &arrived)?,
            },
            _ => false,
        };
        if is_there { self.intake.ledger.settle() } else { self.intake.ledger.void() }.map_err(noting)
    }

    fn any_file_arrived(&self, folder: &Folder, group: &Group, arrived: &Arrived) -> Result<bool, Ended> {
        let files = folder.messages().map_err(Ended::file(&folder.path))?;
        let of_group = |file: &&MessageFile| {
            let base = FileName::parse(&file.name).base;
            group.files.iter().any(|name| name == base)
        };
        for file in files.iter().filter(of_group) {
            match read_file(self.work, &file.path(folder), &FileName::parse(&file.name)) {
                Ok((written, _)) if arrived.holds(self.work, &written)? => return Ok(true),
                Ok(_) | Err(Refused::Message(_)) => {}
                Err(Refused::All(ended)) => return Err(ended),
            }
        }
        Ok(false)
    }

    fn any_message_arrived(&self, folder: &Folder, group: &Group, arrived: &Arrived) -> Result<bool, Ended> {
        let looked = || -> Result<bool, Refused> {
            let mut mbox = open_mbox(&folder.path, group.from)?;
            while let Some(begin) = begin(&mut mbox, group.from)?.filter(|begin| begin.offset < group.to) {
                let read = read_mbox_message(self.work, &mut mbox, begin, DateTime::utc(Timestamp(0)));
                while mbox.octets()?.is_some() {}
                if let Ok(Some(message)) = read
                    && arrived.holds(self.work, &message.written).map_err(Refused::All)?
                {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        match looked() {
            Ok(found) => Ok(found),
            Err(Refused::Message(why)) => Err(Ended::Unfit(format!("{}: {why}", folder.path.display()))),
            Err(Refused::All(ended)) => Err(ended),
        }
    }
}

fn at(folder: &Folder, offset: u64) -> String {
    format!("{}, message at octet {offset}", folder.path.display())
}

fn modified(metadata: &fs::Metadata) -> DateTime {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    DateTime::utc(Timestamp::from_seconds(
        since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0)),
    ))
}

/// Reads a message of a Maildir; its internal date.
fn read_file(work: &Work, path: &Path, name: &FileName<'_>) -> Result<(Written, DateTime), Refused> {
    // Looked at before it is opened: a pipe would be waited for.
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(Refused::Message("it is no regular file; symbolic links are not followed".to_owned()));
    }
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let kept = name.kept.filter(|_| name.size == Some(metadata.len()));
    let mut to_crlf = kept.is_none().then(ToCrlf::default);
    let mut reading = Reading::new(work);
    let mut buffer = vec![0; READ_BYTES.min(usize::try_from(metadata.len()).unwrap_or(READ_BYTES).max(1))];
    let mut converted = Vec::new();
    loop {
        let count = match file.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        if count == 0 {
            break;
        }
        match &mut to_crlf {
            None => reading.write(&buffer[..count])?,
            Some(to_crlf) => {
                converted.clear();
                to_crlf.feed(&buffer[..count], &mut converted);
                reading.write(&converted)?;
            }
        }
    }
    let date = DateTime { offset_minutes: kept.unwrap_or(0), ..modified(&metadata) };
    Ok((reading.finish()?, date))
}

type Mbox = Splitter<BufReader<File>>;

fn open_mbox(path: &Path, offset: u64) -> Result<Mbox, Refused> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() < offset {
        return Err(Refused::Message(CHANGED.to_owned()));
    }
    file.seek(SeekFrom::Start(offset))?;
    Ok(Splitter::new(BufReader::with_capacity(READ_BYTES, file), offset)?)
}

/// The next message; what is said where there is none depends on whether this is the file's begin.
fn begin(mbox: &mut Mbox, reached: u64) -> Result<Option<Begin>, Refused> {
    mbox.begin().map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData if reached > 0 => Refused::Message(CHANGED.to_owned()),
        _ => error.into(),
    })
}

/// Reads a message of an mbox; `None`: it is none, but data of the folder.
fn read_mbox_message(
    work: &Work,
    mbox: &mut Mbox,
    begin: Begin,
    modified: DateTime,
) -> Result<Option<Message>, Refused> {
    let mut collector = Some(HeaderCollector::default());
    let mut quoting = Quoting::new(Direction::Unquote);
    let mut plain = Vec::new();
    let mut message = MboxMessage::new(work);
    loop {
        plain.clear();
        let octets = mbox.octets()?;
        match octets {
            Some(octets) => quoting.feed(octets, &mut plain),
            None => quoting.finish(&mut plain),
        }
        let is_end = octets.is_none();
        let mut body = plain.as_slice();
        if let Some(arriving) = &mut collector {
            let fed = arriving.feed(&plain).map_err(|error| Refused::Message(error.to_string()))?;
            let (header, taken) = match (fed, is_end) {
                (Some((header, taken)), _) => (header, taken),
                (None, false) => continue,
                (None, true) => (collector.take().unwrap_or_default().finish(), plain.len()),
            };
            collector = None;
            message.header(mbox::take_metadata(header))?;
            body = &plain[taken..];
        }
        message.write(body)?;
        if is_end {
            return message.finish(begin.date.unwrap_or(modified));
        }
    }
}

/// A message of an mbox, without its quoting.
struct MboxMessage<'a> {
    reading: Reading<'a>,
    flags: Flags,
    is_internal: bool,
    /// What an export noted; else line ends are converted.
    mark: Option<Mark>,
    to_crlf: ToCrlf,
    written: u64,
    /// Whether a line end is held that an export may have added.
    holds_lf: bool,
    converted: Vec<u8>,
}

impl<'a> MboxMessage<'a> {
    fn new(work: &'a Work) -> Self {
        Self {
            reading: Reading::new(work),
            flags: Flags::default(),
            is_internal: false,
            mark: None,
            to_crlf: ToCrlf::default(),
            written: 0,
            holds_lf: false,
            converted: Vec::new(),
        }
    }

    fn header(&mut self, taken: mbox::Taken) -> Result<(), Refused> {
        (self.flags, self.mark, self.is_internal) = (taken.flags, taken.mark, taken.is_internal);
        self.write(&taken.header)
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Refused> {
        let Some(mark) = self.mark else {
            self.converted.clear();
            self.to_crlf.feed(octets, &mut self.converted);
            return self.reading.write(&self.converted);
        };
        if octets.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.holds_lf) {
            self.keep(b"\n")?;
        }
        if self.written + octets.len() as u64 == mark.size + 1
            && let Some(all_but_last) = octets.strip_suffix(b"\n")
        {
            self.holds_lf = true;
            return self.keep(all_but_last);
        }
        self.keep(octets)
    }

    fn keep(&mut self, octets: &[u8]) -> Result<(), Refused> {
        self.written += octets.len() as u64;
        self.reading.write(octets)
    }

    /// A line end that is still held was added by the export.
    fn finish(self, date: DateTime) -> Result<Option<Message>, Refused> {
        if self.is_internal {
            return Ok(None);
        }
        let offset_minutes = self.mark.map_or(date.offset_minutes, |mark| mark.zone);
        let (written, date) = (self.reading.finish()?, DateTime { offset_minutes, ..date });
        Ok(Some(Message { written, flags: self.flags, date }))
    }
}
