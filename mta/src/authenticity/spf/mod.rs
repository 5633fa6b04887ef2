//! SPF: whether a client may use a domain in MAIL or HELO (RFC 7208). `record` and `macros` are pure; here `check_host()` asks DNS.
//!
//! Every look-up is bounded: terms that ask, names of MX and PTR, answers that are void, and the time of the whole check. Not here:
//! what is done about a result; that is for DMARC.

mod macros;
mod record;

use std::{fmt, net::IpAddr, pin::Pin, time::Duration};

use self::{
    macros::{DomainSpec, MacroString, Place, Values},
    record::{Directive, Mechanism, Prefixes, Qualifier, Record, is_record, shares_prefix},
};
use crate::dns::{DnsError, Family, Resolver};

/// Most terms of one check that ask DNS (RFC 7208 section 4.6.4).
pub const TERMS_MAX: usize = 10;
/// Most of them whose answer may be that there is none (RFC 7208 section 4.6.4).
pub const VOID_LOOKUPS_MAX: usize = 2;
/// Most hosts of one `mx`, and most names of one client (RFC 7208 section 4.6.4).
pub const HOSTS_MAX: usize = 10;
/// Longest time of one check: RFC 7208 section 4.6.4 asks for 20 seconds at least.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest explanation in octets that is kept.
const EXPLANATION_BYTES_MAX: usize = 400;

/// What a check came to (RFC 7208 section 2.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpfResult {
    /// There is no record, or no domain to ask for one.
    None,
    /// The domain says nothing of the client.
    Neutral,
    /// The client may use the domain.
    Pass,
    /// It may not.
    Fail,
    /// It probably may not.
    SoftFail,
    /// DNS did not answer; a later check may come to something else.
    TempError,
    /// The record is wrong, or asks for too much.
    PermError,
}

impl SpfResult {
    /// As it stands in Authentication-Results (RFC 7208 section 2.6).
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl fmt::Display for SpfResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Qualifier> for SpfResult {
    fn from(qualifier: Qualifier) -> Self {
        match qualifier {
            Qualifier::Pass => Self::Pass,
            Qualifier::Fail => Self::Fail,
            Qualifier::SoftFail => Self::SoftFail,
            Qualifier::Neutral => Self::Neutral,
        }
    }
}

/// A result, and what there is to say about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpfOutcome {
    /// The result.
    pub result: SpfResult,
    /// Why it is an error, for people.
    pub problem: Option<String>,
    /// What the domain says to a client that fails: the words of a stranger, visible ASCII.
    pub explanation: Option<String>,
}

/// Who sends, as whom (the arguments of `check_host()`, RFC 7208 section 4.1).
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its address.
    pub ip: IpAddr,
    /// What it called itself.
    pub helo: &'a str,
    /// The local part of the sender; empty: `postmaster`.
    pub local: &'a str,
    /// The domain of the sender, which is asked about.
    pub domain: &'a str,
    /// Who we are.
    pub receiver: &'a str,
    /// Seconds since 1970.
    pub now: u64,
}

/// `check_host()` (RFC 7208 section 4).
pub async fn check(resolver: &Resolver, client: Client<'_>) -> SpfOutcome {
    let ip = client.ip.to_canonical();
    if ip.is_unspecified() {
        return SpfOutcome::error(SpfResult::None, "the address of the client is not known".to_owned());
    }
    let local = if client.local.is_empty() { "postmaster" } else { client.local };
    let mut check = Check { resolver, client: Client { ip, local, ..client }, terms: 0, voids: 0 };
    let late = |_| Err(Trouble::Temporary("the check took too long".to_owned()));
    match tokio::time::timeout(CHECK_TIMEOUT, check.outcome()).await.unwrap_or_else(late) {
        Ok(outcome) => outcome,
        Err(Trouble::Temporary(why)) => SpfOutcome::error(SpfResult::TempError, why),
        Err(Trouble::Permanent(why)) => SpfOutcome::error(SpfResult::PermError, why),
    }
}

