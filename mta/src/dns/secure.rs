//! What DNSSEC says of an answer (RFC 4033 section 5), for DANE: whether MX records and addresses are secure, and TLSA records.
//!
//! Other look-ups do not come here. Mail exchangers do, wherever DNSSEC is looked at: the answer that says where mail goes is the one
//! whose security counts, or whoever forges another one would choose the server (RFC 7672 section 2.2.1).

mod signatures;
mod wildcard;

use std::{path::Path, sync::Arc, time::Duration};

use hickory_resolver::{
    NameServerPool, PoolContext, Resolver as HickoryResolver, TlsConfig, TokioResolver,
    caching_client::CachingClient,
    config::{ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{
        DnsError as HickoryError, DnsHandle, NetError,
        dnssec::DnssecDnsHandle,
        runtime::TokioRuntimeProvider,
        xfer::{FirstAnswer, RetryDnsHandle},
    },
    proto::{
        dnssec::{DnssecSummary, Proof, TrustAnchors},
        op::{DnsRequestOptions, Query, ResponseCode},
        rr::{Name, RData, Record, RecordType},
    },
};
use waypost_config::{DnsConfig, Dnssec};
use waypost_mail::Domain;
use waypost_net::TlsaRecord;

use signatures::{Believing, Signatures};

use super::{CACHE_ENTRIES_MAX, DnsError, Resolver, exchanges, fqdn, host_name, raw_name, some};

/// Longest wait for one answer with all that is needed to validate it.
pub const SECURE_TIMEOUT: Duration = Duration::from_secs(20);
/// Most TLSA records of one name that are looked at.
pub const TLSA_RECORDS_MAX: usize = 32;

/// What DNSSEC says of an answer that can be used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Security {
    /// Signed, and the signatures hold.
    Secure,
    /// In a zone that is not signed, or nobody looked.
    #[default]
    Insecure,
}

/// What DNSSEC says of the addresses of a host (RFC 7672 section 2.2.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HostSecurity {
    /// Addresses and all aliases on the way to them.
    Secure {
        /// The name at the end of the aliases, where the host is one.
        canonical: Option<String>,
    },
    /// The host is an alias, and only that is secure.
    OnlyAlias,
    /// Not.
    Insecure,
    /// The signatures do not hold, or there was no answer; in words.
    Failed(String),
}

/// TLSA records of a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tlsa {
    /// Secure ones, at least one.
    Records(Vec<TlsaRecord>),
    /// There are none that are secure.
    None,
    /// The signatures do not hold, or there was no answer; in words. Nothing is known then (RFC 7672 section 2.1.2).
    Failed(String),
}

/// Who tells whether an answer is secure.
#[derive(Clone)]
pub(super) enum Secure {
    /// We validate.
    Validating(Box<Validator>),
    /// The resolver does, and says so by the AD bit (RFC 4035 section 3.2.3).
    Trusting(Box<Believing>),
}

impl Secure {
    /// `None`: DNSSEC is off. Errors: the trust anchors cannot be read.
    pub(super) fn new(
        config: &DnsConfig,
        servers: ResolverConfig,
        options: ResolverOpts,
    ) -> Result<Option<Self>, DnsError> {
        let problem = |error: NetError| DnsError::Temporary("the resolver".into(), error.to_string());
        Ok(match effective(config.dnssec, &servers) {
            Dnssec::Off | Dnssec::Auto => None,
            Dnssec::TrustAd => Some(Self::Trusting(Box::new(believing(servers, options).map_err(problem)?))),
            Dnssec::Validate => {
                let is_told = config.dnssec == Dnssec::Validate || config.trust_anchors.is_some();
                let believing =
                    || believing(servers.clone(), options.clone()).map(Signatures::new).map_err(problem);
                let signatures = if is_told { None } else { Some(believing()?) };
                let anchors = config.trust_anchors.as_deref().map(anchors).transpose()?;
                let validator = Validator::new(servers, options, anchors.map(Arc::new), signatures);
                Some(Self::Validating(Box::new(validator.map_err(problem)?)))
            }
        })
    }

