//! What puts addresses on the suppression list, and what senders read of it. The list itself is the store's.
//!
//! What a server says in our own session with it is believed, and suppresses mail of all senders. A report that comes back may be
//! written by anybody who saw the message: it counts only for recipients that the message had, and for mail of its sender.

use waypost_config::SuppressionConfig;
use waypost_mail::{Address, EnhancedStatus, Reply, Timestamp};
use waypost_storage::{
    Cause, Outcome, QueueEntry, QueueEvent, RecipientOutcome, RelayRecipient, ReturnedReport, Store,
    StoreError, Strike, Suppression, Suppressions,
};

/// The complaints that count (RFC 5965 section 7.3); that something is no spam (RFC 6430) is none.
const COMPLAINT: &str = "complaint: abuse";

/// What servers said of recipients of a message that counts.
pub(crate) fn bounces(
    config: &SuppressionConfig,
    entry: &QueueEntry,
    outcomes: &[RecipientOutcome],
) -> Vec<Strike> {
    let strike = |outcome: &RecipientOutcome| {
        let Outcome::Failed { peer, reply } = &outcome.outcome else { return None };
        let says_so = reply.status.is_some_and(|status| config.statuses.contains(&status));
        // what was found out here is no server's word
        let is_word = says_so && !outcome.outcome.is_of_ours();
        let recipient = entry.recipients.get(outcome.recipient).filter(|_| is_word)?;
        let why = format!("{peer}: {} {} {}", reply.code, reply.status?, reply.text());
        strike(config, &recipient.recipient.address, None, Cause::Bounce, why)
    };
    outcomes.iter().filter_map(strike).collect()
}

/// What reports about a message of a user say that counts.
fn reported(
    config: &SuppressionConfig,
    sender: &Address,
    recipients: &[RelayRecipient],
    reports: &[ReturnedReport],
) -> Vec<Strike> {
    let strike = |report: &ReturnedReport| {
        let is_hard = |status: &str| {
            EnhancedStatus::parse(status).is_some_and(|status| config.statuses.contains(&status))
        };
        let cause = match report.what.as_str() {
            COMPLAINT => Cause::Complaint,
            "failed" if report.status.as_deref().is_some_and(is_hard) => Cause::Bounce,
            _ => return None,
        };
        let recipient = meant(recipients, &report.recipient)?;
        let said = [Some(report.what.as_str()), report.status.as_deref(), report.said.as_deref()];
        let why = format!("a report said: {}", said.into_iter().flatten().collect::<Vec<_>>().join(" "));
        strike(config, &recipient.address, Some(sender.clone()), cause, why)
    };
    reports.iter().filter_map(strike).collect()
}

/// The recipient that a report is about; the only one, where it does not say, as is common (RFC 6590).
fn meant<'a>(recipients: &'a [RelayRecipient], named: &str) -> Option<&'a RelayRecipient> {
    match (recipients, Address::parse(named)) {
        ([only], Err(_)) if named.is_empty() => Some(only),
        (_, Err(_)) => None,
        (all, Ok(named)) => all.iter().find(|recipient| {
            let original = recipient.original.as_ref();
            recipient.address.same_mailbox(&named) || original.is_some_and(|alias| alias.same_mailbox(&named))
        }),
    }
}

fn strike(
    config: &SuppressionConfig,
    recipient: &Address,
    sender: Option<Address>,
    cause: Cause,
    why: String,
) -> Option<Strike> {
    let limit = if cause == Cause::Complaint { config.complaints } else { config.bounces };
    let lifetime = Some(config.expires);
    (limit > 0).then(|| Strike { recipient: recipient.clone(), sender, cause, why, limit, lifetime })
}

/// Counts what reports about a message of a user say, as far as its recipients are still known. Errors: those of `Store::strike`, and
/// the journal cannot be read.
pub(crate) async fn count_reports(
    store: &Store,
    config: &SuppressionConfig,
    sender: &Address,
    id: waypost_mail::EntryId,
    reports: &[ReturnedReport],
) -> Result<(), StoreError> {
    let is_any = reports.iter().any(|report| matches!(report.what.as_str(), COMPLAINT | "failed"));
    if !config.enabled || !is_any {
        return Ok(());
    }
    let history = store.queue_history(id).await?;
    let recipients = history.into_iter().find_map(|event| match event {
        QueueEvent::Queued { recipients, .. } => Some(recipients),
        _ => None,
    });
    for strike in reported(config, sender, &recipients.unwrap_or_default(), reports) {
        count(store, strike).await?;
    }
    Ok(())
}