impl SpfOutcome {
    fn of(result: SpfResult) -> Self {
        Self { result, problem: None, explanation: None }
    }

    fn error(result: SpfResult, problem: String) -> Self {
        Self { result, problem: Some(problem), explanation: None }
    }
}

/// What ends a check without a result.
#[derive(Debug)]
enum Trouble {
    Temporary(String),
    Permanent(String),
}

/// What the record of a domain says.
enum Found {
    NoRecord,
    /// With the explanation that the record names, and the domain that it is expanded for.
    Said(Qualifier, Option<(DomainSpec, String)>),
}

struct Check<'a> {
    resolver: &'a Resolver,
    client: Client<'a>,
    /// Terms so far that asked.
    terms: usize,
    voids: usize,
}

type Finding<'b> = Pin<Box<dyn Future<Output = Result<Found, Trouble>> + Send + 'b>>;

impl Check<'_> {
    async fn outcome(&mut self) -> Result<SpfOutcome, Trouble> {
        let domain = self.client.domain;
        if !is_name(domain) || !domain.trim_end_matches('.').contains('.') {
            return Ok(SpfOutcome::of(SpfResult::None));
        }
        match self.find(domain.to_owned()).await? {
            Found::NoRecord => Ok(SpfOutcome::of(SpfResult::None)),
            Found::Said(qualifier, explanation) => {
                let mut outcome = SpfOutcome::of(qualifier.into());
                if let Some((spec, domain)) = explanation.filter(|_| qualifier == Qualifier::Fail) {
                    outcome.explanation = self.explain(&spec, &domain).await;
                }
                Ok(outcome)
            }
        }
    }

    /// Evaluates the record of a domain. Boxed, as records include others.
    fn find(&mut self, domain: String) -> Finding<'_> {
        Box::pin(async move {
            let Some(record) = self.record(&domain).await? else { return Ok(Found::NoRecord) };
            for Directive { qualifier, mechanism } in &record.directives {
                if self.matches(mechanism, &domain).await? {
                    let explanation = record.explanation.clone().map(|spec| (spec, domain));
                    return Ok(Found::Said(*qualifier, explanation));
                }
            }
            let Some(redirect) = &record.redirect else { return Ok(Found::Said(Qualifier::Neutral, None)) };
            self.count_term()?;
            let target = self.target(Some(redirect), &domain).await;
            self.find_other(target, "redirect").await
        })
    }

    /// Evaluates the record that another one leads to, which must be there.
    async fn find_other(&mut self, target: String, term: &str) -> Result<Found, Trouble> {
        let nothing =
            || Trouble::Permanent(format!("{term} leads to {}, which has no record", shown(&target)));
        if !is_name(&target) {
            return Err(nothing());
        }
        match self.find(target.clone()).await? {
            Found::NoRecord => Err(nothing()),
            said => Ok(said),
        }
    }

    /// RFC 7208 sections 4.4 to 4.6.
    async fn record(&self, domain: &str) -> Result<Option<Record>, Trouble> {
        let texts = match self.resolver.texts(domain).await {
            Ok(texts) => texts,
            Err(DnsError::NoSuchDomain(_) | DnsError::NoRecords(_)) => return Ok(None),
            Err(error) => return Err(temporary(&error)),
        };
        let mut records = texts.iter().filter(|text| is_record(text));
        match (records.next(), records.next()) {
            (None, _) => Ok(None),
            (Some(record), None) => Record::parse(record)
                .map(Some)
                .map_err(|problem| Trouble::Permanent(format!("{}: {}", shown(domain), shown(&problem)))),
            (Some(_), Some(_)) => Err(Trouble::Permanent(format!("{} has several records", shown(domain)))),
        }
    }

    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Trouble> {
        match mechanism {
            Mechanism::All => return Ok(true),
            Mechanism::Ip(network, bits) => return Ok(shares_prefix(self.client.ip, *network, *bits)),
            _ => self.count_term()?,
        }
        match mechanism {
            Mechanism::Include(spec) => {
                let target = self.target(Some(spec), domain).await;
                let found = self.find_other(target, "include").await?;
                Ok(matches!(found, Found::Said(Qualifier::Pass, _)))
            }
            Mechanism::A(spec, prefixes) => {
                let target = self.target(spec.as_ref(), domain).await;
                let found = self.addresses(&target, Family::of(self.client.ip)).await?;
                self.count_void(found.is_empty())?;
                Ok(self.is_among(&found, *prefixes))
            }
            Mechanism::Mx(spec, prefixes) => self.matches_mx(spec.as_ref(), *prefixes, domain).await,
            Mechanism::Ptr(spec) => {
                let target = self.target(spec.as_ref(), domain).await;
                Ok(self.validated_names().await.iter().any(|name| is_within(name, &target)))
            }
            Mechanism::Exists(spec) => {
                let target = self.target(Some(spec), domain).await;
                let found = self.addresses(&target, Family::V4).await?;
                self.count_void(found.is_empty())?;
                Ok(!found.is_empty())
            }
            Mechanism::All | Mechanism::Ip(..) => Ok(false),
        }
    }

    /// RFC 7208 section 5.4.
    async fn matches_mx(
        &mut self,
        spec: Option<&DomainSpec>,
        prefixes: Prefixes,
        domain: &str,
    ) -> Result<bool, Trouble> {
        let target = self.target(spec, domain).await;
        let mut hosts = match is_name(&target) {
            true => answer(self.resolver.exchanges(&target).await)?,
            false => Vec::new(),
        };
        self.count_void(hosts.is_empty())?;
        if hosts.len() > HOSTS_MAX {
            return Err(Trouble::Permanent(format!("{} has more than {HOSTS_MAX} MX", shown(&target))));
        }
        hosts.sort();
        for (_, host) in hosts {
            let found = self.addresses(&host, Family::of(self.client.ip)).await?;
            if self.is_among(&found, prefixes) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_among(&self, addresses: &[IpAddr], Prefixes { v4, v6 }: Prefixes) -> bool {
        let bits = if self.client.ip.is_ipv4() { v4 } else { v6 };
        addresses.iter().any(|address| shares_prefix(self.client.ip, *address, bits))
    }

    /// The addresses of a host; none where there are none, or where it is no name.
    async fn addresses(&self, host: &str, family: Family) -> Result<Vec<IpAddr>, Trouble> {
        if !is_name(host) {
            return Ok(Vec::new());
        }
        answer(self.resolver.addresses_in(family, host).await)
    }

    /// The names of the client that lead back to it (RFC 7208 section 5.5). What DNS does not answer is passed over.
    async fn validated_names(&self) -> Vec<String> {
        let ip = self.client.ip;
        let mut validated = Vec::new();
        for name in self.resolver.names(ip).await.unwrap_or_default().into_iter().take(HOSTS_MAX) {
            let found = self.resolver.addresses_in(Family::of(ip), &name).await;
            if found.is_ok_and(|addresses| addresses.contains(&ip)) {
                validated.push(name);
            }
        }
        validated
    }

    /// The name that `%{p}` stands for: the domain itself, else one below it, else any (RFC 7208 section 7.3).
    async fn client_name(&self, domain: &str) -> Option<String> {
        let names = self.validated_names().await;
        let own = names.iter().find(|name| name.eq_ignore_ascii_case(domain));
        let below = || names.iter().find(|name| is_within(name, domain));
        own.or_else(below).or(names.first()).cloned()
    }

    /// The name that a term is about.
    async fn target(&self, spec: Option<&DomainSpec>, domain: &str) -> String {
        let Some(spec) = spec else { return domain.to_owned() };
        let name = if spec.asks_for_name() { self.client_name(domain).await } else { None };
        spec.expand(&self.values(domain, name.as_deref()))
    }

    fn values<'b>(&'b self, domain: &'b str, name: Option<&'b str>) -> Values<'b> {
        let Client { ip, helo, local, domain: sender_domain, receiver, now } = self.client;
        Values { local, sender_domain, domain, ip, helo, name, receiver, now }
    }

    /// RFC 7208 section 6.2: whatever goes wrong, there is no explanation.
    async fn explain(&self, spec: &DomainSpec, domain: &str) -> Option<String> {
        let target = self.target(Some(spec), domain).await;
        let texts = self.resolver.texts(&target).await.ok().filter(|_| is_name(&target))?;
        let [text] = &texts[..] else { return None };
        let text = MacroString::parse(std::str::from_utf8(text).ok()?, Place::Explanation)?;
        let name = if text.asks_for_name() { self.client_name(domain).await } else { None };
        let mut explanation = text.expand(&self.values(domain, name.as_deref()));
        explanation.retain(|c| c.is_ascii_graphic() || c == ' ');
        explanation.truncate(EXPLANATION_BYTES_MAX);
        Some(explanation)
    }

    fn count_term(&mut self) -> Result<(), Trouble> {
        self.terms += 1;
        let problem = || Trouble::Permanent(format!("more than {TERMS_MAX} terms ask DNS"));
        if self.terms > TERMS_MAX { Err(problem()) } else { Ok(()) }
    }

    fn count_void(&mut self, is_void: bool) -> Result<(), Trouble> {
        self.voids += usize::from(is_void);
        let problem = || Trouble::Permanent(format!("more than {VOID_LOOKUPS_MAX} look-ups found nothing"));
        if self.voids > VOID_LOOKUPS_MAX { Err(problem()) } else { Ok(()) }
    }
}

