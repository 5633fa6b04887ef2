//! Looking at the queue: what its entries, their records and the destinations say, as listings show it.

use std::collections::BTreeMap;

use waypost_auth::Live;
use waypost_mail::{Domain, EntryId, Issuer, Overdue, Reply, ReversePath, Timestamp};
use waypost_mta::{
    queue::{Control, Place, SiteStatus},
    tls_policy::{Alarm, Wish},
};
use waypost_storage::{
    Dialogue, DialogueTls, Outcome, QueueEntry, QueueEvent, QueuedRecipient, RecipientOutcome,
    RelayRecipient, ReturnedReport, Store,
};

use super::view::{
    DestinationLine, DialogueLine, GoneRecipientLine, GoneView, HeldLine, HistoryLine, MessageView,
    OutcomeLine, QueueLine, RecipientLine, ReportLine, RestLine, Shown, TlsLostLine,
};

/// From where the queue is looked at.
pub(super) struct Sight<'a> {
    pub(super) store: &'a Store,
    live: &'a Live,
    control: Option<&'a Control>,
    now: Timestamp,
}

impl<'a> Sight<'a> {
    pub(super) fn new(store: &'a Store, live: &'a Live, control: Option<&'a Control>) -> Self {
        Self { store, live, control, now: store.now() }
    }

    /// A message with its open recipients.
    pub(super) fn line(&self, entry: &QueueEntry) -> QueueLine {
        QueueLine {
            id: entry.id.to_string(),
            accepted: entry.accepted.to_string(),
            size: entry.content.without_prefix().size(),
            from: sender(&entry.reverse_path),
            attempts: entry.attempts,
            next_attempt: entry.next_attempt().map_or_else(String::new, |at| at.to_string()),
            due: entry.next_attempt().is_some_and(|at| at <= self.now),
            held: entry
                .held
                .as_ref()
                .map(|held| HeldLine { since: held.at.to_string(), why: held.why.clone() }),
            recipients: entry.open().map(|(_, queued)| self.recipient(entry, queued)).collect(),
        }
    }

    fn recipient(&self, entry: &QueueEntry, queued: &QueuedRecipient) -> RecipientLine {
        let state = match &queued.outcome {
            Some(Outcome::Delivered { .. }) => "delivered",
            Some(Outcome::Failed { .. }) => "failed",
            Some(Outcome::Deferred { .. }) | None => "waiting",
        };
        let place = Place::of(self.live, entry, &queued.recipient);
        let is_open = queued.is_open();
        let status = self.control.filter(|_| is_open).and_then(|control| control.destination(&place));
        RecipientLine {
            address: queued.recipient.address.to_string(),
            state: state.to_owned(),
            paused: is_open && self.is_paused(&place),
            destination: place.to_string(),
            tries: queued.tries,
            next_attempt: is_open.then(|| queued.next_attempt.to_string()),
            last_reply: queued.outcome.as_ref().map_or_else(String::new, |outcome| said(outcome.said())),
            resting: status.and_then(rest),
        }
    }

    fn is_paused(&self, place: &Place) -> bool {
        self.store.directory().borrow().paused.contains(&place.to_string())
    }

    /// All about one message. Errors: nothing is known of it; the journal cannot be read.
    pub(super) async fn show(&self, id: EntryId) -> Result<Shown, String> {
        let entry = self.store.queue_entry(id);
        let events = self.store.queue_history(id).await.map_err(|error| error.to_string())?;
        if entry.is_none() && events.is_empty() {
            return Err(format!("nothing is known of a message {id} in the queue"));
        }
        let addresses = addresses(entry.as_ref(), &events);
        let gone = if entry.is_none() { gone(&events) } else { None };
        let history = events.into_iter().map(|event| history(&addresses, event)).collect();
        let message = entry.as_ref().map(|entry| self.message(entry));
        let destinations = entry.as_ref().map_or_else(Vec::new, |entry| self.destinations_of(entry));
        Ok(Shown { id: id.to_string(), message, gone, destinations, history })
    }

    fn message(&self, entry: &QueueEntry) -> MessageView {
        let recipients = entry.recipients.iter().map(|queued| self.recipient(entry, queued)).collect();
        let wishes = &entry.wishes;
        MessageView {
            line: QueueLine { recipients, ..self.line(entry) },
            priority: wishes.priority,
            not_before: entry.not_before.map(|at| at.to_string()),
            deliver_by: wishes.deliver_by.map(|deadline| deadline.at.to_string()),
            return_overdue: wishes.deliver_by.is_some_and(|deadline| deadline.overdue == Overdue::Return),
            require_tls: wishes.require_tls,
            envelope_id: wishes.envelope_id.as_ref().map(waypost_mail::EnvelopeId::decoded),
        }
    }

