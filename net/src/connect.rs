//! Outbound connections.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use tokio::net::{TcpStream, UnixStream};

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

/// Connects within `timeout`; with `implicit` TLS from the first octet. `starttls` is what [`crate::Step::StartTls`] does later.
pub async fn connect(
    address: SocketAddr,
    timeout: Duration,
    implicit: Option<ClientTls>,
    starttls: TlsRole,
    shutdown: Shutdown,
) -> Result<Connection, ConnectError> {
    let connecting = tokio::time::timeout(timeout, TcpStream::connect(address));
    let stream = connecting.await.map_err(|_| ConnectError::Timeout(timeout))??;
    over_tcp(stream, implicit, starttls, shutdown).await
}

/// A connection that is there already, as [`crate::race`] gives it.
pub async fn over_tcp(
    stream: TcpStream,
    implicit: Option<ClientTls>,
    starttls: TlsRole,
    shutdown: Shutdown,
) -> Result<Connection, ConnectError> {
    stream.set_nodelay(true)?;
    let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
    let (stream, tls): (Box<dyn Stream>, _) = match implicit {
        None => (Box::new(stream), None),
        Some(client) => {
            let (stream, info) = client.connect(Box::new(stream)).await?;
            (stream, Some(info))
        }
    };
    Ok(Connection { stream, peer, local, tls, starttls, shutdown, counted: AddressCount::default() })
}

/// Connects to a Unix socket within `timeout`, without TLS. Both sides count as loopback addresses without ports.
pub async fn connect_socket(
    path: &Path,
    timeout: Duration,
    shutdown: Shutdown,
) -> Result<Connection, ConnectError> {
    let connecting = tokio::time::timeout(timeout, UnixStream::connect(path));
    let stream = connecting.await.map_err(|_| ConnectError::Timeout(timeout))??;
    let here = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    Ok(Connection {
        stream: Box::new(stream),
        peer: here,
        local: here,
        tls: None,
        starttls: TlsRole::None,
        shutdown,
        counted: AddressCount::default(),
    })
}
