//! EXPUNGE (RFC 3501 section 6.4.3) and UID EXPUNGE (RFC 4315 section 2.1). The EXPUNGE responses follow with the other updates.

use waypost_mail::{SystemFlags, Uid};

use super::{Failure, Operation, limit::Left};
use crate::{
    machine::Ran,
    view::View,
    wire::{Numbers, SequenceSet},
};

impl Operation<'_, '_> {
    pub(super) async fn expunge(&mut self, set: Option<&SequenceSet>) -> Result<Ran, Failure> {
        let limit = self.user.message_limit;
        let selected = self.selected_for_writing()?;
        let mut uids = match set {
            Some(set) => deleted(&selected.view, selected.numbers(Numbers::Uid, set)?.into_iter().flatten()),
            None => deleted(&selected.view, 1..=selected.view.exists()),
        };
        let mailbox = selected.view.state().id;
        // RFC 9738 section 3.1: EXPUNGE has no bound.
        let beyond = limit.filter(|limit| set.is_some() && uids.len() > *limit as usize);
        let left = beyond.map(|limit| {
            uids.drain(..uids.len() - limit as usize);
            Left::new(limit, uids.first().copied())
        });
        if !uids.is_empty() {
            let account = self.user.account.clone();
            self.patiently(account.expunge_deleted(mailbox, uids)).await??;
        }
        self.limited(Ran::ok("expunged"), left).await
    }
}

/// The messages among these numbers that have `\Deleted`.
pub(super) fn deleted(view: &View, numbers: impl Iterator<Item = u32>) -> Vec<Uid> {
    if view.state().deleted == 0 {
        return Vec::new();
    }
    let known = numbers.filter_map(|number| view.by_number(number));
    let deleted = known.filter(|known| !known.gone && known.row.flags.contains(SystemFlags::DELETED));
    deleted.map(|known| known.row.uid).collect()
}
