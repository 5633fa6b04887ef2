//! Orders: the same thing done with many messages.

use tokio::sync::mpsc;
use waypost_mail::EntryId;
use waypost_mta::queue::{Control, Handed, Unavailable};
use waypost_storage::{QueueEntry, Store, StoreError};

use super::{Chosen, Filter, IDS_MAX, Ordered, PAGE_LOOKS, QueueFilter, QueueOrder};
use crate::port::{Event, Progress};

/// Why nothing comes back without a server.
const BOUNCE_NEEDS_SERVER: &str = "messages are sent back by the running server, and none runs: start it, or take \
                                   them out by `waypost queue remove`, which tells their senders nothing";

/// Carries an order out. Messages that cannot be handled are noted. Errors: nothing could be done at all.
pub(super) async fn run(
    store: &Store,
    control: Option<&Control>,
    order: QueueOrder,
    which: Chosen,
    events: &mpsc::Sender<Event>,
) -> Result<Ordered, String> {
    match &order {
        QueueOrder::Hold { why } | QueueOrder::Bounce { why } => super::why(why)?,
        QueueOrder::Retry | QueueOrder::Release | QueueOrder::Remove => {}
    }
    if control.is_none() && matches!(order, QueueOrder::Bounce { .. }) {
        return Err(BOUNCE_NEEDS_SERVER.to_owned());
    }
    let hand = Hand { store: store.clone(), control: control.cloned(), order };
    let mut ordered = Ordered::default();
    match which {
        Chosen::Ids(ids) if ids.len() > IDS_MAX => return Err(format!("more than {IDS_MAX} ids")),
        Chosen::Ids(ids) => {
            let ids = ids.iter().map(|text| super::id(text)).collect::<Result<Vec<_>, _>>()?;
            hand.all(&ids, &mut ordered).await;
        }
        Chosen::Matching(filter) => hand.matching(&filter, events, &mut ordered).await?,
    }
    Ok(ordered)
}

/// Who does it.
#[derive(Clone)]
struct Hand {
    store: Store,
    control: Option<Control>,
    order: QueueOrder,
}

/// What there is to say of a message: it was done, perhaps with a note, or not, and why.
type Said = Result<Option<&'static str>, String>;

impl Hand {
    async fn matching(
        &self,
        filter: &QueueFilter,
        events: &mpsc::Sender<Event>,
        ordered: &mut Ordered,
    ) -> Result<(), String> {
        let held = match self.order {
            QueueOrder::Retry | QueueOrder::Hold { .. } => Some(false),
            QueueOrder::Release => Some(true),
            QueueOrder::Remove | QueueOrder::Bounce { .. } => None,
        };
        let parsed = Filter::parse(filter)?;
        let filter = Filter { held: held.or(parsed.held), ..parsed };
        let mut after = None;
        loop {
            let page = self.store.queue_page(after, PAGE_LOOKS);
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            let ids: Vec<EntryId> =
                page.iter().filter(|entry| filter.lets(entry)).map(|entry| entry.id).collect();
            self.all(&ids, ordered).await;
            let messages = ordered.done + ordered.failed;
            let progress = Progress { messages, ..Progress::default() };
            // where nobody waits for it any more, it ends
            if events.send(Event::Progress(progress)).await.is_err() {
                return Ok(());
            }
        }
    }

    /// All at once, so that they share syncs; noted in their order.
    async fn all(&self, ids: &[EntryId], ordered: &mut Ordered) {
        for some in ids.chunks(PAGE_LOOKS) {
            let one = |id: &EntryId| {
                let (hand, id) = (self.clone(), *id);
                (id, tokio::spawn(async move { hand.one(id).await }))
            };
            let under_way: Vec<_> = some.iter().map(one).collect();
            for (id, said) in under_way {
                ordered.note(id, said.await.unwrap_or_else(|error| Err(error.to_string())));
            }
        }
    }

    async fn one(&self, id: EntryId) -> Said {
        let entry = self.store.queue_entry(id).ok_or_else(unknown)?;
        match (&self.order, &self.control) {
            (QueueOrder::Retry, _) if entry.held.is_some() => {
                return Err("is held: `waypost queue release` lets it go".to_owned());
            }
            (QueueOrder::Release, _) if entry.held.is_none() => return Err("is not held".to_owned()),
            (QueueOrder::Retry, Some(control)) => control.retry(id).await.map_err(sentence)?,
            (QueueOrder::Retry, None) => self.retry(&entry).await.map_err(sentence)?,
            (QueueOrder::Hold { why }, _) => self.hold(id, Some(why.clone())).await?,
            (QueueOrder::Release, _) => self.hold(id, None).await?,
            (QueueOrder::Remove, None) => {
                self.store.remove_queued(id).await.map_err(Unavailable::Store).map_err(sentence)?;
            }
            (QueueOrder::Remove, Some(control)) => {
                let handed = control.remove(id).await.map_err(sentence)?;
                return Ok((handed == Handed::UnderWay).then_some(
                    "was being sent at that moment: it is out of the queue, but may arrive all the same",
                ));
            }
            (QueueOrder::Bounce { why }, Some(control)) => {
                if control.bounce(id, why).await.map_err(sentence)? == Handed::UnderWay {
                    return Err("is being sent at this moment: try again, or hold it first".to_owned());
                }
            }
            (QueueOrder::Bounce { .. }, None) => return Err(BOUNCE_NEEDS_SERVER.to_owned()),
        }
        Ok(None)
    }

    async fn retry(&self, entry: &QueueEntry) -> Result<(), Unavailable> {
        Ok(self.store.reschedule(entry.id, self.store.now()).await?)
    }

    async fn hold(&self, id: EntryId, why: Option<String>) -> Result<(), String> {
        self.store.hold(id, why).await.map_err(Unavailable::Store).map_err(sentence)
    }
}

impl Ordered {
    fn note(&mut self, id: EntryId, said: Said) {
        let note = match said {
            Ok(note) => {
                self.done += 1;
                note.map(str::to_owned)
            }
            Err(why) => {
                self.failed += 1;
                Some(why)
            }
        };
        if self.notes.len() < IDS_MAX {
            self.notes.extend(note.map(|note| format!("{id} {note}")));
        }
    }
}

fn unknown() -> String {
    "is not in the queue".to_owned()
}

fn sentence(error: Unavailable) -> String {
    match error {
        Unavailable::Store(StoreError::NoSuchEntry) => unknown(),
        other => format!("is left as it was: {other}"),
    }
}
