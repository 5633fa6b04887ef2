//! The records of the journal: what happened, as outcomes, never as what was asked for.
//!
//! Kind and version of a record are fixed for ever; a payload is a CBOR map with integer keys, so that a later version can
//! add keys. The sequence number of a record in its stream is not in the payload; an account record's is the MODSEQ it
//! causes, and that of a `MessageAdded` without `email` and `uidl` is also the new message's EmailId and UidlId.
//!
//! | kind | version | stream | record |
//! |---|---|---|---|
//! | 1 | 1 | directory | `AccountCreated` |
//! | 2 | 1 | directory | `AccountRemoved` |
//! | 3 | 1 | directory | `PasswordChanged` |
//! | 4 | 1 | directory | `QuotaChanged` |
//! | 5 | 1 | directory | `StateRestored` |
//! | 6 | 1 | directory | `AppPasswordsChanged` |
//! | 7 | 1 | directory | `TotpChanged` |
//! | 9 | 1 | directory | `DestinationPaused` |
//! | 10 | 1 | directory | `CodeUsed` |
//! | 11 | 1 | directory | `CertificatesChanged` |
//! | 12 | 1 | directory | `SuppressionChanged` |
//! | 13 | 1 | directory | `SuppressionRemoved` |
//! | 14 | 1 | directory | `DkimKeyChanged` |
//! | 15 | 1 | directory | `DkimKeyRemoved` |
//! | 16 | 1 | account | `MailboxCreated` |
//! | 17 | 1 | account | `MailboxDeleted` |
//! | 18 | 1 | account | `MailboxRenamed` |
//! | 19 | 1 | account | `Subscribed` |
//! | 20 | 1 | account | `KeywordDefined` |
//! | 21 | 1 | account | `MessageAdded` |
//! | 22 | 1 | account | `FlagsChanged` |
//! | 23 | 1 | account | `Expunged` |
//! | 24 | 1 | account | `UidValidityChanged` |
//! | 25 | 1 | account | `Released` |
//! | 26 | 1 | account | `AccountSnapshotPart` |
//! | 27 | 1 | account | `AccountSnapshotClosed` |
//! | 32 | 1 | queue | `Queued` |
//! | 33 | 1 | queue | `Attempted` |
//! | 34 | 1 | queue | `Settled` |
//! | 35 | 1 | queue | `Rescheduled` |
//! | 36 | 1 | queue | `QueueSnapshotPart` |
//! | 37 | 1 | queue | `QueueSnapshotClosed` |
//! | 38 | 1 | queue | `HoldChanged` |
//! | 40 | 1 | queue | `Reported` |
//! | 41 | 1 | directory | `CodesForgotten` |
//! | 42 | 1 | directory | `DirectorySnapshotPart` |
//! | 43 | 1 | directory | `DirectorySnapshotClosed` |
//! | 50 | 1 | account | `AccessKeyChanged` |
//! | 60 | 1 | account | `AclChanged` |
//! | 61 | 1 | account | `SeenChanged` |
//! | 62 | 1 | account | `AnnotationsChanged` |
//! | 63 | 1 | account | `SpecialUseChanged` |
//! | 64 | 1 | directory | `GrantsChanged` |
//! | 70 | 1 | account | `Retrieved` |
//! | 71 | 1 | directory | `ApopChanged` |

pub(crate) mod codec;
mod outcome;
mod sharing;
mod snapshot;
mod wishes;

pub(crate) use self::sharing::{
    AclChanged, AnnotationsChanged, GrantsChanged, SeenChanged, SpecialUseChanged,
};
pub(crate) use self::snapshot::{
    AccountPart, AccountSnapshotClosed, AccountSnapshotPart, DirectoryPart, DirectorySnapshotClosed,
    DirectorySnapshotPart, EntryPart, KeptAccount, MailboxPart, QueueSnapshotClosed, QueueSnapshotPart,
    SnapshotClosed, is_of_snapshot,
};
pub(crate) use self::wishes::KeptWishes;
use minicbor::{Decode, Encode, bytes::ByteVec};
use waypost_mail::{
    AccessKey, AccountCertificate, AccountId, AccountSource, Address, ApopSecret, AppPassword, BodyType,
    DateTime, Domain, EmailId, EntryId, Keyword, MailboxId, ReversePath, SystemFlags, ThreadId, Timestamp,
    TotpSecret, Uid, UidValidity, UidlId,
};

