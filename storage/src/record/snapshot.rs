//! Records of snapshots: see [`crate::snapshot`].

use std::sync::Arc;

use minicbor::{Decode, Encode, bytes::ByteVec};
use waypost_mail::{
    AccessKey, AccountId, AccountRecord, AccountSource, Address, ApopSecret, BodyType, EntryId, Keyword,
    MailboxId, ModSeq, ReversePath, Timestamp, TotpSecret, Uid, UidValidity, Wishes,
};

use super::{KeptAppPassword, KeptCertificate, KeptWishes, codec};
use crate::{
    accept::RelayRecipient,
    acl::{Grants, KeptAclEntry},
    annotation::KeptAnnotation,
    content::Content,
    dkim::DkimKey,
    journal::RawRecord,
    queue::{Held, Outcome, QueueEntry, QueuedRecipient},
    retrieved::KeptRetrieved,
    seen::KeptSeen,
    shared::time_of,
    state::{Grave, MailboxState, Restore, Row, SpecialUse},
    suppression::Suppression,
    vanished::{Vanished, VanishedPart},
};

/// The kinds of these records.
const KINDS: [u16; 6] = [26, 27, 36, 37, 42, 43];

/// Whether a record is part of a snapshot.
pub(crate) fn is_of_snapshot(record: &RawRecord) -> bool {
    KINDS.contains(&record.kind)
}

/// A part of an account's state after record `of`.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct AccountSnapshotPart {
    #[n(0)]
    pub(crate) of: u64,
    /// 0, 1, 2, …
    #[n(1)]
    pub(crate) number: u32,
    #[n(2)]
    pub(crate) part: AccountPart,
}

/// A snapshot is complete.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub(crate) struct SnapshotClosed {
    #[n(0)]
    pub(crate) of: u64,
    #[n(1)]
    pub(crate) parts: u32,
    #[n(2)]
    pub(crate) digest: u64,
}

