//! Notifications that do not arrive, and those about internationalised mail.

use waypost_config::AliasConfig;

use super::*;

fn far() -> ReversePath {
    ReversePath::Address(address("x@far.test"))
}

#[tokio::test]
async fn the_postmaster_is_told_once_of_a_notification_that_cannot_be_delivered() {
    let peer = Peer::start("550 5.1.1 no such user").await;
    let world = World::start(peer.address, queue()).await;
    world.submit(far(), &["y@b.test"]).await;
    world.until_empty().await;
    assert_eq!(peer.senders(), ["MAIL FROM:<x@far.test>", "MAIL FROM:<>"]);
    let [told] = &world.inbox().await[..] else { panic!("one message") };
    for text in [
        "Return-Path: <>\r\nDelivered-To: postmaster@a.test\r\n",
        "Subject: A notification could not be delivered\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "Final-Recipient: rfc822; x@far.test\r\n",
        "Status: 5.1.1\r\n",
        // of the notification
        "Subject: Your mail could not be delivered\r\n",
    ] {
        assert!(told.contains(text), "{text:?} is not in {told}");
    }
    world.stop().await;
}

#[tokio::test]
async fn the_postmaster_is_told_of_a_notification_that_expires_but_not_that_it_is_late() {
    let peer = Peer::start("451 4.7.1 later").await;
    let soon = Duration::from_millis(300);
    let queue = QueueConfig { retry: vec![soon], warn_after: Duration::ZERO, lifetime: 3 * soon, ..queue() };
    let world = World::start(peer.address, queue).await;
    let relay = Relay::new(ReversePath::Null, vec![RelayRecipient::new(address("x@far.test"))]);
    world.accept_octets(relay, "Message-ID: <{id}@mx.a.test>\r\n\r\n", "x\r\n").await;
    world.until_empty().await;
    let inbox = world.inbox().await;
    let [told] = &inbox[..] else { panic!("{inbox:?}") };
    assert!(
        told.contains("Final-Recipient: rfc822; x@far.test\r\nAction: failed\r\nStatus: 5.4.7\r\n"),
        "{told}"
    );
    world.stop().await;
}

#[tokio::test]
async fn what_was_noted_here_is_not_told_as_the_word_of_the_next_server() {
    let server = |rcpt, ehlo| Peer::start_with(rcpt, ehlo);
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let small = server("250 ok", "250-b\r\n250 SIZE 10").await.address;
    let busy = server("451 4.7.1 later", "250 b").await.address;
    let strict = server("550 5.1.1 no such user", "250 b").await.address;
    let late = || QueueConfig { warn_after: Duration::ZERO, ..queue() };
    let over = || QueueConfig { lifetime: Duration::ZERO, ..queue() };
    for (address, queue, words, code) in [
        (dead, late(), "could not be reached on", "x-waypost; 451 4.4.1 no connection: "),
        (small, late(), "we noted on", "x-waypost; 552 5.3.4 the message has "),
        (busy, over(), "we noted on", "x-waypost; 554 5.4.7 given up; the last answer was: 451 4.7.1 later"),
        (busy, late(), "answered on", "smtp; 451 4.7.1 later"),
        (strict, late(), "answered on", "smtp; 550 5.1.1 no such user"),
    ] {
        let world = World::start(address, queue).await;
        world.submit(sender(), &["x@b.test"]).await;
        let tried = |store: &Store| store.queue().iter().all(|entry| entry.attempts > 0);
        world.until("it was tried", tried).await;
        let told = world.inbox().await.remove(0).replace("=\r\n", "");
        let by_server = code.starts_with("smtp");
        assert!(told.contains(&format!("server 127.0.0.1 [127.0.0.1] {words}")), "{told}");
        assert!(told.contains(&format!("Diagnostic-Code: {code}")), "{told}");
        assert_eq!(told.contains("Remote-MTA: dns; 127.0.0.1\r\n"), by_server, "{told}");
        world.stop().await;
    }
}

