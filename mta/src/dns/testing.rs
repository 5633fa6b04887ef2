//! A signed zone on loopback, for tests.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use hickory_resolver::{
    net::runtime::TokioRuntimeProvider,
    proto::{
        dnssec::{DnssecSigner, PublicKey, SigningKey, crypto::Ed25519SigningKey, rdata::DNSKEY},
        op::{Message, OpCode},
        rr::{
            LowerName, Name, RData, Record, RecordType,
            rdata::{self, tlsa},
        },
    },
};
use hickory_server::{
    Server,
    dnssec::NxProofKind,
    store::in_memory::InMemoryZoneHandler,
    zone_handler::{AxfrPolicy, Catalog, ZoneType},
};
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio_util::task::AbortOnDropHandle;
use waypost_config::{DnsConfig, Dnssec};
use waypost_net::TlsaRecord;

use super::Resolver;

pub(crate) fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

pub(crate) fn a(last: u8) -> RData {
    RData::A(rdata::A::new(192, 0, 2, last))
}

pub(crate) fn mx(host: &str) -> RData {
    RData::MX(rdata::MX::new(10, name(host)))
}

pub(crate) fn alias(host: &str) -> RData {
    RData::CNAME(rdata::CNAME(name(host)))
}

pub(crate) fn tlsa(record: &TlsaRecord) -> RData {
    let (usage, selector, matching) = (record.usage.into(), record.selector.into(), record.matching.into());
    RData::TLSA(tlsa::TLSA::new(usage, selector, matching, record.data.clone()))
}

pub(crate) type Zone = InMemoryZoneHandler<TokioRuntimeProvider>;

/// What is delegated without DS, so that nothing in it is secure.
const UNSIGNED: &str = "unsigned.test.";

/// A DNS server for `test.` and, not signed, `unsigned.test.`, by UDP only; it ends when it is dropped.
pub(crate) struct SignedZone {
    pub(crate) address: SocketAddr,
    folder: TempDir,
    _servers: [Server<Catalog>; 2],
    _relay: AbortOnDropHandle<()>,
}

impl SignedZone {
    /// Signs the first records, but those of `unsigned.test.`, and not the second ones.
    pub(crate) async fn start(signed: &[(&str, RData)], forged: &[(&str, RData)]) -> Self {
        Self::start_with(NxProofKind::Nsec, signed, forged).await
    }

    /// `proof`: by what it denies.
    pub(crate) async fn start_with(
        proof: NxProofKind,
        signed: &[(&str, RData)],
        forged: &[(&str, RData)],
    ) -> Self {
        let is_nsec3 = matches!(proof, NxProofKind::Nsec3 { .. });
        let (mut zone, mut child) = (empty("test.", Some(proof)), empty(UNSIGNED, None));
        add(&mut zone, UNSIGNED, &RData::NS(rdata::NS(name("ns.test."))));
        for (owner, data) in signed {
            add(if owner.ends_with(UNSIGNED) { &mut child } else { &mut zone }, owner, data);
        }
        let public = sign(&mut zone, "test.");
        forged.iter().for_each(|(owner, data)| add(&mut zone, owner, data));
        let (parent, parent_address) = serve("test.", zone).await;
        let (child, child_address) = serve(UNSIGNED, child).await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let relay =
            AbortOnDropHandle::new(tokio::spawn(relay(socket, parent_address, child_address, is_nsec3)));
        let folder = tempfile::tempdir().unwrap();
        let text = format!("test. 60 IN DNSKEY 257 3 15 {}\n", base64(&public));
        std::fs::write(folder.path().join("anchors"), text).unwrap();
        Self { address, folder, _servers: [parent, child], _relay: relay }
    }

    /// A resolver that asks it.
    pub(crate) fn resolver(&self, dnssec: Dnssec) -> Resolver {
        Resolver::new(&self.config(dnssec)).unwrap()
    }

    /// A resolver that believes a resolver in front of it by the AD bit, which that sets in answers to these questions.
    pub(crate) async fn trusted(&self, secure: &'static [&'static str]) -> Resolver {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (servers, zone) = (vec![socket.local_addr().unwrap()], self.address);
        tokio::spawn(vouch(socket, zone, secure));
        let config = DnsConfig { servers, dnssec: Dnssec::TrustAd, trust_anchors: None };
        Resolver::new(&config).unwrap()
    }

    /// A resolver that somebody lies to: what it asks without DNSSEC about these is answered by these records.
    pub(crate) async fn lied_to(&self, dnssec: Dnssec, lies: &[(&str, RData)]) -> Resolver {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let servers = vec![socket.local_addr().unwrap()];
        let lies = lies.iter().map(|(owner, data)| Record::from_rdata(name(owner), 60, data.clone()));
        tokio::spawn(lie(socket, self.address, lies.collect()));
        Resolver::new(&DnsConfig { servers, ..self.config(dnssec) }).unwrap()
    }

    pub(crate) fn config(&self, dnssec: Dnssec) -> DnsConfig {
        DnsConfig { servers: vec![self.address], dnssec, trust_anchors: Some(self.anchors()) }
    }

    pub(crate) fn anchors(&self) -> PathBuf {
        self.folder.path().join("anchors")
    }
}

