//! Gathers what the decision needs, and hears what came of it. All that is slow is here: DNS, HTTPS, files.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use waypost_config::{LostTls, OutboundTlsConfig, TlsLevel, TlsPolicyConfig};
use waypost_mail::{Domain, Timestamp};
use waypost_net::{
    Bounds, CertificateProblem, HttpsClient, HttpsError, HttpsRequest, HttpsUrl, Roots, Shutdown, TlsError,
    TlsInfo,
};

use super::{
    cache::{Cache, Kept, Step},
    decision::{Basis, Demand, Inputs, Obstacle, TlsPolicy, Wish, next_hop_policy, policy},
    durable,
    memory::{Afterwards, Lost, Memory, Quality},
    results::{Day, Ends, Failed, ResultType, Results},
    sts::{POLICY_BYTES_MAX, StsPolicy, policy_id},
};
use crate::dns::{DnsError, HostSecurity, Resolver, Security, Tlsa};

/// Longest fetch of a policy (RFC 8461 section 3.3 proposes a minute; mail waits for it).
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// How often memory and results are written.
pub const WRITE_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Most policies that are fetched again in one go.
const REFRESHES_MAX: usize = 50;

/// How TLS went in a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SessionTls {
    /// It is on.
    On(TlsInfo),
    /// The server offers none, or refuses it.
    NotOffered,
    /// It broke.
    Broken(TlsError),
    /// The server was not asked.
    NotAsked,
}

/// Most domains of which a loss of TLS is kept in memory; the oldest goes.
pub const ALARMED_MAX: usize = 1000;

/// Everything about TLS towards other servers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Policies(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    resolver: Resolver,
    cache: Mutex<Cache>,
    memory: Mutex<Memory>,
    results: Mutex<Results>,
    trust: Mutex<Option<Arc<Trust>>>,
    /// Policies that are being fetched, each once.
    fetches: Mutex<HashMap<Domain, Fetched>>,
    alarms: Mutex<Alarms>,
}

/// A loss of TLS of a domain, that was told of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alarm {
    /// When, the last time.
    pub at: Timestamp,
    /// What was lost, in words.
    pub what: &'static str,
    /// The server.
    pub host: String,
    /// How often since the start.
    pub count: u64,
}

/// Those since the start.
#[derive(Debug, Default)]
struct Alarms {
    count: u64,
    domains: HashMap<Domain, Alarm>,
}

impl Alarms {
    fn add(&mut self, domain: &Domain, host: &str, what: &'static str, at: Timestamp) {
        self.count += 1;
        let count = self.domains.get(domain).map_or(0, |alarm| alarm.count) + 1;
        self.domains.insert(domain.clone(), Alarm { at, what, host: host.to_owned(), count });
        if self.domains.len() > ALARMED_MAX
            && let Some(oldest) =
                self.domains.iter().min_by_key(|(_, alarm)| alarm.at).map(|(d, _)| d.clone())
        {
            self.domains.remove(&oldest);
        }
    }
}

/// What a fetch comes to: nothing yet, or the policy that holds after it, if one does.
type Fetched = watch::Receiver<Option<Option<StsPolicy>>>;

/// Roots, with the files they are of.
#[derive(Debug)]
struct Trust {
    files: Vec<PathBuf>,
    roots: Roots,
    https: HttpsClient,
}

