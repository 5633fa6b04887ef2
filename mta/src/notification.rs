//! Composing a notification to the sender of a message, ready to be accepted (RFC 3461 section 6, RFC 3464).
//!
//! A message with the null reverse path is not answered (RFC 5321 section 4.5.5); of a notification that does not arrive the local
//! postmaster may be told.

use bytes::Bytes;
use waypost_auth::{Directory, Live, Resolution};
use waypost_mail::{
    Address, BodyType, DateTime, EntryId, EnvelopeId, Flags, LocalPart, ReversePath, Timestamp,
};
use waypost_message::{
    HeaderBlock, Splitter,
    build::{Form, Notification, Original, Reader, RecipientReport},
};
use waypost_storage::{Acceptance, Delivery, Relay, RelayRecipient, Store, StoreError, Wishes};

use crate::authenticity::Signers;

/// The local part that reaches who runs a domain (RFC 5321 section 4.5.1).
const POSTMASTER: &str = "postmaster";

/// What someone is told of a message.
pub(crate) struct Notice {
    /// Name of the message, for the log.
    pub(crate) of: EntryId,
    pub(crate) to: Address,
    pub(crate) reader: Reader,
    pub(crate) accepted: Timestamp,
    pub(crate) now: Timestamp,
    /// So that nobody foresees its boundary.
    pub(crate) random: u64,
    pub(crate) envelope_id: Option<EnvelopeId>,
    /// Whether the message required TLS: then what tells of it does so, too (RFC 8689 section 5).
    pub(crate) require_tls: bool,
    /// Whether the message was one of SMTPUTF8.
    pub(crate) smtputf8: bool,
    /// At least one.
    pub(crate) recipients: Vec<RecipientReport>,
}

impl Notice {
    /// The notification with what comes back of the message; `None` where no one is to get it.
    pub(crate) async fn compose(
        self,
        (store, signers): (&Store, &Signers),
        live: &Live,
        original: Original,
    ) -> Result<Option<Acceptance>, StoreError> {
        let Some((local, relay)) = destinations(live, &self.to, self.now, self.require_tls) else {
            tracing::warn!(id = %self.of, to = %self.to, "who is to be told does not exist: no notification");
            return Ok(None);
        };
        let needs_smtputf8 = self.to.needs_smtputf8() || relay.as_ref().is_some_and(|relay| relay.smtputf8);
        let id = store.new_entry_id();
        let notification = Notification {
            reporting_mta: live.config.hostname.clone(),
            to: self.to,
            reader: self.reader,
            form: form(needs_smtputf8, self.smtputf8),
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
        let header = match relay.is_some() {
            true => signed((store, signers), live, header, text, self.now),
            false => message.slice_ref(header),
        };
        let mut splitter = Splitter::new();
        splitter.feed(&header);
        splitter.feed(text);
        let structure = splitter.finish();
        Ok(Some(Acceptance { id, header, body: body.finish().await?, structure, local, relay }))
    }
}

/// The header block with our signature, where there are keys for it.
fn signed(
    (store, signers): (&Store, &Signers),
    live: &Live,
    header: &[u8],
    text: &[u8],
    now: Timestamp,
) -> Bytes {
    let unsigned = || Bytes::copy_from_slice(header);
    let mut block = HeaderBlock::new(header.to_vec());
    let Some(mut signing) = signers.begin((&live.config, store), &mut block, true, None, now) else {
        return unsigned();
    };
    signing.feed(text);
    let mut octets = block.into_octets();
    match signing.finish(&mut octets) {
        Ok(()) => octets.into(),
        Err(error) => {
            tracing::error!(%error, "a notification goes without signature");
            unsigned()
        }
    }
}

/// How internationalised mail is shown. Who can be reached without SMTPUTF8 is, as nobody knows what the servers on the way offer (RFC
/// 6533 section 4.5).
fn form(to_smtputf8: bool, of_smtputf8: bool) -> Form {
    match (to_smtputf8, of_smtputf8) {
        (true, _) => Form::Utf8,
        (false, true) => Form::Utf8Encoded,
        (false, false) => Form::Ascii,
    }
}

/// Who is told of notifications that do not arrive; `None` where no domain is ours.
pub(crate) fn postmaster(directory: &Directory) -> Option<Address> {
    let domain = directory.first_domain()?.clone();
    Some(Address { local: LocalPart::new(POSTMASTER).ok()?, domain })
}

/// Whether an address is a postmaster here.
pub(crate) fn is_postmaster(directory: &Directory, address: &Address) -> bool {
    address.local.as_str().eq_ignore_ascii_case(POSTMASTER) && directory.is_local(&address.domain)
}

/// Where the mail of an address goes: into mailboxes, to other servers, or both. What goes there itself has the null reverse path.
pub(crate) fn destinations(
    live: &Live,
    sender: &Address,
    now: Timestamp,
    require_tls: bool,
) -> Option<(Vec<Delivery>, Option<Relay>)> {
    let (accounts, remote) = match live.directory.resolve(sender) {
        // nobody is told of the addresses that are missing: what goes there has the null reverse path
        Resolution::Deliver { accounts, remote, missing: _ } => (accounts, remote),
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
pub(crate) fn split(message: &[u8]) -> usize {
    message.windows(4).position(|window| window == b"\r\n\r\n").map_or(message.len(), |at| at + 4)
}

/// A boundary that no returned header block foresees. Without randomness the id must do.
pub(crate) fn boundary(id: EntryId, random: u64) -> String {
    format!("{id}{random:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_one_that_arrives() {
        for (to_smtputf8, of_smtputf8, expected) in [
            (false, false, Form::Ascii),
            (false, true, Form::Utf8Encoded),
            (true, false, Form::Utf8),
            (true, true, Form::Utf8),
        ] {
            assert_eq!(form(to_smtputf8, of_smtputf8), expected);
        }
    }

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
