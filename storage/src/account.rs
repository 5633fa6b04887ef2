//! One account's mailboxes: reading snapshots of them, and the commands that change them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;
use waypost_mail::{AccessKey, AccountId, Flags, MailboxId, ModSeq, Timestamp, Uid, UidValidity};

use crate::{
    acl::{AclKey, FlagRights, Rights},
    annotation::{AnnotationKey, AnnotationLimits},
    decide::{
        access_key::{GiveAccessKey, Present, RemoveAccessKeys},
        mailboxes::{CreateMailbox, DeleteMailbox, RenameMailbox, Subscribe},
        messages::{ChangeFlags, Copy, Expunge, Originals, Route, Which},
        retained::{self, Release, Undelete},
        sharing::{Annotate, RightsChange, SetAcl, SetSpecialUse},
    },
    error::StoreError,
    projection::Projection,
    shared::Pin,
    state::{AccountState, MailboxState, RETAINED, Row, SpecialUse},
    store::Store,
    structure::Previews,
};

/// An account, loaded. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Account {
    store: Store,
    id: AccountId,
    /// Who reads it, where that is not its owner.
    reader: Option<AccountId>,
    view: View,
}

/// A mailbox held open: all its rows stay in memory, and its changes can be awaited.
#[derive(Debug)]
pub struct Selection {
    mailbox: MailboxId,
    view: View,
    /// For one who does not own it.
    projection: Option<Projection>,
    _rows: Pin,
}

/// A reader's end of what is published of an account, with the last seq that it gave.
#[derive(Debug)]
struct View {
    published: watch::Receiver<Arc<AccountState>>,
    seen: AtomicU64,
}

/// How flags change (RFC 9051 section 6.4.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FlagMode {
    /// `FLAGS`: these and no others.
    Replace,
    /// `+FLAGS`: these too.
    Add,
    /// `-FLAGS`: without these.
    Remove,
}

/// A change of flags.
#[derive(Clone, Debug)]
pub struct FlagChange {
    /// How.
    pub mode: FlagMode,
    /// Which.
    pub flags: Flags,
    /// Messages changed after this are left alone (RFC 7162 section 3.1.3: UNCHANGEDSINCE).
    pub unchanged_since: Option<u64>,
}

/// What became of a change of flags.
#[derive(Clone, Debug, Default)]
pub struct FlagsOutcome {
    /// The modification sequence that the changed messages have now; `None` where nothing had to change.
    pub modseq: Option<ModSeq>,
    /// Messages left alone because of UNCHANGEDSINCE, ascending.
    pub modified: Vec<Uid>,
}

/// A deleted message that can be brought back.
#[derive(Clone, Debug)]
pub struct Retained {
    /// Its number among the deleted messages of the account: never given twice.
    pub id: Uid,
    /// The mailbox that it was in; it may be gone, too.
    pub mailbox: String,
    /// Its UID there.
    pub uid: Uid,
    /// When it had come there.
    pub saved: Timestamp,
    /// When it was deleted.
    pub deleted: Timestamp,
    /// The flags that it had.
    pub flags: Flags,
    /// Its octets, ids and internal date.
    pub row: Row,
}

/// A message that a mailbox held at a time.
#[derive(Clone, Debug)]
pub struct Then {
    /// Its UID there.
    pub uid: Uid,
    /// Its number among the deleted messages and when it was deleted, if it was since.
    pub deleted: Option<(Uid, Timestamp)>,
    /// Its octets, ids and internal date.
    pub row: Row,
}

/// A message that was brought back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Restored {
    /// Its number among the deleted messages.
    pub was: Uid,
    /// The mailbox that it is in now.
    pub mailbox: String,
    /// Its UID there.
    pub uid: Uid,
}

/// What COPY and MOVE do where a message that they name is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Missing {
    /// It is passed over: by UID.
    Skipped,
    /// Nothing is done: by sequence number, where the client believes it there (RFC 2180 section 4.4.2).
    Refused,
}

/// Most messages that go to another account at once: their structures are records of the one entry, too.
pub const CARRIED_MESSAGES_MAX: usize = 10_000;

/// How messages go to another mailbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Carried {
    /// Whether they go away here.
    pub moved: bool,
    /// The flags that may be set there.
    pub may: FlagRights,
}

/// What became of COPY or MOVE (RFC 4315 section 3: COPYUID).
#[derive(Clone, Debug)]
pub struct CopyOutcome {
    /// The destination's.
    pub uid_validity: UidValidity,
    /// Each message's UID in the source and in the destination, ascending; messages that are gone are missing.
    pub uids: Vec<(Uid, Uid)>,
}