/// Each change is complete, so that a poisoned lock is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Policies {
    /// With what a folder keeps: `sts/`, `results/`, `memory.json`. What cannot be read is told of and begun anew. Blocks.
    pub fn open(resolver: Resolver, folder: &Path, now: Timestamp) -> Self {
        Self(Arc::new(Shared {
            resolver,
            cache: Mutex::new(Cache::open(&folder.join("sts"), now)),
            memory: Mutex::new(Memory::open(&folder.join("memory.json"))),
            results: Mutex::new(Results::open(&folder.join("results"), now)),
            trust: Mutex::default(),
            fetches: Mutex::default(),
            alarms: Mutex::default(),
        }))
    }

    /// Keeps nothing.
    pub fn in_memory(resolver: Resolver) -> Self {
        Self(Arc::new(Shared {
            resolver,
            cache: Mutex::default(),
            memory: Mutex::default(),
            results: Mutex::default(),
            trust: Mutex::default(),
            fetches: Mutex::default(),
            alarms: Mutex::default(),
        }))
    }

    /// Writes what is to be kept, and fetches policies again before they run out, until shutdown.
    pub async fn run(
        self,
        config: impl Fn() -> OutboundTlsConfig,
        now: impl Fn() -> Timestamp,
        shutdown: Shutdown,
    ) {
        loop {
            tokio::select! {
                () = shutdown.stopping() => break,
                () = tokio::time::sleep(WRITE_INTERVAL) => {}
            }
            self.write(now()).await;
            let ageing = lock(&self.0.cache).ageing(now());
            for domain in ageing.into_iter().take(REFRESHES_MAX) {
                if shutdown.is_stopping() {
                    break;
                }
                self.sts(&config(), &domain, now()).await;
            }
        }
        self.write(now()).await;
    }

    /// Writes what has changed and removes what is outdated.
    pub async fn write(&self, now: Timestamp) {
        let memory = lock(&self.0.memory).take_changes();
        let (results, mut outdated) = {
            let mut results = lock(&self.0.results);
            (results.take_changes(), results.outdated(now))
        };
        outdated.extend(lock(&self.0.cache).bound(now));
        store(memory.into_iter().chain(results).collect(), outdated).await;
    }

    /// How often TLS that was good was lost, since the start.
    pub fn alarms(&self) -> u64 {
        lock(&self.0.alarms).count
    }

    /// The domains whose TLS was lost since the start, of the last [`ALARMED_MAX`] of them, with the last loss.
    pub fn alarmed(&self) -> Vec<(Domain, Alarm)> {
        let alarms = lock(&self.0.alarms);
        alarms.domains.iter().map(|(domain, alarm)| (domain.clone(), alarm.clone())).collect()
    }

    /// The days of which there are results, as `2026-11-26`, the oldest first. Blocks.
    pub fn days(&self) -> Vec<String> {
        lock(&self.0.results).days()
    }

    /// The results of a day. Blocks. Errors: a file that cannot be read.
    pub fn day(&self, name: &str) -> io::Result<Day> {
        lock(&self.0.results).day(name)
    }

    /// Roots to verify with. Errors: there are none.
    pub fn roots(&self, config: &OutboundTlsConfig) -> Result<Roots, TlsError> {
        self.trust(config).map(|trust| trust.roots.clone())
    }

    fn trust(&self, config: &OutboundTlsConfig) -> Result<Arc<Trust>, TlsError> {
        let mut trust = lock(&self.0.trust);
        if let Some(trust) = trust.as_ref().filter(|trust| trust.files == config.roots) {
            return Ok(trust.clone());
        }
        let (roots, https) = (Roots::load(&config.roots)?, HttpsClient::new(&config.roots)?);
        let loaded = Arc::new(Trust { files: config.roots.clone(), roots, https });
        *trust = Some(loaded.clone());
        Ok(loaded)
    }

    /// The policy of MTA-STS that holds for a domain, fetched where that is due.
    async fn sts(&self, config: &OutboundTlsConfig, domain: &Domain, now: Timestamp) -> Option<StsPolicy> {
        let records = self.0.resolver.txt(&format!("_mta-sts.{domain}")).await;
        let id = match records {
            Ok(records) => policy_id(&records),
            Err(DnsError::NoRecords(_) | DnsError::NoSuchDomain(_) | DnsError::Temporary(..)) => None,
        };
        let (mut fetched, before) = match self.use_or_fetch(config, domain, id, now) {
            Ok(policy) => return policy,
            Err(fetching) => fetching,
        };
        match fetched.wait_for(Option::is_some).await {
            Ok(policy) => policy.clone().flatten(),
            Err(error) => {
                tracing::warn!(%domain, %error, "a fetch was broken off");
                before
            }
        }
    }

    /// The policy that holds without a fetch; else the fetch that is under way, begun now or before, with what holds where it is broken off.
    fn use_or_fetch(
        &self,
        config: &OutboundTlsConfig,
        domain: &Domain,
        id: Option<String>,
        now: Timestamp,
    ) -> Result<Option<StsPolicy>, (Fetched, Option<StsPolicy>)> {
        // the cache is asked while this is locked, so that nobody comes between the end of a fetch and what it left there
        let mut fetches = lock(&self.0.fetches);
        let (id, before) = match lock(&self.0.cache).step(domain, id, now) {
            Step::Use(policy) => return Ok(policy),
            Step::Fetch(id, before) => (id, before),
        };
        // one that was broken off has nobody who would tell
        if let Some(fetched) = fetches.get(domain).filter(|fetched| fetched.has_changed().is_ok()) {
            return Err((fetched.clone(), before));
        }
        let (sender, fetched) = watch::channel(None);
        fetches.insert(domain.clone(), fetched.clone());
        // a task of its own: what a caller who has gone away waited for is there the next time
        let (this, config, of, old) = (self.clone(), config.clone(), domain.clone(), before.clone());
        tokio::spawn(async move {
            let policy = this.fetch_and_keep(&config, &of, id, old, now).await;
            lock(&this.0.fetches).remove(&of);
            sender.send_replace(Some(policy));
        });
        Err((fetched, before))
    }

    /// Fetches a policy and keeps it; where that fails the one before stays.
    async fn fetch_and_keep(
        &self,
        config: &OutboundTlsConfig,
        domain: &Domain,
        id: String,
        before: Option<StsPolicy>,
        now: Timestamp,
    ) -> Option<StsPolicy> {
        match self.fetch(config, domain).await {
            Ok(policy) => {
                let kept = Kept { id, fetched: now, policy: policy.clone() };
                let (write, remove) = lock(&self.0.cache).keep(domain, kept);
                store(write.into_iter().collect(), remove).await;
                Some(policy)
            }
            Err(failed) => {
                tracing::warn!(%domain, reason = %failed.reason, kept = before.is_some(), "the policy of MTA-STS is not had");
                lock(&self.0.cache).failed(domain, now);
                let basis = before.clone().map_or(Basis::Nothing, Basis::Sts);
                self.count(domain, &basis, None, Some(&failed), now);
                before
            }
        }
    }

    /// `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` (RFC 8461 section 3.3): no redirect, text only, in time.
    async fn fetch(&self, config: &OutboundTlsConfig, domain: &Domain) -> Result<StsPolicy, Failed> {
        let failed = |kind, reason: String| Failed { kind, reason };
        let fetch_error = |reason: String| failed(ResultType::StsPolicyFetchError, reason);
        let trust = self.trust(config).map_err(|error| fetch_error(error.to_string()))?;
        let host = format!("mta-sts.{domain}");
        let addresses =
            self.0.resolver.addresses(&host).await.map_err(|error| fetch_error(error.to_string()))?;
        let url = HttpsUrl::new(&host, "/.well-known/mta-sts.txt");
        let url = url.map_err(|error| fetch_error(error.to_string()))?;
        let addresses: Vec<_> =
            addresses.into_iter().map(|ip| SocketAddr::new(ip, config.mta_sts_port)).collect();
        let bounds = Bounds { timeout: FETCH_TIMEOUT, body_bytes_max: POLICY_BYTES_MAX };
        let answer = trust.https.exchange(&url, &addresses, &HttpsRequest::default(), bounds).await;
        let answer = answer.map_err(|error| match &error {
            HttpsError::Tls(TlsError::Peer(..)) => failed(ResultType::StsWebpkiInvalid, error.to_string()),
            _ => fetch_error(error.to_string()),
        })?;
        if answer.status != 200 {
            return Err(fetch_error(format!("HTTP status {}", answer.status)));
        }
        let invalid = |reason: String| failed(ResultType::StsPolicyInvalid, reason);
        if answer.content_type.as_deref() != Some("text/plain") {
            return Err(invalid("the policy is not text/plain".into()));
        }
        let text = String::from_utf8(answer.body).map_err(|error| invalid(error.to_string()))?;
        StsPolicy::parse(&text).map_err(|error| invalid(error.to_string()))
    }

    fn count(
        &self,
        domain: &Domain,
        basis: &Basis,
        ends: Option<&Ends>,
        failed: Option<&Failed>,
        now: Timestamp,
    ) {
        let ended = lock(&self.0.results).count(domain, basis, ends, failed, now);
        if let Some((file, octets)) = ended {
            tokio::spawn(store(vec![(file, octets)], Vec::new()));
        }
    }
}

