//! Deliveries over TCP on loopback, to servers that follow a script.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use waypost_config::{DnsConfig, OutboundTlsConfig};
use waypost_mail::{Address, ReversePath, Timestamp};

use super::*;
use crate::{
    dns::Resolver,
    smtp::client::Protocol,
    tls_policy::{Policies, Whose, Wish},
};

/// One message, and what became of it.
#[derive(Default)]
struct One {
    message: Option<Outgoing>,
    body: Bytes,
    finished: Vec<(String, Vec<u16>)>,
    dialogues: Vec<Dialogue>,
}

impl Outbox for One {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    async fn next(&mut self) -> Option<Outgoing> {
        self.message.take()
    }

    async fn octets(&mut self) -> Option<Octets> {
        Some(Octets::default())
    }

    async fn chunk(&mut self) -> Option<Bytes> {
        Some(std::mem::take(&mut self.body))
    }

    async fn finish(&mut self, peer: &str, finished: Finished, dialogues: Vec<Dialogue>) {
        self.dialogues.extend(dialogues);
        self.finished.push((peer.to_owned(), finished.replies.iter().map(|reply| reply.code).collect()));
    }
}

fn one() -> One {
    let message = Outgoing::new(ReversePath::Null, vec![Address::parse("x@b.test").unwrap()], 3);
    One { message: Some(message), body: Bytes::from_static(b"x\r\n"), ..One::default() }
}

const TAKES_IT: &[&str] =
    &["220 b\r\n", "250 b\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 mine\r\n", "221 bye\r\n"];

/// Says one line at first and one after each piece that arrives, for each of several connections; gives what it read.
async fn server(sessions: &'static [&'static [&'static str]]) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut heard = Vec::new();
        for session in sessions {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut said = String::new();
            for line in *session {
                stream.write_all(line.as_bytes()).await.unwrap();
                let mut octets = [0; 4096];
                let read = stream.read(&mut octets).await.unwrap_or(0);
                said += &String::from_utf8_lossy(&octets[..read]);
            }
            heard.push(said);
        }
        heard
    });
    (address, task)
}

fn route(addresses: &[SocketAddr]) -> Route {
    to(addresses.iter().map(|address| Target::new("b.test", *address)).collect())
}

fn to(targets: Vec<Target>) -> Route {
    Route { targets, protocol: Protocol::Smtp, login: None }
}

async fn send(route: &Route) -> (One, Delivery) {
    send_until(route, Encryption::Offered, &Shutdown::new()).await
}

async fn send_until(route: &Route, encryption: Encryption, shutdown: &Shutdown) -> (One, Delivery) {
    let nowhere = DnsConfig { servers: vec!["127.0.0.1:9".parse().unwrap()], ..DnsConfig::default() };
    let policies = Policies::in_memory(Resolver::new(&nowhere).unwrap());
    let towards = Towards {
        policies: &policies,
        config: &OutboundTlsConfig::default(),
        whose: Whose::NextHop(encryption.into()),
        wish: Wish::Usual,
        now: Timestamp(0),
    };
    let hostname = Domain::new("a.test").unwrap();
    deliver(one(), route, &towards, &hostname, &Dialler::default(), shutdown).await
}

/// A port where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn servers_are_tried_in_turn() {
    let (refusing, _) = server(&[&["554 5.7.1 not you\r\n", "221 bye\r\n"]]).await;
    let (taking, heard) = server(&[TAKES_IT]).await;
    let (outbox, delivery) = send(&route(&[nobody().await, refusing, taking])).await;
    assert_eq!(delivery, Delivery::Done);
    assert_eq!(outbox.finished, [("b.test [127.0.0.1]".to_owned(), vec![250])]);
    let expected = "EHLO a.test\r\nMAIL FROM:<>\r\nRCPT TO:<x@b.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
    assert_eq!(heard.await.unwrap(), [expected]);
}

#[tokio::test]
async fn a_temporary_refusal_counts_more_than_a_permanent_one() {
    const NEVER: &[&str] = &["521 5.3.2 no mail here\r\n", "221 bye\r\n"];
    let (permanent, _) = server(&[NEVER]).await;
    let (outbox, delivery) = send(&route(&[nobody().await, permanent])).await;
    let Delivery::Refused { reply, .. } = delivery else { panic!("{delivery:?}") };
    assert_eq!((reply.code, reply.status), (451, Some(EnhancedStatus(4, 4, 1))));
    assert!(outbox.message.is_some() && outbox.finished.is_empty());
    let (permanent, _) = server(&[NEVER]).await;
    let (_, delivery) = send(&route(&[permanent])).await;
    let reply = Reply::new(521, EnhancedStatus(5, 3, 2), "no mail here").of_peer();
    let Delivery::Refused { peer, reply: is, dialogues } = delivery else { panic!("{delivery:?}") };
    assert_eq!((peer.as_str(), is), ("b.test [127.0.0.1]", reply));
    assert_eq!(dialogues[0].lines, ["S: 521 5.3.2 no mail here"]);
}

