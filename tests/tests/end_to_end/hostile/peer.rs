//! A peer that may do anything: sends octets as they are, reads, goes on whatever the server says.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use waypost_net::{ClientTls, Stream};

/// Longest wait for one answer: the machine is shared, and servers under test are debug builds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// One connection.
pub(crate) struct Peer {
    stream: Option<Box<dyn Stream>>,
    received: Vec<u8>,
    ended: bool,
}

impl Peer {
    /// Connects; with TLS where there is one.
    pub(crate) async fn connect(address: SocketAddr, tls: Option<&ClientTls>) -> Self {
        let stream: Box<dyn Stream> = Box::new(TcpStream::connect(address).await.unwrap());
        let stream = match tls {
            Some(tls) => tls.connect(stream).await.unwrap().0,
            None => stream,
        };
        Self { stream: Some(stream), received: Vec::new(), ended: false }
    }

    /// Begins TLS; whether the handshake succeeds.
    pub(super) async fn start_tls(&mut self, tls: &ClientTls) -> bool {
        match tls.connect(self.stream.take().unwrap()).await {
            Ok((stream, _)) => {
                self.stream = Some(stream);
                true
            }
            Err(_) => false,
        }
    }

    /// Sends, and reads meanwhile, so that neither side waits for the other. A server that has hung up is no error: what it said
    /// before decides.
    pub(crate) async fn send(&mut self, octets: &[u8]) {
        let (mut reader, mut writer) = tokio::io::split(self.stream.as_mut().unwrap());
        let (mut sent, mut buffer) = (0, vec![0; 16 * 1024]);
        while sent < octets.len() && !self.ended {
            let turn = async {
                tokio::select! {
                    biased;
                    read = reader.read(&mut buffer) => {
                        let count = read.unwrap_or(0);
                        self.ended = count == 0;
                        self.received.extend_from_slice(&buffer[..count]);
                    }
                    written = writer.write(&octets[sent..]) => match written {
                        Ok(count) => sent += count,
                        // What the server said last can still be read.
                        Err(_) => sent = octets.len(),
                    },
                }
            };
            timeout(ANSWER_TIMEOUT, turn).await.expect("the server neither reads nor answers");
        }
        // As above.
        drop(writer.flush().await);
    }

    /// Sends without ever reading, until the server takes no more for a while; how much it took.
    pub(super) async fn flood(&mut self, octets: &[u8], patience: Duration) -> usize {
        let (stream, mut taken) = (self.stream.as_mut().unwrap(), 0);
        while let Ok(Ok(count)) = timeout(patience, stream.write(octets)).await {
            taken += count;
        }
        taken
    }

    /// Says that it sends no more, and goes on reading.
    pub(super) async fn half_close(&mut self) {
        self.stream.as_mut().unwrap().shutdown().await.unwrap();
    }

    /// Reads until a text has come; gives all up to its end.
    pub(crate) async fn until(&mut self, expected: &str, place: &str) -> String {
        let said = self.octets_until(expected.as_bytes(), place).await;
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Reads until octets have come; gives all up to their end.
    pub(crate) async fn octets_until(&mut self, expected: &[u8], place: &str) -> Vec<u8> {
        let mut searched = 0;
        loop {
            let found =
                self.received[searched..].windows(expected.len()).position(|window| window == expected);
            if let Some(found) = found {
                return self.received.drain(..searched + found + expected.len()).collect();
            }
            searched = self.received.len().saturating_sub(expected.len());
            let what = || {
                let shown = &self.received[self.received.len().saturating_sub(2_000)..];
                let (expected, shown) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(shown));
                format!("{place}: {expected:?} did not come, but {shown:?}")
            };
            assert!(!self.ended, "{}", what());
            let mut buffer = vec![0; 16 * 1024];
            let read = timeout(ANSWER_TIMEOUT, self.stream.as_mut().unwrap().read(&mut buffer)).await;
            let count = read.unwrap_or_else(|_| panic!("{}", what())).unwrap_or(0);
            self.ended = count == 0;
            self.received.extend_from_slice(&buffer[..count]);
        }
    }

    /// Reads until a text has come, and leaves it for others to read.
    pub(super) async fn hear(&mut self, expected: &str, place: &str) {
        let heard = self.until(expected, place).await;
        self.received.splice(0..0, heard.into_bytes());
    }

    /// Reads until the server hangs up; gives what it still said.
    pub(super) async fn end(&mut self, place: &str) -> String {
        String::from_utf8_lossy(&self.end_octets(place).await).into_owned()
    }

    /// The same, as octets.
    pub(super) async fn end_octets(&mut self, place: &str) -> Vec<u8> {
        let mut buffer = vec![0; 16 * 1024];
        while !self.ended {
            let read = timeout(ANSWER_TIMEOUT, self.stream.as_mut().unwrap().read(&mut buffer)).await;
            let count = read.unwrap_or_else(|_| panic!("{place}: the server does not hang up")).unwrap_or(0);
            self.ended = count == 0;
            self.received.extend_from_slice(&buffer[..count]);
        }
        std::mem::take(&mut self.received)
    }
}

/// Base64 (RFC 4648 section 4), as AUTH has it.
pub(super) fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in octets.chunks(3) {
        let bits =
            three.iter().fold(0, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - three.len()));
        let digit = |place: usize| char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]);
        text.extend((0..4).map(|place| if place <= three.len() { digit(place) } else { '=' }));
    }
    text
}
