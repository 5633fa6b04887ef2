//! Maildrops that are downloaded again and again by several sessions at once, one message after the other in each, as mail clients
//! do; and the limit beside it, a server that says the same octets and does nothing else.

use std::{
    fmt::Write,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
    time::timeout,
};

use crate::{
    Words,
    send::{PASSWORD, address},
};

/// Longest wait for octets.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// Ends a reply of many lines.
const END: &[u8] = b"\r\n.\r\n";
/// A session's buffer for replies.
const REPLY_BYTES: usize = 300 * 1024;

/// What a load looks like.
#[derive(Clone, Copy)]
struct Shape {
    pop3: SocketAddr,
    /// Messages of each maildrop.
    messages: usize,
    /// Octets of each message.
    octets: usize,
    end: Instant,
}

/// What a session did.
#[derive(Default)]
struct Done {
    messages: u64,
    logins: u64,
}

pub(crate) async fn run(words: &Words) -> serde_json::Value {
    let (first, sessions): (usize, usize) = (words.of("first"), words.of("sessions"));
    let begun = Instant::now();
    let shape = Shape {
        pop3: words.of("pop3"),
        messages: words.of("messages"),
        octets: words.of("octets"),
        end: begun + words.seconds(),
    };
    let set = LocalSet::new();
    let tasks: Vec<_> =
        (first..first + sessions).map(|mailbox| set.spawn_local(download(shape, mailbox))).collect();
    set.await;
    let seconds = begun.elapsed().as_secs_f64();
    let mut all = Done::default();
    for task in tasks {
        let done = task.await.unwrap();
        all.messages += done.messages;
        all.logins += done.logins;
    }
    serde_json::json!({ "messages": all.messages, "logins": all.logins, "seconds": seconds })
}

/// Downloads a maildrop until the time is over.
async fn download(shape: Shape, mailbox: usize) -> Done {
    let mut done = Done::default();
    while Instant::now() < shape.end {
        let mut session = Session::login(shape.pop3, mailbox).await;
        done.logins += 1;
        for listing in ["LIST", "UIDL"] {
            let lines = session.lines(listing).await.split(|octet| *octet == b'\n').count() - 1;
            assert_eq!(lines, shape.messages, "messages of maildrop {mailbox} by {listing}");
        }
        for number in 1..=shape.messages {
            if Instant::now() >= shape.end {
                break;
            }
            let octets = session.lines(&format!("RETR {number}")).await.len();
            assert_eq!(octets, shape.octets, "message {number} of maildrop {mailbox}");
            done.messages += 1;
        }
        session.line("QUIT").await;
    }
    done
}

/// A session behind its login.
struct Session {
    stream: TcpStream,
    said: Vec<u8>,
}

impl Session {
    async fn login(pop3: SocketAddr, mailbox: usize) -> Self {
        let stream = TcpStream::connect(pop3).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut session = Self { stream, said: Vec::with_capacity(REPLY_BYTES) };
        session.until(b"\r\n").await;
        session.line(&format!("USER {}", address(mailbox))).await;
        session.line(&format!("PASS {PASSWORD}")).await;
        session
    }

    /// A command that is answered by a line.
    async fn line(&mut self, command: &str) {
        self.send(command).await;
        self.until(b"\r\n").await;
    }

    /// A command that is answered by many lines: what stands between the first and the last of them. No text here has a line that
    /// begins with a dot.
    async fn lines(&mut self, command: &str) -> &[u8] {
        self.send(command).await;
        self.until(END).await;
        let first = self.said.iter().position(|octet| *octet == b'\n').unwrap() + 1;
        &self.said[first..self.said.len() - END.len() + 2]
    }

    async fn send(&mut self, command: &str) {
        let line = format!("{command}\r\n");
        timeout(REPLY_TIMEOUT, self.stream.write_all(line.as_bytes())).await.unwrap().unwrap();
    }

    /// Reads up to the end of a reply. As nothing else was asked for, that is the last that comes.
    async fn until(&mut self, end: &[u8]) {
        self.said.clear();
        while !self.said.ends_with(end) {
            let read = timeout(REPLY_TIMEOUT, self.stream.read_buf(&mut self.said)).await;
            assert!(read.expect("the server answers in time").unwrap() > 0, "the server hung up");
        }
        assert!(self.said.starts_with(b"+OK"), "{}", String::from_utf8_lossy(&self.said));
    }
}

/// What the server that does nothing says.
struct Replies {
    message: Vec<u8>,
    list: String,
}

/// The limit: serves maildrops of so many messages of so many octets to whoever comes, until it is killed.
pub(crate) async fn null(words: &Words) -> serde_json::Value {
    let (messages, octets): (usize, usize) = (words.of("messages"), words.of("octets"));
    let line = format!("{}\r\n", "x".repeat(70));
    let mut text = line.repeat(octets / line.len());
    text.push_str(&"x".repeat(octets - text.len()));
    text.replace_range(octets - 2.., "\r\n");
    let mut list = "+OK\r\n".to_owned();
    (1..=messages).for_each(|number| write!(list, "{number} {octets}\r\n").unwrap());
    list.push_str(".\r\n");
    let message = format!("+OK {octets} octets\r\n{text}.\r\n").into_bytes();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    println!("ready pop3={}", listener.local_addr().unwrap());
    let (set, replies) = (LocalSet::new(), Rc::new(Replies { message, list }));
    set.run_until(async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::task::spawn_local(serve(stream, Rc::clone(&replies)));
        }
    })
    .await
}

/// One command comes in each read, as the load waits for each reply.
async fn serve(mut stream: TcpStream, replies: Rc<Replies>) -> Option<()> {
    stream.write_all(b"+OK null\r\n").await.ok()?;
    let mut command = [0; 512];
    loop {
        let read = stream.read(&mut command).await.ok().filter(|read| *read > 0)?;
        let reply = match &command[..read] {
            command if command.starts_with(b"RETR") => &replies.message[..],
            b"LIST\r\n" | b"UIDL\r\n" => replies.list.as_bytes(),
            _ => b"+OK\r\n",
        };
        stream.write_all(reply).await.ok()?;
    }
}
