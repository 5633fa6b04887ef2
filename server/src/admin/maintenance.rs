//! What an administrator does to the store as a whole, and to the deleted messages of an account.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use waypost_mail::{Address, Timestamp, Uid};
use waypost_message::{HeaderCollector, decode::header_text};
use waypost_storage::{
    Account, Report, Row, Store, StoreError,
    backup::{BackedUp, Found, Returned, Wanted},
};

use super::request::{Response, named};
use crate::port::{Event, Progress};

/// Octets of a header block that are read for a listing.
const HEADER_BYTES_MAX: u64 = 64 * 1024;

/// What is to be done to the store.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Maintenance {
    /// All is read and compared.
    Check,
    /// The index is made anew.
    Rebuild,
    /// What nobody holds gives its space back.
    Compact,
    /// All is backed up.
    BackUp {
        /// Where to; absolute.
        path: PathBuf,
    },
    /// Messages of an account come back out of a backup.
    BringBack {
        /// The backup; absolute.
        path: PathBuf,
        /// The account's address.
        address: String,
        /// One mailbox; else all.
        mailbox: Option<String>,
        /// One message, by its UID then.
        uid: Option<u32>,
        /// One message, by its Message-ID.
        message_id: Option<String>,
    },
    /// The deleted messages that can be brought back are listed.
    Deleted {
        /// The account's address.
        address: String,
        /// Only those of this mailbox.
        mailbox: Option<String>,
    },
    /// A mailbox as it was is listed.
    AsOf {
        /// The account's address.
        address: String,
        /// The mailbox.
        mailbox: String,
        /// When, RFC 3339.
        time: String,
    },
    /// Deleted messages are brought back.
    Undelete {
        /// The account's address.
        address: String,
        /// Which.
        which: Which,
        /// The mailbox that they go to; else the ones they were in.
        to: Option<String>,
    },
    /// The deleted messages are erased.
    Purge {
        /// The account's address.
        address: String,
    },
}

/// Which deleted messages.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// Those with these numbers.
    Numbers(Vec<u32>),
    /// All, or all of one mailbox, that were deleted at or after a time (RFC 3339), or ever.
    All {
        /// The mailbox.
        mailbox: Option<String>,
        /// The time.
        since: Option<String>,
    },
}

/// What was done.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Maintained {
    /// What the check found; nothing: all is well.
    Problems(Vec<String>),
    /// So many messages are in the new index.
    Rebuilt(u64),
    /// So much was given back.
    Compacted {
        /// Segments of the journal that were written again.
        segments: u64,
        /// Bodies that were removed.
        bodies: u64,
        /// Octets.
        bytes: u64,
    },
    /// A backup was made.
    BackedUp {
        /// Files that it holds.
        files: u64,
        /// Their octets.
        bytes: u64,
        /// Files that were copied now.
        files_copied: u64,
        /// Their octets.
        bytes_copied: u64,
        /// Files of earlier backups that were removed.
        files_removed: u64,
        /// What is damaged in the store.
        damage: Vec<String>,
    },
    /// Messages came back out of a backup.
    BroughtBack {
        /// So many.
        messages: u64,
        /// Their octets.
        bytes: u64,
        /// So many are in their mailboxes already.
        held: u64,
        /// Those that are damaged in the backup.
        damage: Vec<String>,
    },
    /// Messages.
    Messages(Vec<MessageLine>),
    /// Messages that are back.
    Restored(Vec<RestoredLine>),
    /// So many are erased.
    Purged(u64),
}

/// One message in a listing.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MessageLine {
    /// Its number among the deleted messages; `None`: it is not deleted.
    pub number: Option<u32>,
    /// The mailbox it is or was in.
    pub mailbox: String,
    /// Its UID there.
    pub uid: u32,
    /// When it was deleted, RFC 3339.
    pub deleted: Option<String>,
    /// Octets.
    pub size: u64,
    /// Its From field.
    pub from: String,
    /// Its Subject field.
    pub subject: String,
}

/// One message that is back.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RestoredLine {
    /// Its number among the deleted messages.
    pub number: u32,
    /// The mailbox it is in.
    pub mailbox: String,
    /// Its UID there.
    pub uid: u32,
}

/// Does it. What takes long tells `events`.
pub(super) async fn run(
    store: &Store,
    job: Maintenance,
    events: mpsc::Sender<Event>,
) -> Result<Response, String> {
    let (report, caller) = (report(events.clone()), events);
    let done = match job {
        Maintenance::BackUp { path } => {
            return while_asked(caller, back_up(store, &path, report)).await.map(maintained);
        }
        Maintenance::BringBack { path, address, mailbox, uid, message_id } => {
            let address = Address::parse(&address).map_err(|problem| format!("{address}: {problem}"))?;
            let uid = uid.and_then(Uid::new).map(Found::Uid);
            let wanted = Wanted { address, mailbox, message: uid.or(message_id.map(Found::MessageId)) };
            return while_asked(caller, bring_back(store, &path, wanted, report)).await.map(maintained);
        }
        Maintenance::Check => store.check_reporting(report).await.map(Maintained::Problems),
        Maintenance::Rebuild => store.rebuild(report).await.map(Maintained::Rebuilt),
        Maintenance::Compact => store.compact().await.map(|compacted| Maintained::Compacted {
            segments: compacted.segments,
            bodies: compacted.bodies,
            bytes: compacted.segment_bytes + compacted.body_bytes,
        }),
        Maintenance::Deleted { address, mailbox } => {
            return deleted(store, &address, mailbox.as_deref()).await.map(maintained);
        }
        Maintenance::AsOf { address, mailbox, time } => {
            return as_of(store, &address, &mailbox, &time).await.map(maintained);
        }
        Maintenance::Undelete { address, which, to } => {
            return undelete(store, &address, which, to.as_deref()).await.map(maintained);
        }
        Maintenance::Purge { address } => {
            account(store, &address).await?.purge().await.map(Maintained::Purged)
        }
    };
    done.map(maintained).map_err(|error| error.to_string())
}

