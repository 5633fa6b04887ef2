//! Commands on the suppression list.

use waypost_mail::Address;

use super::{Command, Draft, Undecided};
use crate::{
    record::{SuppressionChanged, SuppressionRemoved},
    suppression::{Strike, Suppression},
};

/// Counts what happened to a recipient; whether it is suppressed then.
pub(crate) struct Count(pub(crate) Strike);

impl Command for Count {
    type Outcome = bool;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<bool, Undecided> {
        let Strike { recipient, sender, .. } = &self.0;
        let known = &draft.state().directory.suppressions;
        let line = Suppression::after(&self.0, known.line(recipient, sender.as_ref()), draft.now());
        let is_active = line.is_active;
        draft.directory(SuppressionChanged(line));
        Ok(is_active)
    }
}

/// Suppresses an address, whatever was counted.
pub(crate) struct Suppress(pub(crate) Strike);

impl Command for Suppress {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let line = Suppression::after(&self.0, None, draft.now());
        draft.directory(SuppressionChanged(line));
        Ok(())
    }
}

/// Forgets bounces that were counted and do not suppress yet.
pub(crate) struct Forget {
    pub(crate) recipient: Address,
}

impl Command for Forget {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        if draft.state().directory.suppressions.is_counted(&self.recipient, draft.now()) {
            draft.directory(SuppressionRemoved { recipient: self.recipient.clone(), sender: None });
        }
        Ok(())
    }
}

/// Forgets an address; how many lines there were.
pub(crate) struct Unsuppress {
    pub(crate) recipient: Address,
}

impl Command for Unsuppress {
    type Outcome = usize;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<usize, Undecided> {
        let lines = draft.state().directory.suppressions.of(&self.recipient).to_vec();
        let now = draft.now();
        for line in &lines {
            let sender = line.sender().cloned().map(crate::suppression::Kept);
            draft.directory(SuppressionRemoved { recipient: self.recipient.clone(), sender });
        }
        Ok(lines.iter().filter(|line| line.holds(now)).count())
    }
}
