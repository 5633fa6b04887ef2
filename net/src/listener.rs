//! Listening sockets, and the limits that are checked before a session begins.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    connect::ConnectError,
    cores::{Cores, Movable},
    driver::{Connection, Stream, TlsRole},
    proxy::{self, Proxies},
    rates::Rates,
    shutdown::Shutdown,
    tls::{ServerTls, TlsError, TlsMode},
};

/// Connections that the kernel may hold for us before they are accepted.
pub(crate) const BACKLOG: i32 = 1024;
/// First and longest wait after accept failed for want of descriptors or memory.
const ACCEPT_RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Longest wait for a refused peer to take the refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Descriptors that are needed besides those of the connections: listeners, journal, index, bodies, DNS.
const DESCRIPTORS_RESERVED: u64 = 1024;

/// Binds a listening socket (address reuse on, backlog 1024; IPv6 sockets take only IPv6).
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The same before it listens.
pub(crate) fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// So many connections together have one descriptor besides their sockets, for the file of a large body that one of them sends.
const CONNECTIONS_A_BODY: u64 = 4;
/// A server that could not hold so many connections at once does not start.
const CONNECTIONS_MIN: u64 = 100;

/// Why there are not enough file descriptors.
#[derive(Debug, thiserror::Error)]
pub enum DescriptorError {
    /// The hard limit is too low; the soft limit was raised to it.
    #[error("at least {needed} file descriptors are needed, but the hard limit is {hard}")]
    HardLimit {
        /// For the fewest connections and all else.
        needed: u64,
        /// What there is.
        hard: u64,
    },
    /// The system refused.
    #[error("the limit of file descriptors cannot be changed: {0}")]
    System(#[from] io::Error),
}

/// Raises the limit of file descriptors so far that it lasts for so many connections, and says how many it does last for, at
/// most `connections`. Errors: it lasts for fewer than 100, and for fewer than were asked for.
pub fn raise_descriptor_limit(connections: usize) -> Result<usize, DescriptorError> {
    let wanted = descriptors(connections as u64);
    let mut limit = getrlimit(Resource::Nofile);
    let (soft, hard) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    let raised = wanted.min(hard).max(soft);
    if raised > soft {
        limit.current = Some(raised);
        setrlimit(Resource::Nofile, limit).map_err(io::Error::from)?;
    }
    let possible =
        raised.saturating_sub(DESCRIPTORS_RESERVED) / (CONNECTIONS_A_BODY + 1) * CONNECTIONS_A_BODY;
    if possible < CONNECTIONS_MIN.min(connections as u64) {
        return Err(DescriptorError::HardLimit { needed: descriptors(CONNECTIONS_MIN), hard });
    }
    Ok(usize::try_from(possible).unwrap_or(usize::MAX).min(connections))
}

fn descriptors(connections: u64) -> u64 {
    let bodies = connections.div_ceil(CONNECTIONS_A_BODY);
    connections.saturating_add(bodies).saturating_add(DESCRIPTORS_RESERVED)
}

/// Bounds shared by all listeners of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Limits {
    pub(crate) connections: Arc<Semaphore>,
    per_address: usize,
    per_minute: u32,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
    rates: Rates<IpAddr>,
}

impl Limits {
    /// `connections` in all; `per_address` from one address (IPv6: one /64). 0: no bound.
    pub fn new(connections: usize, per_address: usize) -> Self {
        let permits =
            if connections == 0 { Semaphore::MAX_PERMITS } else { connections.min(Semaphore::MAX_PERMITS) };
        let rates = Rates::new(Duration::from_secs(60));
        let connections = Arc::new(Semaphore::new(permits));
        Self { connections, per_address, per_minute: 0, addresses: Arc::default(), rates }
    }

    /// With a bound of connections that one address makes in a minute (0: none). Loopback is not counted.
    #[must_use]
    pub fn per_minute(mut self, connections: u32) -> Self {
        self.per_minute = connections;
        self
    }

    /// Counts a connection of a client, and says in the log where there are too many.
    fn admit(&self, peer: SocketAddr) -> Option<AddressCount> {
        let in_time = || {
            let now = Instant::now().into_std();
            let is_local = peer.ip().to_canonical().is_loopback();
            is_local || self.rates.take(network(peer.ip()), self.per_minute, now)
        };
        let counted = self.count(peer.ip()).filter(|_| in_time());
        if counted.is_none() {
            tracing::info!(%peer, "too many connections from this address");
        }
        counted
    }