    /// An answer with what DNSSEC says of it. What is bogus is an error.
    async fn lookup(&self, name: Name, kind: RecordType) -> Result<Answer, Failure> {
        let asking = async {
            match self {
                Self::Validating(validator) => validator.lookup(name, kind).await,
                Self::Trusting(client) => client
                    .lookup(Query::query(name, kind), with_signatures())
                    .await
                    .map(|found| Answer::trusted(&found)),
            }
        };
        match tokio::time::timeout(SECURE_TIMEOUT, asking).await {
            Ok(answer) => answer.map_err(|error| Failure::of(&error)),
            Err(_) => Err(Failure::Unknown(format!("no answer within {} s", SECURE_TIMEOUT.as_secs()))),
        }
    }
}

/// The library, and what it gets wrong.
#[derive(Clone)]
pub(super) struct Validator {
    resolver: TokioResolver,
    /// The same without a cache, which keeps of what it takes for bogus nothing but that.
    handle: DnssecDnsHandle<Asking>,
    /// `None`: signatures are to be there, whatever the resolvers hand on.
    signatures: Option<Signatures>,
}

impl Validator {
    fn new(
        servers: ResolverConfig,
        mut options: ResolverOpts,
        anchors: Option<Arc<TrustAnchors>>,
        signatures: Option<Signatures>,
    ) -> Result<Self, NetError> {
        options.validate = true;
        let anchors = anchors.unwrap_or_default();
        let handle =
            DnssecDnsHandle::with_trust_anchor(asking(servers.clone(), options.clone())?, anchors.clone());
        let mut builder = HickoryResolver::builder_with_config(servers, TokioRuntimeProvider::default())
            .with_trust_anchor(anchors);
        *builder.options_mut() = options;
        Ok(Self { resolver: builder.build()?, handle, signatures })
    }

    async fn lookup(&self, name: Name, kind: RecordType) -> Result<Answer, NetError> {
        let bogus = match self.resolver.lookup(name.clone(), kind).await {
            Ok(found) => return Ok(Answer::validated(found.answers())),
            Err(bogus @ NetError::Dns(HickoryError::DnssecBogus)) => bogus,
            Err(error) => return Err(error),
        };
        let asking = self.handle.lookup(Query::query(name, kind), with_signatures());
        match asking.first_answer().await {
            Err(NetError::Dns(HickoryError::Nsec { response, .. })) if wildcard::is_proven(&response) => {
                Ok(Answer::validated(&response.answers))
            }
            Ok(_) | Err(_) => Err(bogus),
        }
    }
}

/// Asks, and asks again.
type Asking = RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>;

fn asking(servers: ResolverConfig, options: ResolverOpts) -> Result<Asking, NetError> {
    let attempts = options.attempts;
    let context = Arc::new(PoolContext::new(options, TlsConfig::new()?));
    let pool = NameServerPool::from_config(servers.name_servers, context, TokioRuntimeProvider::default());
    Ok(RetryDnsHandle::new(pool, attempts))
}

/// A client that takes answers as they come.
fn believing(servers: ResolverConfig, options: ResolverOpts) -> Result<Believing, NetError> {
    Ok(CachingClient::new(CACHE_ENTRIES_MAX, asking(servers, options)?, true))
}

fn with_signatures() -> DnsRequestOptions {
    let mut options = DnsRequestOptions::default();
    options.edns_set_dnssec_ok = true;
    options
}