impl Store {
    /// Loads an account. Errors: `NoSuchAccount`, `Damaged`, `Io`.
    pub async fn account(&self, id: AccountId) -> Result<Account, StoreError> {
        self.load_account(id).await?;
        let accounts = self.shared().accounts.read().unwrap_or_else(PoisonError::into_inner);
        let published = accounts.get(&id).ok_or(StoreError::NoSuchAccount)?;
        Ok(Account { store: self.clone(), id, reader: None, view: View::new(published.subscribe()) })
    }

    /// Loads an account for another one: `\Seen` is that one's own. What may be done is for the caller to ask ([`Account::rights`]).
    pub async fn account_for(&self, id: AccountId, reader: AccountId) -> Result<Account, StoreError> {
        let account = self.account(id).await?;
        Ok(Account { reader: Some(reader).filter(|reader| *reader != id), ..account })
    }
}

impl Account {
    /// Its id.
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// The store that it is in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Who reads it, where that is not its owner.
    pub fn reader(&self) -> Option<AccountId> {
        self.reader
    }

    /// What its reader may do with a mailbox: the owner everything.
    pub fn rights(&self, mailbox: &MailboxState) -> Rights {
        self.reader.map_or(Rights::ALL, |reader| mailbox.acl.rights_of(reader))
    }

    /// Number of messages in a mailbox that its reader has not seen.
    pub fn unseen(&self, mailbox: &MailboxState) -> u32 {
        mailbox.unseen_by(self.reader)
    }

    /// The newest durable state. What others than the owner have seen is not told apart here.
    pub fn state(&self) -> Arc<AccountState> {
        self.view.state()
    }

    /// Waits until [`Account::state`] differs from what it gave last through this handle. Cancel-safe.
    pub async fn changed(&mut self) {
        self.view.changed().await;
    }

    /// Opens a mailbox: its rows are loaded and stay. Errors: `NoSuchMailbox`, `Damaged`, `Io`.
    pub async fn select(&self, mailbox: MailboxId) -> Result<Selection, StoreError> {
        // The pin comes first: rows that are there, or come, are not given up any more.
        let rows = self.store.shared().pin(self.id, mailbox);
        self.store.load_rows(self.id, mailbox).await?;
        let view = self.view.clone();
        if view.state().place(mailbox).is_none() {
            return Err(StoreError::NoSuchMailbox);
        }
        Ok(Selection { mailbox, view, projection: self.reader.map(Projection::new), _rows: rows })
    }

