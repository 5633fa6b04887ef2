//! COPY (RFC 3501 section 6.4.7) and MOVE (RFC 6851), with COPYUID (RFC 4315 section 3).
//!
//! By sequence number both are all or nothing: where another session has removed one of the messages nothing is done
//! (RFC 2180 section 4.4.2). Between accounts, too, what comes and what goes is one entry of the journal: a message is never lost, nor
//! doubled. The owner of what was moved away can have it back as if it had been deleted. Moving into the selected mailbox itself gives the messages new UIDs at its end.

use waypost_mail::{MailboxId, Uid};
use waypost_storage::{Account, Carried, CopyOutcome, Missing, Rights, StoreError};

use super::{
    Failure, Operation,
    limit::{Left, newest},
    names_what_it_sees,
    place::Found,
};
use crate::{
    machine::Ran,
    wire::{Numbers, SequenceSet, Status, encode, spoken},
};

/// What is copied: from, which, where to.
struct Job {
    account: Account,
    from: MailboxId,
    uids: Vec<Uid>,
    to: Found,
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
        let job = self.job(numbers, set, name).await?;
        if let Some(left) = job.left {
            return Err(left.refused());
        }
        if job.uids.is_empty() {
            return Ok(Ran::ok("nothing to copy"));
        }
        let outcome = self.patiently(job.carry(false)).await??;
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
        // RFC 6851 section 4.1: as for STORE of \Deleted and EXPUNGE.
        self.selected_for_writing(Some(Rights::DELETED.with(Rights::EXPUNGE)))?;
        let mut job = self.job(numbers, set, name).await?;
        let left = job.left.take();
        if job.uids.is_empty() {
            return Ok(Ran::ok("nothing to move"));
        }
        let outcome = self.patiently(job.carry(true)).await??;
        if let Some(code) = copyuid(&outcome) {
            // RFC 6851 section 4.3: before the EXPUNGE responses.
            let mut out = Vec::new();
            let text = spoken(self.user.enabled.language, "moved");
            encode::untagged(&mut out, Status::Ok, Some(&code), &text);
            self.output.write(&out).await?;
        }
        self.limited(Ran::ok("moved"), left).await
    }

    async fn job(&mut self, numbers: Numbers, set: &SequenceSet, name: &str) -> Result<Job, Failure> {
        let limit = self.user.message_limit;
        let selected = self.selected()?;
        // BAD goes before NO.
        let (ranges, left) = newest(&selected.view, selected.numbers(numbers, set)?, limit);
        let to = self.destination(name).await?;
        let selected = self.selected()?;
        let known = ranges.into_iter().flatten().filter_map(|number| selected.view.by_number(number));
        let (gone, there): (Vec<_>, Vec<_>) = known.partition(|known| known.gone);
        let missing = if names_what_it_sees(numbers, set) { Missing::Refused } else { Missing::Skipped };
        if missing == Missing::Refused && !gone.is_empty() {
            return Err(StoreError::NoSuchMessage.into());
        }
        let uids = there.into_iter().map(|known| known.row.uid).collect();
        let (account, from) = (selected.space.account.clone(), selected.view.state().id);
        Ok(Job { account, from, uids, to, missing, left })
    }
}

impl Job {
    async fn carry(self, moved: bool) -> Result<CopyOutcome, StoreError> {
        let Self { account, from, uids, to, missing, .. } = self;
        let carried = Carried { moved, may: to.rights.into() };
        let destination = (&to.space.account, to.mailbox.id);
        account.carry(from, uids, destination, missing, carried).await
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
