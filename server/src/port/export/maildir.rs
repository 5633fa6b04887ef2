//! A mailbox as a folder of a Maildir.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use waypost_storage::{MailboxState, Row};

use super::{Octets, Output, Unwritten, copy, create, create_folder, replace};
use crate::port::{
    Ended, Layout, Work,
    maildir::{self, FileName, Keywords},
};

/// Exports a mailbox.
pub(super) fn mailbox(
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