    /// Counts a connection from an address until the guard is dropped; `None` where there are too many.
    fn count(&self, peer: IpAddr) -> Option<AddressCount> {
        let network = network(peer);
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(network).or_default();
        if self.per_address != 0 && *count >= self.per_address {
            return None;
        }
        *count += 1;
        let counted = Counted { network, addresses: Arc::clone(&self.addresses), counts: true };
        Some(AddressCount { counted: Arc::new(Mutex::new(Some(counted))) })
    }
}

/// What is counted by address goes by this: one user has one IPv4 address, or one /64.
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

/// The place of one connection among those of its address, until it is released or all clones are dropped. The default
/// is that of a connection which is not counted. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct AddressCount {
    counted: Arc<Mutex<Option<Counted>>>,
}

impl AddressCount {
    /// The session has logged in: it counts among those of its account from now on, so that many users behind one address
    /// do not keep each other out.
    pub fn release(&self) {
        if let Some(counted) = &mut *self.counted.lock().unwrap_or_else(PoisonError::into_inner) {
            counted.release();
        }
    }

    /// The session has logged out again: it counts among those of its address as before, also where these are many by now.
    pub fn count_again(&self) {
        if let Some(counted) = &mut *self.counted.lock().unwrap_or_else(PoisonError::into_inner) {
            counted.count();
        }
    }
}

/// One connection in the count of its address.
#[derive(Debug)]
struct Counted {
    network: IpAddr,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
    /// Whether it counts now.
    counts: bool,
}

impl Counted {
    fn count(&mut self) {
        if !std::mem::replace(&mut self.counts, true) {
            let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            *addresses.entry(self.network).or_default() += 1;
        }
    }

    fn release(&mut self) {
        if !std::mem::replace(&mut self.counts, false) {
            return;
        }
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.network);
            }
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.release();
    }
}

/// Accepts connections on one listener.
#[derive(Clone, Debug)]
pub struct Acceptor {
    /// When TLS begins.
    pub mode: TlsMode,
    /// The newest certificates; `None`: no TLS.
    pub tls: watch::Receiver<Option<ServerTls>>,
    /// Whose certificates clients are asked for: the file that the certificates were loaded with.
    pub client_certificates: Option<PathBuf>,
    /// Bounds.
    pub limits: Limits,
    /// Who begins with a PROXY header.
    pub proxies: Proxies,
    /// Where sessions run; `None`: on the threads of the listener.
    pub cores: Option<Cores>,
    /// Tells when to stop.
    pub shutdown: Shutdown,
}

impl Acceptor {
    /// Accepts until shutdown; each session is a task of its own, and begins when it has a permit: until then this listener
    /// accepts no more. (No permit is held while nobody comes, or the listeners would take them from each other.) A trusted
    /// proxy says first who its client is, and that one is counted. With implicit TLS the handshake is done (within a deadline)
    /// before `session` is called. What is over a bound of its address is closed after `refusal` was sent (`421 …`, `* BYE …`,
    /// `-ERR …`; not under implicit TLS).
    pub async fn run<S, F>(self, listener: TcpListener, refusal: &'static str, session: S)
    where
        S: Fn(Connection) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let refusal = if self.mode == TlsMode::Implicit { "" } else { refusal };
        let acceptor = Arc::new(self);
        let mut wait = AcceptWait::default();
        // Cancel-safe: a connection that is not accepted stays with the kernel.
        while let Some(accepted) = acceptor.unless_stopping(listener.accept()).await {
            match accepted {
                Ok((stream, peer)) => {
                    wait = AcceptWait::default();
                    let counted = if acceptor.proxies.trust(peer.ip()) {
                        None
                    } else if let Some(counted) = acceptor.limits.admit(peer) {
                        Some(counted)
                    } else {
                        acceptor.shutdown.spawn(refuse(stream, refusal));
                        continue;
                    };
                    let permit = Arc::clone(&acceptor.limits.connections).acquire_owned();
                    // The semaphore is never closed.
                    let Some(Ok(permit)) = acceptor.unless_stopping(permit).await else { return };
                    let (session, its) = (session.clone(), Arc::clone(&acceptor));
                    acceptor.place(stream, |stream| {
                        its.begin(Arrived { stream, peer, counted, refusal }, permit, session)
                    });
                }
                Err(error) => wait.after(&error).await,
            }
        }
    }

