//! What is taken as one: all of it is there after a power cut, or nothing.

use std::sync::Arc;

use waypost_mail::{AccountId, Flags, MailboxId, Uid};

use super::{acceptance, account, delivery, options};
use crate::{
    Replaced, Store, StoreError,
    content::INLINE_BODY_BYTES_MAX,
    disk::{Disk, Simulated},
};

/// The UIDs in a mailbox; each message can be read.
async fn held(store: &Store, id: AccountId, mailbox: MailboxId) -> Vec<u32> {
    let opened = store.account(id).await.unwrap();
    let state = opened.select(mailbox).await.unwrap().state().unwrap();
    for row in state.rows() {
        let octets = store.read(&row.content, 0, u64::MAX).await.unwrap();
        assert_eq!(octets.len() as u64, row.content.size());
    }
    state.rows().map(|row| row.uid.value()).collect()
}

/// Cuts the power after each changing operation of `work` in turn, until it is done without a cut. What is there afterwards must be
/// what was there before, or all. How often the one and the other was so.
async fn cut_everywhere<F: Future<Output = Result<(), StoreError>>>(
    before: &[u32],
    after: &[u32],
    work: impl Fn(Store, AccountId, MailboxId) -> F,
) -> (usize, usize) {
    let (mut nothing, mut all) = (0, 0);
    for operations in 0.. {
        let (directory, simulated) = (tempfile::tempdir().unwrap(), Simulated::new(operations));
        let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
        let store = Store::open(options(directory.path(), Arc::clone(&disk))).await.unwrap();
        let id = account(&store, "user").await;
        let inbox = store.account(id).await.unwrap().state().inbox().unwrap().id;
        for _ in before {
            let message = acceptance(&store, b"before", vec![delivery(id, None, Flags::default())], None);
            store.accept(message.await).await.unwrap();
        }
        simulated.power_off_after(operations);
        let done = work(store.clone(), id, inbox).await;
        let cut = simulated.is_off();
        store.close().await;
        simulated.crash(operations);
        let store = Store::open(options(directory.path(), disk)).await.unwrap();
        let held = held(&store, id, inbox).await;
        assert!(held == before || held == after, "{held:?} after {operations} operations");
        assert!(done.is_err() || held == after, "what was answered is there");
        assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
        store.close().await;
        if held == after {
            all += 1;
        } else {
            nothing += 1;
        }
        if !cut {
            assert_eq!(done, Ok(()));
            return (nothing, all);
        }
    }
    (nothing, all)
}

/// Three messages, one of them with a body that has a file because it is long, one with a file because it had to wait.
#[tokio::test]
async fn several_messages_come_together_or_not_at_all() {
    let (nothing, all) = cut_everywhere(&[1], &[1, 2, 3, 4], async |store: Store, id, inbox| {
        let mut acceptances = Vec::new();
        for (length, waits) in [(10, false), (INLINE_BODY_BYTES_MAX + 1, false), (10, true)] {
            let local = vec![delivery(id, Some(inbox), Flags::default())];
            let mut message = acceptance(&store, b"", local, None).await;
            let mut writer = store.body_writer();
            writer.write(&vec![b'x'; length]).await?;
            message.body = if waits { writer.finish_in_file().await? } else { writer.finish().await? };
            assert_eq!(message.body.file().is_some(), waits || length > INLINE_BODY_BYTES_MAX);
            acceptances.push(message);
        }
        let accepted = store.accept_all(acceptances).await?;
        let uids: Vec<u32> = accepted.iter().map(|accepted| accepted.local[0].uid.value()).collect();
        assert_eq!(uids, [2, 3, 4]);
        Ok(())
    })
    .await;
    assert!(nothing >= 3 && all >= 1, "{nothing} {all}");
}

#[tokio::test]
async fn a_message_takes_the_place_of_another_or_nothing_happens() {
    let (nothing, all) = cut_everywhere(&[1, 2, 3], &[1, 3, 4], async |store: Store, id, inbox| {
        let local = vec![delivery(id, Some(inbox), Flags::default())];
        let mut message = acceptance(&store, b"", local, None).await;
        let mut writer = store.body_writer();
        writer.write(&vec![b'x'; INLINE_BODY_BYTES_MAX + 1]).await?;
        message.body = writer.finish().await?;
        let replaced = Replaced { account: id, mailbox: inbox, uid: Uid::FIRST.next() };
        let accepted = store.replace(message, replaced).await?;
        assert_eq!(accepted.local[0].uid.value(), 4);
        Ok(())
    })
    .await;
    assert!(nothing >= 3 && all >= 1, "{nothing} {all}");
}
