//! `waypost store backup` and `waypost store restore`

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::json;
use waypost_config::Config;
use waypost_storage::{
    Report, Store,
    backup::{Damaged, Recovered, restore as restore_all, verify},
    disk::Real,
};

use crate::{
    admin::{Maintained, Maintenance},
    cli::{
        Failure,
        arguments::{ConfigFile, RestoreOptions},
        maintenance::{ask, other, say_json},
        progress::Bar,
        target, terminal,
    },
    port::Progress,
    start::{make_state_dir, store_options},
};

/// Makes a backup, or reads one.
pub async fn run(
    config: &ConfigFile,
    directory: &Path,
    only_verify: bool,
    json: bool,
) -> Result<(), Failure> {
    let path = absolute(directory)?;
    if only_verify {
        return read(path, json).await;
    }
    let done = ask(config, Maintenance::BackUp { path }, "octets backed up").await?;
    let Maintained::BackedUp { files, bytes, files_copied, bytes_copied, damage, .. } = &done else {
        return Err(other());
    };
    if json {
        say_json(&done)?;
    } else {
        terminal::say(&format!(
            "backed up: {files} files with {bytes} octets, of which {files_copied} with {bytes_copied} are new"
        ));
    }
    all_is_well(damage, "the store is damaged, and in the backup it is, too")
}

/// Restores a whole backup, or mail of one account.
pub async fn restore(options: RestoreOptions) -> Result<(), Failure> {
    let path = absolute(&options.directory)?;
    match options.account {
        None => restore_state(path, options.damaged, options.json, target::load(&options.config)?).await,
        Some(address) => {
            let RestoreOptions { mailbox, uid, message_id, .. } = options;
            let single = uid.is_some() || message_id.is_some();
            let job = Maintenance::BringBack { path, address, mailbox, uid, message_id };
            bring_back(&options.config, job, single, options.json).await
        }
    }
}

async fn bring_back(config: &ConfigFile, job: Maintenance, single: bool, json: bool) -> Result<(), Failure> {
    let done = ask(config, job, "messages brought back").await?;
    let Maintained::BroughtBack { messages, held, damage, .. } = &done else { return Err(other()) };
    if json {
        say_json(&done)?;
    } else {
        terminal::say(&format!("brought back {messages} messages; {held} are there already"));
    }
    all_is_well(damage, "not all could be brought back")?;
    match messages + held {
        0 if single => Err(Failure::new("the backup has no such message")),
        _ => Ok(()),
    }
}

async fn read(path: PathBuf, json: bool) -> Result<(), Failure> {
    let bar = Bar::new("octets read");
    let problems = shown(bar, move |report| verify(&Real, &path, report)).await?;
    match (json, problems.is_empty()) {
        (true, _) => say_json(&problems)?,
        (false, true) => terminal::say("the backup is as it was written"),
        (false, false) => {}
    }
    all_is_well(&problems, "the backup is damaged")
}

async fn restore_state(path: PathBuf, damaged: bool, json: bool, config: Config) -> Result<(), Failure> {
    make_state_dir(&config.state_dir).map_err(Failure::new)?;
    let on_damage = if damaged { Damaged::Take } else { Damaged::Refuse };
    let state = config.state_dir.clone();
    let work = move |report| restore_all(&Real, &path, &state, on_damage, report);
    let Recovered { files, bytes, taken, damage } = shown(Bar::new("octets restored"), work).await?;
    let queued = begin(&config).await?;
    if json {
        let taken = taken.to_string();
        say_json(
            &json!({ "files": files, "bytes": bytes, "taken": taken, "damage": damage, "queue": queued }),
        )?;
    } else {
        terminal::say(&format!("restored {files} files with {bytes} octets, as it was on {taken}"));
        if !queued.is_empty() {
            terminal::say("in the queue, as it was then; what was relayed since is relayed again:");
            queued.iter().for_each(|line| terminal::say(&format!("  {line}")));
        }
    }
    all_is_well(&damage, "the backup is damaged; what is lost is lost")
}

/// The first start after a restore, at which numbers begin anew; what is in the queue.
async fn begin(config: &Config) -> Result<Vec<String>, Failure> {
    let store = Store::open(store_options(config)).await.map_err(Failure::new)?;
    let recipients = |entry: &waypost_storage::QueueEntry| {
        let open = entry.recipients.iter().filter(|queued| queued.outcome.is_none());
        open.map(|queued| queued.recipient.address.to_string()).collect::<Vec<_>>().join(", ")
    };
    let queue = store.queue();
    let lines = queue.iter().map(|entry| format!("{} to {}", entry.id, recipients(entry))).collect();
    store.close().await;
    Ok(lines)
}

/// Does what blocks, and shows how far it is.
async fn shown<T: Send + 'static>(
    bar: Bar,
    work: impl FnOnce(Report) -> Result<T, waypost_storage::StoreError> + Send + 'static,
) -> Result<T, Failure> {
    let bar = Arc::new(Mutex::new(Some(bar)));
    let shown = Arc::clone(&bar);
    let report: Report = Arc::new(move |now| {
        let progress =
            Progress { messages: now.done, messages_total: Some(now.total), ..Progress::default() };
        if let Some(bar) = shown.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            bar.show(&progress);
        }
    });
    let done = tokio::task::spawn_blocking(move || work(report)).await;
    if let Some(bar) = bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
        bar.finish();
    }
    done.map_err(Failure::new)?.map_err(Failure::new)
}

fn all_is_well(problems: &[String], what: &str) -> Result<(), Failure> {
    problems.iter().for_each(|problem| terminal::complain(problem));
    if problems.is_empty() { Ok(()) } else { Err(Failure::new(what)) }
}

/// A running server has another working directory.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}
