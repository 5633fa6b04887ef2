//! What was seen of mail by policy domain, a UTC day at a time, in files of a folder.
//!
//! The counts of the day are in memory and written every few minutes: a crash loses those of the last minutes, which a report can do
//! without. All of it is bounded, as strangers choose domains, addresses and selectors; what goes beyond is counted, and the report says
//! how much that was.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mail_auth::report as wire;
use serde::{Deserialize, Serialize};
use waypost_mail::Timestamp;

use super::{day::Day, sighting::Sighting};
use crate::tls_policy::{
    durable,
    results::{DAYS_MAX, files},
};

/// Where the files are.
const FOLDER: &str = "dmarc";
/// Most domains of one day.
pub(crate) const DOMAINS_MAX: usize = 10_000;
/// Most octets, as they are reckoned here, of what is told of one domain on one day.
pub(crate) const DOMAIN_BYTES_MAX: usize = 4 << 20;
/// Most octets of all of a day.
pub(crate) const DAY_BYTES_MAX: usize = 32 << 20;
/// Largest file in octets: what is reckoned as one octet is never as much as eight in a file.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// What a domain, a record and a signature are reckoned as beside their texts, in octets.
const OVERHEAD_BYTES: usize = 200;

/// What was seen of one policy domain on a day.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct DomainCounts {
    /// The policy as it was seen last.
    pub(crate) policy: wire::PolicyPublished,
    /// Where reports are wanted.
    pub(crate) report_uris: String,
    /// How many messages, in records or not.
    pub(crate) messages: u64,
    /// How many of them are in no record, for want of room.
    pub(crate) unlisted: u64,
    /// Messages of a kind, with how many there were.
    pub(crate) records: Vec<wire::Record>,
}

/// The counts of a day by policy domain.
pub(crate) type DayCounts = BTreeMap<String, DomainCounts>;

/// Counts what is seen. Cheap to clone. The default keeps nothing beyond its own life.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    folder: Option<PathBuf>,
    counting: Mutex<Counting>,
}

/// The day that is counted, and the one before where that is not in its file yet.
#[derive(Debug, Default)]
struct Counting {
    today: Option<Today>,
    before: Option<Today>,
}

/// A day while it is counted.
#[derive(Clone, Debug)]
struct Today {
    day: Day,
    domains: BTreeMap<String, Tally>,
    bytes: usize,
    is_changed: bool,
}

/// A domain while it is counted. Records have the count 0.
#[derive(Clone, Debug)]
struct Tally {
    policy: wire::PolicyPublished,
    report_uris: String,
    unlisted: u64,
    records: HashMap<wire::Record, u32>,
    bytes: usize,
}

impl Counts {
    /// With what a folder keeps of today, below `dmarc/`. What cannot be read is told of and begun anew. Blocks.
    pub fn open(folder: &Path, now: Timestamp) -> Self {
        let (day, folder) = (Day::of(now), &folder.join(FOLDER));
        let kept = read(folder, day).unwrap_or_else(|error| {
            tracing::warn!(folder = %folder.display(), %error, "today's counts for DMARC reports are lost");
            DayCounts::new()
        });
        let counting = Mutex::new(Counting { today: Some(Today::of(day, kept)), before: None });
        Self(Arc::new(Shared { folder: Some(folder.to_owned()), counting }))
    }

    /// Each change is complete, so that a poisoned lock is no reason to stop.
    fn counting(&self) -> MutexGuard<'_, Counting> {
        self.0.counting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what was seen of a message.
    pub(crate) fn note(&self, sightings: Vec<Sighting>, now: Timestamp) {
        if sightings.is_empty() {
            return;
        }
        let (day, mut counting) = (Day::of(now), self.counting());
        if counting.today.as_ref().is_none_or(|today| today.day != day) {
            let ended = counting.today.replace(Today::of(day, DayCounts::new()));
            counting.before = ended.filter(|ended| ended.is_changed).or(counting.before.take());
        }
        if let Some(today) = &mut counting.today {
            sightings.into_iter().for_each(|sighting| today.count(sighting));
        }
    }

    /// Writes what has changed and removes what is outdated. What fails is told of; the next time writes the same again.
    pub async fn write(&self, now: Timestamp) {
        let Some(folder) = self.0.folder.clone() else { return };
        let changed: Vec<Today> = {
            let mut counting = self.counting();
            let today = counting.today.as_mut().filter(|today| today.is_changed);
            let today = today.map(|today| {
                today.is_changed = false;
                today.clone()
            });
            counting.before.iter().cloned().chain(today).collect()
        };
        let written = tokio::task::spawn_blocking(move || store(&folder, changed, now)).await;
        let mut counting = self.counting();
        match written.map_err(io::Error::other).and_then(|written| written) {
            Ok(days) => drop(counting.before.take_if(|before| days.contains(&before.day))),
            Err(error) => {
                tracing::warn!(%error, "counts for DMARC reports are not kept");
                counting.today.iter_mut().for_each(|today| today.is_changed = true);
            }
        }
    }