/// Writes and removes files off the async threads. What fails is told of, and no more: the next time writes the same again.
async fn store(write: Vec<(PathBuf, Vec<u8>)>, remove: Vec<PathBuf>) {
    if write.is_empty() && remove.is_empty() {
        return;
    }
    let storing = tokio::task::spawn_blocking(move || {
        for (file, octets) in write {
            if let Err(error) = durable::write(&file, &octets) {
                tracing::warn!(file = %file.display(), %error, "what is known of TLS elsewhere is not kept");
            }
        }
        for file in remove {
            if let Err(error) = std::fs::remove_file(&file) {
                tracing::debug!(file = %file.display(), %error, "an outdated file stays");
            }
        }
    });
    if let Err(error) = storing.await {
        tracing::warn!(%error, "what is known of TLS elsewhere is not kept");
    }
}

/// To whom mail goes.
#[derive(Clone, Copy, Debug)]
pub struct Towards<'a> {
    /// What is known.
    pub policies: &'a Policies,
    /// The operator's word.
    pub config: &'a OutboundTlsConfig,
    /// Whose mail exchangers they are, or what the operator says of the server that he names.
    pub whose: Whose<'a>,
    /// The sender's wish.
    pub wish: Wish,
    /// The time.
    pub now: Timestamp,
}

