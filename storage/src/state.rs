//! The durable state as sessions see it: immutable snapshots that share what did not change.
//!
//! An [`AccountState`] holds its mailboxes behind `Arc`s, a [`MailboxState`] its messages in chunks of up to 256 rows behind
//! `Arc`s: a change copies one chunk and two short lists, and two snapshots are compared by pointer first.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::Arc,
};

use minicbor::{Decode, Encode};
use waypost_mail::{
    AccessKey, AccountId, AccountRecord, DateTime, Domain, EmailId, Flags, Keyword, MailboxId, ModSeq,
    SystemFlags, ThreadId, Timestamp, Uid, UidValidity, UidlId,
};

use crate::{
    acl::{Acl, Grants},
    annotation::Annotations,
    content::Content,
    decide::name,
    dkim::DkimKey,
    record::codec,
    retrieved::Retrieved,
    seen::{Seen, UidSet},
    suppression::Suppressions,
    vanished::Vanished,
};

/// Most rows in one chunk.
pub const CHUNK_ROWS_MAX: usize = 256;
/// Most keywords in one mailbox: one bit each.
pub const KEYWORDS_MAX: usize = 64;

/// What a mailbox is for (RFC 6154; `\Important`: RFC 8457).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SpecialUse {
    /// `\All`
    All,
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`
    Flagged,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
    /// `\Important`
    Important,
}

impl SpecialUse {
    /// Each use with its attribute.
    pub const NAMES: [(Self, &'static str); 8] = [
        (Self::All, "\\All"),
        (Self::Archive, "\\Archive"),
        (Self::Drafts, "\\Drafts"),
        (Self::Flagged, "\\Flagged"),
        (Self::Junk, "\\Junk"),
        (Self::Sent, "\\Sent"),
        (Self::Trash, "\\Trash"),
        (Self::Important, "\\Important"),
    ];
}

/// One message in one mailbox, without what is read from the journal.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(array)]
pub struct Row {
    /// Unique identifier in the mailbox.
    #[cbor(n(0), with = "codec::uid")]
    pub uid: Uid,
    /// Last change.
    #[cbor(n(1), with = "codec::modseq")]
    pub modseq: ModSeq,
    /// System flags.
    #[cbor(n(2), with = "codec::flags")]
    pub flags: SystemFlags,
    /// Keywords: bit n is `MailboxState::keywords[n]`.
    #[n(3)]
    pub keywords: u64,
    /// Internal date, with its zone (RFC 9051 section 2.3.3).
    #[cbor(n(4), with = "codec::date_time")]
    pub internal_date: DateTime,
    /// When it came into this mailbox (RFC 8514).
    #[cbor(n(5), with = "codec::timestamp")]
    pub save_date: Timestamp,
    /// The message, the same in each copy.
    #[cbor(n(6), with = "codec::email")]
    pub email: EmailId,
    /// Its conversation.
    #[cbor(n(7), with = "codec::thread")]
    pub thread: ThreadId,
    /// Its unique-id in the maildrop.
    #[cbor(n(8), with = "codec::uidl")]
    pub uidl: UidlId,
    /// Where its octets are: prefix, header block, body. `content.size()` is its RFC822.SIZE.
    #[cbor(n(9), with = "codec::content")]
    pub content: Content,
    /// Where it was, for a message that was deleted and is retained.
    #[n(10)]
    pub origin: Option<Box<Origin>>,
}

impl Row {
    /// Its flags, given the names of the keyword bits.
    pub(crate) fn flags(&self, names: &[Keyword]) -> Flags {
        let set = |(bit, _): &(usize, &Keyword)| self.keywords >> bit & 1 == 1;
        let keywords = names.iter().enumerate().filter(set).map(|(_, keyword)| keyword.clone());
        Flags { system: self.flags, keywords: keywords.collect() }
    }
}

/// Where a message was before it was deleted.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(array)]
pub struct Origin {
    /// The mailbox; perhaps deleted since.
    #[cbor(n(0), with = "codec::mailbox")]
    pub mailbox: MailboxId,
    /// Its UID there.
    #[cbor(n(1), with = "codec::uid")]
    pub uid: Uid,
    /// When it had come there.
    #[cbor(n(2), with = "codec::timestamp")]
    pub save_date: Timestamp,
}

/// A mailbox that was deleted while some of its messages are retained.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Grave {
    /// The name that it had.
    #[n(0)]
    pub name: String,
    /// Names of the keyword bits.
    #[cbor(n(1), with = "codec::keywords")]
    pub keywords: Vec<Keyword>,
}

/// Up to [`CHUNK_ROWS_MAX`] rows in ascending order of UID.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Chunk {
    /// The rows; never empty.
    pub rows: Vec<Row>,
}

/// A mailbox at one moment.
#[derive(Clone, Debug)]
pub struct MailboxState {
    /// Its id, kept when it is renamed.
    pub id: MailboxId,
    /// UTF-8, `/` between the levels of hierarchy, `INBOX` in capitals.
    pub name: String,
    /// See RFC 9051 section 2.3.1.1.
    pub uid_validity: UidValidity,
    /// The UID that the next message gets.
    pub uid_next: Uid,
    /// Last change of a message in it (RFC 7162 section 3.1.2.1).
    pub highest_modseq: ModSeq,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
    /// Names of the keyword bits.
    pub keywords: Vec<Keyword>,
    /// Number of messages.
    pub count: u32,
    /// Number of messages without `\Seen`.
    pub unseen: u32,
    /// Number of messages with `\Deleted`.
    pub deleted: u32,
    /// Sum of the messages' sizes.
    pub bytes: u64,
    /// Whether the rows before `chunks` are still only in the index. Snapshots from a [`crate::Selection`] are always complete.
    pub partial: bool,
    /// Rows in ascending order of UID.
    pub chunks: Vec<Arc<Chunk>>,
    /// Sum over all rows of a hash of each: what the index is checked against.
    pub digest: u64,
    /// Which UIDs vanished, and when (RFC 7162 section 3.2).
    pub vanished: Arc<Vanished>,
    /// Who else may do what with it (RFC 4314).
    pub acl: Arc<Acl>,
    /// What others have seen in it; what its owner has seen stands in the rows.
    pub seen: Arc<Seen>,
    /// What URLs of it are authorized with (RFC 4467 section 2.2).
    pub access_key: Option<AccessKey>,
    /// Which messages were retrieved by POP3, and when first; kept where a policy asks for it.
    pub retrieved: Arc<Retrieved>,
}

/// A message as a session addresses it: its row in a snapshot.
pub type Message<'a> = &'a Row;

impl MailboxState {
    /// A mailbox before its first message.
    pub fn new(id: MailboxId, name: String, uid_validity: UidValidity) -> Self {
        Self {
            id,
            name,
            uid_validity,
            uid_next: Uid::FIRST,
            highest_modseq: ModSeq::FIRST,
            special_use: None,
            keywords: Vec::new(),
            count: 0,
            unseen: 0,
            deleted: 0,
            bytes: 0,
            partial: false,
            chunks: Vec::new(),
            digest: 0,
            vanished: Arc::default(),
            acl: Arc::default(),
            seen: Arc::default(),
            access_key: None,
            retrieved: Arc::default(),
        }
    }

    /// All rows in ascending order of UID.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &Row> + Clone {
        self.chunks.iter().flat_map(|chunk| chunk.rows.iter())
    }

    /// The row of a UID.
    pub fn row(&self, uid: Uid) -> Option<&Row> {
        let at = self.chunks.partition_point(|chunk| chunk.rows.last().is_some_and(|row| row.uid < uid));
        let rows = &self.chunks.get(at)?.rows;
        rows.binary_search_by_key(&uid, |row| row.uid).ok().map(|found| &rows[found])
    }

    /// The rows whose UIDs lie in a range.
    pub fn range(&self, uids: RangeInclusive<Uid>) -> impl Iterator<Item = &Row> {
        let at =
            self.chunks.partition_point(|chunk| chunk.rows.last().is_some_and(|row| row.uid < *uids.start()));
        let (start, end) = uids.into_inner();
        let rows = self.chunks[at..].iter().flat_map(|chunk| chunk.rows.iter());
        rows.skip_while(move |row| row.uid < start).take_while(move |row| row.uid <= end)
    }

    /// The UIDs that were given and have no message, as ascending ranges with gaps between them: all that ever vanished.
    pub fn absent(&self) -> Vec<RangeInclusive<u32>> {
        let mut absent = Vec::new();
        let mut next = 1;
        for uid in self.rows().map(|row| row.uid.value()).chain([self.uid_next.value()]) {
            if next < uid {
                absent.push(next..=uid - 1);
            }
            next = uid.saturating_add(1);
        }
        absent
    }

    /// Number of messages that one who does not own the mailbox has not seen; `None`: its owner.
    pub fn unseen_by(&self, reader: Option<AccountId>) -> u32 {
        match reader {
            None => self.unseen,
            Some(reader) => self.count - self.seen.by(reader).map_or(0, UidSet::len).min(self.count),
        }
    }

    /// The flags of a row with its keywords by name.
    pub fn flags(&self, row: &Row) -> Flags {
        row.flags(&self.keywords)
    }
}

/// An account's mailboxes at one moment.
#[derive(Clone, Debug)]
pub struct AccountState {
    /// The account.
    pub id: AccountId,
    /// Sequence number of the last record in its stream: its largest MODSEQ.
    pub seq: u64,
    /// Its mailboxes.
    pub mailboxes: BTreeMap<MailboxId, Arc<MailboxState>>,
    /// Names that are subscribed, whether they exist or not (RFC 9051 section 6.3.7).
    pub subscriptions: Arc<BTreeSet<String>>,
    /// Id of the next mailbox.
    pub next_mailbox: MailboxId,
    /// Largest UIDVALIDITY that was ever given.
    pub last_uid_validity: u32,
    /// Sum of the sizes of all messages; those that are retained do not count.
    pub bytes: u64,
    /// Deleted messages that are retained, in the order in which they were deleted: each row's `origin` says where it was,
    /// its `save_date` when it was deleted.
    pub retained: Arc<MailboxState>,
    /// When the first of them was deleted.
    pub oldest_retained: Option<Timestamp>,
    /// Deleted mailboxes that some of them were in.
    pub graves: Arc<BTreeMap<MailboxId, Grave>>,
    /// Annotations of mailboxes, and of the server for this account (RFC 5464).
    pub annotations: Arc<Annotations>,
}

/// The id of the place where deleted messages are retained; no mailbox has it.
pub(crate) const RETAINED: MailboxId = MailboxId(0);

impl AccountState {
    /// An account before its first record.
    pub fn empty(id: AccountId) -> Self {
        Self {
            id,
            seq: 0,
            mailboxes: BTreeMap::new(),
            subscriptions: Arc::default(),
            next_mailbox: MailboxId(1),
            last_uid_validity: 0,
            bytes: 0,
            retained: Arc::new(MailboxState::new(RETAINED, String::new(), UidValidity::FIRST)),
            oldest_retained: None,
            graves: Arc::default(),
            annotations: Arc::default(),
        }
    }

    /// A mailbox by its id, or the place of retained messages.
    pub(crate) fn place(&self, id: MailboxId) -> Option<&Arc<MailboxState>> {
        if id == RETAINED { Some(&self.retained) } else { self.mailboxes.get(&id) }
    }

    /// The same, to be changed.
    pub(crate) fn place_mut(&mut self, id: MailboxId) -> Option<&mut Arc<MailboxState>> {
        if id == RETAINED { Some(&mut self.retained) } else { self.mailboxes.get_mut(&id) }
    }

    /// Puts another state of a place in its place.
    pub(crate) fn put_place(&mut self, place: MailboxState) {
        match place.id {
            RETAINED => self.retained = Arc::new(place),
            id => drop(self.mailboxes.insert(id, Arc::new(place))),
        }
    }

    /// All mailboxes and the place of retained messages.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Arc<MailboxState>> {
        self.mailboxes.values().chain([&self.retained])
    }

    /// Name and keywords of a mailbox that is or was there.
    pub(crate) fn known(&self, id: MailboxId) -> Option<(&str, &[Keyword])> {
        let live = self.mailboxes.get(&id).map(|mailbox| (mailbox.name.as_str(), &*mailbox.keywords));
        live.or_else(|| self.graves.get(&id).map(|grave| (grave.name.as_str(), &*grave.keywords)))
    }

    /// The mailbox of a name; its first level, where it is `INBOX`, in any case.
    pub fn by_name(&self, name: &str) -> Option<&Arc<MailboxState>> {
        let name = name::inbox_in_capitals(name);
        self.mailboxes.values().find(|mailbox| mailbox.name == name)
    }

    /// INBOX. Every account has one from its first record on.
    pub fn inbox(&self) -> Option<&Arc<MailboxState>> {
        self.by_name("INBOX")
    }
}

/// All accounts at one moment.
#[derive(Clone, Debug, Default)]
pub struct DirectoryState {
    /// Sequence number of the last record of the directory's stream.
    pub seq: u64,
    /// The accounts that exist.
    pub accounts: Arc<BTreeMap<AccountId, AccountRecord>>,
    /// The time step of the last code that an account used (RFC 6238 section 5.2), since its codes are made of what they are made of.
    pub used_codes: BTreeMap<AccountId, u64>,
    /// Id of the next account. Ids are never reused.
    pub next_account: u64,
    /// Destinations to which nothing is sent, by the names that the queue has for them.
    pub paused: BTreeSet<String>,
    /// Addresses to which no mail is sent, and those that may become such.
    pub suppressions: Suppressions,
    /// The keys that mail of our domains is signed with, by domain and selector.
    pub dkim_keys: Arc<BTreeMap<(Domain, String), DkimKey>>,
    /// To whom accounts give rights on their mailboxes.
    pub grants: Arc<BTreeMap<AccountId, Grants>>,
    /// When the state came out of a backup.
    pub(crate) restores: Vec<Restore>,
}

/// The state came out of a backup at one moment.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(array)]
pub(crate) struct Restore {
    /// Accounts with lower ids come out of the backup.
    #[n(0)]
    pub(crate) accounts_below: u64,
    /// Ids between those and this one may have been given after the backup; none is used here.
    #[n(1)]
    pub(crate) next_account: u64,
    /// See [`DirectoryState::floor`].
    #[n(2)]
    pub(crate) floor: u64,
}

impl DirectoryState {
    /// The keys of a domain, by selector.
    pub fn dkim_keys<'a>(&'a self, domain: &Domain) -> impl Iterator<Item = &'a DkimKey> {
        let of_domain = self.dkim_keys.range((domain.clone(), String::new())..);
        let domain = domain.clone();
        of_domain.take_while(move |((other, _), _)| *other == domain).map(|(_, key)| key)
    }

    /// The accounts that may share mailboxes with another one, ascending.
    pub fn shared_with(&self, account: AccountId) -> impl Iterator<Item = AccountId> {
        let reach =
            move |(owner, grants): &(&AccountId, &Grants)| **owner != account && grants.reach(account);
        self.grants.iter().filter(reach).map(|(owner, _)| *owner)
    }

    /// The seq that an account has passed once it is mended after the restores that it went through.
    pub(crate) fn floor(&self, account: AccountId) -> u64 {
        let through = self.restores.iter().filter(|restore| account.0 < restore.accounts_below);
        through.map(|restore| restore.floor).max().unwrap_or(0)
    }

    /// The ids of all accounts that are or were here.
    pub(crate) fn given(&self) -> impl Iterator<Item = AccountId> {
        let begins = [1].into_iter().chain(self.restores.iter().map(|restore| restore.next_account));
        let ends = self.restores.iter().map(|restore| restore.accounts_below).chain([self.next_account]);
        begins.zip(ends).flat_map(|(begin, end)| begin..end).map(AccountId)
    }
}
