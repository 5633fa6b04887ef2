//! Servers: one that takes all, one that says nothing, one that takes ten seconds for each reply.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
};

/// What the slow one needs for each reply.
const SLOW: Duration = Duration::from_secs(10);

/// What is taken, and who waits for it.
pub(crate) struct Sink {
    taken: watch::Sender<usize>,
    /// By the recipient's local part.
    waiting: Mutex<HashMap<String, (Instant, oneshot::Sender<Duration>)>>,
}

impl Sink {
    /// Serves on this port: at 127.0.0.1 all is taken, at 127.0.0.3 nothing is said, at 127.0.0.4 slowly.
    pub(crate) async fn start() -> (Arc<Self>, u16) {
        let sink = Arc::new(Self { taken: watch::Sender::new(0), waiting: Mutex::default() });
        let fast = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = fast.local_addr().unwrap().port();
        let at = |host: &str| format!("{host}:{port}").parse::<SocketAddr>().unwrap();
        let silent = TcpListener::bind(at("127.0.0.3")).await.unwrap();
        let slow = TcpListener::bind(at("127.0.0.4")).await.unwrap();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = silent.accept().await {
                held.push(stream);
            }
        });
        for (listener, pause) in [(fast, Duration::ZERO), (slow, SLOW)] {
            let sink = Arc::clone(&sink);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).unwrap();
                    tokio::spawn(Arc::clone(&sink).serve(stream, pause));
                }
            });
        }
        (sink, port)
    }

    /// When a message to this local part is taken.
    pub(crate) fn expect(&self, local: String) -> oneshot::Receiver<Duration> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap().insert(local, (Instant::now(), sender));
        receiver
    }

    pub(crate) fn taken(&self) -> usize {
        *self.taken.borrow()
    }

    pub(crate) async fn until_taken(&self, count: usize) {
        self.taken.subscribe().wait_for(|taken| *taken >= count).await.unwrap();
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, pause: Duration) -> Option<()> {
        let (read, mut write) = stream.into_split();
        let (mut read, mut line, mut local) = (BufReader::new(read), String::new(), String::new());
        write.write_all(b"220 sink\r\n").await.ok()?;
        loop {
            line.clear();
            read.read_line(&mut line).await.ok().filter(|octets| *octets > 0)?;
            tokio::time::sleep(pause).await;
            let reply = match line.get(..4)? {
                "EHLO" => "250-sink\r\n250 PIPELINING\r\n",
                "RCPT" => {
                    local = line.split(['<', '@']).nth(1)?.to_owned();
                    "250 ok\r\n"
                }
                "DATA" => "354 go\r\n",
                "QUIT" => "221 bye\r\n",
                _ => "250 ok\r\n",
            };
            write.write_all(reply.as_bytes()).await.ok()?;
            if line.starts_with("DATA") {
                let mut text = Vec::new();
                while !text.ends_with(b"\r\n.\r\n") {
                    text.push(read.read_u8().await.ok()?);
                }
                tokio::time::sleep(pause).await;
                if let Some((begun, sender)) = self.waiting.lock().unwrap().remove(&local) {
                    sender.send(begun.elapsed()).ok();
                }
                self.taken.send_modify(|taken| *taken += 1);
                write.write_all(b"250 taken\r\n").await.ok()?;
            }
        }
    }
}
