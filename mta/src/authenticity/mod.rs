//! Authenticity: whether a message comes from whom it says, checked while it arrives and before it is answered; and signatures, by which others
//! can verify it of ours (DKIM: RFC 6376, 8301 and 8463).
//!
//! ```text
//! Check::begin(header) ── feed(body)… ── finish(resolver, envelope) ──► Verdict ── policy ──► Disposition
//! ```
//!
//! `spf`, `dkim`, `dmarc`, `arc` and `iprev` come to results, `results` writes them down, `policy` says what is done. All look-ups
//! go through `dns`, which bounds and remembers them. Not here: when (`server`).
//! `keys` are the keys, `sign` signs a message while it passes, in the canonical form of `dkim`, `signers` knows which keys sign for a
//! domain now, `rotation` changes them over time; `seal` adds a set of ARC to what goes on to others.
//! This module and `reports` know mail-auth (`docs/decisions/0007-authenticity.md`).

pub mod arc;
pub mod dkim;
pub mod dmarc;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod iprev;
pub mod keys;
pub(crate) mod policy;
pub(crate) mod results;
pub mod rotation;
pub(crate) mod seal;
pub mod sign;
mod signers;
pub mod spf;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wicked;

use std::{fmt, net::IpAddr};

use waypost_mail::{Domain, ReversePath};
use waypost_message::HeaderBlock;

use self::{
    arc::{ArcCheck, ArcOutcome},
    dkim::{
        DkimCheck, DkimOutcome, DkimResult,
        body::{Bodies, BodyId},
        key::Keys,
    },
    dmarc::{DmarcOutcome, Identifier, Method},
    iprev::IprevOutcome,
    seal::Custody,
    spf::{Client, SpfOutcome, SpfResult},
};
use crate::dns::Resolver;

pub use self::signers::Signers;

/// A message that is being checked.
#[derive(Debug)]
pub struct Check {
    authors: Vec<Option<Domain>>,
    dkim: DkimCheck,
    arc: ArcCheck,
    bodies: Bodies,
    /// The hash that a seal of ours needs.
    for_seal: Option<BodyId>,
}

/// Who sends, as whom, to whom.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// Its address.
    pub peer: IpAddr,
    /// What it called itself.
    pub helo: &'a str,
    /// The sender in the envelope.
    pub reverse_path: &'a ReversePath,
    /// Who we are.
    pub receiver: &'a Domain,
    /// Seconds since 1970.
    pub now: u64,
}

/// What came of all checks of a message.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Who sent it.
    pub peer: IpAddr,
    /// As what.
    pub helo: String,
    /// The sender in the envelope; `None`: SPF was asked about HELO (RFC 7208 section 2.4).
    pub sender: Option<String>,
    /// Whether the address has a name.
    pub iprev: IprevOutcome,
    /// Whether it may send for the domain.
    pub spf: SpfOutcome,
    /// Whether it may call itself so (RFC 7208 section 2.3), where `spf` is about the sender and HELO is the name of a host. It is told, and
    /// decides nothing.
    pub helo_spf: Option<SpfOutcome>,
    /// Signatures.
    pub dkim: Vec<DkimOutcome>,
    /// The chain.
    pub arc: ArcOutcome,
    /// The domains of the authors.
    pub dmarc: Vec<DmarcOutcome>,
    /// What a seal of ours would be made of, where that was asked for and one may be made.
    pub(crate) custody: Option<Custody>,
}

impl fmt::Display for Verdict {
    /// All results in a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "iprev={} spf={}", self.iprev.name(), self.spf.result)?;
        if let Some(SpfOutcome { result, .. }) = &self.helo_spf {
            write!(f, " spf={result}({})", self.helo)?;
        }
        for DkimOutcome { result, signer, .. } in &self.dkim {
            let domain = signer.as_ref().map_or("?", |signer| signer.domain.as_str());
            write!(f, " dkim={}({domain})", result.name())?;
        }
        write!(f, " arc={}", self.arc.result.name())?;
        for DmarcOutcome { result, domain, policy, .. } in &self.dmarc {
            write!(f, " dmarc={}({domain} {})", result.name(), policy.name())?;
        }
        Ok(())
    }
}

