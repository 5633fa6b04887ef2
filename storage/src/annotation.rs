//! Annotations of mailboxes and of the server as one account sees it: what METADATA reads and writes (RFC 5464).
//!
//! They stand in the account that owns the mailbox, those that others keep for themselves, too. A mailbox takes them along when it
//! is renamed, and they go when it is deleted.

use std::{collections::BTreeMap, sync::Arc};

use minicbor::{Decode, Encode, bytes::ByteVec};
use waypost_mail::{AccountId, MailboxId};

use crate::record::codec;

/// Who sees an annotation.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd)]
pub enum Audience {
    /// `/shared`: all who may read the mailbox.
    #[n(0)]
    Shared,
    /// `/private`: one account.
    #[n(1)]
    Private(#[cbor(n(0), with = "codec::account")] AccountId),
}

/// Where an annotation stands: the mailbox, `None` for the server; who sees it; its name behind `/shared` or `/private`.
pub type AnnotationKey = (Option<MailboxId>, Audience, String);

/// The annotations of an account.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Annotations(BTreeMap<AnnotationKey, Arc<[u8]>>);

/// How many annotations there may be, and how large they may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AnnotationLimits {
    /// Most entries of a mailbox, or of the server, for one audience.
    pub entries_max: u64,
    /// Most octets of a value.
    pub value_bytes_max: u64,
    /// Most octets of names and values for one audience, in all mailboxes of an account together.
    pub audience_bytes_max: u64,
    /// Most octets of all that stands in an account.
    pub account_bytes_max: u64,
}

impl AnnotationLimits {
    /// Whatever there is, as when it comes back out of a backup.
    pub(crate) const NONE: Self = Self {
        entries_max: u64::MAX,
        value_bytes_max: u64::MAX,
        audience_bytes_max: u64::MAX,
        account_bytes_max: u64::MAX,
    };
}

impl Annotations {
    /// The value of an annotation.
    pub fn value(&self, key: &AnnotationKey) -> Option<&Arc<[u8]>> {
        self.0.get(key)
    }

    /// All of a mailbox, or of the server, for one audience: names and values, by name.
    pub fn of(
        &self,
        mailbox: Option<MailboxId>,
        audience: Audience,
    ) -> impl Iterator<Item = (&str, &Arc<[u8]>)> {
        let all = self.0.range((mailbox, audience, String::new())..);
        let ours = all.take_while(move |((at, by, _), _)| (*at, *by) == (mailbox, audience));
        ours.map(|((_, _, name), value)| (name.as_str(), value))
    }

    /// The keys under which other annotations hold another value, or none, or one where there is none here.
    pub fn differences<'a>(&'a self, others: &'a Self) -> impl Iterator<Item = &'a AnnotationKey> {
        let changed = self.0.iter().filter(|(key, value)| others.0.get(*key) != Some(*value));
        let new = others.0.keys().filter(|key| !self.0.contains_key(*key));
        changed.map(|(key, _)| key).chain(new)
    }

    /// Octets of names and values, all and those for one audience.
    pub(crate) fn bytes(&self, audience: Audience) -> (u64, u64) {
        let add = |(all, some): (u64, u64), ((_, by, name), value): (&AnnotationKey, &Arc<[u8]>)| {
            let bytes = (name.len() + value.len()) as u64;
            (all + bytes, if *by == audience { some + bytes } else { some })
        };
        self.0.iter().fold((0, 0), add)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&AnnotationKey, &Arc<[u8]>)> {
        self.0.iter()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn set(&mut self, key: AnnotationKey, value: Option<Arc<[u8]>>) {
        match value {
            Some(value) => drop(self.0.insert(key, value)),
            None => drop(self.0.remove(&key)),
        }
    }

    /// A mailbox is gone.
    pub(crate) fn forget(&mut self, mailbox: MailboxId) {
        self.0.retain(|(at, _, _), _| *at != Some(mailbox));
    }

    /// Whether a mailbox has any.
    pub(crate) fn has(&self, mailbox: MailboxId) -> bool {
        let first = (Some(mailbox), Audience::Shared, String::new());
        self.0.range(first..).next().is_some_and(|((at, _, _), _)| *at == Some(mailbox))
    }
}

impl FromIterator<(AnnotationKey, Arc<[u8]>)> for Annotations {
    fn from_iter<I: IntoIterator<Item = (AnnotationKey, Arc<[u8]>)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

/// An annotation on disk.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct KeptAnnotation {
    /// Missing: of the server.
    #[n(0)]
    mailbox: Option<u64>,
    #[n(1)]
    audience: Audience,
    #[n(2)]
    name: String,
    /// Missing: there is none any more.
    #[n(3)]
    value: Option<ByteVec>,
}

impl KeptAnnotation {
    /// Of an annotation, or of one that goes.
    pub(crate) fn new((mailbox, audience, name): &AnnotationKey, value: Option<&[u8]>) -> Self {
        Self {
            mailbox: mailbox.map(|mailbox| mailbox.0),
            audience: *audience,
            name: name.clone(),
            value: value.map(|value| ByteVec::from(value.to_vec())),
        }
    }

    /// The annotation.
    pub(crate) fn into_annotation(self) -> (AnnotationKey, Option<Arc<[u8]>>) {
        let value = self.value.map(|value| Arc::from(Vec::from(value)));
        ((self.mailbox.map(MailboxId), self.audience, self.name), value)
    }

    /// All of an account.
    pub(crate) fn all(annotations: &Annotations) -> impl Iterator<Item = Self> {
        annotations.iter().map(|(key, value)| Self::new(key, Some(value)))
    }

    /// The annotations of an account.
    pub(crate) fn into_annotations(kept: Vec<Self>) -> Annotations {
        let all = kept.into_iter().map(Self::into_annotation);
        all.filter_map(|(key, value)| Some((key, value?))).collect()
    }
}