use crate::{
    accept::RelayRecipient,
    content::{BodyPlace, Content},
    dkim::DkimKey,
    error::StoreError,
    journal::{Placement, RawRecord, Stream},
    queue::{Dialogue, Held, RecipientOutcome, ReturnedReport},
    state::SpecialUse,
    suppression::{Kept, Suppression},
};

/// Most octets of records in one entry.
pub(crate) const ENTRY_RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The version of every payload so far.
const VERSION: u8 = 1;

/// What one record changes, by its stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Directory(DirectoryChange),
    Account(AccountChange),
    Queue(QueueChange),
}

/// A record with its place in its stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) stream: Stream,
    pub(crate) seq: u64,
    pub(crate) change: Change,
}

/// The changes of one stream, with their kinds.
macro_rules! changes {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $kind:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) enum $name { $($variant($variant)),* }

        impl $name {
            fn encode(&self) -> (u16, Vec<u8>) {
                match self { $(Self::$variant(payload) => ($kind, cbor(payload))),* }
            }

            fn decode(kind: u16, payload: &[u8]) -> Option<Result<Self, minicbor::decode::Error>> {
                match kind {
                    $($kind => Some(minicbor::decode(payload).map(Self::$variant)),)*
                    _ => None,
                }
            }
        }

        $(impl From<$variant> for Change {
            fn from(payload: $variant) -> Self {
                $name::$variant(payload).into()
            }
        })*
    };
}

changes! {
    /// Changes of the directory.
    DirectoryChange {
        AccountCreated = 1, AccountRemoved = 2, PasswordChanged = 3, QuotaChanged = 4, StateRestored = 5,
        AppPasswordsChanged = 6, TotpChanged = 7, DestinationPaused = 9, CodeUsed = 10,
        CertificatesChanged = 11, SuppressionChanged = 12, SuppressionRemoved = 13,
        DkimKeyChanged = 14, DkimKeyRemoved = 15, CodesForgotten = 41, DirectorySnapshotPart = 42,
        DirectorySnapshotClosed = 43, GrantsChanged = 64, ApopChanged = 71,
    }
}
changes! {
    /// Changes of one account's mailboxes.
    AccountChange {
        MailboxCreated = 16, MailboxDeleted = 17, MailboxRenamed = 18, Subscribed = 19, KeywordDefined = 20,
        MessageAdded = 21, FlagsChanged = 22, Expunged = 23, UidValidityChanged = 24,
        Released = 25, AccountSnapshotPart = 26, AccountSnapshotClosed = 27, AccessKeyChanged = 50, AclChanged = 60, SeenChanged = 61,
        AnnotationsChanged = 62, SpecialUseChanged = 63, Retrieved = 70,
    }
}
changes! {
    /// Changes of the queue.
    QueueChange {
        Queued = 32, Attempted = 33, Settled = 34, Rescheduled = 35, QueueSnapshotPart = 36,
        QueueSnapshotClosed = 37, HoldChanged = 38, Reported = 40,
    }
}

impl From<DirectoryChange> for Change {
    fn from(change: DirectoryChange) -> Self {
        Self::Directory(change)
    }
}

impl From<AccountChange> for Change {
    fn from(change: AccountChange) -> Self {
        Self::Account(change)
    }
}

impl From<QueueChange> for Change {
    fn from(change: QueueChange) -> Self {
        Self::Queue(change)
    }
}

/// An account exists from now on.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct AccountCreated {
    #[cbor(n(0), with = "codec::account")]
    pub(crate) account: AccountId,
    #[cbor(n(1), with = "codec::address")]
    pub(crate) address: Address,
    #[cbor(n(2), with = "codec::source")]
    pub(crate) source: AccountSource,
    #[n(3)]
    pub(crate) password_hash: Option<String>,
    #[n(4)]
    pub(crate) quota_bytes: Option<u64>,
    #[cbor(n(5), default)]
    pub(crate) scram_verifiers: Vec<String>,
}

