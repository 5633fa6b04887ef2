//! A real store in a temporary directory, for tests.

use std::{collections::BTreeSet, ops::RangeInclusive};

use tempfile::TempDir;
use waypost_mail::{AccountId, AccountSource, Address, DateTime, Flag, Flags};
use waypost_message::{HeaderCollector, Splitter, Structure};
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
    let structure = |message: &str| Splitter::split(message.as_bytes());
    deliver_as(store, account, prefix, messages, structure).await
}

/// The same with structures that are given.
pub(crate) async fn deliver_as(
    store: &Store,
    account: AccountId,
    prefix: &str,
    messages: &[&str],
    structure: impl Fn(&str) -> Structure,
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
            structure: structure(message),
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

/// Numbers by chance, the same for the same seed.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// The seeds of a model: `WAYPOST_MODEL_SEED` alone, else the first `WAYPOST_MODEL_SEEDS`.
pub(crate) fn seeds(default: u64) -> RangeInclusive<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("WAYPOST_MODEL_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("WAYPOST_MODEL_SEEDS").unwrap_or(default),
    }
}

/// The names of all commands, as the parser has them.
pub(crate) fn commands() -> BTreeSet<&'static str> {
    let lines = include_str!("wire/parse.rs").lines();
    let arms = lines.filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" => "));
    let commands: BTreeSet<&str> = arms.map(|(name, _)| name).collect();
    assert!(commands.contains("NOOP") && commands.contains("FETCH"), "{commands:?}");
    commands
}