fn anchors(file: &Path) -> Result<TrustAnchors, DnsError> {
    let problem = |text: String| DnsError::Temporary(file.display().to_string(), text);
    let text = std::fs::read_to_string(file).map_err(|error| problem(error.to_string()))?;
    let anchors = text.parse::<TrustAnchors>().map_err(|error| problem(error.to_string()))?;
    // its own `is_empty` counts the root's keys only
    let is_key = |line: &str| line.split_whitespace().any(|word| word.eq_ignore_ascii_case("DNSKEY"));
    if text.lines().any(is_key) { Ok(anchors) } else { Err(problem("holds no DNSKEY record".into())) }
}

/// `Auto` is what fits the servers: a resolver on this machine is believed, others are not.
fn effective(wanted: Dnssec, servers: &ResolverConfig) -> Dnssec {
    let is_here = || servers.name_servers.iter().all(|server| server.ip.is_loopback());
    match wanted {
        Dnssec::Auto if is_here() => Dnssec::TrustAd,
        Dnssec::Auto => Dnssec::Validate,
        said => said,
    }
}

/// Records, each with whether it is secure.
struct Answer(Vec<(Record, bool)>);

impl Answer {
    fn validated(records: &[Record]) -> Self {
        Self(records.iter().map(|record| (record.clone(), record.proof == Proof::Secure)).collect())
    }

    fn trusted(lookup: &Lookup) -> Self {
        let is_secure = lookup.message().metadata.authentic_data;
        Self(lookup.answers().iter().map(|record| (record.clone(), is_secure)).collect())
    }

    fn is_secure(&self) -> bool {
        let mut records = self.0.iter().filter(|(record, _)| record.record_type() != RecordType::RRSIG);
        !self.0.is_empty() && records.all(|(_, secure)| *secure)
    }

    /// Where the aliases of a name lead, as far as they are in the answer, and whether the first one is secure.
    fn aliases(&self, name: &Name) -> Option<(Name, bool)> {
        let alias = |of: &Name| {
            self.0.iter().find_map(|(record, secure)| match &record.data {
                RData::CNAME(alias) if record.name == *of => Some((alias.0.clone(), *secure)),
                _ => None,
            })
        };
        let (mut end, first_is_secure) = alias(name)?;
        // no longer than there are records: aliases may run in circles
        for _ in 0..self.0.len() {
            let Some((next, _)) = alias(&end) else { break };
            end = next;
        }
        Some((end, first_is_secure))
    }
}

/// Why there is no answer.
enum Failure {
    /// There is no such name, which is proven (by NSEC, or by NSEC3: RFC 5155) or in a zone that is not signed.
    NoName,
    /// The name has nothing of this kind, which is likewise so.
    Nothing,
    /// It is not known; in words.
    Unknown(String),
}

impl Failure {
    fn of(error: &NetError) -> Self {
        match error {
            NetError::Dns(HickoryError::NoRecordsFound(none)) => Self::denied(none.response_code),
            NetError::Dns(HickoryError::Nsec { proof: Proof::Insecure, response, .. })
                if DnssecSummary::from_records(response.answers.iter()) != DnssecSummary::Bogus =>
            {
                Self::denied(response.response_code)
            }
            error => Self::Unknown(error.to_string()),
        }
    }

    fn denied(code: ResponseCode) -> Self {
        match code {
            ResponseCode::NXDomain => Self::NoName,
            ResponseCode::NoError => Self::Nothing,
            code => Self::Unknown(code.to_string()),
        }
    }
}

impl Resolver {
    /// Whether DNSSEC is looked at.
    pub fn knows_dnssec(&self) -> bool {
        self.secure.is_some()
    }

    /// Who tells what is secure; `None` also where the resolvers hand on no signatures, and nobody has said that they are to be asked for.
    async fn secure(&self) -> Option<&Secure> {
        match &self.secure {
            Some(Secure::Validating(validator)) => match &validator.signatures {
                Some(signatures) if !signatures.are_handed_on().await => None,
                Some(_) | None => self.secure.as_ref(),
            },
            secure => secure.as_ref(),
        }
    }

