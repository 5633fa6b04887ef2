//! What is to be imported: the folders of a Maildir and their messages, the files of an mbox tree. Symbolic links are not
//! followed, except for the source itself: each file is met once, and nothing outside of the source.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::{
    Ended, Layout,
    maildir::{self, FileName, Keywords},
    name,
};

/// Deepest folders.
const DEPTH_MAX: usize = 100;
/// Longest line of a Maildir's own files that is read, in octets.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A folder of a Maildir, or a file of an mbox tree.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    /// Its path below the source, as text.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// The mailbox that it says it is; `None`: no mailbox can have that name.
    pub(super) mailbox: Option<String>,
    /// Messages of a Maildir, octets of an mbox.
    pub(super) size: u64,
}

/// What is there, and what cannot be looked into.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) folders: Vec<Folder>,
    pub(super) failed: Vec<(PathBuf, String)>,
}

/// A message of a Maildir.
#[derive(Clone, Debug)]
pub(super) struct MessageFile {
    /// `cur` or `new`.
    pub(super) directory: &'static str,
    pub(super) name: String,
    /// The name on the disk, where it is not UTF-8.
    pub(super) path: Option<PathBuf>,
}

const DIRECTORIES: [&str; 2] = ["cur", "new"];

/// The folders of a Maildir, INBOX first.
pub(super) fn maildir(root: &Path, layout: Layout) -> Result<Found, Ended> {
    let mut found = Found::default();
    add_maildir(&mut found, root, String::new(), layout);
    match layout {
        Layout::MaildirPlusPlus => {
            for (name, path) in sorted(root).map_err(Ended::file(root))? {
                if name.starts_with('.') {
                    add_maildir(&mut found, &path, name, layout);
                }
            }
        }
        Layout::Fs => descend(&mut found, root, "", &mut |found, path, name| {
            let is_part = matches!(name.rsplit('/').next(), Some("cur" | "new" | "tmp"));
            if !is_part && is_directory(path) {
                add_maildir(found, path, name.to_owned(), layout);
            }
            !is_part
        })
        .map_err(Ended::file(root))?,
    }
    if found.folders.is_empty() && found.failed.is_empty() {
        return Err(Ended::Unfit(format!(
            "{} is no Maildir: it holds neither cur nor new, nor folders of Maildir++ (--layout fs: other folders)",
            root.display()
        )));
    }
    Ok(found)
}

fn add_maildir(found: &mut Found, path: &Path, name: String, layout: Layout) {
    if is_link(path) && !name.is_empty() {
        return found.failed.push((path.to_owned(), "a symbolic link is not followed".to_owned()));
    }
    let mut size = 0;
    let mut is_maildir = false;
    for directory in DIRECTORIES {
        let path = path.join(directory);
        if is_link(&path) {
            found.failed.push((path, "a symbolic link is not followed".to_owned()));
        } else if path.is_dir() {
            is_maildir = true;
            match fs::read_dir(&path) {
                Ok(entries) => size += entries.count() as u64,
                Err(error) => found.failed.push((path, why(&error))),
            }
        }
    }
    if is_maildir {
        let mailbox = layout.mailbox(&name);
        found.folders.push(Folder { name, path: path.to_owned(), mailbox, size });
    }
}

/// The files of an mbox tree, or the one file.
pub(super) fn mboxes(root: &Path, mailbox: Option<&str>) -> Result<Found, Ended> {
    let mut found = Found::default();
    let metadata = fs::metadata(root).map_err(Ended::file(root))?;
    if metadata.is_file() {
        let mailbox = Some(mailbox.unwrap_or("INBOX").to_owned());
        found.folders.push(Folder {
            name: String::new(),
            path: root.to_owned(),
            mailbox,
            size: metadata.len(),
        });
        return Ok(found);
    }
    if mailbox.is_some() {
        return Err(Ended::Unfit(format!("{} is a folder: --mailbox is for a single file", root.display())));
    }
    descend(&mut found, root, "", &mut |found, path, name| {
        let file = name.rsplit('/').next().unwrap_or(name);
        let is_other = file.starts_with('.') || [".msf", ".part"].iter().any(|suffix| file.ends_with(suffix));
        match fs::symlink_metadata(path) {
            _ if is_other => return false,
            Ok(metadata) if metadata.is_file() => {
                let mailbox = name::mbox_mailbox(name);
                let (name, path, size) = (name.to_owned(), path.to_owned(), metadata.len());
                found.folders.push(Folder { name, path, mailbox, size });
            }
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => found.failed.push((path.to_owned(), "it is neither a file nor a folder".to_owned())),
            Err(error) => found.failed.push((path.to_owned(), why(&error))),
        }
        true
    })
    .map_err(Ended::file(root))?;
    Ok(found)
}

