//! The PROXY protocol over TCP: who is behind a trusted proxy, and who only says so.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use waypost_config::{Service, TlsMode};
use waypost_net::{ClientTls, Stream, Verification};
use waypost_tests::{Site, SiteBuilder};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1: &[u8] = b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 25\r\n";
const MESSAGE: &[u8] =
    b"EHLO c.test\r\nMAIL FROM:<x@far.test>\r\nRCPT TO:<alice@a.test>\r\nDATA\r\nSubject: s\r\n\r\n.\r\nQUIT\r\n";

/// From 198.51.100.7 to 192.0.2.1, with a field that nobody knows.
fn v2() -> Vec<u8> {
    let payload = [&[198, 51, 100, 7, 192, 0, 2, 1, 0x9c, 0x40, 0, 25][..], b"\xe0\0\x01x"].concat();
    [SIGNATURE, &[0x21, 0x11, 0, payload.len() as u8], &payload].concat()
}

async fn site(networks: &str) -> Site {
    let rule = format!("proxy_protocol = [\"{networks}\"]");
    SiteBuilder::new("a.test").listeners("smtp", &rule).listeners("imap", &rule).start().await
}

/// Sends octets in pieces, each in a segment of its own; `None` where the server has hung up.
async fn send(stream: &mut (impl Stream + ?Sized), octets: &[u8], piece: usize) -> Option<()> {
    for piece in octets.chunks(piece) {
        stream.write_all(piece).await.ok()?;
        stream.flush().await.ok()?;
    }
    Some(())
}

/// All that the server says until it hangs up.
async fn rest(stream: &mut (impl Stream + ?Sized)) -> String {
    let mut said = Vec::new();
    // Whether it ends with a reset is the same to us.
    drop(timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await.expect("it hangs up"));
    String::from_utf8_lossy(&said).into_owned()
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// One session over port 25 behind a header, which waits for the greeting.
async fn session(site: &Site, header: &[u8], piece: usize) -> String {
    let mut stream = connect(site.address(Service::Smtp, TlsMode::StartTls)).await;
    send(&mut stream, header, piece).await.unwrap();
    let mut greeting = [0; 4];
    if stream.read_exact(&mut greeting).await.is_err() {
        return String::new();
    }
    send(&mut stream, MESSAGE, 4096).await.unwrap();
    String::from_utf8_lossy(&greeting).into_owned() + &rest(&mut stream).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_behind_a_proxy_is_the_one_that_counts() {
    let site = site("127.0.0.0/8").await;
    let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    let v2 = v2();
    let cases = [(V1, "([IPv6:2001:db8::7])"), (&v2[..], "([198.51.100.7])"), (&local[..], "([127.0.0.1])")];
    let mut count = 0;
    for (header, from) in cases {
        for piece in [1, 4096] {
            let said = session(&site, header, piece).await;
            assert!(said.contains(" accepted\r\n"), "{said}");
            count += 1;
            let stored = site.messages("alice", "INBOX", count).await.pop().unwrap();
            let stored = String::from_utf8(stored).unwrap();
            assert!(stored.contains(&format!("Received: from c.test {from}")), "{stored}");
        }
    }
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_begins_behind_the_header() {
    let site = site("127.0.0.0/8").await;
    let tls = ClientTls::new("localhost", &Verification::Pkix(vec![site.authority()])).unwrap();
    let mut stream = connect(site.address(Service::Imap, TlsMode::Implicit)).await;
    send(&mut stream, &v2(), 1).await.unwrap();
    let (mut stream, _) = tls.connect(Box::new(stream)).await.unwrap();
    send(&mut *stream, b"a LOGOUT\r\n", 4096).await.unwrap();
    let said = rest(&mut *stream).await;
    assert!(said.starts_with("* OK ") && said.contains("a OK "), "{said}");
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_says_nonsense_is_not_served() {
    let site = site("127.0.0.0/8").await;
    let too_long = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    let endless = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
    for header in [MESSAGE, b"\x16\x03\x01", b"PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n", &too_long, &endless] {
        assert_eq!(session(&site, header, 4096).await, "", "{}", header.escape_ascii());
    }
    // And one that says nothing, or stops half-way, is cut off after a while.
    for header in [&b""[..], &V1[..20], &v2()[..20]] {
        let mut stream = connect(site.address(Service::Smtp, TlsMode::StartTls)).await;
        send(&mut stream, header, 4096).await.unwrap();
        assert_eq!(rest(&mut stream).await, "", "{}", header.escape_ascii());
    }
    assert!(session(&site, V1, 4096).await.contains(" accepted\r\n"));
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_gives_himself_an_address() {
    let site = site("192.0.2.0/24").await;
    let mut stream = connect(site.address(Service::Smtp, TlsMode::StartTls)).await;
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 ");
    send(&mut stream, &[V1, MESSAGE].concat(), 4096).await.unwrap();
    let said = rest(&mut stream).await;
    assert!(said.contains("\r\n500 5.5.2 ") && said.contains(" accepted\r\n"), "{said}");
    let stored = String::from_utf8(site.messages("alice", "INBOX", 1).await.remove(0)).unwrap();
    assert!(stored.contains("Received: from c.test ([127.0.0.1])"), "{stored}");
    site.finish().await;
}
