//! Names of mailboxes as names of files and folders, and back. Pure.
//!
//! In names of the store `/` stands between the levels. What a format cannot say in a level is escaped as Dovecot's plugin
//! listescape does it: `\` and two hexadecimal digits. What is read is checked: no level that leads elsewhere comes out.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use waypost_imap::wire::mutf7;

/// How the folders of a Maildir lie on the disk.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Maildir++: `.Folder.Sub` beside `cur`, `new` and `tmp` of INBOX
    #[default]
    #[value(name = "maildir++")]
    MaildirPlusPlus,
    /// `Folder/Sub`, as Dovecot's LAYOUT=fs and mbsync's `SubFolders Verbatim`
    Fs,
}

/// Files of an mbox tree that hold a mailbox end like this, where the plain name is a folder; Google Takeout does the same.
pub(super) const MBOX_SUFFIX: &str = ".mbox";
/// Thunderbird keeps the mailboxes below `Name` in `Name.sbd`.
pub(super) const THUNDERBIRD_SUFFIX: &str = ".sbd";

impl Layout {
    /// The folder of a mailbox below the Maildir; empty for INBOX.
    pub(super) fn folder(self, mailbox: &str) -> String {
        if mailbox == "INBOX" {
            return String::new();
        }
        match self {
            Self::MaildirPlusPlus => {
                let levels = mailbox.split('/').map(|level| mutf7::encode(&escape(level, |c, _| c == '.')));
                levels.fold(String::new(), |name, level| name + "." + &level)
            }
            Self::Fs => {
                let levels = mailbox.split('/').map(|level| {
                    let reserved = ["cur", "new", "tmp"].contains(&level);
                    mutf7::encode(&escape(level, |c, at| at == 0 && (c == '.' || reserved)))
                });
                levels.collect::<Vec<_>>().join("/")
            }
        }
    }

    /// The mailbox of a folder below the Maildir; `None`: it cannot be one.
    pub(super) fn mailbox(self, folder: &str) -> Option<String> {
        if folder.is_empty() {
            return Some("INBOX".to_owned());
        }
        let levels: Vec<&str> = match self {
            Self::MaildirPlusPlus => folder.strip_prefix('.')?.split('.').collect(),
            Self::Fs => folder.split('/').collect(),
        };
        let levels = levels.into_iter().map(|level| {
            // Dovecot can be told to write UTF-8.
            let decoded = mutf7::decode(level.as_bytes()).ok();
            unescape(&decoded.unwrap_or_else(|| level.to_owned()))
        });
        joined(levels)
    }

    /// What stands between levels in the file `subscriptions`.
    pub(super) fn separator(self) -> char {
        match self {
            Self::MaildirPlusPlus => '.',
            Self::Fs => '/',
        }
    }
}

/// The file of a mailbox in an mbox tree; `is_folder`: others lie below it.
pub(super) fn mbox_file(mailbox: &str, is_folder: bool) -> String {
    let levels: Vec<String> = mailbox.split('/').map(mbox_level).collect();
    levels.join("/") + if is_folder { MBOX_SUFFIX } else { "" }
}

fn mbox_level(level: &str) -> String {
    let suffix = [MBOX_SUFFIX, THUNDERBIRD_SUFFIX, ".msf", ".part"].into_iter().find(|s| level.ends_with(s));
    let dot = suffix.map_or(usize::MAX, |suffix| level.len() - suffix.len());
    escape(level, |c, at| c == '.' && (at == 0 || at == dot))
}

/// The mailbox of a file in an mbox tree, by its path below the tree's root; `None`: it cannot be one.
pub(super) fn mbox_mailbox(path: &str) -> Option<String> {
    let (folders, file) = path.rsplit_once('/').map_or((None, path), |(folders, file)| (Some(folders), file));
    let folders = folders.into_iter().flat_map(|folders| folders.split('/'));
    let folders = folders.map(|level| level.strip_suffix(THUNDERBIRD_SUFFIX).unwrap_or(level));
    let file = file.strip_suffix(MBOX_SUFFIX).unwrap_or(file);
    joined(folders.chain([file]).map(unescape))
}

fn joined(levels: impl Iterator<Item = String>) -> Option<String> {
    let levels: Vec<String> = levels.collect();
    let is_level =
        |level: &String| !level.is_empty() && !level.contains('/') && !level.chars().any(char::is_control);
    levels.iter().all(is_level).then(|| levels.join("/"))
}

