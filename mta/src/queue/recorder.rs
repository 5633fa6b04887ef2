//! Outcomes on their way to the store. Who brings one goes on; what comes within a moment, or while a batch is being recorded, makes up one
//! entry of the journal: a record costs little, the sync and the wake-ups that it needs cost as much as a delivery.

use std::{
    collections::{HashSet, VecDeque},
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit};
use waypost_mail::EntryId;
use waypost_storage::{Attempt, StoreError};

use super::{Shared, sites::SiteId};

/// How long an outcome waits for others, unless somebody waits for it.
pub(super) const GATHERING: Duration = Duration::from_millis(2);
/// Most outcomes in one entry of the journal. With what is kept of dialogues and replies they stay far below what one may hold.
const BATCH_MAX: usize = 64;

/// What came of a try, to be recorded; its message is in flight until that is durable.
#[derive(Debug)]
pub(super) struct Unrecorded {
    pub(super) site: SiteId,
    pub(super) attempt: Attempt,
    /// Its place among those of the connection.
    pub(super) permit: OwnedSemaphorePermit,
}

/// What waits to be recorded.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    waiting: Mutex<Waiting>,
    /// Rung where somebody waits for what is recorded.
    hurry: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    waiting: VecDeque<Unrecorded>,
    /// Somebody records.
    is_busy: bool,
}

impl Waiting {
    /// What is recorded next, in the order in which it came; each message once, as attempts build on each other. Empty: nothing waits, and
    /// nobody records from now on.
    fn next(&mut self) -> Vec<Unrecorded> {
        let mut ids: HashSet<EntryId> = HashSet::new();
        let mut batch = Vec::new();
        for unrecorded in mem::take(&mut self.waiting) {
            let is_next = batch.len() < BATCH_MAX && ids.insert(unrecorded.attempt.id);
            match is_next {
                true => batch.push(unrecorded),
                false => self.waiting.push_back(unrecorded),
            }
        }
        self.is_busy = !batch.is_empty();
        batch
    }
}

impl Recorder {
    /// Adds what is to be recorded; whether nobody records yet.
    fn add(&self, unrecorded: Unrecorded) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.waiting.push_back(unrecorded);
        !mem::replace(&mut waiting.is_busy, true)
    }

    /// What waits is recorded now.
    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }

    async fn gather(&self) {
        tokio::select! {
            biased;
            () = self.hurry.notified() => {}
            () = tokio::time::sleep(GATHERING) => {}
        }
    }

    fn next(&self) -> Vec<Unrecorded> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

impl Shared {
    /// Has an outcome recorded that causes no notification. When that is durable its message is in flight no more; where it cannot be recorded
    /// it stays in flight until a restart: to send it again now what may have arrived would be worse.
    pub(super) fn record_soon(self: &Arc<Self>, unrecorded: Unrecorded) {
        if self.recorder.add(unrecorded) {
            self.context.shutdown.spawn(Arc::clone(self).record_waiting());
        }
    }

    async fn record_waiting(self: Arc<Self>) {
        loop {
            self.recorder.gather().await;
            let batch = self.recorder.next();
            if batch.is_empty() {
                return;
            }
            self.record_batch(batch).await;
        }
    }

    async fn record_batch(&self, batch: Vec<Unrecorded>) {
        let (mut settled, mut attempts, mut permits) = (Vec::new(), Vec::new(), Vec::new());
        for Unrecorded { site, attempt, permit } in batch {
            settled.push((site, attempt.id));
            attempts.push(attempt);
            permits.push(permit);
        }
        match self.settle_all(attempts.into()).await {
            Ok(results) => {
                let done = settled.into_iter().zip(results).filter_map(|((site, id), result)| match result {
                    Ok(()) | Err(StoreError::NoSuchEntry) => Some((site, id)),
                    Err(error) => {
                        tracing::error!(%id, %error, "the outcome of a delivery is not recorded");
                        None
                    }
                });
                self.all_done(done);
            }
            Err(error) => settled.iter().for_each(
                |(_, id)| tracing::error!(%id, %error, "the outcome of a delivery is not recorded"),
            ),
        }
        // who waits for its places learns of it when all is done
        drop(permits);
    }

    /// A store that is full is asked again until it is not.
    async fn settle_all(&self, attempts: Arc<[Attempt]>) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        loop {
            match self.context.store.settle_all(Arc::clone(&attempts)).await {
                Err(error) if self.must_wait(&error) => self.wait_for_room().await,
                settled => return settled,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;
    use waypost_mail::Timestamp;

    use super::*;

    fn unrecorded(id: u64) -> Unrecorded {
        let attempt = Attempt {
            id: EntryId(id),
            at: Timestamp(0),
            outcomes: Vec::new(),
            next_attempt: Timestamp(0),
            warned: false,
            dialogues: Vec::new(),
        };
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Unrecorded { site: SiteId::default(), attempt, permit }
    }

    fn next(recorder: &Recorder) -> Vec<u64> {
        recorder.next().iter().map(|unrecorded| unrecorded.attempt.id.0).collect()
    }

    #[test]
    fn what_comes_is_recorded_in_order_and_each_message_once_at_a_time() {
        let recorder = Recorder::default();
        assert!(recorder.add(unrecorded(1)), "the first one has to begin");
        for id in [2, 1, 3, 1, 2] {
            assert!(!recorder.add(unrecorded(id)));
        }
        assert_eq!([next(&recorder), next(&recorder), next(&recorder)], [vec![1, 2, 3], vec![1, 2], vec![1]]);
        assert!(!recorder.add(unrecorded(4)), "the one that records asks again");
        assert_eq!([next(&recorder), next(&recorder)], [vec![4], vec![]]);
        assert!(recorder.add(unrecorded(5)), "nobody records any more");
    }

    #[test]
    fn entries_of_the_journal_are_bounded() {
        let recorder = Recorder::default();
        (0..=BATCH_MAX as u64).for_each(|id| assert_eq!(recorder.add(unrecorded(id)), id == 0));
        assert_eq!([next(&recorder).len(), next(&recorder).len(), next(&recorder).len()], [BATCH_MAX, 1, 0]);
    }
}
