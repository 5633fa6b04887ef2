//! What a server shows: read from its store, or by IMAP, POP3 and the administration socket.

use std::{collections::BTreeMap, path::Path};

use waypost_server::admin::{
    queue::{QueueAnswer, QueueFilter, QueueJob, QueueLine},
    request::{Request, Response},
    socket,
};
use waypost_storage::{AccountState, MailboxState, Options, QueueEntry, QueuedRecipient, Store, StoreError};
use waypost_tests::Process;

use crate::{
    client::{Imap, Pop3},
    content::identify,
    ledger::{Found, FoundEntry, FoundMailbox, FoundRow, Ledger},
    load::ACCOUNTS,
};

/// Of a store that is only looked at: it may lie on a small disk.
const SEGMENT_BYTES: u64 = 128 << 10;

/// Opens the store of a server that is gone, reads all of it, has it check itself, and closes it.
/// Error: it cannot be opened.
pub(crate) async fn by_store(state: &Path, taken: &BTreeMap<String, u32>) -> Result<Found, StoreError> {
    let store = Store::open(Options { segment_bytes: SEGMENT_BYTES, ..Options::new(state) }).await?;
    let mut found = Found { taken: taken.clone(), ..Found::default() };
    let accounts: Vec<_> = store.directory().borrow().accounts.values().cloned().collect();
    for record in accounts {
        let account = store.account(record.id).await?;
        let name = record.address.to_string().split('@').next().unwrap().to_owned();
        let state: std::sync::Arc<AccountState> = account.state();
        for mailbox in state.mailboxes.keys() {
            let selection = account.select(*mailbox).await?;
            found.mailboxes.push(mailbox_of(&store, &name, &selection.state().unwrap()).await?);
        }
    }
    for entry in store.queue() {
        found.queue.push(entry_of(&store, &entry).await);
    }
    found.complaints = store.damage();
    found.complaints.extend(store.check().await?);
    store.close().await;
    Ok(found)
}

async fn mailbox_of(store: &Store, account: &str, state: &MailboxState) -> Result<FoundMailbox, StoreError> {
    let mut rows = Vec::new();
    for row in state.rows() {
        let message = match store.read(&row.content, 0, row.content.size()).await {
            Ok(octets) => identify(&octets),
            Err(error) => Err(error.to_string()),
        };
        let flags = state.flags(row).to_string();
        let flags = flags.split_whitespace().map(str::to_owned).collect();
        rows.push(FoundRow { uid: row.uid.value(), modseq: row.modseq.value(), flags, message });
    }
    Ok(FoundMailbox {
        account: account.to_owned(),
        name: state.name.clone(),
        validity: state.uid_validity.value(),
        uid_next: state.uid_next.value(),
        modseq: state.highest_modseq.value(),
        rows,
    })
}

async fn entry_of(store: &Store, entry: &QueueEntry) -> FoundEntry {
    let wrong = match store.read(&entry.content, 0, entry.content.size()).await {
        Ok(octets) => identify(&octets).err(),
        Err(error) => Some(error.to_string()),
    };
    let address = |recipient: &QueuedRecipient| recipient.recipient.address.to_string();
    FoundEntry {
        entry: entry.id.to_string(),
        to: entry.recipients.iter().map(address).collect(),
        open: entry.recipients.iter().filter(|recipient| recipient.is_open()).map(address).collect(),
        wrong,
    }
}

/// Asks a running server by its protocols. The sink is read behind the queue: what is in neither is lost.
pub(crate) async fn by_protocols(
    server: &Process,
    state: &Path,
    taken: impl Fn() -> BTreeMap<String, u32>,
    ledger: &std::sync::Mutex<Ledger>,
) -> Option<Found> {
    let mut found = Found::default();
    for account in ACCOUNTS {
        let mut imap = Imap::login(server, account).await?;
        for name in imap.list().await? {
            let mailbox = imap.read_mailbox(account, &name).await?;
            if name == "INBOX" {
                let drop = Pop3::login(server, account).await?.read().await?;
                found.complaints.extend(compare_maildrop(account, &mailbox, &drop, ledger));
            }
            found.mailboxes.push(mailbox);
        }
    }
    found.queue = queue(state).await?;
    found.taken = taken();
    Some(found)
}

/// POP3 shows what IMAP shows, with a unique-id that is no one else's.
fn compare_maildrop(
    account: &str,
    inbox: &FoundMailbox,
    drop: &[(String, Result<String, String>)],
    ledger: &std::sync::Mutex<Ledger>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let by_imap: Vec<_> = inbox.rows.iter().map(|row| &row.message).collect();
    if by_imap != drop.iter().map(|(_, message)| message).collect::<Vec<_>>() {
        problems.push(format!("POP3 and IMAP do not show {account} the same"));
    }
    let mut ledger = ledger.lock().unwrap();
    for (uidl, message) in drop {
        if let Ok(message) = message {
            problems.extend(ledger.learn_uidl(&format!("{account} {uidl}"), message));
        }
    }
    problems
}

/// The queue of a running server.
pub(crate) async fn queue(state: &Path) -> Option<Vec<FoundEntry>> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let job = QueueJob::List { filter: QueueFilter::default(), after, most: usize::MAX };
        let answer = socket::ask(state, &Request::Queue { job }, &mut drop).await?.ok()?;
        let Response::Queue(QueueAnswer::Page { lines, next }) = answer else { return None };
        found.extend(lines.into_iter().map(|line: QueueLine| {
            let to: Vec<String> = line.recipients.into_iter().map(|recipient| recipient.address).collect();
            FoundEntry { entry: line.id, to: to.clone(), open: to, wrong: None }
        }));
        if next.is_none() {
            return Some(found);
        }
        after = next;
    }
}
