//! One group of commands is synced while the next is decided.

use std::{sync::Arc, time::Duration};

use waypost_mail::{AccountId, Flags};

use super::{accept, acceptance, account, delivery, options};
use crate::{
    Store, StoreError,
    disk::{Disk, Simulated},
};

/// Two messages are being synced as one group while the others are decided; `failing`: which sync fails.
/// Whether each was accepted, and the bodies that are shown then and after a power cut.
async fn accept_while_two_are_synced(
    others: &[&'static str],
    failing: Option<u64>,
) -> (Vec<bool>, Vec<String>, Vec<String>) {
    let (directory, simulated) = (tempfile::tempdir().unwrap(), Simulated::new(18));
    let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
    let store = Store::open(options(directory.path(), Arc::clone(&disk))).await.unwrap();
    let id = account(&store, "user").await;
    let take = |body: &'static str| {
        let store = store.clone();
        tokio::spawn(async move {
            let local = vec![delivery(id, None, Flags::default())];
            accept(&store, body.as_bytes(), local).await
        })
    };
    // While one alone is synced two gather, and become a group.
    simulated.allow_syncs(Some(0));
    let first = take("zero");
    wait_until(|| simulated.syncs_waiting() == 1).await;
    let mut tasks = vec![take("one"), take("two")];
    tokio::time::sleep(Duration::from_millis(50)).await;
    simulated.allow_syncs(Some(1));
    first.await.unwrap().unwrap();
    wait_until(|| simulated.syncs_waiting() == 1).await;
    tasks.extend(others.iter().map(|body| take(body)));
    // Time to be decided, and to be answered and shown too early.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bodies(&store, id).await, ["zero"]);
    assert!(!tasks.iter().any(tokio::task::JoinHandle::is_finished));
    if let Some(failing) = failing {
        simulated.fail_sync(failing);
    }
    simulated.allow_syncs(None);
    let mut accepted = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => accepted.push(true),
            Err(StoreError::Poisoned) => accepted.push(false),
            Err(other) => panic!("{other}"),
        }
    }
    let shown = bodies(&store, id).await;
    store.close().await;
    simulated.crash(18);
    let store = Store::open(options(directory.path(), disk)).await.unwrap();
    let left = bodies(&store, id).await;
    store.close().await;
    (accepted, shown, left)
}

async fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not come to it");
}

/// The bodies in INBOX.
async fn bodies(store: &Store, id: AccountId) -> Vec<String> {
    let opened = store.account(id).await.unwrap();
    let selection = opened.select(opened.state().inbox().unwrap().id).await.unwrap();
    let mut bodies = Vec::new();
    for row in selection.state().unwrap().rows() {
        let text = store.read(&row.content, 0, u64::MAX).await.unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        bodies.push(text.split_once("\r\n\r\n").unwrap().1.to_owned());
    }
    bodies
}

#[tokio::test]
async fn what_is_decided_while_others_are_synced_is_shown_and_answered_after_them() {
    let (accepted, shown, left) = accept_while_two_are_synced(&["three", "four"], None).await;
    assert_eq!(accepted, [true; 4]);
    assert_eq!(shown, ["zero", "one", "two", "three", "four"]);
    assert_eq!(left, shown);
}

#[tokio::test]
async fn one_alone_behind_others_is_shown_after_them() {
    let (accepted, shown, left) = accept_while_two_are_synced(&["three"], None).await;
    assert_eq!(accepted, [true; 3]);
    assert_eq!(shown, ["zero", "one", "two", "three"]);
    assert_eq!(left, shown);
}

#[tokio::test]
async fn what_is_decided_behind_a_sync_that_fails_is_never_written() {
    let (accepted, shown, left) = accept_while_two_are_synced(&["three", "four"], Some(1)).await;
    assert_eq!(accepted, [false; 4]);
    assert_eq!(shown, ["zero"]);
    assert!(
        ["zero", "one", "two"].starts_with(&left.iter().map(String::as_str).collect::<Vec<_>>()),
        "{left:?}"
    );
}

#[tokio::test]
async fn the_sync_before_one_that_fails_holds() {
    let (accepted, shown, left) = accept_while_two_are_synced(&["three", "four"], Some(2)).await;
    assert_eq!(accepted, [true, true, false, false]);
    assert_eq!(shown, ["zero", "one", "two"]);
    assert!(left.starts_with(&shown), "{left:?}");
}

async fn deliver(store: &Store, id: AccountId, body: &'static str) -> Result<(), StoreError> {
    let local = vec![delivery(id, None, Flags::default())];
    let message = acceptance(store, body.as_bytes(), local, None).await;
    store.deliver(message, None).await.map(drop)
}