/// An account's snapshot is complete.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(transparent)]
pub(crate) struct AccountSnapshotClosed(#[n(0)] pub(crate) SnapshotClosed);

/// The directory's snapshot is complete.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(transparent)]
pub(crate) struct DirectorySnapshotClosed(#[n(0)] pub(crate) SnapshotClosed);

/// The queue's snapshot is complete.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(transparent)]
pub(crate) struct QueueSnapshotClosed(#[n(0)] pub(crate) SnapshotClosed);

/// What a part of an account holds.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) enum AccountPart {
    /// What there is once; the first part.
    #[n(0)]
    Account {
        #[cbor(n(0), with = "codec::account")]
        id: AccountId,
        #[cbor(n(1), with = "codec::mailbox")]
        next_mailbox: MailboxId,
        #[n(2)]
        last_uid_validity: u32,
        #[cbor(n(3), with = "codec::optional_timestamp", default)]
        oldest_retained: Option<Timestamp>,
    },
    /// Subscribed names.
    #[n(1)]
    Subscriptions(#[n(0)] Vec<String>),
    /// Deleted mailboxes that are still spoken of.
    #[n(2)]
    Graves(#[n(0)] Vec<(u64, Grave)>),
    /// Mailboxes, and the place of retained messages, without rows.
    #[n(3)]
    Mailboxes(#[n(0)] Vec<MailboxPart>),
    /// Rows of one of them, behind those of earlier parts.
    #[n(4)]
    Rows(#[cbor(n(0), with = "codec::mailbox")] MailboxId, #[n(1)] Vec<Row>),
    /// Structures, by EmailId.
    #[n(5)]
    Structures(#[n(0)] Vec<(u64, ByteVec)>),
    /// Annotations of mailboxes and of the server.
    #[n(6)]
    Annotations(#[n(0)] Vec<KeptAnnotation>),
}

/// A mailbox without rows, in snapshots and in the index.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct MailboxPart {
    #[cbor(n(0), with = "codec::mailbox")]
    pub(crate) id: MailboxId,
    #[n(1)]
    name: String,
    #[cbor(n(2), with = "codec::uid_validity")]
    uid_validity: UidValidity,
    #[cbor(n(3), with = "codec::uid")]
    uid_next: Uid,
    #[cbor(n(4), with = "codec::modseq")]
    highest_modseq: ModSeq,
    #[cbor(n(5), with = "codec::special_use")]
    special_use: Option<SpecialUse>,
    #[cbor(n(6), with = "codec::keywords")]
    keywords: Vec<Keyword>,
    #[n(7)]
    pub(crate) count: u32,
    #[n(8)]
    unseen: u32,
    #[n(9)]
    deleted: u32,
    #[n(10)]
    bytes: u64,
    #[n(11)]
    digest: u64,
    /// Earlier formats did not have it.
    #[n(12)]
    vanished: Option<VanishedPart>,
    /// Missing where nobody else has a right.
    #[n(13)]
    acl: Option<Vec<KeptAclEntry>>,
    /// Missing where nobody else has seen anything.
    #[n(14)]
    seen: Option<Vec<KeptSeen>>,
    #[cbor(n(15), with = "codec::access_key", default)]
    access_key: Option<AccessKey>,
    /// Missing where nothing was.
    #[n(16)]
    retrieved: Option<Vec<KeptRetrieved>>,
}

impl MailboxPart {
    /// Of a mailbox.
    pub(crate) fn new(mailbox: &MailboxState) -> Self {
        Self {
            id: mailbox.id,
            name: mailbox.name.clone(),
            uid_validity: mailbox.uid_validity,
            uid_next: mailbox.uid_next,
            highest_modseq: mailbox.highest_modseq,
            special_use: mailbox.special_use,
            keywords: mailbox.keywords.clone(),
            count: mailbox.count,
            unseen: mailbox.unseen,
            deleted: mailbox.deleted,
            bytes: mailbox.bytes,
            digest: mailbox.digest,
            vanished: Some(VanishedPart::new(&mailbox.vanished)),
            acl: (!mailbox.acl.is_empty()).then(|| KeptAclEntry::all(&mailbox.acl)),
            seen: (!mailbox.seen.is_empty()).then(|| KeptSeen::all(&mailbox.seen)),
            access_key: mailbox.access_key.clone(),
            retrieved: (!mailbox.retrieved.is_empty()).then(|| KeptRetrieved::all(&mailbox.retrieved)),
        }
    }

    /// The mailbox, without rows.
    pub(crate) fn into_state(self) -> MailboxState {
        let vanished = self.vanished.and_then(VanishedPart::into_vanished);
        MailboxState {
            uid_next: self.uid_next,
            highest_modseq: self.highest_modseq,
            special_use: self.special_use,
            keywords: self.keywords,
            count: self.count,
            unseen: self.unseen,
            deleted: self.deleted,
            bytes: self.bytes,
            digest: self.digest,
            access_key: self.access_key,
            vanished: Arc::new(vanished.unwrap_or_else(|| Vanished::unknown_up_to(self.highest_modseq))),
            acl: Arc::new(self.acl.map(KeptAclEntry::into_acl).unwrap_or_default()),
            seen: Arc::new(self.seen.map(KeptSeen::into_seen).unwrap_or_default()),
            retrieved: Arc::new(self.retrieved.map(KeptRetrieved::into_retrieved).unwrap_or_default()),
            ..MailboxState::new(self.id, self.name, self.uid_validity)
        }
    }
}

/// A part of the directory after record `of`.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct DirectorySnapshotPart {
    #[n(0)]
    pub(crate) of: u64,
    /// 0, 1, 2, …
    #[n(1)]
    pub(crate) number: u32,
    #[n(2)]
    pub(crate) part: DirectoryPart,
}

/// What a part of the directory holds.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) enum DirectoryPart {
    /// What there is once; the first part.
    #[n(0)]
    Directory {
        #[n(0)]
        next_account: u64,
        #[n(1)]
        restores: Vec<Restore>,
    },
    /// Accounts.
    #[n(1)]
    Accounts(#[n(0)] Vec<KeptAccount>),
    /// Accounts with the time steps of the codes that they used last.
    #[n(2)]
    UsedCodes(#[n(0)] Vec<(u64, u64)>),
    /// Destinations to which nothing is sent.
    #[n(3)]
    Paused(#[n(0)] Vec<String>),
    /// Lines of the suppression list.
    #[n(4)]
    Suppressions(#[n(0)] Vec<Suppression>),
    /// Keys of domains.
    #[n(5)]
    DkimKeys(#[n(0)] Vec<DkimKey>),
    /// What accounts give to others.
    #[n(6)]
    Grants(#[n(0)] Vec<(u64, Grants)>),
}

/// An account as it stands in a snapshot.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct KeptAccount {
    #[cbor(n(0), with = "codec::account")]
    id: AccountId,
    #[cbor(n(1), with = "codec::address")]
    address: Address,
    #[cbor(n(2), with = "codec::source")]
    source: AccountSource,
    #[n(3)]
    password_hash: Option<String>,
    #[n(4)]
    scram_verifiers: Vec<String>,
    #[n(5)]
    app_passwords: Vec<KeptAppPassword>,
    #[cbor(n(6), with = "codec::totp")]
    totp: Option<TotpSecret>,
    #[n(7)]
    certificates: Vec<KeptCertificate>,
    #[n(8)]
    quota_bytes: Option<u64>,
    #[cbor(n(9), with = "codec::apop", default)]
    apop: Option<ApopSecret>,
}

impl KeptAccount {
    /// Of an account.
    pub(crate) fn new(account: &AccountRecord) -> Self {
        Self {
            id: account.id,
            address: account.address.clone(),
            source: account.source,
            password_hash: account.password_hash.clone(),
            scram_verifiers: account.scram_verifiers.clone(),
            app_passwords: account.app_passwords.iter().cloned().map(KeptAppPassword).collect(),
            totp: account.totp.clone(),
            certificates: account.certificates.iter().cloned().map(KeptCertificate).collect(),
            quota_bytes: account.quota_bytes,
            apop: account.apop.clone(),
        }
    }

    /// The account.
    pub(crate) fn into_account(self) -> AccountRecord {
        AccountRecord {
            id: self.id,
            address: self.address,
            source: self.source,
            password_hash: self.password_hash,
            scram_verifiers: self.scram_verifiers,
            app_passwords: self.app_passwords.into_iter().map(|kept| kept.0).collect(),
            totp: self.totp,
            certificates: self.certificates.into_iter().map(|kept| kept.0).collect(),
            quota_bytes: self.quota_bytes,
            apop: self.apop,
        }
    }
}

/// A part of the queue after record `of`.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct QueueSnapshotPart {
    #[n(0)]
    pub(crate) of: u64,
    /// 0, 1, 2, …
    #[n(1)]
    pub(crate) number: u32,
    #[n(2)]
    pub(crate) entries: Vec<EntryPart>,
}

/// An entry of the queue.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct EntryPart {
    #[cbor(n(0), with = "codec::entry")]
    id: EntryId,
    #[cbor(n(1), with = "codec::timestamp")]
    accepted: Timestamp,
    #[cbor(n(2), with = "codec::reverse_path")]
    reverse_path: ReversePath,
    #[n(3)]
    recipients: Vec<(RelayRecipient, Option<Outcome>)>,
    #[cbor(n(4), with = "codec::body_type")]
    body: BodyType,
    #[n(5)]
    smtputf8: bool,
    #[cbor(n(6), with = "codec::content")]
    content: Content,
    /// When recipients that [`EntryPart::tries`] does not tell of are tried next.
    #[cbor(n(7), with = "codec::timestamp")]
    next_attempt: Timestamp,
    #[n(8)]
    attempts: u32,
    /// Of the recipients that `tries` does not tell of.
    #[n(9)]
    warned: bool,
    #[n(10)]
    wishes: Option<KeptWishes>,
    /// Of each recipient; missing where they do not differ, and were tried as often as the entry.
    #[n(11)]
    tries: Option<Vec<RecipientTries>>,
    #[cbor(n(12), with = "codec::optional_timestamp", default)]
    not_before: Option<Timestamp>,
    #[n(13)]
    held: Option<Held>,
}

/// How often one recipient was tried, and when it is tried next.
#[derive(Clone, Copy, Debug, Decode, Encode, PartialEq)]
#[cbor(array)]
struct RecipientTries {
    #[n(0)]
    tries: u32,
    #[cbor(n(1), with = "codec::timestamp")]
    next_attempt: Timestamp,
    #[n(2)]
    warned: bool,
}

impl RecipientTries {
    fn of(queued: &QueuedRecipient) -> Self {
        Self { tries: queued.tries, next_attempt: queued.next_attempt, warned: queued.warned }
    }
}

impl EntryPart {
    /// Of an entry.
    pub(crate) fn new(entry: &QueueEntry) -> Self {
        let recipient = |queued: &QueuedRecipient| (queued.recipient.clone(), queued.outcome.clone());
        let all = || entry.recipients.iter().map(RecipientTries::of);
        let unknown = RecipientTries { tries: entry.attempts, next_attempt: entry.accepted, warned: false };
        let first = all().next().unwrap_or(unknown);
        let is_alike = first.tries == entry.attempts && all().all(|tries| tries == first);
        Self {
            id: entry.id,
            accepted: entry.accepted,
            reverse_path: entry.reverse_path.clone(),
            recipients: entry.recipients.iter().map(recipient).collect(),
            body: entry.body,
            smtputf8: entry.smtputf8,
            content: entry.content.clone(),
            next_attempt: first.next_attempt,
            attempts: entry.attempts,
            warned: first.warned,
            wishes: KeptWishes::some(&entry.wishes),
            tries: (!is_alike).then(|| all().collect()),
            not_before: entry.not_before,
            held: entry.held.clone(),
        }
    }

    /// As it is packed in memory, where its name stands beside it: without that, and with differences in place of times.
    pub(crate) fn shortened(self) -> Self {
        let Self { id, accepted, next_attempt, .. } = self;
        let since = |at: Timestamp, from: Timestamp| Timestamp(at.0.wrapping_sub(from.0));
        Self {
            id: EntryId(0),
            accepted: since(accepted, time_of(id)),
            next_attempt: since(next_attempt, accepted),
            ..self
        }
    }

    /// What was shortened, whole again.
    pub(crate) fn lengthened(self, id: EntryId) -> Self {
        let after = |from: Timestamp, by: Timestamp| Timestamp(from.0.wrapping_add(by.0));
        let accepted = after(time_of(id), self.accepted);
        Self { id, accepted, next_attempt: after(accepted, self.next_attempt), ..self }
    }

    /// The entry.
    pub(crate) fn into_entry(self) -> QueueEntry {
        let alike =
            RecipientTries { tries: self.attempts, next_attempt: self.next_attempt, warned: self.warned };
        let tries = self.tries.unwrap_or_default();
        let queued = |(place, (recipient, outcome))| {
            let RecipientTries { tries, next_attempt, warned } = *tries.get(place).unwrap_or(&alike);
            QueuedRecipient { recipient, outcome, tries, next_attempt, warned }
        };
        QueueEntry {
            id: self.id,
            accepted: self.accepted,
            reverse_path: self.reverse_path,
            recipients: self.recipients.into_iter().enumerate().map(queued).collect(),
            body: self.body,
            smtputf8: self.smtputf8,
            content: self.content,
            attempts: self.attempts,
            wishes: self.wishes.map(Wishes::from).unwrap_or_default(),
            not_before: self.not_before,
            held: self.held,
        }
    }
}
