//! The store: an append-only journal that is the truth, a sled index that can always be made anew from it, and the
//! mailboxes, the queue and the directory that both hold.
//!
//! One writer thread changes everything: it decides over the durable state and the same batch, appends the records of the
//! batch to the journal, syncs once, and only then publishes and answers. What sessions read are immutable snapshots
//! ([`AccountState`], [`MailboxState`]) that share what did not change. This crate is the only one that knows sled.
//!
//! ```text
//! command ──► decide(state, command) → records ──► append + fdatasync ──► publish, answer
//! ```

pub mod accept;
pub mod account;
pub mod acl;
pub mod annotation;
mod apply;
pub mod backup;
mod check;
mod checkpoint;
mod compaction;
pub mod content;
mod crossing;
mod decide;
mod directory;
pub mod disk;
pub mod dkim;
pub mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod housekeeping;
mod index;
mod journal;
mod leb128;
mod maildrop;
pub mod message;
mod opening;
pub mod progress;
mod projection;
pub mod queue;
mod rebuild;
mod record;
mod recovery;
pub mod retrieved;
pub mod seen;
mod shared;
mod snapshot;
pub mod state;
pub mod store;
pub mod structure;
pub mod suppression;
#[cfg(test)]
mod tests;
pub mod vanished;
mod writer;

/// What senders ask for is told in the words of `waypost_mail`.
pub use waypost_mail::{Deadline, Wishes};

pub use accept::{Acceptance, Accepted, Delivery, Placed, Relay, RelayRecipient, Replaced};
pub use account::{
    Account, Carried, CopyOutcome, FlagChange, FlagMode, FlagsOutcome, Missing, Restored, Retained,
    Selection, Then,
};
pub use acl::{Acl, AclKey, FlagRights, Grants, Identifier, Rights, Sign};
pub use annotation::{AnnotationKey, AnnotationLimits, Annotations, Audience};
pub use compaction::Compacted;
pub use content::{Body, BodyWriter, Content, Reader};
pub use decide::sharing::RightsChange;
pub use dkim::{DKIM_KEYS_MAX, DkimAlgorithm, DkimKey, DkimSecret, DkimState};
pub use error::StoreError;
pub use maildrop::{MaildropUpdate, RowsAhead};
pub use message::{MessageError, MessageWriter, Written};
pub use progress::{Progress, Report};
pub use queue::{
    Attempt, Dialogue, DialogueTls, Held, Outcome, QueueEntry, QueuedRecipient, RecipientOutcome,
    ReturnedReport, history::QueueEvent,
};
pub use retrieved::Retrieved;
pub use seen::{Seen, UidSet};
pub use state::{AccountState, DirectoryState, Grave, MailboxState, Message, Origin, Row, SpecialUse};
pub use store::{NewAccount, Options, Store};
pub use structure::{KeptStructure, Previews};
pub use suppression::{Cause, Strike, Suppression, Suppressions};
pub use vanished::Vanished;
