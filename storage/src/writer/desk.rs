//! The desk: where the writer lies while nothing is to be done, so that who has something does it there and then.
//!
//! A submission that comes alone would cost two hand-overs, to the writer's thread and back, each with a thread that is woken: more than
//! all else that is done for a message. Its caller takes the writer from the desk instead, and does the work of the thread.

use std::{
    fmt::{self, Debug},
    sync::{Mutex, TryLockError},
    time::Duration,
};

use tokio::task;

use super::{Submission, Writer};
use crate::shared::locked;

/// So many groups of one submission have come from one task, one after the other, before it writes.
const ALONE_MIN: u32 = 4;
/// The longest of these syncs: while the disk is slower a caller, who holds its thread up meanwhile, does not write.
const SYNC_MAX: Duration = if cfg!(test) { Duration::from_secs(60) } else { Duration::from_millis(10) };

/// How the groups before went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Custom {
    /// Groups of one submission since the last larger one, with quick syncs.
    alone: u32,
    /// Who came with them; `None`: not a task.
    caller: Option<task::Id>,
}

impl Custom {
    /// A task has something. One that writes holds its thread up, and with it all others that run there: they would come alone for ever,
    /// each when the one before is done.
    fn comes(&mut self, caller: Option<task::Id>) {
        if caller != self.caller {
            (self.caller, self.alone) = (caller, 0);
        }
    }

    /// A group of so many submissions was sent.
    pub(super) fn sent(&mut self, submissions: usize) {
        self.alone = if submissions == 1 { self.alone.saturating_add(1) } else { 0 };
    }

    /// One was written by itself.
    pub(super) fn written(&mut self, took: Duration) {
        if took > SYNC_MAX {
            self.alone = 0;
        }
    }

    pub(super) fn comes_alone(self) -> bool {
        self.alone >= ALONE_MIN
    }
}

/// Where the writer lies. Whoever takes it does so for as long as something is to be done; one that panics takes it along, and with it
/// the store.
#[derive(Default)]
pub(crate) struct Desk(Mutex<Option<Box<Writer>>>);

impl Desk {
    /// Takes the writer, once no caller works with it; `None`: there is none any more.
    pub(super) fn take(&self) -> Option<Box<Writer>> {
        locked(&self.0).take()
    }

    /// Puts the writer there, nothing being to be done.
    pub(crate) fn put(&self, writer: Box<Writer>) {
        *locked(&self.0) = Some(writer);
    }

    /// Whether the writer lies there, for a caller to take.
    #[cfg(test)]
    pub(crate) fn has_writer(&self) -> bool {
        self.0.try_lock().is_ok_and(|place| place.is_some())
    }

    /// Whether a caller works with the writer.
    #[cfg(test)]
    pub(crate) fn is_taken_by_a_caller(&self) -> bool {
        self.0.try_lock().is_err()
    }

    /// Decides a submission, makes it durable, shows and answers it, in the caller's thread; gives it back where that has to be left to
    /// the writer's.
    pub(crate) fn serve(&self, submission: Box<dyn Submission>) -> Result<(), Box<dyn Submission>> {
        let mut place = match self.0.try_lock() {
            Ok(place) => place,
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => return Err(submission),
        };
        let Some(mut writer) = place.take_if(|writer| writer.serves(task::try_id())) else {
            return Err(submission);
        };
        writer.add(submission);
        writer.send();
        *place = Some(writer);
        Ok(())
    }
}

impl Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Writer {
    fn serves(&mut self, caller: Option<task::Id>) -> bool {
        self.custom.comes(caller);
        self.custom.comes_alone() && !self.checkpoint_is_due()
    }
}
