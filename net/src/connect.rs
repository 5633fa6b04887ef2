//! Outbound connections.

use std::{fmt, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use tokio::net::TcpStream;

use crate::{
    driver::{Connection, Stream, TlsRole},
    listener::AddressCount,
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
        let dialled = tokio::time::timeout(timeout, self.0.dial(address)).await;
        let Dialled { stream, local } = dialled.map_err(|_| ConnectError::Timeout(timeout))??;
        let (stream, tls) = match implicit {
            None => (stream, None),
            Some(client) => {
                let (stream, info) = client.connect(stream).await?;
                (stream, Some(info))
            }
        };
        let counted = AddressCount::default();
        Ok(Connection { stream, peer: address, local, tls, starttls, shutdown, counted })
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
