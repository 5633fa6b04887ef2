//! Tests of the store as a whole.

mod in_flight;
mod in_memory;
mod model;
mod previews;
mod retained;
mod sharing;
mod store;
mod together;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use bytes::Bytes;
use waypost_mail::{AccountId, AccountSource, Address, DateTime, Flags, MailboxId, ReversePath, Timestamp};
use waypost_message::Structure;

use crate::{
    Acceptance, Accepted, Delivery, NewAccount, Options, Relay, RelayRecipient, Store, StoreError,
    disk::{Disk, Simulated},
};

/// Every reading of the clock is a millisecond later.
static CLOCK: AtomicI64 = AtomicI64::new(1_800_000_000_000);

pub(crate) fn options(directory: &Path, disk: Arc<dyn Disk>) -> Options {
    Options {
        directory: directory.to_owned(),
        disk,
        clock: Arc::new(|| Timestamp(CLOCK.fetch_add(1, Ordering::Relaxed))),
        segment_bytes: 64 * 1024,
        checkpoint_records: 40,
        retention: std::time::Duration::from_secs(3600),
    }
}

pub(crate) fn simulated(seed: u64) -> Arc<dyn Disk> {
    Arc::new(Simulated::new(seed))
}

pub(crate) fn address(name: &str) -> Address {
    Address::parse(&format!("{name}@example.org")).unwrap()
}

pub(crate) async fn account(store: &Store, name: &str) -> AccountId {
    let new = NewAccount {
        address: address(name),
        source: AccountSource::Store,
        password_hash: None,
        scram_verifiers: Vec::new(),
        quota_bytes: None,
    };
    store.create_account(new).await.unwrap()
}

pub(crate) fn delivery(account: AccountId, mailbox: Option<MailboxId>, flags: Flags) -> Delivery {
    let internal_date = DateTime { seconds: 1_700_000_000, offset_minutes: 60 };
    Delivery {
        account,
        mailbox,
        prefix: format!("Delivered-To: {account}\r\n").into_bytes(),
        flags,
        internal_date,
    }
}

pub(crate) async fn acceptance(
    store: &Store,
    body: &[u8],
    local: Vec<Delivery>,
    relay: Option<Relay>,
) -> Acceptance {
    let mut writer = store.body_writer();
    writer.write(body).await.unwrap();
    let header = Bytes::from_static(b"Subject: test\r\n\r\n");
    let (id, body) = (store.new_entry_id(), writer.finish().await.unwrap());
    Acceptance { id, header, body, structure: Structure::default(), local, relay }
}

pub(crate) async fn accept(store: &Store, body: &[u8], local: Vec<Delivery>) -> Result<Accepted, StoreError> {
    store.accept(acceptance(store, body, local, None).await).await
}

pub(crate) fn relay(recipients: &[&str]) -> Relay {
    let recipient = |name: &&str| RelayRecipient::new(address(name));
    let sender = ReversePath::Address(address("sender"));
    Relay::new(sender, recipients.iter().map(recipient).collect())
}
