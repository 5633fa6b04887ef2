//! The grammar of IMAP: what a client may say, as values, and what we say, as octets (RFC 9051 section 9, RFC 3501 section 9).
//!
//! One function per rule, named after it. What arrives is parsed whole, with its literals ([`parse::command`]); the machine
//! finds where it ends ([`literal::announced`]).

pub mod acl;
pub mod command;
pub mod encode;
pub mod literal;
pub mod metadata;
pub mod mutf7;
pub mod parse;
pub mod quota;

mod append;
mod date;
mod fetch;
mod flag;
mod language;
mod list;
mod mailbox;
mod partial;
mod search;
mod select;
mod sequence;
pub(crate) mod token;
mod url;
mod urlauth;

#[cfg(test)]
mod tests;

pub use acl::AclCommand;
pub use append::{append_piece, begins_append};
pub use command::*;
pub use encode::Status;
pub use fetch::SECTION_PARTS_MAX;
pub use language::{asked_for, spoken};
pub use mailbox::Spelling;
pub use metadata::{Depth, Entry, GetMetadata, MetadataCommand, Scope};
pub use parse::Bad;
pub use partial::{PartialEnd, PartialRange};
pub use quota::QuotaCommand;
pub use search::SEARCH_DEPTH_MAX;
pub use sequence::SEQUENCE_RANGES_MAX;
pub use token::{LIST_ITEMS_MAX, TAG_BYTES_MAX, Wrong};
pub use url::{MessageUrl, UrlAccess, UrlAuth};
pub use waypost_mail::Language;
