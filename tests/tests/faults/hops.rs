//! Next hops: one takes everything, one never says a word.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// A next hop that takes everything and counts it.
#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    taken: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Sink {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let sink = Self { address: listener.local_addr().unwrap(), taken: Arc::default() };
        let taken = Arc::clone(&sink.taken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, Arc::clone(&taken)));
            }
        });
        sink
    }

    /// How often it took each message.
    pub(crate) fn taken(&self) -> BTreeMap<String, u32> {
        self.taken.lock().unwrap().clone()
    }
}

async fn take(stream: TcpStream, taken: Arc<Mutex<BTreeMap<String, u32>>>) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let (mut name, mut in_data) = (String::new(), false);
    write.write_all(b"220 sink\r\n").await.ok()?;
    while let Some(line) = lines.next_line().await.ok()? {
        let reply = match (in_data, line.as_str()) {
            (true, ".") => {
                in_data = false;
                *taken.lock().unwrap().entry(std::mem::take(&mut name)).or_default() += 1;
                "250 2.0.0 mine\r\n"
            }
            (true, _) => continue,
            (false, "DATA") => {
                in_data = true;
                "354 go\r\n"
            }
            (false, "QUIT") => "221 bye\r\n",
            (false, line) => {
                if let Some(address) = line.strip_prefix("RCPT TO:<") {
                    name = address.split('@').next().unwrap_or("").to_owned();
                }
                "250 ok\r\n"
            }
        };
        write.write_all(reply.as_bytes()).await.ok()?;
    }
    None
}

/// A next hop that accepts connections and never says anything.
pub(crate) async fn silent() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    address
}
