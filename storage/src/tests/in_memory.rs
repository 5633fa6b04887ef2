//! A store on a disk in memory: no threads, no files of the system, the same after a power cut.

use std::{
    path::Path,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use waypost_mail::Flags;

use super::{accept, acceptance, account, delivery, options, relay};
use crate::{
    BodyWriter, Options, Store, StoreError,
    disk::{Disk, Simulated},
};

const STATE: &str = "/nowhere/waypost-in-memory";

fn quiet(disk: &Simulated) -> Options {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Options { checkpoint_records: u64::MAX, ..options(Path::new(STATE), disk) }
}

/// What comes of a future that never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

#[tokio::test]
async fn it_does_all_in_the_tasks_that_ask() {
    let disk = Simulated::alone(1);
    let store = at_once(Store::open(quiet(&disk))).unwrap();
    let id = account(&store, "user").await;
    let large = vec![b'x'; 700 * 1024];
    let mut body: BodyWriter = store.body_writer();
    at_once(body.write(&large)).unwrap();
    drop(at_once(body.finish()).unwrap());
    let message = acceptance(&store, &large, vec![delivery(id, None, Flags::default())], None).await;
    store.accept(message).await.unwrap();
    for number in 0..300 {
        let local = vec![delivery(id, None, Flags::default())];
        accept(&store, format!("body {number}").repeat(60).as_bytes(), local).await.unwrap();
    }
    let acceptance = acceptance(&store, b"away", Vec::new(), Some(relay(&["far"]))).await;
    store.accept(acceptance).await.unwrap();
    assert_eq!(store.checkpoint().await, Err(StoreError::Closed), "there is no index");
    assert!(disk.list(&Path::new(STATE).join("journal")).unwrap().len() > 3, "segments were filled and made");
    assert!(!Path::new(STATE).exists());
    let problems = store.check().await.unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    // The one before is gone with its power: nothing of it holds the new one up.
    disk.crash(7);
    let again = at_once(Store::open(quiet(&disk))).unwrap();
    store.close().await;
    let account = again.account(id).await.unwrap();
    let inbox = account.state().inbox().unwrap().id;
    assert_eq!(account.select(inbox).await.unwrap().state().unwrap().rows().count(), 301);
    assert_eq!(again.queue().len(), 1);
    again.compact().await.unwrap();
    let problems = again.check().await.unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    again.close().await;
}
