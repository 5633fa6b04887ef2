//! The store's own check: live state against a rebuild from the journal, the index against its digests, every message
//! against its checks.

use std::sync::Arc;

use waypost_mail::AccountId;

use crate::{
    apply::{QueueState, rows},
    content::Content,
    directory,
    error::StoreError,
    progress::{Progress, Report},
    queue::replay::replay,
    recovery,
    shared::Shared,
    state::{AccountState, MailboxState, RETAINED},
    store::Store,
};

/// How often an account that changes meanwhile is looked at.
const LOOKS_MAX: usize = 5;

/// One sentence for each problem.
pub(crate) async fn check(store: &Store, report: Report) -> Result<Vec<String>, StoreError> {
    let told = Arc::clone(&report);
    store.blocking(move |shared| shared.files.verify(&*told)).await?;
    let mut problems = store.damage();
    let accounts: Vec<AccountId> = store.directory().borrow().accounts.keys().copied().collect();
    let total = accounts.len() as u64;
    for (done, account) in (0..).zip(accounts) {
        report(Progress { step: "accounts", done, total });
        match check_account(store, account, &mut problems).await {
            // Removed meanwhile.
            Err(StoreError::NoSuchAccount) => {}
            other => other?,
        }
    }
    report(Progress { step: "accounts", done: total, total });
    check_directory(store, &mut problems).await?;
    check_queue(store, &mut problems).await?;
    Ok(problems)
}

async fn check_account(store: &Store, id: AccountId, problems: &mut Vec<String>) -> Result<(), StoreError> {
    let account = store.account(id).await?;
    let mut selections = Vec::new();
    for mailbox in account.state().places() {
        match account.select(mailbox.id).await {
            Err(StoreError::NoSuchMailbox) => {}
            other => selections.push(other?),
        }
    }
    for look in 1..=LOOKS_MAX {
        let live = account.state();
        let seq = live.seq;
        let rebuilt = store.blocking(move |shared| recovery::replay(shared, id, seq)).await?;
        let mut found = differences(&live, &rebuilt);
        // A mailbox that was created or renamed into view after the selections may lack rows: look again.
        if !found.is_empty() && look < LOOKS_MAX && account.state().seq != seq {
            continue;
        }
        problems.append(&mut found);
        break;
    }
    let mut indexed = store.blocking(move |shared| Ok(check_index(shared, id))).await?;
    problems.append(&mut indexed);
    for mailbox in selections.iter().filter_map(crate::account::Selection::state) {
        for row in mailbox.rows() {
            if let Err(error) = read_through(store, &row.content).await {
                let place = if mailbox.id == RETAINED { "deleted messages" } else { &mailbox.name };
                problems.push(format!("account {id}, {place}, UID {}: {error}", row.uid));
            }
        }
    }
    Ok(())
}

/// Where the live state of an account is not what its records say.
fn differences(live: &AccountState, rebuilt: &AccountState) -> Vec<String> {
    let id = live.id;
    let mut problems = Vec::new();
    let mut differ = |what: String| problems.push(format!("account {id}: {what} differs from the journal"));
    if live.seq != rebuilt.seq {
        differ("the last seq".to_owned());
    }
    if live.bytes != rebuilt.bytes
        || live.bytes != live.mailboxes.values().map(|mailbox| mailbox.bytes).sum::<u64>()
    {
        differ("the sum of sizes".to_owned());
    }
    if live.subscriptions != rebuilt.subscriptions {
        differ("the list of subscriptions".to_owned());
    }
    if live.next_mailbox != rebuilt.next_mailbox || live.last_uid_validity != rebuilt.last_uid_validity {
        differ("the next mailbox id or UIDVALIDITY".to_owned());
    }
    if !live.mailboxes.keys().eq(rebuilt.mailboxes.keys()) {
        differ("the list of mailboxes".to_owned());
    }
    if live.annotations != rebuilt.annotations {
        differ("the list of annotations".to_owned());
    }
    if live.graves != rebuilt.graves || live.oldest_retained != rebuilt.oldest_retained {
        differ("what is known of deleted mailboxes".to_owned());
    }
    for mailbox in live.places() {
        if let Some(other) = rebuilt.place(mailbox.id).filter(|other| !same(mailbox, other)) {
            differ(format!(
                "mailbox {} ({}; {} rows, {} in the journal)",
                mailbox.id, mailbox.name, mailbox.count, other.count
            ));
        }
    }
    problems
}