/// Signs a zone; gives the public key.
pub(crate) fn sign(zone: &mut Zone, origin: &str) -> Vec<u8> {
    let key = Ed25519SigningKey::from_pkcs8(&Ed25519SigningKey::generate_pkcs8().unwrap()).unwrap();
    let public = key.to_public_key().unwrap();
    let (dnskey, day) = (DNSKEY::from_key(&public), Duration::from_secs(86_400));
    zone.add_zone_signing_key_mut(DnssecSigner::new(dnskey, Box::new(key), name(origin), day)).unwrap();
    zone.secure_zone_mut().unwrap();
    public.public_bytes().to_vec()
}

pub(crate) fn empty(origin: &str, proof: Option<NxProofKind>) -> Zone {
    let mut zone = Zone::empty(name(origin), ZoneType::Primary, AxfrPolicy::Deny, proof);
    let soa = rdata::SOA::new(name("ns.test."), name("root.test."), 1, 60, 60, 60, 60);
    add(&mut zone, origin, &RData::SOA(soa));
    add(&mut zone, origin, &RData::NS(rdata::NS(name("ns.test."))));
    zone
}

fn add(zone: &mut Zone, owner: &str, data: &RData) {
    assert!(zone.upsert_mut(Record::from_rdata(name(owner), 60, data.clone()), 1), "{owner}");
}

pub(crate) async fn serve(origin: &str, zone: Zone) -> (Server<Catalog>, SocketAddr) {
    let mut catalog = Catalog::new();
    catalog.upsert(LowerName::from(name(origin)), vec![Arc::new(zone)]);
    let mut server = Server::new(catalog);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    server.register_socket(socket);
    (server, address)
}

/// Hands questions on, and sets the AD bit (RFC 4035 section 3.2.3) in answers to some, written `mx.b.test. A`.
async fn vouch(socket: UdpSocket, zone: SocketAddr, secure: &[&str]) {
    let mut octets = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut octets).await {
        let query = Message::from_vec(&octets[..length]).unwrap().queries[0].clone();
        let is_secure = secure.contains(&format!("{} {}", query.name(), query.query_type()).as_str());
        let asking = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        asking.send_to(&octets[..length], zone).await.unwrap();
        let length = asking.recv(&mut octets).await.unwrap();
        octets[3] = if is_secure { octets[3] | 0x20 } else { octets[3] & !0x20 };
        socket.send_to(&octets[..length], client).await.unwrap();
    }
}

/// Hands questions on but those that do not ask for DNSSEC and that there is a lie for.
async fn lie(socket: UdpSocket, zone: SocketAddr, lies: Vec<Record>) {
    let socket = Arc::new(socket);
    let mut octets = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut octets).await {
        let (request, socket) = (octets[..length].to_vec(), socket.clone());
        let asked = Message::from_vec(&request).unwrap();
        let query = asked.queries[0].clone();
        let is_plain = asked.edns.as_ref().is_none_or(|edns| !edns.flags().dnssec_ok);
        let is_lie =
            |record: &&Record| record.name == *query.name() && record.record_type() == query.query_type();
        let answers: Vec<Record> = lies.iter().filter(is_lie).cloned().collect();
        tokio::spawn(async move {
            if is_plain && !answers.is_empty() {
                let mut lie = Message::response(asked.metadata.id, OpCode::Query);
                lie.add_queries(asked.queries.clone());
                lie.add_answers(answers);
                socket.send_to(&lie.to_vec().unwrap(), client).await.unwrap();
                return;
            }
            let asking = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            asking.send_to(&request, zone).await.unwrap();
            let mut octets = [0; 4096];
            let length = asking.recv(&mut octets).await.unwrap();
            socket.send_to(&octets[..length], client).await.unwrap();
        });
    }
}

/// Asks the child's server what is the child's. A DS record is the parent's, which one server for both would not see.
async fn relay(socket: UdpSocket, parent: SocketAddr, child: SocketAddr, is_nsec3: bool) {
    let socket = Arc::new(socket);
    let mut octets = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut octets).await {
        let (request, socket) = (octets[..length].to_vec(), socket.clone());
        let query = Message::from_vec(&request).unwrap().queries[0].clone();
        let is_childs = name(UNSIGNED).zone_of(query.name())
            && !(*query.name() == name(UNSIGNED) && query.query_type() == RecordType::DS);
        tokio::spawn(async move {
            let asking = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            asking.send_to(&request, if is_childs { child } else { parent }).await.unwrap();
            let mut octets = [0; 4096];
            let length = asking.recv(&mut octets).await.unwrap();
            let mut answer = octets[..length].to_vec();
            let mut message = Message::from_vec(&answer).unwrap();
            if is_nsec3 && !message.answers.is_empty() {
                // the server denies what it gives, too
                message.authorities.clear();
                answer = message.to_vec().unwrap();
            }
            socket.send_to(&answer, client).await.unwrap();
        });
    }
}

fn base64(octets: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(octets)
}
