//! What the machine is told at first, what it asks, and what it is told to do.

use std::{collections::BTreeSet, ops::RangeInclusive};

use bytes::Bytes;
use waypost_mail::{DateTime, Flags};
use waypost_storage::SpecialUse;

use super::{Login, response::Namespaces};

/// Most ranges of UIDs in one command: it stays below 1,000 octets (RFC 2683 section 3.2.1.5).
pub const COMMAND_RANGES_MAX: usize = 40;
/// Most messages that one command asks for.
pub const WINDOW_MESSAGES_MAX: usize = 200;
/// Octets after which a command asks for no more messages.
pub const WINDOW_BYTES_MAX: u64 = 1024 * 1024;

/// Whether the connection is encrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encryption {
    /// It is, from the first octet on.
    Implicit,
    /// It will be, or nothing is said.
    StartTls,
    /// It is not.
    None,
}

/// How a session is led.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether it is encrypted.
    pub encryption: Encryption,
    /// Who we are.
    pub login: Login,
    /// Our part of the nonce of SCRAM: printable, random, never the same twice. Empty: there is none, and no SCRAM.
    pub nonce: String,
}

/// What the machine asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Question {
    /// What to do next; with what came of the order before, `None` at the beginning.
    Next(Option<Done>),
    /// Nothing but that this is heard.
    Heard(Heard),
}

/// What the machine is answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// To [`Question::Next`].
    Order(Order),
    /// It was heard.
    GoOn,
}

/// What is to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Order {
    /// All folders: [`Heard::Folder`], [`Heard::Unreadable`], [`Heard::Subscribed`].
    List,
    /// How many messages these folders hold, for a sum: [`Heard::Count`]. Those that the server does not want to tell of are left out.
    Count(Vec<Vec<u8>>),
    /// A folder is selected for reading, by the name that the server gave it.
    Examine(Vec<u8>),
    /// UID and size of messages in these ranges of UIDs; `u32::MAX` as the end of one is `*`: [`Heard::Row`].
    Survey(Vec<RangeInclusive<u32>>),
    /// Messages, by UIDs that one command each asks for; several commands are under way at once:
    /// [`Heard::Octets`], [`Heard::Message`], [`Heard::Window`].
    Bring(Vec<Vec<u32>>),
    /// LOGOUT.
    LogOut,
}

/// What came of an order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Done {
    /// The folders were told; with the namespaces, where the server says so.
    Listed(Namespaces),
    /// All numbers were told.
    Counted,
    /// A folder is selected.
    Examined(Examined),
    /// All rows were told.
    Surveyed,
    /// All messages were told that the server gave.
    Brought,
    /// NO or BAD; the server's words.
    Refused(String),
}

/// What a server says of a folder that is selected.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Examined {
    /// How many messages it holds.
    pub exists: u32,
    /// `None`: its UIDs have no meaning beyond the session.
    pub uid_validity: Option<u32>,
}

/// Something that a server says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heard {
    /// A folder.
    Folder(Folder),
    /// A folder whose name cannot be read; the response.
    Unreadable(String),
    /// A name that is subscribed to.
    Subscribed(Vec<u8>),
    /// So many messages are in one of the folders.
    Count(u32),
    /// UID and size of a message.
    Row(u32, u64),
    /// The next octets of a message.
    Octets(Bytes),
    /// All octets of a message were told.
    Message(Message),
    /// A command of [`Order::Bring`] is answered.
    Window(Window),
}

/// A folder of a server.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Folder {
    /// Its name, as the server writes it.
    pub name: Vec<u8>,
    /// The same in Unicode.
    pub text: String,
    /// What stands between the levels of its name; `None`: it has one level.
    pub delimiter: Option<char>,
    /// Whether it can be selected.
    pub is_selectable: bool,
    /// Whether it is subscribed to, where the server says so in LIST.
    pub is_subscribed: bool,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
}

/// What is known of a message besides its octets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Its UID.
    pub uid: u32,
    /// Its flags and keywords, as far as they can be kept.
    pub flags: Flags,
    /// Whether there are keywords that cannot.
    pub lost_keywords: bool,
    /// When it arrived there, if the server says so.
    pub date: Option<DateTime>,
}

/// How a command for several messages ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Window {
    /// UIDs of messages that were not given.
    pub missing: Vec<u32>,
    /// NO or BAD; the server's words.
    pub refused: Option<String>,
}

/// Commands for messages with these UIDs and sizes, which ascend.
pub fn windows(rows: &[(u32, u64)]) -> Vec<Vec<u32>> {
    let mut windows: Vec<Vec<u32>> = Vec::new();
    let (mut ranges, mut octets) = (0, 0);
    for &(uid, size) in rows {
        let last = windows.last().and_then(|window| window.last()).copied();
        let begins_range = last.is_none_or(|last| last.checked_add(1) != Some(uid));
        match windows.last_mut() {
            Some(window)
                if window.len() < WINDOW_MESSAGES_MAX
                    && octets < WINDOW_BYTES_MAX
                    && (ranges < COMMAND_RANGES_MAX || !begins_range) =>
            {
                window.push(uid);
                ranges += usize::from(begins_range);
            }
            _ => {
                windows.push(vec![uid]);
                (ranges, octets) = (1, 0);
            }
        }
        octets = octets.saturating_add(size);
    }
    windows
}

/// A command, and the UIDs that it asks for and that were not given yet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Asked {
    pub(super) command: String,
    pub(super) left: BTreeSet<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_bounded() {
        let lengths = |rows: &[(u32, u64)]| windows(rows).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&[]), [0; 0]);
        let run: Vec<_> = (1..=450).map(|uid| (uid, 1)).collect();
        assert_eq!(lengths(&run), [200, 200, 50]);
        let sparse: Vec<_> = (1..=100).map(|uid| (2 * uid, 1)).collect();
        assert_eq!(lengths(&sparse), [40, 40, 20]);
        assert_eq!(lengths(&[(1, WINDOW_BYTES_MAX - 1), (2, 1), (3, u64::MAX), (u32::MAX, 1)]), [2, 1, 1]);
        assert_eq!(windows(&run).concat(), run.iter().map(|(uid, _)| *uid).collect::<Vec<_>>());
    }
}
