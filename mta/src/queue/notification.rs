//! Which notification the outcomes of a try cause, and where it goes (RFC 3461 section 6, RFC 3464).
//!
//! A message with the null reverse path causes none (RFC 5321 section 4.5.5): that it is lost is only logged.

use bytes::Bytes;
use waypost_auth::{Live, Resolution};
use waypost_mail::{
    Address, BodyType, DateTime, EnhancedStatus, EntryId, Flags, Reply, ReversePath, Timestamp,
};
use waypost_message::{
    Splitter,
    build::{Action, Diagnostic, Notification, RecipientReport},
};
use waypost_storage::{
    Acceptance, Delivery, Outcome, QueueEntry, QueuedRecipient, RecipientOutcome, Relay, RelayRecipient,
    Store, StoreError,
};

use super::schedule::EXPIRED;

/// Octets of the message that are read for its header block.
const HEADER_BYTES_MAX: u64 = 64 * 1024;

/// What the outcomes of a try ask for. Where some recipients failed, others are told to be late at a later try.
pub(super) fn kind(outcomes: &[RecipientOutcome], late: bool) -> Option<Action> {
    let any = |wanted: Action| outcomes.iter().any(|outcome| told(&outcome.outcome, wanted).is_some());
    if any(Action::Failed) {
        return Some(Action::Failed);
    }
    (late && any(Action::Delayed)).then_some(Action::Delayed)
}

/// The notification, with the header of the message as far as it can be read; ready to be accepted in the same entry as the outcomes; `None` where no one is to get it.
pub(super) async fn build(
    store: &Store,
    live: &Live,
    entry: &QueueEntry,
    outcomes: &[RecipientOutcome],
    kind: Action,
    now: Timestamp,
) -> Result<Option<Acceptance>, StoreError> {
    let ReversePath::Address(sender) = &entry.reverse_path else {
        tracing::warn!(id = %entry.id, ?kind, "a message without sender is not answered");
        return Ok(None);
    };
    let Some((local, relay)) = destinations(live, sender, now) else {
        tracing::warn!(id = %entry.id, %sender, ?kind, "the sender does not exist: no notification");
        return Ok(None);
    };
    let id = store.new_entry_id();
    let content = entry.content.without_prefix();
    // the sender is told also where the message itself cannot be read any more
    let original = store.read(&content, 0, HEADER_BYTES_MAX).await.unwrap_or_else(|error| {
        tracing::error!(id = %entry.id, %error, "a notification goes without the header of the message");
        Bytes::new()
    });
    let notification = Notification {
        reporting_mta: live.config.hostname.clone(),
        to: sender.clone(),
        date: DateTime::utc(now),
        message_id: format!("{id}@{}", live.config.hostname),
        boundary: boundary(id),
        arrival: DateTime::utc(entry.accepted),
        recipients: reports(
            &entry.recipients,
            outcomes,
            kind,
            now,
            entry.accepted.after(live.config.queue.lifetime),
        ),
        original_header: header_block(&original).to_vec(),
    };
    let message = Bytes::from(notification.build());
    let (header, text) = message.split_at(split(&message));
    let mut body = store.body_writer();
    body.write(text).await?;
    let structure = Splitter::split(&message);
    let header = message.slice_ref(header);
    Ok(Some(Acceptance { id, header, body: body.finish().await?, structure, local, relay }))
}

/// Where the sender's mail goes: into mailboxes, to other servers, or both. The notification itself has the null reverse path.
fn destinations(live: &Live, sender: &Address, now: Timestamp) -> Option<(Vec<Delivery>, Option<Relay>)> {
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
        RelayRecipient { address, original }
    };
    // the header block names the sender as it is
    let smtputf8 = sender.needs_smtputf8() || remote.iter().any(Address::needs_smtputf8);
    let body = if smtputf8 { BodyType::EightBitMime } else { BodyType::SevenBit };
    let recipients: Vec<_> = remote.into_iter().map(recipient).collect();
    let relay = (!recipients.is_empty()).then_some(Relay {
        reverse_path: ReversePath::Null,
        recipients,
        body,
        smtputf8,
    });
    Some((accounts.into_iter().map(delivery).collect(), relay))
}

/// The peer and reply that a notification of this kind tells of an outcome.
fn told(outcome: &Outcome, kind: Action) -> Option<(&str, &Reply)> {
    match (outcome, kind) {
        (Outcome::Failed { peer, reply }, Action::Failed) => Some((peer, reply)),
        (Outcome::Deferred { peer, reply }, Action::Delayed) => Some((peer, reply)),
        _ => None,
    }
}

