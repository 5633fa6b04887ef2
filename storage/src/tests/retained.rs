//! Deleted messages: how long they are kept, what they cost, how they come back.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use waypost_mail::{AccountId, Flag, Flags, Timestamp, Uid};

use super::{accept, account, delivery, options, simulated};
use crate::{Account, FlagChange, FlagMode, Missing, Options, Restored, Store, StoreError};

const MINUTE: Duration = Duration::from_secs(60);

/// A store whose clock is set by hand, with one account.
struct World {
    _directory: tempfile::TempDir,
    store: Store,
    id: AccountId,
    account: Account,
    now: Arc<AtomicI64>,
}

impl World {
    async fn new(retention: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(1_800_000_000_000));
        let clock = Arc::clone(&now);
        let options = Options {
            retention,
            clock: Arc::new(move || Timestamp(clock.load(Ordering::Relaxed))),
            ..options(directory.path(), simulated(1))
        };
        let store = Store::open(options).await.unwrap();
        let id = account(&store, "user").await;
        let account = store.account(id).await.unwrap();
        Self { _directory: directory, store, id, account, now }
    }

    fn wait(&self, time: Duration) {
        self.now.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    async fn deliver(&self, mailbox: &str, body: &str) -> Uid {
        let mailbox = self.account.state().by_name(mailbox).unwrap().id;
        let local = vec![delivery(self.id, Some(mailbox), Flags::default())];
        accept(&self.store, body.as_bytes(), local).await.unwrap().local[0].uid
    }

    async fn expunge(&self, mailbox: &str, uid: Uid) {
        let mailbox = self.account.state().by_name(mailbox).unwrap().id;
        assert_eq!(self.account.expunge(mailbox, vec![uid]).await.unwrap(), [uid]);
    }

    async fn numbers(&self) -> Vec<u32> {
        self.account.retained().await.unwrap().iter().map(|retained| retained.id.value()).collect()
    }

    async fn finish(self) {
        assert_eq!(self.store.check().await.unwrap(), Vec::<String>::new());
        self.store.close().await;
    }
}

#[tokio::test]
async fn a_deleted_message_comes_back_with_all_its_ids() {
    let world = World::new(MINUTE).await;
    let inbox = world.account.state().inbox().unwrap().id;
    let uid = world.deliver("INBOX", "hello\r\n").await;
    let flags: Flags =
        ["\\Flagged", "\\Deleted", "work"].iter().filter_map(|flag| Flag::parse(flag)).collect();
    let change = FlagChange { mode: FlagMode::Add, flags: flags.clone(), unchanged_since: None };
    world.account.change_flags(inbox, vec![uid], change).await.unwrap();
    let before = world.account.select(inbox).await.unwrap().state().unwrap().row(uid).unwrap().clone();
    let bytes = world.account.state().bytes;
    assert!(bytes > 0);
    world.expunge("INBOX", uid).await;
    assert_eq!(world.account.state().bytes, 0, "what is retained does not count to the quota");
    let retained = world.account.retained().await.unwrap();
    assert_eq!((retained[0].mailbox.as_str(), retained[0].uid, &retained[0].flags), ("INBOX", uid, &flags));
    assert_eq!(retained[0].saved, before.save_date);
    let ids = BTreeSet::from([retained[0].id]);
    let restored = world.account.undelete(ids.clone(), None).await.unwrap();
    let new = Uid::new(2).unwrap();
    assert_eq!(restored, [Restored { was: retained[0].id, mailbox: "INBOX".to_owned(), uid: new }]);
    let state = world.account.select(inbox).await.unwrap().state().unwrap();
    let after = state.row(new).unwrap();
    assert_eq!(
        (after.email, after.thread, after.uidl, after.internal_date, &after.content),
        (before.email, before.thread, before.uidl, before.internal_date, &before.content)
    );
    // Without \Deleted, or the next EXPUNGE would take it again.
    assert_eq!(
        state.flags(after),
        ["\\Flagged", "work"].iter().filter_map(|flag| Flag::parse(flag)).collect()
    );
    assert_eq!(world.account.state().bytes, bytes);
    assert_eq!(world.account.undelete(ids, None).await.unwrap(), [], "once");
    world.finish().await;
}