fn temporary(error: &DnsError) -> Trouble {
    Trouble::Temporary(shown(&error.to_string()))
}

/// What was found; nothing is an answer, too.
fn answer<T>(found: Result<Vec<T>, DnsError>) -> Result<Vec<T>, Trouble> {
    match found {
        Ok(found) => Ok(found),
        Err(DnsError::NoSuchDomain(_) | DnsError::NoRecords(_)) => Ok(Vec::new()),
        Err(error) => Err(temporary(&error)),
    }
}

/// Whether DNS can be asked for it.
fn is_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253 && text.split('.').all(|label| (1..=63).contains(&label.len()))
}

/// Whether a name is a domain, or below it.
fn is_within(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.to_ascii_lowercase(), domain.to_ascii_lowercase());
    name.strip_suffix(&domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A stranger's text as it can stand in our logs and fields: visible, bounded.
fn shown(text: &str) -> String {
    const SHOWN_CHARACTERS_MAX: usize = 100;
    text.chars()
        .take(SHOWN_CHARACTERS_MAX)
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
        .collect()
}

/// For the fuzz target: a record is refused or read, and what its macros stand for is no longer than a name.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz(octets: &[u8]) {
    let values = |ip| Values {
        local: "local.part",
        sender_domain: "a.test",
        domain: "mail.a.test",
        ip,
        helo: "mx.a.test",
        name: None,
        receiver: "mx.b.test",
        now: 0,
    };
    let ips = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])];
    let expand =
        |spec: &DomainSpec| ips.iter().for_each(|ip| assert!(spec.expand(&values(*ip)).len() <= 253));
    let text = String::from_utf8_lossy(octets);
    if let Some(text) = MacroString::parse(&text, Place::Explanation) {
        text.expand(&values(ips[0]));
    }
    let Ok(record) = Record::parse(octets) else { return };
    record.redirect.iter().chain(&record.explanation).for_each(expand);
    for Directive { mechanism, .. } in &record.directives {
        match mechanism {
            Mechanism::Include(spec) | Mechanism::Exists(spec) => expand(spec),
            Mechanism::A(spec, _) | Mechanism::Mx(spec, _) | Mechanism::Ptr(spec) => {
                spec.iter().for_each(expand);
            }
            Mechanism::Ip(network, bits) => assert!(shares_prefix(*network, *network, *bits)),
            Mechanism::All => {}
        }
    }
}