    /// The counts of a day. Blocks. Errors: a file that cannot be read.
    pub(crate) fn day(&self, day: Day) -> io::Result<DayCounts> {
        let held = {
            let counting = self.counting();
            counting.today.iter().chain(&counting.before).find(|today| today.day == day).cloned()
        };
        match (held, &self.0.folder) {
            (Some(today), _) => Ok(today.into_counts()),
            (None, Some(folder)) => read(folder, day),
            (None, None) => Ok(DayCounts::new()),
        }
    }
}

impl Today {
    fn of(day: Day, kept: DayCounts) -> Self {
        let mut domains = BTreeMap::new();
        for (name, counts) in kept {
            domains.insert(name, Tally::of(counts));
        }
        let bytes = domains.values().map(|tally: &Tally| tally.bytes).sum();
        Self { day, domains, bytes, is_changed: false }
    }

    fn count(&mut self, Sighting { policy, report_uris, record }: Sighting) {
        self.is_changed = true;
        let is_room = self.domains.len() < DOMAINS_MAX && self.bytes < DAY_BYTES_MAX;
        if !self.domains.contains_key(&policy.domain) && !is_room {
            return;
        }
        let tally = self.domains.entry(policy.domain.clone()).or_insert_with(|| {
            let bytes = OVERHEAD_BYTES + policy.domain.len() + report_uris.len();
            self.bytes += bytes;
            let (policy, report_uris) = (policy.clone(), report_uris.clone());
            Tally { policy, report_uris, unlisted: 0, records: HashMap::new(), bytes }
        });
        // of several policies on a day the last one is told (RFC 9990 section 3.1)
        (tally.policy, tally.report_uris) = (policy, report_uris);
        let more = bytes(&record);
        let is_room = tally.bytes + more <= DOMAIN_BYTES_MAX && self.bytes + more <= DAY_BYTES_MAX;
        match tally.records.get_mut(&record) {
            Some(count) => *count = count.saturating_add(1),
            None if is_room => {
                tally.records.insert(record, 1);
                tally.bytes += more;
                self.bytes += more;
            }
            None => tally.unlisted += 1,
        }
    }

    fn into_counts(self) -> DayCounts {
        self.domains.into_iter().map(|(name, tally)| (name, tally.into_counts())).collect()
    }
}

impl Tally {
    fn of(counts: DomainCounts) -> Self {
        let DomainCounts { policy, report_uris, unlisted, records, .. } = counts;
        let mut size = OVERHEAD_BYTES + policy.domain.len() + report_uris.len();
        let mut counted = HashMap::new();
        for mut record in records {
            let count = std::mem::take(&mut record.row.count);
            size += bytes(&record);
            counted.insert(record, count);
        }
        Self { policy, report_uris, unlisted, records: counted, bytes: size }
    }

    fn into_counts(self) -> DomainCounts {
        let Self { policy, report_uris, unlisted, records, .. } = self;
        let listed: u64 = records.values().map(|count| u64::from(*count)).sum();
        let mut records: Vec<wire::Record> = records
            .into_iter()
            .map(|(record, count)| wire::Record { row: wire::Row { count, ..record.row }, ..record })
            .collect();
        records.sort_by_key(|record| (std::cmp::Reverse(record.row.count), record.row.source_ip));
        DomainCounts { policy, report_uris, messages: listed.saturating_add(unlisted), unlisted, records }
    }
}

/// What a record is reckoned as.
fn bytes(record: &wire::Record) -> usize {
    let wire::Record { row, identifiers, auth_results, .. } = record;
    let comments = row.policy_evaluated.reason.iter().filter_map(|reason| reason.comment.as_deref());
    let signatures = auth_results.dkim.iter().flat_map(|signature| {
        [&*signature.domain, &signature.selector, signature.human_result.as_deref().unwrap_or_default()]
    });
    let names = [
        identifiers.envelope_to.as_deref().unwrap_or_default(),
        &identifiers.envelope_from,
        &identifiers.header_from,
    ];
    let senders = auth_results.spf.iter().map(|spf| spf.domain.as_str());
    let texts = names.into_iter().chain(comments).chain(signatures).chain(senders);
    OVERHEAD_BYTES * (1 + auth_results.dkim.len()) + texts.map(str::len).sum::<usize>()
}

fn file(folder: &Path, day: Day) -> PathBuf {
    folder.join(format!("{day}.json"))
}

fn read(folder: &Path, day: Day) -> io::Result<DayCounts> {
    match durable::read(&file(folder, day), FILE_BYTES_MAX)? {
        Some(octets) => serde_json::from_slice(&octets).map_err(io::Error::other),
        None => Ok(DayCounts::new()),
    }
}

/// Writes days, and removes those that are older than [`DAYS_MAX`]; gives what was written.
fn store(folder: &Path, changed: Vec<Today>, now: Timestamp) -> io::Result<Vec<Day>> {
    let mut written = Vec::new();
    for today in changed {
        let day = today.day;
        let octets = serde_json::to_vec(&today.into_counts()).map_err(io::Error::other)?;
        durable::write(&file(folder, day), &octets)?;
        written.push(day);
    }
    let oldest = Day::of(now).earlier(DAYS_MAX);
    for (name, file) in files(folder) {
        if Day::parse(&name).is_none_or(|day| day < oldest) {
            std::fs::remove_file(file)?;
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests;
