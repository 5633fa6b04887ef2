//! The PROXY protocol, versions 1 and 2: a proxy in front of us says who the client is, before anything else is said.
//!
//! From a trusted proxy the header is required; from anyone else it is not looked at, so that nobody can give himself
//! another address. It is read without taking one octet of what follows: TLS or the protocol begins right behind it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

/// Longest wait for a whole header. A proxy sends it with its first packet.
pub const PROXY_HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest header of version 1 in octets, CRLF included (section 2.1 of the protocol).
const V1_BYTES_MAX: usize = 107;
/// Shortest header of version 1: `PROXY UNKNOWN` and CRLF.
const V1_BYTES_MIN: usize = 15;
/// Longest header of version 2 in octets: addresses, and the fields that proxies add. Section 2.2 asks for 536 at least.
pub const V2_BYTES_MAX: usize = 4096;
/// Octets of a header of version 2 before its addresses.
const V2_BYTES_FIXED: usize = 16;
const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Which peers are proxies that are believed. Cheap to clone; the default believes nobody.
#[derive(Clone, Default)]
pub struct Proxies {
    trusted: Option<Arc<dyn Fn(IpAddr) -> bool + Send + Sync>>,
}

impl Proxies {
    /// Those for which `trusted` is true.
    pub fn new(trusted: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self { trusted: Some(Arc::new(trusted)) }
    }

    /// Whether a peer must begin with a header.
    pub fn trust(&self, peer: IpAddr) -> bool {
        self.trusted.as_ref().is_some_and(|trusted| trusted(peer))
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").field("any", &self.trusted.is_some()).finish()
    }
}

/// Why a connection of a proxy is closed.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The first octets are no header.
    #[error("no PROXY header, or a wrong one")]
    Invalid,
    /// It is longer than any good one.
    #[error("the PROXY header is too long")]
    TooLong,
    /// It did not come in time.
    #[error("the PROXY header did not come in time")]
    Late,
    /// The connection failed or ended in the middle.
    #[error("PROXY header: {0}")]
    Io(#[from] std::io::Error),
}

/// What the octets so far are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// The beginning of a header: at least so many octets are missing, so that many can be read without taking more.
    Missing(usize),
    /// A whole header. The client's address; `None`: the proxy speaks for itself (LOCAL), or says nothing of an address
    /// (UNKNOWN, UNSPEC, a Unix socket).
    Client(Option<SocketAddr>),
}

/// Reads a header; the client's address, where it names one.
pub(crate) async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, ProxyError> {
    timeout(PROXY_HEADER_TIMEOUT, read(stream)).await.unwrap_or(Err(ProxyError::Late))
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyError> {
    let mut octets = Vec::new();
    loop {
        match progress(&octets)? {
            Progress::Client(client) => return Ok(client),
            Progress::Missing(missing) => {
                if stream.take(missing as u64).read_buf(&mut octets).await? == 0 {
                    return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
                }
            }
        }
    }
}

/// Looks at the octets that came so far.
pub fn progress(octets: &[u8]) -> Result<Progress, ProxyError> {
    let begins = |signature: &[u8]| {
        let common = signature.len().min(octets.len());
        octets[..common] == signature[..common]
    };
    match (begins(V1_SIGNATURE), begins(V2_SIGNATURE)) {
        // Nothing has come; every header has as many.
        (true, true) => Ok(Progress::Missing(V1_BYTES_MIN)),
        (true, false) => version_1(octets),
        (false, true) => version_2(octets),
        (false, false) => Err(ProxyError::Invalid),
    }
}

fn version_1(octets: &[u8]) -> Result<Progress, ProxyError> {
    match octets.iter().position(|octet| *octet == b'\n') {
        Some(end) if end + 1 == octets.len() => parse(octets),
        Some(_) => Err(ProxyError::Invalid),
        None if octets.len() >= V1_BYTES_MAX => Err(ProxyError::TooLong),
        None => Ok(Progress::Missing(V1_BYTES_MIN.saturating_sub(octets.len()).max(1))),
    }
}

fn version_2(octets: &[u8]) -> Result<Progress, ProxyError> {
    let Some((fixed, rest)) = octets.split_at_checked(V2_BYTES_FIXED) else {
        return Ok(Progress::Missing(V2_BYTES_FIXED - octets.len()));
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > V2_BYTES_MAX - V2_BYTES_FIXED {
        return Err(ProxyError::TooLong);
    }
    match length.saturating_sub(rest.len()) {
        0 => parse(octets),
        missing => Ok(Progress::Missing(missing)),
    }
}

fn parse(octets: &[u8]) -> Result<Progress, ProxyError> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (header, used) = ProxyHeader::parse(octets, config).map_err(|_| ProxyError::Invalid)?;
    if used != octets.len() {
        return Err(ProxyError::Invalid);
    }
    match header.proxied_address() {
        // We serve streams only.
        Some(address) if address.protocol != Protocol::Stream => Err(ProxyError::Invalid),
        Some(address) => Ok(Progress::Client(Some(address.source))),
        None => Ok(Progress::Client(None)),
    }
}

#[cfg(test)]
mod tests;
