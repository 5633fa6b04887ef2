//! Mail to addresses that bounced for good is not tried again.

use waypost_config::SuppressionConfig;
use waypost_storage::Cause;

use super::*;

fn suppressing(bounces: u32) -> QueueConfig {
    let suppression = SuppressionConfig { enabled: true, bounces, ..SuppressionConfig::default() };
    QueueConfig { suppression, ..queue() }
}

impl World {
    fn is_suppressed(&self, to: &str) -> bool {
        let (store, sender) = (&self.context.store, address("s@a.test"));
        let list = store.directory().borrow().suppressions.clone();
        list.suppressing(&address(to), Some(&sender), store.now()).is_some()
    }

    /// Sends, and waits until all is settled; the notifications so far.
    async fn sent(&self, to: &[&str]) -> Vec<String> {
        self.submit(sender(), to).await;
        self.until_empty().await;
        self.inbox().await
    }
}

#[tokio::test]
async fn an_address_that_bounced_often_enough_is_not_tried_again() {
    let peer = Peer::start("550 5.1.1 no such user").await;
    let world = World::start(peer.address, suppressing(2)).await;
    world.sent(&["x@b.test"]).await;
    assert!(!world.is_suppressed("x@b.test"));
    world.sent(&["x@b.test"]).await;
    world.until("it is suppressed", |_| world.is_suppressed("x@b.test")).await;
    *peer.rcpt.lock().unwrap() = "250 ok";
    let told = world.sent(&["X@b.test", "y@b.test"]).await;
    assert_eq!((told.len(), peer.messages().len()), (3, 1));
    assert!(!peer.seen.lock().unwrap().envelopes[4..].iter().any(|line| line.contains("X@b.test")));
    for text in [
        "Final-Recipient: rfc822; X@b.test\r\nAction: failed\r\nStatus: 5.1.1\r\n",
        "is on the suppression list here",
        "mail to it came back 2 times, last with:",
        "There is no mailbox with this address.",
    ] {
        let unfolded = told[2].replace("\r\n ", " ");
        assert!(unfolded.contains(text), "{text:?} is not in {}", told[2]);
    }
    // it is lifted by hand
    assert_eq!(world.context.store.unsuppress(address("x@b.test")).await, Ok(1));
    world.sent(&["x@b.test"]).await;
    assert_eq!(peer.messages().len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn what_is_taken_in_between_and_what_is_no_such_answer_do_not_count() {
    let peer = Peer::start("550 5.1.1 no such user").await;
    let world = World::start(peer.address, suppressing(2)).await;
    for said in ["550 5.1.1 nobody", "250 ok", "550 5.1.1 nobody", "550 5.7.1 go away", "550 no"] {
        *peer.rcpt.lock().unwrap() = said;
        world.sent(&["x@b.test"]).await;
        let list = || world.context.store.directory().borrow().suppressions.clone();
        let counted = || list().of(&address("x@b.test")).first().map_or(0, |line| line.count);
        let expected = u32::from(said != "250 ok");
        world.until(said, |_| counted() == expected).await;
    }
    assert!(!world.is_suppressed("x@b.test"));
    world.stop().await;
}

#[tokio::test]
async fn the_list_means_nothing_where_it_is_off() {
    let peer = Peer::start("550 5.1.1 no such user").await;
    let world = World::start(peer.address, queue()).await;
    world.sent(&["x@b.test"]).await;
    let store = &world.context.store;
    assert!(store.directory().borrow().suppressions.is_empty());
    store.suppress(address("x@b.test"), None, "so".to_owned(), None).await.unwrap();
    world.sent(&["x@b.test"]).await;
    assert_eq!(peer.senders().len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn what_waits_comes_back_when_its_time_comes_also_where_the_destination_rests() {
    let peer = Peer::start("451 4.7.1 later").await;
    let world = World::start(peer.address, suppressing(1)).await;
    let id = world.submit(sender(), &["x@b.test", "y@b.test"]).await;
    world.until_tried(id, 1).await;
    let store = &world.context.store;
    store.suppress(address("x@b.test"), Some(address("other@a.test")), "so".to_owned(), None).await.unwrap();
    world.control.retry(id).await.unwrap();
    world.until_tried(id, 2).await;
    assert_eq!(store.queue_entry(id).unwrap().open().count(), 2, "it is another sender's");
    store.suppress(address("x@b.test"), Some(address("S@a.test")), "so".to_owned(), None).await.unwrap();
    *peer.rcpt.lock().unwrap() = "250 ok";
    world.control.retry(id).await.unwrap();
    world.until_empty().await;
    let [told] = &world.inbox().await[..] else { panic!("one notification") };
    assert!(told.contains("Status: 5.7.1\r\n") && told.contains("the postmaster says"), "{told}");
    assert_eq!(peer.messages().len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn one_complaint_suppresses_mail_of_its_sender_alone() {
    let peer = Peer::start("250 ok").await;
    let world = World::start(peer.address, suppressing(1)).await;
    let id = world.submit(sender(), &["x@b.test"]).await;
    world.until_empty().await;
    let (store, live) = (&world.context.store, world.context.live());
    let report = waypost_storage::ReturnedReport {
        recipient: String::new(),
        what: "complaint: abuse".to_owned(),
        status: None,
        said: None,
    };
    let config = &live.config.queue.suppression;
    crate::suppression::count_reports(store, config, &address("s@a.test"), id, &[report]).await.unwrap();
    let list = store.directory().borrow().suppressions.clone();
    let [line] = list.of(&address("x@b.test")) else { panic!("{list:?}") };
    assert_eq!((line.cause, line.sender()), (Cause::Complaint, Some(&address("s@a.test"))));
    let told = world.sent(&["x@b.test"]).await.pop().unwrap();
    assert!(told.contains("Status: 5.7.1\r\n") && told.contains("complained"), "{told}");
    world.submit(ReversePath::Address(address("t@a.test")), &["x@b.test"]).await;
    world.until_empty().await;
    assert_eq!(peer.messages().len(), 2);
    world.stop().await;
}