    /// MX records as [`Resolver::mx`] has them, and whether they are secure. Where a domain has none it is its own exchanger, and that is
    /// (RFC 7672 section 2.2.1). Where DNSSEC is looked at an answer that does not hold is [`DnsError::Temporary`].
    pub async fn secured_mx(&self, domain: &Domain) -> (Result<Vec<(u16, String)>, DnsError>, Security) {
        let owner = domain.as_str();
        let (Some(secure), Ok(name)) = (self.secure().await, raw_name(owner)) else {
            return (self.mx(domain).await, Security::Insecure);
        };
        match secure.lookup(name, RecordType::MX).await {
            Ok(answer) => {
                let security = if answer.is_secure() { Security::Secure } else { Security::Insecure };
                (some(owner, exchanges(answer.0.iter().map(|(record, _)| record))), security)
            }
            // whether the denial was secure is told by the addresses, which are looked at in any case
            Err(Failure::Nothing) => (Err(DnsError::NoRecords(owner.to_owned())), Security::Secure),
            Err(Failure::NoName) => (Err(DnsError::NoSuchDomain(owner.to_owned())), Security::Insecure),
            Err(Failure::Unknown(text)) => {
                let text = format!("{text} (with DNSSEC, see [dns] dnssec)");
                (Err(DnsError::Temporary(owner.to_owned(), text)), Security::Insecure)
            }
        }
    }

    /// What DNSSEC says of the addresses of a host that has some.
    pub async fn host_security(&self, host: &str) -> HostSecurity {
        let (Some(secure), Ok(name)) = (self.secure().await, fqdn(host)) else {
            return HostSecurity::Insecure;
        };
        let mut answer = secure.lookup(name.clone(), RecordType::A).await;
        if matches!(answer, Err(Failure::Nothing)) {
            answer = secure.lookup(name.clone(), RecordType::AAAA).await;
        }
        let answer = match answer {
            Ok(answer) => answer,
            // it is asked for where an address was found, without DNSSEC
            Err(Failure::Nothing | Failure::NoName) => {
                return HostSecurity::Failed("with DNSSEC it has no address".to_owned());
            }
            Err(Failure::Unknown(text)) => return HostSecurity::Failed(text),
        };
        let alias = answer.aliases(&name);
        if answer.is_secure() {
            return HostSecurity::Secure { canonical: alias.map(|(end, _)| host_name(&end)) };
        }
        let first_is_secure = match (alias, secure) {
            (None, _) => false,
            (Some((_, secure)), Secure::Validating(..)) => secure,
            // the AD bit speaks of the whole answer
            (Some(_), Secure::Trusting(_)) => {
                secure.lookup(name, RecordType::CNAME).await.is_ok_and(|answer| answer.is_secure())
            }
        };
        if first_is_secure { HostSecurity::OnlyAlias } else { HostSecurity::Insecure }
    }

    /// The TLSA records of a server: `_port._tcp.base` (RFC 6698 section 3).
    pub async fn tlsa(&self, base: &str, port: u16) -> Tlsa {
        let (Some(secure), Ok(name)) = (self.secure().await, fqdn(&format!("_{port}._tcp.{base}"))) else {
            return Tlsa::None;
        };
        let answer = match secure.lookup(name, RecordType::TLSA).await {
            Ok(answer) if answer.is_secure() => answer,
            Ok(_) | Err(Failure::Nothing | Failure::NoName) => return Tlsa::None,
            Err(Failure::Unknown(text)) => return Tlsa::Failed(text),
        };
        let record = |(record, _): &(Record, bool)| match &record.data {
            RData::TLSA(tlsa) => Some(TlsaRecord {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            }),
            _ => None,
        };
        let records: Vec<_> = answer.0.iter().filter_map(record).take(TLSA_RECORDS_MAX).collect();
        if records.is_empty() { Tlsa::None } else { Tlsa::Records(records) }
    }
}

#[cfg(test)]
mod tests;
