use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep},
};

use super::*;
use crate::{
    deflate::{Deflater, Inflated, Inflater},
    testing::{IDLE, Session},
};

fn plain(window: usize) -> Session {
    Session::start(window, TlsRole::None)
}

#[tokio::test(start_paused = true)]
async fn a_transcript_is_the_same_in_any_chunks() {
    let input = "one\nask 20000\ntwo\nask 0\nslow\nquit\nnever\n";
    let expected = format!("one\nhere\n{}sent 20000\ntwo\nhere\nsent 0\nsent 0\nbye\n", "x".repeat(20_000));
    for chunk in [1, 3, 4096] {
        for window in [1, 7, 65_536] {
            let Session { peer, driven, events: _events, .. } = plain(window);
            let (mut reader, mut writer) = tokio::io::split(peer);
            let sending = tokio::spawn(async move {
                for piece in input.as_bytes().chunks(chunk) {
                    writer.write_all(piece).await.unwrap();
                }
                writer
            });
            let mut output = String::new();
            reader.read_to_string(&mut output).await.unwrap();
            assert_eq!(output, expected, "chunks of {chunk}, window of {window}");
            drop((reader, sending.await.unwrap()));
            assert!(matches!(driven.await.unwrap().1, Ok(())));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_ends_at_its_deadline() {
    let begun = Instant::now();
    let mut session = plain(100);
    sleep(IDLE / 2).await;
    session.send("half\n").await;
    session.expect("half\n").await;
    session.expect("timeout\n").await;
    assert_eq!(begun.elapsed().as_secs(), (IDLE + IDLE / 2).as_secs());
    assert!(matches!(session.finish().await.2, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn what_is_complete_is_obeyed_after_the_end_of_input() {
    let mut session = plain(100);
    session.send("one\nslow\ntwo\nincompl").await;
    session.peer.shutdown().await.unwrap();
    let (rest, machine, result) = session.finish().await;
    assert_eq!(rest, "one\nsent 0\ntwo\nend\n");
    assert_eq!(machine.ended, 1);
    assert!(matches!(result, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_cut() {
    for (request, sent) in [("ask 100000\n", 100), ("one\n", 1)] {
        let begun = Instant::now();
        let mut session = plain(sent);
        session.send(request).await;
        let (_, result) = (&mut session.driven).await.unwrap();
        assert!(matches!(result, Err(Disconnect::Stalled)), "{request}");
        assert_eq!(begun.elapsed().as_secs(), SEND_TIMEOUT.as_secs());
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_peer_is_waited_for() {
    let mut session = plain(1000);
    session.send("ask 100000\nquit\n").await;
    session.expect("here\n").await;
    for _ in 0..100 {
        sleep(SEND_TIMEOUT / 100).await;
        session.expect(&"x".repeat(1000)).await;
    }
    assert_eq!(session.finish().await.0, "sent 100000\nbye\n");
}

#[tokio::test(start_paused = true)]
async fn shutdown_is_told_once_in_each_wait() {
    for (request, reply) in [("one\n", "one\n"), ("one\nwatch\n", "one\n"), ("one\nslow\ntwo\n", "one\n")] {
        let mut session = plain(100);
        session.send(request).await;
        session.expect(reply).await;
        let shutdown = session.shutdown.clone();
        tokio::spawn(async move { shutdown.drain(Duration::ZERO).await });
        let (rest, machine, result) = session.finish().await;
        // A question that is open is answered first, and so is what was read already.
        assert_eq!(rest, if request.contains("slow") { "sent 0\ntwo\nstopping\n" } else { "stopping\n" });
        assert_eq!(machine.told, 1);
        assert!(matches!(result, Ok(())));
    }
}

#[tokio::test(start_paused = true)]
async fn events_come_while_the_machine_watches() {
    let mut session = plain(100);
    session.events.send(1).await.unwrap();
    session.send("one\n").await;
    session.expect("one\n").await;
    session.send("watch\n").await;
    session.expect("event 1\n").await;
    session.events.send(2).await.unwrap();
    session.expect("event 2\n").await;
    session.send("quit\n").await;
    assert_eq!(session.finish().await.0, "bye\n");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_fails_ends_the_session() {
    let mut session = plain(100);
    session.send("one\nfail\ntwo\n").await;
    let (rest, _, result) = session.finish().await;
    assert_eq!(rest, "one\n");
    assert!(matches!(result, Err(Disconnect::Handler(_))));
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_stopped_by_replies_that_are_not_read() {
    let mut session = plain(4096);
    let line = b"0123456789abcde\n".repeat(64);
    let mut taken = 0;
    while let Ok(written) = timeout(Duration::from_secs(1), session.peer.write(&line)).await {
        taken += written.unwrap();
    }
    // One window each way, and one buffer between them.
    assert!(taken <= 2 * 4096 + 16 * 1024, "{taken} octets were taken");
}

#[tokio::test(start_paused = true)]
async fn the_last_reply_does_not_wait_for_the_peer_to_close() {
    let begun = Instant::now();
    let mut session = plain(100);
    session.send("quit\nunread\n").await;
    let mut all = String::new();
    session.peer.read_to_string(&mut all).await.unwrap();
    assert_eq!((all.as_str(), begun.elapsed()), ("bye\n", Duration::ZERO));
    // The peer never closes its side: we wait only so long.
    assert!(matches!((&mut session.driven).await.unwrap().1, Ok(())));
    assert_eq!(begun.elapsed().as_secs(), 2);
}

/// A peer that compresses.
#[derive(Default)]
struct Peer {
    deflater: Deflater,
    inflater: Inflater,
}

impl Peer {
    async fn send(&mut self, session: &mut Session, text: &str) {
        let mut compressed = Vec::new();
        self.deflater.write(text.as_bytes(), &mut compressed).unwrap();
        self.deflater.flush(&mut compressed).unwrap();
        session.peer.write_all(&compressed).await.unwrap();
    }

    /// Reads octet by octet: what is not compressed any more is left alone.
    async fn expect(&mut self, session: &mut Session, text: &str) {
        let mut said = Vec::new();
        while said.len() < text.len() || self.inflater.is_fed() {
            match self.inflater.next(|octets| said.extend_from_slice(octets)).unwrap() {
                Inflated::Octets(_) => {}
                _ => self.inflater.feed(&[session.peer.read_u8().await.unwrap()]),
            }
        }
        assert_eq!(String::from_utf8_lossy(&said), text);
    }
}

#[tokio::test(start_paused = true)]
async fn compression_begins_and_ends() {
    let mut session = plain(65_536);
    let mut peer = Peer::default();
    session.send("one\ncompress\n").await;
    session.expect("one\ngo\n").await;
    for _ in 0..3 {
        peer.send(&mut session, "two\nask 20000\n").await;
        peer.expect(&mut session, &format!("two\nhere\n{}sent 20000\n", "x".repeat(20_000))).await;
        // Both sides go on after what they could give back is given back.
        sleep(IDLE / 4).await;
    }
    peer.send(&mut session, "plain\n").await;
    session.send("three\nquit\n").await;
    peer.expect(&mut session, "go\n").await;
    peer.inflater.end();
    while peer.inflater.next(|_| ()).unwrap() != Inflated::Over {
        peer.inflater.feed(&[session.peer.read_u8().await.unwrap()]);
    }
    assert_eq!(&peer.inflater.take_rest()[..], b"t");
    assert_eq!(session.finish().await.0, "hree\nbye\n");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_compresses_ends_at_its_deadline() {
    let mut session = plain(100);
    let mut peer = Peer::default();
    session.send("compress\n").await;
    session.expect("go\n").await;
    peer.send(&mut session, "one\n").await;
    peer.expect(&mut session, "one\n").await;
    let begun = Instant::now();
    peer.expect(&mut session, "timeout\n").await;
    assert_eq!(begun.elapsed().as_secs(), IDLE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_compressed_ends_a_session_that_compresses() {
    let mut session = plain(100);
    session.send("compress\n").await;
    session.expect("go\n").await;
    session.send("one\n").await;
    let (_, result) = (&mut session.driven).await.unwrap();
    assert!(matches!(result, Err(Disconnect::Compression(_))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn little_that_becomes_much_is_taken_bit_by_bit() {
    let mut session = plain(65_536);
    let mut peer = Peer::default();
    session.send("compress\n").await;
    session.expect("go\n").await;
    // The machine checks that it gets no more than a buffer at once.
    peer.send(&mut session, &format!("{}\n", "y".repeat(1_000_000))).await;
    peer.expect(&mut session, &format!("{}\n", "y".repeat(1_000_000))).await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_rings_when_it_is_to_whenever_it_was_set_before() {
    let (start, mut sleep) = (Instant::now(), std::pin::pin!(sleep(Duration::from_secs(300))));
    let mut alarm = Alarm(sleep.as_mut());
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut rings = async |second, patience| {
        let rang = timeout(Duration::from_secs(patience), alarm.ring(at(second))).await.is_ok();
        (rang, start.elapsed().as_secs())
    };
    // sooner than it was set, later, not yet, sooner than that, too early for what comes, and long ago
    assert_eq!(rings(10, 1000).await, (true, 10));
    assert_eq!(rings(20, 1000).await, (true, 20));
    assert_eq!(rings(60, 5).await, (false, 25));
    assert_eq!(rings(40, 1000).await, (true, 40));
    assert_eq!(rings(50, 5).await, (false, 45));
    assert_eq!(rings(70, 1000).await, (true, 70));
    assert_eq!(rings(30, 1000).await, (true, 70));
}