    /// The destinations of a message. Without a server nothing is counted.
    fn destinations_of(&self, entry: &QueueEntry) -> Vec<DestinationLine> {
        let mut lines = BTreeMap::new();
        for (_, queued) in entry.open() {
            let place = Place::of(self.live, entry, &queued.recipient);
            let status = self.control.and_then(|control| control.destination(&place));
            let name = place.to_string();
            let line = status.map_or_else(
                || DestinationLine { paused: self.is_paused(&place), ..DestinationLine::new(name.clone()) },
                destination,
            );
            lines.insert(name, line);
        }
        lines.into_values().collect()
    }

    /// All destinations to which something is on its way, that are paused, or whose TLS was lost.
    pub(super) fn destinations(&self, alarmed: Vec<(Domain, Alarm)>) -> Vec<DestinationLine> {
        let mut lines = match self.control {
            Some(control) => control.destinations().into_iter().map(destination).collect(),
            None => self.counted().into_values().collect::<Vec<_>>(),
        };
        let paused = self.store.directory().borrow().paused.clone();
        let none =
            |name: String| DestinationLine { waiting: Some(0), due: Some(0), ..DestinationLine::new(name) };
        for name in paused {
            if !lines.iter().any(|line| line.destination == name) {
                lines.push(DestinationLine { paused: true, ..none(name) });
            }
        }
        for (domain, alarm) in alarmed {
            let (name, lost) = (domain.to_string(), tls_lost(alarm));
            match lines.iter_mut().find(|line| line.destination == name && line.wish.is_none()) {
                Some(line) => line.tls_lost = Some(lost),
                None => lines.push(DestinationLine { tls_lost: Some(lost), ..none(name) }),
            }
        }
        lines.sort_by(|a, b| (&a.destination, &a.wish).cmp(&(&b.destination, &b.wish)));
        lines
    }

    /// What waits, counted through the whole queue.
    fn counted(&self) -> BTreeMap<String, DestinationLine> {
        let (mut lines, mut after) = (BTreeMap::new(), None);
        loop {
            let page = self.store.queue_page(after, super::PAGE_LOOKS);
            let Some(last) = page.last() else { return lines };
            after = Some(last.id);
            page.iter().filter(|entry| entry.held.is_none()).for_each(|entry| self.count(entry, &mut lines));
        }
    }

    fn count(&self, entry: &QueueEntry, lines: &mut BTreeMap<String, DestinationLine>) {
        let mut due: BTreeMap<String, bool> = BTreeMap::new();
        for (_, queued) in entry.open() {
            let place = Place::of(self.live, entry, &queued.recipient);
            *due.entry(place.to_string()).or_default() |= queued.next_attempt <= self.now;
        }
        let paused = self.store.directory().borrow().paused.clone();
        for (name, is_due) in due {
            let line = lines.entry(name.clone()).or_insert_with(|| DestinationLine::new(name));
            line.paused = paused.contains(&line.destination);
            line.waiting = Some(line.waiting.unwrap_or(0) + 1);
            line.due = Some(line.due.unwrap_or(0) + u64::from(is_due));
        }
    }
}

impl DestinationLine {
    fn new(destination: String) -> Self {
        Self {
            destination,
            wish: None,
            waiting: None,
            due: None,
            connections: None,
            window: None,
            paused: false,
            resting: None,
            tls_lost: None,
        }
    }
}

fn tls_lost(Alarm { at, what, host, count }: Alarm) -> TlsLostLine {
    TlsLostLine { at: at.to_string(), host, what: what.to_owned(), count }
}

fn destination(status: SiteStatus<Place>) -> DestinationLine {
    DestinationLine {
        destination: status.place.to_string(),
        wish: match status.place.wish() {
            Wish::Usual => None,
            Wish::Optional => Some("TLS-Required: No".to_owned()),
            Wish::Required => Some("REQUIRETLS".to_owned()),
        },
        waiting: Some(status.waiting as u64),
        due: Some(status.due as u64),
        connections: Some(status.connections as u64),
        window: Some(status.window as u64),
        paused: status.is_paused,
        resting: rest(status),
        tls_lost: None,
    }
}

fn rest(status: SiteStatus<Place>) -> Option<RestLine> {
    let (until, failures, peer, reply) = status.resting?;
    Some(RestLine { until: until.to_string(), failures, last_reply: said((&peer, &reply)) })
}

fn sender(path: &ReversePath) -> String {
    match path {
        ReversePath::Null => String::new(),
        ReversePath::Address(address) => address.to_string(),
    }
}

/// `mx.example.org [192.0.2.1]: 451 4.7.1 later`, or what was noted here of that server
fn said((peer, reply): (&str, &Reply)) -> String {
    let text = wire(reply).join(" / ");
    match reply.issuer {
        _ if peer.is_empty() => text,
        Issuer::Peer => format!("{peer}: {text}"),
        Issuer::Here => format!("{peer}, as noted here: {text}"),
    }
}

/// The lines of a reply as they came.
fn wire(reply: &Reply) -> Vec<String> {
    reply.to_string().lines().map(|line| line.trim_end().to_owned()).collect()
}