/// An account is gone with its mail.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct AccountRemoved {
    #[cbor(n(0), with = "codec::account")]
    pub(crate) account: AccountId,
}

/// An account has another password.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct PasswordChanged {
    #[cbor(n(0), with = "codec::account")]
    pub(crate) account: AccountId,
    #[n(1)]
    pub(crate) password_hash: Option<String>,
    #[cbor(n(2), default)]
    pub(crate) scram_verifiers: Vec<String>,
}

/// An account has these app passwords and no others.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct AppPasswordsChanged {
    #[cbor(n(0), with = "codec::account")]
    pub(crate) account: AccountId,
    #[n(1)]
    pub(crate) app_passwords: Vec<KeptAppPassword>,
}

/// Nothing is sent to a destination, or something is again.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct DestinationPaused {
    #[n(0)]
    pub(crate) destination: String,
    #[n(1)]
    pub(crate) paused: bool,
}

/// A line of the suppression list is so from now on.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
#[cbor(transparent)]
pub(crate) struct SuppressionChanged(#[n(0)] pub(crate) Suppression);

/// A line of the suppression list is gone.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct SuppressionRemoved {
    #[cbor(n(0), with = "codec::address")]
    pub(crate) recipient: Address,
    /// Whose mail it was about; missing: anybody's.
    #[n(1)]
    pub(crate) sender: Option<Kept>,
}

/// A key of a domain is so from now on.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
#[cbor(transparent)]
pub(crate) struct DkimKeyChanged(#[n(0)] pub(crate) DkimKey);

/// A key of a domain is gone.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct DkimKeyRemoved {
    #[cbor(n(0), with = "codec::domain")]
    pub(crate) domain: Domain,
    #[n(1)]
    pub(crate) selector: String,
}

/// An app password as it stands in a record.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct KeptAppPassword(#[cbor(n(0), with = "codec::app_password")] pub(crate) AppPassword);

/// The codes of an account are made of something else, or it has none.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct TotpChanged {
    #[cbor(n(0), with = "codec::account")]
    pub(crate) account: AccountId,
    #[cbor(n(1), with = "codec::totp")]
    pub(crate) secret: Option<TotpSecret>,
}

/// An account shares another secret with its clients for APOP, or none.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct ApopChanged {
    #[cbor(n(0), with = "codec::account")]
    pub(crate) account: AccountId,
    #[cbor(n(1), with = "codec::apop")]
    pub(crate) secret: Option<ApopSecret>,
}

/// A code of an account was used: neither it nor an older one is good any more.
#[derive(Clone, Copy, Debug, Decode, Encode, PartialEq)]
pub(crate) struct CodeUsed {
    #[cbor(n(0), with = "codec::account")]
    pub(crate) account: AccountId,
    /// Its time step (RFC 6238 section 4.2).
    #[n(1)]
    pub(crate) step: u64,
}

/// It is no longer known which codes were used before a time step.
#[derive(Clone, Copy, Debug, Decode, Encode, PartialEq)]
pub(crate) struct CodesForgotten {
    /// The first time step of those that are still known (RFC 6238 section 4.2).
    #[n(0)]
    pub(crate) before: u64,
}

/// These certificates and no others log in to an account.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct CertificatesChanged {
    #[cbor(n(0), with = "codec::account")]
    pub(crate) account: AccountId,
    #[n(1)]
    pub(crate) certificates: Vec<KeptCertificate>,
}

/// A certificate as it stands in a record.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct KeptCertificate(#[cbor(n(0), with = "codec::certificate")] pub(crate) AccountCertificate);

/// An account has another quota.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct QuotaChanged {
    #[cbor(n(0), with = "codec::account")]
    pub(crate) account: AccountId,
    #[n(1)]
    pub(crate) quota_bytes: Option<u64>,
}