#[tokio::test]
async fn what_the_postmaster_is_told_never_goes_round() {
    let peer = Peer::start("550 5.1.1 no such user").await;
    let alias = AliasConfig { from: address("postmaster@a.test"), to: vec![address("boss@c.test")] };
    let aliases = vec![alias];
    let world = World::start_with(Arc::new(Real), Config { aliases, ..config(peer.address, queue()) }).await;
    world.submit(far(), &["y@b.test"]).await;
    world.until_empty().await;
    let recipients: Vec<_> =
        peer.seen.lock().unwrap().envelopes.iter().filter(|line| line.starts_with("RCPT")).cloned().collect();
    assert_eq!(recipients, ["RCPT TO:<y@b.test>", "RCPT TO:<x@far.test>", "RCPT TO:<boss@c.test>"]);
    assert!(world.inbox().await.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn the_postmaster_is_told_nothing_where_that_is_off_and_of_nothing_that_is_not_ours() {
    let peer = Peer::start("550 5.1.1 no such user").await;
    let world = World::start(peer.address, QueueConfig { double_bounces: false, ..queue() }).await;
    world.submit(far(), &["y@b.test"]).await;
    world.until_empty().await;
    assert!(world.inbox().await.is_empty());
    world.stop().await;
    let world = World::start(peer.address, queue()).await;
    // from nobody, as forwarded notifications of others are
    world.submit(ReversePath::Null, &["fwd@a.test>y@b.test"]).await;
    let forged = "Message-ID: <1@mx.a.test>\r\nSubject: forged\r\n\r\n";
    world
        .accept_octets(
            Relay::new(ReversePath::Null, vec![RelayRecipient::new(address("y@b.test"))]),
            forged,
            "x\r\n",
        )
        .await;
    world.until_empty().await;
    assert!(world.inbox().await.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn internationalised_mail_comes_back_in_utf8_to_who_can_read_it() {
    let peer = Peer::start_with("550 5.1.1 no such user", "250-b\r\n250-8BITMIME\r\n250 SMTPUTF8").await;
    let world = World::start(peer.address, queue()).await;
    let relay = |from: ReversePath| Relay {
        smtputf8: true,
        body: BodyType::EightBitMime,
        wishes: wishes(ReturnContent::Full),
        ..Relay::new(from, vec![RelayRecipient::new(address("j\u{f6}rg@b.test"))])
    };
    let header = "Subject: gr\u{fc}\u{df}e\r\n\r\n";
    // a sender in US-ASCII gets it encoded
    world.accept_octets(relay(sender()), header, "l\u{f6}l\r\n").await;
    world.until_empty().await;
    let [told] = &world.inbox().await[..] else { panic!("one notification") };
    assert!(told.is_ascii(), "{told}");
    for text in [
        "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: quoted-printable\r\n",
        "Final-Recipient: utf-8; j=C3=B6rg@b.test\r\n",
        "Content-Type: message/global\r\nContent-Transfer-Encoding: base64\r\n",
    ] {
        assert!(told.contains(text), "{text:?} is not in {told}");
    }
    // another one with SMTPUTF8, as it is
    *peer.rcpt.lock().unwrap() = "550 5.1.1 no such user";
    world
        .accept_octets(relay(ReversePath::Address(address("\u{fc}@far.test"))), header, "l\u{f6}l\r\n")
        .await;
    world.until("the notification is refused", |_| peer.senders().len() == 3).await;
    world.until_empty().await;
    assert!(
        peer.senders()[2].starts_with("MAIL FROM:<>")
            && peer.senders()[2].ends_with(" BODY=8BITMIME SMTPUTF8"),
        "{:?}",
        peer.senders()
    );
    // the postmaster gets all of it
    let told = world.inbox().await.remove(1);
    assert!(told.is_ascii() && told.contains("Content-Type: message/global-delivery-status\r\n"), "{told}");
    assert!(told.contains("Final-Recipient: utf-8; =C3=BC@far.test\r\n"), "{told}");
    world.stop().await;
}

#[tokio::test]
async fn notifications_go_with_smtputf8_to_senders_who_need_it_and_without_it_to_others() {
    let peer = Peer::start_with("250 ok", "250-b\r\n250-8BITMIME\r\n250 SMTPUTF8").await;
    for (from, keywords) in [("x@far.test", ""), ("\u{fc}@far.test", " BODY=8BITMIME SMTPUTF8")] {
        let world = World::start(peer.address, queue()).await;
        let relay = Relay {
            smtputf8: true,
            ..Relay::new(ReversePath::Address(address(from)), vec![asked("j\u{f6}rg@b.test", "SUCCESS")])
        };
        let before = peer.messages().len();
        world.accept_octets(relay, "Subject: gr\u{fc}\u{df}e\r\n\r\n", "x\r\n").await;
        world.until("both are sent", |_| peer.messages().len() == before + 2).await;
        world.until_empty().await;
        assert_eq!(peer.senders()[before + 1], format!("MAIL FROM:<>{keywords}"));
        let told = &peer.messages()[before + 1];
        assert_eq!(told.is_ascii(), keywords.is_empty(), "{told}");
        assert!(told.contains("Content-Type: message/global-headers\n"), "{told}");
        world.stop().await;
    }
}

#[tokio::test]
async fn internationalised_original_recipients_go_on_in_the_form_that_the_server_takes() {
    for (ehlo, expected) in [
        ("250-b\r\n250 DSN", "RCPT TO:<x@b.test> ORCPT=utf-8;\\x{FC}@a.test"),
        ("250-b\r\n250-DSN\r\n250 SMTPUTF8", "RCPT TO:<x@b.test> ORCPT=utf-8;\u{fc}@a.test"),
    ] {
        let peer = Peer::start_with("250 ok", ehlo).await;
        let world = World::start(peer.address, queue()).await;
        let recipient = RelayRecipient {
            orcpt: OriginalRecipient::new("utf-8;\u{fc}@a.test"),
            ..RelayRecipient::new(address("x@b.test"))
        };
        let relay = Relay { smtputf8: true, ..Relay::new(sender(), vec![recipient]) };
        world.accept(relay, "text\r\n").await;
        world.until_empty().await;
        let rcpt = peer.seen.lock().unwrap().envelopes[1].clone();
        assert_eq!(rcpt, expected);
        world.stop().await;
    }
}

#[tokio::test]
async fn mail_of_our_users_has_a_return_path_of_its_own_where_that_is_wanted() {
    let peer = Peer::start("250 ok").await;
    for (verp, from) in [(true, sender()), (true, far()), (true, ReversePath::Null), (false, sender())] {
        let world = World::start(peer.address, QueueConfig { verp, ..queue() }).await;
        let id = world.submit(from.clone(), &["x@b.test"]).await;
        world.until_empty().await;
        let path = peer.senders().pop().unwrap();
        let path =
            path.strip_prefix("MAIL FROM:<").and_then(|path| path.strip_suffix('>')).unwrap().to_owned();
        if verp && from == sender() {
            let path = address(&path);
            assert_eq!(
                world.context.srs.bounced(&path, waypost_auth::srs::day(world.context.store.now())),
                Some((address("s@a.test"), id)),
                "{path}"
            );
        } else {
            assert_eq!(path, from.to_string());
        }
        world.stop().await;
    }
}