/// The addresses of a message's recipients; none where no record has them any more.
fn addresses(entry: Option<&QueueEntry>, events: &[QueueEvent]) -> Vec<String> {
    if let Some(entry) = entry {
        return entry.recipients.iter().map(|queued| queued.recipient.address.to_string()).collect();
    }
    let recipients = events.iter().find_map(|event| match event {
        QueueEvent::Queued { recipients, .. } => Some(recipients),
        _ => None,
    });
    recipients.into_iter().flatten().map(|recipient| recipient.address.to_string()).collect()
}

/// A message that has left the queue, with what came of each recipient last.
fn gone(events: &[QueueEvent]) -> Option<GoneView> {
    let queued = events.iter().find_map(|event| match event {
        QueueEvent::Queued { at, reverse_path, recipients, .. } => Some((at, reverse_path, recipients)),
        _ => None,
    });
    let (accepted, reverse_path, recipients) = queued?;
    let outcomes: Vec<&RecipientOutcome> = events
        .iter()
        .filter_map(|event| match event {
            QueueEvent::Attempted { outcomes, .. } => Some(outcomes),
            _ => None,
        })
        .flatten()
        .collect();
    let line = |(place, recipient): (usize, &RelayRecipient)| {
        let mut own = outcomes.iter().filter(|outcome| outcome.recipient == place);
        let tries = u32::try_from(own.clone().count()).unwrap_or(u32::MAX);
        let last = own.next_back().map(|outcome| &outcome.outcome);
        let state = match last {
            Some(Outcome::Delivered { .. }) => "delivered",
            Some(Outcome::Failed { .. }) => "failed",
            Some(Outcome::Deferred { .. }) | None => "removed",
        };
        GoneRecipientLine {
            address: recipient.address.to_string(),
            state: state.to_owned(),
            tries,
            last_reply: last.map_or_else(String::new, |outcome| said(outcome.said())),
        }
    };
    Some(GoneView {
        accepted: accepted.to_string(),
        from: sender(reverse_path),
        recipients: recipients.iter().enumerate().map(line).collect(),
    })
}

fn history(addresses: &[String], event: QueueEvent) -> HistoryLine {
    match event {
        QueueEvent::Queued { at, next_attempt, held, .. } => {
            HistoryLine::Queued { at: at.to_string(), next_attempt: next_attempt.to_string(), held }
        }
        QueueEvent::Attempted { at, outcomes, next_attempt, warned, dialogues } => {
            let is_deferred =
                |outcome: &RecipientOutcome| matches!(outcome.outcome, Outcome::Deferred { .. });
            HistoryLine::Attempted {
                at: at.to_string(),
                next_attempt: outcomes.iter().any(is_deferred).then(|| next_attempt.to_string()),
                outcomes: outcomes.iter().map(|outcome| outcome_line(addresses, outcome)).collect(),
                warned,
                dialogues: dialogues.into_iter().map(dialogue).collect(),
            }
        }
        QueueEvent::Rescheduled { at, next_attempt } => HistoryLine::Rescheduled {
            at: at.map(|at| at.to_string()),
            next_attempt: next_attempt.to_string(),
        },
        QueueEvent::HoldChanged { at, why: Some(why) } => HistoryLine::Held { at: at.to_string(), why },
        QueueEvent::HoldChanged { at, why: None } => HistoryLine::Released { at: at.to_string() },
        QueueEvent::Reported { at, reports } => {
            HistoryLine::Reported { at: at.to_string(), reports: reports.into_iter().map(report).collect() }
        }
        QueueEvent::Settled { removed } => HistoryLine::Left { removed: removed.map(|at| at.to_string()) },
    }
}

fn report(report: ReturnedReport) -> ReportLine {
    let ReturnedReport { recipient, what, status, said } = report;
    ReportLine { recipient, what, status, said }
}

fn outcome_line(addresses: &[String], outcome: &RecipientOutcome) -> OutcomeLine {
    let address = addresses.get(outcome.recipient).cloned();
    let recipient = address.unwrap_or_else(|| format!("recipient {}", outcome.recipient + 1));
    let (peer, reply) = outcome.outcome.said();
    let name = match outcome.outcome {
        Outcome::Delivered { .. } => "delivered",
        Outcome::Deferred { .. } => "deferred",
        Outcome::Failed { .. } => "failed",
    };
    OutcomeLine {
        recipient,
        outcome: name.to_owned(),
        peer: peer.to_owned(),
        ours: outcome.outcome.is_of_ours(),
        reply: wire(reply),
    }
}

fn dialogue(dialogue: Dialogue) -> DialogueLine {
    let Dialogue { at, peer, tls, policy, lines } = dialogue;
    let tls = tls.map(|DialogueTls { version, cipher, verified }| {
        let verified = if verified { "certificate verified" } else { "certificate not verified" };
        format!("{version} {cipher}, {verified}")
    });
    DialogueLine { at: at.to_string(), peer, tls, policy, lines }
}
