//! What was tried for a message in the queue, read from its records.

use waypost_mail::EntryId;

use crate::{
    decide::QUEUE,
    error::StoreError,
    journal::Stored,
    queue::Attempt,
    record::{self, Attempted, Change, QueueChange},
    shared::Shared,
    store::Store,
};

impl Store {
    /// The tries of an entry, oldest first, as far as the journal still has their records: a compaction keeps what the queue
    /// is now. Reads the journal from its end to where the entry was accepted. Errors: `Io`, `Damaged`.
    pub async fn attempts(&self, id: EntryId) -> Result<Vec<Attempt>, StoreError> {
        self.blocking(move |shared| attempts(shared, id)).await
    }
}

fn attempts(shared: &Shared, id: EntryId) -> Result<Vec<Attempt>, StoreError> {
    let begins = |stored: &Stored| matches!(record::decode(&stored.record), Ok(Some(Change::Queue(QueueChange::Queued(queued)))) if queued.id == id);
    let records = shared.files.read_last(QUEUE, |segment| segment.iter().any(begins))?;
    let mut attempts = Vec::new();
    for stored in &records {
        if let Some(Change::Queue(QueueChange::Attempted(attempted))) = record::decode(&stored.record)?
            && attempted.id == id
        {
            attempts.push(attempted.into());
        }
    }
    Ok(attempts)
}

impl From<Attempted> for Attempt {
    fn from(attempted: Attempted) -> Self {
        let Attempted { id, at, outcomes, next_attempt, warned, dialogues, .. } = attempted;
        Self { id, at, outcomes, next_attempt, warned, dialogues: dialogues.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use waypost_mail::{EnhancedStatus, Reply, Timestamp};

    use super::*;
    use crate::{
        Dialogue, DialogueTls, Options, Outcome, RecipientOutcome,
        record::cbor,
        tests::{acceptance, relay},
    };

    fn attempt(id: EntryId, at: i64, dialogues: Vec<Dialogue>) -> Attempt {
        let reply = Reply::new(451, EnhancedStatus(4, 7, 1), "later");
        let outcome = Outcome::Deferred { peer: "mx.b.test [192.0.2.1]".into(), reply };
        Attempt {
            id,
            at: Timestamp(at),
            outcomes: vec![RecipientOutcome { recipient: 0, outcome }],
            next_attempt: Timestamp(at + 9),
            warned: false,
            dialogues,
        }
    }

    fn dialogue() -> Dialogue {
        Dialogue {
            at: Timestamp(5),
            peer: "mx.b.test [192.0.2.1]".into(),
            tls: Some(DialogueTls {
                version: "TLSv1.3".into(),
                cipher: "TLS_AES_256_GCM_SHA384".into(),
                verified: true,
            }),
            policy: "TLS where it is offered".into(),
            lines: vec!["S: 220 b".into(), "C: EHLO a".into(), "*: the connection was lost".into()],
        }
    }

    #[tokio::test]
    async fn each_try_is_told_with_what_was_said() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(directory.path())).await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..2 {
            let message = acceptance(&store, b"text\r\n", Vec::new(), Some(relay(&["x"]))).await;
            ids.push(store.accept(message).await.unwrap().id);
        }
        let tries = [attempt(ids[0], 1, vec![dialogue()]), attempt(ids[0], 2, Vec::new())];
        for made in &tries {
            store.settle(made.clone(), None).await.unwrap();
        }
        store.settle(attempt(ids[1], 3, vec![dialogue(), dialogue()]), None).await.unwrap();
        assert_eq!(store.attempts(ids[0]).await.unwrap(), tries);
        store.close().await;
        let store = Store::open(Options::new(directory.path())).await.unwrap();
        assert_eq!(store.attempts(ids[0]).await.unwrap(), tries);
        assert_eq!(store.attempts(ids[1]).await.unwrap()[0].dialogues.len(), 2);
        assert_eq!(store.attempts(EntryId(1)).await.unwrap(), []);
        store.close().await;
    }

    /// As releases before dialogues were kept wrote it.
    #[test]
    fn a_try_without_dialogues_is_read() {
        let old = cbor(&(7_u64, 1_i64, Vec::<u8>::new(), 2_i64, 3_u32, true));
        let read: Attempted = minicbor::decode(&old).unwrap();
        assert_eq!(
            (read.id, read.attempts, read.warned, read.dialogues.as_ref()),
            (EntryId(7), 3, true, None)
        );
        assert_eq!(cbor(&read), old, "what is not there takes no room");
    }
}
