//! Commands as values.

use std::ops::RangeInclusive;

use waypost_mail::{DateTime, Flag, Flags};

use super::{AclCommand, Entry, MetadataCommand, PartialRange, QuotaCommand};

/// A command with its tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Its tag.
    pub tag: String,
    /// What is to be done.
    pub body: CommandBody,
}

/// Whether numbers in a command and in its answers are sequence numbers or UIDs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Numbers {
    /// Message sequence numbers.
    Sequence,
    /// Unique identifiers: the `UID` form of a command.
    Uid,
}

/// Whether a mailbox is opened for writing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// SELECT
    ReadWrite,
    /// EXAMINE
    ReadOnly,
}

/// Whether SELECT has the parameter CONDSTORE (RFC 7162 section 3.1.8).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ModSeqs {
    /// It has: modification sequences are told from now on.
    Tell,
    /// It has not.
    AsBefore,
}

/// The parameters of SELECT and EXAMINE (RFC 7162 section 7).
#[derive(Clone, Debug, PartialEq)]
pub struct SelectParameters {
    /// CONDSTORE
    pub modseqs: ModSeqs,
    /// QRESYNC
    pub resync: Option<Box<Resync>>,
}

/// What a client knows of a mailbox that it opens again (RFC 7162 section 3.2.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resync {
    /// The UIDVALIDITY that it knows; not zero.
    pub uid_validity: u32,
    /// The modification sequence up to which it knows all; not zero.
    pub modseq: u64,
    /// The UIDs that it knows, as ascending ranges; `None`: all that were given.
    pub known_uids: Option<Vec<RangeInclusive<u32>>>,
    /// Some sequence numbers with their UIDs.
    pub matched: SequenceMatch,
}

/// Message sequence match data (RFC 7162 section 3.2.5.2): as many sequence numbers as UIDs, both ascending.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SequenceMatch {
    numbers: Vec<RangeInclusive<u32>>,
    uids: Vec<RangeInclusive<u32>>,
}

impl SequenceMatch {
    /// `None`: not as many of one as of the other, or not in ascending order.
    pub fn new(numbers: Vec<RangeInclusive<u32>>, uids: Vec<RangeInclusive<u32>>) -> Option<Self> {
        let ascending = |set: &[RangeInclusive<u32>]| {
            set.iter().all(|range| range.start() <= range.end())
                && set.is_sorted_by(|one, other| one.end() < other.start())
        };
        let length = |set: &[RangeInclusive<u32>]| {
            set.iter().map(|range| u64::from(range.end() - range.start()) + 1).sum::<u64>()
        };
        let valid = ascending(&numbers) && ascending(&uids) && length(&numbers) == length(&uids);
        valid.then_some(Self { numbers, uids })
    }

    /// Sequence numbers with their UIDs, ascending.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, u32)> {
        self.numbers.iter().cloned().flatten().zip(self.uids.iter().cloned().flatten())
    }
}

/// What stands behind the items of FETCH (RFC 4466 section 2.4).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FetchModifiers {
    /// CHANGEDSINCE and VANISHED (RFC 7162 section 7).
    pub changed_since: Option<ChangedSince>,
    /// PARTIAL: with UID FETCH only (RFC 9394 section 3.3).
    pub partial: Option<PartialRange>,
}

/// FETCH only of what changed (RFC 7162 section 7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ChangedSince {
    /// CHANGEDSINCE; not zero.
    pub modseq: u64,
    /// VANISHED: with UID FETCH only.
    pub vanished: bool,
}

