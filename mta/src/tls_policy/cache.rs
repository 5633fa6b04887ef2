//! Policies of MTA-STS that were fetched, a small file for each domain: what is known of a domain is as durable as RFC 8461 wants it
//! (section 10.2), and one more domain writes none of the others again.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use waypost_mail::{Domain, Timestamp};

use super::{
    durable,
    sts::{POLICY_BYTES_MAX, StsPolicy},
};

/// Most domains with a policy; of more, those that run out first are forgotten.
pub(super) const POLICIES_MAX: usize = 10_000;
/// Wait before a policy that could not be fetched is asked for again.
pub(super) const RETRY_WAIT: Duration = Duration::from_secs(5 * 60);
/// For how long a policy that nobody used is fetched again before it runs out.
pub(super) const USED_WITHIN: Duration = Duration::from_secs(30 * 86_400);

/// A policy with its `id` and when it was fetched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Kept {
    pub(super) id: String,
    pub(super) fetched: Timestamp,
    pub(super) policy: StsPolicy,
}

/// What stands in a file.
#[derive(Deserialize, Serialize)]
struct Written {
    id: String,
    fetched_ms: i64,
    policy: String,
}

impl Kept {
    fn ends(&self) -> Timestamp {
        self.fetched.after(self.policy.max_age)
    }

    fn holds(&self, now: Timestamp) -> bool {
        self.fetched <= now && now < self.ends()
    }

    /// Whether half of its time is over.
    fn is_ageing(&self, now: Timestamp) -> bool {
        now >= self.fetched.after(self.policy.max_age / 2)
    }
}

/// What is to be done for a domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// This is what holds.
    Use(Option<StsPolicy>),
    /// The policy of this `id` is to be fetched; else the other one holds.
    Fetch(String, Option<StsPolicy>),
}

#[derive(Debug, Default)]
struct Entry {
    kept: Option<Kept>,
    failed: Option<Timestamp>,
    used: Option<Timestamp>,
}

/// All that were fetched.
#[derive(Debug, Default)]
pub(super) struct Cache {
    folder: Option<PathBuf>,
    entries: HashMap<String, Entry>,
}

impl Cache {
    /// The policies that a folder holds. A file that cannot be read is told of and left out.
    pub(super) fn open(folder: &Path, now: Timestamp) -> Self {
        let mut cache = Self { folder: Some(folder.to_owned()), ..Self::default() };
        let files = fs::read_dir(folder).into_iter().flatten();
        for file in files.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
            let name =
                file.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
            let Some(domain) = name.and_then(|name| Domain::new(name).ok()) else { continue };
            match read(&file) {
                Some(kept) => {
                    let entry = Entry { kept: Some(kept), failed: None, used: Some(now) };
                    cache.entries.insert(domain.to_string(), entry);
                }
                None => {
                    tracing::warn!(file = %file.display(), "a policy of MTA-STS cannot be read and is forgotten");
                }
            }
        }
        cache
    }

    /// What holds for a domain whose TXT record names this `id`; `None`: it has none, or it is not known whether (then what is kept
    /// holds until it runs out, RFC 8461 section 5.1).
    pub(super) fn step(&mut self, domain: &Domain, id: Option<String>, now: Timestamp) -> Step {
        if id.is_none() && !self.entries.contains_key(domain.as_str()) {
            return Step::Use(None);
        }
        let entry = self.entries.entry(domain.to_string()).or_default();
        entry.used = Some(now);
        let kept = entry.kept.as_ref().filter(|kept| kept.holds(now));
        let policy = kept.map(|kept| kept.policy.clone());
        let may_ask = entry.failed.is_none_or(|failed| now >= failed.after(RETRY_WAIT));
        match id {
            Some(id) if kept.is_none_or(|kept| kept.id != id || kept.is_ageing(now)) && may_ask => {
                Step::Fetch(id, policy)
            }
            _ => Step::Use(policy),
        }
    }

    /// A policy could not be fetched.
    pub(super) fn failed(&mut self, domain: &Domain, now: Timestamp) {
        self.entries.entry(domain.to_string()).or_default().failed = Some(now);
    }

    /// A policy was fetched. Gives what is to be written, and files that are to be removed.
    pub(super) fn keep(&mut self, domain: &Domain, kept: Kept) -> (Option<(PathBuf, Vec<u8>)>, Vec<PathBuf>) {
        let written = Written {
            id: kept.id.clone(),
            fetched_ms: kept.fetched.0,
            policy: kept.policy.lines().join("\n"),
        };
        let now = kept.fetched;
        self.entries.insert(domain.to_string(), Entry { kept: Some(kept), failed: None, used: Some(now) });
        let write = self.file(domain.as_str()).zip(serde_json::to_vec(&written).ok());
        (write, self.bound(now))
    }

    /// Domains whose policies are in use and half over.
    pub(super) fn ageing(&self, now: Timestamp) -> Vec<Domain> {
        let is_due = |entry: &Entry| {
            entry.kept.as_ref().is_some_and(|kept| kept.holds(now) && kept.is_ageing(now))
                && entry.used.is_some_and(|used| used >= now.before(USED_WITHIN))
        };
        let due = self.entries.iter().filter(|(_, entry)| is_due(entry));
        due.filter_map(|(domain, _)| Domain::new(domain).ok()).collect()
    }

    /// Forgets what holds no more, and more than is allowed; gives the files that are to be removed.
    pub(super) fn bound(&mut self, now: Timestamp) -> Vec<PathBuf> {
        let fresh = |failed: Timestamp| now < failed.after(RETRY_WAIT);
        let is_over = |entry: &Entry| {
            !entry.kept.as_ref().is_some_and(|kept| kept.holds(now)) && !entry.failed.is_some_and(fresh)
        };
        let mut gone: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| is_over(entry))
            .map(|(domain, _)| domain.clone())
            .collect();
        let left = self.entries.len() - gone.len();
        if left > POLICIES_MAX {
            let ends = |entry: &Entry| entry.kept.as_ref().map_or(Timestamp(i64::MIN), Kept::ends);
            let mut rest: Vec<_> = self.entries.iter().filter(|(_, entry)| !is_over(entry)).collect();
            rest.sort_by_key(|(_, entry)| ends(entry));
            gone.extend(rest.into_iter().take(left - POLICIES_MAX).map(|(domain, _)| domain.clone()));
        }
        gone.iter().filter_map(|domain| self.entries.remove(domain)?.kept.and(self.file(domain))).collect()
    }

    fn file(&self, domain: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(format!("{domain}.json")))
    }
}

fn read(file: &Path) -> Option<Kept> {
    let octets = durable::read(file, 4 * POLICY_BYTES_MAX as u64).ok()??;
    let written: Written = serde_json::from_slice(&octets).ok()?;
    let policy = StsPolicy::parse(&written.policy).ok()?;
    Some(Kept { id: written.id, fetched: Timestamp(written.fetched_ms), policy })
}

#[cfg(test)]
mod tests;
