//! FETCH (RFC 3501 section 6.4.5).
//!
//! `\Seen` is set first, by one change for all messages of the command; flags that are news to the client ride in the
//! responses. Where it cannot be set (a full disk) the messages are shown all the same. Messages that another session has
//! removed are still served: their octets stay for the retention window.

use std::ops::Range;

use waypost_mail::{SystemFlags, Uid};
use waypost_storage::{FlagChange, FlagMode, KeptStructure, Previews, Rights, Row};

use super::{
    Enabled, Failure, Operation,
    limit::{Left, newest},
    turn::Turn,
};
use crate::{
    fetch::{self, Message, Needs, Read, Responder, preview::LAZY_MESSAGES_MAX, structure::Global},
    machine::Ran,
    session::Selected,
    wire::{Access, FetchItem, FetchModifiers, Numbers, PartialRange, SequenceSet},
};

/// Messages whose structures are loaded at once.
pub(super) const BATCH_MESSAGES: usize = 256;
const UNKNOWN_ENCODING: &str = "some of it has a transfer encoding that is not known";
const UNREADABLE: &str = "some of it cannot be read, it was logged";

impl Operation<'_, '_> {
    pub(super) async fn fetch(
        &mut self,
        numbers: Numbers,
        set: &SequenceSet,
        mut items: Vec<FetchItem>,
        modifiers: FetchModifiers,
    ) -> Result<Ran, Failure> {
        let (limit, uidonly) = (self.user.message_limit, self.user.enabled.uidonly);
        let selected = self.selected()?;
        let mut ranges = selected.numbers(numbers, set)?;
        if let Some(partial) = modifiers.partial {
            // RFC 9738 section 3.1: a page that is too wide is refused.
            if let Some(limit) = limit.filter(|limit| partial.width() > u64::from(*limit)) {
                return Err(Left::new(limit, None).refused());
            }
            ranges = page(ranges, partial);
        }
        let (mut ranges, left) = newest(&selected.view, ranges, limit);
        if let Some(since) = modifiers.changed_since {
            ranges = changed(selected, ranges, since.modseq);
            if since.vanished {
                self.tell_vanished(set, since.modseq).await?;
            }
        }
        // RFC 7162 section 3.1: once enabled, in all FETCH responses.
        if self.user.enabled.condstore && !items.contains(&FetchItem::ModSeq) {
            items.insert(0, FetchItem::ModSeq);
        }
        if numbers == Numbers::Uid && !uidonly && !items.contains(&FetchItem::Uid) {
            items.insert(0, FetchItem::Uid);
        }
        if items.iter().any(fetch::sets_seen) {
            self.set_seen(&ranges).await?;
        }
        let mut read = Read::All;
        let mut numbers: Box<dyn Iterator<Item = u32> + Send> = match left {
            None => Box::new(ranges.into_iter().flatten()),
            // RFC 9738 section 3.1: from the highest UID to the lowest.
            Some(_) => Box::new(ranges.into_iter().flatten().rev()),
        };
        let mut shown = 0;
        loop {
            let batch: Vec<u32> = numbers.by_ref().take(BATCH_MESSAGES).collect();
            if batch.is_empty() {
                break;
            }
            read = read.max(self.fetch_batch(&batch, &items, shown).await?);
            shown += batch.len();
        }
        let ran = match read {
            Read::All => Ran::ok("fetched"),
            Read::UnknownEncoding => Ran::no(UNKNOWN_ENCODING).with_code("UNKNOWN-CTE"),
            Read::Damaged => Ran::no(UNREADABLE).with_code("CORRUPTION"),
        };
        self.limited(ran, left).await
    }

    /// Responses of some messages, after so many others of the command; whether all could be read.
    async fn fetch_batch(
        &mut self,
        numbers: &[u32],
        items: &[FetchItem],
        shown: usize,
    ) -> Result<Read, Failure> {
        let enabled = self.user.enabled;
        let selected = self.selected()?;
        let mut messages: Vec<Message<'_>> =
            numbers.iter().filter_map(|number| message(selected, *number, enabled)).collect();
        for message in messages.iter_mut().skip(LAZY_MESSAGES_MAX.saturating_sub(shown)) {
            message.urgent = false;
        }
        let previews = match items.iter().any(|item| matches!(item, FetchItem::Preview(_))) {
            true => Previews::Wanted,
            false => Previews::Unwanted,
        };
        let structures = match items.iter().any(fetch::needs_structure) {
            true => {
                let rows: Vec<Row> = messages.iter().map(|message| message.row.clone()).collect();
                self.structures(&rows, previews).await
            }
            false => Vec::new(),
        };
        let needs = Needs::of(items);
        for (message, kept) in messages.iter_mut().zip(&structures) {
            let Some(kept) = kept else { continue };
            message.preview = kept.preview().filter(|_| previews == Previews::Wanted);
            match needs {
                _ if previews == Previews::Wanted && message.preview.is_none() => {
                    message.structure = kept.read().ok();
                }
                Needs::Nothing => {}
                Needs::Envelope => message.envelope = kept.envelope().ok(),
                Needs::Structure => message.structure = kept.read().ok(),
            }
        }
        let view = &mut self.user.selected.as_mut().ok_or(Failure::bad(super::SELECT_FIRST))?.view;
        let mut responder = Responder::new(&self.context.store, self.output, enabled);
        let mut turn = Turn::new();
        for message in &messages {
            if view.is_changed(message.row.uid) && !items.contains(&FetchItem::Flags) {
                let with_flags = [&[FetchItem::Flags], items].concat();
                responder.respond(message, &with_flags).await?;
            } else {
                responder.respond(message, items).await?;
            }
            view.flags_told(message.row.uid);
            turn.give().await;
        }
        Ok(responder.read())
    }

