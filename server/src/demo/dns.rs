//! An authoritative DNS server on loopback, for the demo and for tests.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_server::{
    Server,
    net::runtime::TokioRuntimeProvider,
    proto::rr::{
        LowerName, Name, RData, Record,
        rdata::{A, AAAA, CNAME, MX, SOA, TXT},
    },
    store::in_memory::InMemoryZoneHandler,
    zone_handler::{AxfrPolicy, Catalog, ZoneType},
};
use tokio::net::{TcpListener, UdpSocket};

/// Data of one record.
#[derive(Clone, Debug)]
pub enum Data {
    /// A host's address.
    Address(IpAddr),
    /// A mail exchanger: preference, host (`.`: null MX).
    Mx(u16, String),
    /// Another name.
    Alias(String),
    /// A text, in as many strings as it needs.
    Text(String),
}

/// The DNS server; it ends when it is dropped.
pub struct Dns {
    address: SocketAddr,
    _server: Server<Catalog>,
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Dns {
    /// Serves one zone for the top-level domain `test`: names without records there do not exist.
    pub async fn start(records: &[(&str, Data)]) -> io::Result<Self> {
        let invalid =
            |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
        let name = |text: &str| Name::from_ascii(text).map_err(|error| invalid(&error));
        let origin = name("test.")?;
        let mut zone: InMemoryZoneHandler<TokioRuntimeProvider> =
            InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny, None);
        let soa = SOA::new(name("ns.test.")?, name("hostmaster.test.")?, 1, 3600, 600, 86_400, 1);
        zone.upsert_mut(Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), 1);
        for (owner, data) in records {
            let data = match data {
                Data::Address(IpAddr::V4(address)) => RData::A(A(*address)),
                Data::Address(IpAddr::V6(address)) => RData::AAAA(AAAA(*address)),
                Data::Mx(preference, host) => RData::MX(MX::new(*preference, name(&rooted(host))?)),
                Data::Text(text) => {
                    let parts =
                        text.as_bytes().chunks(255).map(|part| String::from_utf8_lossy(part).into_owned());
                    RData::TXT(TXT::new(parts.collect()))
                }
                Data::Alias(target) => RData::CNAME(CNAME(name(&rooted(target))?)),
            };
            zone.upsert_mut(Record::from_rdata(name(&rooted(owner))?, 60, data), 1);
        }
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::new(&origin), vec![Arc::new(zone)]);
        let mut server = Server::new(catalog);
        let (udp, tcp) = sockets().await?;
        let address = udp.local_addr()?;
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 4096);
        Ok(Self { address, _server: server })
    }

    /// Where it answers, by UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn rooted(name: &str) -> String {
    if name.ends_with('.') { name.to_owned() } else { format!("{name}.") }
}

/// A UDP and a TCP socket on the same port.
async fn sockets() -> io::Result<(UdpSocket, TcpListener)> {
    let mut problem = None;
    for _ in 0..20 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) => problem = Some(error),
        }
    }
    Err(problem.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}