#[tokio::test]
async fn mailboxes_that_were_deleted_come_back_with_their_messages() {
    let world = World::new(MINUTE).await;
    for name in ["a/b", "a/b/c"] {
        world.account.create_mailbox(name, None).await.unwrap();
        world.deliver(name, name).await;
    }
    for name in ["a/b/c", "a/b", "a"] {
        let id = world.account.state().by_name(name).unwrap().id;
        world.account.delete_mailbox(id).await.unwrap();
    }
    // A second one of the same name is deleted, too.
    let second = world.account.create_mailbox("a/b", None).await.unwrap();
    world.deliver("a/b", "second").await;
    world.account.delete_mailbox(second).await.unwrap();
    let ids = world.account.retained().await.unwrap().iter().map(|retained| retained.id).collect();
    let restored = world.account.undelete(ids, None).await.unwrap();
    let places: Vec<_> = restored.iter().map(|r| (r.mailbox.as_str(), r.uid.value())).collect();
    assert_eq!(places, [("a/b/c", 1), ("a/b", 1), ("a/b", 2)]);
    assert!(world.account.state().graves.is_empty());
    world.finish().await;
}

#[tokio::test]
async fn retention_ends() {
    let world = World::new(MINUTE).await;
    for body in ["one", "two", "three"] {
        let uid = world.deliver("INBOX", body).await;
        world.expunge("INBOX", uid).await;
        world.wait(MINUTE / 2);
    }
    assert_eq!(world.numbers().await, [1, 2, 3]);
    assert_eq!(world.store.release_expired().await.unwrap(), 1);
    assert_eq!(world.numbers().await, [2, 3]);
    world.wait(MINUTE);
    assert_eq!(world.store.release_expired().await.unwrap(), 2);
    assert_eq!(world.store.release_expired().await.unwrap(), 0);
    assert_eq!(world.account.state().oldest_retained, None);
    let uid = world.deliver("INBOX", "four").await;
    world.expunge("INBOX", uid).await;
    assert_eq!(world.numbers().await, [4], "a number is never given twice");
    assert_eq!(world.account.purge().await.unwrap(), 1);
    // Zero: what is deleted goes at once.
    world.store.set_retention(Duration::ZERO);
    let uid = world.deliver("INBOX", "five").await;
    world.expunge("INBOX", uid).await;
    let id = world.account.create_mailbox("gone", None).await.unwrap();
    world.deliver("gone", "six").await;
    world.account.delete_mailbox(id).await.unwrap();
    assert_eq!(world.numbers().await, [0u32; 0]);
    world.finish().await;
}

#[tokio::test]
async fn a_mailbox_is_read_as_of_a_time() {
    let world = World::new(10 * MINUTE).await;
    let now = || Timestamp(world.now.load(Ordering::Relaxed));
    let before = now();
    world.wait(MINUTE);
    let (first, second) = (world.deliver("INBOX", "one").await, world.deliver("INBOX", "two").await);
    let full = now();
    world.wait(MINUTE);
    world.expunge("INBOX", first).await;
    world.deliver("Trash", "elsewhere").await;
    let later = now();
    let there = async |time| {
        let there = world.account.as_of("INBOX", time).await.unwrap();
        there.into_iter().map(|then| (then.uid, then.deleted.map(|(id, _)| id.value()))).collect::<Vec<_>>()
    };
    assert_eq!(there(before).await, []);
    assert_eq!(there(full).await, [(first, Some(1)), (second, None)]);
    assert_eq!(there(later).await, [(second, None)]);
    world.finish().await;
}

#[tokio::test]
async fn what_was_moved_is_not_retained() {
    let world = World::new(MINUTE).await;
    let state = world.account.state();
    let (inbox, trash) = (state.inbox().unwrap().id, state.by_name("Trash").unwrap().id);
    let uid = world.deliver("INBOX", "x").await;
    world.account.move_to(inbox, vec![uid], trash, Missing::Skipped).await.unwrap();
    assert_eq!(world.numbers().await, [0u32; 0]);
    world.finish().await;
}

/// The quota bounds what is retained, too: the oldest goes first, and a quota that is exceeded refuses to bring it back.
#[tokio::test]
async fn what_is_retained_is_bounded() {
    let world = World::new(MINUTE).await;
    world.store.set_quota(world.id, Some(1000)).await.unwrap();
    for number in 1..=5 {
        let uid = world.deliver("INBOX", &number.to_string().repeat(300)).await;
        world.expunge("INBOX", uid).await;
    }
    assert_eq!(world.numbers().await, [4, 5]);
    let retained = world.account.retained().await.unwrap();
    assert!(retained.iter().map(|retained| retained.row.content.size()).sum::<u64>() <= 1000);
    let uid = world.deliver("INBOX", &"x".repeat(900)).await;
    let ids = retained.iter().map(|retained| retained.id).collect();
    assert_eq!(world.account.undelete(ids, None).await, Err(StoreError::OverQuota));
    // More at once than may be retained.
    world.store.set_quota(world.id, Some(500)).await.unwrap();
    world.expunge("INBOX", uid).await;
    assert_eq!(world.numbers().await, [4, 5]);
    world.finish().await;
}