/// What is to be done. Mailbox names are UTF-8 already (decoded from modified UTF-7), `INBOX` in capitals.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandBody {
    /// CAPABILITY
    Capability,
    /// NOOP
    Noop,
    /// CHECK (RFC 3501)
    Check,
    /// LOGOUT
    Logout,
    /// STARTTLS
    StartTls,
    /// AUTHENTICATE: mechanism, initial response in base 64 (RFC 4959)
    Authenticate(String, Option<String>),
    /// COMPARATOR: names and patterns (RFC 5255 section 4.7)
    Comparator(Vec<String>),
    /// COMPRESS: algorithm, in capitals (RFC 4978)
    Compress(String),
    /// UNAUTHENTICATE (RFC 8437)
    Unauthenticate,
    /// LOGIN: user, password
    Login(String, String),
    /// LOGIN with a user or password that is not UTF-8: no such can be right.
    LoginOctets,
    /// ENABLE
    Enable(Vec<String>),
    /// ID (RFC 2971); `None`: NIL
    Id(Option<Vec<(String, Option<String>)>>),
    /// SELECT and EXAMINE
    Select(String, Access, SelectParameters),
    /// CREATE: name, special use (RFC 6154 section 3)
    Create(String, Vec<String>),
    /// DELETE
    Delete(String),
    /// RENAME: from, to
    Rename(String, String),
    /// SUBSCRIBE
    Subscribe(String),
    /// UNSUBSCRIBE
    Unsubscribe(String),
    /// LIST: with what is needed of RFC 5258 and RFC 6154
    List(List),
    /// LSUB: reference, pattern
    Lsub(String, String),
    /// NAMESPACE (RFC 2342)
    Namespace,
    /// STATUS
    Status(String, Vec<StatusItem>),
    /// APPEND and REPLACE (RFC 8508): the literals follow through the machine's stream
    Append(Append),
    /// IDLE (RFC 2177)
    Idle,
    /// CLOSE
    Close,
    /// UNSELECT (RFC 3691)
    Unselect,
    /// EXPUNGE; UID EXPUNGE (RFC 4315) with its set
    Expunge(Option<SequenceSet>),
    /// SEARCH
    Search(Numbers, Search),
    /// FETCH; `CHANGEDSINCE` (RFC 7162 section 3.1.4.1), `VANISHED` (section 3.2.6), `PARTIAL` (RFC 9394)
    Fetch(Numbers, SequenceSet, Vec<FetchItem>, FetchModifiers),
    /// STORE
    Store(Numbers, SequenceSet, Store),
    /// COPY
    Copy(Numbers, SequenceSet, String),
    /// UIDBATCHES (RFC 10022)
    UidBatches(UidBatches),
    /// MOVE (RFC 6851)
    Move(Numbers, SequenceSet, String),
    /// GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208)
    Quota(QuotaCommand),
    /// SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314)
    Acl(AclCommand),
    /// GETMETADATA, SETMETADATA (RFC 5464)
    Metadata(MetadataCommand),
}

/// What UIDBATCHES asks for (RFC 10022 section 4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UidBatches {
    /// Messages of each batch; not zero.
    pub messages: u32,
    /// The first and the last batch, counted from 1, as written; `None`: all.
    pub batches: Option<(u32, u32)>,
}

/// Which syntax a LIST command has (RFC 5258 section 3).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ListSyntax {
    /// Reference and pattern.
    #[default]
    Basic,
    /// With options, or with patterns in parentheses.
    Extended,
}

/// LIST with its selection and return options.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// Basic or extended: an empty pattern means something only in the basic one.
    pub syntax: ListSyntax,
    /// `(SUBSCRIBED …)`
    pub selection: Vec<ListSelection>,
    /// Reference name.
    pub reference: String,
    /// Patterns; one in the base form.
    pub patterns: Vec<String>,
    /// `RETURN (…)`
    pub returned: Vec<ListReturn>,
}

/// Which mailboxes LIST selects (RFC 5258 section 3.1, RFC 6154 section 5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ListSelection {
    /// SUBSCRIBED
    Subscribed,
    /// REMOTE
    Remote,
    /// RECURSIVEMATCH
    RecursiveMatch,
    /// SPECIAL-USE
    SpecialUse,
}

/// What LIST returns beside names (RFC 5258 section 3.2, RFC 6154, RFC 5819).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListReturn {
    /// SUBSCRIBED
    Subscribed,
    /// CHILDREN
    Children,
    /// SPECIAL-USE
    SpecialUse,
    /// STATUS (…)
    Status(Vec<StatusItem>),
    /// MYRIGHTS (RFC 8440)
    MyRights,
    /// METADATA (…) (RFC 9590)
    Metadata(Vec<Entry>),
}

/// An item of STATUS.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StatusItem {
    /// MESSAGES
    Messages,
    /// RECENT (RFC 3501)
    Recent,
    /// UIDNEXT
    UidNext,
    /// UIDVALIDITY
    UidValidity,
    /// UNSEEN
    Unseen,
    /// DELETED (RFC 9051)
    Deleted,
    /// DELETED-STORAGE (RFC 9208)
    DeletedStorage,
    /// SIZE (RFC 8438)
    Size,
    /// HIGHESTMODSEQ (RFC 7162)
    HighestModSeq,
    /// MAILBOXID (RFC 8474)
    MailboxId,
    /// APPENDLIMIT (RFC 7889)
    AppendLimit,
}

/// What a literal may hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LiteralKind {
    /// `{n}`: no NUL.
    Text,
    /// `~{n}`: any octet (RFC 3516 section 4.4).
    Binary,
    /// `UTF8 (~{n})`: the header is in UTF-8 (RFC 6855 section 4).
    Utf8,
}

/// APPEND or REPLACE, up to the first literal that holds octets of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    /// The message whose place is taken (RFC 8508); `None`: APPEND.
    pub replaced: Option<(Numbers, SequenceNumber)>,
    /// Where to.
    pub mailbox: String,
    /// The first message, as far as it stands there.
    pub piece: AppendPiece,
}