    /// Creates a mailbox, and those above it that are missing. Errors: `MailboxExists`, `MailboxName`, `Limit` and those of writing.
    pub async fn create_mailbox(
        &self,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Result<MailboxId, StoreError> {
        self.store.submit(CreateMailbox { account: self.id, name: name.to_owned(), special_use }).await
    }

    /// Deletes a mailbox with its messages. INBOX cannot be deleted. Children stay.
    pub async fn delete_mailbox(&self, mailbox: MailboxId) -> Result<(), StoreError> {
        self.store.submit(DeleteMailbox { account: self.id, mailbox }).await
    }

    /// Renames a mailbox and all below it; the ids and UIDVALIDITYs stay. INBOX: its messages move to a new mailbox of that
    /// name (RFC 9051 section 6.3.6).
    pub async fn rename_mailbox(&self, mailbox: MailboxId, name: &str) -> Result<(), StoreError> {
        self.store.submit(RenameMailbox { account: self.id, mailbox, name: name.to_owned() }).await
    }

    /// The key that URLs of a mailbox are authorized with; `key` where it has none (RFC 4467).
    pub async fn access_key(&self, mailbox: MailboxId, key: AccessKey) -> Result<AccessKey, StoreError> {
        let (account, present) = (self.id, Present::Stays);
        self.store.submit(GiveAccessKey { account, mailbox, key, present }).await
    }

    /// Gives a mailbox another key: all URLs of it that were authorized are no longer (RFC 4467: RESETKEY).
    pub async fn replace_access_key(&self, mailbox: MailboxId, key: AccessKey) -> Result<(), StoreError> {
        let (account, present) = (self.id, Present::Goes);
        self.store.submit(GiveAccessKey { account, mailbox, key, present }).await.map(drop)
    }

    /// Takes all mailboxes their keys: no URL is authorized any more.
    pub async fn remove_access_keys(&self) -> Result<(), StoreError> {
        self.store.submit(RemoveAccessKeys { account: self.id }).await
    }

    /// Subscribes a name or ends its subscription.
    pub async fn subscribe(&self, name: &str, subscribed: bool) -> Result<(), StoreError> {
        self.store.submit(Subscribe { account: self.id, name: name.to_owned(), subscribed }).await
    }

    /// Changes flags of messages; UIDs that do not exist are skipped.
    pub async fn change_flags(
        &self,
        mailbox: MailboxId,
        uids: Vec<Uid>,
        change: FlagChange,
    ) -> Result<FlagsOutcome, StoreError> {
        self.change_flags_within(mailbox, uids, change, FlagRights::ALL).await
    }

    /// The same with flags that may not change: they stay as they are.
    pub async fn change_flags_within(
        &self,
        mailbox: MailboxId,
        uids: Vec<Uid>,
        change: FlagChange,
        may: FlagRights,
    ) -> Result<FlagsOutcome, StoreError> {
        let (account, reader) = (self.id, self.reader);
        self.store.submit(ChangeFlags { account, mailbox, uids, change, reader, may }).await
    }

    /// Changes one entry of a mailbox's access control list. Errors: `NoSuchMailbox`, `NoSuchAccount`: the entry's; `Limit`; those of writing.
    pub async fn set_acl(
        &self,
        mailbox: MailboxId,
        key: AclKey,
        change: RightsChange,
    ) -> Result<(), StoreError> {
        self.store.submit(SetAcl { account: self.id, mailbox, key, change }).await
    }

    /// Changes annotations, all or none; `None`: it goes. Errors: `NoSuchMailbox`, `TooManyAnnotations`, `AnnotationTooLarge` and
    /// those of writing.
    pub async fn annotate(
        &self,
        changes: Vec<(AnnotationKey, Option<Arc<[u8]>>)>,
        limits: AnnotationLimits,
    ) -> Result<(), StoreError> {
        self.store.submit(Annotate { account: self.id, changes, limits }).await
    }

    /// Gives a mailbox a special use, or takes it away; gives the mailboxes that had it until now.
    pub async fn set_special_use(
        &self,
        mailbox: MailboxId,
        special_use: Option<SpecialUse>,
    ) -> Result<Vec<MailboxId>, StoreError> {
        self.store.submit(SetSpecialUse { account: self.id, mailbox, special_use }).await
    }

    /// Removes those of the messages that have `\Deleted` at that moment; gives the UIDs of those removed, ascending.
    pub async fn expunge_deleted(&self, mailbox: MailboxId, uids: Vec<Uid>) -> Result<Vec<Uid>, StoreError> {
        self.store.submit(Expunge { account: self.id, mailbox, uids, which: Which::Deleted }).await
    }

    /// Removes messages whatever their flags (POP3); gives the UIDs of those removed, ascending.
    pub async fn expunge(&self, mailbox: MailboxId, uids: Vec<Uid>) -> Result<Vec<Uid>, StoreError> {
        self.store.submit(Expunge { account: self.id, mailbox, uids, which: Which::All }).await
    }

    /// Copies messages, all or none, with flags, internal date, EmailId and ThreadId; each copy gets a new UIDL id.
    /// Errors: `NoSuchMailbox` (the source), `NoSuchDestination`, `NoSuchMessage`, `OverQuota` and those of writing.
    pub async fn copy(
        &self,
        from: MailboxId,
        uids: Vec<Uid>,
        to: MailboxId,
        missing: Missing,
    ) -> Result<CopyOutcome, StoreError> {
        let route = Route::within(self.id, Originals::Stay);
        self.store.submit(Copy { from, uids, to, missing, route }).await
    }

    /// Moves messages, all or none, in one entry (RFC 6851); they keep their UIDL ids. Errors as [`Account::copy`].
    pub async fn move_to(
        &self,
        from: MailboxId,
        uids: Vec<Uid>,
        to: MailboxId,
        missing: Missing,
    ) -> Result<CopyOutcome, StoreError> {
        let route = Route::within(self.id, Originals::Go);
        self.store.submit(Copy { from, uids, to, missing, route }).await
    }

    /// Copies or moves messages to a mailbox of any account, all or none: what comes there and what goes here is one entry of the
    /// journal, so that no message is lost or doubled. Whoever reads both accounts does it; flags that may not be set there are
    /// left out. In another account messages get new ids, and count to its quota; at most [`CARRIED_MESSAGES_MAX`] go there at once.
    /// Errors: `Limit`; as [`Account::copy`].
    pub async fn carry(
        &self,
        from: MailboxId,
        uids: Vec<Uid>,
        to: (&Account, MailboxId),
        missing: Missing,
        carried: Carried,
    ) -> Result<CopyOutcome, StoreError> {
        let (account, to) = to;
        let originals = if carried.moved { Originals::Go } else { Originals::Stay };
        let actor = self.reader.or(account.reader).unwrap_or(self.id);
        let mut route =
            Route { to: account.id, actor, may: carried.may, ..Route::within(self.id, originals) };
        if account.id != self.id {
            if uids.len() > CARRIED_MESSAGES_MAX {
                return Err(StoreError::Limit("at most 10000 messages go to another account at once"));
            }
            let selection = self.select(from).await?;
            let state = selection.state().ok_or(StoreError::NoSuchMailbox)?;
            let rows: Vec<Row> = uids.iter().filter_map(|uid| state.row(*uid)).cloned().collect();
            let crossing = rows.iter().map(|row| row.content.clone()).collect();
            route._crossing = Some(self.store.shared().crossings.enter(crossing));
            let structures = self.store.structures(self.id, &rows, Previews::Wanted).await?;
            let encoded = rows.iter().zip(structures).map(|(row, found)| (row.email, found.encoded()));
            route.structures = encoded.collect();
        }
        self.store.submit(Copy { from, uids, to, missing, route }).await
    }
}

/// Deleted messages. They are retained for a time (`storage.retention`).
impl Account {
    /// The deleted messages that can be brought back, in the order in which they were deleted.
    pub async fn retained(&self) -> Result<Vec<Retained>, StoreError> {
        let selection = self.select(RETAINED).await?;
        let state = self.state();
        let retained = selection.state().unwrap_or_else(|| Arc::clone(&state.retained));
        Ok(retained.rows().filter_map(|row| Retained::new(&state, row)).collect())
    }

