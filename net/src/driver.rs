//! The driver: connects a machine to a stream and to its handler.
//!
//! One loop: ask the machine for its step, send all that it has to send, do what the step says. So a peer that does not read
//! stops the machine, and nothing that is asked for overtakes what was said before.

use std::{
    fmt::Debug,
    future::{Future, pending},
    io,
    net::SocketAddr,
    pin::Pin,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    deflate::NotDeflate,
    listener::AddressCount,
    machine::{Handler, Machine, Step},
    shutdown::Shutdown,
    tls::{ClientTls, ServerTls, TlsError, TlsInfo},
    wire::Wire,
};

/// Longest wait for a peer to take what we send.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(300);
/// The machine is not asked for more while this much is unsent.
pub const UNSENT_BYTES_MAX: usize = 64 * 1024;

/// Longest wait for what a peer had said when sending to it failed.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(200);
/// Most reads of it.
const LAST_WORDS_READS_MAX: usize = 8;

/// Any byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// What [`crate::Step::StartTls`] does on a connection.
#[derive(Clone, Debug)]
pub enum TlsRole {
    /// It is not to be had.
    None,
    /// We are the server.
    Server(ServerTls),
    /// We are the client.
    Client(ClientTls),
}

/// A connection with what the driver must know of it.
pub struct Connection {
    /// The octets.
    pub stream: Box<dyn Stream>,
    /// The other side.
    pub peer: SocketAddr,
    /// Our side.
    pub local: SocketAddr,
    /// TLS that is on from the first octet.
    pub tls: Option<TlsInfo>,
    /// How TLS can be had later.
    pub starttls: TlsRole,
    /// Tells when the server stops.
    pub shutdown: Shutdown,
    /// Its place among the connections of its address.
    pub counted: AddressCount,
}

impl Connection {
    /// A stream alone: there is no TLS and none to be had, nobody counts it, and no server stops it.
    pub fn over(stream: Box<dyn Stream>, peer: SocketAddr, local: SocketAddr) -> Self {
        let (starttls, shutdown, counted) = (TlsRole::None, Shutdown::new(), AddressCount::default());
        Self { stream, peer, local, tls: None, starttls, shutdown, counted }
    }
}

impl Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// Why a session ended early.
#[derive(Debug, thiserror::Error)]
pub enum Disconnect {
    /// The stream failed or the peer hung up in the middle.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The peer did not take what we sent in time.
    #[error("the peer does not read")]
    Stalled,
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The peer compressed what cannot be inflated.
    #[error(transparent)]
    Compression(#[from] NotDeflate),
    /// The handler gave the session up; why.
    #[error("{0}")]
    Handler(String),
}

/// Machine and handler of a session that is over, and how it ended.
pub type Driven<M, H> = (M, H, Result<(), Disconnect>);

/// Runs a session to its end. On return the connection is closed, with TLS's close_notify where it is on.
/// Gives machine and handler back for what they know of the session. All of it lies in one box, and once in it: a future that takes
/// its arguments over holds them twice, and each one around it does so again.
pub fn drive<M: Machine, H: Handler<M>>(
    connection: Connection,
    mut machine: M,
    mut handler: H,
) -> Pin<Box<impl Future<Output = Driven<M, H>> + Send>> {
    let Connection { stream, starttls, shutdown, .. } = connection;
    let mut session = Session { wire: Wire::new(stream), starttls, shutdown, told: false, ended: false };
    Box::pin(async move {
        let result = session.run(&mut machine, &mut handler).await;
        if matches!(result, Err(Disconnect::Io(_) | Disconnect::Stalled)) && !session.ended {
            session.hear(&mut machine).await;
        }
        if matches!(result, Ok(()) | Err(Disconnect::Handler(_) | Disconnect::Compression(_))) {
            Box::pin(session.wire.close()).await;
        }
        (machine, handler, result)
    })
}

/// What ended a wait for input.
enum Woken<E> {
    /// Octets, or the end of input where there are none.
    Input,
    Event(E),
    Deadline,
    Shutdown,
}

struct Session {
    wire: Wire,
    starttls: TlsRole,
    shutdown: Shutdown,
    /// The machine knows that the server stops.
    told: bool,
    /// The machine knows that the peer sends no more.
    ended: bool,
}

impl Session {
    async fn run<M: Machine, H: Handler<M>>(
        &mut self,
        machine: &mut M,
        handler: &mut H,
    ) -> Result<(), Disconnect> {
        loop {
            let step = machine.step(Instant::now().into_std());
            handler.observe(machine);
            self.wire.add(std::mem::take(machine.output())).await?;
            if !matches!(&step, Step::Ask(question) if handler.is_quick(question)) {
                self.wire.flush().await?;
            }
            match step {
                Step::Read { deadline } => self.input(machine, pending::<M::Event>(), deadline).await?,
                Step::Watch { deadline } => self.input(machine, handler.event(), deadline).await?,
                Step::Ask(question) => {
                    // What is gathered when it returns goes out together with the machine's own words. In a box: most sessions wait for
                    // input most of the time, and would hold the room for it.
                    let answer = Box::pin(handler.answer(question, &mut self.wire.output())).await?;
                    machine.answer(answer);
                }
                Step::StartTls => {
                    let info = Box::pin(self.start_tls()).await?;
                    machine.tls_started(&info);
                }
                Step::StartCompression => self.wire.start_compression(),
                Step::StopCompression => self.wire.stop_compression(),
                Step::Close => return Ok(()),
            }
        }
    }

