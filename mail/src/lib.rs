//! The vocabulary of Waypost: what all its crates talk about.
//!
//! Addresses and envelopes, reply and status codes, identifiers, flags, times and directory records. Values that exist
//! are valid: they are parsed at the edge and never checked again. This crate does no I/O and knows no protocol.

pub mod address;
pub mod directory;
pub mod envelope;
pub mod flags;
pub mod ids;
pub mod language;
pub mod notify;
pub mod reply;
pub mod solicitation;
pub mod text;
pub mod time;
pub mod wishes;

pub use address::{
    Address, AddressError, AddressRef, Domain, DomainRef, LocalPart, LocalPartRef, ReversePath,
};
pub use directory::{
    AccessKey, AccountCertificate, AccountRecord, AccountSource, ApopSecret, AppPassword, LoginService,
    TotpSecret,
};
pub use envelope::{BodyType, Envelope};
pub use flags::{Flag, Flags, Keyword, SystemFlags};
pub use ids::{AccountId, EmailId, EntryId, MailboxId, ModSeq, ThreadId, Uid, UidValidity, UidlId};
pub use language::Language;
pub use notify::{DeliverBy, EnvelopeId, Notify, OriginalRecipient, Overdue, ReturnContent};
pub use reply::{EnhancedStatus, Issuer, Refusal, Reply, Severity};
pub use solicitation::{SOLICITATION_CHARACTERS_MAX, Solicitation};
pub use time::{DateTime, Timestamp};
pub use wishes::{Deadline, FutureRelease, Wishes};
