//! SEARCH (RFC 3501 section 6.4.4): a scan that reads as little as it can.
//!
//! Each message is tried with what its row tells; only where that does not decide the header is read, and only then the body,
//! in chunks, for all texts at once. A message that cannot be read does not match, and an untagged NO says so.

mod answer;
mod program;
mod text;

use std::ops::Range;

use waypost_message::{HeaderBlock, header::HEADER_BYTES_MAX};
use waypost_storage::{KeptStructure, Previews, Reader, Row, StoreError};

use super::{
    Failure, Operation,
    append::now,
    fetch::BATCH_MESSAGES,
    limit::{Left, newest},
    turn::Turn,
};
use crate::{
    fetch::structure::Structure,
    machine::Ran,
    session::Selected,
    wire::{Numbers, Search, SearchKey, SequenceSet, Status, encode, spoken},
};
use answer::{Answer, Found};
use program::{Context, Facts, Program, Unready};
use text::HeaderText;

const BAD_CHARSET: &str = "the charset is not known";
const TOO_MANY_KEYS: &str = "a search has at most 1000 keys, 100 of them for a text";
const UNREADABLE: &str = "some messages cannot be read and were not searched";

/// Most octets of a header block that are searched: the largest one that is accepted, and as much prefix.
const HEADER_SEARCH_BYTES_MAX: u64 = 2 * HEADER_BYTES_MAX as u64;

/// What was found.
struct All {
    messages: Vec<Found>,
    /// Messages beyond the bound of a command.
    left: Option<Left>,
    /// Whether all messages could be read.
    all_read: bool,
}

/// A message whose row alone does not decide.
struct Candidate {
    number: u32,
    row: Row,
    recent: bool,
    /// Its place among those of its batch.
    index: usize,
}

impl Operation<'_, '_> {
    pub(super) async fn search(
        &mut self,
        tag: &str,
        numbers: Numbers,
        search: &Search,
    ) -> Result<Ran, Failure> {
        let answer = Answer::new(search, self.user.enabled);
        let found = self.find(search).await;
        if answer.saves() {
            // RFC 5182 section 2.1: a search that ends with NO leaves nothing saved.
            let saved = found.as_ref().map(|found| answer.saved(&found.messages)).unwrap_or_default();
            self.selected()?.saved = saved;
        }
        let found = found?;
        let mut out = answer.response(tag, numbers, &found.messages);
        if !found.all_read {
            let text = spoken(self.user.enabled.language, UNREADABLE);
            encode::untagged(&mut out, Status::No, Some("CORRUPTION"), &text);
        }
        self.output.write(&out).await?;
        self.limited(Ran::ok("searched"), found.left).await
    }

    async fn find(&mut self, search: &Search) -> Result<All, Failure> {
        let (limit, comparator) = (self.user.message_limit, self.user.comparator);
        let selected = self.selected()?;
        let view = &selected.view;
        let context = Context {
            keywords: &view.state().keywords,
            exists: view.told(),
            largest_uid: view.largest_uid(),
            saved: &selected.saved,
            owner: selected.space.account.reader().map(|_| selected.space.account.id()),
            now: now(),
            comparator,
        };
        let program = Program::new(search, &context).map_err(refused)?;
        let all = 1..context.exists + 1;
        let (ranges, left) = match limit {
            None => (vec![all], None),
            Some(_) => newest(view, searched(selected, search)?, limit),
        };
        let goal = ranges.iter().map(|range| range.len() as u32).sum();
        let (mut all, mut done) = (All { messages: Vec::new(), left, all_read: true }, 0);
        let batches = |range: Range<u32>| {
            let end = range.end;
            range
                .step_by(BATCH_MESSAGES)
                .map(move |first| first..end.min(first.saturating_add(BATCH_MESSAGES as u32)))
        };
        let mut turn = Turn::new();
        for batch in ranges.into_iter().flat_map(batches) {
            let (found, read) = self.search_batch(&program, batch.clone(), (done, goal)).await?;
            done += batch.len() as u32;
            all.all_read &= read;
            all.messages.extend(found);
            turn.give().await;
        }
        Ok(all)
    }

    /// What matches of some numbers, after so many of all; whether all could be read.
    async fn search_batch(
        &mut self,
        program: &Program,
        numbers: Range<u32>,
        (done, goal): (u32, u32),
    ) -> Result<(Vec<Found>, bool), Failure> {
        let view = &self.selected()?.view;
        let mut matching: Vec<(Found, bool)> = Vec::new();
        let mut open: Vec<Candidate> = Vec::new();
        for known in numbers.filter_map(|number| view.by_number(number)) {
            let recent = view.is_recent(known.row.uid);
            let facts = Facts { number: known.number, row: known.row, recent, header: None, found: None };
            let decided = program.evaluate(&facts);
            if decided.is_none() {
                let (number, row, index) = (known.number, known.row.clone(), matching.len());
                open.push(Candidate { number, row, recent, index });
            }
            let found = Found { number: known.number, uid: known.row.uid, modseq: known.row.modseq };
            matching.push((found, decided == Some(true)));
        }
        let all_read = self.search_octets(program, open, (&mut matching, done, goal)).await?;
        let found = matching.into_iter().filter(|(_, matches)| *matches);
        Ok((found.map(|(found, _)| found).collect(), all_read))
    }

