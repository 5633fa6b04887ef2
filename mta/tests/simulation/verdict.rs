//! The judgement: from mailboxes, queues and the ledgers of the peers alone. Each message that was accepted has ended in exactly one way for
//! each place to which it leads; only a window, which the network saw, excuses one more.

use std::collections::BTreeMap;

use waypost_mail::Address;
use waypost_storage::Store;

use crate::{
    book::{Duty, Entry, Leaf},
    peer::Handed,
    tap::TOKEN_FIELD,
    world::{FIRST_WAIT, GOOD, Outcome, TRAP, World},
};

/// What was found of one message.
#[derive(Debug, Default)]
struct Found {
    /// Where copies are: addresses.
    copies: Vec<String>,
    /// Whom notifications went to, and the recipients that they say are given up, with why.
    notifications: Vec<(String, Vec<(String, String)>)>,
}

type All = BTreeMap<u64, Found>;

pub(crate) async fn judge(world: &World) -> Outcome {
    let mut outcome = Outcome { deaths: world.deaths.lock().unwrap().len() as u64, ..Outcome::default() };
    let mut all = All::new();
    let entries = world.book.lock().unwrap().entries.clone();
    let mut stores = Vec::new();
    for (node, living) in world.nodes.iter().zip(&world.living) {
        match living.lock().unwrap().as_ref() {
            Some(living) => stores.push((node.domain().to_owned(), living.store.clone())),
            None => outcome.problems.push(format!("{} is not alive at the end", node.domain())),
        }
    }
    for (domain, store) in &stores {
        for entry in store.queue() {
            outcome.problems.push(format!("{domain} still has {:?} in its queue", entry.recipients));
        }
        read_mailboxes(domain, store, &entries, &mut all, &mut outcome.problems).await;
        match store.check().await {
            Ok(found) => outcome.problems.extend(found),
            Err(error) => outcome.problems.push(format!("{domain} cannot be checked: {error}")),
        }
    }
    for (host, peer) in &world.peers {
        let ledger = peer.ledger.lock().unwrap();
        if *host == TRAP && !ledger.taken.is_empty() {
            outcome.problems.push("a domain with a null MX got mail".to_owned());
        }
        for taken in &ledger.taken {
            for recipient in &taken.recipients {
                note(&taken.text, recipient, taken.from_nobody, &entries, &mut all, &mut outcome.problems);
            }
        }
    }
    for entry in &entries {
        judge_entry(world, entry, all.get(&entry.token).unwrap_or(&Found::default()), &mut outcome);
    }
    back_off(world, &mut outcome);
    if world.net.rash() > 0 {
        let what = format!("{} transactions were begun that could not be recorded", world.net.rash());
        outcome.problems.push(what);
    }
    outcome
}

async fn read_mailboxes(
    domain: &str,
    store: &Store,
    entries: &[Entry],
    all: &mut All,
    problems: &mut Vec<String>,
) {
    for name in crate::node::ACCOUNTS {
        let address = format!("{name}@{domain}");
        let wanted = Address::parse(&address).unwrap();
        let found = store
            .directory()
            .borrow()
            .accounts
            .values()
            .find(|record| record.address == wanted)
            .map(|record| record.id);
        let Some(id) = found else { return problems.push(format!("{address} has no account")) };
        let account = store.account(id).await.unwrap();
        let inbox = account.state().inbox().unwrap().id;
        let selection = account.select(inbox).await.unwrap();
        for row in selection.state().unwrap().rows() {
            match store.read(&row.content, 0, u64::MAX).await {
                Ok(octets) => {
                    let text = String::from_utf8_lossy(&octets);
                    let from_nobody = text.starts_with("Return-Path: <>");
                    note(&text, &address, from_nobody, entries, all, problems);
                }
                Err(error) => problems.push(format!("{address} has a message that cannot be read: {error}")),
            }
        }
    }
}

/// Notes a message that was found at an address.
fn note(
    text: &str,
    at: &str,
    from_nobody: bool,
    entries: &[Entry],
    all: &mut All,
    problems: &mut Vec<String>,
) {
    let lines = || text.split("\r\n");
    let Some(token) = lines().find_map(|line| line.strip_prefix(TOKEN_FIELD)?.parse().ok()) else {
        return problems.push(format!("{at} has a message that nobody sent: {text:.300}"));
    };
    let found: &mut Found = all.entry(token).or_default();
    if from_nobody && text.contains("multipart/report") {
        found.notifications.push((at.to_owned(), given_up(text)));
        return;
    }
    found.copies.push(at.to_owned());
    let sent = entries.iter().find(|entry| entry.token == token);
    let body = sent.and_then(|entry| entry.submission.text.split_once("\r\n\r\n"));
    if !body.is_some_and(|(_, body)| text.ends_with(body)) {
        problems.push(format!("{token} has other octets at {at}"));
    }
}