/// Counts one. Errors: those of `Store::strike`.
pub(crate) async fn count(store: &Store, strike: Strike) -> Result<(), StoreError> {
    let Strike { recipient, sender, .. } = strike.clone();
    if store.strike(strike).await? {
        let sender = sender.map_or_else(|| "anybody".to_owned(), |sender| sender.to_string());
        tracing::warn!(%recipient, sender, "mail is suppressed from now on");
    }
    Ok(())
}

/// What comes of mail of a sender to a recipient to whom nothing is sent; `None`: it is sent.
pub(crate) fn answer(
    list: &Suppressions,
    recipient: &Address,
    sender: Option<&Address>,
    now: Timestamp,
) -> Option<Reply> {
    list.suppressing(recipient, sender, now).map(|line| reply(line, now))
}

/// What a sender reads whose mail was not tried: the status says what is known of the address.
fn reply(line: &Suppression, now: Timestamp) -> Reply {
    let times = if line.count == 1 { "once".to_owned() } else { format!("{} times", line.count) };
    let (status, because) = match line.cause {
        Cause::Bounce => {
            (EnhancedStatus(5, 1, 1), format!("mail to it came back {times}, last with: {}", line.why))
        }
        Cause::Complaint => {
            (EnhancedStatus(5, 7, 1), format!("mail from you was complained of {times}, last: {}", line.why))
        }
        Cause::Hand => (EnhancedStatus(5, 7, 1), format!("the postmaster says: {}", line.why)),
    };
    let until =
        line.until.filter(|until| now < *until).map_or_else(String::new, |until| format!(" until {until}"));
    let text = format!("not tried: {} is on the suppression list here{until}, as {because}", line.recipient);
    Reply::new(550, status, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn recipients(all: &[&str]) -> Vec<RelayRecipient> {
        all.iter().map(|text| RelayRecipient::new(address(text))).collect()
    }

    #[test]
    fn reports_count_for_recipients_that_the_message_had() {
        let report = |recipient: &str, what: &str, status: Option<&str>| ReturnedReport {
            recipient: recipient.to_owned(),
            what: what.to_owned(),
            status: status.map(str::to_owned),
            said: None,
        };
        let hard = Some("5.1.1");
        let (one, two) = (recipients(&["x@b.test"]), recipients(&["x@b.test", "y@b.test"]));
        for (recipients, report, expected) in [
            (&one, report("X@b.test", "failed", hard), Some(("x@b.test", Cause::Bounce))),
            (&two, report("y@b.test", COMPLAINT, None), Some(("y@b.test", Cause::Complaint))),
            (&one, report("", COMPLAINT, None), Some(("x@b.test", Cause::Complaint))),
            (&two, report("", COMPLAINT, None), None),
            (&one, report("boss@c.test", "failed", hard), None),
            (&one, report("no address", "failed", hard), None),
            (&one, report("x@b.test", "failed", Some("5.7.1")), None),
            (&one, report("x@b.test", "failed", None), None),
            (&one, report("x@b.test", "delayed", hard), None),
            (&one, report("x@b.test", "complaint: not-spam", None), None),
            (&Vec::new(), report("x@b.test", COMPLAINT, None), None),
        ] {
            let found = reported(
                &SuppressionConfig::default(),
                &address("s@a.test"),
                recipients,
                std::slice::from_ref(&report),
            );
            let found: Vec<_> =
                found.iter().map(|strike| (strike.recipient.to_string(), strike.cause)).collect();
            let expected: Vec<_> = expected.map(|(to, cause)| (to.to_owned(), cause)).into_iter().collect();
            assert_eq!(found, expected, "{report:?}");
        }
        let off = SuppressionConfig { bounces: 0, complaints: 0, ..SuppressionConfig::default() };
        for report in [report("x@b.test", COMPLAINT, None), report("x@b.test", "failed", hard)] {
            assert_eq!(reported(&off, &address("s@a.test"), &one, &[report]), []);
        }
    }
}
