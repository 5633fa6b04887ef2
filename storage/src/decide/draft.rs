//! A draft: the records of one command so far, and what they already took (numbers, UIDs, keywords, bytes).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use waypost_mail::{AccountId, Flags, Keyword, MailboxId, ModSeq, Timestamp, Uid, UidValidity};

use super::{QUEUE, Undecided};
use crate::{
    apply::State,
    error::StoreError,
    journal::Stream,
    record::{Change, KeywordDefined, Record},
    state::{AccountState, KEYWORDS_MAX, MailboxState},
};

/// Seconds by which the UIDVALIDITYs after a restore are ahead of the clock: many mailboxes that were created at once after the
/// backup may have been ahead of it, too.
const UID_VALIDITY_AHEAD: u32 = 1 << 16;

/// The records of one command, as they are decided.
pub(crate) struct Draft<'a> {
    state: &'a State,
    now: Timestamp,
    records: Vec<Record>,
    directory_seq: u64,
    queue_seq: u64,
    accounts: HashMap<AccountId, AccountDraft>,
    /// Whether quotas do not hold.
    quota_waived: bool,
}

/// What the records so far took from one account.
pub(super) struct AccountDraft {
    /// The account before the command.
    pub(super) base: Arc<AccountState>,
    seq: u64,
    bytes: u64,
    last_uid_validity: u32,
    pub(super) next_mailbox: MailboxId,
    /// Names that the command created.
    pub(super) created: BTreeSet<String>,
    mailboxes: BTreeMap<MailboxId, MailboxDraft>,
}

struct MailboxDraft {
    uid_next: Uid,
    keywords: Vec<Keyword>,
}

impl<'a> Draft<'a> {
    /// A draft over a state, without records.
    pub(super) fn new(state: &'a State, now: Timestamp) -> Self {
        let (directory_seq, queue_seq) = (state.directory.seq, state.queue.seq);
        let (records, accounts) = (Vec::new(), HashMap::new());
        Self { state, now, records, directory_seq, queue_seq, accounts, quota_waived: false }
    }

    /// What follows is taken whatever the quotas.
    pub(super) fn waive_quota(&mut self) {
        self.quota_waived = true;
    }

    pub(super) fn state(&self) -> &'a State {
        self.state
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// The account, which must exist and be loaded.
    pub(super) fn account(&mut self, id: AccountId) -> Result<&mut AccountDraft, Undecided> {
        if !self.accounts.contains_key(&id) {
            if !self.state.directory.accounts.contains_key(&id) {
                return Err(StoreError::NoSuchAccount.into());
            }
            let base = self.state.accounts.get(&id).ok_or(Undecided::Account(id))?;
            self.accounts.insert(id, AccountDraft::new(Arc::clone(base)));
        }
        self.accounts.get_mut(&id).ok_or(Undecided::Account(id))
    }

    /// The state of an account before the command.
    pub(super) fn base(&mut self, id: AccountId) -> Result<Arc<AccountState>, Undecided> {
        Ok(Arc::clone(&self.account(id)?.base))
    }

    /// A mailbox before the command.
    pub(super) fn mailbox(
        &mut self,
        account: AccountId,
        id: MailboxId,
    ) -> Result<Arc<MailboxState>, Undecided> {
        self.base(account)?.place(id).cloned().ok_or_else(|| StoreError::NoSuchMailbox.into())
    }

    /// A mailbox before the command, with all its rows.
    pub(super) fn complete(
        &mut self,
        account: AccountId,
        id: MailboxId,
    ) -> Result<Arc<MailboxState>, Undecided> {
        let mailbox = self.mailbox(account, id)?;
        if mailbox.partial { Err(Undecided::Rows(account, id)) } else { Ok(mailbox) }
    }

    /// Begins an account that an earlier record of this draft created.
    pub(super) fn begin_account(&mut self, id: AccountId) {
        self.accounts.insert(id, AccountDraft::new(Arc::new(AccountState::empty(id))));
    }

    /// Adds a record of the directory.
    pub(super) fn directory(&mut self, change: impl Into<Change>) {
        self.directory_seq += 1;
        self.records.push(Record {
            stream: Stream::Directory,
            seq: self.directory_seq,
            change: change.into(),
        });
    }

    /// Adds a record of the queue.
    pub(super) fn queue(&mut self, change: impl Into<Change>) {
        self.queue_seq += 1;
        self.records.push(Record { stream: QUEUE, seq: self.queue_seq, change: change.into() });
    }