fn same(one: &MailboxState, other: &MailboxState) -> bool {
    let meta = |mailbox: &MailboxState| {
        let MailboxState { name, uid_validity, uid_next, highest_modseq, special_use, keywords, .. } =
            mailbox.clone();
        let MailboxState { acl, seen, access_key, retrieved, .. } = mailbox.clone();
        let beside = (acl, seen, access_key, retrieved);
        (name, uid_validity, uid_next, highest_modseq, special_use, keywords, beside)
    };
    let counts = |mailbox: &MailboxState| {
        (mailbox.count, mailbox.unseen, mailbox.deleted, mailbox.bytes, mailbox.digest, mailbox.partial)
    };
    meta(one) == meta(other)
        && counts(one) == counts(other)
        && one.vanished.agrees(&other.vanished)
        && one.rows().eq(other.rows())
        && one.digest == rows::digest(one.rows())
}

/// What the index holds must be right in itself; that it is older than the live state is no problem.
fn check_index(shared: &Shared, id: AccountId) -> Vec<String> {
    let _steady = shared.index.steady();
    let Some((account, _)) = shared.index.account(id) else { return Vec::new() };
    let wrong = |mailbox: &&Arc<MailboxState>| {
        mailbox.partial
            && shared
                .index
                .chunks(id, mailbox.id, None)
                .is_none_or(|chunks| !recovery::agrees(mailbox, &chunks))
    };
    let wrong = account.places().filter(wrong);
    wrong
        .map(|mailbox| format!("account {id}: the index of {} disagrees with its digest", mailbox.name))
        .collect()
}

/// The live directory must be what its records say.
async fn check_directory(store: &Store, problems: &mut Vec<String>) -> Result<(), StoreError> {
    for _ in 0..LOOKS_MAX {
        let before = Arc::clone(&store.directory().borrow());
        let mut rebuilt = store.blocking(|shared| directory::replay(&shared.files, |_| {})).await?;
        if rebuilt.seq != before.seq {
            continue;
        }
        // Ids of accounts whose records are lost are known from elsewhere.
        rebuilt.next_account = rebuilt.next_account.max(before.next_account);
        if rebuilt.parts() != before.parts() {
            problems.push("the directory differs from the journal".to_owned());
        }
        break;
    }
    Ok(())
}

async fn check_queue(store: &Store, problems: &mut Vec<String>) -> Result<(), StoreError> {
    let live = || store.shared().queue.read().clone();
    for _ in 0..LOOKS_MAX {
        let before = live();
        let rebuilt = store.blocking(replay_queue).await?;
        if before == rebuilt.entries.into_all() {
            break;
        }
        if live() == before {
            problems.push("the queue differs from the journal".to_owned());
            break;
        }
    }
    for entry in store.queue() {
        if let Err(error) = read_through(store, &entry.content).await {
            problems.push(format!("queue entry {}: {error}", entry.id));
        }
    }
    Ok(())
}

/// The queue as its records say. What cannot be applied was reported when the store was opened.
pub(crate) fn replay_queue(shared: &Shared) -> Result<QueueState, StoreError> {
    replay(&shared.files, |_| {})
}

async fn read_through(store: &Store, content: &Content) -> Result<(), StoreError> {
    let mut reader = store.reader(content, 0, u64::MAX);
    let mut size = 0;
    loop {
        let octets = reader.next().await?;
        if octets.is_empty() {
            break;
        }
        size += octets.len() as u64;
    }
    if size == content.size() {
        Ok(())
    } else {
        Err(StoreError::Damaged("the message is shorter than its size".to_owned()))
    }
}
