//! What was good of a domain's TLS, so that its loss is seen (a downgrade may be an attack).
//!
//! A domain stands well after [`GOOD_DAYS`] days from the first to the last good session, the last of them within [`FRESH_DAYS`]. A
//! loss is told once; then it begins anew, but where mail waits for TLS to come back: there the standing stays.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use waypost_mail::{Domain, Timestamp};

use super::{decision::Standing, durable};

/// From how many days on a domain stands well.
pub const GOOD_DAYS: i64 = 14;
/// For how many days that holds without a session.
pub const FRESH_DAYS: i64 = 30;
/// Most domains that are remembered; of more, those whose last good session is longest ago are forgotten.
pub const DOMAINS_MAX: usize = 50_000;
/// Largest file in octets; what is larger was not written here.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// The days of good sessions, since the epoch.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Span {
    since: i64,
    last: i64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct Good {
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<Span>,
}

/// How good the TLS of a session was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Quality {
    /// There was none.
    Clear,
    /// There was, and the certificate was not good.
    Encrypted,
    /// The certificate was good, by an authority or by TLSA records.
    Verified,
}

/// What was lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lost {
    /// TLS.
    Encryption,
    /// A good certificate.
    Verification,
}

/// Whether a loss ends the standing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Afterwards {
    /// It begins anew.
    Forget,
    /// It stays: mail waits until TLS is good again.
    Keep,
}

/// The memory of all domains.
#[derive(Debug, Default)]
pub struct Memory {
    file: Option<PathBuf>,
    domains: HashMap<String, Good>,
    /// The days on which a loss was told, where the standing stays.
    told: HashMap<String, i64>,
    is_changed: bool,
}

fn day(now: Timestamp) -> i64 {
    now.seconds().div_euclid(86_400)
}

impl Span {
    fn stands(self, today: i64) -> bool {
        self.last - self.since >= GOOD_DAYS && today - self.last <= FRESH_DAYS
    }
}

fn extended(span: Option<Span>, today: i64) -> Option<Span> {
    match span {
        Some(Span { since, last }) if today - last <= FRESH_DAYS => {
            Some(Span { since, last: last.max(today) })
        }
        _ => Some(Span { since: today, last: today }),
    }
}

impl Good {
    fn last(&self) -> i64 {
        let days = [self.encrypted.map(|span| span.last), self.verified.map(|span| span.last)];
        days.into_iter().flatten().max().unwrap_or(i64::MIN)
    }
}

impl Memory {
    /// Reads the memory of a file; one that cannot be read is told of and begun anew.
    pub fn open(file: &Path) -> Self {
        let read = durable::read(file, FILE_BYTES_MAX).and_then(|octets| match octets {
            Some(octets) => serde_json::from_slice(&octets).map_err(io::Error::other),
            None => Ok(HashMap::new()),
        });
        let domains = read.unwrap_or_else(|error| {
            tracing::warn!(file = %file.display(), %error, "what was good of TLS is forgotten");
            HashMap::new()
        });
        Self { file: Some(file.to_owned()), domains, ..Self::default() }
    }

    /// How a domain stands.
    pub fn standing(&self, domain: &Domain, now: Timestamp) -> Standing {
        let Some(good) = self.domains.get(domain.as_str()) else { return Standing::default() };
        let today = day(now);
        let stands = |span: Option<Span>| span.is_some_and(|span| span.stands(today));
        Standing { encrypted: stands(good.encrypted), verified: stands(good.verified) }
    }

    /// Notes a session with a server of a domain. What it gives was lost, and was not told of yet.
    pub fn note(
        &mut self,
        domain: &Domain,
        quality: Quality,
        afterwards: Afterwards,
        now: Timestamp,
    ) -> Option<Lost> {
        let (today, standing) = (day(now), self.standing(domain, now));
        let lost = match quality {
            Quality::Clear if standing.encrypted => Some(Lost::Encryption),
            Quality::Encrypted if standing.verified => Some(Lost::Verification),
            _ => None,
        };
        if let (Some(_), Afterwards::Keep) = (lost, afterwards) {
            return if self.told.insert(domain.to_string(), today) == Some(today) { None } else { lost };
        }
        self.told.remove(domain.as_str());
        let before = self.domains.get(domain.as_str()).copied().unwrap_or_default();
        let mut good = before;
        if quality == Quality::Clear {
            (good.encrypted, good.verified) = (None, None);
        } else {
            good.encrypted = extended(good.encrypted, today);
            let is_verified = quality == Quality::Verified;
            good.verified = if is_verified { extended(good.verified, today) } else { None };
        }
        self.set(domain, before, good);
        lost
    }

    fn set(&mut self, domain: &Domain, before: Good, good: Good) {
        if good == before {
            return;
        }
        self.is_changed = true;
        if good == Good::default() {
            self.domains.remove(domain.as_str());
            return;
        }
        self.domains.insert(domain.to_string(), good);
        if self.domains.len() > DOMAINS_MAX {
            self.forget_oldest();
        }
    }

    /// A tenth at once: it is not sorted for each new domain.
    fn forget_oldest(&mut self) {
        let mut days: Vec<_> = self.domains.values().map(Good::last).collect();
        let place = days.len() / 10;
        let (_, oldest, _) = days.select_nth_unstable(place);
        let (oldest, mut rest) = (*oldest, place);
        rest -= self.domains.values().filter(|good| good.last() < oldest).count();
        self.domains.retain(|_, good| {
            if good.last() == oldest && rest > 0 {
                rest -= 1;
                return false;
            }
            good.last() >= oldest
        });
    }

    /// What is to be written, and where, if anything has changed since the last call.
    pub(super) fn take_changes(&mut self) -> Option<(PathBuf, Vec<u8>)> {
        let file = self.file.clone()?;
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        serde_json::to_vec(&self.domains).ok().map(|octets| (file, octets))
    }
}

#[cfg(test)]
mod tests;
