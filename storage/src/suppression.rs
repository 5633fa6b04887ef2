//! The suppression list: addresses to which no mail is sent any more, as it bounced for good or they complained of it.
//!
//! A line counts what happened to one recipient, in mail of all senders or of one; it suppresses once that was often enough, and
//! means nothing behind its end. Lines that have ended go when the next record touches their part of the list.

use std::{
    collections::{BTreeMap, HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use minicbor::{Decode, Encode};
use waypost_mail::{Address, Timestamp};

use crate::{
    decide::suppression::{Count, Forget, Suppress, Unsuppress},
    error::StoreError,
    record::codec,
    store::Store,
};

/// Parts of the list: a change copies one.
const PARTS: usize = 256;
/// Longest reason in octets.
pub const WHY_BYTES_MAX: usize = 300;

/// Why an address is suppressed.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
pub enum Cause {
    /// A server said that its mailbox does not exist.
    #[n(0)]
    Bounce,
    /// Its owner complained.
    #[n(1)]
    Complaint,
    /// The operator wanted it.
    #[n(2)]
    Hand,
}

/// A line of the suppression list.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
pub struct Suppression {
    /// The address.
    #[cbor(n(0), with = "codec::address")]
    pub recipient: Address,
    /// Whose mail it is about; `None`: anybody's.
    #[n(1)]
    sender: Option<Kept>,
    /// Why.
    #[n(2)]
    pub cause: Cause,
    /// When it happened last.
    #[cbor(n(3), with = "codec::timestamp")]
    pub at: Timestamp,
    /// How often.
    #[n(4)]
    pub count: u32,
    /// Whether that is often enough.
    #[n(5)]
    pub is_active: bool,
    /// Until when it counts; `None`: for ever.
    #[cbor(n(6), with = "codec::optional_timestamp", default)]
    pub until: Option<Timestamp>,
    /// What was said, or why the operator wanted it; at most [`WHY_BYTES_MAX`] octets.
    #[n(7)]
    pub why: String,
}

/// An address where there may be none.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(transparent)]
pub(crate) struct Kept(#[cbor(n(0), with = "codec::address")] pub(crate) Address);

/// Something that may lead to a suppression, or, where it is often enough, does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Strike {
    /// The address.
    pub recipient: Address,
    /// Whose mail it is about; `None`: anybody's.
    pub sender: Option<Address>,
    /// What happened.
    pub cause: Cause,
    /// What was said.
    pub why: String,
    /// How often is enough; each time before its line has ended counts.
    pub limit: u32,
    /// How long the line holds from now on; `None`: for ever.
    pub lifetime: Option<Duration>,
}

impl Suppression {
    /// Whose mail it is about; `None`: anybody's.
    pub fn sender(&self) -> Option<&Address> {
        self.sender.as_ref().map(|kept| &kept.0)
    }

    /// Whether it has not ended.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// The line after a strike, given the one before.
    pub(crate) fn after(strike: &Strike, before: Option<&Self>, now: Timestamp) -> Self {
        let before = before.filter(|before| before.holds(now));
        let alike = before.filter(|before| before.cause == strike.cause);
        let count = alike.map_or(0, |before| before.count).saturating_add(1);
        let mut why = strike.why.clone();
        why.truncate(why.floor_char_boundary(WHY_BYTES_MAX));
        Self {
            recipient: strike.recipient.clone(),
            sender: strike.sender.clone().map(Kept),
            cause: strike.cause,
            at: now,
            count,
            is_active: count >= strike.limit || before.is_some_and(|before| before.is_active),
            until: strike.lifetime.map(|lifetime| now.after(lifetime)),
            why,
        }
    }

    fn is_of(&self, sender: Option<&Address>) -> bool {
        match (self.sender(), sender) {
            (Some(own), Some(sender)) => own.same_mailbox(sender),
            (own, sender) => own.is_none() && sender.is_none(),
        }
    }
}

/// Lines by the folded address of their recipients.
type Part = BTreeMap<String, Vec<Suppression>>;

/// All lines. Cheap to clone, and to change while a clone is held.
#[derive(Clone, Debug, Default)]
pub struct Suppressions(HashMap<usize, Arc<Part>>);

impl Suppressions {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All lines that have not ended, by recipient.
    pub fn all(&self, now: Timestamp) -> Vec<Suppression> {
        let lines = self.0.values().flat_map(|part| part.values()).flatten();
        let mut lines: Vec<_> = lines.filter(|line| line.holds(now)).cloned().collect();
        let key = |line: &Suppression| (line.recipient.folded(), line.sender().map(Address::folded));
        lines.sort_by_cached_key(key);
        lines
    }

    /// All lines, whether they have ended or not, by recipient.
    pub(crate) fn lines(&self) -> Vec<&Suppression> {
        let parts = self.0.values().flat_map(|part| part.iter());
        let mut lines: Vec<(&String, &Suppression)> =
            parts.flat_map(|(key, lines)| lines.iter().map(move |line| (key, line))).collect();
        lines.sort_by_key(|(key, _)| *key);
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// The lines of a recipient.
    pub fn of(&self, recipient: &Address) -> &[Suppression] {
        if self.is_empty() {
            return &[];
        }
        let key = recipient.folded();
        self.0.get(&place(&key)).and_then(|part| part.get(&key)).map_or(&[], Vec::as_slice)
    }

    /// The line of a recipient for mail of one sender, or of anybody, exactly.
    pub(crate) fn line(&self, recipient: &Address, sender: Option<&Address>) -> Option<&Suppression> {
        self.of(recipient).iter().find(|line| line.is_of(sender))
    }

    /// Whether bounces of a recipient are counted that do not suppress its mail yet.
    pub fn is_counted(&self, recipient: &Address, now: Timestamp) -> bool {
        let counts = |line: &Suppression| line.cause == Cause::Bounce && !line.is_active && line.holds(now);
        self.line(recipient, None).is_some_and(counts)
    }

    /// By which line mail of a sender is not sent to a recipient; `None`: it is sent.
    pub fn suppressing(
        &self,
        recipient: &Address,
        sender: Option<&Address>,
        now: Timestamp,
    ) -> Option<&Suppression> {
        let is_meant = |line: &&Suppression| line.sender().is_none() || line.is_of(sender);
        self.of(recipient).iter().filter(is_meant).find(|line| line.is_active && line.holds(now))
    }

    /// Puts a line in, in the place of the one before.
    pub(crate) fn put(&mut self, line: Suppression) {
        let key = line.recipient.folded();
        let part = Arc::make_mut(self.0.entry(place(&key)).or_default());
        let now = line.at;
        part.retain(|_, lines| {
            lines.retain(|line| line.holds(now));
            !lines.is_empty()
        });
        let lines = part.entry(key).or_default();
        lines.retain(|other| !other.is_of(line.sender()));
        lines.push(line);
    }

    /// Takes a line out.
    pub(crate) fn remove(&mut self, recipient: &Address, sender: Option<&Address>) {
        let key = recipient.folded();
        let Some(part) = self.0.get_mut(&place(&key)) else { return };
        let part = Arc::make_mut(part);
        if let Some(lines) = part.get_mut(&key) {
            lines.retain(|line| !line.is_of(sender));
            if lines.is_empty() {
                part.remove(&key);
            }
        }
        if part.is_empty() {
            self.0.remove(&place(&key));
        }
    }
}

/// Of lines that [`Suppressions::lines`] gave.
impl FromIterator<Suppression> for Suppressions {
    fn from_iter<I: IntoIterator<Item = Suppression>>(lines: I) -> Self {
        let mut all = Self::default();
        for line in lines {
            let key = line.recipient.folded();
            let part = Arc::make_mut(all.0.entry(place(&key)).or_default());
            part.entry(key).or_default().push(line);
        }
        all
    }
}

fn place(key: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % PARTS as u64).unwrap_or_default()
}

impl Store {
    /// Counts what happened to a recipient; whether mail to it is suppressed from now on. Errors: `Full`, `Poisoned`, `Closed`.
    pub async fn strike(&self, strike: Strike) -> Result<bool, StoreError> {
        self.submit(Count(strike)).await
    }

    /// Suppresses an address by hand, for mail of all senders or of one, for ever or for a time. Errors as [`Store::strike`].
    pub async fn suppress(
        &self,
        recipient: Address,
        sender: Option<Address>,
        why: String,
        lifetime: Option<Duration>,
    ) -> Result<(), StoreError> {
        let strike = Strike { recipient, sender, cause: Cause::Hand, why, limit: 1, lifetime };
        self.submit(Suppress(strike)).await
    }

    /// Forgets bounces of a recipient that were counted and do not suppress its mail yet: it takes mail. Errors as [`Store::strike`].
    pub async fn forget_bounces(&self, recipient: Address) -> Result<(), StoreError> {
        self.submit(Forget { recipient }).await
    }

    /// Forgets what is known of an address, in mail of all senders and of each; how many lines that were. Errors as [`Store::strike`].
    pub async fn unsuppress(&self, recipient: Address) -> Result<usize, StoreError> {
        self.submit(Unsuppress { recipient }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn strike(sender: Option<&str>, cause: Cause, limit: u32) -> Strike {
        Strike {
            recipient: address("X@b.test"),
            sender: sender.map(address),
            cause,
            why: "550 5.1.1 nobody".to_owned(),
            limit,
            lifetime: Some(Duration::from_secs(1)),
        }
    }

    #[test]
    fn a_line_suppresses_when_it_happened_often_enough_before_it_ended() {
        use Cause::{Bounce, Complaint, Hand};
        for (strikes, expected) in [
            (&[(Bounce, 1, 0)][..], (1, true)),
            (&[(Bounce, 2, 0)], (1, false)),
            (&[(Bounce, 2, 0), (Bounce, 2, 999)], (2, true)),
            (&[(Bounce, 2, 0), (Bounce, 2, 1000)], (1, false)),
            (&[(Bounce, 2, 0), (Complaint, 2, 1)], (1, false)),
            (&[(Hand, 1, 0), (Bounce, 2, 1)], (1, true)),
            (&[(Hand, 1, 0), (Bounce, 2, 1000)], (1, false)),
        ] {
            let line = strikes.iter().fold(None, |before: Option<Suppression>, (cause, limit, at)| {
                Some(Suppression::after(&strike(None, *cause, *limit), before.as_ref(), Timestamp(*at)))
            });
            let line = line.unwrap();
            assert_eq!((line.count, line.is_active), expected, "{strikes:?}");
        }
    }

    #[test]
    fn lines_hold_for_their_senders_until_they_end() {
        let mut all = Suppressions::default();
        let (anna, bert) = (address("Anna@a.test"), address("bert@a.test"));
        all.put(Suppression::after(&strike(Some("anna@a.test"), Cause::Complaint, 1), None, Timestamp(0)));
        let (x, other) = (address("x@b.test"), address("y@b.test"));
        let is = |all: &Suppressions, recipient, sender, at| {
            all.suppressing(recipient, sender, Timestamp(at)).is_some()
        };
        for (recipient, sender, at, expected) in [
            (&x, Some(&anna), 0, true),
            (&x, Some(&anna), 999, true),
            (&x, Some(&anna), 1000, false),
            (&x, Some(&bert), 0, false),
            (&x, None, 0, false),
            (&other, Some(&anna), 0, false),
        ] {
            assert_eq!(is(&all, recipient, sender, at), expected, "{recipient} {sender:?} {at}");
        }
        let shared = all.clone();
        all.put(Suppression::after(&strike(None, Cause::Bounce, 1), None, Timestamp(1)));
        assert!(is(&all, &x, Some(&bert), 1) && is(&all, &x, None, 1) && !is(&shared, &x, Some(&bert), 1));
        assert_eq!((all.all(Timestamp(1)).len(), all.all(Timestamp(1000)).len()), (2, 1));
        all.remove(&x, None);
        assert!(!is(&all, &x, Some(&bert), 1) && is(&all, &x, Some(&anna), 1));
        all.remove(&x, Some(&anna));
        assert!(all.is_empty() && !shared.is_empty());
    }

    #[test]
    fn what_has_ended_goes_and_reasons_are_cut() {
        let mut all = Suppressions::default();
        all.put(Suppression::after(&strike(Some("anna@a.test"), Cause::Complaint, 1), None, Timestamp(0)));
        let long = Strike { why: "\u{fc}".repeat(400), ..strike(None, Cause::Bounce, 1) };
        all.put(Suppression::after(&long, None, Timestamp(1000)));
        let [line] = all.of(&address("x@b.test")) else { panic!("{all:?}") };
        assert_eq!((line.why.len(), line.cause), (WHY_BYTES_MAX, Cause::Bounce));
    }
}
