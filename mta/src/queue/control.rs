//! Looking at the queue while it runs, and giving it orders.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use waypost_mail::{EnhancedStatus, EntryId, Reply};
use waypost_storage::{Outcome, QueueEntry, RecipientOutcome, StoreError};

use super::{Place, Shared, SiteStatus, outcome::Settlement, part::Part};

/// A handle of the queue. Cheap to clone; before the queue runs there is nothing to be seen.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<Mutex<Weak<Shared>>>);

/// What was done with a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Handed {
    /// It is done.
    Done,
    /// It is being sent at this moment: what comes of that decides.
    UnderWay,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unavailable {
    /// The queue does not run.
    #[error("the queue does not run")]
    Stopped,
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Control {
    pub(super) fn begin(&self, shared: &Arc<Shared>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(shared);
    }

    fn shared(&self) -> Result<Arc<Shared>, Unavailable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade().ok_or(Unavailable::Stopped)
    }

    /// How the destinations are to which something is on its way.
    pub fn destinations(&self) -> Vec<SiteStatus<Place>> {
        self.shared().map(|shared| shared.sites().statuses(shared.now())).unwrap_or_default()
    }

    /// How one destination is; `None`: nothing is on its way there.
    pub fn destination(&self, place: &Place) -> Option<SiteStatus<Place>> {
        let shared = self.shared().ok()?;
        let now = shared.now();
        shared.sites().status(place, now)
    }

    /// Makes a message due now, and has its destinations tried that rest. Errors: those of `Store::reschedule`, and
    /// [`Unavailable::Stopped`].
    pub async fn retry(&self, id: EntryId) -> Result<(), Unavailable> {
        let shared = self.shared()?;
        let store = &shared.context.store;
        store.reschedule(id, store.now()).await?;
        let live = shared.context.live();
        for part in store.queue_entry(id).iter().flat_map(|entry| Part::all(&live, entry)) {
            shared.sites().wake_up(&part.place, shared.now());
        }
        shared.bell.notify_one();
        Ok(())
    }

    /// Takes a message out of the queue; its sender is not told. Errors as [`Control::retry`].
    pub async fn remove(&self, id: EntryId) -> Result<Handed, Unavailable> {
        let shared = self.shared()?;
        shared.context.store.remove_queued(id).await?;
        // what was sent at that moment is with the other server, if that took it
        Ok(if shared.sites().is_in_flight(id) { Handed::UnderWay } else { Handed::Done })
    }

    /// Sends a message back to its sender, with this reason. Errors as [`Control::retry`].
    pub async fn bounce(&self, id: EntryId, why: &str) -> Result<Handed, Unavailable> {
        let shared = self.shared()?;
        let live = shared.context.live();
        let entry = || shared.context.store.queue_entry(id).ok_or(StoreError::NoSuchEntry);
        let places: Vec<Place> = Part::all(&live, &entry()?).into_iter().map(|part| part.place).collect();
        // taken into flight, so that it is not sent meanwhile
        let Some(taken) = shared.sites().take_all(id, &places) else { return Ok(Handed::UnderWay) };
        let recorded = match entry() {
            Ok(entry) => shared.record(sent_back(&entry, why)).await,
            Err(error) => Err(error),
        };
        taken.into_iter().for_each(|site| shared.done(site, id));
        recorded.map(|()| Handed::Done).map_err(Unavailable::Store)
    }
}

/// All that is open of a message has failed, for this reason.
fn sent_back<'a>(entry: &'a QueueEntry, why: &str) -> Settlement<'a> {
    let reply = Reply::new(554, EnhancedStatus(5, 3, 0), why);
    let failed = |recipient| RecipientOutcome {
        recipient,
        outcome: Outcome::Failed { peer: String::new(), reply: reply.clone() },
    };
    let outcomes = entry.open().map(|(recipient, _)| failed(recipient)).collect();
    Settlement::ours(entry, outcomes)
}
