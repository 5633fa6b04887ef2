//! `waypost store check | rebuild | compact | undelete | purge`

use crate::{
    admin::{Maintained, Maintenance, MessageLine, Request, Response, RestoredLine, WhichDeleted},
    cli::{
        Failure,
        arguments::{ConfigFile, Undelete},
        progress::Bar,
        target, terminal,
    },
    port::Event,
};

/// Reads and compares everything.
pub async fn check(config: &ConfigFile, json: bool) -> Result<(), Failure> {
    let Maintained::Problems(problems) = ask(config, Maintenance::Check, "checked").await? else {
        return Err(other());
    };
    if json {
        say_json(&problems)?;
    } else {
        problems.iter().for_each(|problem| terminal::say(problem));
    }
    match problems.len() {
        0 if json => Ok(()),
        0 => {
            terminal::say("the store is sound");
            Ok(())
        }
        1 => Err(Failure::new("1 problem was found")),
        count => Err(Failure::new(format!("{count} problems were found"))),
    }
}

/// Makes the index anew.
pub async fn rebuild(config: &ConfigFile) -> Result<(), Failure> {
    let Maintained::Rebuilt(messages) = ask(config, Maintenance::Rebuild, "accounts rebuilt").await? else {
        return Err(other());
    };
    terminal::say(&format!("the index was made anew; it holds {messages} messages"));
    Ok(())
}

/// Gives space back.
pub async fn compact(config: &ConfigFile) -> Result<(), Failure> {
    let Maintained::Compacted { segments, bodies, bytes } =
        ask(config, Maintenance::Compact, "compacted").await?
    else {
        return Err(other());
    };
    terminal::say(&format!(
        "{bytes} octets were given back, in {segments} segments and {bodies} large bodies"
    ));
    Ok(())
}

/// Lists deleted messages, or brings some back.
pub async fn undelete(options: Undelete) -> Result<(), Failure> {
    let Undelete { address, numbers, all, mailbox, since, as_of, to, json, config } = options;
    let job = match (numbers.is_empty(), all, as_of) {
        (true, false, None) => Maintenance::Deleted { address, mailbox },
        (true, false, Some(time)) => {
            Maintenance::AsOf { address, mailbox: mailbox.unwrap_or_else(|| "INBOX".to_owned()), time }
        }
        (true, true, _) => Maintenance::Undelete { address, which: WhichDeleted::All { mailbox, since }, to },
        (false, ..) => Maintenance::Undelete { address, which: WhichDeleted::Numbers(numbers), to },
    };
    match ask(&config, job, "done").await? {
        Maintained::Messages(lines) if json => say_json(&lines),
        Maintained::Restored(lines) if json => say_json(&lines),
        Maintained::Messages(lines) => {
            list(&lines);
            Ok(())
        }
        Maintained::Restored(lines) => {
            lines.iter().for_each(|RestoredLine { number, mailbox, uid }| {
                terminal::say(&format!("{number} is back in {mailbox} as UID {uid}"));
            });
            let none = lines.is_empty().then_some("none of these can be brought back");
            none.map_or(Ok(()), |none| Err(Failure::new(none)))
        }
        _ => Err(other()),
    }
}

/// Erases the deleted messages of an account.
pub async fn purge(config: &ConfigFile, address: String) -> Result<(), Failure> {
    let job = Maintenance::Purge { address: address.clone() };
    let Maintained::Purged(messages) = ask(config, job, "done").await? else { return Err(other()) };
    terminal::say(&format!(
        "{messages} deleted messages of {address} cannot be brought back any more; \
         `waypost store compact` gives their space back now"
    ));
    Ok(())
}

pub(super) async fn ask(
    config: &ConfigFile,
    job: Maintenance,
    done: &'static str,
) -> Result<Maintained, Failure> {
    let mut bar = Bar::new(done);
    let mut tell = |event| {
        if let Event::Progress(progress) = event {
            bar.show(&progress);
        }
    };
    let response = target::ask_long(config, Request::Maintain { job }, &mut tell).await;
    bar.finish();
    match response? {
        Response::Maintained(done) => Ok(done),
        _ => Err(other()),
    }
}

pub(super) fn other() -> Failure {
    Failure::new("the server gave another answer than was asked for")
}

pub(super) fn say_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    terminal::say(&serde_json::to_string_pretty(value).map_err(Failure::new)?);
    Ok(())
}

fn list(lines: &[MessageLine]) {
    if lines.is_empty() {
        terminal::say("there are none");
    }
    for MessageLine { number, mailbox, uid, deleted, size, from, subject } in lines {
        let number = number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let deleted =
            deleted.as_deref().map_or_else(|| "still there".to_owned(), |time| format!("deleted {time}"));
        terminal::say(&format!(
            "{number:>6}  {deleted}  {mailbox} UID {uid}  {size} octets  {from}  {subject}",
        ));
    }
}