    /// Begins a session, on a thread of [`Acceptor::cores`] where there are some.
    pub(crate) fn place<T, F>(&self, stream: T, begin: impl FnOnce(T) -> F)
    where
        T: Movable,
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(thread) = self.cores.as_ref().and_then(Cores::least) else {
            return self.shutdown.spawn(begin(stream));
        };
        match stream.moved(thread) {
            Ok(stream) => self.shutdown.spawn_on(begin(stream), thread),
            Err(error) => tracing::warn!(%error, "no session"),
        }
    }

    /// `None` when the server stops first.
    pub(crate) async fn unless_stopping<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.shutdown.stopping() => None,
            done = future => Some(done),
        }
    }

    /// The task of one connection. What makes it ready has a box of its own, which is gone when the session begins.
    fn begin<S, F>(
        self: Arc<Self>,
        arrived: Arrived,
        permit: OwnedSemaphorePermit,
        session: S,
    ) -> impl Future<Output = ()>
    where
        S: Fn(Connection) -> F,
        F: Future<Output = ()>,
    {
        let ready = Box::pin(self.ready(arrived));
        async move {
            let Some((connection, counted)) = ready.await else { return };
            session(connection).await;
            // Both are held to the end, whatever the session does with its connection.
            drop((counted, permit));
        }
    }

    /// Makes a connection ready for its session, and gives its place among those of its address, too; `None`, with the reason in the log,
    /// where there is none.
    async fn ready(self: Arc<Self>, arrived: Arrived) -> Option<(Connection, AddressCount)> {
        let Arrived { mut stream, mut peer, counted, refusal } = arrived;
        let counted = match counted {
            Some(counted) => counted,
            None => {
                match self.unless_stopping(proxy::read_header(&mut stream)).await? {
                    Ok(client) => peer = client.unwrap_or(peer),
                    Err(error) => {
                        tracing::warn!(proxy = %peer, %error, "no session");
                        return None;
                    }
                }
                let Some(counted) = self.limits.admit(peer) else {
                    refuse(stream, refusal).await;
                    return None;
                };
                counted
            }
        };
        let tls = self.tls.borrow().clone();
        let tls = match (tls, &self.client_certificates) {
            (Some(tls), Some(file)) => Some(tls.asking(file)),
            (tls, _) => tls,
        };
        let place = (peer, counted.clone());
        match prepare(stream, place, self.mode, tls, self.shutdown.clone()).await {
            Ok(connection) => Some((connection, counted)),
            Err(error) => {
                tracing::info!(%peer, %error, "no session");
                None
            }
        }
    }
}

/// How long the next failure to accept is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AcceptWait(Duration);

impl Default for AcceptWait {
    fn default() -> Self {
        Self(ACCEPT_RETRY.0)
    }
}

impl AcceptWait {
    /// Waits after a failure, longer each time.
    pub(crate) async fn after(&mut self, error: &io::Error) {
        // The peer was gone before we came.
        if error.kind() != io::ErrorKind::ConnectionAborted {
            tracing::warn!(%error, "cannot accept connections");
            sleep(self.0).await;
            self.0 = (self.0 * 2).min(ACCEPT_RETRY.1);
        }
    }
}

/// A connection that was accepted and has a permit.
struct Arrived {
    stream: TcpStream,
    peer: SocketAddr,
    /// `None`: of a trusted proxy, whose header is still to come.
    counted: Option<AddressCount>,
    /// What the client is told that is one too many.
    refusal: &'static str,
}

/// Tells a peer that it is not served. Whether it listens is its own affair.
async fn refuse(mut stream: TcpStream, refusal: &str) {
    let line = if refusal.is_empty() { String::new() } else { format!("{}\r\n", refusal.trim_end()) };
    let saying = async {
        stream.write_all(line.as_bytes()).await?;
        stream.shutdown().await
    };
    drop(timeout(REFUSAL_TIMEOUT, saying).await);
}