    /// Adds a record of an account; its seq, which is the MODSEQ it causes.
    pub(super) fn push(
        &mut self,
        account: AccountId,
        change: impl Into<Change>,
    ) -> Result<ModSeq, Undecided> {
        let draft = self.account(account)?;
        draft.seq += 1;
        let seq = draft.seq;
        self.records.push(Record { stream: Stream::Account(account), seq, change: change.into() });
        ModSeq::new(seq).ok_or_else(|| StoreError::Limit("no sequence number is left").into())
    }

    /// The seq that the next record of an account gets.
    pub(super) fn next_seq(&mut self, account: AccountId) -> Result<u64, Undecided> {
        Ok(self.account(account)?.seq + 1)
    }

    /// Begins behind all numbers that an account may have had after the backup that it came out of.
    pub(super) fn begin_behind(
        &mut self,
        account: AccountId,
        floor: u64,
        next_mailbox: MailboxId,
    ) -> Result<(), Undecided> {
        let now = u32::try_from(self.now.seconds().max(0)).unwrap_or(u32::MAX);
        let draft = self.account(account)?;
        draft.seq = draft.seq.max(floor);
        draft.next_mailbox = next_mailbox;
        draft.last_uid_validity = draft.last_uid_validity.max(now.saturating_add(UID_VALIDITY_AHEAD));
        Ok(())
    }

    /// Takes a UIDVALIDITY that the account never had.
    pub(super) fn take_uid_validity(&mut self, account: AccountId) -> Result<UidValidity, Undecided> {
        let now = u32::try_from(self.now.seconds().max(1)).unwrap_or(u32::MAX);
        let draft = self.account(account)?;
        let next =
            draft.last_uid_validity.checked_add(1).ok_or(StoreError::Limit("no UIDVALIDITY is left"))?;
        draft.last_uid_validity = now.max(next);
        UidValidity::new(draft.last_uid_validity)
            .ok_or_else(|| StoreError::Limit("no UIDVALIDITY is left").into())
    }

    /// Takes the next UID of a mailbox.
    pub(super) fn take_uid(&mut self, account: AccountId, mailbox: &MailboxState) -> Result<Uid, Undecided> {
        let draft = self.account(account)?.mailbox(mailbox);
        let uid = draft.uid_next;
        if uid.next() == uid {
            return Err(StoreError::Limit("no UID is left in the mailbox").into());
        }
        draft.uid_next = uid.next();
        Ok(uid)
    }

    /// Takes room in an account. Errors: `OverQuota`.
    pub(super) fn take_bytes(&mut self, account: AccountId, bytes: u64) -> Result<(), Undecided> {
        let quota = self.state.directory.accounts.get(&account).and_then(|record| record.quota_bytes);
        let waived = self.quota_waived;
        let draft = self.account(account)?;
        draft.bytes = draft.bytes.saturating_add(bytes);
        match quota.filter(|_| !waived) {
            Some(quota) if draft.bytes > quota => Err(StoreError::OverQuota.into()),
            _ => Ok(()),
        }
    }

    /// Gives room in an account back.
    pub(super) fn give_bytes(&mut self, account: AccountId, bytes: u64) -> Result<(), Undecided> {
        let draft = self.account(account)?;
        draft.bytes = draft.bytes.saturating_sub(bytes);
        Ok(())
    }

    /// The bits of keywords in a mailbox; those that are new get bits and records.
    pub(super) fn keyword_bits(
        &mut self,
        account: AccountId,
        mailbox: &MailboxState,
        flags: &Flags,
    ) -> Result<u64, Undecided> {
        let mut bits = 0;
        for keyword in &flags.keywords {
            let known = &mut self.account(account)?.mailbox(mailbox).keywords;
            let bit = match known.iter().position(|name| name == keyword) {
                Some(bit) => bit,
                None if known.len() == KEYWORDS_MAX => {
                    return Err(StoreError::Limit("a mailbox has at most 64 keywords").into());
                }
                None => {
                    let bit = known.len();
                    known.push(keyword.clone());
                    let defined =
                        KeywordDefined { mailbox: mailbox.id, bit: bit as u8, name: keyword.clone() };
                    self.push(account, defined)?;
                    bit
                }
            };
            bits |= 1 << bit;
        }
        Ok(bits)
    }
}

impl AccountDraft {
    fn new(base: Arc<AccountState>) -> Self {
        Self {
            seq: base.seq,
            bytes: base.bytes,
            last_uid_validity: base.last_uid_validity,
            next_mailbox: base.next_mailbox,
            created: BTreeSet::new(),
            mailboxes: BTreeMap::new(),
            base,
        }
    }

    fn mailbox(&mut self, mailbox: &MailboxState) -> &mut MailboxDraft {
        self.mailboxes.entry(mailbox.id).or_insert_with(|| MailboxDraft {
            uid_next: mailbox.uid_next,
            keywords: mailbox.keywords.clone(),
        })
    }
}
