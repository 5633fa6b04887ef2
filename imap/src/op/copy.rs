//! COPY (RFC 3501 section 6.4.7) and MOVE (RFC 6851), with COPYUID (RFC 4315 section 3).
//!
//! By sequence number both are all or nothing: where another session has removed one of the messages nothing is done
//! (RFC 2180 section 4.4.2). Moving into the selected mailbox itself gives the messages new UIDs at its end.

use waypost_mail::{MailboxId, Uid};
use waypost_storage::{CopyOutcome, Missing, StoreError};

use super::{
    Failure, NO_SUCH_MAILBOX, Operation,
    limit::{Left, newest},
    names_what_it_sees,
};
use crate::{
    machine::Ran,
    wire::{Numbers, SequenceSet, Status, encode},
};

/// What is copied: from, which, where to.
struct Job {
    from: MailboxId,
    uids: Vec<Uid>,
    to: MailboxId,
    missing: Missing,
    /// Messages beyond the bound of a command.
    left: Option<Left>,
}

impl Operation<'_, '_> {
    pub(super) async fn copy(
        &mut self,
        numbers: Numbers,
        set: &SequenceSet,
        name: &str,
    ) -> Result<Ran, Failure> {
        let Job { from, uids, to, missing, left } = self.job(numbers, set, name)?;
        if let Some(left) = left {
            return Err(left.refused());
        }
        if uids.is_empty() {
            return Ok(Ran::ok("nothing to copy"));
        }
        let account = self.user.account.clone();
        let outcome = self.patiently(account.copy(from, uids, to, missing)).await??;
        let ran = Ran::ok("copied");
        Ok(match copyuid(&outcome) {
            Some(code) => ran.with_code(code),
            None => ran,
        })
    }

    pub(super) async fn move_to(
        &mut self,
        numbers: Numbers,
        set: &SequenceSet,
        name: &str,
    ) -> Result<Ran, Failure> {
        self.selected_for_writing()?;
        let Job { from, uids, to, missing, left } = self.job(numbers, set, name)?;
        if uids.is_empty() {
            return Ok(Ran::ok("nothing to move"));
        }
        let account = self.user.account.clone();
        let outcome = self.patiently(account.move_to(from, uids, to, missing)).await??;
        if let Some(code) = copyuid(&outcome) {
            // RFC 6851 section 4.3: before the EXPUNGE responses.
            let mut out = Vec::new();
            encode::untagged(&mut out, Status::Ok, Some(&code), "moved");
            self.output.write(&out).await?;
        }
        self.limited(Ran::ok("moved"), left).await
    }

    fn job(&mut self, numbers: Numbers, set: &SequenceSet, name: &str) -> Result<Job, Failure> {
        let to = self.user.account.state().by_name(name).map(|mailbox| mailbox.id);
        let limit = self.user.message_limit;
        let selected = self.selected()?;
        let (ranges, left) = newest(&selected.view, selected.numbers(numbers, set)?, limit);
        let to = to.ok_or(Failure::no("TRYCREATE", NO_SUCH_MAILBOX))?;
        let known = ranges.into_iter().flatten().filter_map(|number| selected.view.by_number(number));
        let (gone, there): (Vec<_>, Vec<_>) = known.partition(|known| known.gone);
        let missing = if names_what_it_sees(numbers, set) { Missing::Refused } else { Missing::Skipped };
        if missing == Missing::Refused && !gone.is_empty() {
            return Err(StoreError::NoSuchMessage.into());
        }
        let uids = there.into_iter().map(|known| known.row.uid).collect();
        Ok(Job { from: selected.view.state().id, uids, to, missing, left })
    }
}

/// `"COPYUID" SP nz-number SP uid-set SP uid-set`; nothing where no message was there any more.
fn copyuid(outcome: &CopyOutcome) -> Option<String> {
    let from = encode::sequence_set(outcome.uids.iter().map(|(from, _)| from.value()));
    let to = encode::sequence_set(outcome.uids.iter().map(|(_, to)| to.value()));
    (!outcome.uids.is_empty()).then(|| format!("COPYUID {} {from} {to}", outcome.uid_validity))
}

#[cfg(test)]
mod tests {
    use waypost_mail::UidValidity;

    use super::*;

    #[test]
    fn copyuid_names_pairs_in_order() {
        let uid = |value| Uid::new(value).unwrap();
        let uids = [(3, 10), (4, 11), (9, 12)].map(|(from, to)| (uid(from), uid(to))).to_vec();
        let outcome = CopyOutcome { uid_validity: UidValidity::new(7).unwrap(), uids };
        assert_eq!(copyuid(&outcome).as_deref(), Some("COPYUID 7 3:4,9 10:12"));
        assert_eq!(copyuid(&CopyOutcome { uids: Vec::new(), ..outcome }), None);
    }
}