/// The state came out of a backup. Numbers that were given after the backup was made are not known here: those that are given
/// from now on lie behind them.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct StateRestored {
    #[cbor(n(0), with = "codec::timestamp")]
    pub(crate) at: Timestamp,
    /// Accounts with lower ids come out of the backup.
    #[n(1)]
    pub(crate) accounts_below: u64,
    /// The next account's id.
    #[n(2)]
    pub(crate) next_account: u64,
    /// What is given in those accounts from now on is larger: seqs, and the ids that are made of them.
    #[n(3)]
    pub(crate) floor: u64,
}

/// A mailbox exists from now on.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct MailboxCreated {
    #[cbor(n(0), with = "codec::mailbox")]
    pub(crate) mailbox: MailboxId,
    #[n(1)]
    pub(crate) name: String,
    #[cbor(n(2), with = "codec::uid_validity")]
    pub(crate) uid_validity: UidValidity,
    #[cbor(n(3), with = "codec::special_use")]
    pub(crate) special_use: Option<SpecialUse>,
}

/// A mailbox is gone with its messages.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct MailboxDeleted {
    #[cbor(n(0), with = "codec::mailbox")]
    pub(crate) mailbox: MailboxId,
    /// When, if its messages are retained.
    #[cbor(n(1), with = "codec::optional_timestamp", default)]
    pub(crate) retained: Option<Timestamp>,
}

/// URLs of a mailbox are authorized with another key (RFC 4467), or with none.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct AccessKeyChanged {
    #[cbor(n(0), with = "codec::mailbox")]
    pub(crate) mailbox: MailboxId,
    #[cbor(n(1), with = "codec::access_key", default)]
    pub(crate) key: Option<AccessKey>,
}

/// A mailbox has another name.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct MailboxRenamed {
    #[cbor(n(0), with = "codec::mailbox")]
    pub(crate) mailbox: MailboxId,
    #[n(1)]
    pub(crate) name: String,
}

/// A name is subscribed or no longer.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct Subscribed {
    #[n(0)]
    pub(crate) name: String,
    #[n(1)]
    pub(crate) subscribed: bool,
}

/// A bit of a mailbox's keywords has a name from now on.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct KeywordDefined {
    #[cbor(n(0), with = "codec::mailbox")]
    pub(crate) mailbox: MailboxId,
    #[n(1)]
    pub(crate) bit: u8,
    #[cbor(n(2), with = "codec::keyword")]
    pub(crate) name: Keyword,
}

/// A mailbox holds one more message.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct MessageAdded {
    #[cbor(n(0), with = "codec::mailbox")]
    pub(crate) mailbox: MailboxId,
    #[cbor(n(1), with = "codec::uid")]
    pub(crate) uid: Uid,
    #[cbor(n(2), with = "codec::email")]
    pub(crate) email: EmailId,
    #[cbor(n(3), with = "codec::thread")]
    pub(crate) thread: ThreadId,
    #[cbor(n(4), with = "codec::uidl")]
    pub(crate) uidl: UidlId,
    #[cbor(n(5), with = "codec::flags")]
    pub(crate) flags: SystemFlags,
    #[n(6)]
    pub(crate) keywords: u64,
    #[cbor(n(7), with = "codec::date_time")]
    pub(crate) internal_date: DateTime,
    #[cbor(n(8), with = "codec::timestamp")]
    pub(crate) save_date: Timestamp,
    #[n(9)]
    pub(crate) content: ContentPlace,
    /// Missing in a copy: the same account's record that first added the EmailId holds it.
    #[n(10)]
    pub(crate) structure: Option<ByteVec>,
    /// Others who have seen it, by their ids.
    #[cbor(n(11), with = "codec::accounts", default)]
    pub(crate) seen_by: Vec<AccountId>,
}

/// Where the octets of a message are, as its record says it.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) enum ContentPlace {
    /// In the area of the entry that the record is part of.
    #[n(0)]
    ThisEntry {
        #[n(0)]
        prefix: (u32, u32),
        #[n(1)]
        header: (u32, u32),
        #[cbor(n(2), with = "codec::body_place")]
        body: BodyPlace,
        #[n(3)]
        body_bytes: u64,
    },
    /// In an earlier entry: a copy.
    #[n(1)]
    At(#[cbor(n(0), with = "codec::content")] Content),
}

