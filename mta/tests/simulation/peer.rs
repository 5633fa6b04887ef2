//! Servers that are not ours, which follow a script that the seed writes: refusals at each stage, for now and for good, silence,
//! hanging up, also after the final dot. Each keeps a ledger of what it took.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::{
    chance::Chance,
    network::{Arriving, End},
};

/// How a peer behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Temper {
    /// Of a thousand steps so many go wrong, until then.
    pub(crate) moods: (u64, Instant),
    /// Of those that go wrong so many of a thousand are refusals for good.
    pub(crate) rigour: u64,
}

/// A message that a peer took.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) recipients: Vec<String>,
    pub(crate) from_nobody: bool,
    pub(crate) text: String,
}

/// What a peer saw.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) taken: Vec<Taken>,
    /// Recipients that it was asked for, and when.
    pub(crate) asked: Vec<(Instant, String)>,
}

/// A peer. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) chance: Chance,
    pub(crate) temper: Temper,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
}

/// What goes wrong at a step.
enum Mood {
    Well,
    Later,
    Never,
    HangsUp,
    Slow,
}

impl Peer {
    pub(crate) fn new(chance: Chance, temper: Temper) -> Self {
        Self { chance, temper, ledger: Arc::default() }
    }

    pub(crate) async fn run(self, mut arriving: mpsc::UnboundedReceiver<Arriving>) {
        while let Some(arrived) = arriving.recv().await {
            let peer = self.clone();
            // A connection that breaks is the network's doing.
            tokio::spawn(async move { peer.serve(arrived.stream).await.ok() });
        }
    }

    fn mood(&self) -> Mood {
        let (permille, until) = self.temper.moods;
        if Instant::now() >= until || !self.chance.permille(permille) {
            return Mood::Well;
        }
        match self.chance.below(6) {
            _ if self.chance.permille(self.temper.rigour) => Mood::Never,
            0..=2 => Mood::Later,
            3..=4 => Mood::HangsUp,
            _ => Mood::Slow,
        }
    }

    /// What is said at a step, or nothing at all.
    async fn says(&self, well: &str, later: &str, never: &str) -> io::Result<String> {
        Ok(match self.mood() {
            Mood::Well => well,
            Mood::Later => later,
            Mood::Never => never,
            Mood::HangsUp => return Err(io::ErrorKind::ConnectionAborted.into()),
            Mood::Slow => {
                sleep(Duration::from_secs(self.chance.below(900))).await;
                well
            }
        }
        .to_owned())
    }

    async fn serve(&self, stream: End) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let greeting = self.says("220 peer ESMTP", "421 4.3.2 busy", "554 5.7.1 go away").await?;
        say(&mut stream, &greeting).await?;
        let (mut sender, mut recipients) = (None, Vec::new());
        loop {
            let mut line = Vec::new();
            if stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let reply = match verb.as_str() {
                "EHLO" => "250-peer\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES".to_owned(),
                "HELO" => "250 peer".to_owned(),
                "MAIL" => {
                    let reply =
                        self.says("250 2.1.0 ok", "451 4.3.0 later", "550 5.7.1 not from you").await?;
                    sender = reply.starts_with('2').then(|| line.contains("<>"));
                    recipients.clear();
                    reply
                }
                "RCPT" if sender.is_none() => "503 5.5.1 MAIL first".to_owned(),
                "RCPT" => {
                    let address = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                    self.ledger.lock().unwrap().asked.push((Instant::now(), address.clone()));
                    let reply = self.recipient(&address).await?;
                    if reply.starts_with('2') {
                        recipients.push(address);
                    }
                    reply
                }
                "DATA" if recipients.is_empty() => "554 5.5.1 no recipients".to_owned(),
                "RSET" => {
                    (sender, recipients) = (None, Vec::new());
                    "250 2.0.0 ok".to_owned()
                }
                "DATA" => {
                    let reply = self.says("354 go on", "451 4.3.0 later", "554 5.6.0 no").await?;
                    say(&mut stream, &reply).await?;
                    if reply.starts_with('3') {
                        let text = message(&mut stream).await?;
                        let from_nobody = sender.take() == Some(true);
                        let taken = Taken { recipients: std::mem::take(&mut recipients), from_nobody, text };
                        let reply = self.end(taken).await?;
                        say(&mut stream, &reply).await?;
                    }
                    continue;
                }
                "QUIT" => {
                    say(&mut stream, "221 2.0.0 bye").await?;
                    return Ok(());
                }
                _ => "250 2.0.0 ok".to_owned(),
            };
            say(&mut stream, &reply).await?;
        }
    }

    async fn recipient(&self, address: &str) -> io::Result<String> {
        if address.starts_with("no-") {
            return Ok("550 5.1.1 no such user".to_owned());
        }
        if address.starts_with("later-") {
            return Ok("450 4.2.0 not today".to_owned());
        }
        self.says("250 2.1.5 ok", "452 4.2.2 full", "550 5.1.1 no such user").await
    }

    /// The end of a message: it is taken, and then something may go wrong, or it is not.
    async fn end(&self, taken: Taken) -> io::Result<String> {
        let take = || self.ledger.lock().unwrap().taken.push(taken);
        match self.mood() {
            Mood::Well => take(),
            Mood::Later => return Ok("451 4.3.0 later".to_owned()),
            Mood::Never => return Ok("554 5.6.0 not this".to_owned()),
            Mood::HangsUp => {
                if self.chance.permille(500) {
                    take();
                }
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Mood::Slow => {
                take();
                sleep(Duration::from_secs(self.chance.below(1200))).await;
            }
        }
        Ok("250 2.0.0 taken".to_owned())
    }
}