impl Check {
    /// Takes the header as it came; `now` in seconds since 1970.
    pub fn begin(header: &HeaderBlock, now: u64) -> Self {
        let mut bodies = Bodies::default();
        let dkim = DkimCheck::begin(header, &mut bodies, now);
        let arc = ArcCheck::begin(header, &mut bodies, now);
        Self { authors: dmarc::authors(header), dkim, arc, bodies, for_seal: None }
    }

    /// The message may go on with a seal of ours (`seal`).
    pub(crate) fn for_seal(mut self) -> Self {
        self.for_seal = Some(self.bodies.add(sign::FORM, None));
        self
    }

    /// Takes octets of the body as they came.
    pub fn feed(&mut self, octets: &[u8]) {
        self.bodies.feed(octets);
    }

    /// Asks all that is to be asked, at once where that is possible.
    pub async fn finish(self, resolver: &Resolver, sender: Sender<'_>) -> Verdict {
        let Sender { peer, helo, reverse_path, receiver, now } = sender;
        let address = reverse_path.address();
        let domain = address.map_or(helo, |address| address.domain.as_str());
        let local = address.map_or("", |address| address.local.as_str());
        let client = Client { ip: peer, helo, local, domain, receiver: receiver.as_str(), now };
        // Keys of signatures before those of a chain: the number is bounded.
        let names = self.dkim.key_names().chain(self.arc.key_names());
        let (spf, helo_spf, iprev, keys) = tokio::join!(
            spf::check(resolver, client),
            check_helo(resolver, client, address.is_some()),
            iprev::check(resolver, peer),
            Keys::fetch(resolver, names)
        );
        let hashes = self.bodies.finish();
        let dkim = self.dkim.finish(&hashes, &keys);
        let mut arc = self.arc.finish(&hashes, &keys);
        let chain = arc.chain.take();
        let custody = self
            .for_seal
            .zip(chain)
            .map(|(body, chain)| Custody { chain, body_hash: hashes.digest(body).to_vec() });
        let identifiers = identifiers(&spf, domain, &dkim);
        let dmarc = dmarc::check(resolver, &self.authors, &identifiers).await;
        let sender = address.map(ToString::to_string);
        Verdict { peer, helo: helo.to_owned(), sender, iprev, spf, helo_spf, dkim, arc, dmarc, custody }
    }
}

/// SPF of HELO, beside that of a sender.
async fn check_helo(resolver: &Resolver, client: Client<'_>, has_sender: bool) -> Option<SpfOutcome> {
    let name = client.helo.trim_end_matches('.');
    let is_host = Domain::new(name).is_ok_and(|name| name.as_ip().is_none()) && name.contains('.');
    let asked = Client { local: "", domain: name, ..client };
    if is_host && has_sender { Some(spf::check(resolver, asked).await) } else { None }
}

/// The domains that sent the message, or that would have if DNS had answered.
fn identifiers(spf: &SpfOutcome, domain: &str, dkim: &[DkimOutcome]) -> Vec<Identifier> {
    let certain = |is_pass: bool, is_open: bool| (is_pass || is_open).then_some(is_pass);
    let by_spf = certain(spf.result == SpfResult::Pass, spf.result == SpfResult::TempError);
    let by_spf = by_spf.map(|is_certain| {
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        Identifier { domain, by: Method::Spf, is_certain }
    });
    let by_dkim = dkim.iter().filter_map(|outcome| {
        let is_certain =
            certain(outcome.result == DkimResult::Pass, outcome.result == DkimResult::TempError)?;
        let domain = outcome.signer.as_ref()?.domain.clone();
        Some(Identifier { domain, by: Method::Dkim, is_certain })
    });
    by_spf.into_iter().chain(by_dkim).collect()
}
