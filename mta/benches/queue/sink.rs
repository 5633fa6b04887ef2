//! Servers, in a process of their own: one that takes all, one that says nothing, one that takes ten seconds for each reply.

use std::{
    io::{BufRead, BufReader as Lines, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// What the slow one needs for each reply.
const SLOW: Duration = Duration::from_secs(10);

/// The process; it ends with its standard input.
pub(crate) struct Sink {
    process: Child,
    /// Of all servers.
    pub(crate) port: u16,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("sink").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut port = String::new();
        Lines::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { process, port: port.trim().parse().unwrap() }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

/// Serves until standard input ends: at 127.0.0.1 all is taken, at 127.0.0.3 nothing is said, at 127.0.0.4 slowly.
pub(crate) async fn serve() {
    waypost_net::raise_descriptor_limit(8192).unwrap();
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
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::spawn(session(stream, pause));
            }
        });
    }
    println!("{port}");
    std::io::stdout().flush().unwrap();
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
}

async fn session(stream: TcpStream, pause: Duration) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let (mut read, mut line) = (BufReader::new(read), String::new());
    write.write_all(b"220 sink\r\n").await.ok()?;
    loop {
        line.clear();
        read.read_line(&mut line).await.ok().filter(|octets| *octets > 0)?;
        tokio::time::sleep(pause).await;
        let reply = match line.get(..4)? {
            "EHLO" => "250-sink\r\n250 PIPELINING\r\n",
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
            write.write_all(b"250 taken\r\n").await.ok()?;
        }
    }
}
