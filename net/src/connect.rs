//! Outbound connections.

use std::{io, net::SocketAddr, time::Duration};

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
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let (stream, tls): (Box<dyn Stream>, _) = match implicit {
        None => (Box::new(stream), None),
        Some(client) => {
            let (stream, info) = client.connect(Box::new(stream)).await?;
            (stream, Some(info))
        }
    };
    Ok(Connection { stream, peer: address, local, tls, starttls, shutdown, counted: AddressCount::default() })
}