impl ContentPlace {
    /// The place, given where the record's entry is.
    pub(crate) fn resolve(&self, placement: &Placement) -> Content {
        match self {
            Self::ThisEntry { prefix, header, body, body_bytes } => Content {
                segment: placement.at.segment,
                area_at: placement.area_at,
                area_bytes: placement.area_bytes,
                prefix: *prefix,
                header: *header,
                body: *body,
                body_bytes: *body_bytes,
            },
            Self::At(content) => content.clone(),
        }
    }
}

/// UIDs from the first to the last.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(array)]
pub(crate) struct UidRange {
    #[cbor(n(0), with = "codec::uid")]
    pub(crate) first: Uid,
    #[cbor(n(1), with = "codec::uid")]
    pub(crate) last: Uid,
}

/// Messages that have the same flags after a change.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct FlagGroup {
    #[cbor(n(0), with = "codec::flags")]
    pub(crate) flags: SystemFlags,
    #[n(1)]
    pub(crate) keywords: u64,
    #[n(2)]
    pub(crate) uids: Vec<UidRange>,
}

/// Messages have other flags.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct FlagsChanged {
    #[cbor(n(0), with = "codec::mailbox")]
    pub(crate) mailbox: MailboxId,
    #[n(1)]
    pub(crate) groups: Vec<FlagGroup>,
}

/// Messages are gone from a mailbox.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct Expunged {
    #[cbor(n(0), with = "codec::mailbox")]
    pub(crate) mailbox: MailboxId,
    #[n(1)]
    pub(crate) uids: Vec<UidRange>,
    /// When, if they are retained: not where they were moved, nor where nothing is retained.
    #[cbor(n(2), with = "codec::optional_timestamp", default)]
    pub(crate) retained: Option<Timestamp>,
}

/// Messages were retrieved by POP3, none of them before.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct Retrieved {
    #[cbor(n(0), with = "codec::mailbox")]
    pub(crate) mailbox: MailboxId,
    /// Days since 1970-01-01 (UTC).
    #[n(1)]
    pub(crate) day: u32,
    #[n(2)]
    pub(crate) uids: Vec<UidRange>,
}

/// Retained messages are retained no more: their time is over, or they came back to a mailbox.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct Released {
    /// Their UIDs among the retained ones.
    #[n(0)]
    pub(crate) uids: Vec<UidRange>,
}

/// All mailboxes got new UIDVALIDITYs, after records of the stream were lost or the state was restored.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct UidValidityChanged {
    #[n(0)]
    pub(crate) mailboxes: Vec<NewValidity>,
    /// The next mailbox's id, where some may have been given that are not known here.
    #[n(1)]
    pub(crate) next_mailbox: Option<u64>,
}

/// One mailbox's new UIDVALIDITY.
#[derive(Clone, Copy, Debug, Decode, Encode, PartialEq)]
#[cbor(array)]
pub(crate) struct NewValidity {
    #[cbor(n(0), with = "codec::mailbox")]
    pub(crate) mailbox: MailboxId,
    #[cbor(n(1), with = "codec::uid_validity")]
    pub(crate) uid_validity: UidValidity,
}

/// A message entered the queue.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct Queued {
    #[cbor(n(0), with = "codec::entry")]
    pub(crate) id: EntryId,
    #[cbor(n(1), with = "codec::timestamp")]
    pub(crate) accepted: Timestamp,
    #[cbor(n(2), with = "codec::reverse_path")]
    pub(crate) reverse_path: ReversePath,
    #[n(3)]
    pub(crate) recipients: Vec<RelayRecipient>,
    #[cbor(n(4), with = "codec::body_type")]
    pub(crate) body: BodyType,
    #[n(5)]
    pub(crate) smtputf8: bool,
    #[n(6)]
    pub(crate) content: ContentPlace,
    #[cbor(n(7), with = "codec::timestamp")]
    pub(crate) next_attempt: Timestamp,
    #[n(8)]
    pub(crate) wishes: Option<Box<KeptWishes>>,
    #[cbor(n(9), with = "codec::optional_timestamp", default)]
    pub(crate) not_before: Option<Timestamp>,
    #[n(10)]
    pub(crate) held: Option<Held>,
}

