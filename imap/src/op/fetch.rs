//! FETCH (RFC 3501 section 6.4.5).
//!
//! `\Seen` is set first, by one change for all messages of the command; flags that are news to the client ride in the
//! responses. Where it cannot be set (a full disk) the messages are shown all the same. Messages that another session has
//! removed are still served: their octets stay for the retention window.

use std::{ops::Range, sync::Arc};

use waypost_mail::{SystemFlags, Uid};
use waypost_message::Structure;
use waypost_storage::{FlagChange, FlagMode, Rights, Row};

use super::{Enabled, Failure, Operation};
use crate::{
    fetch::{self, Message, Read, Responder, structure::Global},
    machine::Ran,
    session::Selected,
    wire::{Access, ChangedSince, FetchItem, Numbers, SequenceSet},
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
        changed_since: Option<ChangedSince>,
    ) -> Result<Ran, Failure> {
        let selected = self.selected()?;
        let mut ranges = selected.numbers(numbers, set)?;
        if let Some(since) = changed_since {
            ranges = changed(selected, ranges, since.modseq);
            if since.vanished {
                self.tell_vanished(set, since.modseq).await?;
            }
        }
        // RFC 7162 section 3.1: once enabled, in all FETCH responses.
        if self.user.enabled.condstore && !items.contains(&FetchItem::ModSeq) {
            items.insert(0, FetchItem::ModSeq);
        }
        if numbers == Numbers::Uid && !items.contains(&FetchItem::Uid) {
            items.insert(0, FetchItem::Uid);
        }
        if items.iter().any(fetch::sets_seen) {
            self.set_seen(&ranges).await?;
        }
        let mut read = Read::All;
        let mut numbers = ranges.into_iter().flatten();
        loop {
            let batch: Vec<u32> = numbers.by_ref().take(BATCH_MESSAGES).collect();
            if batch.is_empty() {
                break;
            }
            read = read.max(self.fetch_batch(&batch, &items).await?);
        }
        Ok(match read {
            Read::All => Ran::ok("fetched"),
            Read::UnknownEncoding => Ran::no(UNKNOWN_ENCODING).with_code("UNKNOWN-CTE"),
            Read::Damaged => Ran::no(UNREADABLE).with_code("CORRUPTION"),
        })
    }

    /// Responses of some messages; whether all could be read.
    async fn fetch_batch(&mut self, numbers: &[u32], items: &[FetchItem]) -> Result<Read, Failure> {
        let enabled = self.user.enabled;
        let selected = self.selected()?;
        let mailbox = selected.view.state().id;
        let mut messages: Vec<Message> =
            numbers.iter().filter_map(|number| message(selected, *number, enabled)).collect();
        if items.iter().any(fetch::needs_structure) {
            let rows: Vec<Row> = messages.iter().map(|message| message.row.clone()).collect();
            let structures = self.structures(mailbox, &rows).await;
            for (message, structure) in messages.iter_mut().zip(structures) {
                message.structure = structure;
            }
        }
        let view = &mut self.user.selected.as_mut().ok_or(Failure::bad(super::SELECT_FIRST))?.view;
        let mut responder = Responder::new(&self.context.store, self.output);
        for message in &messages {
            if view.is_changed(message.row.uid) && !items.contains(&FetchItem::Flags) {
                let with_flags = [&[FetchItem::Flags], items].concat();
                responder.respond(message, &with_flags).await?;
            } else {
                responder.respond(message, items).await?;
            }
            view.flags_told(message.row.uid);
            // Rows and short texts are in memory: a large mailbox would keep the thread.
            tokio::task::yield_now().await;
        }
        Ok(responder.read())
    }

    /// The structures of messages; `None` for each that cannot be read.
    pub(super) async fn structures(
        &mut self,
        mailbox: waypost_mail::MailboxId,
        rows: &[Row],
    ) -> Vec<Option<Arc<Structure>>> {
        let own = self.user.account.id();
        let account = self.user.selected.as_ref().map_or(own, |selected| selected.space.account.id());
        let store = &self.context.store;
        if let Ok(structures) = store.structures(account, mailbox, rows).await {
            return structures.into_iter().map(Some).collect();
        }
        let mut structures = Vec::with_capacity(rows.len());
        for row in rows {
            structures.push(match store.structure(account, mailbox, row).await {
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
        if let Err(error) = account.change_flags_within(mailbox, unseen, change, may).await {
            tracing::warn!(%error, "messages cannot be marked as seen");
        }
        self.refresh()
    }
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

fn message(selected: &Selected, number: u32, enabled: Enabled) -> Option<Message> {
    let view = &selected.view;
    let row = view.by_number(number)?.row;
    let (flags, recent) = (view.state().flags(row), enabled.recent_mark(view, row.uid));
    let global = if enabled.rev2 { Global::Message } else { Global::Leaf };
    let owner = selected.space.account.reader().map(|_| selected.space.account.id());
    Some(Message { number, row: row.clone(), owner, flags, recent, structure: None, global })
}