/// A piece of APPEND: up to a literal that holds octets of a message, or to the command's end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppendPiece {
    /// What stands before the literal, in its order.
    pub parts: Vec<AppendPart>,
    /// The literal; `None`: the command ends.
    pub literal: Option<MessageLiteral>,
}

/// What stands in APPEND beside octets of messages.
#[derive(Clone, Debug, PartialEq)]
pub enum AppendPart {
    /// The beginning of a message.
    Message {
        /// Its flags.
        flags: Flags,
        /// Its internal date.
        date: Option<DateTime>,
    },
    /// A URL whose octets are part of the message (RFC 4469).
    Url(String),
}

/// A literal that holds octets of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MessageLiteral {
    /// How many.
    pub bytes: u64,
    /// Which.
    pub kind: LiteralKind,
    /// Where the command goes on behind it.
    pub behind: Behind,
}

/// Where APPEND or REPLACE goes on behind a literal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Behind {
    /// How many messages the command may have.
    pub messages: Messages,
    /// Behind what.
    pub place: AppendPlace,
}

/// How many messages a command brings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Messages {
    /// REPLACE
    One,
    /// APPEND
    Several,
}

/// What of a message has just been there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AppendPlace {
    /// All of it.
    Message,
    /// All but the closing parenthesis of UTF8.
    Utf8,
    /// A part of CATENATE.
    Part,
    /// A part of CATENATE but the closing parenthesis of its UTF8.
    Utf8Part,
}

impl AppendPlace {
    /// Whether it is a part of a message only.
    pub fn is_part(self) -> bool {
        matches!(self, Self::Part | Self::Utf8Part)
    }
}

/// One number of a set: a number, or `*`, the largest in use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SequenceNumber {
    /// A number; never zero.
    Number(u32),
    /// `*`
    Largest,
}

/// A set of sequence numbers or UIDs, as written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SequenceSet {
    /// Ranges; a single number is both ends.
    Ranges(Vec<(SequenceNumber, SequenceNumber)>),
    /// `$`: what the last SEARCH RETURN (SAVE) found (RFC 5182)
    Saved,
}

impl SequenceSet {
    /// The set as ascending, disjoint ranges, with `*` as `largest`. Where `largest` is 0 (an empty mailbox) `*` names nothing.
    /// [`Self::Saved`] names nothing by itself: who holds what was saved looks there first.
    pub fn resolve(&self, largest: u32) -> Vec<RangeInclusive<u32>> {
        self.cover(largest, largest)
    }

    /// The same where it is not said what `*` is, but that it lies between two numbers: all that the set may name.
    pub fn cover(&self, least: u32, most: u32) -> Vec<RangeInclusive<u32>> {
        let value = |number: SequenceNumber, largest: u32| match number {
            SequenceNumber::Number(number) => number,
            SequenceNumber::Largest => largest,
        };
        let Self::Ranges(ranges) = self else { return Vec::new() };
        let ends = ranges.iter().map(|(a, b)| {
            (value(*a, least).min(value(*b, least)).max(1), value(*a, most).max(value(*b, most)))
        });
        let mut ranges: Vec<(u32, u32)> = ends.filter(|(start, end)| start <= end).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (start, end) in ranges {
            match merged.last_mut() {
                Some(last) if start <= last.1.saturating_add(1) => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        merged.into_iter().map(|(start, end)| start..=end).collect()
    }
}

/// What FETCH asks for. The macros ALL, FAST and FULL are already taken apart.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum FetchItem {
    /// UID
    Uid,
    /// FLAGS
    Flags,
    /// INTERNALDATE
    InternalDate,
    /// RFC822.SIZE
    Rfc822Size,
    /// ENVELOPE
    Envelope,
    /// BODY without section
    Body,
    /// BODYSTRUCTURE
    BodyStructure,
    /// RFC822: like `BODY[]`, under its own name
    Rfc822,
    /// RFC822.HEADER: like `BODY.PEEK[HEADER]`, under its own name
    Rfc822Header,
    /// RFC822.TEXT: like `BODY[TEXT]`, under its own name
    Rfc822Text,
    /// `BODY[…]` and `BODY.PEEK[…]`
    BodySection(BodySection),
    /// BINARY[…] and BINARY.PEEK[…] (RFC 3516); `text` is always all of the part
    Binary(BodySection),
    /// BINARY.SIZE[…]
    BinarySize(Vec<u32>),
    /// MODSEQ (RFC 7162)
    ModSeq,
    /// EMAILID (RFC 8474)
    EmailId,
    /// THREADID (RFC 8474)
    ThreadId,
    /// SAVEDATE (RFC 8514)
    SaveDate,
    /// PREVIEW (RFC 8970)
    Preview(Urgency),
}

/// Whether PREVIEW may be left for later (RFC 8970 section 4).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Urgency {
    /// There is always an answer.
    Now,
    /// LAZY: NIL where it took too long.
    Lazy,
}

