//! A signed zone for the top-level domain `test` on loopback.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use hickory_server::{
    Server,
    dnssec::NxProofKind,
    net::runtime::TokioRuntimeProvider,
    proto::{
        dnssec::{DnssecSigner, SigningKey, crypto::Ed25519SigningKey, rdata::DNSKEY},
        rr::{
            LowerName, Name, RData, Record,
            rdata::{A, MX, NS, SOA, TLSA},
        },
    },
    store::in_memory::InMemoryZoneHandler,
    zone_handler::{AxfrPolicy, Catalog, ZoneType},
};
use tokio::net::{TcpListener, UdpSocket};
use waypost_net::TlsaRecord;

/// Data of one record.
#[derive(Clone, Debug)]
pub enum SignedData {
    /// A host on 127.0.0.1.
    Here,
    /// A mail exchanger.
    Mx(String),
    /// A TLSA record.
    Tlsa(TlsaRecord),
}

/// The DNS server; it ends when it is dropped.
pub struct SignedDns {
    /// Where it answers, by UDP and TCP.
    pub address: SocketAddr,
    key: DNSKEY,
    _server: Server<Catalog>,
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

impl SignedDns {
    /// Serves these records.
    pub async fn start(records: &[(String, SignedData)]) -> Self {
        let origin = name("test");
        let proof = Some(NxProofKind::Nsec);
        let mut zone: InMemoryZoneHandler<TokioRuntimeProvider> =
            InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny, proof);
        let mut add = |owner: &Name, data| {
            assert!(zone.upsert_mut(Record::from_rdata(owner.clone(), 60, data), 1), "{owner}");
        };
        add(&origin, RData::SOA(SOA::new(name("ns.test"), name("root.test"), 1, 60, 60, 60, 60)));
        add(&origin, RData::NS(NS(name("ns.test"))));
        for (owner, data) in records {
            add(
                &name(owner),
                match data {
                    SignedData::Here => RData::A(A::new(127, 0, 0, 1)),
                    SignedData::Mx(host) => RData::MX(MX::new(10, name(host))),
                    SignedData::Tlsa(TlsaRecord { usage, selector, matching, data }) => {
                        let (usage, selector, matching) =
                            ((*usage).into(), (*selector).into(), (*matching).into());
                        RData::TLSA(TLSA::new(usage, selector, matching, data.clone()))
                    }
                },
            );
        }
        let signing = Ed25519SigningKey::from_pkcs8(&Ed25519SigningKey::generate_pkcs8().unwrap()).unwrap();
        let key = DNSKEY::from_key(&signing.to_public_key().unwrap());
        let day = Duration::from_secs(86_400);
        zone.add_zone_signing_key_mut(DnssecSigner::new(key.clone(), Box::new(signing), origin.clone(), day))
            .unwrap();
        zone.secure_zone_mut().unwrap();
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::new(&origin), vec![Arc::new(zone)]);
        let mut server = Server::new(catalog);
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        server.register_socket(UdpSocket::bind(address).await.unwrap());
        server.register_listener(tcp, Duration::from_secs(5), 4096);
        Self { address, key, _server: server }
    }

    /// Writes its key as a file of trust anchors.
    pub fn write_anchors(&self, file: &Path) {
        fs::write(file, format!("test. 60 IN DNSKEY {}\n", self.key)).unwrap();
    }
}
