//! Outbound connections.

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::{
    driver::{Connection, Stream, TlsRole},
    listener::AddressCount,
    race::race,
    shutdown::Shutdown,
    tls::ClientTls,
};

/// Why a connection could not be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConnectError {
    /// Refused, unreachable, …
    #[error("{0}")]
    Io(String),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The TLS handshake failed (implicit TLS).
    #[error("TLS: {0}")]
    Tls(#[from] crate::tls::TlsError),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// A connection that was made.
pub struct Dialled {
    /// The octets.
    pub stream: Box<dyn Stream>,
    /// Our side.
    pub local: SocketAddr,
}

/// A connection that is being made.
pub type Dialling = Pin<Box<dyn Future<Output = io::Result<Dialled>> + Send>>;

/// A network.
pub trait Network: Send + Sync + 'static {
    /// Connects; dropped when that takes too long.
    fn dial(&self, address: SocketAddr) -> Dialling;
    /// The same from an address of ours, of the same family. A network without several addresses of ours has no use for it.
    fn dial_from(&self, address: SocketAddr, source: IpAddr) -> Dialling {
        let _ours = source;
        self.dial(address)
    }
}

/// TCP.
struct Tcp;

impl Network for Tcp {
    fn dial(&self, address: SocketAddr) -> Dialling {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let local = stream.local_addr()?;
            Ok(Dialled { stream: Box::new(stream), local })
        })
    }

    fn dial_from(&self, address: SocketAddr, source: IpAddr) -> Dialling {
        Box::pin(async move {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            let bound = socket.bind(SocketAddr::new(source, 0));
            bound.map_err(|error| {
                io::Error::new(error.kind(), format!("cannot send from {source}: {error}"))
            })?;
            let stream = socket.connect(address).await?;
            stream.set_nodelay(true)?;
            let local = stream.local_addr()?;
            Ok(Dialled { stream: Box::new(stream), local })
        })
    }
}

/// Where a connection goes, and the address of ours that it comes from; `None`: the system chooses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dial {
    /// The server.
    pub address: SocketAddr,
    /// Ours, of the same family.
    pub source: Option<IpAddr>,
}

/// What came of dialling several addresses.
#[derive(Debug)]
pub struct Raced {
    /// The connection that was there first, with its place in the list.
    pub won: Option<(usize, Dialled)>,
    /// Addresses that failed before that, by their places, in the order in which they failed.
    pub failed: Vec<(usize, ConnectError)>,
}

impl fmt::Debug for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialled").field("local", &self.local).finish_non_exhaustive()
    }
}

impl Dialled {
    /// A connection of it with `peer`; with `implicit` TLS from the first octet. `starttls` is what [`crate::Step::StartTls`] does later.
    pub async fn connection(
        self,
        peer: SocketAddr,
        implicit: Option<ClientTls>,
        starttls: TlsRole,
        shutdown: Shutdown,
    ) -> Result<Connection, ConnectError> {
        let Self { stream, local } = self;
        let (stream, tls) = match implicit {
            None => (stream, None),
            Some(client) => {
                let (stream, info) = client.connect(stream).await?;
                (stream, Some(info))
            }
        };
        Ok(Connection { stream, peer, local, tls, starttls, shutdown, counted: AddressCount::default() })
    }
}

/// Makes connections over a network: TCP by default, another one in simulation. Cheap to clone.
#[derive(Clone)]
pub struct Dialler(Arc<dyn Network>);

impl Default for Dialler {
    fn default() -> Self {
        Self::new(Tcp)
    }
}

impl fmt::Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialler").finish_non_exhaustive()
    }
}

impl Dialler {
    /// Over this network.
    pub fn new(network: impl Network) -> Self {
        Self(Arc::new(network))
    }

    /// Connects within `timeout`; with `implicit` TLS from the first octet. `starttls` is what [`crate::Step::StartTls`] does later.
    pub async fn connect(
        &self,
        address: SocketAddr,
        timeout: Duration,
        implicit: Option<ClientTls>,
        starttls: TlsRole,
        shutdown: Shutdown,
    ) -> Result<Connection, ConnectError> {
        let dialled = self.dial(Dial { address, source: None }, timeout).await?;
        dialled.connection(address, implicit, starttls, shutdown).await
    }

    /// Connects to the first of several addresses of one host that is there (RFC 8305 section 5): the next one is begun when the one before
    /// has failed, or beside it when [`crate::ATTEMPT_DELAY`] has passed. Each has `longest`.
    pub async fn race(&self, dials: &[Dial], longest: Duration) -> Raced {
        race(dials, |dial| Box::pin(self.clone().into_dial(dial, longest))).await
    }

    /// Connects to a Unix socket within `timeout`, without TLS. Both sides count as loopback addresses without ports.
    pub async fn connect_socket(
        &self,
        path: &Path,
        timeout: Duration,
        shutdown: Shutdown,
    ) -> Result<Connection, ConnectError> {
        let connecting = tokio::time::timeout(timeout, UnixStream::connect(path));
        let stream = connecting.await.map_err(|_| ConnectError::Timeout(timeout))??;
        let here = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let dialled = Dialled { stream: Box::new(stream), local: here };
        dialled.connection(here, None, TlsRole::None, shutdown).await
    }

    async fn into_dial(self, dial: Dial, timeout: Duration) -> Result<Dialled, ConnectError> {
        self.dial(dial, timeout).await
    }

    async fn dial(&self, dial: Dial, timeout: Duration) -> Result<Dialled, ConnectError> {
        let dialling = match dial.source {
            None => self.0.dial(dial.address),
            Some(source) => self.0.dial_from(dial.address, source),
        };
        Ok(tokio::time::timeout(timeout, dialling).await.map_err(|_| ConnectError::Timeout(timeout))??)
    }
}

/// Connects by TCP, as [`Dialler::connect`] says.
pub async fn connect(
    address: SocketAddr,
    timeout: Duration,
    implicit: Option<ClientTls>,
    starttls: TlsRole,
    shutdown: Shutdown,
) -> Result<Connection, ConnectError> {
    Dialler::default().connect(address, timeout, implicit, starttls, shutdown).await
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// Gives each connection its own address as text; from port 1 on nobody answers.
    struct Echo;

    impl Network for Echo {
        fn dial(&self, address: SocketAddr) -> Dialling {
            Box::pin(async move {
                if address.port() == 1 {
                    std::future::pending::<()>().await;
                }
                let stream = Box::new(io::Cursor::new(address.to_string().into_bytes()));
                Ok(Dialled { stream, local: SocketAddr::from(([192, 0, 2, 9], 9)) })
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_network_is_dialled_within_the_same_time() {
        let dialler = Dialler::new(Echo);
        let dial = async |port: u16| {
            let address = SocketAddr::from(([192, 0, 2, 1], port));
            let wait = Duration::from_secs(30);
            dialler.connect(address, wait, None, TlsRole::None, Shutdown::new()).await
        };
        let mut connection = dial(25).await.unwrap();
        let mut text = String::new();
        connection.stream.read_to_string(&mut text).await.unwrap();
        assert_eq!((text.as_str(), connection.local.port()), ("192.0.2.1:25", 9));
        assert_eq!(dial(1).await.unwrap_err(), ConnectError::Timeout(Duration::from_secs(30)));
    }
}