/// The recipients that a notification says are given up, each with its status.
fn given_up(text: &str) -> Vec<(String, String)> {
    let text = text.replace("\r\n ", " ").replace("\r\n\t", " ");
    let (mut recipient, mut has_failed, mut failed) = (None, false, Vec::new());
    for line in text.split("\r\n") {
        if let Some(address) = line.strip_prefix("Final-Recipient: ") {
            (recipient, has_failed) = (address.split("; ").nth(1).map(str::to_owned), false);
        } else if line == "Action: failed" {
            has_failed = true;
        } else if let Some(status) = line.strip_prefix("Status: ").filter(|_| has_failed) {
            failed.extend(recipient.take().map(|recipient| (recipient, status.to_owned())));
        }
    }
    failed
}

fn judge_entry(world: &World, entry: &Entry, found: &Found, outcome: &mut Outcome) {
    let windows = world.net.unclear(entry.token);
    outcome.windows += windows;
    let (recipients, is_owed) = match &entry.handed {
        Handed::Accepted(recipients) => (recipients.as_slice(), true),
        Handed::Unclear(recipients) => (recipients.as_slice(), false),
        Handed::Refused => (&[][..], false),
    };
    outcome.accepted += u64::from(is_owed);
    let leaves: Vec<Leaf> = recipients.iter().flat_map(|recipient| Leaf::all(recipient)).collect();
    let mut wrong = |what: String| {
        outcome.problems.push(format!("{} {what}: {windows} windows, {found:?}, {leaves:?}", entry.token));
    };
    for (to, _) in &found.notifications {
        if *to != entry.submission.from {
            wrong(format!("was told of to {to}, not to {:?}", entry.submission.from));
        }
    }
    for copy in &found.copies {
        if !leaves.iter().any(|leaf| leaf.address() == copy) {
            wrong(format!("is where it does not belong, {copy}"));
        }
    }
    for leaf in &leaves {
        let copies = found.copies.iter().filter(|at| *at == leaf.address()).count() as u64;
        let is_on_path = |(recipient, _): &(String, String)| leaf.path.contains(recipient);
        let failures =
            found.notifications.iter().filter(|(_, failed)| failed.iter().any(is_on_path)).count() as u64;
        let (ends, at) = (copies + failures, leaf.address());
        let can_be_told = !entry.submission.from.is_empty();
        let least = match leaf.duty {
            _ if !is_owed => 0,
            Duty::Arrives => 1,
            Duty::Fails | Duty::Either => u64::from(can_be_told),
        };
        if ends < least {
            wrong(format!("is lost on its way to {at}"));
        }
        if ends > 1 + windows {
            wrong(format!("has ended {ends} times at {at}"));
        }
        let statuses = found.notifications.iter().flat_map(|(_, failed)| failed);
        let status = statuses.filter(|failed| is_on_path(failed)).map(|(_, status)| status.as_str()).next();
        if let Some(wanted) = leaf.status()
            && status.is_some_and(|status| status != wanted)
        {
            wrong(format!("failed at {at} with {status:?}"));
        }
        match leaf.duty {
            Duty::Arrives if failures > 0 => wrong(format!("failed at {at}")),
            Duty::Fails if copies > 0 => wrong(format!("arrived at {at}")),
            Duty::Arrives if is_owed && copies == 0 => wrong(format!("did not arrive at {at}")),
            _ => {}
        }
        outcome.duplicates += ends.saturating_sub(1);
        outcome.copies += copies;
        outcome.notifications += failures;
    }
}

/// A recipient that a server refuses for now is not asked for again before the first wait is over, less a tenth; the last time is at the
/// end of the message's time, whenever that is. Who is started again may have forgotten a try that it did not record.
fn back_off(world: &World, outcome: &mut Outcome) {
    let deaths = world.deaths.lock().unwrap().clone();
    let mut asked: BTreeMap<String, Vec<tokio::time::Instant>> = BTreeMap::new();
    for (_, peer) in world.peers.iter().filter(|(host, _)| *host == GOOD) {
        for (at, recipient) in &peer.ledger.lock().unwrap().asked {
            asked.entry(recipient.clone()).or_default().push(*at);
        }
    }
    for (recipient, times) in asked.iter().filter(|(recipient, _)| recipient.starts_with("later-")) {
        let token =
            recipient.trim_start_matches("later-").split('@').next().and_then(|text| text.parse().ok());
        if token.is_none_or(|token| world.net.unclear(token) > 0) {
            continue;
        }
        for pair in times[..times.len() - 1].windows(2) {
            let died = deaths.iter().any(|at| (pair[0]..=pair[1]).contains(at));
            if !died && pair[1] - pair[0] < FIRST_WAIT * 9 / 10 {
                let wait = pair[1] - pair[0];
                outcome.problems.push(format!("{recipient} was asked for again after {wait:?}"));
            }
        }
    }
}
