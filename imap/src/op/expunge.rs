//! EXPUNGE (RFC 3501 section 6.4.3) and UID EXPUNGE (RFC 4315 section 2.1). The EXPUNGE responses follow with the other updates.

use waypost_mail::{SystemFlags, Uid};
use waypost_storage::Rights;

use super::{Failure, Operation};
use crate::{
    machine::Ran,
    view::View,
    wire::{Numbers, SequenceSet},
};

impl Operation<'_, '_> {
    pub(super) async fn expunge(&mut self, set: Option<&SequenceSet>) -> Result<Ran, Failure> {
        let selected = self.selected_for_writing(Some(Rights::EXPUNGE))?;
        let uids = match set {
            Some(set) => deleted(&selected.view, selected.numbers(Numbers::Uid, set)?.into_iter().flatten()),
            None => deleted(&selected.view, 1..=selected.view.exists()),
        };
        let mailbox = selected.view.state().id;
        if !uids.is_empty() {
            selected.space.account.expunge_deleted(mailbox, uids).await?;
        }
        Ok(Ran::ok("expunged"))
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
