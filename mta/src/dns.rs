//! DNS by hickory-resolver: MX, A and AAAA, TXT and PTR, with failures told apart.
//!
//! Names are always asked for as they are: no search list, no hosts file (RFC 5321 section 5.1 forbids to infer names).
//! CNAMEs are followed by the resolver that is asked, and by hickory where that one left them.

mod secure;
#[cfg(test)]
pub(crate) mod testing;

use std::{
    future::{Future, poll_fn},
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use hickory_resolver::{
    Resolver as HickoryResolver, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, Record},
    system_conf::read_system_conf,
};
use waypost_config::DnsConfig;
use waypost_mail::Domain;

use secure::Secure;
pub use secure::{HostSecurity, SECURE_TIMEOUT, Security, TLSA_RECORDS_MAX, Tlsa};

/// Longest wait for one answer of one server.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often one server is asked.
pub const QUERY_ATTEMPTS: usize = 2;
/// Most answers that are remembered.
pub const CACHE_ENTRIES_MAX: u64 = 8192;
/// Most hosts whose addresses are asked for at the same time, of one destination; each is two questions.
pub const HOSTS_MAX: usize = 5;
/// Most names whose TXT records are asked for at the same time.
pub const TEXTS_MAX: usize = 16;
/// Longest time for which an answer is remembered, whatever it says itself.
pub const CACHE_TIME_MAX: Duration = Duration::from_secs(60 * 60);
/// Longest time for which it is remembered that there is no answer: a zone that was just mended should be seen.
pub const CACHE_NEGATIVE_TIME_MAX: Duration = Duration::from_secs(5 * 60);

/// Why a look-up gave nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DnsError {
    /// The name does not exist (NXDOMAIN).
    #[error("the domain {0} does not exist")]
    NoSuchDomain(String),
    /// The name exists and has no such records.
    #[error("{0} has no such record")]
    NoRecords(String),
    /// No answer, or SERVFAIL: later.
    #[error("DNS look-up of {0} failed: {1}")]
    Temporary(String, String),
}

/// Answers that are being found.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<Vec<T>, DnsError>> + Send + 'a>>;

/// Answers in place of DNS: a world that is told by a script.
pub trait Answers: Send + Sync + 'static {
    /// As [`Resolver::exchanges`].
    fn mx<'a>(&'a self, owner: &'a str) -> Answering<'a, (u16, String)>;
    /// As [`Resolver::addresses`].
    fn addresses<'a>(&'a self, host: &'a str) -> Answering<'a, IpAddr>;
    /// As [`Resolver::texts`]. A world without such records need not say so.
    fn texts<'a>(&'a self, owner: &'a str) -> Answering<'a, Vec<u8>> {
        Box::pin(async move { Err(DnsError::NoSuchDomain(owner.to_owned())) })
    }
    /// As [`Resolver::names`]. A world without such records need not say so.
    fn names(&self, address: IpAddr) -> Answering<'_, String> {
        Box::pin(async move { Err(DnsError::NoSuchDomain(address.to_string())) })
    }
}

/// Which addresses a look-up is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// The resolver. Cheap to clone.
#[derive(Clone)]
pub struct Resolver {
    inner: Inner,
    /// Tells what is secure; `None`: DNSSEC is off.
    secure: Option<Secure>,
}

