//! The octets of a message in the queue, piece by piece: nothing holds a message in memory.

use base64::{Engine, prelude::BASE64_STANDARD};
use waypost_mail::EntryId;
use waypost_storage::{Content, QueueEntry, Store};

use super::QueueAnswer;

/// Most octets of one piece; its line of JSON is a third longer.
const PIECE_BYTES: u64 = 256 * 1024;

/// Header and body as they would be sent, from an octet on. Errors: it is not in the queue (any more); it cannot be read.
pub(super) async fn piece(store: &Store, id: EntryId, from: u64) -> Result<QueueAnswer, String> {
    let entry = store.queue_entry(id).ok_or_else(|| format!("{id} is not in the queue"))?;
    let content = sent(&entry);
    let octets = store.read(&content, from, PIECE_BYTES).await.map_err(|error| format!("{id}: {error}"))?;
    let behind = from.saturating_add(octets.len() as u64);
    let next = (!octets.is_empty() && behind < content.size()).then_some(behind);
    Ok(QueueAnswer::Octets { octets: BASE64_STANDARD.encode(&octets), next })
}

/// What an alias forwards goes out with a prefix of its own, and so it is shown where nobody else is to get the message.
fn sent(entry: &QueueEntry) -> Content {
    let mut open = entry.open().map(|(_, queued)| queued.recipient.original.is_some()).peekable();
    match open.peek().is_some() && open.all(|is_forwarded| is_forwarded) {
        true => entry.content.clone(),
        false => entry.content.without_prefix(),
    }
}
