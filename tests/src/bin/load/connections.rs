//! Connections that are opened and held, and TLS handshakes.

use std::{
    cell::Cell,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    task::LocalSet,
};
use waypost_net::{ClientTls, Verification};

use crate::{Words, smtp::Peer};

/// Opens SMTP connections up to the answer to EHLO, several at once, and holds them until standard input ends.
pub(crate) async fn open(words: &Words) -> serde_json::Value {
    let (smtp, count): (SocketAddr, usize) = (words.of("smtp"), words.of("count"));
    let left = Rc::new(Cell::new(count));
    let begun = Instant::now();
    let set = LocalSet::new();
    let open = |_| {
        let left = Rc::clone(&left);
        set.spawn_local(async move {
            let mut peers = Vec::new();
            while left.get() > 0 {
                left.set(left.get() - 1);
                peers.push(Peer::ehlo(smtp).await);
            }
            peers
        })
    };
    let tasks: Vec<_> = (0..words.of("sessions")).map(open).collect();
    set.await;
    let seconds = begun.elapsed().as_secs_f64();
    let mut held = Vec::new();
    for task in tasks {
        held.extend(task.await.unwrap());
    }
    println!("{}", serde_json::json!({ "connections": held.len(), "seconds": seconds }));
    tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()).unwrap()).await.unwrap();
    // One of them is still served.
    let mut last = held.pop().unwrap();
    last.send(b"NOOP\r\n").await;
    last.reply("250").await;
    serde_json::json!({ "served": true })
}

/// STARTTLS again and again, each on a connection of its own, with EHLO under TLS; full handshakes or resumed ones.
pub(crate) async fn handshakes(words: &Words) -> serde_json::Value {
    let (smtp, resume): (SocketAddr, u8) = (words.of("smtp"), words.of("resume"));
    let certificate: PathBuf = words.of("certificate");
    let end = Instant::now() + words.seconds();
    let begun = Instant::now();
    let set = LocalSet::new();
    let work = |_| {
        let certificate = certificate.clone();
        set.spawn_local(async move {
            let (mut count, mut kind, mut octets) = (0_u64, String::new(), 0);
            let mut tls = fresh(&certificate);
            while Instant::now() < end {
                if resume == 0 {
                    tls = fresh(&certificate);
                }
                let (agreed, read) = handshake(smtp, &tls).await;
                (kind, octets, count) = (agreed, octets + read, count + 1);
            }
            (count, kind, octets)
        })
    };
    let tasks: Vec<_> = (0..words.of("sessions")).map(work).collect();
    set.await;
    let seconds = begun.elapsed().as_secs_f64();
    let (mut total, mut kind, mut octets) = (0, String::new(), 0);
    for task in tasks {
        let (count, last, read) = task.await.unwrap();
        (kind, octets, total) = (last, octets + read, total + count);
    }
    serde_json::json!({ "handshakes": total, "seconds": seconds, "kind": kind, "octets": octets / total })
}

/// A client without tickets. It verifies, as those do not resume that do not.
fn fresh(certificate: &Path) -> ClientTls {
    ClientTls::new("localhost", &Verification::Pkix(vec![certificate.to_owned()])).unwrap()
}

/// What was agreed on, and the octets that were read for it: without a certificate they are fewer.
async fn handshake(smtp: SocketAddr, tls: &ClientTls) -> (String, u64) {
    let mut peer = Peer::ehlo(smtp).await;
    peer.send(b"STARTTLS\r\n").await;
    peer.reply("220").await;
    let read = Arc::new(AtomicU64::new(0));
    let counted = Counted { stream: peer.into_stream(), read: Arc::clone(&read) };
    let (mut stream, info) = tls.connect(Box::new(counted)).await.unwrap();
    stream.write_all(b"EHLO client.test\r\n").await.unwrap();
    stream.flush().await.unwrap();
    // The tickets come with the first answer.
    let (mut buffer, mut said) = ([0; 4096], Vec::new());
    while !said.windows(4).any(|window| window == b"250 ") {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the server hung up");
        said.extend_from_slice(&buffer[..read]);
    }
    (format!("{} {}", info.version, info.cipher), read.load(Ordering::Relaxed))
}

/// A stream that counts what is read.
struct Counted {
    stream: TcpStream,
    read: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        this.read.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
