//! Destinations that refuse sessions, close connections, or move.

use super::*;

impl World {
    /// Starts with a destination where nobody answers, which rests, as one of so many messages was tried; the address.
    async fn resting(queue: QueueConfig, messages: usize) -> (Self, SocketAddr) {
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let world = Self::start(dead, queue).await;
        world.submit(sender(), &["first@b.test"]).await;
        let has_rest = || world.control.destinations().iter().any(|site| site.resting.is_some());
        world.until("it rests", |_| has_rest()).await;
        for _ in 1..messages {
            world.submit(sender(), &["x@b.test"]).await;
        }
        world.until_waiting(messages).await;
        (world, dead)
    }
}

#[tokio::test]
async fn what_rests_comes_back_at_once_when_the_destination_refuses_for_good() {
    let count = TOUCHES_MAX + 8;
    let (world, address) = World::resting(queue(), count).await;
    let peer = Peer::start_at(address, "250 ok", "250 b").await;
    *peer.greeting.lock().unwrap() = "521 5.3.2 no mail here";
    world.control.retry(world.context.store.queue()[1].id).await.unwrap();
    // the one that was tried has a time of its own
    world.until("the others come back", |store| store.queue_len() == 1).await;
    assert_eq!(peer.connections(), 1);
    let told = world.inbox().await;
    let says = |text: &str| told.iter().filter(|message| message.contains(text)).count();
    assert_eq!((says("smtp; 521 5.3.2 no mail here"), says("Action: failed")), (count - 1, count - 1));
    world.stop().await;
}

#[tokio::test]
async fn a_greeting_that_refuses_costs_no_mail() {
    let peer = Peer::start("250 ok").await;
    *peer.greeting.lock().unwrap() = "554 5.7.1 you are listed";
    let world = World::start(peer.address, QueueConfig { warn_after: Duration::ZERO, ..queue() }).await;
    let id = world.submit(sender(), &["x@b.test"]).await;
    world.until_tried(id, 1).await;
    let told = world.inbox().await.remove(0).replace("=\r\n", "");
    assert!(told.contains("Action: delayed\r\nStatus: 4.3.2\r\n"), "{told}");
    assert!(told.contains("takes no session from here now: 554 5.7.1 you are listed"), "{told}");
    *peer.greeting.lock().unwrap() = "220 b";
    world.control.retry(id).await.unwrap();
    world.until_empty().await;
    assert_eq!((peer.messages().len(), world.inbox().await.len()), (1, 1));
    world.stop().await;
}