    /// Gives the machine what had arrived when sending failed.
    async fn hear<M: Machine>(&mut self, machine: &mut M) {
        for _ in 0..LAST_WORDS_READS_MAX {
            let read = self.wire.read(|octets| machine.last_words(octets));
            if !matches!(timeout(LAST_WORDS_TIMEOUT, read).await, Ok(Ok(1..))) {
                return;
            }
        }
    }

    /// Waits for octets, an event, the deadline or shutdown, and gives it to the machine. At most one buffer of octets is taken,
    /// so that a peer that sends without reading our replies is stopped by them.
    async fn input<M: Machine>(
        &mut self,
        machine: &mut M,
        event: impl Future<Output = M::Event>,
        deadline: std::time::Instant,
    ) -> Result<(), Disconnect> {
        if self.ended {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let rest = self.wire.rest_after().map(|after| Instant::now() + after);
        let wake = rest.map_or(deadline.into(), |rest| rest.min(deadline.into()));
        // All four are cancel-safe: reading takes nothing before it is ready, events are so by contract.
        let woken = tokio::select! {
            biased;
            () = self.shutdown.stopping(), if !self.told => Woken::Shutdown,
            length = self.wire.read(|octets| machine.receive(octets)) => {
                self.ended = length? == 0;
                Woken::Input
            }
            event = event => Woken::Event(event),
            () = sleep_until(wake) => Woken::Deadline,
        };
        match woken {
            Woken::Input if self.ended => machine.end_of_input(),
            Woken::Input => {}
            Woken::Deadline => self.wire.rest(),
            Woken::Event(event) => machine.event(event),
            Woken::Shutdown => {
                self.told = true;
                machine.shutdown();
            }
        }
        Ok(())
    }

    /// What the peer sent in plain text before and was not read yet becomes part of the handshake, which fails by it.
    async fn start_tls(&mut self) -> Result<TlsInfo, TlsError> {
        match &self.starttls {
            TlsRole::None => Err(TlsError::Handshake("there is no certificate".into())),
            TlsRole::Server(tls) => {
                let shutdown = self.shutdown.clone();
                let upgraded = self.wire.upgrade(|plain| tls.accept(plain));
                tokio::select! {
                    biased;
                    () = shutdown.stopping(), if !self.told => Err(TlsError::Handshake("the server stops".into())),
                    upgraded = upgraded => upgraded,
                }
            }
            TlsRole::Client(tls) => self.wire.upgrade(|plain| tls.connect(plain)).await,
        }
    }
}

#[cfg(test)]
mod tests;
