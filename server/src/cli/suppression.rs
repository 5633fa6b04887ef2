//! `waypost suppression …`

use crate::{
    admin::{
        Request, Response,
        suppression::{SuppressionAnswer, SuppressionJob, SuppressionLine},
    },
    cli::{
        Failure,
        arguments::{ConfigFile, SuppressionCommand},
        maintenance::other,
        target::{self, Target},
        terminal,
    },
};

/// Said where the list means nothing.
const NOT_FOLLOWED: &str =
    "waypost: the suppression list is not followed: [queue.suppression] is not enabled in the configuration";

/// Runs the command.
pub async fn run(command: SuppressionCommand) -> Result<(), Failure> {
    match command {
        SuppressionCommand::List { json, config } => list(&config, json).await,
        SuppressionCommand::Add { address, from, why, expires, config } => {
            let seconds = expires.as_deref().map(seconds).transpose()?;
            let job = SuppressionJob::Add { address: address.clone(), from: from.clone(), why, seconds };
            let from = from.map(|from| format!(" from {from}")).unwrap_or_default();
            change(&config, job, &format!("mail{from} to {address} is suppressed")).await
        }
        SuppressionCommand::Remove { address, config } => {
            let job = SuppressionJob::Remove { address: address.clone() };
            change(&config, job, &format!("mail to {address} is sent again")).await
        }
    }
}

fn seconds(text: &str) -> Result<u64, Failure> {
    let duration = waypost_config::parse_duration(text).map_err(|text| Failure { text, code: 2 })?;
    match duration.as_secs() {
        0 => Err(Failure { text: "addresses are suppressed for some time".to_owned(), code: 2 }),
        seconds => Ok(seconds),
    }
}

async fn change(config: &ConfigFile, job: SuppressionJob, done: &str) -> Result<(), Failure> {
    let answer = target::ask(config, Request::Suppression { job }).await?;
    let Response::Suppression(SuppressionAnswer::Changed { enabled }) = answer else { return Err(other()) };
    terminal::say(done);
    if !enabled {
        terminal::complain(NOT_FOLLOWED);
    }
    Ok(())
}

async fn list(config: &ConfigFile, json: bool) -> Result<(), Failure> {
    let mut target = Target::new(config)?;
    let listed = pages(&mut target, json).await;
    target.close().await;
    listed
}

async fn pages(target: &mut Target, json: bool) -> Result<(), Failure> {
    let mut skip = 0;
    loop {
        let job = SuppressionJob::List { skip };
        let answer = target.ask(Request::Suppression { job }, &mut drop).await?;
        let Response::Suppression(SuppressionAnswer::Page { lines, more }) = answer else {
            return Err(other());
        };
        skip += lines.len();
        for line in &lines {
            terminal::say(&match json {
                true => serde_json::to_string(line).map_err(Failure::new)?,
                false => text(line),
            });
        }
        if !more {
            return Ok(());
        }
    }
}

/// A line as a person reads it; what other servers said is shown without control characters.
fn text(line: &SuppressionLine) -> String {
    let SuppressionLine { address, from, cause, suppressed, count, at, until, why } = line;
    let from = from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
    let until = until.as_deref().unwrap_or("removed");
    let state = if *suppressed { "suppressed" } else { "counted" };
    let text = format!("{address}{from}  {state} until {until}, {cause} {count}×, last {at}: {why}");
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_holds_and_why() {
        let line = SuppressionLine {
            address: "x@b.test".to_owned(),
            from: None,
            cause: "bounce".to_owned(),
            suppressed: true,
            count: 2,
            at: "A".to_owned(),
            until: Some("U".to_owned()),
            why: "mx: 550 5.1.1 no\x1b[2J".to_owned(),
        };
        assert_eq!(
            text(&line),
            "x@b.test  suppressed until U, bounce 2×, last A: mx: 550 5.1.1 no\u{fffd}[2J"
        );
        let line = SuppressionLine {
            from: Some("s@a.test".to_owned()),
            suppressed: false,
            until: None,
            why: "w".to_owned(),
            ..line
        };
        assert_eq!(text(&line), "x@b.test from s@a.test  counted until removed, bounce 2×, last A: w");
    }
}
