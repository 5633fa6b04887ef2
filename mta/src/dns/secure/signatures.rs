//! Whether resolvers hand on signatures at all. Some do not; by these every answer would seem forged, and all mail would wait.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use hickory_resolver::{
    caching_client::CachingClient,
    proto::{
        op::Query,
        rr::{Name, RecordType},
    },
};

/// A client that takes answers as they come.
pub(in crate::dns) type Believing = CachingClient<super::Asking>;

/// What was found out about the resolvers. Cheap to clone.
#[derive(Clone)]
pub(in crate::dns) struct Signatures {
    client: Box<Believing>,
    seen: Arc<AtomicBool>,
    missed: Arc<AtomicBool>,
}

impl Signatures {
    pub(super) fn new(client: Believing) -> Self {
        Self { client: Box::new(client), seen: Arc::default(), missed: Arc::default() }
    }

    /// Whether they are to be asked for. Once there was one, that is so for good. The root is signed: who has an answer of it without a
    /// signature hands on none. Where there is no answer nothing is known, and they are asked for.
    pub(super) async fn are_handed_on(&self) -> bool {
        if self.seen.load(Ordering::Relaxed) {
            return true;
        }
        let asking =
            self.client.lookup(Query::query(Name::root(), RecordType::SOA), super::with_signatures());
        let Ok(Ok(answer)) = tokio::time::timeout(super::SECURE_TIMEOUT, asking).await else { return true };
        let are_there = answer.answers().iter().any(|record| record.record_type() == RecordType::RRSIG);
        if are_there {
            self.seen.store(true, Ordering::Relaxed);
        } else if !self.missed.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the resolvers hand on no signatures (DNSSEC), so there is no DANE: put one that validates on this machine, or set [dns] dnssec"
            );
        }
        are_there
    }
}