/// Whose servers they are.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// The mail exchangers of a domain.
    Domain(&'a Domain),
    /// Of nobody but the operator.
    NextHop(TlsLevel),
}

impl Towards<'_> {
    /// What is demanded of one of the servers, at a port. `mx`: what DNSSEC says of the answer that named it.
    pub async fn decide(&self, host: &str, port: u16, mx: Security) -> TlsPolicy {
        let now = self.now;
        let domain = match self.whose {
            Whose::Domain(domain) => domain,
            Whose::NextHop(level) => return next_hop_policy(level, vec![host.to_owned()]),
        };
        let said = said_of(self.config, domain);
        let resolver = &self.policies.0.resolver;
        let ((addresses, base, tlsa), sts) = if counts_what_is_published(self.config, domain, self.wish) {
            tokio::join!(dane_records(resolver, host, port), async {
                if self.config.mta_sts { self.policies.sts(self.config, domain, now).await } else { None }
            })
        } else {
            ((HostSecurity::Insecure, host.to_owned(), Tlsa::None), None)
        };
        policy(&Inputs {
            level: said.map(|policy| policy.level),
            exchangers: said.map_or(&[], |policy| policy.exchangers.as_slice()),
            lost: self.config.lost,
            wish: self.wish,
            domain,
            host,
            mx,
            addresses: &addresses,
            base: &base,
            tlsa: &tlsa,
            sts: sts.as_ref(),
            standing: lock(&self.policies.0.memory).standing(domain, now),
        })
    }

    /// Hears what came of a session: it is counted, and remembered; where TLS was lost, the log says so.
    pub fn heard(&self, policy: &TlsPolicy, ends: &Ends, tls: &SessionTls) {
        let now = self.now;
        let Whose::Domain(domain) = self.whose else { return };
        let Some((failed, quality)) = verdict(policy, &ends.host, tls) else { return };
        // what the domain asks for was not looked at; so go reports, of which none is to tell (RFC 8460 section 3)
        if self.wish != Wish::Optional {
            self.policies.count(domain, &policy.basis, Some(ends), failed.as_ref(), now);
        }
        let Some(quality) = quality else { return };
        let afterwards =
            if self.config.lost == LostTls::Defer { Afterwards::Keep } else { Afterwards::Forget };
        let lost = lock(&self.policies.0.memory).note(domain, quality, afterwards, now);
        if let Some(lost) = lost.filter(|_| self.config.lost != LostTls::Ignore) {
            let what = match lost {
                Lost::Encryption => "TLS that was good for weeks is gone",
                Lost::Verification => "a certificate that was good for weeks is not any more",
            };
            lock(&self.policies.0.alarms).add(domain, &ends.host, what, now);
            let reason = failed.map(|failed| failed.reason).unwrap_or_default();
            tracing::warn!(%domain, host = %ends.host, address = %ends.receiver, reason, "{what}: a fault, or an attack");
        }
    }
}

/// The operator's word on a domain.
fn said_of<'a>(config: &'a OutboundTlsConfig, domain: &Domain) -> Option<&'a TlsPolicyConfig> {
    config.domains.iter().find(|policy| policy.domain == *domain)
}

