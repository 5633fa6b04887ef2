//! Which notification the outcomes of a try cause (RFC 3461 sections 5.2 and 6).

use waypost_auth::Live;
use waypost_mail::{
    Address, DateTime, EnhancedStatus, EntryId, Notify, Reply, ReturnContent, ReversePath, Timestamp,
};
use waypost_message::{
    HeaderBlock,
    build::{Action, Diagnostic, Original, Reader, RecipientReport, is_seven_bit},
};
use waypost_storage::{
    Acceptance, Deadline, Outcome, QueueEntry, QueuedRecipient, RecipientOutcome, RelayRecipient, Store,
    StoreError,
};

use super::schedule::Span;
use crate::{
    authenticity::Signers,
    notification::{Notice, header_block, is_postmaster, postmaster},
    smtp::client::Tells,
};

/// Octets of the message that are read for its header block.
const HEADER_BYTES_MAX: u64 = 64 * 1024;
/// Largest message in octets that comes back as a whole (RFC 3461 section 4.3).
const RETURNED_BYTES_MAX: u64 = 1024 * 1024;

/// What the sender is to be told of the outcomes of one try.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Told(Vec<(usize, Action)>);

impl Told {
    /// `late`: whether the sender may be told now that a recipient waits. `tells`: what the server tells it. Where some recipients failed, others are told to be
    /// late at a later try.
    pub(super) fn new(
        entry: &QueueEntry,
        outcomes: &[RecipientOutcome],
        late: impl Fn(&QueuedRecipient) -> bool,
        tells: Tells,
    ) -> Self {
        Self::of(&entry.recipients, entry.wishes.deliver_by, outcomes, late, tells)
    }

