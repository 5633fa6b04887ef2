//! DMARC: whether the author's domain stands behind a message, and what it asks for where it does not (RFC 9989).
//!
//! `record` is pure; here the records of all domains in question are looked up, all at once. Not here: what is done (`policy`).

pub(crate) mod record;

use std::collections::HashMap;

use waypost_mail::Domain;
use waypost_message::{EnvelopeAddress, HeaderBlock, Splitter};

pub use self::record::Policy;
use self::record::{Alignment, Record, Walk, Whose, walk_names};
use crate::dns::{DnsError, Family, Resolver};

/// Most domains of authors that are looked at; a message with more fails for all of them.
pub const AUTHORS_MAX: usize = 4;
/// Most authenticated domains that are compared with them.
const IDENTIFIERS_MAX: usize = 8;

/// What came of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DmarcResult {
    /// The domain has no policy.
    None,
    /// The domain stands behind the message.
    Pass,
    /// It does not.
    Fail,
    /// DNS did not answer.
    TempError,
    /// There is no author to ask about.
    PermError,
}

impl DmarcResult {
    /// As it stands in Authentication-Results.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// What came of one author's domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DmarcOutcome {
    /// What came of it.
    pub result: DmarcResult,
    /// The author's domain; empty where there is none.
    pub domain: String,
    /// What the domain asks for where a message fails.
    pub policy: Policy,
    /// The record that says so; `None`: there is none.
    pub(crate) found: Option<Box<Found>>,
}

/// The record that counts for a message, and what was compared by it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    /// Whose record it is.
    pub(crate) domain: String,
    pub(crate) record: Record,
    /// What it would ask for if it were no test.
    pub(crate) asked: Policy,
    /// Signers whose signatures stand, and who are the author's.
    pub(crate) dkim: Vec<String>,
    /// Whether the sender in the envelope is the author's, and sent it.
    pub(crate) spf: bool,
}

/// A domain that is known to have sent, or that would be if DNS had answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Identifier {
    pub(crate) domain: String,
    pub(crate) by: Method,
    /// Whether DNS answered.
    pub(crate) is_certain: bool,
}

/// By what a domain is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Method {
    Spf,
    Dkim,
}

/// The domains of the authors, each once; `None` for one that is no domain.
pub(crate) fn authors(header: &HeaderBlock) -> Vec<Option<Domain>> {
    let mut authors = Vec::new();
    // Each field by itself: an envelope holds the first of a kind only.
    for field in header.named("From") {
        for author in Splitter::split(field.octets).envelope.from {
            let EnvelopeAddress::Mailbox { domain, .. } = author else { continue };
            let domain =
                Domain::new(&String::from_utf8_lossy(&domain)).ok().filter(|domain| domain.as_ip().is_none());
            if !authors.contains(&domain) {
                authors.push(domain);
            }
        }
    }
    authors
}

/// Checks the domains of all authors.
pub(crate) async fn check(
    resolver: &Resolver,
    authors: &[Option<Domain>],
    identifiers: &[Identifier],
) -> Vec<DmarcOutcome> {
    let known: Vec<&str> = authors.iter().take(AUTHORS_MAX).flatten().map(Domain::as_str).collect();
    if authors.is_empty() || authors.len() > AUTHORS_MAX || authors.contains(&None) {
        return vec![DmarcOutcome::of(DmarcResult::PermError, known.first().unwrap_or(&""))];
    }
    let near = |identifier: &&Identifier| known.iter().any(|author| top(author) == top(&identifier.domain));
    let identifiers: Vec<&Identifier> = identifiers.iter().filter(near).take(IDENTIFIERS_MAX).collect();
    let asked = known.iter().copied().chain(identifiers.iter().map(|one| one.domain.as_str()));
    let zone = Records::look_up(resolver, asked).await;
    let mut outcomes = Vec::new();
    for author in known {
        outcomes.push(zone.check(resolver, author, &identifiers).await);
    }
    outcomes
}

/// The organizational domains of some (RFC 9989 section 4.10.2); `None` for one about which DNS did not answer.
pub(crate) async fn organizations(resolver: &Resolver, domains: &[&str]) -> Vec<Option<String>> {
    let zone = Records::look_up(resolver, domains.iter().copied()).await;
    domains.iter().map(|domain| Some(zone.walk(domain)?.organization().to_owned())).collect()
}

fn top(domain: &str) -> &str {
    domain.rsplit('.').next().unwrap_or(domain)
}

impl DmarcOutcome {
    fn of(result: DmarcResult, domain: &str) -> Self {
        Self { result, domain: domain.to_owned(), policy: Policy::None, found: None }
    }
}

/// Records by domain; `Err` for one that DNS did not answer about.
struct Records(HashMap<String, Result<Option<Record>, ()>>);