async fn say(stream: &mut BufReader<End>, reply: &str) -> io::Result<()> {
    stream.write_all(format!("{reply}\r\n").as_bytes()).await
}

/// Reads a message up to its final dot.
async fn message(stream: &mut BufReader<End>) -> io::Result<String> {
    let mut text = Vec::new();
    loop {
        let begin = text.len();
        if stream.read_until(b'\n', &mut text).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &text[begin..] {
            b".\r\n" => {
                text.truncate(begin);
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            [b'.', ..] => drop(text.remove(begin)),
            _ => {}
        }
    }
}

/// A mail program that hands one message in; it tries once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Submission {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) text: String,
}

/// What came of a submission.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Handed {
    /// It was answered 250, for those recipients that were taken.
    Accepted(Vec<String>),
    /// It was not taken.
    Refused,
    /// It was sent, and nobody knows.
    Unclear(Vec<String>),
}

impl Submission {
    pub(crate) async fn hand(&self, stream: End) -> Handed {
        let (mut taken, mut is_sent) = (Vec::new(), false);
        let mut stream = BufReader::new(stream);
        let said = self.talk(&mut stream, &mut taken, &mut is_sent).await;
        // What a server refuses whose disk fails may be found on it later.
        is_sent &= said.is_err() || stream.get_ref().server_disk_failed();
        match said {
            Ok(true) => Handed::Accepted(taken),
            Ok(false) | Err(_) if is_sent => Handed::Unclear(taken),
            Ok(false) | Err(_) => Handed::Refused,
        }
    }

    async fn talk(
        &self,
        stream: &mut BufReader<End>,
        taken: &mut Vec<String>,
        is_sent: &mut bool,
    ) -> io::Result<bool> {
        if code(stream).await? != 220 {
            return Ok(false);
        }
        for command in ["EHLO ua.test".to_owned(), format!("MAIL FROM:<{}>", self.from)] {
            say(stream, &command).await?;
            if code(stream).await? != 250 {
                return Ok(false);
            }
        }
        for to in &self.to {
            say(stream, &format!("RCPT TO:<{to}>")).await?;
            if code(stream).await? == 250 {
                taken.push(to.clone());
            }
        }
        say(stream, "DATA").await?;
        if code(stream).await? != 354 {
            return Ok(false);
        }
        let stuffed = self.text.replace("\r\n.", "\r\n..");
        *is_sent = true;
        stream.write_all(format!("{stuffed}.\r\n").as_bytes()).await?;
        let is_taken = code(stream).await? == 250;
        // What follows changes nothing.
        if say(stream, "QUIT").await.is_ok() {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.ok();
        }
        Ok(is_taken)
    }
}

/// The code of a reply.
async fn code(stream: &mut BufReader<End>) -> io::Result<u16> {
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.get(3) != Some(&b'-') {
            return Ok(String::from_utf8_lossy(&line[..line.len().min(3)]).parse().unwrap_or(0));
        }
    }
}