/// Calls `visit` for all in a folder and, where that says so, below it.
fn descend(
    found: &mut Found,
    path: &Path,
    name: &str,
    visit: &mut dyn FnMut(&mut Found, &Path, &str) -> bool,
) -> io::Result<()> {
    for (entry, path) in sorted(path)? {
        let name = if name.is_empty() { entry } else { format!("{name}/{entry}") };
        if !visit(found, &path, &name) || is_link(&path) || !path.is_dir() {
            continue;
        }
        if name.matches('/').count() >= DEPTH_MAX {
            found.failed.push((path, format!("folders are nested more than {DEPTH_MAX} deep")));
        } else if let Err(error) = descend(found, &path, &name, visit) {
            found.failed.push((path, why(&error)));
        }
    }
    Ok(())
}

fn sorted(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        entries.push((name, path));
    }
    entries.sort();
    Ok(entries)
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// An I/O error in words that do not differ from file to file.
pub(super) fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "it may not be read by the user whom this runs as".to_owned(),
        _ => error.to_string(),
    }
}

impl Folder {
    /// The messages of a Maildir, in the order of their UIDs where a list of them is there, else by time of arrival.
    pub(super) fn messages(&self) -> io::Result<Vec<MessageFile>> {
        let mut messages = Vec::new();
        for directory in DIRECTORIES {
            let path = self.path.join(directory);
            if is_link(&path) || !path.is_dir() {
                continue;
            }
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let name = entry.file_name();
                let path = name.to_str().is_none().then(|| entry.path());
                let name = name.to_string_lossy().into_owned();
                if !name.starts_with('.') {
                    messages.push(MessageFile { directory, name, path });
                }
            }
        }
        let uids = self.uids();
        messages.sort_by_cached_key(|message| {
            let name = FileName::parse(&message.name);
            let (time, base) = name.order();
            (uids.get(base).copied().unwrap_or(u32::MAX), time, base.to_owned())
        });
        Ok(messages)
    }

    /// UIDs by the names of files; empty where there is no list.
    fn uids(&self) -> HashMap<String, u32> {
        let line = |line: &str| maildir::uid_list_line(line).map(|(uid, name)| (name.to_owned(), uid));
        self.lines("dovecot-uidlist").iter().filter_map(|text| line(text)).collect()
    }

    /// The keywords of the folder.
    pub(super) fn keywords(&self) -> Keywords {
        Keywords::parse(&self.lines("dovecot-keywords").join("\n"))
    }

    /// The lines of one of the folder's own files; none where it cannot be read.
    pub(super) fn lines(&self, name: &str) -> Vec<String> {
        read_lines(&self.path.join(name)).unwrap_or_default()
    }
}

fn read_lines(path: &Path) -> io::Result<Vec<String>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(Vec::new());
    }
    let mut reader = BufReader::new(File::open(path)?);
    let (mut lines, mut line) = (Vec::new(), Vec::new());
    while io::Read::take(&mut reader, LINE_BYTES_MAX).read_until(b'\n', &mut line)? > 0 {
        lines.push(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
        line.clear();
    }
    Ok(lines)
}

impl MessageFile {
    /// Where it is.
    pub(super) fn path(&self, folder: &Folder) -> PathBuf {
        self.path.clone().unwrap_or_else(|| folder.path.join(self.directory).join(&self.name))
    }
}

/// The names that the source is subscribed to, as names of mailboxes; `None`: it does not say.
pub(super) fn subscriptions(root: &Path, layout: Option<Layout>) -> Option<Vec<String>> {
    let Some(layout) = layout else {
        return read_lines(&root.join(super::target::MBOX_SUBSCRIPTIONS)).ok();
    };
    let lines = read_lines(&root.join("subscriptions")).ok()?;
    let text = lines.join("\n");
    let names = maildir::subscriptions(&text, layout.separator()).into_iter().filter_map(|levels| {
        let folder = match layout {
            _ if levels == ["INBOX"] => String::new(),
            Layout::MaildirPlusPlus => format!(".{}", levels.join(".")),
            Layout::Fs => levels.join("/"),
        };
        layout.mailbox(&folder)
    });
    Some(names.collect())
}