const ONE_BY_ONE: [&str; 6] = ["1", "2", "3", "4", "5", "6"];

/// Several messages come one by one from this task.
async fn deliver_one_by_one(store: &Store, id: AccountId) {
    for body in ONE_BY_ONE {
        deliver(store, id, body).await.unwrap();
    }
    // Who answered the last one may not have put the writer down yet.
    wait_until(|| store.desk().has_writer()).await;
}

/// A store to which they came.
async fn store_of_one_sender(
    disk: &Simulated,
    directory: &std::path::Path,
) -> (Store, AccountId, Vec<&'static str>) {
    let store = Store::open(options(directory, Arc::new(disk.clone()))).await.unwrap();
    let id = account(&store, "user").await;
    deliver_one_by_one(&store, id).await;
    (store, id, ONE_BY_ONE.to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_comes_alone_writes_and_all_others_wait_for_it() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), Simulated::new(19));
    let store = Store::open(options(directory.path(), Arc::new(disk.clone()))).await.unwrap();
    let id = account(&store, "user").await;
    let (here, there) = (store.clone(), disk.clone());
    let first = tokio::spawn(async move {
        deliver_one_by_one(&here, id).await;
        there.allow_syncs(Some(0));
        deliver(&here, id, "first").await
    });
    wait_until(|| disk.syncs_waiting() == 1).await;
    assert!(store.desk().is_taken_by_a_caller());
    let mut expected = ONE_BY_ONE.to_vec();
    let (here, there) = (store.clone(), store.clone());
    let others = [
        tokio::spawn(async move { deliver(&here, id, "second").await }),
        tokio::spawn(async move {
            accept(&there, b"second", vec![delivery(id, None, Flags::default())]).await.map(drop)
        }),
    ];
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bodies(&store, id).await, expected);
    assert!(!first.is_finished() && !others.iter().any(tokio::task::JoinHandle::is_finished));
    disk.allow_syncs(None);
    first.await.unwrap().unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    expected.extend(["first", "second", "second"]);
    assert_eq!(bodies(&store, id).await, expected);
    store.close().await;
    disk.crash(19);
    let store = Store::open(options(directory.path(), Arc::new(disk))).await.unwrap();
    assert_eq!(bodies(&store, id).await, expected);
    assert!(store.check().await.unwrap().is_empty());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn another_task_than_the_one_that_came_alone_does_not_hold_its_thread_up() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), Simulated::new(22));
    let (store, id, mut expected) = store_of_one_sender(&disk, directory.path()).await;
    disk.allow_syncs(Some(0));
    for body in ["another", "a third"] {
        let here = store.clone();
        let task = tokio::spawn(async move { deliver(&here, id, body).await });
        wait_until(|| disk.syncs_waiting() == 1).await;
        let is_held_up = store.desk().is_taken_by_a_caller();
        disk.allow_syncs(Some(1));
        task.await.unwrap().unwrap();
        assert!(!is_held_up, "{body}");
        wait_until(|| store.desk().has_writer()).await;
        expected.push(body);
    }
    disk.allow_syncs(None);
    assert_eq!(bodies(&store, id).await, expected);
    store.close().await;
}

#[tokio::test]
async fn a_sync_of_one_who_comes_alone_that_fails_is_the_last() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), Simulated::new(20));
    let (store, id, expected) = store_of_one_sender(&disk, directory.path()).await;
    disk.fail_sync(1);
    assert_eq!(deliver(&store, id, "lost").await, Err(StoreError::Poisoned));
    assert_eq!(bodies(&store, id).await, expected);
    disk.allow_syncs(None);
    assert_eq!(deliver(&store, id, "lost").await, Err(StoreError::Poisoned));
    let other = accept(&store, b"lost", vec![delivery(id, None, Flags::default())]).await;
    assert_eq!(other.map(drop), Err(StoreError::Poisoned));
    store.close().await;
}

#[tokio::test]
async fn zeros_that_were_written_ahead_are_the_end() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), Simulated::new(21));
    let (mut store, id, mut expected) = store_of_one_sender(&disk, directory.path()).await;
    for (round, body) in ["7", "8", "9"].into_iter().enumerate() {
        if round > 0 {
            disk.power_off_after(1);
        }
        store.close().await;
        disk.crash(21);
        store = Store::open(options(directory.path(), Arc::new(disk.clone()))).await.unwrap();
        assert_eq!(bodies(&store, id).await, expected);
        for _ in 0..6 {
            deliver(&store, id, body).await.unwrap();
            expected.push(body);
        }
        assert!(store.check().await.unwrap().is_empty());
    }
    store.close().await;
}