/// Whether what a domain publishes (DNSSEC, TLSA records, MTA-STS) has a say: not where the operator's word is that it has none, nor where
/// the sender wishes so and the operator says nothing (RFC 8689 section 5).
pub fn counts_what_is_published(config: &OutboundTlsConfig, domain: &Domain, wish: Wish) -> bool {
    let level = said_of(config, domain).map(|policy| policy.level);
    domain.as_ip().is_none()
        && !matches!(level, Some(TlsLevel::None | TlsLevel::Opportunistic))
        && (level.is_some() || wish != Wish::Optional)
}

/// Addresses and TLSA records of a host, and the name they are of: the end of its aliases where all of that is secure and has some,
/// else its own (RFC 7672 section 2.2.3). Nothing is asked for where the addresses are not secure: servers that do not sign may know no
/// such records, and fail (section 2.2.2).
async fn dane_records(resolver: &Resolver, host: &str, port: u16) -> (HostSecurity, String, Tlsa) {
    let addresses = resolver.host_security(host).await;
    let end = match &addresses {
        HostSecurity::Insecure | HostSecurity::Failed(_) => {
            return (addresses, host.to_owned(), Tlsa::None);
        }
        HostSecurity::Secure { canonical: Some(end) } => Some(end.clone()),
        HostSecurity::Secure { canonical: None } | HostSecurity::OnlyAlias => None,
    };
    if let Some(end) = end {
        match resolver.tlsa(&end, port).await {
            Tlsa::None => {}
            found => return (addresses, end, found),
        }
    }
    let found = resolver.tlsa(host, port).await;
    (addresses, host.to_owned(), found)
}

/// How a session failed the policy, if it did, and how good its TLS was, where that was seen; `None`: TLS was not wanted or not come to,
/// or nothing that the domain has a part in.
fn verdict(policy: &TlsPolicy, host: &str, tls: &SessionTls) -> Option<(Option<Failed>, Option<Quality>)> {
    let failed = |kind, reason: String| Some(Failed { kind, reason });
    if let Demand::Unusable(obstacle) = &policy.demand {
        // what the sender or the operator demands beyond what the domain publishes is no failure of the domain's (RFC 8460 section 4.3)
        let is_ours = match (obstacle, &policy.basis) {
            (Obstacle::NotSure, _) | (Obstacle::NotNamed, Basis::Nothing) => true,
            (Obstacle::NotNamed, Basis::Tlsa(..) | Basis::Sts(_)) => false,
            (Obstacle::TlsaUnknown(_) | Obstacle::AddressesUnknown(_) | Obstacle::NoTlsa, _) => false,
        };
        return (!is_ours).then(|| (failed(obstacle.into(), obstacle.to_string()), None));
    }
    let info = match (&policy.demand, tls) {
        (Demand::NoTls, _) | (_, SessionTls::NotAsked) => return None,
        (_, SessionTls::NotOffered) => {
            return Some((failed(ResultType::StarttlsNotSupported, String::new()), Some(Quality::Clear)));
        }
        (_, SessionTls::Broken(TlsError::Peer(problem, text))) => {
            return Some((failed((*problem).into(), text.clone()), Some(Quality::Encrypted)));
        }
        (_, SessionTls::Broken(error)) => {
            return Some((failed(ResultType::ValidationFailure, error.to_string()), Some(Quality::Clear)));
        }
        (_, SessionTls::On(info)) => info,
    };
    let seen = match (&policy.demand, info.observed) {
        (Demand::Dane { .. } | Demand::Named(_), _) | (_, Some(Ok(()))) => Quality::Verified,
        _ => Quality::Encrypted,
    };
    let problem = match (&policy.basis, &policy.demand) {
        (Basis::Tlsa(..), Demand::Encrypted) => {
            failed(ResultType::TlsaInvalid, "no TLSA record can be used".into())
        }
        (Basis::Sts(sts), Demand::Offered | Demand::Encrypted) => tested(sts, host, info.observed),
        _ => None,
    };
    Some((problem, Some(seen)))
}

/// How a session fails a policy that is tested.
fn tested(sts: &StsPolicy, host: &str, observed: Option<Result<(), CertificateProblem>>) -> Option<Failed> {
    if !sts.allows(host) {
        let reason = "the policy does not name the exchanger".to_owned();
        return Some(Failed { kind: ResultType::ValidationFailure, reason });
    }
    let problem = observed?.err()?;
    Some(Failed { kind: problem.into(), reason: problem.to_string() })
}

#[cfg(test)]
mod tests;
