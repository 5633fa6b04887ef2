//! A next hop that does what a test tells it to: any reply at any stage, silence, hanging up after any octet, TLS of all kinds.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener},
};
use waypost_net::{ServerTls, Stream};

/// Where a dialogue is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Before anything is said.
    Greeting,
    /// EHLO or LHLO.
    Ehlo,
    /// HELO.
    Helo,
    /// STARTTLS.
    StartTls,
    /// AUTH and the responses behind it.
    Auth,
    /// RSET.
    Rset,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// In the middle of the message: once some of it was read, before it is whole.
    Body,
    /// A chunk that is not the last.
    Chunk,
    /// The end of the message: the dot, or the last chunk.
    End,
    /// QUIT.
    Quit,
}

/// What is done at a stage instead of agreeing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Act {
    /// Says this, with CRLF added.
    Say(String),
    /// Says nothing and hangs up.
    HangUp,
    /// Waits, then agrees.
    Wait(Duration),
    /// Agrees octet by octet, with a pause between them.
    Dribble,
    /// Never answers.
    Never,
}

/// How one connection is served.
#[derive(Clone, Debug, Default)]
pub struct Manners {
    /// What EHLO offers.
    pub offers: Vec<String>,
    /// What is done at stages.
    pub acts: Vec<(Stage, Act)>,
    /// For STARTTLS. Without it, octets that are no TLS follow the reply to STARTTLS.
    pub tls: Option<ServerTls>,
    /// Hangs up after so many octets were sent.
    pub sent_max: Option<usize>,
    /// Hangs up after so many octets were read.
    pub read_max: Option<usize>,
    /// Says 421 to MAIL after so many messages.
    pub mails_max: Option<usize>,
    /// Speaks LMTP.
    pub lmtp: bool,
}

impl Manners {
    /// Does this at that stage, and agrees at all others.
    pub fn at(stage: Stage, act: Act) -> Self {
        Self { acts: vec![(stage, act)], ..Self::default() }
    }

    /// Says this at that stage.
    pub fn say(stage: Stage, reply: &str) -> Self {
        Self::at(stage, Act::Say(reply.to_owned()))
    }

    /// Offers this, too.
    #[must_use]
    pub fn offering(mut self, offers: &[&str]) -> Self {
        self.offers.extend(offers.iter().map(|offer| (*offer).to_owned()));
        self
    }
}

/// What was seen of all connections.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    /// Connections.
    pub connections: usize,
    /// Commands with their arguments, without the message.
    pub commands: Vec<String>,
    /// Messages that were whole, whatever was answered.
    pub messages: Vec<Vec<u8>>,
    /// Messages that `250` was said to, or begun to be said, for each recipient.
    pub accepted: usize,
}

/// The next hop; its task ends with the runtime.
#[derive(Clone, Debug)]
pub struct ScriptedSink {
    /// Where it listens; of a Unix socket nothing.
    pub address: SocketAddr,
    /// How connections are served, one after the other; the last entry serves all further ones.
    pub manners: Arc<Mutex<Vec<Manners>>>,
    seen: Arc<Mutex<Seen>>,
}

impl ScriptedSink {
    /// Listens on a free port of loopback.
    ///
    /// # Panics
    /// If no port can be had.
    pub async fn start(manners: impl IntoIterator<Item = Manners>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let sink = Self::new(listener.local_addr().unwrap(), manners);
        let serving = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.serve(Box::new(stream));
            }
        });
        sink
    }

    /// Listens on a Unix socket.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn on_socket(path: &Path, manners: impl IntoIterator<Item = Manners>) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let sink = Self::new(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0), manners);
        let serving = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.serve(Box::new(stream));
            }
        });
        sink
    }

    fn new(address: SocketAddr, manners: impl IntoIterator<Item = Manners>) -> Self {
        let manners = Arc::new(Mutex::new(manners.into_iter().collect()));
        Self { address, manners, seen: Arc::default() }
    }

    /// What was seen so far.
    ///
    /// # Panics
    /// If a connection's task panicked.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    fn serve(&self, stream: Box<dyn Stream>) {
        let number = {
            let mut seen = self.seen.lock().unwrap();
            seen.connections += 1;
            seen.connections - 1
        };
        let manners = self.manners.lock().unwrap();
        let manners = manners.get(number).or(manners.last()).cloned().unwrap_or_default();
        let peer =
            Peer { stream, manners, seen: Arc::clone(&self.seen), unread: Vec::new(), sent: 0, read: 0 };
        tokio::spawn(async move { peer.talk().await });
    }
}