/// What goes on where it ended when it is asked for again ends when the caller is gone.
async fn while_asked(
    caller: mpsc::Sender<Event>,
    work: impl Future<Output = Result<Maintained, StoreError>>,
) -> Result<Maintained, String> {
    // Both are cancel-safe: a backup that is dropped is gone on with, messages come back in whole entries.
    tokio::select! {
        done = work => done.map_err(|error| error.to_string()),
        () = caller.closed() => Err("it was stopped; the same command goes on where it ended".to_owned()),
    }
}

async fn back_up(store: &Store, path: &Path, report: Report) -> Result<Maintained, StoreError> {
    let BackedUp { files, bytes, files_copied, bytes_copied, files_removed, damage } =
        store.backup(path, report).await?;
    Ok(Maintained::BackedUp { files, bytes, files_copied, bytes_copied, files_removed, damage })
}

async fn bring_back(
    store: &Store,
    path: &Path,
    wanted: Wanted,
    report: Report,
) -> Result<Maintained, StoreError> {
    let Returned { messages, bytes, held, damage } = store.restore_from(path, wanted, report).await?;
    Ok(Maintained::BroughtBack { messages, bytes, held, damage })
}

fn maintained(done: Maintained) -> Response {
    Response::Maintained(done)
}

/// Tells progress; what comes faster than it is taken is left out.
fn report(events: mpsc::Sender<Event>) -> Report {
    Arc::new(move |progress| {
        let progress =
            Progress { messages: progress.done, messages_total: Some(progress.total), ..Progress::default() };
        // Full: the next one will do. Closed: the caller is gone, and the work goes on.
        let _later = events.try_send(Event::Progress(progress));
    })
}

async fn account(store: &Store, address: &str) -> Result<Account, String> {
    let record = named(store, address)?;
    store.account(record.id).await.map_err(|error| error.to_string())
}

async fn deleted(store: &Store, address: &str, mailbox: Option<&str>) -> Result<Maintained, String> {
    let account = account(store, address).await?;
    let retained = account.retained().await.map_err(|error| error.to_string())?;
    let mut lines = Vec::new();
    for message in retained.into_iter().filter(|message| mailbox.is_none_or(|name| message.mailbox == name)) {
        let mut line = line(store, &message.row, message.mailbox, message.uid).await;
        line.number = Some(message.id.value());
        line.deleted = Some(message.deleted.to_string());
        lines.push(line);
    }
    Ok(Maintained::Messages(lines))
}

async fn as_of(store: &Store, address: &str, mailbox: &str, time: &str) -> Result<Maintained, String> {
    let account = account(store, address).await?;
    let there = account.as_of(mailbox, moment(time)?).await.map_err(|error| error.to_string())?;
    let mut lines = Vec::new();
    for message in there {
        let mut line = line(store, &message.row, mailbox.to_owned(), message.uid).await;
        line.number = message.deleted.map(|(id, _)| id.value());
        line.deleted = message.deleted.map(|(_, time)| time.to_string());
        lines.push(line);
    }
    Ok(Maintained::Messages(lines))
}

async fn undelete(
    store: &Store,
    address: &str,
    which: Which,
    to: Option<&str>,
) -> Result<Maintained, String> {
    let account = account(store, address).await?;
    let to = match to {
        None => None,
        Some(name) => {
            let state = account.state();
            Some(state.by_name(name).ok_or_else(|| format!("there is no mailbox {name}"))?.id)
        }
    };
    let ids: BTreeSet<Uid> = match which {
        Which::Numbers(numbers) => numbers.into_iter().filter_map(Uid::new).collect(),
        Which::All { mailbox, since } => {
            let since = since.as_deref().map(moment).transpose()?;
            let retained = account.retained().await.map_err(|error| error.to_string())?;
            let wanted = retained.into_iter().filter(|message| {
                mailbox.as_ref().is_none_or(|name| message.mailbox == *name)
                    && since.is_none_or(|since| message.deleted >= since)
            });
            wanted.map(|message| message.id).collect()
        }
    };
    let restored = account.undelete(ids, to).await.map_err(|error| error.to_string())?;
    let line = |restored: waypost_storage::Restored| RestoredLine {
        number: restored.was.value(),
        mailbox: restored.mailbox,
        uid: restored.uid.value(),
    };
    Ok(Maintained::Restored(restored.into_iter().map(line).collect()))
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| format!("{text} is no time like 2026-11-25T14:00:00Z"))
}

/// A message as a listing shows it; a header that cannot be read is shown as nothing.
async fn line(store: &Store, row: &Row, mailbox: String, uid: Uid) -> MessageLine {
    let octets = store.read(&row.content, row.content.prefix_size(), HEADER_BYTES_MAX).await;
    let mut collector = HeaderCollector::default();
    let header = match octets.map(|octets| collector.feed(&octets)) {
        Ok(Ok(Some((header, _)))) => Some(header),
        _ => None,
    };
    let field = |name| {
        let value = header.as_ref().and_then(|header| header.first(name));
        value.map_or_else(String::new, |value| header_text(&value).trim().to_owned())
    };
    MessageLine {
        number: None,
        mailbox,
        uid: uid.value(),
        deleted: None,
        size: row.content.size(),
        from: field("From"),
        subject: field("Subject"),
    }
}
