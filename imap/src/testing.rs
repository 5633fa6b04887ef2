//! A real store in a temporary directory, for tests.

use tempfile::TempDir;
use waypost_mail::{AccountId, AccountSource, Address, DateTime, Flag, Flags};
use waypost_message::{HeaderCollector, Splitter};
use waypost_storage::{Acceptance, Delivery, NewAccount, Options, Placed, Store};

/// The address of the one account.
pub(crate) const USER: &str = "user@a.test";

/// A store with one account. The directory lives as long as the first value.
pub(crate) async fn store() -> (TempDir, Store, AccountId) {
    let directory = TempDir::new().unwrap();
    let store = Store::open(Options::new(directory.path())).await.unwrap();
    let account = NewAccount {
        address: Address::parse(USER).unwrap(),
        source: AccountSource::File,
        password_hash: None,
        scram_verifiers: Vec::new(),
        quota_bytes: None,
    };
    let account = store.create_account(account).await.unwrap();
    (directory, store, account)
}

/// Delivers messages to INBOX, as one entry.
pub(crate) async fn deliver(
    store: &Store,
    account: AccountId,
    prefix: &str,
    messages: &[&str],
) -> Vec<Placed> {
    let mut acceptances = Vec::new();
    for message in messages {
        let mut collector = HeaderCollector::default();
        let header = match collector.feed(message.as_bytes()).unwrap() {
            Some((header, _)) => header,
            None => collector.finish(),
        };
        let mut body = store.body_writer();
        body.write(&message.as_bytes()[header.octets().len()..]).await.unwrap();
        acceptances.push(Acceptance {
            id: store.new_entry_id(),
            header: header.into_octets().into(),
            body: body.finish().await.unwrap(),
            structure: Splitter::split(message.as_bytes()),
            local: vec![Delivery {
                account,
                mailbox: None,
                prefix: prefix.into(),
                flags: Flags::default(),
                internal_date: DateTime::parse_imap("21-Nov-2026 04:05:06 +0100").unwrap(),
            }],
            relay: None,
        });
    }
    let accepted = store.accept_all(acceptances).await.unwrap();
    accepted.into_iter().flat_map(|accepted| accepted.local).collect()
}

/// `\Seen work` as flags.
pub(crate) fn flags(names: &str) -> Flags {
    names.split_whitespace().filter_map(Flag::parse).collect()
}
