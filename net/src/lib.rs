//! Sockets and TLS: listeners and their limits, the one driver of all sessions, outbound connections, shutdown.
//!
//! Protocols are machines without I/O ([`Machine`]); [`drive`] connects one to a socket and to the [`Handler`] that answers
//! its questions. Deadlines, TLS upgrade, back-pressure and shutdown are done here, once for all protocols, inbound and
//! outbound. The only crate that knows sockets and rustls.

pub mod connect;
pub mod cores;
pub mod deflate;
pub mod driver;
pub mod held;
pub mod http;
pub mod https;
pub mod listener;
pub mod local;
pub mod machine;
pub mod proxy;
pub mod race;
pub mod rates;
pub mod shutdown;
pub mod tls;
mod wire;

#[cfg(test)]
mod testing;

pub use connect::{ConnectError, Dial, Dialled, Dialler, Dialling, Network, Raced, connect};
pub use cores::Cores;
pub use driver::{Connection, Disconnect, Driven, Stream, TlsRole, drive};
pub use held::HeldPort;
pub use http::{HttpQuery, HttpReply, serve_http};
pub use https::{Bounds, HttpsAnswer, HttpsClient, HttpsError, HttpsRequest, HttpsUrl, Payload};
pub use listener::{Acceptor, AddressCount, DescriptorError, Limits, bind, network, raise_descriptor_limit};
pub use local::LocalListener;
pub use machine::{Handler, Machine, Step};
pub use proxy::Proxies;
pub use race::{ATTEMPT_DELAY, is_local};
pub use rates::Rates;
pub use shutdown::Shutdown;
pub use tls::{
    CertificateFiles, CertificateProblem, ChannelBinding, ClientCertificate, ClientTls, Dane, Names, Roots,
    ServerTls, TlsError, TlsInfo, TlsMode, TlsaRecord, Verification, fingerprint,
};
pub use wire::Output;
