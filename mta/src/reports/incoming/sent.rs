//! What we sent, for reports to be compared with: messages that other servers took, by UTC day, domain in From, provider and our address.
//!
//! The counts of the day are in memory and written every few minutes: a crash loses those of the last minutes.

use std::{
    collections::BTreeMap,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use waypost_mail::{Domain, Timestamp};

use super::provider::organization;
use crate::tls_policy::{
    durable,
    results::{day_files, day_name},
};

/// Most rows of one day; what would make more is counted in one that says `*`.
pub const ROWS_MAX: usize = 50_000;
/// Largest file in octets.
const FILE_BYTES_MAX: u64 = 64 << 20;
const SUFFIX: &str = ".json";
/// In the place of what there were too many of.
const OTHERS: &str = "*";

/// Messages with a domain in From that a provider took from one of our addresses.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SentRow {
    /// The domain in From.
    pub from: String,
    /// The domain of the recipients.
    pub to: String,
    /// The organisational domain of the host that took them.
    pub provider: String,
    /// Our address, where there was a connection by IP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// How many messages: transactions.
    pub messages: u64,
    /// For how many recipients.
    pub recipients: u64,
}

/// A transaction that ended well for some recipients.
#[derive(Clone, Debug)]
pub struct Transaction<'a> {
    /// The domain in From.
    pub from: &'a Domain,
    /// The host that took it, and its address, as replies are noted with: `mx.b.test [192.0.2.1]`.
    pub peer: &'a str,
    /// Our address.
    pub source: Option<IpAddr>,
}

/// Counts what is sent. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sent(Arc<Mutex<Counts>>);

/// From, recipients, provider, our address.
type Key = (String, String, String, Option<IpAddr>);

#[derive(Debug, Default)]
struct Counts {
    folder: Option<PathBuf>,
    today: String,
    day: BTreeMap<Key, (u64, u64)>,
    is_changed: bool,
    /// Days that have ended and are to be written.
    ended: Vec<(PathBuf, Vec<u8>)>,
}

impl Sent {
    /// The counts that a folder holds. What cannot be read of today's is told of and begun anew. Blocks.
    pub fn open(folder: &Path, now: Timestamp) -> Self {
        let today = day_name(now);
        let rows = read(folder, &today).unwrap_or_else(|error| {
            tracing::warn!(folder = %folder.display(), %error, "today's counts of what was sent are lost");
            Vec::new()
        });
        let row =
            |row: SentRow| ((row.from, row.to, row.provider, row.source), (row.messages, row.recipients));
        let day = rows.into_iter().map(row).collect();
        let folder = Some(folder.to_owned());
        Self(Arc::new(Mutex::new(Counts { folder, today, day, ..Counts::default() })))
    }

    /// Counts a transaction with its recipients by domain.
    pub fn count(&self, transaction: &Transaction<'_>, recipients: &BTreeMap<String, u64>, now: Timestamp) {
        let Transaction { from, peer, source } = transaction;
        let host = peer.split(' ').next().unwrap_or_default();
        let is_named = !host.is_empty() && host.parse::<IpAddr>().is_err() && !host.starts_with(['[', '/']);
        let mut counts = self.counts();
        counts.begin(&day_name(now));
        for (to, recipients) in recipients {
            let provider = organization(if is_named { host } else { to });
            counts.count((from.to_string(), to.clone(), provider, *source), *recipients);
        }
    }

    /// The rows of the days that are kept, from a day on (`2026-11-26`), by day. Errors: a file that cannot be read. Blocks.
    pub fn days_since(&self, first: &str) -> io::Result<BTreeMap<String, Vec<SentRow>>> {
        let (folder, today, rows) = {
            let counts = self.counts();
            (counts.folder.clone(), counts.today.clone(), counts.rows())
        };
        let mut days = BTreeMap::new();
        for (day, _) in folder.iter().flat_map(|folder| day_files(folder, SUFFIX)) {
            if let Some(folder) = folder.as_ref().filter(|_| day.as_str() >= first && day != today) {
                days.insert(day.clone(), read(folder, &day)?);
            }
        }
        if today.as_str() >= first && !rows.is_empty() {
            days.insert(today, rows);
        }
        Ok(days)
    }

    /// Writes what was counted since the last call, and removes files that are older than `keep`. Errors: the file that cannot be written.
    /// Blocks.
    pub(super) fn write(&self, keep: Duration, now: Timestamp) -> io::Result<()> {
        let (files, folder) = {
            let mut counts = self.counts();
            let mut files = std::mem::take(&mut counts.ended);
            files.extend(counts.take_changes());
            (files, counts.folder.clone())
        };
        for (file, octets) in files {
            durable::write(&file, &octets)?;
        }
        let oldest = day_name(now.before(keep));
        let files = folder.map(|folder| day_files(&folder, SUFFIX)).unwrap_or_default();
        files.into_iter().filter(|(day, _)| *day < oldest).try_for_each(|(_, file)| fs::remove_file(file))
    }

