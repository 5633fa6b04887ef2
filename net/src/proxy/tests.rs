//! Headers of both versions, whole, in pieces, and wrong.

use tokio::{
    io::{AsyncWriteExt, duplex},
    time::Instant,
};

use super::*;

fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [V2_SIGNATURE, &[command, family], &length, payload].concat()
}

/// From 198.51.100.7:40000 to 192.0.2.1:25.
fn v2_tcp4(more: &[u8]) -> Vec<u8> {
    v2(0x21, 0x11, &[&[198, 51, 100, 7, 192, 0, 2, 1, 0x9c, 0x40, 0, 25], more].concat())
}

fn v2_tcp6() -> Vec<u8> {
    let source: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
    let own: std::net::Ipv6Addr = "2001:db8::1".parse().unwrap();
    v2(0x21, 0x21, &[&source.octets()[..], &own.octets(), &[0x9c, 0x40, 0, 25]].concat())
}

/// Reads a header that arrives in pieces; what it says, and what is left in the stream.
async fn read_in(piece: usize, octets: &[u8]) -> (Result<Option<SocketAddr>, ProxyError>, Vec<u8>) {
    let (mut proxy, mut server) = duplex(piece);
    let octets = octets.to_vec();
    // The reader may give up before all is written.
    let sending = tokio::spawn(async move { drop(proxy.write_all(&octets).await) });
    let read = read_header(&mut server).await;
    let mut rest = Vec::new();
    if read.is_ok() {
        server.read_to_end(&mut rest).await.unwrap();
    }
    drop(server);
    sending.await.unwrap();
    (read, rest)
}

#[tokio::test]
async fn headers_of_both_versions_are_read_and_nothing_behind_them() {
    let client4 = Some("198.51.100.7:40000".parse().unwrap());
    let client6 = Some("[2001:db8::7]:40000".parse().unwrap());
    let udp = [198, 51, 100, 7, 192, 0, 2, 1, 0x9c, 0x40, 0, 25];
    for (header, expected) in [
        (b"PROXY TCP4 198.51.100.7 192.0.2.1 40000 25\r\n".to_vec(), client4),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 25\r\n".to_vec(), client6),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
        (v2_tcp4(b""), client4),
        (v2_tcp4(b"\x04\x00\x03abc"), client4),
        (v2_tcp4(&[0; V2_BYTES_MAX - 28]), client4),
        (v2_tcp6(), client6),
        // LOCAL: what stands behind is not looked at.
        (v2(0x20, 0x00, b""), None),
        (v2(0x20, 0x11, &udp), None),
        // UNSPEC, and a Unix socket.
        (v2(0x21, 0x00, b""), None),
        (v2(0x21, 0x31, &[b'x'; 216]), None),
    ] {
        for piece in [1, 3, 4096] {
            let sent = [&header[..], b"EHLO c.test\r\n"].concat();
            let (read, rest) = read_in(piece, &sent).await;
            assert_eq!(read.unwrap(), expected, "{} in {piece}", header.escape_ascii());
            assert_eq!(rest, b"EHLO c.test\r\n", "{} in {piece}", header.escape_ascii());
        }
    }
}

#[tokio::test]
async fn what_is_no_header_is_refused_at_once() {
    let udp = [198, 51, 100, 7, 192, 0, 2, 1, 0x9c, 0x40, 0, 25];
    for garbage in [
        b"E".to_vec(),
        b"EHLO c.test\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00".to_vec(),
        b"PROXX".to_vec(),
        b"proxy TCP4 198.51.100.7 192.0.2.1 40000 25\r\n".to_vec(),
        b"PROXY TCP4 198.51.100.7 192.0.2.1 40000 25\n".to_vec(),
        b"PROXY TCP4 198.51.100.7 192.0.2.1 40000 65536\r\n".to_vec(),
        b"PROXY TCP4 198.51.100 192.0.2.1 40000 25\r\n".to_vec(),
        b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 25\r\n".to_vec(),
        b"PROXY TCP4 198.51.100.7 192.0.2.1 40000\r\n".to_vec(),
        b"PROXY \nUNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN \rx\r\n".to_vec(),
        b"PROXY UDP4 198.51.100.7 192.0.2.1 40000 25\r\n".to_vec(),
        b"\r\n\r\n\0\r\nQUIX".to_vec(),
        v2(0x31, 0x11, &udp),
        v2(0x22, 0x11, &udp),
        v2(0x21, 0x41, &udp),
        v2(0x21, 0x11, &udp[..11]),
        v2(0x21, 0x12, &udp),
        v2(0x21, 0x31, &udp),
    ] {
        for piece in [1, 4096] {
            let (read, _) = read_in(piece, &garbage).await;
            assert!(matches!(read, Err(ProxyError::Invalid)), "{}: {read:?}", garbage.escape_ascii());
        }
    }
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_it_has_come() {
    let mut v1 = b"PROXY UNKNOWN ".to_vec();
    v1.resize(V1_BYTES_MAX - 2, b'x');
    assert_eq!(read_in(64, &[&v1[..], b"\r\n"].concat()).await.0.unwrap(), None);
    let too_long = [&v1[..], b"x\r\n"].concat();
    assert!(matches!(read_in(64, &too_long).await.0, Err(ProxyError::TooLong)));
    let mut v2 = v2_tcp4(&[0; V2_BYTES_MAX - 28 + 1]);
    v2.truncate(V2_BYTES_FIXED);
    assert!(matches!(read_in(64, &v2).await.0, Err(ProxyError::TooLong)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_header_is_not_waited_for() {
    let header = v2_tcp4(b"");
    for sent in 0..header.len() {
        let (mut proxy, mut server) = duplex(64);
        let begun = Instant::now();
        let slow = async {
            for octet in &header[..sent] {
                proxy.write_all(&[*octet]).await.unwrap();
                tokio::time::sleep(PROXY_HEADER_TIMEOUT / 30).await;
            }
            std::future::pending::<()>().await;
        };
        let read = tokio::select! { read = read_header(&mut server) => read, () = slow => Ok(None) };
        assert!(matches!(read, Err(ProxyError::Late)), "{sent}: {read:?}");
        assert_eq!(begun.elapsed(), PROXY_HEADER_TIMEOUT, "{sent}");
    }
}

#[tokio::test]
async fn a_header_that_ends_early_is_an_error() {
    for header in [&b""[..], b"PROXY ", b"PROXY TCP4 198.51.100.7 ", &v2_tcp4(b"")[..20]] {
        let (read, _) = read_in(64, header).await;
        assert!(matches!(read, Err(ProxyError::Io(_))), "{}: {read:?}", header.escape_ascii());
    }
}
