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

#[tokio::test]
async fn no_try_is_recorded_of_what_rests_and_whose_sender_wants_to_know_of_no_delay() {
    let queue = QueueConfig { warn_after: Duration::from_millis(200), ..queue() };
    let (world, _) = World::resting(queue, 1).await;
    let never = || asked("never@b.test", "NEVER");
    let submit =
        async |recipients| world.submit_relay(sender(), recipients, Wishes::default(), "x\r\n").await;
    let alone = submit(vec![never()]).await;
    let failure = submit(vec![asked("x@b.test", "FAILURE")]).await;
    let both = submit(vec![never(), RelayRecipient::new(address("x@b.test"))]).await;
    world.until_tried(both, 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let tries = |id| {
        let entry = world.context.store.queue_entry(id).unwrap();
        entry.recipients.iter().map(|queued| queued.tries).collect::<Vec<_>>()
    };
    assert_eq!([tries(alone), tries(failure), tries(both)], [vec![0], vec![0], vec![0, 1]]);
    world.stop().await;
}

/// A server that takes messages in chunks, one over each connection, and closes it without a word when the next is on its way: the
/// messages, and those that were on their way.
async fn closing() -> (SocketAddr, Arc<Mutex<(usize, usize)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, counts) = (listener.local_addr().unwrap(), Arc::<Mutex<(usize, usize)>>::default());
    let counted = counts.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take_one(stream, counted.clone()));
        }
    });
    (address, counts)
}

async fn take_one(stream: TcpStream, counts: Arc<Mutex<(usize, usize)>>) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    write.write_all(b"220 b\r\n").await.unwrap();
    let (mut line, mut taken) = (String::new(), 0);
    while read.read_line(&mut line).await.is_ok_and(|octets| octets > 0) {
        let reply = match line.split(' ').collect::<Vec<_>>()[..] {
            ["EHLO", ..] => "250-b\r\n250-PIPELINING\r\n250 CHUNKING",
            ["BDAT", octets, ..] => {
                let mut message = vec![0; octets.parse().unwrap()];
                read.read_exact(&mut message).await.unwrap();
                let mut counts = counts.lock().unwrap();
                if taken > 0 {
                    counts.1 += 1;
                    return;
                }
                (taken, counts.0) = (1, counts.0 + 1);
                "250 mine"
            }
            _ if taken > 0 && line.starts_with("MAIL") => {
                // not answered before it is seen whether the message comes along
                let mut rest = [0; 4096];
                let along = read
                    .read(&mut rest)
                    .await
                    .is_ok_and(|octets| String::from_utf8_lossy(&rest[..octets]).contains("BDAT"));
                counts.lock().unwrap().1 += usize::from(along);
                return;
            }
            _ => "250 ok",
        };
        write.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
        line.clear();
    }
}

#[tokio::test]
async fn a_server_that_closes_after_each_message_gets_the_others_at_once() {
    let (address, counts) = closing().await;
    let queue = QueueConfig { connections_per_destination: 1, ..queue() };
    let world = World::start(address, queue).await;
    let store = &world.context.store;
    store.pause(address.to_string(), true).await.unwrap();
    for number in 0..6 {
        world.submit(sender(), &[&format!("{number}@b.test")]).await;
    }
    world.until_waiting(6).await;
    store.pause(address.to_string(), false).await.unwrap();
    world.until_empty().await;
    // the second one was on its way; from then on no message was begun before its envelope was answered
    assert_eq!(*counts.lock().unwrap(), (6, 1));
    assert!(world.inbox().await.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn others_have_their_turn_while_a_long_queue_is_led_elsewhere() {
    let (before, after) = (Peer::start("250 ok").await, Peer::start("250 ok").await);
    let world = World::start_on(Arc::new(Simulated::new(1)), before.address, queue()).await;
    let store = &world.context.store;
    for peer in [&before, &after] {
        store.pause(peer.address.to_string(), true).await.unwrap();
    }
    let count = 2 * REROUTED_PAGE + 10;
    for _ in 0..count {
        world.submit(sender(), &["x@b.test"]).await;
    }
    world.until_waiting(count).await;
    let live = Live {
        config: Arc::new(config(after.address, queue())),
        directory: world.context.live().directory.clone(),
    };
    world.live.send_replace(Arc::new(live));
    let mut seen = Vec::new();
    while seen.last() != Some(&count) {
        tokio::task::yield_now().await;
        let sites = world.control.destinations();
        let there = sites.iter().find(|site| site.place.to_string() == after.address.to_string());
        seen.extend(there.map(|site| site.waiting));
    }
    seen.dedup();
    assert_eq!(seen, [REROUTED_PAGE, 2 * REROUTED_PAGE, count]);
    store.pause(after.address.to_string(), false).await.unwrap();
    world.until_empty().await;
    assert_eq!((before.messages().len(), after.messages().len()), (0, count));
    world.stop().await;
}