    fn of(
        recipients: &[QueuedRecipient],
        deadline: Option<Deadline>,
        outcomes: &[RecipientOutcome],
        late: impl Fn(&QueuedRecipient) -> bool,
        tells: Tells,
    ) -> Self {
        // Of a server that does not watch the time, and of each where that is asked for (RFC 2852 sections 4.1.2 and 4.1.3).
        let watched = deadline.is_some_and(|deadline| deadline.trace || !tells.overdue);
        let action = |(place, outcome): (usize, &RecipientOutcome)| {
            let queued = recipients.get(outcome.recipient)?;
            let notify = queued.recipient.notify.unwrap_or(Notify::UNASKED);
            let action = match &outcome.outcome {
                Outcome::Failed { .. } => notify.failure.then_some(Action::Failed),
                Outcome::Deferred { .. } => (notify.delay && late(queued)).then_some(Action::Delayed),
                Outcome::Delivered { peer, .. } => {
                    // into mailboxes here, or to another server
                    let taken = if peer.is_empty() { Action::Delivered } else { Action::Relayed };
                    let is_told = notify.success && !tells.dsn || watched && notify != Notify::default();
                    is_told.then_some(taken)
                }
            };
            action.map(|action| (place, action))
        };
        let mut told: Vec<_> = outcomes.iter().enumerate().filter_map(action).collect();
        if told.iter().any(|(_, action)| *action == Action::Failed) {
            told.retain(|(_, action)| *action != Action::Delayed);
        }
        Self(told)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the sender learns that the message is late.
    pub(super) fn of_delay(&self) -> bool {
        self.0.iter().any(|(_, action)| *action == Action::Delayed)
    }

    fn failed(&self) -> bool {
        self.0.iter().any(|(_, action)| *action == Action::Failed)
    }
}

/// The notification, ready to be accepted in the same entry as the outcomes; `None` where no one is to get it.
pub(super) async fn build(
    (store, signers): (&Store, &Signers),
    live: &Live,
    entry: &QueueEntry,
    outcomes: &[RecipientOutcome],
    told: &Told,
    now: Timestamp,
    random: u64,
) -> Result<Option<Acceptance>, StoreError> {
    let end = |queued: &QueuedRecipient| {
        Span::of(entry).end(live.config.queue.schedule(&queued.recipient.address.domain))
    };
    let original = original(store, entry, told).await;
    let Some((to, reader)) = reader(live, entry, told, &original) else {
        tracing::warn!(id = %entry.id, "a message without sender is not answered");
        return Ok(None);
    };
    let notice = Notice {
        of: entry.id,
        to,
        reader,
        accepted: entry.accepted,
        now,
        random,
        envelope_id: entry.wishes.envelope_id.clone(),
        require_tls: entry.wishes.require_tls,
        smtputf8: entry.smtputf8,
        recipients: reports(&entry.recipients, outcomes, told, now, end),
    };
    notice.compose((store, signers), live, original).await
}

/// Who is told: the sender, or, once, the postmaster of a notification of ours that failed. Mail of others without sender is nobody's
/// concern here, and what is told to a postmaster is told to nobody else, so that nothing goes round.
fn reader(live: &Live, entry: &QueueEntry, told: &Told, original: &Original) -> Option<(Address, Reader)> {
    if let ReversePath::Address(sender) = &entry.reverse_path {
        return Some((sender.clone(), Reader::Sender));
    }
    let directory = &live.directory;
    let is_postmasters = |queued: &QueuedRecipient| {
        let RelayRecipient { address, original, .. } = &queued.recipient;
        is_postmaster(directory, original.as_ref().unwrap_or(address))
    };
    let is_told = live.config.queue.double_bounces
        && told.failed()
        && is_ours(entry.id, original)
        && !entry.recipients.iter().any(is_postmasters);
    let to = postmaster(directory).filter(|_| is_told)?;
    Some((to, Reader::Postmaster))
}

/// Whether a message was made here: its Message-ID holds the name that it got, which nobody could foresee.
fn is_ours(id: EntryId, original: &Original) -> bool {
    let (Original::Header(octets) | Original::Message(octets)) = original;
    let message_id = HeaderBlock::new(header_block(octets).to_vec()).first("Message-ID");
    message_id.is_some_and(|message_id| message_id.starts_with(format!("<{id}@").as_bytes()))
}

/// What comes back of the message: all of it where that was asked for, it failed, and it can be sent everywhere, as it is or encoded (RFC
/// 6533 section 4.2); else its header block, as far as it can be read. The sender is told also where the message itself cannot be read any more.
async fn original(store: &Store, entry: &QueueEntry, told: &Told) -> Original {
    let content = entry.content.without_prefix();
    // RFC 8689 section 5: of a message that requires TLS no more than the header block.
    let is_full = entry.wishes.return_content == Some(ReturnContent::Full) && !entry.wishes.require_tls;
    let is_asked = is_full && told.failed();
    let whole = is_asked && content.size() <= RETURNED_BYTES_MAX;
    let most = if whole { content.size() } else { HEADER_BYTES_MAX };
    let octets = store.read(&content, 0, most).await.unwrap_or_else(|error| {
        tracing::error!(id = %entry.id, %error, "a notification goes without the message");
        Default::default()
    });
    let can_be_sent = entry.smtputf8 || is_seven_bit(&octets);
    match whole && can_be_sent && !octets.is_empty() {
        true => Original::Message(octets.to_vec()),
        false => Original::Header(header_block(&octets).to_vec()),
    }
}

/// What is told of each recipient.
fn reports(
    recipients: &[QueuedRecipient],
    outcomes: &[RecipientOutcome],
    told: &Told,
    now: Timestamp,
    end: impl Fn(&QueuedRecipient) -> Timestamp,
) -> Vec<RecipientReport> {
    let report = |(place, action): &(usize, Action)| {
        let outcome = outcomes.get(*place)?;
        let queued = recipients.get(outcome.recipient)?;
        let recipient = &queued.recipient;
        let (peer, reply) = outcome.outcome.said();
        let text = answer(reply);
        let ours = outcome.outcome.is_of_ours();
        Some(RecipientReport {
            original: recipient.original.clone(),
            orcpt: recipient.orcpt.clone(),
            address: recipient.address.clone(),
            action: *action,
            status: status(reply),
            remote_mta: peer.split_once(' ').map(|(host, _)| host.to_owned()),
            remote_address: peer.split_once(' ').map(|(_, ip)| ip.trim_matches(['[', ']']).to_owned()),
            diagnostic: Some(if ours { Diagnostic::Local(text) } else { Diagnostic::Smtp(text) }),
            last_attempt: Some(DateTime::utc(now)),
            will_retry_until: Some(DateTime::utc(end(queued))),
        })
    };
    told.0.iter().filter_map(report).collect()
}

/// The reply's status, or the one that its code stands for (RFC 3464 section 2.3.4 asks for one).
fn status(reply: &Reply) -> EnhancedStatus {
    let class = if reply.code < 300 {
        2
    } else if reply.code < 500 {
        4
    } else {
        5
    };
    reply.status.unwrap_or(EnhancedStatus(class, 0, 0))
}

/// What was said, in its lines.
fn answer(reply: &Reply) -> String {
    let status = reply.status.map_or_else(String::new, |status| format!("{status} "));
    format!("{} {status}{}", reply.code, reply.lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use waypost_mail::Overdue;

    use super::*;

    fn outcomes() -> Vec<RecipientOutcome> {
        let peer = || "mx.b.test [192.0.2.1]".to_owned();
        let unknown = Reply::new(550, EnhancedStatus(5, 1, 1), "no such user").of_peer();
        let busy = Reply { lines: vec!["busy".into(), "later".into()], ..Reply::plain(450, "").of_peer() };
        let local = Reply::new(550, EnhancedStatus(5, 1, 2), "no such domain");
        [
            Outcome::Failed { peer: peer(), reply: unknown },
            Outcome::Deferred { peer: peer(), reply: busy },
            Outcome::Delivered { peer: peer(), reply: Reply::plain(250, "ok").of_peer() },
            Outcome::Failed { peer: String::new(), reply: local },
            Outcome::Failed { peer: peer(), reply: Reply::new(554, EnhancedStatus(5, 4, 7), "given up") },
            Outcome::Failed { peer: peer(), reply: Reply::new(552, EnhancedStatus(5, 3, 4), "too large") },
        ]
        .into_iter()
        .enumerate()
        .map(|(recipient, outcome)| RecipientOutcome { recipient, outcome })
        .collect()
    }

    fn recipients(notify: Option<&str>) -> Vec<QueuedRecipient> {
        let recipient = |n| RelayRecipient {
            notify: notify.map(|notify| Notify::parse(notify).unwrap()),
            ..RelayRecipient::new(Address::parse(&format!("r{n}@b.test")).unwrap())
        };
        let queued = |n| QueuedRecipient {
            recipient: recipient(n),
            outcome: None,
            tries: 0,
            next_attempt: Timestamp(0),
            warned: false,
        };
        (0..6).map(queued).collect()
    }

    #[test]
    fn a_sender_is_told_what_it_asked_for() {
        use Action::{Delayed, Failed, Relayed};
        let all_outcomes = outcomes();
        let all = [(0, Failed), (3, Failed), (4, Failed), (5, Failed)];
        let with_relayed = [(0, Failed), (2, Relayed), (3, Failed), (4, Failed), (5, Failed)];
        for (notify, outcomes, late, dsn, expected) in [
            (None, 0..6, true, false, &all[..]),
            (None, 0..6, false, true, &all),
            (None, 1..3, true, false, &[(0, Delayed)]),
            (None, 1..3, false, false, &[]),
            (None, 2..3, true, false, &[]),
            (Some("NEVER"), 0..6, true, false, &[]),
            (Some("SUCCESS,FAILURE"), 0..6, true, false, &with_relayed),
            (Some("SUCCESS,FAILURE"), 0..6, true, true, &all),
            (Some("SUCCESS"), 0..6, true, false, &[(2, Relayed)]),
            (Some("DELAY"), 0..6, true, true, &[(1, Delayed)]),
            (Some("SUCCESS,DELAY"), 1..3, true, false, &[(0, Delayed), (1, Relayed)]),
        ] {
            let tells = Tells { dsn, overdue: false };
            let told = Told::of(&recipients(notify), None, &all_outcomes[outcomes.clone()], |_| late, tells);
            assert_eq!(told.0, expected, "{notify:?} {outcomes:?} {late} {dsn}");
        }
    }

    #[test]
    fn who_gives_a_time_is_told_of_servers_that_do_not_watch_it_or_of_each() {
        let delivered = &outcomes()[2..3];
        let at = |trace| Some(Deadline { at: Timestamp(0), overdue: Overdue::Notify, trace });
        for (notify, deadline, overdue, is_told) in [
            (None, None, false, false),
            (None, at(false), false, true),
            (None, at(false), true, false),
            (None, at(true), true, true),
            (Some("NEVER"), at(true), false, false),
            (Some("DELAY"), at(false), false, true),
        ] {
            let tells = Tells { dsn: true, overdue };
            let told = Told::of(&recipients(notify), deadline, delivered, |_| false, tells);
            assert_eq!(!told.is_empty(), is_told, "{notify:?} {deadline:?} {overdue}");
        }
    }

    #[test]
    fn each_recipient_is_told_what_happened_to_it() {
        let told = |outcomes: &[RecipientOutcome], dsn| {
            let recipients = recipients(Some("SUCCESS,FAILURE,DELAY"));
            let told = Told::of(&recipients, None, outcomes, |_| true, Tells { dsn, overdue: false });
            let reports = reports(&recipients, outcomes, &told, Timestamp(1000), |_| Timestamp(9000));
            let line = |report: &RecipientReport| {
                assert_eq!(report.last_attempt.unwrap().seconds, 1);
                assert_eq!(report.will_retry_until.unwrap().seconds, 9);
                let host = report.remote_mta.as_deref().unwrap_or("nobody");
                format!(
                    "{} {:?} {} {host} {:?}",
                    report.address,
                    report.action,
                    report.status,
                    report.diagnostic.as_ref().unwrap()
                )
            };
            reports.iter().map(line).collect::<Vec<_>>()
        };
        let failed = [
            "r0@b.test Failed 5.1.1 mx.b.test Smtp(\"550 5.1.1 no such user\")",
            "r3@b.test Failed 5.1.2 nobody Local(\"550 5.1.2 no such domain\")",
            "r4@b.test Failed 5.4.7 mx.b.test Local(\"554 5.4.7 given up\")",
            "r5@b.test Failed 5.3.4 mx.b.test Local(\"552 5.3.4 too large\")",
        ];
        assert_eq!(told(&outcomes(), true), failed);
        let others = [
            "r1@b.test Delayed 4.0.0 mx.b.test Smtp(\"450 busy\\nlater\")",
            "r2@b.test Relayed 2.0.0 mx.b.test Smtp(\"250 ok\")",
        ];
        assert_eq!(told(&outcomes()[1..3], false), others);
    }
}