/// What is told of each recipient.
fn reports(
    recipients: &[QueuedRecipient],
    outcomes: &[RecipientOutcome],
    kind: Action,
    now: Timestamp,
    end: Timestamp,
) -> Vec<RecipientReport> {
    let report = |outcome: &RecipientOutcome| {
        let recipient = &recipients.get(outcome.recipient)?.recipient;
        let (peer, reply) = told(&outcome.outcome, kind)?;
        let text = answer(reply);
        // no server says that we gave up
        let ours = peer.is_empty() || reply.status == Some(EXPIRED);
        Some(RecipientReport {
            original: recipient.original.clone(),
            address: recipient.address.clone(),
            action: kind,
            status: status(reply),
            remote_mta: peer.split_once(' ').map(|(host, _)| host.to_owned()),
            diagnostic: Some(if ours { Diagnostic::Local(text) } else { Diagnostic::Smtp(text) }),
            last_attempt: Some(DateTime::utc(now)),
            will_retry_until: Some(DateTime::utc(end)),
        })
    };
    outcomes.iter().filter_map(report).collect()
}

/// The octets up to and without the empty line; of a cut block those up to its last whole line.
fn header_block(octets: &[u8]) -> &[u8] {
    let end = octets.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 2);
    let end = end.or_else(|| octets.iter().rposition(|octet| *octet == b'\n').map(|at| at + 1));
    &octets[..end.unwrap_or(0)]
}

/// Where the body of a message begins.
fn split(message: &[u8]) -> usize {
    message.windows(4).position(|window| window == b"\r\n\r\n").map_or(message.len(), |at| at + 4)
}

/// A boundary that no returned header block foresees. Without randomness the id must do.
fn boundary(id: EntryId) -> String {
    format!("{id}{:016x}", getrandom::u64().unwrap_or(0))
}

/// The reply's status, or the one that its code stands for (RFC 3464 section 2.3.4 asks for one).
fn status(reply: &Reply) -> EnhancedStatus {
    let class = if reply.code < 500 { 4 } else { 5 };
    reply.status.unwrap_or(EnhancedStatus(class, 0, 0))
}

fn answer(reply: &Reply) -> String {
    let status = reply.status.map_or_else(String::new, |status| format!("{status} "));
    format!("{} {status}{}", reply.code, reply.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes() -> Vec<RecipientOutcome> {
        let peer = || "mx.b.test [192.0.2.1]".to_owned();
        let unknown = Reply::new(550, EnhancedStatus(5, 1, 1), "no such user");
        let busy = Reply { code: 450, status: None, lines: vec!["busy".into(), "later".into()] };
        let local = Reply::new(550, EnhancedStatus(5, 1, 2), "no such domain");
        [
            Outcome::Failed { peer: peer(), reply: unknown },
            Outcome::Deferred { peer: peer(), reply: busy },
            Outcome::Delivered { peer: peer(), reply: Reply::plain(250, "ok") },
            Outcome::Failed { peer: String::new(), reply: local },
            Outcome::Failed { peer: peer(), reply: Reply::new(554, EXPIRED, "given up") },
        ]
        .into_iter()
        .enumerate()
        .map(|(recipient, outcome)| RecipientOutcome { recipient, outcome })
        .collect()
    }

    #[test]
    fn failures_come_before_delays() {
        let all = outcomes();
        for (outcomes, late, expected) in [
            (&all[..], true, Some(Action::Failed)),
            (&all[..], false, Some(Action::Failed)),
            (&all[1..3], true, Some(Action::Delayed)),
            (&all[1..3], false, None),
            (&all[2..3], true, None),
        ] {
            assert_eq!(kind(outcomes, late), expected);
        }
    }

    #[test]
    fn each_recipient_is_told_what_happened_to_it() {
        let recipient = |n| QueuedRecipient {
            recipient: RelayRecipient {
                address: Address::parse(&format!("r{n}@b.test")).unwrap(),
                original: None,
            },
            outcome: None,
        };
        let recipients: Vec<_> = (0..5).map(recipient).collect();
        let told = |kind| {
            let reports = reports(&recipients, &outcomes(), kind, Timestamp(1000), Timestamp(9000));
            let line = |report: &RecipientReport| {
                assert_eq!((report.action, report.last_attempt.unwrap().seconds), (kind, 1));
                assert_eq!(report.will_retry_until.unwrap().seconds, 9);
                let host = report.remote_mta.as_deref().unwrap_or("nobody");
                format!(
                    "{} {} {host} {:?}",
                    report.address,
                    report.status,
                    report.diagnostic.as_ref().unwrap()
                )
            };
            reports.iter().map(line).collect::<Vec<_>>()
        };
        let failed = [
            "r0@b.test 5.1.1 mx.b.test Smtp(\"550 5.1.1 no such user\")",
            "r3@b.test 5.1.2 nobody Local(\"550 5.1.2 no such domain\")",
            "r4@b.test 5.4.7 mx.b.test Local(\"554 5.4.7 given up\")",
        ];
        assert_eq!(told(Action::Failed), failed);
        assert_eq!(told(Action::Delayed), ["r1@b.test 4.0.0 mx.b.test Smtp(\"450 busy later\")"]);
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
