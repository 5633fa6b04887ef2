//! `waypost store …`

use std::path::{Path, PathBuf};

use crate::{
    admin::{Request, Response},
    cli::{
        Failure,
        arguments::{ConfigFile, Place, StoreCommand},
        backup, maintenance,
        progress::Bar,
        target, terminal,
    },
    port::{Event, Format, Job, Summary},
};

/// Runs the command.
pub async fn run(command: StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Export { address, place, lf, json, config } => {
            let layout = place.layout;
            let (format, path) = located(place)?;
            let job = Job::Export { format, path, layout, lf };
            let summary = port(&config, address, job, "exported").await?;
            report(&summary, json, "exported")
        }
        StoreCommand::Import { address, place, mailbox, strict, again, json, config } => {
            let layout = place.layout;
            let (format, path) = located(place)?;
            let job = Job::Import { format, path, layout, mailbox, strict, again };
            let summary = port(&config, address, job, "imported").await?;
            report(&summary, json, "imported")
        }
        StoreCommand::Check { json, config } => maintenance::check(&config, json).await,
        StoreCommand::Rebuild { config } => maintenance::rebuild(&config).await,
        StoreCommand::Backup { directory, verify, json, config } => {
            backup::run(&config, &directory, verify, json).await
        }
        StoreCommand::Restore(options) => backup::restore(options).await,
        StoreCommand::Compact { config } => maintenance::compact(&config).await,
        StoreCommand::Undelete(options) => maintenance::undelete(options).await,
        StoreCommand::Purge { address, config } => maintenance::purge(&config, address).await,
    }
}

/// Format and absolute path: a running server has another working directory.
fn located(place: Place) -> Result<(Format, PathBuf), Failure> {
    let (format, path) = match (place.maildir, place.mbox) {
        (Some(path), _) => (Format::Maildir, path),
        (None, Some(path)) => (Format::Mbox, path),
        (None, None) => return Err(Failure { text: "--maildir or --mbox is needed".to_owned(), code: 2 }),
    };
    let named = |path: &Path, why: &str| Failure { text: format!("{}: {why}", path.display()), code: 2 };
    let absolute = std::path::absolute(&path).map_err(|error| named(&path, &error.to_string()))?;
    match absolute.to_str() {
        Some(_) => Ok((format, absolute)),
        None => Err(named(&path, "the path is not UTF-8")),
    }
}

async fn port(
    config: &ConfigFile,
    address: String,
    job: Job,
    done: &'static str,
) -> Result<Summary, Failure> {
    let mut bar = Bar::new(done);
    let mut tell = |event| match event {
        Event::Progress(progress) => bar.show(&progress),
        Event::Trouble(trouble) => bar.above(&format!("waypost: {}: {}", trouble.what, trouble.why)),
    };
    let response = target::ask_long(config, Request::Port { address, job }, &mut tell).await;
    bar.finish();
    match response? {
        Response::Ported(summary) => Ok(summary),
        _ => Err(Failure::new("the server gave another answer than was asked for")),
    }
}

fn report(summary: &Summary, json: bool, done: &str) -> Result<(), Failure> {
    if json {
        terminal::say(&serde_json::to_string_pretty(summary).map_err(Failure::new)?);
    } else {
        lines(summary, done).iter().for_each(|line| terminal::say(line));
    }
    match summary.failed {
        0 => Ok(()),
        1 => Err(Failure::new(format!("1 was not {done}; it is named above"))),
        failed => Err(Failure::new(format!("{failed} were not {done}; each is named above"))),
    }
}

fn lines(summary: &Summary, done: &str) -> Vec<String> {
    let Summary { messages, octets, mailboxes, earlier, reasons, warnings, seconds, .. } = summary;
    let mut lines = vec![format!(
        "{done} {messages} messages, {octets} octets, in {mailboxes} mailboxes, in {seconds:.1} s"
    )];
    if *earlier > 0 {
        lines.push(format!("{earlier} messages had been {done} earlier"));
    }
    lines.extend(reasons.iter().map(|(why, count)| format!("{count} not {done}: {why}")));
    lines.extend(warnings.iter().map(|warning| format!("note: {warning}")));
    lines
}
