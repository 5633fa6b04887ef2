//! Search keys made ready for a mailbox, and their evaluation over what is known of a message so far.
//!
//! Evaluation is three-valued: a key about octets that were not read yet is undecided, and so is what depends on it.

use std::{ops::RangeInclusive, sync::Arc};

use encoding_rs::Encoding;
use waypost_mail::{DateTime, Flag, Keyword, SystemFlags, Timestamp, Uid};
use waypost_storage::Row;

use super::text::{HeaderText, Needle, Scope};
use crate::{
    fetch::{email_id, thread_id},
    op::Comparator,
    wire::{DateRelation, Day, Search, SearchKey, SequenceSet},
};

/// Most keys in a search.
pub(super) const KEYS_MAX: usize = 1000;
/// Most of them that look for a text in header or body.
pub(super) const TEXT_KEYS_MAX: usize = 100;

/// Why a search is not made ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unready {
    /// The charset is not known.
    Charset,
    /// It has too many keys.
    Limit,
}

/// What keys are made ready for.
pub(super) struct Context<'a> {
    /// Names of the mailbox's keyword bits.
    pub(super) keywords: &'a [Keyword],
    /// What `*` is in a sequence set.
    pub(super) exists: u32,
    /// What `*` is in a set of UIDs.
    pub(super) largest_uid: u32,
    /// What `$` is, ascending.
    pub(super) saved: &'a [Uid],
    /// For YOUNGER and OLDER.
    pub(super) now: Timestamp,
    /// How texts are compared.
    pub(super) comparator: Comparator,
}

/// What is known of a message.
pub(super) struct Facts<'a> {
    pub(super) number: u32,
    pub(super) row: &'a Row,
    pub(super) recent: bool,
    /// Its header with the prefix, once it was read.
    pub(super) header: Option<&'a HeaderText>,
    /// Which needles are in its body, once that was searched.
    pub(super) found: Option<&'a [bool]>,
}

/// A search, ready.
#[derive(Debug)]
pub(super) struct Program {
    test: Test,
    needles: Vec<Needle>,
}

#[derive(Debug)]
enum Test {
    All,
    System(SystemFlags),
    /// The bit; `None`: no message can have the keyword.
    Keyword(Option<u64>),
    Recent,
    Internal(DateRelation, Day),
    Saved(DateRelation, Day),
    /// Changed at this modification sequence or later.
    ModSeq(u64),
    Larger(u64),
    Smaller(u64),
    Sequence(Vec<RangeInclusive<u32>>),
    Uid(Arc<[RangeInclusive<u32>]>),
    /// Internal date at this second or later.
    NotBefore(i64),
    EmailId(String),
    ThreadId(String),
    Sent(DateRelation, Day),
    /// Name in lower case, prepared text.
    Header(Vec<u8>, String),
    /// A needle in the body.
    Body(usize),
    /// A needle in header or body.
    Text(usize),
    Not(Box<Test>),
    Or(Box<Test>, Box<Test>),
    And(Vec<Test>),
}

impl Program {
    /// Makes the keys ready.
    pub(super) fn new(search: &Search, context: &Context<'_>) -> Result<Self, Unready> {
        let charset = match &search.charset {
            None => encoding_rs::UTF_8,
            Some(name) => Encoding::for_label_no_replacement(name.as_bytes()).ok_or(Unready::Charset)?,
        };
        let mut compiler =
            Compiler { context, charset, needles: Vec::new(), saved: None, keys: 0, text_keys: 0 };
        let test = Test::And(compiler.all(&search.keys));
        if compiler.keys > KEYS_MAX || compiler.text_keys > TEXT_KEYS_MAX {
            return Err(Unready::Limit);
        }
        Ok(Self { test, needles: compiler.needles })
    }

    /// What is looked for in bodies, prepared.
    pub(super) fn needles(&self) -> &[Needle] {
        &self.needles
    }

    /// Whether a message matches; `None` where more must be read.
    pub(super) fn evaluate(&self, facts: &Facts<'_>) -> Option<bool> {
        self.test.evaluate(facts, &self.needles)
    }
}

struct Compiler<'a> {
    context: &'a Context<'a>,
    charset: &'static Encoding,
    needles: Vec<Needle>,
    /// What `$` is, for all keys that name it.
    saved: Option<Arc<[RangeInclusive<u32>]>>,
    keys: usize,
    text_keys: usize,
}

