//! What one reads of another's mailbox, and messages between accounts.

use std::sync::Arc;

use waypost_mail::{Flags, SystemFlags, Uid};

use super::{accept, account, delivery, options, simulated};
use crate::{
    Carried, FlagChange, FlagMode, FlagRights, Missing, Store, StoreError, account::CARRIED_MESSAGES_MAX,
};

/// A reader's state shares what does not differ, and is the same as long as nothing changes.
#[tokio::test]
async fn what_a_reader_sees_shares_what_does_not_differ() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(options(directory.path(), simulated(3))).await.unwrap();
    let [owner, reader] = [account(&store, "owner").await, account(&store, "reader").await];
    let inbox = store.account(owner).await.unwrap().state().inbox().unwrap().id;
    for _ in 0..40 {
        accept(&store, b"body", vec![delivery(owner, None, Flags::default())]).await.unwrap();
    }
    let shared = store.account_for(owner, reader).await.unwrap();
    let selection = shared.select(inbox).await.unwrap();
    let before = selection.state().unwrap();
    assert!(Arc::ptr_eq(&before, &selection.state().unwrap()));
    let own = store.account(owner).await.unwrap().select(inbox).await.unwrap();
    let chunks = |state: &crate::MailboxState| state.chunks.iter().map(Arc::as_ptr).collect::<Vec<_>>();
    assert_eq!(chunks(&before), chunks(&own.state().unwrap()));
    let change = FlagChange { mode: FlagMode::Add, flags: SystemFlags::SEEN.into(), unchanged_since: None };
    shared.change_flags(inbox, vec![Uid::new(40).unwrap()], change).await.unwrap();
    let after = selection.state().unwrap();
    let (last, rest) = chunks(&after).split_last().map(|(last, rest)| (*last, rest.to_vec())).unwrap();
    assert_eq!(rest, chunks(&before)[..rest.len()]);
    assert_ne!(last, *chunks(&own.state().unwrap()).last().unwrap());
    assert_eq!((after.unseen, own.state().unwrap().unseen), (39, 40));
    assert_eq!(chunks(&selection.state().unwrap()), chunks(&after));
    store.close().await;
}

#[tokio::test]
async fn so_many_messages_go_to_another_account_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(options(directory.path(), simulated(4))).await.unwrap();
    let [one, two] = [account(&store, "one").await, account(&store, "two").await];
    let (from, to) = (store.account_for(one, two).await.unwrap(), store.account(two).await.unwrap());
    let [source, target] = [&from, &to].map(|account| account.state().inbox().unwrap().id);
    let uids = |count: usize| (1..=count as u32).filter_map(Uid::new).collect::<Vec<_>>();
    let carried = Carried { moved: false, may: FlagRights::ALL };
    let carry = async |count| {
        let carried = from.carry(source, uids(count), (&to, target), Missing::Skipped, carried).await;
        carried.map(|outcome| outcome.uids.len())
    };
    assert_eq!(carry(CARRIED_MESSAGES_MAX).await, Ok(0));
    assert!(matches!(carry(CARRIED_MESSAGES_MAX + 1).await, Err(StoreError::Limit(_))));
    store.close().await;
}

/// Space is given back, and what went to another account is still there.
#[tokio::test]
async fn messages_that_went_to_another_account_outlive_their_first_one() {
    let directory = tempfile::tempdir().unwrap();
    let disk = simulated(5);
    let store = Store::open(options(directory.path(), disk.clone())).await.unwrap();
    let [one, two] = [account(&store, "one").await, account(&store, "two").await];
    let large = vec![b'x'; 300 * 1024];
    for body in [b"small".as_slice(), &large] {
        accept(&store, body, vec![delivery(one, None, Flags::default())]).await.unwrap();
    }
    let (from, to) = (store.account_for(one, two).await.unwrap(), store.account(two).await.unwrap());
    let [source, target] = [&from, &to].map(|account| account.state().inbox().unwrap().id);
    let uids = vec![Uid::new(1).unwrap(), Uid::new(2).unwrap()];
    let carried = Carried { moved: true, may: FlagRights::ALL };
    let outcome = from.carry(source, uids, (&to, target), Missing::Refused, carried).await.unwrap();
    assert_eq!(outcome.uids.len(), 2);
    store.remove_account(one).await.unwrap();
    // Enough records for several segments.
    for _ in 0..300 {
        accept(&store, b"more", vec![delivery(two, None, Flags::default())]).await.unwrap();
    }
    store.checkpoint().await.unwrap();
    store.compact().await.unwrap();
    store.close().await;
    let store = Store::open(options(directory.path(), disk)).await.unwrap();
    let to = store.account(two).await.unwrap();
    let state = to.select(target).await.unwrap().state().unwrap();
    for (row, body) in state.rows().zip([b"small".as_slice(), &large]) {
        assert!(store.read(&row.content, 0, u64::MAX).await.unwrap().ends_with(body));
        store.structure(two, row).await.unwrap();
    }
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
}
