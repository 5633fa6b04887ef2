//! A mailbox as an mbox.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use waypost_message::HeaderCollector;
use waypost_storage::{Content, MailboxState, Row, StoreError};

use super::{Note, Notes, Octets, Output, Unwritten, copy, create_folder};
use crate::port::{
    Ended, Work,
    lines::{Direction, Quoting},
    mbox::{self, Mark},
};

/// After how many messages an mbox is synced and noted.
const NOTED_MESSAGES: usize = 1000;

/// Exports a mailbox.
pub(super) fn mailbox(
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
    let is_noted = noted.is_some();
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
    if since_note > 0 || !is_noted { notes.add(&note(&out, uid)) } else { Ok(()) }
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