/// Escapes `\`, and what the format reserves at its place (counted in octets).
fn escape(level: &str, reserved: impl Fn(char, usize) -> bool) -> String {
    let mut escaped = String::with_capacity(level.len());
    for (at, char) in level.char_indices() {
        if char.is_ascii() && (char == '\\' || reserved(char, at)) {
            // Writing to a string does not fail.
            let _infallible = write!(escaped, "\\{:02x}", char as u32);
        } else {
            escaped.push(char);
        }
    }
    escaped
}

fn unescape(level: &str) -> String {
    let mut parts = level.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(u8::is_ascii);
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[2..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_name_comes_back(name in "([a.\\\\é日 /-]|cur|\\.mbox|\\.sbd|\\PC){1,12}", is_folder in any::<bool>()) {
            // What the store takes as a name.
            prop_assume!(name.split('/').all(|level| !level.is_empty()) && !name.chars().any(char::is_control));
            for layout in [Layout::MaildirPlusPlus, Layout::Fs] {
                let folder = layout.folder(&name);
                prop_assert!(!folder.split('/').any(|level| ["", ".", "..", "cur", "new", "tmp"].contains(&level)));
                prop_assert_eq!(layout.mailbox(&folder), Some(name.clone()));
            }
            let file = mbox_file(&name, is_folder);
            prop_assert!(!file.split('/').any(|level| level.starts_with('.') || level.is_empty()));
            prop_assert_eq!(mbox_mailbox(&file), Some(name));
        }
    }

    #[test]
    fn names_become_folders_and_come_back() {
        for (mailbox, plus, fs) in [
            ("INBOX", "", ""),
            ("Sent", ".Sent", "Sent"),
            ("A/B c/D", ".A.B c.D", "A/B c/D"),
            ("INBOX/a", ".INBOX.a", "INBOX/a"),
            ("Entwürfe/&", ".Entw&APw-rfe.&-", "Entw&APw-rfe/&-"),
            ("v1.2", ".v1\\2e2", "v1.2"),
            ("../../etc", ".\\2e\\2e.\\2e\\2e.etc", "\\2e./\\2e./etc"),
            ("cur/new", ".cur.new", "\\63ur/\\6eew"),
            ("a\\2e", ".a\\5c2e", "a\\5c2e"),
        ] {
            for (layout, folder) in [(Layout::MaildirPlusPlus, plus), (Layout::Fs, fs)] {
                assert_eq!(layout.folder(mailbox), folder, "{mailbox}");
                assert_eq!(layout.mailbox(folder).as_deref(), Some(mailbox), "{folder}");
            }
        }
    }

    #[test]
    fn names_become_mbox_files_and_come_back() {
        for (mailbox, is_folder, file) in [
            ("INBOX", false, "INBOX"),
            ("INBOX", true, "INBOX.mbox"),
            ("Folder/Sub", false, "Folder/Sub"),
            ("Folder.mbox/Sub.sbd", true, "Folder\\2embox/Sub\\2esbd.mbox"),
            ("../.hidden/Grüße", false, "\\2e./\\2ehidden/Grüße"),
            ("a.b.msf", false, "a.b\\2emsf"),
            (".mbox", false, "\\2embox"),
        ] {
            assert_eq!(mbox_file(mailbox, is_folder), file);
            assert_eq!(mbox_mailbox(file).as_deref(), Some(mailbox), "{file}");
        }
        assert_eq!(mbox_mailbox("Inbox.sbd/Sub").as_deref(), Some("Inbox/Sub"));
    }

    #[test]
    fn names_that_lead_elsewhere_are_no_mailboxes() {
        for folder in [".", "..", "...", ".a..b", ".a.", "a", ".a\\2fb", ".a\\00", ".a\nb"] {
            assert_eq!(Layout::MaildirPlusPlus.mailbox(folder), None, "{folder:?}");
        }
        for path in ["/a", "a//b", "a/", ".mbox", "\\2f", "a\\0ab"] {
            assert_eq!(mbox_mailbox(path), None, "{path:?}");
        }
        assert_eq!(Layout::MaildirPlusPlus.mailbox(".Entwürfe").as_deref(), Some("Entwürfe"));
        assert_eq!(Layout::Fs.mailbox("a\\zz\\").as_deref(), Some("a\\zz\\"));
    }
}
