//! Composing a notification to the sender of a message, ready to be accepted (RFC 3461 section 6, RFC 3464).
//!
//! A message with the null reverse path causes none (RFC 5321 section 4.5.5).

use bytes::Bytes;
use waypost_auth::{Live, Resolution};
use waypost_mail::{Address, BodyType, DateTime, EntryId, EnvelopeId, Flags, ReversePath, Timestamp};
use waypost_message::{
    Splitter,
    build::{Notification, Original, RecipientReport},
};
use waypost_storage::{Acceptance, Delivery, Relay, RelayRecipient, Store, StoreError, Wishes};

/// What a sender is told of a message.
pub(crate) struct Notice<'a> {
    /// Name of the message, for the log.
    pub(crate) of: EntryId,
    pub(crate) reverse_path: &'a ReversePath,
    pub(crate) accepted: Timestamp,
    pub(crate) now: Timestamp,
    /// So that nobody foresees its boundary.
    pub(crate) random: u64,
    pub(crate) envelope_id: Option<EnvelopeId>,
    /// Whether the message required TLS: then what tells of it does so, too (RFC 8689 section 5).
    pub(crate) require_tls: bool,
    /// At least one.
    pub(crate) recipients: Vec<RecipientReport>,
}

impl Notice<'_> {
    /// The notification with what comes back of the message; `None` where no one is to get it.
    pub(crate) async fn compose(
        self,
        store: &Store,
        live: &Live,
        original: Original,
    ) -> Result<Option<Acceptance>, StoreError> {
        let ReversePath::Address(sender) = self.reverse_path else {
            tracing::warn!(id = %self.of, "a message without sender is not answered");
            return Ok(None);
        };
        let Some((local, relay)) = destinations(live, sender, self.now, self.require_tls) else {
            tracing::warn!(id = %self.of, %sender, "the sender does not exist: no notification");
            return Ok(None);
        };
        let id = store.new_entry_id();
        let notification = Notification {
            reporting_mta: live.config.hostname.clone(),
            to: sender.clone(),
            date: DateTime::utc(self.now),
            message_id: format!("{id}@{}", live.config.hostname),
            boundary: boundary(id, self.random),
            arrival: DateTime::utc(self.accepted),
            envelope_id: self.envelope_id,
            recipients: self.recipients,
            original,
        };
        let message = Bytes::from(notification.build());
        let (header, text) = message.split_at(split(&message));
        let mut body = store.body_writer();
        body.write(text).await?;
        let structure = Splitter::split(&message);
        let header = message.slice_ref(header);
        Ok(Some(Acceptance { id, header, body: body.finish().await?, structure, local, relay }))
    }
}

/// Where the sender's mail goes: into mailboxes, to other servers, or both. The notification itself has the null reverse path.
fn destinations(
    live: &Live,
    sender: &Address,
    now: Timestamp,
    require_tls: bool,
) -> Option<(Vec<Delivery>, Option<Relay>)> {
    let (accounts, remote) = match live.directory.resolve(sender) {
        Resolution::Deliver { accounts, remote } => (accounts, remote),
        Resolution::BackupMx | Resolution::Elsewhere => (Vec::new(), vec![sender.clone()]),
        Resolution::UnknownUser => return None,
    };
    let delivery = |account| Delivery {
        account,
        mailbox: None,
        prefix: format!("Return-Path: <>\r\nDelivered-To: {sender}\r\n").into_bytes(),
        flags: Flags::default(),
        internal_date: DateTime::utc(now),
    };
    let recipient = |address: Address| {
        let original = (address != *sender).then(|| sender.clone());
        RelayRecipient { original, ..RelayRecipient::new(address) }
    };
    // the header block names the sender as it is
    let smtputf8 = sender.needs_smtputf8() || remote.iter().any(Address::needs_smtputf8);
    let body = if smtputf8 { BodyType::EightBitMime } else { BodyType::SevenBit };
    let recipients: Vec<_> = remote.into_iter().map(recipient).collect();
    let relay = (!recipients.is_empty()).then_some(Relay {
        body,
        smtputf8,
        wishes: Wishes { require_tls, ..Wishes::default() },
        ..Relay::new(ReversePath::Null, recipients)
    });
    Some((accounts.into_iter().map(delivery).collect(), relay))
}

/// The octets up to and without the empty line; of a cut block those up to its last whole line.
pub(crate) fn header_block(octets: &[u8]) -> &[u8] {
    let end = octets.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 2);
    let end = end.or_else(|| octets.iter().rposition(|octet| *octet == b'\n').map(|at| at + 1));
    &octets[..end.unwrap_or(0)]
}

/// Where the body of a message begins.
fn split(message: &[u8]) -> usize {
    message.windows(4).position(|window| window == b"\r\n\r\n").map_or(message.len(), |at| at + 4)
}

/// A boundary that no returned header block foresees. Without randomness the id must do.
fn boundary(id: EntryId, random: u64) -> String {
    format!("{id}{random:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_block_ends_at_the_empty_line_or_a_whole_line() {
        for (octets, block) in [
            ("", ""),
            ("A: b\r\n\r\nc\r\n\r\n", "A: b\r\n"),
            ("A: b\r\n", "A: b\r\n"),
            ("A: b\r\nC: cut of", "A: b\r\n"),
            ("no line", ""),
        ] {
            assert_eq!(header_block(octets.as_bytes()), block.as_bytes(), "{octets:?}");
        }
        for (message, at) in [("A: b\r\n\r\nc", 8), ("A: b\r\n", 6)] {
            assert_eq!(split(message.as_bytes()), at);
        }
    }
}