#[derive(Clone)]
enum Inner {
    Dns(Box<TokioResolver>),
    Other(Arc<dyn Answers>),
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// By the configured servers, or the system's. Errors: the system's resolver configuration, or the trust anchors, cannot be
    /// read.
    pub fn new(config: &DnsConfig) -> Result<Self, DnsError> {
        let problem =
            |error: NetError| DnsError::Temporary("the system's resolver".into(), error.to_string());
        let (servers, mut options) = if config.servers.is_empty() {
            read_system_conf().map_err(problem)?
        } else {
            let servers = config.servers.iter().map(|server| {
                let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                connections.iter_mut().for_each(|connection| connection.port = server.port());
                NameServerConfig::new(server.ip(), true, connections.into())
            });
            (ResolverConfig::from_name_servers(servers.collect()), ResolverOpts::default())
        };
        bound(&mut options);
        let secure = Secure::new(config, servers.clone(), options.clone())?;
        let mut builder = HickoryResolver::builder_with_config(servers, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        Ok(Self { inner: Inner::Dns(Box::new(builder.build().map_err(problem)?)), secure })
    }

    /// One that asks somebody else, of whom nothing is secure.
    pub fn answered_by(answers: impl Answers) -> Self {
        Self { inner: Inner::Other(Arc::new(answers)), secure: None }
    }

    /// MX records: preference and host, in no order. A null MX (RFC 7505) is preference 0 and `.` as host.
    pub async fn mx(&self, domain: &Domain) -> Result<Vec<(u16, String)>, DnsError> {
        self.exchanges(domain.as_str()).await
    }

    /// As [`mx`](Self::mx), for a name that may hold any octets.
    pub async fn exchanges(&self, owner: &str) -> Result<Vec<(u16, String)>, DnsError> {
        let dns = match &self.inner {
            Inner::Dns(dns) => dns,
            Inner::Other(answers) => return answers.mx(owner).await,
        };
        let answer = dns.mx_lookup(raw_name(owner)?).await.map_err(|error| failure(owner, &error))?;
        some(owner, exchanges(answer.answers()))
    }

    /// The TXT records of a name, each as one text; what is not UTF-8 is left out.
    pub async fn txt(&self, owner: &str) -> Result<Vec<String>, DnsError> {
        let texts = self.texts(owner).await?;
        some(owner, texts.into_iter().filter_map(|text| String::from_utf8(text).ok()).collect())
    }

    /// The TXT records of a name, the strings of each joined. The name may hold any octets, as those that SPF macros make do.
    pub async fn texts(&self, owner: &str) -> Result<Vec<Vec<u8>>, DnsError> {
        let dns = match &self.inner {
            Inner::Dns(dns) => dns,
            Inner::Other(answers) => return answers.texts(owner).await,
        };
        let answer = dns.txt_lookup(raw_name(owner)?).await.map_err(|error| failure(owner, &error))?;
        let text = |record: &Record| match &record.data {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        };
        some(owner, answer.answers().iter().filter_map(text).collect())
    }

    /// The TXT records of names, in their order, as [`Resolver::texts`] has them: up to [`TEXTS_MAX`] names are asked for at the same time.
    pub async fn texts_of(&self, owners: &[String]) -> Vec<Result<Vec<Vec<u8>>, DnsError>> {
        let mut found = Vec::new();
        for some in owners.chunks(TEXTS_MAX) {
            let running = some.iter().map(|owner| Box::pin(self.texts(owner)) as Answering<'_, Vec<u8>>);
            found.extend(all(running.collect()).await);
        }
        found
    }

    /// The addresses of one family of a host, whose name may hold any octets.
    pub async fn addresses_in(&self, family: Family, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let dns = match &self.inner {
            Inner::Dns(dns) => dns,
            Inner::Other(answers) => {
                let addresses = answers.addresses(host).await?;
                return some(host, addresses.into_iter().filter(|one| Family::of(*one) == family).collect());
            }
        };
        let name = raw_name(host)?;
        let answer = match family {
            Family::V4 => dns.ipv4_lookup(name).await,
            Family::V6 => dns.ipv6_lookup(name).await,
        };
        let answer = answer.map_err(|error| failure(host, &error))?;
        some(host, answer.answers().iter().filter_map(|record| record.data.ip_addr()).collect())
    }

    /// The names of an address (PTR), in lower case without the last dot. They are the word of whoever has the address.
    pub async fn names(&self, address: IpAddr) -> Result<Vec<String>, DnsError> {
        let dns = match &self.inner {
            Inner::Dns(dns) => dns,
            Inner::Other(answers) => return answers.names(address).await,
        };
        let owner = address.to_string();
        let answer = dns.reverse_lookup(address).await.map_err(|error| failure(&owner, &error))?;
        let name = |record: &Record| match &record.data {
            RData::PTR(ptr) => Some(host_name(&ptr.0)),
            _ => None,
        };
        some(&owner, answer.answers().iter().filter_map(name).collect())
    }

    /// The addresses of hosts, in their order, as [`Resolver::addresses`] has them: up to [`HOSTS_MAX`] hosts are asked for at the same
    /// time, and no more once there are `enough` addresses.
    pub async fn addresses_of(&self, hosts: &[&str], enough: usize) -> Vec<Result<Vec<IpAddr>, DnsError>> {
        let mut found: Vec<Result<Vec<IpAddr>, DnsError>> = Vec::new();
        for some in hosts.chunks(HOSTS_MAX) {
            let running = some.iter().map(|host| Box::pin(self.addresses(host)) as Answering<'_, IpAddr>);
            found.extend(all(running.collect()).await);
            if found.iter().flatten().map(Vec::len).sum::<usize>() >= enough {
                break;
            }
        }
        found
    }

    /// IPv6 and IPv4 addresses of a host, IPv6 first.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let dns = match &self.inner {
            Inner::Dns(dns) => dns,
            Inner::Other(answers) => return answers.addresses(host).await,
        };
        let name = fqdn(host)?;
        let (v6, v4) = tokio::join!(dns.ipv6_lookup(name.clone()), dns.ipv4_lookup(name));
        let addresses = |answer: Result<hickory_resolver::lookup::Lookup, NetError>| match answer {
            Ok(answer) => {
                Ok(answer.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>())
            }
            Err(error) => Err(failure(host, &error)),
        };
        match (addresses(v6), addresses(v4)) {
            (Ok(v6), Ok(v4)) => some(host, v6.into_iter().chain(v4).collect()),
            // what is there can be used; a family that failed may be there at the next try
            (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.is_empty() => Ok(found),
            (Err(error @ DnsError::Temporary(..)), _) | (_, Err(error @ DnsError::Temporary(..))) => {
                Err(error)
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }
}

/// Waits for all, which go on at the same time; what they give, in their order.
async fn all<T>(mut running: Vec<Answering<'_, T>>) -> Vec<Result<Vec<T>, DnsError>> {
    let mut answers: Vec<_> = running.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (answering, answer) in running.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let Poll::Ready(found) = answering.as_mut().poll(context)
            {
                *answer = Some(found);
            }
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

fn bound(options: &mut ResolverOpts) {
    options.timeout = QUERY_TIMEOUT;
    options.attempts = QUERY_ATTEMPTS;
    options.cache_size = CACHE_ENTRIES_MAX;
    options.positive_max_ttl = Some(CACHE_TIME_MAX);
    options.negative_max_ttl = Some(CACHE_NEGATIVE_TIME_MAX);
    options.use_hosts_file = ResolveHosts::Never;
    options.edns0 = true;
    // of two servers that are asked at the same time and both say that it is too long for UDP, neither would be asked by TCP
    options.num_concurrent_reqs = 1;
    options.try_tcp_on_error = true;
}

/// The name as it is, with its root: no search list is tried. A text that is no name does not exist.
fn fqdn(host: &str) -> Result<Name, DnsError> {
    let mut name = Name::from_ascii(host).map_err(|_| DnsError::NoSuchDomain(host.to_owned()))?;
    name.set_fqdn(true);
    Ok(name)
}

/// The name whose labels hold these octets, whatever they are, with its root.
fn raw_name(host: &str) -> Result<Name, DnsError> {
    let labels = host.strip_suffix('.').unwrap_or(host).split('.').map(str::as_bytes);
    let mut name = Name::from_labels(labels).map_err(|_| DnsError::NoSuchDomain(host.to_owned()))?;
    name.set_fqdn(true);
    Ok(name)
}

/// Without the last dot, in lower case; the root is `.`.
fn host_name(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    match text.strip_suffix('.') {
        Some("") | None => text,
        Some(host) => host.to_owned(),
    }
}

/// The MX records among these.
fn exchanges<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<(u16, String)> {
    let mx = |record: &'a Record| match &record.data {
        RData::MX(mx) => Some((mx.preference, host_name(&mx.exchange))),
        _ => None,
    };
    records.into_iter().filter_map(mx).collect()
}

fn some<T>(name: &str, records: Vec<T>) -> Result<Vec<T>, DnsError> {
    if records.is_empty() { Err(DnsError::NoRecords(name.to_owned())) } else { Ok(records) }
}

fn failure(name: &str, error: &NetError) -> DnsError {
    if error.is_nx_domain() {
        return DnsError::NoSuchDomain(name.to_owned());
    }
    match error {
        NetError::Dns(hickory_resolver::net::DnsError::NoRecordsFound(none))
            if none.response_code == hickory_resolver::proto::op::ResponseCode::NoError =>
        {
            DnsError::NoRecords(name.to_owned())
        }
        _ => DnsError::Temporary(name.to_owned(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc};

    use hickory_resolver::proto::rr::{LowerName, rdata};
    use hickory_server::{
        Server,
        store::in_memory::InMemoryZoneHandler,
        zone_handler::{AxfrPolicy, Catalog, ZoneType},
    };
    use waypost_config::Dnssec;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    #[tokio::test]
    async fn what_is_too_long_for_udp_is_asked_for_by_tcp_whichever_server_says_so() {
        let (one, two) = (zone().await, zone().await);
        for dnssec in [Dnssec::Off, Dnssec::TrustAd] {
            let config = DnsConfig { servers: vec![one.1, two.1], dnssec, ..DnsConfig::default() };
            let resolver = Resolver::new(&config).unwrap();
            let (found, _) = resolver.secured_mx(&Domain::new("many.test").unwrap()).await;
            assert_eq!(found.map(|found| found.len()), Ok(100), "{dnssec:?}");
        }
    }

    /// A server for `test.` on loopback.
    async fn zone() -> (Server<Catalog>, SocketAddr) {
        let mut zone: InMemoryZoneHandler<TokioRuntimeProvider> =
            InMemoryZoneHandler::empty(name("test."), ZoneType::Primary, AxfrPolicy::Deny, None);
        let mut add = |owner: &str, data: RData| {
            zone.upsert_mut(Record::from_rdata(name(owner), 60, data), 0);
        };
        let soa = rdata::SOA::new(name("ns.test."), name("root.test."), 1, 60, 60, 60, 60);
        add("test.", RData::SOA(soa));
        let mx = |preference, host: &str| RData::MX(rdata::MX::new(preference, name(host)));
        add("b.test.", mx(10, "MX1.b.test."));
        add("b.test.", mx(20, "mx2.b.test."));
        add("null.test.", mx(0, "."));
        let parts = ["v=STSv1; ", "id=1;"].map(str::to_owned).to_vec();
        add("_mta-sts.b.test.", RData::TXT(rdata::TXT::new(parts)));
        add("alias.test.", RData::CNAME(rdata::CNAME(name("b.test."))));
        add("mx1.b.test.", RData::A(rdata::A::new(192, 0, 2, 1)));
        add("mx1.b.test.", RData::AAAA(rdata::AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)));
        add("mx2.b.test.", RData::A(rdata::A::new(192, 0, 2, 2)));
        add("hostalias.test.", RData::CNAME(rdata::CNAME(name("mx2.b.test."))));
        add("raw.test.", RData::TXT(rdata::TXT::from_bytes(vec![b"\x96", b"x"])));
        let odd = Name::from_labels([b"a+b\\c@".as_slice(), b"test"]).unwrap();
        zone.upsert_mut(Record::from_rdata(odd, 60, RData::A(rdata::A::new(127, 0, 0, 2))), 0);
        let mut add = |owner: &str, data: RData| {
            zone.upsert_mut(Record::from_rdata(name(owner), 60, data), 0);
        };
        let many = (0..100).map(|n| mx(n, &format!("a-rather-long-host-name-{n}.many.test.")));
        many.for_each(|data| add("many.test.", data));
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::from(name("test.")), vec![Arc::new(zone)]);
        let mut server = Server::new(catalog);
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        server.register_listener(tcp, Duration::from_secs(5), 64);
        server.register_socket(tokio::net::UdpSocket::bind(address).await.unwrap());
        (server, address)
    }

    #[tokio::test]
    async fn answers_are_told_apart() {
        let (_server, address) = zone().await;
        let resolver = Resolver::new(&DnsConfig { servers: vec![address], ..DnsConfig::default() }).unwrap();
        let mx = async |text: &str| {
            let mut found = resolver.mx(&Domain::new(text).unwrap()).await?;
            found.sort();
            Ok(found)
        };
        let both = vec![(10, "mx1.b.test".to_owned()), (20, "mx2.b.test".to_owned())];
        assert_eq!(mx("b.test").await, Ok(both.clone()));
        assert_eq!(mx("alias.test").await, Ok(both));
        assert_eq!(mx("null.test").await, Ok(vec![(0, ".".to_owned())]));
        assert_eq!(mx("mx1.b.test").await, Err(DnsError::NoRecords("mx1.b.test".into())));
        assert_eq!(mx("none.test").await, Err(DnsError::NoSuchDomain("none.test".into())));
        assert_eq!(
            mx("many.test").await.map(|found| found.len()),
            Ok(100),
            "truncated over UDP, so asked over TCP"
        );
        // no zone of this server
        assert!(matches!(mx("elsewhere.example").await, Err(DnsError::Temporary(..))));
        assert_eq!(resolver.txt("_mta-sts.b.test").await, Ok(vec!["v=STSv1; id=1;".to_owned()]));
        assert_eq!(resolver.txt("b.test").await, Err(DnsError::NoRecords("b.test".into())));
        assert_eq!(resolver.texts("raw.test").await, Ok(vec![b"\x96x".to_vec()]));
        assert_eq!(resolver.txt("raw.test").await, Err(DnsError::NoRecords("raw.test".into())));
        let of = async |host: &str, family| resolver.addresses_in(family, host).await;
        assert_eq!(of("mx1.b.test.", Family::V4).await, Ok(vec!["192.0.2.1".parse().unwrap()]));
        assert_eq!(of("mx1.b.test", Family::V6).await, Ok(vec!["2001:db8::1".parse().unwrap()]));
        assert_eq!(of("mx2.b.test", Family::V6).await, Err(DnsError::NoRecords("mx2.b.test".into())));
        assert_eq!(of("a+b\\c@.test", Family::V4).await, Ok(vec!["127.0.0.2".parse().unwrap()]));
        let addresses = async |host: &str| {
            resolver
                .addresses(host)
                .await
                .map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(addresses("mx1.b.test").await.as_deref(), Ok("2001:db8::1 192.0.2.1"));
        assert_eq!(addresses("hostalias.test").await.as_deref(), Ok("192.0.2.2"));
        assert_eq!(addresses("b.test").await, Err(DnsError::NoRecords("b.test".into())));
        assert_eq!(addresses("none.test").await, Err(DnsError::NoSuchDomain("none.test".into())));
        assert!(addresses("a..b").await.is_err());
    }
}
