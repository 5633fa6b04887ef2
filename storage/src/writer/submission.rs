//! Commands on their way to the writer and back, whatever their type.

use bytes::Bytes;
use tokio::sync::oneshot;
use waypost_mail::{EntryId, Timestamp};

use crate::{
    apply::State,
    content::Body,
    decide::{Command, Need, Undecided, decide},
    error::StoreError,
    record::Record,
};

/// A command on its way, whatever its type.
pub(crate) trait Submission: Send {
    /// Octets that it brings.
    fn weight(&self) -> usize;
    /// What it needs of the disk.
    fn need(&self) -> Need;
    /// Decides and keeps what came out; the records.
    fn decide(&mut self, state: &State, now: Timestamp) -> Result<Vec<Record>, Undecided>;
    /// The octets for the entry.
    fn octets(&self) -> (EntryId, Vec<Bytes>, Vec<(u64, u64)>);
    /// The entry is in the journal's batch: it holds the bodies from now on.
    fn staged(&mut self);
    /// Tells the caller.
    fn answer(self: Box<Self>, result: Result<(), Undecided>);
}

/// A command with all that belongs to it.
pub(crate) struct Package<C> {
    pub(crate) command: C,
    pub(crate) id: EntryId,
    /// The entry's area.
    pub(crate) area: Vec<Bytes>,
    /// Bodies in files of their own.
    pub(crate) bodies: Vec<Body>,
}

/// What a caller gets: the outcome, a refusal, or the command back, to be submitted again once something is loaded.
pub(crate) type Answer<C> = Result<<C as Command>::Outcome, Rejected<C>>;

/// Why there is no outcome.
pub(crate) enum Rejected<C> {
    Refused(StoreError),
    NotLoaded(Undecided, Package<C>),
}

/// A package with the one who waits for it.
pub(crate) struct Waiting<C: Command> {
    pub(crate) package: Package<C>,
    pub(crate) outcome: Option<C::Outcome>,
    pub(crate) caller: oneshot::Sender<Answer<C>>,
}

impl<C: Command> Submission for Waiting<C> {
    fn weight(&self) -> usize {
        self.package.area.iter().map(Bytes::len).sum()
    }

    fn need(&self) -> Need {
        C::NEED
    }

    fn decide(&mut self, state: &State, now: Timestamp) -> Result<Vec<Record>, Undecided> {
        let (records, outcome) = decide(state, now, &self.package.command)?;
        self.outcome = Some(outcome);
        Ok(records)
    }

    fn octets(&self) -> (EntryId, Vec<Bytes>, Vec<(u64, u64)>) {
        let files = self.package.bodies.iter().filter_map(Body::file).collect();
        (self.package.id, self.package.area.clone(), files)
    }

    fn staged(&mut self) {
        self.package.bodies.drain(..).for_each(Body::claim);
    }

    fn answer(self: Box<Self>, result: Result<(), Undecided>) {
        let answer = match (result, self.outcome) {
            (Ok(()), Some(outcome)) => Ok(outcome),
            (Ok(()), None) => Err(Rejected::Refused(StoreError::Closed)),
            (Err(Undecided::Refused(error)), _) => Err(Rejected::Refused(error)),
            (Err(not_loaded), _) => Err(Rejected::NotLoaded(not_loaded, self.package)),
        };
        // A caller that is gone changes nothing that was decided.
        let _gone = self.caller.send(answer);
    }
}