/// A certificate of an authority that nobody knows.
///
/// # Panics
/// If it cannot be made.
pub fn certificate(folder: &Path, host: &str) -> ServerTls {
    waypost_server::demo::world::Authority::new(folder).unwrap().issue(host, folder).unwrap();
    let file = |name: &str| -> PathBuf { folder.join(name) };
    let files = waypost_net::CertificateFiles {
        names: Vec::new(),
        certificate: file("cert.pem"),
        key: file("key.pem"),
    };
    ServerTls::load(&[files]).unwrap()
}

/// One connection. Its functions give `None` where it is over.
struct Peer {
    stream: Box<dyn Stream>,
    manners: Manners,
    seen: Arc<Mutex<Seen>>,
    unread: Vec<u8>,
    sent: usize,
    read: usize,
}

impl Peer {
    async fn talk(mut self) -> Option<()> {
        self.answer(Stage::Greeting, "220 sink.test").await?;
        let (mut mails, mut mailed, mut recipients, mut message) = (0, false, 0, Vec::new());
        loop {
            let line = self.line().await?;
            self.seen.lock().unwrap().commands.push(line.clone());
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" | "LHLO" if (verb == "LHLO") == self.manners.lmtp => {
                    let offers: String =
                        self.manners.offers.iter().map(|offer| format!("\r\n250-{offer}")).collect();
                    self.answer(Stage::Ehlo, &format!("250-sink.test{offers}\r\n250 ENHANCEDSTATUSCODES"))
                        .await?;
                }
                "HELO" => drop(self.answer(Stage::Helo, "250 sink.test").await?),
                "STARTTLS" => {
                    if self.answer(Stage::StartTls, "220 2.0.0 go").await? {
                        self = self.start_tls().await?;
                    }
                }
                "AUTH" => drop(self.answer(Stage::Auth, "235 2.7.0 welcome").await?),
                "RSET" => {
                    (mailed, recipients, message) = (false, 0, Vec::new());
                    self.answer(Stage::Rset, "250 2.0.0 ok").await?;
                }
                "MAIL" if self.manners.mails_max == Some(mails) => {
                    return self.say("421 4.7.0 enough\r\n").await;
                }
                "MAIL" => {
                    mails += 1;
                    (recipients, message) = (0, Vec::new());
                    mailed = self.answer(Stage::Mail, "250 2.1.0 ok").await?;
                }
                "RCPT" if !mailed => self.say("503 5.5.1 no sender\r\n").await?,
                "RCPT" => recipients += usize::from(self.answer(Stage::Rcpt, "250 2.1.5 ok").await?),
                "DATA" if recipients == 0 => self.say("554 5.5.1 no recipients\r\n").await?,
                "DATA" => {
                    if self.answer(Stage::Data, "354 go").await? {
                        let text = self.text().await?;
                        self.end(recipients, text).await?;
                        recipients = 0;
                    }
                }
                "BDAT" => {
                    let mut words = line.split(' ').skip(1);
                    let octets = words.next().and_then(|octets| octets.parse().ok())?;
                    message.extend(self.octets(octets).await?);
                    if words.next().is_some() {
                        self.end(recipients, std::mem::take(&mut message)).await?;
                        recipients = 0;
                    } else {
                        self.answer(Stage::Chunk, "250 2.0.0 more").await?;
                    }
                }
                "QUIT" => {
                    self.answer(Stage::Quit, "221 2.0.0 bye").await?;
                    return None;
                }
                _ => self.say("500 5.5.2 what?\r\n").await?,
            }
        }
    }

    /// Answers for each recipient, or once.
    async fn end(&mut self, recipients: usize, message: Vec<u8>) -> Option<()> {
        self.seen.lock().unwrap().messages.push(message);
        for _ in 0..if self.manners.lmtp { recipients } else { 1 } {
            let agrees = !self.manners.acts.iter().any(|(stage, act)| {
                *stage == Stage::End
                    && (*act == Act::HangUp || matches!(act, Act::Say(reply) if !reply.starts_with('2')))
            });
            self.seen.lock().unwrap().accepted += usize::from(agrees);
            self.answer(Stage::End, "250 2.0.0 mine").await?;
        }
        Some(())
    }

    /// Does what the manners say for the stage, else agrees; whether it did.
    async fn answer(&mut self, stage: Stage, agreement: &str) -> Option<bool> {
        let act = self.manners.acts.iter().find(|(of, _)| *of == stage).map(|(_, act)| act.clone());
        match act {
            None => self.say(&format!("{agreement}\r\n")).await?,
            Some(Act::Say(reply)) => {
                self.say(&format!("{reply}\r\n")).await?;
                let class = |text: &str| text.bytes().next();
                return Some(class(&reply) == class(agreement));
            }
            Some(Act::HangUp) => return None,
            Some(Act::Wait(pause)) => {
                tokio::time::sleep(pause).await;
                self.say(&format!("{agreement}\r\n")).await?;
            }
            Some(Act::Dribble) => {
                for octet in format!("{agreement}\r\n").chars() {
                    self.say(&octet.to_string()).await?;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            Some(Act::Never) => std::future::pending().await,
        }
        Some(true)
    }

    async fn say(&mut self, text: &str) -> Option<()> {
        let left = self.manners.sent_max.map_or(usize::MAX, |most| most.saturating_sub(self.sent));
        let now = &text.as_bytes()[..text.len().min(left)];
        self.stream.write_all(now).await.ok()?;
        self.stream.flush().await.ok()?;
        self.sent += now.len();
        (now.len() == text.len()).then_some(())
    }

    async fn start_tls(mut self) -> Option<Self> {
        let Some(tls) = self.manners.tls.clone() else {
            self.say("this is no TLS, though it was promised\r\n").await?;
            return None;
        };
        let (stream, _) = tls.accept(self.stream).await.ok()?;
        Some(Self { stream, unread: Vec::new(), ..self })
    }

    /// Says what is to be said in the middle of a message, and hangs up.
    async fn interrupt(&mut self) -> Option<()> {
        let act =
            self.manners.acts.iter().find(|(stage, _)| *stage == Stage::Body).map(|(_, act)| act.clone());
        if let Some(Act::Say(reply)) = act {
            self.fill().await?;
            self.say(&format!("{reply}\r\n")).await?;
            return None;
        }
        Some(())
    }

    /// Reads more; nothing where the bound is reached.
    async fn fill(&mut self) -> Option<()> {
        let left = self.manners.read_max.map_or(usize::MAX, |most| most.saturating_sub(self.read));
        let mut octets = [0; 4096];
        let most = octets.len().min(left);
        if most == 0 {
            return None;
        }
        let read = self.stream.read(&mut octets[..most]).await.ok().filter(|read| *read > 0)?;
        self.read += read;
        self.unread.extend_from_slice(&octets[..read]);
        Some(())
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.fill().await?;
        }
    }

    /// The text behind DATA, without its dots.
    async fn text(&mut self) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        self.interrupt().await?;
        loop {
            while !self.unread.windows(2).any(|pair| pair == b"\r\n") {
                self.fill().await?;
            }
            let end = self.unread.windows(2).position(|pair| pair == b"\r\n")?;
            let line: Vec<u8> = self.unread.drain(..end + 2).collect();
            if line == b".\r\n" {
                return Some(text);
            }
            text.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    async fn octets(&mut self, count: usize) -> Option<Vec<u8>> {
        self.interrupt().await?;
        while self.unread.len() < count {
            self.fill().await?;
        }
        Some(self.unread.drain(..count).collect())
    }
}