impl Compiler<'_> {
    fn all(&mut self, keys: &[SearchKey]) -> Vec<Test> {
        keys.iter().map(|key| self.test(key)).collect()
    }

    fn test(&mut self, key: &SearchKey) -> Test {
        self.keys += 1;
        let not = |test| Test::Not(Box::new(test));
        match key {
            SearchKey::All => Test::All,
            SearchKey::Flag(flag) => self.flag(flag),
            SearchKey::NoFlag(flag) => not(self.flag(flag)),
            SearchKey::New => Test::And(vec![Test::Recent, not(Test::System(SystemFlags::SEEN))]),
            SearchKey::Old => not(Test::Recent),
            SearchKey::Recent => Test::Recent,
            SearchKey::Header(name, text) => {
                Test::Header(name.to_ascii_lowercase().into_bytes(), self.folded(text))
            }
            SearchKey::Body(text) => Test::Body(self.needle(text, Scope::Body)),
            SearchKey::Text(text) => Test::Text(self.needle(text, Scope::All)),
            SearchKey::Internal(relation, day) => Test::Internal(*relation, *day),
            SearchKey::Sent(relation, day) => Test::Sent(*relation, *day),
            SearchKey::Larger(size) => Test::Larger(*size),
            SearchKey::Smaller(size) => Test::Smaller(*size),
            SearchKey::Saved(relation, day) => Test::Saved(*relation, *day),
            SearchKey::ModSeq(modseq) => Test::ModSeq(*modseq),
            SearchKey::Uid(SequenceSet::Saved) | SearchKey::Sequence(SequenceSet::Saved) => {
                Test::Uid(self.saved())
            }
            SearchKey::Uid(set) => Test::Uid(set.resolve(self.context.largest_uid).into()),
            SearchKey::UidAfter(uid) => match uid.checked_add(1) {
                Some(first) => Test::Uid(vec![first..=u32::MAX].into()),
                None => not(Test::All),
            },
            SearchKey::UidBefore(uid) => Test::Uid(vec![1..=uid - 1].into()),
            SearchKey::Sequence(set) => Test::Sequence(set.resolve(self.context.exists)),
            SearchKey::Not(key) => not(self.test(key)),
            SearchKey::Or(a, b) => Test::Or(Box::new(self.test(a)), Box::new(self.test(b))),
            SearchKey::And(keys) => Test::And(self.all(keys)),
            // RFC 5032 section 2: both hold where the date is the target itself.
            SearchKey::Younger(seconds) => Test::NotBefore(self.context.now.seconds() - i64::from(*seconds)),
            SearchKey::Older(seconds) => {
                not(Test::NotBefore(self.context.now.seconds() - i64::from(*seconds) + 1))
            }
            SearchKey::EmailId(id) => Test::EmailId(id.clone()),
            SearchKey::ThreadId(id) => Test::ThreadId(id.clone()),
        }
    }

    fn flag(&self, flag: &Flag) -> Test {
        match flag {
            Flag::System(flag) => Test::System(*flag),
            Flag::Keyword(keyword) => Test::Keyword(
                self.context.keywords.iter().position(|name| name == keyword).map(|bit| 1 << bit),
            ),
        }
    }

    fn saved(&mut self) -> Arc<[RangeInclusive<u32>]> {
        let saved = self.context.saved;
        let ranges = || saved.iter().map(|uid| uid.value()..=uid.value()).collect();
        self.saved.get_or_insert_with(ranges).clone()
    }

    fn folded(&mut self, text: &[u8]) -> String {
        self.text_keys += 1;
        self.context.comparator.prepare(&self.charset.decode_without_bom_handling(text).0).into_owned()
    }

    fn needle(&mut self, text: &[u8], scope: Scope) -> usize {
        let needle = Needle { text: self.folded(text), scope };
        let known = self.needles.iter().position(|known| *known == needle);
        known.unwrap_or_else(|| {
            self.needles.push(needle);
            self.needles.len() - 1
        })
    }
}

impl Test {
    fn evaluate(&self, facts: &Facts<'_>, needles: &[Needle]) -> Option<bool> {
        let row = facts.row;
        Some(match self {
            Self::All => true,
            Self::System(flag) => row.flags.contains(*flag),
            Self::Keyword(bit) => bit.is_some_and(|bit| row.keywords & bit != 0),
            Self::Recent => facts.recent,
            Self::Internal(relation, day) => {
                let (year, month, number, ..) = row.internal_date.parts();
                holds(*relation, Day(year, month, number), *day)
            }
            Self::Saved(relation, day) => {
                let (year, month, number, ..) = DateTime::utc(row.save_date).parts();
                holds(*relation, Day(year, month, number), *day)
            }
            Self::ModSeq(modseq) => row.modseq.value() >= *modseq,
            Self::Larger(size) => row.content.size() > *size,
            Self::Smaller(size) => row.content.size() < *size,
            Self::Sequence(ranges) => contains(ranges, facts.number),
            Self::Uid(ranges) => contains(ranges, row.uid.value()),
            Self::NotBefore(second) => row.internal_date.seconds >= *second,
            Self::EmailId(id) => email_id(row) == *id,
            Self::ThreadId(id) => thread_id(row) == *id,
            Self::Sent(relation, day) => facts.header?.sent.is_some_and(|sent| holds(*relation, sent, *day)),
            Self::Header(name, text) => facts.header?.has(name, text),
            Self::Body(needle) => *facts.found?.get(*needle)?,
            Self::Text(needle) => {
                facts.header?.holds(&needles.get(*needle)?.text) || *facts.found?.get(*needle)?
            }
            Self::Not(test) => !test.evaluate(facts, needles)?,
            Self::Or(a, b) => return either(a.evaluate(facts, needles), || b.evaluate(facts, needles)),
            Self::And(tests) => return all(tests, facts, needles),
        })
    }
}

/// True where one is; undecided where the other could still make it so.
fn either(a: Option<bool>, b: impl FnOnce() -> Option<bool>) -> Option<bool> {
    match (a, if a == Some(true) { None } else { b() }) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

/// False where one is; undecided where one is.
fn all(tests: &[Test], facts: &Facts<'_>, needles: &[Needle]) -> Option<bool> {
    let mut result = Some(true);
    for test in tests {
        match test.evaluate(facts, needles) {
            Some(false) => return Some(false),
            Some(true) => {}
            None => result = None,
        }
    }
    result
}

fn holds(relation: DateRelation, day: Day, asked: Day) -> bool {
    match relation {
        DateRelation::Before => day < asked,
        DateRelation::On => day == asked,
        DateRelation::Since => day >= asked,
    }
}

fn contains(ranges: &[RangeInclusive<u32>], number: u32) -> bool {
    let at = ranges.partition_point(|range| *range.end() < number);
    ranges.get(at).is_some_and(|range| range.contains(&number))
}