    /// The structures of messages; `None` for each that cannot be read.
    pub(super) async fn structures(
        &mut self,
        rows: &[Row],
        previews: Previews,
    ) -> Vec<Option<KeptStructure>> {
        let own = self.user.account.id();
        let account = self.user.selected.as_ref().map_or(own, |selected| selected.space.account.id());
        let store = &self.context.store;
        if let Ok(structures) = store.structures(account, rows, previews).await {
            return structures.into_iter().map(Some).collect();
        }
        let mut structures = Vec::with_capacity(rows.len());
        for row in rows {
            structures.push(match store.kept_structure(account, row, previews).await {
                Ok(structure) => Some(structure),
                Err(error) => {
                    tracing::error!(uid = %row.uid, email = %row.email, %error, "a structure cannot be read");
                    None
                }
            });
        }
        structures
    }

    async fn set_seen(&mut self, ranges: &[Range<u32>]) -> Result<(), Failure> {
        let selected = self.selected()?;
        // RFC 4314 section 4
        if selected.access == Access::ReadOnly || !selected.rights.contains(Rights::SEEN) {
            return Ok(());
        }
        let unseen = unseen(selected, ranges);
        let mailbox = selected.view.state().id;
        if unseen.is_empty() {
            return Ok(());
        }
        let change =
            FlagChange { mode: FlagMode::Add, flags: SystemFlags::SEEN.into(), unchanged_since: None };
        let may = selected.may();
        let account = selected.space.account.clone();
        let change = account.change_flags_within(mailbox, unseen, change, may);
        if let Err(error) = self.patiently(change).await? {
            tracing::warn!(%error, "messages cannot be marked as seen");
        }
        self.refresh()
    }
}

/// A page of the messages (RFC 9394 section 3.3).
fn page(ranges: Vec<Range<u32>>, partial: PartialRange) -> Vec<Range<u32>> {
    let page = partial.of(ranges.iter().map(ExactSizeIterator::len).sum());
    let mut before = 0;
    let part = |range: Range<u32>| {
        let place = |at: usize| range.start + at.saturating_sub(before).min(range.len()) as u32;
        let part = place(page.start)..place(page.end);
        before += range.len();
        part
    };
    ranges.into_iter().map(part).filter(|part| !part.is_empty()).collect()
}

/// Those of the messages that changed after a modification sequence (RFC 7162 section 3.1.4.1).
fn changed(selected: &Selected, ranges: Vec<Range<u32>>, since: u64) -> Vec<Range<u32>> {
    let is_newer =
        |number: &u32| selected.view.by_number(*number).is_some_and(|known| known.row.modseq.value() > since);
    ranges.into_iter().flatten().filter(is_newer).map(|number| number..number + 1).collect()
}

fn unseen(selected: &Selected, ranges: &[Range<u32>]) -> Vec<Uid> {
    let known = ranges.iter().cloned().flatten().filter_map(|number| selected.view.by_number(number));
    let unseen = known.filter(|known| !known.gone && !known.row.flags.contains(SystemFlags::SEEN));
    unseen.map(|known| known.row.uid).collect()
}

fn message(selected: &Selected, number: u32, enabled: Enabled) -> Option<Message<'static>> {
    let view = &selected.view;
    let row = view.by_number(number)?.row;
    let (flags, recent) = (view.state().flags(row), enabled.recent_mark(view, row.uid));
    let global = if enabled.rev2 { Global::Message } else { Global::Leaf };
    let owner = selected.space.account.reader().map(|_| selected.space.account.id());
    let (row, envelope, structure, preview, urgent) = (row.clone(), None, None, None, true);
    Some(Message { number, row, owner, flags, recent, envelope, structure, preview, global, urgent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::PartialEnd;

    #[test]
    fn pages_are_cut_out_of_ranges() {
        let page = |end, one, other| page(vec![1..4, 7..8, 9..12], PartialRange { end, one, other });
        assert_eq!(page(PartialEnd::First, 2, 5), [2..4, 7..8, 9..10]);
        assert_eq!(page(PartialEnd::First, 4, 4), vec![7..8]);
        assert_eq!(page(PartialEnd::First, 7, 99), vec![11..12]);
        assert_eq!(page(PartialEnd::First, 8, 99), vec![]);
        assert_eq!(page(PartialEnd::Last, 1, 4), [7..8, 9..12]);
        assert_eq!(page(PartialEnd::Last, 99, 6), vec![1..3]);
    }
}
