//! Which messages of a mailbox were retrieved by POP3, by the day on which they were first: what a policy of expiry (RFC 2449
//! section 6.7) counts from.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use waypost_mail::{Timestamp, Uid};

use crate::{record::UidRange, seen::UidSet};

const DAY_MILLISECONDS: i64 = 86_400_000;

/// The day of a time, since 1970-01-01 (UTC).
pub fn day(time: Timestamp) -> u32 {
    u32::try_from(time.0.div_euclid(DAY_MILLISECONDS)).unwrap_or(0)
}

/// The messages of a mailbox that were retrieved, by day.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Retrieved(BTreeMap<u32, UidSet>);

impl Retrieved {
    /// The first day of one that is still there.
    pub fn oldest(&self) -> Option<u32> {
        self.0.keys().next().copied()
    }

    /// The day on which a message was first retrieved.
    pub fn day(&self, uid: Uid) -> Option<u32> {
        self.0.iter().find(|(_, uids)| uids.contains(uid)).map(|(day, _)| *day)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that were retrieved before a day.
    pub(crate) fn before(&self, day: u32) -> UidSet {
        let mut all = UidSet::default();
        for uids in self.0.range(..day).map(|(_, uids)| uids) {
            all.add(&uids.ranges().collect::<Vec<_>>());
        }
        all
    }

    pub(crate) fn add(&mut self, day: u32, uids: &[UidRange]) {
        if !uids.is_empty() {
            self.0.entry(day).or_default().add(uids);
        }
    }

    /// Messages are gone.
    pub(crate) fn forget(&mut self, uids: &[UidRange]) {
        self.0.values_mut().for_each(|day| day.remove(uids));
        self.0.retain(|_, day| !day.is_empty());
    }
}

/// What was retrieved on one day, on disk.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct KeptRetrieved {
    #[n(0)]
    day: u32,
    #[n(1)]
    uids: Vec<UidRange>,
}

impl KeptRetrieved {
    /// All days of a mailbox.
    pub(crate) fn all(retrieved: &Retrieved) -> Vec<Self> {
        retrieved.0.iter().map(|(day, uids)| Self { day: *day, uids: uids.ranges().collect() }).collect()
    }

    /// What was retrieved.
    pub(crate) fn into_retrieved(kept: Vec<Self>) -> Retrieved {
        let mut retrieved = Retrieved::default();
        kept.into_iter().for_each(|Self { day, uids }| retrieved.add(day, &uids));
        retrieved
    }
}
