//! A server that does not keep to IMAP.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// What it says instead of what it should.
#[derive(Clone, Debug)]
pub(super) enum Says {
    /// These octets, and goes on. `{tag}` is the command's.
    Octets(Vec<u8>),
    /// These octets, and hangs up.
    Last(Vec<u8>),
    /// These octets over and over, as long as they are taken.
    Endlessly(Vec<u8>),
}

/// Decides by the number of the connection and the command, without its tag; the greeting is the command "".
pub(super) type Manners = fn(usize, &str) -> Option<Says>;

/// A server with three messages in INBOX, UIDs 2, 4 and 5.
pub(super) struct Evil {
    pub(super) address: SocketAddr,
    commands: Arc<Mutex<Vec<String>>>,
}

pub(super) const UIDS: [u32; 3] = [2, 4, 5];

pub(super) fn message(uid: u32) -> String {
    format!("Subject: m{uid}\r\nMessage-ID: <{uid}@far.test>\r\n\r\nhello {uid}\r\n")
}

impl Evil {
    pub(super) async fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let commands: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = commands.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let seen = seen.clone();
                // A client that hangs up is none of our business.
                tokio::spawn(async move { drop(serve(stream, number, manners, &seen).await) });
            }
        });
        Self { address, commands }
    }

    /// All commands, without their tags.
    pub(super) fn commands(&self) -> Vec<String> {
        self.commands.lock().unwrap().clone()
    }
}

async fn serve(
    stream: TcpStream,
    number: usize,
    manners: Manners,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut tag, mut command) = (String::new(), String::new());
    loop {
        match manners(number, &command) {
            Some(Says::Octets(octets)) => {
                let text = replaced(&octets, &tag);
                stream.write_all(&text).await?;
            }
            Some(Says::Last(octets)) => {
                stream.write_all(&replaced(&octets, &tag)).await?;
                return stream.shutdown().await;
            }
            Some(Says::Endlessly(octets)) => loop {
                stream.write_all(&octets).await?;
            },
            None => stream.write_all(answer(&tag, &command).as_bytes()).await?,
        }
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let (first, rest) = line.trim_end().split_once(' ').unwrap_or(("", line.trim_end()));
        (tag, command) = (first.to_owned(), rest.to_owned());
        seen.lock().unwrap().push(command.clone());
    }
}

fn replaced(octets: &[u8], tag: &str) -> Vec<u8> {
    match str::from_utf8(octets) {
        Ok(text) => text.replace("{tag}", tag).into_bytes(),
        Err(_) => octets.to_vec(),
    }
}

/// What a server says that keeps to IMAP.
fn answer(tag: &str, command: &str) -> String {
    let data = match command.split(' ').next().unwrap_or_default() {
        "" => return "* OK [CAPABILITY IMAP4rev1] hello\r\n".to_owned(),
        "LIST" => "* LIST () \"/\" INBOX\r\n".to_owned(),
        "STATUS" => "* STATUS INBOX (MESSAGES 3)\r\n".to_owned(),
        "EXAMINE" => "* 3 EXISTS\r\n* OK [UIDVALIDITY 7] ids\r\n".to_owned(),
        "CAPABILITY" => "* CAPABILITY IMAP4rev1\r\n".to_owned(),
        "UID" => fetch(command),
        _ => String::new(),
    };
    format!("{data}{tag} OK done\r\n")
}

pub(super) fn fetch(command: &str) -> String {
    let set = command.split(' ').nth(2).unwrap();
    let holds = |uid: u32| {
        set.split(',').any(|range| {
            let (from, to) = range.split_once(':').unwrap_or((range, range));
            from.parse::<u32>().unwrap() <= uid && (to == "*" || uid <= to.parse().unwrap())
        })
    };
    let mut data = String::new();
    for (number, uid) in (1..).zip(UIDS).filter(|(_, uid)| holds(*uid)) {
        let octets = message(uid);
        let size = octets.len();
        data.push_str(&match command.contains("BODY") {
            true => format!("* {number} FETCH (UID {uid} FLAGS (\\Seen) BODY[] {{{size}}}\r\n{octets})\r\n"),
            false => format!("* {number} FETCH (UID {uid} RFC822.SIZE {size})\r\n"),
        });
    }
    data
}
