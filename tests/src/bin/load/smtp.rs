//! As much of SMTP and IMAP as a load needs: lines out, replies in.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// Longest wait for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection by lines.
pub(crate) struct Peer {
    stream: BufReader<TcpStream>,
    line: String,
}

impl Peer {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::with_capacity(1024, stream), line: String::new() }
    }

    /// An SMTP session behind EHLO.
    pub(crate) async fn ehlo(address: SocketAddr) -> Self {
        let mut peer = Self::connect(address).await;
        peer.reply("220").await;
        peer.send(b"EHLO client.test\r\n").await;
        peer.reply("250").await;
        peer
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) {
        timeout(REPLY_TIMEOUT, self.stream.get_mut().write_all(octets)).await.unwrap().unwrap();
    }

    pub(crate) async fn line(&mut self) -> &str {
        self.line.clear();
        let read = timeout(REPLY_TIMEOUT, self.stream.read_line(&mut self.line)).await;
        assert!(read.expect("the server answers in time").unwrap() > 0, "the server hung up");
        &self.line
    }

    /// Reads so many octets and forgets them.
    pub(crate) async fn skip(&mut self, octets: u64) {
        let mut literal = (&mut self.stream).take(octets);
        let copied = timeout(REPLY_TIMEOUT, tokio::io::copy(&mut literal, &mut tokio::io::sink())).await;
        assert_eq!(copied.expect("the server goes on in time").unwrap(), octets, "the server hung up");
    }

    /// Reads a whole SMTP reply, which must have this code.
    pub(crate) async fn reply(&mut self, code: &str) {
        loop {
            let line = self.line().await;
            assert!(line.starts_with(code), "{code} is wanted, not {line}");
            if line.as_bytes()[3] != b'-' {
                return;
            }
        }
    }

    pub(crate) fn into_stream(self) -> TcpStream {
        assert!(self.stream.buffer().is_empty());
        self.stream.into_inner()
    }
}