    /// The counts. Each change of them is complete, so that a poisoned lock is no reason to stop.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn begin(&mut self, today: &str) {
        if today != self.today {
            let ended = self.take_changes();
            self.ended.extend(ended);
            (self.today, self.day) = (today.to_owned(), BTreeMap::new());
        }
    }

    fn count(&mut self, key: Key, recipients: u64) {
        let is_others = self.day.len() >= ROWS_MAX && !self.day.contains_key(&key);
        let others = || (OTHERS.to_owned(), OTHERS.to_owned(), OTHERS.to_owned(), None);
        let (messages, known) = self.day.entry(if is_others { others() } else { key }).or_default();
        (*messages, *known) = (messages.saturating_add(1), known.saturating_add(recipients));
        self.is_changed = true;
    }

    fn rows(&self) -> Vec<SentRow> {
        let row = |((from, to, provider, source), (messages, recipients)): (&Key, &(u64, u64))| SentRow {
            from: from.clone(),
            to: to.clone(),
            provider: provider.clone(),
            source: *source,
            messages: *messages,
            recipients: *recipients,
        };
        self.day.iter().map(row).collect()
    }

    fn take_changes(&mut self) -> Option<(PathBuf, Vec<u8>)> {
        let folder = self.folder.as_ref()?;
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        let octets = serde_json::to_vec(&self.rows()).ok()?;
        Some((folder.join(format!("{}{SUFFIX}", self.today)), octets))
    }
}

fn read(folder: &Path, day: &str) -> io::Result<Vec<SentRow>> {
    match durable::read(&folder.join(format!("{day}{SUFFIX}")), FILE_BYTES_MAX)? {
        Some(octets) => serde_json::from_slice(&octets).map_err(io::Error::other),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(2 * 86_400);

    fn at(day: i64) -> Timestamp {
        Timestamp::from_seconds(1_795_651_200 + day * 86_400)
    }

    fn count(sent: &Sent, peer: &str, to: &[(&str, u64)], day: i64) {
        let from = Domain::new("a.test").unwrap();
        let source = Some("192.0.2.1".parse().unwrap());
        let recipients = to.iter().map(|(to, recipients)| ((*to).to_owned(), *recipients)).collect();
        sent.count(&Transaction { from: &from, peer, source }, &recipients, at(day));
    }

    fn row(to: &str, provider: &str, messages: u64, recipients: u64) -> SentRow {
        let (from, source) = ("a.test".to_owned(), Some("192.0.2.1".parse().unwrap()));
        SentRow { from, to: to.into(), provider: provider.into(), source, messages, recipients }
    }

    #[test]
    fn days_are_counted_and_survive_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let sent = Sent::open(folder.path(), at(0));
        count(&sent, "mx1.big.test [192.0.2.9]", &[("b.test", 3)], 0);
        count(&sent, "mx2.big.test [192.0.2.9]", &[("b.test", 1), ("c.test", 1)], 0);
        // without a name it is the recipients' domain
        count(&sent, "192.0.2.9", &[("mail.d.test", 1)], 0);
        count(&sent, "/run/lmtp", &[("e.test", 1)], 0);
        let expected = [
            row("b.test", "big.test", 2, 4),
            row("c.test", "big.test", 1, 1),
            row("e.test", "e.test", 1, 1),
            row("mail.d.test", "d.test", 1, 1),
        ];
        assert_eq!(sent.days_since("2026-11-26").unwrap()["2026-11-26"], expected);
        sent.write(KEEP, at(0)).unwrap();
        let sent = Sent::open(folder.path(), at(0));
        count(&sent, "mx1.big.test [192.0.2.9]", &[("b.test", 1)], 0);
        count(&sent, "mx1.big.test [192.0.2.9]", &[("b.test", 1)], 1);
        // the day that ended is written with the next one
        sent.write(KEEP, at(1)).unwrap();
        let days = Sent::open(folder.path(), at(1)).days_since("2026-11-01").unwrap();
        assert_eq!(days.keys().collect::<Vec<_>>(), ["2026-11-26", "2026-11-27"]);
        assert_eq!(days["2026-11-26"][0], row("b.test", "big.test", 3, 5));
        assert_eq!(days["2026-11-27"], [row("b.test", "big.test", 1, 1)]);
        assert_eq!(sent.days_since("2026-11-27").unwrap().len(), 1);
        sent.write(KEEP, at(3)).unwrap();
        assert_eq!(sent.days_since("2026-11-01").unwrap().len(), 1);
        fs::write(folder.path().join("2026-11-27.json"), "nonsense").unwrap();
        assert!(Sent::open(folder.path(), at(1)).days_since("2026-11-01").unwrap().is_empty());
        assert!(Sent::open(folder.path(), at(2)).days_since("2026-11-01").is_err());
    }

    #[test]
    fn rows_are_bounded_and_all_is_counted() {
        let sent = Sent::default();
        for number in 0..ROWS_MAX + 5 {
            count(&sent, "", &[(&format!("d{number}.test"), 1)], 0);
        }
        count(&sent, "", &[("d7.test", 1)], 0);
        let rows = &sent.days_since("2026-11-26").unwrap()["2026-11-26"];
        assert_eq!(rows.len(), ROWS_MAX + 1);
        assert_eq!((rows[0].from.as_str(), rows[0].messages), ("*", 5));
        assert_eq!(rows.iter().map(|row| row.messages).sum::<u64>(), ROWS_MAX as u64 + 6);
        sent.write(KEEP, at(0)).unwrap();
    }
}
