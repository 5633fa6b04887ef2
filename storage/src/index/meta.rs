//! An account's meta: all of its state but the rows.

use std::{collections::BTreeMap, sync::Arc};

use minicbor::{Decode, Encode};
use waypost_mail::{AccountId, MailboxId, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Operation, VALUE_BYTES_MAX,
    value::{self, Value},
};
use crate::{
    annotation::KeptAnnotation,
    record::{MailboxPart, codec},
    state::{AccountState, Grave, MailboxState},
};

#[derive(Decode, Encode)]
struct AccountMeta {
    #[n(0)]
    seq: u64,
    #[n(1)]
    next_mailbox: u64,
    #[n(2)]
    last_uid_validity: u32,
    #[n(3)]
    bytes: u64,
    #[n(4)]
    subscriptions: Vec<String>,
    #[n(5)]
    mailboxes: Vec<MailboxPart>,
    #[n(6)]
    retained: MailboxPart,
    #[cbor(n(7), with = "codec::optional_timestamp")]
    oldest_retained: Option<Timestamp>,
    #[n(8)]
    graves: Vec<(u64, Grave)>,
    /// Missing where there are none.
    #[n(9)]
    annotations: Option<Vec<KeptAnnotation>>,
}

/// What the keys of an account's pages begin with.
pub(crate) fn prefix(account: AccountId) -> Vec<u8> {
    super::prefix(b'a', account)
}

/// The operations that write an account's meta, given the pages that are there; and its digest.
pub(crate) fn put(account: &AccountState, old_keys: &[Vec<u8>]) -> (Vec<Operation>, u64) {
    let meta = AccountMeta {
        seq: account.seq,
        next_mailbox: account.next_mailbox.0,
        last_uid_validity: account.last_uid_validity,
        bytes: account.bytes,
        subscriptions: account.subscriptions.iter().cloned().collect(),
        mailboxes: account.mailboxes.values().map(|mailbox| MailboxPart::new(mailbox)).collect(),
        retained: MailboxPart::new(&account.retained),
        oldest_retained: account.oldest_retained,
        graves: account.graves.iter().map(|(id, grave)| (id.0, grave.clone())).collect(),
        annotations: (!account.annotations.is_empty())
            .then(|| KeptAnnotation::all(&account.annotations).collect()),
    };
    let octets = value::cbor(&meta);
    let digest = xxh3_64(&octets);
    let mut operations: Vec<Operation> = Vec::new();
    for (number, page) in (0u32..).zip(octets.chunks(VALUE_BYTES_MAX)) {
        let mut key = prefix(account.id);
        key.extend_from_slice(&number.to_be_bytes());
        let value = value::seal(&key, account.seq, page);
        operations.push((key, Some(value)));
    }
    let written = operations.len();
    operations.extend(old_keys.iter().skip(written).map(|key| (key.clone(), None)));
    (operations, digest)
}

/// The account of some pages, its mailboxes without rows; and its digest.
pub(super) fn decode(id: AccountId, pages: &[(Vec<u8>, Vec<u8>)]) -> Option<(AccountState, u64)> {
    let mut octets = Vec::new();
    let mut seq = None;
    for (number, (key, page)) in (0u32..).zip(pages) {
        let value = Value::open(key, page).filter(|_| key.ends_with(&number.to_be_bytes()))?;
        if seq.is_some_and(|seq| seq != value.seq) {
            return None;
        }
        seq = Some(value.seq);
        octets.extend_from_slice(value.payload);
    }
    let meta: AccountMeta = minicbor::decode(&octets).ok()?;
    let account = AccountState {
        id,
        seq: meta.seq,
        mailboxes: meta.mailboxes.into_iter().map(mailbox).collect::<BTreeMap<_, _>>(),
        subscriptions: Arc::new(meta.subscriptions.into_iter().collect()),
        next_mailbox: MailboxId(meta.next_mailbox),
        last_uid_validity: meta.last_uid_validity,
        bytes: meta.bytes,
        retained: mailbox(meta.retained).1,
        oldest_retained: meta.oldest_retained,
        graves: Arc::new(meta.graves.into_iter().map(|(id, grave)| (MailboxId(id), grave)).collect()),
        annotations: Arc::new(meta.annotations.map(KeptAnnotation::into_annotations).unwrap_or_default()),
    };
    (seq == Some(account.seq)).then_some((account, xxh3_64(&octets)))
}

fn mailbox(part: MailboxPart) -> (MailboxId, Arc<MailboxState>) {
    let mailbox = MailboxState { partial: part.count > 0, ..part.into_state() };
    (mailbox.id, Arc::new(mailbox))
}
