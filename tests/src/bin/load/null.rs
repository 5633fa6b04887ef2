//! Limits, and the end of a relay: an SMTP server that says 250 to everything, keeps nothing, and counts (`XCOUNT`); with
//! CHUNKING, as most large ones have it. With a folder it appends each message to a file and syncs it before its 250, on its one thread:
//! as little as a server can do that is durable.

use std::{
    cell::{Cell, RefCell},
    net::Ipv4Addr,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};
use waypost_storage::disk::{Disk, DiskFile, Real};

use crate::{Words, journal::SEGMENT_BYTES};

const BUFFER_BYTES: usize = 64 * 1024;
const END_OF_DATA: &[u8] = b"\r\n.\r\n";

/// What came.
struct Taken {
    count: Cell<u64>,
    log: Option<RefCell<Log>>,
}

/// Where it is kept.
struct Log {
    file: Arc<dyn DiskFile>,
    at: u64,
    allocated: u64,
}

impl Log {
    fn append(&mut self, message: &[u8]) {
        let end = self.at + message.len() as u64;
        if end > self.allocated {
            self.allocated = end.next_multiple_of(SEGMENT_BYTES);
            self.file.allocate(self.allocated).unwrap();
            self.file.sync().unwrap();
        }
        self.file.write_at(self.at, message).unwrap();
        self.file.sync().unwrap();
        self.at = end;
    }
}

impl Taken {
    fn take(&self, message: &[u8]) {
        self.count.set(self.count.get() + 1);
        if let Some(log) = &self.log {
            log.borrow_mut().append(message);
        }
    }

    /// Where a message ends. One that is kept comes without anything behind it, and is not searched.
    fn end(&self, octets: &[u8]) -> Option<usize> {
        match self.log {
            Some(_) => octets.ends_with(END_OF_DATA).then_some(octets.len()),
            None => find(octets, END_OF_DATA),
        }
    }
}

fn find(octets: &[u8], end: &[u8]) -> Option<usize> {
    octets.windows(end.len()).position(|window| window == end).map(|at| at + end.len())
}

/// Serves until it is killed.
pub(crate) async fn run(words: &Words) -> serde_json::Value {
    let file = |folder: PathBuf| Real.create(&folder.join("log")).unwrap();
    let log = words.maybe("folder").map(file).map(|file| RefCell::new(Log { file, at: 0, allocated: 0 }));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    println!("ready smtp={}", listener.local_addr().unwrap());
    let (set, taken) = (LocalSet::new(), Rc::new(Taken { count: Cell::new(0), log }));
    set.run_until(async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::task::spawn_local(serve(stream, Rc::clone(&taken)));
        }
    })
    .await
}

/// What comes next from a client.
#[derive(Clone, Copy)]
enum Next {
    Line,
    Data,
    /// So many octets, and whether they are the last of the message.
    Chunk(usize, bool),
}

impl Next {
    fn behind(line: &[u8]) -> Self {
        let Some(chunk) = line.strip_prefix(b"BDAT ") else {
            return if line == b"DATA\r\n" { Self::Data } else { Self::Line };
        };
        let mut words = std::str::from_utf8(chunk).unwrap_or("").split_whitespace();
        let octets = words.next().and_then(|octets| octets.parse().ok()).unwrap_or(0);
        Self::Chunk(octets, words.next().is_some())
    }
}

async fn serve(mut stream: TcpStream, taken: Rc<Taken>) -> Option<()> {
    stream.write_all(b"220 null\r\n").await.ok()?;
    let (mut buffer, mut octets, mut next) = (vec![0; BUFFER_BYTES], Vec::new(), Next::Line);
    loop {
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        octets.extend_from_slice(&buffer[..read]);
        let mut replies = String::new();
        loop {
            let end = match next {
                Next::Line => find(&octets, b"\n"),
                Next::Data => taken.end(&octets),
                Next::Chunk(bytes, _) => (octets.len() >= bytes).then_some(bytes),
            };
            let Some(end) = end else { break };
            let piece: Vec<u8> = octets.drain(..end).collect();
            match std::mem::replace(&mut next, Next::Line) {
                Next::Line => {
                    next = Next::behind(&piece);
                    replies.push_str(&reply(&piece, taken.count.get()));
                }
                Next::Chunk(_, false) => replies.push_str("250 more\r\n"),
                Next::Data | Next::Chunk(_, true) => {
                    taken.take(&piece);
                    replies.push_str("250 taken\r\n");
                }
            }
        }
        if matches!(next, Next::Data) && taken.log.is_none() && octets.len() > END_OF_DATA.len() {
            // the empty message has its end at its beginning
            octets.drain(..octets.len() - END_OF_DATA.len() + 1);
        }
        stream.write_all(replies.as_bytes()).await.ok()?;
    }
}

fn reply(line: &[u8], count: u64) -> String {
    match line {
        b"DATA\r\n" => "354 go\r\n".to_owned(),
        // said behind the chunk
        chunk if chunk.starts_with(b"BDAT") => String::new(),
        b"QUIT\r\n" => "221 bye\r\n".to_owned(),
        b"XCOUNT\r\n" => format!("250 {count}\r\n"),
        ehlo if ehlo.starts_with(b"EHLO") => {
            "250-null\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 8BITMIME\r\n".to_owned()
        }
        _ => "250 ok\r\n".to_owned(),
    }
}