/// A section of a message.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct BodySection {
    /// Whether \Seen stays as it is.
    pub peek: bool,
    /// Part numbers, from 1; empty: the message.
    pub part: Vec<u32>,
    /// What of it.
    pub text: SectionText,
    /// `<start.length>`; length is not zero.
    pub partial: Option<(u64, u64)>,
}

/// What of a part.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum SectionText {
    /// All of it.
    All,
    /// HEADER
    Header,
    /// HEADER.FIELDS
    HeaderFields(Vec<String>),
    /// HEADER.FIELDS.NOT
    HeaderFieldsNot(Vec<String>),
    /// TEXT
    Text,
    /// MIME
    Mime,
}

/// How flags are stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// FLAGS, +FLAGS or -FLAGS.
    pub mode: StoreMode,
    /// Whether the answer leaves the new flags out.
    pub silent: bool,
    /// Which flags; `\Recent` makes the command BAD, unknown system flags are left out.
    pub flags: Flags,
    /// `UNCHANGEDSINCE` (RFC 7162 section 3.1.3)
    pub unchanged_since: Option<u64>,
}

/// FLAGS, +FLAGS or -FLAGS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreMode {
    /// FLAGS
    Replace,
    /// +FLAGS
    Add,
    /// -FLAGS
    Remove,
}

/// What SEARCH answers with (RFC 4731, RFC 5182).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SearchReturn {
    /// MIN
    Min,
    /// MAX
    Max,
    /// ALL
    All,
    /// COUNT
    Count,
    /// SAVE
    Save,
    /// PARTIAL (RFC 9394)
    Partial(PartialRange),
}

/// SEARCH.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// `RETURN (…)`; `None`: not there.
    pub returned: Option<Vec<SearchReturn>>,
    /// CHARSET, in capitals; `None`: US-ASCII (or UTF-8).
    pub charset: Option<String>,
    /// What is looked for: all keys must match.
    pub keys: Vec<SearchKey>,
}

/// A search key. Texts are octets in the search's charset.
#[derive(Clone, Debug, PartialEq)]
pub enum SearchKey {
    /// ALL
    All,
    /// ANSWERED, DELETED, DRAFT, FLAGGED, SEEN, KEYWORD
    Flag(Flag),
    /// UNANSWERED, UNDELETED, UNDRAFT, UNFLAGGED, UNSEEN, UNKEYWORD
    NoFlag(Flag),
    /// NEW (RFC 3501)
    New,
    /// OLD (RFC 3501)
    Old,
    /// RECENT (RFC 3501)
    Recent,
    /// BCC, CC, FROM, SUBJECT, TO and HEADER: field name, text (empty: the field is there)
    Header(String, Vec<u8>),
    /// BODY
    Body(Vec<u8>),
    /// TEXT
    Text(Vec<u8>),
    /// BEFORE, ON, SINCE: by internal date
    Internal(DateRelation, Day),
    /// SENTBEFORE, SENTON, SENTSINCE: by the Date field
    Sent(DateRelation, Day),
    /// LARGER
    Larger(u64),
    /// SMALLER
    Smaller(u64),
    /// UID
    Uid(SequenceSet),
    /// UIDAFTER (RFC 9738 section 3.2): a larger UID
    UidAfter(u32),
    /// UIDBEFORE (RFC 9738 section 3.2): a smaller UID
    UidBefore(u32),
    /// A sequence set
    Sequence(SequenceSet),
    /// NOT
    Not(Box<SearchKey>),
    /// OR
    Or(Box<SearchKey>, Box<SearchKey>),
    /// Keys in parentheses
    And(Vec<SearchKey>),
    /// YOUNGER (RFC 5032): seconds
    Younger(u32),
    /// OLDER (RFC 5032): seconds
    Older(u32),
    /// SAVEDBEFORE, SAVEDON, SAVEDSINCE (RFC 8514)
    Saved(DateRelation, Day),
    /// MODSEQ (RFC 7162): changed at this modification sequence or later
    ModSeq(u64),
    /// EMAILID (RFC 8474)
    EmailId(String),
    /// THREADID (RFC 8474)
    ThreadId(String),
}

/// Before, on or since a day.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DateRelation {
    /// Before the day
    Before,
    /// On the day
    On,
    /// On the day or later
    Since,
}

/// A calendar day: year, month, day.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Day(pub i16, pub i8, pub i8);
