//! What DNSSEC says of an answer (RFC 4033 section 5), for DANE: whether MX records and addresses are secure, and TLSA records.
//!
//! Ordinary look-ups never come here: they are not validated, so that a fault of a validator, or of a signature, stops no mail
//! that needs none. What is asked here only decides how much is demanded of TLS.

use std::{path::Path, sync::Arc, time::Duration};

use hickory_resolver::{
    NameServerPool, PoolContext, Resolver as HickoryResolver, TlsConfig, TokioResolver,
    caching_client::CachingClient,
    config::{ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{DnsError as HickoryError, NetError, runtime::TokioRuntimeProvider, xfer::RetryDnsHandle},
    proto::{
        dnssec::{DnssecSummary, Proof, TrustAnchors},
        op::{DnsRequestOptions, Query},
        rr::{Name, RData, Record, RecordType},
    },
};
use waypost_config::{DnsConfig, Dnssec};
use waypost_mail::Domain;
use waypost_net::TlsaRecord;

use super::{CACHE_ENTRIES_MAX, DnsError, Resolver, fqdn, host_name};

/// Longest wait for one answer with all that is needed to validate it.
pub const SECURE_TIMEOUT: Duration = Duration::from_secs(20);
/// Most TLSA records of one name that are looked at.
pub const TLSA_RECORDS_MAX: usize = 32;

/// What DNSSEC says of an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Security {
    /// Signed, and the signatures hold.
    Secure,
    /// In a zone that is not signed, or nobody looked.
    Insecure,
    /// Signed, and the signatures do not hold, or there was no answer; in words.
    Failed(String),
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
    /// The signatures do not hold, or there was no answer; in words. Nothing is known then (RFC 7672 section 2.1.1).
    Failed(String),
}

/// Who tells whether an answer is secure.
#[derive(Clone)]
pub(super) enum Secure {
    /// We validate.
    Validating(Box<TokioResolver>),
    /// The resolver does, and says so by the AD bit (RFC 4035 section 3.2.3).
    Trusting(Box<CachingClient<RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>>>),
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
            Dnssec::TrustAd => {
                let attempts = options.attempts;
                let tls = TlsConfig::new().map_err(problem)?;
                let context = Arc::new(PoolContext::new(options, tls));
                let provider = TokioRuntimeProvider::default();
                let pool = NameServerPool::from_config(servers.name_servers, context, provider);
                let client = RetryDnsHandle::new(pool, attempts);
                Some(Self::Trusting(Box::new(CachingClient::new(CACHE_ENTRIES_MAX, client, true))))
            }
            Dnssec::Validate => {
                let provider = TokioRuntimeProvider::default();
                let mut builder = HickoryResolver::builder_with_config(servers, provider);
                *builder.options_mut() = options;
                builder.options_mut().validate = true;
                if let Some(file) = &config.trust_anchors {
                    builder = builder.with_trust_anchor(Arc::new(anchors(file)?));
                }
                Some(Self::Validating(Box::new(builder.build().map_err(problem)?)))
            }
        })
    }

    /// An answer with what DNSSEC says of it. What is bogus is an error.
    async fn lookup(&self, name: Name, kind: RecordType) -> Result<Answer, Failure> {
        let asking = async {
            match self {
                Self::Validating(resolver) => {
                    resolver.lookup(name, kind).await.map(|found| Answer::validated(&found))
                }
                Self::Trusting(client) => {
                    let mut options = DnsRequestOptions::default();
                    options.edns_set_dnssec_ok = true;
                    client
                        .lookup(Query::query(name, kind), options)
                        .await
                        .map(|found| Answer::trusted(&found))
                }
            }
        };
        match tokio::time::timeout(SECURE_TIMEOUT, asking).await {
            Ok(answer) => answer.map_err(|error| Failure::of(&error)),
            Err(_) => Err(Failure::Unknown(format!("no answer within {} s", SECURE_TIMEOUT.as_secs()))),
        }
    }
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
    fn validated(lookup: &Lookup) -> Self {
        let records = lookup.answers().iter();
        Self(records.map(|record| (record.clone(), record.proof == Proof::Secure)).collect())
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
    /// There is nothing, which is proven (by NSEC, or by NSEC3: RFC 5155) or in a zone that is not signed.
    Nothing,
    /// It is not known; in words.
    Unknown(String),
}

impl Failure {
    fn of(error: &NetError) -> Self {
        match error {
            NetError::Dns(HickoryError::NoRecordsFound(_)) => Self::Nothing,
            NetError::Dns(HickoryError::Nsec { proof: Proof::Insecure, response, .. })
                if DnssecSummary::from_records(response.answers.iter()) != DnssecSummary::Bogus =>
            {
                Self::Nothing
            }
            error => Self::Unknown(error.to_string()),
        }
    }
}

impl Resolver {
    /// Whether DNSSEC is looked at.
    pub fn knows_dnssec(&self) -> bool {
        self.secure.is_some()
    }

    /// Whether the MX records of a domain are secure; where it has none, it is its own exchanger, and that is (RFC 7672
    /// section 2.2.1).
    pub async fn mx_security(&self, domain: &Domain) -> Security {
        let (Some(secure), Ok(name)) = (&self.secure, fqdn(domain.as_str())) else {
            return Security::Insecure;
        };
        match secure.lookup(name, RecordType::MX).await {
            Ok(answer) if answer.is_secure() => Security::Secure,
            Ok(_) => Security::Insecure,
            // whether the denial was secure is told by the addresses, which are looked at in any case
            Err(Failure::Nothing) => Security::Secure,
            Err(Failure::Unknown(text)) => Security::Failed(text),
        }
    }

    /// What DNSSEC says of a host's addresses.
    pub async fn host_security(&self, host: &str) -> HostSecurity {
        let (Some(secure), Ok(name)) = (&self.secure, fqdn(host)) else { return HostSecurity::Insecure };
        let mut answer = secure.lookup(name.clone(), RecordType::A).await;
        if matches!(answer, Err(Failure::Nothing)) {
            answer = secure.lookup(name.clone(), RecordType::AAAA).await;
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(Failure::Nothing) => return HostSecurity::Insecure,
            Err(Failure::Unknown(text)) => return HostSecurity::Failed(text),
        };
        let alias = answer.aliases(&name);
        if answer.is_secure() {
            return HostSecurity::Secure { canonical: alias.map(|(end, _)| host_name(&end)) };
        }
        let first_is_secure = match (alias, secure) {
            (None, _) => false,
            (Some((_, secure)), Secure::Validating(_)) => secure,
            // the AD bit speaks of the whole answer
            (Some(_), Secure::Trusting(_)) => {
                secure.lookup(name, RecordType::CNAME).await.is_ok_and(|answer| answer.is_secure())
            }
        };
        if first_is_secure { HostSecurity::OnlyAlias } else { HostSecurity::Insecure }
    }

    /// The TLSA records of a server: `_port._tcp.base` (RFC 6698 section 3).
    pub async fn tlsa(&self, base: &str, port: u16) -> Tlsa {
        let (Some(secure), Ok(name)) = (&self.secure, fqdn(&format!("_{port}._tcp.{base}"))) else {
            return Tlsa::None;
        };
        let answer = match secure.lookup(name, RecordType::TLSA).await {
            Ok(answer) if answer.is_secure() => answer,
            Ok(_) | Err(Failure::Nothing) => return Tlsa::None,
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
