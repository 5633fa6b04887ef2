//! What is done of a day: when its reports are due, which are sent, and which are tried again. Pure but for its file.
//!
//! The plan is written after each report that was handed over. A crash between the two sends that report once more at the next start:
//! never less than once, and with the same name and id, so that its reader can tell (RFC 9990 section 3.5.4).

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use waypost_mail::Timestamp;

use super::{day::Day, document::Kind};
use crate::tls_policy::durable;

/// The least and the most wait after a day has ended: its counts are written, and receivers are not told by all servers at once (RFC 8460
/// section 4.1 names four hours).
pub(crate) const WAIT: (Duration, Duration) =
    (Duration::from_secs(15 * 60), Duration::from_secs(4 * 60 * 60));
/// For how long a report is tried (RFC 8460 section 5.5).
pub(crate) const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
/// Waits between tries; the last one goes on.
const RETRY_WAITS: [u64; 5] = [15 * 60, 30 * 60, 60 * 60, 2 * 60 * 60, 4 * 60 * 60];
/// Largest file in octets.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The plan of a day.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Plan {
    /// When it is begun with, in seconds since 1970.
    due: i64,
    /// What is to be sent; `None`: that was not looked at yet.
    items: Option<Vec<Item>>,
}

/// A report to be sent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    /// The domain that it is about.
    pub(crate) domain: String,
    state: State,
    /// Where it was sent already.
    pub(crate) sent: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It is to be sent at that second, after so many tries.
    Waits { tries: usize, next: i64 },
    /// Everybody has it who wants it and can be reached.
    Done,
    /// It was tried for long enough.
    GivenUp,
}

impl Plan {
    /// The plan of a day that has ended; `random` spreads it.
    pub(crate) fn new(day: Day, random: u64) -> Self {
        let (least, most) = (WAIT.0.as_secs(), WAIT.1.as_secs());
        let wait = Duration::from_secs(least + random % (most - least));
        Self { due: day.end().after(wait).seconds(), items: None }
    }

    /// What is sent now, whatever was planned.
    pub(crate) fn at_once(reports: Vec<(Kind, String)>, now: Timestamp) -> Self {
        let mut plan = Self { due: now.seconds(), items: None };
        plan.fill(reports);
        plan
    }

    /// Whether it is time to look what there is.
    pub(crate) fn is_to_be_filled(&self, now: Timestamp) -> bool {
        self.items.is_none() && self.due <= now.seconds()
    }

    /// Takes what there is to be sent.
    pub(crate) fn fill(&mut self, reports: Vec<(Kind, String)>) {
        let waits = State::Waits { tries: 0, next: self.due };
        let item = |(kind, domain)| Item { kind, domain, state: waits, sent: Vec::new() };
        self.items = Some(reports.into_iter().map(item).collect());
    }

    /// Places of the reports to be sent by now.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<usize> {
        let is_due = |item: &Item| matches!(item.state, State::Waits { next, .. } if next <= now.seconds());
        let items = self.items.iter().flatten().enumerate();
        items.filter(|(_, item)| is_due(item)).map(|(place, _)| place).collect()
    }

    pub(crate) fn item(&self, place: usize) -> Option<&Item> {
        self.items.as_ref()?.get(place)
    }

    /// A report was sent to all who can have it.
    pub(crate) fn done(&mut self, place: usize) {
        self.change(place, |item, _| item.state = State::Done);
    }

    /// It was sent to one who asked for it.
    pub(crate) fn sent(&mut self, place: usize, to: String) {
        self.change(place, |item, _| item.sent.push(to));
    }

    /// It is to be tried again, if there is time. Gives whether there is.
    pub(crate) fn later(&mut self, place: usize, now: Timestamp) -> bool {
        self.change(place, |item, due| {
            let State::Waits { tries, .. } = item.state else { return };
            let wait = RETRY_WAITS.get(tries).or(RETRY_WAITS.last()).copied().unwrap_or(0);
            let next = now.after(Duration::from_secs(wait)).seconds();
            let last = Timestamp::from_seconds(due).after(PATIENCE).seconds();
            item.state = if next <= last { State::Waits { tries: tries + 1, next } } else { State::GivenUp };
        });
        self.item(place).is_some_and(|item| item.state != State::GivenUp)
    }

    fn change(&mut self, place: usize, change: impl FnOnce(&mut Item, i64)) {
        let due = self.due;
        if let Some(item) = self.items.as_mut().and_then(|items| items.get_mut(place)) {
            change(item, due);
        }
    }

    /// Reads the plan of a day. Blocks. Errors: a file that cannot be read.
    pub(crate) fn read(folder: &Path, day: Day) -> io::Result<Option<Self>> {
        let octets = durable::read(&file(folder, day), FILE_BYTES_MAX)?;
        octets.map(|octets| serde_json::from_slice(&octets).map_err(io::Error::other)).transpose()
    }

    /// Writes it, synced. Blocks.
    pub(crate) fn write(&self, folder: &Path, day: Day) -> io::Result<()> {
        durable::write(&file(folder, day), &serde_json::to_vec(self).map_err(io::Error::other)?)
    }
}

fn file(folder: &Path, day: Day) -> PathBuf {
    folder.join(format!("{day}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day() -> Day {
        Day::parse("2026-11-25").unwrap()
    }

    fn two() -> Vec<(Kind, String)> {
        vec![(Kind::Dmarc, "a.test".into()), (Kind::Tls, "b.test".into())]
    }

    #[test]
    fn a_day_is_begun_with_some_time_after_it() {
        let at = |seconds: u64| day().end().after(Duration::from_secs(seconds));
        for (random, wait) in [(0, 900), (1, 901), (13_499, 14_399), (13_500, 900), (u64::MAX, 4515)] {
            let plan = Plan::new(day(), random);
            assert!(!plan.is_to_be_filled(at(wait - 1)), "{random}");
            assert!(plan.is_to_be_filled(at(wait)), "{random} {plan:?}");
        }
    }

    #[test]
    fn what_fails_is_tried_for_a_day() {
        let mut plan = Plan::new(day(), 0);
        let mut now = day().end().after(WAIT.0);
        plan.fill(two());
        assert!(!plan.is_to_be_filled(now));
        assert_eq!(plan.due(now), [0, 1]);
        plan.done(1);
        let mut waits = Vec::new();
        while plan.later(0, now) {
            let before = now;
            while plan.due(now).is_empty() {
                now = now.after(Duration::from_secs(60));
            }
            assert_eq!(plan.due(now), [0]);
            waits.push((now.seconds() - before.seconds()) / 60);
        }
        assert_eq!(waits, [15, 30, 60, 120, 240, 240, 240, 240, 240]);
        assert_eq!(plan.due(now.after(PATIENCE)), [0; 0]);
    }

    #[test]
    fn a_plan_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Plan::read(folder.path(), day()).unwrap(), None);
        let mut plan = Plan::at_once(two(), day().end());
        plan.sent(0, "mailto:x@a.test".into());
        plan.write(folder.path(), day()).unwrap();
        assert_eq!(Plan::read(folder.path(), day()).unwrap(), Some(plan));
        std::fs::write(folder.path().join("2026-11-25.json"), "{").unwrap();
        assert!(Plan::read(folder.path(), day()).is_err());
    }
}