/// A message in the queue was tried.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct Attempted {
    #[cbor(n(0), with = "codec::entry")]
    pub(crate) id: EntryId,
    #[cbor(n(1), with = "codec::timestamp")]
    pub(crate) at: Timestamp,
    #[n(2)]
    pub(crate) outcomes: Vec<RecipientOutcome>,
    #[cbor(n(3), with = "codec::timestamp")]
    pub(crate) next_attempt: Timestamp,
    #[n(4)]
    pub(crate) attempts: u32,
    #[n(5)]
    pub(crate) warned: bool,
    #[n(6)]
    pub(crate) dialogues: Option<Vec<Dialogue>>,
}

/// A message left the queue: no recipient is open any more.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct Settled {
    #[cbor(n(0), with = "codec::entry")]
    pub(crate) id: EntryId,
    /// When it was taken out by hand, if it was.
    #[cbor(n(1), with = "codec::optional_timestamp", default)]
    pub(crate) removed: Option<Timestamp>,
}

/// A message in the queue is held, or no longer.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct HoldChanged {
    #[cbor(n(0), with = "codec::entry")]
    pub(crate) id: EntryId,
    #[cbor(n(1), with = "codec::timestamp")]
    pub(crate) at: Timestamp,
    /// Why it is held; missing: it is released.
    #[n(2)]
    pub(crate) why: Option<String>,
}

/// A report came back for a message that was in the queue.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct Reported {
    #[cbor(n(0), with = "codec::entry")]
    pub(crate) id: EntryId,
    #[cbor(n(1), with = "codec::timestamp")]
    pub(crate) at: Timestamp,
    #[n(2)]
    pub(crate) reports: Vec<ReturnedReport>,
}

/// A message in the queue is due at another time.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct Rescheduled {
    #[cbor(n(0), with = "codec::entry")]
    pub(crate) id: EntryId,
    #[cbor(n(1), with = "codec::timestamp")]
    pub(crate) next_attempt: Timestamp,
    /// When that was said.
    #[cbor(n(2), with = "codec::optional_timestamp", default)]
    pub(crate) at: Option<Timestamp>,
}

/// Encodes a payload, or a part of one.
pub(crate) fn cbor(payload: &impl Encode<()>) -> Vec<u8> {
    let mut octets = Vec::with_capacity(256);
    match minicbor::encode(payload, &mut octets) {
        Ok(()) => octets,
        // A Vec takes every write, and no payload reports an error of its own.
        Err(error) => unreachable!("{error}"),
    }
}

impl Record {
    /// The record as the journal keeps it.
    pub(crate) fn encode(&self) -> RawRecord {
        let (kind, payload) = match &self.change {
            Change::Directory(change) => change.encode(),
            Change::Account(change) => change.encode(),
            Change::Queue(change) => change.encode(),
        };
        RawRecord { stream: self.stream, seq: self.seq, kind, version: VERSION, ignorable: false, payload }
    }
}

/// What a stored record changes; `None` for one that this version does not know and may pass over.
pub(crate) fn decode(raw: &RawRecord) -> Result<Option<Change>, StoreError> {
    let known = (raw.version == VERSION).then(|| match raw.stream {
        Stream::Directory => {
            DirectoryChange::decode(raw.kind, &raw.payload).map(|change| change.map(Change::from))
        }
        Stream::Account(_) => {
            AccountChange::decode(raw.kind, &raw.payload).map(|change| change.map(Change::from))
        }
        Stream::Queue(_) => {
            QueueChange::decode(raw.kind, &raw.payload).map(|change| change.map(Change::from))
        }
    });
    match known.flatten() {
        Some(Ok(change)) => Ok(Some(change)),
        Some(Err(error)) => Err(StoreError::Damaged(format!(
            "record {} of {:?} has a payload that cannot be read ({error})",
            raw.seq, raw.stream
        ))),
        None if raw.ignorable => Ok(None),
        None => Err(StoreError::Open(format!(
            "the journal holds records of kind {} version {}: it was written by a newer version",
            raw.kind, raw.version
        ))),
    }
}