impl Records {
    /// Looks up all that walks from these domains need.
    async fn look_up(resolver: &Resolver, domains: impl Iterator<Item = &str>) -> Self {
        let mut names: Vec<&str> = domains.flat_map(walk_names).collect();
        names.sort_unstable();
        names.dedup();
        let owners: Vec<String> = names.iter().map(|name| format!("_dmarc.{name}")).collect();
        let record = |found: Result<Vec<Vec<u8>>, DnsError>| match found {
            Ok(texts) => Ok(Record::select(&texts)),
            Err(DnsError::Temporary(..)) => Err(()),
            Err(DnsError::NoSuchDomain(_) | DnsError::NoRecords(_)) => Ok(None),
        };
        let found = resolver.texts_of(&owners).await.into_iter().map(record);
        Self(names.into_iter().map(str::to_owned).zip(found).collect())
    }

    /// A walk; `None`: DNS did not answer on the way.
    fn walk<'a>(&'a self, domain: &'a str) -> Option<Walk<'a>> {
        let walk = Walk::new(domain, |name| {
            self.0.get(name).and_then(|found| found.as_ref().ok()).and_then(Option::as_ref)
        });
        let mut needed = walk_names(domain).into_iter().take(walk.names());
        needed.all(|name| self.0.get(name).is_some_and(Result::is_ok)).then_some(walk)
    }

    async fn check(&self, resolver: &Resolver, author: &str, identifiers: &[&Identifier]) -> DmarcOutcome {
        let Some(walk) = self.walk(author) else { return DmarcOutcome::of(DmarcResult::TempError, author) };
        let Some((of, record)) = walk.record() else { return DmarcOutcome::of(DmarcResult::None, author) };
        let aligned =
            |identifier: &Identifier| self.is_aligned(author, walk.organization(), record, identifier);
        let (mut dkim, mut spf, mut could_pass) = (Vec::new(), false, false);
        for identifier in identifiers {
            match (aligned(identifier), identifier.by) {
                (Some(false), _) => {}
                (Some(true), Method::Dkim) if identifier.is_certain => dkim.push(identifier.domain.clone()),
                (Some(true), Method::Spf) if identifier.is_certain => spf = true,
                (Some(true) | None, _) => could_pass = true,
            }
        }
        let passes = spf || !dkim.is_empty();
        let whose = match of == author {
            true => Whose::Own,
            // only where it makes a difference: the answer costs a look-up
            false if !passes && does_not_exist(resolver, author).await => Whose::Nonexistent,
            false => Whose::Below,
        };
        let result = match (passes, could_pass) {
            (true, _) => DmarcResult::Pass,
            (false, true) => DmarcResult::TempError,
            (false, false) => DmarcResult::Fail,
        };
        let (domain, asked) = (of.to_owned(), record.asked_for(whose));
        let found = Found { domain, record: record.clone(), asked, dkim, spf };
        let policy = record.policy_for(whose);
        DmarcOutcome { result, domain: author.to_owned(), policy, found: Some(Box::new(found)) }
    }

    /// RFC 9989 section 4.4; `None`: DNS did not answer.
    fn is_aligned(
        &self,
        author: &str,
        organization: &str,
        record: &Record,
        identifier: &Identifier,
    ) -> Option<bool> {
        let alignment = match identifier.by {
            Method::Spf => record.spf,
            Method::Dkim => record.dkim,
        };
        if identifier.domain == author {
            return Some(true);
        }
        let is_within = identifier
            .domain
            .strip_suffix(organization)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if alignment == Alignment::Strict || !is_within {
            return Some(false);
        }
        Some(self.walk(&identifier.domain)?.organization() == organization)
    }
}

/// Whether a domain does not exist (RFC 9989 section 4.7 with RFC 8020); where DNS does not answer it is taken to exist.
async fn does_not_exist(resolver: &Resolver, domain: &str) -> bool {
    matches!(resolver.addresses_in(Family::V4, domain).await, Err(DnsError::NoSuchDomain(_)))
}

/// For the fuzz target: a record is none or asks for something, of a domain that is not there for no more than the whole walk could.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz(octets: &[u8]) {
    let one = Record::select(&[octets.to_vec()]);
    for whose in [Whose::Own, Whose::Below, Whose::Nonexistent] {
        assert!(one.as_ref().is_none_or(|record| record.policy_for(whose) <= Policy::Reject));
    }
    assert!(
        one.is_none() || Record::select(&[octets.to_vec(), octets.to_vec()]).is_none(),
        "two records are none"
    );
    let text = String::from_utf8_lossy(octets);
    assert!(walk_names(&text).len() <= record::WALK_NAMES_MAX);
}