/// Makes a connection ready for its session; TLS where it is on from the first octet.
async fn prepare(
    stream: TcpStream,
    (peer, counted): (SocketAddr, AddressCount),
    mode: TlsMode,
    tls: Option<ServerTls>,
    shutdown: Shutdown,
) -> Result<Connection, ConnectError> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let stream: Box<dyn Stream> = Box::new(stream);
    let (stream, tls, starttls) = match (mode, tls) {
        (TlsMode::None, _) | (TlsMode::StartTls, None) => (stream, None, TlsRole::None),
        (TlsMode::StartTls, Some(server)) => (stream, None, TlsRole::Server(server)),
        (TlsMode::Implicit, None) => {
            return Err(TlsError::Certificate("no certificate is loaded".into()).into());
        }
        (TlsMode::Implicit, Some(server)) => {
            let (stream, info) = tokio::select! {
                biased;
                () = shutdown.stopping() => return Err(TlsError::Handshake("the server stops".into()).into()),
                accepted = server.accept(stream) => accepted?,
            };
            (stream, Some(info), TlsRole::None)
        }
    };
    Ok(Connection { stream, peer, local, tls, starttls, shutdown, counted })
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::connect::connect;

    async fn start(mode: TlsMode, limits: Limits) -> (SocketAddr, Shutdown) {
        start_behind(Proxies::default(), mode, limits).await
    }

    async fn start_behind(proxies: Proxies, mode: TlsMode, limits: Limits) -> (SocketAddr, Shutdown) {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, tls) = (Shutdown::new(), watch::channel(None).1);
        let acceptor = Acceptor {
            mode,
            tls,
            client_certificates: None,
            limits,
            proxies,
            cores: None,
            shutdown: shutdown.clone(),
        };
        // Says hello, and stays until the peer hangs up or the server stops.
        shutdown.spawn(acceptor.run(listener, "421 too many", |mut connection: Connection| async move {
            connection.stream.write_all(b"hello").await.unwrap();
            tokio::select! {
                _ = connection.stream.read_u8() => {}
                () = connection.shutdown.stopping() => {}
            }
        }));
        (address, shutdown)
    }

    /// A connection with what it was greeted with; nothing within `patience`: an empty text.
    async fn greeted_within(address: SocketAddr, patience: Duration) -> (Connection, String) {
        let wait = Duration::from_secs(5);
        let mut connection = connect(address, wait, None, TlsRole::None, Shutdown::new()).await.unwrap();
        let mut text = [0; 14];
        let length = timeout(patience, connection.stream.read(&mut text)).await.map_or(0, Result::unwrap);
        (connection, String::from_utf8_lossy(&text[..length]).into_owned())
    }

    async fn greeted(address: SocketAddr) -> (Connection, String) {
        greeted_within(address, Duration::from_secs(10)).await
    }

    /// Every open connection holds this much besides its session.
    #[tokio::test]
    async fn the_task_of_a_connection_holds_little_room() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let (shutdown, limits) = (Shutdown::new(), Limits::new(1, 0));
        let (stream, accepted) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (_peer, (stream, peer)) = (stream.unwrap(), accepted.unwrap());
        let (counted, permit) =
            (limits.count(peer.ip()), Arc::clone(&limits.connections).try_acquire_owned());
        let (tls, proxies) = (watch::channel(None).1, Proxies::default());
        let acceptor = Acceptor {
            mode: TlsMode::StartTls,
            tls,
            client_certificates: None,
            limits,
            proxies,
            cores: None,
            shutdown: shutdown.clone(),
        };
        let arrived = Arrived { stream, peer, counted, refusal: "" };
        let session = |_| -> Pin<Box<dyn Future<Output = ()> + Send>> { Box::pin(async {}) };
        let task = Arc::new(acceptor).begin(arrived, permit.unwrap(), session);
        assert!(size_of_val(&task) <= 96, "{} octets", size_of_val(&task));
        task.await;
    }

    #[tokio::test]
    async fn one_address_has_so_many_connections_and_no_more() {
        let (address, shutdown) = start(TlsMode::None, Limits::new(0, 2)).await;
        let (first, text) = greeted(address).await;
        assert_eq!(text, "hello");
        let (_second, text) = greeted(address).await;
        assert_eq!(text, "hello");
        assert_eq!(greeted(address).await.1, "421 too many\r\n");
        drop(first);
        // The server sees its end a moment later.
        let mut text = String::new();
        for _ in 0..100 {
            sleep(Duration::from_millis(50)).await;
            text = greeted(address).await.1;
            if text == "hello" {
                break;
            }
        }
        assert_eq!(text, "hello");
        assert!(shutdown.drain(Duration::from_secs(5)).await);
    }

    #[test]
    fn one_address_makes_so_many_connections_in_a_minute() {
        let limits = Limits::new(0, 0).per_minute(2);
        let admitted = |peer: &str| limits.admit(peer.parse().unwrap()).is_some();
        assert!(admitted("198.51.100.7:1") && admitted("198.51.100.7:2"));
        assert!(!admitted("198.51.100.7:3") && admitted("198.51.100.8:1"));
        assert!((0..9).all(|_| admitted("127.0.0.1:1") && admitted("[::ffff:127.0.0.1]:1")));
        assert!(limits.addresses.lock().unwrap().is_empty(), "who is refused holds no place");
    }

    #[test]
    fn who_has_logged_in_counts_no_more_for_the_address() {
        let (limits, peer) = (Limits::new(0, 1), IpAddr::from([192, 0, 2, 1]));
        let first = limits.count(peer).unwrap();
        assert!(limits.count(peer).is_none());
        first.clone().release();
        let second = limits.count(peer).unwrap();
        // It counts again when it logs out, and what was released is not given back again.
        first.count_again();
        first.count_again();
        drop(second);
        assert!(limits.count(peer).is_none());
        first.release();
        let second = limits.count(peer).unwrap();
        drop(first);
        assert!(limits.count(peer).is_none());
        drop(second);
        assert!(limits.count(peer).is_some());
    }

    #[tokio::test]
    async fn who_finds_no_permit_waits() {
        let (address, shutdown) = start(TlsMode::StartTls, Limits::new(1, 0)).await;
        let (first, text) = greeted(address).await;
        assert_eq!(text, "hello");
        let (mut second, text) = greeted_within(address, Duration::from_millis(200)).await;
        assert_eq!(text, "");
        drop(first);
        let mut hello = [0; 5];
        timeout(Duration::from_secs(5), second.stream.read_exact(&mut hello)).await.unwrap().unwrap();
        assert!(shutdown.drain(Duration::from_secs(5)).await);
        let error =
            connect(address, Duration::from_secs(5), None, TlsRole::None, Shutdown::new()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Io(_)), "{error}");
    }

    #[tokio::test]
    async fn idle_listeners_take_no_permits_from_others() {
        let limits = Limits::new(1, 0);
        let (first, _shutdown) = start(TlsMode::None, limits.clone()).await;
        let (second, _shutdown) = start(TlsMode::None, limits).await;
        for address in [first, second, first] {
            assert_eq!(greeted(address).await.1, "hello");
        }
    }

    #[tokio::test]
    async fn implicit_tls_without_certificate_serves_nobody() {
        let (address, _shutdown) = start(TlsMode::Implicit, Limits::new(0, 0)).await;
        let (mut connection, text) = greeted(address).await;
        assert_eq!((text.as_str(), connection.stream.read(&mut [0]).await.unwrap()), ("", 0));
    }

    #[tokio::test]
    async fn a_trusted_proxy_says_whose_connection_is_counted() {
        let proxies = Proxies::new(|peer| peer.is_loopback());
        let (address, shutdown) = start_behind(proxies, TlsMode::None, Limits::new(0, 1)).await;
        let mut held = Vec::new();
        for (header, expected) in [
            ("PROXY TCP4 198.51.100.7 192.0.2.1 40000 25\r\n", "hello"),
            ("PROXY TCP4 198.51.100.8 192.0.2.1 40000 25\r\n", "hello"),
            ("PROXY TCP4 198.51.100.7 192.0.2.1 40001 25\r\n", "421 too many\r\n"),
            ("PROXY UNKNOWN\r\n", "hello"),
            ("PROXY UNKNOWN\r\n", "421 too many\r\n"),
            ("EHLO c.test\r\n", ""),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(header.as_bytes()).await.unwrap();
            let mut text = [0; 14];
            let read = timeout(Duration::from_secs(10), stream.read(&mut text)).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&text[..read.unwrap_or(0)]), expected, "{header}");
            held.push(stream);
        }
        drop(held);
        assert!(shutdown.drain(Duration::from_secs(5)).await);
    }

    #[test]
    fn networks_are_one_address_or_one_64() {
        for (a, b, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ] {
            let limits = Limits::new(0, 1);
            let first = limits.count(a.parse().unwrap()).unwrap();
            assert_eq!(limits.count(b.parse().unwrap()).is_none(), same, "{a} {b}");
            drop(first);
            assert!(limits.count(b.parse().unwrap()).is_some());
            assert!(limits.addresses.lock().unwrap().is_empty());
        }
    }

    #[test]
    fn addresses_of_both_families_are_bound() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _entered = runtime.enter();
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        assert!(bind(address).is_err(), "a port that is taken");
        // The same port in the other family is free; without IPv6 there is none.
        if let Err(error) = bind(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port())) {
            assert!(matches!(error.raw_os_error(), Some(97 | 99)), "{error}");
        }
    }

    #[test]
    fn descriptors_are_raised_up_to_the_hard_limit() {
        assert_eq!(raise_descriptor_limit(200).unwrap(), 200);
        assert!(getrlimit(Resource::Nofile).current.is_none_or(|soft| soft >= 200 + 50 + 1024));
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        if hard < 1 << 20 {
            let most = (hard - DESCRIPTORS_RESERVED) / 5 * 4;
            assert_eq!(raise_descriptor_limit(1 << 20).unwrap() as u64, most, "no more than there are");
        }
    }
}