#[tokio::test]
async fn a_refused_session_is_not_the_end_of_a_message() {
    const NEVER: &[&[&str]] = &[&["521 5.3.2 no mail here\r\n", "221 bye\r\n"]];
    const GREETS: &[&[&str]] = &[&["554 5.7.1 you are listed\r\n", "221 bye\r\n"]];
    const HEARS: &[&[&str]] = &[&["220 b\r\n", "550 no\r\n", "550 go away\r\n", "221 bye\r\n"]];
    for (says, text) in [
        (&[GREETS][..], "554 5.7.1 you are listed"),
        (&[HEARS], "550 go away"),
        (&[GREETS, NEVER], "554 5.7.1 you are listed"),
        (&[NEVER, GREETS], "554 5.7.1 you are listed"),
    ] {
        let mut servers = Vec::new();
        for says in says {
            servers.push(server(says).await.0);
        }
        let (outbox, delivery) = send(&route(&servers)).await;
        let Delivery::Refused { reply, .. } = delivery else { panic!("{delivery:?}") };
        let text = format!("the server takes no session from here now: {text}");
        assert_eq!(reply, Reply::new(451, EnhancedStatus(4, 3, 2), text));
        assert!(outbox.message.is_some());
    }
}

#[tokio::test]
async fn a_broken_connection_in_a_message_is_told_once() {
    let (address, _) = server(&[&["220 b\r\n", "250 b\r\n", "250 ok\r\n"]]).await;
    let (outbox, delivery) = send(&route(&[address, nobody().await])).await;
    assert_eq!(delivery, Delivery::Done);
    assert_eq!(outbox.finished, [("b.test [127.0.0.1]".to_owned(), vec![451])]);
}

const BROKEN_TLS: &[&str] = &["220 b\r\n", "250-b\r\n250 STARTTLS\r\n", "220 go\r\n", "this is no TLS\r\n"];

#[tokio::test]
async fn opportunistic_tls_that_fails_is_left_out() {
    let (address, heard) = server(&[BROKEN_TLS, TAKES_IT]).await;
    let (outbox, delivery) = send(&route(&[address])).await;
    assert_eq!(delivery, Delivery::Done);
    assert_eq!(outbox.finished[0].1, [250]);
    assert!(heard.await.unwrap()[0].starts_with("EHLO a.test\r\nSTARTTLS\r\n"));
}

#[tokio::test]
async fn required_tls_that_fails_is_not() {
    let (address, _) = server(&[BROKEN_TLS]).await;
    let (outbox, delivery) = send_until(&route(&[address]), Encryption::Required, &Shutdown::new()).await;
    let Delivery::Refused { reply, .. } = delivery else { panic!("{delivery:?}") };
    assert_eq!((reply.code, reply.status), (454, Some(EnhancedStatus(4, 7, 5))));
    assert!(outbox.message.is_some());
}

#[tokio::test]
async fn a_server_that_stops_begins_nothing() {
    let shutdown = Shutdown::new();
    shutdown.drain(Duration::ZERO).await;
    let route = route(&[nobody().await]);
    let (outbox, delivery) = send_until(&route, Encryption::Offered, &shutdown).await;
    assert!(delivery == Delivery::Stopped && outbox.message.is_some());
}

#[tokio::test]
async fn hosts_that_no_certificate_names_get_mail_too() {
    for host in ["[127.0.0.1]", "[IPv6:::1]", "mx..b.test"] {
        let (address, _) = server(&[TAKES_IT]).await;
        let route = to(vec![Target::new(host, address)]);
        let (outbox, delivery) = send(&route).await;
        assert_eq!(delivery, Delivery::Done, "{host}");
        assert_eq!(outbox.finished, [(format!("{host} [127.0.0.1]"), vec![250])]);
    }
}

#[tokio::test]
async fn the_addresses_of_one_host_are_tried_until_one_takes_the_session() {
    let (refusing, _) = server(&[&["421 4.3.2 busy\r\n"]]).await;
    let (taking, _) = server(&[TAKES_IT]).await;
    let host = |host: &str, address| Target::new(host, address);
    let targets = vec![
        host("one.test", nobody().await),
        host("one.test", refusing),
        host("one.test", nobody().await),
        host("two.test", taking),
    ];
    let (outbox, delivery) = send(&to(targets)).await;
    assert_eq!(delivery, Delivery::Done);
    assert_eq!(outbox.finished, [("two.test [127.0.0.1]".to_owned(), vec![250])]);
    // Each that failed is told of once, though the message was delivered.
    let told: Vec<&str> =
        outbox.dialogues.iter().map(|dialogue| dialogue.lines[0].split(':').next().unwrap()).collect();
    assert_eq!((told, outbox.dialogues[1].lines[0].as_str()), (vec!["*", "S", "*"], "S: 421 4.3.2 busy"));
}

#[tokio::test]
async fn connections_go_out_from_their_source() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target {
        source: Some("127.0.0.8".parse().unwrap()),
        ..Target::new("b.test", listener.local_addr().unwrap())
    };
    let peer = tokio::spawn(async move { listener.accept().await.unwrap().1.ip() });
    let (_, delivery) = send(&to(vec![target])).await;
    assert!(matches!(delivery, Delivery::Refused { .. }));
    assert_eq!(peer.await.unwrap().to_string(), "127.0.0.8");
}
