//! `[imap]`: shared mailboxes and annotations.

use waypost_mail::Address;

use crate::{
    reader::{Section, values},
    texts::{address, size},
};

/// `[imap]`: mailboxes that are shared, who administers, annotations.
#[derive(Clone, Debug, PartialEq)]
pub struct ImapConfig {
    /// The account whose mailboxes stand below `Shared Folders/` for all who have a right on them.
    pub shared: Option<Address>,
    /// Accounts that may see and set everybody's quota.
    pub administrators: Vec<Address>,
    /// Most annotations of a mailbox that all see, and as many that one account sees.
    pub metadata_entries: u64,
    /// Most octets of an annotation.
    pub metadata_size: u64,
}

impl Default for ImapConfig {
    fn default() -> Self {
        Self { shared: None, administrators: Vec::new(), metadata_entries: 100, metadata_size: 16 << 10 }
    }
}

/// How many annotations there may be; at least 10 (RFC 5464 section 4.1).
const METADATA_ENTRIES: std::ops::RangeInclusive<u64> = 10..=1000;

/// How large one may be: at least 1 KiB (RFC 5464 section 4.1), and within what a command may hold.
const METADATA_SIZE: std::ops::RangeInclusive<u64> = 1 << 10..=64 << 10;

pub(crate) fn read(root: &Section<'_, '_>) -> ImapConfig {
    let section = root.table("imap");
    let metadata_size = |text: &str| match size(text)? {
        bytes if METADATA_SIZE.contains(&bytes) => Ok(bytes),
        _ => Err("it lies between 1 KiB and 64 KiB".to_owned()),
    };
    let default = ImapConfig::default();
    let size = section.parsed("metadata_size", metadata_size).map(|found| found.value);
    let config = ImapConfig {
        shared: section.parsed("shared", address).map(|found| found.value),
        administrators: section.list("administrators", address).map(values).unwrap_or_default(),
        metadata_entries: section
            .number("metadata_entries", METADATA_ENTRIES)
            .unwrap_or(default.metadata_entries),
        metadata_size: size.unwrap_or(default.metadata_size),
    };
    section.end();
    config
}
