//! A line protocol that uses every step, its handler, and peers in memory: for the tests of driver, TLS and listeners.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
    task::JoinHandle,
};

use crate::{Connection, Disconnect, Handler, Machine, Output, Shutdown, Step, TlsInfo, TlsRole, drive};

pub(crate) const IDLE: Duration = Duration::from_secs(60);

/// `ask N`: N octets from the handler · `slow`: an answer after 10 s · `fail`: none · `watch` · `starttls` · `compress` · `plain` · `quit`; anything else is echoed.
#[derive(Default)]
pub(crate) struct Echo {
    input: BytesMut,
    output: BytesMut,
    state: State,
    idle_since: Option<Instant>,
    pub(crate) ended: u32,
    pub(crate) told: u32,
}

#[derive(Default, Eq, PartialEq)]
enum State {
    #[default]
    Ready,
    Asked,
    Watching,
    Starting,
    Closing,
}

impl Echo {
    fn say(&mut self, line: &str) {
        self.output.extend_from_slice(format!("{line}\n").as_bytes());
    }
}

impl Machine for Echo {
    type Question = String;
    type Answer = usize;
    type Event = u32;

    fn receive(&mut self, octets: &[u8]) {
        assert!(self.state != State::Asked, "input while a question is open");
        assert!(octets.len() <= 16 * 1024, "more than a buffer at once");
        self.input.extend_from_slice(octets);
        self.idle_since = None;
    }

    fn end_of_input(&mut self) {
        self.ended += 1;
    }

    fn answer(&mut self, answer: usize) {
        assert!(std::mem::take(&mut self.state) == State::Asked);
        self.say(&format!("sent {answer}"));
    }

    fn event(&mut self, event: u32) {
        assert!(self.state == State::Watching);
        self.say(&format!("event {event}"));
    }

    fn tls_started(&mut self, info: &TlsInfo) {
        self.input.clear();
        self.state = State::Ready;
        self.say(&format!("{} {}", info.version, info.server_name.as_deref().unwrap_or("-")));
    }

    fn shutdown(&mut self) {
        self.told += 1;
        self.say("stopping");
        self.state = State::Closing;
    }

    fn step(&mut self, now: Instant) -> Step<String> {
        loop {
            if self.state == State::Closing {
                return Step::Close;
            }
            let Some(end) = self.input.iter().position(|octet| *octet == b'\n') else { break };
            let line = String::from_utf8(self.input.split_to(end).to_vec()).unwrap();
            self.input.advance(1);
            self.state = State::Ready;
            match line.as_str() {
                "watch" => self.state = State::Watching,
                "quit" => {
                    self.say("bye");
                    self.state = State::Closing;
                }
                "starttls" => {
                    self.say("go");
                    self.state = State::Starting;
                    return Step::StartTls;
                }
                "compress" => {
                    self.say("go");
                    return Step::StartCompression;
                }
                "plain" => {
                    self.say("go");
                    return Step::StopCompression;
                }
                "slow" | "fail" => {
                    self.state = State::Asked;
                    return Step::Ask(line);
                }
                ask if ask.starts_with("ask ") => {
                    self.say("here");
                    self.state = State::Asked;
                    return Step::Ask(ask[4..].into());
                }
                other => self.say(other),
            }
        }
        let idle_since = *self.idle_since.get_or_insert(now);
        if self.ended > 0 || now >= idle_since + IDLE {
            self.say(if self.ended > 0 { "end" } else { "timeout" });
            return Step::Close;
        }
        let deadline = idle_since + IDLE;
        if self.state == State::Watching { Step::Watch { deadline } } else { Step::Read { deadline } }
    }

    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }
}

/// Answers [`Echo`]; events come from outside.
pub(crate) struct Answers(pub(crate) mpsc::Receiver<u32>);

impl Handler<Echo> for Answers {
    async fn answer(&mut self, question: String, output: &mut Output<'_>) -> Result<usize, Disconnect> {
        match question.as_str() {
            "fail" => return Err(Disconnect::Handler("asked to fail".into())),
            "slow" => tokio::time::sleep(Duration::from_secs(10)).await,
            _ => {}
        }
        let wanted = question.parse().unwrap_or(0);
        for _ in 0..wanted {
            output.write(b"x").await?;
        }
        Ok(wanted)
    }

    async fn event(&mut self) -> u32 {
        match self.0.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}

/// A session over memory.
pub(crate) struct Session {
    pub(crate) peer: DuplexStream,
    pub(crate) events: mpsc::Sender<u32>,
    pub(crate) shutdown: Shutdown,
    pub(crate) driven: JoinHandle<(Echo, Result<(), Disconnect>)>,
}

pub(crate) fn connection(stream: DuplexStream, starttls: TlsRole, shutdown: Shutdown) -> Connection {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    Connection { starttls, shutdown, ..Connection::over(Box::new(stream), address, address) }
}

impl Session {
    /// `window`: octets that are under way at most in each direction.
    pub(crate) fn start(window: usize, starttls: TlsRole) -> Self {
        let (peer, stream) = duplex(window);
        let (events, receiver) = mpsc::channel(1);
        let shutdown = Shutdown::new();
        let connection = connection(stream, starttls, shutdown.clone());
        let driven = tokio::spawn(async {
            let (machine, _, result) = drive(connection, Echo::default(), Answers(receiver)).await;
            (machine, result)
        });
        Self { peer, events, shutdown, driven }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.peer.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next octets, as many as the text has.
    pub(crate) async fn expect(&mut self, text: &str) {
        let mut octets = vec![0; text.len()];
        self.peer.read_exact(&mut octets).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&octets), text);
    }

    /// All that is left to be read, and how the session ended.
    pub(crate) async fn finish(mut self) -> (String, Echo, Result<(), Disconnect>) {
        let mut rest = String::new();
        self.peer.read_to_string(&mut rest).await.unwrap();
        drop(self.peer);
        let (machine, result) = self.driven.await.unwrap();
        (rest, machine, result)
    }
}