    /// Decides the candidates by their octets; whether all could be read.
    async fn search_octets(
        &mut self,
        program: &Program,
        open: Vec<Candidate>,
        (matching, done, goal): (&mut [(Found, bool)], u32, u32),
    ) -> Result<bool, Failure> {
        let rows: Vec<Row> = open.iter().map(|candidate| candidate.row.clone()).collect();
        let structures =
            if rows.is_empty() { Vec::new() } else { self.structures(&rows, Previews::Unwanted).await };
        let mut all_read = true;
        let (mut turn, mut reader) = (Turn::new(), None);
        for (candidate, structure) in open.into_iter().zip(structures) {
            turn.give().await;
            self.tell_progress(done + candidate.index as u32, goal).await?;
            let unread = || StoreError::Damaged("structure".to_owned());
            let structure = structure.as_ref().ok_or_else(unread).and_then(KeptStructure::read);
            let matches = match structure {
                Ok(structure) => {
                    let content = &candidate.row.content;
                    let reader = reader.get_or_insert_with(|| self.context.store.reader(content, 0, 0));
                    self.search_message(program, &candidate, &structure, reader).await
                }
                Err(error) => Err(error),
            };
            match matches {
                Ok(matches) => matching[candidate.index].1 = matches,
                Err(error) => {
                    tracing::error!(uid = %candidate.row.uid, %error, "a message cannot be searched");
                    all_read = false;
                }
            }
        }
        Ok(all_read)
    }

    async fn search_message(
        &mut self,
        program: &Program,
        candidate: &Candidate,
        structure: &Structure<'_>,
        reader: &mut Reader,
    ) -> Result<bool, StoreError> {
        let content = &candidate.row.content;
        let length = content.prefix_size() + structure.root.header.end;
        reader.aim(content, 0, length.min(HEADER_SEARCH_BYTES_MAX));
        let header = HeaderBlock::new(reader.rest().await?.to_vec());
        let header = HeaderText::new(&header, self.user.comparator);
        let mut facts = Facts {
            number: candidate.number,
            row: &candidate.row,
            recent: candidate.recent,
            header: Some(&header),
            found: None,
        };
        if let Some(decided) = program.evaluate(&facts) {
            return Ok(decided);
        }
        let found = text::find(reader, content, structure, program.needles(), self.user.comparator).await?;
        facts.found = Some(&found);
        Ok(program.evaluate(&facts).unwrap_or(false))
    }
}

/// The messages that a search looks at: all, or those of the sets of UIDs or numbers that all of them must be in.
fn searched(selected: &Selected, search: &Search) -> Result<Vec<Range<u32>>, Failure> {
    let all = 1..selected.view.told() + 1;
    let mut numbers = vec![all];
    for key in &search.keys {
        let set = match key {
            SearchKey::Uid(set) => selected.numbers(Numbers::Uid, set)?,
            SearchKey::Sequence(set) => {
                let numbers = if *set == SequenceSet::Saved { Numbers::Uid } else { Numbers::Sequence };
                selected.numbers(numbers, set)?
            }
            SearchKey::UidAfter(uid) => vec![selected.view.numbers_of_uids(uid.saturating_add(1)..=u32::MAX)],
            SearchKey::UidBefore(uid) => vec![selected.view.numbers_of_uids(1..=uid - 1)],
            _ => continue,
        };
        numbers = common(&numbers, &set);
    }
    Ok(numbers)
}

/// What two lists of ascending ranges have in common.
fn common(one: &[Range<u32>], other: &[Range<u32>]) -> Vec<Range<u32>> {
    let both = |one: &Range<u32>| {
        let one = one.clone();
        other.iter().map(move |other| one.start.max(other.start)..one.end.min(other.end))
    };
    one.iter().flat_map(both).filter(|range| !range.is_empty()).collect()
}

/// Why a search is refused; `"BADCHARSET" [SP "(" charset *(SP charset) ")"]`
fn refused(unready: Unready) -> Failure {
    match unready {
        Unready::Charset => Failure::no("BADCHARSET (US-ASCII UTF-8)", BAD_CHARSET),
        Unready::Limit => Failure::no("LIMIT", TOO_MANY_KEYS),
    }
}