    /// Brings deleted messages back, to `to` or to the mailboxes that they were in, all or none; those that cannot be brought
    /// back any more are skipped. They keep their ids and flags but `\Deleted`. Errors: `OverQuota` and those of writing.
    pub async fn undelete(
        &self,
        ids: BTreeSet<Uid>,
        to: Option<MailboxId>,
    ) -> Result<Vec<Restored>, StoreError> {
        self.store.submit(Undelete { account: self.id, uids: ids, to }).await
    }

    /// What a mailbox of this name held at a time, ascending by UID, as far as it is there or retained. What was moved elsewhere
    /// since, or whose retention has ended, is not known any more.
    pub async fn as_of(&self, mailbox: &str, time: Timestamp) -> Result<Vec<Then>, StoreError> {
        let mut there = Vec::new();
        if let Some(id) = self.state().by_name(mailbox).map(|mailbox| mailbox.id)
            && let Some(state) = self.select(id).await?.state()
        {
            let rows = state.rows().filter(|row| row.save_date <= time);
            there.extend(rows.map(|row| Then { uid: row.uid, deleted: None, row: row.clone() }));
        }
        for gone in self.retained().await? {
            if gone.mailbox == mailbox && gone.saved <= time && gone.deleted > time {
                there.push(Then { uid: gone.uid, deleted: Some((gone.id, gone.deleted)), row: gone.row });
            }
        }
        there.sort_by_key(|message| message.uid);
        Ok(there)
    }

    /// Ends the retention of all deleted messages: nobody can bring them back. How many there were.
    pub async fn purge(&self) -> Result<u64, StoreError> {
        self.store.submit(Release { account: self.id, which: retained::Which::All }).await
    }
}

impl Retained {
    fn new(state: &AccountState, row: &Row) -> Option<Self> {
        let origin = row.origin.as_deref()?;
        let (mailbox, keywords) = state.known(origin.mailbox).unwrap_or(("", &[]));
        Some(Self {
            id: row.uid,
            mailbox: mailbox.to_owned(),
            uid: origin.uid,
            saved: origin.save_date,
            deleted: row.save_date,
            flags: row.flags(keywords),
            row: row.clone(),
        })
    }
}

impl Selection {
    /// The mailbox's newest durable state, complete, with the `\Seen` of who reads it; `None` once it is deleted.
    pub fn state(&self) -> Option<Arc<MailboxState>> {
        let state = self.view.state().place(self.mailbox).cloned()?;
        Some(match &self.projection {
            Some(projection) => projection.of(state),
            None => state,
        })
    }

    /// Waits until the account changed since [`Selection::state`] was last called. Cancel-safe.
    pub async fn changed(&mut self) {
        self.view.changed().await;
    }
}

impl View {
    fn new(published: watch::Receiver<Arc<AccountState>>) -> Self {
        let seen = AtomicU64::new(published.borrow().seq);
        Self { published, seen }
    }

    fn state(&self) -> Arc<AccountState> {
        let state = Arc::clone(&self.published.borrow());
        self.seen.store(state.seq, Ordering::Relaxed);
        state
    }

    async fn changed(&mut self) {
        let seen = self.seen.load(Ordering::Relaxed);
        if self.published.wait_for(|state| state.seq != seen).await.is_err() {
            // The account was removed, or the store closed, and all that could be seen was: nothing changes any more.
            std::future::pending::<()>().await;
        }
    }
}

impl Clone for View {
    fn clone(&self) -> Self {
        Self { published: self.published.clone(), seen: AtomicU64::new(self.seen.load(Ordering::Relaxed)) }
    }
}
